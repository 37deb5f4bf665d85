"""The report's section on ratings: figures and, for each number, what it means and when it is a problem."""

import math
from collections.abc import Callable

import numpy as np
from markupsafe import Markup

from zelo.facts import Facts
from zelo.metrics.predicted_answers import CRITERIA, GHOSTS, PAIRS
from zelo.metrics.spectrum import Spectrum, random_regular_diameter, random_regular_lambda_2
from zelo.reporting import rating_plots
from zelo.reporting.budgets import BudgetCurve
from zelo.reporting.query_offsets import QueryOffsets, bins
from zelo.reporting.rating_facts import Matrix, RatingFacts

GUESSING = math.log(2)  # log loss of who always says 1/2
COINS = 0.25  # share of intransitive triads where coins decide
KINDS = {
    PAIRS: "comparisons of documents of two queries",
    CRITERIA: "whether a document meets a criterion of the rubric",
    GHOSTS: "whether a document is better than a random one of another query",
}

# A row of the table of the fit: key of the fact -> its name, what it means and when it is a problem.
FIT = {
    "steps": ("steps", "The solver's, of the query that took most; a problem near its limit, {steps}."),
    "gradient": (
        "worst gradient",
        "Largest gradient of the likelihood over queries; a problem above the solver's tolerance{within}.",
    ),
    "log_loss": (
        "log loss",
        "Nats per comparison. Guessing has 0.693, and answers near 1/2 have about that in any case; a problem above it.",
    ),
    "held_out_log_loss": (
        "held-out log loss",
        "The same on pairs that a second fit did not see (solver.held_out says how many); a problem if it is far above the"
        " log loss: too few pairs for so many documents.",
    ),
    "dispersion": (
        "dispersion",
        "Noise of the answers around the ratings, in that of votes: soft answers have far less than 1; a problem above 1.5:"
        " one rating per document does not explain the votes.",
    ),
    "disconnected_queries": (
        "disconnected queries",
        "Their comparisons are not connected; any is a problem: answers are missing.",
    ),
    "separable_documents": (
        "separable documents",
        "Won or lost every comparison, so that only the prior limits their rating; a problem if there are many.",
    ),
    "intransitive_triads": (
        "intransitive triads",
        "Share of compared triples that are cycles; 0.25 by chance; a problem above half of that.{sample}",
    ),
    "curl": (
        "curl",
        "Share of the preferences' variance that no rating explains; with pure noise {noise} here; a problem near it.{sample}",
    ),
}


def view(facts: RatingFacts) -> Facts:
    """What the template shows."""
    return {
        "queries": [_query(matrix, number) for number, matrix in enumerate(facts.matrices, 1)],
        "adaptive": any(matrix.budget for matrix in facts.matrices),
        "levels": range(rating_plots.LEVELS),
        "graphs": _graphs(facts.graphs),
        "sampled": len(facts.graphs),
        "fit": _fit(facts),
        "offsets": None if facts.offsets is None else _offsets(facts.offsets),
    }


def _query(matrix: Matrix, number: int) -> dict[str, object]:
    spent = matrix.budget
    drawn = [
        rating_plots.matrix(matrix.p, matrix.shown),
        rating_plots.ladder(matrix.rating, matrix.stderr, f"rating{number}"),
        *([] if spent is None else [rating_plots.budget(spent, f"budget{number}")]),
    ]
    above = matrix.p[np.triu_indices(len(matrix.p), 1)]
    known = above[~np.isnan(above)]
    return {
        "query_id": matrix.query_id,
        "query": matrix.query,
        "candidates": len(matrix.rating),
        "shown": len(matrix.shown),
        "compared": len(known),
        "against": int((known < 0.5).sum()),  # the lower rated was preferred
        "figures": [Markup(svg) for svg in drawn],
        "stopped": None if spent is None else _stopped(spent),
    }


def _stopped(spent: BudgetCurve) -> str:
    pairs, loss = int(spent.pairs[-1]), f"{spent.loss[-1]:.4f}"
    if spent.stop_at is not None and pairs < spent.most:
        return f"stopped after {pairs} of at most {spent.most} pairs, at an expected loss of {loss}"
    return f"went to the end of its budget, {pairs} pairs, at an expected loss of {loss}"


def _graphs(spectra: list[Spectrum]) -> list[dict[str, object]]:
    """Rows: what, of a typical and of the worst query, what the paper asks, whether the worst has it."""
    if not spectra:
        return []
    order = sorted(spectra, key=lambda one: (one.lambda_2, -one.diameter, one.nodes))
    typical, worst = order[len(order) // 2], order[0]
    both = (typical, worst)
    bound = random_regular_diameter(worst.nodes, worst.degree_mean)
    usual = random_regular_lambda_2(worst.degree_mean)
    longest = "–" if bound is None else f"{bound:.1f}"
    rows = [
        ("documents", [f"{one.nodes}" for one in both], "", False),
        ("parts", [f"{one.parts}" for one in both], "1: all documents can be compared", worst.parts > 1),
        (
            "lowest degree",
            [f"{one.degree_min}" for one in both],
            "near the mean: a rating's variance goes as 1 / degree",
            worst.degree_min < min(2, worst.nodes - 1),
        ),
        ("mean degree", [f"{one.degree_mean:.1f}" for one in both], "pairs of a document", False),
        (
            "highest degree",
            [f"{one.degree_max}" for one in both],
            "adaptive graphs raise it at the top on purpose",
            False,
        ),
        (
            "diameter",
            ["∞" if math.isinf(one.diameter) else f"{one.diameter:.0f}" for one in both],
            f"low: random regular graphs of the worst one's size and mean degree stay below {longest}",
            bound is not None and worst.diameter > bound,
        ),
        (
            "λ₂",
            [_figure(one.lambda_2) for one in both],
            "far from 0: the worst variance goes as 1 / λ₂; large random regular graphs of this degree have "
            + ("–" if usual is None else f"{usual:.2f}"),
            worst.lambda_2 < 1e-9,
        ),
    ]
    return [{"name": name, "values": values, "asked": asked, "worry": worry} for name, values, asked, worry in rows]


def _fit(facts: RatingFacts) -> list[dict[str, object]]:
    """Rows: what, its value, what it means and when it is a problem, whether it is one here."""
    fit, (documents, pairs), alarms = facts.fit, facts.shape, _alarms(facts)
    tolerance, steps = facts.limits.get("tolerance"), facts.limits.get("max_steps")
    shown = {
        "steps": steps or "–",
        "within": "" if tolerance is None else f", {tolerance:g}",
        "sample": _sample(fit),
        "noise": f"{1 - (documents - 1) / pairs:.2f}" if pairs > documents > 1 else "–",
    }
    found = []
    for key, (name, meaning) in FIT.items():
        value = fit.get(key)
        names = fit.get("disconnected", []) if key == "disconnected_queries" else []
        found.append(
            {
                "name": name,
                "value": "–" if value is None else f"{value:,}" if isinstance(value, int) else _figure(value),
                "meaning": meaning.format(**shown),
                "worry": value is not None and bool(alarms[key](value)),
                "named": [(query, "", None) for query in names],
            }
        )
    least = [(query, words, f"{curl:.3f}") for query, words, curl in facts.curl]
    meaning = "The queries of the highest curl: their documents may be relevant in two different ways."
    meaning += _sample(fit)
    found.append({"name": "least one-dimensional", "value": "", "meaning": meaning, "worry": False, "named": least})
    return found


def _sample(fit: Facts) -> str:
    """Of how many queries contradictions are known, where it is not all."""
    every, known = fit.get("queries"), fit.get("diagnosed_queries")
    return (
        ""
        if known in (None, every)
        else f" Measured on {known:,} of {every:,} queries (diagnosed_queries=null: on all)."
    )


def _alarms(facts: RatingFacts) -> dict[str, Callable[[float], bool]]:
    """Of each row of FIT: whether a value is a problem."""
    fit, (documents, pairs) = facts.fit, facts.shape
    return {
        "steps": _above(facts.limits.get("max_steps"), 0.9),
        "gradient": _above(facts.limits.get("tolerance"), 1.001),
        "log_loss": _above(GUESSING, 1.0),
        "held_out_log_loss": lambda value: value > GUESSING or value > 1.25 * (fit.get("log_loss") or math.inf),
        "dispersion": _above(1.5, 1.0),
        "disconnected_queries": _above(0, 1.0),
        "separable_documents": lambda value: pairs > 0 and value > 0.1 * documents * (fit.get("queries") or 0),
        "intransitive_triads": _above(COINS / 2, 1.0),
        "curl": lambda value: pairs > documents > 1 and value > 0.7 * (1 - (documents - 1) / pairs),
    }


def _above(limit: float | None, share: float) -> Callable[[float], bool]:
    """Whether a value is above this share of a limit; never where there is none."""
    return lambda value: limit is not None and value > share * limit


def _offsets(found: QueryOffsets) -> dict[str, object]:
    known = found.stderr[np.isfinite(found.stderr)]
    spread = float(found.offset.std())
    error = float(np.median(known)) if len(known) else None
    view = {
        "queries": len(found.offset),
        "spread": _figure(spread),
        "error": "–" if error is None else _figure(error),
        "weak": error is not None and error > spread / 2,
        "histogram": Markup(rating_plots.offsets(found, "offsets")),
        "kind": KINDS[found.kind],
        "pairs": found.kind == PAIRS,
        "modelled": found.criteria is not None,
        "answers": len(found.answer),
    }
    if len(found.answer):
        sides = (found.before, found.after)
        measure = _log_loss if found.kind == PAIRS else _correlation
        view |= {
            "curve": Markup(rating_plots.answers(found, "answers")),
            "measured": [measure(values, found.answer) for values in sides],
            "gaps": [_gap(values, found.answer) for values in sides],
        }
    return view


def _log_loss(predicted: np.ndarray, answer: np.ndarray) -> str:
    """Nats per answer: offsets that are left out blur the answers of all bins alike, which the curve hardly shows."""
    safe = np.clip(predicted, 1e-9, 1 - 1e-9)
    return f"{-(answer * np.log(safe) + (1 - answer) * np.log1p(-safe)).mean():.3f}"


def _gap(predicted: np.ndarray, answer: np.ndarray) -> str:
    """Mean distance of the bins from the diagonal."""
    x, y = bins(predicted, answer)
    return f"{np.abs(x - y).mean():.3f}"


def _correlation(rating: np.ndarray, answer: np.ndarray) -> str:
    """Pearson's; a dash where one of the two never varies."""
    if np.ptp(rating) == 0 or np.ptp(answer) == 0:
        return "–"
    return f"{np.corrcoef(rating, answer)[0, 1]:.3f}".replace("-", "\N{MINUS SIGN}")


def _figure(value: float) -> str:
    """Three significant digits."""
    if math.isinf(value):
        return "∞"
    if value and abs(value) < 1e-3:
        return f"{value:.1e}".replace("-", "\N{MINUS SIGN}")
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
