"""What the report of a run says where a second judge was asked about the best candidates of the first ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from certain import certain
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from unpacked import unpacked

from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.reporting import lineage, report_data
from zelo.reporting.compared_pairs import STEPS, UNASKED
from zelo.store.store import Store


def test_the_report_shows_the_answers_of_all_judges_of_the_ratings(tiny_beir: Path, tmp_path: Path) -> None:
    choices = ["experiment=lm_judge", "dataset=beir", f"dataset.path={tiny_beir}", "retriever=bm25", "judge=lexical"]
    choices += ["judge@second.judge=lexical", "second.judge.name=late", "second.judge.scorer.b=0", "second.top_k=5"]
    choices += ["top_k=8", "graph.degree=4", "known_items.items=0", "stages.evaluate.candidates_as=bm25"]
    # The target reads the ratings, and holds none.
    choices += ["until=target", "stages.calibrate=null"]
    choices += ["stages.target.inputs.ratings=rate", "stages.evaluate.inputs.teacher=rate"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", choices)
    *_, (result, _) = run_stages(assemble(config), Store(tmp_path / "home"))
    manifest = {"command": "zelo", "started": "", "versions": {}, "stages": {}}
    data = report_data.of_run(result, None, manifest, "", tmp_path)
    stages = lineage.judged(result, "rate")
    assert lineage.judged(result, "rate_first") == stages[:1]
    answers = pa.concat_tables(result.tables[name].read("outcomes") for name in stages).to_pylist()
    facts, columns = unpacked(certain(data.browser).packed)
    assert facts["judges"] == ["lexical", "late"]
    together = 0  # pairs in a matrix that both judges were asked about
    for matrix in certain(data.ratings).matrices:
        mine = [row for row in answers if row["query_id"] == matrix.query_id]
        pool, pairs = (
            columns[f"{kind}_start"][(at := columns["query_id"].index(matrix.query_id)) :][:2]
            for kind in ("pool", "pair")
        )
        documents = [columns["doc_id"][row] for row in columns["pool_doc"][pool[0] : pool[1]]]
        rating = columns["pool_rating"][pool[0] : pool[1]]
        assert rating[np.argsort(-rating)] == pytest.approx(matrix.rating, abs=1e-4), at
        order = sorted(range(len(documents)), key=lambda row: (-rating[row], documents[row]))
        place = {documents[row]: rank for rank, row in enumerate(order)}
        for row in range(*pairs):
            a, b = (documents[columns[f"pair_{end}"][row]] for end in "ab")
            p = {one["judge"]: one["p"] for one in mine if (one["doc_a"], one["doc_b"]) == (a, b)}
            p |= {one["judge"]: 1 - one["p"] for one in mine if (one["doc_b"], one["doc_a"]) == (a, b)}
            shown = columns["pair_p"].reshape(2, -1)[:, row]
            assert {
                judge: step / STEPS
                for judge, step in zip(facts["judges"], shown.tolist(), strict=True)
                if step != UNASKED
            } == pytest.approx(p, abs=0.5 / STEPS + 1e-6)
            assert matrix.p[place[a], place[b]] == pytest.approx(np.mean(list(p.values())))
            together += p.keys() == {"lexical", "late"}
    assert together
    # A judge's weight is that in the last ratings, which another stage weighs it for than the first ones.
    assert {lineage.weighing(result, name) for name in stages} == {"known_shortlists"}
    assert {row["name"]: (row["stage"], row["weight"]) for row in data.judges} == {
        "lexical": (stages[0], 1.0),
        "late": (stages[1], 1.0),
    }
