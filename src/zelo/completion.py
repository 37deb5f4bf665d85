"""Completion in bash, zsh and fish: `zelo -sc install=SHELL` prints what a shell evaluates, `-sc query=SHELL` what fits a line.

A query composes the config of the words before the cursor and imports no model.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zelo.places import config_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

FILES = re.compile(r"[./~]")  # how a value begins that is a path
PATHS = ("run", "model_path", "path", "data")  # keys whose value is a path, by their last part

SCRIPTS = {
    # Bash replaces the part of a word behind the last of COMP_WORDBREAKS, such as = or @.
    "bash": r"""
_zelo() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\n' self="${1/#\~/$HOME}"
    local word="${line##* }"
    local rest="${word##*[$COMP_WORDBREAKS]}"
    COMPREPLY=($(COMP_LINE="$line" "$self" -sc query=bash 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"${word%"$rest"}"}")
}
complete -o default -o nospace -F _zelo zelo
""",
    "zsh": r"""
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_zelo() {
    local -a found
    found=("${(@f)$(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" $words[1] -sc query=zsh 2>/dev/null)}")
    [[ -n "$found" ]] && compadd -S '' -- "${found[@]}" || _files
}
compdef _zelo zelo
""",
    "fish": r"""
function __zelo
    COMP_LINE=(commandline --cut-at-cursor --current-process | string collect) zelo -sc query=fish 2>/dev/null
end
complete --command zelo --no-files --arguments '(__zelo)'
""",
}
REMOVALS = {
    "bash": "complete -r zelo; unset -f _zelo",
    "zsh": "compdef -d zelo; unfunction _zelo",
    "fish": "complete --erase --command zelo; functions --erase __zelo",
}
USE = {
    "bash": 'eval "$(zelo -sc install=bash)"',
    "zsh": 'eval "$(zelo -sc install=zsh)"',
    "fish": "zelo -sc install=fish | source",
}


def main() -> int:
    """What follows -sc: install=SHELL, uninstall=SHELL or query=SHELL. Returns the exit status."""
    action, _, shell = (sys.argv[2] if len(sys.argv) == 3 else "").partition("=")
    if shell not in SCRIPTS or action not in ("install", "uninstall", "query"):
        ways = ", ".join(USE.values())
        print(f"zelo: completion is installed by one of: {ways}", file=sys.stderr)
        return 2
    if action == "query":
        print("\n".join(matches(os.environ.get("COMP_LINE", ""))))
    else:
        print((SCRIPTS if action == "install" else REMOVALS)[shell].strip())
    return 0


def matches(line: str) -> list[str]:
    """Whole words that the last word of a command line can become, sorted. line: up to the cursor, from `zelo` on."""
    word = re.split(r"\s+", line.lstrip())[-1]
    before = _words(line[: len(line) - len(word)])[1:]
    sign, key, equals, value = _parts(word)
    if equals:
        return sorted(f"{sign}{key}={found}" for found in _values(key, value, before) if found.startswith(value))
    found = {*_groups(key, before), *(() if "@" in key or "/" in key else _keys(key, before))}
    return sorted(sign + one for one in found if one.startswith(key) and one != "hydra.")


def _words(line: str) -> list[str]:
    """Words as the shell reads them, without their quotes."""
    try:
        return shlex.split(line)
    except ValueError:  # a quote that is still open
        return line.split()


def _parts(word: str) -> tuple[str, str, str, str]:
    sign = word[: len(word) - len(word.lstrip("+~"))]
    return sign, *word[len(sign) :].partition("=")


def _values(key: str, value: str, before: Sequence[str]) -> Iterator[str]:
    """What a key can be set to, by what is known: options of a group, stages, files, true or false."""
    group, swept = key.partition("@")[0], value.rpartition(",")[0]
    if (config_folder() / group).is_dir():
        for option in _options(group, before):
            if option not in swept.split(","):
                yield f"{swept},{option}" if swept else option
    elif key.rpartition(".")[2] in PATHS or FILES.match(value):
        yield from _paths(value)
    elif key == "until":
        stages = _composed(before)[0].get("stages") or {}
        yield from (str(name) for name in stages if stages[name] is not None)
    elif isinstance(now := _select(_composed(before)[0], key), bool):
        yield from ("false", "true")
    elif isinstance(now, int | float | str):
        yield str(now)


def _options(group: str, before: Sequence[str]) -> list[str]:
    """Options of a group: those of zelo, and of a folder of the user's own that --config-dir names."""
    given = [before[place + 1] for place, word in enumerate(before[:-1]) if word in ("--config-dir", "-cd")]
    folders = [config_folder(), *map(Path, given)]
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _groups(key: str, before: Sequence[str]) -> Iterator[str]:
    """`group=` of each group that this can become; behind an @, `group@place=` of what is chosen at a place of its own."""
    if "@" in key:
        yield from (f"{choice}=" for choice in _composed(before)[1] if "@" in choice)
        return
    top = config_folder()
    for folder in (path for path in top.rglob("*") if path.is_dir() and any(path.glob("*.yaml"))):
        yield f"{folder.relative_to(top).as_posix()}="


def _keys(key: str, before: Sequence[str]) -> Iterator[str]:
    """Keys of the composed config, one level below what is written: `name=`, or `name.` where it has keys of its own."""
    from omegaconf import DictConfig

    above, config = key.rpartition(".")[0], _composed(before)[0]
    node = _select(config, above) if above else config
    for name, below in node.items_ex(resolve=False) if isinstance(node, DictConfig) else ():
        if not str(name).startswith("_"):
            yield f"{above}{'.' * bool(above)}{name}{'.' if isinstance(below, DictConfig) else '='}"


def _paths(value: str) -> Iterator[str]:
    folder, _, _ = value.rpartition("/")
    there = Path(folder or ("/" if value.startswith("/") else ".")).expanduser()
    for path in there.iterdir() if there.is_dir() else ():
        yield f"{value[: len(value) - len(value.rpartition('/')[2])]}{path.name}{'/' if path.is_dir() else ''}"


def _select(config: "DictConfig", key: str) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException:  # a value that is not known yet
        return None


def _composed(before: Sequence[str]) -> "tuple[DictConfig, list[str]]":
    """(config, choices) of what is written already, or of its pipeline alone where the whole cannot be composed."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from zelo.arguments import prepared

    words = prepared([word for word in before if "=" in word and not word.startswith("-")])
    with initialize_config_dir(str(config_folder()), job_name="zelo", version_base="1.3"):
        for overrides in (words, [word for word in words if word.startswith(("pipeline=", "experiment="))], []):
            try:
                config = compose("config", overrides, return_hydra_config=True)
            except (HydraException, OmegaConfBaseException):
                continue
            choices = [str(choice) for choice in config.hydra.runtime.choices]
            return config, choices
    return OmegaConf.create(), []
