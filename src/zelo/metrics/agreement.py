"""How far a ranking agrees with judge ratings, no human labels: nDCG against gains made from training targets."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import ZeloError

CUTOFF = 10
"""Depth at which agreement is reported."""
PREFIX = "judge_agreement"
"""Before the name of every figure against judge ratings, so that none has the name of a figure against labels."""
SHARPNESS = (
    2.0  # deviation of the log odds that a document is the relevant one: what loss=listwise_kl teaches by default
)
_EDGE = 1e-4  # targets nearer than this to 0 or 1 count as at this distance, as in the losses


def judged_gains(target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """[Q, D] gains from targets [Q, D] in [0, 1]: the chance that a document is the relevant one, 0 where all targets agree.

    A softmax over each list of the targets' log odds, which standardising makes the rating whatever its size. So nDCG is what
    a query with one right answer may expect, and the top of the judges' ranking counts: gains linear in the target, which half
    of all candidates have, hardly see what a training gains where few documents are relevant (docs/results.md).
    """
    there = mask.astype(np.float64)
    count = np.maximum(there.sum(1, keepdims=True), 1)
    odds = np.where(mask, target, 0.5).astype(np.float64).clip(_EDGE, 1 - _EDGE)
    odds = np.log(odds / (1 - odds)) * there
    centred = (odds - odds.sum(1, keepdims=True) / count) * there
    deviation = np.sqrt((centred**2).sum(1, keepdims=True) / count)
    informative = deviation > 1e-6
    wanted = np.where(mask, SHARPNESS * centred / np.where(informative, deviation, 1), -np.inf)
    share = np.exp(wanted - np.max(wanted, axis=1, keepdims=True, initial=-np.finfo(float).max))
    return share / np.maximum(share.sum(1, keepdims=True), np.finfo(float).tiny) * informative


def ndcg(scores: np.ndarray, gains: np.ndarray, mask: np.ndarray, k: int) -> np.ndarray:
    """[Q] nDCG@k with linear gains (Jarvelin and Kekalainen, TOIS 2002, as trec_eval has it); 0 where all gains are 0.

    scores, gains >= 0, mask (True where a document is): each [Q, D]. Documents with equal scores share the mean of their
    gains (McSherry and Najork, ECIR 2008), so neither their order nor a constant scorer gains anything. Raises ZeloError
    when a score is not finite.
    """
    return _ratio(dcg(scores, gains, mask, k), dcg(gains, gains, mask, k))


def dcg(scores: np.ndarray, gains: np.ndarray, mask: np.ndarray, k: int) -> np.ndarray:
    """[Q] discounted cumulative gain of the k best documents of each query; arguments as in `ndcg`."""
    if not np.isfinite(scores[mask]).all():
        raise ZeloError(
            "A score is not finite (nan or infinite), so the documents cannot be ranked; the scorer diverged."
        )
    score = np.where(mask, scores, -np.inf)
    order = np.argsort(-score, axis=1, kind="stable")
    score = np.take_along_axis(score, order, axis=1)
    gain = np.take_along_axis(np.where(mask, gains, 0.0), order, axis=1)
    new = np.ones(score.shape, bool)  # True where a group of equal scores begins; always so in the first column
    new[:, 1:] = score[:, 1:] != score[:, :-1]
    group = np.cumsum(new.ravel()) - 1
    shared = np.bincount(group, weights=gain.ravel()) / np.bincount(group)
    top = shared[group].reshape(gain.shape)[:, :k]
    return (top / np.log2(np.arange(top.shape[1]) + 2.0)).sum(axis=1)


def agreement(run: pa.Table, examples: pa.Table, k: int) -> dict[str, float]:
    """query_id -> nDCG@k of the run (SCORED) against targets from judge ratings, for every query of `examples` (EXAMPLE).

    Documents without a target are left out of the ranking (a condensed list: Sakai, SIGIR 2007); documents with a target
    that the run lacks count in the ideal order only. A query that the run lacks counts 0.
    """
    if not len(examples):
        return {}
    queries, documents = pc.unique(examples["query_id"]), pc.unique(examples["doc_id"])
    query, document = _rows(examples["query_id"], queries), _rows(examples["doc_id"], documents)
    order = np.lexsort((document, query))
    key = (query * len(documents) + document)[order]
    sizes = np.bincount(query, minlength=len(queries))
    row = query[order]
    column = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    shape = (len(queries), int(sizes.max(initial=0)))
    target, scores = np.zeros(shape), np.zeros(shape)
    judged, retrieved = np.zeros(shape, bool), np.zeros(shape, bool)
    target[row, column] = examples["target"].to_numpy()[order]
    judged[row, column] = True
    gains = judged_gains(target, judged)

    query, document = _rows(run["query_id"], queries), _rows(run["doc_id"], documents)
    wanted = query * len(documents) + document
    place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    hit = (query >= 0) & (document >= 0) & (key[place] == wanted)
    place = place[hit]
    scores[row[place], column[place]] = run["score"].to_numpy()[hit]
    retrieved[row[place], column[place]] = True
    values = _ratio(dcg(scores, gains, retrieved, k), dcg(gains, gains, judged, k))
    return dict(zip(queries.to_pylist(), values.tolist(), strict=True))


def _rows(column: pa.ChunkedArray, values: pa.Array) -> np.ndarray:
    """[N] int64, row of each id in `values`, -1 where it is not there."""
    return pc.fill_null(pc.index_in(column, values), -1).to_numpy().astype(np.int64)


def _ratio(value: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    return np.divide(value, ideal, out=np.zeros_like(value), where=ideal > 0)
