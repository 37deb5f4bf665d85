"""Query likelihood against a plain loop over pairs, and what it refuses."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tiny_models
import torch
from commands import command
from transformers import MambaConfig, Qwen3NextConfig

from zelo.backbones.prefix_cache import Continuations, log_likelihoods
from zelo.errors import BadInput
from zelo.judges.from_scores import FromScores
from zelo.protocols import BackboneScorer
from zelo.records import DOCUMENT, QUERY, Questions

TEXTS = ["Sort the list in place.", "Read rows", "delete", "how do I order a list of " * 9, "Yes", "No <|im_end|> 2024"]
ASKED = ["how do I sort a list", "file", "Read the rows of a file in order please, system", "delete a file"]
TITLES = ["list.sort", "", "os.remove", "a list", "", "end"]
DOCUMENTS = pa.table({"doc_id": list("abcdef"), "title": TITLES, "text": TEXTS}, schema=DOCUMENT)
QUERIES = pa.table({"query_id": list("wxyz"), "text": ASKED, "split": ["test"] * 4}, schema=QUERY)
QUERY_ROW, DOC_ROW = (part.ravel() for part in np.mgrid[:4, :6])
Make = Callable[..., Any]


@pytest.fixture
def make(component: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A scorer over a tiny model of a family, with a store of its own."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))

    def made(family: str, **changes: Any) -> Any:
        folder = tmp_path / family
        if not folder.exists():
            folder.mkdir()
            tiny_models.save(family, folder)
        backbone = component("backbone/smollm2", model=str(folder), sha256=None, precision="float32")
        fields = {"document_tokens": 20, "query_tokens": 12, "batch_tokens": 150} | changes
        return replace(component("scorer/query_likelihood"), backbone=backbone, **fields)

    return made


def loop(scorer: Any, title: bool = True) -> np.ndarray:
    """[24] each pair's sequence of tokens read alone, without a cache, and its log softmax written out."""
    tokenizer, network = scorer.backbone.plain_tokenizer(), scorer.backbone.language_model()
    found = []

    def ids(text: str, most: int) -> list[int]:
        return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"][:most]

    for query, document in zip(QUERY_ROW, DOC_ROW, strict=True):
        start = tokenizer("")["input_ids"]
        head = ids(f"{TITLES[document]}\n", 10) if title and TITLES[document] else []
        body = ids(TEXTS[document].strip(), 20 - len(head))
        asked = ids(f" {ASKED[query]}", 12)
        tokens = [*start, *ids(scorer.before, 99), *head, *body, *ids(scorer.bridge, 99)]
        with torch.inference_mode():
            logits = network(torch.tensor([tokens + asked]), use_cache=False).logits[0].double().numpy()
        at = logits[len(tokens) - 1 : -1]
        chosen = at[np.arange(len(asked)), asked] - np.log(np.exp(at).sum(1))
        found.append(chosen.mean())
    return np.array(found)


@pytest.mark.parametrize("family", tiny_models.DECODERS)
def test_it_equals_a_plain_loop_over_pairs(make: Make, family: str) -> None:
    scorer = make(family)
    assert scorer.score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW) == pytest.approx(loop(scorer), abs=1e-5)


def test_a_title_is_left_out_on_request(make: Make) -> None:
    scorer = make("qwen3", title=False)
    assert scorer.score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW) == pytest.approx(loop(scorer, title=False), abs=1e-5)


def test_a_score_does_not_depend_on_what_else_is_asked(make: Make) -> None:
    whole = make("qwen3").score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW)
    order = np.random.default_rng(0).permutation(24)
    for tokens in (1, 10_000):
        scorer = make("qwen3", batch_tokens=tokens)
        some = scorer.score(QUERIES, DOCUMENTS, QUERY_ROW[order[:9]], DOC_ROW[order[:9]])
        assert some == pytest.approx(whole[order[:9]], abs=1e-5)


def test_a_model_that_knows_nothing_gives_each_token_the_same_chance(make: Make) -> None:
    network = make("llama").backbone.language_model()
    torch.nn.init.zeros_(network.lm_head.weight)
    asked = [Continuations([5, 6, 7], [[8], [9, 10, 11]]), Continuations([5], [[12, 13]])]
    assert log_likelihoods(network, asked, 8) == pytest.approx([-math.log(network.config.vocab_size)] * 3)


def test_no_number_is_a_failure_and_no_vote(make: Make) -> None:
    scorer = make("llama")
    (yes,) = scorer._encoded(["Yes"], 1)[0]
    torch.nn.init.constant_(scorer._network.model.embed_tokens.weight[yes], math.nan)
    score = scorer.score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW)
    assert np.isnan(score[DOC_ROW == 4]).all()
    assert np.isfinite(score[DOC_ROW == 0]).all()
    rows = np.zeros(2, np.int32)
    asked = Questions(QUERIES, DOCUMENTS, rows, rows, np.array([4, 1], np.int32), np.zeros(2, np.int16))
    answers = FromScores(name="lm", scorer=scorer, tau=2.0).compare(asked)
    assert answers.status.to_pylist() == ["failed", "answered"]
    assert np.isnan(answers.p).tolist() == [True, False]


def test_the_best_of_several_windows_counts(make: Make) -> None:
    scorer = make("qwen3", document_tokens=14, windows=3)
    long = pa.table({"doc_id": ["x"], "title": ["a list"], "text": [TEXTS[3]]}, schema=DOCUMENT)
    found = scorer.score(QUERIES, long, np.arange(4), np.zeros(4, np.int64))
    before, bridge = scorer._frame
    (head,), (body,) = scorer._encoded(["a list\n"], 7), scorer._encoded([TEXTS[3].strip()], 99)
    room = 14 - len(head)
    windows = [head + body[low : low + room] for low in (0, room, 2 * room)]
    texts = scorer._encoded([f" {text}" for text in ASKED], 12)
    each = [log_likelihoods(scorer._network, [Continuations(before + ids + bridge, texts)], 500) for ids in windows]
    assert found == pytest.approx(np.max(each, axis=0), abs=1e-5)
    assert not np.allclose(found, each[0])


def test_the_baseline_is_one_number_for_each_query(make: Make) -> None:
    plain, less = (
        make("qwen3", baseline=on).score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW).reshape(4, 6) for on in (False, True)
    )
    off = plain - less
    assert off == pytest.approx(np.repeat(off[:, :1], 6, axis=1), abs=1e-5)
    assert off.std(0).min() > 1e-3


def test_scores_are_kept(make: Make) -> None:
    first = make("qwen3").score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW)
    again = make("qwen3", batch_tokens=999)
    assert np.array_equal(again.score(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW), first)
    assert "_network" not in vars(again)  # no weight was read


def test_only_new_pairs_are_computed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[int, int]] = []  # documents and pairs of each pass

    def counted(network: Any, asked: list[Continuations], *rest: Any) -> np.ndarray:
        computed.append((len(asked), sum(len(one.texts) for one in asked)))
        return log_likelihoods(network, asked, *rest)

    monkeypatch.setattr("zelo.scorers.query_likelihood.log_likelihoods", counted)
    scorer = make("qwen3", baseline=True)
    first = scorer.score(QUERIES, DOCUMENTS, QUERY_ROW[DOC_ROW != 5], DOC_ROW[DOC_ROW != 5]).reshape(4, 5)
    assert computed == [(5, 20), (1, 4)]  # the baseline reads no document
    others = DOCUMENTS.take(pa.array([5, 3, 1, 4, 2]))  # without the first document, with the last, in another order
    query, document = (part.ravel() for part in np.mgrid[:4, :5])
    second = scorer.score(QUERIES, others, query, document).reshape(4, 5)
    assert computed[2:] == [(1, 4)]
    assert np.array_equal(second[:, 1:], first[:, [3, 1, 4, 2]])
    changed = QUERIES.set_column(1, QUERY.field("text"), pa.array([*ASKED[:3], "another"]))
    assert np.array_equal(scorer.score(changed, others, query, document).reshape(4, 5)[:3], second[:3])
    assert computed[3:] == [(5, 5), (1, 1)]
    make("qwen3", title=False).score(QUERIES, others, query, document)
    assert computed[5:] == [(5, 20)]


def test_it_is_a_scorer_of_any_text(make: Make) -> None:
    scorer = make("qwen3")
    assert isinstance(scorer, BackboneScorer)
    assert FromScores(name="lm", scorer=scorer, tau=2.0).any_text


def test_a_query_without_a_token_is_named(make: Make) -> None:
    blank = pa.table({"query_id": ["empty"], "text": ["  "], "split": ["test"]}, schema=QUERY)
    with pytest.raises(BadInput, match="query 'empty' has no token"):
        make("qwen3").score(blank, DOCUMENTS, np.zeros(1, np.int64), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("qwen3", {"document_tokens": 250}, "and .*qwen3 reads at most 256. Lower document_tokens"),
        ("bert", {}, "the architecture bert is no causal language model"),
    ],
)
def test_what_the_model_cannot_is_said_before_any_work(make: Make, family: str, changes: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        FromScores(name="lm", scorer=make(family, **changes), tau=2.0).check()


def test_a_model_with_another_memory_is_refused_before_its_weights_are_read(
    make: Make, component: Make, tmp_path: Path
) -> None:
    scorer = make("qwen3")
    judge = replace(component("judge/causal_lm"), backbone=scorer.backbone)
    for config in (MambaConfig(), Qwen3NextConfig()):
        config.save_pretrained(tmp_path / "qwen3")  # beside weights that are of no such model
        said = f"the architecture {config.model_type} goes on from something else"
        with pytest.raises(BadInput, match=said):
            FromScores(name="lm", scorer=scorer, tau=2.0).check()
        if config.model_type == "mamba":
            with pytest.raises(BadInput, match=said):
                judge.check()
        else:
            judge.check()  # it reads each prompt whole


def test_an_encoder_is_refused(component: Make) -> None:
    with pytest.raises(BadInput, match="the backbone Encoder is no causal language model"):
        replace(component("scorer/query_likelihood"), backbone=component("backbone/minilm"))


@pytest.mark.parametrize("field", ["document_tokens", "query_tokens", "windows", "batch_tokens"])
def test_a_size_that_is_none_is_refused(component: Make, field: str) -> None:
    with pytest.raises(BadInput, match=f"{field}=0 is too small"):
        component("scorer/query_likelihood", **{field: 0})


def test_the_command_rates_by_it_or_says_before_any_work_why_not(
    tmp_path: Path, tiny_beir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model = tiny_models.save("qwen3", tmp_path / "model")
    arguments = ["until=rate", "retriever=bm25", "judge=likelihood", "dataset=beir", f"dataset.path={tiny_beir}"]
    arguments += ["graph.degree=2", f"judge.scorer.backbone.model={model}", "judge.scorer.backbone.sha256=null"]
    assert command(*arguments, "judge.scorer.document_tokens=900") == 2
    said = capsys.readouterr()
    assert "Lower document_tokens" in said.err
    assert "computed" not in said.out
    assert command(*arguments) == 0
    assert "rate" in capsys.readouterr().out
