"""Which graph for what: quality of the ranking and of the ratings against the number of pairs, on simulated queries.

Run: python benchmarks/selection.py [--queries 500] [--out docs]. Prints a table, writes selection.csv and selection.png.

Each query has 100 candidates with true scores s ~ N(0, 1.3), 8 % of them shifted by N(2, 0.5), in logits; ratings are
e = sqrt(pi) / 4 * s. Two judges: three hard votes a pair, P = Phi(sqrt(2) D); and soft labels, 0.98 Phi(sqrt(2) (D + noise))
+ 0.02 uniform. All graphs see the same answers, and their gains are sigmoid(s). No plan or constant was chosen on the seed.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import yaml
from scipy.special import expit, ndtr
from scipy.stats import rankdata

from zelo.graphs.bipartite import Bipartite
from zelo.graphs.complete import Complete
from zelo.graphs.cycles import Cycles
from zelo.graphs.information import Information
from zelo.graphs.random_cycles import RandomCycles
from zelo.graphs.random_pairs import RandomPairs
from zelo.graphs.smallest_gap import SmallestGap
from zelo.graphs.staged import Staged
from zelo.protocols import Graph
from zelo.records import Comparisons, Fit
from zelo.solvers.thurstone import Thurstone

matplotlib.use("Agg")

DOCUMENTS, TOP, TAIL = 100, 10, 20  # the tail: documents below the true first 20
SEED = 20_260_101
DEGREES = (2, 4, 8, 16)  # 100, 200, 400 and 800 pairs
HARD, SOFT = "three hard votes", "soft labels"
RIDGE = {HARD: 1.0, SOFT: 0.02}
CONF = Path(__file__).parents[1] / "conf"
LONGER = [[60, 1], [30, 1], [20, 1], [100, 2], [60, 1], [40, 2], [30, 2]]  # after the default: to 400 and 800 pairs
COLUMNS = ("judge", "graph", "pairs", "ndcg_10", "ndcg_10_se", "spearman", "rmse", "rmse_tail")


@dataclass(frozen=True)
class World:
    """Q queries: true scores [Q, n], answers p [Q, n, n] with p_ji = 1 - p_ij, and seeds [Q]."""

    judge: str
    score: np.ndarray
    p: np.ndarray
    seeds: np.ndarray

    @property
    def rating(self) -> np.ndarray:
        return np.sqrt(np.pi) / 4 * self.score


def world(queries: int, judge: str, seed: int) -> World:
    rng = np.random.default_rng(seed)
    shape = (queries, DOCUMENTS)
    score = rng.normal(0, 1.3, shape) + (rng.random(shape) < 0.08) * rng.normal(2, 0.5, shape)
    score -= score.mean(1, keepdims=True)
    seeds = rng.integers(0, 2**64, queries, dtype=np.uint64)
    rating = np.sqrt(np.pi) / 4 * score
    gap = rating[:, :, None] - rating[:, None]
    if judge == HARD:
        p = rng.binomial(3, ndtr(np.sqrt(2) * gap)) / 3
    else:
        p = 0.98 * ndtr(np.sqrt(2) * (gap + rng.normal(0, 0.2 * np.sqrt(np.pi) / 4, gap.shape))) + 0.02 * rng.random(
            gap.shape
        )
    i, j = np.tril_indices(DOCUMENTS, -1)
    p[:, i, j] = 1 - p[:, j, i]
    return World(judge, score, p, seeds)


def solver(judge: str) -> Thurstone:
    fields = yaml.safe_load((CONF / "solver" / "thurstone.yaml").read_text()) | {"ridge": RIDGE[judge]}
    fields.pop("_target_")
    return Thurstone(**fields)


def rate(given: World, edges: np.ndarray) -> Fit:
    query, own = edges[:, 0] // DOCUMENTS, edges % DOCUMENTS
    weight = np.full(len(edges), 3.0 if given.judge == HARD else 1.0)
    sizes = np.full(len(given.score), DOCUMENTS)
    return solver(given.judge).fit(Comparisons(sizes, edges, given.p[query, own[:, 0], own[:, 1]], weight))


def rounds(graph: Graph, given: World) -> Iterator[tuple[np.ndarray, Fit]]:
    """(pairs of each query, ratings) after each round."""
    sizes, edges, fit = np.full(len(given.score), DOCUMENTS), np.empty((0, 2), np.int64), None
    while (new := graph.propose(sizes, given.seeds, fit)) is not None:
        edges = np.concatenate([edges, new])
        fit = rate(given, edges)
        yield np.bincount(edges[:, 0] // DOCUMENTS, minlength=len(sizes)), fit


def ndcg(score: np.ndarray, rating: np.ndarray) -> np.ndarray:
    """[Q] nDCG@10 of the ratings' order, gains sigmoid(score)."""
    gain, discount = expit(score), 1 / np.log2(2 + np.arange(TOP))
    order = np.argsort(-rating, axis=1, kind="stable")[:, :TOP]
    return np.take_along_axis(gain, order, 1) @ discount / (np.sort(gain, 1)[:, : -TOP - 1 : -1] @ discount)


def measured(given: World, fit: Fit) -> dict[str, float]:
    rating = fit.rating.reshape(given.score.shape)
    found = ndcg(given.score, rating)
    a, b = (rankdata(x, axis=1) - (DOCUMENTS + 1) / 2 for x in (given.score, rating))
    error = rating - given.rating
    tail = rankdata(-given.score, axis=1) > TAIL
    return {
        "ndcg_10": found.mean(),
        "ndcg_10_se": found.std(ddof=1) / np.sqrt(len(found)),
        "spearman": float(np.mean((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)))),
        "rmse": np.sqrt(np.mean(error**2)),
        "rmse_tail": np.sqrt(np.mean(error[tail] ** 2)),
    }


def staged(judge: str, stop_at: float | None, longer: bool) -> Staged:
    fields = yaml.safe_load((CONF / "graph" / "staged.yaml").read_text())
    stages = fields["stages"] + (LONGER if longer else [])
    return Staged(cycles=fields["cycles"], stages=stages, solver=solver(judge), stop_at=stop_at)


def curves(given: World) -> list[dict[str, str | float]]:
    """A row for each graph and budget."""
    graphs: dict[str, list[Graph]] = {
        kind: [make(degree=degree) for degree in DEGREES]
        for kind, make in (
            ("cycles", Cycles),
            ("random_cycles", RandomCycles),
            ("random_pairs", RandomPairs),
            ("bipartite", Bipartite),
        )
    }
    graphs["smallest_gap"] = [
        SmallestGap(degree=DEGREES[-1], batch=1, per_document=1, solver=solver(given.judge), stop_at=None)
    ]
    graphs["information"] = [
        Information(degree=DEGREES[-1], batch=1, per_document=1, solver=solver(given.judge), stop_at=None)
    ]
    graphs["staged"] = [staged(given.judge, None, longer=True)]
    graphs["complete"] = [Complete()]
    rows = []
    for name, ways in graphs.items():
        for graph in ways:
            for pairs, fit in rounds(graph, given):
                rows.append({"judge": given.judge, "graph": name, "pairs": pairs.mean()} | measured(given, fit))
    return rows


def targets(given: World) -> None:
    """The claims, query by query on the same answers: difference in nDCG@10 and its standard error."""

    def found(graph: Graph, most: float) -> tuple[float, np.ndarray]:
        *_, (pairs, fit) = (r for r in rounds(graph, given) if r[0].mean() <= most)
        return pairs.mean(), ndcg(given.score, fit.rating.reshape(given.score.shape))

    base = {degree: found(Cycles(degree=degree), np.inf)[1] for degree in DEGREES}
    print(f"\npaired differences in nDCG@10, {given.judge}")
    for name, graph, most, degree in (
        *(("random_cycles", RandomCycles(degree=degree), np.inf, degree) for degree in DEGREES),
        ("staged", staged(given.judge, None, longer=True), 180, 8),
        ("staged", staged(given.judge, None, longer=True), 400, 8),
        ("staged, as it comes", staged(given.judge, None, longer=False), np.inf, 16),
    ):
        pairs, own = found(graph, most)
        less = own - base[degree]
        error = less.std(ddof=1) / np.sqrt(len(less))
        print(
            f"  {name} at {pairs:.0f} pairs: {own.mean():.4f}, less cycles at {degree * 50}: {less.mean():+.4f} +- {error:.4f}"
        )


def stopping(given: World) -> None:
    """What the stopping rule promises, what it costs and what it keeps, with budgets of 800 pairs."""
    print(f"\nstopping rule, {given.judge}: expected loss wanted; pairs (mean, and of the middle 90 %), true loss")
    for wanted in (0.02, 0.01, 0.005):
        for name, graph in (
            (
                "information",
                Information(degree=DEGREES[-1], batch=1, per_document=1, solver=solver(given.judge), stop_at=wanted),
            ),
            (
                "smallest_gap",
                SmallestGap(degree=DEGREES[-1], batch=1, per_document=1, solver=solver(given.judge), stop_at=wanted),
            ),
            ("staged", staged(given.judge, wanted, longer=True)),
        ):
            *_, (pairs, fit) = rounds(graph, given)
            loss = 1 - ndcg(given.score, fit.rating.reshape(given.score.shape))
            low, high = np.quantile(pairs, [0.05, 0.95])
            print(
                f"  {wanted:.3f} {name:13} {pairs.mean():6.1f} ({low:.0f} to {high:.0f})  {loss.mean():.4f}", flush=True
            )


def draw(rows: list[dict], path: Path) -> None:
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    colours = {
        "cycles": "#000000",
        "random_cycles": "#7F7F7F",
        "random_pairs": "#E69F00",
        "bipartite": "#56B4E9",
        "smallest_gap": "#CC79A7",
        "information": "#0072B2",
        "staged": "#D55E00",
    }
    markers = dict(zip(colours, "osv^DPX", strict=True))
    panels = {
        "1 - nDCG@10": lambda row: 1 - row["ndcg_10"],
        "1 - Spearman": lambda row: 1 - row["spearman"],
        "tail RMSE (below 20)": lambda row: row["rmse_tail"],
    }
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.6), sharex=True, layout="constrained")
    for across, judge in zip(axes, (HARD, SOFT), strict=True):
        for axis, (title, value) in zip(across, panels.items(), strict=True):
            for name, colour in colours.items():
                own = [row for row in rows if row["judge"] == judge and row["graph"] == name]
                axis.plot(
                    [row["pairs"] for row in own],
                    [value(row) for row in own],
                    color=colour,
                    marker=markers[name],
                    markersize=5,
                    linewidth=2 if name in ("cycles", "staged") else 1.2,
                    linestyle=":" if name == "random_cycles" else "-",
                    label=name,
                )
            whole = next(row for row in rows if row["judge"] == judge and row["graph"] == "complete")
            axis.axhline(value(whole), color="#009E73", linestyle="--", linewidth=1, label="complete: 4,950 pairs")
            axis.set(title=f"{judge}: {title}", xscale="log", yscale="log", xlim=(90, 900))
            axis.set_xticks([100, 200, 400, 800], ["100", "200", "400", "800"])
            axis.minorticks_off()
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:g}"))
            axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("pairs per query of 100 candidates")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=8, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, help="folder for selection.csv and selection.png")
    parser.add_argument("--stopping-ridge", type=float, help="measure only early stopping, for votes, with this ridge")
    args = parser.parse_args()
    if args.stopping_ridge is not None:
        RIDGE[HARD] = args.stopping_ridge
        return stopping(world(args.queries, HARD, args.seed))
    rows = []
    for judge in (HARD, SOFT):
        given = world(args.queries, judge, args.seed)
        own = curves(given)
        print(f"\n{judge}, {args.queries} queries\n{'graph':14}  pairs  nDCG@10     +-  Spearman   RMSE  tail")
        for row in own:
            figures = "{pairs:6.1f}  {ndcg_10:.4f}  {ndcg_10_se:.4f}  {spearman:.4f}  {rmse:.4f}  {rmse_tail:.4f}"
            print(f"{row['graph']:14} {figures.format(**row)}")
        rows += own
        targets(given)
        stopping(given)
    if args.out:
        with (args.out / "selection.csv").open("w") as file:
            print(",".join(COLUMNS), file=file)
            for row in rows:
                print(",".join(v if isinstance(v := row[c], str) else f"{v:.6g}" for c in COLUMNS), file=file)
        draw(rows, args.out / "selection.png")


if __name__ == "__main__":
    main()
