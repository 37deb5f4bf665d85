"""What `plan=true` says: it runs nothing that judges or trains, and names what is unknown, expected and cheaper."""

from pathlib import Path
from typing import Any

import pytest

import tiny_models
from test_distilled import SMALL, command
from zelo.stages.acquire import Acquire
from zelo.stages.judge import Judge
from zelo.stages.known_items import KnownItems
from zelo.stages.preferences import Preferences
from zelo.stages.rate import Rate
from zelo.stages.score import Score
from zelo.stages.train import Train

CHAT = ["judge=chat", "judge.model=m", "judge.api_key_env=null", "judge.base_url=http://127.0.0.1:9/v1"]
PRICED = [*CHAT, "judge.input_price=10", "judge.output_price=100"]


@pytest.fixture
def here(tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZELO_COMMAND", raising=False)
    monkeypatch.chdir(tmp_path)
    return tiny_beir


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("distilled", {"calibrate": "rate"}),
        ("distilled_embedding", {"calibrate": "rate"}),
        ("refine", {"calibrate": "rate", "judge_gold_2": "acquire", "calibrate_2": "rate_2"}),
        ("refine_without_labels", {"calibrate": "rate", "judge_gold_2": "acquire", "calibrate_2": "rate_2"}),
    ],
)
def test_no_stage_that_judges_or_trains_runs(
    name: str, unknown: dict[str, str], here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_models.save("xlm_r", here.parent / "tiny")
    (here / "qrels").mkdir()
    (here / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\n")

    def run(stage: Any, *_: object) -> None:
        raise AssertionError(f"{stage} ran")

    for stage in (Acquire, Judge, KnownItems, Preferences, Rate, Score, Train):
        monkeypatch.setattr(stage, "run", run)
    small = [part for part in SMALL if not part.startswith(("pipeline=", "judge="))]
    assert command(f"pipeline={name}", *small, *PRICED, "calibrator=offset", "plan=true") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "judge_gold: nothing was sent" in said
    for stage, first in unknown.items():
        assert f"{stage}: asks more, under the same caps. What that costs is not known before" in said
        assert f"Run until={first} first, then plan=true again." in said
    assert said.count("asks more") == len(unknown)
    assert "Run for the plan, which depends on it: load, retrieve; nothing was sent." in said
