"""Evaluation about ratings, as inline SVG: the matrix is written by hand, the others are drawn by matplotlib."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from zelo.metrics.predicted_answers import PAIRS
from zelo.reporting.budgets import BudgetCurve
from zelo.reporting.plots import ACCENT, INK, LOSS, MUTED, WIDTH, canvas, inline_svg
from zelo.reporting.query_offsets import QueryOffsets, bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = 9  # colours of a preference, from the column's document (orange) over grey to the row's (blue)
_LEFT, _TOP = 34.0, 20.0  # margins of a matrix, as wide as those of the other figures
_BARS = 24  # of a histogram


def matrix(p: np.ndarray, places: np.ndarray) -> str:
    """Cells coloured by p [K, K], none where it is nan; places: [K] of the documents, 0 is the best.

    A colour is one path, so that 1,600 cells take some 30 kB; the classes are m0 to m8.
    """
    size = len(p)
    cell = min((WIDTH - _LEFT - 8) / max(size, 1), 26.0)
    side = cell * size
    level = np.where(np.isnan(p), -1, np.minimum(np.nan_to_num(p) * LEVELS, LEVELS - 1)).astype(int)
    paths = []
    for number in range(LEVELS):
        cells = "".join(f"M{x} {y}h.92v.92h-.92z" for y, x in np.argwhere(level == number).tolist())
        paths += [f'<path class="m{number}" d="{cells}"/>'] if cells else []
    step = 1 if size <= 10 else 5
    labels = []
    for number in sorted({0, *range(step - 1, size, step)}):
        at, name = (number + 0.5) * cell, places[number] + 1
        labels.append(f'<text x="{_LEFT - 6}" y="{_TOP + at + 3.5:.1f}" text-anchor="end">{name}</text>')
        labels.append(f'<text x="{_LEFT + at:.1f}" y="{_TOP - 7}" text-anchor="middle">{name}</text>')
    skips = np.flatnonzero(np.diff(places) > 1)
    cut = ""
    if len(skips):  # from here on documents are left out
        at = (int(skips[0]) + 0.96) * cell
        cut = f'<path class="cut" d="M{_LEFT + at:.1f} {_TOP}v{side:.1f}M{_LEFT} {_TOP + at:.1f}h{side:.1f}"/>'
    frame = f'<path class="frame" d="M{_LEFT} {_TOP}h{side:.1f}v{side:.1f}h-{side:.1f}z"/>'
    inner = f'<g transform="translate({_LEFT} {_TOP}) scale({cell:.4f})">{"".join(paths)}</g>'
    label = f"Preferences among {size} documents, by rank"
    return (
        f'<svg class="figure matrix" viewBox="0 0 {WIDTH:g} {_TOP + side + 6:.1f}" role="img" aria-label="{label}">'
        f"{frame}{inner}{cut}{''.join(labels)}</svg>"
    )


def ladder(rating: np.ndarray, stderr: np.ndarray, name: str) -> str:
    """Rating over rank with 95 % intervals, best first. Both: [N]; a standard error that is nan has no interval."""
    figure, (axes,) = canvas(1, height=300, top=20, bottom=30)
    rank = np.arange(1, len(rating) + 1)
    reach = 1.96 * np.where(np.isfinite(stderr), stderr, 0.0)
    _whiskers(axes, rank, rating - reach, rating + reach)
    axes.plot(rank, rating, "o", color=ACCENT, markersize=3.6 if len(rank) <= 40 else 2.4, markeredgewidth=0)
    axes.set_xlim(0, len(rating) + 1)
    axes.set_title("rating, 95 % interval", loc="left", fontsize=10.5, color=MUTED)
    axes.set_xlabel("rank", color=MUTED)
    axes.yaxis.set_major_formatter(_minus)
    return inline_svg(figure, name, "Ratings of all candidates with their 95 % intervals", {})


def budget(curve: BudgetCurve, name: str) -> str:
    """Expected loss over pairs, on a logarithmic scale; a dot where the graph stopped, a broken line at `stop_at`."""
    from matplotlib.ticker import LogLocator

    figure, (axes,) = canvas(1, height=300, top=20, bottom=30)
    loss = np.maximum(curve.loss, 1e-5)
    ends = [*loss, *([] if curve.stop_at is None else [curve.stop_at])]
    axes.set_yscale("log")
    axes.set_ylim(min(ends) / 1.5, max(ends) * 1.5)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    if curve.stop_at is not None:
        axes.axhline(curve.stop_at, color=LOSS, linewidth=1, dashes=(4, 3))
    axes.plot(curve.pairs, loss, color=ACCENT, linewidth=1.4)
    axes.plot(curve.pairs[-1], loss[-1], "o", color=ACCENT, markersize=6, markeredgewidth=0)
    axes.annotate(
        f"{curve.pairs[-1]}", (curve.pairs[-1], loss[-1]), (0, 9), textcoords="offset points", ha="center", color=INK
    )
    low, high = curve.pairs[0], max(curve.most, curve.pairs[-1])
    room = 0.06 * max(high - low, 1)
    axes.set_xlim(low - room, high + room)
    axes.set_title("expected loss in nDCG@10", loc="left", fontsize=10.5, color=MUTED)
    axes.set_xlabel("pairs asked", color=MUTED)
    return inline_svg(figure, name, "Expected loss in nDCG@10 over the pairs asked", {})


def offsets(found: QueryOffsets, name: str) -> str:
    """How the queries' offsets spread, and above the bars how far one standard error, the median, reaches."""
    figure, (axes,) = canvas(1, height=300, top=20, bottom=30)
    counts, _, _ = axes.hist(found.offset, bins=_BARS, color=ACCENT, rwidth=0.9, linewidth=0)
    top = float(np.max(counts))
    known = found.stderr[np.isfinite(found.stderr)]
    if len(known):
        error = float(np.median(known))
        axes.plot([-error, error], [1.08 * top] * 2, color=LOSS, linewidth=1.6)
        axes.plot([-error, error], [1.08 * top] * 2, "|", color=LOSS, markersize=8)
    axes.set_ylim(0, 1.18 * top)
    axes.set_title("queries by offset", loc="left", fontsize=10.5, color=MUTED)
    axes.set_xlabel("offset", color=MUTED)
    axes.xaxis.set_major_formatter(_minus)
    return inline_svg(figure, name, "Histogram of the offsets of the queries", {})


def answers(found: QueryOffsets, name: str) -> str:
    """The answers in ten bins by what the ratings say, before (hollow) and after (filled)."""
    figure, (axes,) = canvas(1, height=300, top=20, bottom=30)
    if found.kind == PAIRS:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, dashes=(3, 3))
    elif found.criteria is not None and len(found.after):
        x = np.linspace(found.after.min(), found.after.max(), 40)
        share = expit(found.criteria[:, 0] * (x[:, None] - found.criteria[:, 1])).mean(axis=1)
        axes.plot(x, share, color=MUTED, linewidth=0.9, dashes=(3, 3))
    for values, colour, fill in ((found.before, MUTED, "none"), (found.after, ACCENT, ACCENT)):
        x, y = bins(values, found.answer)
        axes.plot(x, y, color=colour, linewidth=1.1, alpha=0.6)
        axes.plot(x, y, "o", color=colour, markerfacecolor=fill, markersize=5, markeredgewidth=1.1)
    axes.set_ylim(-0.03, 1.03)
    if found.kind == PAIRS:
        axes.set_xlim(-0.03, 1.03)
    axes.set_title("mean answer", loc="left", fontsize=10.5, color=MUTED)
    axes.set_xlabel("predicted" if found.kind == PAIRS else "rating", color=MUTED)
    axes.xaxis.set_major_formatter(_minus)
    return inline_svg(figure, name, "Mean answer over what the ratings say, before and after calibration", {})


def _whiskers(axes: "Axes", x: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Vertical lines from low to high as one path: nan lifts the pen."""
    gap = np.full(len(x), np.nan)
    axes.plot(np.repeat(x, 3), np.stack([low, high, gap], 1).ravel(), color=MUTED, linewidth=0.8)


def _minus(value: float, _: object) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")
