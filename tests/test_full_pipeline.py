"""The full pipeline on a small corpus, in several shards: from texts to both students, what they are worth, and the report."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import zelo
from zelo.errors import BadInput
from zelo.pipeline.run import Result, assemble, run_stages
from zelo.places import config_folder
from zelo.reporting import compared
from zelo.served import Served
from zelo.stages import retrieve
from zelo.store.store import Store
from zelo.tracking.run_folder import RunFolder


def served_as_evaluated(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`zelo.load(RUN)` finds what the evaluation saw; what is missing is named."""
    folder = RunFolder(tmp_path / "run", "", 0, "zelo", []).folder
    RunFolder(folder, "", 0, "zelo", []).publish(result, "zelo")
    scored = result.tables["hybrid"].read("scored")
    queries = result.tables["load"].read("queries")
    texts = dict(zip(queries["query_id"].to_pylist(), queries["text"].to_pylist(), strict=True))
    engine = zelo.load(folder)
    assert isinstance(engine, Served)
    for query in set(scored["query_id"].to_pylist()):
        mine = scored.filter(pc.equal(scored["query_id"], query))
        seen = dict(zip(mine["doc_id"].to_pylist(), mine["score"].to_pylist(), strict=True))
        found = engine.search(texts[query], 24)
        assert dict(found) == pytest.approx(seen, abs=2e-3)
        assert [seen[doc] for doc, _ in found] == pytest.approx(sorted(seen.values(), reverse=True), abs=2e-3)
    ranked = engine.rank("red green", ["blue\nblue", "red\nred green"])
    assert [place for place, _ in ranked] == [1, 0]
    for card in ("embedding", "reranker"):
        assert "| bm25 | BM25, k1 1.2, b 0.75" in (folder / card / "README.md").read_text()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("ZELO_HOME", str(tmp_path / "elsewhere"))
        with pytest.raises(BadInput, match=r"the documents of the run .* are not in the store"):
            zelo.load(folder).rank("red", ["red"])  # type: ignore[union-attr]
    shutil.rmtree(folder / "reranker")
    with pytest.raises(BadInput, match=r"hybrid.json needs the reranker in the folder reranker"):
        zelo.load(folder)


def test_the_full_pipeline(tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieve, "SHARD", 3)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    (tiny_beir / "qrels").mkdir()
    for split, queries in (("dev", (4, 5)), ("test", (6, 7))):
        rows = [f"q{q}\td{d}\t1\n" for q in queries for d in (q, q + 8)]
        (tiny_beir / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))

    def run(*overrides: str) -> Result:
        GlobalHydra.instance().clear()
        small = ["dataset=beir", f"dataset.path={tiny_beir}", "top_k=10", "graph=staged", "graph.stages=[[6,1]]"]
        small += [
            "stages.evaluate.candidates_as=fusion",
            f"logger.folder={tmp_path}",
            "embedding.trainer.epochs=1",
            "reranker.trainer.epochs=1",
            "calibrator=offset",
            "calibrator.slope=1",
        ]
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose("config", [*small, *overrides])
        *_, (result, _) = run_stages(assemble(config), Store.default())
        return result

    result = run()
    assert len(result.tables["retrieve"].shards("candidates")) == 3
    assert len(result.tables["target"].shards("examples")) == 3
    metrics = json.loads((result.tables["evaluate"].path / "metrics.json").read_text())
    systems = {"teacher", "bm25", "dense", "fusion", "embedding-untuned", "reranker-untuned"}
    systems |= {"zelo", "zelo-embedding", "zelo-reranker"}
    for split in ("dev", "test"):
        found = {row["system"]: row["value"] for row in metrics if (row["split"], row["metric"]) == (split, "nDCG@10")}
        assert set(found) == systems
        assert all(0 <= value <= 1 for value in found.values())
    assert found["dense"] > 0.3, "a colour is found by its name"
    for student in ("train_embedding", "train_reranker"):
        assert (result.tables[student].path / "export" / "modules.json").is_file()
        values, manifest = result.tables[student].read("dev"), result.tables[student].manifest
        assert float(np.mean(values["value"])) == pytest.approx(manifest["best_dev"], abs=1e-6)
    of_training = compared.of_run(result, None, None)  # as where a run stops before the evaluation
    assert of_training["system"] == "reranker"
    assert of_training["per_query"]["dev"] == dict(zip(*values.to_pydict().values(), strict=True))
    queries = result.tables["load"].read("queries")
    assert set(of_training["per_query"]["dev"]) == set(
        queries.filter(pc.equal(queries["split"], "dev"))["query_id"].to_pylist()
    )
    served_as_evaluated(result, tmp_path, monkeypatch)
    again = run()
    assert {facts["status"] for facts in again.facts.values()} == {"cached"}
    other = run("seed=1", "until=judge")
    assert other.facts["judge"]["status"] == "computed"
    assert other.facts["retrieve"]["status"] == "cached"
