"""A pair has one probability: whatever else a judge that standardises scores is asked in the same call."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from scored_questions import Table, questions

from zelo.judges.from_scores import FromScores
from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.pools import Pools
from zelo.store.store import Store

ROUNDING = 1e-7  # of one minus a float32, where a graph names the pair the other way round
Pairs = dict[tuple[str, frozenset[str]], dict[str, float]]
SMALL = ["dataset=beir", "retriever=bm25", "top_k=12", "until=judge"]
STAGED = ["graph=staged", "graph.stages=[[6,1],[4,1]]"]
GRAPHS = [STAGED, *(["graph=" + name, "graph.degree=4"] for name in ("information", "smallest_gap"))]


@pytest.fixture
def judged(tiny_beir: Path, tmp_path: Path, zelo_home: Path) -> Callable[..., Pairs]:
    """What the judges of a pipeline say: query and pair -> judge -> P(the document with the smaller id preferred)."""

    def run(*overrides: str, stage: str = "judge") -> Pairs:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose("config", ["pipeline=annotate", *SMALL, f"dataset.path={tiny_beir}", *overrides])
        *_, (result, _) = run_stages(assemble(config), Store(tmp_path / "home"))
        found: Pairs = {}
        for row in result.tables[stage].read("outcomes").to_pylist():
            both = found.setdefault((row["query_id"], frozenset((row["doc_a"], row["doc_b"]))), {})
            first = min(row["doc_a"], row["doc_b"])
            p = row["p"] if first == row["doc_a"] else 1 - row["p"]
            assert both.setdefault(row["judge"], p) == pytest.approx(p, abs=ROUNDING)
        return found

    return run


def alike(some: Pairs, every: Pairs, tolerance: float = ROUNDING) -> None:
    assert some
    for pair, answers in some.items():
        for who, p in answers.items():
            assert p == pytest.approx(every[pair][who], abs=tolerance), (pair, who)


def test_exactly_by_all_candidates_of_the_query() -> None:
    """Also where some are asked about in one call and some in another, and across queries."""
    scores = Table([1, 2, 3, 99], [50, 10, 20, 30])
    judge = FromScores(name="j", scorer=scores, tau=2.0)  # pyright: ignore[reportArgumentType]
    lists = Pools(np.array([0, 1]), np.array([4, 3]), np.array([3, 2, 1, 0, 1, 2, 3]))
    asked = replace(questions([0, 0, 1], [0, 1, 2], [1, 2, 1]), candidates=lists)
    whole = judge.compare(asked).p
    first = 1 / (1 + np.exp(1 / (2 * np.std([1, 2, 3, 99]))))
    assert whole[:2] == pytest.approx(first, rel=1e-6)
    assert whole[2] == pytest.approx(1 / (1 + np.exp(-10 / (2 * np.std([10, 20, 30])))), rel=1e-6)
    alone = [judge.compare(asked.take(np.array([row]))).p[0] for row in range(3)]
    assert alone == whole.tolist()
    assert len(scores.asked) == 7, "each candidate is scored once, not once a call"
    beside = judge.compare(replace(questions([1], [0], [1]), candidates=lists)).p[0]  # (1, 0) is no candidate
    assert beside == pytest.approx(1 / (1 + np.exp(-40 / (2 * np.std([10, 20, 30])))), rel=1e-6)
    across = replace(asked, query_b_row=np.array([1, 1, 0], np.int32))
    whole = judge.compare(across).p
    assert whole[0] == pytest.approx(1 / (1 + np.exp(9 / (2 * np.std([1, 2, 3, 99, 10, 20, 30])))), rel=1e-6)
    assert [judge.compare(across.take(np.array([row]))).p[0] for row in range(3)] == whole.tolist()


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph[0].removeprefix("graph="))
def test_in_whatever_round_it_is_asked(graph: list[str], judged: Callable[..., Pairs]) -> None:
    every = judged("judge=lexical", "graph=complete")
    some = judged("judge=lexical", *graph)
    assert len(some) < len(every)
    assert len({p for answers in some.values() for p in answers.values()}) > 20, "scores that differ"
    alike(some, every)


def test_of_judges_whose_scores_are_cosines_too(judged: Callable[..., Pairs]) -> None:
    alike(judged("judge=embedded", *STAGED), judged("judge=embedded", "graph=complete"), 1e-6)


def test_in_an_audit(judged: Callable[..., Pairs]) -> None:
    every = judged("judge=lexical", "graph.degree=4", "stages.judge.presentation=both")
    sample = judged("judge=lexical", "graph.degree=4", "pipeline=audit")
    both = {pair: sample[pair] for pair in sample.keys() & every.keys()}
    assert len(both) >= 2 * 8, "two of the three pairs of each query are the graph's"
    alike(both, every)


def test_where_one_pair_a_query_is_asked(judged: Callable[..., Pairs]) -> None:
    """As in the first pass and in the second one, whose candidates are the two documents that it asks about."""
    every = judged("judge=lexical", "graph=complete")
    alike(judged("judge=lexical", "graph=gold", "graph.depth=4"), every)
    two = [
        "+stages.first={_target_: zelo.stages.retrieve.Retrieve, inputs: {data: load}, retriever: ${retriever},"
        " top_k: 2, splits: [train, dev, test], keep_own_document: false, budget: ${stages.judge.budget}}",
        "stages.judge.inputs.candidates=first",
        "graph=complete",
    ]
    alike(judged("judge=lexical", *two, "+stages.judge.inputs.lists=retrieve"), every)
    with pytest.raises(AssertionError):
        alike(judged("judge=lexical", *two), every)


def test_what_other_queries_say_of_a_document_is_taken_off() -> None:
    """Document 1 is liked by query 1, too, document 2 is not; by hand, with the prior's one query."""
    scores = Table([1, 2, 3, 99], [50, 40, 20, 10])
    lists = Pools(np.array([0, 1]), np.array([3, 3]), np.array([0, 1, 2, 1, 2, 3]))
    asked = replace(questions([0, 0], [0, 0], [1, 2]), candidates=lists)
    judge = FromScores(name="j", scorer=scores, tau=2.0, other_queries=True)  # pyright: ignore[reportArgumentType]
    own = (np.array([1, 2, 3]) - 2) / np.std([1, 2, 3])
    other = (np.array([40, 20, 10]) - 70 / 3) / np.std([40, 20, 10])
    unit = own - np.array([0, other[0] / 2, other[1] / 2])  # document 0 has no other query
    assert judge.compare(asked).p == pytest.approx(1 / (1 + np.exp((unit[1:] - unit[0]) / 2)), rel=1e-6)
    plain = FromScores(name="j", scorer=scores, tau=2.0)  # pyright: ignore[reportArgumentType]
    free = questions([0, 0], [0, 0], [1, 2])
    assert judge.compare(free).p.tolist() == plain.compare(free).p.tolist(), "nothing is known of candidates"
    across = replace(asked, query_b_row=np.array([1, 1], np.int32))
    assert judge.compare(across).p.tolist() == plain.compare(across).p.tolist(), "of two queries"
