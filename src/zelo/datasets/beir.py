"""Any folder in BEIR layout."""

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zelo.datasets.layout import (
    assemble,
    at_home,
    hash_large,
    hash_named,
    hash_qrels,
    qrels_files,
    read_documents,
    read_named,
    read_qrels,
    read_queries,
    refuse_unknown,
    train_qrels_files,
)
from zelo.errors import BadInput
from zelo.records import DEV, TRAIN, Corpus
from zelo.store import hash_json


@dataclass(frozen=True, kw_only=True)
class Beir:
    """The queries, documents and judgements of a folder with corpus.jsonl, queries.jsonl and, perhaps, qrels/*.tsv.

    Judgements of train queries (qrels/train.tsv) are opened by `train_qrels` alone. With `train_on_dev`, those of dev queries
    never are: these become train queries without labels, for collections that have no others.
    """

    path: str
    train_on_dev: bool

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path.strip():
            raise BadInput(f"dataset.path={self.path!r} names no folder; set dataset.path=DIR, a folder in BEIR layout")
        if not isinstance(self.train_on_dev, bool):
            raise BadInput(f"dataset.train_on_dev={self.train_on_dev!r} is neither true nor false")

    def content(self) -> dict[str, str]:
        """Hashes of documents and queries, and of which queries the judgements name. Raises BadInput naming the place."""
        folder = self._folder()
        files = [hash_large(folder / name) for name in ("corpus.jsonl", "queries.jsonl")]
        return {"path": hash_json(files), "named": hash_named(self._files(folder))}

    def load(self) -> Corpus:
        """Reads and checks documents, queries and their splits. Raises BadInput naming the file and the line."""
        folder = self._folder()
        documents, notes = read_documents(folder / "corpus.jsonl")
        queries = read_queries(folder / "queries.jsonl")
        if self.train_on_dev:
            undone = pc.if_else(pc.equal(queries["split"], DEV), TRAIN, queries["split"])
            queries = queries.set_column(2, "split", undone)
        corpus = assemble(documents, queries, read_named(self._files(folder)), notes, folder / "queries.jsonl")
        return replace(corpus, name=folder.resolve().name)

    def qrels(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Reads and checks the judgements. Raises BadInput naming the file and the line."""
        folder = self._folder()
        qrels = read_qrels(self._files(folder))
        refuse_unknown(qrels, "doc_id", documents, "document", folder / "corpus.jsonl")
        return at_home(qrels, queries)

    def qrels_content(self) -> str:
        """Hash of the judgements. Raises BadInput naming the file and the line."""
        return hash_qrels(self._files(self._folder()))

    def train_qrels(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Reads and checks those of train queries. Raises BadInput naming the file and the line."""
        folder = self._folder()
        qrels = read_qrels(train_qrels_files(folder))
        refuse_unknown(qrels, "query_id", queries, "query", folder / "queries.jsonl")
        refuse_unknown(qrels, "doc_id", documents, "document", folder / "corpus.jsonl")
        return at_home(qrels, queries)

    def train_qrels_content(self) -> str | None:
        """Hash of those of train queries, None without any. Raises BadInput naming the file and the line."""
        files = train_qrels_files(self._folder())
        return hash_qrels(files) if files else None

    def _files(self, folder: Path) -> list[tuple[Path, str]]:
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
