"""What a model's answer says, read strictly: where a value is not certain there is none. No input, no output, no network."""

import math
import re
from collections.abc import Sequence
from typing import Any, TypeGuard

from zelo.facts import Facts
from zelo.providers.answer_text import FENCED, THOUGHT_OPENS, after_tag, bare, json_in, last_tagged

SOFT, TERNARY, SIGN = "soft", "ternary", "sign"
PREFERENCES = (SOFT, TERNARY, SIGN)

# Class of what is wrong with a reply, before anything is read -> the reason and the fix.
WHY = {
    "empty": "the answer is empty: raise judge.max_tokens if the model thinks, or set judge.structured=false",
    "length": "the answer is truncated: raise judge.max_tokens, or turn thinking off with judge.extra_body",
    "unknown_finish": "the answer ended with a finish reason of another kind: leave tools out of the request",
    "context_too_long": "the prompt is longer than the model reads: lower judge.document_tokens or judge.window",
    "refusal": "the model declines to answer",
    "content_filter": "the provider's filter withholds the answer",
}

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_BLANK = " \t\r\n\u2581\u0120\u010a"  # the last three: how tokenizers write a space and a new line


def score(text: str, tag: str | None) -> float | None:
    """The score in [-1, 1]; None where it is missing, cut, out of range, no number, or there are two.

    tag None: the whole text is a JSON object with `score`. Else: the last line is `<tag>: number`; numbers elsewhere never count.
    """
    if tag is None:
        answer = json_in(text)
        value = answer.get("score") if isinstance(answer, dict) else None
    else:
        value = last_tagged(text, tag, _number)
    value = _as_number(value)
    return float(value) if _within(value, -1, 1) else None


def relevances(text: str, tag: str | None, count: int) -> tuple[float, ...] | None:
    """The numbers in [0, 1] of the documents, or criteria, labelled 1 to `count`; None unless each has one and nothing else has.

    tag None: the whole text is a JSON object with `scores`, from label to number. Else: the last line is `<tag>: that object`.
    """
    if tag is None:
        answer = json_in(text)
        values = answer.get("scores") if isinstance(answer, dict) else None
    else:
        values = last_tagged(text, tag, json_in)
    labels = [str(label) for label in range(1, count + 1)]
    if not isinstance(values, dict) or set(values) != set(labels):
        return None
    numbers = [_as_number(values[label]) for label in labels]
    return tuple(map(float, numbers)) if all(_within(number, 0, 1) for number in numbers) else None


def schema(count: int | None) -> Facts:
    """JSON schema of the answer that `score` reads, or, with a count of labels, `relevances`; thoughts come first."""
    thoughts, number = {"type": "array", "items": {"type": "string"}}, {"type": "number"}
    if count is None:
        return _object({"thoughts": thoughts, "score": number})
    return _object({"thoughts": thoughts, "scores": _object({str(label): number for label in range(1, count + 1)})})


def letters(logprobs: Sequence[tuple[str, float]]) -> float:
    """P(A) + P(B), as far as they are listed: the share of all first tokens."""
    return sum(math.exp(value) for token, value in logprobs if token.strip(_BLANK) in ("A", "B"))


def verdict(logprobs: Sequence[tuple[str, float]], least: float) -> float | None:
    """P(A) / (P(A) + P(B)) from the likeliest first tokens with their log-probabilities; None where `letters` is below `least`.

    Tokens that differ by white space only are one; a small a is not A, for it is a word and begins sentences. Where one of the
    two is not listed, its probability is at most the smallest listed one and at most what the listed ones leave: that bound
    is taken, which errs towards one half.
    """
    listed = [(token.strip(_BLANK), value) for token, value in logprobs]
    either = [(token, math.exp(value)) for token, value in listed if token in ("A", "B")]
    if not 0 < sum(p for _, p in either) >= least:
        return None
    a, b = ([p for token, p in either if token == letter] for letter in ("A", "B"))
    if not (a and b):
        every = [math.exp(value) for _, value in listed]
        bound = max(0.0, min(*every, 1 - sum(every)))
        a, b = a or [bound], b or [bound]
    return sum(a) / (sum(a) + sum(b))


def preference(score: float, rule: str, threshold: float) -> float:
    """P(first shown document preferred) from a score in [-1, 1], where -1 is all for the first and 1 all for the second.

    soft: (1 - score) / 2. ternary: 1/2 where abs(score) <= threshold, else 0 or 1. sign: 0 or 1. A score of 0 is 1/2 in all.
    """
    if rule == SOFT:
        return (1 - score) / 2
    tie = threshold if rule == TERNARY else 0.0
    return 0.5 if abs(score) <= tie else float(score < 0)


def began_with(logprobs: Sequence[tuple[str, float]], mass: float) -> str:
    """The two likeliest first tokens that are neither A nor B, and the share of A and B, `mass`, for a message."""
    others = sorted(
        ((value, token) for token, value in logprobs if token.strip(_BLANK) not in ("A", "B")), reverse=True
    )
    shown = ", ".join(f"{_quoted(token)} ({100 * math.exp(value):.2g} %)" for value, token in others[:2])
    return f"began with {shown or 'other tokens'}; A and B together {100 * mass:.2g} %"


def why_no_verdict(logprobs: Sequence[tuple[str, float]], least: float) -> str:
    """Why `verdict` is None, and what to do: the same words for the same reason."""
    if not logprobs:
        return "no log-probabilities came back: set judge.mode=score, or use an endpoint that gives them"
    begin = max(logprobs, key=lambda one: one[1])[0].strip(_BLANK)
    if begin.startswith("<"):
        return (
            f"the model begins with {_quoted(begin)} and A and B carry less than verdict_mass={least:g} of the probability: turn"
            " thinking off with judge.extra_body.chat_template_kwargs.enable_thinking=false, or set judge.mode=score"
        )
    return (
        f"the model begins with other words, and A and B carry less than verdict_mass={least:g} of the probability: set"
        " judge.mode=score, or judge.prompt to one that asks for the letter alone (thinking is turned off with judge.extra_body)"
    )


def why_unread(text: str, tag: str | None, wanted: str) -> str:
    """Why an answer has no `wanted` (score or scores), and what to do: the same words for the same reason."""
    text = bare(text)
    if not text.strip():
        return "nothing follows the think block: raise judge.max_tokens"
    if THOUGHT_OPENS.match(text):
        return "the think block does not end: raise judge.max_tokens, or turn thinking off with judge.extra_body"
    value = "a number from -1 to 1" if wanted == "score" else "a number from 0 to 1 for each label"
    if tag is not None:
        if not any(after_tag(item, tag) is not None for item in text.splitlines() if item.strip()):
            return (
                "the line with the tag, which the prompt asks for, is missing: set judge.structured=true where the endpoint can"
                " hold its answer to a JSON schema, or name a judge.model that follows instructions"
            )
        return f"the tagged line is not the last one, has no {value}, or occurs twice with different values"
    if not isinstance(answer := json_in(text), dict):
        if len(FENCED.findall(text)) > 1:
            return "several JSON blocks came back where one was asked for"
        if text.lstrip().startswith("{"):
            return "the JSON cannot be read: it is cut, has a key twice, or something follows it"
        return "the answer is no JSON: this endpoint does not hold it to a JSON schema; set judge.structured=false"
    if wanted not in answer:
        return f"the JSON has no key {wanted!r}: this endpoint does not hold it to a JSON schema; set judge.structured=false"
    return f"{wanted!r} in the JSON is not {value}"


def _quoted(token: str) -> str:
    return '"' + "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in token) + '"'


def _object(properties: Facts) -> Facts:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _number(text: str) -> float | None:
    plain = text.replace("\u2212", "-")  # the minus sign of typesetters
    return float(plain) if _NUMBER.fullmatch(plain) else None


def _as_number(value: object) -> Any:
    """A number that was written as a string, as a number; anything else as it is."""
    return _number(value.strip()) if isinstance(value, str) else value


def _within(value: object, low: float, high: float) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
