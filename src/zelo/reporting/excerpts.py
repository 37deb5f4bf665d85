"""The beginning of a text, as a page shows it."""

LENGTH = 600  # characters


def cut(text: str, length: int = LENGTH) -> str:
    """The beginning of a text on one line, with an ellipsis where something is left out."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length and len(text) <= 4 * length else line[: length - 1].rstrip() + "…"
