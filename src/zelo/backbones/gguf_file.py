"""GGUF files, as llama.cpp reads them: made once into a plain folder of the store, which is then read like any other model."""

import contextlib
import importlib.util
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zelo.errors import BadInput
from zelo.fingerprint.code_hash import code_hash
from zelo.store.hashing import hash_json
from zelo.store.store import Store

SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_WHOLE = ("F32", "F16", "F64")  # types of matrices that bfloat16 would round


def unpacked(path: Path, sha256: str) -> Path:
    """A folder with config.json, the tokenizer and model.safetensors of the language model in a GGUF file.

    Weights are bfloat16 where the file's matrices are quantized, else float32. sha256: of the file. Raises BadInput where the
    package gguf is missing, and for a file or an architecture that transformers cannot read.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise BadInput(f"backbone.model={path}: this is no GGUF file. Fetch it again, or name another.")
    if importlib.util.find_spec("gguf") is None:
        raise BadInput(f"backbone.model={path}: reading a GGUF file takes the package gguf: pip install 'zelo[lm]'.")

    def make(folder: Path, _partial: object) -> dict[str, Any]:
        print(f"{path.name} is made into a folder of the store, once", file=sys.stderr, flush=True)
        _convert(path, folder)
        return {"sha256": sha256}

    identity = hash_json({"sha256": sha256, "code": code_hash(__name__)})
    return Store.current().obtain("models", identity, make)[0].path


def _convert(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    architecture, whole = _described(path)
    options: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    try:
        with _silent():
            tokenizer = AutoTokenizer.from_pretrained(path.parent, **options)
            read: Any = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **options)
    except MemoryError:
        raise
    except Exception as error:  # of many classes, as the file's fields are asked for one by one
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")
        raise BadInput(
            f"backbone.model={path}: transformers cannot read a GGUF file of the architecture {architecture!r} ({reason})."
            " Name another model, or a folder with its weights as safetensors."
        ) from error
    config = read.config
    del config.quantization_config  # the weights are plain now
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32
        )  # transformers saves no model read from GGUF
    plain.load_state_dict(read.state_dict(), assign=True)
    plain.tie_weights()
    plain.to(torch.float32 if whole else torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _described(path: Path) -> tuple[str, bool]:
    """(architecture, whether a matrix is not quantized). Raises BadInput for a file that is cut or has another layout."""
    from gguf import GGUFReader

    try:
        reader: Any = GGUFReader(path)
        architecture = reader.fields["general.architecture"].contents()
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise BadInput(
            f"backbone.model={path}: this GGUF file cannot be read ({error}). Fetch it again, or name another."
        ) from error
    matrices = (tensor for tensor in reader.tensors if len(tensor.shape) > 1)
    return str(architecture), any(tensor.tensor_type.name in _WHOLE for tensor in matrices)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Transformers draws a bar of its own for GGUF tensors."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
