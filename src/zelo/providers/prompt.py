"""A prompt: a text file with sections, filled in with texts that nobody can vouch for."""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from zelo.errors import BadInput
from zelo.places import config_folder
from zelo.store.hashing import hash_json

STRUCTURED, TAGGED = "structured", "tagged"
SECTIONS = ("system", "user", STRUCTURED, TAGGED)
PAIR = frozenset({"query", "document_a", "document_b"})
CROSS = frozenset({"query_a", "document_a", "query_b", "document_b"})
WINDOW = frozenset({"query", "documents"})
ALONE = frozenset({"query", "document"})
ALWAYS = frozenset({"instruction", "tag"})
TAG = "score"
LABELS = {"documents": "document", "queries": "query"}  # field of several texts -> what each is called

_HEADING = re.compile(rf"^\[({'|'.join(SECTIONS)})\][ \t]*$", re.MULTILINE)
_NEARLY = re.compile(rf"^\W*\[\s*({'|'.join(SECTIONS)})\s*\]\W*$", re.MULTILINE | re.IGNORECASE)
_FIELD = re.compile(r"\{([a-z_]+)\}")
_OURS = re.compile(r"<(?=\s*/?\s*(?:query|document)(?:[-_][a-z0-9]+)+\s*>)", re.IGNORECASE)


@dataclass(frozen=True)
class Filled:
    """What is sent. `tag` is what the last line of a free answer begins with: no text that was filled in contains it."""

    system: str
    user: str
    tag: str


@dataclass(frozen=True)
class Prompt:
    """A file with the sections [system] (may be missing), [user], and the form of the answer: [structured] or [tagged].

    The form in use is put after the user's part. A name in braces is a field. A paragraph with {instruction} is left out where
    there is no instruction, and so is one with a list of texts that is empty. What stands before the first section is a remark.
    """

    path: Path

    @staticmethod
    def named(name: str, where: str, group: str = "judge") -> "Prompt":
        """conf/<group>/prompts/<name>.txt, or a file of the user's own. Raises BadInput with the names that there are.

        where: who asks, for the message.
        """
        folder = config_folder() / group / "prompts"
        path = Path(name).expanduser() if name.endswith(".txt") or "/" in name else folder / f"{name}.txt"
        if not path.is_file():
            known = sorted(file.stem for file in folder.glob("*.txt"))
            near = get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise BadInput(
                f"{where}: no prompt {name!r}.{hint} There are: {', '.join(known)}; or give the path of a .txt file."
            )
        prompt = Prompt(path)
        if not prompt.sections.get("user"):
            raise BadInput(f"{where}: prompt {path} has no section [user]; put that heading on a line of its own.")
        return prompt

    @cached_property
    def sections(self) -> dict[str, str]:
        """Section name -> its text. Raises BadInput for a file that cannot be read or names a section twice."""
        try:
            parts = _HEADING.split(self.path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"prompt {self.path} cannot be read as UTF-8 text: {error}") from error
        names = parts[1::2]
        if lost := _NEARLY.search(parts[0]):
            raise BadInput(
                f"prompt {self.path}: the line {lost[0].strip()!r} is no heading, so what follows it would not be sent; write"
                f" [{lost[1].lower()}] alone on its line."
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadInput(f"prompt {self.path} has the section [{twice}] twice; keep one of them.")
        return {name: text.strip() for name, text in zip(names, parts[2::2], strict=True)}

    @property
    def content(self) -> str:
        """Hash of what can be sent; a remark in the file changes nothing."""
        return hash_json(self.sections)

    def check(
        self,
        needs: frozenset[str],
        form: str | None,
        instruction: str,
        where: str,
        may: frozenset[str] = frozenset(),
    ) -> None:
        """Raises BadInput where the file does not fit its use: a field too many or too few, another form of answer.

        needs: PAIR, CROSS, WINDOW, ALONE or another's own fields; form: the section that says how to answer, None: one letter;
        where: for the message; may: fields that it may have besides.
        """
        place = f"{where}: prompt {self.path}"
        used = {name for text in self.sections.values() for name in _FIELD.findall(text)}
        for name in sorted(used - needs - may - ALWAYS):
            known = ", ".join(f"{{{field}}}" for field in sorted(needs | may | ALWAYS))
            raise BadInput(f"{place} has the field {{{name}}}, which nothing fills here; the fields are {known}.")
        asked = set(_FIELD.findall(self.sections.get("system", "") + self.sections["user"]))
        for name in sorted(needs - asked):
            raise BadInput(f"{place} lacks the field {{{name}}}; write it into [user], where that text is to stand.")
        forms = [name for name in (STRUCTURED, TAGGED) if self.sections.get(name)]
        if form is None and forms:
            raise BadInput(
                f"{place} asks for a longer answer in [{forms[0]}], and here a letter is read; use prompt=pairwise_verdict,"
                " or drop that section."
            )
        if form is not None and form not in forms:
            raise BadInput(f"{place} lacks the section [{form}], which says how to answer; add it.")
        if form == TAGGED and "{tag}" not in self.sections[TAGGED]:
            raise BadInput(f"{place} lacks the field {{tag}} in [{TAGGED}]; end it with the line {{tag}}: NUMBER.")
        if instruction and "instruction" not in used:
            raise BadInput(f"{place} lacks the field {{instruction}}; add it, or set instruction to ''.")

    def fill(
        self,
        texts: Mapping[str, str | Sequence[str]],
        instruction: str,
        form: str | None,
        tags_from: frozenset[str] | None = None,
        tag: str = TAG,
        words: Mapping[str, str] | None = None,
    ) -> Filled:
        """The prompt with its fields filled in one pass, so that braces in a text stay as they are.

        texts: field -> text (for `documents` and `queries`: texts, labelled from 1). Each stands between tags that carry eight
        characters made from all of them, which none of them contains: a text cannot close its own tag, nor write the line
        that is read as the answer. What looks like one of these tags inside a text loses its bracket. tags_from: the fields
        that the characters are made from instead, so that prompts with these texts in common begin alike. tag: what the last
        line of a free answer begins with, before these characters. words: field -> what the user has written, which stands as
        it is, as the instruction does.
        """
        parts = {name: [value] if isinstance(value, str) else value for name, value in texts.items()}
        own = dict(words or {})
        everything = [*sorted(texts), *itertools.chain(*parts.values()), instruction, *own.values()]
        seeds = [text for name, values in parts.items() if tags_from is None or name in tags_from for text in values]
        nonce = _nonce([*sorted(texts), *seeds, instruction, *own.values()], everything)
        values = own | {"instruction": instruction.strip(), "tag": f"{tag}-{nonce}"}
        for name, value in texts.items():
            if isinstance(value, str):
                values[name] = _between(f"{name.replace('_', '-')}-{nonce}", value)
            else:
                numbered = enumerate(value, 1)
                label_of = LABELS[name]
                values[name] = "\n\n".join(_between(f"{label_of}-{label}-{nonce}", text) for label, text in numbered)
        user = "\n\n".join([self.sections["user"], *([self.sections[form]] if form else [])])
        system = _filled(self.sections.get("system", ""), values)
        return Filled(system=system, user=_filled(user, values), tag=values["tag"])


def _filled(template: str, values: Mapping[str, str]) -> str:
    if empty := [f"{{{name}}}" for name, value in values.items() if not value]:
        paragraphs = re.split(r"\n[ \t]*\n", template)
        template = "\n\n".join(part for part in paragraphs if not any(name in part for name in empty))
    return _FIELD.sub(lambda match: values[match[1]], template)


def _between(tag: str, text: str) -> str:
    return f"<{tag}>\n{_OURS.sub('&lt;', text)}\n</{tag}>"


def _nonce(seeds: Sequence[str], texts: Sequence[str]) -> str:
    """Eight hexadecimal digits made from the seeds and in none of the texts."""
    everything = "\n".join(texts).lower()
    for attempt in itertools.count():
        source = json.dumps([attempt, *seeds]).encode()
        nonce = hashlib.blake2b(source, digest_size=4).hexdigest()
        if nonce not in everything:
            return nonce
    raise AssertionError("unreachable: more digits than any text holds")
