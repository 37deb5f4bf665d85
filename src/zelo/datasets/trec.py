"""Files of TREC: topics between <top> and </top> or as XML, documents between <DOC> and </DOC>."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from zelo.datasets.columns import Columns, batches
from zelo.errors import BadInput
from zelo.lines import read_lines

_BEGINS = re.compile(rb"<(top|topic|doc)[\s>]", re.IGNORECASE)
_BEGIN = re.compile(r"<(top|topic|doc)(\s[^>]*)?>", re.IGNORECASE)
_END = re.compile(r"</(top|topic|doc)>", re.IGNORECASE)
_NUMBER = re.compile(r"\b(?:number|id)\s*=\s*[\"']?([^\"'>\s]+)")
_FIELD = re.compile(r"<(\w+)>(.*?)(?=</?\w+[^>]*>|\Z)", re.DOTALL)
_LABEL = re.compile(r"\A\s*(Number|Topic|Description|Narrative)\s*:", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_DOCUMENT = {"docno": "id", "title": "title", "headline": "title", "head": "title", "text": "text", "body": "text"}


class Trec:
    """A topic has `num` and `title`, or `query` in XML, and more; a document has `id`, `title` and `text`."""

    UNIT: ClassVar[str] = "line"

    def fits(self, path: Path, head: bytes) -> bool:
        """By its first tag."""
        return path.suffix.lower() not in (".html", ".htm") and bool(_BEGINS.search(head))

    def names(self, path: Path, columns: Columns) -> list[str]:
        """The fields of the first topic or document."""
        return list(next(_blocks(path), (0, {}))[1])

    def rows(self, path: Path, columns: Columns) -> Iterator[pa.Table]:
        """Raises BadInput for a topic or a document that does not end."""
        chosen = columns.choose(self.names(path, columns), path)
        rows = ((line, [fields.get(name) for name in chosen.values()]) for line, fields in _blocks(path))
        return batches(rows, list(chosen))


def _blocks(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line on which it begins, fields) of each topic or document."""
    begun, inside, kind, number = 0, [], "", ""
    for line, text in enumerate(read_lines(path), 1):
        if not begun:
            if not (found := _BEGIN.search(text)):
                continue
            begun, kind, text = line, found[1].lower(), text[found.end() :]
            number = m[1] if (m := _NUMBER.search(found[2] or "")) else ""
        inside.append(text)
        if end := _END.search(text):
            inside[-1] = text[: end.start()]
            block = "".join(inside)
            yield begun, _document(block) if kind == "doc" else _topic(block, number)
            begun, inside = 0, []
    if begun:
        raise BadInput(f"{path}:{begun}: <{kind}> has no </{kind}>; the file may be cut short")


def _topic(block: str, number: str) -> dict[str, str]:
    fields = {"num": number} if number else {}
    for found in _FIELD.finditer(block):
        fields[found[1].lower()] = " ".join(html.unescape(_LABEL.sub("", found[2])).split())
    return fields


def _document(block: str) -> dict[str, str]:
    fields = {"id": "", "title": "", "text": ""}
    for tag, role in _DOCUMENT.items():
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", block, re.DOTALL | re.IGNORECASE)
        texts = [html.unescape(_TAG.sub(" ", text)).strip() for text in found]
        fields[role] = fields[role] or "\n".join(text for text in texts if text)
    if not fields["text"]:
        rest = re.sub(r"<(docno|docid)>.*?</\1>", " ", block, flags=re.DOTALL | re.IGNORECASE)
        fields["text"] = html.unescape(_TAG.sub(" ", rest)).strip()
    return fields
