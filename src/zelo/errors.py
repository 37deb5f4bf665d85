"""Errors that a user can act on: each message names the value, the place and the fix."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

NAMED = 5  # queries that a message names


class ZeloError(Exception):
    """An error with a message for the user; `exit_status` is what the process ends with."""

    exit_status = 1

    def __reduce__(self) -> tuple[object, ...]:
        """As it is, whatever its class is made from: it may come from another process."""
        return _again, (type(self), self.args, vars(self))


def _again(kind: type[ZeloError], args: tuple[object, ...], fields: dict[str, object]) -> ZeloError:
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error


class BadInput(ZeloError):
    """The configuration or the data cannot be used as they are. Nothing was written."""

    exit_status = 2


class LimitReached(ZeloError):
    """A limit that the user set was reached; everything done so far is kept."""

    exit_status = 3


class JobFailed(ZeloError):
    """What a job in another process raised, in words: the error of a library may not survive the way to this one."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message, exit_status)  # both, to be made again from them
        self.message, self.exit_status = message, exit_status

    def __str__(self) -> str:
        return self.message


class OfQueries(BadInput):
    """What is wrong with some queries, whose numbers the one who raises it knows and whose ids a stage can tell."""

    def __init__(self, message: str, numbers: "np.ndarray") -> None:
        super().__init__(message)
        self.numbers = [int(number) for number in numbers[:NAMED]]  # in the order in which the queries were given


def first_few(numbers: "np.ndarray") -> str:
    """The first of these query numbers, for a message."""
    return ", ".join(map(str, numbers[:NAMED])) + (" ..." if len(numbers) > NAMED else "")


class PriceUnknown(BadInput):
    """A cap in dollars cannot be kept. `place` is that of who asks in its stage, whose full key those with the config know.

    prices: the fields of its prices; all are needed, but for one by search, which stands for the others.
    """

    def __init__(self, place: str, reason: str, plan: str, prices: tuple[str, ...]) -> None:
        super().__init__(f"{reason} Set {price_fields(place, prices)}, or budget.calls instead.{plan}")
        self.place, self.reason, self.plan, self.prices = place, reason, plan, prices


def price_fields(place: str, prices: tuple[str, ...]) -> str:
    """Which fields of prices to set, in words."""
    tokens = " and ".join(f"{place}.{name}" for name in prices if name != "search_price")
    by_search = f" or {place}.search_price (per 1,000 searches)" * ("search_price" in prices)
    return f"{tokens} (dollars per million tokens){by_search}"


class ModelNotFound(BadInput):
    """A pretrained model is not there. `model` is the value of its field, whose full key those with the config know."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"model={model}: {reason}")
        self.model, self.reason = model, reason


def first_error(group: BaseException) -> BaseException:
    """The first error of nested groups, a user's before a bug's."""
    while isinstance(group, BaseExceptionGroup):
        group = next((one for one in group.exceptions if isinstance(one, ZeloError)), group.exceptions[0])
    return group
