"""The audit: every figure against a known answer, advice that follows from figures, and pages that no text can break."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from scipy.stats import spearmanr

from test_report import HOSTILE, Page
from zelo import pipeline
from zelo.auditing import advice
from zelo.auditing.answers import Answers
from zelo.errors import BadInput
from zelo.graphs.cycles import Cycles
from zelo.metrics import judging
from zelo.metrics.length_bias import longer_wins
from zelo.metrics.measure import Measure, Resampling
from zelo.metrics.reliability import INTERVAL, NOMINAL, agreement_of_preferences, alpha
from zelo.metrics.tally import Tally, tally
from zelo.places import config_folder
from zelo.records import ANSWERED, DOCUMENT, OUTCOME, QREL, QUERY
from zelo.stages.audit import Audit
from zelo.store import Store, Table, write_parquet
from zelo.tracking import disagreements, judge_costs
from zelo.tracking.audit_table import print_audit
from zelo.tracking.report import ReportData, render
from zelo.tracking.run_folder import RunFolder

DRAWS = Resampling(400, 0)
NAN = math.nan
QUERIES, DOCUMENTS = 20, 3  # 20 triads, 60 pairs
FREE_OF_CHARGE = (0, 0.0)

Preference = Callable[[int, int, int, bool, int], float | None]
"""(query, document a, document b, a is shown first, repeat) -> P(a preferred), None: no answer."""


def true(query: int, document: int) -> int:
    """How good a document is; in every query another order."""
    return (query + document) % DOCUMENTS


def right(query: int, a: int, b: int, first: bool, repeat: int) -> float:
    return 0.6 + 0.01 * query if true(query, a) > true(query, b) else 0.4 - 0.01 * query


def position(query: int, a: int, b: int, first: bool, repeat: int) -> float:
    return 0.9 if first else 0.1


def coin(query: int, a: int, b: int, first: bool, repeat: int) -> float:
    return float(np.random.default_rng([query, a, b, first, repeat]).random())


def circular(query: int, a: int, b: int, first: bool, repeat: int) -> float:
    return 0.8 if (b - a) % 3 == 1 else 0.2


def mostly_failing(query: int, a: int, b: int, first: bool, repeat: int) -> float | None:
    return right(query, a, b, first, repeat) if query % 2 else None


def table(judges: dict[str, Preference], price: tuple[int, float] = FREE_OF_CHARGE) -> pa.Table:
    """OUTCOME rows of all pairs, both orders, two repeats. price: tokens and dollars of each question."""
    rows = []
    for name, judge in judges.items():
        for query in range(QUERIES):
            for a, b in ((0, 1), (2, 1), (0, 2)):
                for swapped in (False, True):
                    for repeat in (0, 1):
                        p = judge(query, a, b, not swapped, repeat)
                        status = ANSWERED if p is not None else "refused" if query % 4 else "failed"
                        pair = (f"q{query}", f"d{a}", f"d{b}", None, None)
                        rows.append((*pair, name, repeat, p, 1.0, swapped, status, *price))
    columns = dict(zip(OUTCOME.names, map(list, zip(*rows, strict=True)), strict=True))
    return pa.table({name: pa.array(columns[name], OUTCOME.field(name).type) for name in OUTCOME.names})


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    """A load stage's table of 20 dev queries with the same three documents, and labels of half of the queries."""
    ids = [f"q{query}" for query in range(QUERIES)]
    documents = [
        [f"d{n}" for n in range(DOCUMENTS)],
        ["", "t", ""],
        ["short", "longer than short", "the longest of all"],
    ]
    qrels = [(f"q{query}", f"d{d}", true(query, d)) for query in range(0, QUERIES, 2) for d in range(2)]
    columns = [list(column) for column in zip(*qrels, strict=True)]
    data = {
        "queries": pa.table([ids, [f"question {name}" for name in ids], ["dev"] * QUERIES], schema=QUERY),
        "documents": pa.table(documents, schema=DOCUMENT),
    }
    labels = {"qrels": pa.table([*columns, ["dev"] * len(qrels)], schema=QREL)}
    return {role: stored(tmp_path, role, files) for role, files in (("data", data), ("labels", labels))}


def stored(folder: Path, kind: str, files: dict[str, pa.Table], **manifest: Any) -> Table:
    path = folder / kind
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        pq.write_table(content, path / f"{name}.parquet")
    return Table(kind, kind, path, manifest)


def stage(**fields: Any) -> Audit:
    graph = Cycles(degree=2)
    return Audit(**({"inputs": {}, "graph": graph, "top_k": 3, "human": None, "resamples": 400, "seed": 0} | fields))


def audited(
    tables: dict[str, Table], outcomes: pa.Table, out: Path, audit: Audit | None = None, **manifest: Any
) -> dict[str, Any]:
    """audit.json of these outcomes."""
    judge = stored(out, "judge", {"outcomes": outcomes, "widest": outcomes}, **manifest)
    (out / "audit").mkdir(exist_ok=True)
    (audit or stage()).run(tables | {"outcomes": judge}, out / "audit")
    return json.loads((out / "audit" / "audit.json").read_text(), parse_constant=pytest.fail)


def verdict(told: dict[str, Any], name: str) -> str:
    return next(one["verdict"] for one in told["advice"] if one["about"] == name)


def test_alpha_is_krippendorffs() -> None:
    """Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), sections A and C to D: data and results."""
    four = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    ).T
    assert alpha(four, np.arange(12), NOMINAL, DRAWS).value == pytest.approx(0.743, abs=5e-4)
    found = alpha(four, np.arange(12), INTERVAL, DRAWS)
    assert found.value == pytest.approx(0.849, abs=5e-4)
    assert found.count == 11, "a unit with one value is not paired"
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.849 < found.high
    two = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]], float).T
    assert alpha(two, np.arange(10), NOMINAL, DRAWS).value == pytest.approx(0.095, abs=5e-4)
    assert alpha(np.full((9, 2), 3.0), np.arange(9), INTERVAL, DRAWS).missing == "all answers are the same"
    assert alpha(np.full((9, 2), NAN), np.arange(9), NOMINAL, DRAWS).missing == "no pair was answered by two judges"


def test_agreement_does_not_depend_on_which_document_is_named_first() -> None:
    random = np.random.default_rng(0)
    p = np.clip(random.random((90, 1)) + random.normal(scale=0.1, size=(90, 3)), 0, 1)
    other = np.where(random.random((90, 1)) < 0.5, 1 - p, p)
    query = np.arange(90) // 3
    assert agreement_of_preferences(p, query, DRAWS) == {
        level: Measure(*map(pytest.approx, (one.value, one.low, one.high)), one.count)  # type: ignore[arg-type]
        for level, one in agreement_of_preferences(other, query, DRAWS).items()
    }
    assert agreement_of_preferences(p, query, DRAWS)[INTERVAL].count == 90


def columns(outcomes: pa.Table, name: str) -> tuple[Any, ...]:
    found = Answers.of(outcomes)
    mine = found.judge == found.judges.index(name)
    return found.pair[mine], found.order[mine], found.p[mine], found.query, DRAWS


def test_order_and_repeats_have_known_answers() -> None:
    outcomes = table({"right": right, "position": position})
    assert judging.position_bias(*columns(outcomes, "position")).value == pytest.approx(0.4)
    assert judging.flips(*columns(outcomes, "position")).value == 1.0
    assert judging.same_again(*columns(outcomes, "position")).value == 1.0
    for measure in (judging.position_bias, judging.flips, judging.change_again):
        assert measure(*columns(outcomes, "right")).value == pytest.approx(0, abs=1e-7)
    assert judging.flips(*columns(outcomes, "right")).high == pytest.approx(1 - 0.025 ** (1 / QUERIES))
    # One pair asked three times in one order and once, with a tie, in the other.
    pair, order, p = np.zeros(4, int), np.array([0, 0, 0, 1]), np.array([0.2, 0.4, 0.9, 0.5])
    one = (pair, order, p, np.zeros(1, int), DRAWS)
    assert judging.change_again(*one).value == pytest.approx((0.2 + 0.7 + 0.5) / 3)
    assert judging.same_again(*one).value == pytest.approx(1 / 3)
    assert judging.flips(*one).value == pytest.approx(0.5)
    assert judging.position_bias(*one).value == pytest.approx((0.5 - 0.5) / 2)
    assert judging.position_bias(*one).low is None, "one query has no interval"
    none = (pair[:1], order[:1], p[:1], np.zeros(1, int), DRAWS)
    assert judging.flips(*none) == Measure.none("no pair was answered in both orders")
    assert judging.same_again(*none) == Measure.none("no pair was answered twice in one order")


def test_triads_and_circles() -> None:
    edges = np.stack(np.triu_indices(5, 1), axis=1)
    found = judging.triads(edges[::-1])
    assert len(found) == 10
    a_b, b_c, a_c = (edges[::-1][found[:, side]] for side in range(3))
    assert (a_b[:, 0] == a_c[:, 0]).all()
    assert (a_b[:, 1] == b_c[:, 0]).all()
    assert (b_c[:, 1] == a_c[:, 1]).all()
    assert not len(judging.triads(np.array([[0, 1], [1, 2], [2, 3], [0, 3]])))
    assert not len(judging.triads(np.empty((0, 2), int)))
    three, query = np.array([[0, 1], [0, 2], [1, 2]]), np.zeros(3, int)
    triad = judging.triads(three)
    for p, expected in (([0.9, 0.1, 0.9], 1.0), ([0.9, 0.9, 0.9], 0.0), ([0.1, 0.9, 0.1], 1.0)):
        assert judging.circles(np.array(p), triad, query, DRAWS).value == expected
    for p in ([0.9, 0.5, 0.9], [0.9, NAN, 0.9]):
        assert "without a tie" in judging.circles(np.array(p), triad, query, DRAWS).missing
    random = np.random.default_rng(0)
    many = np.concatenate([three + 3 * n for n in range(4000)])
    chance = judging.circles(random.random(12_000), judging.triads(many), np.arange(12_000) // 3, DRAWS)
    assert chance.value == pytest.approx(judging.CHANCE_OF_A_CIRCLE, abs=0.02)


def test_the_histogram_is_fair_to_both_sides() -> None:
    score = np.array([-1, -0.6, -0.2, 0.0, 0.2, 0.6, 1, 0.55, -0.55], np.float32)
    counts = judging.histogram(score)
    assert counts.tolist() == counts[::-1].tolist()
    assert counts.sum() == len(score)
    assert judging.histogram(np.array([0.0])).tolist() == [0, 0, 0, 0, 0.5, 0.5, 0, 0, 0, 0]
    even, one = np.full(10, 3.0), np.eye(10)[0]
    assert (judging.fullest(even), judging.evenness(even)) == (pytest.approx(0.1), pytest.approx(1))
    assert (judging.fullest(one), judging.evenness(one)) == (1, 0)


def test_length_bias_is_spearmans_and_what_others_explain_is_taken_out() -> None:
    random = np.random.default_rng(1)
    length, relevance = random.normal(size=(2, 600))
    query = np.arange(600) // 3
    lean = length + random.normal(size=600)
    found = longer_wins(lean, length, query, DRAWS)
    both = spearmanr(np.concatenate([lean, -lean]), np.concatenate([length, -length])).statistic
    assert found.value == pytest.approx(both)
    assert found.low is not None
    assert found.high is not None
    assert found.low < both < found.high
    flipped = np.where(random.random(600) < 0.5, -1, 1)
    assert longer_wins(lean * flipped, length * flipped, query, DRAWS).value == pytest.approx(both)
    explained = relevance + 0.7 * length  # relevant documents are longer: no bias of a judge that sees relevance
    fair, biased = explained + 0.1 * random.normal(size=600), explained + 0.5 * length
    assert longer_wins(fair, length, query, DRAWS).value > 0.4  # type: ignore[operator]
    assert abs(longer_wins(fair, length, query, DRAWS, explained).value) < 0.15  # type: ignore[arg-type]
    assert longer_wins(biased, length, query, DRAWS, explained).value > 0.4  # type: ignore[operator]
    assert longer_wins(length, length, query, DRAWS, length).missing
    noise = np.where(length > 0, 1e-9, -1e-9)  # what is left of ties
    assert longer_wins(noise, length, query, DRAWS).missing
    assert "fewer than 10" in longer_wins(lean[:9], length[:9], query[:9], DRAWS).missing


def test_intervals_are_of_queries() -> None:
    """Copies of a query's pairs are no new evidence."""
    random = np.random.default_rng(0)
    few, query = random.random(20), np.arange(20)
    once, often = DRAWS.mean(few, query, ""), DRAWS.mean(np.tile(few, 9), np.tile(query, 9), "")
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
    assert often.count == 180
    assert DRAWS.mean(np.empty(0), np.empty(0, int), "why").told() == {"not_measured": "why"}
    assert DRAWS.share(np.ones(60), np.arange(60) // 3, "").low == pytest.approx(0.832, abs=1e-3)


def test_answers_undo_naming_and_order() -> None:
    outcomes = table({"right": right, "position": position})
    turned = pa.table(
        {
            **{name: outcomes[name] for name in OUTCOME.names},
            "doc_a": outcomes["doc_b"],
            "doc_b": outcomes["doc_a"],
            "p": pa.array(1 - outcomes["p"].to_numpy(), pa.float32()),
            "swapped": pa.array(~outcomes["swapped"].to_numpy()),
        },
        schema=OUTCOME,
    )
    one, other = Answers.of(outcomes), Answers.of(turned.take(np.random.default_rng(0).permutation(len(turned))))
    assert one.doc_id.equals(other.doc_id)
    assert one.averaged() == pytest.approx(other.averaged())
    assert one.disagreements(9, 1).equals(one.disagreements(9, 1))
    for name in ("right", "position"):
        mine, theirs = (judging.position_bias(*columns(rows, name)) for rows in (outcomes, turned))
        assert mine.value == pytest.approx(theirs.value)
    nodes = one.nodes(pa.chunked_array([["q3", "q3", "no", "q3"]]), pa.chunked_array([["d2", "d0", "d1", "no"]]))
    assert [one.doc_id[n].as_py() for n in nodes[:2]] == ["d2", "d0"]
    assert (nodes[2:] == -1).all()
    pair = one.pairs(nodes[:1], nodes[1:2])[0]
    assert sorted(one.edges[pair]) == sorted(nodes[:2])
    assert one.pairs(nodes[:1], nodes[:1])[0] == -1


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
    assert "mostly timeout" in words["failing"]
    assert words["together"] == "Only right deserves trust: the others would add noise to it."
    steps = told["cost"]["steps"]
    assert told["cost"]["pairs"] == 3 * QUERIES
    assert [step["usd"] for step in steps] == pytest.approx([0.002 * 3 * QUERIES * n for n in range(1, 6)])


def test_advice_on_all_follows_from_advice_on_each() -> None:
    def on_all(agreement: float, *verdicts: str) -> tuple[str, str]:
        each = [advice.Advice(f"j{n}", verdict, "") for n, verdict in enumerate(verdicts)]
        measures = {
            "alpha_interval": Measure(agreement, agreement - 0.1, agreement + 0.1, 60),
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
        "Only j0 deserves trust: the others would add noise to it.",
    )
    assert on_all(0.5, stop, stop)[0] == on_all(0.5, stop)[0] == stop
    assert on_all(0.5, advice.LEAVE)[0] == advice.LEAVE


def test_how_far_a_document_that_gives_orders_sways_a_judge(tables: dict[str, Table], tmp_path: Path) -> None:
    """In the other table doc_b gives orders; the obedient judge moves 30 points towards it, whatever it is shown first."""
    judges: dict[str, Preference] = {"right": right, "obedient": position}
    obeyed: dict[str, Preference] = {"right": right, "obedient": lambda *pair: position(*pair) - 0.3 * pair[3]}
    ordered = table(obeyed).filter(pa.array([n % 4 < 2 or n % 8 > 5 for n in range(480)]))
    told = audited(tables | {"ordered": stored(tmp_path, "ordered", {"outcomes": ordered})}, table(judges), tmp_path)
    measures = {name: judge["measures"]["sway"] for name, judge in told["judges"].items()}
    assert measures["right"]["value"] == pytest.approx(0, abs=1e-7)
    first = np.array([not swapped for swapped in ordered["swapped"].to_pylist()])
    mine = np.array([name == "obedient" for name in ordered["judge"].to_pylist()])
    assert measures["obedient"]["value"] == pytest.approx(0.3 * first[mine].mean())
    text = {one["about"]: one["text"] for one in told["advice"]}
    assert "gains 20 points: do not show it texts by strangers" in text["obedient"]
    assert "strangers" not in text["right"]


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
    silent = audited(tables, table({"mute": lambda *_: None, "right": right}), tmp_path)
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


def test_a_price_that_nobody_knows_is_not_zero() -> None:
    free, unknown, paid = (
        next(iter(tally([table({"judge": right}, price)]).values())) for price in ((0, 0.0), (50, 0.0), (50, 0.01))
    )
    assert free.usd_per_preference(free=False) == 0
    assert unknown.usd_per_preference(free=False) is None
    assert unknown.usd_per_preference(free=True) == 0
    assert paid.usd_per_preference(free=False) == pytest.approx(0.01)
    assert Tally().usd_per_preference(free=True) is None
    assert judge_costs.money(None) == "not known"
    assert [judge_costs.money(usd) for usd in (0.0, 0.00123, 0.5, 12.345, 12345.6)] == [
        "free",
        "$0.0012",
        "$0.50",
        "$12.35",
        "$12,346",
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_the_terminal_is_wide_enough(
    width: int, tables: dict[str, Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judges: dict[str, Preference] = {"right": right, "frontier/a-judge": position, "coin": coin, "f": mostly_failing}
    people = tmp_path / "people.parquet"
    pq.write_table(table({"right": right}).select(["query_id", "doc_a", "doc_b", "p"]), people)
    told = audited(tables, table(judges, price=(9, 0.0123)), tmp_path, stage(human=str(people)))
    capsys.readouterr()
    print_audit(told, Console(width=width, highlight=False, emoji=False, markup=False))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for words in ("right: keep.", "do not spend on it", "Krippendorff", "A whole run asks 60 pairs", "$ per", "all 4"):
        assert words in text
    assert ("83–100" in text) == (width == 100)
    assert "nan" not in text
    assert "None" not in text


def hostile(tables: dict[str, Table], tmp_path: Path) -> ReportData:
    """An audit whose judges, faults, queries, documents and reasons mean harm."""
    names = [HOSTILE[0], HOSTILE[3][:80], HOSTILE[7]]
    judges = dict(zip(names, (right, position, mostly_failing), strict=True))
    faults = {name: {"faults": {HOSTILE[1]: 3}, "calls": 5, "from_ledger": 2, "retries": 1, "cut": 4} for name in names}
    outcomes = table(judges, price=(9, 0.01))
    told = audited(tables, outcomes, tmp_path, judges=faults)
    judged = Table("judge", "", tmp_path / "judge", {"judges": faults})
    reasons = outcomes.select(["query_id", "doc_a", "doc_b", "judge", "swapped"]).append_column(
        "text", pa.array([HOSTILE[n % len(HOSTILE)] for n in range(len(outcomes))])
    )
    pq.write_table(reasons, judged.path / "reasons.parquet")
    queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
    queries = queries.set_column(1, "text", pa.array([HOSTILE[n % len(HOSTILE)] for n in range(QUERIES)]))
    documents = documents.set_column(2, "text", pa.array(HOSTILE[1:4])).set_column(1, "title", pa.array(HOSTILE[4:7]))
    return ReportData(
        title="audit",
        verdicts=[],
        metrics=[],
        per_query=None,
        ladders=[],
        curves={},
        stages=[],
        config="seed: 0",
        notes=[HOSTILE[0]],
        audit=told,
        judges=judge_costs.rows(judged),
        disagreements=disagreements.of_run(judged, None, queries, documents),
    )


def test_no_text_breaks_the_page(tables: dict[str, Table], tmp_path: Path) -> None:
    html = render(hostile(tables, tmp_path))
    page = Page(html)
    allowed = {"html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer", "nav", "section"}
    allowed |= {"h1", "h2", "h3", "p", "a", "div", "span", "strong", "bdi", "br", "ul", "li", "dl", "dt", "dd", "table"}
    allowed |= {
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "svg",
        "g",
        "path",
        "defs",
        "clippath",
        "use",
        "rect",
        "text",
        "line",
    }
    allowed |= {"circle", "details", "summary", "pre"}
    assert page.tags <= allowed
    assert not page.comments
    for _, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "srcset", "action")]
    links = {a["href"] for tag, a in page.elements if tag in ("a", "use") and "href" in a}
    assert {str(link) for link in links} <= {f"#{a['id']}" for _, a in page.elements if "id" in a}
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", html)
    for words in (HOSTILE[0], HOSTILE[1], "Advice", "Not measured: with people", "its reasons"):
        assert words in page.words
    assert {"advice", "audit", "scores", "whole-run", "judges", "disagreements"} <= {
        str(a.get("id")) for tag, a in page.elements if tag == "section"
    }
    assert "Leaderboard" not in page.words, "nothing was trained"
    assert render(hostile(tables, tmp_path)) == html


def test_an_ordinary_report_has_judges_and_disagreements_and_no_advice(
    tables: dict[str, Table], tmp_path: Path
) -> None:
    page = Page(render(replace(hostile(tables, tmp_path), audit=None)))
    assert {"Judges", "Disagreements", "Leaderboard"} <= set(re.findall(r"\w+", page.words))
    assert "Advice" not in page.words
    alone = stored(tmp_path, "alone", dict.fromkeys(("outcomes", "widest"), table({"right": right})))
    assert disagreements.of_run(alone, None, tables["data"].read("queries"), tables["data"].read("documents")) is None


def test_the_widest_disagreements_come_first_and_reasons_know_their_order(
    tables: dict[str, Table], tmp_path: Path
) -> None:
    outcomes = table({"right": right, "contrary": lambda *pair: 1 - right(*pair), "tie": lambda *_: 0.5})
    judged = stored(tmp_path, "judge", {"outcomes": outcomes, "widest": outcomes})
    said = {"query_id": ["q19"], "doc_a": ["d2"], "doc_b": ["d1"], "judge": ["right"], "swapped": [False]}
    pq.write_table(pa.table(said | {"text": ["because"]}), judged.path / "reasons.parquet")
    found = disagreements.of_run(judged, None, tables["data"].read("queries"), tables["data"].read("documents"))
    assert found is not None
    spreads = [pair.spread for pair in found]
    assert spreads == sorted(spreads, reverse=True)
    assert len(found) == disagreements.SHOWN
    queries = [pair.query_id for pair in found]
    assert max(map(queries.count, queries)) == disagreements.PER_QUERY
    assert set(queries) == {f"q{n}" for n in range(14, 20)}, "where `right` is surest"
    for pair in found:
        assert pair.query == f"question {pair.query_id}"
        p = {opinion.judge: opinion.p for opinion in pair.opinions}
        assert pair.spread == pytest.approx(abs(p["right"] - p["contrary"]))
        assert p["tie"] == pytest.approx(0.5)
    whole = Answers.of(outcomes).disagreements(60, 3)
    pairs = disagreements.disagreements(
        whole, tables["data"].read("queries"), tables["data"].read("documents"), judged.read("reasons")
    )
    reasons = [
        (pair.documents[0][0], swapped, text)
        for pair in pairs
        for opinion in pair.opinions
        for swapped, text in opinion.reasons
    ]
    assert reasons == [("d1", True, "because")], "d2 was shown first, and d1 is named first here"


@pytest.mark.usefixtures("zelo_home")
def test_the_pipeline_audits(tiny_beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mounted = [f"+judge@judge.members.{name}=simulated" for name in ("one", "two")]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", ["pipeline=audit", "dataset=beir", "retriever=bm25", "judge=embedded", *mounted])
    ensemble = config.stages.judge.judge
    config.judge.members = {name: config.judge.members[name] for name in ("lexical", "one", "two")}
    config.judge.members.two.name = "two"
    config.dataset.path = str(tiny_beir)
    assert ensemble is not None
    steps = pipeline.assemble(config)
    assert [step.kind for step in steps] == ["load", "labels", "retrieve", "judge", "judge", "audit"]
    *_, (result, _) = pipeline.run(steps, Store(tmp_path / "home"))
    run = RunFolder(tmp_path / "run", OmegaConf.to_yaml(config.stages.audit), 0)
    run.write_manifest(result, {})
    run.publish(result, None)
    told = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert set(told["judges"]) == {"lexical", "one", "two"}
    assert told["cost"]["queries"] == 8
    words = Page((tmp_path / "run" / "report.html").read_text()).words
    assert "Cost of a whole run" in words
    print_audit(told, Console(width=80))
    assert "together:" in capsys.readouterr().out
