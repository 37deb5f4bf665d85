"""What makes query likelihood better, without labels: title, length, bridge, windows and numbers, on known items of pydocs.

Usage: python benchmarks/known_likelihood.py [--items 80] [--among 3000] [--top 5] [--threads 2] [--model FOLDER_OR_FILE]
A known item is a sentence that was taken out of a document; the sentence is the query, and the document without it the answer
(zelo.known_items). It is held against the best `top` others of BM25. Prints the mean reciprocal rank of the answer for each
variant, the difference from the default with its standard error, and the seconds it took.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from likelihood import component
from zelo import known_items
from zelo.ranking import rows_of

PLAIN = {"before": "", "bridge": "\n\n"}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "float32": {"precision": "float32"},
    "no title": {"title": False},
    "48 tokens": {"document_tokens": 48},
    "192 tokens": {"document_tokens": 192},
    "best of 3 windows": {"windows": 3},
    "bridge: empty line": PLAIN,
    "bridge: Question": {"bridge": "\n\nQuestion:"},
    "bridge: Please write a question based on this passage": {
        "before": "Passage: ",
        "bridge": "\nPlease write a question based on this passage.\nQuestion:",
    },
}


def main() -> None:
    """A line for each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=80)
    parser.add_argument("--among", type=int, default=3000)
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", help="backbone.model, a folder or a GGUF file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    documents = component("dataset/pydocs").load().documents
    made = known_items.Items.of(documents, options.items, options.among, 0)
    query, document = against(made, options.top)
    plain = component("scorer/query_likelihood")
    if options.model:
        plain = replace(plain, backbone=replace(plain.backbone, model=options.model, sha256=None))
    print(f"{options.items} known items among {len(made.documents):,} documents, {len(query):,} pairs", flush=True)
    first = None
    for name, fields in VARIANTS.items():
        start, backbone = time.perf_counter(), plain.backbone
        if "precision" in fields:
            backbone = replace(backbone, precision=fields["precision"])
        rest = {key: value for key, value in fields.items() if key != "precision"}
        score = replace(plain, backbone=backbone, **rest).score(made.queries, made.documents, query, document)
        reciprocal = ranks(score, query, document, made.wanted)
        first = reciprocal if first is None else first
        change = reciprocal - first
        error = change.std() / len(change) ** 0.5
        print(
            f"{name:55} MRR {reciprocal.mean():.3f}  {change.mean():+.3f} (SE {error:.3f})  {time.perf_counter() - start:5.0f} s",
            flush=True,
        )


def against(made: known_items.Items, top: int) -> tuple[np.ndarray, np.ndarray]:
    """[N] rows of queries and documents: each item's own document, and `top` others."""
    found = component("retriever/bm25").search(made.queries, made.documents, top + 1)
    query, document = (
        rows_of(found["query_id"], made.queries["query_id"]),
        rows_of(found["doc_id"], made.documents["doc_id"]),
    )
    other = document != made.wanted[query]
    place = np.concatenate([np.arange(count) for count in np.bincount(query[other], minlength=len(made.wanted))])
    query, document = query[other][place < top], document[other][place < top]
    return np.concatenate([np.arange(len(made.wanted)), query]), np.concatenate([made.wanted, document])


def ranks(score: np.ndarray, query: np.ndarray, document: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[I] 1 / rank of each item's document; what is as good stands before it."""
    own = score[document == wanted[query]][np.argsort(query[document == wanted[query]])]
    before = np.bincount(query[score >= own[query]], minlength=len(wanted))
    return 1 / before


if __name__ == "__main__":
    main()
