"""What a student that learned preferences is worth as a judge, and the bias for what is shown first."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from zelo.facts import Facts
from zelo.records import DEV, TEST

if TYPE_CHECKING:
    from zelo.training.pairwise_dataset import Pairs

BATCH = 64  # pairs read at a time
CHANCE = 0.05  # of a coin that is as often right on the unanimous dev pairs: above it the student has shown nothing

COIN = (
    "It is not shown to judge better than a coin, so ratings of its judgements are noise: more pairs, more"
    " pairwise.trainer.epochs, a higher pairwise.optimizer.lr or a larger backbone@pairwise.backbone may help"
)


def log_loss(score: np.ndarray, p: np.ndarray) -> np.ndarray:
    """[N] cross-entropy in nats of preferences p against log odds."""
    return np.logaddexp(0.0, score) - p * score


def both_orders(model: Any, pairs: "Pairs", device: str) -> tuple[np.ndarray, np.ndarray]:
    """([N] log odds of the first document shown first, [N] of the second shown first), each for what is shown first."""
    import torch

    found = np.empty((2, len(pairs)))
    with torch.no_grad():
        for low in range(0, len(pairs), BATCH):
            rows = np.arange(low, min(low + BATCH, len(pairs)))
            for line, turned in enumerate((False, True)):
                batch = pairs.batch(rows, np.full(len(rows), turned), model.collate)
                scores = model({key: value.to(device) for key, value in batch.items()})
                found[line, rows] = scores[:, 0].float().cpu().numpy()
    return found[0], found[1]


def fit_order_bias(model: Any, dev: "Pairs", device: str) -> float:
    """What the order alone adds to the log odds: half of the mean sum of both orders, which would cancel without it.

    The model takes it off from now on.
    """
    model.to(device).eval()
    model.order_bias.zero_()
    first, second = both_orders(model, dev, device)
    bias = float((first + second).mean() / 2)
    model.order_bias.fill_(bias)
    return bias


def worth(model: Any, pairs: "Pairs", device: str) -> Facts:
    """How the student judges these pairs, in one order or as the mean of both, as the model says.

    consensus_accuracy: of the pairs that all judges decided alike; accuracy: of those whose mean is not 1/2; log_loss: in nats;
    order_gap: mean of |f(a, b) + f(b, a) - 1|, 0 for one to whom the order is nothing.
    """
    first, second = both_orders(model, pairs, device)
    f, g = expit(first), expit(second)
    judged = (f + 1 - g) / 2 if model.both_orders else f
    odds = np.log(np.clip(judged, 1e-12, 1)) - np.log(np.clip(1 - judged, 1e-12, 1))
    right = (judged > 0.5) == (pairs.p > 0.5)
    decided = pairs.p != 0.5
    return {
        "pairs": len(pairs),
        "consensus_pairs": int(pairs.unanimous.sum()),
        "consensus_accuracy": float(right[pairs.unanimous].mean()) if pairs.unanimous.any() else None,
        "accuracy": float(right[decided].mean()) if decided.any() else None,
        "log_loss": float(log_loss(odds, pairs.p.astype(np.float64)).mean()),
        "order_gap": float(np.abs(f + g - 1).mean()),
    }


def as_judge(model: Any, examples: "Mapping[str, Pairs]", device: str) -> Facts:
    """Fits the order bias on the dev pairs; how the student judges these, which chose its weights, and those of test."""
    bias = fit_order_bias(model, examples[DEV], device)
    return {"order_bias": bias} | {
        split: worth(model, examples[split], device) for split in (DEV, TEST) if split in examples
    }


def judging_in_words(judging: Facts) -> str:
    """What `as_judge` found, in words."""
    parts = []
    for split in (DEV, TEST):
        if split in judging:
            found = judging[split]
            share = "no" if found["consensus_accuracy"] is None else f"{found['consensus_accuracy']:.0%} of the"
            parts.append(
                f"on {found['pairs']:,} {split} pairs it decides {share} {found['consensus_pairs']:,} unanimous ones as the"
                f" judges do, log loss {found['log_loss']:.3f}, and its two orders differ by {found['order_gap']:.2f}"
            )
    said = "; ".join(parts) + f"; order bias {judging['order_bias']:+.2f} in log odds, taken off"
    return said if DEV not in judging or _knows_something(judging[DEV]) else f"{said}. {COIN}"


def _knows_something(found: Facts) -> bool:
    """Whether it is right on unanimous pairs more often than a coin (exact binomial test)."""
    from scipy.stats import binomtest

    pairs = found["consensus_pairs"]
    if not pairs:
        return True  # nothing can be said
    right = round(found["consensus_accuracy"] * pairs)
    return bool(binomtest(right, pairs, alternative="greater").pvalue < CHANCE)
