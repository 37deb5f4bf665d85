"""Entries of the language topics that `help()` shows: `pydoc_data.topics`, cut into sections and parts."""

import pydoc
import re
from collections.abc import Iterator
from itertools import pairwise
from pydoc_data.topics import topics

from .entry import MIN_TEXT, Entry, clean

MAX_SECTION, MIN_PART = 2000, 200  # characters

UNDERLINE = re.compile(r"([=*\-~^\"])\1{2,}\s*$")
SIGNATURE = re.compile(r"(?:class |coroutine |async )?([A-Za-z_]\w*(?:\.\w+)+)(?:\(|\s*$)")


def topic_entries() -> Iterator[tuple[str, Entry]]:
    """(id, entry) of every part of every section, shorter topics first: they own the texts that longer ones repeat."""
    for key in sorted(topics, key=lambda key: (len(topics[key]), key)):
        name, slugs, is_first = topic_name(key), {}, True
        for heading, slug, text in sections(topics[key]):
            if len(text) < MIN_TEXT:
                continue
            if is_first:
                id_, is_first = f"topic:{name}", False
            else:
                slugs[slug] = slugs.get(slug, 0) + 1
                id_ = f"topic:{name}#{slug}" + (f".{slugs[slug]}" if slugs[slug] > 1 else "")
            title = f"{name}: {heading}" if heading and heading.lower() != name.lower() else name
            for number, part in enumerate(parts(text), 1):
                part_id = id_ if number == 1 else f"{id_}~{number}"
                yield part_id, Entry(title, part, part_id)


def topic_name(key: str) -> str:
    """What the user types after `help` to see this topic: the first word that leads to it."""
    for words in (pydoc.Helper.topics, pydoc.Helper.keywords):
        for word, value in words.items():
            if isinstance(value, tuple) and value[0] == key:
                return word
    return key


def sections(text: str) -> Iterator[tuple[str, str, str]]:
    """(heading, slug, text) of each section of a topic; a short topic is one section, its heading left in the text."""
    lines = [line.rstrip() for line in text.strip("\n").split("\n")]
    cuts = list(section_cuts(lines))
    if len(text) <= MAX_SECTION or all(end == 0 for end, *_ in cuts):
        heading = next((heading for _, _, heading, _ in cuts), "")
        yield heading, "", clean(text)
        return
    bounds = [(0, 0, "", ""), *cuts, (len(lines), len(lines), "", "")]
    for (_, begin, heading, slug), (end, *_) in pairwise(bounds):
        yield heading, slug, clean("\n".join(lines[begin:end]))


def section_cuts(lines: list[str]) -> Iterator[tuple[int, int, str, str]]:
    """(where the section before ends, where this one's text begins, heading, slug) of each cut."""
    for row, line in enumerate(lines):
        if not line or line[0].isspace():
            continue
        under = lines[row + 1] if row + 1 < len(lines) else ""
        entry = SIGNATURE.match(line)
        if UNDERLINE.match(under) and len(under) >= len(line) - 1 and not UNDERLINE.match(line):
            yield row, row + 2, line, re.sub(r"[^a-z0-9_.]+", "-", line.lower()).strip("-")
        elif entry and (row == 0 or not lines[row - 1]):
            yield row, row, entry[1], entry[1].lower()


def parts(text: str) -> list[str]:
    """A text cut between paragraphs into parts of at most 2,000 characters, where its paragraphs allow it."""
    if len(text) <= MAX_SECTION:
        return [text]
    done, open_ = [], ""
    for paragraph in text.split("\n\n"):
        if len(open_) >= MIN_PART and len(open_) + len(paragraph) > MAX_SECTION:
            done.append(open_)
            open_ = paragraph
        else:
            open_ = f"{open_}\n\n{paragraph}" if open_ else paragraph
    if done and len(open_) < MIN_PART:
        done[-1] += f"\n\n{open_}"
    else:
        done.append(open_)
    return done
