"""The labels that systems are measured by, what kind of labels they are, and which queries nothing can answer."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.facts import Facts
from zelo.records import DEV, TEST
from zelo.store.table import Table

FEW = 10
"""Labelled queries below which even an interval is not to be trusted."""
SPARSE = 10
"""Judged documents per query below which labels are called sparse: most of the first ten documents have none."""


def of_splits(labels: Table, data: Table) -> dict[str, pa.Table]:
    """Split -> rows of that split's queries, for dev and test where they have any: QREL, or GRADED where a stage graded."""
    name = "graded" if labels.has("graded") else "qrels"  # of a grade stage, with the draws of each label
    qrels, queries = labels.read(name), data.read("queries", ["query_id", "split"])
    home = queries["split"].take(pc.index_in(qrels["query_id"], queries["query_id"].combine_chunks()))
    own = qrels.filter(pc.fill_null(pc.equal(qrels["split"], home), False))
    found = {split: own.filter(pc.equal(own["split"], split)) for split in (DEV, TEST)}
    return {split: table for split, table in found.items() if len(table)}


def truth_of(labels: Mapping[str, pa.Table], examples: pa.Table) -> pa.Table:
    """query_id, doc_id, worth: the relevance, or the judges' target where a query has no labels."""
    rows = [table.select(["query_id", "doc_id", "relevance"]) for table in labels.values()]
    rows += [examples.select(["query_id", "doc_id", "target"])] if DEV not in labels else []
    parts = [
        pa.table([part["query_id"], part["doc_id"], pc.cast(part[2], pa.float64())], ["query_id", "doc_id", "worth"])
        for part in rows
    ]
    return pa.concat_tables(parts)


def kind_of(qrels: pa.Table) -> Facts:
    """How many judged and relevant documents a query has, which grades there are, and what such labels are called.

    Graded where relevant documents differ in grade, else binary; sparse below SPARSE judged documents per query.
    """
    queries = len(pc.unique(qrels["query_id"]))
    relevant = qrels.filter(pc.greater(qrels["relevance"], 0))
    grades = sorted(pc.unique(qrels["relevance"]).to_pylist())
    judged = len(qrels) / queries
    return {
        "queries": queries,
        "grades": grades,
        "judged_per_query": judged,
        "relevant_per_query": len(relevant) / queries,
        "kind": "graded" if sum(grade > 0 for grade in grades) > 1 else "binary",
        "density": "sparse" if judged < SPARSE else "dense",
        "without_relevant": queries - len(pc.unique(relevant["query_id"])),
    }


def misses(run: pa.Table, qrels: pa.Table) -> int:
    """Queries that have a relevant document, but none in this run: every metric counts them as misses."""
    relevant = qrels.filter(pc.greater(qrels["relevance"], 0))
    pairs = relevant.select(["query_id", "doc_id"])
    found = run.select(["query_id", "doc_id"]).join(pairs, ["query_id", "doc_id"], join_type="inner")
    return len(pc.unique(relevant["query_id"])) - len(pc.unique(found["query_id"]))


def in_words(split: str, kind: Facts, missed: Mapping[str, int]) -> list[str]:
    """What a reader of a split's figures must know of its labels. missed: system -> queries."""
    grades = ", ".join(map(str, kind["grades"]))
    few = "; a document without a label counts as not relevant, see Judged@10 and the condensed nDCG"
    lines = [
        f"{split} labels: {kind['kind']} ({grades}) and {kind['density']}, {kind['judged_per_query']:.1f} judged and"
        f" {kind['relevant_per_query']:.1f} relevant documents per query{few * (kind['density'] == 'sparse')}"
    ]
    if kind["queries"] < FEW:
        lines.append(
            f"labelled {split} queries: {kind['queries']}, at least {FEW} are needed for an interval to be trusted and 30 for a"
            " difference to count as shown. Label more"
        )
    if kind["without_relevant"]:
        lines.append(
            f"{split}: {kind['without_relevant']} of {kind['queries']} queries have no relevant document and count 0"
        )
    counted = ", ".join(f"{system} {count}" for system, count in missed.items() if count)
    if counted:
        lines.append(
            f"{split}: queries without a relevant document among the candidates, of {kind['queries']}, which count as misses:"
            f" {counted}"
        )
    return lines


def domains_of(data: Table, queries: list[str]) -> dict[str, np.ndarray]:
    """Domain -> [Q] bool, the queries that are from it; none where queries have no domain or all the same."""
    table = data.read("queries")
    if "domain" not in table.column_names:
        return {}
    names = table["domain"].take(pc.index_in(pa.array(queries, pa.string()), table["query_id"].combine_chunks()))
    distinct = sorted(name for name in pc.unique(names).to_pylist() if name)
    if len(distinct) < 2:
        return {}
    return {name: pc.fill_null(pc.equal(names, name), False).to_numpy() for name in distinct}


def of_queries(qrels: pa.Table, queries: list[str]) -> Facts | None:
    """`kind_of` the labels of some queries; None where these have none."""
    own = qrels.filter(pc.is_in(qrels["query_id"], pa.array(queries, pa.string())))
    return kind_of(own) if len(own) else None
