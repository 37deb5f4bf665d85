"""Scoring with our own readers against sentence-transformers: the same folder, texts of mixed lengths, one process, interleaved.

Usage: python benchmarks/scoring.py [--pairs 600] [--rounds 5] [--threads 2]. The reranker is MiniLM with a random head, the
embedding model MiniLM. Prints items a second, the ratio to the peer, the peak of memory above what was there before, and the
largest difference of a score from the peer's. bf16 and int8 (ONNX) have lines of their own: there the difference is the price.
Medians over the rounds; every round runs each once.
"""

import argparse
import contextlib
import ctypes
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

WORDS = [
    "how",
    "do",
    "a",
    "read",
    "file",
    "list",
    "sort",
    "value",
    "error",
    "path",
    "line",
    "open",
    "close",
    "table",
    "row",
]
LENGTHS = (3, 400)  # words of a document
DOCUMENTS = 20  # a query


def texts(pairs: int) -> tuple[list[str], list[str]]:
    """(queries, documents): 3 to 12 words, and a log-normal number around 55."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4.0, 0.9, pairs).astype(int), *LENGTHS)
    queries = [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(max(1, pairs // DOCUMENTS))]
    return queries, [" ".join(rng.choice(WORDS, length)) for length in lengths]


def measured(run: Callable[[], np.ndarray]) -> tuple[np.ndarray, float, float]:
    """What it returns, its seconds, and the peak of resident memory above the start in MB, looked at every 5 ms."""
    with contextlib.suppress(AttributeError, OSError):  # glibc: what is freed goes back, so that its reuse is seen
        ctypes.CDLL(None).malloc_trim(0)
    start, peak, ended = _resident(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            peak[0] = max(peak[0], _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        found = run()
    finally:
        seconds = time.perf_counter() - began
        ended.set()
        watcher.join()
    return found, seconds, max(0, peak[0] - start) / 1e6


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def compare(title: str, unit: str, count: int, runs: dict[str, Callable[[], np.ndarray]], rounds: int) -> None:
    """Prints a line for each of `runs`, the first of which is the peer."""
    peer, found = next(iter(runs)), {}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    memory: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        found[name] = run()  # warm
    for _ in range(rounds):
        for name, run in runs.items():
            found[name], spent, megabytes = measured(run)
            seconds[name].append(spent)
            memory[name].append(megabytes)
    print(f"\n{title}: {count:,} {unit}, medians of {rounds} rounds")
    print(f"  {'':<34} {unit + '/s':>12} {'ratio':>7} {'memory MB':>10} {'difference':>11}")
    for name in runs:
        rate, ratio = count / median(seconds[name]), median(seconds[peer]) / median(seconds[name])
        difference = float(np.abs(found[name] - found[peer]).max())
        print(f"  {name:<34} {rate:12.1f} {ratio:6.2f}x {median(memory[name]):10.0f} {difference:11.1e}")


def component(group: str, option: str, **changes: Any) -> Any:
    """A part as the command builds it."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from zelo.places import config_folder

    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return instantiate(compose(f"{group}/{option}")[group], _convert_="all", **changes)


def rerankers(queries: list[str], documents: list[str], folder: Path, rounds: int) -> None:
    """CrossEncoder.predict, our pointwise model, pipeline=score's reader, bf16, and ONNX in both precisions."""
    import torch
    from sentence_transformers import CrossEncoder

    from zelo.backbones import onnx_export
    from zelo.backbones.exported import Exported
    from zelo.backbones.onnx_model import OnnxModel

    query_row, doc_row = np.arange(len(documents)) // DOCUMENTS % len(queries), np.arange(len(documents))
    torch.manual_seed(0)
    model = component("model", "pointwise", max_length=256)
    model.load(component("backbone", "minilm"), None)
    model.prepare(pa.table({"doc_id": list(map(str, doc_row)), "title": [""] * len(documents), "text": documents}))
    model.export(folder)
    onnx_export.write(folder, folder / "onnx", "the benchmark")
    peer, ours = CrossEncoder(str(folder), device="cpu"), Exported(folder, "cpu", "the benchmark", 32)
    files = {name: OnnxModel(folder, folder / "onnx", name, "the benchmark") for name in ("float32", "int8")}
    pairs = [(queries[query], documents[doc]) for query, doc in zip(query_row, doc_row, strict=True)]

    def pointwise() -> np.ndarray:
        found = np.empty(len(documents), np.float32)
        with torch.inference_mode():
            for low in range(0, len(queries), 8):  # queries at a time, as the stage `score` has it
                asked = np.arange(low, min(low + 8, len(queries)))
                rows = [np.flatnonzero(query_row == query) for query in asked]
                lists = np.full((len(rows), max(map(len, rows))), -1)
                for line, row in enumerate(rows):
                    lists[line, : len(row)] = row
                scores = torch.sigmoid(model(model.collate([queries[query] for query in asked], lists))).numpy()
                found[lists[lists >= 0]] = scores[lists >= 0]
        return found

    def score() -> np.ndarray:
        return ours.scores(queries, documents, query_row, doc_row)

    def in_bf16() -> np.ndarray:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return score()

    def onnx(precision: str) -> Callable[[], np.ndarray]:
        return lambda: 1 / (1 + np.exp(-files[precision].scores(queries, documents, query_row, doc_row)))

    runs = {
        "CrossEncoder.predict": lambda: peer.predict(pairs, show_progress_bar=False),
        "zelo pointwise": pointwise,
        "zelo pipeline=score": score,
        "CrossEncoder.predict, batches of 8": lambda: peer.predict(pairs, batch_size=8, show_progress_bar=False),
        "zelo pipeline=score, bf16": in_bf16,
        "ONNX float32": onnx("float32"),
        "ONNX int8": onnx("int8"),
    }
    compare("Reranking", "pairs", len(pairs), runs, rounds)


def encoders(documents: list[str], rounds: int) -> None:
    """SentenceTransformer.encode and our encoder, which gives token vectors as well."""
    import shutil

    from sentence_transformers import SentenceTransformer

    backbone = component("backbone", "minilm")
    peer = SentenceTransformer(str(backbone.folder()), device="cpu")
    peer.max_seq_length = backbone.max_length
    table = pa.table(
        {"doc_id": list(map(str, range(len(documents)))), "title": [""] * len(documents), "text": documents}
    )

    def ours() -> np.ndarray:
        shutil.rmtree(
            Path(os.environ["ZELO_HOME"]) / "vectors", ignore_errors=True
        )  # else they are read from the store
        return np.array(backbone.documents(table).pooled)

    runs = {
        "SentenceTransformer.encode": lambda: peer.encode(
            documents, normalize_embeddings=True, show_progress_bar=False
        ),
        "zelo encoder": ours,
    }
    compare("Embedding", "documents", len(documents), runs, rounds)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(asked.threads)
    queries, documents = texts(asked.pairs)
    with tempfile.TemporaryDirectory() as place:
        os.environ["ZELO_HOME"] = f"{place}/home"
        print(f"{asked.threads} threads, torch {torch.__version__}")
        encoders(documents, asked.rounds)
        rerankers(queries, documents, Path(place) / "reranker", asked.rounds)


if __name__ == "__main__":
    main()
