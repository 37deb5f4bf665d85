"""Files of relevance judgements: which of a folder are read, and what a row says."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from zelo.errors import BadInput
from zelo.lines import read_lines
from zelo.records import DEV, QREL, TEST, TRAIN

SPLIT_NAMES = {"train": TRAIN, "dev": DEV, "valid": DEV, "validation": DEV, "test": TEST}
COLUMNS = "query-id, corpus-id and score"

_GRADE = re.compile(r"([+-]?[0-9]+)(\.0*)?")
_KINDS = {  # what the name of a column says about its cells
    "query": re.compile(r"#?(q|query|queries|topic|question)s?[-_ .]?(id|no|num|number)?"),
    "document": re.compile(r"(d|doc|docs|document|corpus|passage|p)s?[-_ .]?(id|no|num|number)?"),
    "score": re.compile(r"(score|rel|relevance|relevancy|label|grade|rating|judge?ment|value)s?"),
}


def qrels_files(folder: Path) -> list[tuple[Path, str]]:
    """(file, split) of each qrels/*.tsv that names a split, except the train ones; hidden files are none."""
    return [(path, split) for path, split in _split_files(folder) if split != TRAIN]


def train_qrels_files(folder: Path) -> list[tuple[Path, str]]:
    """(file, split) of qrels/train.tsv and the like, which a second pass alone may open."""
    return [(path, split) for path, split in _split_files(folder) if split == TRAIN]


def named_split(name: str) -> str | None:
    """The split that a file's name begins with: test of "test.tsv", "test-hard.tsv" and "Test_2.txt"."""
    return SPLIT_NAMES.get(re.split(r"[-_.]", name.lower())[0])


def _split_files(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.joinpath("qrels").glob("*.tsv")):
        split = SPLIT_NAMES.get(re.split("[-_]", path.stem)[0])  # none of a hidden file's, which begins with a dot
        if split is not None and path.is_file():
            yield path, split


def read_qrels(files: Sequence[tuple[Path, str]]) -> pa.Table:
    """QREL rows, `split` being that of the file, and `place`, "file:line". Raises BadInput naming file and line.

    A row is query, document and score, as in BEIR, or query, iteration, document and score, as in TREC. A first line whose
    score is no number is a header, in any words.
    """
    return qrel_table(row for path, split in files for row in qrel_rows(path, split))


def qrel_rows(path: Path, split: str) -> Iterator[tuple[str, str, str, str, str]]:
    """(query, document, score as it is written, split, place) of each line. Raises BadInput naming file and line."""
    begun = False
    for line, text in enumerate(read_lines(path), 1):
        cells = text.split()
        if not cells:
            continue
        place, first, begun = f"{path}:{line}", not begun, True
        if first and (names := header_cells(text)):
            _refuse_order(names, place)
            continue
        if len(cells) not in (3, 4):
            raise BadInput(f"{place}: {len(cells)} columns; write {COLUMNS}, separated by tabs")
        yield cells[0], cells[-2], cells[-1], split, place


def qrel_table(judged: Iterable[tuple[str, str, str, str, str]]) -> pa.Table:
    """QREL rows and `place` of such rows, each judgement once. Raises BadInput naming the place."""
    rows: dict[tuple[str, str, str], tuple[int, str]] = {}
    for query, document, cell, split, place in judged:
        relevance = _grade(cell, place)
        before = rows.setdefault((query, document, split), (relevance, place))
        if before[0] != relevance:
            raise BadInput(
                f"{place}: document {document!r} has score {relevance} for query {query!r}, but {before[0]} at "
                f"{before[1]}; keep one of the two"
            )
    keys = list(zip(*rows, strict=True)) or [(), (), ()]
    values = list(zip(*rows.values(), strict=True)) or [(), ()]
    columns = [pa.array(column, pa.string()) for column in (keys[0], keys[1], keys[2], values[1])]
    relevances = pa.array(values[0], pa.int32())
    names = [*QREL.names, "place"]
    return pa.table([columns[0], columns[1], relevances, columns[2], columns[3]], names=names)


def header_cells(text: str) -> list[str] | None:
    """The names of the columns where a first line is a header: three or four cells, of which the last is no number."""
    text = text.strip()
    cells = [cell.strip() for cell in text.split("\t")] if "\t" in text else text.split()
    if len(cells) not in (3, 4):
        return None
    try:
        float(cells[-1])
    except ValueError:
        return cells
    return None


def kind_of_column(name: str) -> str | None:
    """What a column of this name holds: query, document or score; None where the name does not say."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(name.lower().strip("\"'"))), None)


def _refuse_order(names: list[str], place: str) -> None:
    """Raises BadInput for a header that says another order of the columns than the one in which they are read."""
    order = ["query", "document", "score"] if len(names) == 3 else ["query", None, "document", "score"]
    for name, expected in zip(names, order, strict=True):
        if kind_of_column(name) not in (None, expected):
            raise BadInput(
                f"{place}: the header says {', '.join(names)}, in which {name!r} stands where the {expected or 'iteration'} is"
                f" read; write the columns in the order {COLUMNS} (or query, iteration, document, score)"
            )


def _grade(cell: str, place: str) -> int:
    found = _GRADE.fullmatch(cell)
    if not found:
        raise BadInput(f"{place}: score {cell!r} is not an integer; write a grade such as 0, 1 or 2")
    grade = int(found[1])
    if not -(2**31) <= grade < 2**31:
        raise BadInput(f"{place}: score {cell} does not fit into 32 bits; write a grade such as 0, 1 or 2")
    return grade
