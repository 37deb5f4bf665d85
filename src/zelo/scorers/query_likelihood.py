"""Query likelihood: a document is as good as it makes the query probable."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from zelo.backbones.kept_scores import KeptScores, pair_keys, titled_texts
from zelo.backbones.prefix_cache import Continuations, log_likelihoods
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.fingerprint.code_hash import code_hash
from zelo.progress import Advance, progress
from zelo.protocols import LanguageModel
from zelo.ranking import groups
from zelo.records import DOCUMENT

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SHORTEST = 8  # tokens of a document; less says nothing about it
PART = 1 << 16  # tokens whose scores are kept together: a minute or two on a CPU
NOTHING = pa.table([[""], [""], [""]], schema=DOCUMENT)  # instead of a document


@dataclass(frozen=True, kw_only=True)
class QueryLikelihood:
    """Mean log P(query token | document) under a causal language model, which reads the document, `bridge` and the query.

    Query likelihood as in Ponte and Croft (SIGIR 1998); with a pretrained language model as in Sachan et al. (EMNLP 2022, UPR).
    A document is read once for all queries that ask for it. It is read in at most `windows` stretches of `document_tokens`, from
    its beginning, each behind its title if `title`; the best counts. `baseline`: less the same without a document, which is
    one number for each query. Scores are kept in the store, pair by pair. A score that is no number is nan.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    backbone: LanguageModel
    before: str
    bridge: str
    document_tokens: int
    query_tokens: int
    title: bool
    windows: int
    baseline: bool
    batch_tokens: int

    def __post_init__(self) -> None:
        least = {"document_tokens": SHORTEST, "query_tokens": 1, "windows": 1, "batch_tokens": 1}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise BadInput(f"query_likelihood: {name}={getattr(self, name)} is too small; at least {smallest}.")
        if not isinstance(self.backbone, LanguageModel):
            raise BadInput(
                f"query_likelihood: the backbone {type(self.backbone).__name__} is no causal language model. Mount one, such as"
                " backbone@judge.scorer.backbone=smollm2."
            )

    def content(self) -> dict[str, str]:
        """The numbers that the model computes with: on some machines they are others."""
        return {"computes_in": self.backbone.language_precision()}

    def check(self) -> None:
        """Raises BadInput for a model that is none, shares no prefix, or reads less than a prefix and a query."""
        self.backbone.check_cache(tokens_only=True)
        limit, words = self.backbone.context(), sum(map(len, self._frame))
        longest = words + self.document_tokens + self.query_tokens
        if limit is not None and longest > limit:
            raise BadInput(
                f"query_likelihood: document_tokens={self.document_tokens}, query_tokens={self.query_tokens} and the words around"
                f" them take {longest} tokens, and {self.backbone.model} reads at most {limit}. Lower document_tokens."
            )

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores of N pairs, each the same up to rounding whatever else is asked."""
        self.check()
        scores = self._found(queries, documents, query_row, doc_row)
        if self.baseline:
            rows, query = np.unique(query_row, return_inverse=True)
            scores = scores - self._found(queries, NOTHING, rows, np.zeros_like(rows))[query]
        return scores

    def _found(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 mean log likelihoods, from the store where they were computed before."""
        (rows, query), (named, document) = (np.unique(row, return_inverse=True) for row in (query_row, doc_row))
        asked, read = queries.take(pa.array(rows)), documents.take(pa.array(named))
        texts = self._queries(queries, rows)
        pairs = pair_keys(asked["text"].to_pylist(), titled_texts(read), query, document)
        kept = KeptScores(self._recipe)
        scores, known = kept.find(pairs)
        todo = np.flatnonzero(~known)
        reads = [_Read(self._windows(read, row), todo[at]) for row, at in groups(document[todo], query[todo])]
        with progress("query likelihood", sum(len(one.windows) * len(one.pairs) for one in reads), "pairs") as advance:
            for part in _parts(reads, texts, query):
                rows = np.concatenate([one.pairs for one in part])
                scores[rows] = kept.add(
                    pairs.take(pa.array(rows)), lambda part=part: self._computed(part, texts, query, advance)
                )
        return scores

    def _computed(self, part: "list[_Read]", texts: list[list[int]], query: np.ndarray, advance: Advance) -> np.ndarray:
        """[P] float32 scores of the pairs of some documents, one after the other."""
        before, bridge = self._frame
        asked = [
            Continuations([*before, *ids, *bridge], [texts[row] for row in query[one.pairs]])
            for one in part
            for ids in one.windows
        ]
        found, low, best = log_likelihoods(self._network, asked, self.batch_tokens, advance), 0, []
        for one in part:
            high = low + len(one.windows) * len(one.pairs)
            best.append(np.fmax.reduce(found[low:high].reshape(-1, len(one.pairs))))
            low = high
        return np.concatenate(best)

    @property
    def _recipe(self) -> Facts:
        """All that a likelihood depends on but the texts."""
        fields = ("before", "bridge", "document_tokens", "query_tokens", "title", "windows")
        own = {name: getattr(self, name) for name in fields}
        return {**self.backbone.content(), **self.content(), **own, "code": code_hash(__name__, "QueryLikelihood")}

    def _queries(self, queries: pa.Table, rows: np.ndarray) -> list[list[int]]:
        """Token ids of the queries in these rows. Raises BadInput for one that has none."""
        table = queries.take(pa.array(rows))
        space = "" if self.bridge[-1:].isspace() else " "
        texts = [f"{space}{text.strip()}" if text.strip() else "" for text in table["text"].to_pylist()]
        found = self._encoded(texts, self.query_tokens)
        for ids, name in zip(found, table["query_id"].to_pylist(), strict=True):
            if not ids:
                raise BadInput(f"query_likelihood: query {name!r} has no token, so it has no likelihood. Leave it out.")
        return found

    def _windows(self, documents: pa.Table, row: int) -> list[list[int]]:
        """Token ids of what is read of a document."""
        title, text = (documents[name][row].as_py() or "" for name in ("title", "text"))
        size = self.document_tokens
        head: list[int] = []
        if self.title and title.strip():
            (head,) = self._encoded([f"{title.strip()}\n"], size if not text.strip() else size // 2)
        room = size - len(head)
        (ids,) = self._encoded([text.strip()], room * self.windows)
        return [head + ids[low : low + room] for low in range(0, max(len(ids), 1), room)]

    def _encoded(self, texts: list[str], most: int) -> list[list[int]]:
        """The first token ids of each text; what is written like a special token is none."""
        encoded: Any = self._tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, truncation=True, max_length=most
        )
        return encoded["input_ids"]

    @cached_property
    def _frame(self) -> list[list[int]]:
        """Token ids before a document, with those that begin every text of the model, and behind it."""
        tokenizer: Any = self._tokenizer
        start = [] if (first := tokenizer.bos_token_id) is None else [first]
        begins = tokenizer("")["input_ids"] == start
        before, bridge = tokenizer([self.before, self.bridge], add_special_tokens=False)["input_ids"]
        return [start * begins + before, bridge]

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerFast":
        return self.backbone.plain_tokenizer()

    @cached_property
    def _network(self) -> "PreTrainedModel":
        return self.backbone.language_model()


@dataclass(frozen=True)
class _Read:
    """What is read of a document, and the pairs that it is asked for."""

    windows: list[list[int]]
    pairs: np.ndarray


def _parts(reads: list[_Read], texts: list[list[int]], query: np.ndarray) -> Iterator[list[_Read]]:
    """Documents of about one length together, with their queries about PART tokens."""
    part, size = [], 0
    for one in sorted(reads, key=lambda one: (len(one.windows[0]), one.windows)):
        part.append(one)
        asked = sum(len(texts[row]) for row in query[one.pairs])
        size += sum(map(len, one.windows)) + len(one.windows) * asked
        if size >= PART:
            yield part
            part, size = [], 0
    if part:
        yield part
