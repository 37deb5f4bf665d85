"""The report: complete, honest about what is missing, deterministic, self-contained, and safe with any text."""

import heapq
import inspect
import itertools
import math
import os
import re
import shutil
import statistics
import subprocess
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from zelo.metrics.predicted_answers import PAIRS
from zelo.metrics.spectrum import spectra
from zelo.records import ANSWERED, DOCUMENT, OUTCOME, QREL, QUERY, RATING
from zelo.reporting import plots, rating_facts
from zelo.reporting.budgets import Budget
from zelo.reporting.gains import pick
from zelo.reporting.ladders import BOUTS, RUNGS, ladders
from zelo.reporting.query_offsets import QueryOffsets
from zelo.reporting.rating_facts import RatingFacts
from zelo.reporting.report import render
from zelo.reporting.report_data import ReportData

QUERIES = [
    "5 biggest values without sorting the whole thing",
    "move a file to another disk",
    "does this path exist and is it a regular file",
    "delete a folder with everything in it",
    "how much room is left on the disk",
    "middle value of a list of numbers",
    "merge several sorted lists lazily",
    "split an iterable into chunks of n",
    "absolute path without symbolic links",
    "every pair of elements, order does not matter",
    "running total",
    "is this name an executable on PATH",
]
FEW = {f"q{number}": text for number, text in enumerate(QUERIES[:3])}
JUDGES = ["lexical", "dense", "late interaction", "best window"]
SYSTEMS = {"bm25": 0.36, "dense": 0.42, "late_interaction": 0.44, "fusion": 0.45, "embedding-untuned": 0.42}
SYSTEMS |= {"reranker-untuned": 0.44, "teacher": 0.52, "zelo-embedding": 0.47, "zelo-reranker": 0.47, "zelo": 0.5}
AGAINST = {
    "zelo-embedding": ["embedding-untuned", "fusion"],
    "zelo-reranker": ["fusion", "dense", "reranker-untuned"],
    "zelo": ["embedding-untuned", "zelo-embedding"],
}
FIRST_STAGES = dict.fromkeys(("teacher", "reranker-untuned", "zelo-reranker"), "fusion") | {"zelo": "zelo-embedding"}
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "</title></style></svg><iframe src='https://evil.example/'></iframe>",
    "\"><a href='javascript:alert(3)'>x</a>",
    "price $x^2 and $\\frac{1",
    "\u202egnp.exe שלום עולם مرحبا",
    "emoji 👩‍🔬🏳️‍🌈 and \x00\x0b\x1b control",
    "{{ data.config }} {% raw %} {# #}",
    "a" * 10_000,
    "]]> &lt;b&gt; &amp; <!-- --> #010203 var(--x) url(#a)",
    "",
]


def tables(queries: dict[str, str], documents: dict[str, tuple[str, str]], seed: int = 7) -> dict[str, pa.Table]:
    """A small run: every document a candidate of every query, compared with 8 others by four judges."""
    random = np.random.default_rng(seed)
    ids, n = list(documents), len(documents)
    columns: dict[str, list[Any]] = {name: [] for name in OUTCOME.names}
    ratings: dict[str, list[Any]] = {name: [] for name in RATING.names}
    relevant = []
    for query in queries:
        strength = np.sort(random.gumbel(size=n))[::-1] - 0.6
        order = random.permutation(n)
        edges = {tuple(sorted((i, (i + step) % n))) for i in range(n) for step in (1, 3, 7, 12)}
        for a, b in sorted(edges):
            for judge in JUDGES:
                p = 1 / (1 + np.exp(-2.2 * (strength[a] - strength[b]) + random.normal(scale=0.5)))
                row = (query, ids[order[a]], ids[order[b]], None, None, judge, 0, p, 1.0, False, ANSWERED, 0, 0.0)
                for name, value in zip(OUTCOME.names, row, strict=True):
                    columns[name].append(value)
        for place, rating in enumerate(strength):
            row = (query, ids[order[place]], rating, 0.18 + 0.1 * random.random(), 8, 0.0, 1.0)
            for name, value in zip(RATING.names, row, strict=True):
                ratings[name].append(value)
        relevant += [(query, ids[order[place]], label, "test") for place, label in ((0, 2), (4, 1), (6, 0), (n - 9, 1))]
    return {
        "queries": pa.table([list(queries), list(queries.values()), ["test"] * len(queries)], schema=QUERY),
        "documents": pa.table([ids, *map(list, zip(*documents.values(), strict=True))], schema=DOCUMENT),
        "ratings": pa.table(ratings, schema=RATING),
        "outcomes": pa.table(columns, schema=OUTCOME),
        "qrels": pa.table([list(column) for column in zip(*relevant, strict=True)], schema=QREL),
    }


def library() -> dict[str, tuple[str, str]]:
    """Real documents: what the standard library says about itself."""
    found = {}
    for module in (shutil, heapq, statistics, itertools, os.path):
        for name, thing in sorted(vars(module).items()):
            if not name.startswith("_") and callable(thing) and inspect.getdoc(thing):
                found[f"{module.__name__}.{name}"] = (f"{module.__name__}.{name}", inspect.getdoc(thing) or "")
    return found


def values_per_query(n: int) -> dict[str, np.ndarray]:
    """System -> [n] nDCG@10: a shared difficulty, and for most queries something of its own."""
    random = np.random.default_rng(3)
    base = np.clip(random.beta(1.2, 1.9, n), 0, 1)
    found = {}
    for system, mean in SYSTEMS.items():
        own = random.normal((mean - 0.43) / 0.6, 0.2, n) * (random.random(n) < 0.6)
        found[system] = np.clip(base + own, 0, 1)
    return found | {"embedding-untuned": found["dense"]}


def p_value(difference: np.ndarray) -> float:
    """Of a paired test, near enough for a picture."""
    return math.erfc(abs(difference.mean()) / (difference.std() / len(difference) ** 0.5 + 1e-12) / 2**0.5)


def verdict(system: str, baseline: str, values: dict[str, np.ndarray]) -> dict[str, Any]:
    """A verdict as the evaluate stage words it."""
    random = np.random.default_rng(5)
    difference = values[system] - values[baseline]
    p = p_value(difference)
    low, high = np.quantile(random.choice(difference, (999, len(difference))).mean(axis=1), (0.025, 0.975)).tolist()
    value, base = float(values[system].mean()), float(values[baseline].mean())
    word = "not better" if p >= 0.05 else "better" if value > base else "worse"
    facts = f"{base:.3f} -> {value:.3f}, 64 test queries, p = {p:.2g} Holm-corrected"
    text = (
        f"{system} is not better than {baseline} in nDCG@10 (difference {value - base:+.3f}, {facts})"
        if word == "not better"
        else f"{system} is {word} than {baseline} by {abs(value - base):.3f} nDCG@10 ({facts})"
    )
    return {
        **{"system": system, "baseline": baseline, "metric": "nDCG@10", "split": "test", "protocol": "natural"},
        **{"value": value, "baseline_value": base, "difference": value - base, "ci_low": low, "ci_high": high},
        **{"p_value": p, "verdict": word, "text": text},
    }


def metric_rows(values: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """METRIC rows of test and dev; a student has one for each of its baselines."""
    rows = []
    for split, (system, all_values), (metric, more) in itertools.product(
        ("dev", "test"), values.items(), (("nDCG@10", 0.0), ("R@10", 0.12), ("R@100", 0.31), ("Judged@10", 0.2))
    ):
        value = float(all_values.mean()) + more
        for baseline in AGAINST.get(system, [""]):
            p = p_value(all_values - values[baseline]) if baseline else None
            found = FIRST_STAGES.get(system, system)
            rows.append(
                {
                    **{"system": system, "metric": metric, "split": split, "protocol": "natural", "domain": "pydocs"},
                    **{"first_stage": found, "value": value, "ci_low": value - 0.06, "ci_high": value + 0.06},
                    **{"p_value": p, "baseline": baseline or None, "queries": len(all_values)},
                }
            )
    return rows


def curve(steps: int) -> list[dict[str, Any]]:
    """A training run of so many steps, looked at 15 times; the first point is the untuned model."""
    random = np.random.default_rng(steps)
    points = []
    for step in np.linspace(0, steps, 16).astype(int).tolist():
        loss = 0.62 * np.exp(-step / 180) + 0.11 + random.normal(scale=0.01)
        dev = 0.71 + 0.09 * (1 - np.exp(-step / 120)) - 0.00004 * step + random.normal(scale=0.004)
        points.append(
            {"step": step, "epoch": step // 50, "train_loss": loss if step else None, "dev": dev, "metric": "nDCG@10"}
        )
    return points


def stage_rows() -> list[dict[str, Any]]:
    """Stages as a run's manifest lists them."""
    seconds = {"load": 1.3, "retrieve": 41.0, "judge": 62.5, "rate": 4.2, "calibrate": 0.1, "target": 0.6}
    seconds |= {"train_embedding": 88.0, "train_reranker": 143.0, "both": 12.0, "evaluate": 3.3}
    return [
        {
            **{"name": name, "status": "reused" if name == "load" else "made", "made_in": took},
            **{"seconds": 0.0 if name == "load" else took, "megabytes": took / 7, "peak_memory_mb": 400 + 9 * took},
            **{
                "identity": f"{number + 160:02x}5c" * 6,
                "rows": None if number % 3 == 0 else 10 ** (2 + number % 5) + 417,
            },
        }
        for number, (name, took) in enumerate(seconds.items())
    ]


def facts_of(made: dict[str, pa.Table], texts: dict[str, str]) -> RatingFacts:
    """What a run with an adaptive graph and offsets tells about the ratings in `tables`."""
    random = np.random.default_rng(2)
    spent = Budget(np.arange(100, 300, 20), 0.1 / np.arange(1, 11) ** 2, 0.002, 290)
    answer, ratings, outcomes = random.random(500), made["ratings"], made["outcomes"]
    fit = {"queries": 64, "steps": 5, "gradient": 1e-7, "log_loss": 0.6, "held_out_log_loss": 0.61, "dispersion": 0.1}
    fit |= {"disconnected_queries": 2, "disconnected": list(texts)[:2], "separable_documents": 9, "curl": 0.03}
    return RatingFacts(
        matrices=rating_facts.matrices(list(texts), texts, ratings, outcomes, dict.fromkeys(texts, spent)),
        graphs=[one for _, one in spectra(outcomes)],
        fit=fit | {"intransitive_triads": None},
        shape=(100.0, 290.0),
        limits={"tolerance": 1e-6, "max_steps": 50},
        curl=[(query, text, 0.05) for query, text in texts.items()],
        offsets=QueryOffsets(random.normal(size=64), np.full(64, 0.1), PAIRS, answer**2, answer, answer),
    )


def report(
    queries: list[str] | None = None, documents: dict[str, tuple[str, str]] | None = None, n: int = 64
) -> ReportData:
    """A report as the default run makes it: ten systems, two students and both together."""
    queries = queries or QUERIES
    texts = {f"q{i}": queries[i % len(queries)] for i in range(n)}
    values = values_per_query(n)
    systems, ids = list(values), list(texts)
    per_query = pa.table(
        {
            "system": pa.array(np.repeat(systems, n)).dictionary_encode(),
            "metric": pa.array(["nDCG@10"] * n * len(systems)).dictionary_encode(),
            "split": pa.array(["test"] * n * len(systems)).dictionary_encode(),
            "query_id": ids * len(systems),
            "value": np.concatenate(list(values.values())),
        }
    )
    verdicts = [verdict(system, base, values) for system, bases in AGAINST.items() for base in bases]
    chosen = pick(per_query, verdicts, ids, 6)
    made = tables({query: texts[query] for query in chosen}, documents or library())
    return ReportData(
        title="zelo on pydocs",
        verdicts=verdicts,
        metrics=metric_rows(values),
        per_query=per_query,
        ladders=ladders(**made, pick=chosen),
        curves={"embedding": curve(600), "reranker": curve(300)},
        stages=stage_rows(),
        config="dataset:\n  _target_: zelo.datasets.pydocs.Pydocs\nseed: 7\n" * 20,
        notes=["3 judged documents are not in this installation and were dropped.", "dev is as the judges see it."],
        query_texts=texts,
        ratings=facts_of(made, {query: texts[query] for query in chosen}),
        groups={
            name: "students"
            if name in AGAINST
            else "untuned models"
            if "untuned" in name
            else "teacher"
            if name == "teacher"
            else "first stages"
            for name in values
        },
    )


class Page(HTMLParser):
    """Every element with its attributes, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.comments: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        self.words += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


@pytest.fixture(scope="module")
def data() -> ReportData:
    return report()


@pytest.fixture(scope="module")
def html(data: ReportData) -> str:
    return render(data)


def hostile() -> ReportData:
    """Every text of the report, and every name, comes from somebody who means harm."""
    documents = {
        f"{number}{text[:300]}": (text, HOSTILE[-number % len(HOSTILE)]) for number, text in enumerate(HOSTILE * 3)
    }
    data = report(HOSTILE, documents)
    evil, student = HOSTILE[1], "zelo-<b onclick='x()'>"
    assert data.per_query is not None
    systems = pa.array([student if name == "zelo" else name for name in data.per_query["system"].to_pylist()])
    assert data.ratings is not None
    ratings = replace(
        data.ratings,
        matrices=[
            replace(one, query_id=evil, query=text) for one, text in zip(data.ratings.matrices, HOSTILE, strict=False)
        ],
        fit={**data.ratings.fit, "disconnected": HOSTILE[:5]},
        curl=[(text, text, 0.05) for text in HOSTILE],
    )
    return replace(
        data,
        ratings=ratings,
        per_query=data.per_query.set_column(0, "system", systems),
        title=HOSTILE[2],
        verdicts=[
            one | {"text": text, "system": student if one["system"] == "zelo" else one["system"]}
            for one, text in zip(data.verdicts, HOSTILE, strict=False)
        ],
        metrics=[row | {"domain": evil, "first_stage": HOSTILE[0], "protocol": HOSTILE[3]} for row in data.metrics],
        curves=dict.fromkeys(HOSTILE, data.curves["embedding"]),
        stages=[stage | {"name": evil, "identity": evil} for stage in data.stages],
        config="\n".join(HOSTILE),
        notes=HOSTILE,
    )


@pytest.fixture(scope="module")
def evil() -> str:
    return render(hostile())


def test_says_everything(html: str, data: ReportData) -> None:
    words = Page(html).words
    for one in data.verdicts:
        sentence = one["text"].removeprefix(one["system"]).partition(" (")[0].strip()
        assert sentence in words
        assert f'title="{one["text"].replace(">", "&gt;")}"' in html
    for system in SYSTEMS:
        assert system in words
    assert {"Verdict", "Leaderboard", "First stages", "Untuned models", "Teacher", "Students"} <= set(
        re.findall(r"[\w ]+", words)
    )
    assert "Why is this document here?" in words
    assert words.count("lexical") > 100  # comparisons, judge by judge
    assert "3 judged documents are not in this installation" in words
    assert "zelo.datasets.pydocs.Pydocs" in words
    assert re.search(r"\d+ won.*\d+ lost.*\d+ equal", words)


def test_links_lead_somewhere_and_ids_are_unique(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for tag, a in page.elements if tag in ("a", "use") and "href" in a}
    targets |= set(re.findall(r"url\((#[^)]+)\)", html))
    assert len(targets) > 8
    assert {str(target) for target in targets} <= {f"#{identity}" for identity in ids}


@pytest.mark.parametrize("name", ["html", "evil"])
def test_fetches_nothing_and_runs_nothing(name: str, request: pytest.FixtureRequest) -> None:
    html = request.getfixturevalue(name)
    page = Page(html)
    assert not page.tags & {"script", "iframe", "img", "object", "embed", "base", "form", "foreignobject"}
    for tag, attributes in page.elements:
        assert not [
            key
            for key in attributes
            if key.startswith("on") or key in ("src", "srcdoc", "srcset", "action", "xlink:href")
        ]
        if "href" in attributes:
            assert attributes["href"] == "data:," if tag == "link" else str(attributes["href"]).startswith("#")
        assert not re.search(r"url\((?!#)|@import", attributes.get("style") or "")
    style = "".join(re.findall(r"<style>(.*?)</style>", html, re.S))
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in html


def test_hostile_texts_stay_texts(evil: str, html: str) -> None:
    page = Page(evil)
    assert page.tags <= Page(html).tags
    assert not page.comments
    assert set().union(*(a.keys() for _, a in page.elements)) <= set().union(
        *(a.keys() for _, a in Page(html).elements)
    )
    for text in HOSTILE:
        seen = (
            re.sub(r"[\x00-\x08\x0b-\x1f]", "\ufffd", " ".join(text.split())) if "\x00" not in text else "emoji 👩‍🔬🏳️‍🌈"
        )
        assert seen[:200] in page.words
    assert "a" * 10_000 in page.words  # the config is whole
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", evil)
    evil.encode("utf-8")
    tooltips = re.findall(r"<title>([^<]*)</title>", evil)
    assert any("$x^2 and $\\frac{1" in tooltip for tooltip in tooltips)
    assert len(evil) < 3_000_000


def test_lone_surrogates_do_not_stop_it(data: ReportData) -> None:
    bad = replace(data, notes=["half \ud83d a smile"], query_texts=dict.fromkeys(data.query_texts, "\udc00 \ufffe"))
    assert "half \ufffd a smile" in render(bad).encode("utf-8").decode()


def test_is_deterministic_small_and_quick(data: ReportData, html: str) -> None:
    start = time.perf_counter()
    again = render(data)
    assert time.perf_counter() - start < 5
    assert again == html
    assert data.per_query is not None
    backwards = data.per_query.take(list(range(len(data.per_query)))[::-1])
    assert render(replace(data, per_query=backwards)) == html
    assert len(html.encode()) < 3_000_000
    assert not re.search(r"20\d\d-\d\d-\d\d", html)


def test_sections_without_content_are_left_out(data: ReportData) -> None:
    empty = ReportData("Nothing", [], [], None, [], {}, [], "", [])
    page = Page(render(empty))
    assert {attrs.get("id") for name, attrs in page.elements if name == "section"} == {"cost", "config"}
    rated = Page(render(replace(data, verdicts=[], metrics=[], per_query=None, curves={})))
    sections = [attrs.get("id") for name, attrs in rated.elements if name == "section"]
    assert sections[:3] == ["notes", "ladders", "ratings"]
    linked = {str(attrs["href"])[1:] for name, attrs in rated.elements if name == "a" and attrs["href"] in sections}
    assert linked <= set(sections)


def test_missing_figures_are_dashes(data: ReportData) -> None:
    one_verdict = data.verdicts[0] | dict.fromkeys(("ci_low", "ci_high", "p_value"))
    unlabelled = [
        row | dict.fromkeys(("ci_low", "ci_high", "p_value", "baseline", "domain")) for row in data.metrics[:1]
    ]
    one = {"embedding": [{"step": 0, "epoch": 0, "train_loss": None, "dev": 0.7, "metric": "nDCG@10"}], "reranker": []}
    stage = dict.fromkeys(data.stages[0]) | {"name": "rate", "status": "made", "identity": ""}
    partial = replace(
        data, verdicts=[one_verdict], metrics=unlabelled, per_query=None, curves=one, stages=[stage], ladders=[]
    )
    words = Page(render(partial)).words
    assert "nan" not in words
    assert "None" not in words
    assert "No point was measured" in words


def test_ladder_shows_top_and_relevant_and_both_sides() -> None:
    made = tables(FEW, library())
    first, second = ladders(**made, pick=["q2", "q0"])
    assert (first.query_id, second.query) == ("q2", QUERIES[0])
    ranks = [rung.rank for rung in first.rungs]
    assert ranks[:RUNGS] == list(range(1, RUNGS + 1))
    assert ranks[RUNGS:] == [len(library()) - 8]
    assert [rung.label for rung in first.rungs if rung.label is not None] == [2, 1, 0, 1]
    rung = first.rungs[0]
    assert 0 < len(rung.bouts) <= BOUTS
    outcomes = made["outcomes"].to_pylist()
    for bout in rung.bouts:
        pair = {rung.doc_id, bout.opponent}
        rows = [row for row in outcomes if row["query_id"] == "q2" and {row["doc_a"], row["doc_b"]} == pair]
        mine = {row["judge"]: row["p"] if row["doc_a"] == rung.doc_id else 1 - row["p"] for row in rows}
        assert bout.judges == pytest.approx(mine)
        assert bout.p == pytest.approx(sum(mine.values()) / 4)
        assert bout.title == bout.opponent
    assert ladders(**(made | {"qrels": None}), pick=["q1"])[0].rungs[0].label is None
    assert ladders(**made, pick=["nobody"]) == []


def test_ladders_are_quick_on_a_big_table() -> None:
    made = tables(FEW, library())
    big = pa.concat_tables(
        [made["outcomes"].set_column(0, "query_id", pa.array([f"x{i}"] * len(made["outcomes"]))) for i in range(150)]
    )
    big = pa.concat_tables([made["outcomes"], *[big] * 8])
    assert len(big) > 1_000_000
    start = time.perf_counter()
    assert ladders(**(made | {"outcomes": big}), pick=["q0"]) == ladders(**made, pick=["q0"])
    assert time.perf_counter() - start < 3


def test_picks_gains_losses_and_some_between(data: ReportData) -> None:
    first = data.verdicts[0]
    sides = ((first["system"], range(9)), (first["baseline"], [4] * 9))
    rows = [(system, "nDCG@10", "test", f"q{i}", v / 10) for system, side in sides for i, v in enumerate(side)]
    names = ["system", "metric", "split", "query_id", "value"]
    per_query = pa.table([list(column) for column in zip(*rows, strict=True)], names=names)
    assert pick(per_query, [first], [], 6) == ["q8", "q7", "q6", "q2", "q1", "q0"]
    few = per_query.filter(pa.array([row[3] < "q3" for row in rows]))
    assert pick(few, [first], [], 6) == ["q2", "q1", "q0"]
    assert pick(None, [first], ["a", "b", "c"], 2) == ["a", "b"]
    assert pick(per_query, [], ["a"], 6) == ["a"]


def test_many_queries_make_one_outline_and_odd_points_are_left_out() -> None:
    difference = np.linspace(0.5, -0.4, 5000)
    drawn = plots.gains(difference, [""] * 5000, 0.6, "gain")
    assert "<title>" not in drawn
    assert len(drawn) < 100_000
    points = [
        {"step": 0, "train_loss": None, "dev": float("nan"), "metric": "nDCG@10"},
        {"step": 9, "train_loss": 0.5, "dev": 0.7, "metric": "nDCG@10"},
    ]
    assert "0.700" in plots.curves(points, "curve")
    assert plots.curves(points[:1], "curve") == ""


def test_colours_are_readable(html: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    schemes = re.findall(r":root \{(.*?)\}", html, re.S)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for text, ground in itertools.product(("ink", "muted", "gain", "loss", "accent"), ("paper", "panel")):
            light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
    assert not re.search(r"#0102\d\d", html)  # no sentinel is left
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", html)) == set()  # figures have no colour of their own


def browse(html: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """What a browser 1180 pixels wide makes of a page: the document on stdout, complaints on stderr."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    (folder / "page.html").write_text(html, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --v=0 --dump-dom"
    flags += " --window-size=1180,900"
    command = [browser, *flags.split(), f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.long
def test_the_leaderboard_fits_a_window_of_1180_pixels(html: str, tmp_path: Path) -> None:
    measure = "for (const part of document.querySelectorAll('.scroll')) part.id = `beyond-${part.scrollWidth - part.clientWidth}`"
    page = re.sub("<meta http-equiv=.*?>", "", html).replace("</body>", f"<script>{measure}</script></body>")
    assert re.findall(r'aria-label="Leaderboard[^>]*id="beyond-(\d+)"', browse(page, tmp_path).stdout)[0] == "0"


@pytest.mark.long
def test_a_browser_shows_it(tmp_path: Path) -> None:
    for data in (report(), hostile()):
        done = browse(render(data), tmp_path)
        words = " ".join(Page(done.stdout).words.split())
        assert data.verdicts[0]["text"].removeprefix(data.verdicts[0]["system"]).partition(" (")[0].strip() in words
        assert "CONSOLE" not in done.stderr, done.stderr
        assert Page(done.stdout).tags <= Page(render(report())).tags | {"tbody"}
