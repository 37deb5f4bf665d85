"""Any folder in BEIR layout."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from zelo.datasets.judgements import (
    at_home,
    drop_unknown,
    hash_named,
    hash_qrels,
    read_named,
    refuse_lost_row,
)
from zelo.datasets.layout import assemble, has_train_queries, hash_large, read_documents, read_queries
from zelo.datasets.unread import unread_labels
from zelo.errors import BadInput
from zelo.qrels import qrels_files, read_qrels, train_qrels_files
from zelo.records import DEV, QUERY, TRAIN, Corpus
from zelo.store.hashing import hash_json

QUERIES = "queries.jsonl"


@dataclass(frozen=True, kw_only=True)
class Beir:
    """The documents of a folder with corpus.jsonl, the queries of its queries.jsonl and judgements in qrels/*.tsv, if any.

    A query keeps its `domain`, a key of its line or of the line's `metadata`.
    Judgements of train queries (qrels/train.tsv) are opened by `train_qrels` alone. With `train_on_dev`, those of dev queries
    never are: these become train queries without labels, for collections that have no others.
    """

    path: str
    id_column: str
    train_on_dev: bool
    unread_labels: Literal["error", "ignore"]
    unknown_ids: Literal["error", "drop"]

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path.strip():
            raise BadInput(f"dataset.path={self.path!r} names no folder; set dataset.path=DIR, a folder in BEIR layout")
        if not isinstance(self.id_column, str) or not self.id_column:
            raise BadInput(f"dataset.id_column={self.id_column!r} names no key of a line; BEIR's is _id")
        if not isinstance(self.train_on_dev, bool):
            raise BadInput(f"dataset.train_on_dev={self.train_on_dev!r} is neither true nor false")
        if self.unread_labels not in ("error", "ignore"):
            raise BadInput(f"dataset.unread_labels={self.unread_labels!r}: choose error or ignore")
        if self.unknown_ids not in ("error", "drop"):
            raise BadInput(f"dataset.unknown_ids={self.unknown_ids!r}: choose error or drop")

    def content(self) -> dict[str, str]:
        """Hashes of documents and queries, and of which queries the judgements name. Raises BadInput naming the place."""
        folder = self._folder()
        files, unread = self._files(folder)
        large = [hash_large(folder / name) for name in ("corpus.jsonl", QUERIES) if (folder / name).is_file()]
        names = sorted(path.relative_to(folder).as_posix() for path in unread)
        return {"path": hash_json(large), "named": hash_named(files), "unread_labels": hash_json(names)}

    def load(self) -> Corpus:
        """Reads and checks documents, queries and their splits. Raises BadInput naming the file and the line."""
        folder = self._folder()
        files, unread = self._files(folder)
        documents, notes = read_documents(folder / "corpus.jsonl", self.id_column)
        if not (folder / QUERIES).is_file():
            notes += (f"{folder} has no {QUERIES}",)
        queries = self._queries(folder)
        if self.train_on_dev:
            undone = pc.if_else(pc.equal(queries["split"], DEV), TRAIN, queries["split"])
            queries = queries.set_column(2, "split", undone)
        if unread:
            names = ", ".join(path.relative_to(folder).as_posix() for path in unread)
            count = "1 file of judgements is" if len(unread) == 1 else f"{len(unread)} files of judgements are"
            notes += (f"{count} not read (dataset.unread_labels=ignore): {names}",)
        qrels, _ = self._known(files, queries, documents)  # what is dropped is counted where the judgements are kept
        corpus = assemble(documents, queries, qrels, notes, folder / QUERIES)
        return replace(corpus, name=folder.resolve().name)

    def has_train_queries(self) -> bool:
        """Whether there are any, known without reading the documents. Raises BadInput naming the file and the line."""
        folder = self._folder()
        if not (folder / QUERIES).is_file():
            return False
        files, _ = self._files(folder)
        return has_train_queries(folder / QUERIES, self.id_column, read_named(files), self.train_on_dev)

    def judgements(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Reads and checks the judgements. Raises BadInput naming the file and the line."""
        qrels, dropped = self._known(self._files(self._folder())[0], queries, documents)
        own, left_out = at_home(qrels, queries)
        return own, dropped + left_out

    def qrels_content(self) -> str:
        """Hash of the judgements. Raises BadInput naming the file and the line."""
        return hash_qrels(self._files(self._folder())[0])

    def train_qrels(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Reads and checks those of train queries. Raises BadInput naming the file and the line."""
        qrels, dropped = self._known(self._train_files(self._folder())[0], queries, documents)
        own, left_out = at_home(qrels, queries)
        return own, dropped + left_out

    def train_qrels_content(self) -> str | None:
        """Hash of those of train queries, None without any. Raises BadInput naming the file and the line."""
        files, _ = self._train_files(self._folder())
        return hash_qrels(files) if files else None

    def _known(
        self, files: list[tuple[Path, str]], queries: pa.Table, documents: pa.Table
    ) -> tuple[pa.Table, tuple[str, ...]]:
        """Rows of known queries and documents, and a note that counts the others. Raises BadInput for them, unless dropped."""
        refuse_lost_row(files, queries, documents)
        return drop_unknown(read_qrels(files), queries, documents, self.unknown_ids == "drop")

    def _queries(self, folder: Path) -> pa.Table:
        path = folder / QUERIES
        return read_queries(path, self.id_column) if path.is_file() else QUERY.empty_table()

    def _files(self, folder: Path) -> tuple[list[tuple[Path, str]], list[Path]]:
        """(file, split) of the dev and test judgements, and the files of judgements that are not read, where that may be."""
        here = qrels_files(folder)
        unopened = [(path, split) for path, split in here if split == DEV and self.train_on_dev]
        return self._usable(folder, [item for item in here if item not in unopened], unopened)

    def _train_files(self, folder: Path) -> tuple[list[tuple[Path, str]], list[Path]]:
        return self._usable(folder, train_qrels_files(folder), qrels_files(folder))

    def _usable(
        self, folder: Path, files: list[tuple[Path, str]], others: list[tuple[Path, str]]
    ) -> tuple[list[tuple[Path, str]], list[Path]]:
        """Raises BadInput for a file of judgements that is not read or is empty, unless these are ignored."""
        unread = unread_labels(folder, files, [*others, *train_qrels_files(folder)])
        if unread and self.unread_labels == "error":
            first, *more = unread.values()
            raise BadInput(
                first
                + f" (and {len(more)} more such files)" * bool(more)
                + "; dataset.unread_labels=ignore does without"
            )
        return [item for item in files if item[0] not in unread], list(unread)

    def _folder(self) -> Path:
        try:
            folder = Path(self.path).expanduser()
        except RuntimeError as error:  # ~name of a user who is not there
            raise BadInput(f"dataset.path={self.path}: {error}; write the whole path") from None
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise BadInput(f"dataset.path={self.path} {what}; give it a folder with corpus.jsonl")
        if not folder.joinpath("corpus.jsonl").is_file():
            there = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
            raise BadInput(f"dataset.path={self.path} has no corpus.jsonl (it holds {there}); BEIR layout needs it")
        return folder
