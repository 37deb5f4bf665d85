"""A trained and exported pairwise model in its folder: which of two documents is the better answer to a query."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from zelo.backbones.decoder import Decoder
from zelo.backbones.encoder import Encoder
from zelo.backbones.exported import SETTINGS
from zelo.backbones.model_folder import json_of
from zelo.backbones.pretrained import Pretrained, decodes
from zelo.backbones.token_batches import token_batches
from zelo.errors import BadInput

if TYPE_CHECKING:
    from zelo.progress import Advance

CHUNK = 4096  # pairs whose tokens exist at a time


class Settings(TypedDict):
    """What pairwise.json says."""

    order_bias: float
    both_orders: bool
    max_length: int
    query_length: int


class ExportedPairs:
    """Reads a query and two documents with an exported pairwise model. Code that a folder may bring along is never run."""

    def __init__(self, folder: Path, device: str, setting: str) -> None:
        """device: of torch; setting: what names the folder, for errors. Raises BadInput when it cannot be loaded."""
        self.setting = setting
        said = settings(folder, setting)
        self.order_bias, self.both_orders, self.max_length = (
            said["order_bias"],
            said["both_orders"],
            said["max_length"],
        )
        self.reader = _reader(folder, said["query_length"])
        try:
            self.tokenizer = self.reader.tokenizer()
            self.network: Any = self.reader.classifier()
            self.network.to(device)
        except (OSError, ValueError, RuntimeError, KeyError) as error:  # of whatever library reads the broken part
            words = " ".join(str(error).split())[:300]
            raise BadInput(f"{setting}: the folder cannot be loaded ({words}). Export it again.") from error

    def log_odds(
        self, queries: list[str], first: list[str], second: list[str], tokens: int, advance: "Advance | None" = None
    ) -> np.ndarray:
        """[N] float64 that the first document is preferred, in batches of at most `tokens` tokens, made from content alone.

        advance: called with how many more pairs were read.
        """
        import torch

        from zelo.backbones import classifier

        found = np.empty(len(queries))
        for low in range(0, len(queries), CHUNK):
            part = slice(low, low + CHUNK)
            rows = self.reader.triples(self.tokenizer, queries[part], first[part], second[part], self.max_length)
            for batch in token_batches(rows["input_ids"], tokens):
                chosen = {key: [values[row] for row in batch] for key, values in rows.items()}
                padded, order = classifier.padded(self.tokenizer, chosen)
                moved = {key: value.to(self.network.device) for key, value in padded.items()}
                with torch.inference_mode():
                    read = classifier.logits(self.network, moved, max(tokens, self.max_length)).cpu().numpy()
                found[low + np.array(batch)[order]] = read - self.order_bias
                if advance:
                    advance(len(batch))
        return found


def check(folder: Path, setting: str) -> None:
    """Raises BadInput for a folder that is no pairwise model, without reading its weights. setting: what names it."""
    settings(folder, setting)
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise BadInput(
            f"{setting}: the folder holds an adapter without its backbone. Export it again: adapters are merged then."
        )
    architectures = json_of(folder / "config.json", setting).get("architectures") or []
    if not any("ForSequenceClassification" in name for name in architectures):
        named = ", ".join(architectures) or "unknown"
        raise BadInput(f"{setting}: its architecture, {named}, is no one-label classifier. Export it again.")
    if not any(folder.glob("*.safetensors")):
        raise BadInput(f"{setting}: the folder has no weights (*.safetensors); copy or export it whole.")


def settings(folder: Path, setting: str) -> Settings:
    """What pairwise.json says. Raises BadInput where it is not there, or damaged. setting: what names the folder."""
    path = folder / SETTINGS
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {
            "order_bias": float(said["order_bias"]),
            "both_orders": bool(said["both_orders"]),
            "max_length": int(said["max_length"]),
            "query_length": int(said["query_length"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{setting}: {SETTINGS} cannot be read ({type(error).__name__}: {error}). Give a folder that a run exported,"
            " RUN_FOLDER/pairwise, whole."
        ) from error


def _reader(folder: Path, query_length: int) -> Encoder | Decoder:
    """The backbone that the folder holds, as it is: what is tuned for training does not matter here."""
    fields: Any = {
        **{"model": str(folder), "revision": None, "sha256": None, "lr": 1e-4},
        **{"query_length": query_length, "max_length": query_length},
        **{"frozen_layers": 0, "gradient_checkpointing": False},
    }
    pretrained = Pretrained(str(folder), None, None)
    if not decodes(pretrained):
        vectors: Any = {"storage": "float32", "pooling": "cls", "query_prompt": "", "document_prompt": ""}
        return Encoder(**fields, **vectors, precision="float32")
    dtype = str(pretrained.config().dtype or "float32").removeprefix("torch.")
    return Decoder(**fields, token="Yes", temperature=1.0, precision=dtype, lora_rank=None, lora_alpha=1.0)
