"""A judge that needs no API: a scorer's difference, made a probability."""

from dataclasses import dataclass

import numpy as np

from zelo.errors import BadInput
from zelo.judges.rubric import only_compares
from zelo.protocols import Scorer
from zelo.records import Outcomes, Questions


@dataclass(frozen=True, kw_only=True)
class FromScores:
    """P(a preferred to b) = sigmoid((s_a - s_b) / (tau * sd)): soft votes, for hard ones lose most of what a scorer knows.

    sd is the standard deviation of the scorer's scores over the distinct documents asked about for that query in one call,
    so ask all of a query's questions at once. Where all scores agree (sd 0) the answer is 1/2. Across queries scores are
    compared as they are, and sd is that of all of them: worth what a score means by itself, which a cosine does and BM25,
    higher for longer queries, does not.
    """

    name: str
    scorer: Scorer
    tau: float

    def __post_init__(self) -> None:
        if self.tau <= 0:
            raise BadInput(f"judge {self.name}: tau={self.tau} must be above 0; it is in standard deviations, try 2.")

    @property
    def any_text(self) -> bool:
        """Whether it needs to know nothing but the texts, as where no vectors are given by id."""
        return getattr(getattr(self.scorer, "backbone", None), "any_text", True)

    def compare(self, questions: Questions) -> Outcomes:
        """One answer per question, across queries too. Raises BadInput for one document alone: scores have no common zero."""
        only_compares(self.name, questions)
        width = questions.documents.num_rows
        across = questions.query_b_row is not None
        query_a = questions.query_row.astype(np.int64)
        query_b = query_a if questions.query_b_row is None else questions.query_b_row.astype(np.int64)
        asked = np.concatenate([query_a * width + questions.a_row, query_b * width + questions.b_row])
        pairs, place = np.unique(asked, return_inverse=True)
        query_row, doc_row = np.divmod(pairs, max(width, 1))
        scores = self.scorer.score(questions.queries, questions.documents, query_row, doc_row).astype(np.float64)
        unit = _standardised(scores, np.zeros_like(query_row) if across else query_row)[place]
        difference = unit[: len(questions)] - unit[len(questions) :]
        return Outcomes.answered(
            self.name, 0.5 + 0.5 * np.tanh(difference / (2 * self.tau))
        )  # the sigmoid, without overflow


def _standardised(scores: np.ndarray, query_row: np.ndarray) -> np.ndarray:
    """Scores [N] less their query's mean, in their query's standard deviations; 0 where the scores agree."""
    query = np.unique(query_row, return_inverse=True)[1]
    count = np.bincount(query)
    centred = scores - (np.bincount(query, scores) / np.maximum(count, 1))[query]
    sd = np.sqrt(np.bincount(query, centred**2) / np.maximum(count, 1))[query]
    flat = sd <= 1e-6 * np.abs(scores)  # float32 scores that agree up to rounding
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, sd))
