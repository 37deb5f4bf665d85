"""What is going to be asked and what it will cost, before anything is sent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from zelo.calls.ledger import Ledger
from zelo.protocols import PaidJudge
from zelo.records import Questions

LOOKED_UP = 256  # keys at a time
TOKENS_PER_BYTE = 0.25  # English through a common tokenizer; replaced by what the ledger has measured
SECONDS_PER_CALL = 5.0  # until the ledger has measured


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One judge's share of a run that has not begun."""

    judge: str
    provider: str
    model: str
    pairs: int  # comparisons asked for
    known: int  # of these, how many the ledger answers
    calls: int  # to be sent
    tokens_in: int  # estimated, of all calls
    tokens_out: int
    error: float | None  # relative error of tokens_in, measured on earlier calls; None: not measured
    measured_out: bool  # tokens_out is measured, else the most that may come back
    usd: float | None  # estimated; None: the price is unknown
    worst_call: float  # US dollars that one call can cost at most
    seconds: float  # at the set limits
    free: bool  # its calls cost nothing

    def scaled(self, factor: float) -> "Plan":
        """The plan of so many times the questions, none of the others being known."""
        if self.pairs == 0 or factor <= 1:
            return self
        more = round(self.pairs * factor) - self.pairs  # questions of which nothing is known yet
        each = self.calls / (self.pairs - self.known) if self.calls else 1.0
        grown = 1 + more * each / self.calls if self.calls else 1.0
        return replace(
            self,
            pairs=self.pairs + more,
            calls=round(self.calls * grown),
            tokens_in=round(self.tokens_in * grown),
            tokens_out=round(self.tokens_out * grown),
            usd=None if self.usd is None else self.usd * grown,
            seconds=self.seconds * grown,
        )

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
    head = ("judge", "model", "pairs", "in ledger", "calls", "tokens in", "tokens out", "dollars", "time")
    rows: list[tuple[str, ...]] = [head]
    for plan in plans:
        counts = (plan.pairs, plan.known, plan.calls, plan.tokens_in, plan.tokens_out)
        rows.append(
            (
                plan.judge,
                plan.model,
                *(f"{count:,}" for count in counts),
                money(plan.price, plan.usd),
                clock(plan.seconds),
            )
        )
    if len(plans) > 1:
        counts = (
            sum(getattr(plan, name) for plan in plans)
            for name in ("pairs", "known", "calls", "tokens_in", "tokens_out")
        )
        known = [plan.usd for plan in plans if plan.usd is not None]
        every = money("known", sum(known)) + " and more" * (len(known) < len(plans))
        rows.append(("all", "", *(f"{count:,}" for count in counts), every, clock(max(plan.seconds for plan in plans))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    table = [
        "  ".join(
            cell.ljust(width) if n < 2 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [line.rstrip() for line in table] + [note for plan in plans for note in _notes(plan)]


def _notes(plan: Plan) -> list[str]:
    if not plan.calls:
        return []
    found = []
    if plan.usd is None:
        found.append(
            f"{plan.judge}: no price is known for {plan.model} of {plan.provider}; give input_price and output_price, in"
            " dollars per million tokens."
        )
    if plan.free:
        found.append(f"{plan.judge}: free; the endpoint is on this machine, or its prices are set to 0.")
    inward = (
        f"{TOKENS_PER_BYTE:g} tokens a byte (not measured yet)"
        if plan.error is None
        else f"what earlier calls measured (+-{plan.error:.0%})"
    )
    outward = "what earlier calls measured" if plan.measured_out else "the most that may come back"
    found.append(f"{plan.judge}: tokens in by {inward}, tokens out by {outward}.")
    return found


def money(price: str, usd: float | None) -> str:
    """US dollars, where there is a price: free, known or unknown. Nothing known is not nothing paid."""
    return {"free": "free", "unknown": "price unknown"}.get(price) or f"${usd:,.2f}"


def clock(seconds: float) -> str:
    """A span of time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def estimate(name: str, judge: PaidJudge, batches: Iterable[Questions], ledger: Ledger) -> Plan:
    """What a judge would be asked about these questions, the ledger's answers left out. Sends nothing."""
    endpoint = judge.endpoint
    pairs = known = calls = size = out = 0
    worst = 0.0
    for questions in batches:
        requests = judge.requests(questions)
        while chunk := list(islice(requests, LOOKED_UP)):
            found = ledger.known([request.key for request in chunk])
            for request in chunk:
                pairs += len(request.rows)
                if request.key in found:
                    known += len(request.rows)
                else:
                    calls, size, out = calls + 1, size + request.tokens_in, out + request.tokens_out
                    worst = max(worst, endpoint.usd(request.tokens_in, request.tokens_out))
    measured = ledger.measured(endpoint.provider, endpoint.model)
    ratio = measured.tokens_per_byte if measured else None
    tokens_in = round(size * (ratio or TOKENS_PER_BYTE))
    tokens_out = round(calls * measured.tokens_out) if measured else out
    latency = measured.seconds if measured else SECONDS_PER_CALL
    limits = [calls * latency / endpoint.concurrency]
    limits += [60 * calls / endpoint.requests_per_minute] if endpoint.requests_per_minute else []
    limits += [60 * (tokens_in + tokens_out) / endpoint.tokens_per_minute] if endpoint.tokens_per_minute else []
    return Plan(
        judge=name,
        provider=endpoint.provider,
        model=endpoint.model,
        pairs=pairs,
        known=known,
        calls=calls,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        error=measured.error if measured and ratio else None,
        measured_out=measured is not None,
        usd=None if endpoint.price is None else endpoint.usd(tokens_in, tokens_out),
        worst_call=worst,
        seconds=max(limits),
        free=endpoint.price == (0.0, 0.0),
    )
