"""What a run left in its folder, for a notebook: tables as Arrow, the report as a page, models as folders."""

import html
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.store.table import MANIFEST

MODELS = ("embedding", "reranker", "pairwise")
HEIGHT = 900  # pixels of the report in a notebook


@dataclass(frozen=True)
class Report:
    """report.html of a run; Jupyter shows it where it is the last value of a cell."""

    path: Path

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="{HEIGHT}" style="border:0"></iframe>'


class RunDirectory:
    """The folder of a run. Tables are Arrow tables: `.to_pandas()` makes them data frames.

    What the run did not make, as it stopped before, raises BadInput that says so.
    """

    def __init__(self, folder: str | Path) -> None:
        """folder: multirun/NAME/TIME. Raises BadInput where there is no run."""
        self.folder = Path(folder).expanduser()
        if not (self.folder / MANIFEST).is_file():
            raise BadInput(f"{self.folder}: this folder holds no run; give one with a {MANIFEST}, multirun/NAME/TIME.")

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.folder)!r})"

    @cached_property
    def manifest(self) -> Facts:
        """manifest.json: command, versions, data hashes, and each stage with rows and seconds."""
        return json.loads(self._path(MANIFEST).read_text(encoding="utf-8"))

    @cached_property
    def config(self) -> Facts:
        """config.yaml: resolved, without secrets."""
        return yaml.safe_load(self._path("config.yaml").read_text(encoding="utf-8"))

    @cached_property
    def compared(self) -> Facts:
        """compared.json: what a sweep compares this run by."""
        return json.loads(self._path("compared.json").read_text(encoding="utf-8"))

    @property
    def candidates(self) -> pa.Table:
        """Candidates (query_id, doc_id, rank, score) that the judges were asked about."""
        return self._parquet("candidates")

    @property
    def outcomes(self) -> pa.Table:
        """Each answer of each judge: query_id, doc_a, doc_b, judge, p for doc_a, status, tokens, cost in US dollars."""
        return self._parquet("outcomes")

    @property
    def ratings(self) -> pa.Table:
        """Ratings (query_id, doc_id, rating, stderr, degree), calibrated where a calibrator was chosen."""
        return self._parquet("ratings")

    @property
    def training_examples(self) -> pa.Table:
        """A row per train query and document: query, document, label in [0, 1], as sentence-transformers takes it."""
        return self._parquet("training_examples")

    @property
    def training_lists(self) -> pa.Table:
        """A row per train query: query, documents, labels, as the listwise losses of sentence-transformers take it."""
        return self._parquet("training_lists")

    @property
    def metrics(self) -> pa.Table:
        """A row per split, metric, system and baseline: value, ci_low, ci_high, p_value."""
        return self._json("metrics")

    @property
    def per_query(self) -> pa.Table:
        """A row per system, metric and query: split, value."""
        return self._parquet("per_query")

    @property
    def verdicts(self) -> pa.Table:
        """A row per comparison: system, baseline, difference with interval, p_value, verdict."""
        return self._json("verdicts")

    @property
    def models(self) -> dict[str, Path]:
        """Folder of each exported model, by name; `zelo.load` opens one."""
        return {name: self.folder / name for name in MODELS if (self.folder / name).is_dir()}

    @property
    def report(self) -> Report:
        """The page report.html."""
        return Report(self._path("report.html"))

    def has(self, name: str) -> bool:
        """Whether the run has made this file."""
        return (self.folder / name).exists()

    def _parquet(self, name: str) -> pa.Table:
        return pq.read_table(self._path(f"{name}.parquet"))

    def _json(self, name: str) -> pa.Table:
        rows: list[dict[str, Any]] = json.loads(self._path(f"{name}.json").read_text(encoding="utf-8"))
        return pa.Table.from_pylist(rows)

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            done = ", ".join(json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))["stages"]) or "none"
            raise BadInput(f"{self!r} has no {name}: the run ended before it was made. Its finished stages: {done}.")
        return path
