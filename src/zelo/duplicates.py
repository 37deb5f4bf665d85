"""Documents that have the same text, and documents that have nearly the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.near_duplicates import Seen
from zelo.records import DOMAIN, DROPPED, QREL
from zelo.texts import Texts

ALIKE = 0.8  # share of common words from which two documents are nearly the same
CHECKED = 1000  # documents whose words are compared, at most
_SHOWN = 3  # dropped documents that a note names
_ROWS = 4096  # texts at a time
_READ = 500  # words of a text that are looked at, from its start
_BANDS, _MINIMA = 10, 4  # of pairs with 8 of 10 word pairs in common 99.5 % share a band, with 6 of 10 75 %
_STEP = 0x9E3779B97F4A7C15  # odd, with bits everywhere: 2 to the 64 by the golden ratio


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """How many documents are nearly the same as one before them, and a few of those that were compared."""

    count: int
    exact: bool  # else `count` is estimated from CHECKED of them
    pairs: list[tuple[int, int]]  # rows (document, the one before it) that are nearly the same, all or a sample


def first_of_same(*columns: pa.ChunkedArray) -> np.ndarray:
    """[N] the first row that has the same texts in all of the columns, by hashes of 128 bits; its own number where none has."""
    digests = b"".join(digest for texts in _joined(columns, "\0") for digest in _digests(texts))
    keys = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    return _first_of_group(order, (keys[order][1:] != keys[order][:-1]).any(axis=1))


def without_same(documents: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The documents (DOCUMENT), each title and text once in a domain, and DROPPED rows of the others."""
    first = first_of_same(documents["title"], documents["text"], *domains_of(documents))
    kept = first == np.arange(len(first))
    ids = documents["doc_id"]
    dropped = pa.table([ids.filter(pa.array(~kept)), ids.take(pa.array(first[~kept]))], schema=DROPPED)
    return documents.filter(pa.array(kept)), dropped


def domains_of(documents: pa.Table) -> list[pa.ChunkedArray]:
    """The column of the domains, if documents have any: documents of two domains are two, whatever their texts."""
    return [documents[DOMAIN]] if DOMAIN in documents.column_names else []


def dropped_in_words(dropped: pa.Table) -> str:
    """How many documents are left out, and the first of them. dropped: DROPPED."""
    if not len(dropped):
        return "no document has the title and text of another (drop_duplicates=true)"
    named = ", ".join(f"{row['doc_id']} = {row['same_as']}" for row in dropped.slice(0, _SHOWN).to_pylist())
    count = f"{len(dropped):,} documents have" if len(dropped) > 1 else "1 document has"
    more = ", ..." * (len(dropped) > _SHOWN)
    return f"{count} the title and text of one before, left out (drop_duplicates=true): {named}{more}"


def labels_of_kept(qrels: pa.Table, dropped: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """QREL rows where a label of a dropped document is one of the document that is kept, and a note that counts them.

    Where a query has labels of both, the higher one counts. dropped: DROPPED.
    """
    place = pc.index_in(qrels["doc_id"], dropped["doc_id"].combine_chunks())
    moved = pc.sum(pc.is_valid(place)).as_py() or 0
    if not moved:
        return qrels, ()
    kept = pc.coalesce(
        dropped["same_as"].combine_chunks().take(place.combine_chunks()), qrels["doc_id"].combine_chunks()
    )
    whole = qrels.set_column(qrels.column_names.index("doc_id"), QREL.field("doc_id"), kept)
    keys = ["query_id", "doc_id", "split"]
    best = (
        whole.group_by(keys, use_threads=False).aggregate([("relevance", "max")]).rename_columns([*keys, "relevance"])
    )
    merged = len(whole) - len(best)
    note = f"labels of dropped documents, now of the same document that is kept: {moved:,}"
    note += f"; {merged:,} of them had a label already, and the higher one counts" * bool(merged)
    return best.select(QREL.names), (note,)


def near_duplicates(titles: pa.ChunkedArray, texts: pa.ChunkedArray, rows: np.ndarray) -> NearDuplicates:
    """Of these rows, by the first words of each document.

    Documents that may be alike share a band of minima of their hashed word pairs (Broder, On the resemblance and containment of
    documents, 1997; bands: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4); their words are then
    compared. A pair close to the limit may be missed. rows: [M] ascending.
    """
    keys = np.concatenate([_bands(chunk) for chunk in _joined((titles, texts), "\n")] or [np.empty((0, _BANDS))])[rows]
    found = []
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        first = _first_of_group(order, band[order][1:] != band[order][:-1])
        later = np.flatnonzero(first != np.arange(len(first)))
        found.append(np.stack([later, first[later]], axis=1))
    pairs = rows[np.unique(np.concatenate(found), axis=0)]
    flagged, start = np.unique(pairs[:, 0], return_index=True)
    chosen = np.unique(np.linspace(0, len(flagged) - 1, min(len(flagged), CHECKED)).astype(int))
    groups = np.split(pairs, start[1:]) if len(flagged) else []
    alike = [pair for number in chosen.tolist() if (pair := _first_alike(groups[number], titles, texts))]
    count = round(len(alike) * len(flagged) / max(len(chosen), 1))
    return NearDuplicates(count=count, exact=len(chosen) == len(flagged), pairs=alike)


def _joined(columns: tuple[pa.ChunkedArray, ...], between: str) -> Iterator[pa.Array]:
    """The texts of each row as one, some rows at a time."""
    for low in range(0, len(columns[0]), _ROWS):
        parts = [column.slice(low, _ROWS).combine_chunks() for column in columns]
        yield pc.binary_join_element_wise(*parts, "", between, null_handling="replace")


def _digests(texts: pa.Array) -> Iterator[bytes]:
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32, len(texts) + 1).tolist()
    for low, high in pairwise(ends):
        yield blake2b(memoryview(data)[low:high], digest_size=16).digest()


def _first_of_group(order: np.ndarray, new: np.ndarray) -> np.ndarray:
    """[N] for each row the first of its group. order: [N] rows by group, in a group ascending; new: [N - 1] a group begins."""
    starts = np.concatenate([[0], np.flatnonzero(new) + 1]).astype(int) if len(order) else np.empty(0, int)
    first = np.empty(len(order), int)
    first[order] = np.repeat(order[starts], np.diff([*starts, len(order)]))
    return first


def _bands(texts: pa.Array) -> np.ndarray:
    """[N, _BANDS] uint64: texts that are nearly the same are likely to be equal in one of the columns."""
    words = pc.list_slice(pc.utf8_split_whitespace(pc.utf8_lower(texts)), 0, _READ)  # of an empty text: one empty word
    coded = words.flatten().dictionary_encode()
    hashes = b"".join(blake2b(word.encode(), digest_size=8).digest() for word in coded.dictionary.to_pylist())
    word = np.frombuffer(hashes, np.uint64)[coded.indices.to_numpy()]
    lengths = pc.list_value_length(words).to_numpy()
    ends = np.cumsum(lengths)
    after = np.append(word[1:], np.uint64(0))
    after[ends - 1] = 0  # the last word stands alone
    pair = _mixed(word * np.uint64(_STEP) + after)
    bands = np.zeros((len(texts), _BANDS), np.uint64)
    for number in range(_BANDS * _MINIMA):
        salt, odd = np.uint64(number * _STEP % 2**64), np.uint64(number * _STEP * 2 % 2**64 + 1)
        least = np.minimum.reduceat((pair ^ salt) * odd, ends - lengths)
        band = bands[:, number % _BANDS]
        band[:] = _mixed(band * np.uint64(_STEP) + least)
    return bands


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """As good as random numbers of these (Steele, Lea and Flood, OOPSLA 2014, the finalizer of SplitMix)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _first_alike(pairs: np.ndarray, titles: pa.ChunkedArray, texts: pa.ChunkedArray) -> tuple[int, int] | None:
    """The first of these pairs of one document whose words are alike. pairs: [K, 2] rows."""
    both = Texts(texts, titles)
    for row, other in pairs.tolist():
        seen = Seen(ALIKE)
        seen.add(both[other])
        if seen.has_like(both[row]):
            return row, other
    return None
