"""Preferences about a sample's pairs that are known from elsewhere: from labels, and from people."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.auditing.answers import JudgedPairs
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.judges.human import Human
from zelo.passages import by_passage
from zelo.records import TEST, Questions
from zelo.store.table import Table

PREFERENCE = ("query_id", "doc_a", "doc_b", "p")  # columns of a file of human preferences


@dataclass(frozen=True)
class Reference:
    """Preferences known from elsewhere: [E] above 0 where a pair's first document is better, below 0 the second, else 0."""

    truth: np.ndarray
    missing: str  # why there is none, where there is none
    unjudged: int = 0  # pairs in which one document has no label and counts as not relevant

    def facts(self) -> Facts:
        """For a JSON file."""
        pairs = int((self.truth != 0).sum())
        return {"pairs": pairs, "unjudged": self.unjudged} if pairs else {"not_measured": self.missing}


def grades_apart(found: JudgedPairs, labels: Table | None, queries: pa.Table, known: pa.Table | None) -> Reference:
    """Differences of grades.

    Beside a relevant document one without a label counts as grade 0, as evaluation counts it; beside one that is not relevant
    nothing is known about it. A passage has the label of its document. The labels of test queries stay closed. known: passages.
    """
    pairs = len(found.edges)
    if labels is None:
        return Reference(np.zeros(pairs), "no labels are given")
    qrels = labels.read("qrels")
    hidden = queries.filter(pc.equal(queries["split"], TEST))["query_id"].combine_chunks()
    qrels = qrels.filter(pc.invert(pc.is_in(qrels["query_id"], value_set=hidden)))
    qrels = by_passage(qrels, known)
    node = found.nodes(qrels["query_id"], qrels["doc_id"])
    grade = np.full(len(found.doc_id), np.nan)
    grade[node[node >= 0]] = qrels["relevance"].to_numpy()[node >= 0]
    a, b = grade[found.edges].T
    without = np.isnan(a) ^ np.isnan(b)
    beside = without & (np.where(np.isnan(a), b, a) > 0)
    truth = np.where(beside, np.nan_to_num(a) - np.nan_to_num(b), np.where(without, 0.0, a - b))
    unseen = pc.any(pc.is_in(found.query_id, value_set=hidden)).as_py()
    missing = "labels differ in no pair" + "; those of test queries are not looked at" * unseen
    return Reference(np.nan_to_num(truth), missing, int(beside.sum()))


def people(found: JudgedPairs, human: str | None, queries: pa.Table, documents: pa.Table) -> Reference:
    """Mean preferences of people, as far as a file has the pairs. Raises BadInput naming the file."""
    pairs = len(found.edges)
    if human is None:
        return Reference(np.zeros(pairs), "no human preferences are given (stages.audit.human=FILE)")
    path = Path(human).expanduser()
    mean = _from_parquet(found, path) if path.suffix == ".parquet" else _from_lines(found, path, queries, documents)
    return Reference(np.nan_to_num(mean - 0.5), f"{human} prefers a document in none of these pairs")


def _from_parquet(found: JudgedPairs, path: Path) -> np.ndarray:
    """[E] mean p of the rows about each pair, nan where there is none."""
    try:
        rows = pq.read_table(path, columns=list(PREFERENCE))
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"audit: human={path} cannot be read: {error}. It needs {', '.join(PREFERENCE)}.") from error
    a, b = (found.nodes(rows["query_id"], rows[name]) for name in ("doc_a", "doc_b"))
    p = rows["p"].cast(pa.float64()).to_numpy()
    if ((p < 0) | (p > 1)).any():
        raise BadInput(f"audit: human={path}: row {int(((p < 0) | (p > 1)).argmax())} has a p outside [0, 1].")
    pair = np.where(np.isnan(p), -1, found.pairs(a, b))
    p, there = np.where(a > b, 1 - p, p), pair >= 0
    count = np.bincount(pair[there], minlength=len(found.edges))
    total = np.bincount(pair[there], p[there], len(found.edges))
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _from_lines(found: JudgedPairs, path: Path, queries: pa.Table, documents: pa.Table) -> np.ndarray:
    """[E] what judge=human has written down about each pair, nan where nothing."""
    doc = pc.index_in(found.doc_id, documents["doc_id"].combine_chunks()).to_numpy()
    questions = Questions(
        queries=queries,
        documents=documents,
        query_row=pc.index_in(found.query_id, queries["query_id"].combine_chunks()).to_numpy()[found.query],
        a_row=doc[found.edges[:, 0]],
        b_row=doc[found.edges[:, 1]],
        repeat=np.zeros(len(found.edges), np.int16),
    )
    return Human(name="human", answers=str(path), plain=0.8, strong=1.0).known(questions)
