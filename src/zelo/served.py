"""The hybrid that a run exported, as a search engine: BM25, the embedding and the reranker, mixed as hybrid.json says."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from zelo.backbones.exported import Exported, check_texts
from zelo.backbones.vectors import hash_texts, kept
from zelo.errors import BadInput
from zelo.hybrid_score import EMBEDDING, FILE, RERANKER, HybridScore
from zelo.passages import DEEPER
from zelo.progress import progress
from zelo.ranking import document_ids
from zelo.records import DOCUMENT
from zelo.retrievers.bm25 import Bm25, scorer
from zelo.store.hashing import hash_file, hash_json
from zelo.store.store import Store
from zelo.texts import document_texts

AT_ONCE = 1024  # documents
BATCH = 32
TOP_K = 100  # documents of each part, where hybrid.json does not say


class Served:
    """Ranks texts, or searches the documents of the run, which lie in the store ($ZELO_HOME) where the run was made."""

    def __init__(self, folder: Path, device: str, setting: str) -> None:
        """folder: of a run, with hybrid.json and both models; device: of torch; setting: what names the folder, for errors.

        Raises BadInput where a part is missing or cannot be loaded.
        """
        self.hybrid, said = HybridScore.read(folder / FILE)
        self.setting, self.pool, self.said = setting, said.get("pool") or TOP_K, said.get("documents")
        names = [said["parts"][part].get("model") for part in (EMBEDDING, RERANKER)]
        for part, name in zip((EMBEDDING, RERANKER), names, strict=True):
            if not name or not (folder / name).is_dir():
                raise BadInput(f"{setting}: {FILE} needs the {part} in the folder {name}; copy the run's folder whole.")
        self.bm25 = Bm25(**said["bm25"])
        self.models = [Exported(folder / name, device, f"{setting}, {name}", BATCH) for name in names]
        self.models[1].as_log_odds()
        self.vectors_of = hash_json(
            {path.name: hash_file(path) for path in sorted((folder / names[0]).rglob("*.safetensors"))}
        )

    def rank(self, query: str, documents: list[str]) -> list[tuple[int, float]]:
        """(place among the documents, score) of each, best first; words count as they do in the run's documents.

        Raises TypeError for anything but texts, BadInput where the run's documents are not in the store.
        """
        check_texts(query, documents)
        nothing = [""] * len(documents)
        given = pa.table([nothing, nothing, documents], schema=DOCUMENT)
        read = pa.concat_tables([self.documents.select(DOCUMENT.names), given])
        words = scorer(self.bm25, read)(query)[len(self.documents) :]
        cosines, reranked = (self._scored(model, query, documents) for model in self.models)
        score = self.hybrid.scores(np.stack([words, cosines, reranked], axis=1))
        return [(int(place), float(score[place])) for place in np.argsort(-score, kind="stable")]

    def search(self, query: str, top_k: int = 10) -> list[tuple[str, float]]:
        """(doc_id, score) of the `top_k` best documents of the run. The first search encodes them all, once for this store.

        Of a document that was split, the best passage counts.
        """
        check_texts(query, [])
        words = self._words(query)
        [vector] = self.models[0].model.encode_query([query], show_progress_bar=False)
        cosines = self._vectors @ vector
        ids = np.array(self.documents["doc_id"].to_pylist())
        found = [self._best(np.lexsort((ids, -score)), self.pool) for score in (words, cosines)]
        pool = np.unique(np.concatenate([found[0][words[found[0]] > 0], found[1]]))
        reranked = self._scored(self.models[1], query, document_texts(self.documents.take(pa.array(pool))))
        score = self.hybrid.scores(np.stack([words[pool], cosines[pool], reranked], axis=1))
        order = np.lexsort((ids[pool], -score))
        score_of = dict(zip(pool.tolist(), score.tolist(), strict=True))
        best = self._best(pool[order], top_k)
        return [(self._id(row), score_of[row]) for row in best.tolist()]

    def _best(self, rows: np.ndarray, top_k: int) -> np.ndarray:
        """The first row of each document, `top_k` at most. rows: [N] of the documents, best first."""
        if self._homes is None:
            return rows[:top_k]
        depth = top_k
        while True:  # the passages of few documents can fill the first places
            first = np.unique(self._homes[rows[:depth]], return_index=True)[1]
            if len(first) >= top_k or depth >= len(rows):
                return rows[np.sort(first)[:top_k]]
            depth *= DEEPER

    @cached_property
    def _homes(self) -> np.ndarray | None:
        """[D] a number for the document that each row is a passage of; None where documents are whole."""
        if "document_id" not in self.documents.column_names:
            return None
        return self.documents["document_id"].combine_chunks().dictionary_encode().indices.to_numpy()

    def _id(self, row: int) -> str:
        return document_ids(self.documents)[row].as_py()

    def nearest(self, query: str, top_k: int = 10) -> list[tuple[str, float]]:
        """(doc_id, cosine) of the `top_k` documents of the run that are nearest to the query by the embedding alone."""
        check_texts(query, [])
        [vector] = self.models[0].model.encode_query([query], show_progress_bar=False)
        cosines = self._vectors @ vector
        best = self._best(np.argsort(-cosines, kind="stable"), top_k)
        return [(self._id(row), float(cosines[row])) for row in best.tolist()]

    @cached_property
    def documents(self) -> pa.Table:
        """DOCUMENT or PASSAGE rows of the run."""
        kind, _, identity = str(self.said).partition("/")
        store = Store.default()
        table = store.find(kind, identity)
        if table is None:
            raise BadInput(
                f"{self.setting}: the documents of the run ({self.said}) are not in the store {store.root}. Set ZELO_HOME to the"
                " store that it used, or run its command again."
            )
        return table.read("documents")

    @cached_property
    def _words(self) -> Callable[[str], np.ndarray]:
        return scorer(self.bm25, self.documents)

    @cached_property
    def _vectors(self) -> np.ndarray:
        """[D, dim] of length 1, as the exported embedding makes them; encoded once and kept in the store."""
        texts = document_texts(self.documents)

        def make(folder: Path) -> None:
            parts = [np.zeros((0, 1), np.float32)] * (not texts)
            with progress("encoding documents", len(texts), "texts") as advance:
                for low in range(0, len(texts), AT_ONCE):
                    some = texts[low : low + AT_ONCE]
                    parts.append(self.models[0].model.encode_document(some, batch_size=BATCH, show_progress_bar=False))
                    advance(len(some))
            np.save(folder / "pooled.npy", np.concatenate(parts).astype(np.float32))

        return kept({"export": self.vectors_of, "texts": hash_texts(texts)}, make).pooled

    @staticmethod
    def _scored(model: Exported, query: str, documents: list[str]) -> np.ndarray:
        """[N] scores of the documents."""
        places = np.arange(len(documents))
        return model.scores([query], documents, np.zeros_like(places), places)
