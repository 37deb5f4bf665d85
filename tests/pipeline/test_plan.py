"""What `plan=true` says: it runs nothing that judges or trains, and names what is unknown, expected and cheaper."""

import re
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from commands import DISTILLED, command

from zelo.budget.plan import ASSUMED_OUT
from zelo.stages.acquire import Acquire
from zelo.stages.judge import JudgeStage
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

    for stage in (Acquire, JudgeStage, KnownItems, Preferences, Rate, Score, Train):
        monkeypatch.setattr(stage, "run", run)
    small = [part for part in DISTILLED if not part.startswith(("pipeline=", "judge="))]
    assert command(f"pipeline={name}", *small, *PRICED, "calibrator=offset", "plan=true") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "judge_gold: nothing was sent" in said
    for stage, first in unknown.items():
        assert f"{stage}: asks more, under the same caps. What that costs is not known before" in said
        assert f"Run until={first} first, then plan=true again." in said
    assert said.count("asks more") == len(unknown)
    assert "Run for the plan, which depends on it: load, retrieve; nothing was sent." in said


def test_what_is_expected_stands_beside_the_most_and_something_cheaper(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["pipeline=annotate", "until=judge", "dataset=beir", f"dataset.path={here}", "retriever=bm25", "top_k=12"]
    assert command(*small, *PRICED, "graph=complete", "plan=true") == 0
    out = capsys.readouterr().out
    assert max(map(len, out.partition("nothing was sent")[2].splitlines())) <= 100, out
    row = next(line.split() for line in out.splitlines() if line.startswith("chat "))
    pairs, calls, tokens_in, tokens_out = (int(row[place].replace(",", "")) for place in (1, 3, 4, 5))
    expected, most = (float(row[place].strip("$").replace(",", "")) for place in (6, 7))
    assert tokens_out == calls * ASSUMED_OUT, "nothing is measured yet"
    assert expected == pytest.approx((10 * tokens_in + 100 * tokens_out) / 1e6, abs=0.006)
    assert most == pytest.approx((10 * tokens_in + 100 * 4096 * calls) / 1e6, abs=0.006)
    assert f"{ASSUMED_OUT} tokens out a call, assumed" in " ".join(out.split())
    cheaper = dict(re.findall(r"^  (\S+) +\$([\d.]+) ", out, re.MULTILINE))
    assert set(cheaper) == {"top_k=6", "judge.mode=verdict"}, "staged wants all pairs of so few candidates"
    assert float(cheaper["top_k=6"]) == pytest.approx(expected * 8 * 15 / pairs, rel=0.1)  # 6 * 5 / 2 pairs a query
    verdict = command(*small, *PRICED, "graph=complete", "judge.mode=verdict", "plan=true")
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("chat "))
    assert verdict == 0
    assert float(cheaper["judge.mode=verdict"]) == pytest.approx(float(row[6].strip("$")), rel=0.1)


def test_a_judge_without_a_price_names_the_keys_that_give_it_one(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["pipeline=annotate", "until=judge", "dataset=beir", f"dataset.path={here}", "retriever=bm25", "top_k=6"]
    far = ["model=m", "api_key_env=null", "base_url=https://example.com/v1"]
    one = ["judge=chat", *(f"judge.{part}" for part in far)]
    assert command(*small, "graph.degree=4", *one, "budget.usd=5") == 2
    said = capsys.readouterr().err
    assert "zelo: judge chat: the price of m is unknown" in said
    assert "Set judge.input_price and judge.output_price (dollars per million tokens), or budget.calls" in said
    panel = ["judge=embedded", "+judge@judge.members.far=chat", *(f"judge.members.far.{part}" for part in far)]
    assert command(*small, "graph.degree=4", *panel, "budget.usd=5") == 2
    assert "Set judge.members.far.input_price and judge.members.far.output_price" in capsys.readouterr().err


def test_the_key_of_a_price_is_that_of_the_pipeline(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stage that asks is called `judge` in both, and its judge is set elsewhere."""
    small = ["until=judge", "dataset=beir", f"dataset.path={here}", "retriever=bm25", "top_k=6", "graph.degree=4"]
    silver = [part.replace("judge", "silver.judge", 1) for part in CHAT[1:3]]
    silver += ["judge@silver.judge=chat", "silver.judge.base_url=https://example.com/v1"]
    silver += ["stages.judge.inputs.student=null"]
    far = [*CHAT[:3], "judge.base_url=https://example.com/v1"]
    for arguments, key in (
        (["pipeline=annotate", *far], "judge"),
        (["pipeline=distilled", *silver], "silver.judge"),
    ):
        assert command(*small, *arguments, "budget.usd=5") == 2
        said = capsys.readouterr().err
        assert f"cannot be kept. Set {key}.input_price and {key}.output_price (dollars" in said
        assert command(*small, *arguments, "plan=true") == 0
        said = " ".join(capsys.readouterr().out.split())
        assert f"set {key}.input_price and {key}.output_price (dollars" in said
