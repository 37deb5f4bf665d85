"""What must be there."""

from typing import TypeVar

Thing = TypeVar("Thing")


def certain(value: Thing | None) -> Thing:
    """The value, which is not None."""
    assert value is not None
    return value
