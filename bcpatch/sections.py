"""A source text as sections that mean the same alone as they do in their place.

Most of a text stays as it is from one save to the next. What is found out about a
section is found out once, wherever it stands. Knows the layout of texts; what a section
defines is for others to say.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Final, NamedTuple, TypeVar

import msgspec

from bcpatch.splices import equal_at_the_beginning, equal_at_the_end

#: Empty lines, and at the margin below them what can't continue a statement that stands above.
_CUT: Final = re.compile(r"(?:\n\n|\r\n\r\n)[\r\n]*(?!(?:else|elif|except|finally)\b)(?=[^\s)\]}])")

#: How many characters below a cut have a say in it: the longest of these words, and what ends it.
_AHEAD: Final = len("finally") + 1

#: A line end that is not one to every reader: a text with such a line is one section.
_ODD_LINE_END: Final = re.compile(r"\r(?!\n)")

#: Pieces that are put together, before the rest of a text is taken for one section.
_JOINED: Final = 50

#: Sections of another text at which both texts are tried for going on alike.
_TRIED: Final = 8

#: Sections that are met nowhere near, before they are looked for everywhere.
_STRANGE: Final = 4

T = TypeVar("T")
U = TypeVar("U")


class Section(msgspec.Struct, frozen=True):
    """Some whole lines of a source text. ``above`` is how many lines of the text stand above it."""

    text: str
    above: int


class Sections(msgspec.Struct, frozen=True):
    """A source text, with the places where its sections end, and how many lines stand above each."""

    text: str
    ends: array[int]
    above: array[int]

    def __len__(self) -> int:
        return len(self.ends)

    def start(self, number: int) -> int:
        """Where a section begins; the place where the last one ends, for the number beyond it."""
        return self.ends[number - 1] if number else 0

    def __getitem__(self, number: int) -> Section:
        return Section(self.text[self.start(number) : self.ends[number]], self.above[number])

    def __iter__(self) -> Iterator[Section]:
        return map(self.__getitem__, range(len(self)))


NOTHING: Final = Sections("", array("Q"), array("Q"))


class Kept(NamedTuple):
    """Neighbouring sections of a text that are those of another one: from which number on, here and there."""

    number: int
    near: int
    size: int


class Split(msgspec.Struct, frozen=True):
    """A text in its sections, and what it has in common with the text that was near."""

    sections: Sections
    kept: tuple[Kept, ...]

    def carried(self, known: Sequence[T], find: Callable[[str], U]) -> tuple[T | U, ...]:
        """One thing of each section: as it was ``known`` of the other text's sections, or found from a text."""
        found: list[T | U] = []
        for number, near, size in (*self.kept, Kept(len(self.sections), 0, 0)):
            found += [find(self.sections[new].text) for new in range(len(found), number)]
            found += known[near : near + size]
        return tuple(found)


def split(text: str, stands_alone: Callable[[str], bool], near: Sections = NOTHING) -> Split:
    """Cut a source text into sections, in order; together they are the text.

    ``stands_alone`` tells whether a text is one that the parser takes. A section that does
    ends with its last statement complete, and the next one begins with a new statement: the
    words and brackets that would continue one can't begin one (Language Reference, "Full
    Grammar specification"). So the text parses to the statements of its sections.

    ``near`` are the sections of another text, found in the same way: where both texts go on alike from
    the beginning of a section, so do their sections, and nobody is asked about them again.
    """
    if text == near.text and near.ends:
        return Split(near, (Kept(0, 0, len(near)),))
    if "\r" in text and _ODD_LINE_END.search(text):
        return _whole(text)
    alike = _Alike(text, near)
    ends, above = array("Q"), array("Q")
    kept = []
    position = lines = 0
    cuts = _cuts(text, 0)
    while position < len(text) or not ends:
        run = alike.at(position)
        if run:
            kept.append(Kept(len(ends), run.start, len(run)))
            ends.extend(_shifted(near.ends[run.start : run.stop], position - near.start(run.start)))
            above.extend(_shifted(near.above[run.start : run.stop], lines - near.above[run.start]))
            position = ends[-1]
            lines = above[-1] + near[run.stop - 1].text.count("\n")
            cuts = _cuts(text, position)
            continue
        joined = 0
        end = position
        while end == position or not stands_alone(text[position:end]):
            if end == len(text) and joined:
                return _whole(text)
            joined += 1
            end = next((cut for cut in cuts if cut > end), len(text)) if joined <= _JOINED else len(text)
        ends.append(end)
        above.append(lines)
        lines += text.count("\n", position, end)
        position = end
    return Split(Sections(text, ends, above), tuple(kept))


def _whole(text: str) -> Split:
    return Split(Sections(text, array("Q", [len(text)]), array("Q", [0])), ())


def _cuts(text: str, position: int) -> Iterator[int]:
    """Where the text may be cut, below a position at which it is."""
    return (found.end() for found in _CUT.finditer(text, max(position - _AHEAD, 0)))


def _shifted(places: array[int], distance: int) -> Iterable[int]:
    return [place + distance for place in places] if distance else places


def _first_line(text: str, position: int) -> str:
    return text[position : text.find("\n", position)]


class _Alike:
    """Where a text goes on as another one does, asked for one position after another.

    A text that is one section tells nothing: it may be one that no parser takes.
    """

    def __init__(self, text: str, near: Sections) -> None:
        self._text = text
        self._near = near if len(near) > 1 else NOTHING
        self._met = 0
        self._strange = 0
        self._moved = len(text) - len(near.text)
        self._equal_from = len(text) - equal_at_the_end(text, near.text)

    def at(self, position: int) -> range:
        """The sections of the other text that stand from a position on at which a section begins; may be none."""
        for number in self._candidates(position):
            start, end = self._near.start(number), self._near.ends[number]
            if self._text.startswith(self._near.text[start:end], position):
                found = self._from(number, position)
                if found:
                    self._met = found.stop
                    return found
        self._strange += 1
        return range(0)

    def _candidates(self, position: int) -> Iterator[int]:
        """The sections below the last one met, and the one that all the rest begins with if it is the same."""
        known = len(self._near)
        if position >= self._equal_from:
            yield from range(*self._beginning_at(position - self._moved))
        following = range(self._met, min(self._met + _TRIED, known))
        yield from following[1:2]  # most often one section has become another one
        yield from following[:1]
        yield from following[2:]
        if self._strange >= _STRANGE and known:
            yield from self._by_first_line.get(_first_line(self._text, position), ())[:_TRIED]

    @cached_property
    def _by_first_line(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number in range(len(self._near)):
            found.setdefault(_first_line(self._near.text, self._near.start(number)), []).append(number)
        return found

    def _beginning_at(self, place: int) -> tuple[int, int]:
        number = bisect_right(self._near.ends, place)
        return number, number + (number < len(self._near) and self._near.start(number) == place)

    def _from(self, number: int, position: int) -> range:
        """The sections from one on that both texts have in common. What stands below a cut has a say in it."""
        start = self._near.start(number)
        size = equal_at_the_beginning(self._text, self._near.text, position, start)
        if position + size == len(self._text) and start + size == len(self._near.text):
            return range(number, len(self._near))
        return range(number, bisect_left(self._near.ends, start + size - _AHEAD + 1))
