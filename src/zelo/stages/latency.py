"""Measures how long models and endpoints take for one query, and what that costs."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from zelo.budget.budget import Budget
from zelo.budget.plan import Plan
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.latency import machine, paid, systems
from zelo.latency.payloads import Payload, payloads
from zelo.latency.timing import Memory, figures
from zelo.progress import progress
from zelo.protocols import Checked, PaidScorer, Scorer
from zelo.records import Questions
from zelo.store.hashing import hash_file, hash_json
from zelo.store.table import Table
from zelo.texts import document_texts
from zelo.training.hardware import Hardware

FEWEST = 6  # measured calls of a system with a payload, however long they take: with fewer the median has no interval
BUSY = 0.5  # processes a core that want to compute: above it times say something of the other processes, too


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Writes latency.json: a row per system and payload, the machine, and how busy it was.

    One query at a time. The payloads of a size are the same for all systems and none comes twice, so that nothing is answered
    from a cache; systems take turns, so that a change of the machine meets all of them. What runs here is measured from texts
    in memory to scores in memory; an endpoint from the first byte that is sent to the last that comes.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"budget"})

    inputs: dict[str, str]  # data: a load stage, whose texts fill the payloads
    path: str | None  # a run directory, or an exported model
    scorers: dict[str, Scorer | PaidScorer]  # baselines by name
    hardware: Hardware
    payloads: list[int]  # bytes of a query with its documents
    document_bytes: int  # of a document, about
    search: bool  # of the run's documents, too
    warmup: int  # calls that are not measured
    repeats: int  # calls that are, at most
    most_seconds: float  # of the measured calls of one system with one payload
    dollars_per_hour: float | None  # of this machine; None: what runs here has no price
    batch_size: int  # texts or pairs per forward pass
    attempt: int  # another number measures again
    seed: int
    budget: Budget

    def __post_init__(self) -> None:
        for name, least in (("document_bytes", 1), ("warmup", 0), ("repeats", FEWEST), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise BadInput(f"stages.latency.{name}={getattr(self, name)}: at least {least}.")
        if not self.payloads or min(self.payloads) < self.document_bytes:
            raise BadInput(
                f"stages.latency.payloads={self.payloads}: write sizes in bytes, none below"
                f" document_bytes={self.document_bytes}, as in [12000,150000]."
            )
        if self.dollars_per_hour is not None and not self.dollars_per_hour >= 0:
            raise BadInput(f"stages.latency.dollars_per_hour={self.dollars_per_hour}: 0 or more, or null.")

    def content(self) -> dict[str, str]:
        """Hashes of the models' files and of the machine. Raises BadInput where nothing is to be measured."""
        if not self.path and not self.scorers:
            raise BadInput(
                "model_path=null names no folder, and there is no baseline: nothing to measure. Write model_path=RUN_FOLDER, or"
                " add +scorer@baselines.NAME=OPTION."
            )
        found = {"hardware": hash_json(machine.described(self.hardware.device))}
        if self.path:
            folder = Path(self.path).expanduser()
            files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
            found["path"] = hash_json({path.relative_to(folder).as_posix(): hash_file(path) for path in files})
        return found

    @property
    def paid(self) -> Mapping[str, PaidScorer]:
        """The baselines that are endpoints."""
        return {
            name: paid.one_at_a_time(scorer) for name, scorer in self.scorers.items() if isinstance(scorer, PaidScorer)
        }

    def check(self) -> None:
        """Raises BadInput for a key, a model or hardware that is missing."""
        self.hardware.check()
        self._here()
        for scorer in self.scorers.values():
            if isinstance(scorer, PaidScorer):
                self.budget.check(scorer.endpoint)
            elif isinstance(scorer, Checked):
                scorer.check()

    def plan(self, tables: dict[str, Table]) -> list[Plan]:
        """What endpoints would be asked, and for how much. Sends nothing."""
        asked = [paid.questions(some) for some in self._payloads(tables["data"]).values()]
        return [plan for name, scorer in self.paid.items() for plan in self._plans(name, scorer, asked)]

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput for a model that cannot be loaded, LimitReached where an endpoint gives no reply."""
        self.hardware.apply()
        described, busy = machine.described(self.hardware.device), machine.load()
        asked = self._payloads(tables["data"])
        loaded, memory, notes = self._loaded(asked)
        rows = self._measured(asked, loaded, memory)
        facts: Facts = {}
        for name, scorer in self.paid.items():
            found, facts[name] = self._bought(name, scorer, asked)
            rows += found
        if busy is not None and busy > BUSY * described["cores"]:
            notes.append(
                f"latency: the machine was busy ({busy:.1f} processes on {described['cores']} cores before it began); measure"
                f" again with stages.latency.attempt={self.attempt + 1} when it is not"
            )
        said = {
            "measured": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": described,
            "load_before": busy,
            "warmup": self.warmup,
            "dollars_per_hour": self.dollars_per_hour,
            "rows": sorted(rows, key=lambda row: (row["bytes"] is None, row["bytes"] or 0)),
        }
        text = json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (out / "latency.json").write_text(text, encoding="utf-8")
        return {"rows": len(rows), "notes": notes, "asked": facts}

    def _here(self) -> list[systems.System]:
        """What runs on this machine."""
        setting = f"model_path={self.path}"
        found = []
        if self.path:
            folder = Path(self.path).expanduser()
            found = systems.of_folder(folder, setting, self.hardware.device, self.batch_size, self.search)
        return found + [
            systems.of_scorer(name, scorer)
            for name, scorer in self.scorers.items()
            if not isinstance(scorer, PaidScorer)
        ]

    def _payloads(self, data: Table) -> dict[int, list[Payload]]:
        """Bytes -> what every system is asked."""
        queries = data.read("queries")["text"].to_pylist()
        texts = document_texts(data.read("documents"))
        if not queries or not texts:
            raise BadInput("latency: the dataset has no queries or no documents to fill payloads with; name another.")
        count = self.warmup + self.repeats
        return {size: payloads(queries, texts, size, self.document_bytes, count, self.seed) for size in self.payloads}

    def _loaded(self, asked: dict[int, list[Payload]]) -> tuple[dict[str, systems.Loaded], dict[str, Facts], list[str]]:
        """(the systems on this machine in memory and warm, what memory each takes, which are left out and why)."""
        loaded: dict[str, systems.Loaded] = {}
        memory: dict[str, Facts] = {}
        notes = []
        chosen = self._here()
        with progress("loading and warming up", len(chosen), "systems") as advance:
            for system in chosen:
                watched = Memory(self.hardware.device)
                with watched.watched():
                    try:
                        loaded[system.name] = system.load()
                    except BadInput as error:
                        if not system.needs_store:
                            raise
                        notes.append(f"latency: {system.name} is left out: {error}")
                        continue
                    for some in asked.values():
                        loaded[system.name].call(some[0])
                memory[system.name] = dict.fromkeys(watched.megabytes) if system.shares else watched.megabytes
                advance(1)
        return loaded, memory, notes

    def _measured(
        self, asked: dict[int, list[Payload]], loaded: dict[str, systems.Loaded], memory: dict[str, Facts]
    ) -> list[Facts]:
        """The rows of the systems on this machine, which take turns."""
        rows = []
        rerank = {name: one for name, one in loaded.items() if one.searched is None}
        for size, some in asked.items():
            rows += self._turns(size, some, rerank, memory)
        search = {name: one for name, one in loaded.items() if one.searched is not None}
        first = next(iter(asked.values()))
        return rows + self._turns(None, [Payload(one.query, []) for one in first], search, memory)

    def _turns(
        self, size: int | None, some: list[Payload], loaded: dict[str, systems.Loaded], memory: dict[str, Facts]
    ) -> list[Facts]:
        """Rows of one size. some: the first `warmup` are not measured. size: bytes; None: queries alone."""
        seconds: dict[str, list[float]] = {name: [] for name in loaded}
        with progress("latency", len(some) * len(loaded), "calls") as advance:
            for number, payload in enumerate(some):
                for name, system in loaded.items():
                    spent = sum(seconds[name])
                    if len(seconds[name]) >= FEWEST and spent > self.most_seconds:
                        advance(1)
                        continue
                    began = time.perf_counter()
                    system.call(payload)
                    if number >= self.warmup:
                        seconds[name].append(time.perf_counter() - began)
                    advance(1)
        rows = []
        for name, system in loaded.items():
            measured = some[self.warmup : self.warmup + len(seconds[name])]
            counts = [system.tokens(payload) for payload in measured]
            tokens = [count for count in counts if count is not None]
            rows.append(
                _row(name, size, measured, seconds[name], tokens, system.searched)
                | memory[name]
                | {"usd_per_1000": self._own_price(seconds[name])}
            )
        return rows

    def _own_price(self, seconds: list[float]) -> float | None:
        """US dollars for 1,000 queries on this machine."""
        return None if self.dollars_per_hour is None else float(np.mean(seconds)) / 3.6 * self.dollars_per_hour

    def _plans(self, name: str, scorer: PaidScorer, asked: list[Questions]) -> list[Plan]:
        return paid.plans(self.budget, name, scorer, asked)

    def _bought(self, name: str, scorer: PaidScorer, asked: dict[int, list[Payload]]) -> tuple[list[Facts], Facts]:
        """(rows of an endpoint, what was sent)."""
        whole = {size: paid.questions(some) for size, some in asked.items()}
        rows = []
        with self.budget.open(self._plans(name, scorer, list(whole.values()))) as session:
            for size, questions in whole.items():
                found = paid.taken(session, name, scorer, questions, self.warmup)
                measured = asked[size][self.warmup :][: len(found.seconds)]
                known = scorer.endpoint.free or scorer.endpoint.price is not None
                rows.append(
                    _row(name, size, measured, found.seconds, found.tokens, None)
                    | {"memory_mb": None, "gpu_memory_mb": None, "lost": found.lost, "endpoint": scorer.endpoint.model}
                    | {"usd_per_1000": 1000 * float(np.mean(found.usd)) if known else None}
                )
            return rows, session.figures[name]


def _row(
    name: str,
    size: int | None,
    measured: list[Payload],
    seconds: list[float],
    tokens: list[int],
    searched: int | None,
) -> Facts:
    """Figures of N calls. tokens: [N] that were read, or none where it is not known."""
    total, documents = sum(seconds), sum(len(payload.documents) for payload in measured)
    return {
        "system": name,
        "bytes": size,
        "documents": searched if size is None else documents / len(measured),
        **figures(seconds),
        "queries_per_second": len(seconds) / total,
        "documents_per_second": documents / total if documents else None,
        "tokens_per_second": sum(tokens) / total if tokens else None,
        "tokens": float(np.mean(tokens)) if tokens else None,
    }
