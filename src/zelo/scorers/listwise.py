"""A language model behind an address that orders windows of candidates, one window after the other."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.providers.answer_text import json_in, last_tagged, refused
from zelo.providers.connection import ChatConnection
from zelo.providers.prompt import STRUCTURED, TAGGED, WINDOW, Prompt
from zelo.providers.request import RERANK, Endpoint, Reading, Reply, Request, form_of, key_of
from zelo.records import ANSWERED, REFUSED, UNPARSEABLE, Questions
from zelo.texts import SHORTEST_CUT, beginning

TAG = "order"
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


@dataclass(slots=True)
class WindowRequest(Request):
    """A request, and the tag that its answer is found by."""

    tag: str


@dataclass(frozen=True, kw_only=True)
class Listwise(ChatConnection):
    """Permutation generation with sliding windows (RankGPT: Sun et al., EMNLP 2023, section 3 and figure 2c).

    The last `window` candidates are ordered first; then the window moves `step` places towards the first candidate, so that
    what is good climbs with it. An order is read strictly: a label that no document has, or that stands twice, makes it no
    answer. Documents that it leaves out stand behind the others, in the order that they had.
    """

    name: str
    window: int  # documents that are shown at once, at most
    step: int  # places between two windows
    prompt: str  # a name in conf/scorer/prompts or the path of a .txt file
    instruction: str  # what relevance means to the user; may be empty
    seed: int | None  # None: not sent
    document_tokens: int  # a longer document is cut; at 4 bytes a token

    def __post_init__(self) -> None:
        where = f"reranker {self.name}"
        self._check_set(where, "set it, as in baselines.NAME.{}=...", "name")
        for name, least in (("window", 2), ("step", 1), ("max_tokens", 1), ("document_tokens", SHORTEST_CUT)):
            if getattr(self, name) < least:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is too small; set it to {least} or more.")
        if self.step >= self.window:
            raise BadInput(
                f"{where}: step={self.step} is not below window={self.window}, so no document could climb from one window"
                f" into the next; set step to {self.window // 2}."
            )
        self._check_chat(where, self.endpoint)
        self._prompt.check(WINDOW, self._form, self.instruction, where)

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
        return self._chat_endpoint(self.name, RERANK, {"seed": self.seed})

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
