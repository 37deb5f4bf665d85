"""What a run leaves behind for a reader: config, manifest, figures, run files, models with their cards, and the report."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.backbones.exported import MATRIX
from zelo.errors import BadInput
from zelo.records import DEV
from zelo.reporting import acquired, audit_page
from zelo.reporting.figures import Figures
from zelo.reporting.notes import missing, notes
from zelo.store import FINISHED, MANIFEST, RUNNING, Table
from zelo.tracking import redact, whole_file

if TYPE_CHECKING:
    from zelo.pipeline.run import Result, Step

FAILED, INTERRUPTED = "failed", "interrupted"
LADDERS = 6  # queries whose rating ladder the report shows


class RunFolder:
    """A folder that can be read at any moment: the config at once, the manifest after every stage, the rest at the end."""

    def __init__(self, folder: Path, config_yaml: str, seed: int) -> None:
        """config_yaml: composed and resolved, without secrets. Raises BadInput when the folder cannot be written."""
        self.folder = folder
        self.began_empty = not folder.is_dir() or not any(folder.iterdir())
        self.config_yaml = config_yaml
        self.manifest: dict[str, Any] = {
            "status": RUNNING,
            "command": redact.text(" ".join(["zelo", *sys.argv[1:]])),
            "started": now(),
            "seed": seed,
            "versions": {},
            "data": {},
            "stages": {},
        }
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            whole_file.replace(folder / "config.yaml", config_yaml)
        self._save()

    def write_manifest(self, result: "Result", versions: dict[str, str]) -> None:
        """Adds the stages that have ended since."""
        self.manifest["versions"] = versions
        for step in result.steps:
            if step.name in result.tables:
                table = result.tables[step.name]
                self.manifest["stages"][step.name] = _stage(step, table, result.facts[step.name])
                if step.kind in ("load", "labels", "trainlabels", "loadrun"):
                    hashes = {name: facts["hash"] for name, facts in table.manifest["files"].items()}
                    self.manifest["data"][step.name] = hashes
        self._save()

    def fail(self, error: BaseException) -> None:
        """Says in the manifest why the run ended early. What was made so far stays in the store."""
        self.manifest["status"] = INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
        self.manifest["error"] = redact.text(str(error) or type(error).__name__)
        self._save()

    def clear(self) -> None:
        """Removes everything in the folder."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def publish(self, result: "Result", optimize: str | None) -> None:
        """Writes whatever the stages that ran can tell: figures, run files, models, report."""
        figures = Figures.of(result)
        with _writing(self.folder):
            if figures:
                for name in ("metrics.json", "verdicts.json", "choices.json"):
                    shutil.copyfile(figures.table.path / name, self.folder / name)
                _copy_folder(figures.table.path / "runs", self.folder / "runs")
            for step in result.steps:
                if step.kind == "train" and step.name in result.tables:
                    self._publish_model(step, result, figures)
            for table in (result.tables[name] for name in result.of_kind("rerank") if name in result.tables):
                for path in table.path.glob("reranked.*"):
                    shutil.copyfile(path, self.folder / path.name)
            if audited := audit_page.Audited.of(result):
                shutil.copyfile(audited.table.path / "audit.json", self.folder / "audit.json")
            if audited or "rate" in [step.kind for step in result.steps if step.name in result.tables]:
                whole_file.replace(self.folder / "report.html", self._report(result, figures))
        self.manifest["status"] = FINISHED
        self.manifest["ended"] = now()
        if figures:
            self.manifest["figures"] = {"system": optimize, "keys": figures.keys, "values": figures.keyed}
        if added := acquired.told(result):
            self.manifest["acquired"] = added
        self._save()

    def _publish_model(self, step: "Step", result: "Result", figures: Figures | None) -> None:
        from zelo.reporting import model_card

        folder = self.folder / step.stage.name
        _copy_folder(result.tables[step.name].path / "export", folder)
        for other in result.steps:
            if other.kind == "onnx" and other.inputs["checkpoint"] == step.name and other.name in result.tables:
                _copy_folder(result.tables[other.name].path / "onnx", folder / "onnx")
            if other.kind == "compress" and other.inputs["checkpoint"] == step.name and other.name in result.tables:
                smaller = result.tables[other.name].path / "export"
                if smaller.is_dir():
                    _copy_folder(smaller, self.folder / f"{step.stage.name}-small")
        if not (folder / MATRIX).exists():  # which explains itself
            card = redact.text(model_card.write(step, result, figures, folder))
            whole_file.replace(folder / "README.md", card)

    def _report(self, result: "Result", figures: Figures | None) -> str:
        from zelo.reporting import disagreements, judge_costs, rating_facts, report
        from zelo.reporting import ladders as ladder

        tables = {step.kind: result.tables[step.name] for step in result.steps if step.name in result.tables}
        queries, documents = tables["load"].read("queries"), tables["load"].read("documents")
        audited = audit_page.Audited.of(result)
        judges = [result.tables[name] for name in result.of_kind("judge") if name in result.tables]
        judged = audited.judged if audited else max(judges, key=lambda table: len(table.manifest.get("judges", {})))
        worth = tables["knownitems"].manifest["weights"] if "knownitems" in tables else {}
        widest = audited.table.read("disagreements") if audited else None
        per_query = figures.table.read("per_query") if figures else None
        ladders, ratings = [], None
        if rated := _last_rated(result):
            rate, outcomes_of = result.tables[rated], result.upstream(rated, "outcomes")
            verdicts = figures.verdicts if figures else []
            shown = report.pick(per_query, verdicts, _rated(queries, rate), LADDERS)
            wanted = list(dict.fromkeys([*shown, *rating_facts.sample(rate)]))
            outcomes = _rows_of(result.tables[str(outcomes_of)], "outcomes", wanted)
            calibrated = result.downstream(rated, "ratings")  # of these ratings, not of another pass
            shown_ratings = _rows_of(result.tables[calibrated] if calibrated else rate, "ratings", shown)
            # Labels are opened after evaluation only.
            labels = tables["labels"].read("qrels") if figures else None
            ladders = ladder.ladders(queries, documents, shown_ratings, outcomes, labels, shown)
            ratings = rating_facts.of_run(result, rated, shown, queries, outcomes)
        return report.render(
            report.ReportData(
                title=_title(self.folder, figures, result),
                verdicts=figures.verdicts if figures else [],
                metrics=json.loads((figures.table.path / "metrics.json").read_text("utf-8")) if figures else [],
                per_query=per_query,
                ladders=ladders,
                curves=_curves(result),
                stages=[
                    {"name": name, "megabytes": (stage["bytes"] or 0) / 1e6, **stage}
                    for name, stage in self.manifest["stages"].items()
                ],
                config=self.config_yaml,
                notes=[*acquired.told(result), *notes(result)],
                query_texts=_texts(queries, per_query),
                audit=audited.told if audited else None,
                judges=[row for table in ([judged] if audited else judges) for row in judge_costs.rows(table, worth)],
                disagreements=disagreements.of_run(judged, widest, queries, documents),
                ratings=ratings,
                groups=figures.groups if figures else {},
            )
        )

    def _save(self) -> None:
        with _writing(self.folder):
            whole_file.replace(self.folder / MANIFEST, json.dumps(self.manifest, indent=1, ensure_ascii=False) + "\n")


def now() -> str:
    """Local time with its offset, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def discard_if_empty(folder: Path) -> None:
    """Removes a run folder that nothing was written into, and the folders above it that this leaves empty."""
    here = Path.cwd()
    for path in (folder, *folder.parents):
        if path == here or (path != folder and here not in path.parents):
            return
        try:
            path.rmdir()
        except OSError:  # not empty, or not there
            return


def _stage(step: "Step", table: Table, facts: dict[str, Any]) -> dict[str, Any]:
    """One stage of the manifest. seconds: of this run; made_in: seconds that it took when its table was made."""
    return {
        "kind": step.kind,
        "identity": step.identity,
        "status": facts["status"],
        "inputs": step.inputs,
        "rows": table.manifest.get("rows"),
        "bytes": sum(file["bytes"] for file in table.manifest["files"].values()),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(table.manifest["made"])),
        "seconds": round(facts["seconds"], 3),
        "made_in": round(table.manifest["seconds"], 3),
        "peak_memory_mb": facts["peak_memory_mb"],
        **{key: table.manifest[key] for key in ("parity", "judging") if key in table.manifest},
    } | ({"missing": missing(table.manifest)} if table.partial and "judges" in table.manifest else {})


def _last_rated(result: "Result") -> str | None:
    """The last rate stage that ended: of two passes the second, once it has come so far."""
    return next((name for name in reversed(result.of_kind("rate")) if name in result.tables), None)


def _rated(queries: pa.Table, ratings: Table) -> list[str]:
    """Ids of rated queries, dev first: examples for the report where nothing was evaluated."""
    rated = queries.filter(pc.is_in(queries["query_id"], pc.unique(ratings.read("ratings", ["query_id"])["query_id"])))
    dev = pc.equal(rated["split"], DEV)
    return pa.concat_tables([rated.filter(dev), rated.filter(pc.invert(dev))])["query_id"].slice(0, LADDERS).to_pylist()


def _rows_of(table: Table, name: str, queries: list[str]) -> pa.Table:
    """The rows of these queries; the rest of a large table never comes into memory."""
    wanted = pc.field("query_id").isin(queries)
    return pa.concat_tables([pq.read_table(path, filters=wanted) for path in table.shards(name)])


def _texts(queries: pa.Table, per_query: pa.Table | None) -> dict[str, str]:
    if per_query is None:
        return {}
    used = queries.filter(pc.is_in(queries["query_id"], pc.unique(per_query["query_id"].combine_chunks())))
    return dict(zip(used["query_id"].to_pylist(), used["text"].to_pylist(), strict=True))


def _curves(result: "Result") -> dict[str, list[dict[str, Any]]]:
    return {
        step.stage.name: json.loads((result.tables[step.name].path / "curve.json").read_text(encoding="utf-8"))
        for step in result.steps
        if step.kind == "train" and step.name in result.tables
    }


def _title(folder: Path, figures: Figures | None, result: "Result") -> str:
    """What was run on what, or how far."""
    if figures and figures.rows:
        return f"zelo on {figures.rows[0]['domain']}"
    if result.of_kind("audit"):
        return "zelo: an audit of the judges"
    return f"zelo up to the stage {list(result.tables)[-1]}"


def _copy_folder(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"The run folder {folder} cannot be written ({error.strerror or error}). Make room, or choose another place with"
            " hydra.run.dir=FOLDER; the tables made so far are kept in the store."
        ) from error
