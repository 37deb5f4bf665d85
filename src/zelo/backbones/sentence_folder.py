"""The modules of sentence-transformers that read texts as a backbone does."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zelo.backbones.lora import merged
from zelo.protocols import Backbone

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Transformer
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

POOLING: dict[str, Literal["mean", "cls", "lasttoken"]] = {"mean": "mean", "cls": "cls", "last": "lasttoken"}


def transformer(
    backbone: Backbone,
    tokenizer: "PreTrainedTokenizerFast",
    network: "PreTrainedModel",
    task: str | None,
    tuned: bool,
) -> "Transformer":
    """A Transformer module for texts of a task, `query` or `document`, or, with None, for both.

    network: the tuned one, which gives the number format and, where `tuned`, the weights, adapters merged; else they are the
    backbone's own. tokenizer: as the backbone's `text_tokenizer` gives it.
    """
    from sentence_transformers.base.modules import Transformer

    lengths = {"query": backbone.query_length, "document": backbone.max_length}
    how: dict[str, Any] = {"max_seq_length": lengths[task]} if task else {"max_seq_length": max(lengths.values())}
    if not task:
        how |= {"query_length": lengths["query"], "document_length": lengths["document"]}
    if tokenizer.chat_template is not None:  # the prompt becomes the system message, the text the user's
        method = {"method": "forward", "method_output_name": "last_hidden_state"}
        how |= {"modality_config": {"text": method, "message": {**method, "format": "flat"}}}
        how |= {"module_output_name": "token_embeddings"}
    place = backbone.document_folder() if task == "document" and not tuned else backbone.folder()
    part = Transformer(str(place), model_kwargs={"dtype": network.dtype}, **how)
    if tokenizer.chat_template is not None:
        for name in ("chat_template", "pad_token", "padding_side", "truncation_side"):
            setattr(part.processor, name, getattr(tokenizer, name))
    if tuned:
        part.auto_model.load_state_dict(merged(network))
    return part


def pooled(part: "Transformer", backbone: Backbone, width: int) -> "list[nn.Module]":
    """The modules that make one vector of length 1 of a text that the Transformer module `part` read."""
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    return [part, Pooling(width, pooling_mode=POOLING[backbone.pooling]), Normalize()]


def prompts(backbone: Backbone) -> dict[str, str]:
    """What stands before a query and a document."""
    return {"query": backbone.query_prompt, "document": backbone.document_prompt}


def write_routes(query: list[Any], document: list[Any], prompts: dict[str, str], folder: Path) -> None:
    """A SentenceTransformer with a Router, and in it query/ and document/, where plain `encode` reads a text of that side.

    query, document: the modules of each route. The weights of both forms are one file on disk (hard links).
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    router = Router.for_query_document(query_modules=query, document_modules=document)
    SentenceTransformer(modules=[router], prompts=prompts, device="cpu").save_pretrained(str(folder))
    for task, modules in (("query", query), ("document", document)):
        alone = SentenceTransformer(
            modules=modules, prompts={task: prompts[task]}, default_prompt_name=task, device="cpu"
        )
        alone.save_pretrained(str(folder / task))
        [routed] = folder.glob(f"{task}_0_*")
        for path in routed.glob("*.safetensors"):
            (folder / task / path.name).unlink()
            os.link(path, folder / task / path.name)
