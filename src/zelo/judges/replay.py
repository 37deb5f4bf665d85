"""Judgements made elsewhere: the outcomes of a judge stage, or anybody's, in a parquet file."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.errors import BadInput
from zelo.judges.missing import Missing
from zelo.judges.rubric import only_compares
from zelo.likelihood.randomness import id_hashes, mixed
from zelo.records import ANSWERED, OUTCOME, STATUSES, UNSENT, Outcomes, Questions
from zelo.store.hashing import hash_file

_IDS = ("query_id", "doc_a", "doc_b")
_NEEDED = (*_IDS, "judge", "repeat", "p", "status")
_OPTIONAL = ("query_id_b", "weight")  # null and 1 where the file has none
_NUMBERS = {"repeat": pa.types.is_integer, "p": pa.types.is_floating, "weight": pa.types.is_floating}
_PAIR = np.uint64(1)  # sets a query from a document with the same id
_SEED = 0  # of the hashes that ids are matched by


@dataclass(frozen=True)
class _Known:
    """The K pairs of a file, by ascending key."""

    key: np.ndarray  # [K] uint64, the same for (a, b) and (b, a)
    p: np.ndarray  # [K] P(side with the smaller hash preferred), nan unless answered
    weight: np.ndarray  # [K]
    status: np.ndarray  # [K] place in STATUSES


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Answers from `path`, a parquet file of OUTCOME rows, matched by ids and repeat in either orientation.

    `judge` picks that judge's rows; None takes the mean of all that answered, each weighted as it counts. A pair that nobody
    answered has the status that the file gives, and what the file lacks is unsent, never a vote.
    """

    name: str
    path: str
    judge: str | None
    _missing: Missing = field(init=False, repr=False, compare=False, default_factory=Missing)

    def content(self) -> dict[str, str]:
        """Hash of the file. Raises BadInput if it is not there."""
        return {"path": hash_file(self._file())}

    def compare(self, questions: Questions) -> Outcomes:
        """One outcome per question.

        Raises BadInput where a document alone is asked about: OUTCOME rows are comparisons.
        """
        only_compares(self.name, questions)
        n, known = len(questions), self._known
        query = other = id_hashes(questions.queries["query_id"], questions.query_row, _SEED)
        if questions.query_b_row is not None:
            other = id_hashes(questions.queries["query_id"], questions.query_b_row, _SEED)
        doc = id_hashes(questions.documents["doc_id"], np.concatenate([questions.a_row, questions.b_row]), _SEED)
        asked, flipped = _pairs(mixed(_PAIR, query, doc[:n]), mixed(_PAIR, other, doc[n:]), questions.repeat)
        place = np.searchsorted(known.key, asked)
        found = np.append(known.key, 0)[place] == asked
        p = np.where(found, np.append(known.p, np.nan)[place], np.nan)
        status = np.where(found, np.append(known.status, 0)[place], STATUSES.index(UNSENT))
        self._missing.add(questions, found)
        weight = np.where(found, np.append(known.weight, 1)[place], 1)
        free = np.zeros(n, np.int32)
        return Outcomes.of(self.name, np.where(flipped, 1 - p, p), weight, status.astype(np.int32), free, free)

    def notes(self) -> list[str]:
        """Whether anything was missing, and what."""
        return self._missing.notes(self.name, self.path)

    @cached_property
    def _known(self) -> _Known:
        table = self._read()
        query, doc_a, doc_b = (_column_hashes(table, column, self.path) for column in _IDS)
        other = query
        if "query_id_b" in table.column_names and table["query_id_b"].null_count < len(table):
            across = table["query_id_b"].is_valid().to_numpy()
            other = np.where(across, _column_hashes(table, "query_id_b", self.path), query)
        key, flipped = _pairs(mixed(_PAIR, query, doc_a), mixed(_PAIR, other, doc_b), table["repeat"].to_numpy())
        distinct, pair = np.unique(key, return_inverse=True)
        p, weight, status = self._answers(table)
        count = len(distinct)
        best = np.full(count, len(STATUSES))
        np.minimum.at(best, pair, status)  # answered comes first
        got = status == STATUSES.index(ANSWERED)
        p = np.where(flipped, 1 - p, p)[got]
        total = np.bincount(pair[got], weight[got], count)
        with np.errstate(invalid="ignore"):
            mean = np.bincount(pair[got], weight[got] * p, count) / total
            weight = np.where(total > 0, total / np.bincount(pair[got], minlength=count), 1.0)
        return _Known(distinct, mean, weight, best)

    def _answers(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """([M] p, [M] weight, [M] place in STATUSES). Raises BadInput at the first row that contradicts itself."""
        p = table["p"].to_numpy().astype(np.float64)
        weight = (
            table["weight"].to_numpy().astype(np.float64) if "weight" in table.column_names else np.ones(len(table))
        )
        status = pc.index_in(table["status"].cast(pa.string()), value_set=pa.array(STATUSES))  # pyright: ignore[reportAttributeAccessIssue]
        if status.null_count:
            row = status.is_null().to_numpy().argmax()
            raise BadInput(
                f"{self.path}: row {row} has the status {table['status'][row].as_py()!r}; one of {', '.join(STATUSES)}."
            )
        status = status.to_numpy()
        answered = status == STATUSES.index(ANSWERED)
        for bad, complaint in (
            (answered & ~((p >= 0) & (p <= 1)), "is answered, but its p is not in [0, 1]"),
            (~answered & ~np.isnan(p), "has a p, but is not answered"),
            (
                answered & ~((weight > 0) & (weight <= np.finfo(np.float32).max)),
                "has a weight that is not positive and finite",
            ),
            (_same(table), "compares a document with itself"),
        ):
            if bad.any():
                raise BadInput(f"{self.path}: row {int(bad.argmax())} {complaint}. Fix the file or name another.")
        return p, weight, status

    def _read(self) -> pa.Table:
        path = self._file()
        try:
            schema = pq.read_schema(path)
            for column in _NEEDED:
                if column not in schema.names:
                    raise BadInput(
                        f"{path} has no column {column}; it needs {', '.join(_NEEDED)}, as OUTCOME rows have."
                    )
            columns = [name for name in (*_NEEDED, *_OPTIONAL) if name in schema.names]
            table = pq.read_table(path, columns=columns, read_dictionary=[*_IDS, "query_id_b", "judge", "status"])
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"judge {self.name}: path={self.path} cannot be read as parquet ({error}).") from error
        for column, fits in _NUMBERS.items():
            if column in columns and (not fits(table[column].type) or (table[column].null_count and column != "p")):
                raise BadInput(
                    f"{path}: column {column} ({table[column].type}, {table[column].null_count} nulls) must be"
                    f" {OUTCOME.field(column).type}, and only p may be null."
                )
        if self.judge is None:
            return table
        chosen = table.filter(pc.equal(table["judge"].cast(pa.string()), self.judge))  # pyright: ignore[reportAttributeAccessIssue]
        if not len(chosen):
            there = ", ".join(sorted(map(str, table["judge"].unique().to_pylist()))) or "none"
            raise BadInput(
                f"{path} has no rows of judge={self.judge!r}. There are: {there}. judge=null takes them all."
            )
        return chosen

    def _file(self) -> Path:
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise BadInput(f"judge {self.name}: path={self.path} is no file. Give a parquet file of outcomes.")
        return path


def _same(table: pa.Table) -> np.ndarray:
    """[M] bool: a document against itself, for one query."""
    same = pc.equal(table["doc_a"].cast(pa.string()), table["doc_b"].cast(pa.string()))
    if "query_id_b" in table.column_names:
        same = pc.and_(same, pc.is_null(table["query_id_b"]))
    return same.to_numpy()


def _pairs(a: np.ndarray, b: np.ndarray, repeat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([N] uint64 key of pair and repeat, [N] whether b comes first in it)."""
    return mixed(np.minimum(a, b), np.maximum(a, b), repeat.astype(np.uint64)), a > b


def _column_hashes(table: pa.Table, column: str, path: str) -> np.ndarray:
    """[M] uint64 hashes of a column of ids, null ones aside. Raises BadInput where they are no strings."""
    ids = table[column].unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(ids.type) or (ids.null_count and column in _IDS):
        raise BadInput(f"{path}: the ids in column {column} must be strings, none of them null.")
    return id_hashes(pa.chunked_array([ids.dictionary]), ids.indices.fill_null(0).to_numpy(), _SEED)
