"""Pictures as inline SVG: strips inside table rows, and figures drawn by matplotlib.

Figures carry no colour of their own: after drawing, sentinel colours become the CSS variables of the page, so that one picture
serves the light and the dark scheme. Text that comes from data never passes through matplotlib.
"""

import functools
import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from zelo.facts import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

INK, MUTED, RULE, GAIN, LOSS, ACCENT = "#010203", "#010204", "#010205", "#010206", "#010207", "#010208"
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", GAIN: "gain", LOSS: "loss", ACCENT: "accent"}
WIDTH = 344.0  # CSS pixels, a third of the page and nearly all of a phone
_MANY_BARS = 400  # beyond this the bars are thinner than a pixel: one outline is drawn, without tooltips
_MANY_POINTS = 400


@dataclass(frozen=True)
class AxisScale:
    """A horizontal axis: places values in percent of its width, so that strips stretch with their column."""

    low: float
    high: float

    @staticmethod
    def around(values: list[float], margin: float = 0.06) -> "AxisScale":
        """The axis that shows all finite values, with a margin (a share of their range) on both sides."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        room = (high - low) * margin or 0.5
        return AxisScale(low - room, high + room)

    def at(self, value: float) -> str:
        """The value's place as an SVG or CSS length; what lies outside is put on the edge."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(max(share, 0.0), 1.0):.2f}%"

    @functools.cached_property
    def ticks(self) -> list[tuple[str, str]]:
        """(place, label) of a few round values; none so near an edge that its label would stick out."""
        from matplotlib.ticker import MaxNLocator, ScalarFormatter

        edge = 0.03 * (self.high - self.low)
        places = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(self.low + edge, self.high - edge)
        inside = [value for value in places if self.low + edge <= value <= self.high - edge]
        formatter = ScalarFormatter(useOffset=False)
        formatter.create_dummy_axis()
        return [(self.at(value), label) for value, label in zip(inside, formatter.format_ticks(inside), strict=True)]


def gains(differences: np.ndarray, titles: list[str], limit: float, name: str) -> str:
    """Bars of the queries' differences, in the order given (largest first); y from -limit to limit.

    differences: [Q]; titles: [Q] tooltips, plain text; name: prefix of the ids, unique on the page.
    """
    figure, (axes,) = canvas(1, height=172, top=8, bottom=8)
    x = np.arange(len(differences), dtype=float)
    bars: dict[str, str] = {}
    if len(differences) > _MANY_BARS:
        seen = np.linspace(0, len(x) - 1, _MANY_BARS).round().astype(int)  # both ends among them
        for sign, colour in ((1, GAIN), (-1, LOSS)):
            axes.fill_between(x[seen], np.maximum(differences[seen] * sign, 0) * sign, color=colour, linewidth=0)
    else:
        colours = [GAIN if value > 0 else LOSS for value in differences]
        for number, bar in enumerate(axes.bar(x, differences, width=0.78, color=colours, linewidth=0)):
            bar.set_gid(f"bar{number}")
            bars[f"bar{number}"] = titles[number]
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_xlim(-0.8, max(len(differences), 12) - 0.2)
    axes.set_ylim(-limit, limit)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.1f}".replace("-", "\N{MINUS SIGN}") if value else "0")
    return inline_svg(figure, name, "Difference of each query, sorted", bars)


def histogram(counts: list[float], name: str) -> str:
    """Scores from -1 to 1 in bins of equal width; a broken line where each would be if they were uniform.

    name: prefix of the ids, unique on the page.
    """
    figure, (axes,) = canvas(1, height=150, top=8, bottom=24)
    total = sum(counts) or 1.0
    width = 2 / len(counts)
    bars: dict[str, str] = {}
    for number, count in enumerate(counts):
        low = -1 + number * width
        (bar,) = axes.bar(low + width / 2, 100 * count / total, width=0.92 * width, color=ACCENT, linewidth=0)
        bar.set_gid(f"bar{number}")
        span = f"{low:.1f} to {low + width:.1f}".replace("-0.0", "0.0").replace("-", "\N{MINUS SIGN}")
        bars[f"bar{number}"] = f"{span}: {100 * count / total:.0f} %"
    axes.axhline(100 / len(counts), color=MUTED, linewidth=0.9, dashes=(3, 3))
    axes.set_xlim(-1, 1)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    for axis, sign in ((axes.xaxis, "+g"), (axes.yaxis, ".0f")):
        unit = "" if sign == "+g" else " %"
        axis.set_major_formatter(
            lambda value, _, sign=sign, unit=unit: f"{value:{sign}}{unit}".replace("-", "\N{MINUS SIGN}").replace(
                "+0", "0"
            )
        )
    return inline_svg(figure, name, "Share of scores in each tenth of the range", bars)


def curves(points: list[Facts], name: str) -> str:
    """Training loss above, the dev metric below, over steps; a broken line at the untuned model, a filled dot at the best.

    points: {step, train_loss or None, dev or None, metric}; the first one is the untuned model. Either panel may lack data.
    """
    panels = {key: _series(points, key) for key in ("train_loss", "dev")}
    panels = {key: (step, value) for key, (step, value) in panels.items() if len(step)}
    if not panels:
        return ""
    figure, all_axes = canvas(len(panels), height=62 + 92 * len(panels), top=22, bottom=36)
    for axes, (key, (step, value)) in zip(all_axes, panels.items(), strict=True):
        title = "training loss" if key == "train_loss" else points[0]["metric"]
        axes.set_title(title, loc="left", fontsize=10.5, color=MUTED)
        if key == "train_loss":
            stride = -(-len(step) // _MANY_POINTS)
            dots = "o" if len(step) <= 40 else ""
            axes.plot(step[::stride], value[::stride], color=MUTED, linewidth=1.1, marker=dots, markersize=2.2)
        else:
            axes.axhline(value[0], color=MUTED, linewidth=0.9, dashes=(3, 3))
            axes.plot(step, value, color=ACCENT, linewidth=1.4, marker="o" if len(step) <= 40 else "", markersize=2.6)
            best = int(np.argmax(value))
            axes.plot(step[best], value[best], "o", color=ACCENT, markersize=6)
            axes.annotate(
                f"{value[best]:.3f}",
                (step[best], value[best]),
                (0, 6),
                textcoords="offset points",
                ha="center",
                color=INK,
            )
        axes.margins(x=0.04, y=0.24 if key == "dev" else 0.1)
        axes.tick_params(labelbottom=axes is all_axes[-1])
    all_axes[-1].set_xlabel("step", color=MUTED)
    return inline_svg(figure, name, "Training loss and dev metric over steps", {})


def _series(points: list[Facts], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the points that have a finite value. Both: [K] float64."""
    known = [
        (point["step"], point[key]) for point in points if point.get(key) is not None and math.isfinite(point[key])
    ]
    table = np.array(known, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def canvas(panels: int, height: float, top: float, bottom: float) -> "tuple[Figure, list[Axes]]":
    """A figure with calm axes, one above the other. Lengths in CSS pixels: 72 dots an inch make them the SVG's units."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        grid = figure.subplots(panels, 1, sharex=True, squeeze=False)
    figure.subplots_adjust(34 / WIDTH, bottom / height, 1 - 8 / WIDTH, 1 - top / height, hspace=0.42)
    for axes in grid[:, 0]:
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", color=RULE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.locator_params(axis="y", nbins=4)
        axes.tick_params(length=0)
    return figure, list(grid[:, 0])


_STYLE: "dict[RcKeyType, Any]" = {
    "svg.fonttype": "none",
    "svg.hashsalt": "zelo",
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
}


def inline_svg(figure: "Figure", name: str, label: str, titles: dict[str, str]) -> str:
    """The figure as an inline SVG element: no prologue, no style sheet, ids prefixed, colours from the page.

    titles: id -> tooltip (plain text, escaped on writing).
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        if (identity := element.get("id")) in titles:
            tooltip = ElementTree.Element("title")
            tooltip.text = titles[identity]
            element.insert(0, tooltip)
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _attribute(_local(key), value, name) for key, value in element.attrib.items()}
        element.tail = None
        if not (element.text or "").strip():
            element.text = None
    root.attrib = {"class": "figure", "viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _attribute(key: str, value: str, name: str) -> str:
    """One attribute, with ids made unique on the page, the page's font, and sentinel colours as CSS variables."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value.removeprefix('#')}"
    value = value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
        value = re.sub(r"font-family: [^;]*; ?", "", value)
        value = re.sub(r"#0102\d\d", lambda match: f"var(--{_VARIABLES[match[0]]})", value)
    return value
