"""What is written to the ledger and what it answers: one class each."""

import sys
import time
from dataclasses import dataclass, field

NAMED = 20  # lost calls that are listed


@dataclass(slots=True)
class Entry:
    """A reply that was paid for, as it came. What it means is decided at each reading (`codec.reply_of`)."""

    key: bytes  # 16 bytes
    provider: str
    model: str
    kind: str  # judge, generate, embed, rerank
    repeat: int
    answer: str  # JSON: the HTTP status and the body, or what earlier versions kept of them
    tokens_in: int
    tokens_out: int
    usd: float
    made: float  # seconds since 1970
    seconds: float  # that the call took
    prompt_bytes: int = 0  # what tokens_in is measured against; 0: not measured
    form: str = ""  # Request.form, by which tokens_out is measured; "": not known
    command: str = field(default="", compare=False)  # that paid for it; "": elsewhere, or an earlier version


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that a command, and with `lifetime_usd` everybody ever, may spend; None: no such cap."""

    command: str  # unique to one start of zelo, shared by its jobs
    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None
    lifetime_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Reserve:
    """Room for a call's worst case, wanted before it is sent."""

    key: bytes
    provider: str
    model: str
    kind: str
    repeat: int
    tokens: int  # in and out
    usd: float
    caps: Caps
    again: bool = False  # also where there is an entry, unless this command has paid for it
    parts: tuple[bytes, ...] = ()  # keys of its parts, whose answers are kept one by one; none: the answer is one


@dataclass(frozen=True, slots=True)
class Settle:
    """A call has ended and its cost is known."""

    call: int
    entry: Entry
    keep: bool = True  # False: nothing came that could be read later
    parts: tuple[Entry, ...] = ()  # what is kept instead of `entry`, which then says what the call has cost
    again: bool = False  # an entry that is there already is replaced, and stays in the table `former`


@dataclass(frozen=True, slots=True)
class Release:
    """A call was not billed: it costs nothing, and counts as one if it was sent."""

    call: int
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Lose:
    """A call may have been billed: what was reserved for it stays spent."""

    call: int
    why: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may be sent; it must be settled, released or lost."""

    call: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Another living process has the same call in flight."""


@dataclass(frozen=True, slots=True)
class Known:
    """The answers of all parts of the call are there: another process has got them meanwhile."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The call does not fit under a cap now. `open`: calls are in flight whose end may give enough room back."""

    cap: str  # field of Caps
    open: bool
    most: float  # the cap's value
    spent: float
    reserved: float
    worst: float  # of the call that was refused

    def __str__(self) -> str:
        unit, form = ("$", ",.6g") if self.cap.endswith("usd") else ("", ",")
        most, spent, reserved, worst = (f"{unit}{n:{form}}" for n in (self.most, self.spent, self.reserved, self.worst))
        return f"{spent} of {most} are spent, {reserved} reserved, and the next call may take {worst}"


@dataclass(frozen=True, slots=True)
class Totals:
    """What is spent (lost calls count with their worst case) and what is reserved for calls in flight."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    open_calls: int = 0
    open_tokens: int = 0
    open_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Lost:
    """A call that may have been billed without an answer."""

    key: bytes
    provider: str
    model: str
    kind: str
    repeat: int
    command: str
    tokens: int  # worst case, which counts as spent
    usd: float
    sent: float  # seconds since 1970
    why: str

    def __str__(self) -> str:
        sent = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.sent))
        return (
            f"call {self.key.hex()} to {self.model} of {self.provider}, sent {sent}: {self.why}; it may have been billed, so up"
            f" to ${self.usd:.6g} and {self.tokens:,} tokens count as spent"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over all entries of one model, or those of one form."""

    entries: int
    tokens_out: float
    seconds: float
    tokens_per_byte: float | None  # of the prompt; None: no entry says both
    error: float | None  # of one call's tokens_in by that ratio: root mean square over mean; None: fewer than 2 entries


Operation = Reserve | Settle | Release | Lose
Result = Granted | Entry | Known | Busy | NoRoom | None


def report_lost(calls: list[Lost]) -> None:
    """Names the calls that were in flight when a run was killed: they may have been billed, and nobody got the answer."""
    if not calls:
        return
    usd = sum(call.usd for call in calls)
    models = ", ".join(sorted({f"{call.model} of {call.provider}" for call in calls}))
    keys = ", ".join(call.key.hex() for call in calls[:NAMED]) + f" and {len(calls) - NAMED} more" * (
        len(calls) > NAMED
    )
    print(
        f"ledger: {len(calls)} calls to {models} were in flight when a run was killed. They may have been billed, at most"
        f" ${usd:,.4f} by the prices known then, which counts as spent; they are asked again: {keys}",
        file=sys.stderr,
    )
