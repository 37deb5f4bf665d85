"""The two-parameter model of item response, with the ability of each document known up to its query's scale and offset.

P(document i of query q meets criterion c) = sigmoid(gamma_c (tau_q theta_i + alpha_q - beta_c)): Birnbaum (1968), in this use
Cohere (2026, arXiv 2609.35739). theta is given; priors tau ~ N(1, 1), tau > 0, and alpha ~ N(0, 2^2).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

_SD_SCALE, _SD_OFFSET = 1.0, 2.0  # of the priors, in logits
_RIDGE = 1e-4  # on the criteria's parameters, which the data decide
_MOST = 500  # steps
_FLAT = 1e-6  # gradient per query at which the fit is done


@dataclass(frozen=True)
class Responses:
    """M answers about N documents' abilities `theta`, in logits."""

    query: np.ndarray  # [M]
    criterion: np.ndarray  # [M]
    theta: np.ndarray  # [M]
    met: np.ndarray  # [M] in [0, 1]
    weight: np.ndarray  # [M]
    queries: int
    criteria: int


@dataclass(frozen=True)
class Curves:
    """The fitted model, in logits."""

    scale: np.ndarray  # [Q] tau > 0
    offset: np.ndarray  # [Q] alpha
    stderr: np.ndarray  # [Q] of alpha, the criteria taken as known
    discrimination: np.ndarray  # [C] gamma > 0, sums to C
    difficulty: np.ndarray  # [C] beta, mean 0
    steps: int
    gradient: float  # largest, per query
    converged: bool
    log_loss: float  # nats per answer of weight 1


def fit(responses: Responses) -> Curves:
    """Maximum a posteriori by L-BFGS (at most 500 steps) from tau = 1, alpha = 0 and equal criteria."""
    queries, criteria = responses.queries, responses.criteria
    # The criteria's parameters feel all queries: without this their curvature is that many times the others'.
    stretch = np.ones(2 * queries + 2 * criteria)
    stretch[2 * queries :] = 1 / np.sqrt(queries)
    begin = np.zeros(len(stretch))
    begin[:queries] = np.log(np.expm1(1.0))  # softplus of it is 1

    def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _loss(responses, stretch * z)
        return value, stretch * gradient

    options = {"maxiter": _MOST, "maxfun": 2 * _MOST, "gtol": _FLAT, "ftol": 1e-13, "maxcor": 20}
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options)
    tau, alpha, gamma, beta, _ = _unpacked(stretch * found.x, queries, criteria)
    p = expit(gamma[responses.criterion] * _margin(responses, tau, alpha, beta))
    return Curves(
        scale=tau,
        offset=alpha,
        stderr=_stderr(responses, gamma, p),
        discrimination=gamma,
        difficulty=beta,
        steps=int(found.nit),
        gradient=float(np.abs(found.jac).max()),
        converged=bool(found.success),
        log_loss=_cross_entropy(responses, p) / float(responses.weight.sum()),
    )


def _unpacked(x: np.ndarray, queries: int, criteria: int) -> tuple[np.ndarray, ...]:
    """(tau [Q], alpha [Q], gamma [C], beta [C], slope of softplus [Q]) from free parameters."""
    raw, alpha, gamma, beta = np.split(x, np.cumsum([queries, queries, criteria]))
    share = np.exp(gamma - gamma.max())
    return np.logaddexp(0, raw), alpha, criteria * share / share.sum(), beta - beta.mean(), expit(raw)


def _margin(responses: Responses, tau: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return tau[responses.query] * responses.theta + alpha[responses.query] - beta[responses.criterion]


def _loss(responses: Responses, x: np.ndarray) -> tuple[float, np.ndarray]:
    """(negative log posterior, its gradient) at free parameters [2 Q + 2 C]."""
    queries, criteria = responses.queries, responses.criteria
    tau, alpha, gamma, beta, softplus = _unpacked(x, queries, criteria)
    margin = _margin(responses, tau, alpha, beta)
    steep = gamma[responses.criterion]
    p = expit(steep * margin)
    error = responses.weight * (p - responses.met)
    pull = steep * error
    by_gamma = np.bincount(responses.criterion, error * margin, criteria)
    by_beta = -np.bincount(responses.criterion, pull, criteria)
    by_tau = np.bincount(responses.query, pull * responses.theta, queries) + (tau - 1) / _SD_SCALE**2
    by_alpha = np.bincount(responses.query, pull, queries) + alpha / _SD_OFFSET**2
    free_gamma, free_beta = x[2 * queries : 2 * queries + criteria], x[2 * queries + criteria :]
    gradient = np.concatenate(
        [
            by_tau * softplus,
            by_alpha,
            gamma * (by_gamma - gamma @ by_gamma / criteria) + _RIDGE * free_gamma,
            by_beta - by_beta.mean() + _RIDGE * free_beta,
        ]
    )
    prior = np.sum((tau - 1) ** 2) / _SD_SCALE**2 + np.sum(alpha**2) / _SD_OFFSET**2
    prior += _RIDGE * (free_gamma @ free_gamma + free_beta @ free_beta)
    return _cross_entropy(responses, p) + float(prior) / 2, gradient


def _cross_entropy(responses: Responses, p: np.ndarray) -> float:
    tiny = np.finfo(float).tiny
    lost = responses.met * np.log(np.maximum(p, tiny)) + (1 - responses.met) * np.log(np.maximum(1 - p, tiny))
    return -float(responses.weight @ lost)


def _stderr(responses: Responses, gamma: np.ndarray, p: np.ndarray) -> np.ndarray:
    """[Q] of alpha, from the 2 x 2 information of (tau, alpha) of each query with its prior (Laplace)."""
    information = responses.weight * gamma[responses.criterion] ** 2 * p * (1 - p)
    tt, ta, aa = (
        np.bincount(responses.query, information * responses.theta**power, responses.queries) for power in (2, 1, 0)
    )
    tt, aa = tt + 1 / _SD_SCALE**2, aa + 1 / _SD_OFFSET**2
    return np.sqrt(tt / (tt * aa - ta**2))
