"""Keys stay out of configs, messages and the ledger: what looks like one, and how it is hidden."""

import json
import re
from contextlib import suppress

HIDDEN = "(hidden)"
SHORTEST = 8  # characters of a key that could give it away; a shorter one cannot be told from ordinary text
WORDS = 200  # characters of a provider's own words that a message repeats
EXAMPLE = 120  # characters of an answer that a message shows
LONGEST_COMPLAINT = 1 << 16  # characters of an error that are searched for pieces of a key
# What a key looks like, whole or with its middle masked, should a provider repeat another one than was sent.
KEY_SHAPE = re.compile(r"\b(?:(?:sk|rk|gsk|xai|hf)[-_][\w*.-]{6,}|AIza[\w*-]{10,})|(?<=Bearer )\S+")
_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})
# What a variable may be called, and what is rather a key that was pasted in its place: one of a provider's shapes, or letters
# and digits without a break.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASTED = re.compile(r"(?:sk|rk|gsk|hf|xai|gh[pousr])_\w{12,}|AIza\w{12,}|(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16,}")
_SECRET_NAME = re.compile(
    r"key|(?:.*[-_.])?(?:api|access|secret|subscription|private)[-_]?key|(?:.*[-_.])?(?:secret|passw(?:or)?d|passwd|authorization"
    r"|credentials?|bearer)|(?:.*[-_.])?(?:access|auth|refresh|session|id|api|bearer)[-_]?token|token|sig(?:nature)?|code",
    re.IGNORECASE,
)
_SECRET_SHAPE = re.compile(
    r"\b(?:(?:sk|rk|gsk|xai|hf)[-_][\w-]{6,}|gh[pousr]_\w{12,}|AIza[\w-]{10,}|AKIA[0-9A-Z]{12,})|Bearer \S"
)


def names_variable(name: str) -> bool:
    """Whether this can be the name of an environment variable, and does not look like a key."""
    return bool(_VARIABLE.fullmatch(name)) and not _PASTED.fullmatch(name)


def looks_secret(name: str, value: object) -> bool:
    """Whether a field of this name and value is rather a key: by its name, or by the shape of its text."""
    return isinstance(value, str) and bool(_SECRET_NAME.fullmatch(name) or _SECRET_SHAPE.search(value))


def line(words: str, key: str | None) -> str:
    """A stranger's words in one line of at most 200 printable characters, with the key, or a piece of it, hidden."""
    if len(words) < SHORTEST and words.isalpha() and not key:
        return words
    flat = " ".join("".join(char if char.isprintable() else " " for char in words[:4096]).split())
    flat = KEY_SHAPE.sub(HIDDEN, without(flat, key) if key else flat)
    return flat if len(flat) <= WORDS else flat[: WORDS - 3] + "..."


def example(text: str, key: str | None) -> str:
    """The beginning of an answer for a message: unprintable characters escaped, keys hidden."""
    text = text.strip()[: 2 * EXAMPLE]
    shown = KEY_SHAPE.sub(HIDDEN, without(text, key) if key and len(key) >= SHORTEST else text)
    shown = shown[:EXAMPLE] + "..." * (len(shown) > EXAMPLE)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def without(words: str, key: str) -> str:
    """The words with every piece of the key of 8 characters or more hidden, in small letters or capitals."""
    shortest, small, secret = min(SHORTEST, len(key)), words.translate(_LOWER), key.translate(_LOWER)
    out, at = [], 0
    while at < len(words):
        end = at + shortest
        if small[at:end] in secret and end <= len(words):
            while end < len(words) and small[at : end + 1] in secret:
                end += 1
            out.append(HIDDEN)
            at = end
        else:
            out.append(words[at])
            at += 1
    return "".join(out)


def redacted(status: int, raw: bytes, key: str | None) -> str:
    """A body as the ledger keeps it: as it came but for the key, which an error may also show in pieces or masked."""
    text = raw.decode(errors="replace")
    if not 200 <= status < 300 and len(text) <= LONGEST_COMPLAINT:
        text = KEY_SHAPE.sub(HIDDEN, without(text, key) if key else text)
    if key is None or len(key) < SHORTEST:
        return text
    text = text.replace(key, HIDDEN)
    if "\\" in text:
        with suppress(ValueError, RecursionError):
            plain, written = json.dumps(json.loads(text), ensure_ascii=False), json.dumps(key)[1:-1]
            text = plain.replace(written, HIDDEN) if written in plain else text
    return text
