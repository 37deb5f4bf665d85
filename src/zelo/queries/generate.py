"""Queries that a language model behind an address writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.providers.answer_text import json_in, last_tagged, refused
from zelo.providers.connection import ChatConnection
from zelo.providers.prompt import STRUCTURED, TAGGED, Prompt
from zelo.providers.request import GENERATE, Endpoint, Reading, Reply, Request, form_of, key_of
from zelo.records import ANSWERED, QUERY, REFUSED, TRAIN, UNPARSEABLE, Questions
from zelo.texts import SHORTEST_CUT, beginning

NAME = "generate"
NEEDS, MAY = frozenset({"document", "style"}), frozenset({"queries"})  # fields of a prompt
SCHEMA: Facts = {
    "type": "object",
    "properties": {"query": {"type": "string"}},
    "required": ["query"],
    "additionalProperties": False,
}
AROUND = " \t\"'“”*-"  # of a query
MOST_WORDS = 100  # of a query; more is an essay, or the document again
ROWS = 256  # questions whose texts are joined at a time
# Class of what is wrong with a reply, before anything is read -> the reason and the fix.
WHY = {
    "empty": "the answer is empty: raise queries.max_tokens if the model thinks, or set queries.structured=false",
    "length": "the answer is truncated: raise queries.max_tokens, or turn thinking off with queries.extra_body",
    "context_too_long": "the prompt is longer than the model reads: lower queries.document_tokens",
    "refusal": "the model declines to answer",
    "content_filter": "the provider's filter withholds the answer",
}


@dataclass(slots=True)
class QueryRequest(Request):
    """A request, and what its reply is read with."""

    tag: str


@dataclass(frozen=True, kw_only=True)
class Generate(ChatConnection):
    """One query a call: for a document, in a style, with some real queries as examples.

    As in InPars (Bonifacio et al., SIGIR 2022, section 3) and Promptagator (Dai et al., ICLR 2023, section 3.1), with other
    words. A reply is the text of a query or it is none: one that is refused, cut off or of another form is counted and left out.
    """

    most: int
    mix: bool
    top_k: int
    styles: dict[str, str]  # name -> words for the prompt
    instruction: str  # what relevance means to the user; may be empty
    examples: int  # real queries that a prompt shows, at most
    prompt: str  # a name in conf/queries/prompts or the path of a .txt file
    document_tokens: int  # a longer document is cut; at 4 bytes a token
    seed: int  # which documents come first

    def __post_init__(self) -> None:
        self._check_set("queries", "set queries.{}")
        if not self.styles or not all(str(words or "").strip() for words in self.styles.values()):
            raise BadInput(
                f"queries.styles={self.styles} has no style, or one without words; name some, as conf/queries/generate.yaml."
            )
        for name, least in (("max_tokens", 1), ("document_tokens", SHORTEST_CUT), ("examples", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"queries.{name}={getattr(self, name)} is too small; set it to {least} or more.")
        self._check_chat("queries", self.endpoint)
        self._prompt.check(NEEDS, self._form, self.instruction, "queries", MAY)

    @cached_property
    def _prompt(self) -> Prompt:
        return Prompt.named(self.prompt, "queries", "queries")

    @property
    def _form(self) -> str:
        """The section of the prompt that says how to answer."""
        return STRUCTURED if self.structured else TAGGED

    @property
    def endpoint(self) -> Endpoint:
        """Where the requests go. A price that is neither set nor in the table is None."""
        return self._chat_endpoint(NAME, GENERATE, {})

    def content(self) -> dict[str, str]:
        """The words of the prompt."""
        return {"prompt": self._prompt.content}

    def questions(self, documents: pa.Table) -> Questions:
        """A style (`query`) and a document (`doc_a`) each; all documents have one query before any has a second.

        Documents without a letter are left out; the others come in an order that `seed` draws.
        """
        names = list(self.styles)
        styles = pa.table([names, [self.styles[name] for name in names], [TRAIN] * len(names)], schema=QUERY)
        says = pc.binary_join_element_wise(documents["title"].fill_null(""), documents["text"], "")
        by_id = pc.sort_indices(documents["doc_id"]).to_numpy()
        order = by_id[np.random.default_rng(self.seed).permutation(len(by_id))].astype(np.int32)
        order = order[pc.match_substring_regex(says, r"\pL").to_numpy()[order]]
        style = (np.arange(len(order)) + np.arange(len(names))[:, None]) % len(names)
        document = np.tile(order, len(names))
        return Questions(
            styles, documents, style.ravel().astype(np.int32), document, document, np.zeros(len(document), np.int16)
        )

    def writer(self, examples: Sequence[str]) -> "QueryWriter":
        """What is asked through the budget. examples: queries that people have asked."""
        return QueryWriter(self, tuple(" ".join(text.split()) for text in examples[: self.examples]))

    def _asked(self, style: str, document: str, examples: tuple[str, ...], row: int) -> QueryRequest:
        endpoint, form = self.endpoint, self._form
        filled = self._prompt.fill(
            {"document": beginning(document, self.document_tokens), "queries": examples},
            self.instruction,
            form,
            words={"style": style},
            tag="query",
        )
        schema = SCHEMA if self.structured else None
        return QueryRequest(
            key=key_of(endpoint, GENERATE, 0, filled.system, filled.user, schema),
            system=filled.system,
            user=filled.user,
            schema=schema,
            logprobs=False,
            repeat=0,
            rows=(row,),
            tokens_out=self.max_tokens,
            form=form_of(endpoint, form, self._prompt.content, style),
            tag=filled.tag,
        )


@dataclass(frozen=True)
class QueryWriter:
    """The model, and the real queries that it is shown."""

    maker: Generate
    examples: tuple[str, ...]

    @property
    def name(self) -> str:
        """What its share of a plan is recorded under."""
        return NAME

    @property
    def endpoint(self) -> Endpoint:
        """Where the requests go."""
        return self.maker.endpoint

    def requests(self, questions: Questions) -> Iterator[Request]:
        """One request a style and document, lazily."""
        for low in range(0, len(questions), ROWS):
            rows = slice(low, low + ROWS)
            texts = zip(questions.query_texts(rows), questions.texts_a(rows), strict=True)
            for row, (style, document) in enumerate(texts, low):
                yield self.maker._asked(style, document, self.examples, row)

    def read(self, request: Request, reply: Reply) -> Reading:
        """Whether the reply is a query; `p` says nothing."""
        if reply.status != ANSWERED:
            return Reading(reply.status, why=WHY.get(reply.error, ""), shown=reply.text)
        if self.written(request, reply) is not None:
            return Reading(ANSWERED, (1.0,) * len(request.rows))
        if refused(reply.text) or refused(_stated(request, reply) or ""):
            return Reading(REFUSED, why="the model declines to answer", shown=reply.text)
        return Reading(UNPARSEABLE, why=_why(request, _stated(request, reply)), shown=reply.text)

    def written(self, request: Request, reply: Reply) -> str | None:
        """The query in a reply, None where there is none."""
        stated = _stated(request, reply) if reply.status == ANSWERED else None
        if stated is None or refused(stated) or len(stated.split()) > MOST_WORDS:
            return None
        return stated if any(letter.isalnum() for letter in stated) else None


def _stated(request: Request, reply: Reply) -> str | None:
    """What stands where the query is to stand, in one line without quotes and marks of a list around it."""
    assert isinstance(request, QueryRequest), "no request of a query writer"
    if request.schema is None:
        found = last_tagged(reply.text, request.tag, str)
    else:
        answer = json_in(reply.text)
        found = answer.get("query") if isinstance(answer, dict) else None
    return " ".join(found.split()).strip(AROUND) if isinstance(found, str) else None


def _why(request: Request, stated: str | None) -> str:
    """Why a reply is no query, and what to do: the same words for the same reason."""
    if stated is None and request.schema is None:
        return (
            "the last line has no tag, which the prompt asks for: set queries.structured=true where the endpoint can hold its"
            " answer to a JSON schema, or name a queries.model that follows instructions"
        )
    if stated is None:
        return "the answer is no JSON with a query: set queries.structured=false for an endpoint without JSON schemas"
    return f"the query has no letter, or more than {MOST_WORDS} words"
