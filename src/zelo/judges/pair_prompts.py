"""Prompts about a query and two documents as the token ids that a causal language model reads."""

import re
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from zelo.errors import BadInput
from zelo.protocols import LanguageModel
from zelo.providers.prompt import Filled, Prompt
from zelo.records import Questions, distinct
from zelo.texts import SHORTEST_CUT, document_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LETTERS = ("A", "B")  # what the prompt asks for: the document shown first, the document shown second
_TAGS = 64  # tokens that the tags around three texts may take beyond those of empty texts
_DATE = "26 Jul 2024"  # some Llama templates print today's: a preference must not depend on the day
_SYSTEM, _USER = (
    "SYSTEM-PART-OF-ZELO",
    "USER-PART-OF-ZELO",
)  # stand in for the texts when a chat template is taken apart


@dataclass(frozen=True)
class PairPrompts:
    """Prompts of one judge, in the chat template of its model where that has one, thinking switched off.

    The tags around the texts are made from the query, so that all prompts about a query begin alike, and those with the same
    first document go on alike. A document is cut to `document_tokens`, or to what the context leaves beside the query. Texts
    cannot write the tokenizer's special tokens.
    """

    judge: str  # its name, for messages
    backbone: LanguageModel
    prompt: Prompt
    instruction: str
    document_tokens: int

    def check(self) -> None:
        """Raises BadInput for a model that cannot be asked: recurrent, without letters, with too short a context, or with a chat
        template that moves messages.
        """
        self.backbone.check_cache(tokens_only=False)
        _ = self.letters, self._frame
        if (room := self._context // 2) < SHORTEST_CUT:
            raise BadInput(
                f"judge {self.judge}: the context of {self.backbone.model} leaves {max(room, 0)} tokens for each document"
                f" beside the prompt, and {SHORTEST_CUT} are needed; name a model that reads more, or a shorter judge.prompt."
            )

    @cached_property
    def letters(self) -> list[list[int]]:
        """The ids of the tokens that are A, or B, but for white space. Raises BadInput where there are none."""
        tokenizer: Any = self._tokenizer
        found = [
            sorted(
                n
                for token, n in tokenizer.get_vocab().items()
                if letter in token and tokenizer.decode([n]).strip() == letter
            )
            for letter in LETTERS
        ]
        if not all(found):
            raise BadInput(
                f"judge {self.judge}: the tokenizer of {self.backbone.model} has no token A or none B; name another model."
            )
        return found

    def ids(self, questions: Questions) -> list[list[int]]:
        """Token ids of the prompt of each question. Raises BadInput for a query that leaves no room for documents."""
        queries = questions.query_texts()
        room = [
            self._room(query, len(ids)) for query, ids in zip(queries, self.encode(queries, texts=True), strict=True)
        ]
        texts = [queries, self.beginnings(questions.texts_a(), room), self.beginnings(questions.texts_b(), room)]
        filled = [self.filled(*row) for row in zip(*texts, strict=True)]
        system = self.encode([item.system for item in filled], texts=True)
        user = self.encode([item.user for item in filled], texts=True)
        before, between, after = self._frame
        return [before + one + between + other + after for one, other in zip(system, user, strict=True)]

    def cut(self, questions: Questions) -> int:
        """How many of the documents asked about are longer than document_tokens, and so are judged by their beginning."""
        rows = distinct(np.concatenate([questions.a_row, questions.b_row]))
        texts = document_texts(questions.documents.take(rows))
        short = self.beginnings(texts, [self.document_tokens] * len(texts))
        return sum(len(text) != len(rest) for text, rest in zip(texts, short, strict=True))

    def decoded(self, token: int) -> str:
        """The text of one token."""
        text: Any = self._tokenizer.decode([token])
        return text

    def filled(self, query: str, document_a: str, document_b: str) -> Filled:
        """The prompt's two parts about these texts."""
        texts = {"query": query, "document_a": document_a, "document_b": document_b}
        return self.prompt.fill(texts, self.instruction, None, tags_from=frozenset({"query"}))

    def encode(self, parts: list[str], *, texts: bool) -> list[list[int]]:
        """Ids of each part. texts: what looks like a special token is plain text."""
        encoded: Any = self._tokenizer(parts, add_special_tokens=False, split_special_tokens=texts)
        return encoded["input_ids"]

    def beginnings(self, texts: list[str], most: list[int]) -> list[str]:
        """The beginnings of texts, at most so many tokens long each."""
        long = [n for n, text in enumerate(texts) if len(text.encode()) > most[n]]  # a token is a byte or more
        short = list(texts)
        if not long:
            return short
        encoded: Any = self._tokenizer(
            [texts[n] for n in long],
            add_special_tokens=False,
            split_special_tokens=True,
            truncation=True,
            max_length=max(most) + 1,
            return_offsets_mapping=True,
        )
        for n, place in zip(long, encoded["offset_mapping"], strict=True):
            if len(place) > most[n]:  # where tokens share a character, it goes
                short[n] = texts[n][: min(place[most[n] - 1][1], place[most[n]][0])]
        return short

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerFast":
        return self.backbone.plain_tokenizer()

    @cached_property
    def _frame(self) -> list[list[int]]:
        """Ids before the system's part, between it and the user's, and after: the chat template without its texts."""
        tokenizer = self._tokenizer
        if tokenizer.chat_template is None:
            start: Any = tokenizer("")["input_ids"]
            return [start, *self.encode(["\n\n", "\n\nAnswer:"], texts=False)]
        rendered = _rendered(tokenizer, [("system", _SYSTEM), ("user", _USER)])
        rendered = rendered or _rendered(tokenizer, [("user", f"{_SYSTEM}\n\n{_USER}")])  # some have no system
        parts = re.split(f"{_SYSTEM}|{_USER}", rendered)
        if len(parts) != 3 or rendered.index(_SYSTEM) > rendered.index(_USER):
            raise BadInput(
                f"judge {self.judge}: the chat template of {self.backbone.model} drops or moves a message; name another model."
            )
        return self.encode(parts, texts=False)

    @cached_property
    def _context(self) -> int:
        """Tokens that the model has for a query and two documents."""
        empty = self.filled("", "", "")
        parts = [*self._frame, *self.encode([empty.system, empty.user], texts=True)]
        return (self.backbone.context() or sys.maxsize) - sum(map(len, parts)) - _TAGS

    def _room(self, query: str, tokens: int) -> int:
        """Tokens that a document may have beside a query of so many."""
        room = min(self.document_tokens, (self._context - tokens) // 2)
        if room < SHORTEST_CUT:
            raise BadInput(
                f"judge {self.judge}: the query {query[:60]!r} of {tokens} tokens leaves no room for documents in the context of"
                f" {self.backbone.model}; shorten it, or name a model that reads more."
            )
        return room


def _rendered(tokenizer: "PreTrainedTokenizerFast", messages: list[tuple[str, str]]) -> str:
    """The messages (role, text) in the tokenizer's chat template, ready for the answer; "" where it has no such role."""
    from jinja2.exceptions import TemplateError

    try:
        text: Any = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # variables of the template, which those without them ignore
            date_string=_DATE,
        )
    except TemplateError:
        return ""
    return text
