"""What sentence-transformers saved in a folder, read so that training goes on from there: each encoder, and how it reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from zelo.backbones.model_folder import CONFIG, json_of, modules_of
from zelo.backbones.pretrained import Pretrained
from zelo.errors import BadInput
from zelo.store.hashing import hash_json

if TYPE_CHECKING:
    import numpy as np


ROUTES = "router_config.json"
POOLING = {"mean": "mean", "cls": "cls", "lasttoken": "last"}  # sentence-transformers' name -> zelo's
SHARES = ("tokenizer.json",)  # of both sides: a text is read by one tokenizer
EARLIER = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "lasttoken"}
READ = {"Transformer", "Pooling", "Normalize", "MultiVectorMask"}  # what zelo's own models do, too


class NamedBackbone(Protocol):
    """A dataclass that names a model."""

    @property
    def model(self) -> str:
        """A folder, among others."""
        ...

    @property
    def revision(self) -> str | None:
        """Of a name on the hub."""
        ...

    @property
    def sha256(self) -> str | None:
        """Of the weights."""
        ...


Some = TypeVar("Some", bound=NamedBackbone)


@dataclass(frozen=True)
class SavedModel:
    """A folder of a SentenceTransformer, a MultiVectorEncoder or a CrossEncoder."""

    query: Path  # the folder with the transformer that reads queries
    document: Path  # the same for documents; the same folder where one transformer reads both
    pooling: str | None  # mean, cls or last; None where the folder names none of them
    prompts: dict[str, str]
    query_length: int | None  # tokens; None where the folder does not tell the sides apart
    document_length: int | None
    pair_length: int | None  # tokens of a pair that a CrossEncoder reads
    dense: tuple[Path, ...]  # of the document side: matrices that its vectors are moved by, the first one first

    @property
    def differ(self) -> bool:
        """Whether queries and documents are read by two transformers."""
        return self.query != self.document


def saved(model: str) -> SavedModel | None:
    """What is in the folder; None for a name that is no folder, and a folder that sentence-transformers did not save.

    model: as a backbone names it. Raises BadInput for modules that zelo would leave out, and sides that read texts differently.
    """
    folder, setting = Path(model).expanduser(), f"backbone.model={model}"
    modules = modules_of(folder, setting) if folder.is_dir() else []
    if not modules:
        return None
    first, *rest = ((_kind(module["type"]), folder / str(module["path"])) for module in modules)
    if first[0] == "Router":
        found = json_of(first[1] / ROUTES, setting)
        routes = {
            side: [(_kind(found["types"][name]), first[1] / name) for name in found["structure"].get(side, [])] + rest
            for side in ("query", "document")
        }
    else:
        routes = {"query": [first, *rest], "document": [first, *rest]}
    for route in routes.values():
        _check(route, setting)
    for name in SHARES:
        read = {path.read_bytes() for path in (route[0][1] / name for route in routes.values()) if path.exists()}
        if len(read) > 1:
            raise BadInput(f"{setting}: queries and documents have a {name} each, and a student reads texts by one.")
    poolings = {side: _pooling(route, setting) for side, route in routes.items()}
    if len(set(poolings.values())) > 1:
        raise BadInput(
            f"{setting}: vectors of queries are pooled by {poolings['query']} and those of documents by"
            f" {poolings['document']}; a student has one pooling. Name one side: a folder with query/ or document/."
        )
    query, document = routes["query"], routes["document"]
    dense = tuple(path for kind, path in document if kind == "Dense")
    if dense and (first[0] != "Router" or any(kind == "Dense" for kind, _ in query)):
        raise BadInput(
            f"{setting}: its vectors go through Dense modules, as shorter ones do, and a student has none. Name the model that"
            " they were put on."
        )
    said = json_of(folder / CONFIG, setting) if (folder / CONFIG).exists() else {}
    lengths = [_length(route[0][1], side, first[0] == "Router", setting) for side, route in routes.items()]
    pairs = said.get("model_type") == "CrossEncoder"
    return SavedModel(
        query=query[0][1],
        document=document[0][1],
        pooling=poolings["query"],
        prompts={side: str(text or "") for side, text in (said.get("prompts") or {}).items()},
        query_length=lengths[0],
        document_length=lengths[1],
        pair_length=_whole(json_of(query[0][1] / "tokenizer_config.json", setting).get("model_max_length"))
        if pairs
        else None,
        dense=dense,
    )


def pretrained(backbone: NamedBackbone) -> Pretrained:
    """What reads queries, and documents, too, where the two sides do not differ. Raises BadInput as `saved` does."""
    found = saved(backbone.model)
    there = backbone.model if found is None or found.query == Path(backbone.model).expanduser() else str(found.query)
    return Pretrained(there, backbone.revision, backbone.sha256)


def of_documents(backbone: Some) -> Some:
    """What reads documents: the same backbone, or one of the other side's transformer."""
    found = saved(backbone.model)
    if found is None or not found.differ:
        return backbone
    whole: Any = backbone
    return replace(whole, model=str(found.document), sha256=None)


def one(backbone: NamedBackbone) -> Pretrained:
    """What reads everything. Raises BadInput where the two sides differ."""
    found = saved(backbone.model)
    if found and found.differ:
        raise BadInput(
            f"backbone.model={backbone.model}: the folder has an encoder for queries and another for documents, and this student"
            f" is one. Name the one that it begins with, such as {Path(backbone.model) / 'query'}"
        )
    return pretrained(backbone)


def content(backbone: NamedBackbone) -> dict[str, str]:
    """Hash of the weights, the architecture and the tokenizer, of both sides where they differ."""
    hashed, moved = {"model": pretrained(backbone).content()}, document_matrix(backbone)
    if (read := of_documents(backbone)) is not backbone:
        hashed["documents"] = pretrained(read).content()
    return hashed if moved is None else hashed | {"matrix": hash_json(moved.tolist())}


def document_matrix(backbone: NamedBackbone) -> "np.ndarray | None":
    """[dim, dim] that the folder moves document vectors by; None for none. Raises BadInput for another kind of module."""
    found = saved(backbone.model)
    return _matrix(found.dense) if found else None


def _matrix(dense: Sequence[Path]) -> "np.ndarray | None":
    """[dim, dim] W, so that normalise(d + W d) is what the Dense modules make of a vector d one after the other."""
    import numpy as np
    from safetensors.numpy import load_file

    found: np.ndarray | None = None
    for folder in dense:
        config = json_of(folder / "config.json", f"the module {folder}")
        if config.get("bias") or not config.get("use_residual") or _kind(config["activation_function"]) != "Identity":
            raise BadInput(
                f"the module {folder} is no matrix that is added to a vector; training cannot go on from it."
            )
        weight = load_file(folder / "model.safetensors")["linear.weight"]
        found = weight if found is None else found + weight + weight @ found
    return found


def _kind(name: str) -> str:
    return str(name).rpartition(".")[2]


def _check(route: list[tuple[str, Path]], setting: str) -> None:
    odd = [kind for kind, _ in route if kind not in READ | {"Dense"}]
    if not route or route[0][0] != "Transformer" or odd:
        what = f"a module {odd[0]}" if odd else "no Transformer for queries and documents"
        raise BadInput(f"{setting}: the folder has {what}, which a student cannot go on from. Name another folder.")


def _pooling(route: list[tuple[str, Path]], setting: str) -> str | None:
    folders = [folder for kind, folder in route if kind == "Pooling"]
    if not folders:
        return None
    config: dict[str, Any] = json_of(folders[0] / "config.json", setting)
    earlier = [name for key, name in EARLIER.items() if config.get(key)]
    return POOLING.get(config.get("pooling_mode") or (earlier[0] if len(earlier) == 1 else ""))


def _length(folder: Path, side: str, routed: bool, setting: str) -> int | None:
    read = json_of(folder / "sentence_bert_config.json", setting)
    if (own := read.get(f"{side}_length")) or not routed:
        return _whole(own)
    whole = read.get("max_seq_length") or json_of(folder / "tokenizer_config.json", setting).get("model_max_length")
    return _whole(whole)


def _whole(length: object) -> int | None:
    """The length; None for the huge number that stands for none."""
    return length if isinstance(length, int) and length < 1 << 20 else None
