"""Domains that nothing is learned from: their train and dev queries are not used, their test queries are measured."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.records import DEV, DOMAIN, QUERY, TEST, TRAIN, UNUSED


def named(leave_out: str | Sequence[str] | None) -> list[str]:
    """The names of the domains that are left out."""
    return [leave_out] if isinstance(leave_out, str) else list(leave_out or [])


def check_names(leave_out: str | Sequence[str] | None, there: Sequence[str]) -> None:
    """Raises BadInput for a name that no domain has. there: the domains."""
    for name in named(leave_out):
        if name not in there:
            raise BadInput(
                f"dataset.leave_out={name}: no domain has this name; there are {', '.join(there) or 'none, as no query has one'}"
            )


def without(queries: pa.Table, leave_out: str | Sequence[str] | None) -> tuple[pa.Table, list[str]]:
    """The queries, those for train and dev of these domains with the split UNUSED; and notes.

    Raises BadInput for a domain without test queries, by which nothing would be measured. queries: QUERY with DOMAIN.
    """
    if not named(leave_out):
        return queries, []
    names = pc.unique(queries[DOMAIN]).drop_null().to_pylist() if DOMAIN in queries.column_names else []
    check_names(leave_out, sorted(names))
    notes = []
    for name in named(leave_out):
        own = pc.fill_null(pc.equal(queries[DOMAIN], name), False)
        splits = queries.filter(own)["split"].to_pylist()
        counts = {split: splits.count(split) for split in (TRAIN, DEV, TEST)}
        if not counts[TEST]:
            raise BadInput(
                f"dataset.leave_out={name}: {name} has no test queries, so nothing would be measured out of domain; name some"
                " in qrels/test.tsv"
            )
        unused = pc.and_(own, pc.is_in(queries["split"], pa.array([TRAIN, DEV])))
        queries = queries.set_column(2, QUERY.field("split"), pc.if_else(unused, UNUSED, queries["split"]))
        notes.append(
            f"{name} is left out of training: {counts[TRAIN]:,} train and {counts[DEV]:,} dev queries are not used,"
            f" {counts[TEST]:,} test queries measure out of domain"
        )
    return queries, notes
