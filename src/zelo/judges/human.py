"""A person as judge: blind, pair by pair, in the terminal; every answer is on disk before the next pair is shown."""

import fcntl
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.judges.rubric import only_compares
from zelo.likelihood.randomness import id_hashes, mixed
from zelo.records import ANSWERED, STATUSES, Outcomes, Questions

FIRST, FIRST_STRONGLY, SECOND, SECOND_STRONGLY, TIE = "a", "A", "b", "B", "="
MORE, SKIP, UNDO, STOP = "m", "s", "u", "q"
END_OF_INPUT = ("", "\x04")
ESCAPE = b"\x1b"  # an arrow key is ESC [ A, and not the answer A
ANSWERS = (FIRST, FIRST_STRONGLY, SECOND, SECOND_STRONGLY, TIE)
HELP = "a, b: it is better   A, B: much better   =: no difference\ns: skip   u: undo   m: show all   q: stop"
LINES_AROUND = 12  # of the terminal, that the two documents leave to the rest of a page
_SEED = 0  # of the hashes that texts are matched by
_QUESTION = np.uint64(4)  # makes (a, b) another question than (b, a)
_START = b'{"key": "'


@dataclass(frozen=True, kw_only=True)
class Human:
    """Asks the person at the terminal, who sees texts only: no ids, scores or judges.

    Answers are kept in the file `answers` by the texts, the order shown and repeat, and are never asked again; the answer to
    the other order counts, unless both are asked at once. They are read as P = `plain` or `strong` for the document
    preferred. What is skipped, or left when the person stops, is unsent. Give each person a `name` and a file of their own.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"answers"})

    name: str
    answers: str
    plain: float
    strong: float
    _stopped: list[bool] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        if not 0.5 < self.plain <= self.strong <= 1:
            raise BadInput(
                f"judge {self.name}: plain={self.plain} and strong={self.strong} are probabilities of the document preferred:"
                " 0.5 < plain <= strong <= 1."
            )

    def compare(self, questions: Questions) -> Outcomes:
        """One outcome per question. Raises BadInput where something is left to ask and no terminal to ask at.

        A document alone is not asked about: that is BadInput too.
        """
        only_compares(self.name, questions)
        keys, others = _keys(questions)
        path = Path(self.answers).expanduser()
        p = self._look_up(_read(path), keys, others)
        left = np.flatnonzero(np.isnan(p))
        left = left[np.sort(np.unique(keys[left], return_index=True)[1])]  # the same texts once
        if len(left) and not self._stopped:
            if not sys.stdin.isatty():
                raise BadInput(
                    f"judge {self.name}: {len(left):,} of {len(p):,} pairs have no answer in {path}, and the standard input is"
                    f" no terminal to ask at. Run zelo in a terminal, or set answers to a file that has them."
                )
            with _appending(path) as file, _pressed() as read:
                book = Book(file, _read(path))
                self._session(questions, left, keys, book, read)
            print(f"{len(book.known):,} answers lie in {path}; the same command goes on.", flush=True)
            p = self._look_up(book.known, keys, others)
        status = np.where(np.isnan(p), STATUSES.index("unsent"), STATUSES.index(ANSWERED)).astype(np.int32)
        return replace(
            Outcomes.answered(self.name, p),
            status=pa.DictionaryArray.from_arrays(pa.array(status), pa.array(STATUSES)),
        )

    def known(self, questions: Questions) -> np.ndarray:
        """[N] P(first document preferred) as far as the file has it, else nan; nobody is asked. Raises BadInput as above."""
        return self._look_up(_read(Path(self.answers).expanduser()), *_keys(questions))

    def _look_up(self, known: dict[int, str], keys: np.ndarray, others: np.ndarray) -> np.ndarray:
        """[N] P(first document preferred), nan where no answer is known. others: keys of the questions swapped."""
        value = {
            FIRST: self.plain,
            FIRST_STRONGLY: self.strong,
            TIE: 0.5,
            SECOND: 1 - self.plain,
            SECOND_STRONGLY: 1 - self.strong,
        }
        order = sorted(known)
        key = np.array([*order, 0], np.uint64)
        p = np.array([*(value[known[item]] for item in order), np.nan])

        def found(asked: np.ndarray) -> np.ndarray:
            place = np.searchsorted(key[:-1], asked)
            return np.where(key[place] == asked, p[place], np.nan)

        swapped = np.where(np.isin(others, keys), np.nan, 1 - found(others))
        direct = found(keys)
        return np.where(np.isnan(direct), swapped, direct)

    def _session(
        self, questions: Questions, rows: np.ndarray, keys: np.ndarray, book: "Book", read: Callable[[], str]
    ) -> None:
        """Asks these rows in turn until the last or until the person stops."""
        place = 0
        while place < len(rows):
            row = int(rows[place])
            answer = _ask(questions, row, f"{place + 1} of {len(rows)}", read)
            if answer == STOP:
                self._stopped.append(True)  # the stage asks in batches: the others are not shown either
                return
            if answer == UNDO:
                place = max(place - 1, 0)
                book.forget(int(keys[rows[place]]))
                continue
            if answer != SKIP:
                book.put(int(keys[row]), int(questions.repeat[row]), answer)
            place += 1


class Book:
    """The file of answers, one JSON object a line, each synced to disk when it is made; the last one on a key counts."""

    def __init__(self, file: BinaryIO, known: dict[int, str]) -> None:
        self.known = known  # key -> answer
        self._file = file

    def put(self, key: int, repeat: int, answer: str) -> None:
        """Keeps an answer."""
        self._append({"key": f"{key:016x}", "repeat": repeat, "answer": answer, "made": round(time.time(), 1)})
        self.known[key] = answer

    def forget(self, key: int) -> None:
        """Takes an answer back, if there is one."""
        if self.known.pop(key, None) is not None:
            self._append({"key": f"{key:016x}", "answer": None})

    def _append(self, record: dict[str, object]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        os.fsync(self._file.fileno())


def _read(path: Path) -> dict[int, str]:
    """Key -> answer of a file, which need not be there; a last line that a kill cut off is no answer.

    Raises BadInput naming file and line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); name another file with judge.answers.") from error
    known: dict[int, str] = {}
    *lines, rest = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            key, answer = int(record["key"], 16), record["answer"]
            if answer not in (*ANSWERS, None):
                raise ValueError(answer)
        except (ValueError, KeyError, TypeError):
            raise BadInput(
                f"{path}:{number}: {line[:80]!r} is no answer of a person; fix the line or name another file."
            ) from None
        known.pop(key, None)
        if answer is not None:
            known[key] = answer
    if not (rest.startswith(_START) or _START.startswith(rest)):
        raise BadInput(
            f"{path}:{len(lines) + 1}: {rest[:80]!r} is no answer of a person; judge.answers names another file."
        )
    return known


@contextmanager
def _appending(path: Path) -> Iterator[BinaryIO]:
    """The file, locked and without a line that a kill cut off. Raises BadInput where it cannot be written."""
    try:
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}); name another file with judge.answers.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{path}: another zelo is asking a person and writes to it. Stop that one first.") from None
        _read(path)  # what is no file of answers is left as it is
        file.truncate(path.read_bytes().rfind(b"\n") + 1)
        yield file


@contextmanager
def _pressed() -> Iterator[Callable[[], str]]:
    """A function that waits for the next key; nothing is echoed, so that a progress bar can stay where it is."""
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setcbreak(handle, termios.TCSANOW)

    def read() -> str:
        while (key := os.read(handle, 1)) == ESCAPE:
            if select.select([handle], [], [], 0.05)[0] and os.read(handle, 1) in (b"[", b"O"):
                while (part := os.read(handle, 1)) and not b"@" <= part <= b"~":
                    pass
        return key.decode(errors="replace")

    try:
        yield read
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _ask(questions: Questions, row: int, title: str, read: Callable[[], str]) -> str:
    """Shows a pair and waits for a key that means something: an answer, SKIP, UNDO or STOP."""
    rows = slice(row, row + 1)
    queries = [questions.query_texts(rows)[0]] * 2
    if questions.query_b_row is not None:
        queries[1] = questions.queries["text"][int(questions.query_b_row[row])].as_py()
    documents = [questions.texts_a(rows)[0], questions.texts_b(rows)[0]]
    print(_page(queries, documents, title, whole=False), flush=True)
    while True:
        key = read()
        if key == MORE:
            print(_page(queries, documents, title, whole=True), flush=True)
        elif key in END_OF_INPUT:
            return STOP
        elif key in (*ANSWERS, SKIP, UNDO, STOP):
            return key


def _page(queries: list[str], documents: list[str], title: str, whole: bool) -> str:
    """Two documents under their queries, cut to the height of the terminal unless `whole`."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    console = Console(highlight=False, emoji=False, markup=False)
    room = max(3, (console.height - LINES_AROUND) // 2)
    with console.capture() as page:
        console.rule(title)
        for place, (letter, query, document) in enumerate(zip("AB", queries, documents, strict=True)):
            if place == 0 or query != queries[0]:
                console.print(Text(_printable(query), "bold"))
            lines = Text(_printable(document)).wrap(console, max(console.width - 4, 1))
            body = Text("\n").join(lines if whole else lines[:room])
            if not whole and len(lines) > room:
                body.append(f"\n... {len(lines) - room} more lines: press {MORE}", "dim")
            console.print(Panel(body, title=letter, title_align="left"))
        console.print(Text(HELP, "dim"))
    return page.get()


def _printable(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return "".join(letter if letter == "\n" or letter.isprintable() else " " for letter in text)


def _keys(questions: Questions) -> tuple[np.ndarray, np.ndarray]:
    """([N], [N]) uint64 hashes of the texts as shown and repeat, and of the same question swapped."""
    query = other = id_hashes(questions.queries["text"], questions.query_row, _SEED)
    if questions.query_b_row is not None:
        other = id_hashes(questions.queries["text"], questions.query_b_row, _SEED)
    sides = []
    for queries, rows in ((query, questions.a_row), (other, questions.b_row)):
        title, text = (id_hashes(questions.documents[column], rows, _SEED) for column in ("title", "text"))
        sides.append(mixed(_QUESTION, queries, title, text))
    a, b, repeat = *sides, questions.repeat.astype(np.uint64)
    return mixed(_QUESTION, a, b, repeat), mixed(_QUESTION, b, a, repeat)
