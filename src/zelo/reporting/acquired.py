"""What a second pass added, in words: how many pairs, why these, and what the judges made of them."""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from zelo.facts import Facts
from zelo.outcomes import Graphs
from zelo.reporting import lineage
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

FAILURES, DISAGREEMENT = "failures", "disagreement"
FIRST = {  # of the two documents of a pair, in words
    FAILURES: "the labelled document to the one that the student ranked just above it",
    DISAGREEMENT: "what the pairwise student prefers and the pointwise one does not",
}


def lines(result: "Result") -> list[str]:
    """One for each stage of this run that acquired pairs, once they are judged."""
    judged = {name: result.downstream(name, "candidates") for name in lineage.holding(result, "acquired")}
    return [f"{name}: {_line(result.tables[name], result.tables[by])}" for name, by in judged.items() if by]


def _line(acquired: Table, judged: Table) -> str:
    facts = acquired.manifest
    if not facts["rows"]:
        return f"{_options(facts)}, so no pair was added and the second pass equals the first"
    prefer, answered = preferred(acquired.read("acquired"), judged.read("outcomes"))
    line = f"{_options(facts)}; {facts['rows']} pairs were added to {facts['gold_pairs']}"
    if not answered:
        return f"{line}, and no judge answered"
    first = FIRST.get(facts["why"], "the first document of each")
    return f"{line}, and the judges prefer {first} in {prefer} of {answered} ({100 * prefer / answered:.0f} %)"


def _options(facts: Facts) -> str:
    count, above = facts["options"], facts["above_bar"]
    if facts["why"] == FAILURES:
        said = (
            f"the student ranks the labelled document below rank {facts['bar']:g} in {above} of {count} train queries"
        )
    else:
        said = f"{above} of {count} train queries have a pair to compare"
    if facts["missing"]:
        said += f" ({facts['missing']} of those added were not among the candidates)"
    return said + f"; {facts['known']} of these were judged before" * bool(facts["known"])


def preferred(acquired: pa.Table, outcomes: pa.Table) -> tuple[int, int]:
    """(pairs whose first document the judges prefer on average, pairs that they answered)."""
    graphs = Graphs.of(outcomes)
    p = pa.array(graphs.average(outcomes)[0], from_pandas=True)
    first = graphs.doc_id.take(pa.array(graphs.edges[:, 0]))
    row = pc.index_in(acquired["query_id"], graphs.query_id)  # a query has one pair
    mine = pc.if_else(pc.equal(acquired["doc_a"], first.take(row)), p.take(row), pc.subtract(1.0, p.take(row)))
    return pc.sum(pc.greater(mine, 0.5)).as_py() or 0, len(mine) - mine.null_count
