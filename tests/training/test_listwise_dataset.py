"""Training rows: from shards to batches, the same whichever way they come, and bad ones refused by row."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from zelo.errors import BadInput
from zelo.records import DOCUMENT, EXAMPLE
from zelo.store.shards import write_parquet, write_shard
from zelo.store.table import Table
from zelo.texts import Texts, document_texts
from zelo.training.listwise_dataset import Lists

QUERIES = pa.table({"query_id": ["q0", "q1", "q2", "q3"], "text": ["a", "b", "c", "d"]})
DOCUMENTS = pa.table(
    {"doc_id": [f"d{n}" for n in range(6)], "title": ["T", "", "", "", "", ""], "text": list("uvwxyz")}
)
ROWS = [("q2", 5), ("q2", 1), ("q0", 3), ("q0", 0), ("q0", 2), ("q3", 4), ("q0", 5)]


def examples(**changes: list[float]) -> pa.Table:
    columns = {
        "query_id": [query for query, _ in ROWS],
        "doc_id": [f"d{doc}" for _, doc in ROWS],
        "target": [n / 10 for n in range(7)],
        "weight": [1.0 + n for n in range(7)],
        "split": ["train"] * 5 + ["dev", "train"],
    }
    return pa.table(columns | changes).cast(EXAMPLE)


def shards(folder: Path, table: pa.Table) -> Table:
    for number, low in enumerate((0, 3, 6)):
        write_shard(table.slice(low, 3), EXAMPLE, folder, "examples", number)
    return Table("target", "x", folder, {})


def test_shards_give_lists_in_the_order_of_queries_then_of_rows(tmp_path: Path) -> None:
    lists = Lists.read(shards(tmp_path, examples()), "train", QUERIES, DOCUMENTS)
    assert list(lists.texts) == ["a", "c"]
    assert lists.sizes.tolist() == [4, 2]
    assert lists.doc_rows.tolist() == [3, 0, 2, 5, 5, 1]
    assert lists.targets.tolist() == pytest.approx([0.2, 0.3, 0.4, 0.6, 0.0, 0.1])
    assert lists.weights.tolist() == [3, 4, 5, 7, 1, 2]
    whole = Lists.of(examples(), QUERIES, DOCUMENTS)
    assert list(whole.texts) == ["a", "c", "d"]
    assert whole.doc_rows.tolist() == [*lists.doc_rows.tolist(), 4]


def collate(queries: list[str], doc_rows: np.ndarray) -> dict[str, torch.Tensor]:
    return {"given": torch.from_numpy(doc_rows.copy()), "count": torch.tensor(len(queries))}


def test_a_share_has_its_own_texts_and_the_numbers_of_all() -> None:
    lists = Lists.of(examples(), QUERIES, DOCUMENTS)
    batch = lists.batch(np.array([2, 0, 1]), None, collate, slice(1, 3))
    assert batch["given"].tolist() == [[3, 0, 2, 5], [5, 1, -1, -1]]
    assert batch["list_doc_rows"].tolist() == [[4, -1, -1, -1], [3, 0, 2, 5], [5, 1, -1, -1]]
    assert batch["mask"].sum(1).tolist() == [1, 4, 2]
    assert batch["targets"][0].tolist() == pytest.approx([0.5, 0, 0, 0])
    none = lists.batch(np.array([2, 0]), None, collate, slice(1, 1))
    assert none["count"] == 1, "one stands in, so that the process reads as often as the others"


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("target", 1.5, "in [0, 1]"),
        ("target", float("nan"), "in [0, 1]"),
        ("weight", -1.0, "at least 0"),
        ("weight", float("inf"), "at least 0"),
    ],
)
def test_a_bad_number_is_refused_with_its_row(column: str, value: float, said: str, tmp_path: Path) -> None:
    values = [0.5] * 7
    values[4] = value
    with pytest.raises(BadInput) as caught:
        Lists.read(shards(tmp_path, examples(**{column: values})), "train", QUERIES, DOCUMENTS)
    assert "00001.parquet: row 1 (query 'q0', document 'd2')" in str(caught.value)
    assert said in str(caught.value)


def test_an_unknown_document_is_refused_with_its_row() -> None:
    with pytest.raises(
        BadInput, match=r"row 1 \(query 'q2', document 'd1'\) has the doc_id 'd1': it is not in the data"
    ):
        Lists.of(examples(), QUERIES, DOCUMENTS.filter(pa.array([True, False, True, True, True, True])))


def test_texts_are_read_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_parquet(DOCUMENTS, DOCUMENT, tmp_path / "data", "documents")
    table = Table("load", "x", tmp_path / "data", {})
    mapped = table.mapped("documents", tmp_path / "here")
    assert mapped.equals(DOCUMENTS.cast(DOCUMENT))
    assert table.mapped("documents", tmp_path / "here").equals(mapped), "made once"
    texts = Texts(mapped["text"], mapped["title"])
    assert list(texts) == [texts[row] for row in range(6)] == document_texts(DOCUMENTS)
    assert texts[0] == "T\nu"
    with pytest.raises(IndexError):
        texts[6]
