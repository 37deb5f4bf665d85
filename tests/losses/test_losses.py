"""Every loss: least where it should be, known values, blind to padding and order, weights that count, finite in bfloat16."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch import Tensor

from zelo.errors import BadInput
from zelo.losses.bce import BCE
from zelo.losses.centred_mse import CentredMSE
from zelo.losses.info_nce import InfoNCE
from zelo.losses.listwise_kl import ListwiseKL
from zelo.losses.margin_mse import MarginMSE
from zelo.losses.matryoshka import Matryoshka
from zelo.losses.mse import MSE
from zelo.losses.ranknet import RankNet
from zelo.pipeline import instantiate
from zelo.places import config_folder
from zelo.stages.target import TargetStage
from zelo.stages.train import Train
from zelo.store.table import Table
from zelo.training.comparable import check_comparable
from zelo.training.student import Student

YAMLS = sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))
TARGETS = torch.tensor([[0.9, 0.6, 0.5, 0.2], [0.7, 0.4, 0.3, 0.0]])
WEIGHTS = torch.ones(2, 4)
UNEVEN = torch.tensor([[0.3, 1.0, 0.5, 0.8], [1.0, 0.2, 0.6, 0.7]])
MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])
SCORES = torch.tensor([[1.0, -0.5, 2.0, 0.0], [-1.0, 0.5, 0.3, 0.0]])


@pytest.fixture(scope="module", params=YAMLS, ids=lambda path: path.stem)
def loss(request):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        node = OmegaConf.to_container(compose(None, [f"+loss={request.param.stem}"]).loss)
    return instantiate.build(node, "loss")


def one(scores: list[float], targets: list[float], weights: list[float] | None = None) -> tuple[Tensor, ...]:
    """One query without padding."""
    weights = weights or [1.0] * len(scores)
    return torch.tensor([scores]), torch.tensor([targets]), torch.tensor([weights]), torch.ones(1, len(scores)) > 0


def gradient(scores: Tensor) -> Tensor:
    assert scores.grad is not None
    return scores.grad


def fitted(loss: torch.nn.Module, weights: Tensor) -> Tensor:
    scores = torch.zeros(2, 4, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(scores, TARGETS, weights, MASK)
        value.backward()
        return value

    optimizer.step(closure)
    return scores.detach()


def test_the_minimum_has_the_order_of_the_targets(loss) -> None:
    scores = fitted(loss, WEIGHTS)
    assert (scores[:, 0] > scores[:, 1]).all()
    if not isinstance(loss, InfoNCE):  # which has nothing to say of the others
        assert (torch.diff(scores[0]) < 0).all()
        assert (torch.diff(scores[1][:3]) < 0).all()
    least = loss(scores, TARGETS, WEIGHTS, MASK)
    for seed in range(5):
        other = scores + 0.1 * torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))
        if isinstance(loss, InfoNCE):  # no finite score is the least: the best one may always rise
            other[:, 0] = scores[:, 0] - 0.5
        assert loss(other, TARGETS, WEIGHTS, MASK) >= least


OWN_GAPS = [
    ListwiseKL(sharpness=None, temperature=1.0),
    CentredMSE(sharpness=None),
    MarginMSE(sharpness=None),
    RankNet(sharpness=None),
]
OWN_SIZE = [MSE(), BCE(), *OWN_GAPS]


def kind(value: object) -> str:
    return type(value).__name__ if isinstance(value, torch.nn.Module) else ""


@pytest.mark.parametrize("loss", OWN_SIZE, ids=kind)
@pytest.mark.parametrize("weights", [WEIGHTS, UNEVEN], ids=["even", "uneven"])
def test_the_minimum_is_the_log_odds_of_the_targets(loss: torch.nn.Module, weights: Tensor) -> None:
    """Up to a query's offset where the loss only compares; whatever the weights, as these targets contradict nothing."""
    scores, odds = fitted(loss, weights), torch.log(TARGETS / (1 - TARGETS))
    for line, count in ((0, 4), (1, 3)):
        error = (scores - odds)[line, :count]
        if getattr(loss, "compares", False):
            error = error - error.mean()
        assert error.abs().max() < 2e-3


def test_the_temperature_divides_the_targets_log_odds() -> None:
    scores, odds = fitted(ListwiseKL(sharpness=None, temperature=0.5), UNEVEN), torch.log(TARGETS / (1 - TARGETS))
    error = (scores - 2 * odds)[0]
    assert (error - error.mean()).abs().max() < 2e-3


def sharp(made: Any, sharpness: float) -> Any:
    return made(sharpness=sharpness, temperature=None) if made is ListwiseKL else made(sharpness=sharpness)


@pytest.mark.parametrize("made", [ListwiseKL, CentredMSE, MarginMSE, RankNet])
def test_the_minimum_may_be_the_sharpened_standardised_log_odds(made) -> None:
    scores, odds = fitted(sharp(made, 2.0), WEIGHTS)[0], torch.log(TARGETS / (1 - TARGETS))[0]
    wanted = 2 * (odds - odds.mean()) / odds.std(correction=0)
    torch.testing.assert_close(scores - scores.mean(), wanted, atol=2e-3, rtol=0)


SIGMOID = [1 / (1 + math.exp(-x)) for x in (0.0, 1.0)]
ODDS = math.log(3)  # of 0.75


def entropy(p: float, q: float) -> float:
    return -p * math.log(q) - (1 - p) * math.log(1 - q)


@pytest.mark.parametrize(
    ("loss", "case", "value"),
    [
        (MSE(), one([0, 1], [0.5, 0.25], [1, 3]), 3 / 4 * (SIGMOID[1] - 0.25) ** 2),
        (BCE(), one([0, 1], [0.5, 0.25], [1, 3]), (math.log(2) + 3 * entropy(0.25, SIGMOID[1])) / 4),
        # Errors 1, 0 and -ln 3, their mean taken off.
        (
            CentredMSE(sharpness=None),
            one([1, 0, 0], [0.5, 0.5, 0.75]),
            float(np.var([1, 0, -ODDS])),
        ),
        # Errors 1 and -ln 3 with weights 1 and 3: w1 w2 / (w1 + w2)^2 times the squared gap.
        (CentredMSE(sharpness=None), one([1, 0], [0.5, 0.75], [1, 3]), 3 / 16 * (1 + ODDS) ** 2),
        # The best is the third: its margins are -1 and 0 where ln 3 twice is wanted.
        (MarginMSE(sharpness=None), one([1, 0, 0], [0.5, 0.5, 0.75]), ((1 + ODDS) ** 2 + ODDS**2) / 2),
        # Pairs of the third with weights 2, and 2 * 2 * 1 / 3 for the second.
        (
            MarginMSE(sharpness=None),
            one([1, 0, 0], [0.5, 0.5, 0.75], [2, 1, 2]),
            (2 * (1 + ODDS) ** 2 + 4 / 3 * ODDS**2) / (2 + 4 / 3),
        ),
        # A gap of 1 where the odds 1 to 3 are wanted.
        (RankNet(sharpness=None), one([1, 0], [0.5, 0.75]), entropy(0.25, SIGMOID[1])),
        # Three pairs: (1, 2) of gap 1 and even odds, (1, 3) as above, (2, 3) of gap 0.
        (
            RankNet(sharpness=None),
            one([1, 0, 0], [0.5, 0.5, 0.75], [2, 1, 2]),
            (4 / 3 * entropy(0.5, SIGMOID[1]) + 2 * entropy(0.25, SIGMOID[1]) + 4 / 3 * math.log(2)) / (2 + 8 / 3),
        ),
        (InfoNCE(), one([1, 0, 0], [0.5, 0.5, 0.75]), math.log(2 + math.e)),
        (InfoNCE(), one([1, 0, 0], [0.5, 0.5, 0.75], [2, 1, 4]), math.log((4 + 2 * math.e + 1) / 4)),
        # Two best ones of scores 1 and 0 against one of score 0.
        (InfoNCE(), one([1, 0, 0], [0.75, 0.5, 0.75]), (math.log(1 + 1 / math.e) + math.log(2)) / 2),
        # Log odds 0 and ln 3 are -1 and 1 when standardised.
        (
            ListwiseKL(sharpness=0.5, temperature=None),
            one([0, 0], [0.5, 0.75]),
            math.log(2) - entropy(SIGMOID[1], SIGMOID[1]),
        ),
        # Odds 1 and 3 over even scores, documents that count once and three times: shares 1 : 9 against 1 : 3.
        (
            ListwiseKL(sharpness=None, temperature=1.0),
            one([0, 0], [0.5, 0.75], [1, 3]),
            0.1 * math.log(0.1 / 0.25) + 0.9 * math.log(0.9 / 0.75),
        ),
    ],
    ids=kind,
)
def test_values_by_hand(loss: torch.nn.Module, case: tuple[Tensor, ...], value: float) -> None:
    assert loss(*case).item() == pytest.approx(value, rel=1e-5)


def test_a_query_counts_as_its_pairs_do_however_many_there_are() -> None:
    """Three documents of gap 0 and weight 1, two of gap 2 and weight 3; even odds are wanted everywhere."""
    scores, mask = torch.tensor([[0.0, 0, 0], [2, 0, 9]]), torch.tensor([[True] * 3, [True, True, False]])
    weights = torch.tensor([[1.0], [3.0]]).expand(2, 3)
    value = RankNet(sharpness=None)(scores, torch.full((2, 3), 0.5), weights, mask).item()
    assert value == pytest.approx((math.log(2) + 3 * entropy(0.5, 1 / (1 + math.exp(-2)))) / 4, rel=1e-5)


def test_padding_does_not_count(loss) -> None:
    scores = torch.linspace(-2, 2, 8).view(2, 4)
    changed, targets, weights = scores.clone(), TARGETS.clone(), WEIGHTS.clone()
    changed[1, 3], targets[1, 3], weights[1, 3] = 50.0, 1.0, 9.0
    changed.requires_grad_()
    value = loss(changed, targets, weights, MASK)
    assert torch.equal(loss(scores, TARGETS, WEIGHTS, MASK), value)
    value.backward()
    assert gradient(changed)[1, 3] == 0
    wider = [torch.nn.functional.pad(part, (0, 2)) for part in (scores, TARGETS, UNEVEN, MASK)]
    torch.testing.assert_close(loss(*wider), loss(scores, TARGETS, UNEVEN, MASK))


def test_the_order_of_documents_and_queries_does_not_count(loss) -> None:
    targets = TARGETS.clone()
    targets[0, 1] = 0.9  # two best ones
    value = loss(SCORES, targets, UNEVEN, MASK)
    mixed = [part[[1, 0]][:, [2, 0, 3, 1]] for part in (SCORES, targets, UNEVEN, MASK)]
    torch.testing.assert_close(loss(*mixed), value)


def test_weights_count_against_each_other_only(loss) -> None:
    value = loss(SCORES, TARGETS, UNEVEN, MASK)
    torch.testing.assert_close(loss(SCORES, TARGETS, 7 * UNEVEN, MASK), value)
    assert (value - loss(SCORES, TARGETS, WEIGHTS, MASK)).abs() > 1e-3
    query = UNEVEN * torch.tensor([[1.0], [0.0]])  # a query of weight 0 is none
    torch.testing.assert_close(loss(SCORES, TARGETS, query, MASK), loss(SCORES[:1], TARGETS[:1], UNEVEN[:1], MASK[:1]))


SHARP = [
    ListwiseKL(sharpness=2.0, temperature=None),
    CentredMSE(sharpness=2.0),
    MarginMSE(sharpness=2.0),
    RankNet(sharpness=2.0),
]


@pytest.mark.parametrize("loss", [*OWN_SIZE, *SHARP, InfoNCE()], ids=kind)
def test_a_document_of_weight_0_is_not_there(loss: torch.nn.Module) -> None:
    """The one left out is the best of its query."""
    weights, mask = UNEVEN.clone(), MASK.clone()
    weights[0, 0], mask[0, 0] = 0.0, False
    torch.testing.assert_close(loss(SCORES, TARGETS, weights, MASK), loss(SCORES, TARGETS, UNEVEN, mask))


def test_one_that_compares_learns_nothing_from_a_single_document(loss) -> None:
    alone = torch.tensor([[True, False, False, False]])
    scores = torch.cat([SCORES, torch.full((1, 4), 3.0)]).requires_grad_()
    batch = (
        scores,
        torch.cat([TARGETS, TARGETS[:1]]),
        torch.cat([UNEVEN, UNEVEN[:1]]),
        torch.cat([MASK, alone]),
    )
    value = loss(*batch)
    value.backward()
    if getattr(loss, "compares", False):
        torch.testing.assert_close(value, loss(SCORES, TARGETS, UNEVEN, MASK))
        assert (gradient(scores)[2] == 0).all()
        only = torch.full((1, 4), 3.0, requires_grad=True)
        nothing = loss(only, TARGETS[:1], UNEVEN[:1], alone)
        nothing.backward()
        assert nothing == 0
        assert (gradient(only) == 0).all()
        with pytest.raises(BadInput, match=r"none of the 3 train queries has two rated documents"):
            check_comparable("embedding", loss, np.array([1, 1, 1]))
    else:
        assert gradient(scores)[2, 0] != 0
        check_comparable("embedding", loss, np.array([1, 1, 1]))
    check_comparable("embedding", loss, np.array([1, 2, 1]))


def test_an_offset_of_a_query_does_not_count_where_documents_are_compared(loss) -> None:
    moved = loss(SCORES + torch.tensor([[3.0], [-1.0]]), TARGETS, UNEVEN, MASK)
    same = torch.isclose(moved, loss(SCORES, TARGETS, UNEVEN, MASK), rtol=1e-4)
    assert same == getattr(loss, "compares", False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-3, 1.0, 60.0])
def test_finite_with_a_finite_gradient(loss, size: float, dtype: torch.dtype) -> None:
    scores = (size * torch.linspace(-2, 2, 8).view(2, 4)).to(dtype).requires_grad_()
    targets = TARGETS.clone()
    targets[0, 0], targets[0, 3] = 1.0, 0.0  # the ends of the link
    value = loss(scores, targets, WEIGHTS, MASK)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(gradient(scores)).all()
    assert (gradient(scores) != 0).any() or isinstance(loss, MSE)  # whose sigmoid is flat at 120


@pytest.mark.parametrize("made", [ListwiseKL, CentredMSE, MarginMSE, RankNet])
def test_a_sharpness_of_0_is_refused(made) -> None:
    with pytest.raises(BadInput, match=r"loss\.sharpness=0"):
        sharp(made, 0)


@pytest.mark.parametrize(("sharpness", "temperature"), [(None, None), (2.0, 1.0), (None, 0.0)])
def test_one_of_sharpness_and_temperature_is_given(sharpness: float | None, temperature: float | None) -> None:
    with pytest.raises(BadInput, match=r"loss\.\w+="):
        ListwiseKL(sharpness=sharpness, temperature=temperature)


def test_equal_weights_leave_listwise_kl_as_it_was() -> None:
    """By its formula: KL of the softmax of the standardised log odds, times 2, and that of the scores."""
    odds = torch.log(TARGETS / (1 - TARGETS))[0]
    wanted = torch.softmax(2 * (odds - odds.mean()) / odds.std(correction=0), 0)
    expected = (wanted * (wanted / torch.softmax(SCORES[0], 0)).log()).sum()
    for weight in (1.0, 0.3):
        case = SCORES[:1], TARGETS[:1], torch.full((1, 4), weight), MASK[:1]
        torch.testing.assert_close(ListwiseKL(sharpness=2.0, temperature=None)(*case), expected)


def test_a_document_counts_in_the_list_as_often_as_its_weight_says() -> None:
    """Twice in the list is once with the weight 2."""
    loss = ListwiseKL(sharpness=2.0, temperature=None)
    once = loss(*one([1, 0, -1], [0.5, 0.75, 0.3], [1, 2, 1]))
    twice = loss(*one([1, 0, 0, -1], [0.5, 0.75, 0.75, 0.3]))
    torch.testing.assert_close(once, twice)


def test_matryoshka_is_the_mean_over_the_widths() -> None:
    inner = ListwiseKL(sharpness=2.0, temperature=None)
    loss = Matryoshka(loss=inner, widths=[4, 2])
    scores = torch.stack([SCORES, 2 * SCORES, -SCORES], 2)
    expected = sum(inner(part, TARGETS, UNEVEN, MASK) for part in scores.unbind(2)) / 3
    torch.testing.assert_close(loss(scores, TARGETS, UNEVEN, MASK), expected)
    assert loss.compares
    assert not Matryoshka(loss=MSE(), widths=[2]).compares
    for widths in ([], [0], [3, 3]):
        with pytest.raises(BadInput, match=r"loss\.widths="):
            Matryoshka(loss=inner, widths=widths)


def test_equal_targets_are_no_reason_to_prefer(loss) -> None:
    targets = torch.full((1, 3), 0.5)
    scores = torch.zeros(1, 3, requires_grad=True)
    loss(scores, targets, torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool)).backward()
    assert gradient(scores).abs().max() < 1e-6


def test_a_query_counts_once_however_many_best_documents_it_has() -> None:
    """Two best ones of loss ln 2 each in the first query, one of loss ln(1 + e) in the second."""
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 9.0]])
    targets = torch.tensor([[0.75, 0.75, 0.5], [0.75, 0.5, 0.0]])
    mask = torch.tensor([[True] * 3, [True, True, False]])
    value = InfoNCE()(scores, targets, torch.ones(2, 3), mask).item()
    assert value == pytest.approx((math.log(2) + math.log(1 + math.e)) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("target", "weight", "message"),
    [
        (1.5, 1.0, r"target number 1 is 1\.5; losses take targets in \[0, 1\]"),
        (math.nan, 1.0, "target number 1 is nan"),
        (0.5, -1.0, r"weight number 1 is -1\.0"),
        (0.5, math.inf, "weight number 1 is inf"),
    ],
)
def test_targets_that_no_loss_takes_are_refused(target: float, weight: float, message: str, tmp_path: Path) -> None:
    class Mine:
        def targets(self, rated: object) -> tuple[np.ndarray, np.ndarray]:
            return np.array([0.5, target]), np.array([1.0, weight])

    queries = pa.table({"query_id": ["a"], "text": ["a"], "split": ["train"]})
    ratings = {"query_id": ["a", "a"], "doc_id": ["b", "c"], "rating": [0.0, 1.0], "stderr": [1.0, 1.0]}
    for name, rows in (("queries", queries), ("ratings", pa.table(ratings))):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    table = Table("load", "", tmp_path, {})
    stage: Any = TargetStage(inputs={}, target=Mine(), solver=SimpleNamespace(link=None), seed=0)  # pyright: ignore
    with pytest.raises(BadInput, match=rf"target Mine: {message}.* It is of .*ratings\.parquet"):
        stage.run({"data": table, "ratings": table}, tmp_path)


def test_lists_of_one_document_are_refused_before_any_model_is_loaded(tmp_path: Path) -> None:
    column = ["a", "b"]
    rows = {
        "queries": pa.table({"query_id": column, "text": column, "split": ["train", "dev"]}),
        "documents": pa.table({"doc_id": column, "title": column, "text": column}),
        "examples": pa.table(
            {
                "query_id": column,
                "doc_id": column,
                "target": pa.array([0.5, 0.5], pa.float32()),
                "weight": pa.array([1.0, 1.0], pa.float32()),
                "split": ["train", "dev"],
            }
        ),
    }
    for name, found in rows.items():
        pq.write_table(found, tmp_path / f"{name}.parquet")
    table = Table("load", "", tmp_path, {})
    parts: Any = dict.fromkeys(("model", "backbone", "optimizer", "scheduler", "loader", "trainer"))
    student = Student(**(parts | {"loss": RankNet(sharpness=None)}))
    rest: Any = {"hardware": None, "logger": None}
    stage = Train(inputs={}, student=student, name="embedding", seed=0, **rest)
    with pytest.raises(BadInput, match=r"embedding\.loss=RankNet compares the documents of a query"):
        stage.run({"data": table, "examples": table}, tmp_path)
