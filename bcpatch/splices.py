"""What makes one text of another: the lines that differ, and where they go.

Knows bytes and their lines; nothing of Python, patches or processes.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import AnyStr, TypeAlias

import msgspec

from bcpatch.model import Splice

_Lines: TypeAlias = Sequence[bytes]


def between(text: bytes, wanted: bytes) -> tuple[Splice, ...]:
    """The splices that make ``wanted`` of ``text``: whole lines, in order, the same for the same two texts.

    Lines that stand once in each text tell what stayed (as in a patience diff), so that
    the time is that of sorting the lines that differ.
    """
    found: list[Splice] = []
    for begin, end, other_begin, other_end in _stretches(text, wanted):
        here, there = (io.BytesIO(one).readlines() for one in (text[begin:end], wanted[other_begin:other_end]))
        starts = list(accumulate(map(len, here), initial=begin))
        found += [
            Splice(starts[a], starts[b] - starts[a], b"".join(there[c:d])) for a, b, c, d in _differing(here, there)
        ]
    return tuple(found)


def applied(splices: Iterable[Splice], text: bytes) -> bytes:
    """The text that splices make of another. Raises ValueError where they are not in order, or not in the text."""
    pieces = []
    position = 0
    for splice in splices:
        end = splice.start + splice.size
        if not position <= splice.start <= end <= len(text):
            raise ValueError(f"a splice from {splice.start} to {end} of {len(text)} bytes, after {position}")
        pieces += [text[position : splice.start], splice.text]
        position = end
    return b"".join((*pieces, text[position:]))


def inverse(splices: Iterable[Splice], text: bytes) -> tuple[Splice, ...]:
    """The splices that make ``text`` again of what ``splices`` make of it."""
    found = []
    shift = 0
    for splice in splices:
        replaced = text[splice.start : splice.start + splice.size]
        found.append(Splice(splice.start + shift, len(splice.text), replaced))
        shift += len(splice.text) - splice.size
    return tuple(found)


def equal_at_the_beginning(one: AnyStr, other: AnyStr, start: int = 0, other_start: int = 0) -> int:
    """How much of two texts is equal from some places in them on, before the first difference."""
    least, most = 0, min(len(one) - start, len(other) - other_start)
    while least < most:
        middle = (least + most + 1) // 2
        if one.startswith(other[other_start + least : other_start + middle], start + least):
            least = middle
        else:
            most = middle - 1
    return least


def equal_at_the_end(one: AnyStr, other: AnyStr) -> int:
    """How much of two texts is equal after the last difference."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one.endswith(other[len(other) - middle : len(other) - least], 0, len(one) - least):
            least = middle
        else:
            most = middle - 1
    return least


def _stretches(text: bytes, wanted: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Where two texts differ, as ranges of bytes of both: what is equal at the ends is left out, and long runs between.

    Such a run stands where lines were added or taken away above it, and its lines need not be looked at one by one.
    """
    begin, end = _around(text, wanted)
    here, there = begin, begin
    stop, other_stop = len(text) - end, len(wanted) - end
    while run := _long_run(text[here:stop], wanted[there:other_stop]):
        yield here, here + run.before, there, there + run.other_before
        here, there = here + run.before + run.size, there + run.other_before + run.size
    yield here, stop, there, other_stop


class _Run(msgspec.Struct, frozen=True):
    """So many bytes that two texts have in common, and how many stand before them in each."""

    before: int
    other_before: int
    size: int


def _long_run(text: bytes, wanted: bytes) -> _Run | None:
    """Equal lines that are most of both texts, and that one of the two begins with."""
    for one, other in ((text, wanted), (wanted, text)):
        first = one[: one.find(b"\n") + 1]
        at = other.find(b"\n" + first) + 1
        if first and at:
            size = one.rfind(b"\n", 0, equal_at_the_beginning(one, other, 0, at)) + 1
            if 2 * size >= max(len(one), len(other)):
                return _Run(0, at, size) if one is text else _Run(at, 0, size)
    return None


def _around(text: bytes, wanted: bytes) -> tuple[int, int]:
    """How many bytes of equal lines both texts begin with, and how many the rest of both ends with."""
    begin = text.rfind(b"\n", 0, equal_at_the_beginning(text, wanted)) + 1
    rest, other = text[begin:], wanted[begin:]
    end = equal_at_the_end(rest, other)
    if not (_begins_line(rest, end) and _begins_line(other, end)):
        first = rest.find(b"\n", len(rest) - end)
        end = len(rest) - first - 1 if first >= 0 else 0
    return begin, end


def _begins_line(text: bytes, end: int) -> bool:
    """Whether a line begins so many bytes before the end of a text that begins with a line."""
    return end == len(text) or text.endswith(b"\n", 0, len(text) - end)


def _differing(here: _Lines, there: _Lines) -> Iterator[tuple[int, int, int, int]]:
    """Ranges of lines that differ: first and end in the one text, first and end in the other."""
    a, b, c, d = _trimmed(here, there, 0, len(here), 0, len(there))
    common = [(a - 1, c - 1), *_once_in_each(here, there, a, b, c, d), (b, d)]
    for (left, other_left), (right, other_right) in pairwise(common):
        if here[left + 1 : right] == there[other_left + 1 : other_right]:
            continue
        found = _trimmed(here, there, left + 1, right, other_left + 1, other_right)
        yield found


def _trimmed(here: _Lines, there: _Lines, a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    """Two ranges without the lines that both begin with, and those that both end with."""
    while a < b and c < d and here[a] == there[c]:
        a, c = a + 1, c + 1
    while a < b and c < d and here[b - 1] == there[d - 1]:
        b, d = b - 1, d - 1
    return a, b, c, d


def _once_in_each(here: _Lines, there: _Lines, a: int, b: int, c: int, d: int) -> list[tuple[int, int]]:
    """Pairs of equal lines that are unique in both ranges: the most that stand in the same order in both."""
    once, other_once = ({line for line, n in Counter(one).items() if n == 1} for one in (here[a:b], there[c:d]))
    places = {there[number]: number for number in range(c, d) if there[number] in other_once}
    kept = once & places.keys()
    pairs = [(number, places[here[number]]) for number in range(a, b) if here[number] in kept]
    return in_order(pairs)


def in_order(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of pairs in the order of their first numbers, the most that are in order of their second ones too.

    By patience sorting: https://en.wikipedia.org/wiki/Longest_increasing_subsequence
    """
    if all(one[1] < other[1] for one, other in pairwise(pairs)):
        return list(pairs)
    ends: list[int] = []  # by length: the least second number that so many pairs in order can end with
    chosen: list[int] = []  # which pair that is
    before: list[int] = []  # by pair: which one stands before it
    for index, (_, number) in enumerate(pairs):
        length = bisect_left(ends, number)
        before.append(chosen[length - 1] if length else -1)
        ends[length : length + 1] = [number]
        chosen[length : length + 1] = [index]
    found = []
    index = chosen[-1] if chosen else -1
    while index >= 0:
        found.append(pairs[index])
        index = before[index]
    return found[::-1]
