"""The audit: what was planted is found, and advice follows from figures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from html_page import Page
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from planted_judges import (
    QUERIES,
    Preference,
    audited,
    circular,
    coin,
    data_and_labels,
    mostly_failing,
    position,
    right,
    stage,
    stored,
    table,
    true,
    verdict,
)
from rich.console import Console

from zelo.auditing import advice
from zelo.errors import BadInput
from zelo.metrics.measure import Measure
from zelo.metrics.tally import Tally
from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.records import QUERY, STATUSES
from zelo.reporting.audit_table import print_audit
from zelo.store.shards import write_parquet
from zelo.store.store import Store
from zelo.store.table import Table
from zelo.tracking.run_folder import RunFolder


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    return data_and_labels(tmp_path)


def test_the_audit_says_what_was_planted(tables: dict[str, Table], tmp_path: Path) -> None:
    judges = {"right": right, "position": position, "coin": coin, "circular": circular, "failing": mostly_failing}
    noted = {"failing": {"status": {}, "faults": {"timeout": 7, "http_500": 2}, "calls": 9}}
    told = audited(tables, table(judges, price=(100, 0.002)), tmp_path, judges=noted)
    measures = {name: judge["measures"] for name, judge in told["judges"].items()}
    assert told["sample"] | {"queries": 20, "pairs": 60, "orders": 2, "repeats": 2, "triads": 20} == told["sample"]
    assert measures["position"]["position_bias"]["value"] == pytest.approx(0.4)
    assert measures["circular"]["circles"]["value"] == 1.0
    assert measures["right"]["circles"]["value"] == 0.0
    # 10 queries have labels of d0 and d1; d2 is not judged, and counts as 0 beside a relevant document only.
    labels = [(query, {0: true(query, 0), 1: true(query, 1)}) for query in range(0, QUERIES, 2)]
    beside = sum(grade > 0 for _, grades in labels for grade in grades.values())
    agreed = sum(grade > max(0, true(query, 2)) for query, grades in labels for grade in grades.values())
    assert measures["right"]["labels"]["value"] == pytest.approx((10 + agreed) / (10 + beside))
    assert told["known"]["labels"] == {"pairs": 10 + beside, "unjudged": beside}
    assert "no human preferences" in measures["right"]["human"]["not_measured"]
    assert told["judges"]["failing"]["answered"] == 0.5
    assert told["judges"]["failing"]["usd_per_preference"] == pytest.approx(0.004)
    assert told["judges"]["right"]["usd_per_preference"] == pytest.approx(0.002)
    assert {verdict(told, name) for name in ("position", "coin", "circular", "failing")} == {advice.STOP}
    assert verdict(told, "right") == advice.KEEP
    words = {one["about"]: one["text"] for one in told["advice"]}
    assert "same document in both orders in 100 % of 60 pairs" in words["right"]
    assert "A usable preference costs $0.0020." in words["right"]
    assert "(mostly failed: timeout)" in words["failing"]
    assert (
        "lower its temperature, or ask it twice, once in each order (stages.judge.presentation=both)" in words["coin"]
    )
    assert "temperature" not in words["failing"]
    assert words["together"] == "Only right is reliable: the others would add noise."
    assert told["cost"]["alone"] == dict.fromkeys(sorted(judges), pytest.approx(0.002 * 3 * QUERIES))
    steps = told["cost"]["steps"]
    assert told["cost"]["pairs"] == 3 * QUERIES
    assert [step["usd"] for step in steps] == pytest.approx([0.002 * 3 * QUERIES * n for n in range(1, 6)])


def test_advice_on_all_follows_from_advice_on_each() -> None:
    def on_all(agreement: float, *verdicts: str, pairs: int = 60) -> tuple[str, str]:
        each = [advice.Advice(f"j{n}", verdict, "") for n, verdict in enumerate(verdicts)]
        measures = {
            "alpha_interval": Measure(agreement, agreement - 0.1, agreement + 0.1, pairs),
            "labels": Measure.none(""),
        }
        found = advice.on_all(measures, {}, each, "j0")
        return found.verdict, found.text

    keep, stop = advice.KEEP, advice.STOP
    assert on_all(0.5, keep, keep)[0] == advice.AVERAGE
    assert on_all(0.9, keep, keep) == (advice.ONE_IS_ENOUGH, on_all(0.9, keep, keep)[1])
    assert "j0 alone" in on_all(0.9, keep, keep)[1]
    assert on_all(0.05, keep, keep)[0] == advice.DO_NOT_AVERAGE
    assert "Leave out j2." in on_all(0.5, keep, keep, stop)[1]
    assert on_all(0.5, keep, stop) == (
        advice.ONE_IS_ENOUGH,
        "Only j0 is reliable: the others would add noise.",
    )
    assert on_all(0.5, stop, stop)[0] == on_all(0.5, stop)[0] == stop
    assert on_all(0.5, advice.LEAVE)[0] == advice.LEAVE
    # What could not be measured is not praised, neither alone nor beside what is to be left out.
    unknown = advice.UNKNOWN
    assert on_all(0.9, unknown, unknown)[0] == on_all(0.9, unknown, stop)[0] == unknown
    assert "Leave out j1." in on_all(0.9, unknown, stop)[1]
    assert on_all(0.9, keep, unknown)[0] == advice.ONE_IS_ENOUGH
    assert on_all(0.9, keep, keep, pairs=advice.ENOUGH - 1)[0] == unknown


def test_how_questions_ended_comes_before_faults_that_a_retry_repaired() -> None:
    nothing: dict[str, Measure] = dict.fromkeys(
        ("flips", "position_bias", "same_again", "circles", "sway", "labels", "human"), Measure.none("")
    )
    nothing |= dict.fromkeys(("longer_beyond_labels", "longer_beyond_judges"), Measure.none(""))

    def on_judge(**status: int) -> str:
        counts = dict.fromkeys(STATUSES, 0) | status
        return advice.on_judge("j", Tally(counts), {"html": 60, "timeout": 2}, nothing, (0, 0.0), 0.0).text

    mixed = on_judge(answered=148, unparseable=51, refused=34, failed=7)
    assert "It answered only 62 % of its questions (mostly unparseable): a run would stop." in mixed
    assert "(mostly failed: html)" in on_judge(answered=1, failed=9)
    assert "max_tokens" not in mixed
    assert "(mostly truncated): a run would stop. Answers were truncated: raise its max_tokens." in on_judge(
        answered=1, truncated=9, unsent=50
    )
    assert "10 % of its answers were truncated" in on_judge(answered=90, truncated=10)


def test_a_lean_that_both_orders_cancel_is_no_reason_to_leave_a_good_judge(
    tables: dict[str, Table], tmp_path: Path
) -> None:
    def leaning(query: int, a: int, b: int, first: bool, repeat: int) -> float:
        return right(query, a, b, first, repeat) + (0.2 if first else -0.2)

    told = audited(tables, table({"leaning": leaning, "position": position}, price=(9, 0.01)), tmp_path)
    text = {one["about"]: one["text"] for one in told["advice"]}
    assert told["judges"]["leaning"]["measures"]["flips"]["value"] > advice.TOO_MANY_FLIPS
    assert verdict(told, "leaning") == advice.CARE
    assert "Averaged over both orders it agrees with the labels in " in text["leaning"]
    assert "asked in both orders (stages.judge.presentation=both, at twice the calls) this cancels." in text["leaning"]
    assert verdict(told, "position") == advice.STOP
    assert "this cancels, but this sample does not show that a preference is left." in text["position"]


def test_how_far_a_document_that_gives_orders_sways_a_judge(tables: dict[str, Table], tmp_path: Path) -> None:
    """In the other table doc_b gives orders; the obedient judge moves 30 points towards it, whatever it is shown first."""
    judges: dict[str, Preference] = {"right": right, "obedient": position}
    obeyed: dict[str, Preference] = {"right": right, "obedient": lambda *pair: position(*pair) - 0.3 * pair[3]}
    ordered = table(obeyed).filter(pa.array([n % 4 < 2 or n % 8 > 5 for n in range(480)]))
    told = audited(tables | {"injected": stored(tmp_path, "injected", {"outcomes": ordered})}, table(judges), tmp_path)
    measures = {name: judge["measures"]["sway"] for name, judge in told["judges"].items()}
    assert measures["right"]["value"] == pytest.approx(0, abs=1e-7)
    first = np.array([not swapped for swapped in ordered["swapped"].to_pylist()])
    mine = np.array([name == "obedient" for name in ordered["judge"].to_pylist()])
    assert measures["obedient"]["value"] == pytest.approx(0.3 * first[mine].mean())
    text = {one["about"]: one["text"] for one in told["advice"]}
    assert "gains 20 points: do not show it texts from untrusted authors" in text["obedient"]
    assert "untrusted" not in text["right"]


def test_it_is_the_same_in_any_order_of_rows(tables: dict[str, Table], tmp_path: Path) -> None:
    outcomes = table({"right": right, "coin": coin})
    one = audited(tables, outcomes, tmp_path)
    shuffled = outcomes.take(np.random.default_rng(0).permutation(len(outcomes)))
    again = audited(tables, shuffled, tmp_path)
    assert json.dumps(again, indent=1)[:400] == json.dumps(one, indent=1)[:400]
    assert flat(again) == pytest.approx(flat(one), abs=1e-9)


def flat(told: Any, place: str = "") -> dict[str, Any]:
    if isinstance(told, dict | list):
        items = told.items() if isinstance(told, dict) else enumerate(told)
        return {key: value for name, item in items for key, value in flat(item, f"{place}/{name}").items()}
    return {place: told if isinstance(told, int | float) else hash(told) % 1000}


def test_what_cannot_be_measured_is_no_figure(tables: dict[str, Table], tmp_path: Path) -> None:
    once = table({"right": right})
    once = once.filter(pa.array([not swapped for swapped in once["swapped"].to_pylist()]))
    once = once.filter(pa.array([repeat == 0 for repeat in once["repeat"].to_pylist()]))
    told = audited({"data": tables["data"]}, once, tmp_path)
    measures = told["judges"]["right"]["measures"]
    missing = {"position_bias", "flips", "same_again", "change_again", "longer_beyond_judges"}
    missing |= {"longer_beyond_labels", "labels", "human", "sway"}
    assert {key for key, one in measures.items() if "not_measured" in one} == missing
    assert told["together"]["alpha_interval"] == {"not_measured": "there is a single judge"}
    assert verdict(told, "right") == verdict(told, "together") == advice.UNKNOWN
    outcomes, noted = table({"mute": lambda *_: None, "right": right}), {"mute": {"status": {}, "price": "known"}}
    dear = audited(tables, outcomes, tmp_path, judges=noted)
    assert dear["cost"]["alone"] == {"right": 0.0, "mute": None}, "what nothing came back from is not free"
    silent = audited(tables, outcomes, tmp_path)
    assert silent["judges"]["mute"]["scores"] == {"not_measured": "it gave no answer"}
    assert verdict(silent, "mute") == advice.LEAVE, "it costs nothing"
    with pytest.raises(BadInput, match="no pair was judged"):
        audited(tables, once.slice(0, 0), tmp_path)


def test_labels_of_test_queries_stay_closed(tables: dict[str, Table], tmp_path: Path) -> None:
    queries = tables["data"].read("queries")
    write_parquet(queries.set_column(2, "split", pa.array(["test"] * QUERIES)), QUERY, tables["data"].path, "queries")
    told = audited(tables, table({"right": right}), tmp_path)
    assert "test queries are not looked at" in told["known"]["labels"]["not_measured"]


def test_people_are_read_from_parquet_and_from_the_lines_of_judge_human(
    tables: dict[str, Table], tmp_path: Path, component: Callable[..., Any]
) -> None:
    path = tmp_path / "people.parquet"
    pq.write_table(table({"right": right}).select(["doc_b", "query_id", "doc_a", "p"]), path)
    outcomes = table({"right": right, "position": position})
    told = audited(tables, outcomes, tmp_path, stage(human=str(path)))
    assert (
        told["judges"]["right"]["measures"]["human"] | {"value": 1.0, "count": 60}
        == (told["judges"]["right"]["measures"]["human"])
    )
    assert stage(human=str(path)).content() != stage().content()
    wrong = table({"wrong": lambda *pair: 1 - right(*pair)})
    assert (
        audited(tables, wrong, tmp_path, stage(human=str(path)))["judges"]["wrong"]["measures"]["human"]["value"] == 0
    )
    bad = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"query_id": ["q0"], "p": [0.5]}), bad)
    with pytest.raises(BadInput, match=r"bad\.parquet.*doc_a"):
        audited(tables, outcomes, tmp_path, stage(human=str(bad)))
    with pytest.raises(BadInput, match="is no file"):
        stage(human=str(tmp_path / "nobody.jsonl")).content()

    from zelo.judges.human import Book, _keys
    from zelo.records import Questions

    documents, queries = tables["data"].read("documents"), tables["data"].read("queries")
    rows = [np.array(column, np.int32) for column in ([4, 5], [0, 2], [1, 0])]
    asked = Questions(queries, documents, *rows, repeat=np.zeros(2, np.int16))
    lines = tmp_path / "human.jsonl"
    with lines.open("wb", buffering=0) as file:
        for key, answer in zip(_keys(asked)[0], "ab", strict=True):
            Book(file, {}).put(int(key), 0, answer)
    told = audited(tables, outcomes, tmp_path, stage(human=str(lines)))
    assert told["known"]["human"]["pairs"] == 2
    expected = (true(4, 0) > true(4, 1)) + (true(5, 0) > true(5, 2))
    assert told["judges"]["right"]["measures"]["human"]["value"] == expected / 2


@pytest.mark.usefixtures("zelo_home")
def test_the_pipeline_audits(tiny_beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mounted = [f"+judge@judge.members.{name}=simulated" for name in ("one", "two")]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", ["pipeline=audit", "dataset=beir", "retriever=bm25", "judge=embedded", *mounted])
    ensemble = config.stages.judge.judge
    config.judge.members = {name: config.judge.members[name] for name in ("lexical", "one", "two")}
    config.judge.members["two"].name = "two"
    config.dataset.path = str(tiny_beir)
    assert ensemble is not None
    steps = assemble(config)
    assert [step.kind for step in steps] == ["load", "labels", "datacard", "retrieve", "judge", "judge", "audit"]
    *_, (result, _) = run_stages(steps, Store(tmp_path / "home"))
    run = RunFolder(tmp_path / "run", OmegaConf.to_yaml(config.stages.audit), 0, "zelo", [])
    run.write_manifest(result, {})
    run.publish(result, None)
    told = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert set(told["judges"]) == {"lexical", "one", "two"}
    assert told["cost"]["queries"] == 8
    words = Page((tmp_path / "run" / "report.html").read_text()).words
    assert "Cost of a whole run" in words
    print_audit(told, Console(width=80))
    said = " ".join(capsys.readouterr().out.split())
    assert "together:" in said
    few = "of the 8 train and dev queries 8 have the three candidates that it takes, and 20 were wanted"
    for text in (words, said):
        assert f"24 pairs instead of 60: {few}. To learn more, add queries, which need no labels." in " ".join(
            text.split()
        )


@pytest.mark.usefixtures("zelo_home")
def test_a_sample_prefers_what_can_be_checked_and_serves_the_run(tiny_beir: Path, tmp_path: Path) -> None:
    """Dev queries, whose labels may be looked at, then train queries, never test queries; and the run asks the same."""
    (tiny_beir / "qrels").mkdir()
    for split, names in (("dev", ("q1", "q6")), ("test", ("q0", "q2", "q7"))):
        rows = "".join(f"{name}\td0\t1\n" for name in names)
        (tiny_beir / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")

    def judged(pipe: str, *more: str) -> tuple[Table, Table]:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            told = ["dataset=beir", f"dataset.path={tiny_beir}", "retriever=bm25", "judge=simulated", "top_k=5"]
            config = compose("config", [f"pipeline={pipe}", "until=judge", "graph.degree=4", *told, *more])
        *_, (result, _) = run_stages(assemble(config), Store(tmp_path / "home"))
        return result.tables["retrieve"], result.tables["judge"]

    def queries(count: int) -> set[str]:
        _, table = judged("audit", f"stages.judge.design.sample_queries={count}")
        return set(table.read("outcomes")["query_id"].to_pylist())

    assert queries(2) == {"q1", "q6"}
    assert {"q1", "q6"} < queries(3) < queries(20) == {"q1", "q3", "q4", "q5", "q6"}
    retrieved, sample = judged("audit")
    again, whole = judged("annotate")
    assert retrieved.identity == again.identity, "candidates are found once"
    key = ("query_id", "doc_a", "doc_b", "judge", "swapped", "p")
    asked, known = (
        {tuple(row[name] for name in key) for row in one.read("outcomes").to_pylist()} for one in (whole, sample)
    )
    assert len(asked & known) >= 3 * 5, "of each query's three pairs, in the order in which the run shows them"


def test_a_judge_that_goes_by_the_place_is_named_without_labels(tables: dict[str, Table], tmp_path: Path) -> None:
    def always(query: int, a: int, b: int, first: bool, repeat: int) -> float:
        return 0.9 if first else 0.1

    told = audited(tables, table({"always": always, "right": right}, price=(9, 0.01)), tmp_path)
    text = {one["about"]: one["text"] for one in told["advice"]}
    assert told["judges"]["always"]["shown_first"] == 1.0
    assert (
        "It chooses the document shown first in 100 % of 240 pairs: it follows the position, not the" in text["always"]
    )
    assert "follows the position" not in text["right"]
    few, second = Tally(decided=19, first=19), Tally(decided=400, first=4)
    assert advice.one_place(few) == ""
    assert advice.one_place(second).startswith("chooses the document shown second in 99 % of 400 pairs")
    assert advice.one_place(Tally(decided=100, first=95)) == advice.one_place(Tally(decided=100, first=5)) == ""
