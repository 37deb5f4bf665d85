"""Several judges asked the same questions; their answers stay apart, one row each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.protocols import Judge
from zelo.records import Outcomes, Questions


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Members by key; the key is the judge's name in the outcomes (`key/key` for the members of a member)."""

    name: str
    members: Mapping[str, Judge]
    use: list[str] | None  # keys of the members that are asked; null: all

    def __post_init__(self) -> None:
        """Raises BadInput without members, and for a key in `use` that none of them has."""
        if not self.members:
            raise BadInput(f"judge {self.name} has no members; mount one: +judge@judge.members.KEY=OPTION.")
        unknown = sorted({*(self.use or ())} - {*self.members})
        if unknown or self.use == []:
            named = f"there is no member {unknown[0]}" if unknown else "nobody would be asked"
            raise BadInput(
                f"judge {self.name}: use=[{','.join(self.use or ())}]: {named}. Set judge.use to some of"
                f" [{','.join(self.members)}], or to null for all."
            )

    @property
    def answering(self) -> dict[str, Judge]:
        """The members that answer."""
        return {key: member for key, member in self.members.items() if self.use is None or key in self.use}

    def compare(self, questions: Questions) -> Outcomes:
        """The answers of each member in turn: [members x N] rows."""
        answers = {key: member.compare(questions) for key, member in self.answering.items()}
        return Outcomes(
            question=np.concatenate([answer.question for answer in answers.values()]),
            judge=_joined([_renamed(answer.judge, key) for key, answer in answers.items()]),
            p=np.concatenate([answer.p for answer in answers.values()]),
            weight=np.concatenate([answer.weight for answer in answers.values()]),
            status=_joined([answer.status for answer in answers.values()]),
            tokens=np.concatenate([answer.tokens for answer in answers.values()]),
            cost=np.concatenate([answer.cost for answer in answers.values()]),
        )


def _renamed(judge: pa.DictionaryArray, key: str) -> pa.DictionaryArray:
    names = judge.dictionary.to_pylist()
    return pa.DictionaryArray.from_arrays(
        judge.indices, pa.array([key] if len(names) == 1 else [f"{key}/{n}" for n in names])
    )


def _joined(arrays: list[pa.DictionaryArray]) -> pa.DictionaryArray:
    return pa.chunked_array(arrays).unify_dictionaries().combine_chunks()
