"""The records of all generations, in few bytes: a process may see tens of thousands of them.

Every object that the records speak of is held once, at a place of its own. What a generation
says is packed, and generations that did the same share it: of an edit back and forth no more
is kept than when it was made, and upon what. This module knows how a record is kept, not what
it means.
"""

from __future__ import annotations

import operator
import time
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from bcpatch.diagnostics import Diagnostic
from bcpatch.model import Policy, Site
from bcpatch.process.records import Cache, Generation, Record, SiteChange, Step, Target, Version
from bcpatch.process.swap import Change, Kind, Row, Slot

Renewal: TypeAlias = tuple[FunctionType, FunctionType]
"""A function that goes, and the one that stands for it in every generation from now on."""

Store: TypeAlias = tuple[Kind, int, str, int, int]
"""A change: kind, owner and name of the slot, old and new value. Objects are told by their places."""


class _First(msgspec.Struct, frozen=True, array_like=True):
    """What the facts of a generation begin with; the rest is skipped."""

    patch: str


class _Facts(_First, frozen=True, array_like=True):
    """What a generation says that others may say too."""

    policy: Policy
    certain: bool
    pending: tuple[str, ...]
    notes: tuple[Diagnostic, ...]
    sites: tuple[SiteChange, ...]
    versions: tuple[Version, ...]
    steps: tuple[tuple[bytes, Step], ...]
    changes: tuple[Store, ...]
    targets: tuple[tuple[int, Site], ...]
    caches: tuple[tuple[int, int], ...]


_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")
_decoder: Final = msgspec.msgpack.Decoder(_Facts)
_first: Final = msgspec.msgpack.Decoder(_First)

_WINDOW: Final = 1 << 15
"""Bytes of a pattern that the compression looks back on (RFC 1951)."""


class Entry(NamedTuple):
    """What enters a record, as part of its swap.

    ``held`` are the objects that the rows hold and the ledger doesn't, ``places`` where they come to stand,
    and ``stores`` the changes of the record.
    """

    rows: list[Row]
    held: list[object]
    places: dict[int, int]
    stores: tuple[Store, ...]


@dataclass(slots=True, eq=False)
class Ledger:
    """The records by number. ``objects`` are what they speak of, ``places`` where each stands there, by its id."""

    objects: list[object] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    _parents: array[int] = field(default_factory=lambda: array("I", [0]))
    _applied: array[float] = field(default_factory=lambda: array("d", [time.time()]))
    _milliseconds: array[float] = field(default_factory=lambda: array("d", [0.0]))
    _packed: list[bytes] = field(default_factory=lambda: [b""])
    _known: dict[bytes, bytes] = field(default_factory=dict)
    _pattern: bytes = b""

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, number: int) -> Record:
        if not 0 <= number < len(self._packed):
            raise IndexError(f"generation {number} is not one of 0 to {len(self._packed) - 1}")
        packed = self._packed[number]
        parent, applied, took = self._parents[number], self._applied[number], self._milliseconds[number]
        if not packed:
            return Record(Generation(number, parent, None, None, applied, took))
        facts = self._facts(packed)
        told = (facts.sites, facts.notes, facts.certain, facts.pending)
        return Record(
            Generation(number, parent, facts.patch, facts.policy, applied, took, *told),
            tuple(map(self.change, facts.changes)),
            tuple(Target(self._function(place), site) for place, site in facts.targets),
            tuple(Cache(self.objects[wrapper], self._function(place)) for wrapper, place in facts.caches),
            facts.versions,
            {name.decode("utf-8", "surrogatepass"): step for name, step in facts.steps},
        )

    def __iter__(self) -> Iterator[Record]:
        return map(self.__getitem__, range(len(self._packed)))

    def parent(self, number: int) -> int:
        """The generation that another one was applied to."""
        return self._parents[number]

    def patch(self, number: int) -> str | None:
        """The digest of the patch that a generation came with; None for generation 0."""
        packed = self._packed[number]
        return _first.decode(self._plain(packed)).patch if packed else None

    def change(self, store: Store) -> Change:
        """A change whose objects are told by their places."""
        kind, owner, name, old, new = store
        return Change(Slot(kind, self.objects[owner], name), self.objects[old], self.objects[new])

    def _function(self, place: int) -> FunctionType:
        found = self.objects[place]
        assert isinstance(found, FunctionType)
        return found

    def entry(self, record: Record, more: Sequence[object], renewals: Sequence[Renewal]) -> Entry:
        """What enters a record, and ``more`` objects, after the last one.

        A function that is renewed gives its place to its twin, in the records of all generations.
        """
        held: list[object] = []
        places = {id(twin): self.places[id(old)] for old, twin in renewals if id(old) in self.places}

        def place_of(one: object) -> int:
            found = places.get(id(one), self.places.get(id(one)))
            if found is None:
                found = places[id(one)] = len(self.objects) + len(held)
                held.append(one)
            return found

        def store(change: Change) -> Store:
            slot = change.slot
            return slot.kind, place_of(slot.owner), slot.name, place_of(change.old), place_of(change.new)

        done = record.generation
        assert done.patch is not None
        assert done.policy is not None
        facts = _Facts(
            done.patch,
            done.policy,
            done.certain,
            done.pending,
            done.notes,
            done.sites,
            record.versions,
            tuple((name.encode("utf-8", "surrogatepass"), step) for name, step in record.steps.items()),
            tuple(map(store, record.changes)),
            tuple((place_of(one.function), one.site) for one in record.targets),
            tuple((place_of(one.wrapper), place_of(one.function)) for one in record.caches),
        )
        for one in more:
            place_of(one)
        rows = self.renewing(renewals)
        rows += [(self.objects.extend, held), (self.places.update, places)]
        rows += [(self._parents.append, done.parent), (self._applied.append, done.applied)]
        rows += [(self._milliseconds.append, done.milliseconds), *self._packing(facts, is_new=bool(held))]
        return Entry(rows, held, places, facts.changes)

    def renewing(self, renewals: Sequence[Renewal]) -> list[Row]:
        """The stores that give the places of functions to their twins, in the records of all generations."""
        rows: list[Row] = []
        for old, twin in renewals:
            place = self.places.get(id(old))
            if place is not None:
                rows += [(self.places.pop, id(old)), (operator.setitem, self.places, id(twin), place)]
                rows.append((operator.setitem, self.objects, place, twin))
        return rows

    def note(self, number: int, notes: tuple[Diagnostic, ...]) -> None:
        """Let a generation have other notes."""
        facts = msgspec.structs.replace(self._facts(self._packed[number]), notes=notes)
        self._packed[number] = _deflated(_encoded(facts), self._pattern)

    def _packing(self, facts: _Facts, *, is_new: bool) -> list[Row]:
        """The stores that keep facts. Those that speak of something new can be no other generation's."""
        plain = _encoded(facts)
        pattern = self._pattern or plain[-_WINDOW:]
        packed = _deflated(plain, pattern)
        packed = self._known.get(packed, packed)
        rows: list[Row] = [(self._packed.append, packed)]
        if not is_new:
            rows.append((operator.setitem, self._known, packed, packed))
        return rows if self._pattern else [*rows, (setattr, self, "_pattern", pattern)]

    def _facts(self, packed: bytes) -> _Facts:
        return _decoder.decode(self._plain(packed))

    def _plain(self, packed: bytes) -> bytes:
        return zlib.decompressobj(-zlib.MAX_WBITS, self._pattern).decompress(packed)


def _encoded(facts: _Facts) -> bytes:
    try:
        return _encoder.encode(facts)
    except UnicodeEncodeError:  # the name of a file need not be a text, and a note may tell of it
        return _encoder.encode(msgspec.structs.replace(facts, notes=tuple(map(_readable, facts.notes))))


def _readable(note: Diagnostic) -> Diagnostic:
    texts: dict[str, Any] = {name: getattr(note, name) for name in ("message", "help", "file", "text")}
    shown = {name: text.encode("utf-8", "backslashreplace").decode() for name, text in texts.items()}
    return msgspec.structs.replace(note, trail=(), **shown)


def _deflated(plain: bytes, pattern: bytes) -> bytes:
    """Compressed as what follows a pattern: what all patches of a file say costs next to nothing."""
    level = 9 if len(plain) <= _WINDOW else 1
    packing = zlib.compressobj(
        level, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, pattern
    )
    return packing.compress(plain) + packing.flush()
