"""Lines of a user's text file, with their numbers in every error."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa

from zelo.errors import BadInput

LONGEST = 1 << 26  # bytes of a line
PACKED = (".gz", ".zst")  # what is unpacked while it is read


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file in UTF-8, with or without a byte order mark, one at a time. Raises BadInput.

    A file that ends with .gz or .zst is unpacked.
    """
    with opened(path) as file:
        line = 0
        while raw := file.readline(LONGEST):
            line += 1
            if len(raw) == LONGEST:
                raise BadInput(f"{path}:{line}: a line of {LONGEST:,} bytes or more; break it up")
            try:
                yield raw.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                wide = line == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff")
                fix = f"iconv -f utf-16 -t utf-8 {path} does" if wide else "iconv does, with -f naming its encoding"
                raise BadInput(f"{path}:{line}: not UTF-8 ({error.reason}); convert the file to UTF-8: {fix}") from None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where its name ends with .gz or .zst. Raises BadInput."""
    try:
        if path.suffix.lower() in PACKED:
            with pa.input_stream(str(path), compression="gzip" if path.suffix.lower() == ".gz" else "zstd") as stream:
                yield io.BufferedReader(stream)  # type: ignore[arg-type]
        else:
            with path.open("rb") as file:
                yield file
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; a folder in BEIR layout holds corpus.jsonl and queries.jsonl") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from None
