"""First stages that ask for vectors over the network: what they would ask, and that they get all of it before they search."""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from zelo.budget.budget import Budget
from zelo.budget.plan import Plan
from zelo.budget.price import money
from zelo.budget.request_batch import reasons_in_words
from zelo.errors import LimitReached
from zelo.facts import Facts
from zelo.protocols import PaidEmbedder, PaidRetriever
from zelo.records import ANSWERED, UNSENT

if TYPE_CHECKING:
    from zelo.budget.session import Session


def embedders(component: object) -> dict[str, PaidEmbedder]:
    """Who is asked for vectors, by its place in a retriever or a scorer; nobody where that costs nothing."""
    return dict(component.embedders) if isinstance(component, PaidRetriever) else {}


def named(component: object) -> dict[str, PaidEmbedder]:
    """The same by the name in a plan: its own, or that of its place among several."""
    return {place.removeprefix("members.") or one.name: one for place, one in embedders(component).items()}


def plans(budget: Budget, component: object, place: str, queries: pa.Table, documents: pa.Table) -> list[Plan]:
    """What would be asked about these texts. Sends nothing. place: of the component in its stage."""
    found = []
    for (within, one), name in zip(embedders(component).items(), named(component), strict=True):
        unknown, texts = one.unknown(one.questions(queries, documents))
        (plan,) = budget.plans({name: (one, [unknown])})
        known = texts - plan.pairs
        found.append(replace(plan, pairs=texts, known=known, key=".".join(filter(None, (place, within)))))
    return found


def ask(session: "Session", component: object, queries: pa.Table, documents: pa.Table) -> None:
    """Asks for all vectors that the ledger lacks. Raises LimitReached where there is one that it does not get."""
    for name, one in named(component).items():
        unknown, texts = one.unknown(one.questions(queries, documents))
        session.kept(name, texts - len(unknown))
        if not len(unknown):
            continue
        outcomes = session.ask({name: (one, unknown)})[name]
        if left := len(one.unknown(unknown)[0]):
            raise LimitReached(_incomplete(one, left, texts, outcomes.status.to_pylist(), session.figures[name]))


def facts(session: "Session", component: object) -> Facts:
    """What was asked and spent, for a manifest; nothing where that costs nothing."""
    asked = {name: session.figures[name] for name in named(component)}
    if not asked:
        return {}
    notes = [
        f"embedding {name}: {one['calls']:,} calls, {money(one['price'], one['usd'])}; {one['from_ledger']:,} texts were in the"
        " ledger"
        for name, one in asked.items()
    ]
    return {"asked": asked, "notes": notes}


def _incomplete(one: PaidEmbedder, left: int, asked: int, status: list[str], figures: Facts) -> str:
    """Why vectors are missing, and what to do."""
    counts = ", ".join(f"{count:,} {name}" for name, count in Counter(status).most_common() if name != ANSWERED)
    reasons = "".join(f" {reason}." for reason in reasons_in_words(figures)[:1])
    limit = f" ({figures['limit']})" if figures.get("limit") else ""
    fix = "Raise the budget and run again" if UNSENT in status else "Run again, or choose another endpoint"
    return (
        f"{one.endpoint.asker}: {left:,} of {asked:,} texts have no vector: {counts}{limit}.{reasons} A search with holes is not"
        f" made, and every vector is kept. {fix}."
    )
