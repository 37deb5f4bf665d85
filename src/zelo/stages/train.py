"""Trains a student and exports it."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.backbones.exported import quiet
from zelo.backbones.pretrained import without_weights
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.progress import Advance, progress
from zelo.protocols import Executor, ListLoss, Logger, PairwiseModel, ProcessesExecutor
from zelo.records import DEV, DEV_VALUE, SPLITS, TRAIN
from zelo.store.shards import CHECKPOINT, write_parquet
from zelo.store.table import Table
from zelo.training import launch, training_log, world
from zelo.training.comparable import check_comparable
from zelo.training.hardware import FSDP2, Hardware
from zelo.training.listwise_dataset import Lists
from zelo.training.student import Student
from zelo.training.trainer import LOG, Trained
from zelo.training.widths import check_widths
from zelo.units import HERE

if TYPE_CHECKING:
    import torch

    from zelo.training.datamodule import DataModule, Examples
    from zelo.training.weight_interpolation import WeightMixture

WEIGHTS = "weights.safetensors"


class Unlogged:
    """A logger of a process whose log another one passes on."""

    def check(self) -> None:
        """Nothing is missing."""

    def log(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Writes weights.safetensors, curve.json, training_log, of lists `dev` (DEV_VALUE), and export/ for sentence-transformers.

    Learns from the examples of train queries; the best weights are those that rank the dev queries best against judge ratings,
    of the points of the curve and of mixtures with the untuned weights. A model that `learns_pairs` learns from preferences
    instead; the best weights give the dev preferences the highest likelihood, and transformers loads its folder.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"hardware", "logger"})

    inputs: dict[str, str]  # data: the load stage; examples: the target stage, or preferences: a preferences stage
    student: Student
    hardware: Hardware
    logger: Logger
    name: str  # of the student, for the log
    seed: int

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput for a model or a loss that cannot learn from what the stage reads."""
        pairs, wanted = "preferences" in stages, isinstance(self.student.model, PairwiseModel)
        if pairs != wanted:
            kind = type(self.student.model).__name__
            raise BadInput(
                f"train {self.name}: {kind} learns from {'preferences' if wanted else 'examples'}; name a"
                f" {'preferences' if wanted else 'target'} stage among its inputs, or choose another model."
            )
        if pairs and isinstance(self.student.loss, ListLoss) and self.student.loss.compares:
            raise BadInput(
                f"{self.name}.loss={type(self.student.loss).__name__} compares the scores of a query's documents, and a pair has"
                " one score: use loss=bce, or mse."
            )

    def check(self) -> None:
        """Raises BadInput where the hardware is not there, and for a backbone that the model cannot be made of."""
        self.hardware.check()
        if self.hardware.strategy == FSDP2 and self.student.trainer.precision == "16-mixed":
            raise BadInput(
                f"{self.name}.trainer.precision=16-mixed: hardware.strategy={FSDP2} takes bf16-mixed or 32-true."
            )
        with without_weights():
            copy.deepcopy(self.student).load(None)
        check_widths(self.name, self.student)

    def check_room(self, executor: Executor) -> None:
        """As of a ProcessesStage."""
        hardware = self.hardware
        if hardware.processes > 1 and isinstance(executor, ProcessesExecutor):
            executor.check_room(hardware.num_nodes, hardware.devices, hardware.accelerator == "gpu")
        else:
            hardware.check_devices()

    def run(self, tables: dict[str, Table], out: Path, executor: Executor = HERE) -> Facts:
        """Raises BadInput without train or dev examples or any to compare, ZeloError when untuned scores are not finite."""
        from zelo.training.judging import as_judge
        from zelo.training.parity import measure

        queries, documents, examples = self._examples(tables, out)
        model, device = self.student.model, self.hardware.device
        trained, mixture = self._learned(tables, examples, queries, documents, out, executor)
        judging = {"judging": as_judge(model, examples, device)} if "preferences" in tables else {}
        _save(model.state_dict(), out)
        if not judging:
            _save_values(mixture.values, examples[DEV], queries, out)
        curve = trained.curve
        (out / "curve.json").write_text(json.dumps(curve, indent=1), encoding="utf-8")
        training_log.write(training_log.Lines(out / CHECKPOINT / LOG), out)
        with quiet():
            model.export(out / "export")
        asked = queries.filter(pc.equal(queries["split"], TRAIN))
        parity = measure(model, out / "export", asked, documents, device)
        return {
            **examples[TRAIN].figures,
            **judging,
            "metric": curve[0]["metric"],
            "untuned_dev": mixture.dev[0.0],
            "best_dev": mixture.dev[mixture.share],
            "best_step": curve[trained.best]["step"] if mixture.share else 0,
            "steps": curve[-1]["step"],
            "share": mixture.share,  # of the trained weights; the others are the untuned model's
            "dev_by_share": {f"{share:g}": value for share, value in mixture.dev.items()},
            "resumed_at": trained.resumed_at,
            "split_batches": trained.split_batches,
            "parity": parity,
            "notes": trained.notes(self.name, mixture.share),
        }

    @property
    def processes(self) -> int:
        """How many train together; several leave what came of them in the folder that the pipeline makes (launch.FOLDER)."""
        return self.hardware.processes

    def train_part(self, tables: dict[str, Table], folder: Path, rank: int) -> None:
        """The work of one of several processes, of rank 0 and up; the first leaves weights and curve in `folder`."""
        queries, documents, examples = self._examples(tables, folder.parent)
        report = training_log.Lines(folder / launch.LOG).add  # which the one who started it passes on
        self._start()
        trained = self._fit(examples, queries, documents, report, folder.parent)
        if not rank:
            _save(trained.weights, folder)
            facts = asdict(replace(trained, weights={}))
            (folder / launch.TRAINED).write_text(json.dumps(facts), encoding="utf-8")

    def _learned(
        self,
        tables: dict[str, Table],
        examples: "dict[str, Examples]",
        queries: pa.Table,
        documents: pa.Table,
        out: Path,
        executor: Executor,
    ) -> "tuple[Trained, WeightMixture]":
        """Trains, here or in processes of their own, and puts what dev likes best into the model."""
        from zelo.training.weight_interpolation import learning, mix

        model = self.student.model
        if self.processes > 1:
            trained = self._together(tables, out, executor, len(examples[TRAIN]))
            self._start()  # without a device until now: the processes had them
            start = learning(model)
            self.student.load(out)
            self.student.prepare(queries, documents)
        else:
            self._start()
            start = learning(model)
            trained = self._fit(examples, queries, documents, self._log, out)
        mixture = mix(
            model,
            start,
            trained.dev,
            self.student.trainer.mixtures,
            self._data(examples),
            self.hardware,
            self.student.trainer.precision,
            f"train {self.name}",
        )
        return trained, mixture

    def _together(self, tables: dict[str, Table], out: Path, executor: Executor, rows: int) -> Trained:
        """Trains with the processes of torchrun, or starts them; passes on what they log, and takes what came of them."""
        folder, hardware = out / launch.FOLDER, self.hardware
        if world.count() > 1:
            world.announce(hardware, folder)
            self.train_part(tables, folder, 0)
            for line in training_log.Lines(folder / launch.LOG).read():
                self._log(line["step"], line["metrics"])
        elif isinstance(executor, ProcessesExecutor):
            stage = replace(self, logger=Unlogged())  # which may know a secret
            there = {role: replace(table, path=table.path.resolve()) for role, table in tables.items()}
            part = partial(_part, stage, there, folder.resolve())
            with self._shown(rows) as on_line, launch.lines(folder, on_line) as pass_on:
                executor.together(part, hardware.num_nodes, hardware.devices, hardware.accelerator == "gpu", pass_on)
        else:
            launch.run(folder, hardware, lambda line: self._log(line["step"], line["metrics"]))
        trained = Trained(**json.loads((folder / launch.TRAINED).read_text(encoding="utf-8")))
        (folder / WEIGHTS).rename(out / WEIGHTS)
        shutil.rmtree(folder)
        return trained

    @contextmanager
    def _shown(self, rows: int) -> Iterator[Callable[[Facts], None]]:
        """Yields what takes the lines of a training elsewhere: it logs them, and shows how far the steps are."""
        steps = self.student.trainer.epochs * -(-rows // self.student.loader.queries)
        with progress(f"train {self.name}", steps, "steps") as advance:
            last = 0

            def on_line(line: Facts) -> None:
                nonlocal last
                if line["step"] > last:
                    advance(line["step"] - last)
                    last = line["step"]
                self._log(line["step"], line["metrics"])

            yield on_line

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.logger.log(self.name, step, metrics)

    def _examples(self, tables: dict[str, Table], out: Path) -> "tuple[pa.Table, pa.Table, Facts]":
        """Queries, documents, and by split Lists, or Pairs, of test too. Raises BadInput where train or dev has none."""
        from zelo.training.pairwise_dataset import Pairs

        queries, documents = tables["data"].read("queries"), tables["data"].mapped("documents", out / CHECKPOINT)
        found: Facts = {}
        if pairs := "preferences" in tables:
            rows = tables["preferences"].read("preferences")
            for split in SPLITS:
                found[split] = Pairs.of(rows.filter(pc.equal(rows["split"], split)), queries, documents)
        else:
            found = {split: Lists.read(tables["examples"], split, queries, documents) for split in (TRAIN, DEV)}
        for split in (TRAIN, DEV):
            if not len(found[split]):
                what = "pair of documents with a preference" if pairs else "rated document"
                raise BadInput(f"train: no {what} belongs to a {split} query, so {self.name} cannot be trained.")
        if not pairs:
            check_comparable(self.name, self.student.loss, found[TRAIN].sizes)
        return queries, documents, {split: examples for split, examples in found.items() if len(examples)}

    def _start(self) -> None:
        """The untuned model; what is fresh in it is drawn by the seed."""
        import pytorch_lightning as lightning

        lightning.seed_everything(self.seed, verbose=False)
        self.student.load(None)

    def _data(self, examples: "dict[str, Examples]") -> "DataModule":
        from zelo.training.datamodule import DataModule

        return DataModule(
            train=examples[TRAIN],
            dev=examples[DEV],
            loader=self.student.loader,
            seed=self.seed,
            collate=self.student.model.collate,
        )

    def _fit(
        self,
        examples: "dict[str, Examples]",
        queries: pa.Table,
        documents: pa.Table,
        report: training_log.Report,
        out: Path,
    ) -> Trained:
        """Trains the untuned model that `_start` made, and puts the best trained weights into it."""
        from zelo.training.module import StudentModule
        from zelo.training.validation import scale_to_targets

        student, model = self.student, self.student.model
        student.prepare(queries, documents)
        data = self._data(examples)
        if model.temperature is None:
            model.scale.fill_(1 / scale_to_targets(model, data.val_dataloader()))
        module = StudentModule(
            model=model,
            loss=student.loss,
            optimizer=student.optimizer,
            scheduler=student.scheduler,
            label=f"train {self.name}",
            micro_batch=self.hardware.micro_batch,
        )
        return student.trainer.fit(
            module,
            data,
            hardware=self.hardware,
            report=report,
            checkpoints=out / CHECKPOINT,
        )


def _part(stage: Train, tables: dict[str, Table], folder: Path, rank: int, advance: Advance) -> Facts:
    """What one process does where an executor starts it; how far it is the others see by the log."""
    stage.train_part(tables, folder, rank)
    return {}


def _save_values(values: np.ndarray, lists: Lists, queries: pa.Table, folder: Path) -> None:
    rows = {"query_id": queries["query_id"].take(pa.array(lists.query_rows)), "value": values}
    write_parquet(pa.table(rows), DEV_VALUE, folder, "dev")


def _save(weights: "Mapping[str, torch.Tensor]", folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / WEIGHTS)
