"""Whether the ONNX files of an exported model score as the model that was trained, and what int8 costs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.special import expit

from zelo.backbones.exported import CROSS_ENCODER
from zelo.backbones.onnx_model import FLOAT32, INT8, PRECISIONS, OnnxModel
from zelo.facts import Facts
from zelo.training.parity import PAIRS, Sample

AFFECTS_RESULTS = False  # What is measured is a fact of the manifest; no table holds it.


def measure(folder: Path, files: Path, queries: pa.Table, documents: pa.Table, trained: Facts) -> Facts:
    """Largest differences from the scores that the trained model gave when it was exported, the same pairs.

    folder: the export; files: with its ONNX; queries, documents: as then; trained: what parity.measure returned then. float32
    has to be within the same tolerance, int8 only has to give numbers: its difference is reported. Raises ZeloError as there.
    """
    sample, places, ours = Sample.of(queries, documents), np.arange(PAIRS), np.array(trained["scores"])
    models = {precision: OnnxModel(folder, files, precision, f"the export {folder}") for precision in PRECISIONS}
    found = {name: model.scores(sample.queries, sample.documents, places, places) for name, model in models.items()}
    tolerances = {FLOAT32: trained["tolerance"], INT8: np.finfo(np.float32).max}

    def largest(ours: np.ndarray, theirs: dict[str, np.ndarray]) -> dict[str, float]:
        different = (sample.differences(ours, {f"ONNX {name}": theirs[name]}, tolerances[name]) for name in theirs)
        return {library: value for pair in different for library, value in pair.items()}

    facts = {"pairs": PAIRS, "tolerance": trained["tolerance"], "scores": ours.tolist()}
    if models[FLOAT32].loader != CROSS_ENCODER:
        return {**facts, "largest_difference": largest(ours, found)}
    after = {name: expit(logits) for name, logits in found.items()}
    return {
        **facts,
        "largest_logit_difference": largest(ours, found),
        "largest_difference": largest(expit(ours), after),
    }
