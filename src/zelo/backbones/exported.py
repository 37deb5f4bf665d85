"""A trained and exported model, opened by sentence-transformers, as a user without zelo opens it."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zelo.backbones.model_folder import CONFIG, json_of
from zelo.backbones.pair_scorer import PairScorer, is_plain
from zelo.errors import BadInput

if TYPE_CHECKING:
    from zelo.progress import Advance

CROSS_ENCODER, MULTI_VECTOR, EMBEDDING = "CrossEncoder", "MultiVectorEncoder", "SentenceTransformer"
LOADERS = (CROSS_ENCODER, MULTI_VECTOR, EMBEDDING)
STUDENTS = ("reranker", "embedding")  # folders of a run that hold a model
SETTINGS = "pairwise.json"  # of a pairwise model: order_bias, both_orders, max_length, query_length
MATRIX = "matrix.safetensors"  # an export that is no model but a matrix over document vectors, with a README of its own
EXPORT_AGAIN = "Export it again."
CHUNK = 1024  # documents encoded, or pairs read, before the bar moves; vectors of more are never held
PAIRS = 4096  # vectors compared at a time


def loader_of(folder: Path, setting: str) -> str:
    """The class of sentence-transformers that opens the folder, found without loading it.

    setting: the value that names the folder, for the error. Raises BadInput for what is no model, or not in safetensors.
    """
    if not folder.is_dir():
        raise BadInput(f"{setting}: there is no such folder. Give one that a run exported: RUN_FOLDER/reranker.")
    if (folder / "adapter_config.json").exists() and not any(folder.glob("model*.safetensors")):
        raise BadInput(
            f"{setting}: the folder holds an adapter without its backbone. Merge the two with peft's merge_and_unload(), or give"
            " a folder that a run exported: adapters are merged there."
        )
    if (folder / SETTINGS).exists():
        raise BadInput(
            f"{setting}: the folder is a pairwise model, which compares two documents and scores none. It judges:"
            " judge=student judge.path=FOLDER. Give RUN_FOLDER/reranker here."
        )
    ours = json_of(folder / CONFIG, setting).get("model_type") if (folder / CONFIG).exists() else None
    if ours in LOADERS:
        found = ours
    elif (folder / "modules.json").exists():  # as sentence-transformers took for granted before it had several classes
        found = EMBEDDING
    elif any("ForSequenceClassification" in name for name in _architectures(folder, setting)):
        found = CROSS_ENCODER
    elif (folder / "adapter_config.json").exists():
        raise BadInput(
            f"{setting}: the folder holds an adapter without its backbone. Merge the two with peft's merge_and_unload(), save"
            " the result, or give the folder that a run exported: there they are merged."
        )
    else:
        inside = [name for name in STUDENTS if (folder / name).is_dir()]
        fix = f" Did you mean {' or '.join(str(folder / name) for name in inside)}?" if inside else ""
        raise BadInput(
            f"{setting}: the folder is no {', '.join(LOADERS[:-1])} or {LOADERS[-1]} of sentence-transformers."
            + (fix or " Give one that a run exported: RUN_FOLDER/reranker or RUN_FOLDER/embedding.")
        )
    if not any(folder.rglob("*.safetensors")):
        raise BadInput(f"{setting}: the folder has no weights (*.safetensors); copy or export it whole.")
    return found


def _architectures(folder: Path, setting: str) -> list[str]:
    path = folder / "config.json"
    return list(json_of(path, setting).get("architectures") or []) if path.exists() else []


class Exported:
    """Scores pairs of texts with an exported model. Code that a folder may bring along is never run."""

    def __init__(self, folder: Path, device: str, setting: str, batch_size: int) -> None:
        """device: of torch; setting: what names the folder, for errors; batch_size: texts or pairs at a time.

        A plain classifier is read by transformers, as many tokens at a time as are fastest, anything else by
        sentence-transformers. Raises BadInput when the folder cannot be loaded.
        """
        self.loader, self.batch_size = loader_of(folder, setting), batch_size
        self.classifier: PairScorer | None = None
        self.model: Any = None
        if self.loader == CROSS_ENCODER and is_plain(folder):
            with loading(setting, "transformers", EXPORT_AGAIN):
                self.classifier = PairScorer(folder, device)
        else:
            self.model = opened(folder, device, setting)

    def as_log_odds(self) -> None:
        """From now on a cross-encoder's scores are its logits, whatever activation the folder names."""
        if self.classifier is not None:
            self.classifier.activated = False
        elif self.loader == CROSS_ENCODER:
            import torch

            self.model.activation_fn = torch.nn.Identity()

    def rank(self, query: str, documents: list[str]) -> list[tuple[int, float]]:
        """(place among the documents, score) of each, best first. Raises TypeError for anything but texts."""
        check_texts(query, documents)
        places = np.arange(len(documents))
        score = self.scores([query], documents, np.zeros_like(places), places)
        return [(int(place), float(score[place])) for place in np.argsort(-score, kind="stable")]

    def scores(
        self,
        queries: list[str],
        documents: list[str],
        query_row: np.ndarray,
        doc_row: np.ndarray,
        advance: "Advance | None" = None,
    ) -> np.ndarray:
        """[N] float32 scores of N pairs, as the folder's own activation or similarity gives them; higher is better.

        query_row, doc_row: [N] positions in the two lists of texts. advance: called with how many more pairs are scored.
        """
        found = np.zeros(len(query_row), np.float32)
        if self.classifier is not None:
            chunks = self.classifier.scores
        else:
            chunks = self._read if self.loader == CROSS_ENCODER else self._compare
        for rows, scores in chunks(queries, documents, query_row, doc_row):
            found[rows] = scores
            if advance:
                advance(len(rows))
        return found

    def tokens(self, query: str, documents: list[str]) -> int:
        """How many tokens it reads to score the documents, what is cut and what fills up a batch left out."""
        if self.classifier is not None:
            return self.classifier.tokens([query] * len(documents), documents)
        return tokens_read(self.model, self.loader, query, documents)

    def _read(
        self, queries: list[str], documents: list[str], query_row: np.ndarray, doc_row: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of about one length together."""
        size = (
            np.array([len(text) for text in queries])[query_row] + np.array([len(text) for text in documents])[doc_row]
        )
        order = np.argsort(size, kind="stable")
        for low in range(0, len(order), CHUNK):
            rows = order[low : low + CHUNK]
            pairs = [
                (queries[query], documents[doc]) for query, doc in zip(query_row[rows], doc_row[rows], strict=True)
            ]
            yield rows, self.model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False)

    def _compare(
        self, queries: list[str], documents: list[str], query_row: np.ndarray, doc_row: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each document is encoded once, whatever the number of queries that name it."""
        options = {"batch_size": self.batch_size, "show_progress_bar": False}
        asked = self.model.encode_query(queries, **options)
        place = np.argsort(np.array([len(text) for text in documents]), kind="stable")
        where = np.empty(len(place), np.int64)
        where[place] = np.arange(len(place))
        order = np.argsort(where[doc_row], kind="stable")
        for low in range(0, len(place), CHUNK):
            ends = np.searchsorted(where[doc_row][order], [low, low + CHUNK])
            vectors = self.model.encode_document([documents[row] for row in place[low : low + CHUNK]], **options)
            for start in range(ends[0], ends[1], PAIRS):
                rows = order[start : min(start + PAIRS, ends[1])]
                left = [asked[row] for row in query_row[rows]]
                right = [vectors[row - low] for row in where[doc_row[rows]]]
                if self.loader == EMBEDDING:
                    left, right = np.stack(left), np.stack(right)
                yield rows, self.model.similarity_pairwise(left, right).float().cpu().numpy()


def tokens_read(model: Any, loader: str, query: str, documents: list[str]) -> int:
    """Tokens of a query and documents as a model of sentence-transformers reads them. loader: its class, one of LOADERS."""
    if loader == CROSS_ENCODER:
        parts = [model.preprocess([(query, text) for text in documents])]
    else:
        parts = [model.preprocess([query], task="query"), model.preprocess(documents, task="document")]
    return sum(int(part["attention_mask"].sum()) for part in parts)


def check_texts(query: str, documents: list[str]) -> None:
    """Raises TypeError for a query that is no text, and for documents that are one text: it would be ranked letter by letter."""
    if not isinstance(query, str):
        raise TypeError(f"query is {type(query).__name__}; give one text.")
    if isinstance(documents, (str, bytes)) or not all(isinstance(document, str) for document in documents):
        raise TypeError(f"documents is {documents!r:.60}; give a list of texts: [text, text].")


def opened(folder: Path, device: str, setting: str) -> Any:
    """The folder as sentence-transformers opens it. Raises BadInput when it cannot be loaded."""
    import sentence_transformers

    loader = loader_of(folder, setting)
    options = {"device": device, "local_files_only": True, "trust_remote_code": False}
    with loading(setting, loader, EXPORT_AGAIN):
        return getattr(sentence_transformers, loader)(str(folder), **options)


@contextlib.contextmanager
def loading(setting: str, loader: str, fix: str) -> Iterator[None]:
    """Inside, whatever a library says of a folder that it cannot read is one BadInput. setting: the value that names it."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        with quiet():
            yield
    except Exception as error:  # of whatever library reads the broken part: they have no class in common
        words = " ".join(str(error).split())[:300]
        raise BadInput(
            f"{setting}: {loader} cannot load the folder ({type(error).__name__}: {words}). {fix}"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Sentence-transformers remarks that the two routes cut at different lengths, which is meant."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
