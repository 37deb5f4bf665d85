"""A prompt: a text file with sections, filled in with texts that nobody can vouch for."""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from zelo.errors import BadInput
from zelo.places import config_folder
from zelo.providers.request import Json, canonical
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


class Text:
    """A text that is filled in, and what a prompt needs of it: made once, however many prompts show it."""

    __slots__ = ("json", "lower", "plain", "seed", "shown")

    def __init__(self, plain: str) -> None:
        self.plain = plain
        self.lower = plain.encode().lower()  # of ASCII alone, as digits are
        self.seed = f", {json.dumps(plain)}".encode()  # what a tag is made of
        self.shown = _OURS.sub("&lt;", plain)
        self.json = _in_json(self.shown)  # of `shown`, without the quotes

    @staticmethod
    def of_rows(rows: Sequence[np.ndarray], read: Callable[[np.ndarray], Iterable[str]]) -> list[list["Text"]]:
        """Per array of rows (all of one length) the texts that stand there. read: of different rows, their texts."""
        needed, place = np.unique(np.concatenate(rows), return_inverse=True)
        texts = [Text(plain) for plain in read(needed)]
        return [[texts[n] for n in part] for part in place.reshape(len(rows), -1).tolist()]


@dataclass(slots=True)
class Filled:
    """What is sent. `tag` is what the last line of a free answer begins with: no text that was filled in contains it."""

    system: str
    user: str
    tag: str
    system_json: Json
    user_json: Json


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
        texts: Mapping[str, str | Text | Sequence[str | Text]],
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
        shown = {name: [value] if isinstance(value, Text) else _texts(value) for name, value in texts.items()}
        words = {"instruction": instruction, **(words or {})}
        said = [_said(text) for text in words.values()]
        own = [text for of in shown.values() for text in of]
        seeds = own
        if tags_from is not None:
            seeds = [text for name, of in shown.items() if name in tags_from for text in of]
        names = [_said(name) for name in sorted(texts)]
        nonce = _nonce([*names, *seeds, *said], [*names, *own, *said])
        tag = f"{tag}-{nonce}"
        values = {name: _as_it_is(text) for name, text in words.items()}
        values |= {"instruction": _as_it_is(instruction.strip()), "tag": (tag, tag.encode())}
        for name, of in shown.items():
            if name in LABELS:
                marked = [_between(f"{LABELS[name]}-{label}-{nonce}", text) for label, text in enumerate(of, 1)]
                values[name] = "\n\n".join(plain for plain, _ in marked), rb"\n\n".join(json for _, json in marked)
            else:
                values[name] = _between(f"{name.replace('_', '-')}-{nonce}", of[0])
        empty = frozenset(name for name, (plain, _) in values.items() if not plain)
        system, user = self._templates[form]
        system, system_json = _filled(system, empty, values)
        user, user_json = _filled(user, empty, values)
        return Filled(system, user, tag, system_json, user_json)

    @cached_property
    def _templates(self) -> dict[str | None, tuple[str, str]]:
        """Per form of answer the system's part and the user's."""
        system, user = self.sections.get("system", ""), self.sections["user"]
        forms = {form: f"{user}\n\n{self.sections[form]}" for form in (STRUCTURED, TAGGED) if form in self.sections}
        return {form: (system, text) for form, text in {None: user, **forms}.items()}


def _filled(template: str, empty: frozenset[str], values: Mapping[str, tuple[str, bytes]]) -> tuple[str, Json]:
    """A template with its fields filled in, as text and as JSON. values: of each field, its text and what stands in JSON."""
    plain, quoted = [], [b'"']
    for literal, literal_json, name in _pieces(template, empty):
        plain.append(literal)
        quoted.append(literal_json)
        if name is not None:
            value, value_json = values[name]
            plain.append(value)
            quoted.append(value_json)
    quoted.append(b'"')
    return "".join(plain), Json(b"".join(quoted))


@lru_cache(maxsize=64)
def _pieces(template: str, empty: frozenset[str]) -> list[tuple[str, bytes, str | None]]:
    """(text, the same in JSON, the field that follows) of a template without the paragraphs whose field is empty."""
    if fields := [f"{{{name}}}" for name in empty]:
        paragraphs = re.split(r"\n[ \t]*\n", template)
        template = "\n\n".join(part for part in paragraphs if not any(name in part for name in fields))
    parts = [*_FIELD.split(template), None]  # text, field, text, field, ..., text
    return [(text or "", _in_json(text or ""), name) for text, name in zip(parts[::2], parts[1::2], strict=True)]


def _between(tag: str, text: Text) -> tuple[str, bytes]:
    mark = tag.encode()
    return f"<{tag}>\n{text.shown}\n</{tag}>", rb"<%b>\n%b\n</%b>" % (mark, text.json, mark)


def _texts(value: str | Sequence[str | Text]) -> list[Text]:
    several = [value] if isinstance(value, str) else value
    return [Text(one) if isinstance(one, str) else one for one in several]


@lru_cache(maxsize=64)
def _said(text: str) -> Text:
    """What a user has written: the same in all prompts."""
    return Text(text)


@lru_cache(maxsize=64)
def _as_it_is(text: str) -> tuple[str, bytes]:
    return text, _in_json(text)


def _in_json(text: str) -> bytes:
    return canonical(text)[1:-1].encode()


def _nonce(seeds: Sequence[Text], texts: Sequence[Text]) -> str:
    """Eight hexadecimal digits made from the seeds and in none of the texts."""
    for attempt in itertools.count():
        made = hashlib.blake2b(f"[{attempt}".encode(), digest_size=4)  # of the JSON of [attempt, *seeds]
        for text in seeds:
            made.update(text.seed)
        made.update(b"]")
        nonce = made.hexdigest()
        if not any(nonce.encode() in text.lower for text in texts):
            return nonce
    raise AssertionError("unreachable: more digits than any text holds")
