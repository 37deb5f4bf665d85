"""Two rankings of the same queries side by side: which one a judge prefers, query by query, and whether that is chance."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.special import bdtr

from zelo.evaluation.paired import ALPHA
from zelo.evaluation.verdict import FEWEST, NO_DIFFERENCE
from zelo.facts import Facts
from zelo.metrics.ir_measure import positions
from zelo.metrics.judging import TIE
from zelo.metrics.measure import Resampling
from zelo.metrics.significance import FlipTest
from zelo.ranking import rows_of

CLEAREST = 3  # queries of each side that are shown
PREFERRED, NOT_PREFERRED = "preferred", "the baseline is preferred"


@dataclass(frozen=True)
class Sides:
    """The documents of two rankings at the first places of Q queries. Nothing in it says to a judge which ranking is whose."""

    one: np.ndarray  # [Q, K] rows of documents, -1 where the ranking has none
    other: np.ndarray  # [Q, K]

    @property
    def differ(self) -> np.ndarray:
        """[Q, K] bool: two different documents, for a judge to choose from."""
        return (self.one != self.other) & self.full

    @property
    def full(self) -> np.ndarray:
        """[Q, K] bool: both rankings have a document at this place."""
        return (self.one >= 0) & (self.other >= 0)


def places(run: pa.Table, queries: pa.Table, documents: pa.Table, depth: int) -> np.ndarray:
    """[Q, depth] rows of the documents at the first places, -1 where there is none. run: as `ranked` gives it."""
    found = np.full((len(queries), depth), -1, np.int64)
    query, rank = rows_of(run["query_id"], queries["query_id"]), positions(run)
    kept = (rank < depth) & (query >= 0)
    found[query[kept], rank[kept]] = rows_of(run["doc_id"], documents["doc_id"])[kept]
    return found


def advantage(sides: Sides, p: np.ndarray) -> np.ndarray:
    """[Q] from -1 to 1: the mean over places of 2 p - 1, each place with the discount of nDCG, 1 / log2(place + 1).

    p: [Q, K] that the document of `one` is preferred to that of `other` at the same place, nan where nobody answered; the same
    document at both is a draw. To first order in the difference of two documents' values this is the difference of the two
    rankings' discounted gains (Jarvelin and Kekalainen, TOIS 2002) with what the judge sees as gain. Places that only one of the
    rankings fills, and those without an answer, say nothing; nan where none says anything.
    """
    lead = np.where(sides.differ, 2 * p - 1, 0.0)
    weight = np.where(sides.full & ~np.isnan(lead), 1 / np.log2(np.arange(p.shape[1]) + 2), 0.0)
    total = weight.sum(axis=1)
    return np.divide((np.nan_to_num(lead) * weight).sum(axis=1), total, out=np.full(len(p), np.nan), where=total > 0)


def clearest(lead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The queries that each side wins most clearly, at most CLEAREST, the clearest first. lead: [Q] the `advantage`."""
    order = np.argsort(-np.abs(np.nan_to_num(lead)), kind="stable")
    return order[lead[order] > TIE][:CLEAREST], order[lead[order] < -TIE][:CLEAREST]


def compared(system: str, baseline: str, lead: np.ndarray, resamples: int, seed: int) -> Facts:
    """Wins, ties and losses of a system, with the interval of its share and two tests. lead: [Q] its `advantage`.

    win_rate counts a tie as half a win; its interval is over queries, None below five of them. sign_p: exact two-sided sign test,
    without ties (Dixon and Mood, JASA 41, 1946). permutation_p: of the mean advantage, which also says how large the preferences
    are.
    """
    known = lead[~np.isnan(lead)]
    result = np.where(np.abs(known) <= TIE, 0.0, np.sign(known))
    wins, losses = int((result > 0).sum()), int((result < 0).sum())
    facts: Facts = {
        "system": system,
        "baseline": baseline,
        "queries": len(known),
        "unanswered": len(lead) - len(known),
        "wins": wins,
        "ties": len(known) - wins - losses,
        "losses": losses,
    }
    if not len(known):
        return facts | {"verdict": NO_DIFFERENCE}
    rate = Resampling(resamples, seed).share((result + 1) / 2, np.arange(len(known)), "")
    test = FlipTest.of(known[None], resamples, seed)
    ends = test.interval(np.array([ALPHA]))
    sign = min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5))) if wins + losses else 1.0
    shown = sign < ALPHA and len(known) >= FEWEST
    return facts | {
        "win_rate": rate.value,
        "ci_low": rate.low,
        "ci_high": rate.high,
        "sign_p": sign,
        "advantage": float(known.mean()),
        "advantage_low": float(max(ends[0][0], -1.0)),
        "advantage_high": float(min(ends[1][0], 1.0)),
        "permutation_p": float(test.p()[0]),
        "verdict": NO_DIFFERENCE if not shown else PREFERRED if wins > losses else NOT_PREFERRED,
    }


def in_words(facts: Facts) -> str:
    """One comparison in a sentence."""
    pair = f"{facts['system']} against {facts['baseline']}"
    lacking = f", {facts['unanswered']} without an answer" * bool(facts["unanswered"])
    if not facts["queries"]:
        return f"{pair}, blind: no query has an answer{lacking}"
    low, high = facts["ci_low"], facts["ci_high"]
    ends = "" if low is None else f", 95 % interval {low:.0%} to {high:.0%}"
    few = f"; at least {FEWEST} queries are needed" * (facts["queries"] < FEWEST)
    return (
        f"{pair}, blind: {facts['verdict']}{few} ({facts['wins']} wins, {facts['ties']} ties, {facts['losses']} losses of"
        f" {facts['queries']} queries{lacking}; win rate {facts['win_rate']:.0%}{ends}; sign test p = {facts['sign_p']:.2g},"
        f" permutation test p = {facts['permutation_p']:.2g})"
    )
