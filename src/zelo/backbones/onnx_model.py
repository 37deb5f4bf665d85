"""An exported model as ONNX, run by onnxruntime, tokenizers and numpy alone: no torch, no transformers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zelo.backbones.exported import CROSS_ENCODER, MULTI_VECTOR, loader_of
from zelo.backbones.model_folder import CONFIG
from zelo.errors import BadInput

FOLDER = "onnx"  # inside the exported model's
FLOAT32, INT8 = "float32", "int8"
PRECISIONS = (FLOAT32, INT8)
MODEL, QUERY, DOCUMENT = "model", "query", "document"  # what a file reads: everything, or one of two routes
BATCH = 16  # texts or pairs at a time, of about one length
_MARKS = ("QUERY-STANDS-HERE", "DOCUMENT-STANDS-HERE")


def file_name(route: str, precision: str) -> str:
    """model.onnx, or query_int8.onnx."""
    return f"{route}{'' if precision == FLOAT32 else f'_{precision}'}.onnx"


class OnnxModel:
    """Scores pairs of texts with ONNX files and the tokenizers of the exported folder that they were made from."""

    def __init__(self, folder: Path, files: Path, precision: str, setting: str) -> None:
        """folder: the export; files: the folder with its ONNX, `folder`/onnx in a run directory; precision: of the weights,

        float32 or int8; setting: what names the folder, for errors.

        Raises BadInput for a folder without such files, and where onnxruntime is not installed.
        """
        self.loader = loader_of(folder, setting)
        found = {route: files / file_name(route, precision) for route in (MODEL, QUERY, DOCUMENT)}
        found = {route: path for route, path in found.items() if path.exists()}
        if MODEL not in found and len(found) < 2:
            raise BadInput(
                f"{setting}: {files} has no {file_name(MODEL, precision)}, nor one each for queries and documents. Make them"
                " with pipeline=onnx."
            )
        prompts = json.loads((folder / CONFIG).read_text("utf-8")).get("prompts") or {}
        self.query = _Route(found.get(QUERY, found.get(MODEL)), folder, QUERY, prompts)
        same = self.loader == CROSS_ENCODER  # reads both at once
        self.document = self.query if same else _Route(found.get(DOCUMENT, found.get(MODEL)), folder, DOCUMENT, prompts)

    def scores(
        self, queries: list[str], documents: list[str], query_row: np.ndarray, doc_row: np.ndarray
    ) -> np.ndarray:
        """[N] float32 of N pairs: logits of a cross-encoder, before any sigmoid; cosines of an embedding model; of late

        interaction the mean over query tokens of the best cosine. query_row, doc_row: [N] positions in the lists of texts.
        """
        places = list(zip(query_row.tolist(), doc_row.tolist(), strict=True))
        if self.loader == CROSS_ENCODER:
            found = self.query.run([(queries[query], documents[doc]) for query, doc in places])
            return np.array([logits[0] for logits in found], np.float32)
        asked, read = self.query.run(queries), self.document.run(documents)
        if self.loader == MULTI_VECTOR:
            return np.array([(asked[query] @ read[doc].T).max(1).mean() for query, doc in places], np.float32)
        return np.array([asked[query] @ read[doc] for query, doc in places], np.float32)


class _Route:
    """One graph, and the tokenizer that writes its input."""

    def __init__(self, path: Path | None, export: Path, name: str, prompts: dict[str, str]) -> None:
        """export: the folder with the tokenizer, whose chat template, if any, frames a text. name: query or document."""
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise BadInput(f"{path} needs onnxruntime: pip install 'zelo[onnx]'.") from error
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.keys = [given.name for given in self.session.get_inputs()]
        folder = _place(export, name)
        settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.pad = self.tokenizer.token_to_id(settings["pad_token"])
        lengths = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
        self.length = int(min(lengths.get(f"{name}_length") or settings["model_max_length"], 1 << 30))
        self.prompt = prompts.get(name) or ""
        self.frame = self._frame(folder / "chat_template.jinja")
        self.tokenizer.no_padding()
        if self.frame is None:
            self.tokenizer.enable_truncation(self.length)
        else:
            self.tokenizer.no_truncation()

    def run(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[np.ndarray]:
        """The graph's output for each of N texts or pairs; vectors of tokens without those that pad."""
        tokens = self._tokens(texts)
        found: list[np.ndarray] = [np.empty(0)] * len(tokens)
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row][0]))
        for low in range(0, len(order), BATCH):
            rows = order[low : low + BATCH]
            for row, output in zip(rows, self._forward([tokens[row] for row in rows]), strict=True):
                found[row] = output[: len(tokens[row][0])] if output.ndim == 2 else output
        return found

    def _forward(self, tokens: list[tuple[list[int], list[int]]]) -> np.ndarray:
        shape = (len(tokens), max(2, *(len(ids) for ids, _ in tokens)))
        batch = {key: np.zeros(shape, np.int64) for key in self.keys}
        batch["input_ids"][:] = self.pad
        for line, (ids, types) in enumerate(tokens):
            batch["input_ids"][line, : len(ids)] = ids
            batch["attention_mask"][line, : len(ids)] = 1
            if "token_type_ids" in batch:
                batch["token_type_ids"][line, : len(ids)] = types
        [output] = self.session.run([self.session.get_outputs()[0].name], batch)
        return np.asarray(output)

    def _tokens(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        """(ids, token types) of each."""
        if self.frame is None:
            prompted = [self.prompt + text if isinstance(text, str) else text for text in texts]
            return [(found.ids, found.type_ids) for found in self.tokenizer.encode_batch(prompted)]
        before, between, after = (self._ids(part, special=True) for part in self.frame)
        room = self.length - len(before) - len(between) - len(after)
        framed = []
        for text in texts:
            asked, read = (self._ids(part.strip()) for part in ((self.prompt, text) if isinstance(text, str) else text))
            asked = asked if isinstance(text, str) else asked[: max(room // 2, room - len(read))]
            framed.append(before + asked + between + read[: room - len(asked)] + after)
        return [(ids, [0] * len(ids)) for ids in framed]

    def _ids(self, text: str, special: bool = False) -> list[int]:
        """special: whether what is written like a special token is one."""
        self.tokenizer.encode_special_tokens = not special
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def _frame(self, template: Path) -> list[str] | None:
        """What the chat template writes before, between and behind a query and its document; None without one."""
        if not template.exists():
            return None
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        messages = [{"role": role, "content": mark} for role, mark in zip((QUERY, DOCUMENT), _MARKS, strict=True)]
        written = ImmutableSandboxedEnvironment().from_string(template.read_text("utf-8")).render(messages=messages)
        before, _, rest = written.partition(_MARKS[0])
        between, _, after = rest.partition(_MARKS[1])
        return [before, between, after]


def _place(folder: Path, route: str) -> Path:
    """The folder with a route's tokenizer."""
    found = [path.parent for path in sorted(folder.glob("*/tokenizer.json")) if path.parent.name.startswith(route)]
    return found[0] if found else folder
