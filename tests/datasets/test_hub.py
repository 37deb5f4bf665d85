"""data=hf:OWNER/NAME: the tables of a commit are fetched and read as a folder's are, and each fault is one line."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import hub_server
import huggingface_hub.constants
import pytest
import yaml
from made_files import parquet

from zelo.datasets import hub
from zelo.datasets.auto import Auto
from zelo.errors import BadInput
from zelo.records import TEST, TRAIN

CONF = yaml.safe_load((Path(__file__).parents[2] / "conf/dataset/auto.yaml").read_text())
OLD, NEW = "a" * 40, "b" * 40
MTEB = {
    "README.md": b"# About",
    "load.py": b"raise SystemExit('code of the repository was run')",
    "notes/more.md": b"no table",
    "corpus/corpus-00000-of-00001.parquet": parquet(_id=["d1", "d2"], title=["one", ""], text=["first", "second"]),
    "queries/queries-00000-of-00001.parquet": parquet(_id=["q0", "q1", "q2", "q3"], text=["a", "b", "c", "d"]),
    "default/test-00000-of-00001.parquet": parquet(**{"query-id": ["q0"], "corpus-id": ["d1"], "score": [1.0]}),
    "top_ranked/test-00000-of-00001.parquet": parquet(**{"query-id": ["q0"], "corpus-ids": [["d1"]]}),
}
REPOS: Mapping[str, Mapping[str, Mapping[str, bytes]]] = {
    "o/mteb": {OLD: MTEB | {"corpus/corpus-00000-of-00001.parquet": parquet(_id=["d1"], text=["old"])}, NEW: MTEB},
    "o/table": {NEW: {"en/train.csv": b"id,body\n1,one\n2,two\n", "de/train.csv": b"id,body\n1,eins\n"}},
    "o/qrels": {NEW: {"test.tsv": b"query-id\tcorpus-id\tscore\nq1\td2\t1\n"}},
    "o/code": {NEW: {"load.py": b"", "README.md": b"", "data.zip": b"PK"}},
    "o/queries": {NEW: {"queries.jsonl": b'{"_id": "q0", "text": "a"}\n'}},
    "o/pictures": {NEW: {"data.csv": b"a,b\n1,2\n"}},
    "o/gated": {NEW: MTEB},
    "o/nano": {
        NEW: {
            f"{kind}/train-00000-of-00001.parquet": content
            for kind, content in {
                "corpus": parquet(_id=["d1", "d2"], text=["first", "second"]),
                "queries": parquet(_id=["q0"], text=["a"]),
                "qrels": parquet(**{"query-id": ["q0"], "corpus-id": ["d1"]}, score=[1]),
            }.items()
        }
    },
}


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub with REPOS in place of the one of Hugging Face, an empty cache; the files that were fetched."""
    hub._fetched.cache_clear()
    with hub_server.served(REPOS, frozenset({"o/gated"})) as (address, asked):
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield asked


def auto(path: str, **fields: str) -> Auto:
    config = CONF | {"path": path} | fields
    return Auto(**{key: value for key, value in config.items() if key != "_target_"})


def test_a_dataset_of_the_hub_is_read_at_its_commit(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = auto("hf:o/mteb")
    corpus = dataset.load()
    assert corpus.documents.to_pylist() == [
        {"doc_id": "d1", "title": "one", "text": "first"},
        {"doc_id": "d2", "title": "", "text": "second"},
    ]
    assert (corpus.name, corpus.queries["split"].to_pylist().count(TEST)) == ("mteb", 1)
    assert corpus.notes[0].startswith(f"hf:o/mteb@{NEW}: corpus/corpus-00000-of-00001.parquet: 2 documents; ")
    assert all(name.endswith(".parquet") for name in fetched)
    assert dataset.judgements(corpus.queries, corpus.documents)[0]["doc_id"].to_pylist() == ["d1"]

    # An older commit is other data; the new one by its hash is the same data as main. Nothing is fetched twice.
    old, once = auto(f"hf:o/mteb@{OLD}"), len(fetched)
    assert old.load().documents["text"].to_pylist() == ["old"]
    assert old.content() != dataset.content()
    before = len(fetched)
    assert before > once
    assert auto(f"hf://datasets/o/mteb@{NEW}").content() == dataset.content()
    assert len(fetched) == before

    # Without a network the cache has it all.
    hub._fetched.cache_clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert auto("hf:o/mteb").content() == dataset.content()


def test_a_folder_and_judgements_of_another_repository(fetched: list[str]) -> None:
    assert auto("hf:o/table/de").load().documents["text"].to_pylist() == ["eins"]
    assert auto("hf:o/table/e*/*.csv").load().documents["text"].to_pylist() == ["one", "two"]
    assert fetched == ["de/train.csv", "en/train.csv"]
    joined = auto("hf:o/mteb", qrels="hf:o/qrels").load()
    splits = dict(zip(joined.queries["query_id"].to_pylist(), joined.queries["split"].to_pylist(), strict=True))
    assert splits["q1"] == TEST
    assert TRAIN in splits.values()
    assert f"hf:o/mteb@{NEW} and hf:o/qrels@{NEW}: " in joined.notes[0]


def test_where_all_is_called_train_nothing_is(fetched: list[str]) -> None:
    corpus = auto("hf:o/nano").load()
    assert corpus.queries["split"].to_pylist() == [TEST]
    assert "all tables are called train" in corpus.notes[1]


def test_a_gated_dataset_is_read_with_a_token(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        BadInput, match=r"hf:o/gated: this dataset is gated; accept its terms at .*/o/gated, and set HF_TOKEN"
    ):
        auto("hf:o/gated").content()
    monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
    assert len(auto("hf:o/gated").load().documents) == 2


# place -> words of the one line
BAD = {
    "hf:o/gone": ["hf:o/gone: the hub has no dataset", "/datasets/o/gone", "HF_TOKEN"],
    "hf:o/mteb@later": ["no revision later", "a branch, a tag or a commit"],
    "hf:o/code": [
        "no table is there",
        "the repository holds README.md, data.zip, load.py",
        "o/code@refs/convert/parquet",
    ],
    "hf:o/table/fr": ["hf:o/table/fr: no table is there", "holds de/train.csv, en/train.csv"],
    "hf:o/queries": ["dataset.path=hf:o/queries: no documents were found", "queries.jsonl", "dataset.documents=PATH"],
    "hf:o/pictures": ["no column is known as the text; it has a, b", "dataset.columns.text=COLUMN"],
    "hf:": ["write hf:OWNER/NAME"],
    "hf:-o/--x": ["write hf:OWNER/NAME"],
    "hub:o/mteb": ["dataset.path=hub:o/mteb", "no prefix hub:", "hf:OWNER/NAME", "irds:ID"],
    "https://huggingface.co/datasets/o/mteb": ["no prefix https:", "hf:OWNER/NAME"],
    "o/mteb": ["o/mteb does not exist", "hf:o/mteb is a dataset of the Hugging Face hub"],
}


@pytest.mark.parametrize("place", BAD)
def test_each_fault_is_one_line(place: str, fetched: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        auto(place).load()
    assert "\n" not in str(caught.value)
    for word in BAD[place]:
        assert word in str(caught.value)


@pytest.mark.parametrize(("offline", "words"), [(False, "check the network"), (True, "HF_HUB_OFFLINE=1 forbids")])
def test_without_a_network_it_says_how_to_go_on(
    offline: bool, words: str, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(BadInput, match=words) as caught:
        auto("hf:o/mteb").content()
    assert "hf download o/mteb --repo-type dataset" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_exists_wins(fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("hf:o/mteb", "irds:o"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "here.csv").write_text("id,text\n1,here\n")
        assert auto(folder).load().documents["text"].to_pylist() == ["here"]
    assert fetched == []
