"""Draws that depend on content and seed alone: not on the order of rows, on batches or on the machine."""

import hashlib

import numpy as np
import pyarrow as pa


def content_seed(text: str, seed: int) -> int:
    """64 bits from a text and a seed (blake2b), so that what is drawn for a query depends on nothing but itself."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\x00{text}".encode(), digest_size=8).digest(), "little")


def id_hashes(ids: pa.ChunkedArray, rows: np.ndarray, seed: int) -> np.ndarray:
    """[N] uint64 hash of the id in each row; each distinct id is hashed once."""
    distinct, place = np.unique(rows, return_inverse=True)
    return np.array([content_seed(name, seed) for name in ids.take(distinct).to_pylist()], np.uint64)[place]


def mixed(*parts: np.ndarray | np.uint64) -> np.ndarray:
    """[N] uint64 from several of the same length: splitmix64 (Steele, Lea and Flood 2014) once for each."""
    state = np.asarray(parts[0], np.uint64)
    for part in parts[1:]:
        state = _splitmix(state ^ part)
    return state


def _splitmix(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
