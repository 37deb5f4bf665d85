"""Says whether judges deserve trust, from a sample in both orders and twice, before most of the money is spent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import passages, protocols
from zelo.asking import Panel
from zelo.auditing import answers
from zelo.auditing.advice import CARE, KEEP, Advice, on_all, on_judge
from zelo.auditing.answers import DISAGREEMENT, JudgedPairs
from zelo.auditing.design import AuditDesign
from zelo.auditing.known import grades_apart, people
from zelo.auditing.layouts import layouts
from zelo.auditing.sample import AuditSample
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.metrics import tally
from zelo.metrics.measure import Measure, Resampling
from zelo.records import TEST
from zelo.store.hashing import hash_file
from zelo.store.shards import write_parquet
from zelo.store.table import Table

DISAGREEMENTS, PER_QUERY = 100, 2  # pairs kept for the page, and of one query


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Writes audit.json and disagreements.parquet (DISAGREEMENT).

    audit.json: sample, judges (name -> figures), together, known, cost, advice; layouts where a judge was asked in two. A
    figure is {value, ci_low, ci_high, count} or {not_measured: why}. Labels of test queries are not looked at: a judge chosen by
    them would be measured by them again.
    """

    # data: load; outcomes: a judge stage; if any, labels, and injected: a judge stage whose design has an injection
    inputs: dict[str, str]
    graph: protocols.Graph  # of the whole run, whose cost is estimated
    judge: protocols.Judge | protocols.PaidJudge  # those that were asked
    top_k: int  # candidates per query of the whole run
    design: AuditDesign  # of the judge stage
    human: str | None  # preferences of people: parquet (query_id, doc_a, doc_b, p) or the JSON lines of judge=human
    resamples: int  # of the bootstrap
    seed: int

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise BadInput(f"audit: resamples={self.resamples} is too few for intervals; set it to 2000.")

    def content(self) -> dict[str, str]:
        """Hash of the file of human preferences. Raises BadInput if it is not there."""
        if self.human is None:
            return {}
        path = Path(self.human).expanduser()
        if not path.is_file():
            raise BadInput(f"audit: human={self.human} is no file; name one, or null.")
        return {"human": hash_file(path)}

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput when nothing was asked, and for a file of human preferences that cannot be read."""
        outcomes = tables["outcomes"]
        found = JudgedPairs.of(outcomes.read("outcomes", answers.COLUMNS))
        if not len(found.edges):
            raise BadInput(
                "audit: no pair was judged; raise stages.judge.design.sample_queries, or look at the candidates of the retriever."
            )
        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        known = {
            "labels": grades_apart(found, tables.get("labels"), queries, passages.read(tables["data"])),
            "human": people(found, self.human, queries, documents),
        }
        injected = tables.get("injected")
        swayed = None if injected is None else JudgedPairs.of(injected.read("outcomes", answers.COLUMNS))
        draws = Resampling(self.resamples, self.seed)
        sample = AuditSample(found, draws, known, _log_ratio(found, documents), swayed)
        asked = self._wanted(queries, len(found.query_id))
        facts = self._facts(sample, asked, outcomes, len(queries), len(documents))
        text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
        (out / "audit.json").write_text(text + "\n", encoding="utf-8")
        write_parquet(found.disagreements(DISAGREEMENTS, PER_QUERY), DISAGREEMENT, out, "disagreements")
        return {"rows": len(found.p), "pairs": len(found.edges)}

    def _wanted(self, queries: pa.Table, found: int) -> dict[str, int]:
        """Where fewer queries were asked about than were to be: how many, how many pairs, and how many may be asked about."""
        wanted = self.design.sample_queries
        if wanted is None or found >= wanted:
            return {}
        documents = self.design.documents_per_query or 0
        there = int((np.array(queries["split"]) != TEST).sum())
        return {"wanted": wanted, "wanted_pairs": wanted * documents * (documents - 1) // 2, "there": there}

    def _facts(
        self, sample: AuditSample, wanted: Mapping[str, int], outcomes: Table, queries: int, documents: int
    ) -> Facts:
        tallies = tally.of_files(outcomes.shards("outcomes"))
        calls = outcomes.manifest.get("judges", {})
        measures = {name: sample.of_judge(name) for name in sample.answers.judges}
        together = sample.together()
        prices = {name: calls.get(name, {}).get("price", tally.FREE) for name in tallies}
        free = {name: calls.get(name, {}).get("price") == tally.FREE for name in tallies}
        each = {  # a judge with a price that nothing came back from has shown no cost
            name: one.usd_per_question(free[name]) if one.tokens or prices[name] == tally.FREE else None
            for name, one in tallies.items()
        }
        cost = _cost(each, self._pairs_per_query(documents), queries)
        compared = layouts(sample, tallies, each)
        advice = self._advice(sample, tallies, calls, measures)
        labels = {name: one["labels"] for name, one in measures.items()}
        advice.append(on_all(together, labels, advice, _alone(advice, cost)))
        return {
            "sample": {**sample.facts(), **wanted},
            "judges": {
                name: {
                    **tallies[name].facts(),
                    "usd_per_preference": tallies[name].usd_per_preference(free[name]),
                    "calls": {key: value for key, value in calls.get(name, {}).items() if key != "status"},
                    "scores": sample.spread(name),
                    "measures": _all_facts(measures[name]),
                }
                for name in measures
            },
            "together": _all_facts(together),
            "known": {name: one.facts() for name, one in sample.known.items()},
            "cost": cost,
            **({"layouts": {name: one.facts() for name, one in compared.items()}} if compared else {}),
            "advice": [one.facts() for one in [*advice, *(found.advice(name) for name, found in compared.items())]],
        }

    def _advice(
        self,
        sample: AuditSample,
        tallies: Mapping[str, tally.Tally],
        calls: Facts,
        measures: Mapping[str, Mapping[str, Measure]],
    ) -> list[Advice]:
        """On each judge."""
        members = Panel(self.judge, self.seed, layouts=True).members
        warmth = {
            name: one.temperature if isinstance(one, protocols.SamplingJudge) else None for name, one in members.items()
        }
        return [
            on_judge(
                name,
                tallies[name],
                calls.get(name, {}).get("faults", {}),
                measures[name],
                sample.scores(name),
                warmth.get(name),
            )
            for name in measures
        ]

    def _pairs_per_query(self, documents: int) -> int:
        return int(self.graph.most(np.array([min(self.top_k, documents)])).sum())


def _cost(each: Mapping[str, float | None], pairs_per_query: int, queries: int) -> Facts:
    """What the whole run would cost with each judge alone, and with the two cheapest, and so on; None: not known.

    each: judge -> US dollars per question, as the sample had it.
    """
    order = sorted(each, key=lambda name: (each[name] is None, each[name] or 0.0, name))
    pairs = pairs_per_query * queries
    alone = {name: None if (usd := each[name]) is None else usd * pairs for name in order}
    steps: list[Facts] = []
    total: float | None = 0.0
    for count, usd in enumerate(alone.values(), 1):
        total = None if total is None or usd is None else total + usd
        steps.append({"judges": order[:count], "usd": total})
    return {
        "queries": queries,
        "pairs_per_query": pairs_per_query,
        "pairs": pairs,
        "usd_per_question": dict(each),
        "alone": alone,
        "steps": steps,
    }


def _alone(advice: list[Advice], cost: Facts) -> str:
    """The cheapest judge that is to be kept, or else the cheapest."""
    kept = {one.about for one in advice if one.verdict in (KEEP, CARE)}
    order = list(cost["alone"])
    return next((name for name in order if name in kept), order[0])


def _all_facts(measures: Mapping[str, Measure]) -> Facts:
    return {key: measure.facts() for key, measure in measures.items()}


def _log_ratio(found: JudgedPairs, documents: pa.Table) -> np.ndarray:
    """[E] log of the first document's length over the second's, in characters of title and text."""
    size = pc.add(pc.utf8_length(documents["title"]), pc.utf8_length(documents["text"]))
    row = pc.index_in(found.doc_id, documents["doc_id"].combine_chunks())
    length = np.log(np.maximum(size.take(row).to_numpy(), 1))
    return length[found.edges[:, 0]] - length[found.edges[:, 1]]
