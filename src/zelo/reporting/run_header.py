"""The head of the report: what was run when, on what, how long it took, what it cost and where the models are."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from zelo.budget.price import money
from zelo.facts import Facts
from zelo.reporting import lineage
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

DATA = ("queries", "documents")
UNKNOWN = "unknown"  # the price of a judge


def lines(result: "Result", manifest: Facts, data: Table, folder: Path) -> list[tuple[str, str]]:
    """(subject, words). manifest: the run's; data: holds its queries and documents; folder: of the run."""
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    models = [lineage.step_of(result, name).stage.name for name in lineage.students(result)]
    version = manifest["versions"].get("zelo")
    found = [
        ("command", manifest["command"]),
        ("started", _when(manifest["started"]) + (f", zelo {version}" if version else "")),
        ("data", _size(data)),
        ("time", _time(manifest["stages"])),
        ("cost", _cost(result)),
        ("models", ", ".join(str(here / name) for name in models)),
    ]
    return [(subject, words) for subject, words in found if words]


def _when(started: str) -> str:
    """2026-01-31T18:05:00+0100 for people."""
    day, _, clock = started.partition("T")
    return f"{day} {clock[:5]} ({clock[8:]})" if clock else day


def _size(data: Table) -> str:
    queries, documents = (sum(pq.read_metadata(path).num_rows for path in data.shards(name)) for name in DATA)
    name = data.manifest.get("name")
    return (f"{name}: " if name else "") + f"{queries:,} queries, {documents:,} documents"


def _time(stages: Facts) -> str:
    computed = [stage["seconds"] for stage in stages.values() if stage["status"] != "cached"]
    cached = [stage["computed_in"] for stage in stages.values() if stage["status"] == "cached"]
    said = f"{_clock(sum(computed))} for {len(computed)} of {len(stages)} stages"
    return said + (f"; the others are cached and took {_clock(sum(cached))} before" if cached else "")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _cost(result: "Result") -> str:
    """What providers were paid, of this run and, apart, of tables that were there before."""
    spent = {True: 0.0, False: 0.0}  # by whether the table was there before
    calls, unknown = 0, set()
    for name, table in result.tables.items():
        before = result.facts[name]["status"] == "cached"
        for asked, facts in {**table.manifest.get("judges", {}), name: table.manifest.get("asked")}.items():
            if isinstance(facts, dict) and "price" in facts:  # of some stages `asked` is a count
                spent[before] += facts.get("usd") or 0.0
                calls += 0 if before else facts.get("calls", 0)
                unknown |= {asked} if facts["price"] == UNKNOWN else set()
    if not calls and not spent[True] and not unknown:
        return "free: nothing was sent to a provider"
    said = f"{money('known', spent[False]) if spent[False] else '$0'} for {calls:,} calls"
    said += f"; {money('known', spent[True])} when cached stages were computed" if spent[True] else ""
    return said + (f"; the price of {', '.join(sorted(unknown))} is not known" if unknown else "")
