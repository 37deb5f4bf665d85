"""Measures every system, tests each student against its baselines and says in plain words what won and what did not."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import passages
from zelo.domains import out_of_domain
from zelo.errors import BadInput
from zelo.evaluation import labels as labelled
from zelo.evaluation import order, probability
from zelo.evaluation.labelled_scores import LabelledScores
from zelo.evaluation.measured import JUDGE, NATURAL, MeasuredSplit, by_grades, by_judge, by_labels
from zelo.evaluation.paired import PairedTests
from zelo.evaluation.runs import run_of
from zelo.evaluation.verdict import verdicts_of
from zelo.facts import Facts
from zelo.metrics.agreement import PREFIX
from zelo.metrics.significance import bootstrap
from zelo.metrics.trec import write_trec
from zelo.protocols import Metric
from zelo.records import DEV, EXAMPLE, METRIC, TEST
from zelo.store.shards import write_parquet
from zelo.store.table import Table

DATA, LABELS, EXAMPLES, CANDIDATES = "data", "labels", "examples", "candidates"
HUMAN = "human_labels"  # beside labels that judges made: real ones, to see whether both put systems in one order
NOT_SYSTEMS = (DATA, LABELS, HUMAN, EXAMPLES)
BEST = "best-first-stage"  # among baselines: whichever first stage was best on dev
CATEGORY = pa.dictionary(pa.int32(), pa.string())
PER_QUERY = pa.schema(
    [
        ("system", CATEGORY),
        ("metric", CATEGORY),
        ("split", CATEGORY),
        ("query_id", pa.string()),
        ("value", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Writes metrics.json (METRIC rows), verdicts.json, choices.json, probabilities.json, per_query.parquet, runs/<system>.trec.

    Dev and test are measured against labels, over the queries that the split's qrels name, as trec_eval does. Where dev has no
    labels, it is measured against judge ratings: agreement, named `judge_agreement/...` and by protocol `judge`. Figures of dev
    are there to select by, those of test never. Documents that were split are ranked by their best
    passage. Documents of one score stand with the least relevant first; a query without a
    relevant document among a system's candidates counts as a miss, and the facts say how many there are. Where queries have a
    `domain`, each has rows of its own, without tests. Judges that made the training targets crown nobody: against their own
    ratings a verdict says that a system agrees more, not that it is better. Where dev and test have labels, each system's scores
    are made probabilities on dev, and the threshold for a `precision` is chosen there; both are measured on test. Names in
    `first_stages`, `teachers`, `students` and `first_stage_of` that are no system of this pipeline, or of a pass that was left
    out, are listed as absent.
    """

    OPTIONAL_INPUTS: ClassVar[Literal[True]] = True

    # data: load; labels, or a grade stage with human_labels: labels; examples: target; any other is a system that ranks or rates
    inputs: dict[str, str]
    metrics: dict[str, Metric]
    primary: str  # key of the metric that decides
    table: list[str]  # keys of the metrics that stand beside it on the terminal; the report shows all
    candidates_as: str  # what the role `candidates` is called in the results: the name of its retriever
    first_stages: list[str]  # systems that search by themselves without training
    teachers: dict[str, list[str]]  # ratings -> baselines: do the judges know more than what the students start from?
    compared: dict[str, list[str]]  # any other system -> baselines
    students: dict[str, list[str]]  # system -> baselines, or `best-first-stage`; the last present is the main result
    first_stage_of: dict[str, str]  # system -> what found its candidates; a system not named here searched by itself
    precision: float  # of the documents above a threshold, which is chosen for it on dev
    resamples: int  # of the bootstrap and of the permutation test
    seed: int

    def __post_init__(self) -> None:
        if missing := {DATA, LABELS} - set(self.inputs):
            raise BadInput(
                f"evaluate: inputs name no {' and no '.join(sorted(missing))}; write data: load, labels: labels."
            )
        if self.primary not in self.metrics:
            raise BadInput(
                f"evaluate: primary={self.primary!r} is none of its metrics; write one of {', '.join(self.metrics)}."
            )
        if unknown := [key for key in self.table if key not in self.metrics]:
            raise BadInput(
                f"evaluate: table names {unknown[0]!r}, which is none of its metrics; write some of {', '.join(self.metrics)}."
            )
        if not 0 < self.precision < 1:
            raise BadInput(
                f"evaluate: precision={self.precision} is no share between 0 and 1; set stages.evaluate.precision=0.8."
            )
        if self.resamples < 100:
            raise BadInput(f"evaluate: resamples={self.resamples} is too few for intervals; set it to 10000.")

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput when there is neither a label nor a judged dev query to measure with."""
        known = passages.read(tables[DATA])
        labels, examples = labelled.of_splits(tables[LABELS], tables[DATA]), _judged_dev(tables)
        examples = passages.by_document(examples, known, "target")
        if not labels and not len(examples):
            raise BadInput(
                "evaluate: neither dev nor test has labels, and no dev query was judged, so nothing can be measured. Add qrels,"
                " or train queries (a tenth of them becomes dev)."
            )
        runs = self._runs(tables, labelled.truth_of(labels, examples), known)
        graded = tables[LABELS].has("graded")
        measure = by_grades if graded else by_labels
        measured = [measure(runs, split, labels[split], self.metrics, self.primary) for split in sorted(labels)]
        if DEV not in labels and len(examples):
            measured.insert(0, by_judge(runs, examples))
        choice = self._choose(next((one for one in measured if one.split == DEV), None), runs)
        pairs = self._pairs(runs, choice["best_first_stage"])
        rows: list[Facts] = []
        verdicts: list[Facts] = []
        for one in measured:  # the verdicts that stay are those of the last split: test where it has labels
            tests = PairedTests.of(one, pairs, self.resamples, self.seed)
            rows += self._rows(one, pairs, tests.p, tables)
            # Without examples nothing here was trained, so that judges are as good a measure as any.
            taught = set(self._tested) if one.protocol == JUDGE and EXAMPLES in self.inputs else set()
            verdicts = verdicts_of(one, pairs, tests, taught)
        domains, by_domain = self._by_domain(measured[-1], labels, tables)
        human = self._by_people(measured[-1], runs, tables)
        rows += [row for one in human for row in self._rows(one, [], np.empty((len(one.metrics), 0)), tables)]
        probabilities = {} if graded else self._probabilities(labels, runs, tables)
        _write(out, rows + domains, verdicts, choice, probabilities, measured + human, runs)
        figures = self._figures(measured, choice, runs, graded) | {"rows": len(rows) + len(domains)}
        figures["domains"] = by_domain
        about = self._about_labels(labels, runs)
        system = str(figures["system"])
        if main := probabilities.get("systems", {}).get(system):
            about["notes"] += probability.words_of(system, main, self.precision, probabilities["queries"])
        return figures | about | self._order(measured[-1], human)

    def _probabilities(self, labels: dict[str, pa.Table], runs: dict[str, pa.Table], tables: dict[str, Table]) -> Facts:
        """What each system's scores say as probabilities; nothing where dev or test has no labels: test chooses nothing."""
        if DEV not in labels or TEST not in labels:
            return {}
        queries = {split: sorted(pc.unique(labels[split]["query_id"]).to_pylist()) for split in (DEV, TEST)}
        dev, test = (labelled.domains_of(tables[DATA], queries[split]) for split in (DEV, TEST))
        found: Facts = {}
        for system, run in runs.items():
            chosen, told = (LabelledScores.of(run, labels[split], queries[split]) for split in (DEV, TEST))
            found[system] = probability.report(chosen, told, (dev, test), self.precision, self.resamples, self.seed)
        counts = {split: len(names) for split, names in queries.items()}
        return {"precision": self.precision, "queries": counts, "systems": found}

    def _by_people(
        self, judged: MeasuredSplit, runs: dict[str, pa.Table], tables: dict[str, Table]
    ) -> list[MeasuredSplit]:
        """The same split by real labels, beside labels that judges made; none where there are no real ones."""
        labels = labelled.of_splits(tables[HUMAN], tables[DATA]) if HUMAN in tables else {}
        split = judged.split
        return [by_labels(runs, split, labels[split], self.metrics, self.primary)] if split in labels else []

    def _order(self, judged: MeasuredSplit, human: list[MeasuredSplit]) -> Facts:
        """Whether judges and people put the systems in one order."""
        found = order.kendall(judged, human[0], self.resamples, self.seed) if human else None
        return {"order": found}

    def _runs(self, tables: dict[str, Table], truth: pa.Table, known: pa.Table | None) -> dict[str, pa.Table]:
        """System -> its ranking of the queries that are evaluated, by documents. known: passages."""
        evaluated = pc.unique(truth["query_id"])
        runs: dict[str, pa.Table] = {}
        for role in self.inputs:
            twin = role == CANDIDATES and self.candidates_as in self.inputs  # a first stage that is there by itself
            if role in tables and role not in NOT_SYSTEMS and not twin:
                runs[self._named(role)] = run_of(role, tables[role], evaluated, truth, known)
        return runs

    @property
    def systems(self) -> list[str]:
        """Names under which the inputs that rank are reported."""
        return list(dict.fromkeys(self._named(role) for role in self.inputs if role not in NOT_SYSTEMS))

    @property
    def _tested(self) -> dict[str, list[str]]:
        return self.compared | self.teachers | self.students

    def _named(self, role: str) -> str:
        return self.candidates_as if role == CANDIDATES else role

    def _choose(self, dev: MeasuredSplit | None, runs: dict[str, pa.Table]) -> Facts:
        """The first stage that is best on dev by the primary metric; a tie goes to the one named first."""
        present = [system for system in dict.fromkeys(map(self._named, self.first_stages)) if system in runs]
        if dev is None:
            needed = any(system in runs and BEST in named for system, named in self._tested.items())
            if needed and len(present) > 1:
                raise BadInput(
                    f"evaluate: dev has neither labels nor judged queries, so {BEST} cannot be chosen among"
                    f" {', '.join(present)}. Judge dev queries, or name the baseline."
                )
            return {"best_first_stage": present[0] if len(present) == 1 else None, "by": None, "values": {}}
        values = {system: dev.mean(system) for system in present}
        best = max(present, key=lambda system: values[system]) if present else None
        return {"best_first_stage": best, "by": f"{dev.title} on {len(dev.queries)} dev queries", "values": values}

    def _pairs(self, runs: dict[str, pa.Table], best: str | None) -> list[tuple[str, str]]:
        """(system, baseline) of every test, in the order of the config."""
        pairs = []
        for student, named in self._tested.items():
            for baseline in dict.fromkeys(best if name == BEST else self._named(name) for name in named):
                if student in runs and baseline in runs and baseline != student:
                    pairs.append((student, str(baseline)))
        return pairs

    def _rows(
        self, one: MeasuredSplit, pairs: list[tuple[str, str]], p: np.ndarray, tables: dict[str, Table]
    ) -> list[Facts]:
        """METRIC rows of one split: a system that is tested has one per baseline, any other one, without p-value."""
        rows = []
        metrics = {metric: m for m, metric in enumerate(one.metrics)}
        for row in self._measures(one, np.ones(len(one.queries), bool), tables[DATA].manifest["name"], tables):
            tests = [i for i, (system, _) in enumerate(pairs) if system == row["system"]]
            m = metrics[row["metric"]]
            for p_value, baseline in [(float(p[m, i]), pairs[i][1]) for i in tests] or [(None, None)]:
                rows.append(row | {"p_value": p_value, "baseline": baseline})
        return rows

    def _by_domain(
        self, one: MeasuredSplit, labels: dict[str, pa.Table], tables: dict[str, Table]
    ) -> tuple[list[Facts], Facts]:
        """METRIC rows of each domain that the queries of a split are from, without tests; and what each domain is.

        Domain -> {queries, labels: as of `kind_of` if people made them, out_of_domain: whether nothing was learned from it}.
        """
        rows, facts, collection = [], {}, tables[DATA].manifest["name"]
        outside = out_of_domain(tables[DATA].read("queries"))
        for name, chosen in labelled.domains_of(tables[DATA], one.queries).items():
            domain = name if name != collection else f"{name} (domain)"
            own = [one.queries[place] for place in np.flatnonzero(chosen)]
            kind = labelled.of_queries(labels[one.split], own) if one.protocol == NATURAL else None
            facts[domain] = {"queries": len(own), "labels": kind, "out_of_domain": name in outside}
            for row in self._measures(one, chosen, domain, tables):
                rows.append(row | {"key": f"{row['key']}/{domain}", "p_value": None, "baseline": None})
        return rows, facts

    def _measures(self, one: MeasuredSplit, chosen: np.ndarray, domain: str, tables: dict[str, Table]) -> list[Facts]:
        """One row of means and intervals for each system and metric. chosen: [Q] bool, some queries of the split."""
        values, samples = one.values[:, :, chosen], [drawn[:, :, chosen] for drawn in one.samples]
        systems, metrics, queries = values.shape
        ends = [bootstrap(one.reshape(-1, queries), self.resamples, self.seed) for one in samples]
        low, high = np.median(ends, axis=0)
        cells = np.stack([values.mean(axis=2).ravel(), low, high], axis=1).reshape(systems, metrics, 3).tolist()
        finders = {self._named(system): self._named(finder) for system, finder in self.first_stage_of.items()}
        sizes = {self._named(role): table.manifest.get("bytes_per_document") for role, table in tables.items()}
        return [
            {
                "key": f"{one.key(metric)}/{system}",
                "system": system,
                "metric": metric,
                "split": one.split,
                "first_stage": finders.get(system, system),
                "protocol": one.protocol,
                "domain": domain,
                **dict(zip(("value", "ci_low", "ci_high"), cells[s][m], strict=True)),
                "queries": queries,
                "bytes_per_document": sizes.get(system),
            }
            for s, system in enumerate(one.systems)
            for m, metric in enumerate(one.metrics)
        ]

    def _about_labels(self, labels: dict[str, pa.Table], runs: dict[str, pa.Table]) -> Facts:
        """What kind of labels each split has, and the queries of each first stage that nothing can put right."""
        kinds = {split: labelled.kind_of(qrels) for split, qrels in labels.items()}
        finders = [system for system in dict.fromkeys(map(self._named, self.first_stages)) if system in runs]
        missed = {
            split: {system: labelled.misses(runs[system], qrels) for system in finders}
            for split, qrels in labels.items()
        }
        last = max(labels, default=None)  # test where it has labels
        notes = [] if last is None else labelled.in_words(last, kinds[last], missed[last])
        return {"labels": kinds, "misses": missed, "notes": notes}

    def _figures(self, measured: list[MeasuredSplit], choice: Facts, runs: dict[str, pa.Table], graded: bool) -> Facts:
        """What the manifest says: the primary metric of the main student on the last split, and what was left out."""
        last = measured[-1]
        main = next((system for system in reversed(self.students or self._tested) if system in runs), None)
        shown = [self.metrics[key].name for key in self.table]
        named = {*self.first_stages, *self._tested, *(name for names in self._tested.values() for name in names)}
        return {
            "primary": last.mean(main) if main else None,
            "system": main,
            "metric": last.metrics[last.primary],
            "table": shown if last.protocol == NATURAL else [f"{PREFIX}/{name}" for name in shown] if graded else [],
            "split": last.split,
            "protocol": last.protocol,
            "keys": {one.split: one.key(one.metrics[one.primary]) for one in measured},
            "queries": {one.split: len(one.queries) for one in measured},
            "best_first_stage": choice["best_first_stage"],
            "teachers": [teacher for teacher in self.teachers if teacher in runs],
            "students": [student for student in self.students if student in runs],
            "roles": {self._named(role): role for role in self.inputs if self._named(role) in runs},
            "absent": sorted(set(map(self._named, named)) - set(runs) - {BEST}),
        }


def _judged_dev(tables: dict[str, Table]) -> pa.Table:
    """EXAMPLE rows of dev queries: what the judge thinks of their candidates; none in a pipeline that does not judge."""
    if EXAMPLES not in tables:
        return EXAMPLE.empty_table()
    examples = tables[EXAMPLES].read("examples", ["query_id", "doc_id", "target", "split"])
    return examples.filter(pc.equal(examples["split"], DEV))


def _write(
    out: Path,
    rows: list[Facts],
    verdicts: list[Facts],
    choice: Facts,
    probabilities: Facts,
    measured: list[MeasuredSplit],
    runs: dict[str, pa.Table],
) -> None:
    ordered = [{name: row[name] for name in METRIC.names} for row in rows]
    named = {"metrics": ordered, "verdicts": verdicts, "choices": choice, "probabilities": probabilities}
    for name, content in named.items():
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    write_parquet(pa.concat_tables([_per_query(one) for one in measured]), PER_QUERY, out, "per_query")
    (out / "runs").mkdir()
    for system, run in runs.items():
        write_trec(run, system, out / "runs" / f"{system}.trec")


def _per_query(one: MeasuredSplit) -> pa.Table:
    s, m, q = (axis.ravel() for axis in np.indices(one.values.shape, np.int32))
    return pa.table(
        {
            "system": pa.DictionaryArray.from_arrays(s, one.systems),
            "metric": pa.DictionaryArray.from_arrays(m, one.metrics),
            "split": pa.DictionaryArray.from_arrays(np.zeros(len(s), np.int32), [one.split]),
            "query_id": pa.array(one.queries).take(pa.array(q)),
            "value": one.values.ravel(),
        }
    )
