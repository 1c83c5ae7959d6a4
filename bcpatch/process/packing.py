"""Long rows of like things in few bytes. Knows nothing of what they mean.

What comes is put at an open end, by calls that run no Python: they can be part of a swap.
Once the open end is long, `settled` gives the same row with it compressed. A row that somebody
reads meanwhile stays as it is, so readers need no lock. There is one writer at a time.
"""

from __future__ import annotations

import operator
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain, islice
from typing import Any, Final, TypeAlias

import msgspec

Call: TypeAlias = tuple[Any, ...]
"""A callable that runs no Python, and its arguments."""

_OPEN: Final = 64
"""Numbers of an open end that is long."""

_CHUNK: Final = 1024
"""Numbers that are compressed as one."""

_OPEN_BYTES: Final = 1 << 14
"""Bytes of pieces that are compressed as one: half of what the compression looks back on (RFC 1951)."""

_integers: Final = msgspec.msgpack.Decoder(list[int])
_pieces: Final = msgspec.msgpack.Decoder(list[bytes])


class Numbers:
    """Integers of 64 bits in their order: a bit or two each where what they grow by comes again and again."""

    __slots__ = ("_chunks", "_count", "_open")

    def __init__(self, *first: int) -> None:
        self._chunks: tuple[bytes, ...] = ()
        self._count = 0
        self._open = array("q", first)

    def __len__(self) -> int:
        return self._count + len(self._open)

    def __getitem__(self, index: int) -> int:
        if index >= self._count:
            return self._open[index - self._count]
        return _unpacked(self._chunks[index // _CHUNK])[index % _CHUNK]

    def __iter__(self) -> Iterator[int]:
        return chain(chain.from_iterable(map(_unpacked, self._chunks)), self._open)

    def __reversed__(self) -> Iterator[int]:
        yield from reversed(self._open)
        for chunk in reversed(self._chunks):
            yield from reversed(_unpacked(chunk))

    def appending(self, number: int) -> Call:
        """The call that adds a number."""
        return self._open.append, number

    def replace_last(self, number: int) -> None:
        """Put another number in place of the last one, after which none was `settled`."""
        self._open[-1] = number

    def settled(self) -> Numbers:
        """The same numbers, with what came of late compressed where that is much."""
        if len(self._open) < _OPEN:
            return self
        whole = self._count // _CHUNK
        rest = self._open
        for chunk in self._chunks[whole:]:  # one that is not whole, and won't be read again
            rest = _unpacked.__wrapped__(chunk) + rest
        found = Numbers()
        parts = range(0, len(rest), _CHUNK)
        found._chunks = (*self._chunks[:whole], *(_packed(rest[start : start + _CHUNK]) for start in parts))
        found._count = len(self)
        return found


def _packed(numbers: array[int]) -> bytes:
    grown = list(map(operator.sub, numbers, chain((0,), numbers)))
    return zlib.compress(msgspec.msgpack.encode(grown), 9, -zlib.MAX_WBITS)


@lru_cache(maxsize=8)
def _unpacked(chunk: bytes) -> array[int]:
    return array("q", accumulate(_integers.decode(zlib.decompress(chunk, -zlib.MAX_WBITS))))


class Pieces:
    """Pieces of data in their order: those that resemble what came shortly before take little more than what is new."""

    __slots__ = ("_blocks", "_ends", "_open")

    def __init__(self, *first: bytes) -> None:
        self._blocks: tuple[bytes, ...] = ()
        self._ends = array("Q")
        self._open = list(first)

    def __len__(self) -> int:
        return (self._ends[-1] if self._ends else 0) + len(self._open)

    def __getitem__(self, index: int) -> bytes:
        block = bisect_right(self._ends, index)
        start = self._ends[block - 1] if block else 0
        if block == len(self._ends):
            return self._open[index - start]
        packed = self._blocks[block]
        # what is large is rarely looked at, and not kept unpacked
        return (_opened if len(packed) < _OPEN_BYTES else _opened.__wrapped__)(packed)[index - start]

    def appending(self, piece: bytes) -> Call:
        """The call that adds a piece."""
        return self._open.append, piece

    def replace_last(self, piece: bytes) -> None:
        """Put another piece in place of the last one, after which none was `settled`."""
        self._open[-1] = piece

    def settled(self) -> Pieces:
        """The same pieces, with what came of late compressed where that is much."""
        if sum(map(len, self._open)) < _OPEN_BYTES:
            return self
        found = Pieces()
        plain = msgspec.msgpack.encode(self._open)
        level = 9 if len(plain) < 2 * _OPEN_BYTES else 1  # what is large is of a large patch, and came all at once
        found._blocks = (*self._blocks, zlib.compress(plain, level, -zlib.MAX_WBITS))
        found._ends = self._ends + array("Q", [len(self)])
        return found


@lru_cache(maxsize=8)
def _opened(block: bytes) -> list[bytes]:
    return _pieces.decode(zlib.decompress(block, -zlib.MAX_WBITS))


class Keys:
    """A number for each of some digests of one length. They are looked for in C, from the first to the last."""

    __slots__ = ("_digests", "_numbers")

    def __init__(self, more: Mapping[bytes, int] = {}) -> None:
        self._digests = bytearray().join(more)
        self._numbers = array("I", more.values())

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, number: int | None) -> bool:
        return number in self._numbers

    def get(self, key: bytes) -> int | None:
        """The number of a digest, None where it has none."""
        at = self._find(key)
        return None if at is None else self._numbers[at]

    def appending(self, key: bytes, number: int) -> list[Call]:
        """The calls that give a number to a digest that has none: of one that has, the first number counts."""
        # whoever reads meanwhile finds the number of each digest that he finds
        return [(self._numbers.append, number), (self._digests.extend, key)]

    def _find(self, key: bytes) -> int | None:
        at = self._digests.find(key)
        while at >= 0:
            if at % len(key) == 0:  # else it is not where a digest begins
                return at // len(key)
            at = self._digests.find(key, at + 1)
        return None


class Places:
    """The place of each object of a sequence, by its id: for as long as it has it."""

    __slots__ = ("_moving", "_objects", "_of_late", "_settled")

    def __init__(self, objects: Sequence[object]) -> None:
        self._objects = objects
        self._of_late: dict[int, int] = {}
        self._moving: dict[int, int] = {}
        self._settled = array("Q"), array("I")  # ids in their order, and the places

    def get(self, key: int) -> int | None:
        """The place of the object of an id, None where it has none."""
        found = self._of_late.get(key)
        if found is None:
            found = self._moving.get(key)
        if found is None:
            ids, places = self._settled
            at = bisect_left(ids, key)
            if at < len(ids) and ids[at] == key:
                return places[at]
        return found

    def of(self, keys: Sequence[int]) -> list[int | None]:
        """The places of the objects of some ids: as `get` gives them, in less time."""
        return list(map(self.among(keys).get, keys))

    def among(self, keys: Collection[int]) -> dict[int, int]:
        """The places of those of some ids that have one."""
        found = {key: place for key, place in zip(keys, map(self._of_late.get, keys), strict=True) if place is not None}
        rest = [key for key in keys if key not in found]
        found.update([(key, place) for key, place in zip(rest, map(self.get, rest), strict=True) if place is not None])
        return found

    def __contains__(self, key: int) -> bool:
        return self.get(key) is not None

    def __getitem__(self, key: int) -> int:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def adding(self, places: Mapping[int, int]) -> Call:
        """The call that gives objects their places."""
        return self._of_late.update, places

    def moving(self, old: int, new: int, place: int) -> list[Call]:
        """The calls that give the place of one object to another; it must be one that does not stay."""
        table = self._of_late if old in self._of_late else self._moving
        return [(table.pop, old), (operator.setitem, table, new, place)]

    def settle(self, stays: Callable[[object], bool]) -> None:
        """Keep the places of some objects that never give them to others in fewer bytes.

        Of some only, the oldest first, so that it takes no longer after much than after little.
        """
        some = list(islice(self._of_late.items(), _OPEN))
        staying = {key: place for key, place in some if stays(self._objects[place])}
        if staying:
            ids, places = self._settled[0][:], self._settled[1][:]
            for key, place in staying.items():
                at = bisect_left(ids, key)
                ids.insert(at, key)
                places.insert(at, place)
            self._settled = ids, places
        self._moving.update((key, place) for key, place in some if key not in staying)
        for key, _ in some:  # whoever reads finds it in one table or the other
            del self._of_late[key]
