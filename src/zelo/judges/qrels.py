"""A judge that reads labels, with noise: an upper bound for judges that do not, and a simulation on real grades."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from zelo.errors import BadInput
from zelo.judges.noise import noise
from zelo.judges.rubric import criterion_hashes
from zelo.likelihood.randomness import content_seed, id_hashes, mixed
from zelo.qrels import qrels_files, read_qrels
from zelo.ranking import document_ids
from zelo.records import CRITERIA, TEST, Outcomes, Questions
from zelo.store.hashing import hash_file, hash_json

_PAIR = np.uint64(1)  # sets a query apart from a document


@dataclass(frozen=True, kw_only=True)
class Qrels:
    """p = (1 - slip) * sigmoid(slope * (grade_a - grade_b) + N(0, sd)) + slip * U(0, 1).

    What is rated or trained with it has seen labels: never compare it with what has not, except as a bound. `path` is a qrels
    file, in BEIR's three columns or TREC's four, or a folder in BEIR layout, of which qrels/train.tsv is not opened: labels are
    learnt from only where somebody names that very file. A document without a judgement has grade 0; a passage has the
    grade of its document. Noise is made of the
    judge's name, the pair, repeat and seed, once per pair whatever is shown first: p(a, b) + p(b, a) = 1.

    Asked whether a document alone meets a criterion of the rubric, it holds the grade against a threshold in place of grade_b:
    the five lie at 0.1, 0.3, 0.5, 0.7 and 0.9 of the highest grade in the labels (or of 1). Labels do not say what a grade
    means for a criterion, so this spacing is an assumption, and a good test of what is made of such answers, not of a rubric.
    """

    name: str
    path: str
    slope: float  # what a difference of one grade adds to the log odds
    sd: float  # of the noise in the log odds
    slip: float  # share of the answer that means nothing
    seed: int

    def __post_init__(self) -> None:
        where = f"judge {self.name}"
        if not self.slope > 0:
            raise BadInput(f"{where}: slope={self.slope} must be above 0; it is in log odds per grade, try 2.")
        if not self.sd >= 0:
            raise BadInput(f"{where}: sd={self.sd} must be 0 or more; it is a standard deviation.")
        if not 0 <= self.slip <= 1:
            raise BadInput(f"{where}: slip={self.slip} must lie in [0, 1]; it is the share of noise in an answer.")

    def content(self) -> dict[str, str]:
        """Hash of the files of labels. Raises BadInput if there is none."""
        return {"path": hash_json([hash_file(file) for file in self._files()])}

    def compare(self, questions: Questions) -> Outcomes:
        """One answer per question. Raises BadInput for labels that cannot be read, or of other queries altogether."""
        n = len(questions)
        keys, grades = self._grades
        queries = questions.queries["query_id"]
        if not pc.any(pc.is_in(queries, value_set=self._labels["query_id"].combine_chunks())).as_py():  # pyright: ignore[reportAttributeAccessIssue]
            raise BadInput(
                f"judge {self.name}: {self.path} judges none of the {len(queries)} queries; name the labels of this dataset."
            )
        query = other = id_hashes(queries, questions.query_row, self.seed)
        if questions.query_b_row is not None:
            other = id_hashes(queries, questions.query_b_row, self.seed)
        doc = id_hashes(
            document_ids(questions.documents), np.concatenate([questions.a_row, questions.b_row]), self.seed
        )
        a, b = mixed(_PAIR, query, doc[:n]), mixed(_PAIR, other, doc[n:])
        asked = np.concatenate([a, b])
        place = np.searchsorted(keys, asked)
        grade = np.where(np.append(keys, 0)[place] == asked, np.append(grades, 0)[place], 0)
        less = grade[n:]
        if questions.criterion is not None:
            b, less = criterion_hashes(questions.criterion), self._thresholds[questions.criterion]
        normal, uniform = noise(a, b, questions.repeat, content_seed(self.name, self.seed))
        p = expit(self.slope * (grade[:n] - less) + self.sd * normal)
        return Outcomes.answered(self.name, (1 - self.slip) * p + self.slip * uniform)

    @cached_property
    def _labels(self) -> pa.Table:
        """QREL rows of all files. Raises BadInput for a line that cannot be read, and where two lines disagree."""
        return read_qrels([(file, TEST) for file in self._files()])  # of one split: the files must agree

    @property
    def _thresholds(self) -> np.ndarray:
        """[CRITERIA] grades at which a criterion is as likely met as not, in the middle of equal parts of the scale."""
        return (np.arange(CRITERIA) + 0.5) / CRITERIA * max(1, pc.max(self._labels["relevance"]).as_py())

    @cached_property
    def _grades(self) -> tuple[np.ndarray, np.ndarray]:
        """([K] hashes of query and document, ascending, [K] grades)."""
        every = np.arange(len(self._labels))
        hashes = (id_hashes(self._labels[column], every, self.seed) for column in ("query_id", "doc_id"))
        keys = mixed(_PAIR, *hashes)
        order = np.argsort(keys)
        return keys[order], self._labels["relevance"].to_numpy().astype(np.int64)[order]

    def _files(self) -> list[Path]:
        path = Path(self.path).expanduser()
        if path.is_file():
            return [path]
        found = [file for file, _ in qrels_files(path)]
        if not found:
            raise BadInput(
                f"judge {self.name}: path={self.path} is neither a file nor a folder with qrels/test.tsv or qrels/dev.tsv."
                " Name a qrels file."
            )
        return found
