"""Where money is spent: every paid call passes here, and none does without room under the caps and a line in the ledger."""

import math
import os
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zelo.budget import plan as planning
from zelo.budget.plan import Plan
from zelo.budget.recalled import recalled
from zelo.errors import BadInput, PriceUnknown
from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Caps, report_lost
from zelo.ledger.place import ledger_path
from zelo.progress import Advance, progress
from zelo.protocols import PaidJudge
from zelo.providers.request import Endpoint
from zelo.records import FAILED, REFUSED, TRUNCATED, UNPARSEABLE, Outcomes, Questions

if TYPE_CHECKING:
    from zelo.budget.session import Session

COMMAND = "ZELO_COMMAND"  # environment: the same in all processes of one command, so that its jobs share the budget
STOP, CONTINUE = "stop", "continue"
NO_ANSWER = (UNPARSEABLE, REFUSED, TRUNCATED, FAILED)  # what failed is not kept, and so always asked again


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The caps of one command, for all of its jobs together; None is no cap. usd and lifetime_usd are US dollars."""

    usd: float | None
    tokens: int | None
    calls: int | None
    lifetime_usd: float | None  # over everything that the ledger has ever recorded
    on_limit: str  # stop: end there, all kept; continue: go on with what there is
    max_failure_rate: float  # of a judge's last 200 outcomes, and of all replies that the ledger has for it
    ask_again: list[str]  # statuses: replies in the ledger that are read so are asked for again, once in a command

    def __post_init__(self) -> None:
        for name in ("usd", "tokens", "calls", "lifetime_usd"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                what = "allows no call" if value <= 0 else "is no cap"
                raise BadInput(f"budget.{name}={value} {what}; set it to a number above 0, or to null for no cap.")
        if self.on_limit not in (STOP, CONTINUE):
            raise BadInput(f"on_limit={self.on_limit!r} is unknown; use {STOP} or {CONTINUE}.")
        if not 0 <= self.max_failure_rate <= 1:
            raise BadInput(f"max_failure_rate={self.max_failure_rate} is no share; set it from 0 to 1.")
        for status in self.ask_again:
            if status not in NO_ANSWER:
                raise BadInput(
                    f"ask_again={self.ask_again}: {status!r} is no status of a reply without an answer; use some of"
                    f" {', '.join(NO_ANSWER)}, as in ask_again=[unparseable,refused]."
                )

    @property
    def _capped(self) -> bool:
        return any(cap is not None for cap in (self.usd, self.tokens, self.calls, self.lifetime_usd))

    def check(self, endpoint: Endpoint) -> None:
        """Raises BadInput where a key is missing and nothing that the ledger holds could do without it."""
        from zelo.providers.client import Client

        with _ledger() as ledger:
            if self.ask_again or not ledger.knows(endpoint.provider, endpoint.model):
                Client(endpoint)

    def plans(self, asked: Mapping[str, tuple[PaidJudge, Iterable[Questions]]]) -> list[Plan]:
        """What each judge would be asked, for how much, and what the ledger answers already. Sends nothing."""
        with _ledger() as ledger:
            return [
                planning.estimate(name, judge, batches, ledger, self.ask_again, command())
                for name, (judge, batches) in asked.items()
            ]

    def recalled(self, judge: PaidJudge, questions: Questions) -> Outcomes:
        """What the ledger answers of these questions, the others being unsent. Sends nothing."""
        with _ledger() as ledger:
            return recalled(ledger, judge, questions)

    @contextmanager
    def open(self, plans: list[Plan]) -> Iterator["Session"]:
        """A session that may ask what was planned. Raises BadInput, before anything is sent, where no budget allows it."""
        if not plans:
            yield self._session(None, {}, lambda n, note="": None)
            return
        self._admit(plans)
        with _ledger() as ledger:
            report_lost(ledger.abandoned())
            for plan in plans:
                left = f"{plan.calls:,} calls to make" if plan.calls else "none to ask"
                print(
                    f"{plan.asker}: {plan.known:,} of {plan.pairs:,} {plan.unit} from the ledger, {left}",
                    file=sys.stderr,
                )
            total = sum(plan.pairs for plan in plans)
            with progress(plans[0].kind, total, "answers", lambda: session.live) as advance:
                session = self._session(ledger, {plan.judge: plan for plan in plans}, advance)
                try:
                    yield session
                except BaseException:
                    session.report()
                    raise

    def _session(self, ledger: Ledger | None, plans: dict[str, Plan], advance: Advance) -> "Session":
        """Without any cap, what costs money is not sent: with on_limit=continue a run takes what the ledger holds."""
        from zelo.budget.session import Session  # and with it aiohttp: only where there is something to pay for

        caps = {name: self._caps(plan) for name, plan in plans.items()}
        patient = self.on_limit == CONTINUE
        return Session(ledger, plans, caps, patient, self.max_failure_rate, frozenset(self.ask_again), advance)

    def _caps(self, plan: Plan) -> Caps:
        """Of one judge: what is free is under no cap of money."""
        # Not only where calls are planned: an adaptive graph may ask for what no plan has seen.
        calls = self.calls if plan.free or self._capped else 0
        usd, lifetime = (None, None) if plan.free else (self.usd, self.lifetime_usd)
        return Caps(command(), usd, self.tokens, calls, lifetime)

    def _admit(self, plans: list[Plan]) -> None:
        planned = "\n".join(["", *planning.lines(plans)])
        for plan in plans:
            if plan.costs and not self._capped and self.on_limit == STOP:
                raise BadInput(
                    f"{plan.asker} costs money and there is no budget, so nothing was sent. Set budget.usd=DOLLARS"
                    " (or budget.calls, budget.tokens, budget.lifetime_usd) to go on, or on_limit=continue to use the"
                    f" answers in the ledger.{planned}"
                )
            if plan.costs and plan.usd is None and (self.usd is not None or self.lifetime_usd is not None):
                reason = f"{plan.asker}: the price of {plan.model} is unknown, so a budget in dollars cannot be kept."
                raise PriceUnknown(plan.key, reason, planned, plan.prices)
            for name in ("usd", "lifetime_usd"):
                cap = getattr(self, name)
                if plan.calls and cap is not None and plan.worst_call > cap:
                    raise BadInput(
                        f"{plan.asker}: one call may cost {plan.worst_call:.4f} dollars, and budget.{name} is {cap}. Raise"
                        f" it, or lower {'max_tokens or ' * (plan.most_out > 0)}document_tokens.{planned}"
                    )


def command() -> str:
    """The name of this command, the same in every process that it starts."""
    return os.environ.setdefault(COMMAND, uuid.uuid4().hex)


def _ledger() -> Ledger:
    return Ledger(ledger_path())
