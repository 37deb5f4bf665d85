"""How well scores say, on one scale for all queries, which documents are relevant."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.optimize import minimize
from scipy.special import expit, logit

from zelo import passages
from zelo.errors import BadInput
from zelo.evaluation import labels as labelled
from zelo.evaluation.runs import run_of, worth
from zelo.facts import Facts
from zelo.records import DEV, TEST
from zelo.stages.evaluate import PER_QUERY
from zelo.store.shards import write_parquet
from zelo.store.table import Table

METRIC = "log_loss"
DATA, LABELS = "data", "labels"
RIDGE = 1e-6  # keeps the curve finite where labels are separable


@dataclass(frozen=True, kw_only=True)
class RelevanceLoss:
    """Writes figures (PER_QUERY) of each system: log_loss, in nats a candidate, of the labels of each test query.

    A score becomes a probability by one logistic curve for all queries, fitted on dev (Platt, Probabilistic Outputs for Support
    Vector Machines, 1999): what is left is how well one threshold serves all queries. A document without a label counts as not
    relevant.
    """

    inputs: dict[str, str]  # data: load; labels; any other is a stage that ranks or rates queries of dev and test

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput where dev or test has no labels."""
        labels = labelled.of_splits(tables[LABELS], tables[DATA])
        if missing := [split for split in (DEV, TEST) if split not in labels]:
            raise BadInput(f"relevance_loss: {missing[0]} has no labels; it fits a curve on dev and measures on test.")
        rows, known = [], passages.read(tables[DATA])
        for role, table in tables.items():
            if role in (DATA, LABELS):
                continue
            dev, test = (_scored(role, table, labels[split], known) for split in (DEV, TEST))
            slope, start = _curve(*dev[1:])
            query, score, relevant = test
            p = expit(slope * score + start)
            loss = -np.log(np.where(relevant, p, 1 - p))
            names, place = np.unique(query, return_inverse=True)
            mean = np.bincount(place, loss) / np.bincount(place)
            rows += [(role, METRIC, TEST, name, value) for name, value in zip(names, mean.tolist(), strict=True)]
        table = pa.table([list(column) for column in zip(*rows, strict=True)], names=PER_QUERY.names)
        write_parquet(table, PER_QUERY, out, "figures")
        return {"rows": len(table)}


def _scored(
    role: str, table: Table, qrels: pa.Table, known: pa.Table | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """([N] query, [N] score, [N] bool: relevant) of all that a system has scored of these queries. known: passages."""
    truth = pa.table(
        [qrels["query_id"], qrels["doc_id"], qrels["relevance"].cast(pa.float64())], ["query_id", "doc_id", "worth"]
    )
    run = run_of(role, table, pc.unique(qrels["query_id"]), truth, known)
    return run["query_id"].cast(pa.string()).to_numpy(), run["score"].to_numpy().astype(float), worth(run, truth) > 0


def _curve(score: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """(slope, start) of the most likely P(relevant) = sigmoid(slope * score + start)."""
    mean, spread = score.mean(), score.std() or 1.0
    unit = (score - mean) / spread

    def loss(curve: np.ndarray) -> tuple[float, np.ndarray]:
        z = curve[0] * unit + curve[1]
        error = expit(z) - relevant
        value = float(np.mean(np.logaddexp(0, z) - relevant * z) + RIDGE * curve @ curve)
        return value, np.array([np.mean(error * unit), error.mean()]) + 2 * RIDGE * curve

    share = float(np.clip(relevant.mean(), 1e-6, 1 - 1e-6))
    slope, start = minimize(loss, np.array([0.0, logit(share)]), jac=True, method="BFGS").x
    return float(slope / spread), float(start - slope * mean / spread)
