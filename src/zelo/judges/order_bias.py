"""Whether a judge goes by the place of a document: what it says of the one shown first, and what calibration leaves of that."""

from dataclasses import dataclass

import numpy as np

ONE_LETTER = 0.9  # of the prompts: from here on a judge that names one letter says little about documents
BOTH, CONTENT_FREE, NOTHING = "both orders", "content-free prompts", "nothing"  # cures of it
FEWEST = 20  # prompts that this is said about


@dataclass
class OrderBias:
    """Counts over all prompts so far, but those that calibrate."""

    prompts: int = 0
    first: int = 0  # prompts in which it is named
    odds: float = 0.0  # sum of its log odds
    pairs: int = 0
    first_after: int = 0  # pairs in which it is preferred in the end
    left: float = 0.0  # sum of the sizes of the log odds in the end
    agree: int = 0  # pairs whose two orders name the same document, where both were asked

    def add(self, asked: np.ndarray, raw: np.ndarray, final: np.ndarray) -> None:
        """Log odds of the document shown first. asked: of each prompt; raw: [N, orders] of each pair; final: [N] in the end."""
        asked = asked[np.isfinite(asked)]
        self.prompts += len(asked)
        self.first += int((asked > 0).sum())
        self.odds += float(asked.sum())
        known = np.isfinite(raw).all(1) & np.isfinite(final)
        raw, final = raw[known], final[known]
        self.pairs += len(final)
        self.first_after += int((final > 0).sum())
        self.left += float(np.abs(final).sum())
        self.agree += int((raw.shape[1] == 2) and ((raw[:, 0] > 0) != (raw[:, -1] > 0)).sum())

    def extend(self, other: "OrderBias") -> None:
        """Adds the counts of other prompts."""
        for name, value in vars(other).items():
            vars(self)[name] += value

    def sentences(self, judge: str, cure: str) -> list[str]:
        """What a reader should know of a judge that names one letter nearly always; none about another. cure: as below."""
        share = self.first / max(self.prompts, 1)
        if self.prompts < FEWEST or max(share, 1 - share) < ONE_LETTER:
            return []
        letter, often = ("A", share) if share > 0.5 else ("B", 1 - share)
        return [
            f"judge {judge} answers {letter} in {100 * often:.0f} % of {self.prompts:,} prompts, whichever document stands there"
            f" (mean log odds of A {self.odds / self.prompts:+.2f}). {self._after(cure)}"
        ]

    def _after(self, cure: str) -> str:
        left, pairs = self.left / max(self.pairs, 1), max(self.pairs, 1)
        size = f"the preference that is left has log odds of {left:.2f} on average"
        if cure == BOTH:
            return (
                f"Averaged over both orders, which takes that off, {size}; both orders name the same document in"
                f" {100 * self.agree / pairs:.0f} % of {self.pairs:,} pairs."
            )
        if cure == CONTENT_FREE:
            return (
                f"After calibration it is {100 * self.first_after / pairs:.0f} % for the document shown first; {size}."
            )
        return "Nothing takes that off: set judge.both_orders=true or judge.calibrate=true."
