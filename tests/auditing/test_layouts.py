"""What an audit asks of a judge of many pairs a request, and what it says of that layout against one pair a request."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decision_server import DecisionServer, questions_of
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from planted_judges import Preference, audited, data_and_labels, right, table
from rich.console import Console

from zelo.auditing.design import AuditDesign
from zelo.auditing.layouts import MANY, ONE
from zelo.errors import BadInput
from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.records import ONE_PAIR
from zelo.reporting.audit_table import print_audit
from zelo.store.store import Store


def design(documents: int | None, sample: int | None = 20) -> AuditDesign:
    return AuditDesign(sample_queries=sample, documents_per_query=documents, repeats=1, injection=None)


def test_all_pairs_of_some_documents_are_asked() -> None:
    ring = np.array([(n, (n + step) % 10) for n in range(10) for step in (1, 2)])
    edges, sizes = np.concatenate([ring, [[10, 11]], ring + 12]), np.array([10, 2, 10])
    assert design(None, None).pairs(edges, sizes) is edges
    for documents in (3, 6, 50):
        pairs = design(documents).pairs(edges, sizes)
        for first, last in ((0, 10), (12, 22)):
            own = {frozenset(pair) for pair in pairs.tolist() if first <= pair[0] < last}
            members = {document for pair in own for document in pair}
            assert len(members) == min(documents, 10)
            assert own == {frozenset(pair) for pair in combinations(members, 2)}
            assert all(first <= document < last for document in members)
        assert len(pairs) == 2 * min(documents, 10) * (min(documents, 10) - 1) // 2, (
            "each once; two documents show no triad"
        )
    assert {tuple(pair) for pair in design(3).pairs(edges, sizes)[:2].tolist()} <= {
        tuple(pair) for pair in ring.tolist()
    }
    for documents in (None, 2):
        with pytest.raises(BadInput, match="documents_per_query"):
            design(documents)


def test_layouts_are_compared_pair_for_pair(tmp_path: Path) -> None:
    def moved(query: int, a: int, b: int, first: bool, repeat: int) -> float:
        p = right(query, a, b, first, repeat)
        return 1 - p if query < 8 else p

    tables = data_and_labels(tmp_path)
    far = sum(0.2 + 0.02 * query for query in range(8)) / 20
    for alone, share, moves, verdict in ((right, 1.0, 0.0, MANY), (moved, 0.6, far, ONE)):
        judges: dict[str, Preference] = {"d": right, f"d{ONE_PAIR}": alone, "other": right}
        told = audited(tables, table(judges, price=(100, 0.002)), tmp_path)
        assert set(told["layouts"]) == {"d"}
        found = told["layouts"]["d"]
        assert found["same_verdict"]["value"] == pytest.approx(share)
        assert found["same_verdict"]["count"] == 60
        assert found["difference"]["value"] == pytest.approx(moves)
        assert found["usd_per_question"] == [pytest.approx(0.002)] * 2
        (one,) = (one for one in told["advice"] if one["about"] == "d, many pairs or one")
        assert one["verdict"] == verdict
        assert f"the same document in {100 * share:.0f} % of 60 pairs" in one["text"]
        assert ("pairs_per_state" in one["text"]) == (verdict == ONE)
    assert "layouts" not in audited(tables, table({"d": right}), tmp_path)


@pytest.mark.usefixtures("zelo_home")
def test_the_pipeline_asks_both_ways(tiny_beir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over HTTP: the same verdicts, at a fraction of the calls and tokens."""
    GlobalHydra.instance().clear()
    with DecisionServer(plan=lambda _: "ok") as server:
        given = [f"judge.base_url={server.base_url}", "judge.model=m", "judge.api_key_env=null", "judge.input_price=1"]
        given += ["budget.usd=5", "stages.judge.design.documents_per_query=6", f"dataset.path={tiny_beir}"]
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            chosen = ["pipeline=audit", "dataset=beir", "retriever=bm25", "judge=decision"]
            config = compose("config", [*chosen, *given])
        tables: dict[str, Any] = {}
        for result, _ in run_stages(assemble(config), Store.default()):
            tables |= result.tables
        asked = [len(questions_of(seen.body)) for seen in server.seen]
    told = json.loads((tables["audit"].path / "audit.json").read_text())
    many, one = told["judges"]["decision"], told["judges"][f"decision{ONE_PAIR}"]
    assert many["answered"] == one["answered"] == 1.0
    assert many["status"] == one["status"]
    pairs = told["sample"]["pairs"]
    assert pairs == 15 * told["sample"]["queries"], "all pairs of 6 documents"
    assert max(asked) == 15
    assert many["calls"]["calls"] < one["calls"]["calls"] / 5
    found = told["layouts"]["decision"]
    assert found["same_verdict"]["value"] == 1.0
    assert found["tokens_per_question"][0] < found["tokens_per_question"][1] / 5
    assert found["usd_per_question"][0] == pytest.approx(found["tokens_per_question"][0] / 1e6)
    assert not len(tables["judge"].read("reasons")), "probabilities are no reasons"
    print_audit(told, Console(width=80))
    printed = " ".join(capsys.readouterr().out.split())
    assert "decision, many pairs or one: many pairs in a request. Both layouts prefer the same" in printed
