"""A decision endpoint that is asked, about many pairs of one query's candidates at once, which is the better answer."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from zelo.budget.price import Prices
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.judges import cut
from zelo.judges.query_pool import QueryPool, query_pools
from zelo.judges.states import Pair, states
from zelo.providers.connection import Connection
from zelo.providers.decisions import REFUSAL, Choice, DecisionProvider, DecisionRequest, size_of
from zelo.providers.request import JUDGE, Endpoint, Reading, Reply, Request, form_of, key_of
from zelo.records import ANSWERED, REFUSED, UNPARSEABLE, Questions
from zelo.texts import BYTES_PER_TOKEN, SHORTEST_CUT, beginning

FIRST, SECOND = "{first}", "{second}"
ROUNDING = 0.02  # probabilities of an answer may be off by so much together: some endpoints give two decimals of each
NO_FORM = "the reply is of another form: choose judge=decision (System One) or judge=decision_openai"
# Class of what is wrong with a reply, before anything is read -> the reason and the fix.
WHY = {
    "context_too_long": "the request is longer than the model reads: lower judge.state_tokens or judge.pairs_per_state",
    "content_filter": "the provider's filter withholds the answers",
    "no_choices": NO_FORM,
    "wrong_shape": NO_FORM,
}


@dataclass(slots=True)
class Decisions(DecisionRequest):
    """A request, and what its reply is read with."""

    asked: tuple[int, ...]  # per row its question; p is for the first option of it


@dataclass(frozen=True, kw_only=True)
class Decision(Connection):
    """One model. p is for the document shown first, as the endpoint's probability for this option.

    A state holds the query and documents of it, each once, under labels; a question names the labels of two. Documents stand
    there in an order drawn from ids, the options in the order in which the pair is shown; a pair that is asked in both orders is
    in two states, the second one backwards. Questions of a state are decided each by itself: one that is refused, left out, or
    answered by other options than its own is no preference, and the others are not touched by it.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = Connection.OUTSIDE_IDENTITY | {"prices"}

    name: str
    api: DecisionProvider
    task: str  # opens each state
    question: str  # of a pair; {first} and {second} are the labels of its documents
    instruction: str  # what relevance means to the user; may be empty
    pairs_per_state: int  # questions of one request, at most
    state_tokens: int  # of all documents in a state, at most; at 4 bytes a token
    document_tokens: int  # a longer document is cut
    prices: Prices  # where input_price is None. What comes out is free

    def __post_init__(self) -> None:
        where = f"judge {self.name}"
        if not isinstance(self.api, DecisionProvider):
            raise BadInput(
                f"{where}: api={self.api!r} is no form of decision endpoints; choose judge=decision (System One) or"
                " judge=decision_openai."
            )
        self._check_set(where, "set judge.{}", "task", "question")
        for name in (FIRST, SECOND):
            if self.question.count(name) != 1:
                raise BadInput(
                    f"{where}: question={self.question!r} must name {name} once: there the label of a document is filled in."
                )
        if not isinstance(self.instruction, str):
            raise BadInput(f"{where}: instruction={self.instruction} is no text; write '' for none.")
        for name, least in (("pairs_per_state", 1), ("document_tokens", SHORTEST_CUT)):
            if getattr(self, name) < least:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is too small; set it to {least} or more.")
        if self.state_tokens < 2 * self.document_tokens:
            raise BadInput(
                f"{where}: state_tokens={self.state_tokens} has no room for two documents of"
                f" document_tokens={self.document_tokens}; set it to {2 * self.document_tokens} or more."
            )
        self._check_extra_body(where, "judge", self.api.filled)
        _ = self.endpoint  # checks its own fields

    @property
    def endpoint(self) -> Endpoint:
        """Where the questions go. A price that is neither set nor in the table is None; what comes out costs nothing."""
        stated = self.prices.of(self.model)[0]
        price = stated if self.input_price is None else self.input_price
        return self._read_only(self.name, JUDGE, price)

    @property
    def asked_whole(self) -> bool:
        """Whether one request is about several pairs, which are found again together only."""
        return self.pairs_per_state > 1

    def one_pair(self) -> "Decision":
        """The same judge with one pair in a state."""
        return replace(self, pairs_per_state=1)

    def cut(self, questions: Questions) -> int:
        """How many of the documents asked about are longer than document_tokens, and so are judged by their beginning."""
        return cut.longer(questions, self.document_tokens)

    def requests(self, questions: Questions) -> Iterator[Request]:
        """What to ask, lazily, query by query. Each row belongs to exactly one request.

        Raises BadInput for questions across queries, or about a document alone.
        """
        for what, there in (
            ("documents of one query, not of two", questions.query_b_row),
            ("two documents and has no rubric", questions.criterion),
        ):
            if there is not None:
                raise BadInput(
                    f"judge {self.name}: a decision judge compares {what}; use judge=chat with mode=score there, or a"
                    " calibrator that asks nothing (calibrator=none)."
                )
        endpoint = self.endpoint
        form = form_of(endpoint, "decision", self.api.form, self.task, self.question, self.pairs_per_state)
        return (request for pool in query_pools(questions) for request in self._of_query(endpoint, form, pool))

    def _of_query(self, endpoint: Endpoint, form: str, pool: QueryPool) -> Iterator[Decisions]:
        texts = [beginning(text, self.document_tokens) for text in pool.texts]
        sizes = [-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts]
        for shown, pairs in states(pool.first, pool.second, sizes, self.pairs_per_state, self.state_tokens):
            label = {document: f"document_{n}" for n, document in enumerate(shown, 1)}
            state = {"task": self.task} | ({"relevance": self.instruction.strip()} if self.instruction.strip() else {})
            documents = {label[document]: texts[document] for document in shown}
            yield self._asked(endpoint, form, pool, state | {"query": pool.query, "documents": documents}, label, pairs)

    def _asked(
        self,
        endpoint: Endpoint,
        form: str,
        pool: QueryPool,
        state: Facts,
        label: dict[int, str],
        pairs: dict[Pair, list[int]],
    ) -> Decisions:
        questions = tuple(self._choice(n, label[a], label[b]) for n, (a, b) in enumerate(pairs, 1))
        asked = [(one.instructions, one.options) for one in questions]
        rows = {int(pool.rows[row]): n for n, of in enumerate(pairs.values()) for row in of}
        return Decisions(
            # `list`: the order in which documents stand in the state counts, too.
            key=key_of(endpoint, "judge", pool.repeat, self.api.form, state, list(state["documents"]), asked),
            system="",
            user="",
            schema=None,
            logprobs=False,
            repeat=pool.repeat,
            rows=tuple(rows),
            tokens_out=0,
            form=form,
            state=state,
            questions=questions,
            size=size_of(state, questions),
            asked=tuple(rows.values()),
        )

    def _choice(self, number: int, first: str, second: str) -> Choice:
        instructions = self.question.replace(FIRST, first).replace(SECOND, second)
        options = tuple((label, f"{label} is the better answer") for label in (first, second))
        return Choice(f"pair_{number}", instructions, options)

    def read(self, request: Request, reply: Reply) -> Reading:
        """What the reply says about the request's rows, each by itself. Only probabilities of a pair's two options are a p."""
        assert isinstance(request, Decisions), f"judge {self.name} did not ask this"
        if reply.status != ANSWERED:
            return Reading(reply.status, why=WHY.get(reply.error, ""), shown=reply.text)
        answers = json.loads(reply.text)
        read = [_reading(one, answers.get(one.name)) for one in request.questions]
        parts = tuple(read[question] for question in request.asked)
        status = next((one.status for one in parts if one.status == ANSWERED), parts[0].status)
        return Reading(status, parts=parts)


def _reading(question: Choice, answer: object) -> Reading:
    """One answer: {option: probability}, or in words what came instead, or None."""
    if answer is None:
        return Reading(UNPARSEABLE, why="the endpoint left questions out: lower judge.pairs_per_state")
    if answer == REFUSAL:
        return Reading(REFUSED, why="the model declines to answer")
    if not isinstance(answer, dict):
        return _unread("the answer has no probability for each option of the question", answer)
    values = [value for value, _ in question.options]
    if set(answer) != set(values):
        shown = f"asked for {' or '.join(values)}, answered {', '.join(answer) or 'nothing'}"
        return Reading(UNPARSEABLE, why="the answer is about other options than the question", shown=shown)
    numbers = [answer[value] for value in values]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n <= 1 for n in numbers):
        return _unread("a probability is no number from 0 to 1", answer)
    if not math.isclose(total := sum(numbers), 1, abs_tol=ROUNDING, rel_tol=0):
        return _unread(f"the probabilities do not sum to 1 within {ROUNDING}", answer)
    return Reading(ANSWERED, (numbers[0] / total,))


def _unread(why: str, answer: object) -> Reading:
    return Reading(UNPARSEABLE, why=why, shown=json.dumps(answer, ensure_ascii=False))
