"""Whether a claim holds: verdicts on planted figures, the figures themselves on planted ratings, and the page of all claims."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from omegaconf import OmegaConf

from zelo.errors import BadInput
from zelo.evaluation.claim import FAILS, HOLDS, OPEN, Contrast, Found, verdict
from zelo.places import config_folder
from zelo.records import CANDIDATE, DOCUMENT, OUTCOME, QREL, QUERY, QUERY_FIT, RATING, SCORED
from zelo.reporting import claims
from zelo.solvers.bradley_terry import BradleyTerry
from zelo.stages.by_domain import ByDomain
from zelo.stages.claim import Claim
from zelo.stages.evaluate import PER_QUERY
from zelo.stages.full_size import FullSize
from zelo.stages.one_order import OneOrder
from zelo.stages.queries_about import QueriesAbout
from zelo.stages.rating_errors import RatingErrors
from zelo.stages.relevance_loss import RelevanceLoss
from zelo.stages.some_queries import SomeQueries
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.tracking import sweep

QUERIES, DOCUMENTS = 40, 12
NAMES = [f"q{n:02}" for n in range(QUERIES)]


def table(folder: Path, name: str, manifest: dict[str, Any] | None = None) -> Table:
    (folder / name).mkdir(parents=True, exist_ok=True)
    return Table(name, name, folder / name, manifest or {})


def claim(**changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "inputs": {"figures": "evaluate"}, "id": "C1", "says": "a", "source": "b", "ran": "c", "not_run": None,
        "contrasts": [{"metric": "nDCG@10", "of": "good", "above": "poor"}], "resamples": 2000, "seed": 0,
    }  # fmt: skip
    return Claim(**(fields | changes))


def figures(folder: Path) -> dict[str, Table]:
    """good is .1 above poor but for noise; even is as poor; both have a value for each test query and one of dev."""
    made, random = table(folder, "evaluate"), np.random.default_rng(0)
    rows = []
    for system, mean in (("good", 0.6), ("poor", 0.5), ("even", 0.5)):
        values = mean + 0.05 * random.standard_normal(QUERIES)
        rows += [(system, "nDCG@10", "test", name, value) for name, value in zip(NAMES, values, strict=True)]
        rows.append((system, "nDCG@10", "dev", "d", 9.0))
    columns = [list(column) for column in zip(*rows, strict=True)]
    write_parquet(pa.table(columns, names=PER_QUERY.names), PER_QUERY, made.path, "per_query")
    return {"figures": made}


@pytest.mark.parametrize(
    ("contrast", "expected"),
    [
        ({"of": "good", "above": "poor"}, HOLDS),
        ({"of": "good", "below": "poor"}, FAILS),
        ({"of": "poor", "below": "good"}, HOLDS),
        ({"of": "even", "above": "poor"}, OPEN),
        ({"of": "good", "above": 0.55}, HOLDS),
        ({"of": "good", "below": 0.5}, FAILS),
    ],
)
def test_a_verdict_is_what_was_planted(tmp_path: Path, contrast: dict[str, Any], expected: str) -> None:
    facts = claim(contrasts=[{"metric": "nDCG@10", **contrast}]).run(figures(tmp_path), tmp_path)
    row = json.loads((tmp_path / claims.FILE).read_text())
    assert row["verdict"] == expected
    assert row["figures"] == facts["notes"][1:]
    assert f"{QUERIES} queries" in row["figures"][0], "dev is not looked at"


def found(difference: float, side: str, queries: int = QUERIES) -> Found:
    values = difference + 0.01 * np.random.default_rng(1).standard_normal(queries)
    return Found.of(Contrast("m", "a", side, "b"), values, np.zeros(queries), 2000, 0)


def test_all_contrasts_of_a_claim_must_hold() -> None:
    up, down, none = (found(mean, "above") for mean in (1.0, -1.0, 0.0))
    assert verdict([up, up]) == HOLDS
    assert verdict([up, none]) == OPEN
    assert verdict([up, none, down]) == FAILS
    assert found(1.0, "above", queries=10).verdict == OPEN, "ten queries show nothing"
    assert up.low < 1.0 < up.high < up.low + 0.02


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"contrasts": []}, "either contrasts, or not_run"),
        ({"not_run": "too dear"}, "either contrasts, or not_run"),
        ({"contrasts": [{"metric": "m", "of": "a", "above": "b", "below": "c"}]}, "above or below"),
        ({"contrasts": [{"metric": "m", "above": "b"}]}, "metric, of"),
    ],
)
def test_a_claim_that_says_nothing_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        claim(**changes)


def test_a_figure_that_is_not_there_is_named(tmp_path: Path) -> None:
    wrong = claim(contrasts=[{"metric": "nDCG@10", "of": "goood", "above": 0.0}])
    with pytest.raises(BadInput, match="no input has nDCG@10 of 'goood' on test"):
        wrong.run(figures(tmp_path), tmp_path)


def test_the_order_of_systems_has_the_interval_of_the_evaluation(tmp_path: Path) -> None:
    order = {"tau": 0.8, "ci_low": 0.2, "ci_high": 1.0}
    measured = {"figures": table(tmp_path, "evaluate", {"order": order, "queries": {"test": QUERIES}})}
    for least, expected in ((0.0, HOLDS), (0.5, OPEN)):
        contrast = {"metric": "tau", "of": "order", "above": least}
        claim(contrasts=[contrast]).run(measured, tmp_path)
        assert json.loads((tmp_path / claims.FILE).read_text())["verdict"] == expected


def rated(folder: Path, name: str, rating: np.ndarray) -> Table:
    """Ratings [Q, D] of all documents."""
    made = table(folder, name)
    query, doc = np.repeat(NAMES, DOCUMENTS), np.tile([f"d{n:02}" for n in range(DOCUMENTS)], QUERIES)
    plain = [np.zeros(len(query))] * 4
    write_parquet(pa.table([query, doc, rating.ravel(), *plain], names=RATING.names), RATING, made.path, "ratings")
    columns: list[Any] = [NAMES] + [[None] * QUERIES] * (len(QUERY_FIT) - 1)
    columns[QUERY_FIT.names.index("held_out_log_loss")] = [0.5] * QUERIES
    write_parquet(pa.table(columns, names=QUERY_FIT.names), QUERY_FIT, made.path, "fits")
    return made


def data(folder: Path, dev: int = 0) -> Table:
    made = table(folder, "data")
    split = ["dev"] * dev + ["test"] * (QUERIES - dev)
    write_parquet(pa.table([NAMES, NAMES, split], names=QUERY.names), QUERY, made.path, "queries")
    return made


def test_errors_of_ratings_are_what_was_added(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).standard_normal((QUERIES, DOCUMENTS))
    truth -= truth.mean(1, keepdims=True)
    off = np.where(np.arange(DOCUMENTS) % 2, 0.3, -0.3)
    i, j = np.triu_indices(DOCUMENTS, 1)
    gap = (truth[:, i] - truth[:, j]).ravel()
    query = np.repeat(NAMES, len(i))
    a, b = (np.tile([f"d{n:02}" for n in end], QUERIES) for end in (i, j))
    given = {"query_id": query, "doc_a": a, "doc_b": b, "p": 1 / (1 + np.exp(-gap))}
    columns = [given.get(name, pa.nulls(len(query))) for name in OUTCOME.names]
    write_parquet(pa.table(columns, names=OUTCOME.names), OUTCOME, table(tmp_path, "judge").path, "outcomes")
    tables = {"data": data(tmp_path), "outcomes": table(tmp_path, "judge"), "all": rated(tmp_path, "all", truth)}
    tables |= {"same": rated(tmp_path, "same", truth), "off": rated(tmp_path, "off", truth + off)}
    solver = BradleyTerry(ridge=0.001, tolerance=1e-6, max_steps=50, stderr="laplace", lapse=0.0, held_out=0.0)
    RatingErrors(inputs={}, solver=solver).run(tables, tmp_path)
    rows = Table("", "", tmp_path, {}).read("figures").to_pandas()
    mean = rows.groupby(["system", "metric"], observed=True)["value"].mean()
    assert dict(mean["same"]) == pytest.approx(
        {
            "MSE": 0,
            "R2": 1,
            "accuracy": 1,
            "excess_log_loss": 0,
            "held_out_log_loss": 0.5,
            "log_loss": mean["all", "log_loss"],
        }
    )
    assert mean["off", "MSE"] == pytest.approx(0.09)
    assert mean["off", "R2"] == pytest.approx(1 - np.mean(0.09 / (truth**2).mean(1)))
    shifted = gap + np.tile(off[i] - off[j], QUERIES)
    assert mean["off", "accuracy"] == pytest.approx(np.mean((shifted > 0) == (gap > 0)))
    assert mean["off", "excess_log_loss"] > 0, "the judge's own scores leave the least"
    assert set(rows["split"]) == {"test"}


def test_one_scale_tells_relevant_documents_better(tmp_path: Path) -> None:
    """Scores of two systems order every query alike; those of one drift from query to query."""
    random = np.random.default_rng(0)
    relevant = random.random((QUERIES, DOCUMENTS)) < 0.3
    score = relevant + 0.3 * random.standard_normal((QUERIES, DOCUMENTS))
    query, doc = np.repeat(NAMES, DOCUMENTS), np.tile([f"d{n:02}" for n in range(DOCUMENTS)], QUERIES)
    split = np.repeat(["dev"] * 10 + ["test"] * 30, DOCUMENTS)
    tables = {"data": data(tmp_path, dev=10), "labels": table(tmp_path, "labels")}
    qrels = pa.table([query, doc, relevant.ravel().astype(int), split], names=QREL.names)
    write_parquet(qrels, QREL, tables["labels"].path, "qrels")
    write_parquet(pa.table([doc[:DOCUMENTS]] * 3, names=DOCUMENT.names), DOCUMENT, tables["data"].path, "documents")
    for name, drift in (("steady", 0.0), ("drifting", 2.0)):
        tables[name] = table(tmp_path, name)
        shifted = score + drift * random.standard_normal((QUERIES, 1))
        rows = pa.table([query, doc, shifted.ravel()], names=SCORED.names)
        write_parquet(rows, SCORED, tables[name].path, "scored")
    RelevanceLoss(inputs={}).run(tables, tmp_path)
    contrast = [{"metric": "log_loss", "of": "steady", "below": "drifting"}]
    claim(contrasts=contrast).run({"figures": Table("", "", tmp_path, {})}, tmp_path)
    assert json.loads((tmp_path / claims.FILE).read_text())["verdict"] == HOLDS
    figures = Table("", "", tmp_path, {}).read("figures").to_pandas()
    drifting = figures[figures["system"] == "drifting"]["value"].mean()
    share = relevant[10:].mean()
    assert drifting == pytest.approx(-share * np.log(share) - (1 - share) * np.log(1 - share), abs=0.1), "a coin's"


def test_queries_and_orders_are_left_out(tmp_path: Path) -> None:
    some = table(tmp_path, "some")
    for name, schema, columns in (
        (
            "candidates",
            None,
            {"query_id": np.repeat(NAMES, 2), "doc_id": ["a", "b"] * QUERIES, "rank": [0, 1] * QUERIES},
        ),
        (
            "outcomes",
            OUTCOME,
            {"query_id": ["q", "q"], "doc_a": ["a", "a"], "doc_b": ["b", "b"], "swapped": [False, True]},
        ),
    ):
        made = pa.table(columns)
        missing = [] if schema is None else [one for one in schema.names if one not in columns]
        for one in missing:
            made = made.append_column(one, pa.nulls(len(made)))
        if schema is None:
            made = made.append_column("score", pa.array(np.zeros(len(made))))
        write_parquet(made, made.schema if schema is None else schema, some.path, name)
    (tmp_path / "out").mkdir()
    kept = SomeQueries(inputs={}, share=0.25, seed=0).run({"candidates": some}, tmp_path / "out")
    assert 2 < kept["queries"] < 20
    assert kept["rows"] == 2 * kept["queries"]
    OneOrder(inputs={}).run({"outcomes": some}, tmp_path / "out")
    assert Table("", "", tmp_path / "out", {}).read("outcomes")["swapped"].to_pylist() == [False]


def test_queries_belong_where_most_of_their_first_candidates_do(tmp_path: Path) -> None:
    some, scored = table(tmp_path, "candidates"), table(tmp_path, "scored")
    documents = {"a": ["os.open", "os.path", "math.pi"], "b": ["math.pi", "os.open", "re"], "c": ["os", "re", "os.x"]}
    rows = [(query, name, rank, 0.0) for query, names in documents.items() for rank, name in enumerate(names)]
    write_parquet(
        pa.table(list(zip(*rows, strict=True)), names=CANDIDATE.names).cast(CANDIDATE),
        CANDIDATE,
        some.path,
        "candidates",
    )
    parts = {}
    for others in (False, True):
        parts[others] = table(tmp_path, str(others))
        about = QueriesAbout(inputs={}, documents=r"^os\b", first=2, others=others)
        facts = about.run({"candidates": some}, parts[others].path)
        assert facts == (
            {"rows": 6, "queries": 2} if others else {"rows": 3, "queries": 1}
        )  # c: one of two is not most
    for name in ("x", "y"):
        made = pa.table([list("abc"), [name] * 3, [1.0] * 3], names=SCORED.names).cast(SCORED)
        write_parquet(made, SCORED, table(tmp_path, name).path, "scored")
    tables = {name: table(tmp_path, name) for name in ("x", "y")} | {
        "x_queries": parts[True],
        "y_queries": parts[False],
    }
    ByDomain(inputs={name: name for name in tables}).run(tables, scored.path)
    taken = scored.read("scored")
    assert sorted(zip(*(taken[name].to_pylist() for name in ("query_id", "doc_id")), strict=True)) == [
        ("a", "y"), ("b", "x"), ("c", "x"),
    ]  # fmt: skip
    with pytest.raises(BadInput, match="is no regular expression"):
        QueriesAbout(inputs={}, documents="(", first=2, others=False)


class Asks:
    """A stage that would cost $3 for the queries that are here."""

    def expected_usd(self, tables: dict[str, Table]) -> float | None:
        return 3.0


def test_a_sweep_writes_a_page_of_its_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = FullSize(
        inputs={}, asks=Asks(), queries=1000, parameters=1e9, trained_tokens=6e6, read_tokens=0.0, operations=1e12
    )
    facts = size.run({"candidates": table(tmp_path, "retrieve", {"queries": 10})}, tmp_path)
    assert facts["cost"] == {"usd": 300.0, "hours": pytest.approx(10.0), "queries": 1000}
    for job, one, tables in (
        ("1-b", claim(id="C10", contrasts=[], not_run="too dear."), {"cost": table(tmp_path, "size", facts)}),
        ("0-a", claim(id="C9"), figures(tmp_path)),
    ):
        (tmp_path / job).mkdir()
        one.run(tables, tmp_path / job)
    monkeypatch.setattr(sweep, "CURRENT", sweep.Current(folder=tmp_path))
    sweep.Sweep("index.csv").on_multirun_end(OmegaConf.create())
    lines = (tmp_path / claims.PAGE).read_text().splitlines()[-2:]
    assert re.fullmatch(r"\| \*\*C9\*\* a \| b \| c \| nDCG@10: good 0\.\d+ above poor .* \| holds \|", lines[0])
    assert lines[1] == (
        "| **C10** a | b | c At 1,000 queries: $300 for judges and 10 H100 hours. |  | not run: too dear. |"
    )


def test_each_claim_of_the_paper_has_an_experiment() -> None:
    found: dict[int, bool] = {}
    for path in (config_folder() / "experiment/claims").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        assert content["name"] == path.stem
        node = content["stages"]["claim"]
        number, _, simulated = path.stem.removeprefix("c").partition("_")
        if simulated:  # it changes another
            assert f"c{number}" in content["defaults"]
            assert node["ran"].startswith("Simulation:")
            continue
        assert f"C{int(number)}" == node["id"], path
        assert (content.get("until") == "claim") == bool(node["not_run"]), f"{path}: until=claim, or a run"
        found[int(number)] = bool(node["contrasts"])
    assert sorted(found) == list(range(1, 28))
    assert {1, 5, 6, 9, 10, 11, 12, 17, 20, 21, 22, 25} <= {number for number, run in found.items() if run}
