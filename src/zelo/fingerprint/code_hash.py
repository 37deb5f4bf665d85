"""The code of a component as a hash: its definition, and whatever first-party definitions that reaches, directly or not.

A module of zelo counts by the definitions that are reached in it, a user's own module as a whole. A module that cannot change a
result says so: `AFFECTS_RESULTS = False`. Nothing is imported to find out.
"""

import functools
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from zelo.fingerprint.modules import LIBRARIES, find, first_party
from zelo.fingerprint.source import ANYTHING, EFFECTS, WHOLE, Source, read
from zelo.store.hashing import hash_json

AFFECTS_RESULTS = False  # A hash is part of a name; no table holds it.

Reached = dict[tuple[str, str], list[str]]  # (module, definition) -> its text, and what its names stand for


@functools.cache
def code_hash(module: str, name: str = WHOLE) -> str:
    """Hash of a module, or of one definition in it, and of everything that it reaches.

    Raises BadInput where its source cannot be found or read.
    """
    found = reach(module, name)
    tops = {target.partition(".")[0] for parts in found.values() for part in parts[-1:] for target in part.split()}
    libraries = {top: _major(LIBRARIES[top]) for top in sorted(tops & LIBRARIES.keys())}
    return hash_json([[list(key), parts] for key, parts in sorted(found.items())] + [libraries])


def modules(module: str, name: str = WHOLE) -> set[str]:
    """The modules of which anything is reached."""
    return {reached for reached, _ in reach(module, name)}


def reach(module: str, name: str = WHOLE) -> Reached:
    """What a module, or one definition in it, reaches: itself too."""
    found: Reached = {}
    todo = [(module, name)]
    while todo:
        place, what = todo.pop()
        source = read(place)
        whole = what not in source.chunks or not _is_zelo(place)
        for part in source.chunks if whole else (what, EFFECTS):
            chunk = source.chunks[part]
            if (place, part) in found or not (chunk.statements or whole):
                continue
            targets = {name: sorted(set(_targets(name, source))) for name in sorted(chunk.names)}
            bound = [f"{name}={there}:{what}" for name, several in targets.items() for there, what in several]
            tops = {there.partition(".")[0] for several in targets.values() for there, _ in several}
            found[place, part] = [*chunk.texts, *bound, " ".join(sorted(tops))]
            todo += [one for several in targets.values() for target in several for one in _followed(*target, source)]
            todo += [(place, first) for name in chunk.names if (first := name.partition(".")[0]) in source.chunks]
        for local, several in source.bindings.items():  # a user's imports may do something, and of `*` no name is known
            if local == WHOLE or (whole and not _is_zelo(place)):
                todo += [one for target in several for one in _followed(*target, source)]
    return found


def _is_zelo(module: str) -> bool:
    return module.partition(".")[0] == "zelo"


def _major(distribution: str) -> str:
    """The part of a version that says whether it behaves as another: the first number, and the second where that is 0."""
    try:
        first, _, rest = version(distribution).partition(".")
    except PackageNotFoundError:
        return "absent"
    return f"0.{rest.partition('.')[0]}" if first == "0" else first


def _targets(name: str, source: Source) -> Iterator[tuple[str, str]]:
    """(module, name in it) of what a dotted name of the module may stand for."""
    first, *rest = name.split(".")
    for module, part in source.bindings.get(first, ()):
        yield module, rest[0] if part == WHOLE and rest else part


def _followed(module: str, name: str, source: Source) -> Iterator[tuple[str, str]]:
    """What of a target counts: nothing of libraries and of modules beside the results; of a user's, the packages around, too."""
    spec = find(module) if first_party(module, source.module) else None
    if spec is None or not spec.origin or module == source.module:
        return
    if not _is_zelo(module):
        parts = module.split(".")
        around = [".".join(parts[:count]) for count in range(1, len(parts))]
        yield from ((package, ANYTHING) for package in around if (found := find(package)) and found.origin)
    there = read(module)
    if name in there.bindings and name not in there.chunks:  # it only passes on what another defines
        yield from (one for target in there.bindings[name] for one in _followed(*target, there))
    elif there.affects_results:
        yield module, name
