"""What a run came out with, read from the table of its evaluation."""

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zelo.facts import Facts
from zelo.records import DEV
from zelo.reporting import lineage
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

FIRST_STAGES, BASELINES, UNTUNED, TEACHER, STUDENTS = GROUPS = (
    "first stages",
    "baselines",
    "untuned models",
    "teacher",
    "students",
)
LABELS = "natural"  # the protocol of figures that are measured against labels
NO_LABELS = "against judge ratings, no human labels"  # what the other protocol is in words
CIRCULAR = (
    "The judges that measure here also made the training targets. The figures say how far the training copied these judges, not"
    " that its rankings help anybody. Label test queries, or measure with judges that did not train (pipeline=benchmark)"
)


@dataclass(frozen=True)
class Evaluation:
    """All rows of the split that is reported (test, where it has labels), the verdicts on it, and what dev says to select by."""

    stage: str
    table: Table
    metric: str  # the one that decides, as ir-measures writes it
    beside: list[str]  # metrics that the terminal shows beside it
    split: str
    protocol: str
    rows: list[Facts]  # records.METRIC
    verdicts: list[Facts]
    keys: dict[str, str]  # split -> name of its deciding metric: dev/nDCG@10, judge_agreement/dev/nDCG@10, test/nDCG@10
    keyed: dict[str, float]  # the deciding metric of every split and system, by its full name; dev first
    queries: dict[str, int]  # split -> queries that were evaluated
    groups: dict[str, str]  # system -> one of GROUPS, by what the pipeline makes of it
    domains: dict[str, Facts]  # domain -> {queries, labels, out_of_domain}, where queries are from several
    by_domain: dict[str, dict[str, float]]  # domain -> system -> value of the deciding metric
    probabilities: Facts  # precision, queries and systems; empty where dev or test has no labels

    @staticmethod
    def of(result: "Result") -> "Evaluation | None":
        """The evaluation of a run, the deepest where there are several; None where nothing was measured."""
        stage = lineage.deepest(result, "per_query")
        if stage is None:
            return None
        table = result.tables[stage]
        metric, split, keys = (table.manifest[name] for name in ("metric", "split", "keys"))
        rows = json.loads((table.path / "metrics.json").read_text(encoding="utf-8"))
        verdicts = json.loads((table.path / "verdicts.json").read_text(encoding="utf-8"))
        found = {row["key"]: row["value"] for row in rows}
        systems = list(dict.fromkeys(row["system"] for row in rows))
        names = [f"{key}/{system}" for key in keys.values() for system in systems]
        domains = dict(table.manifest["domains"])
        return Evaluation(
            stage,
            table,
            metric,
            table.manifest["table"],
            split,
            table.manifest["protocol"],
            [
                row
                for row in rows
                if (row["split"], row["protocol"]) == (split, table.manifest["protocol"])
                and row["domain"] not in domains
            ],
            verdicts,
            keys,
            {name: found[name] for name in names if name in found},
            table.manifest["queries"],
            {system: _group(system, stage, result) for system in systems},
            domains,
            {
                domain: {
                    row["system"]: row["value"] for row in rows if (row["domain"], row["metric"]) == (domain, metric)
                }
                for domain in domains
            },
            json.loads((table.path / "probabilities.json").read_text(encoding="utf-8")),
        )

    @property
    def title(self) -> str:
        """The deciding metric in words: agreement with judge ratings is not taken for quality."""
        return self.metric + (f" on {self.split}" if self.protocol == LABELS else f" on {self.split} ({NO_LABELS})")

    @property
    def circular(self) -> bool:
        """Whether verdicts are by judges that made the training targets, and so may not say that a system is better."""
        return any(verdict["circular"] for verdict in self.verdicts)

    @property
    def values(self) -> dict[str, float]:
        """System -> value of the metric that decides, on the split that is reported."""
        return {row["system"]: row["value"] for row in self.rows if row["metric"] == self.metric}

    @property
    def deciding(self) -> dict[str, str]:
        """Split -> the metric that decides on it, as the tables of the evaluation name it."""
        found = {row["key"].removesuffix(f"/{row['system']}"): row["metric"] for row in self._every_row}
        return {split: found[key] for split, key in self.keys.items() if key in found}

    @property
    def tested(self) -> dict[str, float]:
        """Of each value of `keyed`, as far as known: its interval, `test/nDCG@10/zelo/ci_low` and `.../ci_high`, and the p-value
        against each baseline, `.../p/dense`.
        """
        found = {}
        for row in (row for row in self._every_row if row["key"] in self.keyed):
            named = {"ci_low": row["ci_low"], "ci_high": row["ci_high"], f"p/{row['baseline']}": row["p_value"]}
            found |= {f"{row['key']}/{name}": value for name, value in named.items() if value is not None}
        return found

    @property
    def _every_row(self) -> list[Facts]:
        return json.loads((self.table.path / "metrics.json").read_text(encoding="utf-8"))

    def source(self, result: "Result", system: str) -> str | None:
        """The stage that a system's ranking comes from."""
        return result.upstream(self.stage, self.table.manifest["roles"][system])

    @property
    def dev(self) -> dict[str, float]:
        """System -> value of the deciding metric on dev, all that a choice may look at; empty where dev is not measured."""
        start = f"{self.keys[DEV]}/" if DEV in self.keys else None
        return {key.removeprefix(start): value for key, value in self.keyed.items() if start and key.startswith(start)}


def shown(metric: str) -> str:
    """A metric in a heading: "condensed nDCG@10" for what ir-measures, and metrics.json, call nDCG(judged_only=True)@10."""
    return re.sub(r"(\w+)\(judged_only=True\)", r"condensed \1", metric)


def _group(system: str, evaluated: str, result: "Result") -> str:
    """Teachers and students are what the evaluation tests as such; an untuned model scores without a checkpoint.

    A baseline is a scorer that zelo knows nothing else of.
    """
    table = result.tables[evaluated]
    if system in table.manifest["students"]:
        return STUDENTS
    if system in table.manifest["teachers"]:
        return TEACHER
    role = table.manifest["roles"][system]
    source = result.upstream(evaluated, role)
    if source in result.tables and "scorer" in result.tables[source].manifest:
        return BASELINES
    scores = source in lineage.holding(result, "scored")
    return UNTUNED if scores and not result.upstream(str(source), "checkpoint") else FIRST_STAGES
