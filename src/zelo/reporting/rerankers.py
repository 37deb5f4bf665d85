"""Every reranker over every first stage, as a table for the terminal and for the report."""

from itertools import groupby
from typing import TYPE_CHECKING

from zelo.evaluation.verdict import FEWEST
from zelo.facts import Facts
from zelo.reporting import lineage

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

ALONE = "no reranker"
FILE = "rerankers.json"
CURVE = (112, 24)  # CSS pixels of the picture of a line
EDGE = 4


def of_run(result: "Result") -> Facts | None:
    """What the stage that compares them has found; None where none did."""
    found = lineage.written(result, FILE)
    return found if found and found["rows"] else None


def view(found: Facts) -> Facts:
    """For both: one group a first stage, in it a line a reranker, from low to high at the largest depth."""
    groups = []
    for stage, rows in groupby(found["rows"], key=lambda row: row["first_stage"]):
        own = list(rows)
        low, high = min(row["value"] for row in own), max(row["value"] for row in own)
        by_name = {name: list(some) for name, some in groupby(own, key=lambda row: row["reranker"])}
        alone = next(row["value"] for row in own if row["reranker"] is None)
        lines = [_line(name, some, found["depths"]) for name, some in by_name.items()]
        for line in lines:
            line["curve"] = _curve(line["values"], low, high)
        lines.sort(key=lambda line: (line["name"] != ALONE, line["values"][-1]))
        groups.append({"stage": stage, "lines": lines, "alone": _height(alone, low, high)})
    return {**found, "groups": groups, "few": found["queries"] < FEWEST, "curve": CURVE}


def _line(name: str | None, rows: list[Facts], depths: list[int]) -> Facts:
    """A first stage alone is the same with any number of candidates."""
    values = {row["depth"]: row["value"] for row in rows}
    last = rows[-1]
    return {
        "name": name or ALONE,
        "values": [values[depth] if name else last["value"] for depth in depths],
        "low": last["ci_low"],
        "high": last["ci_high"],
        "best": max(values, key=lambda depth: values[depth]) if name else None,
    }


def _curve(values: list[float], low: float, high: float) -> list[tuple[float, float]]:
    """(x, y) of each value in a picture as large as CURVE, all pictures of a first stage on one scale."""
    width, _ = CURVE
    step = (width - 2 * EDGE) / max(len(values) - 1, 1)
    return [(round(EDGE + n * step, 1), _height(value, low, high)) for n, value in enumerate(values)]


def _height(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return round(CURVE[1] - EDGE - share * (CURVE[1] - 2 * EDGE), 1)


def lines(found: Facts, width: int) -> list[str]:
    """A table in plain text, at most `width` columns wide where names allow it."""
    shown = view(found)
    head = ["", *(str(depth) for depth in found["depths"]), "best at"]
    rows: list[tuple[bool, list[str]]] = []
    for group in shown["groups"]:
        rows.append((True, [f"over {group['stage']}"]))
        for line in group["lines"]:
            numbers = [f"{value:.3f}" for value in line["values"]]
            rows.append((False, [line["name"], *numbers, str(line["best"] or "")]))
    names = min(max(len(cells[0]) for _, cells in rows) + 2, max(width - 9 * (len(head) - 1), 16))
    text = [f"{found['metric']} on {found['split']}, {found['queries']} queries, by candidates that are reranked"]
    text.append("".ljust(names) + "".join(cell.rjust(9) for cell in head[1:]))
    for title, cells in rows:
        first = cells[0] if title else f"  {cells[0]}"
        text.append((_cut(first, names).ljust(names) + "".join(cell.rjust(9) for cell in cells[1:])).rstrip())
    if shown["few"]:
        text.append(f"{found['queries']} queries are too few for a verdict (at least {FEWEST} are needed).")
    return text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
