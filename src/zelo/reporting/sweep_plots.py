"""Pictures of a sweep: dev against each option, and quality against cost and time. Places in percent, so that they stretch."""

import math
from dataclasses import dataclass
from itertools import pairwise

from zelo.records import DEV
from zelo.reporting.plots import AxisScale
from zelo.reporting.sweep_settings import Comparison, Setting

WIDE = 20  # times the smallest value: from there on an axis is logarithmic
FEW = 8  # values that have a label each
APART = 6.0  # percent of an axis between two labels
SIDE_BY_SIDE = 42  # characters below a picture
COSTS = {  # column -> axis
    "pairs": "pairs that were compared",
    "judges_usd": "US dollars of judges",
    "compute_seconds": "seconds to compute all stages",
}


@dataclass(frozen=True)
class Point:
    """A setting: its place, the ends of its interval, and its words. front: nothing is better and cheaper."""

    x: str
    y: str
    low: str | None
    high: str | None
    title: str
    best: bool
    front: bool = False


@dataclass(frozen=True)
class Line:
    """A setting across all axes. points: x,y of each axis, in percent from the upper left; share: of dev, 1 the best."""

    number: int  # of the setting, as the table has them
    points: str
    title: str
    share: float
    best: bool


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: an axis for what was varied, for each cost, and for dev, the last. axes: (title, x, (y, label))."""

    axes: list[tuple[str, str, list[tuple[str, str]]]]
    lines: list[Line]  # the best is the last: it lies above the others


@dataclass(frozen=True)
class Picture:
    """Points over an axis. x_ticks, y_ticks: (place, label); front: ends of the lines of the Pareto front, x1 y1 x2 y2."""

    title: str
    points: list[Point]
    x_ticks: list[tuple[str, str]]
    y_ticks: list[tuple[str, str]]
    front: list[tuple[str, str, str, str]]

    @property
    def tall(self) -> bool:
        """Whether the labels below are too long to stand side by side."""
        return sum(len(label) + 2 for _, label in self.x_ticks) > SIDE_BY_SIDE


def pictures(found: Comparison) -> list[Picture]:
    """One for each option that has several values and each cost that differs; none where dev selects nothing."""
    settings = [one for one in found.settings if DEV in one.estimates]
    if found.best is None or len(settings) < 2:
        return []
    ends = [end for one in settings for end in _ends(one)]
    y = AxisScale.around(ends)
    drawn = [_over_option(name, settings, found.best, y) for name in settings[0].options]
    drawn += [_over_cost(column, settings, found.best, y) for column in COSTS]
    return [picture for picture in drawn if picture]


def parallel(found: Comparison) -> Parallel | None:
    """None where dev selects nothing, or where nothing but dev differs."""
    settings = [one for one in found.settings if DEV in one.estimates]
    if found.best is None or len(settings) < 2:
        return None
    values = [one.estimates[DEV].value for one in settings]
    axes = [(name, _option_axis([one.options[name] for one in settings])) for name in settings[0].options]
    for column, words in COSTS.items():
        costs = [cost for one in settings if (cost := one.mean(column)) is not None]
        if len(costs) == len(settings):
            axes.append((words, _number_axis(costs)))
    axes = [(name, axis) for name, axis in axes if len(set(axis[0])) > 1]
    if not axes:
        return None
    axes.append((DEV, _number_axis(values)))
    places = [100 * number / (len(axes) - 1) for number in range(len(axes))]
    low, high = min(values), max(values)
    lines = []
    for row, one in enumerate(settings):
        points = " ".join(f"{x:.2f},{100 - axis[0][row]:.2f}" for x, (_, axis) in zip(places, axes, strict=True))
        share = (values[row] - low) / (high - low) if high > low else 1.0
        number = next(n for n, other in enumerate(found.settings) if other is one)
        lines.append(Line(number, points, f"{one.name}: dev {values[row]:.3f}", share, one is found.best))
    lines.sort(key=lambda line: line.share)
    drawn = [
        (name, f"{x:.2f}%", [(f"{100 - place:.2f}%", label) for place, label in axis[1]])
        for x, (name, axis) in zip(places, axes, strict=True)
    ]
    return Parallel(drawn, lines)


Axis = tuple[list[float], list[tuple[float, str]]]  # places of the settings and of the ticks, in percent from below


def _option_axis(values: list[str]) -> Axis:
    if all(map(_is_number, values)):
        return _number_axis([float(value) for value in values], values)
    names = list(dict.fromkeys(values))
    place = {name: 100 * (number + 0.5) / len(names) for number, name in enumerate(reversed(names))}
    return [place[value] for value in values], [(place[name], name) for name in names]


def _number_axis(values: list[float], names: list[str] | None = None) -> Axis:
    """Logarithmic where the largest is many times the smallest. Few values are the ticks themselves, under their given names."""
    logs = min(values) > 0 and max(values) > WIDE * min(values)
    shown = [math.log10(value) for value in values] if logs else values
    scale = AxisScale.around(shown)
    places = [float(scale.at(value).rstrip("%")) for value in shown]
    labels = dict(zip(places, names or [_short(value) for value in values], strict=True))
    if len(labels) <= FEW:
        return places, _apart(labels)
    ticks = [(float(place.rstrip("%")), label) for place, label in scale.ticks]
    if logs:
        ticks = [(place, label) for place, label in labels.items() if place in (min(places), max(places))]
    return places, ticks


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _apart(labels: dict[float, str]) -> list[tuple[float, str]]:
    """The labels from below, without those that would stand on another."""
    kept: list[tuple[float, str]] = []
    for place in sorted(labels):
        if not kept or place - kept[-1][0] >= APART:
            kept.append((place, labels[place]))
    return kept


def pareto(cost: list[float], value: list[float]) -> list[int]:
    """Places of the points that no other point is at least as good as at no more cost, the cheapest first."""
    front: list[int] = []
    for place in sorted(range(len(cost)), key=lambda place: (cost[place], -value[place])):
        if not front or value[place] > value[front[-1]]:
            front.append(place)
    return front


def _over_option(name: str, settings: list[Setting], best: Setting, y: AxisScale) -> Picture | None:
    """Each value has a column, and in it its settings stand side by side."""
    values = list(dict.fromkeys(one.options[name] for one in settings))
    if len(values) < 2:
        return None
    values.sort(key=lambda value: (0, float(value)) if _is_number(value) else (1, 0.0))
    width, points = 100 / len(values), []
    for number, value in enumerate(values):
        here = [one for one in settings if one.options[name] == value]
        for place, one in enumerate(here):
            x = width * (number + (place + 1) / (len(here) + 1))
            points.append(_point(one, f"{x:.2f}%", y, best))
    ticks = [(f"{width * (number + 0.5):.2f}%", value) for number, value in enumerate(values)]
    return Picture(name, points, ticks, _upwards(y), [])


def _over_cost(column: str, settings: list[Setting], best: Setting, y: AxisScale) -> Picture | None:
    known = [(one, cost) for one in settings if (cost := one.mean(column)) is not None]
    costs, values = [cost for _, cost in known], [one.estimates[DEV].value for one, _ in known]
    if len(set(costs)) < 2:
        return None
    x, front = AxisScale.around(costs), pareto(costs, values)
    points = [
        _point(one, x.at(cost), y, best, place in front, f", {COSTS[column]}: {cost:.3g}")
        for place, (one, cost) in enumerate(known)
    ]
    ends = [points[place] for place in front]
    lines = [(a.x, a.y, b.x, b.y) for a, b in pairwise(ends)]
    return Picture(COSTS[column], points, x.ticks, _upwards(y), lines)


def _point(one: Setting, x: str, y: AxisScale, best: Setting, front: bool = False, more: str = "") -> Point:
    value, (low, high) = one.estimates[DEV].value, _ends(one)
    ends = (None, None) if low == high else (_up(y, low), _up(y, high))
    return Point(x, _up(y, value), *ends, f"{one.name}: dev {value:.3f}{more}", one is best, front)


def _ends(one: Setting) -> tuple[float, float]:
    found = one.estimates[DEV]
    return (
        found.value if found.low is None else found.low,
        found.value if found.high is None else found.high,
    )


def _up(scale: AxisScale, value: float) -> str:
    """The value's place from above, as an SVG length."""
    return f"{100 - float(scale.at(value).rstrip('%')):.2f}%"


def _upwards(scale: AxisScale) -> list[tuple[str, str]]:
    return [(f"{100 - float(place.rstrip('%')):.2f}%", label) for place, label in scale.ticks]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
