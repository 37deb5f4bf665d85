"""Queries that a language model writes, against a plain loop over prompts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tiny_models
import torch

from zelo.errors import BadInput
from zelo.queries import lm
from zelo.records import DOCUMENT

TEXTS = ["Sort the list in place.", "Read rows", "delete", "how do I order a list of " * 9]
DOCUMENTS = pa.table([list("abcd"), ["list.sort", "", "os.remove", "a list"], TEXTS], schema=DOCUMENT)
STYLES = {"question": "\nA question:", "keyword": "\nKeywords:"}


@pytest.fixture
def maker(component: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Over a tiny model with a store of its own."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    tiny_models.save("llama", tmp_path)
    backbone = component("backbone/smollm2", model=str(tmp_path), sha256=None, precision="float32")
    fields = {"styles": STYLES, "document_tokens": 20, "query_tokens": 6, "batch_tokens": 120}
    return replace(component("queries/lm"), backbone=backbone, **fields)


def written(maker: Any, examples: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    return [tuple(row.values()) for batch in maker.make(DOCUMENTS, examples) for row in batch.to_pylist()]


def alone(maker: Any, document: int, style: str) -> str:
    """The likeliest tokens one by one, without a cache or a batch."""
    tokenizer, network = maker.backbone.plain_tokenizer(), maker.backbone.language_model()

    def ids(text: str, most: int = 999) -> list[int]:
        return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"][:most]

    title, text = (DOCUMENTS[name][document].as_py() for name in ("title", "text"))
    read = ids(f"{title}\n{text}" if title else text, 20)
    tokens = [*tokenizer("")["input_ids"], *ids(maker.before), *read, *ids(STYLES[style])]
    made: list[int] = []
    with torch.inference_mode():
        while len(made) < 6:
            made.append(int(network(torch.tensor([tokens + made]), use_cache=False).logits[0, -1].argmax()))
            if made[-1] == tokenizer.eos_token_id:
                made.pop()
                break
    return lm._first_line(tokenizer.decode(made, skip_special_tokens=True))


def test_it_writes_what_a_plain_loop_writes_and_only_once(maker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = written(maker)
    assert len({(document, style) for _, document, style in found}) == len(found) > 4
    assert {document for _, document, _ in found[:4]} <= set("abcd"), "one of each document before a second of any"
    for text, document, style in found:
        assert text == alone(maker, "abcd".index(document), style)

    def again(*_: object) -> None:
        raise AssertionError("it was in the store")

    monkeypatch.setattr(lm.Lm, "_written", again)
    assert written(maker) == found


def test_tokens_are_drawn_by_the_seed_and_examples_are_shown(maker: Any) -> None:
    warm = replace(maker, temperature=5.0)
    likeliest, drawn = dict_of(written(maker)), dict_of(written(warm))
    assert drawn != likeliest
    assert dict_of(written(replace(warm, batch_tokens=120))) == drawn
    assert dict_of(written(replace(warm, seed=1))) != drawn
    shown = warm._frames(["how to sort"])["question"][0]
    assert "how to sort" in maker.backbone.plain_tokenizer().decode(shown)


def dict_of(rows: list[tuple[str, str, str]]) -> dict[tuple[str, str], str]:
    return {(document, style): text for text, document, style in rows}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"query_tokens": 0}, r"queries\.query_tokens=0 is too small"),
        ({"temperature": -1.0}, r"queries\.temperature=-1.0 is below 0"),
        ({"styles": {}}, r"queries\.styles is empty"),
        ({"document_tokens": 10**6}, r"document_tokens=1000000.* reads at most .* Lower document_tokens"),
    ],
)
def test_what_cannot_be_is_refused(maker: Any, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        replace(maker, **fields).check()


def test_the_first_line_is_the_query() -> None:
    assert lm._first_line('\n  \n - "how do I\tsort"  \nanother') == "how do I sort"
    assert lm._first_line(" \n") == ""
