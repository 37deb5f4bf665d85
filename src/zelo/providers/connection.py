"""What components that ask a model behind an address share: where it is, what it costs, how hard it may be pressed."""

from dataclasses import dataclass
from typing import ClassVar

from zelo.budget.price import Prices
from zelo.budget.request_batch import RequestBatch
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.providers.request import SETTINGS, ChatProvider, Endpoint, Provider

LIMIT_KEYS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A model behind an address. A component that extends it has these fields as its own."""

    # What a reply passes through before a component reads it: an answer is what these make of it.
    READ_BY: ClassVar[tuple[type, ...]] = (RequestBatch,)
    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {
            "base_url",
            "api_key_env",
            "input_price",
            "concurrency",
            "requests_per_minute",
            "tokens_per_minute",
            "timeout",
            "retries",
        }
    )

    api: Provider  # the form of requests and replies
    provider: str  # a label; answers in the ledger are found by it, not by the address
    model: str
    base_url: str
    api_key_env: str | None  # environment variable that holds the key; None: no key is sent
    extra_body: Facts  # further keys of each request
    input_price: float | None  # US dollars per million tokens; None: as in a table of prices, else unknown
    concurrency: int  # calls at a time, at most
    requests_per_minute: int | None
    tokens_per_minute: int | None
    timeout: float  # seconds for one attempt
    retries: int  # attempts after the first

    def _check_set(self, where: str, fix: str, *names: str) -> None:
        """Raises BadInput for a field that is empty: one of `names`, or of what says which model it is.

        fix: what to do, with {} for the name of the field.
        """
        for name in ("provider", "model", "base_url", *names):
            value = getattr(self, name)
            if not str(value or "").strip() or value == "???":
                raise BadInput(f"{where}: {name} is empty; {fix.format(name)}.")

    def _check_extra_body(self, where: str, who: str, filled: tuple[str, ...]) -> None:
        """Raises BadInput for a key of extra_body that the component fills itself."""
        for name in filled:
            if name in self.extra_body:
                raise BadInput(f"{where}: extra_body.{name}: the {who} fills this key itself; leave it out.")

    def _endpoint(
        self,
        name: str,
        kind: str,
        prices: tuple[float | None, float | None],
        parameters: Facts,
        token_limit_key: str | None = None,
        search_price: float | None = None,
    ) -> Endpoint:
        """Where requests go. It checks its own fields. prices: in and out. A parameter that is None is not sent."""
        sent = parameters | {"extra_body": self.extra_body or None}
        return Endpoint(
            name=name,
            api=self.api,
            provider=self.provider,
            model=self.model,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            input_price=prices[0],
            output_price=prices[1],
            concurrency=self.concurrency,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            timeout=self.timeout,
            retries=self.retries,
            parameters={name: value for name, value in sent.items() if value is not None},
            token_limit_key=token_limit_key,
            kind=kind,
            search_price=search_price,
        )

    def _read_only(self, name: str, kind: str, price: float | None, search_price: float | None = None) -> Endpoint:
        """Where requests go whose replies cost nothing: only what is read has a price."""
        return self._endpoint(name, kind, (price, None if price is None else 0.0), {}, search_price=search_price)


@dataclass(frozen=True, kw_only=True)
class ChatConnection(Connection):
    """One to a model that writes text, and what such a request is made with. What is None is not sent."""

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = Connection.OUTSIDE_IDENTITY | {
        "prices",
        "output_price",
        "token_limit_key",
    }

    api: ChatProvider
    structured: bool  # the endpoint can be held to a JSON schema; else a tagged last line is read
    temperature: float | None
    max_tokens: int  # that come back, thinking included
    token_limit_key: str | None  # max_tokens or max_completion_tokens; None: the second where reasoning_effort is set
    reasoning_effort: str | None
    prices: Prices  # where input_price or output_price is None
    output_price: float | None

    def _check_chat(self, where: str, endpoint: Endpoint) -> None:
        """What the API does not have is refused here, not at the first call."""
        if not isinstance(self.api, ChatProvider):
            raise BadInput(
                f"{where}: api={self.api!r} is no chat API of zelo.providers; set {SETTINGS[endpoint.kind]}api._target_ to"
                " zelo.providers.openai.ChatCompletions or zelo.providers.anthropic.Messages."
            )
        if self.token_limit_key not in (None, *LIMIT_KEYS):
            raise BadInput(
                f"{where}: token_limit_key={self.token_limit_key!r} is unknown; use {' or '.join(LIMIT_KEYS)}."
            )
        api, hottest = type(self.api).__name__, self.api.max_temperature
        if self.structured and not self.api.schemas:
            raise BadInput(f"{where}: structured=true needs JSON schemas, and {api} takes none; set it to false.")
        if self.temperature is not None and not 0 <= self.temperature <= hottest:
            raise BadInput(
                f"{where}: temperature={self.temperature} is not from 0 to {hottest:g}; use 0, or null to leave it out."
            )
        for name in ("seed", "reasoning_effort"):
            if name in endpoint.parameters and name not in self.api.parameters:
                raise BadInput(f"{where}: {name}={endpoint.parameters[name]} is unknown to {api}; set it to null.")

    def _chat_endpoint(self, name: str, kind: str, parameters: Facts) -> Endpoint:
        """Where prompts go. A price that is neither set nor in the table is None. parameters: beside those of any chat."""
        stated_in, stated_out = self.prices.of(self.model)
        prices = (
            stated_in if self.input_price is None else self.input_price,
            stated_out if self.output_price is None else self.output_price,
        )
        sent = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "reasoning_effort": self.reasoning_effort,
        }
        return self._endpoint(name, kind, prices, sent | parameters, self.token_limit_key)
