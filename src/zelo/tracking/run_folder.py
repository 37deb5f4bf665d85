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
from zelo.calls.plan import money
from zelo.errors import BadInput
from zelo.records import ANSWERED, DEV, FINAL, TRUNCATED
from zelo.store import FINISHED, MANIFEST, RUNNING, Table
from zelo.tracking import acquired, audit_page, redact, whole_file
from zelo.tracking.figures import Figures
from zelo.training.judging import told as judging_told
from zelo.training.parity import told

if TYPE_CHECKING:
    from zelo.pipeline import Result, Step
    from zelo.tracking.ladders import Ladder

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
            main = {"metric": figures.metric, "split": figures.split, "protocol": figures.protocol}
            self.manifest["figures"] = main | {"system": optimize, "values": figures.values}
        if added := acquired.told(result):
            self.manifest["acquired"] = added
        self._save()

    def _publish_model(self, step: "Step", result: "Result", figures: Figures | None) -> None:
        from zelo.tracking import model_card

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
            whole_file.replace(folder / "README.md", model_card.write(step, result, figures, folder))

    def _report(self, result: "Result", figures: Figures | None) -> str:
        from zelo.tracking import disagreements, judge_costs, rating_facts, report

        tables = {step.kind: result.tables[step.name] for step in result.steps if step.name in result.tables}
        queries, documents = tables["load"].read("queries"), tables["load"].read("documents")
        audited = audit_page.Audited.of(result)
        judges = [result.tables[name] for name in result.of_kind("judge") if name in result.tables]
        judged = audited.judged if audited else max(judges, key=lambda table: len(table.manifest.get("judges", {})))
        worth = tables["knownitems"].manifest["worth"] if "knownitems" in tables else {}
        widest = audited.table.read("disagreements") if audited else None
        per_query = figures.table.read("per_query") if figures else None
        ladders, ratings = [], None
        if "rate" in tables:
            verdicts = figures.verdicts if figures else []
            shown = report.pick(per_query, verdicts, _rated(queries, tables["rate"]), LADDERS)
            wanted = list(dict.fromkeys([*shown, *rating_facts.sample(tables["rate"])]))
            outcomes = _rows_of(tables["judge"], "outcomes", wanted)
            ladders = _ladders(tables, bool(figures), shown, queries, documents, outcomes)
            ratings = rating_facts.of_run(result, shown, queries, outcomes)
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
            )
        )

    def _save(self) -> None:
        with _writing(self.folder):
            whole_file.replace(self.folder / MANIFEST, json.dumps(self.manifest, indent=1, ensure_ascii=False) + "\n")


def now() -> str:
    """Local time with its offset, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def notes(result: "Result") -> list[str]:
    """What a reader should know about this run, one line each."""
    lines = []
    for name, table in result.tables.items():
        figures = table.manifest
        lines += figures.get("notes", [])
        if figures.get("queries_with_all_pairs"):
            count = figures["queries_with_all_pairs"]
            lines.append(
                f"{name}: {count} queries have too few candidates for this degree; all their pairs were judged"
            )
        when = " (when this was made; nothing was sent now)" if result.facts[name]["status"] == "reused" else ""
        lines += [f"{name}: {line}{when}" for line in _judged(figures)]
        if apart := figures.get("fit", {}).get("disconnected_queries"):
            named = ", ".join(figures["fit"]["disconnected"]) + " ..." * (apart > 5)
            lines.append(
                f"{name}: the comparisons of {apart} queries fall into parts that nothing connects ({named}); only the largest"
                " part of each is rated"
            )
        if table.partial and any(_missing(figures).values()):
            lines.append(f"{name}: what failed or was not sent is missing; the next run asks for that only")
        if parity := figures.get("parity"):
            lines.append(f"{name}: {told(parity)}")
        if judging := figures.get("judging"):
            lines.append(f"{name}: {judging_told(judging)}")
        if "first_stage_weight" in figures:
            weight = figures["first_stage_weight"]
            lines.append(
                f"{name}: the student's scores weigh {1 - weight:.1f} and the first stage's own {weight:.1f},"
                " as dev preferred it as the judge sees it"
            )
        if figures.get("protocol") == "judge":
            lines.append(
                f"{name}: without labels, agreement with the judge is all that can be measured, and on the dev queries, which"
                " also chose the checkpoints: trust differences less than with labels"
            )
        if figures.get("absent"):
            lines.append(f"{name}: not in this pipeline and so not measured: {', '.join(figures['absent'])}")
    return lines


def _judged(figures: dict[str, Any]) -> list[str]:
    """How the questions of each judge ended, where some brought no answer or cost something."""
    lines = []
    for judge, facts in figures.get("judges", {}).items():
        ended = {status: count for status, count in facts["status"].items() if count}
        line = ", ".join(f"{count:,} {status}" for status, count in ended.items())
        if facts.get("calls") or facts.get("from_ledger"):
            cost = money(facts["price"], facts["usd"])
            line += f"; {facts['from_ledger']:,} pairs from the ledger, {facts['calls']:,} calls, {cost}"
        if facts.get("limit"):
            line += f"; the rest was not asked: {facts['limit']}"
        if facts.get("faults"):
            line += "; on the way: " + ", ".join(f"{kind} {count:,}" for kind, count in facts["faults"].items())
        if facts["status"].get(TRUNCATED):
            line += "; what was truncated needs a higher max_tokens"
        if facts.get("cut"):
            line += f"; {facts['cut']:,} documents were cut"
        if set(ended) - {ANSWERED} or ";" in line:
            lines.append(f"{judge} {line}")
    return lines


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
    } | ({"missing": _missing(table.manifest)} if table.partial and "judges" in table.manifest else {})


def _missing(figures: dict[str, Any]) -> dict[str, Any]:
    """Per judge how many pairs have no final outcome, by status, and what kept the rest from being asked."""
    found = {}
    for judge, facts in figures.get("judges", {}).items():
        counts = {status: count for status, count in facts["status"].items() if count and status not in FINAL}
        if counts:
            found[judge] = counts | ({"limit": facts["limit"]} if facts.get("limit") else {})
    return found


def _ladders(
    tables: dict[str, Table],
    evaluated: bool,
    shown: list[str],
    queries: pa.Table,
    documents: pa.Table,
    outcomes: pa.Table,
) -> list["Ladder"]:
    from zelo.tracking.ladders import ladders

    return ladders(
        queries,
        documents,
        _rows_of(tables.get("calibrate", tables["rate"]), "ratings", shown),
        outcomes,
        tables["labels"].read("qrels") if evaluated else None,  # labels are opened after evaluation only
        shown,
    )


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
        step.stage.name: json.loads((result.tables[step.name].path / "curve.json").read_text())
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
