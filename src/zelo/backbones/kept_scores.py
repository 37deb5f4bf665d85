"""Scores of pairs of a query and a document that took long to compute, kept in the store pair by pair."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.facts import Facts
from zelo.store.hashing import hash_json
from zelo.store.shards import write_parquet
from zelo.store.store import Store
from zelo.store.table import Table

KIND = "scores"
KEPT = pa.schema([("pair", pa.binary(16)), ("score", pa.float32())])


def pair_keys(
    queries: list[str], documents: list[str], query: np.ndarray, document: np.ndarray
) -> pa.FixedSizeBinaryArray:
    """[N] what names N pairs by their texts, wherever they stand. query, document: [N] places in the lists of texts."""
    both = np.stack([_hashes(queries)[query], _hashes(documents)[document]], axis=1)
    return pa.FixedSizeBinaryArray.from_buffers(KEPT.field("pair").type, len(both), [None, pa.py_buffer(both)])


def titled_texts(documents: pa.Table) -> list[str]:
    """Title and text of each document (DOCUMENT), so written that no two differ in one of them only."""
    columns = (documents[name].to_pylist() for name in ("title", "text"))
    return [f"{title or ''}\0{text or ''}" for title, text in zip(*columns, strict=True)]


@dataclass(frozen=True)
class KeptScores:
    """The scores that one scorer has given: whoever asks again for some of the pairs, among others, gets these.

    They lie in tables of any number of pairs, one for each call of `add`. recipe: all that a score depends on but the texts.
    """

    recipe: Facts

    def find(self, pairs: pa.FixedSizeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
        """([N] float32 scores, [N] bool: there is one). A score that is kept may be nan."""
        score, known = np.full(len(pairs), np.nan, np.float32), np.zeros(len(pairs), bool)
        store = Store.current()
        for folder in sorted((store.root / KIND).glob(f"{self._named}-*")):
            table = None if known.all() else store.find(KIND, folder.name)
            if table is None:
                continue
            rows = table.read(KIND)
            place = pc.fill_null(pc.index_in(pairs, rows["pair"].combine_chunks()), -1).to_numpy(zero_copy_only=False)
            new = (place >= 0) & ~known
            if new.any():
                self._obtain(folder.name, lambda rows=rows: rows)  # it is in use: nothing prunes it
                score[new], known[new] = rows["score"].to_numpy()[place[new]], True
        return score, known

    def add(self, pairs: pa.FixedSizeBinaryArray, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """[N] float32 scores as computed, here or by another process at the same time; now they are kept."""
        low, width = pairs.offset, pairs.type.byte_width
        raw = memoryview(pairs.buffers()[1])[width * low : width * (low + len(pairs))]
        name = f"{self._named}-{hashlib.blake2b(raw, digest_size=12).hexdigest()}"
        table = self._obtain(name, lambda: pa.table([pairs, compute()], schema=KEPT))
        return table.read(KIND, ["score"])["score"].to_numpy()

    def _obtain(self, name: str, rows: Callable[[], pa.Table]) -> Table:
        def make(folder: Path, _partial: object) -> Facts:
            write_parquet(rows(), KEPT, folder, KIND)
            return {"recipe": self.recipe}

        return Store.current().obtain(KIND, name, make)[0]

    @cached_property
    def _named(self) -> str:
        return hash_json(self.recipe)


def _hashes(texts: list[str]) -> np.ndarray:
    """[N] 8 bytes of each text: among ten million texts two share them with a chance of three in a million."""
    return np.frombuffer(b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts), np.uint64)
