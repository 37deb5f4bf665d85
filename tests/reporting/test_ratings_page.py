"""The report's section on ratings: figures that are those of the run, and words that say when to worry."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from certain import certain
from fake_comparisons import made_of
from html_page import Page
from report_data import FEW, facts_of, library, report, tables

from zelo.graphs.expected_loss import expected_loss
from zelo.graphs.rounds import rounds
from zelo.graphs.staged import Staged
from zelo.likelihood.randomness import content_seed
from zelo.metrics.predicted_answers import CRITERIA, PAIRS, PREDICTED, predicted_answers
from zelo.metrics.spectrum import spectra
from zelo.records import ANSWERED, OUTCOME, QUERY_SCALE, RATING, Comparisons
from zelo.reporting import budgets, query_offsets, rating_facts, rating_plots, ratings_page
from zelo.reporting.report import render
from zelo.store.shards import write_parquet
from zelo.store.table import Table


def test_a_matrix_says_who_was_preferred() -> None:
    made = tables(FEW, library())
    first, second = rating_facts.matrices(["q2", "q0", "nobody"], FEW, made["ratings"], made["outcomes"], {})
    assert (first.query_id, second.query) == ("q2", FEW["q0"])
    n = len(library())
    assert first.shown.tolist()[:25] == list(range(25))
    assert len(first.shown) == 40
    assert first.shown[-1] == n - 1
    assert (np.diff(first.rating) <= 0).all()
    rows = [row for row in made["outcomes"].to_pylist() if row["query_id"] == "q2"]
    rated = sorted(
        (row for row in made["ratings"].to_pylist() if row["query_id"] == "q2"), key=lambda row: -row["rating"]
    )
    names = [rated[place]["doc_id"] for place in first.shown]
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            p = [row["p"] for row in rows if (row["doc_a"], row["doc_b"]) == (one, other)]
            p += [1 - row["p"] for row in rows if (row["doc_b"], row["doc_a"]) == (one, other)]
            assert first.p[i, j] == pytest.approx(np.mean(p) if p else np.nan, nan_ok=True)
    above = first.p[np.triu_indices(40, 1)]
    assert np.nanmean(above) > 0.6
    few = rating_facts.matrices(["q1"], FEW, made["ratings"].slice(n, 40), made["outcomes"], {})[0]
    assert few.shown.tolist() == list(range(40)), "up to 40 candidates are all shown"


def test_a_matrix_is_drawn_cell_by_cell() -> None:
    p = np.full((3, 3), np.nan)
    p[0, 1], p[1, 0], p[0, 2], p[2, 0] = 1.0, 0.0, 0.5, 0.5
    drawn = rating_plots.matrix(p, np.array([0, 1, 7]))
    cells = {name: re.findall(r"M(\d) (\d)h", path) for name, path in re.findall(r'class="(m\d)" d="([^"]*)"', drawn)}
    assert cells == {"m8": [("1", "0")], "m0": [("0", "1")], "m4": [("2", "0"), ("0", "2")]}
    assert re.findall(r">(\d+)</text>", drawn) == ["1", "1", "2", "2", "8", "8"]
    assert 'class="cut"' in drawn, "documents are left out between the second and the third"
    every = rating_plots.matrix(np.random.default_rng(0).random((40, 40)), np.arange(40))
    assert len(every) < 40_000
    assert 'class="cut"' not in every


def asked(stop_at: float | None) -> tuple[SimpleNamespace, pa.Table, list[float], np.ndarray]:
    """(judge stage, its outcomes of one query, expected loss before each round, pairs in each) of a staged graph."""
    solver = made_of("thurstone", ridge=0.5)
    graph = Staged(cycles=1, stages=[[30, 1], [20, 2], [12, 2]], solver=solver, stop_at=stop_at)
    n, random = 30, np.random.default_rng(1)
    sizes, seeds = np.array([n]), np.array([content_seed("q", 0)], np.uint64)
    strength = random.normal(scale=0.7, size=n)
    edges, p, fit, losses, counts = np.empty((0, 2), np.int64), np.empty(0), None, [], []
    while (new := graph.propose(sizes, seeds, fit)) is not None:
        votes = solver.link(strength[new[:, 0]] - strength[new[:, 1]])
        edges, p = np.concatenate([edges, new]), np.concatenate([p, random.binomial(3, votes) / 3])
        fit = solver.fit(Comparisons(sizes, edges, p, np.full(len(p), 3.0)))
        (group,) = rounds(sizes, seeds, fit, np.array([10**6]), None, optimism=1.0, covariance=True)
        assert group.covariance is not None
        loss = expected_loss(group.rating, fit.stderr[None], group.covariance, group.seeds, fit.link)
        losses.append(graph.OPTIMISM * float(loss[0]))
        counts.append(len(edges))
    ids = np.array([f"d{number:02}" for number in range(n)])
    columns: dict[str, Any] = dict.fromkeys(OUTCOME.names)
    columns |= {"query_id": ["q"] * len(p), "doc_a": ids[edges[:, 0]], "doc_b": ids[edges[:, 1]], "p": p}
    columns |= {"judge": ["votes"] * len(p), "weight": np.full(len(p), 3.0), "status": [ANSWERED] * len(p)}
    table = pa.table({name: columns[name] if columns[name] is not None else [None] * len(p) for name in OUTCOME.names})
    return SimpleNamespace(graph=graph, design=None, seed=0), table.cast(OUTCOME), losses, np.array(counts)


def test_a_budget_curve_ends_where_the_graph_stopped() -> None:
    stage, outcomes, losses, counts = asked(None)
    free = budgets.of_queries(stage, outcomes, ["q"])["q"]
    assert (free.pairs[0], free.pairs[-1], free.most) == (30, counts[-1], counts[-1])
    assert (free.loss[0], free.loss[-1]) == pytest.approx((losses[0], losses[-1]), rel=1e-4)
    assert free.loss[-1] < free.loss[0] / 3
    stop_at = (losses[1] * losses[2]) ** 0.5
    stage, outcomes, losses, counts = asked(stop_at)
    stopped = budgets.of_queries(stage, outcomes, ["q"])["q"]
    assert len(counts) == 3, "the graph stopped before its last stage"
    assert (stopped.pairs[-1], stopped.stop_at, stopped.most) == (counts[2], stop_at, free.most)
    assert stopped.loss[-1] <= stop_at < losses[1]
    assert "stroke-dasharray" in rating_plots.budget(stopped, "x")
    assert "stroke-dasharray" not in rating_plots.budget(free, "x")
    assert budgets.of_queries(SimpleNamespace(graph=object()), outcomes, ["q"]) == {}


def calibrated(folder: Path, criterion: bool) -> tuple[Table, np.ndarray]:
    """40 queries of 6 documents with offsets, and answers that are exactly what the calibrated ratings say.

    With the table, what the ratings said of each answer before.
    """
    random = np.random.default_rng(4)
    offset = np.round(random.normal(size=40), 3) * 0.7
    e = random.normal(size=(40, 6))
    rating = 1.5 * e + offset[:, None]
    names = [f"q{number}" for number in range(40)]
    ratings = {"query_id": np.repeat(names, 6), "doc_id": [f"d{i}" for _ in names for i in range(6)]}
    ratings |= {"rating": rating.ravel(), "stderr": np.ones(240), "degree": np.ones(240, int)}
    ratings |= {"offset": np.repeat(offset, 6), "scale": np.full(240, 1.5)}
    q, r = random.integers(40, size=(2, 900))
    a, b = random.integers(6, size=(2, 900))
    p = made_of("thurstone").link(rating[q, a] - (0 if criterion else rating[r, b]))
    answers: dict[str, Any] = {name: [None] * 901 for name in OUTCOME.names}
    answers["query_id"] = [*(names[i] for i in q), "q0"]
    answers["doc_a"] = [*(f"d{i}" for i in a), "unrated"]
    answers["doc_b"] = answers["doc_a"] if criterion else [*(f"d{i}" for i in b), "d0"]
    answers["query_id_b"] = [None] * 901 if criterion else [*(names[i] for i in r), "q1"]
    answers["criterion"] = [0] * 901 if criterion else [None] * 901
    answers["p"] = [*p, 1.0]
    scales = {"query_id": names, "offset": offset, "scale": np.full(40, 1.5), "stderr": [None, *[0.1] * 39]}
    folder.mkdir()
    for name, schema, columns in (
        ("ratings", RATING, ratings),
        ("answers", OUTCOME, answers),
        ("scales", QUERY_SCALE, scales),
    ):
        pq.write_table(pa.table(columns).select(schema.names).cast(schema), folder / f"{name}.parquet")
    before = e[q, a] if criterion else made_of("thurstone").link(e[q, a] - e[r, b])
    return Table("calibrate", "", folder, {"fit": {}}), before


@pytest.mark.parametrize("criterion", [False, True])
def test_offsets_are_held_against_their_answers(criterion: bool, tmp_path: Path) -> None:
    table, before = calibrated(tmp_path / "made", criterion)
    link = made_of("thurstone").link
    about, rows = predicted_answers(table, table.read("answers"), link, 1.0)
    write_parquet(rows, PREDICTED, table.path, "predicted")
    table.manifest["answers_about"] = about
    found = query_offsets.of_table(table)
    assert found is not None
    assert found.kind == (CRITERIA if criterion else PAIRS)
    assert len(found.answer) == 900, "a document without a rating is left out"
    np.testing.assert_allclose(found.before, before, atol=1e-9)
    foretold = made_of("thurstone").link(found.after) if criterion else found.after
    np.testing.assert_allclose(foretold, found.answer, atol=1e-6)
    view = ratings_page.view(replace(facts_of(tables(FEW, library()), FEW), offsets=found))["offsets"]
    raw, calibrated_ones = map(float, view["measured"])
    if criterion:
        assert raw < calibrated_ones - 0.1, "correlation with the rating"
    else:
        assert calibrated_ones < raw - 0.05, "log loss"
        assert view["gaps"][1] == "0.000"
    (table.path / "predicted.parquet").unlink()
    assert query_offsets.of_table(table) is None, "calibration writes nothing where no offset differs from 0"


def test_worries_are_marked_and_missing_parts_named() -> None:
    data = report()
    ratings = certain(data.ratings)

    def worries(**changed: Any) -> set[str]:
        view = ratings_page.view(replace(ratings, fit={**ratings.fit, **changed}))
        return {row["name"] for row in view["fit"] if row["worry"]}

    assert worries() == {"disconnected queries"}
    sampled = ratings_page.view(replace(ratings, fit=ratings.fit | {"queries": 112_000, "diagnosed_queries": 2_190}))
    told = [row["name"] for row in sampled["fit"] if "on 2,190 of 112,000 queries" in row["meaning"]]
    assert told == ["intransitive triads", "curl", "least one-dimensional"]
    calm = {"disconnected_queries": 0, "disconnected": []}
    assert worries(**calm) == set()
    assert worries(**calm, steps=49, gradient=2e-6, log_loss=0.7, held_out_log_loss=0.8, dispersion=1.6) == {
        *("steps", "worst gradient", "log loss", "held-out log loss", "dispersion")
    }
    assert worries(**calm, separable_documents=6000, intransitive_triads=0.2, curl=0.6) == {
        *("separable documents", "intransitive triads", "curl")
    }
    words = Page(render(data)).words
    for words_of in (
        "Preferences and errors",
        "second Laplacian eigenvalue",
        "held-out log loss",
        "One scale for all queries",
    ):
        assert words_of in words
    assert "stopped after 280 of at most 290 pairs, at an expected loss of 0.0010" in words
    bare = replace(certain(data.ratings), matrices=[], graphs=[], fit={}, curl=[], offsets=None, limits={})
    words = Page(render(replace(data, ratings=bare))).words
    assert "No calibrator found any offset" in words
    assert "nan" not in words.partition("Ratings")[2]


def test_a_graph_in_parts_is_named_the_worst() -> None:
    made = tables({"q0": "", "q1": ""}, dict(list(library().items())[:20]))
    assert [one.parts for _, one in spectra(made["outcomes"])] == [1, 1]
    two = pa.table(
        {"query_id": ["q0"] * 2, "doc_a": ["a", "c"], "doc_b": ["b", "d"], "judge": ["x"] * 2, "p": [0.2, 0.9]}
    )
    two = two.append_column("weight", pa.array([1.0, 1.0]))
    ((_, parts),) = spectra(two)
    assert (parts.parts, parts.lambda_2) == (2, 0.0)
    facts = facts_of(made, {"q0": "", "q1": ""})
    rows = {row["name"]: row for row in ratings_page.view(replace(facts, graphs=[*facts.graphs, parts]))["graphs"]}
    assert rows["parts"]["values"] == ["1", "2"]
    assert rows["diameter"]["values"][1] == "∞"
    assert [name for name in ("parts", "λ₂") if not rows[name]["worry"]] == []
