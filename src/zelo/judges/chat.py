"""A language model behind an address that is asked which of two documents is the better answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pyarrow.compute as pc

from zelo.calls.price import Prices
from zelo.calls.request import Endpoint, Reading, Reply, Request, key_of
from zelo.content_hash import content_seed
from zelo.errors import BadInput
from zelo.judges import answer
from zelo.judges.prompt import CROSS, PAIR, STRUCTURED, TAGGED, WINDOW, Filled, Prompt
from zelo.records import ANSWERED, REFUSED, UNPARSEABLE, Questions, document_texts

SCORE, VERDICT, LISTWISE = "score", "verdict", "listwise"
OWN_PROMPT = {SCORE: "pairwise_thinking", VERDICT: "pairwise_verdict", LISTWISE: "listwise"}

BYTES_PER_TOKEN = 4  # English in a common tokenizer; the endpoint's own is not known
SHORTEST_CUT = 16  # tokens; less says nothing about a document
ROWS = 256  # questions whose texts are joined at a time


@dataclass(frozen=True, slots=True)
class Asked(Request):
    """A request, and what its reply is read with. `pairs`: per row the labels of its first and second document in a window."""

    tag: str
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Chat:
    """One model. p is for the document shown first: from a score in [-1, 1], from the odds of A against B, or from relevances.

    score: the model reasons, then gives a number, as structured output or on a tagged last line; also across queries.
    verdict: one token, p from its log-probabilities. listwise: windows of at most `window` documents whose pairs were all asked,
    each with a relevance in [0, 1]; p = (1 + s_a - s_b) / 2. The pairs that a window of w answers weigh as w - 1 comparisons
    together, for so many are independent: 2 / w each where it answers all of its own. Documents stand there in an order drawn
    from ids, whichever is a row's first; a pair that is asked in both orders is in two windows, the second one backwards.
    """

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
        }
    )

    name: str
    api: str  # chat_completions or messages
    provider: str  # a label; answers in the ledger are found by it, not by the address
    model: str
    base_url: str
    api_key_env: str | None  # environment variable that holds the key; None: no key is sent
    mode: str  # score, verdict or listwise
    structured: bool  # the endpoint can be held to a JSON schema; else a tagged last line is read (score and listwise)
    prompt: str | None  # a name in conf/judge/prompts or the path of a .txt file; None: the one made for the mode
    cross_prompt: str  # the same, for two queries with a document each (score)
    instruction: str  # what relevance means to the user; may be empty
    preference: str  # soft, ternary or sign: from score to preference
    threshold: float  # ternary: a score of at most this size is a tie
    window: int  # listwise: documents that are shown at once, at most
    temperature: float | None  # None: not sent
    max_tokens: int  # that come back, thinking included; a verdict takes one
    reasoning_effort: str | None  # None: not sent
    seed: int | None  # None: not sent
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
        where = f"judge {self.name}"
        for name in ("provider", "model", "base_url"):
            value = getattr(self, name)
            if not str(value or "").strip() or value == "???":
                raise BadInput(f"{where}: {name} is empty; set judge.{name}.")
        if not isinstance(self.instruction, str):
            raise BadInput(f"{where}: instruction={self.instruction} is no text; write '' for none.")
        for name, known in (("mode", tuple(OWN_PROMPT)), ("preference", answer.PREFERENCES)):
            if getattr(self, name) not in known:
                raise BadInput(f"{where}: {name}={getattr(self, name)!r} is unknown; use one of {', '.join(known)}.")
        if not 0 <= self.threshold < 1:
            raise BadInput(f"{where}: threshold={self.threshold} must be in [0, 1); scores go from -1 to 1, try 0.1.")
        if self.temperature is not None and not self.temperature >= 0:
            raise BadInput(f"{where}: temperature={self.temperature} is below 0; use 0, or null to leave it out.")
        for name, least in (("max_tokens", 1), ("window", 2), ("document_tokens", SHORTEST_CUT)):
            if getattr(self, name) < least:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is too small; set it to {least} or more.")
        self._check_messages(where)
        _ = self.endpoint  # checks its own fields
        needs = WINDOW if self.mode == LISTWISE else PAIR
        self._prompt.check(needs, self._form, self.instruction, where)
        if self.mode == SCORE:
            self._cross_prompt.check(CROSS, self._form, self.instruction, where)

    def _check_messages(self, where: str) -> None:
        """What the Messages API does not have is refused here, not at the first call."""
        if self.api != "messages":
            return
        if self.mode == VERDICT:
            raise BadInput(
                f"{where}: mode=verdict needs log-probabilities, and api=messages gives none; use mode=score."
            )
        if self.structured:
            raise BadInput(f"{where}: structured=true is for api=chat_completions; with api=messages set it to false.")
        for name in ("seed", "reasoning_effort"):
            if getattr(self, name) is not None:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is unknown to api=messages; set it to null.")

    @cached_property
    def _prompt(self) -> Prompt:
        return Prompt.named(self.prompt or OWN_PROMPT[self.mode], f"judge {self.name}")

    @cached_property
    def _cross_prompt(self) -> Prompt:
        return Prompt.named(self.cross_prompt, f"judge {self.name}")

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
        stated_in, stated_out = self.prices.of(self.model)
        chosen = {
            "temperature": self.temperature,
            "max_tokens": self.tokens_out,
            "reasoning_effort": self.reasoning_effort,
            "seed": self.seed,
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
        )

    def content(self) -> dict[str, str]:
        """The words of the prompts; what is not asked in this mode is left out."""
        words = {"prompt": self._prompt.content}
        return words | {"cross_prompt": self._cross_prompt.content if self.mode == SCORE else ""}

    def requests(self, questions: Questions) -> Iterator[Request]:
        """What to ask, lazily; texts are joined for some questions at a time. Each row belongs to exactly one request.

        Raises BadInput for cross-query questions in another mode than score.
        """
        if questions.query_b_row is not None and self.mode != SCORE:
            raise BadInput(
                f"judge {self.name}: mode={self.mode} compares within one query; use mode=score across queries."
            )
        return self._windows(questions) if self.mode == LISTWISE else self._pairs(questions)

    def read(self, request: Request, reply: Reply) -> Reading:
        """What the reply says about the request's rows. Only an answer that can be read without guessing has a p."""
        assert isinstance(request, Asked), f"judge {self.name} did not ask this"
        if reply.status != ANSWERED:
            return Reading(reply.status)
        tag = None if request.schema is not None else request.tag
        if self.mode == LISTWISE:
            width = _width(request.pairs)
            relevances = answer.relevances(reply.text, tag, width)
            if relevances is None:
                return _unread(reply.text)
            scores = [relevances[second - 1] - relevances[first - 1] for first, second in request.pairs]
            distinct = len({frozenset(pair) for pair in request.pairs})
            return Reading(ANSWERED, tuple(self._p(score) for score in scores), weight=(width - 1) / distinct)
        if self.mode == VERDICT:
            p = answer.verdict(reply.logprobs)
            score = None if p is None else 1 - 2 * p
        else:
            score = answer.score(reply.text, tag)
        return _unread(reply.text) if score is None else Reading(ANSWERED, (self._p(score),))

    def _p(self, score: float) -> float:
        return answer.preference(score, self.preference, self.threshold)

    def cut(self, questions: Questions) -> int:
        """How many of the documents asked about are longer than document_tokens, and so are judged by their beginning."""
        rows = np.unique(np.concatenate([questions.a_row, questions.b_row]))
        documents = questions.documents.select(["title", "text"]).take(rows)
        title, text = (
            pc.fill_null(pc.binary_length(documents[name]), 0).to_numpy().astype(np.int64) for name in ("title", "text")
        )
        return int((title + (title > 0) + text > self.document_tokens * BYTES_PER_TOKEN).sum())

    def _cut(self, text: str) -> str:
        """The beginning of a document, ending with a whole character."""
        most = self.document_tokens * BYTES_PER_TOKEN
        if len(text) * 4 <= most:  # no character has more bytes
            return text
        raw = text.encode()
        return text if len(raw) <= most else raw[:most].decode(errors="ignore")

    def _pairs(self, questions: Questions) -> Iterator[Asked]:
        """One request a question."""
        endpoint, across = self.endpoint, questions.query_b_row
        for start in range(0, len(questions), ROWS):
            rows = slice(start, start + ROWS)
            columns = {
                "document_a": [self._cut(text) for text in questions.texts_a(rows)],
                "document_b": [self._cut(text) for text in questions.texts_b(rows)],
                "query" if across is None else "query_a": questions.query_texts(rows),
            }
            if across is not None:
                columns["query_b"] = questions.queries["text"].take(across[rows]).to_pylist()
            prompt = self._prompt if across is None else self._cross_prompt
            for n, texts in enumerate(zip(*columns.values(), strict=True)):
                filled = prompt.fill(dict(zip(columns, texts, strict=True)), self.instruction, self._form)
                row = start + n
                yield self._asked(endpoint, filled, int(questions.repeat[row]), (row,), ((1, 2),))

    def _windows(self, questions: Questions) -> Iterator[Asked]:
        """One request a window, query by query."""
        endpoint = self.endpoint
        groups = np.stack([questions.query_row.astype(np.int64), questions.repeat.astype(np.int64)])
        group = np.unique(groups, axis=1, return_inverse=True)[1].ravel()
        order = np.argsort(group, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []:
            query = questions.queries.slice(int(questions.query_row[rows[0]]), 1).to_pylist()[0]
            pool = np.unique(np.concatenate([questions.a_row[rows], questions.b_row[rows]]))
            documents = questions.documents.take(pool)
            drawn = [content_seed(f"{query['query_id']}\x00{name}", 0) for name in documents["doc_id"].to_pylist()]
            place = np.argsort(np.argsort(np.array(drawn, np.uint64), kind="stable"))
            texts = dict(zip(place.tolist(), document_texts(documents), strict=True))
            first, second = (
                place[np.searchsorted(pool, of[rows])].tolist() for of in (questions.a_row, questions.b_row)
            )
            for shown, pairs in windows(first, second, self.window):
                asked: dict[str, str | list[str]] = {"query": query["text"]}
                filled = self._prompt.fill(
                    asked | {"documents": [self._cut(texts[n]) for n in shown]}, self.instruction, self._form
                )
                numbers = tuple(int(rows[n]) for n in pairs)
                yield self._asked(endpoint, filled, int(questions.repeat[rows[0]]), numbers, tuple(pairs.values()))

    def _asked(
        self, endpoint: Endpoint, filled: Filled, repeat: int, rows: tuple[int, ...], pairs: tuple[tuple[int, int], ...]
    ) -> Asked:
        schema = _schema(self.mode, _width(pairs)) if self._form == STRUCTURED else None
        logprobs = self.mode == VERDICT
        return Asked(
            key=key_of(endpoint, "judge", repeat, filled.system, filled.user, schema, logprobs),
            system=filled.system,
            user=filled.user,
            schema=schema,
            logprobs=logprobs,
            repeat=repeat,
            rows=rows,
            tokens_out=self.tokens_out,
            tag=filled.tag,
            pairs=pairs,
        )


def windows(
    first: Sequence[int], second: Sequence[int], most: int
) -> Iterator[tuple[list[int], dict[int, tuple[int, int]]]]:
    """Windows of at most `most` documents that cover pairs of documents; each pair is answered by one of them.

    first, second: per pair the two documents, numbered in the order in which they are to be shown. Yields the documents of a
    window as shown and, per pair that it answers, the labels (from 1) of the pair's first and second document. A pair that
    comes in both directions is covered twice, the second time in windows that are shown backwards.
    """
    asked: dict[tuple[int, int], tuple[list[int], list[int]]] = {}  # the pairs (numbers) in either direction
    for n, (a, b) in enumerate(zip(first, second, strict=True)):
        asked.setdefault((min(a, b), max(a, b)), ([], []))[int(a > b)].append(n)
    layers = (
        {pair: ahead or back for pair, (ahead, back) in asked.items()},
        {pair: back for pair, (ahead, back) in asked.items() if ahead and back},
    )
    for layer, step in zip(layers, (1, -1), strict=True):
        for members, new in _cover(sorted(layer), most):
            shown = members[::step]
            label = {document: n for n, document in enumerate(shown, 1)}
            numbers = [n for pair in new for n in layer[pair]]
            yield shown, {n: (label[first[n]], label[second[n]]) for n in numbers}


def _cover(edges: Sequence[tuple[int, int]], most: int) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
    """Groups of at most `most` numbers that are all joined to each other, each with the edges that no group before it had.

    Greedy: from each number in turn, that one joins next which brings most new edges, and among equals the one that leaves
    most to come. Every number of a group has a new edge to one that joined before it. Neighbours are bits of an integer.
    """
    joined: dict[int, int] = {}
    for a, b in edges:
        joined[a] = joined.get(a, 0) | 1 << b
        joined[b] = joined.get(b, 0) | 1 << a
    fresh = dict(joined)
    for start in sorted(joined):
        while fresh[start]:
            members, inside, common = [start], 1 << start, joined[start]
            while len(members) < most:
                gains = {
                    n: ((fresh[n] & inside).bit_count(), (fresh[n] & common).bit_count(), -n) for n in _bits(common)
                }
                best = max(gains, key=gains.__getitem__, default=start)
                if best == start or not gains[best][0]:
                    break
                members.append(best)
                inside |= 1 << best
                common &= joined[best]
            members.sort()
            new = [(a, b) for a, b in combinations(members, 2) if fresh[a] >> b & 1]
            for n in members:
                fresh[n] &= ~inside
            yield members, new


def _bits(number: int) -> Iterator[int]:
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


def _width(pairs: Sequence[tuple[int, int]]) -> int:
    """Documents that were shown: each takes part in a pair."""
    return max(label for pair in pairs for label in pair)


def _schema(mode: str, width: int) -> dict[str, Any]:
    """JSON schema of an answer, thoughts first."""
    number = {"type": "number"}
    labels = [str(label) for label in range(1, width + 1)]
    value = _object(dict.fromkeys(labels, number)) if mode == LISTWISE else number
    thoughts = {"type": "array", "items": {"type": "string"}}
    return _object({"thoughts": thoughts, "scores" if mode == LISTWISE else "score": value})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _unread(text: str) -> Reading:
    return Reading(REFUSED if answer.refused(text) else UNPARSEABLE)
