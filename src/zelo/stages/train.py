"""Trains a student and exports it."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from zelo.backbones.exported import quiet
from zelo.errors import BadInput
from zelo.protocols import Backbone, Loss, Model
from zelo.records import DEV, TRAIN
from zelo.store import CHECKPOINT, Table
from zelo.training import ranks
from zelo.training.batches import QueryBatches
from zelo.training.comparable import check_comparable
from zelo.training.hardware import Hardware
from zelo.training.linear import Linear
from zelo.training.lists import Lists
from zelo.training.together import ALONE, Together
from zelo.training.trainer import Trained, Trainer

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class Train:
    """Writes weights.safetensors, curve.json and export/, a folder that sentence-transformers loads as it is.

    Learns from the examples of train queries; the best weights are those that rank the dev queries best as the judge sees them.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"hardware", "logger"})

    inputs: dict[str, str]  # data: the load stage; examples: the target stage
    model: Model
    backbone: Backbone
    loss: Loss
    optimizer: partial[Any]
    scheduler: Linear
    loader: QueryBatches
    trainer: Trainer
    hardware: Hardware
    logger: Any
    name: str  # of the student, for the log
    seed: int

    def check(self) -> None:
        """Raises BadInput where the hardware is not there."""
        self.hardware.check()

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Raises BadInput without train or dev examples or any to compare, ZeloError when untuned scores are not finite."""
        from zelo.training.parity import measure

        queries, documents, lists = self._examples(tables, out)
        if self.processes > 1:
            trained = self._together(out)
            self.model.load(self.backbone, out)  # without a device until now: the processes had them
            self.model.prepare(documents)
        else:
            trained = self._fit(lists, documents, self.logger.lightning(self.name), out, ALONE)
            _save(self.model.state_dict(), out)
        curve = trained.curve
        (out / "curve.json").write_text(json.dumps(curve, indent=1))
        with quiet():
            self.model.export(out / "export")
        asked = queries.filter(pc.equal(queries["split"], TRAIN))
        parity = measure(self.model, out / "export", asked, documents, self.hardware.device)
        values = [point["dev_ndcg"] for point in curve]
        return {
            "rows": len(lists[TRAIN].doc_rows),
            "queries": len(lists[TRAIN]),
            "untuned_dev_ndcg": values[0],
            "best_dev_ndcg": max(values),
            "best_step": curve[values.index(max(values))]["step"],
            "steps": curve[-1]["step"],
            "resumed_at": trained.resumed_at,
            "split_batches": trained.split_batches,
            "parity": parity,
            "notes": trained.notes(self.name),
        }

    @property
    def processes(self) -> int:
        """How many train together; several begin from the folder that the pipeline makes for them (ranks.FOLDER)."""
        return self.hardware.processes

    def train_part(self, tables: dict[str, Table], folder: Path, together: Together) -> None:
        """The work of one of several processes; the first leaves weights and curve in `folder`."""
        from zelo.training.json_log import JsonLog

        _, documents, lists = self._examples(tables, folder.parent)
        loggers = [JsonLog(folder / ranks.LOG)] if together.first else []
        trained = self._fit(lists, documents, loggers, folder.parent, together)
        if together.first:
            _save(trained.weights, folder)
            facts = asdict(replace(trained, weights={}))
            (folder / ranks.TRAINED).write_text(json.dumps(facts))

    def _together(self, out: Path) -> Trained:
        """Starts the processes, passes on what they log, and takes what came of them."""
        loggers = self.logger.lightning(self.name)

        def tell(line: dict[str, Any]) -> None:
            for logger in loggers:
                logger.log_metrics(line["metrics"], line["step"])

        folder = out / ranks.FOLDER
        ranks.run(folder, self.hardware, tell)
        trained = Trained(**json.loads((folder / ranks.TRAINED).read_text()))
        (folder / WEIGHTS).rename(out / WEIGHTS)
        shutil.rmtree(folder)
        return trained

    def _examples(self, tables: dict[str, Table], out: Path) -> tuple[pa.Table, pa.Table, dict[str, Lists]]:
        """Queries, documents, and the examples of train and dev."""
        queries, documents = tables["data"].read("queries"), tables["data"].mapped("documents", out / CHECKPOINT)
        lists = {split: Lists.read(tables["examples"], split, queries, documents) for split in (TRAIN, DEV)}
        for split, found in lists.items():
            if not len(found):
                raise BadInput(
                    f"train: no rated document belongs to a {split} query, so {self.name} cannot be trained."
                )
        check_comparable(self.name, self.loss, lists[TRAIN].sizes)
        return queries, documents, lists

    def _fit(
        self, lists: dict[str, Lists], documents: pa.Table, loggers: list[Any], out: Path, together: Together
    ) -> Trained:
        """Puts the best weights into the model."""
        import pytorch_lightning as lightning

        from zelo.training.datamodule import DataModule
        from zelo.training.module import Student
        from zelo.training.ranking import scale_to_targets

        lightning.seed_everything(self.seed, verbose=False)
        model = self.model
        model.load(self.backbone, None)
        model.prepare(documents)
        data = DataModule(
            train=lists[TRAIN],
            dev=lists[DEV],
            loader=self.loader,
            seed=self.seed,
            collate=model.collate,
            together=together,
        )
        if model.temperature is None:
            model.scale.fill_(1 / scale_to_targets(model, data.val_dataloader(), together))
        together.own_randomness(self.seed)
        module = Student(
            model=model,
            loss=self.loss,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            together=together,
            micro_batch=self.hardware.micro_batch,
        )
        return self.trainer.fit(
            module,
            data,
            hardware=self.hardware,
            loggers=loggers,
            label=f"train {self.name}",
            checkpoints=out / CHECKPOINT,
            together=together,
        )


def _save(weights: Mapping[str, Any], folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / WEIGHTS)
