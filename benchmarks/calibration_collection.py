"""What calibration is worth on a real collection, with judges that need no API: the six acceptance tests.

Run: python benchmarks/calibration_collection.py [FOLDER] [--judge dense] [--top-k 50]. FOLDER: BEIR layout; without one, the
documentation of the running Python. Labels of dev and test queries measure; nothing is chosen or trained by them.

The judge compares candidates of one query, and documents of two queries where a calibrator asks it to (judge=dense: by their
cosines as they are). 1: fresh cross-query pairs of that judge, with the slope that suits each best. 2: relevant documents
against all others, over all queries pooled and within each. 3: distance between target and share that is relevant, where
both are first brought to the same mean. 4: from a fifth of the labelled queries the relevant candidates are taken. 5: the
threshold that has precision 0.3 on half of the queries, on the other half. 6: a ridge regression on BM25, cosine and lengths
learns the targets of train queries; its error on the others, and its pooled AUC.
"""

import argparse
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hydra import compose, initialize_config_dir

from calibration import auc
from zelo.likelihood.randomness import content_seed
from zelo.pipeline import instantiate
from zelo.places import config_folder
from zelo.pools import Pools
from zelo.records import Answers, Comparisons, Questions, Rated, starts


@dataclass(frozen=True)
class Collection:
    """Queries with candidates, their features and labels."""

    queries: pa.Table
    documents: pa.Table
    pools: Pools
    relevant: np.ndarray  # [N] bool
    labelled: np.ndarray  # [Q] bool
    views: np.ndarray  # [N, F] what a student sees of each query and candidate

    @property
    def home(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.pools.sizes)), self.pools.sizes)


def component(option: str, **changes: Any) -> Any:
    group, _, name = option.partition("/")
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        node = instantiate.described(compose(None, [f"+{group}={name}"]))[group]
    return instantiate.build(node | changes, option)


def collected(folder: str | None, top_k: int) -> Collection:
    dataset = component("dataset/beir", path=folder, train_on_dev=False) if folder else component("dataset/pydocs")
    corpus = dataset.load()
    qrels, _ = dataset.judgements(corpus.queries, corpus.documents.select(["doc_id"]))
    found = component("retriever/fusion").search(corpus.queries, corpus.documents, top_k)
    pools = Pools.of(found, corpus.queries, corpus.documents)
    positive = qrels.filter(pc.greater(qrels["relevance"], 0))
    names = {(q, d) for q, d in zip(positive["query_id"].to_pylist(), positive["doc_id"].to_pylist(), strict=True)}
    query_row = np.repeat(pools.query_row, pools.sizes)
    ids = zip(
        corpus.queries["query_id"].take(query_row).to_pylist(),
        corpus.documents["doc_id"].take(pools.doc_row).to_pylist(),
        strict=True,
    )
    labelled = set(qrels["query_id"].to_pylist())
    views = [
        component(f"retriever/{name}").score(corpus.queries, corpus.documents, query_row, pools.doc_row)
        for name in ("bm25", "dense")
    ]
    length = np.log1p(pc.utf8_length(corpus.documents["text"]).to_numpy())[pools.doc_row]
    words = np.log1p(pc.utf8_length(corpus.queries["text"]).to_numpy())[query_row]
    return Collection(
        corpus.queries,
        corpus.documents,
        pools,
        np.array([pair in names for pair in ids]),
        np.array([name in labelled for name in corpus.queries["query_id"].take(pools.query_row).to_pylist()]),
        np.column_stack([*views, length, words]),
    )


def without(data: Collection, keep: np.ndarray) -> Collection:
    """The same with some of the candidates. keep: [N] bool."""
    sizes = np.bincount(data.home[keep], minlength=len(data.pools.sizes))
    assert (sizes > 0).all()
    pools = Pools(data.pools.query_row, sizes, data.pools.doc_row[keep])
    return replace(data, pools=pools, relevant=data.relevant[keep], views=data.views[keep])


def answered(data: Collection, judge: Any, a: np.ndarray, b: np.ndarray, across: bool) -> np.ndarray:
    """[M] mean preference of the judge's members."""
    query = np.repeat(data.pools.query_row, data.pools.sizes)
    asked = Questions(
        data.queries,
        data.documents,
        query[a].astype(np.int32),
        data.pools.doc_row[a],
        data.pools.doc_row[b],
        np.zeros(len(a), np.int16),
        query[b].astype(np.int32) if across else None,
    )
    outcomes = judge.compare(asked)
    return np.bincount(outcomes.question, outcomes.p) / np.bincount(outcomes.question)


def rated(data: Collection, judge: Any) -> Rated:
    names = data.queries["query_id"].take(data.pools.query_row).to_pylist()
    seeds = np.array([content_seed(name, 0) for name in names], np.uint64)
    solver = component("solver/thurstone")
    edges = component("graph/cycles").propose(data.pools.sizes, seeds, None)
    p = answered(data, judge, edges[:, 0], edges[:, 1], across=False)
    fit = solver.fit(Comparisons(data.pools.sizes, edges, p, np.ones(len(p))))
    return Rated(data.pools.sizes, fit.rating, fit.stderr, seeds, np.zeros(len(seeds), np.int32), solver.link)


def calibrated(data: Collection, sheet: Rated, judge: Any, calibrator: Any) -> np.ndarray:
    """[N] ratings on one scale."""
    answers = None
    while hasattr(calibrator, "asks") and (asks := calibrator.asks(sheet, answers)) is not None:
        new = Answers(asks, answered(data, judge, asks.a, asks.b, asks.across), np.ones(len(asks.a)))
        answers = new if answers is None else answers.and_then(new)
    scale = calibrator.fit(sheet, answers)
    return sheet.rating * np.repeat(scale.scale, sheet.sizes) + np.repeat(scale.offset, sheet.sizes)


def held_out(data: Collection, sheet: Rated, judge: Any, rating: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, len(rating), (2, 4 * len(sheet.sizes)))
    use = data.home[a] != data.home[b]
    p, gap = answered(data, judge, a[use], b[use], across=True), (rating[a] - rating[b])[use]
    believed = [np.clip(sheet.link(slope * gap), 1e-9, 1 - 1e-9) for slope in np.geomspace(0.05, 2, 40)]
    losses = [-np.mean(p * np.log(y) + (1 - p) * np.log(1 - y)) for y in believed]
    return float(min(losses)), float(np.mean((gap > 0) == (p > 0.5)))


def within(data: Collection, y: np.ndarray, rows: np.ndarray) -> float:
    found = []
    for query in np.unique(data.home[rows]):
        own = rows & (data.home == query)
        if 0 < data.relevant[own].sum() < own.sum():
            found.append(auc(y[own], data.relevant[own]))
    return float(np.mean(found))


def reliability(y: np.ndarray, relevant: np.ndarray, bins: int = 15) -> float:
    y = y * relevant.mean() / y.mean()
    parts = np.array_split(np.argsort(y, kind="stable"), bins)
    return float(sum(abs(y[part].mean() - relevant[part].mean()) * len(part) for part in parts) / len(y))


def transfer(data: Collection, y: np.ndarray, rows: np.ndarray) -> float:
    """Error of precision on odd queries at the threshold that has precision 0.3 on even ones."""
    even = rows & (data.home % 2 == 0)
    order = np.flatnonzero(even)[np.argsort(-y[even], kind="stable")]
    precision = np.cumsum(data.relevant[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero((precision >= 0.3) & (np.arange(len(order)) >= 20))
    if not len(enough):
        return float("nan")
    above = data.relevant[rows & (data.home % 2 == 1) & (y >= y[order[enough[-1]]])]
    return abs(float(above.mean()) - 0.3) if len(above) else 0.3


def student(data: Collection, y: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """(error over the variance of the targets, pooled AUC) on labelled queries, learned on the others."""
    views = (data.views - data.views.mean(0)) / data.views.std(0)
    views = np.column_stack([views, views**2, views[:, :1] * views[:, 1:2], np.ones(len(y))])
    train = ~test
    weights = np.linalg.solve(views[train].T @ views[train] + np.eye(views.shape[1]), views[train].T @ y[train])
    told = views[test] @ weights
    return float(np.mean((told - y[test]) ** 2) / y[test].var()), auc(told, data.relevant[test])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--judge", default="dense")
    parser.add_argument("--top-k", type=int, default=50)
    given = parser.parse_args()
    data, judge = collected(given.folder, given.top_k), component(f"judge/{given.judge}")
    labelled = np.flatnonzero(data.labelled)
    emptied = np.isin(
        np.arange(len(data.labelled)), np.random.default_rng(0).permutation(labelled)[: len(labelled) // 5]
    )
    fewer = without(data, ~(emptied[data.home] & data.relevant))
    print(
        f"{len(data.labelled)} queries, {len(labelled)} of them labelled, {given.top_k} candidates, judge={given.judge}"
    )
    print(
        f"{'':22s}| 1 held-out pairs | 2 AUC          | 3 ECE  | 4 highest target | 5 preci- | 6 student\n"
        f"{'':22s}| log loss  acc.   | pooled  within |        | emptied  rest    | sion off | MSE/var   AUC"
    )
    cases = {"none": component("calibrator/none"), "offset": component("calibrator/offset")}
    cases["anchor, ghost"] = component("calibrator/anchor", by="ghost")
    sheet, sheet_fewer = rated(data, judge), rated(fewer, judge)
    for name, calibrator in cases.items():
        rating = calibrated(data, sheet, judge, calibrator)
        y, test = sheet.link(rating), data.labelled[data.home]
        highest = np.maximum.reduceat(
            sheet.link(calibrated(fewer, sheet_fewer, judge, calibrator)), starts(fewer.pools.sizes)[:-1]
        )
        loss, right = held_out(data, sheet, judge, rating)
        error, learned = student(data, y, test)
        print(
            f"{name:22s}| {loss:8.3f}  {right:5.3f}  | {auc(y[test], data.relevant[test]):6.3f}  {within(data, y, test):6.3f} "
            f"| {reliability(y[test], data.relevant[test]):.4f} | {highest[emptied].mean():7.3f}  "
            f"{highest[data.labelled & ~emptied].mean():7.3f} | {transfer(data, y, test):8.3f} | {error:7.3f}  {learned:6.3f}"
        )


if __name__ == "__main__":
    main()
