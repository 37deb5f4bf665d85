"""Folders of documents, one a file: markdown, text, HTML, PDF and Word."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from zelo.datasets.checks import count_of, safe_id
from zelo.datasets.columns import CHUNK
from zelo.errors import BadInput
from zelo.records import DOCUMENT

SHOWN = 3  # files that a note names
KINDS = {
    ".md": "markdown", ".markdown": "markdown", ".txt": "text", ".rst": "text", ".html": "HTML", ".htm": "HTML",
    ".pdf": "PDF", ".docx": "Word",
}  # fmt: skip
LATIN = "read as Windows-1252, as UTF-8 does not fit"

_FRONT = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)\n", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$|^(\S.*)\n(?:=+|-{3,})[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~)", re.MULTILINE)


def read_files(files: Sequence[Path], root: Path) -> tuple[pa.Table, tuple[str, ...]]:
    """DOCUMENT rows, one a file: the id is the path below `root`, with %20 for a space. Notes count what is left out.

    The title is the first heading of markdown and Word, that of an HTML page, and empty elsewhere. Raises BadInput naming a
    file that may not be read or the package that is missing, and where no file has a text.
    """
    left: dict[str, list[Path]] = {}
    batches = list(_batches(files, root, left))
    documents = pa.Table.from_batches(batches, schema=DOCUMENT)
    notes = [
        f"{count_of(len(paths), 'file')} {'is' if len(paths) == 1 else 'are'} {why}: "
        + ", ".join(path.relative_to(root).as_posix() for path in paths[:SHOWN])
        + ", ..." * (len(paths) > SHOWN)
        for why, paths in left.items()
    ]
    if not documents.num_rows:
        raise BadInput(f"{root}: no file has a text: {'; '.join(notes)}")
    return documents, tuple(notes)


def in_words(files: Sequence[Path]) -> str:
    """What the files are: 800 markdown and 12 PDF files."""
    counts = Counter(KINDS[path.suffix.lower()] for path in files).most_common()
    parts = [f"{count:,} {kind}" for kind, count in counts]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) + f" file{'s' * (len(files) > 1)}"


def titles_in_words(files: Sequence[Path]) -> str:
    """Where their titles come from."""
    kinds = {KINDS[path.suffix.lower()] for path in files}
    where = ["first headings"] * bool(kinds & {"markdown", "Word"}) + ["those of the pages"] * ("HTML" in kinds)
    return f"titles are {' and '.join(where)}" if where else "there are no titles"


def _batches(files: Sequence[Path], root: Path, left: dict[str, list[Path]]) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[str, str, str]] = []
    for path in files:
        title, text, why = _read(path)
        if why:
            left.setdefault(why, []).append(path)
        if title or text:
            rows.append((safe_id(path.relative_to(root).as_posix()), title, text))
        if len(rows) == CHUNK:
            yield pa.record_batch(list(zip(*rows, strict=True)), schema=DOCUMENT)
            rows = []
    if rows:
        yield pa.record_batch(list(zip(*rows, strict=True)), schema=DOCUMENT)


def _read(path: Path) -> tuple[str, str, str]:
    """Title, text, and what a note says of the file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}; allow it, or move it elsewhere") from None
    kind = KINDS[path.suffix.lower()]
    try:
        title, text, why = _READERS[kind](path, raw)
    except BadInput:
        raise
    except Exception as error:  # of a foreign parser, for a file that it cannot read
        return "", "", f"damaged and left out ({type(error).__name__})"
    title, text = (part.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").strip() for part in (title, text))
    return title, text, why if title or text else _EMPTY[kind]


_EMPTY = {
    "markdown": "empty and left out",
    "text": "empty and left out",
    "HTML": "HTML without a text and left out",
    "PDF": "PDF without a text and left out (pictures of pages need OCR)",
    "Word": "empty and left out",
}


def _decoded(raw: bytes) -> tuple[str, str]:
    """The text, and what a note says of its encoding."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace"), ""
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace"), LATIN


def _text(path: Path, raw: bytes) -> tuple[str, str, str]:
    text, why = _decoded(raw)
    return "", text, why


def _markdown(path: Path, raw: bytes) -> tuple[str, str, str]:
    text, why = _decoded(raw)
    return *_headed(text.replace("\r\n", "\n")), why


def _headed(text: str) -> tuple[str, str]:
    """Title and text of markdown: the heading is the title alone, and the YAML in front says no more than the title."""
    front = _FRONT.match(text)
    text = text[front.end() :] if front else text
    heading = _HEADING.search(text)
    fence = _FENCE.search(text)
    if heading and not (fence and fence.start() < heading.start()):
        title = (heading[1] or heading[2] or "").strip()
        return title, f"{text[: heading.start()]}{text[heading.end() :]}"
    named = _FRONT_TITLE.search(front[1]) if front else None
    return named[1] if named else "", text


def _html(path: Path, raw: bytes) -> tuple[str, str, str]:
    try:
        import trafilatura  # pyright: ignore[reportMissingImports]
        from trafilatura.metadata import extract_metadata  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _missing(path, "trafilatura", error) from None
    tree = trafilatura.load_html(raw)
    if tree is None:
        return "", "", ""
    found = extract_metadata(tree)
    text = trafilatura.extract(raw, include_comments=False, include_tables=True) or ""
    return (found.title if found and text else "") or "", text, ""


def _pdf(path: Path, raw: bytes) -> tuple[str, str, str]:
    try:
        import pypdf  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _missing(path, "pypdf", error) from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what is wrong with a file is in the notes
    pages = [page.extract_text() or "" for page in pypdf.PdfReader(path).pages]
    return "", "\n\n".join(page.strip() for page in pages if page.strip()), ""


def _word(path: Path, raw: bytes) -> tuple[str, str, str]:
    try:
        from markitdown import MarkItDown  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _missing(path, "markitdown", error) from None
    return *_headed(MarkItDown(enable_plugins=False).convert(path).text_content), ""


def _missing(path: Path, package: str, error: ImportError) -> BadInput:
    kind = KINDS[path.suffix.lower()]
    return BadInput(f"{path}: {kind} files need {package}, which is missing ({error}): pip install 'zelo[documents]'")


_READERS: dict[str, Callable[[Path, bytes], tuple[str, str, str]]] = {
    "markdown": _markdown,
    "text": _text,
    "HTML": _html,
    "PDF": _pdf,
    "Word": _word,
}
