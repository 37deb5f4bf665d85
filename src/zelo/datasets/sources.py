"""What lies at a path: which files hold documents, queries and judgements."""

import glob
import os
import re
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zelo.datasets.columnar import Arrow, Parquet
from zelo.datasets.columns import Columns, Kind, Reader
from zelo.datasets.delimited import Delimited, suffix
from zelo.datasets.document_files import KINDS
from zelo.datasets.json_file import JsonFile
from zelo.datasets.trec import Trec
from zelo.datasets.unread import HEAD, looks
from zelo.errors import BadInput
from zelo.lines import opened
from zelo.qrels import SPLIT_NAMES, kind_of_column
from zelo.records import TEST

READERS: tuple[Reader, ...] = (Parquet(), Arrow(), JsonFile(), Trec(), Delimited())  # the first that fits reads a file

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
BESIDE = (
    "dataset_info.json",
    "dataset_infos.json",
    "state.json",
    "dataset_dict.json",
)  # what `datasets` writes beside its tables
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)+")  # what a dataset of the hub or of ir_datasets may be called
POINTER = b"version https://git-lfs.github.com/spec/"
CACHES = re.compile(r"(cache|indices|tmp)[-_.\w]*\.arrow")
ABOUT = re.compile(r"(readme|license|licence|changelog|source|index|notice)(\.\w+)?", re.IGNORECASE)
SPLITS = {**SPLIT_NAMES, "eval": TEST, "val": SPLIT_NAMES["dev"], "training": SPLIT_NAMES["train"]}
WORDS: dict[Kind, frozenset[str]] = {
    "queries": frozenset({"queries", "topics", "questions"}),
    "documents": frozenset({"corpus", "collection", "documents", "docs", "passages", "articles"}),
}
ALONE: dict[str, Kind] = {"query": "queries", "topic": "queries", "document": "documents", "doc": "documents"}
TABLES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".arrow", ".feather", ".ipc")  # with named columns
RUNS = frozenset({"run", "runs", "top_ranked"})


@dataclass
class Sources:
    """The files of a collection by what they hold; `root` is the folder that ids of files begin below."""

    root: Path
    texts: list[Path] = field(default_factory=list)  # a document each
    documents: list[Path] = field(default_factory=list)  # tables
    queries: list[tuple[Path, str | None]] = field(default_factory=list)  # with the split that the name says
    qrels: list[tuple[Path, str]] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    links: int = 0  # to folders, which are not followed
    own: list[Path] = field(default_factory=list)  # run directories and stores of zelo, which are no data
    name: str = ""  # of the collection, where it has one that is not its path's
    commits: list[str] = field(default_factory=list)  # of the hub, each as a place that names it
    called: dict[Path, str] = field(default_factory=dict)  # what a file is called where its path says nothing
    notes: list[str] = field(default_factory=list)  # what else a reader should know

    def learn(self, *others: "Sources") -> None:
        """Keeps what is said of the files of other places."""
        for other in others:
            self.commits += [commit for commit in other.commits if commit not in self.commits]
            self.called |= other.called
            self.notes += other.notes


def find(path: Path, kind: Kind | None, ends: Collection[str] = ()) -> Sources:
    """The files at a path: a file, a folder or a glob. Raises BadInput.

    kind: what they hold, where the user says so. ends: how the names end of those that are looked at, where not all are.
    """
    root, files, links, own = _files(path, ends)
    found = Sources(root, links=links, own=own)
    tables: list[Path] = []
    for file in files:
        _refuse_name(file)
        named = _role(file.relative_to(root), alone=len(files) == 1)
        role = named if kind is None or (len(files) > 1 and named not in (None, kind)) else kind
        if kind is not None and role != kind:
            found.unread.append(file)
        elif kind is None and role == "documents" and suffix(file) == ".txt" and looks(file) == "judgements":
            found.qrels.append((file, split_of(file.relative_to(root)) or TEST))
        elif (
            role == "documents"
            and _is_text(file)
            and not (kind is not None and len(files) == 1 and suffix(file) == ".txt")
        ):
            found.texts.append(file)
        elif role == "run" or (kind is not None and ABOUT.fullmatch(file.name)):
            found.unread.append(file)
        elif role == "queries":
            found.queries.append((file, split_of(file.relative_to(root))))
        elif role == "qrels":
            found.qrels.append((file, split_of(file.relative_to(root)) or TEST))
        elif role == "documents":
            found.documents.append(file)
        else:
            tables.append(file)
    for file in tables:
        _by_content(file, found)
    _choose_documents(found, tables)
    return found


def reader_of(path: Path) -> Reader:
    """What reads the rows of this file. Raises BadInput where nothing does."""
    head = _head(path)
    if not head.strip():
        raise BadInput(f"{path} is empty; delete it, or write it again")
    if head.startswith(POINTER):
        raise BadInput(f"{path} is a pointer of Git LFS in place of the file; fetch it with git lfs pull")
    for reader in READERS:
        if reader.fits(path, head):
            return reader
    raise BadInput(f"{path}: no such file is read; {FORMATS}")


FORMATS = "give csv, tsv, jsonl, json, parquet, arrow or TREC files, or documents as md, txt, html, pdf or docx"


def split_of(relative: Path) -> str | None:
    """The split that a file's name says, or else the nearest folder's: dev of queries.dev.small.tsv."""
    for part in reversed(relative.parts):
        for word in re.split(r"[-_.]", part.lower()):
            if word in SPLITS:
                return SPLITS[word]
    return None


def _files(path: Path, ends: Collection[str]) -> tuple[Path, list[Path], int, list[Path]]:
    """The folder that they lie in, the visible files, how many links to folders are not followed, and folders of zelo."""
    if glob.has_magic(str(path)) and not path.exists():
        named = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
        files = [file for file in named if _is_looked_at(file, ends)]
        if not files:
            raise BadInput(f"{path}: no file has such a name; quote the pattern, so that the shell leaves it alone")
        front = next(number for number, part in enumerate(path.parts) if glob.has_magic(part))
        return Path(*path.parts[:front]), files, 0, []
    if path.is_file():
        _refuse_archive(path)
        return path.parent, [path], 0, []
    if not path.is_dir():
        fix = "give a file, a folder or a pattern such as 'notes/*.md'"
        if _NAME.fullmatch(str(path)):
            fix += f"; hf:{path} is a dataset of the Hugging Face hub, irds:{path} one of ir_datasets"
        raise BadInput(f"{path} does not exist; {fix}")
    files, links, own = _below(path)
    if not files:
        raise BadInput(f"{path} holds no files; {FORMATS}")
    usable = [file for file in files if not _is_archive(file) and _is_looked_at(file, ends)]
    if not usable:
        _refuse_archive(files[0])
    return path, usable, links, own


def _below(folder: Path) -> tuple[list[Path], int, list[Path]]:
    """The visible files below a folder, how many links to other folders, which may lead in a circle, and folders of zelo."""

    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename} cannot be read: {error.strerror}; allow it, or move it elsewhere")

    files, links, own = [], 0, []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        visible = sorted(name for name in folders if not name.startswith("."))
        own += [Path(parent, name) for name in visible if _ours(Path(parent, name))]
        folders[:] = [name for name in visible if not _ours(Path(parent, name))]
        links += sum(Path(parent, name).is_symlink() for name in folders)
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(file for file in files if file.name not in BESIDE and not CACHES.fullmatch(file.name)), links, own


def _refuse_name(path: Path) -> None:
    """Raises BadInput for a name that neither JSON nor parquet can keep."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise BadInput(f"{shown}: the name of this file is not UTF-8; rename it") from None


def _ours(folder: Path) -> bool:
    """Run directories or a store of zelo, which are no data."""
    return folder.name == "multirun" or ((folder / "locks").is_dir() and (folder / "uses").is_dir())


def _is_looked_at(path: Path, ends: Collection[str]) -> bool:
    return not ends or suffix(path) in ends


def _is_archive(path: Path) -> bool:
    if path.suffix.lower() in (".gz", ".zst"):
        return suffix(path) in (".tar", "") and not _is_plain_packed(path)
    return path.suffix.lower() in ARCHIVES or (not path.suffix and zipfile.is_zipfile(path))


def _is_plain_packed(path: Path) -> bool:
    return suffix(path) != ".tar" and bool(_role(Path(path.name), alone=False))


def _refuse_archive(path: Path) -> None:
    if _is_archive(path):
        tool = "unzip" if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path) else "tar -xf"
        raise BadInput(f"{path} is an archive; unpack it ({tool} {path.name}) and give the folder")


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in KINDS


def _role(relative: Path, alone: bool) -> Kind | str | None:
    """What the name says that a file holds: a kind, "run", or None. alone: there is no other file."""
    kind = KINDS.get(relative.suffix.lower())
    if kind not in (None, "text"):
        return "documents"
    if any("qrel" in part.lower() for part in relative.parts):
        return "qrels"
    parts = [relative.name, *reversed(relative.parts[:-1])] if kind is None else [relative.name]
    for part in parts:
        stem = Path(part).with_suffix("").name.lower() if part == relative.name else part.lower()
        words = re.split(r"[-_.\s]+", stem)
        if {"judgements", "judgments"} & set(words):
            return "qrels"
        if RUNS & {stem, *words} or relative.suffix.lower() == ".run":
            return "run"
        for role, known in WORDS.items():
            if (known & set(words) if kind is None else words[0] in known) or ALONE.get(stem) == role:
                return role
    if kind == "text":  # of a text file among others; its content says whether it holds judgements
        return "documents" if not alone else None
    return None


def _by_content(path: Path, found: Sources) -> None:
    """Files it under judgements where its columns are a query, a document and a grade; others remain."""
    if suffix(path) in TABLES:
        try:
            names = reader_of(path).names(path, Columns("qrels", {}))
        except BadInput:  # which is said where the file is read, if it is
            names = []
        is_qrels = {"query", "document", "score"} <= {kind_of_column(name) for name in names}
    else:
        is_qrels = looks(path) == "judgements"
    if is_qrels:
        found.qrels.append((path, split_of(path.relative_to(found.root)) or TEST))


def _choose_documents(found: Sources, tables: Sequence[Path]) -> None:
    """Documents are the tables that are called so, or else files of texts, or else tables without a telling name."""
    judged = {path for path, _ in found.qrels}
    rest = [path for path in tables if path not in judged]
    about = [path for path in found.texts if ABOUT.fullmatch(path.name)]
    if found.documents:
        found.unread += [*found.texts, *rest]
        found.texts = []
    elif found.texts and (len(found.texts) > len(about) or not rest):
        found.unread += rest
    else:
        found.unread += found.texts
        found.texts = []
        read = [path for path in rest if _readable(path)]
        found.documents = [path for path in read if suffix(path) in TABLES or looks(path) != "run"]
        found.unread += [path for path in rest if path not in found.documents]


def _readable(path: Path) -> bool:
    head = _head(path)
    return not head.strip() or any(reader.fits(path, head) for reader in READERS)


def _head(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(HEAD)
