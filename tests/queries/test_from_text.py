"""Queries that are taken out of documents."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from zelo.errors import BadInput
from zelo.records import DOCUMENT

FAQ = """---
owner: nobody at all here
---
Shipping takes three days within the country.

Q: How do I return a broken parcel?
A: Write a **short** letter to [our office](https://example.com/office) before the month ends.
"""
HEADED = """# Baking bread at home

The dough rests for a whole night in the cold.

| one cell | has quite enough words to be asked. |

```
# not a heading of this text
```
"""


def documents(*rows: tuple[str, str, str]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(DOCUMENT.names, row, strict=True)) for row in rows], schema=DOCUMENT)


@pytest.fixture
def made(component: Callable[..., Any]) -> Callable[..., list[tuple[str, str, str]]]:
    def of(table: pa.Table, **changes: Any) -> list[tuple[str, str, str]]:
        batches = component("queries/from_text", **changes).make(table, [])
        return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]

    return of


def test_titles_headings_questions_and_sentences_are_found(made: Callable[..., Any]) -> None:
    found = made(documents(("faq", "Parcels", FAQ), ("bread", "", HEADED)))
    kept = {
        ("How do I return a broken parcel?", "faq", "question"),
        ("Parcels", "faq", "title"),
        ("Shipping takes three days within the country.", "faq", "sentence"),
        ("A: Write a short letter to our office before the month ends.", "faq", "sentence"),
        ("The dough rests for a whole night in the cold.", "bread", "sentence"),
    }
    assert set(found) - kept == {("Baking bread at home", "bread", style) for style in ("heading", "sentence")} & set(
        found
    )
    assert len(found) == len(kept) + 1, "a heading of four words is a sentence too, and is taken once"


def test_what_stands_in_several_documents_is_no_query(made: Callable[..., Any]) -> None:
    boiler = "All rights are kept by the people here."
    rows = [
        (f"d{n}", "Overview", f"{boiler} Only number {word} says this thing.") for n, word in enumerate(["one", "two"])
    ]
    found = made(documents(*rows))
    assert {text for text, _, _ in found} == {"Only number one says this thing.", "Only number two says this thing."}


def test_the_first_ones_of_all_documents_come_before_the_second_ones(made: Callable[..., Any]) -> None:
    texts = [
        ". ".join(f"Sentence {a} of text {b} is here" for a in ("one", "two", "six")) + "."
        for b in ("red", "blue", "grey")
    ]
    found = made(documents(*((f"d{n}", "", text) for n, text in enumerate(texts))))
    assert [{doc for _, doc, _ in found[low : low + 3]} for low in (0, 3, 6)] == [{"d0", "d1", "d2"}] * 3
    assert len(made(documents(*((f"d{n}", "", text) for n, text in enumerate(texts))), per_document=2)) == 6


def test_the_order_of_documents_does_not_count_and_the_seed_does(made: Callable[..., Any]) -> None:
    table = documents(
        *(
            (f"d{n}", "", f"There is a number {word} in this text. And {word} is also here again.")
            for n, word in enumerate("abcdefgh")
        )
    )
    turned = table.take(list(reversed(range(len(table)))))
    assert made(table) == made(turned)
    assert made(table) != made(table, seed=1)
    assert set(made(table)) == set(made(table, seed=1))


def test_nothing_per_document_is_refused(made: Callable[..., Any]) -> None:
    with pytest.raises(BadInput, match=r"queries\.per_document=0 .* set it to 1 or more"):
        made(documents(("d", "", "x")), per_document=0)
