"""Every loss: least where it should be, blind to padding, finite in bfloat16."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

YAMLS = sorted((Path(__file__).parents[1] / "conf" / "loss").glob("*.yaml"))
TARGETS = torch.tensor([[0.9, 0.6, 0.5, 0.2], [0.7, 0.4, 0.3, 0.0]])
WEIGHTS = torch.ones(2, 4)
MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])


@pytest.fixture(params=YAMLS, ids=lambda path: path.stem)
def loss(request):
    return instantiate(OmegaConf.load(request.param))


def fitted(loss: torch.nn.Module) -> torch.Tensor:
    scores = torch.zeros(2, 4, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(scores, TARGETS, WEIGHTS, MASK)
        value.backward()
        return value

    optimizer.step(closure)
    return scores.detach()


def test_the_minimum_has_the_order_of_the_targets(loss) -> None:
    scores = fitted(loss)
    assert (torch.diff(scores[0]) < 0).all()
    assert (torch.diff(scores[1][:3]) < 0).all()
    least = loss(scores, TARGETS, WEIGHTS, MASK)
    for seed in range(5):
        other = scores + 0.1 * torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))
        assert loss(other, TARGETS, WEIGHTS, MASK) >= least


def test_padding_does_not_count(loss) -> None:
    scores = torch.linspace(-2, 2, 8).view(2, 4)
    changed, targets, weights = scores.clone(), TARGETS.clone(), WEIGHTS.clone()
    changed[1, 3], targets[1, 3], weights[1, 3] = 50.0, 1.0, 9.0
    assert torch.equal(loss(scores, TARGETS, WEIGHTS, MASK), loss(changed, targets, weights, MASK))


@pytest.mark.parametrize("size", [1e-3, 1.0, 60.0])
def test_finite_in_bfloat16_with_a_finite_gradient(loss, size: float) -> None:
    scores = (size * torch.linspace(-2, 2, 8).view(2, 4)).to(torch.bfloat16).requires_grad_()
    targets = TARGETS.clone()
    targets[0, 0], targets[0, 3] = 1.0, 0.0  # the ends of the link
    value = loss(scores, targets, WEIGHTS, MASK)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(scores.grad).all()


def test_equal_targets_are_no_reason_to_prefer(loss) -> None:
    targets = torch.full((1, 3), 0.5)
    scores = torch.zeros(1, 3, requires_grad=True)
    loss(scores, targets, torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool)).backward()
    assert scores.grad.abs().max() < 1e-6
