"""Several datasets as one, each a domain with a corpus of its own."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from zelo.datasets.left_out import check_names, named, without
from zelo.errors import BadInput
from zelo.likelihood.randomness import content_seed
from zelo.protocols import Dataset, TrainJudged
from zelo.records import DOCUMENT, DOMAIN, QREL, QUERY, TRAIN, UNUSED, Corpus
from zelo.store.hashing import hash_json

T = TypeVar("T")
Reader = Callable[[pa.Table, pa.Table], tuple[pa.Table, tuple[str, ...]]]  # of judgements, for queries and documents
NAME = re.compile(r"\w[\w-]*")  # what a run file and a key can hold
NAMED = 3  # domains from which the collection's name only counts them


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """The queries and documents of all `parts`, with the name of their part as `domain`.

    `weights` say how many train queries are used: two of `law` for one of `code` with {law: 2, code: 1}, as many as there are; a
    part that is not named weighs 1, and without weights all are used. Which ones follows from `seed` and their ids. Train and
    dev queries of the domains `leave_out` are not used. Ids of a part are `law/17` where another part has one of them too, or
    where one begins with the name of a part and a slash; else they stay.
    """

    parts: dict[str, Dataset]
    weights: dict[str, float]
    leave_out: str | list[str] | None
    seed: int

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            said = f"has one part, {next(iter(self.parts))}" if self.parts else "has no parts"
            raise BadInput(
                f"dataset=mixture {said}: name at least two, dataset.parts.law.path=PATH dataset.parts.code.path=PATH (any names)"
            )
        seen: dict[str, str] = {}
        for name in self.parts:
            if not NAME.fullmatch(name):
                raise BadInput(f"dataset.parts.{name}: a domain's name is made of letters, digits, _ and -; rename it")
            if (before := seen.setdefault(name.casefold(), name)) != name:
                raise BadInput(f"dataset.parts.{name}: {before} is a domain already; give each part a name of its own")
        for name, weight in self.weights.items():
            if name not in self.parts:
                raise BadInput(f"dataset.weights.{name}: no part has this name; there are {', '.join(self.parts)}")
            if weight <= 0:
                raise BadInput(
                    f"dataset.weights.{name}={weight:g}: a weight is above 0; dataset.leave_out={name} trains without {name}"
                )
        check_names(self.leave_out, list(self.parts))
        if not self._trained:
            raise BadInput(
                f"dataset.leave_out={','.join(named(self.leave_out))} leaves no domain to train on; leave one of"
                f" {', '.join(self.parts)} in"
            )

    def content(self) -> dict[str, str]:
        """Hash of what the parts hold. Raises BadInput naming the part and the place."""
        return {"contents": hash_json({name: _of_part(name, part.content) for name, part in self.parts.items()})}

    def load(self) -> Corpus:
        """Reads all parts. Raises BadInput naming the part, the file and the line."""
        loaded = {name: _of_part(name, part.load) for name, part in self.parts.items()}
        own = {name: (corpus.queries, corpus.documents) for name, corpus in loaded.items()}
        prefixed = _to_prefix(own)
        queries = [_as_domain(tables[0], "query_id", name, name in prefixed, QUERY) for name, tables in own.items()]
        documents = [_as_domain(tables[1], "doc_id", name, name in prefixed, DOCUMENT) for name, tables in own.items()]
        notes = [f"{name}: {note}" for name, corpus in loaded.items() for note in corpus.notes]
        used, more = self._used(pa.concat_tables(queries))
        if prefixed:
            notes.append(
                f"ids begin with their domain, {prefixed[0]}/..., where parts share ids: {', '.join(prefixed)}"
            )
        name = "+".join(self.parts) if len(self.parts) <= NAMED else f"mixture of {len(self.parts)}"
        return Corpus(used, pa.concat_tables(documents), name, (*notes, *more))

    def judgements(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Those of all parts. Raises BadInput naming the part, the file and the line."""
        return _joined({name: part.judgements for name, part in self.parts.items()}, queries, documents)

    def qrels_content(self) -> str:
        """Hash of the judgements. Raises BadInput naming the part, the file and the line."""
        return hash_json({name: _of_part(name, part.qrels_content) for name, part in self.parts.items()})

    def train_qrels(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Those of the parts that have any. Raises BadInput naming the part, the file and the line."""
        readers = {name: part.train_qrels for name, part in self.parts.items() if isinstance(part, TrainJudged)}
        return _joined(readers, queries, documents)

    def train_qrels_content(self) -> str | None:
        """Hash of them, None where there are none. Raises BadInput naming the part, the file and the line."""
        judged = {name: part for name, part in self.parts.items() if isinstance(part, TrainJudged)}
        found = {name: _of_part(name, part.train_qrels_content) for name, part in judged.items()}
        return hash_json(found) if any(found.values()) else None

    @property
    def _trained(self) -> list[str]:
        """Domains that train queries are taken from."""
        return [name for name in self.parts if name not in named(self.leave_out)]

    def _used(self, queries: pa.Table) -> tuple[pa.Table, list[str]]:
        """The queries, those that are not used with another split; and notes. Raises BadInput naming the part."""
        there = {name: _train(queries, name) for name in self._trained}
        for name, ids in there.items():
            if not ids:
                raise BadInput(
                    f"dataset.parts.{name} has no train queries; add unlabelled ones, let its dev queries serve"
                    f" (dataset.parts.{name}.train_on_dev=true), or only measure by it (dataset.leave_out={name})"
                )
        weights = {name: self.weights.get(name, 1.0) for name in there}
        whole = min(len(ids) / weights[name] for name, ids in there.items())
        surplus, said = [], []
        for name, ids in there.items():
            wanted = max(1, round(whole * weights[name])) if self.weights else len(ids)
            surplus += _drawn(ids, self.seed)[wanted:]
            said.append(f"{wanted:,} of {len(ids):,} {name} (weight {weights[name]:g})")
        notes = [f"train queries used, by weight: {', '.join(said)}"] if self.weights else []
        unused = pc.is_in(queries["query_id"], pa.array(surplus, pa.string()))
        queries, more = without(_with_split(queries, unused), self.leave_out)
        return queries, [*notes, *more]


def _with_split(queries: pa.Table, unused: pa.ChunkedArray) -> pa.Table:
    return queries.set_column(2, QUERY.field("split"), pc.if_else(unused, UNUSED, queries["split"]))


def _train(queries: pa.Table, domain: str) -> list[str]:
    """Ids of the train queries of a domain."""
    own = pc.and_(pc.equal(queries[DOMAIN], domain), pc.equal(queries["split"], TRAIN))
    return queries.filter(own)["query_id"].to_pylist()


def _drawn(ids: Sequence[str], seed: int) -> list[str]:
    """In an order by chance, which hangs on nothing but the seed and the ids."""
    return sorted(ids, key=lambda name: (content_seed(name, seed), name))


def _to_prefix(parts: Mapping[str, tuple[pa.Table, pa.Table]]) -> list[str]:
    """The parts whose ids get the name of their domain in front. parts: name -> queries and documents."""
    marks = tuple(f"{name}/" for name in parts)
    begins = "^(" + "|".join(map(re.escape, marks)) + ")"
    found = set()
    for place, column in enumerate(("query_id", "doc_id")):
        ids = {name: tables[place][column] for name, tables in parts.items()}
        every = pc.value_counts(
            pa.chunked_array([chunk for column in ids.values() for chunk in column.chunks], pa.string())
        )
        shared = every.filter(pc.greater(every.field("counts"), 1)).field("values")
        for name, own in ids.items():
            clash = pc.or_(pc.is_in(own, value_set=shared), pc.match_substring_regex(own, begins))
            if pc.any(clash, min_count=0).as_py():
                found.add(name)
    return [name for name in parts if name in found]


def _as_domain(table: pa.Table, column: str, name: str, prefix: bool, schema: pa.Schema) -> pa.Table:
    """QUERY or DOCUMENT rows with their domain, and with its name before the ids where these are prefixed."""
    table = table.select(schema.names)
    if prefix:
        ids = pc.binary_join_element_wise(f"{name}/", table[column], "")
        table = table.set_column(table.column_names.index(column), schema.field(column), ids)
    return table.append_column(DOMAIN, pa.chunked_array([pa.repeat(name, len(table))], pa.string()))


def _joined(readers: Mapping[str, Reader], queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """QREL rows and notes that the reader of each part gives for its own queries and documents."""
    tables, notes = [QREL.empty_table()], []
    for name, reader in readers.items():
        mark = f"{name}/"
        own = [
            table.filter(pc.equal(table[DOMAIN], name)).rename_columns({column: "id"})
            for table, column in ((queries, "query_id"), (documents, "doc_id"))
        ]
        prefixed = any(pc.any(pc.starts_with(table["id"], mark), min_count=0).as_py() for table in own)
        if prefixed:
            own = [
                table.set_column(
                    table.column_names.index("id"), "id", pc.utf8_slice_codeunits(table["id"], len(mark), None)
                )
                for table in own
            ]
        given = own[0].rename_columns({"id": "query_id"}), own[1].rename_columns({"id": "doc_id"})
        found, said = _of_part(name, partial(reader, *given))
        for column in ("query_id", "doc_id") if prefixed else ():
            place = found.column_names.index(column)
            found = found.set_column(place, QREL.field(column), pc.binary_join_element_wise(mark, found[column], ""))
        tables.append(found.select(QREL.names))
        notes += [f"{name}: {note}" for note in said]
    return pa.concat_tables(tables), tuple(notes)


def _of_part(name: str, call: Callable[[], T]) -> T:
    """What a part gives. Raises BadInput with the part's name, and with the keys that set its fields."""
    try:
        return call()
    except BadInput as error:
        words = re.sub(r"\bdataset\.(?=\w)", f"dataset.parts.{name}.", str(error))
        raise BadInput(words if f"dataset.parts.{name}." in words else f"dataset.parts.{name}: {words}") from error
