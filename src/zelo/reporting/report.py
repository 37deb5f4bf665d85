"""The report of a run: one HTML file that needs no network. Plain data in, text out.

One script runs on it, that of the query browser, which a policy names by its hash: no text of the data can be another.
"""

import base64
import hashlib
import math
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from zelo.facts import Facts
from zelo.records import TEST
from zelo.reporting import audit_page, judge_costs, plots, probability_page, ratings_page, rerankers, side_by_side_page
from zelo.reporting.evaluation import CIRCULAR, FIRST_STAGES, GROUPS, NO_LABELS, shown
from zelo.reporting.excerpts import cut
from zelo.reporting.gains import Gain, gain_of
from zelo.reporting.plots import AxisScale
from zelo.reporting.report_data import ReportData

MAIN_METRIC = "nDCG@10"
PROTOCOLS = {"natural": "", "judge": NO_LABELS}  # in words; others as they are
EQUAL = 1e-9  # differences up to here count as equal
SCRIPT = Path(__file__).with_name("query_browser.js")
EXTREMES = 5  # queries listed as largest gains and as largest losses
# control characters other than tab and line ends, lone surrogates: neither HTML nor UTF-8 can carry them
_UNFIT = dict.fromkeys(
    [*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\ufffd"
)


def render(data: ReportData) -> str:
    """The page. Equal data give equal bytes; every text is escaped; nothing is fetched."""
    main = {verdict["system"]: verdict for verdict in reversed(data.verdicts)}  # a student's first verdict
    verdicts = [verdict | {"minor": main[verdict["system"]] is not verdict} for verdict in data.verdicts]
    found = [gain_of(verdict, data.per_query) for verdict in verdicts if not verdict["minor"]]
    differences = [gain for gain in found if gain]
    drawn = [(name, plots.curves(points, f"curve{n}")) for n, (name, points) in enumerate(data.curves.items())]
    page, script = environment().get_template("report.html.jinja"), SCRIPT.read_text(encoding="utf-8")
    return page.render(
        data=data,
        verdicts=verdicts,
        circular=CIRCULAR if any(verdict["circular"] for verdict in verdicts) else "",
        verdict_scale=_difference_scale(data.verdicts),
        boards=_boards(data.metrics, _main_metric(data), data.groups),
        gains=_gain_figures(differences, data.query_texts),
        packed=Markup(data.browser.packed) if data.browser else "",
        script=Markup(script) if data.browser else "",
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        listed=data.browser.listed if data.browser else set(),
        curves=[{"name": name, "svg": Markup(svg)} for name, svg in drawn],
        longest=max([max(stage["seconds"] or 0, stage.get("computed_in") or 0) for stage in data.stages], default=0)
        or 1,
        trained=not data.audit or bool(data.verdicts or data.browser),  # else there is nothing but the audit to show
        audit=audit_page.view(data.audit) if data.audit else None,
        judges=[judge_costs.view(row) for row in data.judges],
        disagreements=data.disagreements,
        side_by_side=[side_by_side_page.view(one) for one in data.side_by_side],
        rerankers=rerankers.view(data.rerankers) if data.rerankers else None,
        probabilities=probability_page.view(data.probabilities, data.groups),
        ratings=ratings_page.view(data.ratings) if data.ratings else None,
        peak_memory=max([stage["peak_memory_mb"] or 0 for stage in data.stages], default=0) or None,
    )


def environment() -> jinja2.Environment:
    """Templates of this folder, escaping everything; pages extend page.html.jinja."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: _fit(value) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "cut": cut,
        "metric": shown,
        "number": number,
        "place": lambda query: quote(query, safe=""),
        "percent": percent,
        "signed": signed,
        "p_value": p_value,
        "duration": duration,
        "size": size,
    }
    return templates


def _gain_figures(differences: list[Gain], texts: dict[str, str]) -> list[dict[str, object]]:
    limit = max([float(np.abs(gain.difference).max()) for gain in differences], default=0.0) * 1.08 or 1.0
    figures = []
    for place, gain in enumerate(differences):
        rows = [
            {
                "query_id": query,
                "text": texts.get(query, query),
                "before": before,
                "after": after,
                "difference": after - before,
            }
            for query, before, after in zip(gain.queries, gain.before.tolist(), gain.after.tolist(), strict=True)
        ]
        won = [row for row in rows if row["difference"] > EQUAL]
        lost = [row for row in rows if row["difference"] < -EQUAL]
        tooltips = [f"{signed(row['difference'])}  {_fit(cut(row['text'], 160))}" for row in rows]
        figures.append(
            {
                "verdict": gain.verdict,
                "svg": Markup(plots.gains(gain.difference, tooltips, limit, f"gain{place}")),
                "won": len(won),
                "lost": len(lost),
                "equal": len(rows) - len(won) - len(lost),
                "most": won[:EXTREMES],
                "least": lost[::-1][:EXTREMES],
            }
        )
    return figures


def _main_metric(data: ReportData) -> str:
    names = [row["metric"] for row in (*data.verdicts, *data.metrics)]
    return MAIN_METRIC if MAIN_METRIC in names or not names else names[0]


def _difference_scale(verdicts: list[Facts]) -> AxisScale:
    values = [value for verdict in verdicts for value in (verdict["ci_low"], verdict["ci_high"], verdict["difference"])]
    return AxisScale.around([0.0, *(value for value in values if value is not None)])


def _boards(metrics: list[Facts], main: str, groups: dict[str, str]) -> list[dict[str, object]]:
    """One leaderboard for each split, protocol and domain; those of the test split come first."""
    keys = ("split", "protocol", "domain")
    known = list(dict.fromkeys(tuple(row[key] or "" for key in keys) for row in metrics))
    boards = []
    for place in sorted(known, key=lambda place: place[0] != TEST):
        rows = [row for row in metrics if tuple(row[key] or "" for key in keys) == place]
        names = list(dict.fromkeys(row["metric"] for row in rows))
        first = main if main in names else names[0]
        systems = _systems(rows, first, groups)
        ends = [
            end for system in systems for end in (system["low"], system["value"], system["high"]) if end is not None
        ]
        boards.append(
            {
                "name": " · ".join(part for part in (place[2], place[0], PROTOCOLS.get(place[1], place[1])) if part),
                "main": first,
                "others": [name for name in names if name != first],
                "sized": len({system["bytes"] for system in systems} - {None}) > 1,
                "queries": max([row["queries"] or 0 for row in rows], default=0),
                "scale": AxisScale.around(ends),
                "groups": [
                    (group.capitalize(), list(members))
                    for group, members in groupby(systems, key=lambda row: row["group"])
                ],
                "tested": any(system["against"] for system in systems),
            }
        )
    return boards


def _systems(rows: list[Facts], main: str, groups: dict[str, str]) -> list[Facts]:
    """The lines of one leaderboard: group by group, in a group from low to high."""
    values = {(row["system"], row["first_stage"], row["metric"]): row["value"] for row in rows}
    bases = {row["system"]: row["value"] for row in reversed(rows) if row["metric"] == main}
    systems = []
    for name, stage in dict.fromkeys((row["system"], row["first_stage"]) for row in rows):
        mine = [row for row in rows if (row["system"], row["first_stage"], row["metric"]) == (name, stage, main)]
        best = mine[0] if mine else {"value": None, "ci_low": None, "ci_high": None}
        systems.append(
            {
                "name": name,
                "first_stage": stage if stage and stage != name else "",
                "group": groups.get(name, FIRST_STAGES),
                "value": _finite(best["value"]),
                "bytes": best.get("bytes_per_document"),
                "low": _finite(best["ci_low"]),
                "high": _finite(best["ci_high"]),
                "scores": {metric: value for (*owner, metric), value in values.items() if owner == [name, stage]},
                "against": [
                    row | {"difference": row["value"] - bases[row["baseline"]] if row["baseline"] in bases else None}
                    for row in mine
                    if row["baseline"]
                ],
            }
        )
    lowest = -math.inf
    return sorted(
        systems,
        key=lambda system: (
            GROUPS.index(system["group"]),
            lowest if system["value"] is None else system["value"],
            system["name"],
        ),
    )


def _fit(text: str) -> str:
    """The text without characters that a page cannot carry; marked-up text stays marked up."""
    return type(text)(text.translate(_UNFIT))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _or_dash(show: Callable[[float], str]) -> Callable[[float | None], str]:
    """The formatter, with a dash for what is not known."""
    return lambda value: "–" if _finite(value) is None else show(float(value or 0.0)).replace("-", "\N{MINUS SIGN}")


def _duration(seconds: float) -> str:
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _size(megabytes: float) -> str:
    if megabytes >= 1000:
        return f"{megabytes / 1000:.1f} GB"
    if megabytes >= 0.1:
        return f"{megabytes:.0f} MB" if megabytes >= 100 else f"{megabytes:.1f} MB"
    return f"{megabytes * 1000:.0f} kB"


number = _or_dash(lambda value: f"{value:.3f}")
percent = _or_dash(lambda value: f"{value:.0%}")
signed = _or_dash(lambda value: f"{value:+.3f}")
p_value = _or_dash(lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}")
duration = _or_dash(_duration)
size = _or_dash(_size)
