"""Relevance judgements: which files of a folder are read, what a row says, and which ids the folder does not hold."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zelo.datasets.lines import read_lines
from zelo.errors import BadInput
from zelo.records import DEV, QREL, TEST, TRAIN
from zelo.store import hash_json

SPLIT_NAMES = {"train": TRAIN, "dev": DEV, "valid": DEV, "validation": DEV, "test": TEST}
SHOWN = 3  # unknown ids that an error or a note names
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
    rows: dict[tuple[str, str, str], tuple[int, str]] = {}
    for path, split in files:
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
            relevance = _grade(cells[-1], place)
            key = (cells[0], cells[-2], split)
            before = rows.setdefault(key, (relevance, place))
            if before[0] != relevance:
                raise BadInput(
                    f"{place}: document {key[1]!r} has score {relevance} for query {key[0]!r}, but {before[0]} at "
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


def refuse_lost_row(files: Sequence[tuple[Path, str]], queries: pa.Table, documents: pa.Table) -> None:
    """Raises BadInput for a first line that was taken for a header and names a query or a document of the dataset."""
    for path, _ in files:
        line, text = next(((n, text) for n, text in enumerate(read_lines(path), 1) if text.strip()), (0, ""))
        names = header_cells(text)
        if not names:
            continue
        for name, known in ((names[0], queries["query_id"]), (names[-2], documents["doc_id"])):
            if kind_of_column(name) is None and pc.index(known, name).as_py() >= 0:
                raise BadInput(
                    f"{path}:{line}: score {names[-1]!r} is not an integer, and {name!r} is an id, so this is no header;"
                    " write a grade such as 0, 1 or 2"
                )


def read_named(files: Sequence[tuple[Path, str]]) -> pa.Table:
    """What decides the splits: `query_id`, `split` and `place` of each row of `read_qrels`, without document and label."""
    return read_qrels(files).select(["query_id", "split", "place"])


def hash_named(files: Sequence[tuple[Path, str]]) -> str:
    """Hash of which queries these files name for which split: the same whatever the labels are."""
    named = read_named(files)
    return hash_json(sorted(set(zip(named["query_id"].to_pylist(), named["split"].to_pylist(), strict=True))))


def hash_qrels(files: Sequence[tuple[Path, str]]) -> str:
    """Hash of the judgements in these files."""
    return hash_json(read_qrels(files).select(QREL.names).to_pydict())


def drop_unknown(
    qrels: pa.Table, queries: pa.Table, documents: pa.Table, drop: bool
) -> tuple[pa.Table, tuple[str, ...]]:
    """The rows whose query and document exist, and a note that counts the others, with the first of their ids.

    qrels: as `read_qrels` gives them. Raises BadInput with the same words where there are others, unless `drop`.
    """
    known_query = pc.is_in(qrels["query_id"], value_set=queries["query_id"])
    known_doc = pc.is_in(qrels["doc_id"], value_set=documents["doc_id"])
    known = pc.and_(known_query, known_doc)
    if pc.all(known, min_count=0).as_py():
        return qrels, ()
    first: dict[tuple[str, str], str] = {}  # (kind, id) -> where it is named first
    bad = qrels.append_column("no_query", pc.invert(known_query)).append_column("no_doc", pc.invert(known_doc))
    for row in bad.filter(pc.invert(known)).to_pylist():
        for kind, column, unknown in (("query", "query_id", "no_query"), ("document", "doc_id", "no_doc")):
            if row[unknown]:
                first.setdefault((kind, row[column]), row["place"])
    file = {"query": "queries.jsonl", "document": "corpus.jsonl"}
    named = [f"{place}: {kind} {name!r} is not in {file[kind]}" for (kind, name), place in first.items()][:SHOWN]
    counts = [f"{n} {kind} id{'s' * (n != 1)}" for kind in file if (n := sum(key[0] == kind for key in first))]
    lost = len(qrels) - pc.sum(known).as_py()
    words = "; ".join(named) + "; ..." * (len(first) > SHOWN)
    words += f" ({' and '.join(counts)} unknown, in {lost} of {len(qrels)} judgements)"
    if not drop:
        raise BadInput(f"{words}. Add them there, delete the rows, or leave them out with dataset.unknown_ids=drop.")
    return qrels.filter(known), (f"judgements of unknown ids are left out: {words}",)


def at_home(qrels: pa.Table, queries: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """The QREL rows in files of their query's own split, and a note that counts the others. queries: QUERY."""
    home = queries["split"].take(pc.index_in(qrels["query_id"], queries["query_id"].combine_chunks()))
    here = pc.fill_null(pc.equal(qrels["split"], home), False)
    own, away = qrels.filter(here).select(QREL.names), pc.invert(here)
    if len(own) == len(qrels):
        return own, ()
    files, homes = (
        " and ".join(sorted(pc.unique(column.filter(away)).to_pylist())) for column in (qrels["split"], home)
    )
    count = f"{len(qrels) - len(own)} of {len(qrels)} judgements"
    return own, (f"{count}, in {files} files but of {homes} queries, were left out",)
