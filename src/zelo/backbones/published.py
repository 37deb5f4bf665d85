"""A published model of sentence-transformers, opened by the class that is meant, from a folder, a package or the hub."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zelo.backbones import device
from zelo.backbones.exported import CROSS_ENCODER, EMBEDDING, LOADERS, MULTI_VECTOR, loading
from zelo.backbones.model_folder import CONFIG, json_of, modules_of
from zelo.backbones.pretrained import located
from zelo.errors import BadInput
from zelo.store.hashing import hash_file, hash_json

FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
CHUNK = 1024  # texts or pairs that are read before the bar moves
# Class -> architectures of transformers that it makes a model of, whose head is trained.
HEADS = {CROSS_ENCODER: ("ForSequenceClassification", "ForCausalLM"), MULTI_VECTOR: ("HF_ColBERT", "ForRetrieval")}


@dataclass(frozen=True)
class Published:
    """A folder, `package:NAME/PATH`, or a name on the Hugging Face hub with its revision. No code of its own ever runs."""

    model: str
    revision: str | None

    @property
    def setting(self) -> str:
        """The value that names it, for errors."""
        return f"model={self.model}"

    def folder(self) -> Path:
        """The folder with its files. Raises BadInput where there is none."""
        folder = located(self.model, self.revision, FILES)
        if not folder.is_dir():
            raise BadInput(f"{self.setting}: that is a file; name a folder that sentence-transformers saved.")
        if not any(folder.rglob("*.safetensors")):
            raise BadInput(
                f"{self.setting}: the folder {folder} has no weights (*.safetensors); fetch or save it whole."
            )
        return folder

    def content(self) -> str:
        """Hash of what decides its scores."""
        folder = self.folder()
        files = sorted({path for pattern in FILES for path in folder.rglob(pattern) if path.is_file()})
        return hash_json({path.relative_to(folder).as_posix(): hash_file(path) for path in files})

    def check(self, loader: Literal["CrossEncoder", "MultiVectorEncoder"]) -> None:
        """Raises BadInput, without reading a weight, for a model of another kind: its head would be made up."""
        folder = self.folder()
        config = json_of(folder / "config.json", self.setting) if (folder / "config.json").exists() else {}
        ours = json_of(folder / CONFIG, self.setting).get("model_type") if (folder / CONFIG).exists() else None
        modules = modules_of(folder, self.setting)
        architectures = [str(name) for name in config.get("architectures") or []]
        if ours in LOADERS:
            found = ours
        elif any("Pooling" in str(module.get("type")) for module in modules):
            found = EMBEDDING
        elif modules or any(name.endswith(HEADS[loader]) for name in architectures):
            found = loader
        else:
            found = f"no {loader}"
        if found != loader:
            has = f" ({', '.join(architectures)})" if architectures else ""
            fix = {
                CROSS_ENCODER: "scorer=cross_encoder",
                MULTI_VECTOR: "scorer=multi_vector",
                EMBEDDING: "retriever=dense with backbone.model",
            }.get(found, "a model that was trained as one")
            raise BadInput(
                f"{self.setting}: {loader} would have to make up its head, for its files say {found}{has}. Use {fix}, or"
                " name another model."
            )

    def opened(self, loader: Literal["CrossEncoder", "MultiVectorEncoder"], **options: Any) -> Any:
        """The model, where the process computes. Raises BadInput where it is of another kind or cannot be loaded."""
        import sentence_transformers

        self.check(loader)
        options |= {"device": device.chosen(), "local_files_only": True, "trust_remote_code": False}
        with loading(self.setting, loader, "Fetch it again, or name another model."):
            return getattr(sentence_transformers, loader)(str(self.folder()), **options)


def by_length(lengths: Sequence[int]) -> Iterator[np.ndarray]:
    """Places of texts of about one length together, a chunk at a time."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    yield from (order[low : low + CHUNK] for low in range(0, len(order), CHUNK))


def check_batch(scorer: str, batch_size: int, max_length: int | None) -> None:
    """Raises BadInput for a size that reads nothing."""
    for name, value in (("batch_size", batch_size), ("max_length", max_length)):
        if value is not None and value < 1:
            raise BadInput(f"{scorer}: {name}={value} is too small; at least 1.")
