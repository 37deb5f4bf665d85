"""What several test modules need: a store of their own and components built as the command builds them."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from zelo.main import config_folder
from zelo.pipeline import instantiate


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

    def build(option: str, **changes: Any) -> Any:
        group, _, name = option.partition("/")
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            node = OmegaConf.to_container(compose(None, [f"+{group}={name}"])[group])
        assert isinstance(node, dict)
        return instantiate.build(node | changes, option)

    return build


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
