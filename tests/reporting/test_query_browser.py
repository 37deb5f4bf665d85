"""The query browser: what was measured, judged and labelled comes to the page as it is, within its limits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from report_data import FEW, JUDGES, QUERIES, browser, library, sources, tables
from unpacked import unpacked

from zelo.reporting import compared_pairs, shown_texts
from zelo.reporting import query_browser as module
from zelo.reporting.compared_pairs import STEPS, UNASKED
from zelo.reporting.document_pools import UNLABELLED
from zelo.reporting.packed_columns import packed
from zelo.reporting.query_browser import SCORES, query_browser

VALUES = {name: np.linspace(low, 1, 3) for name, low in (("fusion", 0.5), ("zelo", 0.1))}


@pytest.fixture(scope="module")
def made() -> dict[str, pa.Table]:
    return tables(FEW, library())


def opened(of: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return unpacked(of.packed)


def test_lists_labels_and_ratings_are_those_that_were_given(made: dict[str, pa.Table]) -> None:
    given = sources(made, VALUES, before="fusion", after="zelo")
    facts, columns = opened(query_browser(given))
    assert facts | {"columns": 0} == facts | {"columns": 0, "systems": ["fusion", "zelo"], "before": 0, "after": 1}
    assert columns["query"] == QUERIES[:3]
    assert columns["value"].reshape(2, 3)[1] == pytest.approx([0.1, 0.55, 1])
    rows = {(row["query_id"], row["doc_id"]): row for row in made["ratings"].to_pylist()}
    labels = {(row["query_id"], row["doc_id"]): row["relevance"] for row in made["qrels"].to_pylist()}
    pools = []
    for q, query in enumerate(columns["query_id"]):
        low, high = columns["pool_start"][q : q + 2]
        pools.append([columns["doc_id"][row] for row in columns["pool_doc"][low:high]])
        for place, document in enumerate(pools[-1], low):
            row = rows[query, document]
            shown = (columns["pool_rating"][place], columns["pool_stderr"][place])
            assert shown == pytest.approx((row["rating"], row["stderr"]), abs=1e-4)
            assert columns["pool_label"][place] == labels.get((query, document), UNLABELLED)
    for s, parts in enumerate(given.runs.values()):
        (run,) = parts
        for q, query in enumerate(columns["query_id"]):
            low, high = columns["list_start"][s * 3 + q : s * 3 + q + 2]
            mine = [row for row in run.to_pylist() if row["query_id"] == query]
            assert [pools[q][place] for place in columns["list_place"][low:high]] == [row["doc_id"] for row in mine]
            least, most = columns["list_low"][s * 3 + q], columns["list_high"][s * 3 + q]
            score = most - (most - least) * np.cumsum(columns["list_fall"][low:high]) / SCORES
            assert score == pytest.approx([row["score"] for row in mine], abs=0.6 / SCORES)
    texts = dict(zip(columns["doc_id"], columns["text"], strict=True))
    assert texts == {name: texts[name] for name in library()}
    assert texts["shutil.which"].split()[:3] == library()["shutil.which"][1].split()[:3]


def test_comparisons_and_reasons_are_for_the_first_document_of_a_pair(made: dict[str, pa.Table]) -> None:
    facts, columns = opened(browser(made, VALUES))
    assert facts["judges"] == JUDGES
    outcomes = made["outcomes"].to_pylist()
    seen = {}
    for q, query in enumerate(columns["query_id"]):
        low = columns["pool_start"][q]
        for pair in range(*columns["pair_start"][q : q + 2]):
            ends = tuple(columns["doc_id"][columns["pool_doc"][low + columns[f"pair_{end}"][pair]]] for end in "ab")
            seen[query, ends] = columns["pair_p"].reshape(len(JUDGES), -1)[:, pair]
            seen[query, ends[::-1]] = STEPS - seen[query, ends].astype(int)
    assert len(seen) == 2 * len(outcomes) / len(JUDGES)
    for row in outcomes:
        shown = seen[row["query_id"], (row["doc_a"], row["doc_b"])][JUDGES.index(row["judge"])]
        assert shown / STEPS == pytest.approx(row["p"], abs=0.5 / STEPS + 1e-6)
    rows = zip(*(columns[name] for name in ("reason_pair", "reason_judge", "reason_turned", "reason")), strict=True)
    first = outcomes[:40]
    assert len(columns["reason"]) == len(first)
    for pair, judge, turned, text in rows:
        q = int(np.searchsorted(columns["pair_start"], pair, "right")) - 1
        low = columns["pool_start"][q]
        ends = [columns["doc_id"][columns["pool_doc"][low + columns[f"pair_{end}"][pair]]] for end in "ab"]
        (row,) = (r for r in first if {r["doc_a"], r["doc_b"]} == set(ends) and r["judge"] == JUDGES[judge])
        shown_first = row["doc_b"] if row["swapped"] else row["doc_a"]
        assert ends[turned] == shown_first
        assert "score" in text


def test_it_does_not_depend_on_the_order_of_rows_and_parts(made: dict[str, pa.Table]) -> None:
    given = sources(made, VALUES, before="fusion", after="zelo")
    again = np.random.default_rng(1).permutation(len(made["outcomes"]))
    outcomes = made["outcomes"].take(pa.array(again))
    parts = [outcomes.slice(0, 0), outcomes.slice(0, 99), outcomes.slice(99)]
    coded = [
        part.set_column(0, "query_id", part["query_id"].dictionary_encode()).set_column(
            1, "doc_a", part["doc_a"].dictionary_encode()
        )
        for part in parts
    ]
    shuffled = replace(given, ratings=made["ratings"].take(pa.array(range(len(made["ratings"]))[::-1])), outcomes=coded)
    (_, whole), (facts, columns) = opened(query_browser(given)), opened(query_browser(shuffled))
    order = [facts["judges"].index(name) for name in JUDGES]
    assert (columns["pair_p"].reshape(4, -1)[order].ravel() == whole["pair_p"]).all()
    assert all(np.array_equal(columns[name], whole[name]) for name in whole if name != "pair_p")


def test_of_a_document_that_was_split_the_rated_passage_is_shown(made: dict[str, pa.Table]) -> None:
    homes = pa.chunked_array([[f"D{n // 2}" for n in range(len(library()))]])
    home = dict(zip(library(), homes.to_pylist(), strict=True))
    judged = pa.array(list(library())[1::4])  # the second passage of every other document
    second = made["ratings"].filter(pc.is_in(made["ratings"]["doc_id"], judged))
    rated = {(row["query_id"], home[row["doc_id"]]): row["doc_id"] for row in second.to_pylist()}
    run = [("q0", "D3", 1, 0.9), ("q0", "D4", 2, 0.5), ("q1", "D0", 1, 0.4)]
    runs = {"zelo": [pa.table(list(map(list, zip(*run, strict=True))), ["query_id", "doc_id", "rank", "score"])]}
    qrels = pa.table([["q0"], ["D2"], [1], ["test"]], schema=made["qrels"].schema)
    given = sources(made, {"zelo": VALUES["zelo"]}, homes=homes, runs=runs, qrels=qrels, ratings=second)
    _, columns = opened(query_browser(given))
    first = {document: passage for passage, document in reversed(home.items())}
    start = columns["pool_start"][[0, 0, 1]]
    shown = [columns["doc_id"][columns["pool_doc"][row]] for row in start + columns["list_place"]]
    assert shown == [rated.get(row[:2], first[row[1]]) for row in run]
    assert {row[:2] in rated for row in run} == {True, False}, "both cases"
    (relevant,) = np.flatnonzero(columns["pool_label"] == 1)
    assert columns["doc_id"][columns["pool_doc"][relevant]] == rated.get(("q0", "D2"), first["D2"])


def test_what_does_not_fit_is_left_out_and_said(made: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {module: {"LISTED": 2, "PLACES": 1, "LEAST_DEPTH": 5}, shown_texts: {"TEXT": 1}}
    limits[compared_pairs] = {"ANSWERS": 1, "LEAST_PAIRS": 7}
    for place, named in limits.items():
        for name, limit in named.items():
            monkeypatch.setattr(place, name, limit)
    facts, columns = opened(query_browser(sources(made, VALUES, before="fusion", after="zelo")))
    assert columns["query_id"] == ["q0", "q2", "q1"], "the largest loss and the largest gain have lists"
    assert (facts["listed"], facts["depth"], facts["excerpt"]) == (2, 5, shown_texts.SHORTEST)
    assert np.diff(columns["list_start"]).tolist() == [5] * 4
    assert facts["pairs"] == [14, len(made["outcomes"]) / 3 * 2 / 4]
    assert max(map(len, columns["text"])) == shown_texts.SHORTEST + 1
    for q in range(2):  # the pairs that stay are of documents near in rating
        low, high = columns["pool_start"][q : q + 2]
        rank = np.argsort(np.argsort(-columns["pool_rating"][low:high]))
        pairs = range(*columns["pair_start"][q : q + 2])
        assert max(abs(rank[columns["pair_a"][pair]] - rank[columns["pair_b"][pair]]) for pair in pairs) <= 2


def test_nothing_rated_labelled_or_compared_is_no_error(made: dict[str, pa.Table]) -> None:
    nothing = {name: made[name].slice(0, 0) for name in ("ratings", "qrels")} | {"outcomes": []}
    facts, columns = opened(query_browser(sources(made, VALUES, **nothing)))
    assert not facts["rated"]
    assert set(columns["pool_label"].tolist()) == {UNLABELLED}
    assert len(columns["pair_a"]) == len(columns["pair_p"]) == 0
    facts, columns = opened(query_browser(sources(made, {})))
    assert facts["systems"] == []
    assert len(columns["pool_doc"]) == len(made["ratings"])
    assert UNASKED not in columns["pair_p"], "every judge was asked about every pair"


def test_texts_are_packed_whole_and_a_column_that_no_script_opens_is_refused() -> None:
    texts = ["", "a\ud7ff\U0001f600", "</script>", "two\nlines"]
    facts, columns = unpacked(
        packed({"a": "é"}, {"t": pa.array(["x", *texts]).slice(1), "n": np.arange(3, dtype=np.uint8)})
    )
    assert (facts, columns["t"], columns["n"].tolist()) == ({"a": "é"}, texts, [0, 1, 2])
    with pytest.raises(TypeError, match="column n is of int64"):
        packed({}, {"n": np.arange(3)})
