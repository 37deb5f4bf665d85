"""A judge that knows the true scores and answers with noise: what a method finds can be held against the truth."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import expit, ndtri

from zelo.errors import BadInput
from zelo.judges.noise import noise
from zelo.judges.rubric import criterion_hashes
from zelo.likelihood.randomness import content_seed, id_hashes, mixed, uniform
from zelo.records import CRITERIA, Outcomes, Questions
from zelo.store.hashing import hash_file

UNIFORM_MIXTURE, THURSTONE = "uniform_mixture", "thurstone"
NOISE_MODELS = (UNIFORM_MIXTURE, THURSTONE)
DIFFICULTIES = np.linspace(-2, 2, CRITERIA)  # of the rubric's criteria, in units of the scores
_PAIR, _TRUTH = np.uint64(1), np.uint64(2)  # what sets draws apart, and a query from a document
_COLUMNS = ("query_id", "doc_id", "score")


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """Answers about documents with true scores s, from the latent d = s_a - s_b + N(0, sd).

    `uniform_mixture`: (1 - slip) * sigmoid(d) + slip * U(0, 1), a fit to what one language model answers (ZeroEntropy, 2025).
    `thurstone`: a vote for the side of d's sign, so that P(a) = Phi((s_a - s_b) / sd) (Thurstone 1927); a share `slip` of the
    votes is a coin's. True scores are those of the parquet file `scores` (query_id, doc_id, score), or, where that is None,
    standard normal and made of query_id, doc_id and seed. Noise is made of the judge's name, the pair, repeat and seed, once
    per pair whatever is shown first: p(a, b) + p(b, a) = 1 unless there is a `position_bias`, in units of d.

    Asked whether a document alone meets a criterion, the same from d = s - difficulty of the criterion + N(0, sd), with noise
    of document and criterion and no position bias; the difficulties are -2, -1, 0, 1, 2 in units of the scores.
    """

    SPREADS: ClassVar[Literal[True]] = True

    name: str
    noise_model: Literal["uniform_mixture", "thurstone"]
    scores: str | None
    sd: float  # of the latent noise, in units of the scores
    slip: float  # share of the answer that means nothing
    position_bias: float  # added to the latent for the document shown first
    seed: int

    def __post_init__(self) -> None:
        where = f"judge {self.name}"
        if self.noise_model not in NOISE_MODELS:
            raise BadInput(
                f"{where}: noise_model={self.noise_model!r} is unknown; use one of {', '.join(NOISE_MODELS)}."
            )
        if not 0 <= self.sd < np.inf:
            raise BadInput(f"{where}: sd={self.sd} must be 0 or more, and finite; it is a standard deviation.")
        if not np.isfinite(self.position_bias):
            raise BadInput(f"{where}: position_bias={self.position_bias} must be finite; 0 is none.")
        if not 0 <= self.slip <= 1:
            raise BadInput(f"{where}: slip={self.slip} must lie in [0, 1]; it is the share of noise in an answer.")

    def content(self) -> dict[str, str]:
        """Hash of the file of scores, where one is named. Raises BadInput if it is not there."""
        return {} if self.scores is None else {"scores": hash_file(self._file())}

    def compare(self, questions: Questions) -> Outcomes:
        """One answer per question, across queries too. Raises BadInput naming the first document without a score."""
        a, b = _sides(questions, self.seed)
        true = self._scores(np.concatenate([a, b]), questions)
        less, bias = true[len(a) :], self.position_bias
        if questions.criterion is not None:
            b, less, bias = criterion_hashes(questions.criterion), DIFFICULTIES[questions.criterion], 0.0
        normal, uniform = noise(a, b, questions.repeat, content_seed(self.name, self.seed))
        latent = true[: len(a)] - less + self.sd * normal + bias
        if self.noise_model == UNIFORM_MIXTURE:
            return Outcomes.answered(self.name, (1 - self.slip) * expit(latent) + self.slip * uniform)
        astray = np.abs(uniform - 0.5) < self.slip / 2
        return Outcomes.answered(self.name, np.heaviside(np.where(astray, uniform - 0.5, latent), 0.5))

    def _scores(self, asked: np.ndarray, questions: Questions) -> np.ndarray:
        if self.scores is None:
            return ndtri(uniform(mixed(asked, _TRUTH)))
        known, scores = self._known
        place = np.searchsorted(known, asked)
        missing = np.append(known, 0)[place] != asked
        if missing.any():
            query, doc = _named(questions, int(missing.argmax()))
            raise BadInput(
                f"judge {self.name}: {self.scores} has no score of document {doc!r} for query {query!r}. Add the row, or set"
                " scores=null to have scores drawn."
            )
        return scores[place]

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        """([K] hashes of query and document, ascending, [K] scores) of the file."""
        path, table = self._file(), self._read()
        keys = mixed(_PAIR, *(_column_hashes(table, column, self.seed, path) for column in _COLUMNS[:2]))
        score = table["score"].cast(pa.float64()).to_numpy()
        if not np.isfinite(score).all():
            raise BadInput(f"{path}: row {int((~np.isfinite(score)).argmax())} has no finite score; write a number.")
        order = np.argsort(keys, kind="stable")
        again = np.flatnonzero(np.diff(keys[order]) == 0)
        if len(again):
            row = table.slice(int(order[again + 1].min()), 1).to_pylist()[0]
            raise BadInput(
                f"{path} scores document {row['doc_id']!r} for query {row['query_id']!r} twice; keep one of the rows."
            )
        return keys[order], score[order]

    def _read(self) -> pa.Table:
        path = self._file()
        try:
            types = {item.name: item.type for item in pq.read_schema(path)}
            for column in _COLUMNS:
                if column not in types:
                    raise BadInput(f"{path} has no column {column}; write {', '.join(_COLUMNS)}.")
            if not (pa.types.is_floating(types["score"]) or pa.types.is_integer(types["score"])):
                raise BadInput(f"{path}: column score is {types['score']}; write numbers.")
            return pq.read_table(path, columns=list(_COLUMNS), read_dictionary=["query_id", "doc_id"])
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"judge {self.name}: scores={self.scores} cannot be read as parquet ({error}).") from error

    def _file(self) -> Path:
        path = Path(str(self.scores)).expanduser()
        if not path.is_file():
            raise BadInput(
                f"judge {self.name}: scores={self.scores} is no file. Give a parquet file with {', '.join(_COLUMNS)},"
                " or null to have scores drawn."
            )
        return path


def _sides(questions: Questions, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """([N], [N]) uint64 hashes of query and document, of what is shown first and of what is shown second."""
    n = len(questions)
    docs = id_hashes(questions.documents["doc_id"], np.concatenate([questions.a_row, questions.b_row]), seed)
    query = other = id_hashes(questions.queries["query_id"], questions.query_row, seed)
    if questions.query_b_row is not None:
        other = id_hashes(questions.queries["query_id"], questions.query_b_row, seed)
    return mixed(_PAIR, query, docs[:n]), mixed(_PAIR, other, docs[n:])


def _named(questions: Questions, place: int) -> tuple[str, str]:
    """Ids of query and document; places below N are those of the documents shown first, the next N of the second."""
    second, row = divmod(place, len(questions))
    queries = questions.query_id_b if second and questions.query_id_b is not None else questions.query_id
    return queries[row].as_py(), (questions.doc_b if second else questions.doc_a)[row].as_py()


def _column_hashes(table: pa.Table, column: str, seed: int, path: Path) -> np.ndarray:
    """[K] uint64 hashes of a column of ids. Raises BadInput where they are no strings."""
    ids = table[column].unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(ids.type) or ids.null_count:
        raise BadInput(f"{path}: the ids in column {column} must be strings, none of them null.")
    return id_hashes(pa.chunked_array([ids.dictionary]), ids.indices.to_numpy(), seed)
