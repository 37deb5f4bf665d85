"""Queries with their ranked lists, labels, ratings and comparisons, as columns that the report's script opens.

Documents of a query are its pool: what a system ranks high, what is rated, and what is relevant. Lists, labels, ratings and
comparisons name a document by its place in the pool, and a pool names it by its row among the texts, each of which is there once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.auditing.reasons import REASON
from zelo.facts import Facts
from zelo.records import QREL, RATING
from zelo.reporting.compared_pairs import Rows, compared_pairs, reasons
from zelo.reporting.document_pools import DocumentPools, FoundRows, PassagesOfDocuments, about, rounded
from zelo.reporting.packed_columns import packed
from zelo.reporting.shown_texts import beginnings, tidy

LISTED = 2500  # queries with lists; of more, those that gain or lose most and some between
DEPTH, LEAST_DEPTH = 100, 20  # documents of a list; less where all systems together have more than PLACES
PLACES = 2_500_000
QUERY_TEXT = 400  # characters
SCORES = 4095  # steps of a score, from the lowest to the highest of a list


@dataclass(frozen=True)
class BrowserSources:
    """What the browser is made of. Tables may hold other queries, too, and come in any order, outcomes and runs in parts."""

    queries: pa.Table  # QUERY, of [Q] queries: what is listed
    documents: pa.ChunkedArray  # ids of all documents, or of their passages, where they were split
    texts: Callable[[np.ndarray], Iterable[pa.Table]]  # ascending rows of `documents` -> DOCUMENT, perhaps cut
    runs: Mapping[str, Rows]  # system -> query_id, doc_id, rank (1 is the best), score; a query's rows in order of rank
    values: np.ndarray  # [S, Q] of the metric that decides; nan where not measured
    metrics: dict[str, str]  # split -> that metric, in words
    before: str | None = None  # systems that are compared first
    after: str | None = None
    ratings: pa.Table = field(default_factory=RATING.empty_table)
    outcomes: Rows = ()  # OUTCOME
    reasons: pa.Table = field(default_factory=REASON.empty_table)
    qrels: pa.Table = field(default_factory=QREL.empty_table)
    labelled_by: str = "labels"  # what a label is, in words
    homes: pa.ChunkedArray | None = None  # of passages: ids of their documents, which runs and qrels are about


@dataclass(frozen=True)
class QueryBrowser:
    """What the page's script gets, and what it knows of each query by name."""

    facts: Facts
    columns: dict[str, np.ndarray | pa.Array]

    @property
    def packed(self) -> str:
        """For the page."""
        return packed(self.facts, self.columns)

    @property
    def listed(self) -> set[str]:
        """Ids of the queries that have lists."""
        return set(pa.array(self.columns["query_id"])[: self.facts["listed"]].to_pylist())


def query_browser(sources: BrowserSources) -> QueryBrowser:
    """The queries with lists come first, otherwise their order stays."""
    systems = list(sources.runs)
    order, listed = _chosen(sources, systems)
    queries = sources.queries.take(pa.array(order))
    ids = queries["query_id"].combine_chunks()
    names, documents = ids.slice(0, listed), sources.documents.combine_chunks()
    depth = int(np.clip(PLACES // max(listed * len(systems), 1), LEAST_DEPTH, DEPTH))
    rated = about(sources.ratings, names, documents)
    split = None if sources.homes is None else PassagesOfDocuments.of(sources.homes.combine_chunks(), rated)
    by_document = [_run(sources.runs[system], names, split.names if split else documents, depth) for system in systems]
    by_document.append(about(sources.qrels, names, split.names if split else documents))
    *lists, labels = map(split.standing, by_document) if split else by_document
    relevant = labels.take(labels.values["relevance"] > 0)
    pools = DocumentPools.of([*lists, rated, relevant], listed, len(documents))
    pairs = compared_pairs(sources.outcomes, names, documents, pools, pools.ranks(rated))
    texts = beginnings(sources.texts(pools.documents))
    splits = list(dict.fromkeys(queries["split"].to_pylist()))
    facts = {
        "systems": systems,
        "judges": pairs.judges,
        "splits": splits,
        "metrics": [sources.metrics.get(split, "") for split in splits],
        "before": systems.index(sources.before) if sources.before in systems else None,
        "after": systems.index(sources.after) if sources.after in systems else None,
        "rated": len(rated) > 0,
        "labelled_by": sources.labelled_by,
        "listed": listed,
        "depth": depth,
        "pairs": [len(pairs.a), pairs.found],
        "excerpt": texts.length,
    }
    columns: dict[str, np.ndarray | pa.Array] = {
        "query_id": ids,
        "query": pc.utf8_slice_codeunits(tidy(queries["text"]), 0, QUERY_TEXT).combine_chunks(),
        "split": pc.index_in(queries["split"], pa.array(splits)).to_numpy().astype(np.uint8),
        "value": rounded(sources.values[:, order].ravel()),
        "doc_id": texts.doc_id,
        "title": texts.title,
        "text": texts.text,
        **pools.columns(rated, labels),
        **_list_columns(lists, pools),
        **pairs.columns(pools),
        **reasons(sources.reasons, names, documents, pools, pairs),
    }
    return QueryBrowser(facts, columns)


def _chosen(sources: BrowserSources, systems: list[str]) -> tuple[np.ndarray, int]:
    """[Q] an order of the queries, and how many of the first have lists."""
    count = len(sources.queries)
    if count <= LISTED:
        return np.arange(count), count
    change = np.zeros(count)
    if sources.before in systems and sources.after in systems:
        before, after = (sources.values[systems.index(name)] for name in (sources.before, sources.after))
        change = np.nan_to_num(after - before)
    sorted_by_change = np.argsort(-change, kind="stable")
    ends = LISTED // 3
    between = np.linspace(ends, count - ends - 1, LISTED - 2 * ends).round().astype(int)
    places = np.unique(np.concatenate([np.arange(ends), between, np.arange(count - ends, count)]))
    first = np.zeros(count, bool)
    first[sorted_by_change[places]] = True
    return np.concatenate([np.flatnonzero(first), np.flatnonzero(~first)]), int(first.sum())


def _run(parts: Rows, queries: pa.Array, documents: pa.Array, depth: int) -> FoundRows:
    """The first rows of each query, query after query."""
    found = []
    for part in parts:
        high = np.flatnonzero(np.asarray(part["rank"]) <= depth)
        found.append(about(part.take(pa.array(high)).select(["query_id", "doc_id", "score"]), queries, documents))
    empty = np.empty(0, np.int64)
    query, document, score = (
        (
            np.concatenate([empty, *some])
            for some in zip(*[(one.query, one.document, one.values["score"]) for one in found], strict=True)
        )
        if found
        else (empty, empty, empty)
    )
    order = np.argsort(query, kind="stable")
    return FoundRows(query[order], document[order], {"score": score[order]})


def _list_columns(lists: list[FoundRows], pools: DocumentPools) -> dict[str, np.ndarray | pa.Array]:
    """list_start [S * L + 1], list_place and list_fall [R], and list_low and list_high [S * L], the ends of the scores.

    A fall is by how many steps a score is below the one before it in the list, the first below the highest.
    """
    listed, end = len(pools.start) - 1, 0
    starts, places, falls, ends = [], [], [], []
    for one in lists:
        start = np.searchsorted(one.query, np.arange(listed + 1))
        starts.append(start[:-1] + end)
        end += len(one)
        places.append(pools.places(one.query, pools.rows(one.query, one.document)))
        score = one.values["score"]
        low, high = (_of_groups(how, score, start) for how in (np.minimum, np.maximum))
        width = np.where(high > low, high - low, 1)[one.query]
        below = np.round((high[one.query] - score) / width * SCORES).astype(np.uint16)
        before = np.concatenate([[0], below[:-1]]).astype(np.uint16)[: len(below)]
        before[start[:-1][np.diff(start) > 0]] = 0
        falls.append(below - before)  # modulo 2^16: a list that is not sorted comes out right, too
        ends.append(np.stack([low, high]))
    low, high = np.concatenate([np.empty((2, 0)), *ends], axis=1).astype(np.float32)
    return {
        "list_start": np.concatenate([*starts, [end]]).astype(np.uint32),
        "list_place": np.concatenate([np.empty(0, pools.type), *places]),
        "list_fall": np.concatenate([np.empty(0, np.uint16), *falls]),
        "list_low": low,
        "list_high": high,
    }


def _of_groups(how: np.ufunc, values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """[L] the least or largest of each group; 0 of an empty one. start: [L + 1]."""
    found = np.zeros(len(start) - 1)
    full = np.diff(start) > 0
    if full.any():
        found[full] = how.reduceat(np.nan_to_num(values), start[:-1][full])
    return found
