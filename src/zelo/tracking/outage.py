"""What becomes of a run whose logger fails: it goes on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from zelo.tracking import redact

TOLD: set[tuple[str, str]] = (
    set()
)  # (logger, run directory) of those that have failed; what fails again is not said again
LONGEST = 200  # characters of a reason


@contextmanager
def tolerated(logger: str, folder: str) -> Iterator[None]:
    """What a logger raises in this block, since its server or the network is away, is said once in a run and then let go."""
    try:
        yield
    except Exception as error:
        if (logger, folder) not in TOLD:
            TOLD.add((logger, folder))
            print(f"{logger} did not take what was logged ({reason(error)}); the run goes on.", file=sys.stderr)


def reason(error: Exception) -> str:
    """An error of a foreign package in one short line, without secrets."""
    words = " ".join(str(error).split()) or type(error).__name__
    return redact.text(words[:LONGEST]).rstrip(".")
