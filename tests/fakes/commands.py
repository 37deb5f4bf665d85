"""The command `zelo` in this process, and runs that are small."""

import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

import zelo.main

STUDENTS = [
    "top_k=10",
    "graph=staged",
    "graph.stages=[[6,1]]",
    "reranker.trainer.epochs=1",
    "embedding.trainer.epochs=1",
]
DISTILLED = [
    "pipeline=distilled_embedding", "dataset=beir", "dataset.path=FOLDER", "retriever=bm25", "judge=simulated", "top_k=10",
    "graph.degree=4", "gold.graph.depth=4",
    "pairwise.model.max_length=60", "reranker.model.max_length=60", "backbone@pairwise.backbone=xlm_r",
    "backbone@reranker.backbone=xlm_r", "backbone@embedding.backbone=xlm_r", "pairwise.backbone.model=tiny",
    "reranker.backbone.model=tiny", "embedding.backbone.model=tiny", "pairwise.trainer.epochs=2", "reranker.trainer.epochs=1",
    "embedding.trainer.epochs=1", "retriever@first_stages.dense=random",
]  # fmt: skip


def command(*arguments: str) -> int:
    """The exit status of `zelo` with these arguments."""
    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["zelo", *arguments])
        return zelo.main.main()
