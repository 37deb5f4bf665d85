"""Published models by sentence-transformers: the scores are that library's own, and a head is never made up."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny_models
import torch
from components import component
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from zelo.errors import BadInput
from zelo.records import DOCUMENT, QUERY

QUERIES = pa.table([["a", "b"], ["how do I order a list", "delete a file"], ["test"] * 2], schema=QUERY)
TEXTS = ["Sort the list in place", "Read rows " * 9, "delete", "a file"]
DOCUMENTS = pa.table([list("wxyz"), ["", "", "title", ""], TEXTS], schema=DOCUMENT)
READ = [*TEXTS[:2], "title\ndelete", TEXTS[3]]
QUERY_ROW, DOC_ROW = np.array([1, 0, 1, 0, 0]), np.array([2, 0, 3, 3, 1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a maker publishes them: `bare` without a head, `one` and `two` with a head of so many labels."""
    place = tmp_path_factory.mktemp("published")
    tiny_models.save("bert", place / "bare")
    for name, labels in (("one", 1), ("two", 2)):
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_pretrained(place / "bare", num_labels=labels).save_pretrained(
            place / name
        )
        AutoTokenizer.from_pretrained(place / "bare").save_pretrained(place / name)
    return place


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))


def test_a_cross_encoder_scores_as_its_library(folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    pairs = [(QUERIES["text"][q].as_py(), READ[d]) for q, d in zip(QUERY_ROW, DOC_ROW, strict=True)]
    theirs = CrossEncoder(str(folder / "one"), device="cpu")
    own = component("scorer/cross_encoder", model=str(folder / "one"))
    assert own.score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW) == pytest.approx(theirs.predict(pairs), abs=1e-5)
    logits = theirs.predict(pairs, activation_fn=torch.nn.Identity())
    zerank = component("scorer/zerank_2", model=str(folder / "one")).score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW)
    assert zerank == pytest.approx(1 / (1 + np.exp(-logits / 5)), abs=1e-5)
    assert own.content() != component("scorer/cross_encoder", model=str(folder / "two")).content()
    again = component("scorer/cross_encoder", model=str(folder / "one"), batch_size=1)
    kept = again.score(QUERIES, DOCUMENTS, QUERY_ROW[::-1], DOC_ROW[::-1])
    assert kept == pytest.approx(theirs.predict(pairs)[::-1], abs=1e-5)
    assert "_model" not in vars(again)  # no weight was read


def test_a_late_interaction_model_scores_as_its_library(folder: Path) -> None:
    from sentence_transformers import MultiVectorEncoder

    torch.manual_seed(0)
    MultiVectorEncoder(str(folder / "bare"), device="cpu").save_pretrained(str(folder / "colbert"))
    theirs = MultiVectorEncoder(str(folder / "colbert"), device="cpu")
    left, right = theirs.encode_query(QUERIES["text"].to_pylist()), theirs.encode_document(READ)
    expected = theirs.similarity(left, right).numpy()[QUERY_ROW, DOC_ROW]
    own = component("scorer/multi_vector", model=str(folder / "colbert"))
    assert own.score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(BadInput, match="MultiVectorEncoder would have to make up its head, for its files say no Multi"):
        component("scorer/multi_vector", model=str(folder / "bare")).check()
    with pytest.raises(BadInput, match=r"CrossEncoder would .* say MultiVectorEncoder.*Use scorer=multi_vector"):
        component("scorer/cross_encoder", model=str(folder / "colbert")).check()


def test_what_cannot_score_is_one_line(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"its files say no CrossEncoder \(BertModel\)"):
        component("scorer/cross_encoder", model=str(folder / "bare")).check()
    with pytest.raises(BadInput, match="the model has 2 scores for a pair"):
        component("scorer/cross_encoder", model=str(folder / "two")).score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW)
    with pytest.raises(BadInput, match=r"model=/nowhere/at/all: there is no such folder"):
        component("scorer/cross_encoder", model="/nowhere/at/all").check()
    for changes, words in (
        ({"activation": "softmax"}, "activation='softmax' is unknown"),
        ({"temperature": 5.0}, "set activation=sigmoid"),
        ({"batch_size": 0}, "batch_size=0 is too small"),
    ):
        with pytest.raises(BadInput, match=words):
            component("scorer/cross_encoder", model=str(folder / "one"), **changes)
