"""Query likelihood: a document is as good as it makes the query probable."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from zelo.backbones.prefix_cache import Continuations, log_likelihoods
from zelo.errors import BadInput
from zelo.fingerprint.code_hash import code_hash
from zelo.progress import progress
from zelo.protocols import LanguageModel
from zelo.ranking import groups
from zelo.store import Store, hash_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SHORTEST = 8  # tokens of a document; less says nothing about it
PART = 1 << 16  # tokens whose scores are kept together: a minute or two on a CPU


@dataclass(frozen=True, kw_only=True)
class QueryLikelihood:
    """Mean log P(query token | document) under a causal language model, which reads the document, `bridge` and the query.

    Query likelihood as in Ponte and Croft (SIGIR 1998); with a pretrained language model as in Sachan et al. (EMNLP 2022, UPR).
    A document is read once for all queries that ask for it. It is read in at most `windows` stretches of `document_tokens`, from
    its beginning, each behind its title if `title`; the best counts. `baseline`: less the same without a document, which is
    one number for each query. Scores are kept in the store. A score that is no number is nan.
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
        """Raises BadInput for a model that is none, or reads less than a prefix and a query."""
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
        rows, query = np.unique(query_row, return_inverse=True)
        texts = self._queries(queries, rows)
        passages: list[_Passage] = []
        for row, pairs in groups(doc_row, query_row):
            passages += [_Passage(ids, pairs) for ids in self._windows(documents, row)]
        scores = np.full(len(query_row), -np.inf, np.float32)
        for passage, found in self._found(passages, texts, query):
            scores[passage.pairs] = np.fmax(scores[passage.pairs], found)
        scores[scores == -np.inf] = np.nan
        if self.baseline:
            alone = _Passage([], np.arange(len(rows)))
            ((_, found),) = self._found([alone], texts, np.arange(len(rows)))
            scores -= found[query]
        return scores

    def _found(
        self, passages: "list[_Passage]", texts: list[list[int]], query: np.ndarray
    ) -> "Iterator[tuple[_Passage, np.ndarray]]":
        """Each passage with the scores of its pairs, part by part of about as many tokens."""
        before, bridge = self._frame
        passages = sorted(passages, key=lambda passage: (len(passage.ids), passage.ids))
        pairs = sum(len(passage.pairs) for passage in passages)
        with progress("query likelihood", pairs, "pairs") as advance:
            for part in _parts(passages, texts, query):
                asked = [
                    Continuations([*before, *passage.ids, *bridge], [texts[row] for row in query[passage.pairs]])
                    for passage in part
                ]
                found, low = self._kept(asked, advance), 0
                for passage in part:
                    yield passage, found[low : low + len(passage.pairs)]
                    low += len(passage.pairs)

    def _kept(self, asked: list[Continuations], advance: Any) -> np.ndarray:
        """[P] float32 scores of all pairs in their order, from the store if they were computed before."""
        recipe = {
            **self.backbone.content(),
            **self.content(),
            "asked": hash_json([[one.prefix, one.texts] for one in asked]),
            "code": code_hash(__name__, "QueryLikelihood"),
        }
        done = False

        def make(folder: Path, _partial: object) -> dict[str, Any]:
            nonlocal done
            np.save(folder / "scores.npy", log_likelihoods(self._network, asked, self.batch_tokens, advance))
            done = True
            return {"recipe": recipe}

        table, _ = Store.current().obtain("scores", hash_json(recipe), make)
        if not done:
            advance(sum(len(one.texts) for one in asked))
        return np.load(table.path / "scores.npy", allow_pickle=False)

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
class _Passage:
    """What is read of a document, and the pairs that it is asked for."""

    ids: list[int]
    pairs: np.ndarray


def _parts(passages: list[_Passage], texts: list[list[int]], query: np.ndarray) -> Iterator[list[_Passage]]:
    part, size = [], 0
    for passage in passages:
        part.append(passage)
        size += len(passage.ids) + sum(len(texts[row]) for row in query[passage.pairs])
        if size >= PART:
            yield part
            part, size = [], 0
    if part:
        yield part
