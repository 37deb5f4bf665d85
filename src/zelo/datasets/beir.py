"""Any folder in BEIR layout."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.compute as pc

from zelo.datasets.layout import assemble, qrels_files, read_documents, read_qrels, read_queries
from zelo.errors import BadInput
from zelo.records import DEV, TRAIN, Corpus


@dataclass(frozen=True, kw_only=True)
class Beir:
    """The queries, documents and judgements of a folder with corpus.jsonl, queries.jsonl and, perhaps, qrels/*.tsv.

    Judgements of train queries (qrels/train.tsv) are never opened. With `train_on_dev`, neither are those of dev queries:
    these become train queries without labels, for collections that have no others.
    """

    path: str
    train_on_dev: bool

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path.strip():
            raise BadInput(f"dataset.path={self.path!r} names no folder; set dataset.path=DIR, a folder in BEIR layout")
        if not isinstance(self.train_on_dev, bool):
            raise BadInput(f"dataset.train_on_dev={self.train_on_dev!r} is neither true nor false")

    def content(self) -> dict[str, str]:
        """The hash of every file that `load` reads. Raises BadInput if the folder or a file is not there."""
        folder = self._folder()
        digest = hashlib.blake2b(digest_size=20)
        for path in (folder / "corpus.jsonl", folder / "queries.jsonl", *(path for path, _ in self._qrels(folder))):
            try:
                with path.open("rb") as file:
                    of_file = hashlib.file_digest(file, "blake2b").hexdigest()
            except OSError as error:
                raise BadInput(f"{path} cannot be read: {error.strerror}") from None
            digest.update(f"{path.relative_to(folder).as_posix()} {of_file}\n".encode())
        return {"path": digest.hexdigest()}

    def load(self) -> Corpus:
        """Reads and checks everything. Raises BadInput naming the file and the line."""
        folder = self._folder()
        documents, notes = read_documents(folder / "corpus.jsonl")
        queries = read_queries(folder / "queries.jsonl")
        if self.train_on_dev:
            undone = pc.if_else(pc.equal(queries["split"], DEV), TRAIN, queries["split"])
            queries = queries.set_column(2, "split", undone)
        qrels = read_qrels(self._qrels(folder))
        corpus = assemble(documents, queries, qrels, notes, folder / "queries.jsonl")
        return replace(corpus, name=folder.resolve().name)

    def _qrels(self, folder: Path) -> list[tuple[Path, str]]:
        return [(path, split) for path, split in qrels_files(folder) if split != DEV or not self.train_on_dev]

    def _folder(self) -> Path:
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise BadInput(f"dataset.path={self.path} {what}; give it a folder with corpus.jsonl and queries.jsonl")
        for name in ("corpus.jsonl", "queries.jsonl"):
            if not folder.joinpath(name).is_file():
                there = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
                raise BadInput(f"dataset.path={self.path} has no {name} (it holds {there}); BEIR layout needs it")
        return folder
