"""Rating ladders of a few queries: their best documents, and the comparisons that put each of them where it is."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from zelo.records import ANSWERED

RUNGS = 12  # documents shown of one query, besides relevant ones further down
RELEVANT_BELOW = 4  # relevant documents shown from further down
BOUTS = 16  # comparisons shown of one document
EXCERPT = 600  # characters of a text


@dataclass(frozen=True)
class Bout:
    """One comparison of a document, all judges, orders and repeats together; `p` is for the document, not the opponent."""

    opponent: str
    rank: int  # the opponent's, 1 is the best
    title: str
    text: str
    p: float
    judges: dict[str, float]  # judge -> p, averaged over repeats


@dataclass(frozen=True)
class Rung:
    """A document of a ladder."""

    doc_id: str
    title: str
    text: str
    rank: int  # 1 is the best
    rating: float
    stderr: float
    label: int | None  # relevance; None: not judged by anybody
    bouts: list[Bout]  # best opponent first
    left_out: int = 0  # comparisons beyond those in `bouts`


@dataclass(frozen=True)
class Ladder:
    """A query and its documents, best first; `ratings` are those of all its candidates, shown or not."""

    query_id: str
    query: str
    rungs: list[Rung]
    ratings: list[float]


def ladders(
    queries: pa.Table,
    documents: pa.Table,
    ratings: pa.Table,
    outcomes: pa.Table,
    qrels: pa.Table | None,
    pick: list[str],
) -> list[Ladder]:
    """The ladders of the picked queries, in this order; a query without ratings has none.

    Tables: QUERY, DOCUMENT, RATING, OUTCOME, QREL. The big ones are filtered by query before anything else is done.
    """
    words = _of(queries, "query_id", pick)
    texts = dict(zip(words["query_id"].to_pylist(), words["text"].to_pylist(), strict=True))
    order = [("query_id", "ascending"), ("rating", "descending"), ("doc_id", "ascending")]
    ratings = _of(ratings, "query_id", pick).select(["query_id", "doc_id", "rating", "stderr"]).sort_by(order)
    candidates: dict[str, list[tuple[str, float, float]]] = {query: [] for query in pick}
    for query, doc, rating, stderr in zip(*(column.to_pylist() for column in ratings.columns), strict=True):
        candidates[query].append((doc, rating, stderr))
    labels: dict[tuple[str, str], int] = {}
    if qrels is not None:
        rows = _of(qrels, "query_id", pick).select(["query_id", "doc_id", "relevance"])
        labels = {(query, doc): label for query, doc, label in zip(*(c.to_pylist() for c in rows.columns), strict=True)}
    shown = {query: _shown([doc for doc, _, _ in rows], query, labels) for query, rows in candidates.items()}
    bouts = _bouts(_of(outcomes, "query_id", pick), shown)
    named = {doc for query in shown for doc in shown[query]} | {
        opponent for found in bouts.values() for opponent in found
    }
    rows = _of(documents, "doc_id", sorted(named)).select(["doc_id", "title", "text"])
    words = {doc: (title or "", cut(text or "")) for doc, title, text in zip(*(c.to_pylist() for c in rows.columns))}  # noqa: B905
    return [
        Ladder(
            query,
            texts.get(query, ""),
            _rungs(query, rows, shown[query], labels, bouts, words),
            [r for _, r, _ in rows],
        )
        for query, rows in candidates.items()
        if rows
    ]


def cut(text: str, length: int = EXCERPT) -> str:
    """The beginning of a text on one line, with an ellipsis where something is left out."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length and len(text) <= 4 * length else line[: length - 1].rstrip() + "…"


def _of(table: pa.Table, column: str, values: list[str]) -> pa.Table:
    """The rows whose column is one of these values."""
    wanted = pa.array(values, pa.string()).cast(table.schema.field(column).type)
    return table.filter(pc.is_in(table[column], value_set=wanted))


def _shown(documents: list[str], query: str, labels: dict[tuple[str, str], int]) -> list[str]:
    """The documents to show of one query, best first: the top, and relevant ones from further down."""
    below = [doc for doc in documents[RUNGS:] if labels.get((query, doc), 0) > 0]
    return documents[:RUNGS] + below[:RELEVANT_BELOW]


def _bouts(outcomes: pa.Table, shown: dict[str, list[str]]) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """(query, document shown) -> opponent -> judge -> p for the document, the mean over repeats and orders."""
    keep = pc.and_(pc.equal(outcomes["status"].cast(pa.string()), ANSWERED), pc.is_null(outcomes["query_id_b"]))
    outcomes = outcomes.filter(keep)
    query, judge = outcomes["query_id"], outcomes["judge"].cast(pa.string())
    p = outcomes["p"].cast(pa.float64())
    names = ["query", "doc", "opponent", "judge", "p"]
    sides = pa.concat_tables(
        [
            pa.table([query, outcomes["doc_a"], outcomes["doc_b"], judge, p], names=names),
            pa.table([query, outcomes["doc_b"], outcomes["doc_a"], judge, pc.subtract(1.0, p)], names=names),
        ]
    )
    sides = _of(sides, "doc", sorted({doc for docs in shown.values() for doc in docs}))
    # one thread: the order of a sum must not depend on chance
    means = sides.group_by(names[:4], use_threads=False).aggregate([("p", "mean")])
    means = means.select([*names[:4], "p_mean"]).sort_by([(name, "ascending") for name in names[:4]])
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row_query, doc, opponent, row_judge, mean in zip(*(c.to_pylist() for c in means.columns), strict=True):
        if doc in shown[row_query]:
            found.setdefault((row_query, doc), {}).setdefault(opponent, {})[row_judge] = mean
    return found


def _rungs(
    query: str,
    candidates: list[tuple[str, float, float]],
    shown: list[str],
    labels: dict[tuple[str, str], int],
    bouts: dict[tuple[str, str], dict[str, dict[str, float]]],
    words: dict[str, tuple[str, str]],
) -> list[Rung]:
    """The rungs of one ladder. Of many comparisons those with opponents of the nearest ratings are kept."""
    rank = {doc: number for number, (doc, _, _) in enumerate(candidates)}
    rungs = []
    for doc in shown:
        _, rating, stderr = candidates[rank[doc]]
        met = bouts.get((query, doc), {})
        known = [opponent for opponent in met if opponent in rank]
        near = sorted(known, key=lambda opponent: (abs(candidates[rank[opponent]][1] - rating), opponent))[:BOUTS]
        kept = []
        for opponent in sorted(near, key=rank.__getitem__):
            judges = met[opponent]
            mean = sum(judges.values()) / len(judges)
            kept.append(Bout(opponent, rank[opponent] + 1, *words.get(opponent, ("", "")), mean, judges))
        label = labels.get((query, doc))
        title, text = words.get(doc, ("", ""))
        rungs.append(Rung(doc, title, text, rank[doc] + 1, rating, stderr, label, kept, len(met) - len(kept)))
    return rungs
