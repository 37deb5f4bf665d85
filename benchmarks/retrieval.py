"""First stages over a large corpus: seconds and peak memory of `zelo until=retrieve`, each in a process of its own.

python benchmarks/retrieval.py [--documents 1000000] [--queries 100000] [--folder FOLDER]

Documents are 20 to 100 words by Zipf's law; dense vectors are random ones of 384 numbers, read from files (backbone=stored).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WORDS, DIM, PART = 200_000, 384, 65_536


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--retrievers", nargs="*", default=["bm25", "dense"])
    parser.add_argument("--folder", type=Path, help="where the collection is kept for another run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "queries.jsonl").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, options.documents, options.queries)
        for retriever in options.retrievers:
            measure(folder, retriever)


def write(folder: Path, documents: int, queries: int) -> None:
    """A BEIR folder, and a vector of each text."""
    random = np.random.default_rng(0)
    words = np.array([f"w{number:x}" for number in range(WORDS)])
    chance = 1 / np.arange(1, WORDS + 1)
    steps = np.cumsum(chance / chance.sum())
    for name, prefix, count, low, high in (
        ("corpus", "d", documents, 20, 100),
        ("queries", "q", queries, 3, 9),
    ):
        with (folder / f"{name}.jsonl").open("w") as file:
            for start in range(0, count, PART):
                size = min(PART, count - start)
                lengths = random.integers(low, high, size)
                drawn = words[np.searchsorted(steps, random.random(int(lengths.sum()))).clip(max=WORDS - 1)]
                for row, text in enumerate(np.split(drawn, np.cumsum(lengths)[:-1])):
                    file.write(json.dumps({"_id": f"{prefix}{start + row}", "text": " ".join(text)}) + "\n")
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=(count, DIM))
        for start in range(0, count, PART):
            array[start : start + PART] = random.standard_normal((min(PART, count - start), DIM), np.float32)
        array.flush()
        (folder / f"{name}.ids.txt").write_text("".join(f"{prefix}{row}\n" for row in range(count)))


def measure(folder: Path, retriever: str) -> None:
    """Runs one first stage in an empty store, and prints what it took."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "zelo", "dataset=beir", f"dataset.path={folder}", f"retriever={retriever}"]
        command += ["until=retrieve", "queries=none", f"hydra.run.dir={home}/run"]
        if retriever == "dense":
            command += ["backbone@retriever.backbone=stored", f"retriever.backbone.query_file={folder}/queries.npy"]
            command += [f"retriever.backbone.document_file={folder}/corpus.npy"]
        start = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, "ZELO_HOME": home})
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    print(f"{retriever}: {seconds:,.0f} s, largest process so far {peak:.2f} GB")


if __name__ == "__main__":
    main()
