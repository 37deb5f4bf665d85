"""The canonical form: the same on every Python, and blind to what cannot change a result."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zelo.fingerprint import canonical

SOURCE = '''"""A module."""
from __future__ import annotations
import sys
from dataclasses import dataclass
from typing import ClassVar, TYPE_CHECKING
if TYPE_CHECKING:
    from a import B
else:
    B = None
LIMIT: int = 3_000  # a comment
@dataclass(frozen=True)
class Part:
    """Docs."""
    KIND: ClassVar[str] = "x"
    size: int = 1
    def run(self, rows: list[int], *, deep: bool = True, **more: object) -> dict[str, float]:
        """Docs."""
        total: float = 0.0
        for row in (first := rows) or []:
            if row is None or row != -1.5e-7:
                raise ValueError(f"{row}: no number") from None
            print("row", row, file=sys.stderr)
        else:
            pass
        assert total >= 0, "negative"
        text = f"a{total:>{self.size}.2f}" "b" f"{rows!r}" u"c" f"{total:}" if not rows else ""
        match rows:
            case [1, *rest] | [2, 3, *rest] if rest:
                return {**more, "a": 1j, "b": -total, "text": text, b"\\xff": 10**20}
            case {"k": str() as value, **other}:
                return {}
        with open(text) as file, open("x"):
            squares = {n: n**2 for n in rows if n % 2 for m in range(n)}
        try:
            return lambda x, /, y=1, *args, z: (yield)
        except* OSError as error:
            del squares[::2], rows[1:]
        async def wait(): return [await one async for one in rows]
        global LIMIT
        return ..., not True, LIMIT @ 2, rows[0] if rows else None
'''
RECORDED = "d6a2d91a51352e0b86cdc41456a7a8693f728a6de76a2b7ec494349e2f3dc223"

HASH = """
import ast, hashlib, importlib.util, json, platform, sys
spec = importlib.util.spec_from_file_location("canonical", sys.argv[1])
canonical = importlib.util.module_from_spec(spec)
spec.loader.exec_module(canonical)
print(platform.python_version())
for source in json.load(sys.stdin):
    print(hashlib.sha256(canonical.text(canonical.stripped(ast.parse(source))).encode()).hexdigest())
"""


def form(source: str) -> str:
    return canonical.text(canonical.stripped(ast.parse(source)))


def pythons() -> list[str]:
    """Every Python from 3.11 on that is here."""
    found = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    pyenv = sorted(map(str, Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python3")))
    tried = [sys.executable, *filter(None, found), *pyenv]
    return [path for path in tried if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0]


@pytest.mark.parametrize("place", ["here", pytest.param("**/*.py", marks=pytest.mark.long)])
def test_the_form_is_the_same_on_every_python(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a source that has each piece of syntax in it; of all of zelo's, too, in the long tests."""
    package = Path(canonical.__file__).parents[1]
    sources = [SOURCE, *(path.read_text() for path in sorted(package.glob(place)))]
    hashes = {}
    for python in pythons():
        command = [python, "-c", HASH, canonical.__file__]
        done = subprocess.run(command, input=json.dumps(sources), capture_output=True, text=True, check=True)
        version, *hashed = done.stdout.split()
        hashes[version] = hashed
    with capsys.disabled():
        print(f"\ncanonical form hashed by {', '.join(hashes)}")
    assert {found[0] for found in hashes.values()} == {RECORDED}, "another form gives every table another name"
    assert len({tuple(found) for found in hashes.values()}) == 1


ALIKE = {
    "docstring": ('def f():\n    "Says."\n    return 1', 'def f():\n    "Says more."\n    return 1'),
    "comment and layout": ("x = [1,2]", "x = [\n    1,\n    2,\n]  # two"),
    "exception": ('def f():\n    raise E("a", b)', 'def f():\n    raise E(c(f"{d}")) from e'),
    "assertion": ("assert x, 'a'", "assert x, 'b'"),
    "print": ("print('a', file=sys.stderr)", "print('b')"),
    "log": ("logging.info('a')", "logging.warning('b', x)"),
    "annotation": ("def f(a: int) -> int:\n    b: int = 1", "def f(a: float):\n    b = 1"),
    "field's type": ("class A:\n    x: int = 1", "class A:\n    x: float = 1"),
    "type checking": ("if TYPE_CHECKING:\n    import a", "if typing.TYPE_CHECKING:\n    import b"),
}
UNLIKE = {
    "constant": ("x = 1", "x = 1.0"),
    "default": ("def f(a=1): ...", "def f(a=2): ..."),
    "operator": ("x = a + b", "x = a - b"),
    "kind of exception": ("raise A(1)", "raise B(1)"),
    "file": ("print('a', file=out)", "print('b', file=out)"),
    "class variable": ("class A:\n    x: ClassVar[int] = 1", "class A:\n    x: int = 1"),
    "field": ("class A:\n    x: int", "class A:\n    y: int"),
    "field that a base class reads": ("class A(B):\n    x: int", "class A(B):\n    x: float"),
    "decorator": ("@a\ndef f(): ...", "def f(): ..."),
    "text": ("x = f'{a}b'", "x = f'{a}c'"),
    "bytes": ("x = 'a'", "x = b'a'"),
    "else": ("for x in y: f()\nelse: g()", "for x in y: f()\ng()"),
}


@pytest.mark.parametrize("case", ALIKE)
def test_what_cannot_change_a_result_is_left_out(case: str) -> None:
    first, second = ALIKE[case]
    assert form(first) == form(second)


@pytest.mark.parametrize("case", UNLIKE)
def test_what_may_change_a_result_is_in(case: str) -> None:
    first, second = UNLIKE[case]
    assert form(first) != form(second)
