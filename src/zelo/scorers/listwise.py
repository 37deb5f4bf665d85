"""A language model behind an address that orders windows of candidates, one window after the other."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from zelo.budget.price import Prices
from zelo.budget.request_batch import RequestBatch
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.providers.answer_text import json_in, last_tagged, refused
from zelo.providers.prompt import STRUCTURED, TAGGED, WINDOW, Prompt
from zelo.providers.request import RERANK, ChatProvider, Endpoint, Reading, Reply, Request, form_of, key_of
from zelo.records import ANSWERED, REFUSED, UNPARSEABLE, Questions
from zelo.texts import SHORTEST_CUT, beginning

TAG = "order"
LIMIT_KEYS = ("max_tokens", "max_completion_tokens")
# Class of what is wrong with a reply, before anything is read -> the reason and the fix.
WHY = {
    "empty": "the answer is empty: raise max_tokens if the model thinks, or set structured=false",
    "length": "the answer is truncated: raise max_tokens, or turn thinking off with extra_body",
    "unknown_finish": "the answer ended with a finish reason of another kind: leave tools out of the request",
    "context_too_long": "the prompt is longer than the model reads: lower document_tokens or window",
    "refusal": "the model declines to answer",
    "content_filter": "the provider's filter withholds the answer",
}
NO_ORDER = {
    STRUCTURED: 'the answer is no JSON with a list of labels "order": this endpoint does not hold it to a JSON schema; set'
    " structured=false",
    TAGGED: "the last line is not the tag with an order such as [2] > [1]: set structured=true where the endpoint can hold its"
    " answer to a JSON schema, or name a model that follows instructions",
}
_ORDER = re.compile(r"\s*\[?\d+\]?(?:\s*>\s*\[?\d+\]?)*\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class WindowRequest(Request):
    """A request, and the tag that its answer is found by."""

    tag: str


@dataclass(frozen=True, kw_only=True)
class Listwise:
    """Permutation generation with sliding windows (RankGPT: Sun et al., EMNLP 2023, section 3 and figure 2c).

    The last `window` candidates are ordered first; then the window moves `step` places towards the first candidate, so that
    what is good climbs with it. An order is read strictly: a label that no document has, or that stands twice, makes it no
    answer. Documents that it leaves out stand behind the others, in the order that they had.
    """

    READ_BY: ClassVar[tuple[type, ...]] = (RequestBatch,)  # what a reply passes through before `read` sees it
    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {
            "base_url",
            "api_key_env",
            "prices",
            "input_price",
            "output_price",
            "concurrency",
            "requests_per_minute",
            "tokens_per_minute",
            "timeout",
            "retries",
            "token_limit_key",
        }
    )

    name: str
    api: ChatProvider
    provider: str  # a label; answers in the ledger are found by it, not by the address
    model: str
    base_url: str
    api_key_env: str | None  # environment variable that holds the key; None: no key is sent
    window: int  # documents that are shown at once, at most
    step: int  # places between two windows
    structured: bool  # the endpoint can be held to a JSON schema; else a tagged last line is read
    prompt: str  # a name in conf/scorer/prompts or the path of a .txt file
    instruction: str  # what relevance means to the user; may be empty
    temperature: float | None  # None: not sent
    max_tokens: int  # that come back, thinking included
    token_limit_key: str | None  # max_tokens or max_completion_tokens; None: the second where reasoning_effort is set
    reasoning_effort: str | None  # None: not sent
    seed: int | None  # None: not sent
    extra_body: Facts  # further keys of each request, as the openai client names them
    document_tokens: int  # a longer document is cut; at 4 bytes a token
    prices: Prices
    input_price: float | None  # US dollars per million tokens; None: as in `prices`
    output_price: float | None
    concurrency: int  # calls at a time, at most
    requests_per_minute: int | None
    tokens_per_minute: int | None
    timeout: float  # seconds for one attempt
    retries: int  # attempts after the first

    def __post_init__(self) -> None:
        where = f"reranker {self.name}"
        for name in ("name", "provider", "model", "base_url"):
            value = getattr(self, name)
            if not str(value or "").strip() or value == "???":
                raise BadInput(f"{where}: {name} is empty; set it, as in baselines.NAME.{name}=...")
        for name, least in (("window", 2), ("step", 1), ("max_tokens", 1), ("document_tokens", SHORTEST_CUT)):
            if getattr(self, name) < least:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is too small; set it to {least} or more.")
        if self.step >= self.window:
            raise BadInput(
                f"{where}: step={self.step} is not below window={self.window}, so no document could climb from one window"
                f" into the next; set step to {self.window // 2}."
            )
        if self.token_limit_key not in (None, *LIMIT_KEYS):
            raise BadInput(
                f"{where}: token_limit_key={self.token_limit_key!r} is unknown; use {' or '.join(LIMIT_KEYS)}."
            )
        self._check_api(where)
        _ = self.endpoint  # checks its own fields
        self._prompt.check(WINDOW, self._form, self.instruction, where)

    def _check_api(self, where: str) -> None:
        """What the API does not have is refused here, not at the first call."""
        if not isinstance(self.api, ChatProvider):
            raise BadInput(
                f"{where}: api={self.api!r} is no chat API of zelo.providers; set api._target_ to"
                " zelo.providers.openai.ChatCompletions or zelo.providers.anthropic.Messages."
            )
        api, hottest = type(self.api).__name__, self.api.max_temperature
        if self.structured and not self.api.schemas:
            raise BadInput(f"{where}: structured=true needs JSON schemas, and {api} takes none; set it to false.")
        if self.temperature is not None and not 0 <= self.temperature <= hottest:
            raise BadInput(
                f"{where}: temperature={self.temperature} is not from 0 to {hottest:g}; use 0, or null to leave it out."
            )
        for name in ("seed", "reasoning_effort"):
            value = getattr(self, name)
            if value is not None and name not in self.api.parameters:
                raise BadInput(f"{where}: {name}={value} is unknown to {api}; set it to null.")

    @cached_property
    def _prompt(self) -> Prompt:
        return Prompt.named(self.prompt, f"reranker {self.name}", "scorer")

    @property
    def _form(self) -> str:
        """The section of the prompt that says how to answer."""
        return STRUCTURED if self.structured else TAGGED

    @property
    def endpoint(self) -> Endpoint:
        """Where the questions go. A price that is neither set nor in the table is None."""
        stated_in, stated_out = self.prices.of(self.model)
        chosen = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "reasoning_effort": self.reasoning_effort,
            "seed": self.seed,
            "extra_body": self.extra_body or None,
        }
        return Endpoint(
            name=self.name,
            api=self.api,
            provider=self.provider,
            model=self.model,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            input_price=stated_in if self.input_price is None else self.input_price,
            output_price=stated_out if self.output_price is None else self.output_price,
            concurrency=self.concurrency,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            timeout=self.timeout,
            retries=self.retries,
            parameters={name: value for name, value in chosen.items() if value is not None},
            token_limit_key=self.token_limit_key,
            kind=RERANK,
        )

    def content(self) -> dict[str, str]:
        """The words of the prompt."""
        return {"prompt": self._prompt.content}

    def windows(self, size: int) -> list[slice]:
        """The places that each prompt shows of a list of so many candidates, in the order in which it is asked."""
        found = []
        for end in range(size, 1, -self.step):
            found.append(slice(max(end - self.window, 0), end))
            if end <= self.window:
                break
        return found

    def requests(self, questions: Questions) -> Iterator[Request]:
        """One request for each `window` rows of one query that follow each other: a query, and `doc_a` of each as it stands."""
        endpoint = self.endpoint
        form = form_of(endpoint, "order", self._form, self._prompt.content)
        ends = np.flatnonzero(np.diff(questions.query_row, prepend=-1))
        for rows in np.split(np.arange(len(questions)), ends[1:]) if len(questions) else ():
            for low in range(0, len(rows), self.window):
                part = slice(int(rows[low]), int(rows[min(low + self.window, len(rows)) - 1]) + 1)
                texts = [beginning(text, self.document_tokens) for text in questions.texts_a(part)]
                (query,) = questions.query_texts(slice(part.start, part.start + 1))
                filled = self._prompt.fill({"query": query, "documents": texts}, self.instruction, self._form, tag=TAG)
                schema = _schema(len(texts)) if self.structured else None
                yield WindowRequest(
                    key=key_of(endpoint, RERANK, 0, filled.system, filled.user, schema),
                    system=filled.system,
                    user=filled.user,
                    schema=schema,
                    logprobs=False,
                    repeat=0,
                    rows=tuple(range(part.start, part.stop)),
                    tokens_out=self.max_tokens,
                    form=form,
                    tag=filled.tag,
                )

    def read(self, request: Request, reply: Reply) -> Reading:
        """The order as `p`: the number of shown documents for the best, one less for each that follows.

        A document that the answer leaves out has 0 or less: it stands behind, and can be counted.
        """
        assert isinstance(request, WindowRequest), f"reranker {self.name} did not ask this"
        if reply.status != ANSWERED:
            return Reading(reply.status, why=WHY.get(reply.error, ""), shown=reply.text)
        shown = len(request.rows)
        order = self._order(reply.text, request.tag)
        if order is None:
            if refused(reply.text):
                return Reading(REFUSED, why=WHY["refusal"], shown=reply.text)
            return Reading(UNPARSEABLE, why=NO_ORDER[self._form], shown=reply.text)
        if fault := _fault(order, shown):
            return Reading(UNPARSEABLE, why=fault, shown=reply.text)
        place = {label: shown - n for n, label in enumerate(order)}
        left_out = (label for label in range(1, shown + 1) if label not in place)
        place |= {label: -n for n, label in enumerate(left_out)}
        return Reading(ANSWERED, tuple(float(place[label]) for label in range(1, shown + 1)))

    def _order(self, text: str, tag: str) -> list[int] | None:
        """The labels in an answer, best first; None where it has no such list, or an empty one."""
        if not self.structured:
            return last_tagged(text, tag, _labels)
        answer = json_in(text)
        order = answer.get("order") if isinstance(answer, dict) else None
        whole = isinstance(order, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in order)
        return order if whole and order else None


def _labels(text: str) -> list[int] | None:
    """The numbers of [2] > [1]; None for anything else."""
    return [int(number) for number in re.findall(r"\d+", text)] if _ORDER.fullmatch(text) else None


def _fault(order: list[int], shown: int) -> str:
    """What is wrong with an order of labels; "" where nothing is."""
    if any(not 1 <= label <= shown for label in order):
        return "the order has a label that no document has"
    return "the order has a label twice" if len(set(order)) != len(order) else ""


def _schema(count: int) -> Facts:
    """JSON schema of an order of `count` labels."""
    label = {"type": "integer", "enum": list(range(1, count + 1))}
    order = {"type": "array", "items": label}
    return {"type": "object", "properties": {"order": order}, "required": ["order"], "additionalProperties": False}
