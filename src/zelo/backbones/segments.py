"""Texts cut by tokens, before anything is put around them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def cut(tokenizer: "PreTrainedTokenizerFast", texts: list[str], most: int) -> list[list[int]]:
    """The first token ids of each text, at most so many; what is written like a special token is none."""
    options = {"add_special_tokens": False, "split_special_tokens": True, "truncation": True, "max_length": most}
    return tokenizer([text.strip() for text in texts], **options)["input_ids"]


def fair(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """The beginnings of both in so much room: half of it each, or what the other leaves."""
    half = room // 2
    return first[: max(half, room - len(second))], second[: max(half, room - len(first))]
