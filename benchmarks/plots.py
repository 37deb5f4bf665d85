"""The pictures of docs/ratings.md and the numbers beside them, all from simulated queries.

Run: python benchmarks/plots.py [--out docs]. Some ten seconds; selection.py draws the picture of budgets.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import yaml
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from scipy.special import ndtr

import calibration
from zelo.graphs.cycles import Cycles
from zelo.records import Comparisons, starts
from zelo.solvers.thurstone import Thurstone

matplotlib.use("Agg")

TOP = Path(__file__).parents[1]
COLOURS, MARKERS = ("#0072B2", "#D55E00"), "oD"  # of Okabe and Ito (2008)
SPREAD = 0.6  # sd of the true ratings, in units of the Thurstone link
PRIOR = 1 / SPREAD**2
WITHIN = 1.6449  # standard errors on both sides that hold 90 % of a normal distribution
CASES = {  # what is simulated, and what the solver is told
    "one vote, true prior": ({"votes": 1}, {"ridge": PRIOR}),
    "three votes, true prior": ({"votes": 3}, {"ridge": PRIOR}),
    "three votes, ridge 1": ({"votes": 3}, {"ridge": 1.0}),
    "soft labels": ({}, {}),
    "soft, 2 % noise, lapse 0.02": ({"slip": 0.02}, {"lapse": 0.02}),
    "soft, 2 % noise, lapse 0": ({"slip": 0.02}, {}),
}


def solver(**changes: float | str) -> Thurstone:
    fields = yaml.safe_load((TOP / "conf/solver/thurstone.yaml").read_text())
    fields.pop("_target_")
    return replace(Thurstone(**fields), **changes)


def simulated(queries: int, n: int, degree: int, votes: int = 0, slip: float = 0.0) -> tuple[np.ndarray, Comparisons]:
    """([N] true ratings of mean 0, comparisons): means of hard votes, or soft labels with latent noise of sd 0.09."""
    rng = np.random.default_rng(n * degree + votes)
    sizes = np.full(queries, n)
    truth = rng.normal(0, SPREAD, (queries, n))
    truth = (truth - truth.mean(1, keepdims=True)).ravel()
    edges = Cycles(degree=degree).propose(sizes, rng.integers(0, 2**64, queries, dtype=np.uint64), None)
    assert edges is not None, "it draws from seeds alone"
    gap = truth[edges[:, 0]] - truth[edges[:, 1]]
    p = ndtr(np.sqrt(2) * (gap if votes else gap + rng.normal(0, 0.09, len(gap))))
    p = rng.binomial(votes, p) / votes if votes else (1 - slip) * p + slip * rng.random(len(p))
    return truth, Comparisons(sizes, edges, p, np.full(len(p), float(max(votes, 1))))


def recovered(path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.9), sharex=True, sharey=True, layout="constrained")
    for axis, (title, votes, ridge) in zip(axes, (("three votes", 3, PRIOR), ("soft labels", 0, 1e-3)), strict=True):
        truth, case = simulated(1, 100, 8, votes=votes)
        fit = solver(ridge=ridge).fit(case)
        held = np.abs(fit.rating - truth) < WITHIN * fit.stderr
        for some, colour, marker, side in zip((held, ~held), COLOURS, MARKERS, ("inside", "outside"), strict=True):
            x, y, width = truth[some], fit.rating[some], WITHIN * fit.stderr[some]
            axis.errorbar(x, y, width, fmt=marker, ms=4, color=colour, elinewidth=0.8, label=f"{some.sum()} {side}")
        axis.axline((0, 0), slope=1, color="black", linewidth=1)
        axis.set(title=f"{title}: RMSE {(error := np.std(fit.rating - truth)):.2f}", xlabel="true rating")
        axis.legend(frameon=False, loc="upper left", title="truth and 90 % interval")
        print(f"one query, 400 pairs, {title}: RMSE {error:.3f}, mean standard error {fit.stderr.mean():.3f}")
    axes[0].set_ylabel("rating")
    figure.savefig(path, dpi=110)


def uncertainty(path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.6), layout="constrained", width_ratios=(1.25, 1))
    left.axvspan(0.88, 0.92, color="#DDDDDD", label="88 to 92 %")
    for place, (name, (judge, told)) in enumerate(CASES.items()):
        truth, case = simulated(1000, 30, 8, **judge)
        fit = solver(**told).fit(case)
        held = np.abs(fit.rating - truth) < WITHIN * fit.stderr
        rank = truth.reshape(1000, 30).argsort(1).argsort(1).ravel()
        extreme = held[(rank < 3) | (rank >= 27)].mean()
        left.plot(held.mean(), -place, MARKERS[0], color=COLOURS[0], label=None if place else "all documents")
        left.plot(extreme, -place, MARKERS[1], color=COLOURS[1], label=None if place else "extreme tenths")
        print(
            f"{name}: 90 % hold {held.mean():.1%}, extreme {extreme:.1%}; dispersion {fit.diagnosis['dispersion']:.4f}"
        )
    left.set(title="true ratings inside 90 % intervals", xlim=(0.5, 1))
    left.set_yticks(-np.arange(len(CASES)), list(CASES))
    left.xaxis.set_major_formatter(PercentFormatter(1))
    left.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.45, 0.12))
    near(right)
    figure.savefig(path, dpi=110)


def prior_of_votes() -> None:
    """Prints what the ridge does to ratings from the mean of three votes that counts as one comparison."""
    truth, case = simulated(200, 100, 8, votes=3)
    for ridge in (0.001, 0.3):
        rating = solver(ridge=ridge).fit(replace(case, weight=case.weight / 3)).rating
        print(f"votes, ridge {ridge}: RMSE {np.std(rating - truth):.3f}, largest rating {np.abs(rating).max():.1f}")


def near(axis: Axes) -> None:
    """Draws the error of the two-walk standard errors by the number of cycles, 100 queries of 100 documents."""
    for shift, (name, votes, ridge) in enumerate((("soft labels", 0, 1e-3), ("three votes", 3, 1.0))):
        for place, cycles in enumerate((2, 3, 4, 8)):
            _, case = simulated(100, 100, 2 * cycles, votes=votes)
            exact, walked = (solver(ridge=ridge, stderr=kind).fit(case).stderr for kind in ("laplace", "two_walk"))
            off = walked / exact - 1
            x, colour = place + 0.24 * shift - 0.12, COLOURS[shift]
            axis.plot([x, x], [off.min(), off.max()], color=colour, linewidth=1)
            axis.plot([x, x], np.quantile(off, [0.05, 0.95]), color=colour, linewidth=4, solid_capstyle="butt")
            axis.plot(x, off.mean(), MARKERS[shift], color=colour, mec="white", label=None if place else name)
            print(f"two_walk, {name}, {cycles} cycles: mean {off.mean():.1%} sd {off.std():.1%} least {off.min():.1%}")
    axis.axhline(0, color="black", linewidth=1)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xticks(range(4), ["2", "3", "4", "8"])
    axis.set(title="two_walk against exact errors", xlabel="cycles (mean, middle 90 %, range)")
    axis.legend(frameon=False, loc="lower right")


def one_scale(path: Path) -> None:
    sim, calibrator = calibration.world(300, 0), calibration.offset(2, 2)
    scale = calibrator.fit(sim.rated, calibration.asked(calibrator, sim, calibration.SOFT))
    few = np.random.default_rng(0).permutation(len(sim.truth))[:4000]
    level = np.add.reduceat(sim.truth, starts(sim.rated.sizes)[:-1])
    ends, labels = (level.argmin(), level.argmax()), ("the least relevant query", "the most relevant")
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.9), sharex=True, sharey=True, layout="constrained")
    titles = ("as rated: every query has mean 0", "with an offset per query")
    ratings = (sim.rated.rating, calibration.calibrated(sim, scale))
    for axis, title, rating in zip(axes, titles, ratings, strict=True):
        axis.plot(sim.truth[few], rating[few], ".", ms=3, color="gray")
        for query, colour, marker, label in zip(ends, COLOURS, MARKERS, labels, strict=True):
            axis.plot(sim.truth[own := sim.query == query], rating[own], marker, ms=3, color=colour, label=label)
        together = np.corrcoef(sim.truth, rating)[0, 1]
        axis.axline((0, 0), slope=calibration.UNIT, color="black", linewidth=1)
        axis.set(title=f"{title}\ncorrelation {together:.2f}", xlabel="true relevance (logits)")
        print(f"pooled, {title}: correlation {together:.3f}")
    axes[0].set_ylabel("rating")
    axes[0].legend(frameon=False, loc="upper left", fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=TOP / "docs", help="folder for the pictures")
    out = parser.parse_args().out
    recovered(out / "ratings.png")
    prior_of_votes()
    uncertainty(out / "uncertainty.png")
    one_scale(out / "calibration.png")


if __name__ == "__main__":
    main()
