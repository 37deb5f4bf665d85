"""A document of the reader, and the cleaning that every docstring goes through."""

import inspect
import re
from dataclasses import dataclass

MIN_TEXT = 20  # characters; below it lie empty words, but 40 would lose `list.append` and `math.sqrt`
MAX_TITLE = 200


@dataclass(frozen=True)
class Entry:
    """A document, and what it documents: two ids of one `subject` are one document."""

    title: str
    text: str
    subject: object


def clean(*texts: object) -> str:
    """Docstrings as one text, indentation and blank space normalised; "" where nothing worth a document is left."""
    whole = "\n\n".join(filter(None, map(normal, texts)))
    return "" if len(whole) < MIN_TEXT or whole.startswith("Alias for field number") else whole


def normal(text: object) -> str:
    """One docstring, or "" for what is none."""
    lines = [line.rstrip() for line in inspect.cleandoc(text if isinstance(text, str) else "").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def public(name: str) -> bool:
    return not name.startswith("_")
