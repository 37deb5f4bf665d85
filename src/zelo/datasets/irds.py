"""Datasets of ir_datasets by their ids: MacAvaney et al. 2021, "Simplified Data Wrangling with ir_datasets".

What it reads is written to the store once for each version of the package, as parquet.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zelo.datasets.columns import CHUNK, LINE, Kind, batches
from zelo.datasets.sources import SPLITS, Sources, split_of
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.progress import progress, silent
from zelo.records import TEST
from zelo.store.hashing import hash_json
from zelo.store.store import Store
from zelo.store.table import Table

PREFIX = "irds:"
BELOW = [word for word in SPLITS if word != "eval"]  # ids below another that are its splits; eval has no public labels
_JUDGEMENT = ("query_id", "doc_id", "relevance")

Columns = Mapping[str, Callable[[Any], object]]  # name -> its value for a record of the package


def find_in_irds(place: str, kind: Kind | None) -> Sources:
    """What the id has: its documents, queries and judgements, these of its splits ID/train, ID/dev and ID/test if there are any.

    kind: the one that is wanted, where the user says so. Raises BadInput where the id is unknown, lacks it or cannot be read.
    """
    name = place.removeprefix(PREFIX)
    dataset = _loaded(place, name)
    below = {f"{name}/{word}": _known(f"{name}/{word}") for word in BELOW}
    splits = {key: part for key, part in below.items() if part is not None}
    asked = {key: part for key, part in splits.items() if part.has_queries()}
    judged = {key: part for key, part in splits.items() if part.has_qrels()}
    found = Sources(Store.current().root, name=name)
    if kind in (None, "documents") and dataset.has_docs():
        import ir_datasets  # pyright: ignore[reportMissingImports]

        found.documents = [_kept(ir_datasets.docs_parent_id(name), dataset, "documents", found)]
    if kind in (None, "queries"):
        of = {name: dataset} if dataset.has_queries() else asked
        found.queries = [(_kept(key, part, "queries", found), split_of(Path(key))) for key, part in of.items()]
    if kind in (None, "qrels"):
        of = judged or ({name: dataset} if dataset.has_qrels() else {})
        found.qrels = [(_kept(key, part, "qrels", found), split_of(Path(key)) or TEST) for key, part in of.items()]
    if not found.called:
        raise BadInput(
            f"{place}: ir_datasets has no {kind or 'documents'} of this id; give another, https://ir-datasets.com"
        )
    return found


def _loaded(place: str, name: str) -> Any:
    try:
        import ir_datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BadInput(
            f"{place} needs the package ir_datasets, which is missing ({error}): pip install 'zelo[irds]'"
        ) from None
    dataset = _known(name)
    if dataset is None:
        near = difflib.get_close_matches(name, list(ir_datasets.registry), n=3)
        like = f"did you mean {' or '.join(near)}?" if near else "https://ir-datasets.com has them all"
        raise BadInput(f"{place}: ir_datasets {ir_datasets.__version__} has no such id; {like}")
    return dataset


def _known(name: str) -> Any:
    """The dataset of that id, None where there is none."""
    import ir_datasets  # pyright: ignore[reportMissingImports]

    try:
        return ir_datasets.load(name)
    except KeyError:
        return None


def _kept(name: str, dataset: Any, kind: Kind, found: Sources) -> Path:
    """The file with what this dataset has of the kind, written if it is not there; `found` learns what it is called."""
    import ir_datasets  # pyright: ignore[reportMissingImports]

    def make(out: Path, earlier: Table | None) -> Facts:
        columns = _columns(dataset, kind)
        schema = pa.schema([(column, pa.string()) for column in columns])
        with pq.ParquetWriter(out / f"{kind}.parquet", schema, compression="zstd") as file:
            for table in batches(enumerate(_rows(name, dataset, kind, columns), 1), list(columns)):
                file.write_table(table.drop_columns([LINE]))
        return {"id": name}

    identity = hash_json({"id": name, "kind": kind, "version": ir_datasets.__version__})
    path = Store.current().obtain("ir_datasets", identity, make)[0].path / f"{kind}.parquet"
    found.called[path] = f"{PREFIX}{name}"
    return path


def _columns(dataset: Any, kind: Kind) -> Columns:
    """What is kept of a record: its id, the package's default text and a title; of queries and where there is no such text, all.

    The default text of a document begins with its title, if it has one, which is kept apart.
    """
    if kind == "qrels":
        return {field: attrgetter(field) for field in _JUDGEMENT}
    record = dataset.docs_cls() if kind == "documents" else dataset.queries_cls()
    fields = [field for field in record._fields if record.__annotations__[field] is str and field != "split"]
    said = "default_text" in dir(record)
    if said and kind == "documents":
        fields = [field for field in fields if field == "title"]
    columns: dict[str, Callable[[Any], object]] = {"_id": attrgetter("doc_id" if kind == "documents" else "query_id")}
    columns |= {field: attrgetter(field) for field in fields if field not in _JUDGEMENT}
    if said:
        titled = kind == "documents" and "title" in fields
        columns["text"] = _text_after_title if titled else methodcaller("default_text")
    return columns


def _text_after_title(document: Any) -> str:
    return (document.default_text() or "").removeprefix(document.title or "").strip()


def _rows(name: str, dataset: Any, kind: Kind, columns: Columns) -> Iterator[list[str | None]]:
    """One after the other. Raises BadInput where the package cannot fetch or read them."""
    count = dataset.docs_metadata().get("count") if kind == "documents" else None
    try:
        with progress(f"{PREFIX}{name}", count, kind) if count else nullcontext(silent) as advance:
            for number, record in enumerate(_iterated(dataset, kind), 1):
                values = (value(record) for value in columns.values())
                yield [None if value is None else str(value) for value in values]
                if number % CHUNK == 0:
                    advance(CHUNK)
    except Exception as error:  # of the package, its readers and its downloads: they have no class in common
        reason = (str(error).strip().splitlines() or [""])[0]
        raise BadInput(
            f"{PREFIX}{name}: ir_datasets cannot read the {kind} ({type(error).__name__}: {reason:.200}); check the network, and"
            f" whether https://ir-datasets.com/{name.partition('/')[0]} asks for an agreement or a copy of yours"
        ) from error


def _iterated(dataset: Any, kind: Kind) -> Iterator[Any]:
    if kind == "documents":
        return dataset.docs_iter()
    return dataset.queries_iter() if kind == "queries" else dataset.qrels_iter()
