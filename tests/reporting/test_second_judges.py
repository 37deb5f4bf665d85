"""What the report of a run says where a second judge was asked about the best candidates of the first ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from certain import certain
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.reporting import lineage, report_data
from zelo.store import Store


def test_the_report_shows_the_answers_of_all_judges_of_the_ratings(tiny_beir: Path, tmp_path: Path) -> None:
    choices = ["experiment=lm_judge", "dataset=beir", f"dataset.path={tiny_beir}", "retriever=bm25", "judge=lexical"]
    choices += ["judge@second.judge=lexical", "second.judge.name=late", "second.judge.scorer.b=0", "second.top_k=5"]
    choices += ["top_k=8", "graph.degree=4", "known_items.items=0", "until=rate", "stages.evaluate.candidates_as=bm25"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", choices)
    *_, (result, _) = run_stages(assemble(config), Store(tmp_path / "home"))
    data = report_data.of_run(result, None, {}, "")
    stages = lineage.judged(result, "rate")
    assert lineage.judged(result, "rate_first") == stages[:1]
    answers = pa.concat_tables(result.tables[name].read("outcomes") for name in stages).to_pylist()
    together = 0  # pairs in a matrix that both judges were asked about
    for matrix, ladder in zip(certain(data.ratings).matrices, data.ladders, strict=True):
        mine = [row for row in answers if row["query_id"] == matrix.query_id]
        place = {rung.doc_id: rung.rank - 1 for rung in ladder.rungs}
        for rung in ladder.rungs:
            for bout in rung.bouts:
                pair = (rung.doc_id, bout.opponent)
                p = {row["judge"]: row["p"] for row in mine if (row["doc_a"], row["doc_b"]) == pair}
                p |= {row["judge"]: 1 - row["p"] for row in mine if (row["doc_b"], row["doc_a"]) == pair}
                assert bout.judges == pytest.approx(p)
                if bout.opponent in place:
                    assert matrix.p[place[pair[0]], place[pair[1]]] == pytest.approx(np.mean(list(p.values())))
                    together += p.keys() == {"lexical", "late"}
    assert together
    # A judge's weight is that in the last ratings, which another stage weighs it for than the first ones.
    assert {lineage.weighing(result, name) for name in stages} == {"known_shortlists"}
    assert {row["name"]: (row["stage"], row["weight"]) for row in data.judges} == {
        "lexical": (stages[0], 1.0),
        "late": (stages[1], 1.0),
    }
