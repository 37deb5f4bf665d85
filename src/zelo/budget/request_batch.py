"""One judge's questions while they are being asked, and what they came to."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from zelo.budget.price import money
from zelo.protocols import PaidJudge
from zelo.providers.request import REFUSED_CONNECTION, Endpoint, Reading, Request
from zelo.providers.secrets import example
from zelo.records import ANSWERED, FAILED, STATUSES, TRUNCATED, UNSENT, Outcomes

WINDOW = 200  # outcomes over which failures are counted


@dataclass
class RequestBatch:
    """One judge in one round of questions."""

    name: str
    judge: PaidJudge
    status: np.ndarray  # [N] int32, position in STATUSES
    p: np.ndarray
    weight: np.ndarray
    tokens: np.ndarray
    cost: np.ndarray

    @cached_property
    def endpoint(self) -> Endpoint:
        """The judge's, made and checked once and not for every reply."""
        return self.judge.endpoint

    @staticmethod
    def of(name: str, judge: PaidJudge, n: int) -> "RequestBatch":
        """N questions, nothing sent yet."""
        return RequestBatch(
            name,
            judge,
            np.full(n, STATUSES.index(UNSENT), np.int32),
            np.full(n, np.nan, np.float32),
            np.ones(n, np.float32),
            np.zeros(n, np.int32),
            np.zeros(n),
        )

    def put(self, request: Request, reading: Reading, tokens: int, usd: float) -> None:
        """The outcome of one request for each of its rows; what it cost stands at the first."""
        rows = request.rows
        for row, one in zip(rows, reading.of_rows(len(rows)), strict=True):
            self.status[row] = STATUSES.index(one.status)
            if one.status == ANSWERED:
                self.p[row], self.weight[row] = one.p[0], one.weight
        self.tokens[rows[0]], self.cost[rows[0]] = tokens, usd

    def outcomes(self) -> Outcomes:
        """One row per question."""
        return Outcomes.of(self.name, self.p, self.weight, self.status, self.tokens, self.cost)


@dataclass
class Figures:
    """What one judge's questions came to, for the manifest and the report."""

    price: str  # free, known or unknown
    from_ledger: int = 0  # pairs whose reply was there before this run, those of an earlier partial table included
    calls: int = 0  # requests that reached the endpoint, or may have, those that failed included
    billed: int = 0  # of these, those that may cost
    retries: int = 0
    usd: float = 0.0  # spent by this run, reservations that stay spent included
    tokens: int = 0
    faults: Counter[str] = field(default_factory=Counter)  # what went wrong, by class, retried or not
    words: dict[str, str] = field(default_factory=dict)  # class of fault -> the provider's own last words
    unread: Counter[str] = field(default_factory=Counter)  # pairs whose answer gave no value, by reason
    examples: dict[str, str] = field(default_factory=dict)  # reason -> the first such answer, shortened and escaped
    statuses: Counter[str] = field(default_factory=Counter)  # how the pairs that this run asked about have ended
    before: Counter[str] = field(
        default_factory=Counter
    )  # and how those from the ledger and the earlier table are read
    open: int = 0  # calls that may be sent, or were, and of whose end the ledger knows nothing yet
    limit: str = ""  # what kept it from being asked about the rest
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))  # failed?

    def expected(self, calls: int) -> float:
        """US dollars at the end of so many calls, if those to come cost what those so far did."""
        return self.usd / self.billed * max(calls, self.billed) if self.billed else 0.0

    def add_known(self, found: "Figures") -> None:
        """With what was counted of replies from the ledger when they were read."""
        self.from_ledger += found.from_ledger
        self.before.update(found.before)
        self.unread.update(found.unread)
        self.examples = found.examples | self.examples

    def fault(self, kind: str, words: str) -> None:
        """Counts what went wrong with an attempt, and keeps the provider's words."""
        self.faults[kind] += 1
        if words:
            self.words[kind] = words

    def read(self, request: Request, reading: Reading, key: str | None) -> None:
        """Counts pairs whose answer gave no value, and keeps the first of its kind. key: is in nothing that is kept."""
        for one in reading.of_rows(len(request.rows)):
            if one.status != ANSWERED and one.why:
                self.unread[one.why] += 1
                if one.shown.strip() and one.why not in self.examples:
                    self.examples[one.why] = example(one.shown, key)

    def as_facts(self) -> dict[str, Any]:
        """For a manifest."""
        names = ("price", "from_ledger", "calls", "retries", "usd", "tokens")
        found = {name: getattr(self, name) for name in names} | {"faults": dict(self.faults)}
        reasons = [
            {"why": why, "pairs": pairs, "first": self.examples.get(why, "")}
            for why, pairs in self.unread.most_common()
        ]
        more = {"limit": self.limit, "words": dict(self.words), "unread": reasons}
        return found | {name: value for name, value in more.items() if value}

    def fix(self, base_url: str) -> str:
        """What to do about a judge that mostly fails, by what it fails of most."""
        worst = next((status for status, _ in self.statuses.most_common() if status != ANSWERED), FAILED)
        fault = next((kind for kind, _ in self.faults.most_common(1)), "")
        if worst == FAILED and fault == REFUSED_CONNECTION:
            return f"Nothing listens at {base_url}: is a server running? Start it, or set base_url to its address."
        if worst == TRUNCATED:
            return "Its answers were truncated: raise max_tokens, or choose a model that writes less."
        reasons = reasons_in_words(self.as_facts()) if worst != FAILED else []
        return " ".join([*(f"{one}." for one in reasons[:1]), "Look at pipeline=audit, or raise max_failure_rate."])

    def too_little_before(self, max_failure_rate: float, pairs: int) -> str:
        """What is wrong where too many of the replies from the ledger are no answers. pairs: that are asked for in all."""
        total = self.before.total()
        if total - self.before[ANSWERED] <= max_failure_rate * max(total, min(WINDOW, pairs)):
            return ""
        failed = {status: count for status, count in sorted(self.before.items()) if status != ANSWERED and count}
        return (
            f"{sum(failed.values())} of {total} replies from the ledger are no answers"
            f" ({', '.join(f'{count:,} {status}' for status, count in failed.items())}), above"
            f" max_failure_rate={max_failure_rate}. Fix the judge and set ask_again=[{','.join(failed)}], which asks for them"
            " again within the budget, or raise max_failure_rate."
        )

    def too_little_now(self, max_failure_rate: float, pairs: int, base_url: str) -> str:
        """What is wrong where too many of the last outcomes of this run are no answers. pairs: that are asked for in all."""
        if sum(self.recent) <= max_failure_rate * min(WINDOW, pairs):
            return ""
        return (
            f"{sum(self.recent)} of its last {len(self.recent)} outcomes were no answers ({self.ended()}), above"
            f" max_failure_rate={max_failure_rate}. Every answer is kept. {self.fix(base_url)}"
        )

    def so_far(self, pairs: int, unit: str) -> str:
        """In words, for a run that ends early. pairs: that are asked for in all; unit: what they are called."""
        before = f"{self.from_ledger:,} of {pairs:,} {unit} from the ledger"
        now = f"asked now: {self.ended() or 'no answer'}; {self.calls:,} calls, {money(self.price, self.usd)}"
        after = "every answer is in the ledger"
        if self.open:
            after = (
                f"{self.open:,} more calls were under way or could not be written down: the ledger has no answer of them, they"
                " may be billed and count as spent, and the next run asks them again"
            )
        return f"{before}; {now}; {after}"

    def ended(self) -> str:
        """How the pairs ended and what went wrong on the way, in words."""
        parts = [", ".join(f"{count:,} {status}" for status, count in self.statuses.most_common())]
        parts += [f"on the way: {faults_in_words(self.as_facts())}"] * bool(self.faults)
        return "; ".join(filter(None, parts))


def note(figures: Mapping[str, Figures], calls: Mapping[str, int]) -> str:
    """What failed, what is spent and what is expected at the end, of the judges with a price: the end of the live line.

    calls: that are planned, of each judge.
    """
    failed = sum(one.statuses.total() - one.statuses[ANSWERED] for one in figures.values())
    parts = [f"{failed:,} failed"]
    if known := {name: one for name, one in figures.items() if one.price == "known"}:
        spent = sum(one.usd for one in known.values())
        expected = sum(one.expected(calls[name]) for name, one in known.items())
        parts.append(f"{money('known', spent)} spent, {money('known', expected)} expected")
    return ", ".join(parts + ["price unknown"] * any(one.price == "unknown" for one in figures.values()))


def faults_in_words(facts: Mapping[str, Any]) -> str:
    """What went wrong on the way, of as_facts(): classes with counts, the largest first, and the provider's last words."""
    faults, words = facts.get("faults") or {}, facts.get("words") or {}
    order = sorted(faults, key=lambda kind: (-faults[kind], kind))
    return ", ".join(f"{kind} {faults[kind]:,}" + (f" ({words[kind]})" if kind in words else "") for kind in order)


def reasons_in_words(facts: Mapping[str, Any]) -> list[str]:
    """Why answers gave no value, of as_facts(): one line a reason, the most frequent first, with the first such answer."""
    return [
        f"{one['pairs']:,} without a value: {one['why']}"
        + f"; the first such answer: {one['first']}" * bool(one["first"])
        for one in facts.get("unread") or []
    ]
