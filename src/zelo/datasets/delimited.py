"""Tables as text: csv with commas or semicolons, tsv with or without a header, a text a line."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from zelo.datasets.columns import Columns, batches, numbered
from zelo.errors import BadInput
from zelo.lines import LONGEST, PACKED, read_lines

SUFFIXES = (".csv", ".tsv", ".txt", ".tab")


class Delimited:
    """A csv has a header and quotes; a tsv has both or, as those of MS MARCO, none of them; a txt has a text on each line."""

    UNIT: ClassVar[str] = "line"

    def fits(self, path: Path, head: bytes) -> bool:
        """By the name's end, and no null byte."""
        return suffix(path) in SUFFIXES

    def names(self, path: Path, columns: Columns) -> list[str]:
        """Those of the header, or 1, 2, ..."""
        return self._open(path, columns)[0]

    def rows(self, path: Path, columns: Columns) -> Iterator[pa.Table]:
        """Raises BadInput for a quote that is not closed and for a line with more or fewer cells than the first."""
        names, rows = self._open(path, columns)
        chosen = columns.choose(names, path)
        places = [names.index(name) for name in chosen.values()]
        cells = ((line, [row[place] for place in places]) for line, row in self._checked(path, rows, len(names)))
        return batches(cells, list(chosen))

    def _open(self, path: Path, columns: Columns) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
        """The names of the columns, and (line, cells) of the rows below."""
        first = next((line for line in read_lines(path) if line.strip()), "").strip("\r\n")
        if suffix(path) == ".csv":
            delimiter = max(",;\t|", key=first.count)
            try:
                start = next(csv.reader([first], delimiter=delimiter), [])
            except csv.Error as error:
                raise BadInput(f"{path}:1: {_fault(error)}") from None
            _refuse_twice(start, columns, path)
        else:
            delimiter = "\t"
            start = first.split("\t")
        header = columns.is_header(start, usual=suffix(path) == ".csv")
        quoted = header or suffix(path) == ".csv"
        rows = _quoted(path, delimiter) if quoted else _plain(path, len(start))
        if header:
            start = next(rows, (0, start))[1]
        return [cell.strip() for cell in start] if header else numbered(len(start)), rows

    def _checked(self, path: Path, rows: Iterator[tuple[int, list[str]]], width: int) -> Iterator:
        for line, row in rows:
            if len(row) != width:
                raise BadInput(
                    f"{path}:{line}: {len(row)} cells, where the first line has {width}; put a cell that holds the delimiter or"
                    " a quote between quotes"
                )
            yield line, row


def suffix(path: Path) -> str:
    """The end of a file's name that says what it is, .csv of x.csv.gz."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() in PACKED else path.suffix.lower()


def _quoted(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, cells) of each row that is not blank."""
    csv.field_size_limit(LONGEST)
    reader = csv.reader(read_lines(path), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise BadInput(f"{path}:{line}: {_fault(error)}") from None
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield line, row


def _fault(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "lines end with CR alone; make it LF: tr '\\r' '\\n'"
    return f"{error}: a quote is opened here and not closed; a quote inside a quoted cell is written twice"


def _refuse_twice(cells: Sequence[str], columns: Columns, path: Path) -> None:
    """Raises BadInput for a header in which one name stands twice, which would be taken for a row."""
    names = [cell.strip() for cell in cells]
    if len({*names}) < len(names) and columns.is_header(list(dict.fromkeys(names)), usual=False):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"{path}:1: the header has {twice!r} twice; give each column a name of its own")


def _plain(path: Path, width: int) -> Iterator[tuple[int, list[str]]]:
    """The same without quotes; what follows the last delimiter is text, whatever it is."""
    for line, text in enumerate(read_lines(path), 1):
        if text.strip():
            yield line, text.rstrip("\r\n").split("\t") if width > 1 else [text.strip()]
