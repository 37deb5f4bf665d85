"""Reranks given candidates with an exported model, as it is deployed."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from zelo.backbones.exported import Exported, loader_of
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.metrics.ir_measure import ranked
from zelo.metrics.trec import write_trec
from zelo.progress import progress
from zelo.ranking import document_ids, rows_of
from zelo.records import SCORED, starts
from zelo.store.hashing import hash_file, hash_json
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.texts import document_texts
from zelo.training.hardware import Hardware

RERANKED = "reranked"  # the file without its ending: .trec or .jsonl, as what was read


@dataclass(frozen=True, kw_only=True)
class Rerank:
    """Writes scored documents (SCORED) and the run again, best first: reranked.trec, or reranked.jsonl where a jsonl was read.

    A line of the latter has `documents` in the new order, their `scores`, and `order`, the place of each in the old list. A
    score is what the folder's own activation or similarity gives: from 0 to 1 of a CrossEncoder, else a cosine; of a document
    that was split, that of its best passage.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"hardware"})

    inputs: dict[str, str]  # data: a load_run stage; passages: of its documents, or again that stage
    path: str | None  # a folder that a train stage exported
    hardware: Hardware
    batch_size: int

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise BadInput(f"stages.rerank.batch_size={self.batch_size}: must be 1 or more.")

    def content(self) -> dict[str, str]:
        """Hash of the model's files but for its README. Raises BadInput for a folder that is no model."""
        folder = self._folder()
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
        return {"path": hash_json({path.relative_to(folder).as_posix(): hash_file(path) for path in files})}

    def check(self) -> None:
        """Raises BadInput where the hardware is not there."""
        self.hardware.check()

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput when the model cannot be loaded, or gives what is no number."""
        data = tables["data"]
        queries, documents, candidates = (data.read(name) for name in ("queries", "documents", "candidates"))
        query_row = rows_of(candidates["query_id"], queries["query_id"])
        doc_row = rows_of(candidates["doc_id"], documents["doc_id"])
        passages = tables["passages"].read("documents")
        begin, part = _parts(rows_of(document_ids(passages), documents["doc_id"]), doc_row)
        model = Exported(self._folder(), self.hardware.device, self._setting, self.batch_size)
        with progress("rerank", len(part), "pairs") as advance:
            texts = queries["text"].to_pylist(), document_texts(passages)
            each = model.scores(*texts, np.repeat(query_row, np.diff(begin)), part, advance)
        score = np.maximum.reduceat(each, begin[:-1])
        if not np.isfinite(score).all():
            where = int(np.argmin(np.isfinite(score)))
            named = [candidates[name][where].as_py() for name in ("query_id", "doc_id")]
            raise BadInput(
                f"{self._setting}: the model gives no number for query {named[0]!r} and document {named[1]!r}."
                " Its weights are damaged; export it again."
            )
        scored = pa.table([candidates["query_id"], candidates["doc_id"], score], schema=SCORED)
        write_parquet(scored, SCORED, out, "scored")
        if data.has("other"):  # what else the lines of a jsonl said
            _write_jsonl(data, query_row, doc_row, score, out / f"{RERANKED}.jsonl")
        else:
            write_trec(ranked(scored), self._folder().resolve().name, out / f"{RERANKED}.trec")
        return {"rows": len(scored), "queries": len(queries), "loader": model.loader}

    @property
    def _setting(self) -> str:
        return f"model_path={self.path or 'null'}"

    def _folder(self) -> Path:
        if not self.path:
            raise BadInput(f"{self._setting} names no folder. Write model_path=FOLDER: RUN_FOLDER/reranker, say.")
        folder = Path(self.path).expanduser()
        loader_of(folder, self._setting)
        return folder


def _parts(home: np.ndarray, doc_row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([N + 1] where the passages of each of N documents begin, [P] rows of these passages).

    home: [passages] row of the document that each is from, ascending; doc_row: [N].
    """
    first = np.searchsorted(home, np.arange(int(home[-1]) + 2))
    sizes = np.diff(first)[doc_row]
    begin = starts(sizes)
    return begin, np.arange(begin[-1]) + np.repeat(first[doc_row] - begin[:-1], sizes)


def _write_jsonl(data: Table, query_row: np.ndarray, doc_row: np.ndarray, score: np.ndarray, path: Path) -> None:
    """query_row: [N] ascending."""
    queries, texts, others = data.read("queries")["text"], data.read("documents")["text"], data.read("other")["json"]
    ends = np.searchsorted(query_row, np.arange(len(queries) + 1))
    with path.open("w", encoding="utf-8") as file:
        for number, (low, high) in enumerate(pairwise(ends)):
            order = np.argsort(-score[low:high], kind="stable")
            line = {
                "query": queries[number].as_py(),
                "documents": texts.take(pa.array(doc_row[low:high][order])).to_pylist(),
                "scores": [
                    float(str(value)) for value in score[low:high][order]
                ],  # the shortest that reads back the same
                "order": order.tolist(),
            }
            file.write(json.dumps({**json.loads(others[number].as_py()), **line}, ensure_ascii=False) + "\n")
