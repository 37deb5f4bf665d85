"""Questions that hold single documents against each criterion of a rubric, and what came back."""

import numpy as np

from zelo.errors import BadInput
from zelo.records import Answers, Asks


def ask_criteria(documents: np.ndarray, criteria: int) -> Asks:
    """Every criterion for each of these document numbers [D]; [D * criteria] questions, document by document."""
    alone = np.repeat(documents, criteria)
    return Asks(alone, alone, False, np.tile(np.arange(criteria, dtype=np.int16), len(documents)))


def refuse_other(calibrator: str, answers: Answers, criteria: int) -> np.ndarray:
    """[M] int64 criterion of each answer. Raises BadInput naming the first that is of no criterion of this rubric."""
    criterion = answers.asks.criterion
    if criterion is None:
        raise BadInput(
            f"calibrator={calibrator}: the answers compare pairs; it needs answers to its own questions on criteria"
        )
    unknown = (criterion < 0) | (criterion >= criteria)
    if unknown.any():
        row = int(unknown.argmax())
        raise BadInput(
            f"calibrator={calibrator}: answer number {row} of those given is on criterion {criterion[row]} of {criteria}; "
            "set calibrator.criteria to what the rubric has"
        )
    return criterion.astype(np.int64)
