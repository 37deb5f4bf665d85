"""What a judge that replays could not answer."""

from dataclasses import dataclass

import numpy as np

from zelo.records import Questions


@dataclass
class Missing:
    """Counts over a whole run: it comes in many rounds of questions, and a count of one of them would mislead."""

    asked: int = 0
    there: int = 0
    first: str = ""  # the first pair that is missing

    def add(self, questions: Questions, found: np.ndarray) -> None:
        """One round. found: [N] bool."""
        self.asked, self.there = self.asked + len(found), self.there + int(found.sum())
        if not self.first and not found.all():
            row = int(found.argmin())
            query, a, b = (column[row].as_py() for column in (questions.query_id, questions.doc_a, questions.doc_b))
            self.first = f"query {query}, documents {a} and {b}"

    def notes(self, judge: str, place: object) -> list[str]:
        """One sentence, if anything was asked."""
        if not self.asked:
            return []
        line = f"all {self.asked:,} answers are in {place}"
        if self.first:
            line = (
                f"{self.there:,} of {self.asked:,} answers are in {place}, first missing: {self.first}; missing answers have the"
                " status unsent in the outcomes, and the run goes on without them"
            )
        return [f"judge {judge}: {line}"]
