"""The documentation that the user's own Python carries, with queries and judgements written for zelo."""

import hashlib
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zelo.datasets.judgements import at_home, hash_named, hash_qrels, read_named
from zelo.datasets.layout import assemble, read_documents, read_queries
from zelo.datasets.pydocs_reader.source import SKIPPED
from zelo.errors import ZeloError
from zelo.qrels import qrels_files, read_qrels
from zelo.records import Corpus

DATA = Path(__file__).parents[1] / "data" / "pydocs"
QUERIES = DATA / "queries.jsonl"
READER = Path(__file__).with_name("pydocs_reader")
PATIENCE = 300  # seconds; 3 are usual

# Appended to the path, so that nothing beside the reader can stand in for a module of the standard library.
START = "import runpy, sys; sys.path.append(sys.argv[1]); runpy.run_module(sys.argv[2], run_name='__main__')"


@dataclass(frozen=True, kw_only=True)
class Pydocs:
    """About 5,300 docstrings and language topics of this Python; 829 unlabelled train, 60 dev and 150 test queries."""

    def content(self) -> dict[str, str]:
        """Hashes of this Python, every source that may be read and the queries; and of which queries are judged."""
        stdlib = Path(sysconfig.get_path("stdlib"))
        digest = hashlib.blake2b(digest_size=20)
        digest.update(repr((sys.implementation.name, sys.version, sys.platform, sys.builtin_module_names)).encode())
        for root, files in ((stdlib, _sources(stdlib)), (READER, READER.glob("*.py")), (DATA, [QUERIES])):
            for path in sorted(files):
                text = path.read_bytes() if path.suffix != ".so" else str(path.stat().st_size).encode()
                digest.update(f"{path.relative_to(root).as_posix()} {len(text)}\n".encode() + text)
        return {"corpus": digest.hexdigest(), "named": hash_named(qrels_files(DATA))}

    def load(self) -> Corpus:
        """Reads the documentation in a child process."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "corpus.jsonl"
            write_documents(path)
            documents, notes = read_documents(path)
        corpus = assemble(documents, read_queries(QUERIES), read_named(qrels_files(DATA)), notes, QUERIES)
        return replace(corpus, name="pydocs")

    def judgements(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Judgements of what this Python does not document are dropped."""
        known, dropped = drop_undocumented(read_qrels(qrels_files(DATA)), documents)
        own, left_out = at_home(known, queries)
        return own, dropped + left_out

    def qrels_content(self) -> str:
        """Hash of the judgements."""
        return hash_qrels(qrels_files(DATA))


def write_documents(path: Path, python: str = sys.executable) -> None:
    """Writes the documents of a Python as corpus.jsonl. Raises ZeloError when it cannot say what it documents."""
    # Isolated and without site packages, so that nothing installed or set beside this Python changes a byte.
    command = [python, "-I", "-S", "-B", "-X", "utf8", "-W", "ignore", "-c", START, str(READER.parent), READER.name]
    try:
        with path.open("wb") as out:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, timeout=PATIENCE
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ZeloError(f"the documentation of {python!r} cannot be read: {error}") from None
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise ZeloError(f"reading the documentation of {python} ended with status {done.returncode}: {message}")


def drop_undocumented(qrels: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """The judgements whose document exists, and a note that counts the others."""
    known = pc.is_in(qrels["doc_id"], value_set=documents["doc_id"])
    lost = qrels.filter(pc.invert(known))
    if not lost.num_rows:
        return qrels, ()
    count = pc.count_distinct(lost["doc_id"]).as_py()
    what = f"{lost.num_rows} of {qrels.num_rows} judgements were dropped"
    return qrels.filter(known), (f"{what}: this Python does not document their {count} documents",)


def _sources(stdlib: Path) -> Iterator[Path]:
    """The sources and extension modules of a standard library, without what is never read."""
    read = {"pydoc_data", "lib-dynload"}
    for parent, folders, files in os.walk(stdlib):
        skipped = SKIPPED - read if Path(parent) == stdlib else {"test", "tests", "__pycache__"}
        folders[:] = [name for name in folders if name not in skipped and name != "__pycache__"]
        yield from (Path(parent) / name for name in files if name.endswith((".py", ".so")))
