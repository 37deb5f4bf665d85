"""What a logger gets of a run, before it begins and at its end."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import Logger

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

# Of the config: what is no choice of an experiment, or is a copy of one.
LEFT_OUT = frozenset(
    {
        "stages",
        "baseline",
        "baselines",
        "metrics",
        "known_items",
        "first_stages",
        "backbone",
        "logger",
        "budget",
        "alongside",
        "dashboards",
        "sweep",
        "debug",
        "plan",
        "report",
    }
)
# Classes, which the choices name; how a backbone reads texts: its model says it; price lists; and how fast an endpoint is asked.
PACE = "concurrency|requests_per_minute|tokens_per_minute|timeout|retries|api_key_env|token_limit_key"
REPEATED = re.compile(rf"_target_$|_partial_$|\.backbone\.(?!(model|lr)$)|\.prices\.|\.({PACE})$")
LONGEST_TAG = 64  # characters, of W&B


@dataclass(frozen=True)
class Job:
    """One run: what was chosen, and what it belongs to."""

    pipeline: str
    sweep: str | None  # the name of the sweep's folder
    choices: dict[str, str]  # group -> option
    overrides: list[str]  # without secrets
    config: Facts  # flat: choices, overrides, and the values that an experiment varies, null left out

    @staticmethod
    def of(config: Facts, choices: dict[str, str], overrides: Sequence[str], sweep: str | None) -> "Job":
        """config: composed and resolved; overrides: of the command line; both without secrets."""
        mine = {group: option for group, option in choices.items() if option and not re.search(r"[@/]", group)}
        values = {
            key: value
            for name, node in config.items()
            if name not in LEFT_OUT
            for key, value in _flat(node, name)
            if not REPEATED.search(key) and key not in mine and value is not None
        }
        return Job(mine["pipeline"], sweep, mine, list(overrides), mine | values | {"overrides": " ".join(overrides)})

    @property
    def tags(self) -> list[str]:
        """group=option of each choice."""
        return [f"{group}={option}"[:LONGEST_TAG] for group, option in self.choices.items()]


class RunLogger(Logger, Protocol):
    """A logger as the command sees it: what a run chose and came to, beside its curves."""

    def start(self, job: Job) -> None:
        """The run begins. Raises BadInput where it cannot be logged."""
        ...

    def finish(self, result: "Result", manifest: Facts) -> None:
        """The run has ended well. result: all its tables; manifest: of the run directory, where everything lies by then."""
        ...

    def fail(self) -> None:
        """The run has failed or was interrupted."""
        ...


@dataclass(frozen=True, kw_only=True)
class InRunDirectory:
    """A logger whose files lie in the run directory."""

    folder: str | None  # the run directory; filled in by the command

    @property
    def _folder(self) -> str:
        if self.folder is None:
            raise BadInput(
                "logger.folder is not set; the command sets it to the run directory, a notebook has to name one."
            )
        return self.folder


def _flat(node: object, place: str) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict) and node:
        for key, item in node.items():
            yield from _flat(item, f"{place}.{key}")
    else:
        yield place, node
