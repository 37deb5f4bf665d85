"""A small collection and students whose scores are planted, for stages that search by several models together."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from components import component

from zelo.records import DOCUMENT, EXAMPLE, QUERY
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.training.student import Student

WORDS = ["red", "green", "blue", "black", "white", "pink"]
DOCUMENTS = [f"d{n:02}" for n in range(30)]
BACKWARDS = np.arange(30.0)[::-1].copy()


class Planted:
    """Scores a document by a table of one number each; searches by it, too."""

    def __init__(self, score: np.ndarray) -> None:
        self.score, self.scale = torch.tensor(score), torch.tensor(2.0)

    def load(self, *_: Any) -> None: ...
    def prepare(self, documents: pa.Table) -> None: ...
    def to(self, device: str) -> None: ...

    def search(self, queries: list[str], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """The documents with the largest numbers, for each query."""
        best = torch.argsort(-self.score, stable=True)[:top_k].numpy()
        return np.tile(best, (len(queries), 1)), np.zeros((len(queries), top_k))

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Any]:
        """Their rows."""
        rows = torch.from_numpy(doc_rows)
        return {"rows": rows}

    def __call__(self, batch: Any) -> Any:
        return self.score[batch["rows"].clamp(min=0)] * self.scale


def table(folder: Path, **parts: tuple[pa.Schema, list[Any]]) -> Table:
    """A table of these parts: name -> schema and columns."""
    folder.mkdir(exist_ok=True)
    for name, (schema, columns) in parts.items():
        write_parquet(pa.table(columns, schema=schema), schema, folder, name)
    return Table("kind", "identity", folder, {})


def collection(folder: Path) -> dict[str, Table]:
    """30 documents of one or two words; 10 dev queries and 2 test queries, one of them with the id of a document."""
    texts = [f"{WORDS[n % 6]} {WORDS[n % 5]}" for n in range(30)]
    ids = [*(f"q{n}" for n in range(10)), "t0", "d03"]
    queries = [ids, [WORDS[n % 6] for n in range(12)], ["dev"] * 10 + ["test"] * 2]
    found = {
        "data": table(folder / "data", queries=(QUERY, queries), documents=(DOCUMENT, [DOCUMENTS, [""] * 30, texts])),
        "examples": table(folder / "none", examples=(EXAMPLE, [[], [], [], [], []])),
    }
    for role in ("embedding", "reranker"):
        (folder / role / "export").mkdir(parents=True)
        for name in ("modules.json", "model.safetensors"):
            (folder / role / "export" / name).write_text("")
        found[role] = Table("train", role, folder / role, {})
    return found


def fields(embedding: np.ndarray, reranker: np.ndarray) -> dict[str, Any]:
    """What a stage that searches by both holds. embedding, reranker: [30] the number of each document."""

    def student(score: np.ndarray) -> Student:
        parts: Any = dict.fromkeys(("backbone", "loss", "optimizer", "scheduler", "loader", "trainer"))
        return Student(model=Planted(score), **parts)  # type: ignore[arg-type]

    return {
        "bm25": component("retriever/bm25"),
        "embedding": student(embedding),
        "reranker": student(reranker),
        "hardware": SimpleNamespace(device="cpu"),
        "splits": ["test"],
        "top_k": 3,
        "keep_own_document": False,
        "batch_queries": 4,
        "items": 0,
        "documents": 30,
        "seed": 0,
    }
