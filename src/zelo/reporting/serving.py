"""How an exported folder is used elsewhere: what loads it, with which flags, and what does not; for its card."""

import json
from pathlib import Path
from string import Template

from zelo.backbones.exported import CROSS_ENCODER, EMBEDDING, MULTI_VECTOR
from zelo.backbones.model_folder import CONFIG
from zelo.facts import Facts

# Classifiers of one label that vLLM's page on scoring and TEI's page on supported models name (read in November 2026).
VLLM = ("BertForSequenceClassification", "RobertaForSequenceClassification", "XLMRobertaForSequenceClassification")
VLLM_DECODERS = ("Qwen3ForSequenceClassification",)
TEI = ("bert", "roberta", "camembert", "xlm-roberta", "modernbert")
CHECKED = {
    CROSS_ENCODER: "Folders of this layout gave the same scores in sentence-transformers 6.2, transformers 5.23,"
    " langchain-community 0.3.30 and llama-index-postprocessor-sbert-rerank 0.6.0. What is said of vLLM and Text Embeddings"
    " Inference is from their documentation; neither was run.",
    EMBEDDING: "Folders of this layout gave the same vectors in sentence-transformers 6.2 and langchain-huggingface 0.3.1.",
    MULTI_VECTOR: "Folders of this layout gave the same scores in sentence-transformers 6.2.",
}
_TRANSFORMERS = """**transformers**: `AutoModelForSequenceClassification.from_pretrained("$folder")` gives the logit;
its sigmoid is the score.$framed"""
_FRAMED = " A pair is written by the tokenizer's chat template, as messages of the roles `query` and `document`."
_VLLM = """**vLLM** (not checked here$listed):

```sh
vllm serve $folder --runner pooling$template
curl http://localhost:8000/rerank -H 'Content-Type: application/json' \\
  -d '{"model": "$folder", "query": "read a file", "documents": ["open() gives a file.", "random.choice() picks."]}'
```

Of one label it gives the sigmoid; `"use_activation": false` in the request gives the logit."""
_TEI = """**Text Embeddings Inference** (not checked here):

```sh
docker run -p 8080:80 -v $$PWD/$folder:/model ghcr.io/huggingface/text-embeddings-inference:cpu-1.8 --model-id /model
curl http://localhost:8080/rerank -H 'Content-Type: application/json' \\
  -d '{"query": "read a file", "texts": ["open() gives a file.", "random.choice() picks."]}'
```"""
_RERANKERS = """**LangChain and LlamaIndex**:

```python
from langchain_community.cross_encoders import HuggingFaceCrossEncoder
from llama_index.postprocessor.sbert_rerank import SentenceTransformerRerank

reranker = HuggingFaceCrossEncoder(model_name="$folder")
postprocessor = SentenceTransformerRerank(model="$folder", top_n=10)
```"""
_EMBEDDINGS = """**LangChain**:

```python
from langchain_huggingface import HuggingFaceEmbeddings

embeddings = HuggingFaceEmbeddings(model_name="$folder", query_encode_kwargs={"task": "query"})
```

Without `query_encode_kwargs` queries would be read as documents are. **LlamaIndex**: $llama"""
_ROUTED = (
    "its `HuggingFaceEmbedding` cannot name a route: `$folder/document` makes the vectors of an index, `$folder/query` those of"
    " queries. It puts prompts of its own before texts: those of the folder, if any, are `text_instruction` and"
    " `query_instruction` there."
)
_SIDES = (
    "`$folder/query` and `$folder/document` are each side as a plain SentenceTransformer, where no route is known: `encode` reads"
    " a text of that side. "
)
_ONNX = """**ONNX**, without torch (`onnx/$file_name`, and `_int8` beside it; what int8 costs is in the run's manifest):

```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

session = onnxruntime.InferenceSession("$folder/onnx/$file_name")
tokenizer = Tokenizer.from_file("$folder/${inside}tokenizer.json")
tokenizer.enable_truncation($length)
tokenizer.enable_padding(pad_id=$pad, pad_token="$pad_token")
read = tokenizer.encode_batch($texts)
parts = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
given = {key.name: np.array([getattr(text, parts[key.name]) for text in read]) for key in session.get_inputs()}
found = session.run(None, given)[0]
print($result)
```

$through"""
_THROUGH_OPTIMUM = (
    'With optimum-onnx sentence-transformers runs the same files: `$loader("$folder", backend="onnx")`$sides, and the int8 ones'
    ' with `model_kwargs={"file_name": "model_int8.onnx"}`. optimum-onnx 0.1 asks for a transformers below 5, so it cannot be'
    " installed beside sentence-transformers 6 yet; its classes gave the same vectors, within 1e-6."
)
_UPLOAD = """## Upload

```sh
hf upload USER/NAME $folder
```"""


def section(folder: Path, loader: str) -> str:
    """Markdown on the folder, published as it is. loader: the class of sentence-transformers that opens it."""
    upload = Template(_UPLOAD).substitute(folder=folder.name)
    if loader not in CHECKED:
        return upload
    found = _read(folder / "config.json")
    lines = _reranker(folder, found) if loader == CROSS_ENCODER else _vectors(folder, found, loader)
    if (folder / "onnx").is_dir():
        lines.append(_onnx(folder, loader))
    lines += [CHECKED[loader], upload]
    return "\n\n".join(lines)


def _reranker(folder: Path, config: Facts) -> list[str]:
    architecture = (config.get("architectures") or [""])[0]
    framed = (folder / "chat_template.jinja").exists()
    known = architecture in (VLLM_DECODERS if framed else VLLM)
    options = {
        "folder": folder.name,
        "framed": _FRAMED * framed,
        "listed": "" if known else f"; its page on scoring does not list {architecture}",
        "template": f" --chat-template {folder.name}/chat_template.jinja" * framed,
    }
    texts = [_TRANSFORMERS, _VLLM, *([_TEI] if _in_tei(config) else []), _RERANKERS]
    lines = [Template(text).substitute(options) for text in texts]
    if not _in_tei(config):
        lines.append(
            f"Text Embeddings Inference does not load it: it has no classifier for {config.get('model_type')}."
        )
    return lines


def _vectors(folder: Path, config: Facts, loader: str) -> list[str]:
    routed = (folder / "router_config.json").exists()
    lines = []
    if loader == EMBEDDING:
        llama = (
            Template(_ROUTED).substitute(folder=folder.name)
            if routed
            else f'`HuggingFaceEmbedding(model_name="{folder.name}")` (not checked here).'
        )
        lines.append(Template(_EMBEDDINGS).substitute(folder=folder.name, llama=llama))
    if loader != EMBEDDING:
        lines.append("Text Embeddings Inference, and vLLM, do not load it: they know no late interaction of it.")
        return lines
    sides = Template(_SIDES).substitute(folder=folder.name) if routed else ""
    if _in_tei(_read(folder / "query" / "config.json") if routed else config):
        what = "each of them" if routed else "it"
        serve = f"`--model-id` of Text Embeddings Inference and `vllm serve {folder.name}{'/query' * routed} --runner pooling`"
        sides += f"{serve} take {what} as any embedding model of sentence-transformers (not checked here)."
    return [*lines, sides.strip()] if sides else lines


def _onnx(folder: Path, loader: str) -> str:
    routed = sorted(folder.glob("query_0_*"))  # late interaction has no query/
    inside = "query" if (folder / "query").is_dir() else routed[0].name if routed else ""
    place = folder / inside
    tokens, settings = _read(place / "tokenizer.json"), _read(place / "tokenizer_config.json")
    if (place / "chat_template.jinja").exists():
        gives = "a logit" if loader == CROSS_ENCODER else "vectors of length 1"
        return f"**ONNX**, without torch: `onnx/`. What chat_template.jinja writes goes in and {gives} out."
    pad = next(token["id"] for token in tokens["added_tokens"] if token["content"] == settings["pad_token"])
    pairs = loader == CROSS_ENCODER
    sides = f", `{folder.name}/query` and `{folder.name}/document`" if inside == "query" else ""
    through = Template(_THROUGH_OPTIMUM).substitute(folder=folder.name, loader=loader, sides=sides)
    prompt = (_read(folder / CONFIG).get("prompts") or {}).get("query") or ""
    document, query = '"open() gives a file object."', json.dumps(f"{prompt}how do I read a file")
    return Template(_ONNX).substitute(
        folder=folder.name,
        file_name="query.onnx" if (folder / "onnx" / "query.onnx").exists() else "model.onnx",
        inside=f"{inside}/" * bool(inside),
        length=min(settings["model_max_length"], 1 << 20),
        pad=pad,
        pad_token=settings["pad_token"],
        texts=f"[({query}, {document})]" if pairs else f"[{query}]",
        through=through,
        result="1 / (1 + np.exp(-found[:, 0]))" if pairs else "found.shape",
    )


def _in_tei(config: Facts) -> bool:
    return config.get("model_type") in TEI


def _read(path: Path) -> Facts:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
