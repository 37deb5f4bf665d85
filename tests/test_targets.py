"""Contracts of every target in conf/target and of every calibrator in conf/calibrator."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from scipy.special import erf, expit

from zelo.errors import BadInput
from zelo.records import RATING
from zelo.targets.link import Link

CONF = Path(__file__).parents[1] / "conf"


def made(path: Path):
    """The component that a yaml describes, without Hydra."""
    fields = yaml.safe_load(path.read_text())
    module, name = fields.pop("_target_").rsplit(".", 1)
    return getattr(__import__(module, fromlist=[name]), name)(**fields)


def probability(difference: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + erf(difference))


@pytest.mark.parametrize("path", sorted((CONF / "target").glob("*.yaml")), ids=lambda p: p.stem)
def test_target_contract(path):
    rating = np.sort(np.random.default_rng(0).normal(size=50))
    target, weight = made(path).targets(rating, np.full(50, 0.1), probability)
    assert target.shape == weight.shape == (50,)
    assert ((target >= 0) & (target <= 1)).all()
    assert (np.diff(target) >= 0).all(), "a better document has the lower target"
    assert (weight > 0).all()


@pytest.mark.parametrize("path", sorted((CONF / "calibrator").glob("*.yaml")), ids=lambda p: p.stem)
def test_calibrator_contract(path):
    rows = [{"query_id": q, "doc_id": f"d{k}", "rating": k - 1.0, "stderr": 0.1} for q in "ab" for k in range(3)]
    offset, scale = made(path).fit(pa.Table.from_pylist(rows, schema=RATING), None)
    assert offset.shape == scale.shape == (6,)
    assert (scale > 0).all()
    for values in (offset, scale):
        assert np.ptp(values[:3]) == np.ptp(values[3:]) == 0


def test_link_is_the_probability_of_beating_the_mean_document():
    rating = np.array([-1.0, 0.0, 2.0])
    target, weight = Link(temperature=1.0).targets(rating, np.ones(3), expit)
    np.testing.assert_allclose(target, [1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2))])
    np.testing.assert_array_equal(weight, 1)
    np.testing.assert_allclose(Link(temperature=2.0).targets(rating, np.ones(3), expit)[0], expit(rating / 2))


def test_link_refuses_what_is_not_a_number():
    with pytest.raises(BadInput, match="rating number 1 is nan"):
        Link(temperature=1.0).targets(np.array([0.0, np.nan]), np.ones(2), expit)
    with pytest.raises(BadInput, match="temperature=0"):
        Link(temperature=0)
