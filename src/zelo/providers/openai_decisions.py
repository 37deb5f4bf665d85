"""OpenAI's form of decision endpoints, a beta of October 2026."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from zelo.providers.decisions import FIELDS, TWICE, DecisionRequest, instead, parsed
from zelo.providers.request import Endpoint, Parsed, Request, count, usage


@dataclass(frozen=True)
class OpenAIDecisions:
    """POST /decisions {model, input, questions: [{type, name, instructions, choices: [{value, description}]}]}."""

    form: ClassVar[str] = "openai"
    filled: ClassVar[tuple[str, ...]] = ("model", "input", "questions")
    path: ClassVar[str] = "/decisions"
    parameters: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[str, ...]] = FIELDS

    def headers(self, key: str | None) -> dict[str, str]:
        """What goes before the body of this API alone, with the key where one is to be sent."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def body(self, endpoint: Endpoint, request: Request) -> dict[str, Any]:
        """The JSON to post, but for the parameters that are sent as they are named. The state is sent as JSON."""
        assert isinstance(request, DecisionRequest), "no judge that asks for decisions"
        questions = [
            {
                "type": "choice",
                "name": one.name,
                "instructions": one.instructions,
                "choices": [{"value": value, "description": description} for value, description in one.options],
            }
            for one in request.questions
        ]
        state = json.dumps(request.state, ensure_ascii=False)
        return {"model": endpoint.model, "input": state, "questions": questions}

    def parse(self, answer: Mapping[str, Any]) -> Parsed | str:
        """The answers in a body, or the class of what is wrong with it. Raises KeyError and the like for other shapes."""
        answers = answer.get("answers")
        if answers is None:
            return "no_choices"
        if not isinstance(answers, list):
            return "wrong_shape"
        found: dict[str, Any] = {}
        for one in answers:
            name = str(one["name"])
            found[name] = TWICE if name in found else _probabilities(one)
        used = usage(answer)
        return parsed(found, count(used.get("input_tokens")), count(used.get("output_tokens")))


def _probabilities(answer: Mapping[str, Any]) -> dict[str, Any] | str:
    listed = answer.get("probabilities")
    if not isinstance(listed, list):
        return instead(answer)
    values = [str(one["value"]) for one in listed]
    if len(set(values)) < len(values):
        return TWICE
    return {value: one["probability"] for value, one in zip(values, listed, strict=True)}
