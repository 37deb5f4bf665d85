"""What several test modules need: a store of their own and components built as the command builds them."""

import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: models are tiny, and each worker has one core

import components
import pytest
import quick_hydra


@pytest.fixture(scope="session", autouse=True)
def quick_to_compose() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        quick_hydra.install(patch)
        yield


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> None:
    """What is loaded stays: the garbage collection after each stage of a run need not look through torch every time."""
    gc.collect()
    gc.freeze()


os.environ.pop("ZELO_LEDGER", None)  # that of who runs the tests is theirs
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as under nohup; the processes of the tests inherit it, and wait for ever
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def zelo_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty store that `$ZELO_HOME` names, shared by the tests that ask for it."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("ZELO_HOME", str(home))
        yield home
    assert os.environ.get("ZELO_HOME") != str(home)


@pytest.fixture
def component(zelo_home: Path) -> Callable[..., Any]:
    """`component("judge/lexical", tau=1.0)`: that option of that group, with some of its values changed."""
    return components.component


@pytest.fixture
def tiny_beir(tmp_path: Path) -> Path:
    """24 documents and 8 queries in BEIR layout, no judgements, in a folder FOLDER of `tmp_path`."""
    folder = tmp_path / "FOLDER"
    folder.mkdir()
    words = ["red", "green", "blue", "black", "white", "pink", "grey", "brown"]
    documents = [{"_id": f"d{n}", "title": words[n % 8], "text": f"{words[n % 5]} {words[n % 3]}"} for n in range(24)]
    queries = [{"_id": f"q{n}", "text": f"{words[n % 8]} {words[n % 5]}"} for n in range(8)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in queries))
    return folder
