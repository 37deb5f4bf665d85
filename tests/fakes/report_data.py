"""A report's data as the default run makes it, without the run."""

import heapq
import inspect
import itertools
import math
import os
import shutil
import statistics
from typing import Any

import numpy as np
import pyarrow as pa

from zelo.evaluation import probability
from zelo.evaluation.labelled_scores import LabelledScores
from zelo.metrics.predicted_answers import PAIRS
from zelo.metrics.spectrum import spectra
from zelo.records import ANSWERED, DOCUMENT, OUTCOME, QREL, QUERY, RATING
from zelo.reporting import rating_facts
from zelo.reporting.budgets import BudgetCurve
from zelo.reporting.gains import pick
from zelo.reporting.query_browser import BrowserSources, QueryBrowser, query_browser
from zelo.reporting.query_offsets import QueryOffsets
from zelo.reporting.rating_facts import RatingFacts
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
    word = "no difference shown" if p >= 0.05 else "better" if value > base else "worse"
    facts = f"{base:.3f} -> {value:.3f}, 64 test queries, p = {p:.2g} Holm-corrected"
    text = (
        f"{system}: no difference shown from {baseline} in nDCG@10 ({value - base:+.3f}, {facts})"
        if word == "no difference shown"
        else f"{system} is {word} than {baseline} by {abs(value - base):.3f} nDCG@10 ({facts})"
    )
    return {
        **{"system": system, "baseline": baseline, "metric": "nDCG@10", "split": "test", "protocol": "natural"},
        **{"value": value, "baseline_value": base, "difference": value - base, "ci_low": low, "ci_high": high},
        **{"p_value": p, "verdict": word, "text": text, "circular": False},
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
    seconds |= {"train_embedding": 88.0, "train_reranker": 143.0, "hybrid": 12.0, "evaluate": 3.3}
    return [
        {
            **{"name": name, "status": "cached" if name == "load" else "computed", "computed_in": took},
            **{"seconds": 0.0 if name == "load" else took, "megabytes": took / 7, "peak_memory_mb": 400 + 9 * took},
            **{
                "identity": f"{number + 160:02x}5c" * 6,
                "rows": None if number % 3 == 0 else 10 ** (2 + number % 5) + 417,
            },
        }
        for number, (name, took) in enumerate(seconds.items())
    ]


def sources(made: dict[str, pa.Table], values: dict[str, np.ndarray], **changed: Any) -> BrowserSources:
    """What a browser of `tables` is made of. values: system -> [Q]; a system's list of a query is any order of the documents."""
    random = np.random.default_rng(11)
    documents, queries = made["documents"], made["queries"]["query_id"].to_pylist()
    ids, count = documents["doc_id"].to_pylist(), min(len(documents), 40)
    runs = {}
    for system in values:
        found = [ids[place] for _ in queries for place in random.permutation(len(ids))[:count]]
        rank = np.tile(np.arange(1, count + 1), len(queries))
        columns = [np.repeat(queries, count), found, rank, 1 / rank]
        runs[system] = [pa.table(columns, names=["query_id", "doc_id", "rank", "score"])]
    given: dict[str, Any] = {
        "queries": made["queries"],
        "documents": documents["doc_id"],
        "texts": lambda rows: [documents.take(pa.array(rows[:7])), documents.take(pa.array(rows[7:]))],
        "runs": runs,
        "values": np.stack([one[: len(queries)] for one in values.values()]) if values else np.empty((0, len(queries))),
        "metrics": {"test": "nDCG@10"},
        "ratings": made["ratings"],
        "outcomes": [made["outcomes"]],
        "qrels": made["qrels"],
    }
    return BrowserSources(**(given | changed))


def browser(made: dict[str, pa.Table], values: dict[str, np.ndarray]) -> QueryBrowser:
    """As the default run makes it."""
    first = made["outcomes"].slice(0, 40)
    said = first.select(["query_id", "doc_a", "doc_b", "judge", "swapped"])
    titles = made["documents"]["title"].to_pylist()
    texts = [f"{titles[n % len(titles)]}\nscore-0a1b2c3d: {n % 3 - 1}" for n in range(len(first))]
    reasons = said.append_column("text", pa.array(texts)).set_column(3, "judge", first["judge"].cast(pa.string()))
    return query_browser(sources(made, values, before="fusion", after="zelo", reasons=reasons))


def facts_of(made: dict[str, pa.Table], texts: dict[str, str]) -> RatingFacts:
    """What a run with an adaptive graph and offsets tells about the ratings in `tables`."""
    random = np.random.default_rng(2)
    spent = BudgetCurve(np.arange(100, 300, 20), 0.1 / np.arange(1, 11) ** 2, 0.002, 290)
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


def probabilities() -> dict[str, Any]:
    """Scores that are log odds, of two domains whose scores mean different things; one system is of no use."""
    random = np.random.default_rng(11)
    query = np.repeat(np.arange(64), 20)
    odds = random.normal(-1, 2, len(query))
    relevant = random.random(len(query)) < 1 / (1 + np.exp(-odds))
    halves = {"law": np.arange(64) < 32, "code": np.arange(64) >= 32}
    labelled = np.bincount(query[relevant], minlength=64)
    systems = {"bm25": random.normal(size=len(query)), "zelo": odds + (query >= 32)}
    found = {name: LabelledScores(score, relevant, query, labelled) for name, score in systems.items()}
    return {
        "precision": 0.8,
        "queries": {"dev": 64, "test": 64},
        "systems": {name: probability.report(one, one, (halves, halves), 0.8, 200, 0) for name, one in found.items()},
    }


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
    shown = {system: one[[ids.index(query) for query in chosen]] for system, one in values.items()}
    return ReportData(
        title="zelo on pydocs",
        verdicts=verdicts,
        metrics=metric_rows(values),
        per_query=per_query,
        browser=browser(made, shown),
        header=[("command", "zelo name=x"), ("started", "a Sunday"), ("models", "multirun/x/embedding")],
        curves={"embedding": curve(600), "reranker": curve(300)},
        stages=stage_rows(),
        config="dataset:\n  _target_: zelo.datasets.pydocs.Pydocs\nseed: 7\n" * 20,
        notes=["3 judged documents are not in this installation and were dropped.", "dev is as the judges see it."],
        query_texts=texts,
        ratings=facts_of(made, {query: texts[query] for query in chosen}),
        probabilities=probabilities(),
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
