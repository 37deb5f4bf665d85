"""A person at a terminal: a pseudo-terminal is the keyboard, and what is printed is the screen."""

import json
import os
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from human_questions import DOCUMENTS, QUERIES, ask

from zelo.errors import BadInput
from zelo.judges.human import Human
from zelo.records import DOCUMENT, QUERY

FAKES = str(Path(__file__).parents[1] / "fakes")  # of modules that a test's own process imports


THREE = ask((0, 0, 1), (0, 2, 0), (1, 0, 1))


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """`press("ab")` types these keys at the terminal that is the standard input."""
    keyboard, terminal = os.openpty()
    tty.setcbreak(terminal)  # keys typed ahead arrive as they are
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield lambda keys: os.write(keyboard, keys.encode())
    os.close(keyboard)


@pytest.fixture
def person(tmp_path: Path) -> Callable[..., Human]:
    def build(**changes: Any) -> Human:
        fields: dict[str, Any] = {
            "name": "human",
            "answers": str(tmp_path / "human.jsonl"),
            "plain": 0.8,
            "strong": 1.0,
        }
        return Human(**(fields | changes))

    return build


Press = Callable[[str], int]
Person = Callable[..., Human]


def test_keys_are_preferences_and_are_asked_once(press: Press, person: Person) -> None:
    asked = ask((0, 0, 1), (0, 2, 0), (1, 0, 1), (1, 1, 2), (1, 3, 2), (0, 3, 2))
    press("aB=bAs")
    answers = person().compare(asked)
    assert answers.p == pytest.approx([0.8, 0.0, 0.5, 0.2, 1.0, np.nan], nan_ok=True)
    assert answers.status.to_pylist() == ["answered"] * 5 + ["unsent"]
    order = [4, 2, 0, 1, 3]
    rows = ask(*(tuple(int(c[n]) for c in (asked.query_row, asked.a_row, asked.b_row)) for n in order))  # type: ignore[misc]
    assert person().compare(rows).p == pytest.approx([1.0, 0.5, 0.8, 0.0, 0.2])  # no key was pressed
    assert person(plain=0.9).compare(rows).p[2] == pytest.approx(0.9)
    renamed = replace(
        rows,
        queries=QUERIES.set_column(0, QUERY.field(0), pa.array(["u", "v"])),
        documents=DOCUMENTS.set_column(0, DOCUMENT.field(0), pa.array(list("wxyz"))),
    )
    assert np.array_equal(person().compare(renamed).p, person().compare(rows).p)


def test_the_other_order_counts_unless_both_are_asked(press: Press, person: Person) -> None:
    press("a")
    person().compare(ask((0, 0, 1)))
    assert person().compare(ask((0, 1, 0))).p == pytest.approx([0.2])
    press("a")
    assert person().compare(ask((0, 0, 1), (0, 1, 0))).p == pytest.approx([0.8, 0.8])  # the first, whichever it is
    press("=")
    assert person().compare(ask((0, 0, 1), repeat=1)).p == pytest.approx([0.5])
    press("b")
    twice = person().compare(ask((1, 0, 1), (1, 0, 1)))  # the same question twice is asked once
    assert twice.p == pytest.approx([0.2, 0.2])


def test_undo_stop_and_going_on(press: Press, person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    press("uauBq")
    judge = person()
    first = judge.compare(THREE)
    assert first.p == pytest.approx([0.0, np.nan, np.nan], nan_ok=True)
    assert first.status.to_pylist() == ["answered", "unsent", "unsent"]
    assert "1 answers lie in" in capsys.readouterr().out
    assert judge.compare(ask((1, 3, 2))).status.to_pylist() == ["unsent"]  # who stopped is not asked by the next batch
    press("sub\x1b[A\x1b[Bxb")  # undo of a skip; arrows are no answers, though they end in A and B
    assert person().compare(THREE).p == pytest.approx([0.0, 0.2, 0.2])
    press("a\x04")  # the end of input stops
    assert person(answers=person().answers + "2").compare(THREE).status.to_pylist() == ["answered", "unsent", "unsent"]


def test_a_person_sees_texts_and_nothing_else(press: Press, person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    press("=m=")
    person().compare(ask((0, 2, 0), (0, 3, 0)))
    screen = capsys.readouterr().out
    assert "red?" in screen
    assert "all about red" in screen
    assert "\x1b[2J" not in screen  # a document gives the terminal no orders
    assert not any(word in screen for word in ("QID", "DOC", "human\n"))
    cut, whole = screen.split("2 of 2")[1:]
    assert "line 98" not in cut
    assert "more lines" in cut
    assert "line 98" in whole


def test_an_answer_cut_off_by_a_kill_is_asked_again(press: Press, person: Person) -> None:
    path = Path(person().answers)
    press("ab=")
    person().compare(THREE)
    kept = path.read_bytes()
    for cut in (1, 20, len(kept.splitlines()[2]) - 1):
        path.write_bytes(kept[:-cut])
        press("A")
        assert person().compare(THREE).p == pytest.approx([0.8, 0.2, 1.0])
        assert [json.loads(line)["answer"] for line in path.read_text().splitlines()] == ["a", "b", "A"]


def test_what_is_no_file_of_answers_is_left_alone(press: Press, person: Person, tmp_path: Path) -> None:
    for number, text in enumerate(("my diary", '{"key": "00", "answer": "c"}\n', "[]\n", "\n")):
        path = tmp_path / f"{number}.txt"
        path.write_text(text)
        press("a")
        with pytest.raises(BadInput, match=rf"{number}\.txt:1"):
            person(answers=str(path)).compare(THREE)
        assert path.read_text() == text
    with pytest.raises(BadInput, match=r"judge\.answers"):
        person(answers=str(tmp_path / "no" / "such" / "folder")).compare(THREE)
    with pytest.raises(BadInput, match=r"judge\.answers"):
        person(answers=str(tmp_path)).compare(THREE)


def test_no_terminal_no_question(press: Press, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    press("ab=")
    person().compare(THREE)
    with (tmp_path / "empty").open("w+") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert person().compare(THREE).p == pytest.approx([0.8, 0.2, 0.5])
        with pytest.raises(BadInput, match=r"1 of 1 pairs have no answer .* no terminal"):
            person().compare(ask((1, 3, 2)))


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from human_questions import ask
from zelo.judges.human import Human
Human(name="human", answers=sys.argv[1], plain=0.8, strong=1.0).compare(ask(*((0, n // 4, n % 4) for n in range(16))))
"""


@pytest.mark.long
def test_every_answer_survives_a_kill(person: Person) -> None:
    """Killed at random moments, each time after some answers; nothing that was confirmed by the next page is lost."""
    confirmed = 0
    rng = np.random.default_rng(0)
    for _ in range(5):
        keyboard, terminal = os.openpty()
        command = [
            sys.executable,
            "-c",
            KILLED,
            person().answers,
            FAKES,
        ]
        child = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE)
        assert child.stdout
        for _ in range(3):
            while b"u: undo" not in child.stdout.readline():
                pass
            os.write(keyboard, b"a")
            confirmed += 1
        while b"u: undo" not in child.stdout.readline():  # the page after the last answer
            pass
        os.write(keyboard, b"b")
        time.sleep(rng.uniform(0, 0.01))
        child.send_signal(signal.SIGKILL)
        child.wait()
        os.close(keyboard)
        os.close(terminal)
        lines = Path(person().answers).read_text().splitlines()
        kept = [json.loads(line) for line in lines if line.endswith("}")]
        assert len({item["key"] for item in kept}) == len(kept), "asked again"
        assert len(kept) >= confirmed
        confirmed = len(kept)
        if confirmed > 12:
            return
