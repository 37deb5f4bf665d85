"""Entries of modules that are imported and inspected: what C code documents cannot be read in any other way."""

import builtins
import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from .entry import Entry, clean, public

IMPORTED = """
    builtins sys os os.path math cmath time itertools functools operator collections datetime decimal io struct array
    socket ssl sqlite3 hashlib hmac random csv pickle lzma bz2 zlib gzip binascii weakref contextvars queue ctypes
    tracemalloc locale re heapq bisect types signal select mmap gc marshal atexit faulthandler unicodedata threading
    multiprocessing errno fcntl resource pwd grp syslog termios statistics string secrets uuid copyreg abc pathlib
    typing collections.abc
""".split()  # noqa: SIM905 (a list literal takes sixty lines)


def imported_entries() -> Iterator[tuple[str, Entry]]:
    """(id, entry) of everything public in the modules that are imported."""
    for name in IMPORTED:
        try:
            module = importlib.import_module(name)
        except ImportError:  # a build without ssl, or no POSIX
            continue
        yield name, Entry(name, clean(module.__doc__), ("module", module.__name__))
        for attribute in module_names(module, name):
            value = getattr(module, attribute)
            id_ = attribute if module is builtins else f"{name}.{attribute}"
            if inspect.isclass(value):
                yield id_, Entry(id_ + signature(value), class_text(value), subject_of(value))
                yield from member_entries(id_, value, module)
            elif inspect.isroutine(value) or documented_itself(value):
                yield id_, Entry(id_ + signature(value), clean(value.__doc__), subject_of(value))


def module_names(module: ModuleType, name: str) -> Iterator[str]:
    """The module's public names, sorted; without `__all__`, those that are its own."""
    listed = getattr(module, "__all__", None)
    for attribute in sorted(vars(module) if listed is None else listed):
        if not public(attribute) or not hasattr(module, attribute):
            continue
        home = getattr(getattr(module, attribute), "__module__", None)
        if listed is None and module is not builtins and isinstance(home, str) and home != name:
            top = home.split(".")[0]
            if public(top) and top != name.split(".")[0] and top not in ("posix", "nt"):
                continue
        yield attribute


def documented_itself(value: Any) -> bool:
    """Whether an object that is neither class nor routine has words of its own, as `typing.Optional` has."""
    if isinstance(value, ModuleType):
        return False
    text = getattr(value, "__doc__", None)
    return isinstance(text, str) and text != type(value).__doc__


def subject_of(value: Any) -> object:
    return ("object", id(value))


def signature(value: Any, drop_first: bool = False) -> str:
    """The arguments as written, without annotations of the result and addresses; "" if they are not known."""
    try:
        found = inspect.signature(value)
    except (
        Exception
    ):  # C code may promise arguments that cannot even be evaluated, such as select.epoll.register in 3.13
        return ""
    parameters = list(found.parameters.values())
    if drop_first and parameters and parameters[0].name in ("self", "cls", "type"):
        parameters = parameters[1:]
    bare = found.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return re.sub(r"0x[0-9a-fA-F]+", "...", str(bare))


def class_text(cls: type) -> str:
    own = vars(cls).get("__doc__")
    init = vars(cls).get("__init__")
    return clean(own if isinstance(own, str) else cls.__doc__, clean(init.__doc__) if inspect.isfunction(init) else "")


def member_entries(id_: str, cls: type, module: ModuleType) -> Iterator[tuple[str, Entry]]:
    """(id, entry) of the public members of a class and of the private bases that only it stands for."""
    bases = [base for base in cls.__mro__[1:] if private_base(base, module)]
    open_ = [c for c in cls.__mro__[1:] if c not in bases]
    bases = [base for base in bases if not any(issubclass(other, base) for other in open_)]
    members: dict[str, Any] = {}
    for owner in (cls, *bases):
        for name, value in vars(owner).items():
            if public(name) and (name not in members or not member_doc(members[name])):
                members[name] = value
    for name in sorted(members):
        value = members[name]
        inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        if inspect.isclass(inner) or not (inspect.isroutine(inner) or inspect.isdatadescriptor(inner)):
            continue
        arguments = "" if inspect.isdatadescriptor(inner) else signature(inner, not isinstance(value, staticmethod))
        yield f"{id_}.{name}", Entry(f"{id_}.{name}{arguments}", member_doc(value), f"{id_}.{name}")


def private_base(base: type, module: ModuleType) -> bool:
    if not public(base.__name__):
        return True
    return base.__module__.startswith(f"{module.__name__}._") and not hasattr(module, base.__name__)


def member_doc(value: Any) -> str:
    inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    text = getattr(inner, "__doc__", None)
    return clean(text) if isinstance(text, str) else ""
