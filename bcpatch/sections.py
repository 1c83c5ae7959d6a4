"""A source text as sections that mean the same alone as they do in their place.

Most of a text stays as it is from one save to the next. What is found out about a
section is found out once, wherever it stands. Knows the layout of texts; what a section
defines is for others to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Final, NamedTuple

#: What begins at the margin and can't continue a statement that stands above it.
_BEGINNING: Final = re.compile(r"(?!(?:else|elif|except|finally)\b)[^\s)\]}]")

#: A line end that is not one to every reader: a text with such a line is one section.
_ODD_LINE_END: Final = re.compile(r"\r(?!\n)")

#: Pieces that are put together, before the rest of a text is taken for one section.
_JOINED: Final = 50


class Section(NamedTuple):
    """Some whole lines of a source text. ``above`` is how many lines of the text stand above it."""

    text: str
    above: int


def split(text: str, stands_alone: Callable[[str], bool]) -> tuple[Section, ...]:
    """Cut a source text into sections, in order; together they are the text.

    ``stands_alone`` tells whether a text is one that the parser takes. A section that does
    ends with its last statement complete, and the next one begins with a new statement: the
    words and brackets that would continue one can't begin one (Language Reference, "Full
    Grammar specification"). So the text parses to the statements of its sections.
    """
    if _ODD_LINE_END.search(text):
        return (Section(text, 0),)
    sections = []
    above = 0
    pieces = iter(_pieces(text))
    for piece in pieces:
        section = piece
        joined = 0
        while not stands_alone(section):
            more = next(pieces, None)
            if more is None:
                return (Section(text, 0),)
            joined += 1
            section += more if joined < _JOINED else "".join((more, *pieces))
        sections.append(Section(section, above))
        above += section.count("\n")
    return tuple(sections)


def _pieces(text: str) -> list[str]:
    """A text cut after empty lines, wherever a statement may begin."""
    end = "\r\n" if "\r" in text else "\n"
    cuts = [0]
    start = 0
    for paragraph in text.split(end * 2):
        words = paragraph.lstrip(end)
        if start and _BEGINNING.match(words):
            cuts.append(start + len(paragraph) - len(words))
        start += len(paragraph) + 2 * len(end)
    return [text[begin:stop] for begin, stop in pairwise([*cuts, len(text)])]
