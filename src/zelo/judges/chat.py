"""A language model behind an address that is asked which of two documents is the better answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.judges import answer, cut
from zelo.judges.query_pool import query_pools
from zelo.judges.windows import windows
from zelo.providers.answer_text import refused
from zelo.providers.connection import ChatConnection
from zelo.providers.prompt import ALONE, CROSS, PAIR, STRUCTURED, TAGGED, WINDOW, Filled, Prompt, Text
from zelo.providers.request import (
    JUDGE,
    TOP_LOGPROBS,
    Endpoint,
    Json,
    Reading,
    Reply,
    Request,
    canonical,
    form_of,
    key_of,
)
from zelo.records import ANSWERED, CRITERIA, REFUSED, UNPARSEABLE, Questions
from zelo.texts import SHORTEST_CUT, beginning, document_texts

SCORE, VERDICT, LISTWISE = "score", "verdict", "listwise"
OWN_PROMPT = {SCORE: "pairwise_thinking", VERDICT: "pairwise_verdict", LISTWISE: "listwise"}

ROWS = 1024  # questions whose texts are joined at a time


@dataclass(slots=True)
class Asked(Request):
    """A request, and what its reply is read with.

    `pairs`: per row the labels of its first and second document in a window. `criteria`: per row the number of its criterion,
    from 0, where one document alone is asked about; there are no pairs then.
    """

    tag: str
    pairs: tuple[tuple[int, int], ...]
    criteria: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Chat(ChatConnection):
    """One model. p is for the document shown first: from a score in [-1, 1], from the odds of A against B, or from relevances.

    score: the model reasons, then gives a number, as structured output or on a tagged last line; also across queries. Asked
    about one document alone it gives a number in [0, 1] for each criterion of the rubric, all in one answer: each is a p as it
    stands.
    verdict: one token, p from its log-probabilities. listwise: windows of at most `window` documents whose pairs were all asked,
    each with a relevance in [0, 1]; p = (1 + s_a - s_b) / 2. The pairs that a window of w answers weigh as w - 1 comparisons
    together, for so many are independent: 2 / w each where it answers all of its own. Documents stand there in an order drawn
    from ids, whichever is a row's first; a pair that is asked in both orders is in two windows, the second one backwards.
    """

    name: str
    mode: str  # score, verdict or listwise
    prompt: str | None  # a name in conf/judge/prompts or the path of a .txt file; None: the one made for the mode
    cross_prompt: str  # the same, for two queries with a document each (score)
    rubric_prompt: str  # the same, for one document alone and the criteria of the rubric (score)
    instruction: str  # what relevance means to the user; may be empty
    preference: str  # soft, ternary or sign: from score to preference
    threshold: float  # ternary: a score of at most this size is a tie
    window: int  # listwise: documents that are shown at once, at most
    verdict_mass: float  # verdict: what A and B must carry of the probability together; below it nothing is read
    top_logprobs: int  # verdict: likeliest first tokens that are asked for
    seed: int | None  # None: not sent
    document_tokens: int  # a longer document is cut; at 4 bytes a token

    def __post_init__(self) -> None:
        where = f"judge {self.name}"
        self._check_set(where, "set judge.{}")
        if not isinstance(self.instruction, str):
            raise BadInput(f"{where}: instruction={self.instruction} is no text; write '' for none.")
        known = {"mode": tuple(OWN_PROMPT), "preference": answer.PREFERENCES}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise BadInput(f"{where}: {name}={getattr(self, name)!r} is unknown; use one of {', '.join(values)}.")
        if not 0 <= self.threshold < 1:
            raise BadInput(f"{where}: threshold={self.threshold} must be in [0, 1); scores go from -1 to 1, try 0.1.")
        if not 0 <= self.verdict_mass < 1:
            raise BadInput(
                f"{where}: verdict_mass={self.verdict_mass} must be in [0, 1); try 0.5, or 0 to read anything."
            )
        if not 1 <= self.top_logprobs <= TOP_LOGPROBS:
            raise BadInput(f"{where}: top_logprobs={self.top_logprobs} is not from 1 to {TOP_LOGPROBS}.")
        for name, least in (("max_tokens", 1), ("window", 2), ("document_tokens", SHORTEST_CUT)):
            if getattr(self, name) < least:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is too small; set it to {least} or more.")
        self._check_chat(where, self.endpoint)
        if self.mode == VERDICT and not self.api.logprobs:
            api = type(self.api).__name__
            raise BadInput(f"{where}: mode=verdict needs log-probabilities, and {api} gives none; use mode=score.")
        needs = WINDOW if self.mode == LISTWISE else PAIR
        self._prompt.check(needs, self._form, self.instruction, where)
        if self.mode == SCORE:
            self._cross_prompt.check(CROSS, self._form, self.instruction, where)
            self._rubric_prompt.check(ALONE, self._form, self.instruction, where)

    @cached_property
    def _prompt(self) -> Prompt:
        return Prompt.named(self.prompt or OWN_PROMPT[self.mode], f"judge {self.name}")

    @cached_property
    def _cross_prompt(self) -> Prompt:
        return Prompt.named(self.cross_prompt, f"judge {self.name}")

    @cached_property
    def _rubric_prompt(self) -> Prompt:
        return Prompt.named(self.rubric_prompt, f"judge {self.name}")

    @property
    def _form(self) -> str | None:
        """The section of the prompt that says how to answer."""
        if self.mode == VERDICT:
            return None
        return STRUCTURED if self.structured else TAGGED

    @property
    def tokens_out(self) -> int:
        """Most that may come back of one call."""
        return 1 if self.mode == VERDICT else self.max_tokens

    @property
    def endpoint(self) -> Endpoint:
        """Where the questions go. A price that is neither set nor in the table is None."""
        parameters = {
            "max_tokens": self.tokens_out,
            "seed": self.seed,
            # What has its default is left out, so that answers of before this field keep their keys.
            "top_logprobs": self.top_logprobs if self.mode == VERDICT and self.top_logprobs != TOP_LOGPROBS else None,
        }
        return self._chat_endpoint(self.name, JUDGE, parameters)

    @property
    def asked_whole(self) -> bool:
        """Whether one answer is about several questions, which are found again together only."""
        return self.mode == LISTWISE

    def content(self) -> dict[str, str]:
        """The words of the prompts; what is not asked in this mode is left out."""
        if self.mode != SCORE:
            return {"prompt": self._prompt.content, "cross_prompt": "", "rubric_prompt": ""}
        prompts = {"prompt": self._prompt, "cross_prompt": self._cross_prompt, "rubric_prompt": self._rubric_prompt}
        return {name: prompt.content for name, prompt in prompts.items()}

    def requests(self, questions: Questions) -> Iterator[Request]:
        """What to ask, lazily; texts are joined for some questions at a time. Each row belongs to exactly one request.

        Raises BadInput for questions across queries, or about a document alone, in another mode than score.
        """
        if questions.criterion is not None and self.mode != SCORE:
            raise BadInput(
                f"judge {self.name}: mode={self.mode} compares documents and has no rubric; use mode=score for one document"
                " alone."
            )
        if questions.query_b_row is not None and self.mode != SCORE:
            raise BadInput(
                f"judge {self.name}: mode={self.mode} compares within one query; use mode=score across queries."
            )
        if questions.criterion is not None:
            return self._alone(questions, questions.criterion)
        return self._windows(questions) if self.mode == LISTWISE else self._pairs(questions)

    def read(self, request: Request, reply: Reply) -> Reading:
        """What the reply says about the request's rows. Only an answer that can be read without guessing has a p."""
        assert isinstance(request, Asked), f"judge {self.name} did not ask this"
        if reply.status != ANSWERED:
            return Reading(reply.status, why=answer.WHY.get(reply.error, ""), shown=reply.text)
        tag = None if request.schema is not None else request.tag
        if request.criteria:
            met = answer.relevances(reply.text, tag, CRITERIA)
            if met is None:
                return _unread(reply.text, answer.why_unread(reply.text, tag, "scores"))
            return Reading(ANSWERED, tuple(met[n] for n in request.criteria))
        if self.mode == LISTWISE:
            width = _width(request.pairs)
            relevances = answer.relevances(reply.text, tag, width)
            if relevances is None:
                return _unread(reply.text, answer.why_unread(reply.text, tag, "scores"))
            scores = [relevances[second - 1] - relevances[first - 1] for first, second in request.pairs]
            distinct = len({frozenset(pair) for pair in request.pairs})
            return Reading(ANSWERED, tuple(self._p(score) for score in scores), weight=(width - 1) / distinct)
        if self.mode == VERDICT:
            return self._verdict(reply)
        score = answer.score(reply.text, tag)
        if score is None:
            return _unread(reply.text, answer.why_unread(reply.text, tag, "score"))
        return Reading(ANSWERED, (self._p(score),))

    def _verdict(self, reply: Reply) -> Reading:
        p = answer.verdict(reply.logprobs, self.verdict_mass)
        if p is None:
            shown = answer.began_with(reply.logprobs, answer.letters(reply.logprobs)) if reply.logprobs else reply.text
            return _unread(shown, answer.why_no_verdict(reply.logprobs, self.verdict_mass))
        return Reading(ANSWERED, (self._p(1 - 2 * p),))

    def _p(self, score: float) -> float:
        return answer.preference(score, self.preference, self.threshold)

    def cut(self, questions: Questions) -> int:
        """How many of the documents asked about are longer than document_tokens, and so are judged by their beginning."""
        return cut.longer(questions, self.document_tokens)

    def _cut(self, text: str) -> str:
        return beginning(text, self.document_tokens)

    def _pairs(self, questions: Questions) -> Iterator[Asked]:
        """One request a question."""
        endpoint, across = self.endpoint, questions.query_b_row
        prompt = self._prompt if across is None else self._cross_prompt
        names = ("document_a", "document_b", *(("query",) if across is None else ("query_a", "query_b")))
        form = self._shape(endpoint, prompt)
        for start in range(0, len(questions), ROWS):
            rows = slice(start, start + ROWS)
            asked_by = [questions.query_row[rows], *([] if across is None else [across[rows]])]
            columns = [
                *self._documents(questions, questions.a_row[rows], questions.b_row[rows]),
                *Text.of_rows(asked_by, lambda some: questions.queries["text"].take(some).to_pylist()),
            ]
            repeats = questions.repeat[rows].tolist()
            for row, (repeat, *texts) in enumerate(zip(repeats, *columns, strict=True), start):
                filled = prompt.fill(dict(zip(names, texts, strict=True)), self.instruction, self._form)
                yield self._asked(endpoint, form, filled, repeat, (row,), pairs=((1, 2),))

    def _documents(self, questions: Questions, *rows: np.ndarray) -> list[list[Text]]:
        """Per array of rows of documents what is shown of each."""
        return Text.of_rows(rows, lambda some: map(self._cut, document_texts(questions.documents.take(some))))

    def _alone(self, questions: Questions, criterion: np.ndarray) -> Iterator[Asked]:
        """One request a document of a query and repeat, which asks for every criterion, whichever of them are wanted."""
        endpoint = self.endpoint
        form = self._shape(endpoint, self._rubric_prompt)
        columns = (questions.repeat, questions.a_row, questions.query_row)
        order = np.lexsort(columns)
        change = np.any([np.diff(column[order]) != 0 for column in columns], axis=0)
        firsts = np.concatenate([[0], np.flatnonzero(change) + 1]) if len(order) else order
        groups = np.split(order, firsts[1:])
        for start in range(0, len(firsts), ROWS):
            shown = questions.take(order[firsts[start : start + ROWS]])
            (documents,) = self._documents(shown, shown.a_row)
            texts = zip(shown.query_texts(), documents, groups[start : start + ROWS], strict=True)
            for query, document, rows in texts:
                fields = {"query": query, "document": document}
                filled = self._rubric_prompt.fill(fields, self.instruction, self._form)
                repeat, criteria = int(questions.repeat[rows[0]]), tuple(criterion[rows].tolist())
                yield self._asked(endpoint, form, filled, repeat, tuple(rows.tolist()), criteria=criteria)

    def _windows(self, questions: Questions) -> Iterator[Asked]:
        """One request a window, query by query."""
        endpoint = self.endpoint
        form = self._shape(endpoint, self._prompt)
        for pool in query_pools(questions):
            query, texts = Text(pool.query), [Text(self._cut(text)) for text in pool.texts]
            for shown, pairs in windows(pool.first, pool.second, self.window):
                asked: dict[str, Text | list[Text]] = {"query": query, "documents": [texts[n] for n in shown]}
                filled = self._prompt.fill(asked, self.instruction, self._form)
                rows = tuple(int(pool.rows[n]) for n in pairs)
                yield self._asked(endpoint, form, filled, pool.repeat, rows, pairs=tuple(pairs.values()))

    def _shape(self, endpoint: Endpoint, prompt: Prompt) -> str:
        """Request.form: what decides how long an answer is, whichever texts are asked about."""
        return form_of(endpoint, self.mode, self._form, prompt.content)

    def _asked(
        self,
        endpoint: Endpoint,
        form: str,
        filled: Filled,
        repeat: int,
        rows: tuple[int, ...],
        pairs: tuple[tuple[int, int], ...] = (),
        criteria: tuple[int, ...] = (),
    ) -> Asked:
        labels = CRITERIA if criteria else _width(pairs) if self.mode == LISTWISE else None
        schema, written = _schema(labels) if self._form == STRUCTURED else (None, None)
        logprobs = self.mode == VERDICT
        return Asked(
            key=key_of(endpoint, "judge", repeat, filled.system_json, filled.user_json, written, logprobs),
            system=filled.system,
            user=filled.user,
            schema=schema,
            logprobs=logprobs,
            repeat=repeat,
            rows=rows,
            tokens_out=self.tokens_out,
            form=form,
            tag=filled.tag,
            pairs=pairs,
            criteria=criteria,
        )


@cache
def _schema(labels: int | None) -> tuple[Facts, Json]:
    """The schema of an answer, and the same as JSON."""
    schema = answer.schema(labels)
    return schema, Json(canonical(schema).encode())


def _width(pairs: Sequence[tuple[int, int]]) -> int:
    """Documents that were shown: each takes part in a pair."""
    return max(label for pair in pairs for label in pair)


def _unread(text: str, why: str) -> Reading:
    if refused(text):
        return Reading(REFUSED, why="the model declines to answer", shown=text)
    return Reading(UNPARSEABLE, why=why, shown=text)
