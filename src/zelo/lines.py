"""Lines of a user's text file, with their numbers in every error."""

from collections.abc import Iterator
from pathlib import Path

from zelo.errors import BadInput


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file in UTF-8, with or without a byte order mark, one at a time. Raises BadInput."""
    try:
        with path.open("rb") as file:
            for line, raw in enumerate(file, 1):
                try:
                    yield raw.decode("utf-8-sig" if line == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise BadInput(f"{path}:{line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; a folder in BEIR layout holds corpus.jsonl and queries.jsonl") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
