"""Asks judges and writes down what they say: who is asked, in which order two documents are shown, what is kept of before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import protocols
from zelo.likelihood.randomness import content_seed, id_hashes, mixed
from zelo.records import ANSWERED, FINAL, ONE_PAIR, OUTCOME, STATUSES, Outcomes, Questions

if TYPE_CHECKING:
    from zelo.budget.session import Session


@dataclass(frozen=True)
class Panel:
    """The judges of a stage: one, or the members of an ensemble.

    Presentation order is decided, recorded and undone here and nowhere else: each judge sees each pair in an order drawn from
    a hash of its name, the query, the two documents and the seed, unless the stage says which.
    """

    judge: protocols.Judge | protocols.PaidJudge
    seed: int
    layouts: bool = False  # a StateJudge is asked once more, as `NAME (one pair)`, with a request for each pair

    @property
    def members(self) -> dict[str, Any]:
        """The judges by name: the members of an ensemble, and theirs as `key/key`, or the one judge."""
        found = dict(_single(self.judge, "")) or {self.judge.name: self.judge}
        if not self.layouts:
            return found
        again = {
            name + ONE_PAIR: member.one_pair()
            for name, member in found.items()
            if isinstance(member, protocols.StateJudge) and member.asked_whole
        }
        return found | again

    def key(self, name: str) -> str:
        """Where in its stage a judge of this name stands."""
        member = isinstance(self.judge, protocols.JudgeEnsemble)
        return "judge" + f".members.{name.removesuffix(ONE_PAIR).replace('/', '.members.')}" * member

    @property
    def paid(self) -> dict[str, protocols.PaidJudge]:
        """Those of the members that are asked through the budget."""
        return {name: member for name, member in self.members.items() if isinstance(member, protocols.PaidJudge)}

    @property
    def given_queries_only(self) -> list[str]:
        """The names of those that cannot be asked about other queries than the dataset's, or not for nothing."""
        return [
            name
            for name, member in self.members.items()
            if not (isinstance(member, protocols.TextJudge) and member.any_text)
        ]

    @property
    def weighable(self) -> bool:
        """Whether known items can tell how far each judge is to be believed."""
        return len(self.members) > 1 and not self.given_queries_only

    def swapped(self, questions: Questions) -> dict[str, np.ndarray]:
        """Per judge: [N] bool, show the second document first."""
        return {name: presentation_order(questions, name, self.seed) for name in self.members}

    def missing(self, name: str, status: Mapping[str, int]) -> dict[str, int]:
        """Of a judge's outcomes by status, those that a later run may better, where there are any.

        What failed or was not sent, and, of a judge whose replies are in a ledger, all that is no answer: it is read again.
        """
        final = {ANSWERED} if isinstance(self.members[name], (protocols.PaidJudge, protocols.LedgerJudge)) else FINAL
        return {one: count for one, count in status.items() if count and one not in final}

    def ask(
        self,
        questions: Questions,
        swapped: Mapping[str, np.ndarray],
        earlier: pa.Table | None,
        session: "Session",
    ) -> dict[str, pa.Table]:
        """Per judge the OUTCOME rows of all questions, in their order. earlier: rows of a table that lacks some."""
        # Asked about some of them alone, a judge whose answers are about several questions would form other requests, which
        # no ledger knows.
        askings = {
            name: Asking.of(name, questions, swapped[name], None if asked_whole(member) else earlier)
            for name, member in self.members.items()
        }
        for name in self.paid:
            session.kept(name, len(questions) - len(askings[name].shown))
        bought = session.ask({name: (member, askings[name].shown) for name, member in self.paid.items()})
        answers = {}
        for name, member in self.members.items():
            asking = askings[name]
            if name in bought or not len(asking.shown):
                outcomes = bought.get(name, Outcomes.answered(name, np.empty(0)))
            else:
                outcomes = member.compare(asking.shown)
            answers[name] = asking.table(outcomes)
        return answers


@dataclass(frozen=True)
class Asking:
    """One judge and the questions that it has not answered yet."""

    name: str
    questions: Questions
    swapped: np.ndarray  # [N] bool
    ask: np.ndarray  # rows that have no answer yet
    p: np.ndarray  # [N], nan where there is no answer yet; for doc_a
    weight: np.ndarray
    tokens: np.ndarray
    cost: np.ndarray

    @staticmethod
    def of(name: str, questions: Questions, swapped: np.ndarray, earlier: pa.Table | None) -> "Asking":
        """With the answers of an earlier, partial table."""
        n = len(questions)
        p, weight = np.full(n, np.nan, np.float32), np.ones(n, np.float32)
        tokens, cost = np.zeros(n, np.int32), np.zeros(n)
        if earlier is not None:
            rows = earlier.filter(pc.and_(pc.equal(earlier["judge"], name), pc.is_valid(earlier["p"])))
            found, place = _matches(questions, swapped, rows)
            for column, of in ((p, "p"), (weight, "weight"), (tokens, "tokens"), (cost, "cost")):
                column[found] = rows[of].to_numpy()[place]
        return Asking(name, questions, swapped, np.flatnonzero(np.isnan(p)), p, weight, tokens, cost)

    @property
    def shown(self) -> Questions:
        """What is still to be asked, as the judge is to see it."""
        return self.questions.take(self.ask).flipped(self.swapped[self.ask])

    def table(self, outcomes: Outcomes) -> pa.Table:
        """OUTCOME rows of all questions. Raises ValueError when the judge skipped one."""
        order, ask, n = np.argsort(outcomes.question, kind="stable"), self.ask, len(self.questions)
        if len(order) != len(ask):
            raise ValueError(f"judge {self.name} returned {len(order)} outcomes for {len(ask)} questions")
        self.p[ask] = np.where(self.swapped[ask], 1 - outcomes.p[order], outcomes.p[order])
        status = np.full(n, STATUSES.index(ANSWERED), np.int32)
        status[ask] = _codes(outcomes.status)[order]
        for column, answers in (
            (self.weight, outcomes.weight),
            (self.tokens, outcomes.tokens),
            (self.cost, outcomes.cost),
        ):
            column[ask] = answers[order]
        questions, across = self.questions, self.questions.query_id_b
        return pa.Table.from_arrays(
            [
                questions.query_id,
                questions.doc_a,
                questions.doc_b,
                pa.nulls(n, pa.string()) if across is None else across,
                pa.nulls(n, pa.int16()) if questions.criterion is None else pa.array(questions.criterion, pa.int16()),
                pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([self.name])),
                pa.array(questions.repeat),
                pa.array(self.p, mask=status != STATUSES.index(ANSWERED)),
                pa.array(self.weight),
                pa.array(self.swapped),
                pa.DictionaryArray.from_arrays(pa.array(status), pa.array(STATUSES)),
                pa.array(self.tokens),
                pa.array(self.cost),
            ],
            schema=OUTCOME,
        )


def _single(judge: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """(name, judge) of each judge within an ensemble that asks no others itself; nothing where `judge` is one of these."""
    if not isinstance(judge, protocols.JudgeEnsemble):
        return
    for key, member in judge.answering.items():
        within = isinstance(member, protocols.JudgeEnsemble)
        yield from _single(member, f"{prefix}{key}/") if within else [(prefix + key, member)]


def presentation_order(questions: Questions, judge: str, seed: int) -> np.ndarray:
    """[N] bool: show the second document first. Half of the pairs, from the content of each pair and the judge's name.

    A question about one document has no order.
    """
    if questions.criterion is not None:
        return np.zeros(len(questions), bool)
    query = id_hashes(questions.queries["query_id"], questions.query_row, seed)
    docs = id_hashes(questions.documents["doc_id"], np.concatenate([questions.a_row, questions.b_row]), seed)
    a, b = docs[: len(query)], docs[len(query) :]
    if questions.query_b_row is not None:
        other = id_hashes(questions.queries["query_id"], questions.query_b_row, seed)
        a, b, query = mixed(query, a), mixed(other, b), query ^ other
    start = query ^ np.uint64(content_seed(judge, seed))
    drawn = mixed(start, np.minimum(a, b), np.maximum(a, b), questions.repeat.astype(np.uint64))
    return (drawn >> np.uint64(63)).astype(bool) ^ (a > b)  # symmetric in a and b up to this flip


def average(answers: Mapping[str, pa.Table], times: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """([E] mean preference, [E] mean weight) of judges that were asked the same E pairs; nan where nobody answered.

    times: the E pairs follow each other so many times in the rows, as orders and repeats do.
    """

    def rows(name: str) -> np.ndarray:
        columns = [table[name].to_numpy().astype(np.float64) for table in answers.values()]
        return np.stack(columns).reshape(len(columns) * times, -1)

    p = rows("p")
    weight = np.where(np.isnan(p), 0.0, rows("weight"))
    total = weight.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.nansum(p * weight, axis=0) / total, total / (weight > 0).sum(axis=0)


def _codes(status: pa.DictionaryArray) -> np.ndarray:
    """[N] positions in STATUSES. Raises ValueError for a status that is not listed there."""
    known = np.array([STATUSES.index(name) for name in status.dictionary.to_pylist()], np.int32)
    return known[status.indices.to_numpy()]


def _matches(questions: Questions, swapped: np.ndarray, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(rows of `questions`, rows of the OUTCOME table `rows`) that are about the same pair, order and repeat."""
    documents = questions.documents["doc_id"].combine_chunks()
    known = [
        pc.index_in(rows["query_id"], questions.queries["query_id"].combine_chunks()).to_numpy(),
        pc.index_in(rows["doc_a"], documents).to_numpy(),
        pc.index_in(rows["doc_b"], documents).to_numpy(),
        _or_none(pc.index_in(rows["query_id_b"], questions.queries["query_id"].combine_chunks())),
        _or_none(rows["criterion"]),
        rows["repeat"].to_numpy(),
        rows["swapped"].to_numpy(),
    ]
    none = np.full(len(questions), -1)
    across = none if questions.query_b_row is None else questions.query_b_row
    criterion = none if questions.criterion is None else questions.criterion
    asked = [questions.query_row, questions.a_row, questions.b_row, across, criterion, questions.repeat, swapped]
    key = np.zeros(len(questions) + len(rows), np.int64)
    for one, other in zip(asked, known, strict=True):
        column = np.concatenate([one, other]).astype(np.int64) + 1  # -1 where there is none
        # Numbered again after each column, so that the product stays small.
        key = np.unique(key * (column.max(initial=0) + 1) + column, return_inverse=True)[1]
    _, found, place = np.intersect1d(key[: len(questions)], key[len(questions) :], return_indices=True)
    return found, place


def _or_none(column: pa.ChunkedArray) -> np.ndarray:
    """[N] int64, -1 where the column is null."""
    return column.cast(pa.int64()).fill_null(-1).to_numpy()


def asked_whole(judge: object) -> bool:
    """Whether a judge answers several questions by one request, so that it is asked all of them or none."""
    return isinstance(judge, protocols.WholeListJudge) and judge.asked_whole
