"""The two-parameter model of item response, with the ability of each document known up to its query's scale and offset.

P(document i of query q meets criterion c) = sigmoid(gamma_c (tau_q theta_i + alpha_q - beta_c)): Birnbaum (1968), in this use
Cohere (2026, arXiv 2609.35739). theta is given; priors tau ~ N(1, 1), tau > 0 by softplus, and alpha ~ N(0, 2^2). gamma sums to
the number of criteria, beta has mean 0. Maximum a posteriori by Fisher scoring: all queries share the criteria and nothing
else, so that each step eliminates them one by one (2 x 2) and solves for the criteria alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

_SD_SCALE, _SD_OFFSET = 1.0, 2.0  # of the priors, in logits
_RIDGE = 1e-4  # on the criteria's parameters, which the data decide
_STEPS = 200  # 10 to 20 are usual
_ENOUGH = (
    1e-9  # nats that a step may still promise, for each query: its offset is then right to 1e-4 of its standard error
)
_REACH = 1.0  # most that softplus^-1(tau) and the criteria's free parameters move in a step
_CUTS = 20  # of one step


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
    promised: float  # nats, the most that a further step promises any query or the criteria
    log_loss: float  # nats per answer of weight 1

    @property
    def converged(self) -> bool:
        """Whether no further step promises anything."""
        return self.promised <= _ENOUGH


def fit(responses: Responses) -> Curves:
    """The fit from tau = 1, alpha = 0 and equal criteria; look at `converged`."""
    queries, criteria = responses.queries, responses.criteria
    x = np.zeros(2 * queries + 2 * criteria)
    x[:queries] = np.log(np.expm1(1.0))  # softplus of it is 1
    state = _loss(responses, x)
    steps, promised, covariance = 0, np.inf, np.full((queries, 2, 2), np.nan)
    while steps < _STEPS:
        step, covariance = _scoring_step(responses, x, state)
        gains = -state.gradient * step
        by_query = gains[:queries] + gains[queries : 2 * queries]
        promised = max(float(np.abs(by_query).max()), float(np.abs(gains[2 * queries :]).sum()) / queries)
        if promised <= _ENOUGH:
            break
        x, state = _descend(responses, x, state, step)
        steps += 1
    tau, alpha, gamma, beta, _ = _unpacked(x, queries, criteria)
    return Curves(
        scale=tau,
        offset=alpha,
        stderr=np.sqrt(covariance[:, 1, 1]),
        discrimination=gamma,
        difficulty=beta,
        steps=steps,
        promised=promised,
        log_loss=_cross_entropy(responses, state.p) / float(responses.weight.sum()),
    )


@dataclass(frozen=True)
class _State:
    """Negative log posterior, its gradient in the free parameters and the predictions at one point."""

    loss: float
    gradient: np.ndarray  # [2 Q + 2 C]
    p: np.ndarray  # [M]
    margin: np.ndarray  # [M] tau theta + alpha - beta


def _descend(responses: Responses, x: np.ndarray, state: _State, step: np.ndarray) -> tuple[np.ndarray, _State]:
    """After the step, halved until the loss has fallen."""
    cuts = 0
    while True:
        moved = _loss(responses, x + step)
        if moved.loss <= state.loss or cuts == _CUTS:
            return x + step, moved
        step, cuts = step / 2, cuts + 1


def _scoring_step(responses: Responses, x: np.ndarray, state: _State) -> tuple[np.ndarray, np.ndarray]:
    """[2 Q + 2 C] minus the inverse of the expected information (and prior) times the gradient.

    And [Q, 2, 2] that inverse for each query's (softplus^-1 tau, alpha), the criteria taken as known.
    """
    queries, criteria = responses.queries, responses.criteria
    _, _, gamma, _, softplus = _unpacked(x, queries, criteria)
    own, border, corner = _information(responses, gamma, softplus, state)
    to_free = np.zeros((2 * criteria, 2 * criteria))  # derivative of (gamma, beta) by their free parameters
    to_free[:criteria, :criteria] = np.diag(gamma) - np.outer(gamma, gamma) / criteria
    to_free[criteria:, criteria:] = np.eye(criteria) - 1 / criteria
    border, corner = border @ to_free, to_free.T @ corner @ to_free + _RIDGE * np.eye(2 * criteria)
    each = state.gradient[: 2 * queries].reshape(2, queries).T
    inverse = np.linalg.inv(own)
    solved = inverse @ border  # [Q, 2, 2 C]
    reduced = corner - np.einsum("qic,qid->cd", border, solved)
    shared = np.linalg.solve(reduced, np.einsum("qic,qi->c", solved, each) - state.gradient[2 * queries :])
    single = -np.einsum("qij,qj->qi", inverse, each) - solved @ shared
    single[:, 0] = np.clip(single[:, 0], -_REACH, _REACH)
    return np.concatenate([single[:, 0], single[:, 1], np.clip(shared, -_REACH, _REACH)]), inverse


def _information(
    responses: Responses, gamma: np.ndarray, softplus: np.ndarray, state: _State
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected information: of each query's (softplus^-1 tau, alpha) [Q, 2, 2], of these with all (gamma, beta)
    [Q, 2, 2 C], and of (gamma, beta) [2 C, 2 C]; the priors of a query's are in."""
    queries, criteria = responses.queries, responses.criteria
    steep = gamma[responses.criterion]
    curved = responses.weight * state.p * (1 - state.p)
    cell = responses.query.astype(np.int64) * criteria + responses.criterion
    theta, margin = responses.theta, state.margin

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, values, queries * criteria).reshape(queries, criteria)

    pull = curved * steep
    a_gamma, a_beta = summed(pull * margin), -summed(pull * steep)
    t_gamma, t_beta = summed(pull * margin * theta), -summed(pull * steep * theta)
    own = np.empty((queries, 2, 2))
    own[:, 0, 0] = softplus**2 * (summed(pull * steep * theta**2).sum(1) + 1 / _SD_SCALE**2)
    own[:, 0, 1] = own[:, 1, 0] = -softplus * t_beta.sum(1)
    own[:, 1, 1] = -a_beta.sum(1) + 1 / _SD_OFFSET**2
    border = np.empty((queries, 2, 2 * criteria))
    border[:, 0] = softplus[:, None] * np.concatenate([t_gamma, t_beta], 1)
    border[:, 1] = np.concatenate([a_gamma, a_beta], 1)
    both = -np.diag(a_gamma.sum(0))
    squared = np.diag(np.bincount(responses.criterion, curved * margin**2, criteria))
    return own, border, np.block([[squared, both], [both, -np.diag(a_beta.sum(0))]])


def _unpacked(x: np.ndarray, queries: int, criteria: int) -> tuple[np.ndarray, ...]:
    """(tau [Q], alpha [Q], gamma [C], beta [C], slope of softplus [Q]) from free parameters."""
    raw, alpha, gamma, beta = np.split(x, np.cumsum([queries, queries, criteria]))
    share = np.exp(gamma - gamma.max())
    return np.logaddexp(0, raw), alpha, criteria * share / share.sum(), beta - beta.mean(), expit(raw)


def _loss(responses: Responses, x: np.ndarray) -> _State:
    """At free parameters [2 Q + 2 C]."""
    queries, criteria = responses.queries, responses.criteria
    tau, alpha, gamma, beta, softplus = _unpacked(x, queries, criteria)
    margin = tau[responses.query] * responses.theta + alpha[responses.query] - beta[responses.criterion]
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
    return _State(_cross_entropy(responses, p) + float(prior) / 2, gradient, p, margin)


def _cross_entropy(responses: Responses, p: np.ndarray) -> float:
    tiny = np.finfo(float).tiny
    lost = responses.met * np.log(np.maximum(p, tiny)) + (1 - responses.met) * np.log(np.maximum(1 - p, tiny))
    return -float(responses.weight @ lost)
