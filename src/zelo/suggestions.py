"""What a user may have meant by a key, an option or a word that does not exist, from conf/ and the composed config."""

import re
import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from zelo.pipeline.plain import plain
from zelo.places import config_folder

NAMED = 4  # suggestions in one message
SAME = 0.9  # similarity from which no other key can be meant
RENAMED = {  # last part of a key of an earlier version -> what it is called now
    "orders": "presentation",
    "sample_queries": "design.sample_queries",
    "repeats": "design.repeats",
    "injection": "design.injection",
}
STAGES = {"both": "hybrid", "both_2": "hybrid_2"}  # stages of an earlier version -> what stands in their place
OF_A_BACKBONE = {
    "model": "model",
    "revision": "revision",
    "dtype": "precision",
}  # of judge=causal_lm, as they were and are
ALIKE = 0.6  # similarity from which a misspelling is taken for its option


def unknown_key(key: str, root: DictConfig) -> str:
    """One line about an override of a key that the composed config does not have. key: as it was written."""
    plain = key.lstrip("+~").partition("@")[0]
    parts = plain.split(".")
    if isinstance(
        OmegaConf.select(root, plain, throw_on_missing=False), DictConfig
    ):  # a mapping got a name that it lacks
        return f"{plain}: the mapping has no key of a name given here. Add one with +{plain}.NAME=VALUE."
    if plain in ("data", "path"):
        return f"{plain}: no such key. Your data is data=PATH."
    if parts[0] == "stages" and len(parts) > 1 and parts[1] in STAGES:
        return f"{plain}: no such stage; it is stages.{STAGES[parts[1]]} now."
    if parts[0] == "stages" and parts[-1] in RENAMED and parts[-2] != "design":
        new = ".".join([*parts[:-1], RENAMED[parts[-1]]])
        return f"{plain}: no such key; it is {new} now{', with pipeline=audit' * ('design' in new)}."
    chosen = root.get(parts[0]) if parts[0] in root else None
    if len(parts) == 2 and parts[1] in OF_A_BACKBONE and _reads_letters(chosen):
        return f"{plain}: no such key; it is {parts[0]}.backbone.{OF_A_BACKBONE[parts[1]]} now."
    if len(parts) > 1 and isinstance(chosen, DictConfig) and parts[1] not in chosen and (fits := _fields(*parts[:2])):
        options = " or ".join(f"{parts[0]}={option}" for option in fits[:NAMED])
        keys = [f"{place}.{parts[1]}" for _, place in _mounts(parts[0]) if place != parts[0]]
        too = f"choose that, and set {' or '.join(keys)}" if keys else "choose that, too"
        return f"{plain}: the chosen {parts[0]} has no such field. It is one of {options}: {too}."
    leaves = sorted(_leaves(root), key=lambda leaf: leaf.count("."))
    meant = [leaf for leaf in leaves if leaf.split(".")[-len(parts) :] == parts]
    meant = meant or [leaf for leaf in leaves if leaf.split(".")[-1] == parts[-1]]
    if not meant and (elsewhere := _groups_with(parts[-1])):
        return f"{plain}: no such key. Did you mean {_either(elsewhere)}?"
    if meant:
        meant = get_close_matches(plain, meant, 1, SAME) or meant
        return f"{plain}: no such key. Did you mean {_either(meant)}?"
    node, place = _deepest(root, parts)
    known = sorted(str(name) for name in node if not str(name).startswith("_"))
    if not known:
        return f"{plain}: no such key; {place} has none that can be set."
    inside = f"{place}." * bool(place)
    wrong = plain.removeprefix(inside).partition(".")[0]
    near = get_close_matches(wrong, known, 1, 0.0) or known[:1]
    return f"{plain}: no such key. Did you mean {inside}{near[0]}? There are: {', '.join(known)}."


def unknown_option(group: str, option: str, options: Sequence[str]) -> str:
    """One line about `group=option`, where the group has only `options`."""
    written = f"{group}={option}"
    there = f"There are: {', '.join(sorted(options))}."
    if re.match(r"\w+/", option) and (config_folder() / group / option).parent.is_dir():  # experiment/claims=c01
        below, _, option = option.rpartition("/")
        group = f"{group}/{below}"
        written = f"{group}={option}"
    near = get_close_matches(option, options, 1, 0.0) or list(options[:1])
    alike = bool(get_close_matches(option, options, 1, ALIKE))
    if option.endswith((".yaml", ".yml")):
        name, folder = Path(option).stem, Path(option).parent
        return (
            f"{written}: an option is the name of a file, not its path. Put it into {folder / group}/ and write"
            f" --config-dir {shlex.quote(str(folder))} {group}={name}. {there}"
        )
    paths, models = ([name for name in _fields(group, field) if name in options] for field in ("path", "model"))
    if paths and _path_like(option):
        data = shlex.quote(f"data={option}")
        fix = data if group == "dataset" else f"{group}={paths[0]} {shlex.quote(f'{group}.path={option}')}"
        return f"{written}: an option is a name, and this looks like a path. Write {fix}. {there}"
    if models and not alike and _name_like(option) and not _path_like(option):
        named = "anthropic" if "claude" in option else "chat"
        keys = " and ".join(f"{place}.model" for _, place in _mounts(group))
        fix = f"Write {group}={named} {group}.model={option}" if named in models else f"Set {keys}"
        return f"{written}: an option is a name, and this looks like a model. {fix}. {there}"
    return f"{written}: no such option. Did you mean {group}={near[0]}? {there}"


def bare_word(word: str) -> str:
    """One line about an argument without `=`."""
    if _path_like(word):
        if Path(word).is_file():
            return f"{word}: arguments are written key=value. A run file is retriever=run {shlex.quote(f'retriever.path={word}')}"
        return f"{word}: arguments are written key=value. Write {shlex.quote(f'data={word}')}"
    folder = config_folder()
    for group in ("pipeline", "experiment", "sweep"):
        if (folder / group / f"{word}.yaml").exists() and word != "default":
            return f"{word}: zelo has no subcommands; arguments are written key=value. Write {group}={word}"
    top = plain(OmegaConf.load(folder / "config.yaml"))
    if word in top:
        value = "true" if isinstance(top[word], bool) else "..."
        return f"{word}: arguments are written key=value. Write {word}={value}"
    stages = [
        stage for name in ("annotate", "default") for stage in OmegaConf.load(folder / f"pipeline/{name}.yaml").stages
    ]
    fits = [stage for stage in stages if word in str(stage)] or get_close_matches(word, stages, 1, ALIKE)
    until = f" until={' or until='.join(fits[:NAMED])} stops after that stage." if fits else ""
    return f"{word}: zelo has no subcommands; arguments are written key=value, and zelo alone runs every stage.{until}"


def _reads_letters(chosen: object) -> bool:
    """Whether a component is a language model that judges pairs: it has a backbone, and a mass of verdicts."""
    return isinstance(chosen, DictConfig) and "backbone" in chosen and "verdict_mass" in chosen


def _path_like(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or Path(text).exists()


def _name_like(text: str) -> bool:
    """Whether this may name a model: it has a digit, a slash or a hyphen."""
    return any(char.isdigit() or char in "/-" for char in text)


def _either(keys: Sequence[str]) -> str:
    more = f" (and {len(keys) - NAMED} more)" if len(keys) > NAMED else ""
    return " or ".join(keys[:NAMED]) + more


def _leaves(root: DictConfig) -> Iterator[str]:
    """Every key that an override can set and a stage reads."""
    values = plain(root)
    read = set(re.findall(r"\$\{(\w+)", str(values.get("stages"))))
    todo = [(str(key), item) for key, item in values.items() if key in read or not isinstance(item, dict)]
    for place, item in todo:
        yield place
        if isinstance(item, dict):
            todo += [(f"{place}.{key}", below) for key, below in item.items()]


def _deepest(root: DictConfig, parts: Sequence[str]) -> tuple[DictConfig, str]:
    """The last part of the config that these keys lead to, and its place."""
    node = root
    for count, part in enumerate(parts):
        if part not in node or not isinstance(node[part], DictConfig):
            return node, ".".join(parts[:count])
        node = node[part]
    return node, ".".join(parts)


def _fields(group: str, field: str) -> list[str]:
    """The options of a group that have this field."""
    found = []
    for path in sorted((config_folder() / group).glob("*.yaml")):
        node = OmegaConf.to_container(OmegaConf.load(path))  # a value that is still missing, ???, counts
        if isinstance(node, dict) and "_target_" in node and field in node:
            found.append(path.stem)
    return found


def _groups_with(field: str) -> list[str]:
    """`group=option group.field=...` of each option that has this field, in any group."""
    groups = sorted(path.name for path in config_folder().iterdir() if path.is_dir() and path.name != "hydra")
    return [
        f"{choice}={option} {place}.{field}=..."
        for group in groups
        for option in _fields(group, field)
        for choice, place in _mounts(group)
    ]


def _mounts(group: str) -> list[tuple[str, str]]:
    """(what an override chooses, where its fields are) of a group: itself, or a part of each student of the default pipeline."""
    found = []
    for name, student in _defaults("pipeline/default"):
        if name.startswith("/student@"):
            top = name.partition("@")[2]
            for part, option in _defaults(f"student/{student}"):
                if part.startswith(f"/{group}@"):
                    place = f"{top}.{part.partition('@')[2]}"
                    found.append((group if option == f"${{{group}}}" else f"{group}@{place}", place))
    return found or [(group, group)]


def _defaults(name: str) -> list[tuple[str, str]]:
    """(group, option) of each choice in the defaults list of a yaml of conf/."""
    listed = plain(OmegaConf.load(config_folder() / f"{name}.yaml"))
    return [choice for entry in listed["defaults"] if isinstance(entry, dict) for choice in entry.items()]
