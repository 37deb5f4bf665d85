"""Datasets of the Hugging Face hub: their tables, at one commit, in the cache of huggingface_hub. No code of theirs runs."""

import glob
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from zelo.datasets import delimited
from zelo.datasets.columns import Kind
from zelo.datasets.sources import TABLES, Sources, find, split_of
from zelo.errors import BadInput
from zelo.lines import PACKED
from zelo.records import TEST, TRAIN

PREFIX = "hf:"
ENDS = (*TABLES, *delimited.SUFFIXES)  # of the files that are fetched
SHOWN = 5  # files that an error names

_PLACE = re.compile(
    r"hf:(?://datasets/)?(?P<repo>\w[\w.-]*(?:/\w[\w.-]*)?)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[\w.-]+|[^/@]+))?(?:/+(?P<inside>[^/].*))?"
)


def find_in_hub(place: str, kind: Kind | None) -> Sources:
    """The tables of hf:OWNER/NAME, of hf:OWNER/NAME@REVISION, or of a folder, a file or a pattern behind that.

    kind: what they hold, where the user says so. Raises BadInput where there are none, and says why they cannot be fetched.
    """
    said = _PLACE.fullmatch(place)
    if not said:
        raise BadInput(f"{place}: write hf:OWNER/NAME, hf:OWNER/NAME@REVISION or hf:OWNER/NAME/FOLDER")
    repo, inside = said["repo"], (said["inside"] or "").rstrip("/")
    folder = _fetched(place, repo, said["revision"], inside)
    path = folder / inside
    if not any(delimited.suffix(file) in ENDS for file in _below(path)):
        held = ", ".join(_listed(repo, folder)[:SHOWN]) or "nothing"
        raise BadInput(
            f"{place}: no table is there ({', '.join(ENDS)}); the repository holds {held}. Code of a repository is not run:"
            f" hf:{repo}@refs/convert/parquet has the tables that the hub made of it, if it made any"
        )
    found = find(path, kind, ENDS)
    _forget_one_split(found)
    found.name = repo.rpartition("/")[2]
    found.commits = [f"hf:{repo}@{folder.name}" + f"/{inside}" * bool(inside)]
    return found


def _forget_one_split(found: Sources) -> None:
    """The hub calls the rows of a table without splits `train`: where documents and judgements are all called so, none is."""
    named = [split_of(file.relative_to(found.root)) for file in found.documents]
    named += [split for _, split in (*found.queries, *found.qrels)]
    if found.documents and found.qrels and set(named) == {TRAIN}:
        found.queries = [(file, None) for file, _ in found.queries]
        found.qrels = [(file, TEST) for file, _ in found.qrels]
        found.notes.append(
            "all tables are called train, as the hub calls what has no splits: judgements are of test queries"
        )


@cache  # a branch that moves meanwhile does not change the data of a run
def _fetched(place: str, repo: str, revision: str | None, inside: str) -> Path:
    """The folder of the commit, with the tables below `inside`."""
    from huggingface_hub import snapshot_download

    patterns = [f"*{end}{packed}" for end in ENDS for packed in ("", *PACKED)]
    if delimited.suffix(Path(inside)) in ENDS:
        patterns = [inside]
    elif inside:
        patterns = [f"{inside}{'' if glob.has_magic(inside) else '/'}{pattern}" for pattern in patterns]
    try:
        return Path(snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except Exception as error:  # of the hub's client, and of whatever sends its requests: they have no class in common
        raise BadInput(f"{place}: {_why(error, repo, revision)}") from error


def _why(error: Exception, repo: str, revision: str | None) -> str:
    """What went wrong, and what helps."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/datasets/{repo}"
    match error:
        case errors.GatedRepoError():
            return f"this dataset is gated; accept its terms at {page}, and set HF_TOKEN to a token of yours"
        case errors.RepositoryNotFoundError():
            return f"the hub has no dataset {page} that you may read; check the name, or set HF_TOKEN if it is private"
        case errors.RevisionNotFoundError():
            return f"this dataset has no revision {revision}; give a branch, a tag or a commit of {page}"
        case errors.HFValidationError():
            return f"{repo} cannot be the name of a dataset; write hf:OWNER/NAME"
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    offline = ", and HF_HUB_OFFLINE=1 forbids to fetch it" if constants.HF_HUB_OFFLINE else ""
    return (
        f"this dataset is not in the cache {constants.HF_HUB_CACHE} as a whole{offline} ({reason}); check the network. To work"
        f" offline, run 'hf download {repo} --repo-type dataset' where there is one, and copy the cache"
    )


def _below(path: Path) -> Sequence[Path]:
    if glob.has_magic(str(path)):
        return [Path(name) for name in glob.glob(str(path), recursive=True)]
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def _listed(repo: str, folder: Path) -> Sequence[str]:
    """The files of the repository, or those that are here where the hub does not answer."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().list_repo_files(repo, repo_type="dataset", revision=folder.name)
    except Exception:  # as above
        files = [path.relative_to(folder).as_posix() for path in _below(folder)]
    return sorted(name for name in files if not name.startswith("."))
