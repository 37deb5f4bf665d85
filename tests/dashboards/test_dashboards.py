"""Dashboards as code: what they hold, and that nothing is saved without being asked or without a key."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from components import component

from zelo.dashboards.shown import Shown
from zelo.reporting import compared
from zelo.tracking import workspace
from zelo.training import monitor

GOLDEN = Path(__file__).with_name("golden.json")
ASKED = "logger: {workspace: true, project: null, entity: null, group: null}"
DASHBOARDS = """dashboards:
  run: {_target_: zelo.dashboards.run.RunDashboard, judging: {}, ratings: {}, training: {}}
  sweep: {_target_: zelo.dashboards.sweep.SweepDashboard, costs: {}, training: {}}
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a sweep with three jobs, two of them finished; and no login."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    folder = tmp_path / "a-sweep"
    for number, status in enumerate(("failed", "finished", "finished")):
        job = folder / f"{number}-degree={number}"
        job.mkdir(parents=True)
        stages = {"judge": {"kind": "judge"}, "train_reranker": {"kind": "train"}}
        values = {"dev/nDCG@10/zelo": 0.5, "dev/nDCG@10/teacher": 0.4, "test/nDCG@10/zelo": 0.3}
        figures = {"system": "zelo", "keys": {"dev": "dev/nDCG@10", "test": "test/nDCG@10"}, "values": values}
        manifest = {"status": status, "stages": stages, "figures": figures, "compared": {"calls": 7, "curl": 0.1}}
        (job / "manifest.json").write_text(json.dumps(manifest))
        (job / "config.yaml").write_text(f"stages: {{train_reranker: {{name: reranker}}}}\n{ASKED}\n{DASHBOARDS}")
        (job / "overrides.yaml").write_text(f'["graph.degree={number}", "seed=1"]')
        (job / "metrics.json").write_text("[]")
    return folder


def shows(panel: dict[str, Any]) -> Any:
    """The config of a panel; of one that shows a table, the table."""
    config = panel["config"]
    return config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"] if panel["viewType"] == "Weave" else config


def seen(made: Any) -> dict[str, Any]:
    """Filter, and of each section the panels: their kind, and what they are told to show."""
    spec = json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))["spec"]["section"]
    panels = {
        part["name"]: [[panel["viewType"], shows(panel)] for panel in part["panels"]]
        for part in spec["panelBankConfig"]["sections"]
    }
    return {"name": made.name, "filters": made.runset_settings.filters, "sections": panels}


def test_dashboards_are_built_offline_as_they_were(sweep: Path) -> None:
    pytest.importorskip("wandb_workspaces")
    shown = {"run": Shown.of_run(sweep / "1-degree=1"), "sweep": Shown.of_sweep(sweep, "a-sweep")}
    made = {kind: seen(component(f"dashboard/{kind}").build(one, "me", "zelo")) for kind, one in shown.items()}
    assert made == json.loads(GOLDEN.read_text())


def test_dashboards_show_what_is_logged() -> None:
    run, sweep = component("dashboard/run"), component("dashboard/sweep")
    assert {*run.training, *sweep.training} <= {monitor.LOSS, monitor.LR, monitor.NORM, monitor.PAIRS}
    assert {*run.ratings, *sweep.costs} <= compared.FIGURES.keys()


@pytest.mark.parametrize(("mode", "said"), [("", "set WANDB_API_KEY"), ("offline", "WANDB_MODE=offline; unset it")])
def test_a_workspace_that_cannot_be_saved_is_written_and_says_why(
    mode: str, said: str, sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb_workspaces")
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
        monkeypatch.setenv("WANDB_API_KEY", "a1b2c3d4" * 5)
    job = sweep / "1-degree=1"
    for folder, name in ((sweep, "zelo a-sweep"), (job, "zelo 1-degree-1")):
        workspace.of_sweep(sweep, "a-sweep") if folder == sweep else workspace.of_run(job)
        assert json.loads((folder / "workspace.json").read_text())["displayName"] == name
        out = capsys.readouterr().out
        assert out.startswith(f"W&B: the workspace is in {folder}/workspace.json, not in W&B: ")
        assert said in out
        assert out.count("\n") == 1


def test_a_workspace_is_saved_where_it_is_asked_for_and_its_failure_is_a_line(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb_workspaces")
    import wandb_workspaces.workspaces as ws

    monkeypatch.setenv("WANDB_API_KEY", "a1b2c3d4" * 5)
    monkeypatch.setenv("WANDB_ENTITY", "me")
    saved: list[Any] = []
    monkeypatch.setattr(ws.Workspace, "save", lambda one: saved.append(one))
    monkeypatch.setattr(ws.Workspace, "url", "https://wandb.example/me/zelo")
    workspace.of_sweep(sweep, "a-sweep")
    assert [(one.entity, one.project, one.name) for one in saved] == [("me", "zelo", "zelo a-sweep")]
    assert capsys.readouterr().out == "W&B: the workspace is saved, https://wandb.example/me/zelo\n"

    def away(one: Any) -> None:
        raise ConnectionError("the server is away")

    monkeypatch.setattr(ws.Workspace, "save", away)
    workspace.of_sweep(sweep, "a-sweep")
    assert capsys.readouterr().err == "W&B did not save the workspace in me/zelo (the server is away).\n"
    for job in sweep.iterdir():
        if (job / "config.yaml").is_file():
            text = (job / "config.yaml").read_text()
            (job / "config.yaml").write_text(text.replace("workspace: true", "workspace: false"))
    workspace.of_sweep(sweep, "a-sweep")
    assert len(saved) == 1
    assert capsys.readouterr().out == ""
