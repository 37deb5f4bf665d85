"""The picture beside a model's card: the share of relevant documents by score."""

from pathlib import Path

import numpy as np

INK, POINT, CUT = "#444444", "#1f6feb", "#b35900"
SIZE = (5.2, 3.4)  # inches at 120 dots


def draw(low: np.ndarray, high: np.ndarray, share: np.ndarray, cut: float, probability: bool, path: Path) -> None:
    """Writes a PNG. low, high: [P] the scores of each part; share: [P] of relevant documents in it; cut: the threshold.

    probability: whether a score means one, so that the diagonal would be a perfect match.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 9, "text.parse_math": False}):
        figure = Figure(figsize=SIZE, dpi=120, facecolor="white", layout="constrained")
        axes = figure.subplots()
        middle = (low + high) / 2
        axes.errorbar(middle, share, xerr=(high - low) / 2, fmt="o", color=POINT, markersize=4, linewidth=1.2)
        axes.axvline(cut, color=CUT, linewidth=1, linestyle="--")
        axes.annotate(f"cut {cut:.3f}", (cut, 1.0), color=CUT, xytext=(3, -9), textcoords="offset points")
        if probability:
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("score", color=INK)
        axes.set_ylabel("share relevant", color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Software": None})
