"""Writes an exported student as ONNX."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from zelo.facts import Facts
from zelo.records import TRAIN
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class Onnx:
    """Writes onnx/ with model.onnx and model_int8.onnx, or one pair of files for queries and one for documents.

    They run without torch, and are published in the folder onnx/ of the model that the train stage exported. It takes about
    a minute for each file.
    """

    inputs: dict[str, str]  # data: the load stage; checkpoint: a train stage

    def check(self) -> None:
        """Raises BadInput where the packages for ONNX are not installed."""
        from zelo.backbones.onnx_export import check_installed

        check_installed()

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises ZeloError where the float32 file does not score as the trained model."""
        from zelo.backbones.onnx_export import write
        from zelo.backbones.onnx_model import FOLDER
        from zelo.training.onnx_parity import measure

        trained = tables["checkpoint"]
        export = trained.path / "export"
        write(export, out / FOLDER, f"the export {export}")
        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        asked = queries.filter(pc.equal(queries["split"], TRAIN))
        return {"parity": measure(export, out / FOLDER, asked, documents, trained.manifest["parity"])}
