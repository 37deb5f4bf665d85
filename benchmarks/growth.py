"""Memory and speed as the training rows grow: 10,000, 100,000 and 1,000,000 rated documents stream from parquet.

Run: python benchmarks/growth.py [--rows 10000 100000 1000000] [--steps 2]. Each size in a process of its own: a corpus with a
tenth as many documents as rows, 100 rated documents a query, shards of 512 queries. What is read is what a training reads:
the examples, then one epoch of batches with their texts made tokens, then a few steps of the MiniLM cross-encoder. Peaks are
MB above what the process held with the model loaded; `not mapped` leaves out the files that the system may drop and read again.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zelo.backbones.encoder import Encoder
from zelo.records import DOCUMENT, EXAMPLE, QUERY, TRAIN
from zelo.store.shards import write_parquet, write_shard
from zelo.store.table import Table

A_QUERY, SHARD, WORDS = 100, 512, 60  # rows of a query, queries of a shard, words of a document


def written(folder: Path, rows: int) -> dict[str, Table]:
    """The tables that a training reads, made bit by bit."""
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in ("st", "rn", "lt", "ck", "nd")])
    queries, documents = max(1, rows // A_QUERY), max(200, rows // 10)

    def texts(count: int, words: int) -> list[str]:
        return [" ".join(vocabulary[rng.integers(len(vocabulary), size=words)]) for _ in range(count)]

    data, examples = folder / "data", folder / "examples"
    data.mkdir()
    examples.mkdir()
    names = [f"q{row}" for row in range(queries)]
    table = pa.table({"query_id": names, "text": texts(queries, 6), "split": [TRAIN] * queries})
    write_parquet(table, QUERY, data, "queries")
    (data / "documents").mkdir()
    for number, low in enumerate(range(0, documents, 20_000)):
        count = min(20_000, documents - low)
        table = pa.table(
            {"doc_id": [f"d{low + row}" for row in range(count)], "title": [""] * count, "text": texts(count, WORDS)}
        )
        write_shard(table, DOCUMENT, data, "documents", number)
    for number, low in enumerate(range(0, queries, SHARD)):
        count = min(SHARD, queries - low)
        start = rng.integers(documents - A_QUERY, size=count)
        columns = {
            "query_id": np.repeat([f"q{low + row}" for row in range(count)], A_QUERY),
            "doc_id": [f"d{row}" for row in (start[:, None] + np.arange(A_QUERY)).ravel()],
            "target": rng.random(count * A_QUERY).astype(np.float32),
            "weight": np.ones(count * A_QUERY, np.float32),
            "split": [TRAIN] * (count * A_QUERY),
        }
        write_shard(pa.table(columns), EXAMPLE, examples, "examples", number)
    return {name: Table(name, name, folder / name, {}) for name in ("data", "examples")}


def memory() -> dict[str, float]:
    """MB: the peak of this process, and what of it is anonymous now. Linux."""
    status = Path("/proc/self/status").read_text()
    found = {name: int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) / 1000 for name in ("VmHWM", "RssAnon")}
    return {"peak": found["VmHWM"], "anonymous": found["RssAnon"]}


def measured(folder: Path, steps: int) -> dict[str, Any]:
    """What one size took: in this process, which has done nothing else."""
    import torch

    from zelo.losses.mse import MSE
    from zelo.models.pointwise import Pointwise
    from zelo.training.datamodule import DataModule
    from zelo.training.listwise_dataset import Lists
    from zelo.training.sampler import QueryBatches

    model = Pointwise(temperature=1.0, max_length=160, tokens=2048)
    backbone: Any = minilm()
    model.load(backbone, None)
    model.train()
    before = memory()
    start = time.perf_counter()
    tables = {name: Table(name, name, folder / name, {}) for name in ("data", "examples")}
    queries, documents = tables["data"].read("queries"), tables["data"].mapped("documents", folder / "checkpoint")
    lists = Lists.read(tables["examples"], TRAIN, queries, documents)
    model.prepare(documents)
    opened = time.perf_counter() - start
    loader = QueryBatches(queries=4, documents=8)
    whole = DataModule(
        train=lists, dev=lists, loader=QueryBatches(queries=8, documents=None), seed=0, collate=model.collate
    )
    start, count = time.perf_counter(), 0
    for batch in whole.train_dataloader():
        count += int(batch["mask"].sum())
    streamed, stream = time.perf_counter() - start, memory()
    small = DataModule(train=lists, dev=lists, loader=loader, seed=0, collate=model.collate)
    loss, optimizer = MSE(), torch.optim.AdamW(model.parameters(), lr=1e-5)
    for batch, _ in zip(small.train_dataloader(), range(steps), strict=False):
        loss(model(batch), batch["targets"], batch["weights"], batch["mask"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert count == len(lists.doc_rows)
    return {
        "rows": count,
        "opened": opened,
        "rate": count / streamed,
        "before": before,
        "stream": stream,
        "after": memory(),
    }


def above(found: dict[str, Any], when: str, what: str) -> float:
    return found[when][what] - found["before"][what]


def minilm() -> Encoder:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from zelo.places import config_folder

    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return instantiate(compose("backbone/minilm")["backbone"], _convert_="all")


def main() -> None:
    """Prints a line for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.measure, options.steps)))
        return
    print("     rows   rows/s  open, s  streaming: peak MB  not mapped MB  training: peak MB")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            written(Path(folder), rows)
            command = [sys.executable, __file__, "--measure", folder, "--steps", str(options.steps)]
            found = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
        print(
            f"{found['rows']:9,} {found['rate']:8,.0f} {found['opened']:8.2f} {above(found, 'stream', 'peak'):19,.0f}"
            f" {above(found, 'stream', 'anonymous'):14,.0f} {above(found, 'after', 'peak'):18,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
