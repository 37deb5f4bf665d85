"""The journal of a search: its trials, in a file that one command at a time goes on with."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from optuna.study import StudyDirection

    from zelo.facts import Facts

SEARCH = "search"  # what the journal notes of the study: its description


def opened(folder: Path, described: "Facts", directions: "list[StudyDirection]") -> "Study":
    """The study of this folder's journal. Raises BadInput where that is of another search, or damaged."""
    import optuna

    from zelo.errors import BadInput
    from zelo.tracking.trial import JOURNAL, STUDY, storage_of

    path = folder / JOURNAL
    try:
        storage = storage_of(path)
        study = optuna.create_study(storage=storage, study_name=STUDY, directions=directions, load_if_exists=True)
        earlier = study.user_attrs.get(SEARCH)
    except (ValueError, KeyError) as error:
        raise BadInput(f"{path} is damaged ({error}). Move {folder} away to begin again.") from error
    if earlier is None:
        study.set_user_attr(SEARCH, described)
    elif earlier != described:
        raise BadInput(
            f"{folder} has the trials of another search: {_difference(earlier, described)}. Name another folder with"
            " hydra.sweeper.folder=NAME, or move this one away."
        )
    return study


def _difference(earlier: "Facts", now: "Facts") -> str:
    """The first difference between two descriptions of a search, in words."""
    for part in ("space", "objectives"):
        for name in [*now[part], *earlier[part]]:
            was, is_ = (facts[part].get(name, "not in it") for facts in (earlier, now))
            if was != is_:
                return f"{name} was {was} and is {is_}"
    was, is_ = ((set(one["fixed"]) - set(other["fixed"])) for one, other in ((earlier, now), (now, earlier)))
    return f"it had {' '.join(sorted(was)) or 'no other override'}, and this one has {' '.join(sorted(is_)) or 'none'}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One command at a time; the lock ends with its process. Raises BadInput where another one runs the search."""
    from zelo.errors import BadInput
    from zelo.tracking.trial import JOURNAL

    with (folder / JOURNAL).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(
                f"{folder}: another command runs this search. Wait for it, or name another folder with hydra.sweeper.folder=NAME."
            ) from error
        yield
