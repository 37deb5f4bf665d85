"""Query likelihood (judge=likelihood) against a plain loop over pairs: the same model, numbers and pairs, in one process.

Usage: python benchmarks/likelihood.py [--backbone smollm2] [--model FOLDER_OR_FILE] [--documents 40] [--top 100] [--threads 2]
The pairs are those that BM25 finds for the queries of pydocs, of some documents drawn by chance. A round scores 1/ROUNDS of the
documents with all pairs that they are in, and then a few of these pairs one by one, each as a whole prompt. Prints pairs and
prompt tokens a second of both (a pair counts its document, the words around it and its query), the ratio over all rounds, and the
largest difference of a score.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from zelo.ranking import rows_of

LOOPED = 12  # pairs a round that the loop reads
ROUNDS = 5


def main() -> None:
    """Prints a line for each way, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--model", help="backbone.model, a folder or a GGUF file")
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--top", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    scorer = component("scorer/query_likelihood")
    more = {"model": options.model, "sha256": None} if options.model else {}
    scorer = replace(scorer, backbone=replace(component(f"backbone/{options.backbone}"), **more))
    queries, documents, query_row, doc_row = pairs(options.documents, options.top)
    asked = continuations(scorer, queries, documents, query_row, doc_row)
    tokens = sum(len(one.prefix) + len(text) for one in asked for text in one.texts)
    print(
        f"{len(query_row):,} pairs of {len(asked):,} documents, {tokens / len(query_row):.0f}"
        f" tokens a pair, {scorer.backbone.language_precision()}, {options.threads} threads",
        flush=True,
    )
    compare(scorer._network, asked, scorer.batch_tokens)


def compare(network: Any, asked: list[Any], batch_tokens: int) -> None:
    """Reads both ways in turn."""
    from zelo.backbones.prefix_cache import log_likelihoods

    order = np.random.default_rng(0).permutation(len(asked))
    seconds, sizes, worst = np.zeros(2), np.zeros((2, 2)), 0.0
    for part in np.array_split(order, ROUNDS):
        some = [asked[n] for n in part]
        each = [(one.prefix, text) for one in some for text in one.texts]
        few = np.random.default_rng(1).permutation(len(each))[:LOOPED]
        spent, found = timed(lambda some=some: log_likelihoods(network, some, batch_tokens))
        more, alone = timed(lambda each=each, few=few: [whole(network, *each[n]) for n in few])
        seconds += spent, more
        for way, rows in enumerate((range(len(each)), few)):
            sizes[way] += len(rows), sum(len(each[n][0]) + len(each[n][1]) for n in rows)
        worst = max(worst, float(np.abs(found[few] - alone).max()))
    rate = sizes / seconds[:, None]
    for name, (pair, token) in zip(("prefixes read once", "loop over pairs"), rate, strict=True):
        print(f"{name:20} {pair:8.1f} pairs/s {token:8,.0f} prompt tokens/s")
    print(f"{rate[0, 0] / rate[1, 0]:.1f} times as fast; largest difference of a score {worst:.2g}")


def timed(read: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, what it gives)."""
    start = time.perf_counter()
    found = read()
    return time.perf_counter() - start, found


def whole(network: Any, prefix: list[int], text: list[int]) -> float:
    """The score of one pair by one pass over its prompt."""
    import torch

    with torch.inference_mode():
        logits = network(torch.tensor([prefix + text], device=network.device), use_cache=False).logits[0]
    at = torch.log_softmax(logits[len(prefix) - 1 : -1].float(), 1)
    return float(at[torch.arange(len(text)), text].mean())


def pairs(count: int, top: int) -> tuple[pa.Table, pa.Table, np.ndarray, np.ndarray]:
    """(queries, documents, and of each pair the rows in them): what BM25 finds, of `count` documents."""
    corpus = component("dataset/pydocs").load()
    found = component("retriever/bm25").search(corpus.queries, corpus.documents, top)
    query, document = (
        rows_of(found["query_id"], corpus.queries["query_id"]),
        rows_of(found["doc_id"], corpus.documents["doc_id"]),
    )
    drawn = np.random.default_rng(0).permutation(np.unique(document))[:count]
    kept = np.isin(document, drawn)
    return corpus.queries, corpus.documents, query[kept], document[kept]


def continuations(scorer: Any, queries: pa.Table, documents: pa.Table, query: np.ndarray, document: np.ndarray) -> Any:
    """What the scorer asks of the network, a prefix for each document."""
    from zelo.backbones.prefix_cache import Continuations
    from zelo.ranking import groups

    before, bridge = scorer._frame
    texts = scorer._queries(queries, np.arange(len(queries)))
    return [
        Continuations([*before, *scorer._windows(documents, row)[0], *bridge], [texts[n] for n in query[at]])
        for row, at in groups(document, query)
    ]


def component(option: str) -> Any:
    """`retriever/bm25`: that option of that group."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from zelo.pipeline import instantiate
    from zelo.places import config_folder

    group, _, name = option.partition("/")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return instantiate.build(instantiate.described(compose(None, [f"+{group}={name}"]))[group], option)


if __name__ == "__main__":
    main()
