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
    for name, value in sorted(os.environ.items(), key=lambda item: -len(item[1])):
        if len(value) >= _SHORTEST and _VARIABLE.search(name):
            words = words.replace(value, f"${{oc.env:{name}}}")
    words = _KEY_NAME.sub(lambda part: part[1] + (part[2] if names_variable(part[2]) else HIDDEN), words)
    return _SHAPE.sub(HIDDEN, _FIELD.sub(rf"\g<1>{HIDDEN}", words))


def tree(value: Any) -> Any:
    """A JSON-ready value whose strings went through `text`; literal values of fields such as `api_key` are hidden."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [tree(item) for item in value]
    if isinstance(value, dict):
        return {key: _field(str(key), item) for key, item in value.items()}
    return value


def _field(key: str, value: object) -> object:
    if isinstance(value, str) and _FIELD_NAME.search(key) and not value.startswith("${"):
        return HIDDEN
    return tree(value)
