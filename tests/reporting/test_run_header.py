"""The head of the report says what was run, and what was paid for it now and before."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zelo.facts import Facts
from zelo.pipeline.run import Result
from zelo.reporting import run_header
from zelo.store.table import Table

PAID = {"price": "known", "usd": 1.5, "calls": 30}


@pytest.mark.parametrize(
    ("judged", "cost"),
    [
        ({"judges": {"chat": PAID, "lexical": {}}}, "$1.50 for 30 calls; $2.00 when cached stages were computed"),
        (
            {"judges": {"chat": PAID | {"price": "unknown", "usd": None}}},
            "$0 for 30 calls; $2.00 when cached stages were computed; the price of chat is not known",
        ),
        ({"asked": 7}, "$0 for 0 calls; $2.00 when cached stages were computed"),
    ],
)
def test_it_says_what_was_run_and_paid(judged: Facts, cost: str, tmp_path: Path) -> None:
    data = Table("load", "", tmp_path, {"name": "mine"})
    for name, rows in (("queries", 3), ("documents", 1200)):
        pq.write_table(pa.table({"id": list(range(rows))}), tmp_path / f"{name}.parquet")
    bought = Table("baseline", "", tmp_path, {"asked": {"price": "known", "usd": 2.0, "calls": 9}})
    tables = {"load": data, "judge": Table("judge", "", tmp_path, judged), "baseline": bought}
    facts = {name: {"status": "cached" if name == "baseline" else "computed"} for name in tables}
    stages = {
        "judge": {"status": "computed", "seconds": 75.2, "computed_in": 75.2},
        "baseline": {"status": "cached", "seconds": 0.0, "computed_in": 3.0},
    }
    manifest = {"command": "zelo data=x", "started": "2026-01-31T18:05:59+0100", "versions": {"zelo": "1"}}
    said = dict(run_header.lines(Result([], tables, facts), manifest | {"stages": stages}, data, tmp_path / "run"))
    assert said == {
        "command": "zelo data=x",
        "started": "2026-01-31 18:05 (+0100), zelo 1",
        "data": "mine: 3 queries, 1,200 documents",
        "time": "1 min 15 s for 1 of 2 stages; the others are cached and took 3.0 s before",
        "cost": cost,
    }
