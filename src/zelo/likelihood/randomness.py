"""Draws that depend on content, seed and position alone: not on the order of rows, on batches or on the machine.

All bits are those of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
"""

import hashlib

import numpy as np
import pyarrow as pa

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def content_seed(text: str, seed: int) -> int:
    """64 bits from a text and a seed (blake2b), so that what is drawn for a query depends on nothing but itself."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\x00{text}".encode(), digest_size=8).digest(), "little")


def id_hashes(ids: pa.ChunkedArray, rows: np.ndarray, seed: int) -> np.ndarray:
    """[N] uint64 hash of the id in each row; each distinct id is hashed once."""
    distinct, place = np.unique(rows, return_inverse=True)
    return np.array([content_seed(name, seed) for name in ids.take(distinct).to_pylist()], np.uint64)[place]


def mixed(*parts: np.ndarray | np.uint64) -> np.ndarray:
    """[N] uint64 from several of the same length, one step of the generator for each after the first."""
    state = np.asarray(parts[0], np.uint64)
    with np.errstate(over="ignore"):
        for part in parts[1:]:
            state = mix((state ^ part) + _GOLDEN)
    return state


def random(state: np.ndarray, stream: int, position: np.ndarray) -> np.ndarray:
    """[B, P] uint64 for queries of mixed seeds `state` [B] at the positions [P] of a stream."""
    counter = (np.uint64(stream) << np.uint64(40)) + position.astype(np.uint64) + np.uint64(1)
    return mix(state[:, None] + counter * _GOLDEN)


def uniform(bits: np.ndarray) -> np.ndarray:
    """Float64 inside (0, 1), of the upper 53 bits, elementwise."""
    return ((bits >> np.uint64(11)) + 0.5) * 2.0**-53


def mix(x: np.ndarray) -> np.ndarray:
    """The output function of the generator, elementwise on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
