"""Latency and cost of systems, as a table for the terminal."""

from itertools import groupby

from zelo.facts import Facts

FILE = "latency.json"
HEAD = ("p50 ms", "95 % interval", "p95 ms", "calls", "queries/s", "docs/s", "tokens/s", "MB", "$ per 1,000")


def lines(found: Facts) -> list[str]:
    """A table in plain text: a group for each payload, and what it was measured on."""
    rows: list[tuple[str, list[str]]] = []
    for size, members in groupby(found["rows"], key=lambda row: row["bytes"]):
        group = list(members)
        rows.append((_title(size, group), []))
        rows += [(f"  {row['system']}", _cells(row)) for row in group]
    names = max(len(name) for name, cells in rows if cells) + 2
    widths = [max(len(head), *(len(cells[n]) for _, cells in rows if cells)) + 2 for n, head in enumerate(HEAD)]
    shown = [n for n in range(len(HEAD)) if any(cells and cells[n] for _, cells in rows)]
    text = ["Latency, one query at a time", "".ljust(names) + "".join(HEAD[n].rjust(widths[n]) for n in shown)]
    for name, cells in rows:
        text.append(name.ljust(names) + "".join(cells[n].rjust(widths[n]) for n in shown) if cells else name)
    return [line.rstrip() for line in text] + _about(found)


def _title(size: int | None, rows: list[Facts]) -> str:
    documents = rows[0]["documents"]
    if size is None:
        return f"a query over {documents:,} documents"
    return f"{size / 1000:g} KB: a query with {documents:g} documents"


def _cells(row: Facts) -> list[str]:
    interval = "" if row["p50_low"] is None else f"{_ms(row['p50_low'])} to {_ms(row['p50_high'])}"
    memory = row["gpu_memory_mb"] if row["gpu_memory_mb"] is not None else row["memory_mb"]
    return [
        _ms(row["p50"]),
        interval,
        _ms(row["p95"]),
        str(row["calls"]),
        f"{row['queries_per_second']:,.2f}",
        _rate(row["documents_per_second"]),
        _rate(row["tokens_per_second"]),
        _rate(memory),
        "" if row["usd_per_1000"] is None else f"{row['usd_per_1000']:,.3f}",
    ]


def _about(found: Facts) -> list[str]:
    machine = found["machine"]
    device = machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads"
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "transformers", "sentence-transformers"))
    paid = "; 1,000 queries of an endpoint cost what its calls cost" * any("endpoint" in row for row in found["rows"])
    own = found["dollars_per_hour"] or 0
    price = f"; this machine costs {own:g} dollars an hour" * bool(own)
    return [
        f"Measured {found['measured']} on {device}; {versions}.",
        f"Calls to warm up, not counted: {found['warmup']}. Memory is the peak above what the process held before the"
        f" model{paid}{price}.",
    ]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.1f}"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
