"""What a model's answer says, read strictly: where a value is not certain there is none. No input, no output, no network."""

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

SOFT, TERNARY, SIGN = "soft", "ternary", "sign"
PREFERENCES = (SOFT, TERNARY, SIGN)

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

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
_DECORATION = " \t*_`"
_BLANK = " \t\r\n\u2581\u0120\u010a"  # the last three: how tokenizers write a space and a new line


def score(text: str, tag: str | None) -> float | None:
    """The score in [-1, 1]; None where it is missing, cut, out of range, no number, or there are two.

    tag None: the whole text is a JSON object with `score`. Else: the last line is `<tag>: number`; numbers elsewhere never count.
    """
    if tag is None:
        answer = _json(text)
        value = answer.get("score") if isinstance(answer, dict) else None
    else:
        value = _last(text, tag, _number)
    return float(value) if _within(value, -1, 1) else None


def relevances(text: str, tag: str | None, count: int) -> tuple[float, ...] | None:
    """The numbers in [0, 1] of the documents, or criteria, labelled 1 to `count`; None unless each has one and nothing else has.

    tag None: the whole text is a JSON object with `scores`, from label to number. Else: the last line is `<tag>: that object`.
    """
    if tag is None:
        answer = _json(text)
        values = answer.get("scores") if isinstance(answer, dict) else None
    else:
        values = _last(text, tag, _json)
    labels = [str(label) for label in range(1, count + 1)]
    if not isinstance(values, dict) or set(values) != set(labels):
        return None
    return tuple(float(values[label]) for label in labels) if all(_within(v, 0, 1) for v in values.values()) else None


def schema(count: int | None) -> dict[str, Any]:
    """JSON schema of the answer that `score` reads, or, with a count of labels, `relevances`; thoughts come first."""
    thoughts, number = {"type": "array", "items": {"type": "string"}}, {"type": "number"}
    if count is None:
        return _object({"thoughts": thoughts, "score": number})
    return _object({"thoughts": thoughts, "scores": _object({str(label): number for label in range(1, count + 1)})})


def verdict(logprobs: Sequence[tuple[str, float]]) -> float | None:
    """P(A) / (P(A) + P(B)) from the likeliest first tokens with their log-probabilities; None where neither is listed.

    Tokens that differ by white space only are one; a small a is not A, for it is a word and begins sentences. Where one of the
    two is not listed, its probability is at most the smallest listed one and at most what the listed ones leave: that bound
    is taken, which errs towards one half.
    """
    listed = [(token.strip(_BLANK), math.exp(value)) for token, value in logprobs]
    a, b = (sum(p for token, p in listed if token == letter) for letter in ("A", "B"))
    if a + b == 0:
        return None
    bound = max(0.0, min(min(p for _, p in listed), 1 - sum(p for _, p in listed)))
    a, b = (p if any(token == letter for token, _ in listed) else bound for letter, p in (("A", a), ("B", b)))
    return a / (a + b)


def preference(score: float, rule: str, threshold: float) -> float:
    """P(first shown document preferred) from a score in [-1, 1], where -1 is all for the first and 1 all for the second.

    soft: (1 - score) / 2. ternary: 1/2 where abs(score) <= threshold, else 0 or 1. sign: 0 or 1. A score of 0 is 1/2 in all.
    """
    if rule == SOFT:
        return (1 - score) / 2
    tie = threshold if rule == TERNARY else 0.0
    return 0.5 if abs(score) <= tie else float(score < 0)


def refused(text: str) -> bool:
    """Whether an answer without a value opens like a refusal (REFUSALS)."""
    opening = text.lstrip(_DECORATION + "\r\n\"'").replace("\u2019", "'").casefold()
    return opening.startswith(REFUSALS)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _last(text: str, tag: str, parse: Callable[[str], Any]) -> Any:
    """What follows the tag on the last line that is not blank; None if it has no tag, or another line another value."""
    line = re.compile(rf"[\s>*_`#-]*{re.escape(tag)}[\s*_`]*:(.*)", re.IGNORECASE | re.DOTALL)
    lines = [item for item in text.splitlines() if item.strip()]
    found = [(n, match[1].strip(_DECORATION)) for n, item in enumerate(lines) if (match := line.fullmatch(item))]
    if not found or found[-1][0] != len(lines) - 1:
        return None
    values = [value for value in (parse(rest) for _, rest in found) if value is not None]
    last = parse(found[-1][1])
    return last if all(value == last for value in values) else None


def _number(text: str) -> float | None:
    plain = text.replace("\u2212", "-")  # the minus sign of typesetters
    return float(plain) if _NUMBER.fullmatch(plain) else None


def _json(text: str) -> Any:
    """The JSON that is all of the text, but for a fence around it; None where it is anything else or has a key twice."""
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    try:
        return json.loads(fenced[1] if fenced else text, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _within(value: Any, low: float, high: float) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
