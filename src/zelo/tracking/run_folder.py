"""What a run leaves behind for a reader: config, manifest, figures, run files, models with their cards, and the report."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zelo.backbones.exported import MATRIX
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.hybrid_score import FILE
from zelo.reporting import acquired, audit_page, claims, compared, hybrid, latency, lineage, rerankers, run_comparison
from zelo.reporting.evaluation import Evaluation
from zelo.reporting.notes import missing
from zelo.store.references import FINISHED, PRUNED, RUNNING
from zelo.store.table import MANIFEST, Table
from zelo.tracking import redact, run_tables, whole_file

if TYPE_CHECKING:
    from zelo.pipeline.run import Result, Step

SMALL = 1 << 20  # bytes; a smaller file of a model is no weights, and is copied
FAILED, INTERRUPTED = "failed", "interrupted"


class RunFolder:
    """A folder that can be read at any moment: the config at once, the manifest after every stage, the rest at the end."""

    def __init__(self, folder: Path, config_yaml: str, seed: int, command: str, overrides: Sequence[str]) -> None:
        """config_yaml: composed and resolved, without secrets; command: as typed; overrides: of this job.

        Raises BadInput when the folder cannot be written.
        """
        self.folder = folder
        self.began_empty = not folder.is_dir() or not any(folder.iterdir())
        self.config_yaml = config_yaml
        self.manifest: Facts = {
            "status": RUNNING,
            "command": redact.text(command),
            "git": _commit(),
            "started": now(),
            "seed": seed,
            "versions": {},
            "data": {},
            "stages": {},
        }
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            whole_file.replace(folder / "config.yaml", config_yaml)
            listed = "".join(f"- {json.dumps(redact.text(one), ensure_ascii=False)}\n" for one in overrides)
            whole_file.replace(folder / "overrides.yaml", listed or "[]\n")
        self._save()

    def write_manifest(self, result: "Result", versions: dict[str, str]) -> None:
        """Adds the stages that have ended since."""
        self.manifest["versions"] = versions
        for step in result.steps:
            if step.name in result.tables:
                table = result.tables[step.name]
                self.manifest["stages"][step.name] = _stage(step, table, result.facts[step.name])
                if table.has("documents") or table.has("qrels"):  # what comes from outside
                    hashes = {name: facts["hash"] for name, facts in table.manifest["files"].items()}
                    self.manifest["data"][step.name] = hashes
        self._save()

    def fail(self, error: BaseException) -> None:
        """Says in the manifest why the run ended early. What was made so far stays in the store."""
        self.manifest["status"] = INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
        self.manifest["error"] = redact.text(str(error) or type(error).__name__)
        self._save()

    def prune(self, words: str, facts: Facts) -> None:
        """Says in the manifest where a search has ended the run."""
        self.manifest |= {"status": PRUNED, "ended": now(), "pruned": facts | {"words": words}}
        self._save()

    def clear(self) -> None:
        """Removes everything in the folder."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def publish(self, result: "Result", optimize: str | None, report: bool = True) -> None:
        """Writes whatever the stages that ran can tell: figures, run files, models, and the report where it is wanted."""
        evaluation = Evaluation.of(result)
        with _writing(self.folder):
            if evaluation:
                names = ["metrics.json", "verdicts.json", "choices.json"]
                for name in [*names, *["probabilities.json"] * bool(evaluation.probabilities)]:
                    shutil.copyfile(evaluation.table.path / name, self.folder / name)
                _copy_folder(evaluation.table.path / "runs", self.folder / "runs")
            run_tables.publish(result, self.folder)
            for name in lineage.students(result):
                self._publish_model(name, result, evaluation)
            for table in result.tables.values():
                published = (
                    "reranked.*",
                    claims.FILE,
                    latency.FILE,
                    rerankers.FILE,
                    run_comparison.FILE,
                    "side_by_side.json",
                )
                for path in (path for pattern in published for path in table.path.glob(pattern)):
                    shutil.copyfile(path, self.folder / path.name)
            if said := hybrid.said(result):
                whole_file.replace(self.folder / FILE, json.dumps(said, indent=1) + "\n")
            audited = audit_page.Audited.of(result)
            if audited:
                shutil.copyfile(audited.table.path / "audit.json", self.folder / "audit.json")
            if report and (audited or lineage.holding(result, "fits")):
                from zelo.reporting.report import render
                from zelo.reporting.report_data import of_run

                page = render(of_run(result, evaluation, self.manifest, self.config_yaml, self.folder))
                whole_file.replace(self.folder / "report.html", page)
        self.manifest["status"] = FINISHED
        self.manifest["ended"] = now()
        found = compared.of_run(result, evaluation, optimize)
        with _writing(self.folder):
            whole_file.replace(self.folder / compared.FILE, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        self.manifest["compared"] = found["figures"]
        if found["values"]:
            self.manifest["figures"] = {name: found[name] for name in ("system", "keys", "values")}
            if evaluation and evaluation.domains:
                self.manifest["figures"]["domains"] = {
                    name: facts | {"split": evaluation.split, "value": evaluation.by_domain[name].get(optimize or "")}
                    for name, facts in evaluation.domains.items()
                }
        if added := acquired.lines(result):
            self.manifest["acquired"] = added
        self._save()

    def _publish_model(self, name: str, result: "Result", evaluation: Evaluation | None) -> None:
        from zelo.backbones.onnx_export import link_sides
        from zelo.reporting import model_card

        step = lineage.step_of(result, name)
        folder = self.folder / step.stage.name
        _copy_folder(result.tables[name].path / "export", folder)
        for reader in lineage.checkpoint_readers(result, name):
            made = result.tables[reader].path
            if (made / "onnx").is_dir():
                _copy_folder(made / "onnx", folder / "onnx")
                link_sides(folder)
            if (made / "export").is_dir():  # of shorter vectors
                _copy_folder(made / "export", self.folder / f"{step.stage.name}-small")
        if not (folder / MATRIX).exists():  # which explains itself
            card = redact.text(model_card.write(step, result, evaluation, folder))
            whole_file.replace(folder / "README.md", card)

    def _save(self) -> None:
        with _writing(self.folder):
            whole_file.replace(self.folder / MANIFEST, json.dumps(self.manifest, indent=1, ensure_ascii=False) + "\n")


def finished(folder: Path, config_yaml: str, steps: "list[Step]") -> Facts | None:
    """The manifest of a run of this config that finished in the folder with just these tables; None where there is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        same = (folder / "config.yaml").read_text(encoding="utf-8") == config_yaml
    except (OSError, ValueError):  # none, or a broken one: the run makes it again
        return None
    stages = {name: (stage["identity"], stage["status"] == "partial") for name, stage in manifest["stages"].items()}
    whole = stages == {step.name: (step.identity, False) for step in steps}
    return manifest if same and whole and manifest["status"] == FINISHED else None


def now() -> str:
    """Local time with its offset, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _commit() -> str | None:
    """The commit of the folder that the run was started in, with -dirty where files differ from it; None where there is none."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def discard_if_empty(folder: Path) -> None:
    """Removes a run directory that nothing was written into, and the folders above it that this leaves empty."""
    here = Path.cwd()
    for path in (folder, *folder.parents):
        if path == here or (path != folder and here not in path.parents):
            return
        try:
            path.rmdir()
        except OSError:  # not empty, or not there
            return


def _stage(step: "Step", table: Table, facts: Facts) -> Facts:
    """One stage of the manifest. seconds: of this run; computed_in: seconds that it took when its table was computed."""
    return {
        "kind": step.kind,
        "identity": step.identity,
        "status": facts["status"],
        "inputs": step.inputs,
        "rows": table.manifest.get("rows"),
        "bytes": sum(file["bytes"] for file in table.manifest["files"].values()),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(table.manifest["made"])),
        "seconds": round(facts["seconds"], 3),
        "computed_in": round(table.manifest["seconds"], 3),
        "peak_memory_mb": facts["peak_memory_mb"],
        **{key: table.manifest[key] for key in ("card", "parity", "judging") if key in table.manifest},
    } | ({"missing": missing(table.manifest)} if table.partial and "judges" in table.manifest else {})


def _copy_folder(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=_share)


def _share(source: str, target: str) -> None:
    """Weights lie on disk once. What a library or an editor writes over in place is a copy: the store's own stays as it is."""
    if os.path.getsize(source) < SMALL:
        shutil.copyfile(source, target)
    else:
        whole_file.link(source, target)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:  # of pyarrow, which misses a table of the store
            raise
        raise BadInput(
            f"The run directory {folder} cannot be written ({error.strerror or error}). Free some space, or set"
            " hydra.run.dir=FOLDER; the tables computed so far are in the store."
        ) from error
