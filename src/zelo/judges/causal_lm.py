"""A causal language model in this process as judge: the preference is the odds of the letter A against B after the prompt."""

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from scipy.special import expit

from zelo.backbones.shared_prefixes import SharedPrefixes
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.judges.answer import PREFERENCES, began_with, preference
from zelo.judges.order_bias import BOTH, CONTENT_FREE, NOTHING, OrderBias
from zelo.judges.pair_prompts import PairPrompts
from zelo.judges.rubric import only_compares
from zelo.progress import Advance, progress
from zelo.protocols import LanguageModel
from zelo.providers.prompt import PAIR, Prompt
from zelo.records import ANSWERED, FAILED, STATUSES, UNPARSEABLE, Outcomes, Questions
from zelo.texts import SHORTEST_CUT

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AUTO = "auto"
SMALL = 1_000_000_000  # parameters below which `auto` asks in both orders: such models go by the place of a document
ROWS = 4096  # questions whose prompts exist at a time
PROBED = 128  # questions that are read first: where none of them has a verdict, the others are not asked


@dataclass(frozen=True)
class Readings:
    """What the model says after each of U prompts."""

    odds: np.ndarray  # [U] log odds of A against B
    mass: np.ndarray  # [U] P(A) + P(B)
    first: np.ndarray  # [U] the likeliest token
    share: np.ndarray  # [U] its probability
    tokens: np.ndarray  # [U] of the prompt


@dataclass(frozen=True, kw_only=True)
class CausalLm:
    """P(A) / (P(A) + P(B)) at the next token after a prompt with both documents; tokens that differ by white space are one.

    `both_orders`: each pair is read in both orders and the mean of its two log odds counts, so that p(a, b) = 1 - p(b, a);
    auto: for a model below 10^9 parameters. With one order, `calibrate` takes off what the model says where there is nothing
    to choose: the mean log odds of two prompts that show one of the documents as both (contextual calibration, Zhao et al.
    ICML 2021, with content-free prompts made from the pair). What the prompts of a query have in common is read once.

    `backbone`: any causal language model. Texts go through its chat template where it has one, and cannot write its special
    tokens. A document is cut to `document_tokens`, or to what the context leaves beside the query. In float32 a preference
    moves by less than 1e-5 with what else is read; in 16 bits by more.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})
    SPREADS: ClassVar[Literal[True]] = True
    any_text: ClassVar[bool] = True  # it needs to know nothing but the texts

    name: str
    backbone: LanguageModel
    prompt: str  # a name in conf/judge/prompts or the path of a .txt file
    instruction: str  # what relevance means to the user; may be empty
    both_orders: bool | Literal["auto"]
    calibrate: bool
    preference: str  # soft, ternary or sign: from odds to preference
    threshold: float  # ternary: |2 p - 1| up to this is a tie
    verdict_mass: float  # what A and B must carry of the probability together; below it a question is unparseable
    document_tokens: int
    batch_tokens: int  # tokens of a batch, padding and cache included
    _said: list[str] = field(init=False, repr=False, compare=False, default_factory=list)
    _unread: Counter[str] = field(
        init=False, repr=False, compare=False, default_factory=Counter
    )  # the first -> how many
    _bias: OrderBias = field(init=False, repr=False, compare=False, default_factory=OrderBias)

    def __post_init__(self) -> None:
        where = f"judge {self.name}"
        if not isinstance(self.backbone, LanguageModel):
            raise BadInput(
                f"{where}: the backbone {type(self.backbone).__name__} is no causal language model. Mount one, such as"
                " backbone@judge.backbone=qwen3_0_6b."
            )
        if self.both_orders not in (AUTO, True, False):
            raise BadInput(f"{where}: both_orders={self.both_orders!r} is unknown; use auto, true or false.")
        if self.preference not in PREFERENCES:
            raise BadInput(f"{where}: preference={self.preference!r} is unknown; use one of {', '.join(PREFERENCES)}.")
        if not 0 <= self.threshold < 1:
            raise BadInput(f"{where}: threshold={self.threshold} must be in [0, 1); try 0.1.")
        if not 0 <= self.verdict_mass < 1:
            raise BadInput(
                f"{where}: verdict_mass={self.verdict_mass} must be in [0, 1); try 0.5, or 0 to read anything."
            )
        for name, least in (("document_tokens", SHORTEST_CUT), ("batch_tokens", 1)):
            if getattr(self, name) < least:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is too small; set it to {least} or more.")
        self._prompts.prompt.check(PAIR, None, self.instruction, where)

    def content(self) -> dict[str, str]:
        """The words of the prompt, and the numbers that the model computes with: on some machines they are others."""
        return {"prompt": self._prompts.prompt.content, "computes_in": self.backbone.language_precision()}

    def check(self) -> None:
        """Raises BadInput for a model that cannot be asked, before its weights are read."""
        self._prompts.check()

    def compare(self, questions: Questions) -> Outcomes:
        """One outcome per question; failed where the model gives no number, unparseable below verdict_mass.

        Raises BadInput for questions across queries or about a document alone, and where none of the first PROBED has a verdict
        and more would follow.
        """
        only_compares(self.name, questions)
        if questions.query_b_row is not None:
            raise BadInput(f"judge {self.name} compares within one query and cannot across queries.")
        self.check()
        self._say(questions)
        n = len(questions)
        odds, mass, tokens = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, np.int32)
        parts = list(self._parts(questions))
        with progress(f"judge {self.name}", sum(len(prompts) for _, prompts, _ in parts), "prompts") as advance:
            for rows, prompts, place in parts:
                read = self._read(prompts, advance)
                tokens[rows] = read.tokens[place].sum(1)
                odds[rows], mass[rows] = self._verdicts(read, place)
                self._refuse_unread(mass[rows], n)
        p = np.array([preference(1 - 2 * value, self.preference, self.threshold) for value in expit(odds).tolist()])
        below = mass < self.verdict_mass
        p[below] = np.nan
        status = np.where(np.isnan(p), STATUSES.index(FAILED), STATUSES.index(ANSWERED)).astype(np.int32)
        status[below] = STATUSES.index(UNPARSEABLE)
        return Outcomes.of(self.name, p, np.ones(n), status, tokens, np.zeros(n))

    def notes(self) -> list[str]:
        """Sentences about a letter that it names nearly always, and about the questions that have no verdict."""
        bias = self._bias.sentences(self.name, self._cure) if self._bias.prompts else []
        return bias + [
            f"judge {self.name}: {count:,} pairs are unparseable{self._why(first)}"
            for first, count in self._unread.items()
        ]

    def take_counts(self) -> Facts:
        """Of the prompts since the last call."""
        counts = {"bias": asdict(self._bias), "unread": dict(self._unread)}
        object.__setattr__(self, "_bias", OrderBias())
        self._unread.clear()
        return counts

    def add_counts(self, counts: Facts) -> None:
        """Those of `take_counts`; of what could not be read the first stays the first."""
        self._bias.extend(OrderBias(**counts["bias"]))
        for first, count in counts["unread"].items():
            self._unread[next(iter(self._unread), first)] += count

    def _why(self, first: str) -> str:
        return (
            f", for A and B carry less than verdict_mass={self.verdict_mass:g} of the probability; the first such answer: {first}"
            ". Name another backbone.model, one that follows instructions, or another prompt, or read whatever A and B carry with"
            " verdict_mass=0."
        )

    def _refuse_unread(self, mass: np.ndarray, questions: int) -> None:
        """Raises BadInput where the first of many questions all have no verdict: those that follow would have none, either."""
        if len(mass) == PROBED < questions and (mass < self.verdict_mass).all():
            why = self._why(next(iter(self._unread)))
            raise BadInput(f"judge {self.name}: the first {PROBED} of {questions:,} pairs are all unparseable{why}")

    def cut(self, questions: Questions) -> int:
        """How many of the documents asked about are longer than document_tokens, and so are judged by their beginning."""
        return self._prompts.cut(questions)

    def _say(self, questions: Questions) -> None:
        """One line, for the first questions that have documents to cut."""
        if not self._said and (count := self.cut(questions)):
            self._said.append(f"judge {self.name}: {count:,} documents of the first {len(questions):,} pairs")
            print(f"{self._said[0]} are cut to {self.document_tokens} tokens", file=sys.stderr, flush=True)

    def _parts(self, questions: Questions) -> Iterator[tuple[np.ndarray, Questions, np.ndarray]]:
        """(rows [n] of the questions, U prompts to read, [n, K] the prompts of each): the pair, then what it is held against.

        Both orders: the other order. Else, to calibrate: the first document as both, and the second.
        """
        order = np.lexsort((np.maximum(questions.a_row, questions.b_row), questions.query_row))
        for start in [0, *range(PROBED, len(order), ROWS)][: len(order)]:
            rows = order[start : start + ROWS if start else PROBED]
            a, b = questions.a_row[rows], questions.b_row[rows]
            pairs = [(a, b), (b, a)] if self._both else [(a, b), (a, a), (b, b)][: 3 if self.calibrate else 1]
            every = np.concatenate([np.stack([questions.query_row[rows], *pair], 1) for pair in pairs])
            unique, place = np.unique(every, axis=0, return_inverse=True)
            query, first, second = unique.T.astype(np.int32)
            none = np.zeros(len(unique), np.int16)
            prompts = replace(questions, query_row=query, a_row=first, b_row=second, repeat=none)
            yield rows, prompts, place.reshape(len(pairs), len(rows)).T

    def _verdicts(self, read: Readings, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """([n] log odds for the document shown first, [n] the least that A and B carry), and what is to be said of them."""
        raw = read.odds[place]
        asked = place[:, : 2 if self._both else 1]
        bias = raw.mean(1) if self._both else raw[:, 1:].mean(1) if self.calibrate else 0.0
        odds = raw[:, 0] - bias
        self._bias.add(read.odds[np.unique(asked)], raw[:, : asked.shape[1]], odds)
        least = np.argmin(read.mass[asked], axis=1)
        weakest = np.take_along_axis(asked, least[:, None], 1)[:, 0]
        for prompt in weakest[read.mass[weakest] < self.verdict_mass].tolist():
            if not self._unread:
                token = self._prompts.decoded(int(read.first[prompt]))
                self._unread[began_with([(token, math.log(read.share[prompt]))], float(read.mass[prompt]))] = 0
            self._unread[next(iter(self._unread))] += 1
        return odds, read.mass[weakest]

    def _read(self, prompts: Questions, advance: Advance) -> Readings:
        """What the model says after each prompt; what those of a query, and of a first document there, share is read once."""
        ids = self._prompts.ids(prompts)
        groups = [
            prompts.query_row,
            prompts.query_row.astype(np.int64) * max(prompts.documents.num_rows, 1) + prompts.a_row,
        ]
        odds, mass, share = (np.full(len(ids), np.nan) for _ in range(3))
        first = np.zeros(len(ids), np.int64)
        for rows, logits in SharedPrefixes(self._network, self.batch_tokens).logits(ids, groups):
            a, b = (logits[:, letters].logsumexp(1) for letters in self._prompts.letters)
            everything = logits.logsumexp(1)
            top = logits.max(1)
            odds[rows], first[rows] = (a - b).cpu().numpy(), top.indices.cpu().numpy()
            mass[rows] = ((a - everything).exp() + (b - everything).exp()).cpu().numpy()
            share[rows] = (top.values - everything).exp().cpu().numpy()
            advance(len(rows))
        return Readings(odds, mass, first, share, np.array([len(row) for row in ids], np.int32))

    @cached_property
    def _prompts(self) -> PairPrompts:
        prompt = Prompt.named(self.prompt, f"judge {self.name}")
        return PairPrompts(self.name, self.backbone, prompt, self.instruction, self.document_tokens)

    @cached_property
    def _network(self) -> "PreTrainedModel":
        return self.backbone.language_model()

    @cached_property
    def _both(self) -> bool:
        if self.both_orders == AUTO:
            return self._network.num_parameters() < SMALL
        return bool(self.both_orders)

    @property
    def _cure(self) -> str:
        return BOTH if self._both else CONTENT_FREE if self.calibrate else NOTHING
