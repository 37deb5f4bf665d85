"""The evaluate stage: anybody can recompute its rows, its verdicts are what the numbers say."""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zelo.errors import BadInput
from zelo.evaluation import labels
from zelo.evaluation.measured import MeasuredSplit
from zelo.evaluation.paired import PairedTests, smallest_difference
from zelo.evaluation.verdict import verdicts_of
from zelo.metrics.ir_measure import IrMeasure
from zelo.metrics.significance import FlipTest
from zelo.records import CANDIDATE, DOCUMENT, EXAMPLE, METRIC, QREL, QUERY, RATING, SCORED
from zelo.stages.evaluate import Evaluate
from zelo.store.shards import write_parquet
from zelo.store.table import Table

DOCUMENTS = [f"d{i:03}" for i in range(60)]
SPLITS = {"train": 5, "dev": 12, "test": 40}
QUERIES = [(f"{split}-{i:02}", split) for split, n in SPLITS.items() for i in range(n)]
NOISE = {"teacher": 0.5, "bm25": 3.0, "dense": 1.5, "zelo-embedding": 0.7, "zelo-reranker": 1.45, "zelo": 0.5}
METRICS = {
    "ndcg_10": IrMeasure(name="nDCG@10"),
    "recall_10": IrMeasure(name="R@10"),
    "judged_10": IrMeasure(name="Judged@10"),
}
STUDENTS = {
    "zelo-embedding": ["dense"],
    "zelo-reranker": ["best-first-stage", "bm25"],
    "zelo": ["dense", "zelo-embedding", "bm25"],
    "nobody": ["dense"],
}


def stage(systems: list[str], **changes: Any) -> Evaluate:
    fields: dict[str, Any] = {
        "inputs": {role: role for role in ["data", "labels", "examples", *systems]},
        "metrics": METRICS,
        "primary": "ndcg_10",
        "table": ["recall_10", "judged_10"],
        "candidates_as": "fusion",
        "first_stages": ["bm25", "dense", "fusion"],
        "compared": {},
        "teachers": {"teacher": []},
        "students": STUDENTS,
        "first_stage_of": {"zelo-reranker": "dense", "teacher": "dense", "zelo": "zelo-embedding"},
        "precision": 0.8,
        "resamples": 2000,
        "seed": 0,
    }
    return Evaluate(**(fields | changes))


def world(folder: Path, labelled: tuple[str, ...] = ("dev", "test")) -> dict[str, Table]:
    """Systems that see the truth through more or less noise, with scores rounded so that there are many ties."""
    random = np.random.default_rng(7)
    truth = random.standard_normal((len(QUERIES), len(DOCUMENTS)))
    query = np.repeat([name for name, _ in QUERIES], len(DOCUMENTS))
    split = np.repeat([split for _, split in QUERIES], len(DOCUMENTS))
    doc = np.tile(DOCUMENTS, len(QUERIES))
    relevance = np.clip(np.floor(truth), 0, 2).astype(int).ravel()
    judged = (random.random(len(doc)) < 0.6) & np.isin(split, labelled)
    # a test query that the dev file names as well, and labels of a train query: neither counts
    stray = [
        {"query_id": query, "doc_id": "d000", "relevance": 2, "split": split}
        for query, split in [("test-00", "dev"), ("train-00", "train"), ("unknown", "test")]
    ]
    tables = {
        name: Table(name, name, folder / name, {"name": "toy"}) for name in ["data", "labels", "examples", *NOISE]
    }
    for table in tables.values():
        table.path.mkdir(parents=True)
    texts = [f"text {name}" for name, _ in QUERIES]
    write_parquet(
        pa.table([[q for q, _ in QUERIES], texts, [s for _, s in QUERIES]], names=QUERY.names),
        QUERY,
        tables["data"].path,
        "queries",
    )
    write_parquet(pa.table([DOCUMENTS] * 3, names=DOCUMENT.names), DOCUMENT, tables["data"].path, "documents")
    write_parquet(
        pa.concat_tables(
            [
                pa.table([query[judged], doc[judged], relevance[judged], split[judged]], names=QREL.names).cast(QREL),
                pa.Table.from_pylist(stray, schema=QREL),
            ]
        ),
        QREL,
        tables["labels"].path,
        "qrels",
    )
    target = 1 / (1 + np.exp(-truth.ravel()))
    columns = [query, doc, target, np.ones(len(doc)), split]
    write_parquet(pa.table(columns, names=EXAMPLE.names), EXAMPLE, tables["examples"].path, "examples")
    for system, noise in NOISE.items():
        score = np.round(truth + noise * random.standard_normal(truth.shape), 1).ravel()
        found = np.flatnonzero((score > 0) & ~((query == "test-03") & (system == "bm25")))
        if system == "teacher":
            plain = [np.zeros(len(found))] * 4
            made = pa.table([query[found], doc[found], score[found], *plain], names=RATING.names)
            write_parquet(made, RATING, tables[system].path, "ratings")
        elif system.startswith("zelo"):
            made = pa.table([query[found], doc[found], score[found]], names=SCORED.names)
            write_parquet(made, SCORED, tables[system].path, "scored")
        else:
            rank = np.zeros(len(found))
            made = pa.table([query[found], doc[found], rank, score[found]], names=CANDIDATE.names)
            write_parquet(made, CANDIDATE, tables[system].path, "candidates")
    return tables


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Table]]:
    tables = world(tmp_path_factory.mktemp("tables"))
    out = tmp_path_factory.mktemp("out")
    return out, stage(list(NOISE)).run(tables, out), tables


def read(out: Path, name: str) -> Any:
    return json.loads((out / f"{name}.json").read_text())


def test_every_row_can_be_recomputed_from_the_run_files(evaluated: tuple[Path, dict[str, Any], dict[str, Table]]):
    out, _, tables = evaluated
    rows = read(out, "metrics")
    qrels = pq.read_table(tables["labels"].path / "qrels.parquet").to_pylist()
    assert len(rows) == 2 * 3 * (3 + 1 + 2 + 3)
    for row in rows:
        assert list(row) == METRIC.names
        truth = [
            ir_measures.Qrel(q["query_id"], q["doc_id"], q["relevance"])
            for q in qrels
            if q["split"] == row["split"] and q["query_id"].startswith(row["split"])
        ]
        run = list(ir_measures.read_trec_run(str(out / "runs" / f"{row['system']}.trec")))
        measure = ir_measures.parse_measure(row["metric"])
        assert ir_measures.calc_aggregate([measure], truth, run)[measure] == pytest.approx(row["value"], abs=1e-9)
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["queries"] == SPLITS[row["split"]]
        assert row["domain"] == "toy"
        assert row["protocol"] == "natural"
        assert row["key"] == f"{row['split']}/{row['metric']}/{row['system']}"
        assert (row["baseline"] is None) == (row["p_value"] is None) == (not row["system"].startswith("zelo"))
    key = ("system", "metric", "split", "first_stage", "protocol", "domain", "baseline")
    assert len({tuple(row[name] for name in key) for row in rows}) == len(rows)
    assert {row["first_stage"] for row in rows if row["system"] == "zelo"} == {"zelo-embedding"}
    assert {row["first_stage"] for row in rows if row["system"] == "bm25"} == {"bm25"}


def test_run_files_hold_evaluated_queries_only_in_a_strict_order(
    evaluated: tuple[Path, dict[str, Any], dict[str, Table]],
):
    lines = [line.split(" ") for line in (evaluated[0] / "runs" / "bm25.trec").read_text().splitlines()]
    assert {line[0] for line in lines} == {q for q, split in QUERIES if split != "train"} - {"test-03"}
    assert {(line[1], line[5]) for line in lines} == {("Q0", "bm25")}
    for before, after in itertools.pairwise(lines):
        if before[0] == after[0]:
            assert int(after[3]) == int(before[3]) + 1
            assert np.float32(after[4]) < np.float32(before[4])
        else:
            assert after[3] == "1"


def test_per_query_values_average_to_the_rows(evaluated: tuple[Path, dict[str, Any], dict[str, Table]]):
    out = evaluated[0]
    means = (
        pq.read_table(out / "per_query.parquet").group_by(["system", "metric", "split"]).aggregate([("value", "mean")])
    )
    found = {(r["system"], r["metric"], r["split"]): r["value_mean"] for r in means.to_pylist()}
    for row in read(out, "metrics"):
        assert found[row["system"], row["metric"], row["split"]] == pytest.approx(row["value"], abs=1e-12)


def test_verdicts_say_what_the_numbers_say(evaluated: tuple[Path, dict[str, Any], dict[str, Table]]):
    out, figures, _ = evaluated
    verdicts, rows = read(out, "verdicts"), read(out, "metrics")
    assert [(v["system"], v["baseline"]) for v in verdicts] == [
        ("zelo-embedding", "dense"),
        ("zelo-reranker", "dense"),  # the best first stage on dev
        ("zelo-reranker", "bm25"),
        ("zelo", "dense"),
        ("zelo", "zelo-embedding"),
        ("zelo", "bm25"),
    ]
    values = {row["system"]: row for row in rows if (row["metric"], row["split"]) == ("nDCG@10", "test")}
    for v in verdicts:
        assert v["split"] == "test"
        assert v["metric"] == "nDCG@10"
        assert v["difference"] == pytest.approx(values[v["system"]]["value"] - values[v["baseline"]]["value"])
        assert v["ci_low"] < v["difference"] < v["ci_high"]
        same = [r for r in rows if all(r[k] == v[k] for k in ("system", "baseline", "metric", "split"))]
        assert [r["p_value"] for r in same] == [v["p_value"]]
    first, second = verdicts[:2]
    assert first["verdict"] == "better"
    assert first["p_value"] < 0.05
    assert first["text"].startswith(f"zelo-embedding is better than dense by {first['difference']:.3f} nDCG@10 (")
    assert "40 test queries" in first["text"]
    assert "Holm-corrected" in first["text"]
    assert second["verdict"] == "no difference shown"
    assert second["text"].startswith("zelo-reranker: no difference shown from dense in nDCG@10 (")
    assert f"80% sure to show {second['detectable']:.3f} or more)" in second["text"]
    assert abs(second["difference"]) < second["detectable"]
    assert read(out, "choices")["best_first_stage"] == "dense"
    assert figures["primary"] == values["zelo"]["value"]
    assert figures["system"] == "zelo"
    assert figures["absent"] == ["fusion", "nobody"]
    assert figures["queries"] == {"dev": 12, "test": 40}
    assert figures["keys"] == {"dev": "dev/nDCG@10", "test": "test/nDCG@10"}


def test_the_same_again_whatever_the_order_of_rows(
    tmp_path: Path, evaluated: tuple[Path, dict[str, Any], dict[str, Table]]
):
    out, figures, tables = evaluated
    for table in tables.values():
        (tmp_path / "in" / table.kind).mkdir(parents=True)
        for path in table.path.glob("*.parquet"):
            rows = pq.read_table(path)
            order = np.random.default_rng(0).permutation(len(rows))
            pq.write_table(rows.take(order), tmp_path / "in" / table.kind / path.name)
    moved = {name: Table(name, name, tmp_path / "in" / name, {"name": "toy"}) for name in tables}
    (tmp_path / "out").mkdir()
    assert stage(list(NOISE)).run(moved, tmp_path / "out") == figures
    files = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert len(files) == 5 + len(NOISE)
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (out / name).read_bytes()


def test_a_system_against_itself_or_worse_is_never_better(tmp_path: Path):
    tables = world(tmp_path / "in")
    tables["copy"] = Table("copy", "copy", tables["dense"].path, {})
    made = stage(["dense", "copy", "zelo"], students={"copy": ["dense", "zelo"]})
    made.run(tables, tmp_path)
    same, worse = read(tmp_path, "verdicts")
    assert (same["difference"], same["p_value"], same["verdict"]) == (0, 1, "no difference shown")
    assert worse["verdict"] == "worse"
    assert "copy is worse than zelo by " in worse["text"]


def test_without_labels_dev_is_measured_against_the_judge_and_says_so(tmp_path: Path):
    tables = world(tmp_path / "in", labelled=())
    figures = stage(list(NOISE)).run(tables, tmp_path)
    rows, verdicts = read(tmp_path, "metrics"), read(tmp_path, "verdicts")
    named = {(r["metric"], r["split"], r["protocol"], r["queries"]) for r in rows}
    assert named == {("judge_agreement/nDCG@10", "dev", "judge", 12)}
    assert {r["key"] for r in rows} == {f"judge_agreement/dev/nDCG@10/{system}" for system in NOISE}
    assert figures["keys"] == {"dev": "judge_agreement/dev/nDCG@10"}
    assert "judge_agreement/nDCG@10 (against judge ratings, no human labels)" in verdicts[0]["text"]
    assert {v["verdict"] for v in verdicts} <= {"agrees more", "agrees less", "no difference shown"}
    assert all(v["circular"] for v in verdicts), "these judges made the training targets"
    assert not any("better" in v["text"] for v in verdicts)
    assert figures["protocol"] == "judge"
    assert figures["split"] == "dev"
    by = "judge_agreement/nDCG@10 (against judge ratings, no human labels) on 12 dev queries"
    assert read(tmp_path, "choices")["by"] == by
    assert "test" not in (tmp_path / "runs" / "zelo.trec").read_text()


def test_test_labels_alone_leave_the_choice_to_the_judge_on_dev(tmp_path: Path):
    tables = world(tmp_path / "in", labelled=("test",))
    figures = stage(list(NOISE)).run(tables, tmp_path)
    assert (figures["split"], figures["protocol"], figures["metric"]) == ("test", "natural", "nDCG@10")
    assert figures["keys"] == {"dev": "judge_agreement/dev/nDCG@10", "test": "test/nDCG@10"}
    assert {v["split"] for v in read(tmp_path, "verdicts")} == {"test"}
    choice = read(tmp_path, "choices")
    assert choice["best_first_stage"] == "dense"
    assert "judge_agreement/nDCG@10" in choice["by"]
    rows = read(tmp_path, "metrics")
    kinds = {(r["protocol"], r["split"]) for r in rows}
    assert kinds == {("judge", "dev"), ("natural", "test")}, "every system has a figure to select by"
    assert {r["system"] for r in rows if r["split"] == "dev"} == set(NOISE)
    for column in ("metric", "key"):  # agreement is not quality: no name is that of both
        by_judge, by_labels = ({r[column] for r in rows if r["protocol"] == kind} for kind in ("judge", "natural"))
        assert not by_judge & by_labels
        assert {name.partition("/")[0] for name in by_judge} == {"judge_agreement"}
    per_query = pq.read_table(tmp_path / "per_query.parquet").to_pylist()
    assert {(r["split"], r["metric"]) for r in per_query} == {(r["split"], r["metric"]) for r in rows}


@pytest.mark.parametrize(("test_queries", "verdict"), [(29, "no difference shown"), (30, "better")])
def test_fewer_than_thirty_queries_cannot_tell(
    test_queries: int, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    names = [(f"{split}-{i:02}", split) for split, n in (("dev", 12), ("test", test_queries)) for i in range(n)]
    monkeypatch.setattr(sys.modules[__name__], "QUERIES", names)
    stage(["bm25", "zelo"], students={"zelo": ["bm25"]}).run(world(tmp_path / "in"), tmp_path)
    (found,) = read(tmp_path, "verdicts")
    assert found["p_value"] < 0.05
    assert found["verdict"] == verdict
    assert ("is better" in found["text"]) == (verdict == "better")
    few = "zelo: no difference shown from bm25 in nDCG@10 (29 test queries are too few, at least 30 are needed; "
    assert found["text"].startswith(few) == (verdict == "no difference shown")


def test_fewer_than_ten_queries_are_said_to_be_too_few_for_an_interval():
    nine, ten = (
        labels.kind_of(
            pa.table([[f"q{n}" for n in range(count)], ["d"] * count, [1] * count, ["test"] * count], QREL.names)
        )
        for count in (9, 10)
    )
    assert "labelled test queries: 9, at least 10 are needed" in labels.in_words("test", nine, {})[1]
    assert len(labels.in_words("test", ten, {})) == 1


def test_ties_stand_against_the_system_and_misses_are_counted(tmp_path: Path):
    tables = world(tmp_path / "in")
    qrels = pq.read_table(tables["labels"].path / "qrels.parquet").to_pandas()
    labelled = qrels[(qrels["split"] == "test") & qrels["query_id"].str.startswith("test")]
    flat = labelled[["query_id", "doc_id"]].assign(score=1.0)  # all alike, whatever their grade
    lost = flat["query_id"].isin(["test-01", "test-02"])
    other = pa.table([["test-01"], ["nowhere"], [1.0]], names=SCORED.names)
    made = pa.concat_tables([pa.Table.from_pandas(flat[~lost], preserve_index=False).cast(SCORED), other.cast(SCORED)])
    (tables["dense"].path / "candidates.parquet").unlink()
    write_parquet(made, SCORED, tables["dense"].path, "scored")
    facts = stage(["dense", "zelo"], primary="recall_10").run(tables, tmp_path)
    per_query = pq.read_table(tmp_path / "per_query.parquet").to_pandas()
    found = per_query[
        (per_query["system"] == "dense") & (per_query["metric"] == "R@10") & (per_query["split"] == "test")
    ]
    for query, value in zip(found["query_id"], found["value"], strict=True):
        grades = labelled[labelled["query_id"] == query]["relevance"]
        worst = max(0, 10 - int((grades == 0).sum())) / max((grades > 0).sum(), 1)
        assert value == pytest.approx(0 if query in ("test-01", "test-02") else worst), query
    assert facts["misses"]["test"] == {"dense": 2}
    assert facts["labels"]["test"]["kind"] == "graded"
    assert facts["notes"][0].startswith("test labels: graded (0, 1, 2) and dense, ")
    assert any("of 40, which count as misses: dense 2" in note for note in facts["notes"])


def test_figures_split_by_the_domain_of_queries(tmp_path: Path):
    tables = world(tmp_path / "in")
    queries = pq.read_table(tables["data"].path / "queries.parquet")
    domain = pa.array(["law" if int(name[-2:]) % 4 else "code" for name in queries["query_id"].to_pylist()])
    queries = queries.append_column("domain", domain)
    write_parquet(queries, queries.schema, tables["data"].path, "queries")
    facts = stage(list(NOISE)).run(tables, tmp_path)
    rows = [row for row in read(tmp_path, "metrics") if row["split"] == "test"]
    assert list(facts["domains"]) == ["code", "law"]
    value = {(row["domain"], row["system"]): row for row in rows if row["metric"] == "nDCG@10"}
    for system in NOISE:
        code, law, both = (value[name, system] for name in ("code", "law", "toy"))
        assert (code["queries"], law["queries"]) == (10, 30)
        assert both["value"] == pytest.approx((10 * code["value"] + 30 * law["value"]) / 40)
        assert code["key"] == f"test/nDCG@10/{system}/code"
    assert len({row["key"] for row in rows if row["domain"] != "toy"}) == 2 * len(NOISE) * len(METRICS)


def test_the_smallest_difference_is_shown_four_times_in_five():
    random, queries = np.random.default_rng(0), 60
    spread = 0.2 * random.standard_normal((400, queries))
    least = smallest_difference(spread, np.full(400, 0.01))
    p = FlipTest.of(spread + least[:, None], 1000, 0).p()
    assert (p < 0.01).mean() == pytest.approx(0.8, abs=0.06)


def test_bad_input(tmp_path: Path):
    with pytest.raises(BadInput, match=r"table names 'map'.*ndcg_10"):
        stage([], table=["map"])
    with pytest.raises(BadInput, match=r"primary='map'.*ndcg_10"):
        stage([], primary="map")
    with pytest.raises(BadInput, match="resamples=1"):
        stage([], resamples=1)
    with pytest.raises(BadInput, match=r"no labels; write .*labels: labels"):
        stage([], inputs={"data": "load"})
    tables = world(tmp_path / "in", labelled=())
    (tables["dense"].path / "candidates.parquet").unlink()
    with pytest.raises(BadInput, match=r"'dense' has no scored or candidates"):
        stage(["dense"]).run(tables, tmp_path)
    write_parquet(EXAMPLE.empty_table(), EXAMPLE, tables["examples"].path, "examples")
    with pytest.raises(BadInput, match="neither dev nor test has labels"):
        stage(["zelo"]).run(tables, tmp_path)


def test_one_student_is_enough(tmp_path: Path):
    tables = world(tmp_path / "in")
    figures = stage(["dense", "zelo-embedding"]).run(tables, tmp_path)
    assert figures["system"] == "zelo-embedding"
    assert len(read(tmp_path, "verdicts")) == 1
    assert figures["absent"] == ["bm25", "fusion", "nobody", "teacher", "zelo", "zelo-reranker"]


def test_verdict_interval_and_p_value_never_contradict_each_other():
    random, seen = np.random.default_rng(3), set()
    for queries in (3, 12, 29, 30, 40, 90) * 10:
        base = random.random(queries)
        shifts = random.choice([-0.1, 0, 0.05, 0.1], 4)
        noisy = [base + shift + 0.2 * random.standard_normal(queries) for shift in shifts]
        values = np.clip(np.round([base, *noisy], 1), 0, 1)[:, None]
        students = [f"s{place}" for place in range(4)]
        pairs = [(student, "base") for student in students]
        ids = [f"q{n:02}" for n in range(queries)]
        one = MeasuredSplit("test", "natural", ["base", *students], ["nDCG@10"], 0, ids, values)
        tests = PairedTests.of(one, pairs, resamples=500, seed=0)
        assert np.abs([tests.low, tests.high]).max() <= 1, "an end without bound is that of the metric"
        for found in verdicts_of(one, pairs, tests, set()):
            sure = found["ci_low"] > 0 or found["ci_high"] < 0
            assert sure == (found["p_value"] < 0.05)
            word = "better" if found["difference"] > 0 else "worse"
            assert found["verdict"] == (word if sure and queries >= 30 else "no difference shown")
            seen.add(found["verdict"])
    assert seen == {"better", "worse", "no difference shown"}


@pytest.mark.parametrize("retriever", ["fusion", "dense"])
def test_the_candidates_bear_the_name_of_their_retriever_and_are_measured_once(tmp_path: Path, retriever: str):
    tables = world(tmp_path / "in")
    tables["candidates"] = tables["dense"]
    made = stage(
        ["bm25", "candidates", "dense", "zelo"],
        candidates_as=retriever,
        first_stages=["bm25", "dense", "candidates"],
        teachers={},
        students={"zelo": ["bm25", "candidates", "dense"]},
        first_stage_of={"zelo": "candidates"},
    )
    figures = made.run(tables, tmp_path)
    rows = read(tmp_path, "metrics")
    assert {row["system"] for row in rows} == {"bm25", retriever, "dense", "zelo"}
    assert {row["first_stage"] for row in rows if row["system"] == "zelo"} == {retriever}
    assert [v["baseline"] for v in read(tmp_path, "verdicts")] == list(dict.fromkeys(["bm25", retriever, "dense"]))
    assert figures["absent"] == []


def test_without_any_dev_query_a_baseline_must_be_named(tmp_path: Path):
    tables = world(tmp_path / "in", labelled=("test",))
    write_parquet(EXAMPLE.empty_table(), EXAMPLE, tables["examples"].path, "examples")
    with pytest.raises(BadInput, match=r"best-first-stage cannot be chosen among bm25, dense"):
        stage(list(NOISE)).run(tables, tmp_path)
    stage(list(NOISE), students={"zelo": ["dense"]}).run(tables, tmp_path)
    assert [v["baseline"] for v in read(tmp_path, "verdicts")] == ["dense"]
    assert read(tmp_path, "choices") == {"best_first_stage": None, "by": None, "values": {}}


def test_what_fills_a_run_file_is_not_measured_as_the_run(tmp_path: Path) -> None:
    tables = world(tmp_path)
    plain, filled = tmp_path / "plain", tmp_path / "filled"
    for out in (plain, filled):
        out.mkdir()
        if out == filled:
            queries = pa.table([["test-00", "dev-00"]], names=["query_id"])
            write_parquet(queries, queries.schema, tables["bm25"].path, "filled")
        stage(["bm25", "dense"]).run(tables, out)
    before, after = (pq.read_table(out / "per_query.parquet").to_pandas() for out in (plain, filled))
    gaps = after["query_id"].isin(["test-00", "dev-00"]) & (after["system"] == "bm25")
    assert (after["value"][gaps] == 0).all()
    assert (before["value"][gaps] > 0).any()
    assert np.array_equal(after["value"][~gaps], before["value"][~gaps])
    assert not any(line.startswith(("test-00 ", "dev-00 ")) for line in (filled / "runs/bm25.trec").open())


def test_a_teacher_is_tested_as_well_and_the_main_result_is_a_student(tmp_path: Path) -> None:
    tables = world(tmp_path)
    tables["earlier"] = tables["teacher"]
    out = tmp_path / "out"
    out.mkdir()
    systems = [*NOISE, "earlier"]
    facts = stage(systems, teachers={"earlier": [], "teacher": ["bm25", "earlier"]}).run(tables, out)
    verdicts = read(out, "verdicts")
    assert [(one["system"], one["baseline"]) for one in verdicts[:2]] == [("teacher", "bm25"), ("teacher", "earlier")]
    assert [one["verdict"] for one in verdicts[:2]] == ["better", "no difference shown"]
    assert (facts["system"], facts["teachers"]) == ("zelo", ["earlier", "teacher"])
