"""What judges said about the pairs that they differ about most."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.records import Questions

REASON = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_a", pa.string()),
        ("doc_b", pa.string()),
        ("judge", pa.string()),
        ("swapped", pa.bool_()),  # doc_b was shown first, as A
        ("text", pa.string()),
    ]
)
KEPT = 300  # questions


@dataclass
class Widest:
    """The questions about which the judges differ most, so far; all of them where there are few."""

    questions: list[tuple[Questions, Mapping[str, np.ndarray]]] = field(
        default_factory=list
    )  # with `swapped` per judge
    spread: list[np.ndarray] = field(default_factory=list)

    def add(self, questions: Questions, swapped: Mapping[str, np.ndarray], tables: list[pa.Table]) -> None:
        """tables: OUTCOME rows of each judge about these questions, in their order."""
        p = np.stack([table["p"].to_numpy().astype(np.float64) for table in tables])
        known = ~np.isnan(p)
        spread = np.where(known, p, -np.inf).max(axis=0) - np.where(known, p, np.inf).min(axis=0)
        spread = np.where(known.any(axis=0), spread, -1.0)
        rows = np.sort(np.argsort(-spread, kind="stable")[:KEPT])
        self.questions.append((questions.take(rows), {name: column[rows] for name, column in swapped.items()}))
        self.spread.append(spread[rows])
        self._cut()

    def _cut(self) -> None:
        if sum(map(len, self.spread)) <= 4 * KEPT:
            return
        least = np.sort(np.concatenate(self.spread))[-KEPT]
        kept = [(np.flatnonzero(spread >= least), place) for place, spread in enumerate(self.spread)]
        self.questions = [
            (self.questions[n][0].take(rows), {name: of[rows] for name, of in self.questions[n][1].items()})
            for rows, n in kept
        ]
        self.spread = [self.spread[n][rows] for rows, n in kept]

    def reasons(self, said: Mapping[str, Callable[[Questions], Iterator[tuple[int, str]]]]) -> pa.Table:
        """REASON rows. said: judge -> (row, text) of what it answered to questions as it saw them."""
        parts = [REASON.empty_table()]
        for questions, swapped in self.questions:
            for name, texts in said.items():
                found = list(texts(questions.flipped(swapped[name])))
                rows = np.array([row for row, _ in found], np.int64)
                columns = [column.take(rows) for column in (questions.query_id, questions.doc_a, questions.doc_b)]
                columns += [pa.array([name] * len(rows), pa.string()), pa.array(swapped[name][rows])]
                parts.append(pa.Table.from_arrays([*columns, pa.array([text for _, text in found])], schema=REASON))
        table = pa.concat_tables(parts)
        return table.filter(pc.not_equal(table["text"], ""))
