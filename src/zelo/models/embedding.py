"""A bi-encoder: cosine of query and document vectors. Its query side alone learns, or both sides, or a matrix over documents."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import save_file
from torch import Tensor, nn

from zelo.backbones import exported, sentence_folder
from zelo.backbones.nearest import chunks, nearest
from zelo.backbones.restored import restore
from zelo.backbones.vectors import check_lengths, padded, pool, vectors_of
from zelo.errors import BadInput
from zelo.protocols import Backbone, NamedModel, ParameterGroup, VectorSource
from zelo.texts import document_texts

QUERY, BOTH, MATRIX = "query", "both", "matrix"
_README = """A matrix for stored document vectors [N, dim] of length 1, in Python; query vectors stay as they are.
`documents += documents @ safetensors.numpy.load_file("matrix.safetensors")["matrix"].T`
`documents /= np.linalg.norm(documents, axis=1, keepdims=True)`
"""


class Embedding(nn.Module):
    """score = cos(query, document) * scale.

    trains: `query`: the query encoder alone, document vectors stay those of the backbone and no index is built again; `both`: one
    encoder reads queries and documents in each step, `tokens` tokens of documents at a time, padding included; `matrix`: nothing
    but the document matrix, on stored vectors.
    With `document_matrix` a residual matrix W, which starts at zero, moves document vectors: normalise(d + W d) (one matrix
    product over a stored index). temperature: 1 / scale at the start; null takes half of the untuned scores' deviation within a
    query.
    """

    scale: Tensor

    def __init__(
        self,
        *,
        trains: Literal["query", "both", "matrix"],
        temperature: float | None,
        document_matrix: bool,
        tokens: int,
    ) -> None:
        super().__init__()
        if trains not in (QUERY, BOTH, MATRIX):
            raise BadInput(f"model.trains={trains}: choose one of {QUERY}, {BOTH}, {MATRIX}.")
        if temperature is not None and temperature <= 0:
            raise BadInput(f"model.temperature={temperature}: must be above 0, or null to measure it.")
        if tokens < 1:
            raise BadInput(f"model.tokens={tokens}: at least 1; 8192 suits most machines.")
        if trains == MATRIX and not document_matrix:
            raise BadInput("model.trains=matrix: there is none to train; set model.document_matrix=true.")
        if trains == BOTH and document_matrix:
            raise BadInput(
                "model.document_matrix=true moves document vectors that stay as they are; with model.trains=both they learn"
                " themselves: set it to false."
            )
        self.trains, self.temperature = trains, temperature
        self.document_matrix, self.tokens = document_matrix, tokens
        self.register_buffer("scale", torch.tensor(1.0 / (temperature or 1.0)))

    def check(self, backbone: object) -> None:
        """Raises BadInput for a backbone that gives no vectors, or whose vectors cannot learn."""
        name = type(backbone).__name__
        if not isinstance(backbone, VectorSource):
            raise BadInput(
                f"model=embedding needs a backbone that gives vectors, and {name} gives none; use backbone=minilm."
            )
        if self.trains != MATRIX and not isinstance(backbone, Backbone):
            raise BadInput(
                f"model.trains={self.trains} needs a backbone that can learn, and {name} holds vectors alone. Set"
                " model.trains=matrix and model.document_matrix=true."
            )
        if self.trains == BOTH and isinstance(backbone, Backbone):
            _check_one(backbone)

    def load(self, backbone: Backbone, checkpoint: Path | None) -> None:
        """Makes the encoder from the backbone; trained weights come from `checkpoint`/weights.safetensors.

        Raises BadInput for lengths that the backbone cannot read, and for a checkpoint of another architecture.
        """
        self.check(backbone)
        self.backbone = backbone
        self.width = backbone.width()
        if self.trains != MATRIX:
            self.tokenizer = backbone.text_tokenizer()
            self.network = backbone.network()
            check_lengths(self.network, backbone)
            for prompt, length in (
                (backbone.query_prompt, backbone.query_length),
                (backbone.document_prompt, backbone.max_length),
            ):
                self._read([""], prompt, length)  # a template that leaves no room is said here
        self.matrix = nn.Parameter(torch.zeros(self.width, self.width)) if self.document_matrix else None
        if checkpoint:
            restore(self, checkpoint, backbone.model if isinstance(backbone, NamedModel) else type(backbone).__name__)

    def parameter_groups(self, lr: float) -> list[ParameterGroup]:
        """What the backbone has frozen does not learn; the matrix starts at zero and learns ten times as fast."""
        network = [] if self.trains == MATRIX else list(self.network.parameters())
        groups: list[ParameterGroup] = [{"params": [weight for weight in network if weight.requires_grad], "lr": lr}]
        if self.matrix is not None:
            groups.append({"params": [self.matrix], "lr": 10 * lr})
        return [group for group in groups if group["params"]]

    def prepare(self, documents: pa.Table) -> None:
        """Opens the backbone's document vectors [N, dim], which stay on disk; with trains=both keeps the texts instead."""
        if self.trains == BOTH:
            self.documents = documents
        else:
            self.vectors = self.backbone.documents(documents).pooled

    def prepare_queries(self, queries: pa.Table) -> None:
        """With trains=matrix opens the vectors of all queries that will be asked. queries: QUERY."""
        if self.trains == MATRIX:
            self.asked, self.asked_vectors = queries["text"].combine_chunks(), self.backbone.queries(queries).pooled

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Tensor]:
        """B queries and `doc_rows` [B, D], -1 where there is no document.

        Queries are token ids and mask [B, L], or vectors [B, dim] that stay as they are. With trains=both the batch's U documents
        come as token ids and mask [U, L], shortest first, and `doc_place` [B, D] says where each is.
        """
        batch = {"doc_rows": torch.from_numpy(doc_rows.astype(np.int64))}
        if self.trains == MATRIX:
            return {**batch, "vectors": torch.from_numpy(self._stored(queries))}
        ids = self._read(queries, self.backbone.query_prompt, self.backbone.query_length)
        batch["input_ids"], batch["attention_mask"] = padded(ids)
        if self.trains == BOTH:
            rows, place = np.unique(doc_rows[doc_rows >= 0], return_inverse=True)
            ids = self._document_ids(rows)
            order = np.argsort([len(row) for row in ids], kind="stable")
            batch["doc_ids"], batch["doc_mask"] = padded([ids[row] for row in order])
            where = np.zeros(doc_rows.shape, np.int64)
            where[doc_rows >= 0] = np.argsort(order)[place]
            batch["doc_place"] = torch.from_numpy(where)
        return batch

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, D] scores."""
        return self._compared(*self._both_sides(batch))

    def at_widths(self, batch: Mapping[str, Tensor], widths: list[int]) -> Tensor:
        """[B, D, 1 + W] scores of the whole vectors and of their first `widths` numbers, brought to length 1."""
        queries, documents = self._both_sides(batch)
        cut = [
            (F.normalize(queries[..., :width], dim=-1), F.normalize(documents[..., :width], dim=-1)) for width in widths
        ]
        return torch.stack([self._compared(*sides) for sides in [(queries, documents), *cut]], dim=2)

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, dim] query vectors of length 1."""
        return batch["vectors"] if self.trains == MATRIX else self._encoded(batch["input_ids"], batch["attention_mask"])

    def query_vectors(self, queries: list[str]) -> np.ndarray:
        """[Q, dim] float32 vectors of length 1."""
        if self.trains == MATRIX:
            return self._stored(queries)
        ids = self._read(queries, self.backbone.query_prompt, self.backbone.query_length)
        return vectors_of(self.network, ids, self.backbone.pooling)

    def document_vectors(self, rows: slice) -> np.ndarray:
        """[n, dim] float32 vectors of length 1 of some of the prepared documents, as queries are compared with them."""
        if self.trains == BOTH:
            ids = self._document_ids(np.arange(*rows.indices(len(self.documents))))
            return vectors_of(self.network, ids, self.backbone.pooling)
        with torch.no_grad():
            return self._moved(self._frozen(np.arange(*rows.indices(len(self.vectors))))).cpu().numpy()

    def search(self, queries: list[str], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows [Q, top_k] of the prepared documents, scores [Q, top_k]), best first; the corpus is read in chunks."""
        count = len(self.documents if self.trains == BOTH else self.vectors)
        return self.nearest(queries, map(self.document_vectors, chunks(count)), top_k)

    @property
    def reads_documents(self) -> bool:
        """Whether the encoder of both sides makes their vectors."""
        return self.trains == BOTH

    def nearest(self, queries: list[str], documents: Iterator[np.ndarray], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, of documents whose vectors of length 1 are given, some at a time and in their order."""
        device = self.scale.device
        asked = torch.from_numpy(self.query_vectors(queries)).to(device)
        rows, found = nearest(asked, (torch.from_numpy(part).to(device) for part in documents), top_k)
        return rows, found * self.scale.item()

    def _both_sides(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """[B, dim] query and [B, D, dim] document vectors of length 1."""
        if self.trains != BOTH:
            return self.encode(batch), self._moved(self._frozen(batch["doc_rows"].clamp(min=0).cpu().numpy()))
        lengths, parts, start = batch["doc_mask"].sum(1).tolist(), [], 0
        while start < len(lengths):
            end = start + 1
            while end < len(lengths) and (end + 1 - start) * lengths[end] <= self.tokens:
                end += 1
            part = slice(start, end), slice(lengths[end - 1])
            parts.append(self._encoded(batch["doc_ids"][part], batch["doc_mask"][part]))
            start = end
        return self.encode(batch), torch.cat(parts)[batch["doc_place"]]

    def _compared(self, queries: Tensor, documents: Tensor) -> Tensor:
        return torch.einsum("bw,bdw->bd", queries, documents) * self.scale

    def _encoded(self, ids: Tensor, mask: Tensor) -> Tensor:
        tokens = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        return pool(tokens, mask, self.backbone.pooling)

    def _frozen(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.vectors[rows]).to(self.scale.device)

    def _moved(self, documents: Tensor) -> Tensor:
        return documents if self.matrix is None else F.normalize(documents + documents @ self.matrix.T, dim=-1)

    def _read(self, texts: list[str], prompt: str, length: int) -> list[list[int]]:
        return self.backbone.texts(self.tokenizer, texts, prompt, length)

    def _document_ids(self, rows: np.ndarray) -> list[list[int]]:
        texts = document_texts(self.documents.take(pa.array(rows)))
        return self._read(texts, self.backbone.document_prompt, self.backbone.max_length)

    def _stored(self, queries: list[str]) -> np.ndarray:
        rows = pc.index_in(pa.array(queries, pa.string()), self.asked)
        return np.array(self.asked_vectors[rows.to_numpy()], np.float32)

    def export(self, folder: Path) -> None:
        """A SentenceTransformer, its prompts included; where the matrix alone learns, that matrix.

        With trains=both it is a plain one; else a Router, whose query route is the tuned encoder and whose document route is the
        backbone, and the matrix. Beside it lie query/ and document/, each route alone, for what knows no Router.
        """
        if self.trains == MATRIX:
            assert self.matrix is not None
            return _write_matrix(self.matrix, folder)
        from sentence_transformers import SentenceTransformer

        prompts = sentence_folder.prompts(self.backbone)
        if self.trains == BOTH:
            part = sentence_folder.transformer(self.backbone, self.tokenizer, self.network, None, tuned=True)
            modules = sentence_folder.pooled(part, self.backbone, self.width)
            SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save_pretrained(str(folder))
        else:
            sentence_folder.write_routes(self._route("query"), self._route("document"), prompts, folder)
        return None

    def _route(self, task: str) -> list[nn.Module]:
        from sentence_transformers.base.modules import Dense, Normalize

        tuned = task == "query"
        part = sentence_folder.transformer(self.backbone, self.tokenizer, self.network, task, tuned)
        modules = sentence_folder.pooled(part, self.backbone, self.width)
        moving = None if tuned else self._moving()
        if moving is None:
            return modules
        dense = Dense(self.width, self.width, bias=False, activation_function=nn.Identity(), use_residual=True)
        dense.linear.weight.data.copy_(moving)
        return [*modules, dense, Normalize()]

    def _moving(self) -> Tensor | None:
        """[dim, dim] the matrix over the vectors of the document transformer: what learned, behind what the backbone has."""
        given = self.backbone.document_matrix()
        if given is None:
            return None if self.matrix is None else self.matrix.data
        before = torch.from_numpy(given)
        if self.matrix is None:
            return before
        learned = self.matrix.data.cpu()
        return before + learned + learned @ before

    def exported_scores(self, folder: Path, queries: list[str], doc_rows: np.ndarray) -> np.ndarray | None:
        """[N] cosines by what `export` wrote, where it is no folder of sentence-transformers; else None."""
        if self.trains != MATRIX:
            return None
        documents = np.array(self.vectors[doc_rows], np.float32)
        documents += documents @ load_numpy(folder / exported.MATRIX)["matrix"].T
        documents /= np.linalg.norm(documents, axis=1, keepdims=True)
        return np.einsum("nd,nd->n", self._stored(queries), documents)


def _check_one(backbone: Backbone) -> None:
    """Raises BadInput where queries and documents are not read by one transformer alone."""
    moved = "a matrix over document vectors" if backbone.document_matrix() is not None else ""
    found = (
        "an encoder for queries and another for documents" if backbone.document_folder() != backbone.folder() else moved
    )
    if found:
        raise BadInput(
            f"model.trains=both trains one encoder, and the folder of the backbone has {found}. Set model.trains=query, or let"
            f" backbone.model name the side that both begin with, such as {backbone.folder().parent / 'query'}"
        )


def _write_matrix(matrix: Tensor, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"matrix": matrix.detach().cpu().contiguous()}, folder / exported.MATRIX)
    (folder / "README.md").write_text(_README, encoding="utf-8")
