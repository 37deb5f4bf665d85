"""The second pass on a small corpus: what is asked again, what learns from it, and what never sees a label."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import tiny_models
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from zelo.errors import BadInput
from zelo.pipeline.run import Result, Step, assemble, run_stages
from zelo.places import config_folder
from zelo.reporting import acquired, browser_sources, lineage, model_card, rating_facts
from zelo.stages import retrieve
from zelo.store.store import Store
from zelo.tracking.run_folder import RunFolder

WORDS = ["red", "green", "blue", "black", "white", "pink", "grey", "brown"]
QUERIES = 30  # q20 to q24 are dev queries, the last five test queries
PLANTED = "d39"  # labelled for test queries, in the train file too


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 documents and 30 queries; every query has a label, and the train file names test queries as well."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    folder = tmp_path / "corpus"
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{n}", "title": WORDS[n % 8], "text": f"{WORDS[n % 5]} {WORDS[n % 3]} {WORDS[n % 7]}"}
        for n in range(40)
    ]
    queries = [{"_id": f"q{n:02}", "text": f"{WORDS[n % 8]} {WORDS[n % 5]}"} for n in range(QUERIES)]
    for name, lines in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "qrels/dev.tsv").write_text("".join(f"q{n}\td{n}\t1\n" for n in range(20, 25)))
    (folder / "qrels/test.tsv").write_text("".join(f"q{n}\t{PLANTED}\t1\n" for n in range(25, 30)))
    train = [f"q{n:02}\td{n}\t1\n" for n in range(20)] + [f"q{n}\t{PLANTED}\t2\n" for n in range(25, 30)]
    (folder / "qrels/train.tsv").write_text("".join(train))
    return folder


@pytest.fixture
def composed(corpus: Path, tmp_path: Path) -> Iterator[Callable[..., DictConfig]]:
    def build(*overrides: str, students: tuple[str, ...] = ("pairwise", "reranker", "embedding")) -> DictConfig:
        small = ["dataset=beir", f"dataset.path={corpus}", "retriever=bm25", "judge=lexical", "top_k=12"]
        small += ["graph=staged", "graph.stages=[[6,1]]", f"logger.folder={tmp_path}"]
        for student in students:
            small += [f"backbone@{student}.backbone=modernbert", f"{student}.backbone.model={tmp_path / 'model'}"]
            small += [f"{student}.trainer.epochs=1"]
        small += ["pairwise.model.max_length=128"] * ("pairwise" in students)
        config = compose("config", [*small, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return config

    tiny_models.save("modernbert", tmp_path / "model")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield build


def identities(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.identity for step in steps}


def below(steps: list[Step], stage: str) -> set[str]:
    """The stage and all that depend on it."""
    found = {stage}
    for step in steps:
        if found & set(step.inputs.values()):
            found.add(step.name)
    return found


def test_labels_of_train_queries_reach_the_second_pass_and_others_the_measure_alone(
    composed: Callable[..., DictConfig], corpus: Path
) -> None:
    first = identities(assemble(composed("pipeline=distilled")))
    config = composed("pipeline=refine")
    steps = assemble(config)
    plain, second = identities(steps), below(steps, "train_labels")
    assert below(steps, "labels") == {"labels", "data_card", "evaluate"}
    assert {"labelled", "acquire", "train_pairwise_2", "target_2", "train_reranker_2", "evaluate"} <= second
    assert {name for name in plain if name.endswith("_2")} < second
    differs = {name for name in first if first[name] != plain[name]}
    assert differs == {"evaluate"}, "the first pass is that of the pipeline without a second, and is cached"

    def changed_by(file: str, old: str, new: str) -> set[str]:
        path = corpus / "qrels" / file
        before = path.read_text()
        path.write_text(before.replace(old, new))
        after = identities(assemble(config))
        path.write_text(before)
        return {name for name in plain if after[name] != plain[name]}

    assert changed_by("test.tsv", PLANTED, "d38") == {"labels", "data_card", "evaluate"}
    assert changed_by("train.tsv", "q00\td0\t1", "q00\td1\t1") == second


def test_without_labels_none_of_train_queries_is_opened(composed: Callable[..., DictConfig], corpus: Path) -> None:
    (corpus / "qrels/train.tsv").write_bytes(b"\xff no labels")
    config = composed("pipeline=refine_without_labels")
    plain = identities(assemble(config))
    assert not {"train_labels", "labelled"} & plain.keys()
    (corpus / "qrels/train.tsv").unlink()
    assert identities(assemble(config)) == plain
    with pytest.raises(BadInput, match=r"qrels/train\.tsv.*pipeline=refine_without_labels.*acquisition=disagreement"):
        assemble(composed("pipeline=refine"))


def read(result: Result, stage: str, name: str) -> Any:
    return result.tables[stage].read(name)


def reports_join_what_belongs_together(result: Result, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a run that ended at any stage of the second pass: judges and ratings are of one pass."""
    shown: list[dict[str, Any]] = []
    of_run = browser_sources.of_run

    def browsed(result: Result, evaluation: Any, data: Any, rated: str) -> Any:
        sources = of_run(result, evaluation, data, rated)
        assert sources
        shown.append({"browsed": rated, "ratings": sources.ratings, "judged": lineage.judged(result, rated)})
        return sources

    monkeypatch.setattr(browser_sources, "of_run", browsed)
    monkeypatch.setattr(rating_facts, "of_run", lambda result, rated, *_: shown[-1].update(rated=rated))
    names = list(result.tables)
    for end in range(names.index("acquire"), len(names)):
        cut = Result(result.steps, {name: result.tables[name] for name in names[: end + 1]}, result.facts)
        RunFolder(folder / f"until-{names[end]}", "", 0, "zelo", []).publish(cut, None)
        second = "_2" if "rate_2" in cut.tables else ""
        rated = f"calibrate{second}" if f"calibrate{second}" in cut.tables else f"rate{second}"
        assert shown[-1]["rated"] == f"rate{second}"
        assert shown[-1]["judged"] == [f"judge{second}"]
        ratings, table = shown[-1]["ratings"], read(cut, rated, "ratings")
        ids = pc.unique(ratings["query_id"])
        assert len(ids)
        assert ratings.equals(table.filter(pc.is_in(table["query_id"], ids))), names[end]


@pytest.mark.long
@pytest.mark.parametrize("name", ["refine", "refine_without_labels"])
def test_the_whole_second_pass(
    name: str, composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve, "SHARD", 7)
    choices = [f"pipeline={name}", *["acquisition.threshold=1"] * (name == "refine")]
    config = composed(*choices)
    *_, (result, _) = run_stages(assemble(config), Store.default())
    added = read(result, "acquire", "acquired")
    assert 1 <= len(added) <= 0.25 * 20
    assert set(added["query_id"].to_pylist()) <= {f"q{n:02}" for n in range(20)}
    if name == "refine":  # without labels it is a document like any other
        assert PLANTED not in added["doc_a"].to_pylist()
    asked = read(result, "judge_gold_2", "outcomes")
    assert len(asked) == len(added)
    pairs = {stage: read(result, stage, "preferences") for stage in ("preferences", "preferences_2")}
    assert len(pairs["preferences_2"]) == len(pairs["preferences"]) + len(added)
    assert set(read(result, "judge_2", "outcomes")["judge"].to_pylist()) == {"student"}
    metrics = json.loads((result.tables["evaluate"].path / "metrics.json").read_text())
    systems = {row["system"] for row in metrics}
    assert {f"zelo{part}{number}" for part in ("", "-embedding", "-reranker") for number in ("", "-2")} <= systems
    verdicts = json.loads((result.tables["evaluate"].path / "verdicts.json").read_text())
    tested = {(verdict["system"], verdict["baseline"]) for verdict in verdicts}
    assert {(f"{system}-2", system) for system in ("zelo", "zelo-embedding", "zelo-reranker")} <= tested
    for student, said in (
        ("train_reranker", "without any"),
        ("train_reranker_2", f"chose {len(added)} of the compared pairs"),
    ):
        step = next(step for step in result.steps if step.name == student)
        card = model_card.write(step, result, None, result.tables[student].path / "export")
        assert (said in card) == (name == "refine" or student == "train_reranker")
    [line] = acquired.lines(result)
    assert f"{len(added)} pairs were added to 20, and the judges prefer " in line
    assert f" of {len(added)} (" in line
    reports_join_what_belongs_together(result, tmp_path, monkeypatch)
    *_, (again, _) = run_stages(assemble(config), Store.default())
    assert {facts["status"] for facts in again.facts.values()} == {"cached"}


@pytest.mark.long
def test_ratings_are_refreshed_on_what_the_hybrid_finds(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve, "SHARD", 7)
    two: dict[str, Any] = {"students": ("reranker", "embedding")}
    one_pass = identities(assemble(composed(**two)))
    config = composed("pipeline=refresh", "refresh.items=0", "refresh.graph.degree=2", **two)
    steps = assemble(config)
    assert {name for name, one in one_pass.items() if identities(steps)[name] != one} == {"evaluate"}
    *_, (result, _) = run_stages(steps, Store.default())
    old, new = (read(result, stage, "candidates").select(["query_id", "doc_id"]) for stage in ("retrieve", "refresh"))
    assert len(new)
    assert not {tuple(row.values()) for row in new.to_pylist()} & {tuple(row.values()) for row in old.to_pylist()}
    assert set(new["query_id"].to_pylist()) <= {f"q{n:02}" for n in range(20)}, "train queries alone"
    assert len(read(result, "calibrate_2", "ratings")) == len(read(result, "calibrate", "ratings")) + len(new)
    systems = {row["system"] for row in json.loads((result.tables["evaluate"].path / "metrics.json").read_text())}
    passes = {f"zelo{part}{number}" for part in ("", "-embedding", "-reranker") for number in ("", "-2")}
    assert passes <= systems
    RunFolder(tmp_path / "both", "", 0, "zelo", []).publish(result, "zelo")
    # Too short for known items, of which the hybrid so has no more.
    *_, (left_out, _) = run_stages(assemble(composed("pipeline=refresh", **two)), Store.default())
    assert not {"judge_2", "train_reranker_2", "hybrid_2"} & left_out.tables.keys()
    assert {facts["status"] for name, facts in left_out.facts.items() if name not in ("refresh", "evaluate")} == {
        "cached"
    }
    systems = {row["system"] for row in json.loads((left_out.tables["evaluate"].path / "metrics.json").read_text())}
    assert passes & systems == {"zelo", "zelo-embedding", "zelo-reranker"}
    RunFolder(tmp_path / "left-out", "", 0, "zelo", []).publish(left_out, "zelo")
    models = {"both": {"embedding", "reranker", "embedding-2", "reranker-2"}, "left-out": {"embedding", "reranker"}}
    for folder, wanted in models.items():
        assert {path.parent.name for path in (tmp_path / folder).glob("*/README.md")} == wanted
        said = json.loads((tmp_path / folder / "hybrid.json").read_text())["parts"]["embedding"]["model"]
        assert said == ("embedding-2" if folder == "both" else "embedding")
        assert (tmp_path / folder / "report.html").exists()
