"""The evaluate stage on many queries: seconds of the whole stage, and its metrics against ir_measures in the same run.

Usage: python benchmarks/evaluation.py [--queries 100000] [--candidates 100] [--peer-queries 5000] [--rounds 3]
The stage reads two systems, measures eight metrics, tests one system against the other, and writes every file. The peer gets
dicts, its fastest form, which count as given: only its computing is timed. Values must be equal to the last bit.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.metrics.ir_measure import IrMeasure, ranked, values_of
from zelo.protocols import Metric
from zelo.records import DOCUMENT, QREL, QUERY, SCORED
from zelo.stages.evaluate import Evaluate
from zelo.store.shards import write_parquet
from zelo.store.table import Table

NAMES = ["nDCG@10", "R@10", "R@20", "R@100", "RR@10", "AP", "Judged@10", "nDCG(judged_only=True)@10"]
DOCUMENTS = 50_000
LABELS = 5  # judged documents of a query
SYSTEMS = ("bm25", "reranker")


def main() -> None:
    """A line for the stage, and one for each round against the peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--peer-queries", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    against_peer(min(options.peer_queries, options.queries), options.candidates, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        tables = written(Path(folder), options.queries, options.candidates)
        (out := Path(folder) / "out").mkdir()
        start, work = time.perf_counter(), time.process_time()
        stage().run(tables, out)
        seconds, work = time.perf_counter() - start, time.process_time() - work
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"evaluate: {options.queries:,} queries x {options.candidates} candidates x {len(SYSTEMS)} systems,"
        f" {len(NAMES)} metrics: {seconds:.1f} s ({work:.1f} s of processor time), peak memory of this process"
        f" {memory:.1f} GiB"
    )


def against_peer(queries: int, candidates: int, rounds: int) -> None:
    """Both by turns, on the same run; prints the ratio of their seconds."""
    qrels, run = labels(queries), ranked(scored(queries, candidates, 0))
    metrics = {name: IrMeasure(name=name) for name in NAMES}
    judged, asked = nested(qrels, "relevance"), nested(run, "score")
    measures = {ir_measures.parse_measure(name): name for name in NAMES}
    for _ in range(rounds):
        start = time.perf_counter()
        ids, found = values_of(metrics, run, qrels)
        ours = time.perf_counter() - start
        expected = {name: dict.fromkeys(ids, 0.0) for name in NAMES}
        start = time.perf_counter()
        for result in ir_measures.iter_calc(list(measures), judged, asked):
            expected[measures[result.measure]][result.query_id] = result.value
        theirs = time.perf_counter() - start
        apart = max(np.abs(found[name] - [expected[name][query] for query in ids]).max() for name in NAMES)
        print(
            f"metrics: {queries:,} queries x {candidates}: zelo {ours:.2f} s, ir_measures {theirs:.2f} s,"
            f" ratio {ours / theirs:.2f}; largest difference of a value {apart:.1e}"
        )


def labels(queries: int) -> pa.Table:
    """QREL rows of test."""
    random = np.random.default_rng(1)
    query = np.repeat(np.arange(queries), LABELS)
    document = random.integers(0, DOCUMENTS // LABELS, len(query)) + DOCUMENTS // LABELS * np.tile(
        range(LABELS), queries
    )
    columns = [ids("q", query), ids("d", document), random.integers(0, 3, len(query)), ["test"] * len(query)]
    return pa.table(columns, names=QREL.names).cast(QREL)


def scored(queries: int, candidates: int, system: int) -> pa.Table:
    """SCORED rows: documents drawn evenly, some of them judged; some scores are tied."""
    random = np.random.default_rng([2, system])
    query = np.repeat(np.arange(queries), candidates)
    step = DOCUMENTS // candidates
    document = np.tile(np.arange(candidates) * step, queries) + random.integers(0, step, len(query))
    score = np.round(random.standard_normal(len(query)), 3)
    return pa.table([ids("q", query), ids("d", document), score], names=SCORED.names).cast(SCORED)


def ids(letter: str, numbers: np.ndarray) -> pa.Array:
    """[N] strings."""
    return pc.binary_join_element_wise(letter, pc.cast(pa.array(numbers), pa.string()), "")


def nested(table: pa.Table, value: str) -> dict[str, dict[str, float]]:
    """query_id -> doc_id -> value, for the peer."""
    made: dict[str, dict[str, float]] = {}
    for query, document, content in zip(
        *(table[name].to_pylist() for name in ("query_id", "doc_id", value)), strict=True
    ):
        made.setdefault(query, {})[document] = content
    return made


def written(folder: Path, queries: int, candidates: int) -> dict[str, Table]:
    """The tables that the stage reads."""
    tables = {name: Table(name, name, folder / name, {"name": "random"}) for name in ("data", "labels", *SYSTEMS)}
    for table in tables.values():
        table.path.mkdir()
    names = ids("q", np.arange(queries))
    asked = pa.table([names, names, ["test"] * queries], names=QUERY.names)
    documents = ids("d", np.arange(DOCUMENTS))
    write_parquet(asked, QUERY, tables["data"].path, "queries")
    write_parquet(pa.table([documents] * 3, names=DOCUMENT.names), DOCUMENT, tables["data"].path, "documents")
    write_parquet(labels(queries), QREL, tables["labels"].path, "qrels")
    for number, system in enumerate(SYSTEMS):
        write_parquet(scored(queries, candidates, number), SCORED, tables[system].path, "scored")
    return tables


def stage() -> Evaluate:
    """As the default pipeline has it, with two systems."""
    metrics: dict[str, Metric] = {name: IrMeasure(name=name) for name in NAMES}
    return Evaluate(
        inputs={name: name for name in ("data", "labels", *SYSTEMS)},
        metrics=metrics,
        primary=NAMES[0],
        table=[],
        candidates_as="fusion",
        first_stages=["bm25"],
        compared={},
        teachers={},
        students={"reranker": ["bm25"]},
        first_stage_of={},
        precision=0.8,
        resamples=10_000,
        seed=0,
    )


if __name__ == "__main__":
    main()
