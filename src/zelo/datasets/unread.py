"""Files that look like judgements and are not read: labels that nobody misses until the figures are wrong."""

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from zelo.errors import BadInput
from zelo.qrels import header_cells, kind_of_column, named_split

HEAD = 4096  # bytes that are looked at
MOST = 100  # a grade; above it the last column holds ids or ranks, as in triples and in runs
READ = ("corpus.jsonl", "queries.jsonl")

_INTEGER = re.compile(r"[+-]?[0-9]{1,6}(\.0*)?")
_NUMBER = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?|[-+]?(inf|nan)")
Looks = Literal["judgements", "run", "other"]


def unread_labels(
    folder: Path, files: Sequence[tuple[Path, str]], others: Sequence[tuple[Path, str]]
) -> dict[Path, str]:
    """File -> why nothing in it is used, each in the words of an error.

    files: (file, split) that are to be read, of which those without a row are named; others: those that are left for others.
    """
    found = {path: _empty(path) for path, _ in files if not _has_rows(path)}
    passed = {path for path, _ in (*files, *others)}
    for path in _candidates(folder):
        if path not in passed and _is_suspect(path, inside=path.parent != folder):
            found[path] = _misnamed(path, folder)
    return found


def _candidates(folder: Path) -> Iterator[Path]:
    """The visible files of the folder, and of its folders that are called qrels in any spelling."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file() and path.name not in READ:
            yield path
        elif path.is_dir() and "qrel" in path.name.lower():
            for below in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in below.relative_to(path).parts)
                if below.is_file() and not hidden:
                    yield below


def _is_suspect(path: Path, inside: bool) -> bool:
    """Whether the file looks like judgements, by its content or by its name. inside: a folder of judgements."""
    name = path.name.lower()
    if path.suffix.lower() in (".md", ".rst", ".html", ".py") or "readme" in name:
        return False
    content = looks(path)
    if content != "other":
        return content == "judgements"
    return "qrel" in name or (inside and (named_split(name) is not None or name.endswith(".tsv")))


def looks(path: Path) -> Looks:
    """What the first lines look like: three or four columns with a small integer at the end, or the six of a run."""
    lines = _head(path)
    rows = [re.split(r"\t|,", line) if re.search(r"\t|,", line) else line.split() for line in lines]
    names = header_cells(lines[0].replace(",", "\t")) if lines else None
    is_header = bool(names) and sum(kind_of_column(name) is not None for name in names or ()) >= 2
    rows = rows[1:] if names else rows
    if not rows:
        return "judgements" if is_header else "other"
    if all(_is_ranked(line.split()) for line in lines):
        return "run"
    fits = all(
        len(row) in (3, 4)
        and all(cell.strip() and len(cell.split()) == 1 for cell in row)
        and _INTEGER.fullmatch(row[-1].strip())
        and abs(float(row[-1])) <= MOST
        for row in rows
    )
    return "judgements" if fits else "other"


def _is_ranked(cells: Sequence[str]) -> bool:
    """Whether a line is one of a run: query, Q0, document, rank, score and name."""
    return len(cells) == 6 and bool(_INTEGER.fullmatch(cells[3]) and _NUMBER.fullmatch(cells[4]))


def _head(path: Path) -> list[str]:
    """The first lines that are not blank; none of a file that is no text."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            raw = file.read(HEAD)
    except (OSError, EOFError):
        return []
    if b"\0" in raw:
        return []
    text = raw.decode("utf-8-sig", errors="replace")
    lines = text.splitlines()[:-1] if len(raw) == HEAD and "\n" in text else text.splitlines()
    return [line.strip() for line in lines if line.strip()]


def _has_rows(path: Path) -> bool:
    """Whether anything but a header stands in the file; it is looked at as far as the first row."""
    try:
        with path.open("rb") as file:
            lines = (raw for raw in file if raw.decode("utf-8-sig", errors="replace").strip())
            first = next(lines, b"").decode("utf-8-sig", errors="replace")
            return bool(first) and (header_cells(first) is None or next(lines, None) is not None)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None


def _empty(path: Path) -> str:
    return f"{path} holds no judgements; write query-id, corpus-id and score on each line, or delete the file"


def _misnamed(path: Path, folder: Path) -> str:
    split = named_split(path.name)
    expected = f"{split}.tsv" if split else "test.tsv or dev.tsv"
    return (
        f"{path} looks like judgements and is not read, as its name is no split's; call it {expected} in {folder / 'qrels'},"
        " or move it elsewhere"
    )
