"""The seams: what each kind of component must offer. Read this file and you know the system.

A component is a small class whose keyword-only constructor arguments are its config and are kept as attributes of the same
name; it validates them on construction, which must be cheap: nothing is loaded before the first call. Nothing to inherit,
nothing to register. A component that names outside content (a path, a model) also offers `content()`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import pyarrow as pa

from zelo.records import (
    Answers,
    Asks,
    Chosen,
    Comparisons,
    Corpus,
    FirstPass,
    Fit,
    Outcomes,
    Questions,
    Rated,
    Retrieved,
    Scale,
)

if TYPE_CHECKING:  # annotating needs no torch; a paid call is a message, its types are known here by name only
    import torch

    from zelo.calls.request import Endpoint, Reading, Reply, Request
    from zelo.likelihood.links import Link


class Content(Protocol):
    """A component whose fields name files, corpora or models: their content, not their path, is part of its identity."""

    def content(self) -> dict[str, str]:
        """Field name -> hash of what it names; it stands in for the field's value. Raises BadInput if it is not there."""
        ...


class Dataset(Content, Protocol):
    """A corpus, its queries and, perhaps, judgements of some of them. No label is in `content()` or comes from `load`."""

    def load(self) -> Corpus:
        """Reads and checks documents, queries and their splits. Raises BadInput naming the file and the line."""
        ...

    def qrels(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """QREL rows of dev and test queries, and notes as of a Corpus. Raises BadInput naming the file and the line.

        queries: QUERY, documents: `doc_id` of DOCUMENT, both as `load` gave them.
        """
        ...

    def qrels_content(self) -> str:
        """Hash of the judgements. Raises BadInput naming the file and the line."""
        ...


class TrainJudged(Dataset, Protocol):
    """A dataset that may also have judgements of train queries; they are in nothing of what a Dataset gives."""

    def train_qrels(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """QREL rows of train queries, and notes. Arguments and errors as in `qrels`."""
        ...

    def train_qrels_content(self) -> str | None:
        """Hash of them, None where there are none. Raises BadInput naming the file and the line."""
        ...


class Retriever(Protocol):
    """A first stage: the candidates of each query."""

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, grouped by query in the order of `queries`, best first, ties by doc_id."""
        ...


class FileRetriever(Retriever, Protocol):
    """A first stage that is a file: it may lack queries, and hold what a reader should know."""

    def retrieved(self, queries: pa.Table, documents: pa.Table, top_k: int) -> Retrieved:
        """What `search` gives, with the queries that the file lacks."""
        ...


class Scorer(Protocol):
    """Whatever can score given query-document pairs; every retriever but `run` and `fusion` can."""

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores of N pairs (rows of the two tables), higher is better."""
        ...


class Graph(Protocol):
    """Which pairs of a query's candidates are compared."""

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """[E, 2] global document numbers for queries of these sizes; None when it wants no more.

        sizes: [Q]; seeds: [Q] uint64 made from content, so that a query's edges depend on nothing but itself. A static
        graph answers when `fit` is None and then no more; an adaptive one is asked again with the fit of all pairs so far
        (`fit.edges`), until it returns None. It keeps no state: a run that was killed goes on with the same pairs.
        """
        ...

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] the most pairs that it will want of queries of these sizes, in all rounds: what a budget is planned with."""
        ...


class Judge(Protocol):
    """Says which of two documents is the better answer. An ensemble also has `members`, asked one by one by the stage.

    Asked whether a document alone meets a criterion, it answers that, or raises BadInput before anything is judged.
    """

    name: str

    def compare(self, questions: Questions) -> Outcomes:
        """One outcome per question (and member). A failure is a status, never a preference.

        A judge that replays also has `tell`, called when everything was asked: it says what was missing. One that goes by the
        texts alone and is cheap has `any_text = True`: it can be asked about queries that nobody has posed.
        """
        ...


class PaidJudge(Protocol):
    """A judge whose answers cost money: it says what to ask and reads what came back; the till does the asking.

    One whose answers are about several questions at once has `asked_whole`: it is never asked about some of them only.
    """

    name: str

    @property
    def endpoint(self) -> "Endpoint":
        """Where its questions go."""
        ...

    def requests(self, questions: Questions) -> "Iterator[Request]":
        """What to ask, lazily; every row of `questions` belongs to exactly one request."""
        ...

    def read(self, request: "Request", reply: "Reply") -> "Reading":
        """What the reply says about the request's rows. Pure: a reply from the ledger is read in the same way."""
        ...


class Acquisition(Protocol):
    """Which pairs the dear judges are asked about once there are students: after a first pass, for a second one."""

    reads: ClassVar[str]  # what it looks at besides the scores: the role `labels` or `outcomes` of the stage

    def choose(self, first: FirstPass) -> Chosen:
        """The most urgent pair of each query that has any; it is called for some queries at a time."""
        ...

    def bar(self, urgency: np.ndarray) -> float:
        """The urgency above which a pair is worth asking. urgency: [K] of all queries together."""
        ...


class Solver(Protocol):
    """Preferences -> ratings."""

    @property
    def link(self) -> "Link":
        """Difference of two ratings -> probability that the first document is preferred, and its derivatives."""
        ...

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once. Raises ZeloError naming the queries that did not converge."""
        ...


class Calibrator(Protocol):
    """Puts the ratings of all queries on one scale: rating * scale + offset. One that asks nobody has no `asks`."""

    def asks(self, rated: Rated, answers: Answers | None) -> Asks | None:
        """What the judges should be asked next, given the answers so far; None when it wants no more."""
        ...

    def fit(self, rated: Rated, answers: Answers | None) -> Scale:
        """One scale for all queries. Raises ZeloError naming what cannot be put on it."""
        ...


class Target(Protocol):
    """Ratings -> training targets."""

    def targets(self, rated: Rated) -> tuple[np.ndarray, np.ndarray]:
        """(target in [0, 1], weight), each [N]; a document of weight 0 is not trained on."""
        ...


class Metric(Protocol):
    """A ranking metric with one value per query."""

    name: str  # as ir-measures writes it

    def values(self, run: pa.Table, qrels: pa.Table) -> dict[str, float]:
        """query_id -> value, for every query of `qrels`; a query without results counts 0. run: SCORED rows."""
        ...


class PairReader(Content, Protocol):
    """A pretrained transformer that reads a query and a document together, or two: all that a cross-encoder needs."""

    query_length: int  # tokens
    lr: float  # the learning rate that suits it
    fresh_head: bool  # whether nothing is known yet of the head of `classifier`

    def folder(self) -> Path:
        """The folder with config.json, *.safetensors and the tokenizer. Raises BadInput when weights are missing."""
        ...

    def tokenizer(self) -> Any:
        """A transformers tokenizer, padding on the right."""
        ...

    def classifier(self) -> Any:
        """A transformers sequence classifier of one label, in evaluation mode. Raises BadInput when it cannot be."""
        ...

    def pairs(self, tokenizer: Any, queries: list[str], documents: list[str], max_length: int) -> dict[str, list[Any]]:
        """`input_ids` and the like of N queries, each with its document, at most `max_length` tokens a pair."""
        ...

    def joined(self, tokenizer: Any) -> str:
        """How `triples` puts two documents together, with `{first}` and `{second}` in it: the second text of a pair."""
        ...

    def triples(
        self, tokenizer: Any, queries: list[str], first: list[str], second: list[str], max_length: int
    ) -> dict[str, list[Any]]:
        """`input_ids` and the like of N queries, each with two documents in this order, at most `max_length` tokens."""
        ...


class VectorSource(Content, Protocol):
    """Whatever gives a vector of each query and document that stays as it is."""

    def width(self) -> int:
        """Numbers in a vector."""
        ...

    def documents(self, table: pa.Table) -> Any:
        """Vectors of N documents (DOCUMENT): `pooled` [N, dim] of length 1, in the order of the table.

        An encoder's, which has `token_vectors`, also gives `vectors` [T, dim] of all tokens and `offsets` [N + 1].
        """
        ...

    def queries(self, table: pa.Table) -> Any:
        """Vectors of N queries (QUERY): `pooled` [N, dim] of length 1, in the order of the table."""
        ...


class Backbone(VectorSource, PairReader, Protocol):
    """A pretrained transformer that also gives vectors, encoded once and kept."""

    query_length: int  # tokens
    max_length: int  # tokens of a document
    query_prompt: str
    document_prompt: str
    pooling: Literal["mean", "cls", "last"]

    def network(self) -> Any:
        """The transformer without a head, in evaluation mode; what is frozen does not learn."""
        ...

    def text_tokenizer(self) -> Any:
        """A transformers tokenizer, padding on the right, that reads a text alone as `texts` does where it is exported."""
        ...

    def texts(self, tokenizer: Any, texts: list[str], prompt: str, length: int) -> list[list[int]]:
        """Token ids of N texts behind the prompt, at most `length` tokens. tokenizer: of `text_tokenizer`."""
        ...


class Model(Protocol):
    """A student: a torch module. Its constructor takes config only; `load` brings in the weights.

    One that cannot be made of every backbone has `check(backbone)`, which raises BadInput before anything runs; one that asks
    with stored vectors has `prepare_queries(queries)`, all that it will be asked (QUERY).
    """

    temperature: float | None  # None: half of the untuned scores' deviation within a query
    scale: "torch.Tensor"  # what scores are multiplied by, 1 / temperature

    def load(self, backbone: Backbone, checkpoint: Path | None) -> None:
        """Makes the modules from the pretrained backbone, then takes trained weights from `checkpoint` if given."""
        ...

    def prepare(self, documents: pa.Table) -> None:
        """What is computed once per corpus, such as frozen document vectors. documents: DOCUMENT."""
        ...

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """What learns, and how fast against the optimizer's rate."""
        ...

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> "dict[str, torch.Tensor]":
        """A batch. queries: B texts; doc_rows: [B, D] rows of the prepared documents, -1 where there is none."""
        ...

    def __call__(self, batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """[B, D] scores, on the scale that the loss compares; entries at doc_rows -1 are ignored."""
        ...

    def export(self, folder: Path) -> None:
        """Writes a folder that sentence-transformers loads as it is, with native modules only."""
        ...

    def state_dict(self) -> "dict[str, torch.Tensor]": ...
    def to(self, device: str) -> "torch.nn.Module": ...


class Searcher(Model, Protocol):
    """A student that can search a whole corpus, as a bi-encoder can."""

    def search(self, queries: list[str], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows of the prepared documents, scores), each [Q, top_k], best first; never all scores at once."""
        ...


class Embedder(Searcher, Protocol):
    """A student that gives one vector of length 1 a text."""

    width: int  # numbers in a vector

    def query_vectors(self, queries: list[str]) -> np.ndarray:
        """[Q, width] float32."""
        ...

    def document_vectors(self, rows: slice) -> np.ndarray:
        """[n, width] float32 of some of the prepared documents, as queries are compared with them."""
        ...


class Loss(Protocol):
    """Compares a student's scores with targets. Scores are log odds: a loss that needs a probability takes the sigmoid itself.

    One that only compares the documents of a query with each other has `compares = True`: a query with one counts nothing. One
    with `widths` also takes scores [B, D, 1 + W], as a model with `at_widths(batch, widths)` gives them.
    """

    def __call__(
        self, scores: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor", mask: "torch.Tensor"
    ) -> "torch.Tensor":
        """Scalar. scores, targets in [0, 1], weights, mask (True where a document is): each [B, D]."""
        ...
