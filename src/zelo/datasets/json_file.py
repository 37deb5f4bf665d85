"""JSON: an object on each line, a list of objects, or an object of ids."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from zelo.datasets.columns import Columns, batches
from zelo.datasets.delimited import suffix
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.lines import opened, read_lines

LINES = (".jsonl", ".ndjson")
HEAD = 1000  # objects whose keys are looked at


class JsonFile:
    """A value inside another is named with a dot: dataset.columns.text=text.en. A list of texts is joined by new lines."""

    UNIT: ClassVar[str] = "line"

    def fits(self, path: Path, head: bytes) -> bool:
        """By the name's end."""
        return suffix(path) in (*LINES, ".json")

    def names(self, path: Path, columns: Columns) -> list[str]:
        """The keys of the first objects, with those inside."""
        return _keys([record for _, record in itertools.islice(_records(path), HEAD)])

    def rows(self, path: Path, columns: Columns) -> Iterator[pa.Table]:
        """Raises BadInput for what is no JSON and no text."""
        records = _records(path)
        head = list(itertools.islice(records, HEAD))
        chosen = columns.choose(_keys([record for _, record in head]), path) if head else {}
        ways = [(role, column, column.split(".")) for role, column in chosen.items()]
        rows = (
            (line, [_text(_at(record, column, way), role, column, f"{path}:{line}") for role, column, way in ways])
            for line, record in itertools.chain(head, records)
        )
        return batches(rows, list(chosen) or columns.roles)


def _records(path: Path) -> Iterator[tuple[int, Facts]]:
    """(number, object): of the line, or of the place in the list."""
    if suffix(path) in LINES or _has_lines(path):
        for line, text in enumerate(read_lines(path), 1):
            if not text.isspace():
                yield line, _object(_parsed(text, f"{path}:{line}"), f"{path}:{line}")
        return
    with opened(path) as file:
        raw = file.read()
    try:
        whole = json.loads(raw)
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON ({error})") from None
    for number, record in enumerate(_listed(whole, path), 1):
        yield number, _object(record, f"{path}:{number}")


def _has_lines(path: Path) -> bool:
    """Whether the first line is an object of its own and another follows it, as in files of lines that are called .json."""
    lines = list(itertools.islice((line for line in read_lines(path) if line.strip()), 2))
    if len(lines) < 2 or not lines[0].lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(lines[0]), dict)
    except ValueError:
        return False


def _listed(whole: Any, path: Path) -> list[Any]:
    """The objects of a list; of an object of lists its only list; of id -> text or id -> object each with its id."""
    if isinstance(whole, list):
        return whole
    if isinstance(whole, dict):
        values = list(whole.values())
        if all(isinstance(value, str) for value in values):
            return [{"_id": key, "text": value} for key, value in whole.items()]
        if all(isinstance(value, dict) for value in values):
            return [{"_id": key} | value for key, value in whole.items()]
        lists = [value for value in values if isinstance(value, list) and value and isinstance(value[0], dict)]
        if len(lists) == 1:
            return lists[0]
    raise BadInput(
        f"{path}: neither a list of objects nor an object of texts; write one JSON object on each line of a .jsonl"
    )


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{place}: not JSON ({error}); write one JSON object on each line") from None


def _object(record: Any, place: str) -> Facts:
    if isinstance(record, dict):
        return record
    raise BadInput(f"{place}: a JSON {type(record).__name__}; write one JSON object on each line")


def _keys(records: list[Facts]) -> list[str]:
    """The keys in the order in which they are first seen; for an object inside, the ways to its values."""
    found: dict[str, None] = {}
    todo = [("", record) for record in records]
    while todo:
        front, record = todo.pop(0)
        for key, value in record.items():
            if isinstance(value, dict):
                found.setdefault(f"{front}{key}")
                todo.append((f"{front}{key}.", value))
            else:
                found.setdefault(f"{front}{key}")
    return list(found)


def _at(record: Facts, column: str, way: list[str]) -> Any:
    if column in record or len(way) == 1:
        return record.get(column)
    value: Any = record
    for key in way:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any, role: str, column: str, place: str) -> str | None:
    if isinstance(value, float):
        value = None if value != value else int(value) if value.is_integer() else value
    if value is None or isinstance(value, str):
        text = value
    elif isinstance(value, (int, float)):
        text = str(int(value) if isinstance(value, bool) else value)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        text = "\n".join(value)
    else:
        inside = f"dataset.columns.{role}={column}.{next(iter(value), 'KEY')}" if isinstance(value, dict) else ""
        fix = f"name a value inside it, {inside}" if inside else "write a text"
        raise BadInput(f"{place}: {column} is a {type(value).__name__}, {json.dumps(value)!s:.60}; {fix}")
    if text is not None and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadInput(f"{place}: {column} holds half of a surrogate pair, no character; remove it") from None
    return text
