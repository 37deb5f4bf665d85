"""Examples per second of a cross-encoder's training, against the CrossEncoderTrainer of sentence-transformers.

Run: python benchmarks/training.py [--queries 256] [--batch 8] [--tokens 2048] [--rounds 1], with accelerate and datasets
installed, which the peer needs. Same MiniLM with the same fresh head and no dropout, same pairs of pydocs with eight documents
a query, same length, pairs a step, loss, learning rate, optimizer and precision (float32, or --precision bf16-mixed); each run in
a process of its own, interleaved. The peer once with its default sampling and once with batches of pairs of like length.
Seconds are of the whole training, CPU seconds beside them; `loss` is that of pairs that nobody trained on; memory is the peak
above what the process held before; padding is the share of tokens read that are none.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch

DOCUMENTS, LENGTH, LR = 8, 256, 2e-5  # documents of a query, tokens of a pair
RUNS = ("ours", "peer", "peer, by length")
WORD = re.compile(r"\w+")


def data(count: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Queries, documents and examples: how many of a query's words a document has, of pages of very different length."""
    from zelo.datasets.pydocs import Pydocs
    from zelo.records import DEV, TRAIN
    from zelo.texts import document_texts

    corpus = component("dataset/pydocs", Pydocs).load()
    rng = np.random.default_rng(0)
    texts = document_texts(corpus.documents)
    words = [set(WORD.findall(text.lower())) for text in texts]
    queries = corpus.queries.slice(0, min(count + 16, len(corpus.queries)))
    rows: dict[str, list[Any]] = {name: [] for name in ("query_id", "doc_id", "target", "weight", "split")}
    for number, query in enumerate(queries.to_pylist()):
        asked = set(WORD.findall(query["text"].lower()))
        for doc in rng.choice(len(texts), DOCUMENTS, replace=False):
            rows["query_id"].append(query["query_id"])
            rows["doc_id"].append(corpus.documents["doc_id"][int(doc)].as_py())
            rows["target"].append(len(asked & words[doc]) / max(1, len(asked)))
            rows["weight"].append(1.0)
            rows["split"].append(DEV if number < 16 else TRAIN)
    examples = pa.table(rows).cast(
        pa.schema([(n, pa.float32() if n in ("target", "weight") else pa.string()) for n in rows])
    )
    return queries, corpus.documents, examples


def component(option: str, kind: type, **changes: Any) -> Any:
    """The component of that yaml."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from zelo.places import config_folder

    group, _, name = option.partition("/")
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        found = instantiate(compose(f"{group}/{name}")[group], _convert_="all", **changes)
    assert isinstance(found, kind)
    return found


def start(folder: Path) -> None:
    """MiniLM with a fresh head and without dropout, and its tokenizer."""
    from zelo.backbones.encoder import Encoder

    torch.manual_seed(0)
    backbone = component("backbone/minilm", Encoder)
    network = backbone.classifier()
    network.config.hidden_dropout_prob = network.config.attention_probs_dropout_prob = 0.0
    network.save_pretrained(folder)
    backbone.tokenizer().save_pretrained(folder)


def texts(table: pa.Table, queries: pa.Table, documents: pa.Table) -> tuple[list[str], list[str]]:
    from zelo.texts import document_texts

    asked = dict(zip(queries["query_id"].to_pylist(), queries["text"].to_pylist(), strict=True))
    read = dict(zip(documents["doc_id"].to_pylist(), document_texts(documents), strict=True))
    return [asked[q] for q in table["query_id"].to_pylist()], [read[d] for d in table["doc_id"].to_pylist()]


def memory(peak: bool) -> float:
    """MB that this process holds, or has held at most. Linux."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status)[0]) / 1000


@contextlib.contextmanager
def measured(found: dict[str, Any]) -> Iterator[None]:
    """Writes down seconds, CPU seconds and peak memory."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before, wall, cpu = memory(False), time.perf_counter(), time.process_time()
    yield
    found["seconds"], found["cpu"] = time.perf_counter() - wall, time.process_time() - cpu
    found["memory"] = memory(True) - before


class Read:
    """Counts the tokens that a network reads, and those of them that are padding."""

    def __init__(self, network: Any) -> None:
        self.read = self.padding = 0
        self.forward, network.forward = network.forward, self  # the peer calls forward itself, beside every hook

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled():
            mask = kwargs["attention_mask"]
            self.read += mask.numel()
            self.padding += int((mask == 0).sum())
        return self.forward(*args, **kwargs)


def ours(folder: Path, tables: tuple[pa.Table, pa.Table, pa.Table], options: argparse.Namespace) -> dict[str, Any]:
    """Our training, as the stage does it."""
    from zelo.backbones.encoder import Encoder
    from zelo.losses.mse import MSE
    from zelo.models.pointwise import Pointwise
    from zelo.records import DEV, TRAIN
    from zelo.training.datamodule import DataModule
    from zelo.training.hardware import Hardware
    from zelo.training.linear import Linear
    from zelo.training.listwise_dataset import Lists
    from zelo.training.module import StudentModule
    from zelo.training.sampler import QueryBatches
    from zelo.training.trainer import Trainer

    queries, documents, examples = tables
    lists = {
        split: Lists.of(examples.filter(pa.compute.equal(examples["split"], split)), queries, documents)  # type: ignore[attr-defined]
        for split in (TRAIN, DEV)
    }
    model = Pointwise(temperature=1.0, max_length=LENGTH, tokens=options.tokens)
    model.load(component("backbone/minilm", Encoder, model=str(folder), sha256=None), None)
    model.prepare(documents)
    dev = lists[DEV]
    first = [dev.doc_rows[:1], dev.targets[:1], dev.weights[:1], dev.query_rows[:1]]
    one = Lists([dev.texts[0]], np.array([0, 1]), *first)
    loader = QueryBatches(queries=options.batch, documents=None)
    module = StudentModule(
        model=model,
        loss=MSE(),
        optimizer=partial(torch.optim.AdamW, lr=LR, weight_decay=0.0, fused=True),
        scheduler=Linear(warmup=0.0),
        label="ours",
    )
    trainer = Trainer(
        epochs=1,
        precision=options.precision,
        gradient_clip=1.0,
        validations_per_epoch=1,
        mixtures=[],
        callbacks={},
    )
    hardware = component("hardware/cpu", Hardware)
    read, found = Read(model.network), {}
    weights: list[dict[str, Any]] = []
    module.on_train_end = lambda: weights.append({k: v.clone() for k, v in model.state_dict().items()})  # type: ignore[method-assign]
    with measured(found), tempfile.TemporaryDirectory() as out:
        fitted = DataModule(train=lists[TRAIN], dev=one, loader=loader, seed=0, collate=model.collate)
        trainer.fit(module, fitted, hardware=hardware, report=lambda step, metrics: None, checkpoints=Path(out))
    model.load_state_dict(weights[-1])  # the last, as the peer's are, not the best
    return (
        found
        | {"padding": read.padding / max(1, read.read), "examples": len(lists[TRAIN].doc_rows)}
        | held(model.network, model.tokenizer, tables)
    )


def peer(
    folder: Path, tables: tuple[pa.Table, pa.Table, pa.Table], options: argparse.Namespace, by_length: bool
) -> dict[str, Any]:
    """sentence-transformers, the same pairs a step."""
    from datasets import Dataset  # type: ignore[reportMissingImports]  # only who compares installs it
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import MSELoss
    from transformers.trainer_pt_utils import LengthGroupedSampler

    from zelo.records import TRAIN

    queries, documents, examples = tables
    train = examples.filter(pa.compute.equal(examples["split"], TRAIN))  # type: ignore[attr-defined]
    asked, read_texts = texts(train, queries, documents)
    encoder = CrossEncoder(str(folder), num_labels=1, max_length=LENGTH, device="cpu")
    dataset = Dataset.from_dict({"query": asked, "document": read_texts, "label": train["target"].to_pylist()})
    lengths = [
        len(ids) for ids in encoder.tokenizer(asked, read_texts, truncation=True, max_length=LENGTH)["input_ids"]
    ]

    def grouped(dataset: Any, batch_size: int, drop_last: bool, generator: Any = None, **_: Any) -> Any:
        sampler = LengthGroupedSampler(batch_size, lengths=lengths, generator=generator)
        return DefaultBatchSampler(sampler, batch_size=batch_size, drop_last=drop_last)

    found: dict[str, Any] = {}
    by_batches: dict[str, Any] = {"batch_sampler": grouped} if by_length else {}
    with tempfile.TemporaryDirectory() as out:
        arguments = CrossEncoderTrainingArguments(
            output_dir=out,
            num_train_epochs=1,
            per_device_train_batch_size=options.batch * DOCUMENTS,
            learning_rate=LR,
            weight_decay=0.0,
            use_cpu=True,
            bf16=options.precision == "bf16-mixed",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            **by_batches,
        )
        loss = MSELoss(encoder, activation_fn=torch.nn.Sigmoid())
        trainer = CrossEncoderTrainer(model=encoder, args=arguments, train_dataset=dataset, loss=loss)
        network = next(part.auto_model for part in encoder.modules() if hasattr(part, "auto_model"))
        read = Read(network)
        with measured(found):
            trainer.train()
    return (
        found
        | {"padding": read.padding / max(1, read.read), "examples": len(train)}
        | held(network, encoder.tokenizer, tables)
    )


def held(network: Any, tokenizer: Any, tables: tuple[pa.Table, pa.Table, pa.Table]) -> dict[str, float]:
    """The loss of the pairs that were held back."""
    from zelo.records import DEV

    queries, documents, examples = tables
    dev = examples.filter(pa.compute.equal(examples["split"], DEV))  # type: ignore[attr-defined]
    asked, read = texts(dev, queries, documents)
    wanted, errors = dev["target"].to_numpy(), []
    network.eval()
    with torch.no_grad():
        for low in range(0, len(dev), 16):
            tokens = tokenizer(
                asked[low : low + 16],
                read[low : low + 16],
                truncation=True,
                max_length=LENGTH,
                padding=True,
                return_tensors="pt",
            )
            errors.append(network(**tokens).logits[:, 0].sigmoid().numpy() - wanted[low : low + 16])
    return {"loss": float(np.square(np.concatenate(errors)).mean())}


def main() -> None:
    """Prints a line a run and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8, help="queries a step")
    parser.add_argument("--tokens", type=int, default=2048, help="that our model reads at a time")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument("--measure", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        tables = data(options.queries)
        run = ours if options.measure == "ours" else partial(peer, by_length=options.measure != "peer")
        print(json.dumps(run(options.folder, tables, options)))
        return
    if missing := [name for name in ("accelerate", "datasets") if find_spec(name) is None]:
        sys.exit(f"training.py: the peer needs {' and '.join(missing)}: pip install {' '.join(missing)}.")
    found: dict[str, list[dict[str, Any]]] = {run: [] for run in RUNS}
    with tempfile.TemporaryDirectory() as folder:
        start(Path(folder))
        for run in RUNS * options.rounds:
            command = [sys.executable, __file__, *sys.argv[1:], "--measure", run, "--folder", folder]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[run].append(json.loads(said.splitlines()[-1]))
    print("                 examples/s  per CPU s    loss  peak MB  padding")
    rates = {}
    for run, results in found.items():
        rates[run] = median(result["examples"] / result["cpu"] for result in results)
        wall = median(result["examples"] / result["seconds"] for result in results)
        peak = max(result["memory"] for result in results)
        print(
            f"{run:15} {wall:11.1f} {rates[run]:10.1f} {results[0]['loss']:7.4f} {peak:8,.0f} {results[0]['padding']:8.1%}"
        )
    for run in RUNS[1:]:
        print(f"ours / {run}: {rates['ours'] / rates[run]:.2f} per CPU second")


if __name__ == "__main__":
    main()
