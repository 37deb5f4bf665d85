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
from zelo.records import ANSWERED, QREL, RATING
from zelo.reporting.disagreements import readable
from zelo.reporting.packed_columns import packed

LISTED = (
    2500  # queries with lists; of more, those that gain or lose most and some between, the others by their figures only
)
DEPTH, LEAST_DEPTH = 100, 20  # documents of a list; less where all systems together have more than PLACES
PLACES = 2_500_000
PAIRS, LEAST_PAIRS = 1_000_000, 40  # compared pairs of all queries, and of one, the nearest in rating first
TEXT, LENGTHS = 24_000_000, (1200, 800, 500, 300, 200, 120)  # characters of all documents, and of one: what fits
TITLE, QUERY_TEXT = 160, 400  # characters
REASONS, REASON_TEXT = 5000, 1200  # texts of judges, and characters of one
UNLABELLED, STEPS, UNASKED = -128, 250, 255  # in place of a label; steps of a preference, and in place of one

Rows = Iterable[pa.Table | pa.RecordBatch]


@dataclass(frozen=True)
class Sources:
    """What the browser is made of. Tables may hold other queries, too, and come in any order, outcomes and runs in parts."""

    queries: pa.Table  # QUERY, of [Q] queries: what is listed
    documents: pa.ChunkedArray  # ids of all documents
    texts: Callable[
        [np.ndarray], pa.Table
    ]  # ascending rows of `documents` -> DOCUMENT, perhaps without the ends of texts
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
        return set(self.columns["query_id"][: self.facts["listed"]].to_pylist())


def query_browser(sources: Sources) -> QueryBrowser:
    """The queries with lists come first, otherwise their order stays."""
    systems = list(sources.runs)
    order, listed = _chosen(sources, systems)
    queries = sources.queries.take(pa.array(order))
    ids = queries["query_id"].combine_chunks()
    names, documents = ids.slice(0, listed), sources.documents.combine_chunks()
    depth = int(np.clip(PLACES // max(listed * len(systems), 1), LEAST_DEPTH, DEPTH))
    lists = [_run(sources.runs[system], names, documents, depth) for system in systems]
    rated, labels = (_about(table, names, documents) for table in (sources.ratings, sources.qrels))
    relevant = labels.take(labels.values["relevance"] > 0)
    pools = Pools.of([*lists, rated, relevant], listed, len(documents))
    pairs = _pairs(sources.outcomes, names, documents, pools, pools.ranks(rated))
    texts = _texts(sources.texts(pools.documents))
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
        "query": pc.utf8_slice_codeunits(_tidy(queries["text"].combine_chunks()), 0, QUERY_TEXT),
        "split": pc.index_in(queries["split"], pa.array(splits)).to_numpy().astype(np.uint8),
        "value": _rounded(sources.values[:, order].ravel()),
        "doc_id": texts.doc_id,
        "title": texts.title,
        "text": texts.text,
        **pools.columns(rated, labels),
        **_list_columns(lists, pools),
        **pairs.columns(pools),
        **_reasons(sources.reasons, names, documents, pools, pairs),
    }
    return QueryBrowser(facts, columns)


def _chosen(sources: Sources, systems: list[str]) -> tuple[np.ndarray, int]:
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


@dataclass(frozen=True)
class Found:
    """N rows about a listed query and a document, by number, with what they say."""

    query: np.ndarray  # [N]
    document: np.ndarray  # [N]
    values: dict[str, np.ndarray]  # [N] each

    def __len__(self) -> int:
        return len(self.query)

    def take(self, rows: np.ndarray) -> "Found":
        return Found(self.query[rows], self.document[rows], {name: one[rows] for name, one in self.values.items()})


def _about(table: pa.Table | pa.RecordBatch, queries: pa.Array, documents: pa.Array) -> Found:
    """The rows of a table that are about these queries and documents, with its numbers."""
    query = _index(table["query_id"], queries)
    rows = np.flatnonzero(query >= 0)
    table = table.take(pa.array(rows))
    document = _index(table["doc_id"], documents)
    numbers = [name.name for name in table.schema if pa.types.is_integer(name.type) or pa.types.is_floating(name.type)]
    found = Found(query[rows], document, {name: table[name].to_numpy(zero_copy_only=False) for name in numbers})
    return found.take(document >= 0)


def _run(parts: Rows, queries: pa.Array, documents: pa.Array, depth: int) -> Found:
    """The first rows of each query, query after query."""
    found = []
    for part in parts:
        high = np.flatnonzero(np.asarray(part["rank"]) <= depth)
        found.append(_about(part.take(pa.array(high)).select(["query_id", "doc_id", "score"]), queries, documents))
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
    return Found(query[order], document[order], {"score": score[order]})


def _index(column: pa.ChunkedArray | pa.Array, values: pa.Array) -> np.ndarray:
    """[N] int64, which of the values each row is; -1 for none. Dictionaries are looked up once."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    found = [np.empty(0, np.int64)]
    for chunk in chunks:
        if isinstance(chunk, pa.DictionaryArray):
            known = np.append(_index(chunk.dictionary, values), -1)
            found.append(known[chunk.indices.fill_null(len(known) - 1).to_numpy()])
        else:
            found.append(pc.index_in(chunk, value_set=values).fill_null(-1).to_numpy().astype(np.int64))
    return np.concatenate(found)


@dataclass(frozen=True)
class Pools:
    """The documents of each query, by number, ascending."""

    keys: np.ndarray  # [P] query * count + document, ascending
    start: np.ndarray  # [L + 1] where a query's pool begins
    documents: np.ndarray  # [D] numbers of the documents that are in any
    count: int  # of all documents

    @staticmethod
    def of(found: list[Found], queries: int, count: int) -> "Pools":
        """The documents of all these rows together."""
        count = max(count, 1)
        keys = np.unique(np.concatenate([np.empty(0, np.int64), *(one.query * count + one.document for one in found)]))
        start = np.searchsorted(keys, np.arange(queries + 1) * count)
        return Pools(keys, start, np.unique(keys % count), count)

    def rows(self, query: np.ndarray, document: np.ndarray) -> np.ndarray:
        """[N] rows of the pools; -1 where the query's pool lacks the document."""
        if not len(self.keys):
            return np.full(len(query), -1)
        wanted = query * self.count + document
        row = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((self.keys[row] == wanted) & (query >= 0) & (document >= 0), row, -1)

    def places(self, query: np.ndarray, row: np.ndarray) -> np.ndarray:
        """[N] places in the query's pool."""
        return (row - self.start[query]).astype(self.type)

    @property
    def type(self) -> type:
        """Of a place: as narrow as the largest pool allows."""
        return np.uint16 if len(self.start) < 2 or np.diff(self.start).max() < 2**16 else np.uint32

    def ranks(self, rated: Found) -> np.ndarray:
        """[P] place by rating, 0 is the best; the unrated come last."""
        rating = np.full(len(self.keys), -np.inf)
        rating[self.rows(rated.query, rated.document)] = rated.values["rating"]
        query = self.keys // self.count
        order = np.lexsort((-rating, query))
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order)) - self.start[query]
        return ranks

    def columns(self, rated: Found, labels: Found) -> dict[str, np.ndarray | pa.Array]:
        """pool_start, pool_doc, pool_rating, pool_stderr and pool_label."""
        rating, stderr = (np.full(len(self.keys), np.nan, np.float32) for _ in range(2))
        row = self.rows(rated.query, rated.document)
        rating[row], stderr[row] = rated.values["rating"], rated.values["stderr"]
        label = np.full(len(self.keys), UNLABELLED, np.int8)
        row = self.rows(labels.query, labels.document)
        label[row[row >= 0]] = np.clip(labels.values["relevance"][row >= 0], UNLABELLED + 1, 127)
        return {
            "pool_start": self.start.astype(np.uint32),
            "pool_doc": np.searchsorted(self.documents, self.keys % self.count).astype(np.uint32),
            "pool_rating": _rounded(rating),
            "pool_stderr": _rounded(stderr),
            "pool_label": label,
        }


def _list_columns(lists: list[Found], pools: Pools) -> dict[str, np.ndarray | pa.Array]:
    """list_start [S * L + 1], list_place and list_score [R], the score in steps from list_low to list_high [S * L]."""
    listed, end = len(pools.start) - 1, 0
    starts, places, scores, ends = [], [], [], []
    for one in lists:
        start = np.searchsorted(one.query, np.arange(listed + 1))
        starts.append(start[:-1] + end)
        end += len(one)
        places.append(pools.places(one.query, pools.rows(one.query, one.document)))
        score = one.values["score"]
        low, high = (_of_groups(how, score, start) for how in (np.minimum, np.maximum))
        width = np.where(high > low, high - low, 1)[one.query]
        scores.append(np.round((score - low[one.query]) / width * 65535).astype(np.uint16))
        ends.append(np.stack([low, high]))
    low, high = np.concatenate([np.empty((2, 0)), *ends], axis=1).astype(np.float32)
    return {
        "list_start": np.concatenate([*starts, [end]]).astype(np.uint32),
        "list_place": np.concatenate([np.empty(0, pools.type), *places]),
        "list_score": np.concatenate([np.empty(0, np.uint16), *scores]),
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


@dataclass(frozen=True)
class Pairs:
    """Compared pairs of a query: rows of its pool, a below b, and what each judge says."""

    a: np.ndarray  # [B] ascending
    b: np.ndarray  # [B]
    p: np.ndarray  # [J, B] P(a preferred) in STEPS, or UNASKED; the mean over orders and repeats
    judges: list[str]
    found: int  # pairs, of which these are some

    def columns(self, pools: Pools) -> dict[str, np.ndarray | pa.Array]:
        """pair_start [L + 1], pair_a and pair_b as places in the pool, pair_p [J * B]."""
        query = pools.keys[self.a] // pools.count
        return {
            "pair_start": np.searchsorted(query, np.arange(len(pools.start))).astype(np.uint32),
            "pair_a": pools.places(query, self.a),
            "pair_b": pools.places(query, self.b),
            "pair_p": self.p.ravel(),
        }

    def row(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[N] which pair these rows of the pools are, in either order; -1 for none."""
        wanted = np.minimum(a, b) << 32 | np.maximum(a, b)
        keys = self.a << 32 | self.b
        if not len(keys):
            return np.full(len(a), -1)
        row = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((keys[row] == wanted) & (a >= 0) & (b >= 0), row, -1)


def _pairs(outcomes: Rows, queries: pa.Array, documents: pa.Array, pools: Pools, rank: np.ndarray) -> Pairs:
    """The pairs nearest in rating. rank: [P]."""
    judges: dict[str, int] = {}
    used = documents.take(pa.array(pools.documents))
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for part in outcomes:
        query = _index(part["query_id"], queries)
        asked = pc.and_(pc.equal(part["status"].cast(pa.string()), ANSWERED), pc.is_null(part["query_id_b"]))
        asked = pc.and_(asked, pc.and_(pc.is_null(part["criterion"]), pc.is_valid(part["p"])))
        kept = np.flatnonzero((query >= 0) & np.asarray(asked))
        part, query = part.take(pa.array(kept)), query[kept]
        ends = [_index(part[name], used) for name in ("doc_a", "doc_b")]
        a, b = (
            pools.rows(query, np.where(end >= 0, pools.documents[end] if len(pools.documents) else -1, -1))
            for end in ends
        )
        known = (a >= 0) & (b >= 0)
        names = part["judge"].unique().cast(pa.string()).to_pylist()
        for name in names:
            judges.setdefault(name, len(judges))
        judge = _index(part["judge"], pa.array(list(judges), pa.string()))
        p = np.where(a < b, part["p"].to_numpy(zero_copy_only=False), 1 - part["p"].to_numpy(zero_copy_only=False))
        parts.append(((np.minimum(a, b) << 32 | np.maximum(a, b))[known], judge[known], p[known]))
    key, judge, p = (np.concatenate(some) for some in zip(*parts, strict=True))
    pairs, row = np.unique(key, return_inverse=True)
    a, b = pairs >> 32, pairs & (2**32 - 1)
    cell = row * max(len(judges), 1) + judge
    size = len(pairs) * len(judges)
    asked, total = np.bincount(cell, minlength=size), np.bincount(cell, p, size)
    mean = np.where(asked > 0, np.round(STEPS * total / np.maximum(asked, 1)), UNASKED).astype(np.uint8)
    kept = _nearest(pools, a, b, rank)
    return Pairs(a[kept], b[kept], mean.reshape(len(pairs), len(judges))[kept].T, list(judges), len(pairs))


def _nearest(pools: Pools, a: np.ndarray, b: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Ascending rows of the pairs that are kept of each query: those whose documents are nearest by rating."""
    query = pools.keys[a] // pools.count
    order = np.lexsort((np.minimum(rank[a], rank[b]), np.abs(rank[a] - rank[b]), query))
    start = np.searchsorted(query[order], np.arange(len(pools.start)))
    place = np.arange(len(order)) - start[query[order]]
    most = max(PAIRS // max(len(pools.start) - 1, 1), LEAST_PAIRS)
    return np.sort(order[place < most])


def _reasons(
    table: pa.Table, queries: pa.Array, documents: pa.Array, pools: Pools, pairs: Pairs
) -> dict[str, np.ndarray | pa.Array]:
    """reason_pair [N] ascending, reason_judge, reason_turned (the pair's second document was shown as A) and reason."""
    query = _index(table["query_id"], queries)
    a, b = (pools.rows(query, _index(table[name], documents)) for name in ("doc_a", "doc_b"))
    row, judge = pairs.row(a, b), _index(table["judge"], pa.array(pairs.judges, pa.string()))
    kept = np.flatnonzero((row >= 0) & (judge >= 0))
    said = [readable(text, None) for text in table["text"].take(pa.array(kept)).to_pylist()]
    kept = (
        kept[[len("".join(lines)) > 1 for lines in said]] if said else kept
    )  # a letter says no more than the preference
    kept = kept[np.argsort(row[kept], kind="stable")][:REASONS]
    texts = ["\n".join(readable(text, None))[:REASON_TEXT] for text in table["text"].take(pa.array(kept)).to_pylist()]
    swapped = np.asarray(table["swapped"].fill_null(False))[kept].astype(bool)
    return {
        "reason_pair": row[kept].astype(np.uint32),
        "reason_judge": judge[kept].astype(np.uint8),
        "reason_turned": (swapped ^ (a[kept] > b[kept])).astype(np.uint8),
        "reason": pa.array(texts, pa.string()),
    }


@dataclass(frozen=True)
class Texts:
    """D documents, texts not beyond `length` characters."""

    doc_id: pa.Array
    title: pa.Array
    text: pa.Array
    length: int


def _texts(documents: pa.Table) -> Texts:
    """With texts as long as all of them together allow."""
    text = _tidy(pc.fill_null(documents["text"], "").combine_chunks())
    long = pc.utf8_length(text).to_numpy(zero_copy_only=False)
    length = next((most for most in LENGTHS if np.minimum(long, most).sum() <= TEXT), LENGTHS[-1])
    return Texts(
        documents["doc_id"].combine_chunks(),
        pc.utf8_slice_codeunits(_tidy(pc.fill_null(documents["title"], "").combine_chunks()), 0, TITLE),
        pc.if_else(
            pa.array(long > length),
            pc.binary_join_element_wise(pc.utf8_slice_codeunits(text, 0, length), "…", ""),
            text,
        ),
        length,
    )


def _tidy(texts: pa.Array) -> pa.Array:
    """Texts without runs of white space; ends of lines stay."""
    texts = pc.replace_substring_regex(texts, r"[ \t\r\f\v]+", " ")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r" ?\n[ \n]*", "\n"))


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 of four decimals, which compress well."""
    return np.round(values, 4).astype(np.float32)
