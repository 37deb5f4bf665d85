"""The tables that flow between stages, and the columnar messages between a stage and its components.

A constant in capitals is the schema of a table on disk. Ids are strings at the edges; graphs and solvers see integers only.
No object is ever made per row: the paper's size is 112,000 queries, 11.2 M candidates and 45 M comparisons.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from zelo.facts import Facts
from zelo.pools import Pools
from zelo.texts import document_texts

if TYPE_CHECKING:
    from zelo.likelihood.links import LinkFunction

TRAIN, DEV, TEST = "train", "dev", "test"
SPLITS = (TRAIN, DEV, TEST)
DUPLICATE = "duplicate"  # in place of a split: the query has the text of a dev or test query, and nothing uses it
UNUSED = "unused"  # in place of a split: nothing learns from the query, and nothing is measured by it
DOMAIN = "domain"  # column of queries, if they have one; of documents where each domain has a corpus of its own

ANSWERED = "answered"
REFUSED, TRUNCATED, UNPARSEABLE, FAILED, UNSENT = "refused", "truncated", "unparseable", "failed", "unsent"
STATUSES = (ANSWERED, REFUSED, TRUNCATED, UNPARSEABLE, FAILED, UNSENT)
FINAL = frozenset({ANSWERED, REFUSED, TRUNCATED, UNPARSEABLE})  # asking again would bring the same
ONE_PAIR = " (one pair)"  # ends the name of a judge that is asked again with a request for each pair

CRITERIA = 5  # of the rubric that a document alone is judged by, from lenient to strict; as in arXiv 2609.35739

_CATEGORY = pa.dictionary(pa.int32(), pa.string())

QUERY = pa.schema([("query_id", pa.string()), ("text", pa.string()), ("split", pa.string())])
DOCUMENT = pa.schema([("doc_id", pa.string()), ("title", pa.string()), ("text", pa.string())])
PASSAGE = DOCUMENT.append(pa.field("document_id", pa.string()))  # documents that were split; `doc_id` is the passage's
DROPPED = pa.schema(
    [("doc_id", pa.string()), ("same_as", pa.string())]
)  # a document, and the one with its text that is kept
MADE = pa.schema(
    [
        ("text", pa.string()),  # of a query that nobody has asked
        ("doc_id", pa.string()),  # the document that it was made for: not taken for the right answer
        ("style", pa.string()),  # what it is: a title, a question ...
    ]
)
QREL = pa.schema(
    [("query_id", pa.string()), ("doc_id", pa.string()), ("relevance", pa.int32()), ("split", pa.string())]
)
CANDIDATE = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_id", pa.string()),
        ("rank", pa.int32()),  # 0 is the best
        ("score", pa.float32()),
    ]
)
OUTCOME = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_a", pa.string()),
        ("doc_b", pa.string()),
        ("query_id_b", pa.string()),  # the query of doc_b in a cross-query comparison, else null
        ("criterion", pa.int16()),  # of the rubric, that doc_a alone was held against, else null
        ("judge", _CATEGORY),
        ("repeat", pa.int16()),
        ("p", pa.float32()),  # P(doc_a preferred to doc_b) in [0, 1]; null unless answered
        ("weight", pa.float32()),  # comparisons that it counts as: 1, or less where one answer gave several at once
        ("swapped", pa.bool_()),  # doc_b was shown first
        ("status", _CATEGORY),  # one of STATUSES
        ("tokens", pa.int32()),
        ("cost", pa.float64()),  # US dollars
    ]
)
WEIGHT = pa.schema(
    [
        ("judge", pa.string()),
        ("weight", pa.float64()),  # what its answers count for, 1 on average
        ("ndcg", pa.float64()),  # of its own ranking of known items; null where it was not asked about any
    ]
)
RATING = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_id", pa.string()),
        ("rating", pa.float64()),  # latent, in units of the solver's link; mean 0 per query before calibration
        ("stderr", pa.float64()),  # null where the solver was asked for none
        ("degree", pa.int32()),  # comparisons that this document took part in
        ("offset", pa.float64()),  # what the calibrator added to the query's ratings (0 before calibration)
        ("scale", pa.float64()),  # what the calibrator multiplied them by (1 before calibration)
    ]
)
QUERY_SCALE = pa.schema(
    [
        ("query_id", pa.string()),
        ("offset", pa.float64()),
        ("scale", pa.float64()),
        ("stderr", pa.float64()),  # of the offset; null where nothing is known of it
    ]
)
QUERY_FIT = pa.schema(
    [
        ("query_id", pa.string()),
        ("documents", pa.int32()),
        ("pairs", pa.int32()),  # that became preferences
        ("pairs_below_quorum", pa.int32()),
        ("steps", pa.int32()),  # of the solver
        ("gradient", pa.float64()),  # largest absolute one at the end
        ("log_loss", pa.float64()),  # nats per comparison of weight 1
        ("held_out_log_loss", pa.float64()),
        ("dispersion", pa.float64()),  # of the answers around the fit, 1 for votes drawn from it
        ("components", pa.int32()),  # of the graph; ratings of two components cannot be compared
        ("separable", pa.int32()),  # documents that won or lost everything: placed by the prior alone
        # of a sample of the queries, null for the others:
        ("triads", pa.float64()),  # share of the compared triples that are intransitive
        ("curl", pa.float64()),  # share of the preferences' variance that no rating explains
    ]
)
DIAGNOSIS = pa.schema([("json", pa.string())])  # what a solver or calibrator says about its fit, a row per shard
EXAMPLE = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_id", pa.string()),
        ("target", pa.float32()),  # in [0, 1]
        ("weight", pa.float32()),
        ("split", pa.string()),
    ]
)
DEV_VALUE = pa.schema([("query_id", pa.string()), ("value", pa.float64())])  # of the metric that a training goes by
PREFERENCE = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_a", pa.string()),
        ("doc_b", pa.string()),
        ("p", pa.float32()),  # P(doc_a preferred to doc_b) in [0, 1], the mean over judges
        ("weight", pa.float32()),
        ("unanimous", pa.bool_()),  # every answer is on the same side of 1/2
        ("split", pa.string()),
    ]
)
SCORED = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("score", pa.float32())])
METRIC = pa.schema(
    [
        (
            "key",
            pa.string(),
        ),  # test/nDCG@10/zelo against labels, judge_agreement/dev/nDCG@10/zelo against judge ratings
        ("system", pa.string()),
        ("metric", pa.string()),  # as ir-measures writes it: nDCG@10; against judge ratings judge_agreement/nDCG@10
        ("split", pa.string()),
        ("first_stage", pa.string()),
        ("protocol", pa.string()),
        ("domain", pa.string()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("p_value", pa.float64()),
        ("baseline", pa.string()),
        ("queries", pa.int32()),
        ("bytes_per_document", pa.int32()),  # of a system that compares one vector a document; else null
    ]
)


@dataclass(frozen=True)
class Corpus:
    """What a dataset yields: `queries` (QUERY) and `documents` (DOCUMENT), perhaps with a DOMAIN. Labels are no part of it."""

    queries: pa.Table
    documents: pa.Table
    name: str = ""  # of the collection, for tables of results
    notes: tuple[str, ...] = ()  # what the user should know, one line each: documents without text, say


@dataclass(frozen=True)
class Questions:
    """N comparisons to judge: is `doc_a` a better answer to its query than `doc_b`?

    The judge sees documents in the order in which they are to be shown. Rows are integers into the two tables; ids and
    texts are joined on access. In a cross-query comparison `query_b_row` holds the query of `doc_b`; elsewhere it is None.
    With `criterion` each row asks instead whether `doc_a` alone meets that criterion of the rubric; `b_row` repeats `a_row`.
    """

    queries: pa.Table  # QUERY
    documents: pa.Table  # DOCUMENT
    query_row: np.ndarray  # [N] int32
    a_row: np.ndarray  # [N] int32
    b_row: np.ndarray  # [N] int32
    repeat: np.ndarray  # [N] int16
    query_b_row: np.ndarray | None = None  # [N] int32
    criterion: np.ndarray | None = None  # [N] int16, from 0, the easiest, to CRITERIA - 1
    candidates: Pools | None = None  # of the queries, all of them: what a judge that standardises scores goes by

    def __len__(self) -> int:
        return len(self.query_row)

    def take(self, rows: np.ndarray) -> "Questions":
        """Some of the questions, by position."""
        names = ("query_row", "a_row", "b_row", "repeat", "query_b_row", "criterion")
        columns = {name: getattr(self, name) for name in names}
        return replace(self, **{name: column[rows] for name, column in columns.items() if column is not None})

    def flipped(self, where: np.ndarray) -> "Questions":
        """The same with the second document, and its query, first where `where` [N] is true.

        A question about one document alone has no order and stays as it is.
        """
        if self.criterion is not None:
            return self

        def swap(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.where(where, other, one), np.where(where, one, other)

        a, b = swap(self.a_row, self.b_row)
        if self.query_b_row is None:
            return replace(self, a_row=a, b_row=b)
        query, query_b = swap(self.query_row, self.query_b_row)
        return replace(self, query_row=query, a_row=a, b_row=b, query_b_row=query_b)

    @property
    def query_id(self) -> pa.ChunkedArray:
        """[N] ids of the queries."""
        return self.queries["query_id"].take(self.query_row)

    @property
    def doc_a(self) -> pa.ChunkedArray:
        """[N] ids of the documents shown first."""
        return self.documents["doc_id"].take(self.a_row)

    @property
    def doc_b(self) -> pa.ChunkedArray:
        """[N] ids of the documents shown second."""
        return self.documents["doc_id"].take(self.b_row)

    @property
    def query_id_b(self) -> pa.ChunkedArray | None:
        """[N] ids of the queries of `doc_b`, or None where both documents answer one query."""
        return None if self.query_b_row is None else self.queries["query_id"].take(self.query_b_row)

    def query_texts(self, rows: slice = slice(None)) -> list[str]:
        """The queries' texts for these rows."""
        return self.queries["text"].take(self.query_row[rows]).to_pylist()

    def texts_a(self, rows: slice = slice(None)) -> list[str]:
        """Title and text of the documents shown first, for these rows."""
        return document_texts(self.documents.take(self.a_row[rows]))

    def texts_b(self, rows: slice = slice(None)) -> list[str]:
        """Title and text of the documents shown second, for these rows."""
        return document_texts(self.documents.take(self.b_row[rows]))


@dataclass(frozen=True)
class Outcomes:
    """What judges answered: one row per question and judge; `p` is for the document shown first, nan unless answered.

    Where a question has a criterion, `p` is the probability that the document meets it.
    """

    question: np.ndarray  # [M] int64, row in Questions
    judge: pa.DictionaryArray  # [M] name
    p: np.ndarray  # [M] float32 in [0, 1], nan unless answered
    weight: np.ndarray  # [M] float32, comparisons that each counts as
    status: pa.DictionaryArray  # [M] one of STATUSES
    tokens: np.ndarray  # [M] int32
    cost: np.ndarray  # [M] float64, US dollars

    def __len__(self) -> int:
        return len(self.question)

    @staticmethod
    def answered(judge: str, p: np.ndarray) -> "Outcomes":
        """One judge's answers to all N questions, free of charge. p: [N]."""
        n = len(p)
        return Outcomes.of(judge, p, np.ones(n), np.zeros(n, np.int32), np.zeros(n), np.zeros(n))

    @staticmethod
    def of(
        judge: str, p: np.ndarray, weight: np.ndarray, status: np.ndarray, tokens: np.ndarray, cost: np.ndarray
    ) -> "Outcomes":
        """One judge's outcome for each of N questions. status: [N] int32, position in STATUSES."""
        return Outcomes(
            question=np.arange(len(p)),
            judge=pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(p), np.int32)), pa.array([judge])),
            p=np.asarray(p, np.float32),
            weight=np.asarray(weight, np.float32),
            status=pa.DictionaryArray.from_arrays(pa.array(status), pa.array(STATUSES)),
            tokens=np.asarray(tokens, np.int32),
            cost=np.asarray(cost, np.float64),
        )


@dataclass(frozen=True)
class Comparisons:
    """E weighted soft preferences on the documents of Q queries, numbered globally: query 0's documents come first.

    `p[e]` is the probability that document `edges[e, 0]` is preferred to `edges[e, 1]`; both belong to one query.
    """

    sizes: np.ndarray  # [Q] int64, documents per query
    edges: np.ndarray  # [E, 2] int64
    p: np.ndarray  # [E] float64 in [0, 1]
    weight: np.ndarray  # [E] float64 > 0
    judge: np.ndarray | None = None  # [E] int32, which judge answered (None: averaged)
    swapped: np.ndarray | None = None  # [E] bool, edges[e, 1] was shown first (None: averaged)
    weighed: bool = False  # `weight` says already how far each judge is believed
    diagnosed: np.ndarray | None = None  # [Q] bool, whose contradictions are looked for (None: all)


@dataclass(frozen=True)
class Fit:
    """Ratings of N documents, mean 0 per query, with standard errors in the same unit, and how the fit went."""

    rating: np.ndarray  # [N] float64
    stderr: np.ndarray  # [N] float64, nan where none were asked for
    link: "LinkFunction"  # the solver's: difference of two ratings -> probability of preference
    sizes: np.ndarray  # [Q] documents per query
    edges: np.ndarray  # [E, 2] the comparisons that were fitted, global document numbers
    curvature: np.ndarray  # [E] of each comparison's loss in the difference of its ratings, weight included
    ridge: float  # precision of the prior: Hessian = Laplacian of the curvatures + ridge
    diagnosis: Facts = field(default_factory=dict)  # JSON-ready: steps, gradient norm, log loss ...
    queries: dict[str, np.ndarray] = field(default_factory=dict)  # [Q] each: components, triads, curl, log_loss ...


@dataclass(frozen=True)
class Rated:
    """N rated documents of Q queries, grouped by query: what a calibrator and a target see."""

    sizes: np.ndarray  # [Q] int64
    rating: np.ndarray  # [N] float64, mean 0 per query
    stderr: np.ndarray  # [N] float64, nan where the solver was asked for none
    seeds: np.ndarray  # [Q] uint64, made from the queries' ids
    domain: np.ndarray  # [Q] int32, the collection or subject that a query is from; 0 everywhere if there is but one
    link: "LinkFunction"  # the solver's
    criteria: np.ndarray | None = None  # [C, 2] discrimination and difficulty, where a rubric calibrated the ratings


@dataclass(frozen=True)
class Asks:
    """M questions that a calibrator has, in global document numbers.

    Two documents, each for its own query (`across`) or both for the query of `a`; or, where `criterion` is given, document
    `a` alone against that criterion of the rubric, and `b` repeats `a`.
    """

    a: np.ndarray  # [M] int64
    b: np.ndarray  # [M] int64
    across: bool
    criterion: np.ndarray | None = None  # [M] int16, 0 is the easiest


@dataclass(frozen=True)
class Answers:
    """What the judges answered to `asks`: nan where nobody did."""

    asks: Asks
    p: np.ndarray  # [M] float64, P(a preferred to b), or that a meets the criterion
    weight: np.ndarray  # [M] float64

    def and_then(self, later: "Answers") -> "Answers":
        """Those of two rounds together."""

        def both(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
            return None if one is None or other is None else np.concatenate([one, other])

        asks = Asks(
            a=np.concatenate([self.asks.a, later.asks.a]),
            b=np.concatenate([self.asks.b, later.asks.b]),
            across=self.asks.across,
            criterion=both(self.asks.criterion, later.asks.criterion),
        )
        return Answers(asks, np.concatenate([self.p, later.p]), np.concatenate([self.weight, later.weight]))


@dataclass(frozen=True)
class Retrieved:
    """What a first stage says that is not a search of its own: a run file may lack queries."""

    candidates: pa.Table  # CANDIDATE
    filled: np.ndarray  # [Q] bool: these queries' candidates are another retriever's, and no part of its ranking
    notes: tuple[str, ...]  # what a reader should know


@dataclass(frozen=True)
class FirstPass:
    """What the students of a first pass made of the candidates of Q train queries.

    Documents are numbered globally, grouped by query, in order of their ids.
    """

    sizes: np.ndarray  # [Q] int64
    score: np.ndarray  # [N] float64 of the pointwise student, log odds
    human: np.ndarray | None = None  # [Q] int64, the document that people label highest
    edges: np.ndarray | None = None  # [E, 2] int64, what the pairwise student has compared
    p: np.ndarray | None = None  # [E] float64, P(edges[e, 0] preferred), as it sees it


@dataclass(frozen=True)
class Chosen:
    """The pair of each of K queries that the expensive judges might be asked about, in global document numbers."""

    a: np.ndarray  # [K] int64
    b: np.ndarray  # [K] int64, -1 where there is nothing to hold `a` against
    urgency: np.ndarray  # [K] float64, more is more urgent


@dataclass(frozen=True)
class Scale:
    """One scale for all queries: rating * scale + offset."""

    offset: np.ndarray  # [Q] float64
    scale: np.ndarray  # [Q] float64, positive
    stderr: np.ndarray  # [Q] float64 of the offset; nan where nothing is known
    diagnosis: Facts = field(default_factory=dict)  # JSON-ready


def distinct(values: np.ndarray) -> np.ndarray:
    """The `values` [N] in order, once each: sorted, which takes a hundredth of the time of np.unique's hash table of integers."""
    ordered = np.sort(values)
    return ordered[np.concatenate([np.ones(min(len(values), 1), bool), ordered[1:] != ordered[:-1]])]


def starts(sizes: np.ndarray) -> np.ndarray:
    """[Q + 1] first row of each of Q consecutive groups of these sizes, and the end."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
