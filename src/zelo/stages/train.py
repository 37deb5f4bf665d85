"""Trains a student and exports it."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from zelo.backbones.exported import quiet
from zelo.backbones.pretrained import without_weights
from zelo.errors import BadInput
from zelo.protocols import Backbone, Loss, Model
from zelo.records import DEV, SPLITS, TEST, TRAIN
from zelo.store import CHECKPOINT, Table
from zelo.training.batches import QueryBatches
from zelo.training.comparable import check_comparable
from zelo.training.hardware import Hardware
from zelo.training.linear import Linear
from zelo.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Train:
    """Writes weights.safetensors, curve.json and export/, a folder that sentence-transformers loads as it is.

    Learns from the examples of train queries; the best weights are those that rank the dev queries best as the judge sees them.
    A model that `learns_pairs` learns from preferences instead; the best weights give the dev preferences the highest
    likelihood, and transformers loads its folder.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"hardware", "logger"})

    inputs: dict[str, str]  # data: the load stage; examples: the target stage, or preferences: a preferences stage
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

    def check_inputs(self, stages: Mapping[str, Any]) -> None:
        """Raises BadInput for a model or a loss that cannot learn from what the stage reads."""
        pairs, wanted = "preferences" in stages, getattr(self.model, "learns_pairs", False)
        if pairs != wanted:
            kind = type(self.model).__name__
            raise BadInput(
                f"train {self.name}: {kind} learns from {'preferences' if wanted else 'examples'}; name a"
                f" {'preferences' if wanted else 'target'} stage among its inputs, or choose another model."
            )
        if pairs and getattr(self.loss, "compares", False):
            raise BadInput(
                f"{self.name}.loss={type(self.loss).__name__} compares the scores of a query's documents, and a pair has"
                " one score: use loss=bce, or mse."
            )

    def check(self) -> None:
        """Raises BadInput where the hardware is not there, and for a backbone that the model cannot be made of."""
        self.hardware.check()
        with without_weights():
            copy.deepcopy(self.model).load(self.backbone, None)

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Raises BadInput without train or dev examples or any to compare, ZeloError when untuned scores are not finite."""
        import pytorch_lightning as lightning
        from safetensors.torch import save_file

        from zelo.training.datamodule import DataModule
        from zelo.training.judging import as_judge
        from zelo.training.module import Student
        from zelo.training.parity import measure
        from zelo.training.ranking import scale_to_targets

        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        examples = self._examples(tables, queries, documents)
        lightning.seed_everything(self.seed, verbose=False)
        model = self.model
        model.load(self.backbone, None)
        model.prepare(documents)
        if prepare := getattr(model, "prepare_queries", None):
            prepare(queries)
        data = DataModule(
            train=examples[TRAIN], dev=examples[DEV], loader=self.loader, seed=self.seed, collate=model.collate
        )
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
        curve, device = trained.curve, self.hardware.device
        judging = {"judging": as_judge(model, examples, device)} if "preferences" in tables else {}
        save_file(
            {name: weight.contiguous() for name, weight in model.state_dict().items()}, out / "weights.safetensors"
        )
        (out / "curve.json").write_text(json.dumps(curve, indent=1))
        with quiet():
            model.export(out / "export")
        asked = queries.filter(pc.equal(queries["split"], TRAIN))
        parity = measure(model, out / "export", asked, documents, device)
        values = [point["dev"] for point in curve]
        return {
            **examples[TRAIN].figures,
            **judging,
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

    def _examples(self, tables: dict[str, Table], queries: pa.Table, documents: pa.Table) -> "dict[str, Any]":
        """By split: Lists, or Pairs, of test too where there are any. Raises BadInput where train or dev has none."""
        from zelo.training.datamodule import Lists
        from zelo.training.pairs import Pairs

        kind, name = (Pairs, "preferences") if "preferences" in tables else (Lists, "examples")
        rows, found = tables[name].read(name), {}
        for split in SPLITS:
            mine = rows.filter(pc.equal(rows["split"], split))
            if len(mine):
                found[split] = kind.of(mine, queries, documents)
            elif split != TEST:
                what = "pair of documents with a preference" if kind is Pairs else "rated document"
                raise BadInput(f"train: no {what} belongs to a {split} query, so {self.name} cannot be trained.")
        if kind is Lists:
            check_comparable(self.name, self.loss, (found[TRAIN].doc_rows >= 0).sum(1))
        return found
