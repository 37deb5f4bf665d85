"""Queries as a backbone reads them."""

from typing import TYPE_CHECKING, Any

from zelo.protocols import Backbone

if TYPE_CHECKING:
    from torch import Tensor


def query_tokens(backbone: Backbone, tokenizer: Any, queries: list[str]) -> "dict[str, Tensor]":
    """Token ids and mask [B, L] of B queries, with the backbone's prompt and cut at its length. tokenizer: the backbone's."""
    texts = [backbone.query_prompt + query for query in queries]
    return {**tokenizer(texts, truncation=True, max_length=backbone.query_length, padding=True, return_tensors="pt")}
