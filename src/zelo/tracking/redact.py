"""Keeps keys out of everything that a run writes down."""

import os
import re
from typing import Any

from zelo.providers.request import names_variable

# Environment variables whose value is a secret, by their name; TOKENIZERS_PARALLELISM and the like are not meant.
_VARIABLE = re.compile(r"(API_?KEY|ACCESS_?KEY|_KEY$|^KEY$|TOKEN(S?$|_)|SECRET|PASSW(OR)?D|CREDENTIAL)", re.IGNORECASE)
_SHORTEST = 8  # characters; a shorter value cannot be told from ordinary text
# A literal value of a field that is a secret by its name, in a config, an override or a flag; references are left alone.
_FIELD = re.compile(
    r"""((?:api_?key|password|passwd|secret)['"]?\s*[:=]\s*)(?!['"]?(?:\$\{|null\b|None\b|$))\S+""", re.IGNORECASE
)
_FIELD_NAME = re.compile(r"(api_?key|password|passwd|secret)$", re.IGNORECASE)
_SHAPE = re.compile(r"\b(sk-[\w-]{16,}|hf_\w{20,}|gh[pousr]_\w{20,}|AKIA[0-9A-Z]{16})")
_KEY_NAME = re.compile(r"""(api_key_env['"]?\s*[:=]\s*['"]?)([^\s'",}]+)""")
HIDDEN = "(hidden)"


def text(words: str) -> str:
    """The text with each secret of the environment replaced by a reference to it, and other keys hidden."""
    return _text(words, _secrets())


def _secrets() -> list[tuple[str, str]]:
    """Name and value of each secret of the environment, the longest first."""
    found = [(name, value) for name, value in os.environ.items() if len(value) >= _SHORTEST and _VARIABLE.search(name)]
    return sorted(found, key=lambda item: -len(item[1]))


def _text(words: str, secrets: list[tuple[str, str]]) -> str:
    for name, value in secrets:
        words = words.replace(value, f"${{oc.env:{name}}}")
    words = _KEY_NAME.sub(lambda part: part[1] + (part[2] if names_variable(part[2]) else HIDDEN), words)
    return _SHAPE.sub(HIDDEN, _FIELD.sub(rf"\g<1>{HIDDEN}", words))


def tree(value: Any) -> Any:
    """A JSON-ready value whose strings went through `text`; literal values of fields such as `api_key` are hidden."""
    return _tree(value, _secrets())


def _tree(value: Any, secrets: list[tuple[str, str]]) -> Any:
    if isinstance(value, str):
        return _text(value, secrets)
    if isinstance(value, list):
        return [_tree(item, secrets) for item in value]
    if isinstance(value, dict):
        return {key: _field(str(key), item, secrets) for key, item in value.items()}
    return value


def _field(key: str, value: object, secrets: list[tuple[str, str]]) -> object:
    if isinstance(value, str) and _FIELD_NAME.search(key) and not value.startswith("${"):
        return HIDDEN
    return _tree(value, secrets)
