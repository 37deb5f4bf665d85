"""What calibration is worth, on simulated queries whose truth is known: six acceptance tests, accuracy, time.

Run: python benchmarks/calibration.py [acceptance] [accuracy] [time] [--queries 1000] [--seed 0]. Without a name: all three.

Truth: 100 candidates a query, relevance in logits: normal, a share Beta(1, 8) of them 2 higher, plus the query's level
N(0, 1.5) and its domain's (three domains, at -1, 0 and 1). Ratings: relevance less its query's mean, with errors of sd 0.12
logits, in the unit of the Thurstone link. Judges across queries: soft with noise 0.5 and 4 % of uniform answers, or three
hard votes. Rubric: five criteria, yes or no, with a drift of sd 0.4 per query. A ghost lies 4 logits below the mean of all,
sd 0.5. Relevant, to a human: drawn with probability sigmoid(relevance).
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit
from scipy.stats import rankdata

from zelo.calibrators.anchor import Anchor
from zelo.calibrators.none import NoCalibration
from zelo.calibrators.offset import Offset
from zelo.calibrators.rubric import Rubric
from zelo.graphs.cross_query import CrossQuery
from zelo.likelihood.links import Probit
from zelo.protocols import AskingCalibrator, Calibrator
from zelo.records import Answers, Asks, Rated, Scale, starts

UNIT = np.sqrt(np.pi) / 4  # of the Thurstone link per logit
DOCUMENTS, DOMAINS, ERROR = 100, 3, 0.12
DISCRIMINATION, DIFFICULTY = np.array([0.8, 1.2, 1.0, 1.1, 0.9]), np.array([-1.5, -0.6, 0.0, 0.7, 1.4])
link = Probit()
SOFT, VOTES, VOTE = "soft", "three votes", "one vote"


@dataclass(frozen=True)
class World:
    """Queries whose truth is known."""

    rated: Rated
    truth: np.ndarray  # [N] relevance, logits
    drift: np.ndarray  # [Q] of the rubric's judge
    emptied: np.ndarray  # [Q] bool: what was relevant was taken out of the candidates
    seed: int

    @property
    def query(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.rated.sizes)), self.rated.sizes)


def world(queries: int, seed: int, *, spread: float = 1.5, domains: int = DOMAINS, emptied: float = 0.0) -> World:
    rng = np.random.default_rng(seed)
    domain = np.arange(queries, dtype=np.int32) % domains
    high = rng.random((queries, DOCUMENTS)) < rng.beta(1, 8, (queries, 1))
    truth = rng.normal(0, 1.2, (queries, DOCUMENTS)) + 2 * high
    truth += (rng.normal(0, spread, queries) + domain - domain.mean())[:, None]
    truth -= truth.mean()
    empty = rng.random(queries) < emptied
    keep = ~(empty[:, None] & (truth > 0)) | (truth == truth.min(1, keepdims=True))  # one document at least
    sizes, truth = keep.sum(1), truth[keep]
    rating = centred(truth + rng.normal(0, ERROR, len(truth)), sizes) * UNIT
    seeds = rng.integers(0, 2**64, queries, dtype=np.uint64)
    rated = Rated(sizes, rating, np.full(len(truth), ERROR * UNIT), seeds, domain, link)
    return World(rated, truth, rng.normal(0, 0.4, queries), empty, seed)


def centred(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return values - np.repeat(np.add.reduceat(values, starts(sizes)[:-1]) / sizes, sizes)


def judged(sim: World, asks: Asks, judge: str, rng: np.random.Generator) -> Answers:
    """What the simulated judge answers."""
    truth, query = sim.truth, sim.query
    if asks.criterion is not None:
        level = truth[asks.a] + sim.drift[query[asks.a]] - DIFFICULTY[asks.criterion]
        met = rng.random(len(level)) < expit(1.5 * DISCRIMINATION[asks.criterion] * level)
        return Answers(asks, met.astype(float), np.ones(len(met)))
    if asks.across:
        gap, noise, slip = truth[asks.a] - truth[asks.b], 0.5, 0.04
    else:  # against a ghost
        ghost = np.random.default_rng(sim.seed).normal(-4, 0.5, len(sim.rated.sizes))
        gap, noise, slip = truth[asks.a] - ghost[query[asks.a]], 0.2, 0.02
    if judge == SOFT:
        p = (1 - slip) * expit(gap + rng.normal(0, noise, len(gap))) + slip * rng.random(len(gap))
        return Answers(asks, p, np.ones(len(gap)))
    votes = 1 if judge == VOTE else 3
    return Answers(asks, rng.binomial(votes, expit(gap)) / votes, np.full(len(gap), float(votes)))


def asked(calibrator: Calibrator, sim: World, judge: str) -> Answers | None:
    """Answers to all that the calibrator asks."""
    rng = np.random.default_rng(sim.seed + 1)
    answers = None
    while isinstance(calibrator, AskingCalibrator) and (asks := calibrator.asks(sim.rated, answers)) is not None:
        new = judged(sim, asks, judge, rng)
        answers = new if answers is None else answers.and_then(new)
    return answers


def offset(rounds: int, degree: int, *, ridge: float = 1.0, slope: float | None = None) -> Offset:
    return Offset(rounds=rounds, ridge=ridge, slope=slope, graph=CrossQuery(degree=degree))


def calibrated(sim: World, scale: Scale) -> np.ndarray:
    return sim.rated.rating * np.repeat(scale.scale, sim.rated.sizes) + np.repeat(scale.offset, sim.rated.sizes)


def auc(score: np.ndarray, relevant: np.ndarray) -> float:
    positives = relevant.sum()
    ranks = rankdata(score)[relevant].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * (len(score) - positives)))


def within_auc(sim: World, score: np.ndarray, relevant: np.ndarray) -> float:
    found = []
    for rows in np.split(np.arange(len(score)), starts(sim.rated.sizes)[1:-1]):
        if 0 < relevant[rows].sum() < len(rows):
            found.append(auc(score[rows], relevant[rows]))
    return float(np.mean(found))


def held_out(sim: World, rating: np.ndarray) -> tuple[float, float]:
    """(log loss, accuracy) on four fresh pairs a query, with the slope that suits each best."""
    pairs = offset(1, 4).asks(replace(sim.rated, seeds=sim.rated.seeds + np.uint64(1)), None)
    assert pairs is not None
    p = judged(sim, pairs, SOFT, np.random.default_rng(sim.seed + 2)).p
    gap = rating[pairs.a] - rating[pairs.b]
    losses = []
    for slope in np.linspace(0.2, 2, 37):
        believed = np.clip(link(slope * gap), 1e-12, 1 - 1e-12)
        losses.append(-np.mean(p * np.log(believed) + (1 - p) * np.log(1 - believed)))
    return float(min(losses)), float(np.mean((gap > 0) == (p > 0.5)))


def ece(y: np.ndarray, relevant: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: mean distance of y and the share that is relevant, in bins of equal width."""
    place = np.minimum((y * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(place, y - relevant, bins)).sum() / len(y))


def transfer(sim: World, y: np.ndarray, relevant: np.ndarray) -> float:
    """Largest error of precision in other domains, at the threshold that has precision 0.8 in the first one."""
    domain = sim.rated.domain[sim.query]
    home = np.flatnonzero(domain == 0)
    best_first = home[np.argsort(-y[home])]
    precision = np.cumsum(relevant[best_first]) / np.arange(1, len(home) + 1)
    threshold = y[best_first[np.flatnonzero(precision >= 0.8)[-1]]]
    others = [relevant[(domain == other) & (y >= threshold)] for other in range(1, DOMAINS)]
    return max(abs(float(found.mean()) - 0.8) if len(found) else 0.8 for found in others)


def student(sim: World, y: np.ndarray, relevant: np.ndarray) -> tuple[float, float, float]:
    """(validation MSE over the variance of its targets, pooled AUC, ECE) of a ridge regression on six noisy views of a pair.

    The views follow the relevance of the pair: nothing tells which other candidates the query has. Half of the queries train.
    """
    rng = np.random.default_rng(sim.seed + 3)
    views = sim.truth[:, None] * rng.uniform(0.3, 1, 6) + rng.normal(0, 1.5, (len(y), 6))
    views = np.column_stack([views, np.tanh(views), np.ones(len(y))])
    aim, train = logit(np.clip(y, 1e-3, 1 - 1e-3)), sim.query % 2 == 0
    weights = np.linalg.solve(views[train].T @ views[train] + np.eye(views.shape[1]), views[train].T @ aim[train])
    told, test = expit(views @ weights), ~train
    return (
        float(np.mean((told - y)[test] ** 2) / y[test].var()),
        auc(told[test], relevant[test]),
        ece(told[test], relevant[test]),
    )


def acceptance(queries: int, seed: int) -> None:
    """The six tests for each calibrator, and with the true offsets.

    4: mean highest target of queries without a relevant candidate and of the others, and in what share of the former it is
    above 0.6 (relevance 0 or less means a target of at most 0.5).
    """
    sim = world(queries, seed, emptied=0.2)
    relevant = np.random.default_rng(seed + 4).random(len(sim.truth)) < expit(sim.truth)
    level = (np.add.reduceat(sim.truth, starts(sim.rated.sizes)[:-1]) / sim.rated.sizes) * UNIT
    ones = np.ones(queries)
    grades = Anchor(by="grades", documents=10, criteria=5, ridge=0.1)
    cases: dict[str, tuple[Calibrator, str]] = {
        "none": (NoCalibration(), SOFT),
        "offset, 2 + 2 soft": (offset(2, 2), SOFT),
        "offset, 2 + 2 of 3 votes": (offset(2, 2), VOTES),
        "rubric, 5 documents": (Rubric(criteria=5, documents=5), SOFT),
        "anchor, 10 grades": (grades, SOFT),
        "anchor, ghost, 10 pairs": (replace(grades, by="ghost"), SOFT),
    }
    print(f"\nSix tests, {queries} queries, a fifth of them without a relevant candidate")
    print(
        f"{'':26s}| 1 held-out pairs | 2 AUC          | 3 ECE | 4 highest target   | 5 preci- | 6 student            | judge's\n"
        f"{'':26s}| log loss  acc.   | pooled  within |       | emptied rest > 0.6 | sion off | MSE/var   AUC    ECE | answers"
    )
    for name, (calibrator, judge) in [*cases.items(), ("true offsets", (NoCalibration(), SOFT))]:
        answers = asked(calibrator, sim, judge)
        scale = calibrator.fit(sim.rated, answers)
        if name == "true offsets":
            scale = Scale(level, ones, ones)
        rating = calibrated(sim, scale)
        y = link(rating)
        loss, accuracy = held_out(sim, rating)
        answered = 0 if answers is None else len(answers.p) / queries
        highest = np.maximum.reduceat(y, starts(sim.rated.sizes)[:-1])
        error, student_auc, student_ece = student(sim, y, relevant)
        print(
            f"{name:26s}| {loss:8.3f}  {accuracy:5.3f}  | {auc(y, relevant):6.3f}  {within_auc(sim, y, relevant):6.3f} "
            f"| {ece(y, relevant):.3f} | {highest[sim.emptied].mean():6.3f} {highest[~sim.emptied].mean():6.3f}"
            f" {np.mean(highest[sim.emptied] > 0.6):5.2f} | {transfer(sim, y, relevant):7.3f}  "
            f"| {error:7.3f}  {student_auc:6.3f} {student_ece:6.3f} | {answered:.0f} a query"
        )


def accuracy(queries: int, seed: int) -> None:
    """RMSE of offsets by cross-query pairs per query, and whether their standard errors hold."""
    sim = world(queries, seed, spread=1.38, domains=1)
    level = np.add.reduceat(sim.truth, starts(sim.rated.sizes)[:-1]) / sim.rated.sizes
    level -= level.mean()
    print(f"\nRMSE of offsets in logits (sd of their errors / standard error), {queries} queries, sd {level.std():.2f}")
    plans = {"1": (1, 1), "2": (1, 2), "4": (1, 4), "8": (1, 8), "16": (1, 16), "2 + 2": (2, 2), "2 + 6": (4, 2)}
    print(f"{'':30s}" + "".join(f"{name:>12s}" for name in plans))
    for judge in (SOFT, VOTES, VOTE):
        for slope, ridge in ((1.0, 0.25), (None, 0.25), (1.0, 2.5), (None, 2.5)):
            line = f"{judge:12s} slope {'fitted' if slope is None else slope:6} {ridge:<4}"
            for rounds, degree in plans.values():
                calibrator = offset(rounds, degree, ridge=ridge, slope=slope)
                found = calibrator.fit(sim.rated, asked(calibrator, sim, judge))
                error = found.offset / UNIT - level
                line += f"{np.sqrt(np.mean(error**2)):7.2f} ({np.std(error / found.stderr * UNIT):.1f})"
            print(line)


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def timing(queries: int, seed: int) -> None:
    """CPU seconds of each fit at the paper's size."""
    sim = world(queries, seed)
    print(f"\nCPU seconds, {queries:,} queries of {DOCUMENTS} documents")
    for name, calibrator in {
        "offset, 8 pairs, slope 1": offset(1, 8, slope=1.0),
        "offset, 8 pairs, slope fitted": offset(1, 8),
        "rubric, 5 documents": Rubric(criteria=5, documents=5),
        "anchor, 10 grades": Anchor(by="grades", documents=10, criteria=5, ridge=0.1),
        "anchor, ghost, 10 pairs": Anchor(by="ghost", documents=10, criteria=5, ridge=0.1),
    }.items():
        answers = asked(calibrator, sim, SOFT)
        spent = [cpu(lambda c=calibrator, a=answers: c.fit(sim.rated, a)) for _ in range(3)]
        found = calibrator.fit(sim.rated, answers)
        questions = cpu(lambda c=calibrator: c.asks(sim.rated, None))
        print(f"{name:32s} fit {np.median(spent):6.2f}   first questions {questions:5.2f}   {found.diagnosis}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["acceptance", "accuracy", "time"])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if "acceptance" in given.parts:
        acceptance(given.queries, given.seed)
    if "accuracy" in given.parts:
        accuracy(3 * given.queries, given.seed)
    if "time" in given.parts:
        timing(112_000, given.seed)


if __name__ == "__main__":
    main()
