"""Judges with a planted fault, their answers to one small set of questions, and an audit of them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zelo.auditing.design import AuditDesign
from zelo.graphs.cycles import Cycles
from zelo.records import ANSWERED, DOCUMENT, OUTCOME, QREL, QUERY
from zelo.stages.audit import Audit
from zelo.store.table import Table

QUERIES, DOCUMENTS = 20, 3  # 20 triads, 60 pairs
FREE_OF_CHARGE = (0, 0.0)

Preference = Callable[[int, int, int, bool, int], float | None]
"""(query, document a, document b, a is shown first, repeat) -> P(a preferred), None: no answer."""


def true(query: int, document: int) -> int:
    """How good a document is; in every query another order."""
    return (query + document) % DOCUMENTS


def right(query: int, a: int, b: int, first: bool, repeat: int) -> float:
    return 0.6 + 0.01 * query if true(query, a) > true(query, b) else 0.4 - 0.01 * query


def position(query: int, a: int, b: int, first: bool, repeat: int) -> float:
    return 0.9 if first else 0.1


def coin(query: int, a: int, b: int, first: bool, repeat: int) -> float:
    return float(np.random.default_rng([query, a, b, first, repeat]).random())


def circular(query: int, a: int, b: int, first: bool, repeat: int) -> float:
    return 0.8 if (b - a) % 3 == 1 else 0.2


def mostly_failing(query: int, a: int, b: int, first: bool, repeat: int) -> float | None:
    return right(query, a, b, first, repeat) if query % 2 else None


def table(judges: dict[str, Preference], price: tuple[int, float] = FREE_OF_CHARGE) -> pa.Table:
    """OUTCOME rows of all pairs, both orders, two repeats. price: tokens and dollars of each question."""
    rows = []
    for name, judge in judges.items():
        for query in range(QUERIES):
            for a, b in ((0, 1), (2, 1), (0, 2)):
                for swapped in (False, True):
                    for repeat in (0, 1):
                        p = judge(query, a, b, not swapped, repeat)
                        status = ANSWERED if p is not None else "refused" if query % 4 else "failed"
                        pair = (f"q{query}", f"d{a}", f"d{b}", None, None)
                        rows.append((*pair, name, repeat, p, 1.0, swapped, status, *price))
    columns = dict(zip(OUTCOME.names, map(list, zip(*rows, strict=True)), strict=True))
    return pa.table({name: pa.array(columns[name], OUTCOME.field(name).type) for name in OUTCOME.names})


def data_and_labels(tmp_path: Path) -> dict[str, Table]:
    """A load stage's table of 20 dev queries with the same three documents, and labels of half of the queries."""
    ids = [f"q{query}" for query in range(QUERIES)]
    documents = [
        [f"d{n}" for n in range(DOCUMENTS)],
        ["", "t", ""],
        ["short", "longer than short", "the longest of all"],
    ]
    qrels = [(f"q{query}", f"d{d}", true(query, d)) for query in range(0, QUERIES, 2) for d in range(2)]
    columns = [list(column) for column in zip(*qrels, strict=True)]
    data = {
        "queries": pa.table([ids, [f"question {name}" for name in ids], ["dev"] * QUERIES], schema=QUERY),
        "documents": pa.table(documents, schema=DOCUMENT),
    }
    labels = {"qrels": pa.table([*columns, ["dev"] * len(qrels)], schema=QREL)}
    return {role: stored(tmp_path, role, files) for role, files in (("data", data), ("labels", labels))}


def stored(folder: Path, kind: str, files: dict[str, pa.Table], **manifest: Any) -> Table:
    path = folder / kind
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        pq.write_table(content, path / f"{name}.parquet")
    return Table(kind, kind, path, manifest)


@dataclass(frozen=True)
class Warm:
    """A model whose temperature can be lowered."""

    name: str
    temperature: float | None


def stage(**fields: Any) -> Audit:
    known = {"inputs": {}, "graph": Cycles(degree=2), "judge": Warm("coin", 1.0), "top_k": 3}
    known |= {"design": AuditDesign(sample_queries=QUERIES, documents_per_query=3, repeats=2, injection=None)}
    return Audit(**(known | {"human": None, "resamples": 400, "seed": 0} | fields))


def audited(
    tables: dict[str, Table], outcomes: pa.Table, out: Path, audit: Audit | None = None, **manifest: Any
) -> dict[str, Any]:
    """audit.json of these outcomes."""
    judge = stored(out, "judge", {"outcomes": outcomes, "widest": outcomes}, **manifest)
    (out / "audit").mkdir(exist_ok=True)
    (audit or stage()).run(tables | {"outcomes": judge}, out / "audit")
    return json.loads((out / "audit" / "audit.json").read_text(), parse_constant=pytest.fail)


def verdict(told: dict[str, Any], name: str) -> str:
    return next(one["verdict"] for one in told["advice"] if one["about"] == name)
