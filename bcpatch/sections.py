"""A source text as sections that mean the same alone as they do in their place.

Most of a text stays as it is from one save to the next. What is found out about a
section is found out once, wherever it stands. Knows the layout of texts; what a section
defines is for others to say.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Final, NamedTuple

from bcpatch.splices import equal_at_the_beginning, equal_at_the_end

#: Empty lines, and at the margin below them what can't continue a statement that stands above.
_CUT: Final = re.compile(r"(?:\n\n|\r\n\r\n)[\r\n]*(?!(?:else|elif|except|finally)\b)(?=[^\s)\]}])")

#: How many characters below a cut have a say in it: the longest of these words, and what ends it.
_AHEAD: Final = len("finally") + 1

#: A line end that is not one to every reader: a text with such a line is one section.
_ODD_LINE_END: Final = re.compile(r"\r(?!\n)")

#: Pieces that are put together, before the rest of a text is taken for one section.
_JOINED: Final = 50


class Section(NamedTuple):
    """Some whole lines of a source text. ``above`` is how many lines of the text stand above it."""

    text: str
    above: int


_text: Final = attrgetter("text")


def split(text: str, stands_alone: Callable[[str], bool], near: Sequence[Section] = ()) -> tuple[Section, ...]:
    """Cut a source text into sections, in order; together they are the text.

    ``stands_alone`` tells whether a text is one that the parser takes. A section that does
    ends with its last statement complete, and the next one begins with a new statement: the
    words and brackets that would continue one can't begin one (Language Reference, "Full
    Grammar specification"). So the text parses to the statements of its sections.

    ``near`` are the sections of another text, found in the same way: where both texts are the same,
    so are their sections, and nobody is asked about them again.
    """
    if _ODD_LINE_END.search(text):
        return (Section(text, 0),)
    known = _Known(text, near)
    sections = list(known.at_the_beginning)
    position = known.beginning
    above = sections[-1].above + sections[-1].text.count("\n") if sections else 0
    cuts = (found.end() for found in _CUT.finditer(text, max(position - _AHEAD, 0)))
    while (rest := known.rest(position)) is None:
        joined = 0
        end = position
        while end == position or not stands_alone(text[position:end]):
            if end == len(text) and joined:
                return (Section(text, 0),)
            joined += 1
            end = next((cut for cut in cuts if cut > end), len(text)) if joined <= _JOINED else len(text)
        sections.append(Section(text[position:end], above))
        above += text.count("\n", position, end)
        position = end
    if rest:
        lines = above - rest[0].above
        sections += [Section(part, start + lines) for part, start in rest] if lines else rest
    return tuple(sections)


class _Known:
    """What the sections of another text tell about those of a text: by the positions at which sections begin."""

    def __init__(self, text: str, near: Sequence[Section]) -> None:
        other = "".join(map(_text, near))
        same = equal_at_the_beginning(text, other) - _AHEAD
        self._near = near
        self._ends = list(accumulate(map(len, map(_text, near))))
        kept = bisect_left(self._ends, same + 1)
        self.at_the_beginning = near[:kept]
        self.beginning = self._ends[kept - 1] if kept else 0
        self._moved = len(text) - len(other)
        self._equal_from = len(text) - equal_at_the_end(text, other)
        self._length = len(text)

    def rest(self, position: int) -> Sequence[Section] | None:
        """The sections from a position on at which one begins; None where they are not known."""
        if position == self._length:
            return () if position else None
        at = bisect_left(self._ends, position - self._moved)
        begins = at < len(self._ends) and self._ends[at] == position - self._moved
        return self._near[at + 1 :] if begins and position >= self._equal_from else None


class Splitter:
    """Splits one version of a text after another: what is as it was in the last one is not looked at again.

    ``kept`` is how many texts it keeps the last version of.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._last: dict[Hashable, tuple[Section, ...]] = {}

    def split(self, key: Hashable, text: str, stands_alone: Callable[[str], bool]) -> tuple[Section, ...]:
        """The sections of a version of the text that goes by a key, as `split` finds them."""
        found = split(text, stands_alone, self._last.pop(key, ()))
        self._last[key] = found
        for oldest in list(self._last)[: -self._kept]:
            self._last.pop(oldest, None)
        return found
