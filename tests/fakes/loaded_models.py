"""Models with a tiny backbone in them, as the fixture `load` of several test modules gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import tiny_models
import torch
from tiny_models import DECODERS, ENCODERS

FAMILIES = (*DECODERS, *ENCODERS)
YAML = {"qwen3": "qwen3_0_6b", "llama": "qwen3_1_7b"}  # whose settings the decoders take


def save_all(folder: Path) -> dict[str, Path]:
    """Family -> a folder with its tiny model in it."""
    return {family: tiny_models.save(family, folder / family) for family in FAMILIES}


class Loader:
    """`load("qwen3", temperature=2.0)`: the model on that family's folder; `backbone` changes its backbone."""

    def __init__(
        self,
        component: Callable[..., Any],
        folders: dict[str, Path],
        documents: pa.Table,
        model: str,
        values: dict[str, Any] | None = None,
        backbone: dict[str, Any] | None = None,
    ) -> None:
        """model: an option of the group `model`. values, backbone: what each call changes in the yamls."""
        self.component, self.folders, self.documents, self.model = component, folders, documents, model
        self.values, self.backbone = values or {}, backbone or {}

    def __call__(
        self, family: str, backbone: dict[str, Any] | None = None, model: str | None = None, **changes: Any
    ) -> Any:
        settings = {"lora_rank": None, "gradient_checkpointing": False} if family in DECODERS else {}
        settings |= {"model": str(self.folders[family])} | self.backbone | (backbone or {})
        made = self.component(f"model/{model or self.model}", **self.values | changes)
        torch.manual_seed(0)
        made.load(self.component(f"backbone/{YAML.get(family, family)}", **settings), None)
        made.prepare(self.documents)
        return made
