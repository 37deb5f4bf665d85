"""Several datasets as one: what is used of each, whose documents are candidates, and how results are split."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from commands import command
from omegaconf import OmegaConf
from paid_judge import budget

from zelo.datasets.beir import Beir
from zelo.datasets.mixture import Mixture
from zelo.datasets.synthetic import Synthetic
from zelo.domains import learned_from, out_of_domain
from zelo.errors import BadInput
from zelo.likelihood.links import Logit
from zelo.metrics.ir_measure import IrMeasure
from zelo.pipeline.parts import complete
from zelo.places import config_folder
from zelo.queries.from_text import FromText
from zelo.ratings import Ratings
from zelo.retrievers.bm25 import Bm25
from zelo.stages.data_card import DataCard
from zelo.stages.evaluate import Evaluate
from zelo.stages.labels import Labels
from zelo.stages.load import Load
from zelo.stages.make_queries import MakeQueries
from zelo.stages.retrieve import Retrieve
from zelo.store.shards import write_parquet
from zelo.store.table import Table

BM25 = Bm25(k1=1.2, b=0.75, stemmer=None, stopwords=None)
WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi") for b in ("tan", "vos") for c in "aeiou"]


def beir(folder: Path, mark: str, queries: int, grade: int = 1) -> Beir:
    """30 documents of words that all folders share; the first three queries are test queries, of one relevant document each."""
    (folder / "qrels").mkdir(parents=True)
    texts = [f"{WORDS[n]} {WORDS[(7 * n + 1) % 30]} of {folder.name} {n}" for n in range(30)]
    documents = [{"_id": f"{mark}{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    asked = [{"_id": f"{mark}q{n}", "text": f"{WORDS[n % 30]} {folder.name}{n}"} for n in range(queries)]
    rows = [f"{mark}q{n}\t{mark}{n + n % 2}\t{1 + n % grade}\n" for n in range(3)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    (folder / "qrels/dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{mark}q3\t{mark}3\t1\n")
    return Beir(path=str(folder), id_column="_id", train_on_dev=False, unread_labels="error", unknown_ids="error")


def mixture(parts: dict[str, Any], **fields: Any) -> Mixture:
    return Mixture(parts=parts, **({"weights": {}, "leave_out": None, "seed": 0} | fields))


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Beir]:
    """`law` and `code` share their ids, those of `art` are its own."""
    return {
        "law": beir(tmp_path / "law", "d", 44, grade=2),
        "code": beir(tmp_path / "code", "d", 24),
        "art": beir(tmp_path / "art", "a", 14),
    }


def tables_of(dataset: Any, folder: Path) -> dict[str, Table]:
    """The tables of load, labels and the first stage."""
    made: dict[str, Table] = {}
    load = Load(inputs={}, dataset=dataset, drop_duplicates=True)
    retrieve = Retrieve(
        inputs={}, retriever=BM25, top_k=5, splits=["train", "dev", "test"], keep_own_document=False, budget=budget()
    )
    for role, stage in (("data", load), ("labels", Labels(inputs={}, dataset=dataset)), ("bm25", retrieve)):
        out = folder / role
        out.mkdir(parents=True)
        made[role] = Table(role, role, out, stage.run(made, out))
    return made


def measured(tables: dict[str, Table], out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Facts and METRIC rows of the first stage alone."""
    metrics: dict[str, Any] = {"ndcg": IrMeasure(name="nDCG@10")}
    evaluate = Evaluate(
        inputs={"data": "load", "labels": "labels", "bm25": "bm25"}, metrics=metrics,
        primary="ndcg", table=[], candidates_as="bm25", first_stages=["bm25"], compared={}, teachers={}, students={},
        first_stage_of={}, resamples=100, seed=0, precision=0.9,
    )  # fmt: skip
    out.mkdir()
    facts = evaluate.run(tables, out)
    return facts, json.loads((out / "metrics.json").read_text())


def ids_of(tables: dict[str, Table], domain: str, split: str) -> set[str]:
    rows = tables["data"].read("queries").to_pylist()
    return {row["query_id"] for row in rows if (row["domain"], row["split"]) == (domain, split)}


def test_each_domain_is_measured_as_if_it_were_alone(parts: dict[str, Beir], tmp_path: Path) -> None:
    tables = tables_of(mixture(parts), tmp_path / "together")
    documents = tables["data"].read("documents")
    assert documents["domain"].to_pylist() == ["law"] * 30 + ["code"] * 30 + ["art"] * 30
    names = documents["doc_id"].to_pylist()
    assert (names[0], names[30], names[60]) == ("law/d0", "code/d0", "a0"), "ids change only where two parts share some"
    assert tables["data"].manifest["name"] == "law+code+art"
    facts, rows = measured(tables, tmp_path / "whole")
    by_domain = {row["domain"]: row for row in rows if row["split"] == "test"}
    for name, part in parts.items():
        alone = tables_of(part, tmp_path / "alone" / name)
        _, one = measured(alone, tmp_path / f"{name}-alone")
        assert by_domain[name]["value"] == next(row["value"] for row in one if row["split"] == "test"), name
        candidates = tables["bm25"].read("candidates").to_pylist()
        home = dict(zip(names, documents["domain"].to_pylist(), strict=True))
        own = [row for row in candidates if row["query_id"] in ids_of(tables, name, "train")]
        assert own
        assert {home[row["doc_id"]] for row in own} == {name}
    assert {name: found["labels"]["kind"] for name, found in facts["domains"].items()} == {
        "law": "graded", "code": "binary", "art": "binary",
    }  # fmt: skip
    assert not any(found["out_of_domain"] for found in facts["domains"].values())


def test_weights_say_how_many_train_queries_are_used(parts: dict[str, Beir], tmp_path: Path) -> None:
    weighted = mixture(parts, weights={"law": 2, "code": 1, "art": 0.5})
    tables = tables_of(weighted, tmp_path / "one")
    used = {name: ids_of(tables, name, "train") for name in parts}
    # 40, 20 and 10 train queries: 20 for each 1 of weight
    assert {name: len(ids) for name, ids in used.items()} == {"law": 40, "code": 20, "art": 10}
    fewer = {"law": 1, "code": 1, "art": 0.75}
    again, other = (tables_of(mixture(parts, weights=fewer, seed=seed), tmp_path / f"seed{seed}") for seed in (0, 1))
    chosen = {name: ids_of(again, name, "train") for name in parts}
    assert {name: len(ids) for name, ids in chosen.items()} == {"law": 13, "code": 13, "art": 10}
    assert chosen["law"] < used["law"]
    assert chosen["law"] != ids_of(other, "law", "train")
    assert ids_of(again, "law", "test") == {"law/dq0", "law/dq1", "law/dq2"}
    note = (
        "train queries used, by weight: 13 of 40 law (weight 1), 13 of 20 code (weight 1), 10 of 10 art (weight 0.75)"
    )
    assert note in again["data"].manifest["notes"]


def test_a_domain_that_is_left_out_is_measured_and_not_learned_from(parts: dict[str, Beir], tmp_path: Path) -> None:
    tables = tables_of(mixture(parts, leave_out="law"), tmp_path / "out")
    assert [len(ids_of(tables, "law", split)) for split in ("train", "dev", "test")] == [0, 0, 3]
    assert out_of_domain(tables["data"].read("queries")) == {"law"}
    assert set(learned_from(tables["data"])["domain"].to_pylist()) == {"code", "art"}
    assert not ids_of(tables, "law", "unused") & set(tables["bm25"].read("candidates")["query_id"].to_pylist())
    facts, rows = measured(tables, tmp_path / "metrics")
    assert [name for name, found in facts["domains"].items() if found["out_of_domain"]] == ["law"]
    assert {row["domain"]: row["queries"] for row in rows if row["split"] == "test"} == {
        "law+code+art": 9, "art": 3, "code": 3, "law": 3,
    }  # fmt: skip
    card = DataCard(inputs={}).run(tables, tmp_path)["card"]
    assert card["domains"]["law"] == {"documents": 30, "unused": 41, "test": 3}

    maker: Any = FromText(most=100, mix=True, top_k=5, per_document=1, seed=0)
    made = MakeQueries(
        inputs={}, maker=maker, dataset=Synthetic(queries=1, documents=2), retriever=BM25, budget=budget()
    )
    (tmp_path / "made").mkdir()
    made.run(tables, tmp_path / "made")
    rows = Table("makequeries", "", tmp_path / "made", {}).read("queries").to_pylist()[82:]
    assert rows
    assert {row["domain"] for row in rows} == {"code", "art"}


def test_broken_mixtures_are_one_line_each(parts: dict[str, Beir], tmp_path: Path) -> None:
    two = {name: parts[name] for name in ("law", "code")}
    empty = Beir(
        path=str(tmp_path / "gone"), id_column="_id", train_on_dev=False, unread_labels="error", unknown_ids="error"
    )
    for fields, said in (
        ({"parts": {"law": parts["law"]}}, "one part, law"),
        ({"parts": two | {"Law": parts["art"]}}, r"dataset\.parts\.Law: law is a domain already"),
        ({"parts": two | {"a/b": parts["art"]}}, r"dataset\.parts\.a/b: a domain's name"),
        ({"weights": {"law": 0}}, r"dataset\.weights\.law=0: a weight is above 0"),
        ({"weights": {"code": -1.5}}, r"dataset\.weights\.code=-1\.5"),
        ({"weights": {"lwa": 1}}, r"dataset\.weights\.lwa: no part has this name; there are law, code"),
        ({"leave_out": "lwa"}, r"dataset\.leave_out=lwa: no domain has this name; there are law, code"),
        ({"leave_out": ["law", "code"]}, "leaves no domain to train on"),
    ):
        with pytest.raises(BadInput, match=said):
            mixture(**({"parts": two} | fields))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"^dataset\.parts\.art\.path=\S+gone does not exist"):
        mixture(two | {"art": empty}).content()
    only = beir(tmp_path / "only", "o", 4)
    with pytest.raises(BadInput, match=r"dataset\.parts\.only has no train queries; .*dataset\.leave_out=only"):
        mixture(two | {"only": only}).load()
    assert len(mixture(two | {"only": only}, leave_out=["only"]).load().queries) == 72
    with pytest.raises(BadInput, match=r"leave_out=syn: syn has no test queries"):
        mixture(two | {"syn": Synthetic(queries=5, documents=2)}, leave_out="syn").load()


def test_ids_that_look_prefixed_stay_apart(tmp_path: Path) -> None:
    parts = {"law": beir(tmp_path / "law", "d", 14), "code": beir(tmp_path / "code", "law/d", 14)}
    tables = tables_of(mixture(parts), tmp_path / "out")
    names = tables["data"].read("documents")["doc_id"].to_pylist()
    assert (names[0], names[30]) == ("d0", "code/law/d0")
    assert tables["labels"].read("qrels").to_pylist()[-1]["doc_id"] == "code/law/d2"


def test_a_calibrator_knows_the_domain_of_each_rated_query(parts: dict[str, Beir], tmp_path: Path) -> None:
    tables = tables_of(mixture(parts), tmp_path / "out")
    rows = [["law/dq5", "aq6", "law/dq7"], ["law/d1", "a1", "law/d2"], [0.0] * 3, [1.0] * 3]
    rated = pa.table(rows, ["query_id", "doc_id", "rating", "stderr"])
    write_parquet(rated, rated.schema, tmp_path, "ratings")
    ratings = Ratings({"data": tables["data"], "ratings": Table("rate", "", tmp_path, {})}, Logit(), 0)
    law, aq, other = ratings.rated.domain.tolist()
    assert law == other != aq


@pytest.mark.usefixtures("zelo_home")
def test_from_the_command_line(parts: dict[str, Beir], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    law, code = (f"dataset.parts.{name}.path={parts[name].path}" for name in ("law", "code"))
    small = ["until=data_card", "dataset=mixture", f"hydra.run.dir={tmp_path}/run"]
    assert command(*small, "+dataset@dataset.parts.law=beir", law, code, "dataset.weights.law=1") == 0
    said = capsys.readouterr().out
    assert (
        "domains     code 20 train, 1 dev, 3 test of 30 documents; law 20 train, 1 dev, 3 test of 30 documents" in said
    )
    assert "left out    20 train or dev queries of law" in said
    assert command(*small, law, f"{code}/nowhere") == 2
    assert "zelo: dataset.parts.code: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["dataset.parts.law.path=a", "dataset.parts.law.path=b"], r"dataset\.parts\.law\.path is given twice"),
        (["dataset.parts.law.pth=a"], r"dataset\.parts\.law\.pth: dataset=auto has no such field; it has columns"),
        (["dataset.parts.law.train_on_dev=true"], r"dataset\.parts\.law\.path has no value yet"),
        (["dataset.parts.law=a"], r"dataset\.parts\.law=a: a part has fields of its own"),
        (["dataset._target_=zelo.datasets.auto.Auto", "dataset.weights.law=1"], "write dataset=mixture, too"),
    ],
)
def test_a_part_that_cannot_be_completed_is_one_line(given: list[str], said: str) -> None:
    config = OmegaConf.create({"dataset": OmegaConf.load(config_folder() / "dataset/mixture.yaml")})
    config.merge_with_dotlist(given)
    with pytest.raises(BadInput, match=said):
        complete(config, given)
