"""How the systems do in each domain, for the terminal and the report."""

from zelo.facts import Facts
from zelo.reporting.evaluation import GROUPS, Evaluation

WIDE = 5  # domains in one table of the terminal


def view(figures: Evaluation) -> Facts | None:
    """{metric, domains: [{name, queries, labels, training}], systems: [(group, system, [value of each domain])]}.

    None where the queries are not from several domains. Systems stand in each group from low to high on all queries.
    """
    if not figures.domains:
        return None
    some = any(facts["out_of_domain"] for facts in figures.domains.values())
    domains = [
        {
            "name": name,
            "queries": facts["queries"],
            "labels": _labels(facts["labels"]),
            "training": ("out of domain" if facts["out_of_domain"] else "in domain") if some else "",
        }
        for name, facts in figures.domains.items()
    ]
    order = sorted(figures.values, key=lambda system: (GROUPS.index(figures.groups[system]), figures.values[system]))
    systems = [
        (figures.groups[system], system, [figures.by_domain[name][system] for name in figures.domains])
        for system in order
    ]
    return {"metric": figures.metric, "domains": domains, "systems": systems}


def _labels(kind: Facts | None) -> str:
    """What kind of labels a domain has, in words; empty where people made none."""
    if kind is None:
        return ""
    return f"{kind['kind']}, {kind['density']}, {kind['relevant_per_query']:.1f} relevant"
