"""The text of a model's answer, as all who ask read it: thoughts passed over, a tagged last line or one JSON object found.

No input, no output, no network.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

T = TypeVar("T")

# Beginnings of an answer that declines. English only, and only at the start: a refusal in other words or another language
# counts as unparseable. Neither is ever a preference, so nothing but the shares in the report depends on this list.
REFUSALS = (
    "i'm sorry",
    "i am sorry",
    "sorry, ",
    "i apologize",
    "i apologise",
    "my apologies",
    "i cannot",
    "i can not",
    "i can't",
    "i could not in good conscience",
    "i won't",
    "i will not",
    "i'm unable",
    "i am unable",
    "i'm not able",
    "i am not able",
    "i'm not comfortable",
    "i am not comfortable",
    "i must decline",
    "i have to decline",
    "i decline",
    "i refuse",
    "as an ai",
    "unfortunately, i can",
    "unfortunately, i am unable",
    "unfortunately, i'm unable",
)

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
FENCED = re.compile(r"^[ \t]*```(?:json)?[ \t]*\n(.*?)\n[ \t]*```[ \t]*$", re.DOTALL | re.IGNORECASE | re.MULTILINE)
_FENCE_LINE = re.compile(r"\s*```\w*\s*")
_THOUGHT = re.compile(r"\s*<(think|thinking)>.*?</\1>", re.DOTALL | re.IGNORECASE)
THOUGHT_OPENS = re.compile(r"\s*<(think|thinking)>", re.IGNORECASE)
_THOUGHT_ENDS = re.compile(r"</(?:think|thinking)>", re.IGNORECASE)  # alone: the model's template opened the block
# What some servers leave of a model's end, as special tokens.
_ENDS = (
    *(f"<|{name}|>" for name in ("im_end", "eot_id", "eom_id", "end", "end_of_text", "endoftext", "return", "eot")),
    *("</s>", "<eos>", "<end_of_turn>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
)
_OPENING, _COLON = re.compile(r"[\s>*_`#-]*"), re.compile(r"[\s*_`]*:")
_DECORATION = " \t*_`"


def refused(text: str) -> bool:
    """Whether an answer without a value opens like a refusal (REFUSALS)."""
    opening = bare(text).lstrip(_DECORATION + "\r\n\"'").replace("\u2019", "'").casefold()
    return opening.startswith(REFUSALS)


def last_tagged(text: str, tag: str, parse: Callable[[str], T]) -> T | None:
    """What follows the tag on the last line that is not blank; None if it has no tag, or another line another value."""
    lines = [item for item in bare(text).splitlines() if item.strip() and not _FENCE_LINE.fullmatch(item)]
    found = [(n, rest.strip(_DECORATION)) for n, item in enumerate(lines) if (rest := after_tag(item, tag)) is not None]
    if not found or found[-1][0] != len(lines) - 1:
        return None
    values = [value for value in (parse(rest) for _, rest in found) if value is not None]
    last = parse(found[-1][1])
    return last if all(value == last for value in values) else None


def after_tag(line: str, tag: str) -> str | None:
    """What follows the tag and its colon on a line that begins with them, in either case of letters; None on another line."""
    # No pattern with the tag in it: tags differ from answer to answer, and to compile one takes longer than to read the answer.
    opening = _OPENING.match(line)
    start = opening.end() if opening else 0
    end = start + len(tag)
    rest = _COLON.match(line, end) if line[start:end].casefold() == tag.casefold() else None
    return None if rest is None else line[rest.end() :]


def bare(text: str) -> str:
    """The text without the thoughts that lead it and the special tokens that end it."""
    text = text.rstrip()
    while text.endswith(_ENDS):
        end = next(end for end in _ENDS if text.endswith(end))
        text = text.removesuffix(end).rstrip()
    thought = _THOUGHT.match(text)
    if thought is None and not THOUGHT_OPENS.match(text):
        thought = _THOUGHT_ENDS.search(text)
        if thought is not None and re.search(r"<think", text[: thought.start()], re.IGNORECASE):
            return text
    return text if thought is None else text[thought.end() :]


def json_in(text: str) -> object:
    """The JSON that is all of the text, or all of its one fence; None where it is anything else or has a key twice.

    Thoughts before it and words around the fence are passed over, words with a brace are not: they may be another answer.
    """
    for part in _parts(text):
        try:
            return _STRICT.decode(part)
        except (ValueError, RecursionError):
            continue
    return None


def _parts(text: str) -> Iterator[str]:
    """Where the JSON of an answer may stand: all of the text, in a fence that is all of it, in the only fence."""
    yield text.strip()
    yield (text := bare(text).strip())
    if fenced := _FENCE.fullmatch(text):
        yield fenced[1]
    blocks = FENCED.findall(text)
    if len(blocks) == 1 and "{" not in FENCED.sub("", text):
        yield blocks[0]


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)
