"""What is going to be asked and what it will cost, before anything is sent."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from textwrap import wrap

import numpy as np

from zelo.budget.price import money
from zelo.budget.recalled import Recalled
from zelo.budget.request_batch import RequestBatch
from zelo.errors import price_fields
from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Measured
from zelo.protocols import PaidJudge, WindowJudge
from zelo.providers.request import ASKED_FOR, ASKERS, JUDGE, PRICES, WRITTEN, Endpoint, Request
from zelo.records import Questions

WIDTH = 100  # columns of what is said
TOKENS_PER_BYTE = 0.25  # English through a common tokenizer; replaced by what the ledger has measured
ASSUMED_OUT = 256  # tokens of an answer that may be longer; replaced by what the ledger has measured
SECONDS_PER_CALL = 5.0  # until the ledger has measured
SENT = np.dtype(  # of a request: the first 8 bytes of its key, the number of its form, and as in `_Alike`
    [("key", "u8"), ("form", "i4"), ("size", "i4"), ("out", "i4"), ("searches", "i4"), ("most_searches", "i4")]
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One judge's share of a run that has not begun, or that of another asker by its `kind`."""

    judge: str
    provider: str
    model: str
    pairs: int  # comparisons asked for, or what else its kind asks for
    known: int  # of these, how many the ledger answers
    calls: int  # to be sent; pairs with the same texts share one
    tokens_in: int  # expected, of all calls
    tokens_out: int  # expected
    most_out: int  # tokens that may come back
    error: float | None  # relative error of tokens_in, measured on earlier calls; None: not measured
    measured_out: bool  # tokens_out is measured, else assumed
    usd: float | None  # expected; None: the price is unknown
    most_usd: float | None  # if every answer is as long as it may be
    worst_call: float  # US dollars that one call can cost at most
    seconds: float  # at the set limits
    free: bool  # its calls cost nothing
    window: int | None  # documents that one call can show at most; None: always two
    kind: str = JUDGE
    key: str = "judge"  # where the judge's fields stand in its stage; with the config, the key that a user sets
    recalled: Recalled = field(default_factory=Recalled, compare=False, repr=False)  # of what the ledger answers

    def scaled(self, factor: float) -> "Plan":
        """The plan of so many times the questions, none of the others being known."""
        if self.pairs == 0 or factor <= 1:
            return self
        more = round(self.pairs * factor) - self.pairs  # questions of which nothing is known yet
        grown = 1 + more / (self.pairs - self.known) if self.calls else 1.0
        return replace(
            self,
            pairs=self.pairs + more,
            calls=round(self.calls * grown),
            tokens_in=round(self.tokens_in * grown),
            tokens_out=round(self.tokens_out * grown),
            most_out=round(self.most_out * grown),
            usd=None if self.usd is None else self.usd * grown,
            most_usd=None if self.most_usd is None else self.most_usd * grown,
            seconds=self.seconds * grown,
        )

    @property
    def asker(self) -> str:
        """Who asks, in words."""
        return f"{ASKERS[self.kind]} {self.judge}"

    @property
    def unit(self) -> str:
        """What `pairs` counts."""
        return ASKED_FOR[self.kind]

    @property
    def prices(self) -> tuple[str, ...]:
        """Names of the fields of prices of who asks: what a model writes has one, too."""
        return WRITTEN if self.most_out > 0 else PRICES[self.kind]

    @property
    def price(self) -> str:
        """Whether the price is free, known or unknown."""
        return "free" if self.free else "unknown" if self.usd is None else "known"

    @property
    def costs(self) -> bool:
        """Whether calls remain to be sent that cost money, or may."""
        return self.calls > 0 and not self.free


def lines(plans: Sequence[Plan]) -> list[str]:
    """A table in plain text, and what it rests on."""
    head = (
        " or ".join(dict.fromkeys(ASKERS[plan.kind] for plan in plans)),
        " or ".join(dict.fromkeys(plan.unit for plan in plans)),
        "in ledger",
        "calls",
        "tokens in",
        "tokens out",
        "expected",
        "at most",
        "time",
    )
    rows: list[tuple[str, ...]] = [head]
    for plan in plans:
        rows.append((plan.judge, *_cells([plan])))
    if len(plans) > 1:
        rows.append(("all", *_cells(plans)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    table = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    notes = [line for plan in plans for note in _notes(plan) for line in wrap(note, WIDTH, subsequent_indent="  ")]
    return [line.rstrip() for line in table] + notes


def together(plans: Sequence[Plan]) -> str:
    """Calls and dollars of several plans, in words."""
    expected, most = _dollars(plans)
    calls = f"{sum(plan.calls for plan in plans):,} calls, "
    return calls + (expected if expected == most else f"{expected} expected, at most {most}")


def _cells(plans: Sequence[Plan]) -> list[str]:
    """Everything about some plans but their names."""
    pairs, known, calls, inward, outward = (
        f"{sum(getattr(plan, name) for plan in plans):,}"
        for name in ("pairs", "known", "calls", "tokens_in", "tokens_out")
    )
    return [pairs, known, calls, inward, outward, *_dollars(plans), clock(max(plan.seconds for plan in plans))]


def _dollars(plans: Sequence[Plan]) -> tuple[str, str]:
    """(expected, at most)."""
    prices = {plan.price for plan in plans}
    if "known" not in prices:
        both = money("unknown" if "unknown" in prices else "free", None)
        return both, both
    priced = [plan for plan in plans if plan.price == "known"]
    more = " and more" * ("unknown" in prices)
    expected, most = (sum(getattr(plan, name) or 0.0 for plan in priced) for name in ("usd", "most_usd"))
    return money("known", expected) + more, money("known", most) + more


def _notes(plan: Plan) -> list[str]:
    if not plan.calls:
        return []
    found = []
    if plan.usd is None:
        prices = price_fields(plan.key, plan.prices)
        found.append(f"{plan.judge}: no price is known for {plan.model} of {plan.provider}; set {prices}.")
    if plan.free:
        found.append(
            f"{plan.judge}: free; the endpoint is on this machine and no price of the model is known, or its prices are 0."
        )
    inward = (
        f"{TOKENS_PER_BYTE:g} tokens a byte (not measured yet)"
        if plan.error is None
        else f"what earlier calls measured (+-{plan.error:.0%})"
    )
    each_out = round(plan.tokens_out / plan.calls)
    assumed = "assumed; pipeline=audit measures it" if plan.kind == JUDGE else "assumed"
    outward = "as earlier calls like these had" if plan.measured_out else assumed
    each = (plan.pairs - plan.known) / plan.calls
    asked = f"{plan.judge}: {plan.model} of {plan.provider}; tokens in by {inward}; "
    if plan.most_out:
        found.append(
            f"{asked}{each_out:,} tokens out a call, {outward}. At most: every answer has the"
            f" {round(plan.most_out / plan.calls):,} tokens that it may have."
        )
    else:  # of a decision or a reranker: numbers, no text
        price = f", ${plan.usd / (plan.pairs - plan.known):.2g} a {plan.unit.removesuffix('s')}" if plan.usd else ""
        found.append(f"{asked}nothing is billed for answers; {each:.1f} {plan.unit} a call{price}.")
    full = 0 if plan.window is None else plan.window * (plan.window - 1) // 2
    if each < full / 2:
        found.append(
            f"{plan.judge}: a call answers {each:.1f} pairs, and a full window of {plan.window} documents has {full}. A window"
            " shows only documents all of whose pairs the graph proposes, so listwise saves little here; it saves most with"
            f" graph=complete and top_k={plan.window} or less."
        )
    return found


def clock(seconds: float) -> str:
    """A span of time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class _Alike:
    """Requests of one form that are to be sent."""

    calls: int
    size: int  # bytes of the prompts
    out: int  # tokens that may come back
    searches: int  # that are expected to be billed
    most_searches: int


@dataclass
class _Counted:
    """What a judge would be asked about some questions, the ledger's answers left out."""

    pairs: int = 0
    worst: float = 0.0  # US dollars that one call may cost
    forms: dict[str, int] = field(default_factory=dict)  # form -> its number
    requests: list[np.ndarray] = field(default_factory=list)  # of each batch, SENT

    def add(self, requests: Iterable[Request], endpoint: Endpoint) -> None:
        """Those about one batch of questions."""
        rows = []
        for one in requests:
            self.pairs += len(one.rows)
            self.worst = max(self.worst, endpoint.worst(one))
            form = self.forms.setdefault(one.form, len(self.forms))
            start = int.from_bytes(one.key[:8], "big")
            rows.append((start, form, one.tokens_in, one.tokens_out, one.likely_searches, one.searches))
        self.requests.append(np.array(rows, SENT))

    def alike(self) -> dict[str, _Alike]:
        """What is to be sent of each form; the same texts are sent once."""
        every = np.concatenate([np.empty(0, SENT), *self.requests])
        self.requests = [every]
        first = np.unique(every["key"], return_index=True)[1]
        form, most = every["form"][first], len(self.forms)
        sums = [np.bincount(form, every[name][first], most) for name in ("size", "out", "searches", "most_searches")]
        columns = np.stack([np.bincount(form, minlength=most), *sums]).astype(np.int64)
        return {name: _Alike(*columns[:, number].tolist()) for name, number in self.forms.items()}


@dataclass(frozen=True)
class _Expected:
    """What all requests of a plan are expected to take."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0
    seconds: float = 0.0  # one after the other
    error: float | None = 0.0
    measured_out: bool = True

    def and_of(self, alike: _Alike, every: Measured | None, own: Measured | None) -> "_Expected":
        """With requests of one more form. What comes back is measured on their form alone, `own`; what a prompt takes is the
        tokenizer's doing, so that `every` call to the model serves where none was of this form."""
        inward = own if own and own.tokens_per_byte else every
        ratio = inward.tokens_per_byte if inward else None
        error = inward.error if inward and ratio else None
        return _Expected(
            self.tokens_in + alike.size * (ratio or TOKENS_PER_BYTE),
            self.tokens_out + min(alike.calls * (own.tokens_out if own else ASSUMED_OUT), alike.out),
            self.seconds + alike.calls * (own.seconds if own else SECONDS_PER_CALL),
            None if error is None or self.error is None else max(error, self.error),
            self.measured_out and own is not None,
        )


def estimate(
    name: str,
    judge: PaidJudge,
    batches: Iterable[Questions],
    ledger: Ledger,
    ask_again: Collection[str] = (),
    command: str = "",
) -> Plan:
    """What a judge would be asked about these questions, the ledger's answers left out. Sends nothing.

    ask_again: statuses of replies that are asked for again, unless this command has paid for them.
    """
    endpoint, counted, recalled, pairs = judge.endpoint, _Counted(), Recalled(), 0
    for questions in batches:
        batch = RequestBatch.of(name, judge, len(questions))
        pairs += len(questions)
        counted.add(recalled.unanswered(ledger, batch, questions, ask_again, command), endpoint)
    every, expected, forms = ledger.measured(endpoint.provider, endpoint.model, None), _Expected(), counted.alike()
    for form, alike in forms.items():
        expected = expected.and_of(alike, every, ledger.measured(endpoint.provider, endpoint.model, form))
    tokens_in, tokens_out = round(expected.tokens_in), round(expected.tokens_out)
    calls, most_out, searches, most_searches = (
        sum(getattr(alike, name) for alike in forms.values()) for name in ("calls", "out", "searches", "most_searches")
    )
    limits = [expected.seconds / endpoint.concurrency]
    limits += [60 * calls / endpoint.requests_per_minute] if endpoint.requests_per_minute else []
    limits += [60 * (tokens_in + tokens_out) / endpoint.tokens_per_minute] if endpoint.tokens_per_minute else []
    return Plan(
        judge=name,
        provider=endpoint.provider,
        model=endpoint.model,
        pairs=pairs,
        known=pairs - counted.pairs,
        calls=calls,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        most_out=most_out,
        error=expected.error,
        measured_out=expected.measured_out,
        usd=None if endpoint.price is None else endpoint.usd(tokens_in, tokens_out, searches),
        most_usd=None if endpoint.price is None else endpoint.usd(tokens_in, most_out, most_searches),
        worst_call=counted.worst,
        seconds=max(limits),
        free=endpoint.free,
        window=judge.window if isinstance(judge, WindowJudge) and judge.asked_whole else None,
        kind=endpoint.kind,
        recalled=recalled,
    )
