"""What each judge was asked in a run, how its questions ended, and what the answers cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zelo.auditing.advice import MIN_ANSWERED, dollars
from zelo.budget.request_batch import faults_in_words, reasons_in_words
from zelo.facts import Facts
from zelo.metrics import tally
from zelo.records import ANSWERED
from zelo.reporting import lineage
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result


def rows(judged: Table, weights: Mapping[str, Facts] = {}) -> list[Facts]:
    """One row a judge of a judge stage's table: name, status, asked, answered, usable, tokens, usd, usd_per_preference, calls.

    And ndcg and weight, where `weights` has the judge. calls is what the stage noted of this run's calls (from_ledger, calls,
    retries, faults ...), {} for a judge without any.
    """
    noted: Facts = judged.manifest.get("judges", {})
    found = []
    for name, one in tally.of_files(judged.shards("outcomes")).items():
        calls = {key: value for key, value in noted.get(name, {}).items() if key != "status"}
        price = one.usd_per_preference(calls.get("price") == tally.FREE)
        known = {key: weights.get(name, {}).get(key) for key in ("ndcg", "weight")}
        found.append({"name": name, **one.facts(), "usd_per_preference": price, "calls": calls, **known})
    return found


def of_stage(result: "Result", name: str) -> list[Facts]:
    """Rows of one judge stage of a run, with ndcg and weight where the run weighs judges."""
    weighing = lineage.weighing(result, name)
    return rows(result.tables[name], result.tables[weighing].manifest["weights"] if weighing else {})


def view(row: Facts) -> dict[str, object]:
    """One row as the template shows it; empty where there is nothing to say, and a column that all leave empty is not shown."""
    calls, share = row["calls"], row["answered"]
    others = {status: count for status, count in row["status"].items() if status != ANSWERED}
    return {
        "name": row["name"],
        "stage": row.get("stage", ""),
        "asked": row["asked"],
        "answered": "–" if share is None else f"{100 * share:.1f} %" if share < 1 else "100 %",
        "low": share is not None and share < MIN_ANSWERED,
        "others": listed(others),
        "faults": faults_in_words(calls),
        "reasons": reasons_in_words(calls),
        **{key: f"{calls[key]:,}" if key in calls else "" for key in ("calls", "from_ledger")},
        "cut": f"{calls['cut']:,}" if calls.get("cut") else "",
        "tokens": f"{row['tokens']:,}" if row["tokens"] else "",
        "usd": "not known" if row["usd_per_preference"] is None and row["tokens"] else money(row["usd"]),
        **{
            key: "" if row["ndcg"] is None else f"{row[key]:.{digits}f}" for key, digits in (("ndcg", 3), ("weight", 2))
        },
        "each": money(row["usd_per_preference"]) if row["usable"] and row["usd_per_preference"] != 0 else "",
    }


def listed(counts: Mapping[str, int]) -> str:
    """Names with their counts, the largest first."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    return ", ".join(f"{name} {counts[name]:,}" for name in order)


def money(usd: float | None) -> str:
    """US dollars; nothing known is not nothing paid."""
    return "not known" if usd is None else dollars(usd) if usd else "free"
