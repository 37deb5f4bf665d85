"""What judges wrote about the pairs that they differ about most."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.records import OUTCOME, Questions

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
    outcomes: list[list[pa.Table]] = field(default_factory=list)  # OUTCOME rows of each judge about them
    spread: list[np.ndarray] = field(default_factory=list)

    def add(self, questions: Questions, swapped: Mapping[str, np.ndarray], tables: list[pa.Table]) -> None:
        """tables: OUTCOME rows of each judge about these questions, in their order."""
        p = np.stack([table["p"].to_numpy().astype(np.float64) for table in tables])
        known = ~np.isnan(p)
        spread = np.where(known, p, -np.inf).max(axis=0) - np.where(known, p, np.inf).min(axis=0)
        self.questions.append((questions, swapped))
        self.outcomes.append(tables)
        self.spread.append(np.where(known.any(axis=0), spread, -1.0))
        self._keep([np.sort(np.argsort(-one, kind="stable")[:KEPT]) for one in self.spread])
        if sum(map(len, self.spread)) > 4 * KEPT:
            least = np.sort(np.concatenate(self.spread))[-KEPT]
            self._keep([np.flatnonzero(one >= least)[:KEPT] for one in self.spread])

    def _keep(self, rows: list[np.ndarray]) -> None:
        """rows: of each batch, by position."""
        for n, kept in enumerate(rows):
            questions, swapped = self.questions[n]
            if len(kept) < len(questions):
                self.questions[n] = questions.take(kept), {name: column[kept] for name, column in swapped.items()}
                self.outcomes[n] = [table.take(kept) for table in self.outcomes[n]]
                self.spread[n] = self.spread[n][kept]

    def table(self) -> pa.Table:
        """OUTCOME rows of all judges about these questions."""
        return pa.concat_tables([OUTCOME.empty_table(), *(table for tables in self.outcomes for table in tables)])

    def reasons(self, texts: Mapping[str, Callable[[Questions], Iterator[tuple[int, str]]]]) -> pa.Table:
        """REASON rows. texts: judge -> (row, text) of what it answered to questions as it saw them."""
        return pa.concat_tables([REASON.empty_table(), *(written(*part, texts) for part in self.questions)])


def written(
    questions: Questions,
    swapped: Mapping[str, np.ndarray],
    texts: Mapping[str, Callable[[Questions], Iterator[tuple[int, str]]]],
) -> pa.Table:
    """REASON rows about these questions. swapped: judge -> [N] bool; texts: as in `Widest.reasons`."""
    parts = [REASON.empty_table()]
    for name, answers in texts.items():
        found = list(answers(questions.flipped(swapped[name])))
        rows = np.array([row for row, _ in found], np.int64)
        columns = [column.take(rows) for column in (questions.query_id, questions.doc_a, questions.doc_b)]
        columns += [pa.array([name] * len(rows), pa.string()), pa.array(swapped[name][rows])]
        parts.append(pa.Table.from_arrays([*columns, pa.array([text for _, text in found])], schema=REASON))
    table = pa.concat_tables(parts)
    return table.filter(pc.not_equal(table["text"], ""))
