"""Comparisons to rate: by hand, simulated, and any graph at all; solvers as their yaml files describe them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import strategies as st
from scipy.special import ndtr

from zelo.records import Comparisons
from zelo.solvers.bradley_terry import BradleyTerry
from zelo.solvers.thurstone import Thurstone

CONF = Path(__file__).parents[2] / "conf" / "solver"
EVERY = pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
BOTH = pytest.mark.parametrize("kind", [Thurstone, BradleyTerry])


def made(path: Path):
    """The component that a yaml describes, without Hydra."""
    fields = yaml.safe_load(path.read_text())
    module, name = fields.pop("_target_").rsplit(".", 1)
    return getattr(__import__(module, fromlist=[name]), name)(**fields)


def made_of(name: str, **changes):
    """The component of conf/solver/<name>.yaml with some of its values changed."""
    return replace(made(CONF / f"{name}.yaml"), **changes)


def solver(kind, ridge=0.1, tolerance=1e-10, max_steps=50, stderr="laplace", lapse=0.0, held_out=0.0):
    return kind(ridge=ridge, tolerance=tolerance, max_steps=max_steps, stderr=stderr, lapse=lapse, held_out=held_out)


def comparisons(sizes, edges, p, weight=None) -> Comparisons:
    p = np.asarray(p, float)
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    return Comparisons(np.asarray(sizes), edges, p, np.ones(len(p)) if weight is None else np.asarray(weight, float))


def simulated(
    queries: int, n: int, degree: int, seed: int = 0, votes: int = 0, slip: float = 0.0
) -> tuple[np.ndarray, Comparisons]:
    """True ratings (Thurstone units) and `degree` comparisons each: soft with latent noise, or averages of hard votes.

    slip: share of each soft answer that is uniform noise.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.6, queries * n)
    order = np.argsort(rng.random((queries, degree // 2, n)), axis=2) + (np.arange(queries) * n)[:, None, None]
    edges = np.stack([order, np.roll(order, -1, 2)], 3).reshape(-1, 2)
    gap = truth[edges[:, 0]] - truth[edges[:, 1]]
    noise = 0 if votes else rng.normal(0, 0.09, len(gap))
    p = ndtr(np.sqrt(2) * (gap + noise))
    if votes:
        p = rng.binomial(votes, p) / votes
    elif slip:
        p = (1 - slip) * p + slip * rng.random(len(p))
    return truth, comparisons([n] * queries, edges, p, np.full(len(p), max(votes, 1)))


def stacked(parts: list[Comparisons]) -> Comparisons:
    first = np.cumsum([0] + [int(c.sizes.sum()) for c in parts])
    return Comparisons(
        np.concatenate([c.sizes for c in parts]),
        np.concatenate([c.edges + f for c, f in zip(parts, first[:-1], strict=True)]),
        np.concatenate([c.p for c in parts]),
        np.concatenate([c.weight for c in parts]),
    )


@st.composite
def graphs(draw) -> Comparisons:
    """One query with any graph, connected or not, with repeated pairs, soft and hard preferences, and weights."""
    n, e = draw(st.integers(1, 12)), draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    e = e if n > 1 else 0
    a = rng.integers(0, n, e)
    b = (a + rng.integers(1, max(n, 2), e)) % n
    p = np.where(rng.random(e) < 0.5, rng.random(e), rng.integers(0, 2, e))
    return comparisons([n], np.stack([a, b], 1), p, rng.uniform(0.1, 5, e))
