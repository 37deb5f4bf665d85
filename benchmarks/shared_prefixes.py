"""`judge=causal_lm` with and without reading once what prompts of a query have in common, on the Python documentation.

Run: python benchmarks/shared_prefixes.py [MODEL_FOLDER] [--queries N] [--documents K] [--degree D]. Without a folder: SmolLM2 of
its package. A line gives tokens read, seconds, and the largest difference of a preference, in float32 and by turns.
"""

import argparse
import time
from typing import Any

import hydra
import numpy as np
import torch
import yaml

from plots import TOP
from zelo.backbones.shared_prefixes import SharedPrefixes
from zelo.datasets.pydocs import Pydocs
from zelo.errors import ModelNotFound
from zelo.judges.causal_lm import CausalLm
from zelo.pools import Pools
from zelo.records import Questions
from zelo.retrievers.bm25 import Bm25


def component(name: str, **changes: Any) -> Any:
    fields = yaml.safe_load((TOP / "conf" / f"{name}.yaml").read_text())
    fields.pop("defaults", None)
    return hydra.utils.get_class(fields.pop("_target_"))(**fields | changes)


def asked(queries: int, documents: int, degree: int) -> Questions:
    """Pairs of the default graph between the first candidates of some dev queries."""
    corpus = Pydocs().load()
    some = corpus.queries.filter(np.array(corpus.queries["split"].to_pylist()) == "dev").slice(0, queries)
    retriever: Bm25 = component("retriever/bm25")
    pools = Pools.of(retriever.search(some, corpus.documents, documents), some, corpus.documents)
    seeds = np.arange(len(pools.sizes), dtype=np.uint64)
    edges = component("graph/cycles", degree=degree).propose(pools.sizes, seeds, None)
    query = np.repeat(pools.query_row, pools.sizes)[edges[:, 0]]
    a, b = pools.doc_row[edges].T
    return Questions(some, corpus.documents, query, a, b, np.zeros(len(edges), np.int16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    for name, value in (("queries", 2), ("documents", 20), ("degree", 4), ("document-tokens", 96), ("rounds", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    changes = {"model": options.model, "sha256": None} if options.model else {}
    backbone = component("backbone/smollm2", precision="float32", **changes)
    questions = asked(options.queries, options.documents, options.degree)
    try:
        judge: CausalLm = component(
            "judge/causal_lm", backbone=backbone, document_tokens=options.document_tokens, verdict_mass=0.0
        )
        network: Any = judge._network
    except ModelNotFound as error:
        print(error)
        return
    read = 0

    def count(_network: object, _arguments: object, named: dict[str, torch.Tensor]) -> None:
        nonlocal read
        read += named["input_ids"].numel()

    network.register_forward_pre_hook(count, with_kwargs=True)
    keeps, p, tokens, seconds = SharedPrefixes._keeps_all, {}, {}, dict.fromkeys((False, True), 0.0)
    for _ in range(options.rounds):
        for shared in (False, True):
            SharedPrefixes._keeps_all = keeps if shared else (lambda _: False)  # type: ignore[method-assign]
            read, start = 0, time.perf_counter()
            p[shared] = judge.compare(questions).p
            seconds[shared] += time.perf_counter() - start
            tokens[shared] = read
    print(
        f"{len(questions)} pairs: {tokens[False]:,} tokens -> {tokens[True]:,} ({tokens[False] / tokens[True]:.2f} x fewer),"
        f" {seconds[False]:.1f} s -> {seconds[True]:.1f} s ({seconds[False] / seconds[True]:.2f} x),"
        f" preferences differ by at most {np.abs(p[True] - p[False]).max():.1e}"
    )


if __name__ == "__main__":
    main()
