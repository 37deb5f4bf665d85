"""Large tables lie in shards: what a killed attempt has finished is not made again, and graphs go on from a fit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from scipy.special import ndtri
from scipy.stats import spearmanr

from zelo.errors import BadInput
from zelo.judges.simulated import Simulated
from zelo.likelihood.randomness import id_hashes, mixed, uniform
from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.records import OUTCOME, Outcomes, Questions
from zelo.stages import candidate_pools, retrieve
from zelo.store.prune import prune
from zelo.store.references import forget_run, register_run
from zelo.store.shards import shard, write_shard
from zelo.store.store import Store
from zelo.store.table import Table

SMALL = [
    "dataset=synthetic",
    "dataset.queries=60",
    "dataset.documents=90",
    "retriever=random",
    "judge=simulated",
    "top_k=30",
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Table]]:
    """Runs stages on little synthetic data, 16 queries to a shard and 8 to a batch."""
    monkeypatch.setattr(retrieve, "SHARD", 16)
    monkeypatch.setattr(candidate_pools, "CANDIDATES_PER_BATCH", 8 * 30)

    def made(home: str, *overrides: str) -> dict[str, Table]:
        GlobalHydra.instance().clear()
        monkeypatch.setenv("ZELO_HOME", str(tmp_path / home))
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose("config", ["pipeline=annotate", *SMALL, *overrides])
        *_, (result, _) = run_stages(assemble(config), Store.default())
        return result.tables

    return made


def truth(ratings: pa.Table, seed: int = 0) -> np.ndarray:
    """The scores that the simulated judge draws."""
    hashes = [id_hashes(ratings[name], np.arange(len(ratings)), seed) for name in ("query_id", "doc_id")]
    return ndtri(uniform(mixed(mixed(np.uint64(1), *hashes), np.uint64(2))))


def test_every_table_has_the_same_queries_in_each_shard(run: Callable[..., dict[str, Table]]) -> None:
    tables = run("home")
    names = {"retrieve": "candidates", "judge": "outcomes", "rate": "ratings", "calibrate": "ratings"}
    names["target"] = "examples"
    queries = {}
    for kind, name in names.items():
        files = tables[kind].shards(name)
        assert [file.name for file in files] == [f"{number:05}.parquet" for number in range(4)]
        queries[kind] = [set(pq.read_table(file)["query_id"].to_pylist()) for file in files]
        assert [len(shard) for shard in queries[kind]] == [16, 16, 16, 12]
    assert all(found == queries["retrieve"] for found in queries.values())
    assert tables["judge"].manifest["pairs"] == 60 * 30 * 4
    ratings = tables["rate"].read("ratings")
    assert np.asarray(spearmanr(truth(ratings), ratings["rating"].to_numpy()))[0] > 0.95


class Killed(BaseException):
    pass


@pytest.mark.long
@pytest.mark.parametrize("graph", ["cycles", "staged"])
def test_a_killed_judge_stage_goes_on_with_its_next_shard(
    graph: str, run: Callable[..., dict[str, Table]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = run("one", f"graph={graph}", "until=judge")["judge"]
    asked: list[str] = []
    compare = Simulated.compare

    def watched(judge: Simulated, questions: Questions) -> Outcomes:
        asked.extend(sorted(set(questions.query_id.to_pylist())))
        if len(set(asked)) > 40 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            raise Killed
        return compare(judge, questions)

    monkeypatch.setattr(Simulated, "compare", watched)
    with pytest.raises(Killed):
        run("two", f"graph={graph}", "until=judge")
    left = [path.name for path in (tmp_path / "two" / "judge").glob(".*/outcomes/*")]
    assert sorted(left) == ["00000.parquet", "00001.parquet"]
    asked.clear()
    again = run("two", f"graph={graph}", "until=judge")["judge"]
    rest = pa.concat_tables([pq.read_table(file) for file in again.shards("outcomes")[2:]])
    assert set(asked) == set(rest["query_id"].to_pylist())
    assert again.read("outcomes").equals(whole.read("outcomes"))
    facts = {"made", "seconds", "peak_memory_mb", "units"}  # what was made in one go says its units
    assert {k: v for k, v in again.manifest.items() if k not in facts} == {
        k: v for k, v in whole.manifest.items() if k not in facts
    }
    assert not list((tmp_path / "two" / "judge").glob(".*"))


def test_half_a_shard_is_no_shard(tmp_path: Path) -> None:
    def fail(out: Path, _: object) -> dict[str, Any]:
        write_shard(OUTCOME.empty_table(), OUTCOME, out, "outcomes", 0)
        (out / "outcomes" / "00001.half").write_bytes(b"PAR1")
        (out / "model").mkdir()
        (out / "model" / "weights").write_text("1")
        (out / "notes.json").write_text("{}")
        raise OSError(5, "I/O error")

    store = Store(tmp_path)
    with pytest.raises(OSError, match="I/O"):
        store.obtain("judge", "x", fail)
    assert sorted(path.name for path in tmp_path.glob("judge/.x*/**/*.*")) == ["00000.parquet"]

    def goes_on(out: Path, _: object) -> dict[str, Any]:
        assert [path.name for path in out.rglob("*") if path.is_file()] == ["00000.parquet"]
        return {}

    table, _ = store.obtain("judge", "x", goes_on)
    assert list(table.manifest["files"]) == ["outcomes/00000.parquet"]
    with pytest.raises(OSError, match="I/O"):
        store.obtain("judge", "y", fail)
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text('{"status": "running", "stages": {}}')
    register_run(store.root, run, ["y"])
    prune(store)
    assert list(tmp_path.glob("judge/.y*")), "a killed run goes on from there"
    forget_run(store.root, run)
    prune(store)
    assert not list(tmp_path.glob("judge/.*")), "what no run names is pruned"


def test_an_adaptive_graph_gets_the_fit_of_all_pairs_and_spends_them_at_the_top(
    run: Callable[..., dict[str, Table]],
) -> None:
    few = run("few", "graph=staged", "graph.stages=[[10,2]]")
    outcomes = few["judge"].read("outcomes")
    assert few["judge"].manifest["pairs"] == 60 * (30 + 20)
    ratings = few["rate"].read("ratings").to_pandas()
    order = ratings.groupby("query_id")["rating"].rank(ascending=False)
    degree = ratings.groupby(order <= 10)["degree"].mean()
    assert degree[True] > 4.5 > 2.5 > degree[False]
    pairs = {(row["query_id"], *sorted((row["doc_a"], row["doc_b"]))) for row in outcomes.to_pylist()}
    assert len(pairs) == len(outcomes), "no pair is asked twice"


@dataclass(frozen=True, kw_only=True)
class Mute:
    """Fails on every third question."""

    name: str = "mute"

    def compare(self, questions: Questions) -> Outcomes:
        n = len(questions)
        a = id_hashes(questions.documents["doc_id"], questions.a_row, 0)
        b = id_hashes(questions.documents["doc_id"], questions.b_row, 0)
        failed = (a ^ b) % np.uint64(3) == 0
        p = np.where(failed, np.nan, np.where(a < b, 0.8, 0.2))
        return Outcomes.of(self.name, p, np.ones(n), np.where(failed, 4, 0).astype(np.int32), np.zeros(n), np.zeros(n))


def test_pairs_that_fail_are_not_asked_for_again_in_the_next_round(
    run: Callable[..., dict[str, Table]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Simulated, "compare", lambda _judge, questions: Mute(name="simulated").compare(questions))
    table = run("home", "graph=information", "graph.degree=4", "until=judge")["judge"]
    outcomes = table.read("outcomes")
    assert table.partial
    assert table.manifest["status"]["failed"] > 100
    pairs = {(row["query_id"], *sorted((row["doc_a"], row["doc_b"]))) for row in outcomes.to_pylist()}
    assert len(pairs) == len(outcomes) == 60 * 60


def test_what_a_partial_table_has_is_kept_shard_by_shard(
    run: Callable[..., dict[str, Table]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Simulated, "compare", lambda _judge, questions: Mute(name="simulated").compare(questions))
        first = run("home", "until=judge")["judge"].read("outcomes")
    second = run("home", "until=judge")["judge"]
    assert not second.partial
    known = np.array(first["p"].is_valid())
    assert (second.read("outcomes")["p"].to_numpy()[known] == first["p"].to_numpy()[known]).all()
    assert shard(second.path, "widest", 3).exists()


@pytest.mark.parametrize("calibrator", ["offset", "rubric", "anchor"])
def test_a_calibrator_asks_the_judges_and_puts_all_queries_on_one_scale(
    calibrator: str, run: Callable[..., dict[str, Table]]
) -> None:
    """The simulated judge draws scores of all queries from one distribution, but small pools differ in their means."""
    tables = run("home", "top_k=4", "graph=complete", f"calibrator={calibrator}", "until=target")
    raw, table = tables["rate"].read("ratings"), tables["calibrate"]
    ratings, answers = table.read("ratings"), table.read("answers")
    true = truth(raw)
    before = np.corrcoef(true, raw["rating"].to_numpy())[0, 1]
    after = np.corrcoef(true, ratings["rating"].to_numpy())[0, 1]
    assert after > before + 0.03
    assert len(answers) == table.manifest["asked"] > 0
    across = answers["query_id_b"].is_valid().to_numpy()
    held = answers["criterion"].is_valid().to_numpy()
    assert across.all() == (calibrator == "offset")
    assert held.all() == (calibrator != "offset")
    scales = table.read("scales")
    assert len(scales) == 60
    np.testing.assert_allclose(
        ratings["rating"].to_numpy(),
        raw["rating"].to_numpy() * ratings["scale"].to_numpy() + ratings["offset"].to_numpy(),
    )


def test_a_paid_judge_is_asked_across_queries_through_the_budget(
    tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the offset asks is planned, paid under the same cap, kept, and asked for again only where it is missing."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZELO_COMMAND", raising=False)
    with FakeServer() as server:

        def run(*overrides: str) -> dict[str, Table]:
            GlobalHydra.instance().clear()
            asked = ["pipeline=annotate", "dataset=beir", f"dataset.path={tiny_beir}", "retriever=bm25", "top_k=5"]
            asked += ["graph.degree=2", "judge=chat", "judge.model=m", f"judge.base_url={server.base_url}"]
            asked += [
                "judge.api_key_env=null",
                "judge.input_price=1",
                "judge.output_price=1",
                "calibrator=offset",
                "calibrator.slope=1",
            ]
            with initialize_config_dir(str(config_folder()), version_base="1.3"):
                config = compose("config", [*asked, *overrides])
            *_, (result, _) = run_stages(assemble(config), Store.default())
            return result.tables

        with pytest.raises(BadInput, match="mode=verdict"):  # before the pairs within queries are paid for
            run("budget.usd=1", "judge.mode=verdict")
        assert not server.seen
        within = run("budget.usd=1", "until=rate")["judge"].manifest["judges"]["chat"]["calls"]
        assert within == len(server.seen) > 0
        with pytest.raises(BadInput, match="no budget"):
            run()
        with pytest.raises(BadInput, match="Run again to retry failed calls"):  # too few answers to place every query
            run(f"budget.calls={within + 5}", "on_limit=continue")
        assert len(server.seen) == within + 5
        monkeypatch.delenv("ZELO_COMMAND", raising=False)
        table = run("budget.usd=1")["calibrate"]
        facts = table.manifest["judges"]["chat"]
        assert facts["calls"] + facts["from_ledger"] == facts["status"]["answered"] == len(table.read("answers"))
        assert facts["from_ledger"] >= 5
        assert all(len(seen.body["messages"][-1]["content"].split("query-")) > 3 for seen in server.seen[within:])
        sent = len(server.seen)
        assert run()["calibrate"].path == table.path
        assert len(server.seen) == sent
