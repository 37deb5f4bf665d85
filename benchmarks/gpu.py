"""What one GPU does with decoders of the shapes of Qwen3-0.6B and 1.7B: training, scoring, encoding, judging.

Run: benchmarks/gpu.sh [--tiny] [--out gpu.json]. The weights are random: their speed is that of real ones. Everything goes
through the classes that a run uses. Each part is a process with a time limit, so that one that fails loses no other. Prints a
table and writes JSON. --tiny: the same code on the CPU with tiny models, which shows that it runs, and no figure.

`share` is of the rate of a large matrix product in bfloat16 on the same card, measured in the same run. It counts what must be
computed for a token that is no padding: 2 operations for each weight of a matrix in the forward pass, in training with adapters
2 more back to the activations, and 6 for each weight of the adapters. Attention is left out: the share is a lower bound.
"""

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

TOP = Path(__file__).parent.parent
TOTAL = 470  # seconds
LENGTH, DOCUMENTS = 512, 8  # tokens of a pair; documents of a query
GOALS = {"train": 0.4, "score": 0.5}  # of the matrix rate
WORDS = (
    "how",
    "do",
    "order",
    "list",
    "sort",
    "place",
    "yes",
    "no",
    "system",
    "user",
    "read",
    "rows",
    "delete",
    "file",
    "date",
)
HEADS: dict[str, int] = {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
SHAPES: dict[str, dict[str, int]] = {
    "0.6b": {"hidden_size": 1024, "intermediate_size": 3072, "vocab_size": 151_936, **HEADS},
    "1.7b": {"hidden_size": 2048, "intermediate_size": 6144, "vocab_size": 151_936, **HEADS},
}
TINY: dict[str, int] = {"hidden_size": 32, "intermediate_size": 48, "vocab_size": 600, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}

Figures = dict[str, Any]


class Machine:
    """Where a part runs, and how much it does."""

    def __init__(self, tiny: bool, folder: Path) -> None:
        import torch

        from zelo.backbones import device

        self.tiny, self.folder = tiny, folder
        self.device = "cpu" if tiny else "cuda"
        self.length, self.seconds = (64, 0.2) if tiny else (LENGTH, 12.0)
        device.choose(self.device)
        torch.manual_seed(0)

    def wait(self) -> None:
        """Until the GPU has done what it was given."""
        import torch

        if not self.tiny:
            torch.cuda.synchronize()

    def fresh(self) -> float:
        """Begins a measurement of memory; what is held now, in GB."""
        import torch

        if self.tiny:
            return 0.0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e9

    def peak(self) -> float:
        """GB that the GPU held at most since; with --tiny, that the process ever held."""
        import torch

        if self.tiny:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        return torch.cuda.max_memory_allocated() / 1e9

    def timed(self, run: Callable[[], Any]) -> tuple[Any, float]:
        """What it returns, and its seconds."""
        self.wait()
        start = time.perf_counter()
        found = run()
        self.wait()
        return found, time.perf_counter() - start

    def backbone(self, size: str, **changes: Any) -> Any:
        """The decoder of that size, as conf/backbone/ has it."""
        name = {"0.6b": "qwen3_0_6b", "1.7b": "qwen3_1_7b"}[size]
        fields = {"query_length": self.length // 4, "max_length": self.length, "precision": "bfloat16"}
        return component(f"backbone/{name}", model=str(self.folder / size), **fields | changes)

    def pages(self, count: int, words: int) -> pa.Table:
        """Documents of random words, one token a word or more."""
        rng = np.random.default_rng(count)
        texts = [" ".join(rng.choice(WORDS, words)) for _ in range(count)]
        return pa.table({"doc_id": [str(n) for n in range(count)], "title": [""] * count, "text": texts})

    def asked(self, count: int) -> pa.Table:
        """Queries."""
        rng = np.random.default_rng(0)
        texts = [" ".join(rng.choice(WORDS, 8)) for _ in range(count)]
        return pa.table({"query_id": [str(n) for n in range(count)], "text": texts, "split": ["dev"] * count})


def component(option: str, **changes: Any) -> Any:
    """The component of that yaml."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.utils import instantiate

    from zelo.places import config_folder

    GlobalHydra.instance().clear()
    group, _, name = option.partition("/")
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return instantiate(compose(None, [f"+{group}={name}"])[group], _convert_="all", **changes)


class Tokens:
    """Counts the tokens that a network reads, padding left out."""

    def __init__(self, network: Any, learning: bool = False) -> None:
        """learning: passes without gradients do not count, such as those that GradCache makes beforehand."""
        import torch

        self.count: Any = 0  # on the GPU, so that nothing waits for it
        forward = network.forward

        @functools.wraps(forward)  # and no hook: sentence-transformers calls forward itself
        def counted(*arguments: Any, **named: Any) -> Any:
            if not learning or torch.is_grad_enabled():
                read = named["input_ids"]
                mask: Any = named.get("attention_mask")
                # A mask of another shape says what is seen of keys that are kept.
                masked = mask if mask is not None and mask.shape == read.shape else None
                self.count = self.count + (read.numel() if masked is None else masked.sum())
            return forward(*arguments, **named)

        network.forward = counted


def operations(network: Any, learns: bool) -> float:
    """What a token costs, in the words of this module."""
    matrices = adapters = 0
    for name, weight in network.named_parameters():
        if weight.dim() == 2 and "embed_tokens" not in name and "lm_head" not in name:
            matrices, adapters = (
                (matrices, adapters + weight.numel()) if "lora_" in name else (matrices + weight.numel(), adapters)
            )
    return 4 * matrices + 6 * adapters if learns else 2 * (matrices + adapters)


def matrix(machine: Machine) -> list[Figures]:
    """Operations per second of a large product of matrices."""
    import torch

    width, rounds = (256, 5) if machine.tiny else (8192, 30)
    one = torch.randn(width, width, device=machine.device, dtype=torch.bfloat16)
    for _ in range(3):
        torch.matmul(one, one)
    _, seconds = machine.timed(lambda: [torch.matmul(one, one) for _ in range(rounds)])
    name = "CPU" if machine.tiny else torch.cuda.get_device_name()
    return [{"what": f"matrix product, {name}", "operations": rounds * 2 * width**3 / seconds}]


def models(machine: Machine) -> list[Figures]:
    """Saves the models with random weights."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    sys.path.insert(0, str(TOP / "tests" / "fakes"))
    import tiny_models  # its tokenizer is made here: nothing is downloaded

    for size, shape in SHAPES.items():
        folder = tiny_models.save("qwen3", machine.folder / size)
        options: dict[str, Any] = TINY if machine.tiny else shape
        config = Qwen3Config(**options, tie_word_embeddings=True, max_position_embeddings=2 * LENGTH)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(machine.device):
            Qwen3ForCausalLM(config).save_pretrained(folder)
    return []


def train(machine: Machine, size: str, kind: str) -> list[Figures]:
    """Training of adapters, as the stage `train` does it: its model, loss, optimizer, loader and trainer."""
    import pytorch_lightning as lightning

    from zelo.training.datamodule import DataModule
    from zelo.training.listwise_dataset import Lists
    from zelo.training.module import StudentModule

    class Speed(lightning.Callback):
        """Begins to count after the first steps, and ends the training when the time is over."""

        started = ended = 0.0
        before = read = 0

        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            machine.wait()
            if trainer.global_step == (1 if machine.tiny else 3):
                self.started, self.before = time.perf_counter(), int(tokens.count)
            self.ended = time.perf_counter()
            self.read = int(tokens.count) - self.before
            trainer.should_stop = bool(self.started) and self.ended - self.started > machine.seconds

    queries, lists = (2, 12) if machine.tiny else (16, 1024)
    changes = {"max_length": machine.length, "tokens": 16_384} if kind == "pointwise" else {"trains": "both"}
    model = component(f"model/{kind}", **changes)
    model.load(machine.backbone(size), None)
    pages = machine.pages(lists * DOCUMENTS, machine.length)
    model.prepare(pages)
    rows = np.arange(lists * DOCUMENTS).reshape(lists, DOCUMENTS)
    targets = np.random.default_rng(0).random(rows.shape, np.float32)
    data = Lists.padded(machine.asked(lists)["text"].to_pylist(), rows, targets, np.ones_like(targets))
    dev = Lists.padded(data.texts[:2], rows[:2], targets[:2], np.ones_like(targets[:2]))  # type: ignore[arg-type]
    tokens, speed, held = Tokens(model.network, learning=True), Speed(), machine.fresh()
    module = StudentModule(
        model=model,
        loss=component("loss/listwise_kl"),
        optimizer=component("optimizer/adamw"),
        scheduler=component("scheduler/linear"),
        label=kind,
    )
    options = {"epochs": 1, "precision": "bf16-mixed", "mixtures": [], "validations_per_epoch": 1}
    trainer = component("trainer/default", **options, callbacks={"speed": speed})
    hardware = component(f"hardware/{'cpu' if machine.tiny else 'gpu'}", micro_batch=4 * queries // 16 or 1)
    batches = component("loader/queries", queries=queries)
    fitted = DataModule(train=data, dev=dev, loader=batches, seed=0, collate=model.collate)
    with tempfile.TemporaryDirectory() as out:
        trainer.fit(module, fitted, hardware=hardware, report=lambda step, metrics: None, checkpoints=Path(out))
    rate = speed.read / (speed.ended - speed.started)
    figures = {"tokens/s": rate, "operations/token": operations(model.network, learns=True)}
    return [{"what": f"train {kind} {size}, LoRA", "goal": GOALS["train"], **figures, "GB": machine.peak() - held}]


def score(machine: Machine, size: str) -> list[Figures]:
    """A reranker by zelo, what bfloat16 changes, and the exported model by sentence-transformers."""
    queries = 4 if machine.tiny else 256
    asked = machine.asked(queries)["text"].to_pylist()
    pages = machine.pages(queries * DOCUMENTS, machine.length)
    return [*scored(machine, size, asked, pages), scored_by_peer(machine, size, asked, pages)]


def scored(machine: Machine, size: str, asked: list[str], pages: pa.Table) -> list[Figures]:
    """As the stage `score` does it, and the first queries once more in float32. Exports the model."""
    ours = reranker(machine, size, "bfloat16", pages)
    held = machine.fresh()
    scores(machine, ours, asked[:8])
    tokens = Tokens(ours.network)
    mine, seconds = machine.timed(lambda: scores(machine, ours, asked))
    cost = operations(ours.network, learns=False)
    figures = {"tokens/s": int(tokens.count) / seconds, "operations/token": cost, "GB": machine.peak() - held}
    exact = scores(machine, reranker(machine, size, "float32", pages), asked[:32])
    ours.to("cpu").export(machine.folder / f"exported-{size}")
    return [
        {"what": f"score {size}, zelo", "goal": GOALS["score"], **figures},
        {
            "what": f"score {size}, bfloat16 against float32",
            "largest difference": float(np.abs(mine[:32] - exact).max()),
            "deviation of scores": float(exact.std()),
            "Kendall's tau": agreement(mine[:32].ravel(), exact.ravel()),
        },
    ]


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Kendall's tau."""
    from scipy import stats

    found: Any = stats.kendalltau(one, other)
    return float(found.statistic)


def reranker(machine: Machine, size: str, precision: str, pages: pa.Table) -> Any:
    """The untuned pointwise model."""
    model = component("model/pointwise", max_length=machine.length, tokens=16_384)
    model.load(machine.backbone(size, precision=precision, lora_rank=None), None)
    model.prepare(pages)
    return model.to(machine.device).eval()


def scores(machine: Machine, model: Any, asked: list[str]) -> np.ndarray:
    """[Q, D] of each query with its documents, eight queries at a time."""
    import torch

    found, rows = [], np.arange(len(asked) * DOCUMENTS).reshape(len(asked), DOCUMENTS)
    with torch.inference_mode():
        for low in range(0, len(asked), 8):
            batch = model.collate(asked[low : low + 8], rows[low : low + 8])
            found.append(model({name: part.to(machine.device) for name, part in batch.items()}))
    return torch.cat(found).float().cpu().numpy()


def scored_by_peer(machine: Machine, size: str, asked: list[str], pages: pa.Table) -> Figures:
    """The same pairs by sentence-transformers, from the exported folder."""
    from sentence_transformers import CrossEncoder

    peer: Any = CrossEncoder(str(machine.folder / f"exported-{size}"), device=machine.device)
    pairs = [(asked[n // DOCUMENTS], text) for n, text in enumerate(pages["text"].to_pylist())]
    network = next(part.auto_model for part in peer.modules() if hasattr(part, "auto_model"))
    held = machine.fresh()
    peer.predict(pairs[:64], batch_size=32, show_progress_bar=False)
    tokens = Tokens(network)
    _, seconds = machine.timed(lambda: peer.predict(pairs, batch_size=32, show_progress_bar=False))
    figures = {"operations/token": operations(network, learns=False), "GB": machine.peak() - held}
    return {"what": f"score {size}, sentence-transformers", "tokens/s": int(tokens.count) / seconds, **figures}


def encode(machine: Machine, size: str) -> list[Figures]:
    """Documents as vectors, into the store, by zelo and by sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    pages = machine.pages(16 if machine.tiny else 4096, machine.length)
    backbone = machine.backbone(size, lora_rank=None)
    network = backbone.network()
    cost = operations(network, learns=False)
    tokenizer = backbone.text_tokenizer()
    texts = pages["text"].to_pylist()
    read = sum(map(len, backbone.texts(tokenizer, texts, backbone.document_prompt, machine.length)))
    del network
    held = machine.fresh()
    backbone.documents(pages.slice(0, 1))  # warm
    _, opening = machine.timed(lambda: backbone.documents(pages.slice(0, 2)))  # reads the weights, as the next does
    _, seconds = machine.timed(lambda: backbone.documents(pages))
    rate = read / (seconds - opening if seconds > 2 * opening else seconds)
    figures = {"operations/token": cost, "GB": machine.peak() - held}
    found: list[Figures] = [{"what": f"encode {size}, zelo", "goal": GOALS["score"], "tokens/s": rate, **figures}]
    body = Transformer(str(machine.folder / size), model_kwargs={"dtype": "bfloat16"})
    body.max_seq_length = machine.length
    width = backbone.width()
    peer = SentenceTransformer(modules=[body, Pooling(width, "lasttoken"), Normalize()], device=machine.device)
    held = machine.fresh()
    peer.encode(texts[:8])
    tokens = Tokens(body.auto_model)
    _, seconds = machine.timed(lambda: peer.encode(texts, batch_size=32, show_progress_bar=False))
    figures = {"operations/token": cost, "GB": machine.peak() - held}
    return [
        *found,
        {"what": f"encode {size}, sentence-transformers", "tokens/s": int(tokens.count) / seconds, **figures},
    ]


def judge(machine: Machine, size: str) -> list[Figures]:
    """judge=causal_lm on pairs of a query's documents."""
    from zelo.records import Questions

    queries, degree = (1, 2) if machine.tiny else (16, 4)
    asked, pages = machine.asked(queries), machine.pages(queries * 16, machine.length)
    first = np.concatenate([np.arange(16)] * (degree // 2))
    second = np.concatenate([(np.arange(16) + step + 1) % 16 for step in range(degree // 2)])
    query = np.repeat(np.arange(queries), len(first)).astype(np.int32)
    a, b = ((query * 16 + np.tile(side, queries)).astype(np.int32) for side in (first, second))
    questions = Questions(asked, pages, query, a, b, np.zeros(len(a), np.int16))
    backbone = machine.backbone(size)
    words, batch = (16, 4096) if machine.tiny else (256, 32_768)
    judge = component("judge/causal_lm", backbone=backbone, verdict_mass=0.0, document_tokens=words, batch_tokens=batch)
    network: Any = judge._network
    held, tokens = machine.fresh(), Tokens(network)
    _, seconds = machine.timed(lambda: judge.compare(questions))
    figures = {"pairs/s": len(a) / seconds, "operations/token": operations(network, learns=False)}
    return [
        {
            "what": f"judge {size}, causal_lm",
            "tokens/s": int(tokens.count) / seconds,
            **figures,
            "GB": machine.peak() - held,
        }
    ]


PARTS: dict[str, tuple[int, Callable[[Machine], list[Figures]]]] = {  # seconds at most
    "models": (50, models),
    "matrix": (25, matrix),
    "train pointwise 0.6b": (55, lambda machine: train(machine, "0.6b", "pointwise")),
    "train embedding 0.6b": (55, lambda machine: train(machine, "0.6b", "embedding")),
    "score 0.6b": (55, lambda machine: score(machine, "0.6b")),
    "encode 0.6b": (40, lambda machine: encode(machine, "0.6b")),
    "judge 0.6b": (40, lambda machine: judge(machine, "0.6b")),
    "train pointwise 1.7b": (55, lambda machine: train(machine, "1.7b", "pointwise")),
    "train embedding 1.7b": (55, lambda machine: train(machine, "1.7b", "embedding")),
    "score 1.7b": (60, lambda machine: score(machine, "1.7b")),
}


def run(tiny: bool, folder: Path) -> dict[str, Any]:
    """All parts one after the other: figures by part, or why there are none."""
    found: dict[str, Any] = {}
    start = time.monotonic()
    environment = os.environ | {"ZELO_HOME": str(folder / "home")}
    for name, (most, _) in PARTS.items():
        left = TOTAL - (time.monotonic() - start)
        limit = left if tiny else min(most, left)
        if limit < 5:
            found[name] = "no time left"
            continue
        command = [sys.executable, __file__, "--part", name, "--folder", str(folder), *["--tiny"] * tiny]
        began = time.monotonic()
        try:
            said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
            lines = said.stdout.splitlines()
            found[name] = json.loads(lines[-1]) if said.returncode == 0 else said.stderr.strip().splitlines()[-1]
        except subprocess.TimeoutExpired:
            found[name] = f"took longer than {limit:.0f} s"
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def table(found: dict[str, Any]) -> list[str]:
    """Lines for people."""
    rows = [row for part in found.values() if isinstance(part, list) for row in part]
    peak = next((row["operations"] for row in rows if "operations" in row), None)
    lines = [f"{'':<40} {'tokens/s':>10} {'share':>6} {'goal':>5} {'peak GB':>8}"]
    for row in rows:
        if "operations" in row:
            lines.append(f"{row['what']:<40} {row['operations'] / 1e12:9.1f} TFLOP/s")
            continue
        if "tokens/s" in row:
            share = row["tokens/s"] * row["operations/token"] / peak if peak else float("nan")
            row["share"] = share
            goal = f"{row['goal']:.0%}" if "goal" in row else ""
            more = f"  {row['pairs/s']:,.1f} pairs/s" if "pairs/s" in row else ""
            lines.append(f"{row['what']:<40} {row['tokens/s']:10,.0f} {share:6.1%} {goal:>5} {row['GB']:8.2f}{more}")
        else:
            lines.append(f"{row['what']:<40} " + ", ".join(f"{k} {v:.2g}" for k, v in row.items() if k != "what"))
    lines += [f"{name}: {part}" for name, part in found.items() if isinstance(part, str)]
    return lines


def main() -> None:
    """Runs all parts, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny models on the CPU, by the same code")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the file of the figures")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        figures = PARTS[options.part][1](Machine(options.tiny, options.folder))
        print(json.dumps(figures))
        return
    import torch

    if not options.tiny and not torch.cuda.is_available():
        sys.exit("gpu.py: torch sees no GPU; --tiny runs the same code on the CPU.")
    with tempfile.TemporaryDirectory() as folder:
        found = run(options.tiny, Path(folder))
    lines = table(found)
    options.out.write_text(json.dumps({"torch": torch.__version__, "tiny": options.tiny, "parts": found}, indent=1))
    print("\n".join(lines))
    sys.exit(1 if any(isinstance(part, str) for part in found.values()) else 0)


if __name__ == "__main__":
    main()
