"""Whether plain values, as they come from a yaml or a command line, are what a class's annotations ask for."""

import functools
import json
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", types.NoneType: "null"}
LISTS = (list, tuple, Sequence)
MAPPINGS = (dict, Mapping)
COMPONENT = "_target_"  # the key of a mapping that will become an object


@functools.cache
def of(made: Callable[..., Any]) -> dict[str, Any]:
    """Argument -> annotation of a class or function; none where names are known to the type checker only."""
    try:
        return get_type_hints(made.__init__ if isinstance(made, type) else made)
    except NameError:
        return {}


def faults(value: Any, hint: Any, place: str) -> Iterator[tuple[str, str]]:
    """(place, what is wrong there) for each part of a value that is not what the annotation asks for.

    place: the dotted key of the value.
    """
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if isinstance(value, float) and not math.isfinite(value):  # whatever the annotation says, even nothing
        yield place, f"={value}: expected a finite number."
        return
    if kind in (Union, types.UnionType):
        fine = any(not any(faults(value, part, place)) for part in parts)
    elif kind is Literal:
        fine = value in parts
    elif kind is float:
        fine = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif kind in SCALARS:
        fine = type(value) is kind
    elif kind in LISTS and isinstance(value, list):
        fine = True
        for number, item in enumerate(value if parts else ()):
            yield from faults(item, parts[0], f"{place}[{number}]")
    elif kind in MAPPINGS and isinstance(value, dict) and COMPONENT not in value:
        fine = True
        for key, item in value.items() if parts else ():
            yield from faults(item, parts[1], f"{place}.{key}")
    elif isinstance(kind, type) and kind not in (Any, object):
        fine = isinstance(value, dict) and COMPONENT in value and kind not in (*LISTS, *MAPPINGS)
    else:  # Any, or something that says nothing about plain values
        fine = True
    if not fine:
        yield place, f"={json.dumps(value, ensure_ascii=False)}: expected {expected(hint)}."


def not_finite(node: Any, place: str) -> Iterator[tuple[str, str]]:
    """(place, what is wrong there) for each number of a config that is none, such as nan."""
    if isinstance(node, dict):
        for key, item in node.items():
            yield from not_finite(item, f"{place}.{key}".lstrip("."))
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from not_finite(item, f"{place}[{number}]")
    elif isinstance(node, float):
        yield from faults(node, float, place)


def expected(hint: Any) -> str:
    """An annotation in words."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(expected(part) for part in parts)
    if kind is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if kind in SCALARS:
        return SCALARS[kind]
    if kind in LISTS:
        return f"a list, each item {expected(parts[0])}" if parts else "a list"
    if kind in MAPPINGS:
        return f"a mapping, each value {expected(parts[1])}" if parts else "a mapping"
    return f"a component ({kind.__name__ if isinstance(kind, type) else kind}), named by _target_"
