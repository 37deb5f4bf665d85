"""A trained student as judge: the answers of an expensive judge about few pairs, extended to many."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from zelo.backbones import device
from zelo.backbones.exported import CROSS_ENCODER, SETTINGS, loader_of
from zelo.errors import BadInput
from zelo.judges.rubric import only_compares
from zelo.progress import Advance, progress
from zelo.records import ANSWERED, FAILED, STATUSES, Outcomes, Questions
from zelo.store.hashing import hash_file, hash_json
from zelo.texts import document_texts

ROWS = 4096  # pairs whose texts exist at a time
TEXTS = 32  # read at a time by students that score one document


@dataclass(frozen=True, kw_only=True)
class Student:
    """P(a preferred to b) by a pairwise student (zELO, arXiv 2509.12541, section 5.3), or sigmoid(score_a - score_b) by another.

    `path`: a folder that a run exported; null where a pipeline hands its student over. Scores are log odds: the logit of a
    CrossEncoder, a cosine over `temperature`. `both_orders`: of a pairwise student, the mean of both. Preferences are clipped
    to [clip, 1 - clip]. Batches hold at most `tokens` tokens and are made from content.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"tokens"})
    SPREADS: ClassVar[Literal[True]] = True

    any_text: ClassVar[bool] = True  # it needs to know nothing but the texts, and is cheap

    name: str
    path: str | None
    both_orders: bool | None
    clip: float
    temperature: float | None
    tokens: int

    def __post_init__(self) -> None:
        if not 0 <= self.clip < 0.5:
            raise BadInput(f"judge {self.name}: clip={self.clip} must be at least 0 and below 0.5; try 0.01.")
        if self.temperature is not None and self.temperature <= 0:
            raise BadInput(f"judge {self.name}: temperature={self.temperature} must be above 0, or null.")
        if self.tokens < 1:
            raise BadInput(f"judge {self.name}: tokens={self.tokens} must be 1 or more; try 16384.")

    def content(self) -> dict[str, str]:
        """Hash of the model's files but for its README. Raises BadInput for a folder that is no student."""
        if self.path is None:
            return {}
        folder = self._folder()
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
        return {"path": hash_json({path.relative_to(folder).as_posix(): hash_file(path) for path in files})}

    def trained(self, checkpoint: Path) -> "Student":
        """This judge with the student that a train stage left in the folder `checkpoint`."""
        from safetensors import safe_open

        with safe_open(checkpoint / "weights.safetensors", "np") as weights:
            scale = float(weights.get_tensor("scale"))
        return replace(self, path=str(checkpoint / "export"), temperature=self.temperature or 1 / scale)

    def compare(self, questions: Questions) -> Outcomes:
        """One outcome per question; failed where the student gives no number.

        Raises BadInput for a document alone, and where a pairwise student is asked across queries.
        """
        only_compares(self.name, questions)
        n = len(questions)
        with progress(f"judge {self.name}", n, "pairs") as advance:
            p = (self._compared if self._pairwise else self._by_scores)(questions, advance)
        status = np.where(np.isfinite(p), STATUSES.index(ANSWERED), STATUSES.index(FAILED)).astype(np.int32)
        p = np.where(np.isfinite(p), np.clip(p, self.clip, 1 - self.clip), np.nan)
        return Outcomes.of(self.name, p, np.ones(n), status, np.zeros(n, np.int32), np.zeros(n))

    def _compared(self, questions: Questions, advance: Advance) -> np.ndarray:
        """[N] by reading both documents."""
        if questions.query_b_row is not None:
            raise BadInput(f"judge {self.name} compares within one query and cannot across queries.")
        both = self._model.both_orders if self.both_orders is None else self.both_orders
        p = np.empty(len(questions))
        for low in range(0, len(p), ROWS):
            rows = slice(low, min(low + ROWS, len(p)))
            asked, first, second = questions.query_texts(rows), questions.texts_a(rows), questions.texts_b(rows)
            p[rows] = _sigmoid(self._model.log_odds(asked, first, second, self.tokens, advance))
            if both:
                p[rows] = (p[rows] + 1 - _sigmoid(self._model.log_odds(asked, second, first, self.tokens))) / 2
        return p

    def _by_scores(self, questions: Questions, advance: Advance) -> np.ndarray:
        """[N] by scoring each document of each query once."""
        n, width = len(questions), max(questions.documents.num_rows, 1)
        query_a = questions.query_row.astype(np.int64)
        query_b = query_a if questions.query_b_row is None else questions.query_b_row.astype(np.int64)
        asked = np.concatenate([query_a * width + questions.a_row, query_b * width + questions.b_row])
        pairs, place = np.unique(asked, return_inverse=True)
        queries, query = np.unique(pairs // width, return_inverse=True)
        documents, document = np.unique(pairs % width, return_inverse=True)
        texts = questions.queries["text"].take(queries).to_pylist()
        read = document_texts(questions.documents.take(documents))
        unit = 1.0 if self._model.loader == CROSS_ENCODER else self.temperature
        scores = self._model.scores(texts, read, query, document).astype(np.float64) / unit
        advance(n)
        return _sigmoid(scores[place[:n]] - scores[place[n:]])

    @cached_property
    def _model(self) -> Any:
        """What reads the folder."""
        from zelo.backbones.exported import Exported
        from zelo.backbones.exported_pairs import ExportedPairs

        folder, setting = self._folder(), self._setting
        if self._pairwise:
            return ExportedPairs(folder, device.chosen(), setting)
        model = Exported(folder, device.chosen(), setting, TEXTS)
        model.as_log_odds()
        return model

    @property
    def _setting(self) -> str:
        return f"judge {self.name}: path={self.path or 'null'}"

    @property
    def _pairwise(self) -> bool:
        return (self._folder() / SETTINGS).exists()

    def _folder(self) -> Path:
        if self.path is None:
            raise BadInput(f"{self._setting} names no model. Set it to what a run exported: RUN_FOLDER/pairwise.")
        folder = Path(self.path).expanduser()
        if (folder / SETTINGS).exists():
            from zelo.backbones.exported_pairs import check

            check(folder, self._setting)
        elif (folder / "pairwise" / SETTINGS).exists():
            raise BadInput(f"{self._setting}: the folder holds a model. Did you mean {folder / 'pairwise'}?")
        elif loader_of(folder, self._setting) != CROSS_ENCODER and self.temperature is None:
            raise BadInput(
                f"{self._setting}: its scores are cosines, which are no log odds. Set judge.temperature to what the student was"
                " trained with, such as 0.05."
            )
        return folder


def _sigmoid(odds: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(odds / 2)  # without overflow
