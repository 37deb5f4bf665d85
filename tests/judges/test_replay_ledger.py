"""What was paid for is replayed from a ledger: the same answers, nothing sent, and what is missing is said."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pytest
from fake_server import FakeServer, Seen, score_text
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from zelo.errors import BadInput
from zelo.ledger.ledger import Ledger
from zelo.ledger.place import FILE
from zelo.pipeline.run import Step, assemble, run_stages
from zelo.places import config_folder
from zelo.store.store import Store
from zelo.store.table import Table

ANSWER = ["query_id", "doc_a", "doc_b", "judge", "repeat", "p", "weight", "swapped", "status"]
Assemble = Callable[..., list[Step]]


def several(seen: Seen) -> str:
    """Another score for another prompt."""
    return score_text(seen, f"{crc32(str(seen.body['messages']).encode()) % 9 / 8:.2f}")


def plan(seen: Seen) -> str:
    return "content_filter" if seen.number % 5 == 0 else "ok"


@pytest.fixture
def assembled(tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assemble:
    """The stages up to `judge` on little data, in a store of their own, without a key."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZELO_COMMAND", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def build(*overrides: str) -> list[Step]:
        GlobalHydra.instance().clear()
        small = [
            "pipeline=annotate",
            "until=judge",
            "dataset=beir",
            "retriever=bm25",
            "graph.degree=4",
            "top_k=6",
            "max_failure_rate=1",
        ]
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return assemble(compose("config", [*small, f"dataset.path={tiny_beir}", *overrides]))

    return build


def judged(steps: list[Step]) -> Table:
    *_, (result, _) = run_stages(steps, Store.default())
    return result.tables["judge"]


def outcomes(steps: list[Step]) -> pa.Table:
    return judged(steps).read("outcomes")


@pytest.mark.parametrize("mode", ["score", "listwise"])
def test_a_ledger_answers_as_the_judge_did(
    mode: str, assembled: Assemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = ["top_k=20", "graph.degree=8", "retriever=dense"] * (mode == "listwise")  # windows that share documents
    replay = ["judge=replay_ledger", "judge.of.model=m", f"judge.of.mode={mode}", *wide]
    with FakeServer(plan=plan, text=several) as server:
        with monkeypatch.context() as patch:
            patch.setenv("OPENAI_API_KEY", "sk-1")
            asked = ["judge=chat", "judge.model=m", f"judge.mode={mode}", f"judge.base_url={server.base_url}", *wide]
            paid = outcomes(assembled(*asked, "judge.input_price=1", "judge.output_price=1", "budget.usd=50"))
        assert {"answered", "refused"} == set(paid["status"].to_pylist())
        assert len(set(paid["p"].to_pylist())) > 4
        sent = len(server.seen)

        whole = assembled(*replay, f"judge.of.base_url={server.base_url}")
        again = judged(whole)
        assert again.partial, "what was refused is read again"
        assert again.read("outcomes").select(ANSWER) == paid.select(ANSWER)
        assert not again.read("outcomes")["cost"].to_numpy().any()
        assert not again.read("outcomes")["tokens"].to_numpy().any()
        assert f"judge chat: all {len(paid)} answers are in {tmp_path / 'home' / FILE}" in again.manifest["notes"]

        copy = tmp_path / "elsewhere.sqlite"
        shutil.copyfile(tmp_path / "home" / FILE, copy)
        with sqlite3.connect(copy) as file:
            file.execute("DELETE FROM entry WHERE id % 3 = 0")
        file.close()
        monkeypatch.setenv("ZELO_HOME", str(tmp_path / "other"))
        part = assembled(*replay, f"judge.path={copy}")
        assert part[-1].identity == whole[-1].identity
        lacking = judged(part)
        assert lacking.partial
        unsent = np.array(lacking.read("outcomes")["status"].to_pylist()) == "unsent"
        assert 0 < unsent.sum() < len(paid)
        assert lacking.read("outcomes")["p"].is_null().to_numpy()[unsent].all()
        assert lacking.read("outcomes").filter(pa.array(~unsent)).select(ANSWER) == paid.filter(
            pa.array(~unsent)
        ).select(ANSWER)
        first = lacking.read("outcomes").slice(int(unsent.argmax()), 1).to_pylist()[0]
        documents = [first["doc_a"], first["doc_b"]][:: -1 if first["swapped"] else 1]
        [said] = [note for note in lacking.manifest["notes"] if "first missing" in note]
        assert said.startswith(
            f"judge chat: {(~unsent).sum()} of {len(paid)} answers are in {copy}, first missing: query {first['query_id']},"
            f" documents {documents[0]} and {documents[1]};"
        )

        filled = judged(assembled(*replay, f"judge.path={tmp_path / 'home' / FILE}"))  # asks for the rest only
        assert "unsent" not in filled.manifest["judges"]["chat"]["missing"]
        assert filled.read("outcomes").select(ANSWER) == paid.select(ANSWER)
        assert not (tmp_path / "other" / FILE).exists()
        assert len(server.seen) == sent


def test_another_name_or_model_is_another_judge(assembled: Assemble, tmp_path: Path) -> None:
    Ledger(tmp_path / "home" / FILE).close()
    steps = assembled("judge=replay_ledger", "judge.of.model=m", "judge.of.name=openai")
    assert steps[-1].stage.judge.name == "openai"
    other = assembled("judge=replay_ledger", "judge.of.model=n", "judge.of.name=openai")
    assert steps[-1].identity != other[-1].identity


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is missing or empty"), (b"", "is missing or empty"), (b"no ledger" * 999, "is no whole SQLite file")],
)
def test_what_is_no_ledger_is_refused_and_left_alone(
    content: bytes | None, message: str, assembled: Assemble, tmp_path: Path
) -> None:
    path = tmp_path / "theirs" / FILE
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        assembled("judge=replay_ledger", "judge.of.model=m", f"judge.path={path}")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content if content is not None else not path.exists()


def test_a_store_without_a_ledger_gets_none(assembled: Assemble, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is missing or empty"):
        assembled("judge=replay_ledger", "judge.of.model=m")
    assert not (tmp_path / "home" / FILE).exists()


def test_a_judge_that_is_free_is_in_no_ledger(component: Callable[..., Any]) -> None:
    of = {"_target_": "zelo.judges.simulated.Simulated", "name": "s", "noise_model": "thurstone", "scores": None}
    of |= {"sd": 1.0, "slip": 0.0, "position_bias": 0.0, "seed": 0}
    with pytest.raises(BadInput, match=r"are not paid for.*judge@judge\.of=chat"):
        component("judge/replay_ledger", of=of)
