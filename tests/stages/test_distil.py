"""A student's scores as another's targets."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from zelo.errors import BadInput
from zelo.losses.listwise_kl import ListwiseKL
from zelo.records import EXAMPLE, SCORED
from zelo.stages.distil import Distil
from zelo.store.table import Table

SCORES = np.array([2.0, -1.0, 0.5, 90.0, 0.0], np.float32)


def distilled(folder: Path, scores: np.ndarray = SCORES, dev: str = "dev") -> pa.Table:
    queries = pa.table({"query_id": ["a", "b", "c"], "text": ["", "", ""], "split": ["train", dev, "test"]})
    ids = {"query_id": ["b", "b", "a", "a", "c"], "doc_id": ["1", "2", "1", "3", "1"]}
    scored = pa.table({**ids, "score": scores}, schema=SCORED)
    tables: Any = {
        "data": SimpleNamespace(read=lambda name, columns: queries.select(columns)),
        "scored": SimpleNamespace(read=lambda name: scored),
    }
    figures = Distil(inputs={}).run(tables, folder)
    assert figures["rows"] == 4
    return Table("distil", "0", folder, {}).read("examples")


def test_the_targets_log_odds_are_the_teachers_scores(tmp_path: Path) -> None:
    examples = distilled(tmp_path)
    assert examples.schema == EXAMPLE
    assert examples["split"].to_pylist() == ["dev", "dev", "train", "train"]
    target = examples["target"].to_numpy()
    np.testing.assert_allclose(target, 1 / (1 + np.exp(-SCORES[:4].astype(np.float64))), rtol=1e-6)
    assert set(examples["weight"].to_pylist()) == {1.0}
    student = torch.tensor([[4.0, -2.0]])  # half the temperature, twice the scores
    given = student, torch.from_numpy(target[None, :2].copy()), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool)
    assert ListwiseKL(sharpness=None, temperature=0.5)(*given) == pytest.approx(0.0, abs=1e-5)


def test_what_cannot_be_distilled_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no dev query was scored; put dev among"):
        distilled(tmp_path, dev="test")
    with pytest.raises(BadInput, match="a document of query 'a' has a score that is no number"):
        distilled(tmp_path, np.where(SCORES == 0.5, np.nan, SCORES).astype(np.float32))
