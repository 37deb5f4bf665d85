"""Scores as probabilities, for the report: a table of systems and the reliability of the main one."""

import numpy as np
from markupsafe import Markup

from zelo.facts import Facts
from zelo.reporting import plots
from zelo.reporting.evaluation import GROUPS, STUDENTS


def view(found: Facts, groups: dict[str, str]) -> Facts | None:
    """What the template shows; None where nothing was measured. found: probabilities.json; groups: system -> one of GROUPS."""
    if not found:
        return None
    order = sorted(found["systems"], key=lambda system: GROUPS.index(groups.get(system, GROUPS[0])))
    rows = [{"system": system, **found["systems"][system]} for system in order]
    drawn = [row for row in rows if "parts" in row]
    students = [row for row in drawn if groups.get(row["system"]) == STUDENTS]
    main = (students or drawn or [None])[-1]
    return {
        **found,
        "rows": rows,
        "main": main,
        "svg": Markup(_reliability(main["parts"])) if main else "",
        "transfer": [row for row in main.get("transfer", []) if "value" in row.get("precision", {})] if main else [],
    }


def _reliability(parts: list[Facts]) -> str:
    """Share that is relevant over probability; the diagonal is a perfect match."""
    figure, (axes,) = plots.canvas(1, height=240, top=10, bottom=36)
    p, share, low, high = (np.array([part[name] for part in parts]) for name in ("p", "relevant", "ci_low", "ci_high"))
    most = max(0.05, 1.08 * float(np.nanmax([p.max(), share.max(), np.nanmax(high, initial=0.0)])))
    axes.plot([0, most], [0, most], color=plots.MUTED, linewidth=0.9, dashes=(3, 3))
    axes.vlines(p, np.nan_to_num(low), np.nan_to_num(high), color=plots.ACCENT, linewidth=1.2)
    axes.plot(p, share, "o", color=plots.ACCENT, markersize=4)
    axes.set_xlim(0, most)
    axes.set_ylim(0, most)
    axes.set_xlabel("probability", color=plots.MUTED)
    return plots.inline_svg(figure, "reliability", "Share of relevant documents by probability", {})
