"""What judges share that are asked about one document alone: the refusal of those that can only compare, and draws of chance."""

import numpy as np

from zelo.errors import BadInput
from zelo.likelihood.randomness import mixed
from zelo.records import Questions

_CRITERION = np.uint64(5)  # sets a criterion apart from documents and from other draws


def only_compares(judge: str, questions: Questions) -> None:
    """Raises BadInput, for a judge that has nothing to say about one document alone, where that is asked."""
    if questions.criterion is not None:
        raise BadInput(
            f"judge {judge} compares two documents and cannot say what one alone meets of the rubric; use judge=chat or"
            " judge=anthropic with mode=score, which have a prompt for it, or judge=simulated to try things out."
        )


def criterion_hashes(criterion: np.ndarray) -> np.ndarray:
    """[N] uint64: where noise is made of two sides, this stands for the second one. criterion: [N]."""
    return mixed(_CRITERION, criterion.astype(np.uint64))
