"""Variants of the embedding student's recipe, each against the default, on held-out queries.

Usage: python benchmarks/recipes.py [FOLDER in BEIR layout] [--held-out 200]. Without a folder: pydocs. Train queries are held
out; the metric is nDCG@10 against judge ratings, no human labels, with equal judge weights. A line gives the mean, and the
difference from the default recipe (seed 0) with its 95 % interval over queries. Every recipe, the default too, selects its
checkpoint on the queries that it is measured on: the bias is the same for all. Takes 5 to 10 minutes on two cores.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from safetensors.numpy import load_file, save_file

from zelo.known_items import Items
from zelo.metrics.agreement import judged_gains, ndcg
from zelo.metrics.significance import bootstrap
from zelo.places import config_folder
from zelo.ranking import rows_of, top_candidates
from zelo.records import DEV, DOCUMENT, EXAMPLE, QUERY, TRAIN
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.training.listwise_dataset import Lists

TOP_K, MADE, SEED = 100, 1000, 0


def standardised(score: np.ndarray, query: np.ndarray) -> np.ndarray:
    """[N] scores minus their query's mean, over its standard deviation; 0 in a query without any. query: [N] numbers."""
    count = np.bincount(query)
    centred = score - (np.bincount(query, score) / np.maximum(count, 1))[query]
    deviation = np.sqrt(np.bincount(query, centred**2) / np.maximum(count, 1))
    return centred / np.where(deviation > 0, deviation, 1.0)[query]


class Recipes:
    """A collection, its judges, and students that learn from them."""

    def __init__(self, folder: Path | None, held_out: int, home: Path) -> None:
        self.overrides = (
            [] if folder is None else ["dataset=beir", f"dataset.path={folder}", "dataset.train_on_dev=true"]
        )
        config, self.home = self._config(), home
        corpus = instantiate(config.dataset, _convert_="all").load()
        self.documents, queries = corpus.documents, corpus.queries.filter(pc.equal(corpus.queries["split"], TRAIN))
        held = np.isin(np.arange(len(queries)), np.random.default_rng(SEED).permutation(len(queries))[:held_out])
        split = pa.array(np.where(held, DEV, TRAIN), pa.string())
        self.queries = queries.set_column(queries.schema.get_field_index("split"), "split", split)
        self.fusion = instantiate(config.retriever, _convert_="all")
        self.scorers = [judge.scorer for judge in instantiate(config.judge, _convert_="all").members.values()]
        self.home.mkdir(parents=True, exist_ok=True)
        self.judged = self.rated(self.queries, self.fusion.search(self.queries, self.documents, TOP_K))

    def _config(self, *more: str) -> Any:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return compose("config", [*self.overrides, *more])

    def rated(self, queries: pa.Table, pool: pa.Table) -> pa.Table:
        """EXAMPLE rows of these candidates: the sigmoid of the judges' mean standardised score."""
        query = rows_of(pool["query_id"], queries["query_id"])
        document = rows_of(pool["doc_id"], self.documents["doc_id"])
        scores = (scorer.score(queries, self.documents, query, document) for scorer in self.scorers)
        mean = np.mean([standardised(score.astype(np.float64), query) for score in scores], axis=0)
        columns = {
            "query_id": pool["query_id"],
            "doc_id": pool["doc_id"],
            "target": pa.array((1 / (1 + np.exp(-mean))).astype(np.float32)),
            "weight": pa.array(np.ones(len(mean), np.float32)),
            "split": queries["split"].take(pa.array(query)),
        }
        return pa.table(columns, schema=EXAMPLE)

    def learned(self, name: str, *more: str, made: pa.Table | None = None, train: pa.Table | None = None) -> "Student":
        """The default recipe with these overrides, on further queries, or on other train rows. made: QUERY; train: EXAMPLE."""
        queries, examples, out = self.queries, self.judged, self.home / name
        if train is not None:
            examples = pa.concat_tables([examples.filter(pc.equal(examples["split"], DEV)), train])
        if made is not None:
            rated = self.rated(made, self.fusion.search(made, self.documents, TOP_K))
            queries, examples = pa.concat_tables([queries, made]), pa.concat_tables([examples, rated])
        out.mkdir()
        for table, schema, of in (
            (queries, QUERY, "queries"),
            (self.documents, DOCUMENT, "documents"),
            (examples, EXAMPLE, "examples"),
        ):
            write_parquet(table, schema, out, of)
        config = self._config(*more, f"logger.folder={out}")
        stage, table = instantiate(config.stages.train_embedding, _convert_="all"), Table("load", "", out, {})
        (out / "student").mkdir()
        facts = stage.run({"data": table, "examples": table}, out / "student")
        return Student(self, stage, out / "student", facts)


class Student:
    """A trained embedding."""

    def __init__(self, recipes: Recipes, stage: Any, folder: Path, facts: dict[str, Any]) -> None:
        self.recipes, self.stage, self.folder, self.facts = recipes, stage, folder, facts

    def values(self, weights: dict[str, np.ndarray] | None = None, linear: bool = False) -> np.ndarray:
        """[Q] nDCG@10 of the held-out queries. linear: with gains of 2 target - 1, none below 0."""
        import torch

        folder = self.folder
        if weights is not None:
            folder = self.folder / "mixed"
            folder.mkdir(exist_ok=True)
            save_file(weights, folder / "weights.safetensors")
        model, dev = self.stage.student.model, self.recipes.judged.filter(pc.equal(self.recipes.judged["split"], DEV))
        self.stage.student.load(folder)
        model.prepare(self.recipes.documents)
        lists, found = Lists.of(dev, self.recipes.queries, self.recipes.documents), []
        for low in range(0, len(lists), 32):
            batch = lists.batch(np.arange(low, min(low + 32, len(lists))), None, model.collate)
            with torch.no_grad():
                scores = model(batch).numpy()
            targets, mask = batch["targets"].numpy(), batch["mask"].numpy()
            gains = np.maximum(0.0, 2.0 * targets - 1.0) if linear else judged_gains(targets, mask)
            found.append(ndcg(scores, gains, mask, 10))
        return np.concatenate(found)

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, as a retriever gives them."""
        model = self.stage.student.model
        self.stage.student.load(self.folder)
        model.prepare(documents)
        rows, scores = model.search(queries["text"].to_pylist(), top_k)
        query = np.repeat(np.arange(len(queries)), rows.shape[1])
        return top_candidates(queries, documents, query, rows.ravel(), scores.ravel(), top_k)


def variants(recipes: Recipes, base: Student) -> Iterator[tuple[str, np.ndarray]]:
    """(name, [Q] values) of each."""
    untuned = recipes.learned("untuned", "embedding.trainer.epochs=0")
    yield "untuned", untuned.values()
    yield "untuned, linear gains", untuned.values(linear=True)
    yield "default, linear gains", base.values(linear=True)
    seeds = [base, *(recipes.learned(f"seed{seed}", f"seed={seed}") for seed in (1, 2))]
    for seed, student in enumerate(seeds[1:], 1):
        yield f"seed {seed}", student.values()
    weights = [load_file(student.folder / "weights.safetensors") for student in seeds]
    yield (
        "weights of three seeds averaged",
        base.values({key: np.asarray(sum(w[key] for w in weights) / 3) for key in weights[0]}),
    )
    yield "no mixture with the untuned weights", recipes.learned("pure", "embedding.trainer.mixtures=[]").values()
    yield "8 epochs", recipes.learned("longer", "embedding.trainer.epochs=8").values()
    made = Items.of(recipes.documents, MADE, len(recipes.documents), SEED).queries
    split = pa.array([TRAIN] * len(made), pa.string())
    made = made.set_column(made.schema.get_field_index("split"), "split", split)
    yield f"and {len(made)} sentences of documents as queries", recipes.learned("made", made=made).values()
    own = recipes.queries.filter(pc.equal(recipes.queries["split"], TRAIN))
    found = replace(recipes.fusion, members={**recipes.fusion.members, "dense": base})
    fresh = recipes.rated(own, found.search(own, recipes.documents, TOP_K))
    yield "ratings of the candidates that the student finds", recipes.learned("fresh", train=fresh).values()


def main() -> None:
    """Prints a line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--held-out", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        recipes = Recipes(options.folder and options.folder.absolute(), options.held_out, Path(home) / "recipes")
        base = recipes.learned("default")
        reference = base.values()
        print(f"{'default recipe':50s} {reference.mean():.4f}  share {base.facts['share']:g}", flush=True)
        for name, values in variants(recipes, base):
            low, high = bootstrap((values - reference)[None], 2000, SEED)
            change = f"{(values - reference).mean():+.4f} [{low[0]:+.4f}, {high[0]:+.4f}]"
            print(f"{name:50s} {values.mean():.4f}  {'' if 'linear' in name else change}", flush=True)


if __name__ == "__main__":
    main()
