"""One paid call: where it goes, what is asked, what came back."""

import hashlib
import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol, runtime_checkable
from urllib.parse import parse_qsl, urlsplit

from zelo.errors import BadInput, ZeloError
from zelo.providers.secrets import looks_secret, names_variable
from zelo.records import ANSWERED

PER_MILLION, PER_THOUSAND = 1e-6, 1e-3
JUDGE, RERANK, GENERATE, EMBED = "judge", "rerank", "generate", "embed"
# Kind of an endpoint -> what its askers are called, what they want of it, what stands before a field of theirs in a message, and
# their fields of prices.
ASKERS = {JUDGE: "judge", RERANK: "reranker", GENERATE: "query maker", EMBED: "embedding"}
ASKED_FOR = {JUDGE: "pairs", RERANK: "pairs", GENERATE: "queries", EMBED: "texts"}
SETTINGS = {JUDGE: "judge.", RERANK: "", GENERATE: "queries.", EMBED: ""}
WRITTEN = ("input_price", "output_price")
PRICES = {JUDGE: WRITTEN, RERANK: ("input_price", "search_price"), GENERATE: WRITTEN, EMBED: ("input_price",)}
ABSURD = 10**9  # tokens; a larger count is a mistake of the endpoint's
TOP_LOGPROBS = 20  # the most that OpenAI's API allows
# Keys of a request that a field of the judge decides, or that would change what comes back beyond reading.
GOVERNED = {
    "model": "model",
    "messages": "prompt",
    "system": "prompt",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "temperature": "temperature",
    "seed": "seed",
    "reasoning_effort": "reasoning_effort",
    "logprobs": "mode",
    "top_logprobs": "top_logprobs",
    "response_format": "structured",
    "stream": None,
    "stream_options": None,
    "n": None,
}
# Fields of a judge that asks a chat model, which decide what is sent.
CHAT_FIELDS = (
    *("model", "mode", "structured", "prompt", "temperature", "max_tokens", "token_limit_key", "reasoning_effort"),
    *("seed", "extra_body"),
)
NO_USAGE = "no_usage"  # the class of a reply without counts of tokens
REFUSED_CONNECTION = "refused_connection"  # the class of a fault: nothing listens at that address
canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


class Json(bytes):
    """What `canonical` makes of a value, and stands for it in `key_of`."""

    __slots__ = ()


# Not frozen, as all of which there is one for each question: to make a frozen one takes eight times as long.
@dataclass(slots=True)
class Parsed:
    """An answer of any API. Counts are None where the endpoint gave none that can be; searches are what a reranker may bill."""

    text: str
    finish: str
    refusal: bool
    logprobs: tuple[tuple[str, float], ...]
    tokens_in: int | None
    tokens_out: int | None
    searches: int | None = None


@runtime_checkable
class Provider(Protocol):
    """The wire format of a hosted API: how a request is written and an answer is read. No network."""

    parameters: ClassVar[tuple[str, ...]]  # of temperature, seed and reasoning_effort, what it takes
    fields: ClassVar[tuple[str, ...]]  # of a judge, those that decide what is sent

    @property
    def path(self) -> str:
        """What stands behind base_url."""
        ...

    def headers(self, key: str | None) -> dict[str, str]:
        """HTTP headers of this API alone, with the key where one is to be sent."""
        ...

    def body(self, endpoint: "Endpoint", request: "Request") -> dict[str, Any]:
        """The JSON to post, but for `parameters` and `extra_body`."""
        ...

    def parse(self, answer: Mapping[str, Any]) -> Parsed | str:
        """The answer in a JSON body, or the class of what is wrong with it. Raises KeyError and the like for other shapes."""
        ...


@runtime_checkable
class ListProvider(Provider, Protocol):
    """One whose answer may be a bare list."""

    def of_list(self, items: list[Any]) -> Mapping[str, Any]:
        """The object that `parse` takes for such a list."""
        ...


@runtime_checkable
class PartProvider(Provider, Protocol):
    """One whose answers are kept part by part."""

    def bodies(self, text: str) -> dict[int, str]:
        """Place of a part -> a body that answers it alone. text: of a `Parsed` of all."""
        ...


@runtime_checkable
class ChatProvider(Provider, Protocol):
    """One whose models write text."""

    max_temperature: ClassVar[float]
    logprobs: ClassVar[bool]  # whether it gives log-probabilities
    schemas: ClassVar[bool]  # whether an answer can be held to a JSON schema

    def token_limit_key(self, endpoint: "Endpoint") -> str:
        """The request key that carries the most tokens that may come back."""
        ...

    def body_of(self, kept: Mapping[str, Any], refused: bool) -> dict[str, Any]:
        """A body that says what an entry of an early ledger kept of one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind an address, and how hard it may be pressed. Prices are US dollars per million tokens, None: unknown."""

    name: str  # of who asks: a judge, or what `kind` says
    api: Provider
    provider: str  # a label that stays when the address changes; part of an answer's key
    model: str
    base_url: str
    api_key_env: str | None  # the environment variable that holds the key; None: no key is sent
    input_price: float | None
    output_price: float | None
    concurrency: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    timeout: float  # seconds for one attempt
    retries: int  # attempts after the first
    parameters: Mapping[str, Any] = field(default_factory=dict)  # temperature, max_tokens, ...: part of an answer's key
    token_limit_key: str | None = (
        None  # the request key that carries max_tokens; None: max_tokens, or as reasoning_effort needs
    )
    kind: str = JUDGE  # of what is asked for, as the ledger records it
    search_price: float | None = None  # US dollars per 1,000 searches; then tokens cost nothing

    @cached_property
    def key_start(self) -> str:
        """What the keys of all its requests are made of: provider, model and parameters as JSON, without the brackets."""
        return canonical([self.provider, self.model, dict(self.parameters)])[1:-1]

    def __post_init__(self) -> None:
        where = self.asker
        if self.api_key_env is not None and not names_variable(self.api_key_env):
            raise BadInput(
                f"{where}: api_key_env is not the name of an environment variable (letters, digits and _; what was given is not"
                " shown, for it may be a key). Put the key into a variable, as in export OPENAI_API_KEY=..., and give its name."
            )
        check_address(where, self.base_url)
        check_extra_body(where, self.parameters.get("extra_body", {}), self.setting)
        for name in ("input_price", "output_price", "search_price"):
            price = getattr(self, name)
            if price is not None and not price >= 0:
                unit = "thousand searches" if name == "search_price" else "million tokens"
                raise BadInput(f"{where}: {name}={price} is below 0; it is US dollars per {unit}.")
        for name in ("concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"{where}: {name}={value} lets nothing through; set it to 1 or more.")
        if not self.timeout > 0 or self.retries < 0:
            raise BadInput(
                f"{where}: timeout={self.timeout} must be above 0 seconds and retries={self.retries} not below 0."
            )

    @property
    def asker(self) -> str:
        """Who asks, in words."""
        return f"{ASKERS[self.kind]} {self.name}"

    @property
    def setting(self) -> str:
        """What stands before a field of the asker in a message: the group that it is set in, where that is known."""
        return SETTINGS[self.kind]

    @property
    def largest(self) -> int:
        """Bytes of an answer, at most: a judge's is a few thousand, a batch of vectors some millions."""
        return (64 if self.kind == EMBED else 4) << 20

    @property
    def local(self) -> bool:
        """Whether the address is this machine: its answers cost no money, unless a price is known."""
        host = urlsplit(self.base_url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def price(self) -> tuple[float, float] | None:
        """US dollars for one token in and one token out; None where a price is unknown."""
        if self.search_price is not None:
            return 0.0, 0.0
        if self.input_price is not None and self.output_price is not None:
            return self.input_price * PER_MILLION, self.output_price * PER_MILLION
        return (0.0, 0.0) if self.local and self.input_price is None and self.output_price is None else None

    @property
    def tokens_cost_nothing(self) -> bool:
        """Whether what is billed does not depend on tokens, so that nobody misses their counts."""
        return self.price == (0.0, 0.0)

    @property
    def free(self) -> bool:
        """Whether it is known that nothing is billed."""
        return self.tokens_cost_nothing and not self.search_price

    def usd(self, tokens_in: int, tokens_out: int, searches: int = 0) -> float:
        """What so much costs; 0 where the price is unknown (then no cap in money is accepted)."""
        price_in, price_out = self.price or (0.0, 0.0)
        return tokens_in * price_in + tokens_out * price_out + searches * (self.search_price or 0.0) * PER_THOUSAND

    def worst(self, request: "Request") -> float:
        """US dollars that a call can cost at most."""
        return self.usd(request.tokens_in, request.tokens_out, request.searches)


@dataclass(slots=True)
class Request:
    """What is asked, in words that belong to no provider."""

    key: bytes  # 16 bytes: the same question to the same model has the same key, in any run
    system: str
    user: str
    schema: Mapping[str, Any] | None  # JSON schema of a structured answer; None: free text
    logprobs: bool  # the log-probabilities of the first token are wanted
    repeat: int
    rows: tuple[int, ...]  # what the answer is for: the asker's own numbers
    tokens_out: int  # most that may come back
    form: str  # requests of the same form get answers of about the same size; no part of the key

    @property
    def tokens_in(self) -> int:
        """No fewer tokens than any tokenizer on bytes can make of the prompt: its bytes, and room for the roles."""
        schema = len(json.dumps(self.schema)) if self.schema else 0
        return len(self.system.encode()) + len(self.user.encode()) + schema + 64

    @property
    def searches(self) -> int:
        """No fewer searches than a reranker can bill for it."""
        return 0

    @property
    def likely_searches(self) -> int:
        """Searches that a reranker is expected to bill for it."""
        return 0

    @property
    def parts(self) -> tuple[tuple[bytes, int], ...]:
        """(key, size) of each part of it whose answer is kept by itself; none: the whole is one."""
        return ()


@dataclass(slots=True)
class Reply:
    """What came back. `status` is "answered" where there is a text to read, else what went wrong, and `error` its class."""

    status: str  # one of records.STATUSES
    error: str = ""  # timeout, http_500, refused_connection ...: a class, never a key or a text of the provider's
    text: str = ""
    finish: str = ""  # why the model stopped, as the provider says it
    logprobs: tuple[tuple[str, float], ...] = ()  # the likeliest first tokens
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    http: int = 0  # the status of HTTP
    body: str = ""  # as it came, the key hidden: what the ledger keeps
    words: str = ""  # the provider's own, in one line without the key, where it gave no answer; not kept


@dataclass(frozen=True, slots=True)
class Fault:
    """An attempt that brought nothing to read. With `stop` no further call could succeed; else it may be tried again."""

    kind: str  # its class: http_500, timeout, no_choices ...
    what: str  # one line for the user, never with a key
    billed: bool  # the provider may have billed it
    stop: ZeloError | None = None  # what the run ends with
    retry_after: float | None = None  # seconds that the endpoint asks for
    sent: bool = True  # the request reached the provider, or may have
    words: str = ""  # the provider's own, in one line without the key


@dataclass(slots=True)
class Reading:
    """A reply as a judge understands it: for each of the request's rows P(first document preferred), if answered."""

    status: str  # of all rows; with `parts` it is ANSWERED where any of them is
    p: tuple[float, ...] = ()
    weight: float = 1.0  # of each of these preferences
    why: str = ""  # not answered: the reason and the fix, the same words for the same reason
    shown: str = ""  # not answered: what this answer says, for an example
    parts: tuple["Reading", ...] = ()  # one for each row, where a reply answers some of them and not others

    def of_rows(self, count: int) -> tuple["Reading", ...]:
        """A reading for each of the request's `count` rows."""
        if self.parts or self.status != ANSWERED:
            return self.parts or (self,) * count
        if len(self.p) == 1:
            return (self,)
        return tuple(Reading(ANSWERED, (p,), self.weight) for p in self.p)


def check_address(where: str, base_url: str) -> None:
    """Raises BadInput for what is no address, or one that holds a key or a password."""
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise BadInput(f"{where}: base_url={base_url!r} is no address; write one like https://api.openai.com/v1.")
    if url.username is not None or url.password is not None:
        shown = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
        raise BadInput(
            f"{where}: base_url holds a user or password; write {shown} and put the key into an environment variable"
            " that api_key_env names."
        )
    if url.fragment:
        shown = url._replace(query="..." if url.query else "", fragment="").geturl()
        raise BadInput(f"{where}: base_url={shown} must end before the #.")
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        if looks_secret(name, value):
            shown = url._replace(query="").geturl()
            raise BadInput(
                f"{where}: base_url holds a key in its query string ({name}=...); write {shown} and put the key into an"
                " environment variable that api_key_env names."
            )


def check_extra_body(where: str, extra: Mapping[str, Any], setting: str) -> None:
    """Raises BadInput for a request key that a field of the asker decides, or for what looks like a secret.

    setting: what stands before the name of such a field.
    """
    for name in extra:
        if name in GOVERNED:
            instead = (
                f"set {setting}{GOVERNED[name]} instead"
                if GOVERNED[name]
                else "one whole answer a request is read; leave it out"
            )
            raise BadInput(f"{where}: extra_body.{name}: {instead}.")
    for path, value in _leaves(extra):
        if looks_secret(path[-1], value):
            raise BadInput(
                f"{where}: extra_body.{'.'.join(path)} looks like a key, and configs are written down; put it into an"
                " environment variable that api_key_env names."
            )


def _leaves(tree: Any, path: tuple[str, ...] = ("",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    inside = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else None
    if inside is None:
        yield path[1:], tree
        return
    for name, value in inside:
        yield from _leaves(value, (*path, str(name)))


def form_of(endpoint: Endpoint, *shape: object) -> str:
    """A short hash of what decides how long answers are: the parameters but for the seed, and the asker's words and mode."""
    parameters = {name: value for name, value in endpoint.parameters.items() if name != "seed"}
    return hashlib.blake2b(canonical([parameters, *shape]).encode(), digest_size=4).hexdigest()


def key_of(endpoint: Endpoint, kind: str, repeat: int, *asked: object) -> bytes:
    """16 bytes (blake2b) of what decides an answer: prompt and texts, model, parameters, provider, kind and repeat."""
    start = f"[{endpoint.key_start},{canonical(kind)},{repeat}".encode()
    return hashlib.blake2b(b",".join([start, *map(_written, asked)]) + b"]", digest_size=16).digest()


def _written(value: object) -> bytes:
    """`canonical`, for most of what is asked without making an encoder of its own."""
    if isinstance(value, Json):
        return value
    return b"null" if value is None else b"false" if value is False else canonical(value).encode()


def usage(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of tokens that came with an answer; empty where there are none."""
    used = answer.get("usage")
    return used if isinstance(used, dict) else {}


def count(value: Any) -> int | None:
    """A number of tokens; None for whatever cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < ABSURD:
        return None
    return int(value)


def text_of(content: Any) -> str:
    """The text of a string or of a list of blocks (thinking and tools are left out). Raises TypeError for other shapes."""
    if isinstance(content, list):
        content = "".join(block["text"] for block in content if block["type"] == "text")
    if not isinstance(content, str | None):
        raise TypeError("content")
    return (content or "").encode(errors="replace").decode()  # half a surrogate pair cannot be written to disk


def finish(reason: Any) -> str:
    """Why the model stopped. Raises TypeError for what is no text."""
    if not isinstance(reason, str | None):
        raise TypeError("finish_reason")
    return reason or ""
