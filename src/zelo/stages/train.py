"""Trains a student and exports it."""

import copy
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.compute as pc

from zelo.backbones.exported import quiet
from zelo.backbones.pretrained import without_weights
from zelo.errors import BadInput
from zelo.protocols import Backbone, Loss, Model
from zelo.records import DEV, TRAIN
from zelo.store import CHECKPOINT, Table
from zelo.training.batches import QueryBatches
from zelo.training.comparable import check_comparable
from zelo.training.hardware import Hardware
from zelo.training.linear import Linear
from zelo.training.trainer import Trainer
from zelo.training.widths import check_widths


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
        """Raises BadInput where the hardware is not there, and for a backbone that the model cannot be made of."""
        self.hardware.check()
        with without_weights():
            copy.deepcopy(self.model).load(self.backbone, None)
        check_widths(self.name, self.loss, self.model, self.backbone)

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Raises BadInput without train or dev examples or any to compare, ZeloError when untuned scores are not finite."""
        import pytorch_lightning as lightning
        from safetensors.torch import save_file

        from zelo.training.datamodule import DataModule, Lists
        from zelo.training.module import Student
        from zelo.training.parity import measure
        from zelo.training.ranking import scale_to_targets

        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        examples = tables["examples"].read("examples")
        lists = {}
        for split in (TRAIN, DEV):
            rows = examples.filter(pc.equal(examples["split"], split))
            if not len(rows):
                raise BadInput(
                    f"train: no rated document belongs to a {split} query, so {self.name} cannot be trained."
                )
            lists[split] = Lists.of(rows, queries, documents)
        check_comparable(self.name, self.loss, (lists[TRAIN].doc_rows >= 0).sum(1))
        lightning.seed_everything(self.seed, verbose=False)
        model = self.model
        model.load(self.backbone, None)
        model.prepare(documents)
        if prepare := getattr(model, "prepare_queries", None):
            prepare(queries)
        data = DataModule(train=lists[TRAIN], dev=lists[DEV], loader=self.loader, seed=self.seed, collate=model.collate)
        if model.temperature is None:
            model.scale.fill_(1 / scale_to_targets(model, list(data.val_dataloader())))
        module = Student(model=model, loss=self.loss, optimizer=self.optimizer, scheduler=self.scheduler)
        loggers = self.logger.lightning(self.name)
        trained = self.trainer.fit(
            module,
            data,
            hardware=self.hardware,
            loggers=loggers,
            label=f"train {self.name}",
            checkpoints=out / CHECKPOINT,
        )
        curve = trained.curve
        save_file(
            {name: weight.contiguous() for name, weight in model.state_dict().items()}, out / "weights.safetensors"
        )
        (out / "curve.json").write_text(json.dumps(curve, indent=1))
        with quiet():
            model.export(out / "export")
        asked = queries.filter(pc.equal(queries["split"], TRAIN))
        parity = measure(model, out / "export", asked, documents, self.hardware.device)
        values = [point["dev"] for point in curve]
        return {
            "rows": int((lists[TRAIN].doc_rows >= 0).sum()),
            "queries": len(lists[TRAIN]),
            "metric": curve[0]["metric"],
            "untuned_dev": values[0],
            "best_dev": max(values),
            "best_step": curve[values.index(max(values))]["step"],
            "steps": curve[-1]["step"],
            "resumed_at": trained.resumed_at,
            "split_batches": trained.split_batches,
            "parity": parity,
            "notes": trained.notes(self.name),
        }
