"""Measures every system, tests each student against its baselines and says in plain words what won and what did not."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.metrics.agreement import CUTOFF, PREFIX, agreement
from zelo.metrics.ir_measure import positions, ranked
from zelo.metrics.significance import FlipTest, bootstrap, holm, holm_factor
from zelo.metrics.trec import write_trec
from zelo.protocols import Metric
from zelo.records import DEV, EXAMPLE, METRIC, TEST
from zelo.store import Table, write_parquet

DATA, LABELS, EXAMPLES, CANDIDATES = "data", "labels", "examples", "candidates"
BEST = "best-first-stage"  # among baselines: whichever first stage was best on dev
NATURAL, JUDGE = (
    "natural",
    "judge",
)  # protocols: labels as they are, nothing forced into the candidates; the judge's targets
DEPTH = 1000  # rows of a run that are measured and kept, per query, as is usual for TREC runs
ALPHA = 0.05
FEWEST = 30  # evaluated queries below which the verdict is "too few"
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
    """Writes metrics.json (METRIC rows), verdicts.json, choices.json, per_query.parquet and runs/<system>.trec.

    Dev and test are measured against labels, over the queries that the split's qrels name, as trec_eval does. Where dev has no
    labels, it is measured against judge ratings: agreement, named `judge_agreement/...` and by protocol `judge`. Figures of dev
    are there to select by, those of test never. Names in `first_stages`, `teachers`, `students` and `first_stage_of` that are no
    system of this pipeline are left out and listed as absent.
    """

    inputs: dict[str, str]  # data: load; labels; examples: target; any other is a system: a stage that ranks or rates
    metrics: dict[str, Metric]
    primary: str  # key of the metric that decides
    candidates_as: str  # what the role `candidates` is called in the results: the name of its retriever
    first_stages: list[str]  # systems that search by themselves without training
    teachers: dict[str, list[str]]  # ratings -> baselines: do the judges know more than what the students start from?
    students: dict[str, list[str]]  # system -> baselines, or `best-first-stage`; the last present is the main result
    first_stage_of: dict[str, str]  # system -> what found its candidates; a system not named here searched by itself
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
        if self.resamples < 100:
            raise BadInput(f"evaluate: resamples={self.resamples} is too few for intervals; set it to 10000.")

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput when there is neither a label nor a judged dev query to measure with."""
        labels, examples = _labels(tables), _judged_dev(tables)
        if not labels and not len(examples):
            raise BadInput(
                "evaluate: neither dev nor test has labels, and no dev query was judged, so nothing can be measured. Add qrels,"
                " or train queries (a tenth of them becomes dev)."
            )
        truths = [table["query_id"] for table in labels.values()] + ([] if DEV in labels else [examples["query_id"]])
        evaluated = pc.unique(pa.chunked_array([chunk for column in truths for chunk in column.chunks], pa.string()))
        runs: dict[str, pa.Table] = {}
        for role in self.inputs:
            twin = role == CANDIDATES and self.candidates_as in self.inputs  # a first stage that is there by itself
            if role not in (DATA, LABELS, EXAMPLES) and not twin:
                runs[self._named(role)] = _run(role, tables[role], evaluated)
        measured = [_by_labels(runs, split, labels[split], self.metrics, self.primary) for split in sorted(labels)]
        if DEV not in labels and len(examples):
            measured.insert(0, _by_judge(runs, examples))
        choice = self._choose(next((one for one in measured if one.split == DEV), None), runs)
        pairs = self._pairs(runs, choice["best_first_stage"])
        rows: list[Facts] = []
        verdicts: list[Facts] = []
        for one in measured:  # the verdicts that stay are those of the last split: test where it has labels
            p, differences = self._test(one, pairs)
            rows += self._rows(one, pairs, p, tables)
            verdicts = [
                _verdict(one, pair, p[one.primary, i], differences[i], len(pairs)) for i, pair in enumerate(pairs)
            ]
        _write(out, rows, verdicts, choice, measured, runs)
        return self._figures(measured, rows, choice, runs)

    @property
    def systems(self) -> list[str]:
        """Names under which the inputs that rank are reported."""
        return list(dict.fromkeys(self._named(role) for role in self.inputs if role not in (DATA, LABELS, EXAMPLES)))

    @property
    def _tested(self) -> dict[str, list[str]]:
        return self.teachers | self.students

    def _named(self, role: str) -> str:
        return self.candidates_as if role == CANDIDATES else role

    def _choose(self, dev: "MeasuredSplit | None", runs: dict[str, pa.Table]) -> Facts:
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
        values = {system: float(dev.of(system)[dev.primary].mean()) for system in present}
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

    def _test(self, one: "MeasuredSplit", pairs: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """([M, P] p-values, corrected over the P tests of a metric; [P, 3] primary difference and the interval of its p)."""
        if not pairs:
            return np.empty((len(one.metrics), 0)), np.empty((0, 3))
        difference = np.stack([one.of(student) - one.of(baseline) for student, baseline in pairs], axis=1)  # [M, P, Q]
        tests = [FlipTest.of(of_metric, self.resamples, self.seed) for of_metric in difference]
        decides = tests[one.primary]
        ends = decides.interval(ALPHA / holm_factor(decides.p()))
        bound = max(
            1.0, float(np.abs(difference[one.primary]).max())
        )  # no difference is larger; of an end without bound
        interval = np.clip(ends, -bound, bound)
        primary = np.stack([difference[one.primary].mean(axis=1), *interval], axis=1)
        return np.stack([holm(test.p()) for test in tests]), primary

    def _rows(
        self, one: "MeasuredSplit", pairs: list[tuple[str, str]], p: np.ndarray, tables: dict[str, Table]
    ) -> list[Facts]:
        """METRIC rows of one split: a student has one per baseline, any other system one, without baseline or p-value."""
        systems, metrics, queries = one.values.shape
        low, high = bootstrap(one.values.reshape(-1, queries), self.resamples, self.seed)
        cells = np.stack([one.values.mean(axis=2).ravel(), low, high], axis=1).reshape(systems, metrics, 3)
        finders = {self._named(system): self._named(finder) for system, finder in self.first_stage_of.items()}
        sizes = {self._named(role): table.manifest.get("bytes_per_document") for role, table in tables.items()}
        rows = []
        for s, system in enumerate(one.systems):
            tests = [i for i, (student, _) in enumerate(pairs) if student == system]
            for m, metric in enumerate(one.metrics):
                value, ci_low, ci_high = cells[s, m].tolist()
                shared = {
                    "key": f"{one.key(metric)}/{system}",
                    "system": system,
                    "metric": metric,
                    "split": one.split,
                    "first_stage": finders.get(system, system),
                    "protocol": one.protocol,
                    "domain": tables[DATA].manifest["name"],
                    "value": value,
                    "ci_low": ci_low,
                    "ci_high": ci_high,
                }
                for p_value, baseline in [(float(p[m, i]), pairs[i][1]) for i in tests] or [(None, None)]:
                    test = {"p_value": p_value, "baseline": baseline, "queries": queries}
                    rows.append(shared | test | {"bytes_per_document": sizes.get(system)})
        return rows

    def _figures(
        self,
        measured: list["MeasuredSplit"],
        rows: list[Facts],
        choice: Facts,
        runs: dict[str, pa.Table],
    ) -> Facts:
        """What the manifest says: the primary metric of the main student on the last split, and what was left out."""
        last = measured[-1]
        main = next((student for student in reversed(self.students) if student in runs), None)
        named = {*self.first_stages, *self._tested, *(name for names in self._tested.values() for name in names)}
        return {
            "rows": len(rows),
            "primary": float(last.of(main)[last.primary].mean()) if main else None,
            "system": main,
            "metric": last.metrics[last.primary],
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


@dataclass(frozen=True)
class MeasuredSplit:
    """One split, measured: `values` [systems, metrics, queries]."""

    split: str
    protocol: str
    systems: list[str]
    metrics: list[str]
    primary: int  # which of the metrics decides
    queries: list[str]  # in order of id, so that resamples do not depend on the order of rows
    values: np.ndarray

    def of(self, system: str) -> np.ndarray:
        """[M, Q] values of one system."""
        return self.values[self.systems.index(system)]

    def key(self, metric: str) -> str:
        """Split and metric in one name, without the system: dev/nDCG@10 is of labels, judge_agreement/dev/nDCG@10 is not."""
        kind, name = ("", metric) if self.protocol == NATURAL else (f"{PREFIX}/", metric.removeprefix(f"{PREFIX}/"))
        return f"{kind}{self.split}/{name}"

    @property
    def title(self) -> str:
        """The deciding metric in words."""
        name = self.metrics[self.primary]
        return name if self.protocol == NATURAL else f"{name} (against judge ratings, no human labels)"


def _labels(tables: dict[str, Table]) -> dict[str, pa.Table]:
    """Split -> QREL rows of that split's queries, for dev and test where they have any."""
    qrels, queries = tables[LABELS].read("qrels"), tables[DATA].read("queries", ["query_id", "split"])
    home = queries["split"].take(pc.index_in(qrels["query_id"], queries["query_id"].combine_chunks()))
    own = qrels.filter(pc.fill_null(pc.equal(qrels["split"], home), False))
    found = {split: own.filter(pc.equal(own["split"], split)) for split in (DEV, TEST)}
    return {split: table for split, table in found.items() if len(table)}


def _judged_dev(tables: dict[str, Table]) -> pa.Table:
    """EXAMPLE rows of dev queries: what the judge thinks of their candidates; none in a pipeline that does not judge."""
    if EXAMPLES not in tables:
        return EXAMPLE.empty_table()
    examples = tables[EXAMPLES].read("examples", ["query_id", "doc_id", "target", "split"])
    return examples.filter(pc.equal(examples["split"], DEV))


def _run(role: str, table: Table, evaluated: pa.Array) -> pa.Table:
    """A system's ranking of these queries: SCORED rows, ranked, at most DEPTH per query."""
    scores = {"scored": "score", "candidates": "score", "ratings": "rating"}
    name = next((name for name in scores if table.has(name)), None)
    if name is None:
        raise BadInput(
            f"evaluate: the system {role!r} has no {' or '.join(scores)} in {table.path}; name a stage that ranks."
        )
    found = table.read(name, ["query_id", "doc_id", scores[name]])
    if table.has("filled"):  # queries that a run file lacks: their candidates are another retriever's
        found = found.filter(pc.invert(pc.is_in(found["query_id"], table.read("filled")["query_id"].combine_chunks())))
    found = found.filter(pc.is_in(found["query_id"], evaluated)).rename_columns(["query_id", "doc_id", "score"])
    run = ranked(found)
    return run.filter(positions(run) < DEPTH)


def _by_labels(
    runs: dict[str, pa.Table], split: str, qrels: pa.Table, metrics: dict[str, Metric], primary: str
) -> MeasuredSplit:
    def per_query(metric: Metric) -> Callable[[pa.Table], dict[str, float]]:
        return lambda run: metric.values(run, qrels)

    named = {metric.name: per_query(metric) for metric in metrics.values()}
    decides = list(named).index(metrics[primary].name)
    return _measure(runs, split, NATURAL, named, decides, pc.unique(qrels["query_id"]))


def _by_judge(runs: dict[str, pa.Table], examples: pa.Table) -> MeasuredSplit:
    """Agreement of every system with judge ratings on dev; the teacher, being these ratings, agrees fully."""
    named = {f"{PREFIX}/nDCG@{CUTOFF}": lambda run: agreement(run, examples, CUTOFF)}
    return _measure(runs, DEV, JUDGE, named, 0, pc.unique(examples["query_id"]))


def _measure(
    runs: dict[str, pa.Table],
    split: str,
    protocol: str,
    metrics: dict[str, Callable[[pa.Table], dict[str, float]]],
    primary: int,
    query_ids: pa.Array,
) -> MeasuredSplit:
    queries = sorted(query_ids.to_pylist())
    values = np.empty((len(runs), len(metrics), len(queries)))
    for s, run in enumerate(runs.values()):
        for m, metric in enumerate(metrics.values()):
            found = metric(run)
            values[s, m] = [found[query] for query in queries]
    return MeasuredSplit(split, protocol, list(runs), list(metrics), primary, queries, values)


def _verdict(one: MeasuredSplit, pair: tuple[str, str], p: float, difference: np.ndarray, tests: int) -> Facts:
    """One test in numbers and in a sentence. difference: [3] mean and 95 % interval; tests: what both are corrected for."""
    student, baseline = pair
    value, base = (float(one.of(system)[one.primary].mean()) for system in pair)
    mean, low, high = difference.tolist()
    queries = f"{len(one.queries)} {one.split} queries"
    verdict = (
        "too few" if len(one.queries) < FEWEST else "not better" if p >= ALPHA else "better" if mean > 0 else "worse"
    )
    facts = (
        f"{base:.3f} -> {value:.3f}, {queries}, 95 % interval of the difference [{low:+.3f}, {high:+.3f}], p = {p:.2g}"
        f"{', both' * (tests > 1)} Holm-corrected{f' for {tests} comparisons' * (tests > 1)}"
    )
    words = {
        "too few": f"against {baseline}: {queries} are too few for a verdict (at least {FEWEST} are needed;"
        f" {one.title} difference {mean:+.3f}, {facts})",
        "not better": f"is not better than {baseline} in {one.title} (difference {mean:+.3f}, {facts})",
    }.get(verdict, f"is {verdict} than {baseline} by {abs(mean):.3f} {one.title} ({facts})")
    return {
        "system": student,
        "baseline": baseline,
        "metric": one.metrics[one.primary],
        "split": one.split,
        "protocol": one.protocol,
        "value": value,
        "baseline_value": base,
        "difference": mean,
        "ci_low": low,
        "ci_high": high,
        "p_value": float(p),
        "verdict": verdict,
        "text": f"{student} {words}",
    }


def _write(
    out: Path,
    rows: list[Facts],
    verdicts: list[Facts],
    choice: Facts,
    measured: list[MeasuredSplit],
    runs: dict[str, pa.Table],
) -> None:
    ordered = [{name: row[name] for name in METRIC.names} for row in rows]
    for name, content in (("metrics", ordered), ("verdicts", verdicts), ("choices", choice)):
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
