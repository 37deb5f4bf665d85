"""Writes an exported model once more as ONNX, in float32 and in int8: files that run without torch."""

import contextlib
import importlib.util
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zelo.backbones.exported import CROSS_ENCODER, MULTI_VECTOR, loader_of, opened, quiet
from zelo.backbones.onnx_model import DOCUMENT, FLOAT32, FOLDER, INT8, MODEL, QUERY, file_name
from zelo.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

ONE_FILE = 1_800_000_000  # bytes of weights; above it they lie beside the graph, as protobuf holds 2 GB at most
LOGITS, SENTENCE, TOKENS = "logits", "sentence_embedding", "token_embeddings"
HIDDEN = "last_hidden_state"  # what optimum reads, and sentence-transformers' modules pool: backend="onnx"
OUTPUTS = {
    CROSS_ENCODER: ("scores", LOGITS),
    MULTI_VECTOR: (TOKENS, TOKENS),
}  # sentence-transformers' name, and the graph's
_EXAMPLE = ["one", "a text of more tokens than the other has", "two", "three"]  # no dimension of them is 1


def check_installed() -> None:
    """Raises BadInput where what writes and runs ONNX is not installed."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(
            f"pipeline=onnx needs {' and '.join(missing)}: pip install 'zelo[onnx]', or leave pipeline=onnx out."
        )


def write(folder: Path, out: Path, setting: str) -> list[str]:
    """Writes model.onnx and model_int8.onnx of the exported model in `folder`, or one pair for each route; returns the names.

    A cross-encoder gives `logits` [B, 1], an embedding model `sentence_embedding` [B, dim] of length 1, late interaction
    `token_embeddings` [B, L, dim] of length 1; the latter two give `last_hidden_state` [B, L, dim], too. int8: dynamic
    quantisation by onnxruntime, weights in int8, one scale a tensor. setting: what names the folder, for errors.
    Raises BadInput for a folder that cannot be loaded.
    """
    feature, name = OUTPUTS.get(loader_of(folder, setting), (SENTENCE, SENTENCE))
    out.mkdir(parents=True, exist_ok=True)
    names = []
    for route, modules in _routes(opened(folder, "cpu", setting)).items():
        path = out / file_name(route, FLOAT32)
        _write_float(modules, feature, name, path)
        _write_int8(path, out / file_name(route, INT8))
        names += [path.name, file_name(route, INT8)]
    return names


def link_sides(folder: Path) -> None:
    """Links `folder`/onnx to where sentence-transformers' backend="onnx" looks for each side of a model with a Router."""
    for side in (QUERY, DOCUMENT):
        files = [*folder.glob(f"{FOLDER}/{side}.onnx*"), *folder.glob(f"{FOLDER}/{side}_*.onnx*")]
        for place in [*folder.glob(f"{side}_0_*"), *folder.glob(side)] if files else []:
            (place / FOLDER).mkdir(exist_ok=True)
            for path in files:  # a graph names the file with its weights, which keeps its name
                name = path.name if path.name.endswith(".data") else path.name.replace(side, MODEL, 1)
                target = place / FOLDER / name
                target.unlink(missing_ok=True)
                try:
                    os.link(path, target)
                except OSError:  # a file system without links
                    shutil.copyfile(path, target)


def _routes(model: Any) -> "dict[str, list[nn.Module]]":
    """The modules that a query or a document goes through, by route; one route where both are read alike."""
    first, *rest = model
    if type(first).__name__ != "Router":
        return {MODEL: [first, *rest]}
    return {route: [*modules, *rest] for route, modules in first.sub_modules.items()}


def _write_float(modules: "list[nn.Module]", feature: str, name: str, path: Path) -> None:
    import torch

    class Graph(torch.nn.Module):
        """Tensors in the order of `keys` -> those of `names`, through sentence-transformers' own modules."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(modules)

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features: dict[str, torch.Tensor] = dict(zip(keys, tensors, strict=True))
            hidden = ()
            for part in self.parts:
                features = part(features)
                hidden = hidden or ((features[TOKENS],) if HIDDEN in names else ())
            return features[feature], *hidden

    names = [name] if name == LOGITS else [name, HIDDEN]
    reader: Any = modules[0]
    tokens = reader.tokenizer(_EXAMPLE, padding=True, return_tensors="pt")
    keys = [key for key in ("input_ids", "attention_mask", "token_type_ids") if key in tokens]
    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("sequence", min=2)
    weights = sum(weight.numel() * weight.element_size() for part in modules for weight in part.parameters())
    with _quiet():
        torch.onnx.export(
            Graph().eval().float(),
            tuple(tokens[key] for key in keys),
            path,
            dynamo=True,  # the older exporter is silently wrong here
            dynamic_shapes={"tensors": tuple({0: batch, 1: length} for _ in keys)},
            input_names=keys,
            output_names=names,
            external_data=weights > ONE_FILE,
            verbose=False,
        )


def _write_int8(source: Path, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = source.with_name(f"{source.name}.data").exists()
    with _quiet():
        quantize_dynamic(source, path, weight_type=QuantType.QInt8, use_external_data_format=large)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress, and both libraries warn of what does not matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with quiet():
            yield
