"""A judge that reads labels, with noise: an upper bound for judges that do not, and a simulation on real grades."""

from collections.abc import Iterator
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
from zelo.records import CRITERIA, Outcomes, Questions
from zelo.store import hash_file, hash_json

_HEADER = ["query-id", "corpus-id", "score"]
_PAIR = np.uint64(1)  # sets a query apart from a document


@dataclass(frozen=True, kw_only=True)
class Qrels:
    """p = (1 - slip) * sigmoid(slope * (grade_a - grade_b) + N(0, sd)) + slip * U(0, 1).

    What is rated or trained with it has seen labels: never compare it with what has not, except as a bound. `path` is a qrels
    file, or a folder in BEIR layout, of which qrels/train*.tsv is not opened: labels are learnt from only where somebody names
    that very file. A document without a judgement has grade 0. Noise is made of the judge's name, the pair, repeat and seed,
    once per pair whatever is shown first: p(a, b) + p(b, a) = 1.

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
        known, grades = self._known
        queries = questions.queries["query_id"]
        if not pc.any(pc.is_in(queries, value_set=self._query_ids)).as_py():  # pyright: ignore[reportAttributeAccessIssue]
            raise BadInput(
                f"judge {self.name}: {self.path} judges none of the {len(queries)} queries; name the labels of this dataset."
            )
        query = other = id_hashes(queries, questions.query_row, self.seed)
        if questions.query_b_row is not None:
            other = id_hashes(queries, questions.query_b_row, self.seed)
        doc = id_hashes(questions.documents["doc_id"], np.concatenate([questions.a_row, questions.b_row]), self.seed)
        a, b = mixed(_PAIR, query, doc[:n]), mixed(_PAIR, other, doc[n:])
        asked = np.concatenate([a, b])
        place = np.searchsorted(known, asked)
        grade = np.where(np.append(known, 0)[place] == asked, np.append(grades, 0)[place], 0)
        less = grade[n:]
        if questions.criterion is not None:
            b, less = criterion_hashes(questions.criterion), self._thresholds[questions.criterion]
        normal, uniform = noise(a, b, questions.repeat, content_seed(self.name, self.seed))
        p = expit(self.slope * (grade[:n] - less) + self.sd * normal)
        return Outcomes.answered(self.name, (1 - self.slip) * p + self.slip * uniform)

    @cached_property
    def _rows(self) -> dict[tuple[str, str], int]:
        """(query_id, doc_id) -> grade, of all files. Raises BadInput where two lines disagree."""
        rows: dict[tuple[str, str], int] = {}
        for file in self._files():
            for place, query, doc, grade in _judgements(file):
                if rows.setdefault((query, doc), grade) != grade:
                    raise BadInput(
                        f"{place}: document {doc!r} has grade {grade} for query {query!r}, but {rows[query, doc]} before;"
                        " keep one of the two."
                    )
        return rows

    @property
    def _thresholds(self) -> np.ndarray:
        """[CRITERIA] grades at which a criterion is as likely met as not, in the middle of equal parts of the scale."""
        return (np.arange(CRITERIA) + 0.5) / CRITERIA * max(1, max(self._rows.values()))

    @cached_property
    def _query_ids(self) -> pa.Array:
        return pa.array(dict.fromkeys(query for query, _ in self._rows), pa.string())

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        """([K] hashes of query and document, ascending, [K] grades)."""
        columns = zip(*self._rows, strict=True) if self._rows else ((), ())
        every = np.arange(len(self._rows))
        hashes = (id_hashes(pa.chunked_array([pa.array(ids, pa.string())]), every, self.seed) for ids in columns)
        keys = mixed(_PAIR, *hashes)
        order = np.argsort(keys)
        return keys[order], np.array(list(self._rows.values()), np.int64)[order]

    def _files(self) -> list[Path]:
        path = Path(self.path).expanduser()
        if path.is_file():
            return [path]
        found = [file for file in sorted(path.glob("qrels/*.tsv")) if not file.name.startswith("train")]
        if not found:
            raise BadInput(
                f"judge {self.name}: path={self.path} is neither a file nor a folder with qrels/test.tsv or qrels/dev.tsv."
                " Name a qrels file."
            )
        return found


def _judgements(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """(file:line, query_id, doc_id, grade) of each line, in BEIR's three columns or TREC's four."""
    for line, raw in enumerate(path.read_bytes().splitlines(), 1):
        try:
            cells = raw.decode("utf-8-sig").split()
            if not cells or (line == 1 and [cell.lower() for cell in cells] == _HEADER):
                continue
            if len(cells) not in (3, 4):
                raise ValueError
            yield f"{path}:{line}", cells[0], cells[-2], int(cells[-1])
        except ValueError:  # no UTF-8 either
            raise BadInput(
                f"{path}:{line}: {raw[:120]!r} is no judgement; write query-id, corpus-id and an integer score, separated by"
                " tabs."
            ) from None
