"""A judge that needs no API: a scorer's difference, made a probability."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from zelo.errors import BadInput
from zelo.judges.rubric import only_compares
from zelo.pools import Pools
from zelo.protocols import BackboneScorer, Checked, Scorer, VectorsById
from zelo.records import ANSWERED, FAILED, STATUSES, Outcomes, Questions, distinct

PRIOR = 1.0  # queries' worth of belief that a document is liked neither more nor less than others


@dataclass(frozen=True)
class _Scored:
    """Scores of K pairs of a query and a document. key: [K] ascending, query row * documents + document row."""

    candidates: Pools | None  # that they are the scores of
    key: np.ndarray
    score: np.ndarray  # [K] float64
    bias: np.ndarray  # [K] float64, of the document, in standard deviations


@dataclass(frozen=True, kw_only=True)
class FromScores:
    """P(a preferred to b) = sigmoid((s_a - s_b) / (tau * sd)): soft votes, for hard ones lose most of what a scorer knows.

    sd is the standard deviation of the scorer's scores over all of the query's candidates (`Questions.candidates`), so that a
    pair has the same p whatever else is asked; of a query whose candidates are not given, over the documents asked about in
    the call. Where all scores agree (sd 0) the answer is 1/2. Across queries scores are compared as they are, and sd is that
    over the candidates of all queries: sensible where a score means something by itself, as a cosine does; BM25, higher for
    longer queries, does not. A pair with a score that is no number has failed.

    `other_queries`: where candidates are given, what other queries say of a document is taken off, the mean of its standardised
    scores for them, drawn towards 0 by PRIOR queries' worth: a scorer that likes a document whatever is asked says nothing
    about the query. A query's own score takes no part. Across queries nothing is taken off.
    """

    SPREADS: ClassVar[Literal[True]] = True

    name: str
    scorer: Scorer
    tau: float
    other_queries: bool = False
    # Of the last candidates that questions came with: an adaptive graph asks about the same ones round by round.
    _last: _Scored | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.tau <= 0:
            raise BadInput(f"judge {self.name}: tau={self.tau} must be above 0; it is in standard deviations, try 2.")

    @property
    def any_text(self) -> bool:
        """Whether the texts are all that it needs, as where no vectors are given by id."""
        return not (isinstance(self.scorer, BackboneScorer) and isinstance(self.scorer.backbone, VectorsById))

    def check(self) -> None:
        """Raises BadInput where the scorer finds that it cannot score."""
        if isinstance(self.scorer, Checked):
            self.scorer.check()

    def compare(self, questions: Questions) -> Outcomes:
        """One answer per question, across queries too. Raises BadInput for one document alone: scores have no common zero."""
        only_compares(self.name, questions)
        width = max(questions.documents.num_rows, 1)
        query_a = questions.query_row.astype(np.int64)
        query_b = query_a if questions.query_b_row is None else questions.query_b_row.astype(np.int64)
        ends = np.concatenate([query_a * width + questions.a_row, query_b * width + questions.b_row])
        asked, place = np.unique(ends, return_inverse=True)
        listed = self._listed(questions, width)
        at = np.minimum(np.searchsorted(listed.key, asked), max(len(listed.key) - 1, 0))
        known = listed.key[at] == asked if len(listed.key) else np.zeros(len(asked), bool)
        score, bias = np.empty(len(asked)), np.zeros(len(asked))
        score[known], bias[known] = listed.score[at[known]], listed.bias[at[known]]
        score[~known] = self._scores(questions, asked[~known], width)
        alone = ~np.isin(asked // width, listed.key // width)  # of queries whose candidates are not given
        query = np.concatenate([listed.key, asked[alone]]) // width
        whole = np.concatenate([listed.score, score[alone]])
        query, of = (query, asked // width) if questions.query_b_row is None else (query * 0, asked * 0)
        unit = _standardised(score, of, whole, query)[place]
        if questions.query_b_row is None:  # the bias is in standard deviations of one query's scores
            unit -= bias[place]
        difference = unit[: len(questions)] - unit[len(questions) :]
        p = 0.5 + 0.5 * np.tanh(difference / (2 * self.tau))  # the sigmoid, without overflow
        status = np.where(np.isnan(p), STATUSES.index(FAILED), STATUSES.index(ANSWERED)).astype(np.int32)
        return Outcomes.of(self.name, p, np.ones(len(p)), status, np.zeros(len(p)), np.zeros(len(p)))

    def _listed(self, questions: Questions, width: int) -> _Scored:
        """The scores of the candidates that the questions came with, kept until they come with others."""
        candidates = questions.candidates
        if candidates is None:
            return _Scored(None, np.empty(0, np.int64), np.empty(0), np.empty(0))
        if self._last is None or self._last.candidates is not candidates:
            key = distinct(
                np.repeat(candidates.query_row.astype(np.int64), candidates.sizes) * width + candidates.doc_row
            )
            score = self._scores(questions, key, width)
            bias = _of_documents(score, *np.divmod(key, width)) if self.other_queries else np.zeros(len(key))
            object.__setattr__(self, "_last", _Scored(candidates, key, score, bias))
        assert self._last is not None
        return self._last

    def _scores(self, questions: Questions, key: np.ndarray, width: int) -> np.ndarray:
        """[K] float64 scores. key: [K] query row * width + document row, ascending."""
        if not len(key):
            return np.empty(0)
        query_row, doc_row = np.divmod(key, width)
        return self.scorer.score(questions.queries, questions.documents, query_row, doc_row).astype(np.float64)


def _of_documents(score: np.ndarray, query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """[K] what the other queries of each pair's document say of it, in standard deviations. score, query, document: [K]."""
    unit = np.nan_to_num(_standardised(score, query, score, query))
    _, place = np.unique(document, return_inverse=True)
    total, count = np.bincount(place, unit), np.bincount(place)
    return (total[place] - unit) / (count[place] - 1 + PRIOR)


def _standardised(score: np.ndarray, query: np.ndarray, whole: np.ndarray, whole_query: np.ndarray) -> np.ndarray:
    """Scores [N] less their query's mean, in their query's standard deviations; 0 where the scores agree.

    Mean and deviation are those of the scores `whole` [K], grouped by `whole_query` [K], which has every `query` [N]. A score
    that is no number stays none and counts in neither.
    """
    queries = distinct(whole_query)
    whole_query, whole = whole_query[~np.isnan(whole)], whole[~np.isnan(whole)]
    group = np.searchsorted(queries, whole_query)
    count = np.maximum(np.bincount(group, minlength=len(queries)), 1)
    mean = np.bincount(group, whole, len(queries)) / count
    sd = np.sqrt(np.bincount(group, (whole - mean[group]) ** 2, len(queries)) / count)
    mine = np.searchsorted(queries, query)
    sd, centred = sd[mine], score - mean[mine]
    flat = sd <= 1e-6 * np.abs(score)  # float32 scores that agree up to rounding
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, sd))
