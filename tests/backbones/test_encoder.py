"""The encoder: equal to sentence-transformers, encoded once, and nothing but the weights that were asked for."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from zelo.backbones import encoder, encoding
from zelo.errors import BadInput
from zelo.retrievers.late_interaction import LateInteraction
from zelo.texts import Texts

TEXTS = [
    "How do I sort a list?",
    "",
    "zip(*iterables)\nYield tuples until an input is exhausted.",
    "word " * 400,  # longer than 256 tokens
    "Grüße, 世界 🎉",
]


def documents(texts: list[str]) -> pa.Table:
    return pa.table({"doc_id": [f"d{n}" for n in range(len(texts))], "title": [""] * len(texts), "text": texts})


@pytest.fixture
def minilm(component: Callable[..., Any]) -> encoder.Encoder:
    return component("backbone/minilm")


def test_vectors_are_those_of_sentence_transformers(minilm: encoder.Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(minilm.folder()), device="cpu")
    reference.max_seq_length = minilm.max_length
    vectors = minilm.documents(documents(TEXTS))
    assert np.abs(vectors.pooled - reference.encode(TEXTS, normalize_embeddings=True)).max() < 1e-6
    expected = reference.encode(TEXTS, output_value="token_embeddings")
    for row, wanted in enumerate(expected):
        found = vectors.vectors[vectors.offsets[row] : vectors.offsets[row + 1]]
        wanted = wanted.numpy() / np.linalg.norm(wanted.numpy(), axis=1, keepdims=True)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-5
    assert np.diff(vectors.offsets).tolist()[1:4:2] == [2, 256]  # [CLS] [SEP]; cut at max_length


def test_neither_padding_nor_the_order_of_texts_changes_a_vector(minilm: encoder.Encoder) -> None:
    together = minilm.documents(documents(TEXTS))
    alone = minilm.documents(documents(TEXTS[:1]))
    assert np.abs(together.pooled[0] - alone.pooled[0]).max() < 1e-6
    assert np.abs(together.vectors[: len(alone.tokens)].astype(float) - alone.vectors).max() < 1e-3
    backwards = minilm.documents(documents(TEXTS[::-1]))
    assert np.array_equal(backwards.pooled[::-1], together.pooled)


def test_a_corpus_is_encoded_once(minilm: encoder.Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = minilm.documents(documents(TEXTS[:3]))

    def no_second_time(*_: Any) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(encoder.Encoder, "_encode", no_second_time)
    again = minilm.documents(documents(TEXTS[:3]))
    assert np.array_equal(first.vectors, again.vectors)
    with pytest.raises(AssertionError, match="encoded again"):
        minilm.documents(documents(TEXTS[1:3]))


def test_a_full_disk_is_said_before_encoding(minilm: encoder.Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise minutes of work would be lost."""

    def full(handle: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(BadInput, match="No space left in the store"):
        minilm.documents(documents(["a text that was never encoded"]))


def test_without_storage_there_is_one_vector_a_text(component: Callable[..., Any], minilm: encoder.Encoder) -> None:
    pooled = component("backbone/minilm", storage=None)
    found = pooled.documents(documents(TEXTS))
    assert len(found.vectors) == 0
    assert np.array_equal(found.pooled, minilm.documents(documents(TEXTS)).pooled)
    with pytest.raises(BadInput, match=r"storage=null .* late interaction .*storage=float16"):
        LateInteraction(backbone=pooled, idf=False, pool=None)


def test_a_corpus_is_read_in_parts(minilm: encoder.Encoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = minilm.documents(documents(TEXTS))
    monkeypatch.setattr(encoder, "PART", 2)
    minilm._encode(tmp_path, "documents", Texts(documents(TEXTS)["text"]), "", minilm.max_length, "float32", None)
    assert np.array_equal(np.load(tmp_path / "offsets.npy"), whole.offsets)
    assert np.array_equal(np.load(tmp_path / "tokens.npy"), whole.tokens)
    assert np.abs(np.load(tmp_path / "pooled.npy") - whole.pooled).max() < 1e-6
    assert np.abs(np.load(tmp_path / "vectors.npy") - whole.vectors).max() < 1e-5


def test_units_that_an_attempt_has_finished_are_kept_and_the_vectors_are_the_same(
    minilm: encoder.Encoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, texts = minilm.documents(documents(TEXTS)), Texts(documents(TEXTS)["text"])
    monkeypatch.setattr(encoding, "UNIT", 1)
    monkeypatch.setattr(encoding, "TOKENS", {"cpu": 1})
    read: list[list[int]] = []
    forward = encoding._forward

    def dies_at_the_last(network: Any, ids: list[list[int]]) -> Any:
        read.extend(ids)
        if len(read) == len(TEXTS):
            raise KeyboardInterrupt
        return forward(network, ids)

    with monkeypatch.context() as patched:
        patched.setattr(encoding, "_forward", dies_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            minilm._encode(tmp_path, "documents", texts, "", minilm.max_length, "float32", None)
        minilm._encode(tmp_path, "documents", texts, "", minilm.max_length, "float32", None)
    assert len(read) == len(TEXTS) + 1
    for name in ("offsets", "tokens", "pooled", "vectors"):
        assert np.abs(np.load(tmp_path / f"{name}.npy") - getattr(whole, name)).max() < 1e-5


def test_bfloat16_is_close(component: Callable[..., Any], minilm: encoder.Encoder) -> None:
    coarse = component("backbone/minilm", precision="bfloat16").documents(documents(TEXTS[:3]))
    exact = minilm.documents(documents(TEXTS[:3]))
    assert 1e-6 < np.abs(coarse.pooled - exact.pooled).max() < 0.01


def test_only_the_weights_that_were_asked_for(
    component: Callable[..., Any], minilm: encoder.Encoder, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"sha256 is 53aa51172d14.*expected 0000"):
        component("backbone/minilm", sha256="0000").content()
    with pytest.raises(BadInput, match=r"nosuchpackage is not installed\. Name a folder or a model of the Hugging"):
        component("backbone/minilm", model="package:nosuchpackage/model").folder()
    with pytest.raises(BadInput, match="no such folder"):
        component("backbone/minilm", model=str(tmp_path / "nowhere")).folder()
    copy = tmp_path / "copy"
    shutil.copytree(minilm.folder(), copy)
    moved = component("backbone/minilm", model=str(copy))
    assert moved.content() == minilm.content()  # the content counts, not the place
    (copy / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"copy .*has no model\*\.safetensors"):
        moved.folder()


def test_a_checkpoint_that_lacks_tensors_is_refused(component: Callable[..., Any], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(component("backbone/minilm").folder(), copy)
    weights = load_file(copy / "model.safetensors")
    del weights["encoder.layer.3.output.dense.weight"]
    (copy / "model.safetensors").unlink()  # the copy may share its inode with the package's file
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"lack 1 tensors, encoder\.layer\.3\.output\.dense\.weight"):
        component("backbone/minilm", model=str(copy), sha256=None).network()


@pytest.mark.parametrize(
    ("field", "value"), [("precision", "float8"), ("pooling", "max"), ("max_length", 2), ("query_length", 600)]
)
def test_bad_settings_are_refused(component: Callable[..., Any], field: str, value: Any) -> None:
    queries = pa.table({"query_id": ["q"], "text": ["never encoded before"], "split": ["test"]})
    with pytest.raises(BadInput, match=str(value) if value != 600 else "at most 512"):
        component("backbone/minilm", **{field: value}).queries(queries)
