"""The System One form of decision endpoints, which TypeSafe, Perplexity, Fireworks and many local servers speak."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from zelo.errors import BadInput
from zelo.providers.decisions import FIELDS, DecisionRequest, instead, parsed
from zelo.providers.request import Endpoint, Parsed, Request, count, usage


@dataclass(frozen=True, kw_only=True)
class SystemOne:
    """POST {model, state, questions: {name: {type, instructions, criteria: {option: description}}}}, answered by name."""

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"path"})
    form: ClassVar[str] = "system_one"
    filled: ClassVar[tuple[str, ...]] = ("model", "state", "questions")
    parameters: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[str, ...]] = FIELDS

    path: str  # behind base_url: /systemone; Perplexity has /decisions

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path.startswith("/") or {"?", "#"} & {*self.path}:
            raise BadInput(f"judge: api.path={self.path!r} is no path behind base_url; write it as /systemone.")

    def headers(self, key: str | None) -> dict[str, str]:
        """What goes before the body of this API alone, with the key where one is to be sent."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def body(self, endpoint: Endpoint, request: Request) -> dict[str, Any]:
        """The JSON to post, but for the parameters that are sent as they are named."""
        assert isinstance(request, DecisionRequest), "no judge that asks for decisions"
        questions = {
            one.name: {"type": "choice", "instructions": one.instructions, "criteria": dict(one.options)}
            for one in request.questions
        }
        return {"model": endpoint.model, "state": request.state, "questions": questions}

    def parse(self, answer: Mapping[str, Any]) -> Parsed | str:
        """The answers in a body, or the class of what is wrong with it. Raises AttributeError and the like for other shapes."""
        answers = answer.get("answers")
        if answers is None:
            return "no_choices"
        found = {}
        for name, one in answers.items():
            probabilities = one.get("probabilities")
            found[name] = dict(probabilities) if isinstance(probabilities, Mapping) else instead(one)
        used = usage(answer)
        return parsed(found, count(used.get("input_tokens")), count(used.get("output_tokens")))
