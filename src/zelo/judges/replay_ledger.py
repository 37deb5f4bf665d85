"""What a paid judge was answered, from a ledger: nothing is sent, so it takes no key, no budget and no price."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from zelo.budget.recalled import recalled
from zelo.errors import BadInput
from zelo.judges.missing import Missing
from zelo.ledger.ledger import Ledger
from zelo.ledger.place import ledger_path
from zelo.protocols import PaidJudge, WholeListJudge
from zelo.records import UNSENT, Outcomes, Questions


@dataclass(frozen=True, kw_only=True)
class ReplayLedger:
    """Asks the ledger at `path` (None: the store's own) what `of` would ask its endpoint, and has it read the answers.

    An answer is found by its request, so `of` must ask as the judge did that paid: the same model, parameters and words. What
    the ledger lacks is unsent, never a vote. Nothing costs anything now.
    """

    # A table that lacks any answer is partial: another ledger can only fill it.
    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"path"})
    from_ledger: ClassVar[Literal[True]] = True

    of: PaidJudge
    path: str | None
    _missing: Missing = field(init=False, repr=False, compare=False, default_factory=Missing)

    def __post_init__(self) -> None:
        if not isinstance(self.of, PaidJudge):
            raise BadInput(
                f"judge {self.name}: its answers are not paid for, so no ledger has them. Mount one that is:"
                " judge@judge.of=chat."
            )

    @property
    def name(self) -> str:
        """That of `of`: presentation order is drawn from it, and under another name half of the pairs would be others."""
        return self.of.name

    @property
    def asked_whole(self) -> bool:
        """As of `of`."""
        return isinstance(self.of, WholeListJudge) and self.of.asked_whole

    def content(self) -> dict[str, str]:
        """Nothing more. Raises BadInput if there is no ledger, or none that can be read."""
        with self._ledger():
            return {}

    def compare(self, questions: Questions) -> Outcomes:
        """One outcome per question."""
        with self._ledger() as ledger:
            outcomes = recalled(ledger, self.of, questions)
        self._missing.add(questions, pc.not_equal(outcomes.status.cast(pa.string()), UNSENT).to_numpy(False))
        return outcomes

    def notes(self) -> list[str]:
        """Whether anything was missing, and what."""
        return self._missing.notes(self.name, self._place)

    @property
    def _place(self) -> Path:
        return ledger_path() if self.path is None else Path(self.path).expanduser()

    def _ledger(self) -> Ledger:
        path = self._place
        if not path.is_file() or not path.stat().st_size:  # to open it would be to make it
            raise BadInput(
                f"judge {self.name}: the ledger {path} is missing or empty. Set judge.path or ZELO_LEDGER to a"
                " ledger.sqlite, or ZELO_HOME to the folder that has one."
            )
        return Ledger(path)
