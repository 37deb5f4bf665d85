"""The interfaces: what each kind of component must offer. Read this file and you know the system.

A component is a small class whose keyword-only constructor arguments are its config and are kept as attributes of the same
name; it validates them on construction, which must be cheap: nothing is loaded before the first call. Nothing to inherit,
nothing to register.

What only some components of a family can do is a protocol of its own, and who needs it asks `isinstance(x, AdaptiveGraph)`.
A public name of a component is a field or a member of a protocol of its family: `tests/contracts` refuses any other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypedDict, runtime_checkable

import numpy as np
import pyarrow as pa

from zelo.facts import Facts
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
    import pytorch_lightning as lightning
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from zelo.backbones.vectors import TokenVectors, Vectors
    from zelo.likelihood.links import LinkFunction
    from zelo.progress import Advance
    from zelo.providers.request import Endpoint, Reading, Reply, Request
    from zelo.store.table import Table


@runtime_checkable
class Content(Protocol):
    """A component whose fields name files, corpora or models: their content, not their path, is part of its identity."""

    def content(self) -> dict[str, str]:
        """Field name -> hash of what it names; it stands in for the field's value. Raises BadInput if it is not there."""
        ...


@runtime_checkable
class FieldsOutsideIdentity(Protocol):
    """A component or stage with fields that cannot change what it computes: they are no part of its identity."""

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]]  # names of the fields


class Stage(Protocol):
    """A step of a pipeline: reads tables, writes one."""

    inputs: dict[str, str]  # role -> name of the stage whose table it reads

    def run(self, tables: "dict[str, Table]", out: Path) -> Facts:
        """Writes the table into the folder `out` and returns its figures for the manifest. tables: by role.

        A partial table of an earlier attempt comes as the role `partial`. Figures with `partial` True say that a later
        attempt may complete the table.
        """
        ...


@runtime_checkable
class CheapStage(Protocol):
    """A stage that plan=true may run, to count the questions of the stages below it."""

    CHEAP: ClassVar[Literal[True]]


@runtime_checkable
class SometimesCheapStage(Protocol):
    """A stage that plan=true may run where its components cost neither money nor much time."""

    @property
    def cheap(self) -> bool:
        """Whether it may."""
        ...


@runtime_checkable
class PassingStage(Protocol):
    """A stage that may have nothing to do: then another's table stands for its own, and it is no part of the run."""

    @property
    def passes(self) -> str | None:
        """The role of the input that its readers get instead; None: it has something to do."""
        ...


NOTHING_TO_DO = "nothing_to_do"  # among a stage's facts, true: there is nothing for the stages that read it to do


@runtime_checkable
class StageWithOptionalInputs(Protocol):
    """A stage that runs with the inputs that are there, where those that make the others are left out."""

    OPTIONAL_INPUTS: ClassVar[Literal[True]]


@runtime_checkable
class StageWithInputCheck(Protocol):
    """A stage that cannot read just any stage."""

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput, before anything runs, for inputs that it cannot use. stages: by role."""
        ...


@runtime_checkable
class StageWithUnread(Protocol):
    """A stage that knows of inputs that it does not read as it is configured."""

    @property
    def unread(self) -> frozenset[str]:
        """Their roles: nothing about it depends on them, and they need not be made for it."""
        ...


@runtime_checkable
class StageWithCheck(Protocol):
    """A stage that needs something from outside, such as a key or weights."""

    def check(self) -> None:
        """Raises BadInput where it is missing, before the stages above spend any time."""
        ...


@runtime_checkable
class PaidStage(Protocol):
    """A stage that may ask judges which cost money."""

    @property
    def paid(self) -> "Mapping[str, PaidJudge]":
        """These judges by name; empty where none costs money."""
        ...

    def plan(self, tables: "dict[str, Table]") -> list[Any]:
        """[Plan] what each of them would be asked, and the price. Sends nothing."""
        ...


Work = Callable[[int, "Advance"], Facts]
"""What a stage does with one of its units, a pure function: it writes the unit's shards, each whole or not at all, and finds
those that are there already. Only facts come back. It may say how far it is, in what its size counts."""


class Executor(Protocol):
    """Runs the units of a stage: in this process, in several, on several machines."""

    @property
    def where(self) -> str | None:
        """In words; None: in this process."""
        ...

    @property
    def workers(self) -> int:
        """How many units it runs at a time; 0 where that is not known."""
        ...

    def run(self, work: Work, sizes: Mapping[int, int], advance: "Advance", *, model: bool = False) -> dict[int, Facts]:
        """{unit: what the work gave}, in the order of `sizes`, once all have run, in any order and place.

        sizes: unit -> what it counts for in `advance`; model: the work loads a model, so that each worker needs a GPU where the
        run's hardware is one. Raises what the work raises; the units that are done by then stay done.
        """
        ...

    def check(self) -> None:
        """Raises BadInput, before anything runs, where what it needs is not there."""
        ...

    def close(self) -> None:
        """Ends what it has started."""
        ...


@runtime_checkable
class ProcessesExecutor(Protocol):
    """An executor that also starts the processes of a training, each of which finds itself placed as torchrun would place it."""

    def check_room(self, machines: int, each: int, gpu: bool) -> None:
        """Raises BadInput where there is no room for `each` processes on so many machines."""
        ...

    def together(self, work: Work, machines: int, each: int, gpu: bool, meanwhile: Callable[[], None]) -> None:
        """Runs work(rank) in all of them at once; returns when they have ended well, and raises what one of them raised.

        meanwhile: called from time to time.
        """
        ...


@runtime_checkable
class SpreadStage(Protocol):
    """A stage with units that an executor may run elsewhere; without one they run one after the other where it runs."""

    @property
    def spreads(self) -> bool:
        """Whether they may, as it is configured."""
        ...

    def units(self, tables: "Mapping[str, Table]", above: Mapping[str, int]) -> int | None:
        """How many there are, as far as that is known before it runs.

        tables: of the inputs that are made; above: role -> units of those that are not.
        """
        ...

    def run(self, tables: "dict[str, Table]", out: Path, executor: Executor) -> Facts:
        """As of a Stage."""
        ...


class OnBackbone(Protocol):
    """A student, as far as a reader of its run must know it."""

    backbone: object


@runtime_checkable
class TrainingStage(Protocol):
    """A stage that trains a student."""

    name: str  # of the student
    student: OnBackbone


@runtime_checkable
class ProcessesStage(Protocol):
    """A stage whose work several processes may share: of this machine, or where an executor starts them."""

    @property
    def processes(self) -> int:
        """How many."""
        ...

    def check_room(self, executor: Executor) -> None:
        """Raises BadInput where there is no room for so many: on this machine, or where the executor starts them."""
        ...

    def run(self, tables: "dict[str, Table]", out: Path, executor: Executor) -> Facts:
        """As of a Stage."""
        ...


@runtime_checkable
class PredictsCost(Protocol):
    """A paid stage that can predict its cost from a few questions."""

    def expected_usd(self, tables: "dict[str, Table]") -> float | None:
        """US dollars for all questions if none were in the ledger; None where it is not known. Sends nothing."""
        ...


@runtime_checkable
class JudgingStage(Protocol):
    """A stage that writes outcomes (OUTCOME)."""

    @property
    def members(self) -> "Mapping[str, Judge | PaidJudge]":
        """The judges by the name that their outcomes have."""
        ...


class Logger(Protocol):
    """Takes the curves of a run, while it judges and trains.

    The command makes one, and each stage that trains another of the same config: both write into one run.
    """

    def check(self) -> None:
        """Raises BadInput, before anything runs, for a package that is not installed."""
        ...

    def log(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """A point of the curves of a student, by steps of its optimizer, or of a stage that judges, by what is done."""
        ...


class Dataset(Content, Protocol):
    """A corpus, its queries and, perhaps, judgements of some of them. No label is in `content()` or comes from `load`."""

    def load(self) -> Corpus:
        """Reads and checks documents, queries and their splits. Raises BadInput naming the file and the line."""
        ...

    def judgements(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """QREL rows of dev and test queries, and notes as of a Corpus. Raises BadInput naming the file and the line.

        queries: QUERY, documents: `doc_id` of DOCUMENT, and DOMAIN where they have one, both as `load` gave them.
        """
        ...

    def qrels_content(self) -> str:
        """Hash of the judgements. Raises BadInput naming the file and the line."""
        ...


@runtime_checkable
class TrainJudged(Dataset, Protocol):
    """A dataset that may also have judgements of train queries; they are in nothing of what a Dataset gives."""

    def train_qrels(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """QREL rows of train queries, and notes. Arguments and errors as in `judgements`."""
        ...

    def train_qrels_content(self) -> str | None:
        """Hash of them, None where there are none. Raises BadInput naming the file and the line."""
        ...


@runtime_checkable
class MayLackQueries(Dataset, Protocol):
    """A dataset that may have no queries to train on, or none at all: such are made then."""

    def has_train_queries(self) -> bool:
        """Whether there are any, known without reading the documents. Raises BadInput naming the file and the line."""
        ...


class Splitter(Protocol):
    """Splits long documents into passages."""

    @property
    def rule(self) -> str:
        """How, in words: for the card of a model, whose user must do the same."""
        ...

    def split(self, documents: pa.Table) -> list[list[tuple[str, str]]]:
        """(title, text) of the passages of each of some documents (DOCUMENT); one, the same, of a document that stays whole."""
        ...


@runtime_checkable
class LeavesWhole(Splitter, Protocol):
    """One that splits nothing."""

    WHOLE: ClassVar[Literal[True]]


class QueryMaker(Protocol):
    """Writes queries for documents: what people might ask who look for them."""

    @property
    def most(self) -> int:
        """Queries that are wanted; 0: none are made."""
        ...

    @property
    def mix(self) -> bool:
        """True: made queries fill up where there are fewer than `most` train queries; false: only where there are none."""
        ...

    @property
    def top_k(self) -> int:
        """A query stays if the first stage finds its document among so many."""
        ...


@runtime_checkable
class LocalQueryMaker(QueryMaker, Protocol):
    """One that writes them in this process."""

    def make(self, documents: pa.Table, examples: Sequence[str]) -> Iterator[pa.Table]:
        """MADE rows, batch by batch, as long as there are more. documents: DOCUMENT; examples: queries that people have asked."""
        ...


@runtime_checkable
class CheapQueryMaker(LocalQueryMaker, Protocol):
    """One that costs neither money nor much time."""

    CHEAP: ClassVar[Literal[True]]


@runtime_checkable
class PaidQueryMaker(QueryMaker, Protocol):
    """One whose queries cost money: the budget asks for as many as are wanted."""

    @property
    def endpoint(self) -> "Endpoint":
        """Where its requests go."""
        ...

    def questions(self, documents: pa.Table) -> Questions:
        """All that could be asked, in this order: a style (`query`) and a document (`doc_a`) each. documents: DOCUMENT."""
        ...

    def writer(self, examples: Sequence[str]) -> "PaidWriter":
        """Who is asked. examples: queries that people have asked."""
        ...


class Retriever(Protocol):
    """A first stage: the candidates of each query."""

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, grouped by query in the order of `queries`, best first, ties by doc_id."""
        ...


class PreparedSearch(Protocol):
    """What a first stage has made of a corpus and its queries. Sent to workers it is small: they open its files."""

    def search(self, asked: pa.Table, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """As of a Retriever, for some of the queries that it was made for. documents: without texts."""
        ...


@runtime_checkable
class SpreadRetriever(Retriever, Protocol):
    """A first stage that finds the same for a query whatever other queries are asked with it, and wherever."""

    @property
    def spreads(self) -> bool:
        """Whether it is one, as it is configured."""
        ...

    def prepared(self, queries: pa.Table, documents: pa.Table, folder: Path) -> PreparedSearch:
        """Reads the corpus. folder: of this corpus and these queries, which outlives an attempt and which workers see."""
        ...


@runtime_checkable
class FileRetriever(Retriever, Protocol):
    """A first stage that is a file: it may lack queries, and hold what a reader should know."""

    def retrieved(self, queries: pa.Table, documents: pa.Table, top_k: int) -> Retrieved:
        """What `search` gives, with the queries that the file lacks."""
        ...


@runtime_checkable
class PaidRetriever(Retriever, Protocol):
    """A first stage whose vectors may cost money: a stage asks for them before it searches."""

    @property
    def embedders(self) -> "Mapping[str, PaidEmbedder]":
        """Who is asked, by its place in the component; empty where nothing costs money."""
        ...


class Scorer(Protocol):
    """Whatever can score given query-document pairs; every retriever but `run` and `fusion` can."""

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores of N pairs (rows of the two tables), higher is better."""
        ...


@runtime_checkable
class Checked(Protocol):
    """A component that may find before any work that it cannot do it."""

    def check(self) -> None:
        """Raises BadInput for a model, or what else it is made of, that it cannot use."""
        ...


@runtime_checkable
class BackboneScorer(Scorer, Protocol):
    """A scorer that goes by the vectors of a backbone."""

    backbone: "VectorSource"


@runtime_checkable
class ModelScorer(Scorer, Protocol):
    """A scorer whose model can be loaded once for many calls."""

    def loaded(self) -> Any:
        """The model in memory. Raises BadInput where it cannot be loaded."""
        ...

    def scores(
        self, model: Any, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray
    ) -> np.ndarray:
        """What `score` gives, by the model that `loaded` gave."""
        ...

    def tokens(self, model: Any, query: str, documents: list[str]) -> int:
        """How many tokens the model reads to score the documents for a query."""
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


@runtime_checkable
class AdaptiveGraph(Graph, Protocol):
    """A graph that proposes pairs round by round, from the fit of all answers so far."""

    solver: "Solver"  # that makes the fit


@runtime_checkable
class DegreeGraph(Graph, Protocol):
    """A graph in which each document takes part in a set number of pairs."""

    degree: int


@runtime_checkable
class ExpectedLossGraph(AdaptiveGraph, Protocol):
    """An adaptive graph that stops by the expected loss of its ratings."""

    OPTIMISM: ClassVar[float]  # true loss over expected loss, as measured
    stop_at: float | None  # expected loss in nDCG@10; None: no stopping rule


@runtime_checkable
class CrossQueryGraph(Protocol):
    """Which queries are compared with each other, to put their ratings on one scale."""

    def over(self, seeds: np.ndarray, domain: np.ndarray) -> np.ndarray:
        """[E, 2] query numbers that connect all queries. seeds: [Q] uint64; domain: [Q] int32."""
        ...


class Judge(Protocol):
    """Says which of two documents is the better answer.

    Asked whether a document alone meets a criterion, it answers that, or raises BadInput before anything is judged.
    """

    @property
    def name(self) -> str:
        """What its answers are recorded under."""
        ...

    def compare(self, questions: Questions) -> Outcomes:
        """One outcome per question (and member). A failure is a status, never a preference."""
        ...


@runtime_checkable
class JudgeEnsemble(Protocol):
    """Several judges; a stage asks them one by one."""

    @property
    def answering(self) -> "Mapping[str, Judge | PaidJudge]":
        """The judges that answer, by their names."""
        ...


@runtime_checkable
class TextJudge(Protocol):
    """A judge that can say whether the texts are all that it needs."""

    @property
    def any_text(self) -> bool:
        """Whether it is cheap and goes by texts alone: it can judge queries that nobody has posed."""
        ...


@runtime_checkable
class TrainedJudge(Judge, Protocol):
    """A judge that is a model of a train stage."""

    path: str | None  # the exported model; None: of the train stage among the inputs of the judge stage

    def trained(self, checkpoint: Path) -> "TrainedJudge":
        """This judge with the model that a train stage left in the folder `checkpoint`."""
        ...


@runtime_checkable
class WholeListJudge(Protocol):
    """A judge that can answer several questions by one request."""

    @property
    def asked_whole(self) -> bool:
        """Whether it does: then it is never asked some of its questions alone, which would be other requests."""
        ...


@runtime_checkable
class WindowJudge(WholeListJudge, Protocol):
    """A judge that then shows several documents at once."""

    window: int  # documents, at most


@runtime_checkable
class StateJudge(WholeListJudge, Protocol):
    """A paid judge whose request holds documents once and asks about many pairs of them, each decided by itself.

    Its answers are probabilities: it writes no reasons.
    """

    def one_pair(self) -> "PaidJudge":
        """The same judge with a request for each pair."""
        ...


@runtime_checkable
class LedgerJudge(Judge, Protocol):
    """A judge whose answers come from a ledger: a later run may find more of them there."""

    from_ledger: ClassVar[Literal[True]]


@runtime_checkable
class ReportingJudge(Judge, Protocol):
    """A judge with something to say once everything was asked, such as how many answers are missing."""

    def notes(self) -> list[str]:
        """Sentences for the terminal and the report, about all that it was asked so far."""
        ...


@runtime_checkable
class SpreadJudge(Judge, Protocol):
    """A judge that may be asked in other processes and on other machines: it needs nothing but its fields and the questions."""

    SPREADS: ClassVar[Literal[True]]


@runtime_checkable
class CountingJudge(ReportingJudge, Protocol):
    """A judge whose notes are about counts, which copies of it in other processes make, too."""

    def take_counts(self) -> Facts:
        """What was counted since the last call; from now on it counts anew."""
        ...

    def add_counts(self, counts: Facts) -> None:
        """What it, or a copy of it, has counted."""
        ...


@runtime_checkable
class TruncatingJudge(Protocol):
    """A judge that reads at most so much of a document."""

    def cut(self, questions: Questions) -> int:
        """How many of the documents that are shown first are longer than that."""
        ...


@runtime_checkable
class SamplingJudge(Protocol):
    """A judge that draws its answer from a language model."""

    temperature: float | None  # 0: always the likeliest answer; None: the provider's own


@runtime_checkable
class PaidJudge(Protocol):
    """A judge whose answers cost money: it forms the requests and reads the replies; the budget does the asking."""

    @property
    def name(self) -> str:
        """What its answers are recorded under."""
        ...

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


@runtime_checkable
class PaidScorer(PaidJudge, Protocol):
    """A scorer whose scores cost money, asked as such a judge is: about a query and `doc_a`. `p` of what it reads is a score."""


class PaidEmbedder(PaidJudge, Protocol):
    """A model that is asked for vectors as a judge is; they are in the ledger then, and `p` of what it reads says nothing."""

    def questions(self, queries: pa.Table, documents: pa.Table) -> Questions:
        """All these texts: side (`query`) and text (`doc_a`) each."""
        ...

    def unknown(self, questions: Questions) -> tuple[Questions, int]:
        """(those whose vectors the ledger lacks, each text once; texts in all, each counted once)."""
        ...


@runtime_checkable
class WindowScorer(PaidScorer, Protocol):
    """One that orders some of a query's candidates at a time: `p` of what it reads is a place in that window, larger is better.

    Rows of one query that follow each other are a window, in the order in which they are to be shown. A document that an
    answer leaves out has a `p` of 0 or less.
    """

    def windows(self, size: int) -> list[slice]:
        """Places of each window of a list of so many candidates; each is asked about when the one before is in order."""
        ...


class PaidWriter(PaidJudge, Protocol):
    """A writer of queries who is asked as a judge is; `p` of what it reads says nothing."""

    def written(self, request: "Request", reply: "Reply") -> str | None:
        """The query that a reply holds, None where it holds none."""
        ...


class Acquisition(Protocol):
    """Which pairs the expensive judges are asked about once there are students: after a first pass, for a second one."""

    reads: ClassVar[str]  # what it looks at besides the scores: the role `labels` or `outcomes` of the stage

    def choose(self, first: FirstPass) -> Chosen:
        """The most urgent pair of each query that has any; it is called for some queries at a time."""
        ...

    def bar(self, urgency: np.ndarray) -> float:
        """The urgency above which a pair is asked. urgency: [K] of all queries together."""
        ...


class Solver(Protocol):
    """Preferences -> ratings."""

    @property
    def link(self) -> "LinkFunction":
        """Difference of two ratings -> probability that the first document is preferred, and its derivatives."""
        ...

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once. Raises ZeloError naming the queries that did not converge."""
        ...


@runtime_checkable
class ErrorsSolver(Solver, Protocol):
    """A solver that says how it computes standard errors, or that it computes none."""

    stderr: str | None


@runtime_checkable
class SolvingStage(Protocol):
    """A stage with ratings of a solver."""

    solver: Solver


@runtime_checkable
class PerJudgeSolver(Solver, Protocol):
    """A solver that weighs the judges itself: comparisons come one row per judge instead of their mean."""

    per_judge: ClassVar[Literal[True]]


class Calibrator(Protocol):
    """Puts the ratings of all queries on one scale: rating * scale + offset."""

    def fit(self, rated: Rated, answers: Answers | None) -> Scale:
        """One scale for all queries. Raises ZeloError naming what cannot be put on it."""
        ...


@runtime_checkable
class AskingCalibrator(Calibrator, Protocol):
    """A calibrator that asks the judges questions of its own."""

    def asks(self, rated: Rated, answers: Answers | None) -> Asks | None:
        """What the judges should be asked next, given the answers so far; None when it wants no more."""
        ...


class Target(Protocol):
    """Ratings -> training targets."""

    def targets(self, rated: Rated) -> tuple[np.ndarray, np.ndarray]:
        """(target in [0, 1], weight), each [N]; a document of weight 0 is not trained on. rated: of some of the queries."""
        ...


@runtime_checkable
class SelectingTarget(Target, Protocol):
    """A target with a selection, which says what is trained on and how much each document counts."""

    selection: object


@runtime_checkable
class CertaintySelection(Protocol):
    """A selection in which a document counts by the standard error of its rating."""

    var0: float | None  # variance of a rating at which it counts half; None: all count 1


@runtime_checkable
class CrossQueryTarget(Target, Protocol):
    """A target that compares documents of different queries, whose ratings must be on one scale: it sees all at once."""

    compares_queries: ClassVar[Literal[True]]


class Metric(Protocol):
    """A ranking metric with one value per query."""

    @property
    def name(self) -> str:
        """As ir-measures writes it."""
        ...

    def values(self, run: pa.Table, qrels: pa.Table) -> dict[str, float]:
        """query_id -> value, for every query of `qrels`; a query without results counts 0. run: SCORED rows."""
        ...


@runtime_checkable
class InFolder(Protocol):
    """What has its weights and its README in a folder."""

    def folder(self) -> Path:
        """The folder with config.json, *.safetensors and the tokenizer. Raises BadInput when weights are missing."""
        ...


class PairReader(Content, Protocol):
    """A pretrained transformer that reads a query and a document together, or two: all that a cross-encoder needs."""

    query_length: int  # tokens
    lr: float  # the learning rate that suits it
    fresh_head: bool  # whether nothing is known yet of the head of `classifier`

    def folder(self) -> Path:
        """The folder with config.json, *.safetensors and the tokenizer. Raises BadInput when weights are missing."""
        ...

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """A transformers tokenizer, padding on the right."""
        ...

    def classifier(self) -> "PreTrainedModel":
        """A transformers sequence classifier of one label, in evaluation mode. Raises BadInput when it cannot be."""
        ...

    def pairs(
        self, tokenizer: "PreTrainedTokenizerFast", queries: list[str], documents: list[str], max_length: int
    ) -> dict[str, list[list[int]]]:
        """`input_ids` and the like of N queries, each with its document, at most `max_length` tokens a pair."""
        ...

    def joined(self, tokenizer: "PreTrainedTokenizerFast") -> str:
        """How `triples` puts two documents together, with `{first}` and `{second}` in it: the second text of a pair."""
        ...

    def triples(
        self,
        tokenizer: "PreTrainedTokenizerFast",
        queries: list[str],
        first: list[str],
        second: list[str],
        max_length: int,
    ) -> dict[str, list[list[int]]]:
        """`input_ids` and the like of N queries, each with two documents in this order, at most `max_length` tokens."""
        ...


@runtime_checkable
class LanguageModel(Content, Protocol):
    """A pretrained causal language model, which says how probable a text is."""

    model: str  # its name on the hub, a folder or a file

    def language_model(self) -> "PreTrainedModel":
        """The transformer with its head, in evaluation mode, where the process computes. Raises BadInput where it is none."""
        ...

    def language_precision(self) -> str:
        """torch's name of the numbers that it computes with."""
        ...

    def plain_tokenizer(self) -> "PreTrainedTokenizerFast":
        """A transformers tokenizer, whatever its chat template."""
        ...

    def context(self) -> int | None:
        """Tokens that it reads at once; None: not known. Raises BadInput, without loading it, for what is none."""
        ...

    def check_cache(self, *, tokens_only: bool) -> None:
        """Raises BadInput for what cannot go on from keys and values of tokens; if `tokens_only`, from these alone."""
        ...


@runtime_checkable
class VectorSource(Content, Protocol):
    """Whatever gives a vector of each query and document that stays as it is."""

    def width(self) -> int:
        """Numbers in a vector."""
        ...

    def documents(self, table: pa.Table) -> "Vectors | TokenVectors":
        """Vectors of N documents (DOCUMENT): `pooled` [N, dim] of length 1, in the order of the table."""
        ...

    def queries(self, table: pa.Table) -> "Vectors | TokenVectors":
        """Vectors of N queries (QUERY): `pooled` [N, dim] of length 1, in the order of the table."""
        ...


@runtime_checkable
class TokenVectorSource(VectorSource, Protocol):
    """One whose `documents` also have `vectors` [T, dim] of all tokens and `offsets` [N + 1]."""

    token_vectors: ClassVar[Literal[True]]
    storage: str | None  # numpy's name of the type of these vectors; None: it keeps none

    def check_token_vectors(self, asks: str) -> None:
        """Raises BadInput where it keeps none. asks: what compares them."""
        ...

    def documents(self, table: pa.Table) -> "TokenVectors":
        """`pooled`, `vectors` and `offsets` of N documents (DOCUMENT), in the order of the table."""
        ...


@runtime_checkable
class NamedModel(Protocol):
    """A backbone that is a published model."""

    model: str  # its name on the hub, or a folder


@runtime_checkable
class Precision(Protocol):
    """A backbone that can compute with other numbers than float32."""

    precision: str  # torch's name of their type


@runtime_checkable
class VectorsById(VectorSource, Protocol):
    """One that has vectors of the ids that it was given, and of no other text."""

    by_id: ClassVar[Literal[True]]


@runtime_checkable
class Backbone(VectorSource, PairReader, Protocol):
    """A pretrained transformer that also gives vectors, encoded once and kept."""

    query_length: int  # tokens
    max_length: int  # tokens of a document
    query_prompt: str
    document_prompt: str
    pooling: Literal["mean", "cls", "last"]

    def document_folder(self) -> Path:
        """The folder of what reads documents; `folder()` where one transformer reads both sides."""
        ...

    def document_matrix(self) -> np.ndarray | None:
        """[dim, dim] W, where `documents` gives normalise(d + W d) of the vectors d of that transformer; else None."""
        ...

    def network(self) -> "PreTrainedModel":
        """The transformer without a head, in evaluation mode; what is frozen does not learn."""
        ...

    def text_tokenizer(self) -> "PreTrainedTokenizerFast":
        """A transformers tokenizer, padding on the right, that reads a text alone as `texts` does where it is exported."""
        ...

    def texts(
        self, tokenizer: "PreTrainedTokenizerFast", texts: list[str], prompt: str, length: int
    ) -> list[list[int]]:
        """Token ids of N texts behind the prompt, at most `length` tokens. tokenizer: of `text_tokenizer`."""
        ...


class ParameterGroup(TypedDict):
    """Parameters that learn at one rate, as torch's optimizers take them."""

    params: "list[torch.nn.Parameter]"
    lr: float


@runtime_checkable
class CallbackOfConfig(Protocol):
    """A callback of a training that loads Lightning only when the training begins."""

    def callback(self) -> "lightning.Callback":
        """As Lightning runs it."""
        ...


class Model(Protocol):
    """A student: a torch module. Its constructor takes config only; `load` brings in the weights."""

    temperature: float | None  # None: half of the untuned scores' deviation within a query
    scale: "torch.Tensor"  # what scores are multiplied by, 1 / temperature
    backbone: "Backbone"  # that `load` got

    def load(self, backbone: Backbone, checkpoint: Path | None) -> None:
        """Makes the modules from the pretrained backbone, then takes trained weights from `checkpoint` if given."""
        ...

    def prepare(self, documents: pa.Table) -> None:
        """What is computed once per corpus, such as frozen document vectors. documents: DOCUMENT."""
        ...

    def parameter_groups(self, lr: float) -> list[ParameterGroup]:
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
    def load_state_dict(self, state_dict: "Mapping[str, torch.Tensor]") -> object: ...
    def to(self, device: str) -> "torch.nn.Module": ...


@runtime_checkable
class BackboneCheck(Protocol):
    """A student that cannot be made of every backbone."""

    def check(self, backbone: object) -> None:
        """Raises BadInput, before anything runs, for a backbone that it cannot be made of."""
        ...


@runtime_checkable
class QueryPreparer(Protocol):
    """A student that computes something once for all queries, such as their stored vectors."""

    def prepare_queries(self, queries: pa.Table) -> None:
        """queries: QUERY, all that it will be asked."""
        ...


@runtime_checkable
class PairwiseModel(Protocol):
    """A student that learns preferences: it reads a query and two documents."""

    learns_pairs: ClassVar[Literal[True]]


@runtime_checkable
class WidthModel(Protocol):
    """A student whose vectors can be cut."""

    def at_widths(self, batch: "Mapping[str, torch.Tensor]", widths: list[int]) -> "torch.Tensor":
        """[B, D, 1 + W] scores of the whole vectors and of their first `widths` numbers."""
        ...


@runtime_checkable
class ExportedScores(Protocol):
    """A student whose export may be no folder that sentence-transformers loads."""

    def exported_scores(self, folder: Path, queries: list[str], doc_rows: np.ndarray) -> np.ndarray | None:
        """[N] scores of query n and document `doc_rows[n]` by the folder; None where it is a folder of that library."""
        ...


@runtime_checkable
class Searcher(Protocol):
    """A student that can search a whole corpus, as a bi-encoder can."""

    def search(self, queries: list[str], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows of the prepared documents, scores), each [Q, top_k], best first; never all scores at once."""
        ...


@runtime_checkable
class Embedder(Searcher, Protocol):
    """A student that gives one vector of length 1 a text."""

    @property
    def reads_documents(self) -> bool:
        """Whether it makes their vectors of texts; else these are there."""
        ...

    def nearest(self, queries: list[str], documents: Iterator[np.ndarray], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, of documents whose vectors are given, some at a time and in their order."""
        ...

    def query_vectors(self, queries: list[str]) -> np.ndarray:
        """[Q, width] float32."""
        ...

    def document_vectors(self, rows: slice) -> np.ndarray:
        """[n, width] float32 of some of the prepared documents, as queries are compared with them."""
        ...


class Loss(Protocol):
    """Compares a student's scores with targets. Scores are log odds: a loss that needs a probability takes the sigmoid itself."""

    def __call__(
        self, scores: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor", mask: "torch.Tensor"
    ) -> "torch.Tensor":
        """Scalar. scores, targets in [0, 1], weights, mask (True where a document is): each [B, D]."""
        ...


@runtime_checkable
class ListLoss(Protocol):
    """A loss that can say whether it only compares the documents of a query with each other."""

    @property
    def compares(self) -> bool:
        """Whether it does: a query with one document counts nothing."""
        ...


@runtime_checkable
class WidthLoss(Protocol):
    """A loss over scores [B, D, 1 + W], as a WidthModel gives them."""

    widths: list[int]
