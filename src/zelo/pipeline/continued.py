"""A student that begins from a folder of sentence-transformers reads texts as that folder says."""

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zelo.backbones.sides import SavedModel, saved

READERS = ("zelo.backbones.encoder.Encoder", "zelo.backbones.decoder.Decoder")
POINTWISE = "zelo.models.pointwise.Pointwise"  # a pair's length is a value of the model


def complete(config: DictConfig, overrides: Sequence[str]) -> None:
    """Where a backbone's `model` is such a folder, its prompts, pooling and lengths become those of the folder.

    overrides: of the command line; what they give stays. The sha256 of a backbone's own weights is no longer asked for. Raises
    BadInput for a folder that no student can go on from.
    """
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    for place, node in list(_backbones(config, "")):
        if (found := saved(str(node["model"]))) is None:
            continue
        for key, value in _fields(config, place, found).items():
            if value is not None and key not in given and OmegaConf.select(config, key) != value and _has(config, key):
                OmegaConf.update(config, key, value)
        if f"{place}.sha256" not in given:
            OmegaConf.update(config, f"{place}.sha256", None)


def _fields(config: DictConfig, place: str, found: SavedModel) -> dict[str, Any]:
    """Key -> what the folder says, None where it says nothing. place: of the backbone."""
    model = f"{place.removesuffix('backbone')}model"
    reads_pairs = OmegaConf.select(config, f"{model}._target_") == POINTWISE
    return {
        f"{place}.pooling": found.pooling,
        f"{place}.query_prompt": found.prompts.get("query"),
        f"{place}.document_prompt": found.prompts.get("document"),
        f"{place}.query_length": found.query_length,
        f"{place}.max_length": found.document_length,
        f"{model}.max_length": found.pair_length if reads_pairs else None,
    }


def _has(config: DictConfig, key: str) -> bool:
    above, _, name = key.rpartition(".")
    node = OmegaConf.select(config, above)
    return isinstance(node, DictConfig) and name in node


def _backbones(node: DictConfig, place: str) -> Iterator[tuple[str, DictConfig]]:
    """(key, node) of each backbone that names a model; what stages refer to is found where it stands."""
    for key in map(str, node):
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key) or (not place and key == "stages"):
            continue
        below, at = node[key], f"{place}.{key}" if place else key
        if isinstance(below, DictConfig):
            if below.get("_target_") in READERS and isinstance(below.get("model"), str):
                yield at, below
            yield from _backbones(below, at)
