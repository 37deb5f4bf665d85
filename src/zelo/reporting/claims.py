"""The page of a paper's claims, from what the jobs of a sweep have written: no number on it is typed in."""

import json
from pathlib import Path

from zelo.facts import Facts

FILE, PAGE = "claim.json", "claims.md"
HEAD = """# The paper's claims

Claims of the zELO paper (arXiv 2509.12541) and of what its authors wrote later, what was run to see whether they hold, and what
came out. A claim holds where the 95 % interval of each difference (paired permutation test over queries) lies on the claimed
side, does not hold where one lies on the other, and else cannot be told. What is so at this size need not be so at another.

`make claims` runs them all and writes this page, `zelo experiment/claims=c09` runs one. A claim that is not run has the recipe
of its full size in `conf/experiment/claims/`; its cost is at list prices with answers of an assumed length, and the hours are
reckoned from weights and tokens.

| claim | made in | what was run | figures | verdict |
| --- | --- | --- | --- | --- |
"""


def rows(sweep: Path) -> list[Facts]:
    """What the finished jobs of a sweep say, by the number of the claim; none where they were no claims."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sweep.glob(f"*/{FILE}")]
    return sorted(found, key=lambda row: (int(row["id"].lstrip("C")), row["ran"]))


def page(found: list[Facts]) -> str:
    """Markdown. found: of `rows`."""
    return HEAD + "".join(_line(row) for row in found)


def _line(row: Facts) -> str:
    cost, last = row["cost"], ""
    if cost:
        dollars = "" if cost["usd"] is None else f"${cost['usd']:,.0f} for judges and "
        last = f" At {cost['queries']:,} queries: {dollars}{cost['hours']:,.0f} H100 hours."
    figures = "<br>".join(row["figures"])
    cells = (f"**{row['id']}** {row['says']}", row["source"], row["ran"] + last, figures, row["verdict"])
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"
