"""The command line before Hydra reads it.

`data=PATH` and `logger=[wandb,csv]` are written out, `~` becomes the home folder, and a text that Hydra's grammar cannot read is
quoted.
"""

import os
import re
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException

# A value that begins so has a grammar of its own: a list, a mapping, a quoted text, a function such as choice().
STRUCTURED = re.compile(r"[\[{'\"]|\w+\(")
LOGGERS = re.compile(r"logger=\[([\w\s,-]*)\]")
HOME = re.compile(r"(?:(?<=^)|(?<=,))~[\w.-]*(?=/|$|,)")


# Keys that no yaml has, which Hydra adds only where a + says so: an extra_body has whatever its endpoint takes, and a mixture has
# parts of any names.
OPEN = re.compile(r"([\w.]+\.extra_body(\.\w+)*|dataset\.(parts|weights)(\.[\w-]+)+)=")


def prepared(arguments: Sequence[str]) -> list[str]:
    """The same arguments, -m first, as Hydra wants it, and values as it can read them.

    data=PATH is dataset.path of auto, and a list of loggers an option of each beside the others.
    """
    ordered = sorted(arguments, key=lambda part: part not in ("-m", "--multirun"))
    ordered = [whole for part in ordered for whole in _written_out(part)]
    return [_readable(part) if "=" in part and not part.startswith("-") else part for part in ordered]


def _written_out(argument: str) -> list[str]:
    key, equals, value = argument.partition("=")
    if key == "data" and equals:
        return ["dataset=auto", f"dataset.path={value}"]
    if several := LOGGERS.fullmatch(argument):
        names = [name.strip() for name in several[1].split(",") if name.strip()]
        return ["logger=several", *(f"+logger@logger.loggers.{name}={name}" for name in names)]
    return [argument]


def _readable(argument: str) -> str:
    key, _, value = f"{'++' if OPEN.match(argument) else ''}{argument}".partition("=")
    argument = f"{key}={value}"
    if STRUCTURED.match(value):
        return argument
    value = HOME.sub(lambda match: os.path.expanduser(match[0]), value)
    if "," in value or _reads(f"{key}={value}"):
        return f"{key}={value}"
    text = f"{key}={quoted(value)}"
    return text if _reads(text) else f"{key}={value}"


def _reads(argument: str) -> bool:
    """Whether Hydra's grammar can read the argument."""
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True


def quoted(value: str) -> str:
    """The text as Hydra's grammar quotes it: a backslash counts before a quote only."""
    inside = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + "\\" * bool(match[2]) + match[2], value)
    return f"'{inside}'"


def explain(error: OverrideParseException) -> str:
    """One line about an argument that Hydra cannot read: which, and how to quote it."""
    key, equals, value = str(error.override).partition("=")
    if not equals or not re.fullmatch(r"[+~]{0,2}[\w./@:$-]+", key):
        return f"{error.override}: arguments are written key=value or group=option; zelo --help shows them."
    if value.endswith(",") or re.fullmatch(r"(choice|range|glob)\(\s*\)", value):
        return f"{key}={value}: a grid without a value, or with one that is missing. Write {key}=2,4 for the values 2 and 4."
    fix = shlex.quote(f"{key}={quoted(value)}")
    kind = " A list is [a,b], a mapping is {a:1}." if value.startswith(("[", "{")) else ""
    return (
        f"{key}={value}: Hydra's grammar cannot read this value.{kind} Quote a text for Hydra and for the shell: {fix}"
    )


def explain_comma(argument: str) -> str:
    """One line about a value with commas in a single run."""
    key, _, value = argument.partition("=")
    fix = shlex.quote(f"{key}={quoted(value)}")
    return (
        f"{argument}: several values, and this is a single run. A sweep is zelo -m {argument}, a list is"
        f" {key}=[{value}], a text with commas is {fix}"
    )
