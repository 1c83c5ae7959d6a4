"""The records of all generations, in few bytes: a process may see tens of thousands of them.

Every object that the records speak of is held once, at a place of its own. What a generation
says is packed, and generations that did the same share it: of an edit back and forth no more
is kept than when it was made, and upon what. This module knows how a record is kept, not what
it means.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator, Sequence
from itertools import chain, count
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from bcpatch.diagnostics import Diagnostic
from bcpatch.fingerprint import hashed
from bcpatch.model import Policy, Site
from bcpatch.process.packing import Keys, Numbers, Pieces, Places
from bcpatch.process.records import Generation, Record, SiteChange, Step, Target, Version
from bcpatch.process.swap import Change, Kind, Row, Slot

Renewal: TypeAlias = tuple[FunctionType, FunctionType]
"""A function that goes, and the one that stands for it in every generation from now on."""

Store: TypeAlias = tuple[Kind, int, str, int, int]
"""A change: kind, owner and name of the slot, old and new value. Objects are told by their places."""


class _Facts(msgspec.Struct, frozen=True, array_like=True):
    """What a generation says that others may say too."""

    patch: str
    policy: Policy
    certain: bool
    pending: tuple[str, ...]
    notes: tuple[Diagnostic, ...]
    sites: tuple[SiteChange, ...]
    versions: tuple[Version, ...]
    steps: tuple[tuple[bytes, Step], ...]
    changes: tuple[Store, ...]
    targets: tuple[tuple[int, Site], ...]


_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")
_decoder: Final = msgspec.msgpack.Decoder(_Facts)

_A_SECOND: Final = 1000
"""As often as this the clock of the records ticks in a second."""

_A_MILLISECOND: Final = 10
"""And so often in a millisecond the one that says how long an apply took."""


class Entry(NamedTuple):
    """What enters a record, as part of its swap.

    ``held`` are the objects that the rows hold and the ledger doesn't, ``places`` where all that the record speaks
    of will stand, by id, and ``stores`` the changes of the record.
    """

    rows: list[Row]
    held: list[object]
    places: dict[int, int]
    stores: tuple[Store, ...]


class Ledger:
    """The records by number. ``objects`` are what they speak of, ``places`` where each stands there, by its id.

    A record is told by the times of its generation, the number of its parent, and what it says; of that there is
    one piece for all generations that did the same. Generation 0 says nothing.
    """

    __slots__ = ("_applied", "_known", "_parents", "_pieces", "_said", "_took", "objects", "places")

    def __init__(self) -> None:
        self.objects: list[object] = []
        self.places = Places(self.objects)
        self._parents = Numbers(0)
        self._applied = Numbers(_whole(time.time(), _A_SECOND))
        self._took = Numbers(0)
        self._said = Numbers(0)
        self._pieces = Pieces(b"")
        self._known = Keys()

    def __len__(self) -> int:
        return len(self._said)

    def __getitem__(self, number: int) -> Record:
        if not 0 <= number < len(self):
            raise IndexError(f"generation {number} is not one of 0 to {len(self) - 1}")
        parent, applied = self._parents[number], self._applied[number] / _A_SECOND
        took = self._took[number] / _A_MILLISECOND
        facts = self._facts(number)
        if facts is None:
            return Record(Generation(number, parent, None, None, applied, took))
        told = (facts.sites, facts.notes, facts.certain, facts.pending)
        return Record(
            Generation(number, parent, facts.patch, facts.policy, applied, took, *told),
            tuple(map(self.change, facts.changes)),
            tuple(Target(self._function(place), site) for place, site in facts.targets),
            facts.versions,
            {name.decode("utf-8", "surrogatepass"): step for name, step in facts.steps},
        )

    def __iter__(self) -> Iterator[Record]:
        return map(self.__getitem__, range(len(self)))

    def parent(self, number: int) -> int:
        """The generation that another one was applied to."""
        return self._parents[number]

    def ancestors(self, number: int) -> Iterator[int]:
        """The numbers of the generations that lead from generation 1 on to one, newest first."""
        while number:
            yield number
            number = self._parents[number]

    def patch(self, number: int) -> str | None:
        """The digest of the patch that a generation came with; None for generation 0."""
        facts = self._facts(number)
        return None if facts is None else facts.patch

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
        self._settle()
        changed = list(map(_parts_of_change, record.changes))
        targets = list(map(_function_and_site, record.targets))
        functions = map(operator.itemgetter(0), targets)
        every = list(chain(*[parts[2:] for parts in changed], functions, more))
        spoken_of = dict(zip(map(id, every), every, strict=True))
        places = self.places.among(spoken_of)
        given_up = self.places.among([id(old) for old, _ in renewals])
        places.update([(id(twin), given_up[id(old)]) for old, twin in renewals if id(old) in given_up])
        held = [one for key, one in spoken_of.items() if key not in places]
        new = dict(zip(map(id, held), count(len(self.objects)), strict=False))
        places |= new
        stores = [
            (kind, places[id(owner)], name, places[id(old)], places[id(value)])
            for kind, name, owner, old, value in changed
        ]
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
            tuple(stores),
            tuple([(places[id(function)], site) for function, site in targets]),
        )
        rows = self.renewing(renewals)
        rows += [(self.objects.extend, held), self.places.adding(new)]
        rows += [self._parents.appending(done.parent), self._applied.appending(_whole(done.applied, _A_SECOND))]
        rows += [self._took.appending(_whole(done.milliseconds, _A_MILLISECOND))]
        rows += self._saying(_encoded(facts), is_new=bool(held))
        return Entry(rows, held, places, facts.changes)

    def renewing(self, renewals: Sequence[Renewal]) -> list[Row]:
        """The stores that give the places of functions to their twins, in the records of all generations."""
        rows: list[Row] = []
        for old, twin in renewals:
            place = self.places.get(id(old))
            if place is not None:
                rows += self.places.moving(id(old), id(twin), place)
                rows.append((operator.setitem, self.objects, place, twin))
        return rows

    def note(self, notes: tuple[Diagnostic, ...]) -> None:
        """Let the newest generation have other notes."""
        said = self._said[len(self) - 1]
        before = self._pieces[said]
        facts = msgspec.structs.replace(_decoder.decode(before), notes=notes)
        if said == len(self._pieces) - 1 and self._known.get(_digest(before)) is None:  # no other one says it
            self._pieces.replace_last(_encoded(facts))
            return
        *adding, (_, piece) = self._saying(_encoded(facts), is_new=False)
        for call, *arguments in adding:
            call(*arguments)
        self._said.replace_last(piece)

    def _saying(self, piece: bytes, *, is_new: bool) -> list[Row]:
        """The stores that let a generation say something. What speaks of new objects can be no other one's."""
        number = len(self._pieces)
        if is_new:
            return [self._pieces.appending(piece), self._said.appending(number)]
        key = _digest(piece)
        known = self._known.get(key)
        if known is not None and self._pieces[known] == piece:
            return [self._said.appending(known)]
        return [self._pieces.appending(piece), *self._known.appending(key, number), self._said.appending(number)]

    def _facts(self, number: int) -> _Facts | None:
        piece = self._pieces[self._said[number]]
        return _decoder.decode(piece) if piece else None

    def _settle(self) -> None:
        """Compress what is much by now: it changes nothing."""
        self._parents, self._applied = self._parents.settled(), self._applied.settled()
        self._took, self._said = self._took.settled(), self._said.settled()
        self._pieces = self._pieces.settled()
        self.places.settle(_is_code)


_parts_of_change: Final = operator.attrgetter("slot.kind", "slot.name", "slot.owner", "old", "new")
_function_and_site: Final = operator.attrgetter("function", "site")


def _whole(number: float, unit: int) -> int:
    return round(number * unit)


def _is_code(one: object) -> bool:
    return type(one) is CodeType


def _digest(piece: bytes) -> bytes:
    return hashed(piece).digest()


def _encoded(facts: _Facts) -> bytes:
    try:
        return _encoder.encode(facts)
    except UnicodeEncodeError:  # the name of a file need not be a text, and a note may tell of it
        return _encoder.encode(msgspec.structs.replace(facts, notes=tuple(map(_readable, facts.notes))))


def _readable(note: Diagnostic) -> Diagnostic:
    texts: dict[str, Any] = {name: getattr(note, name) for name in ("message", "help", "file", "text")}
    shown = {name: text.encode("utf-8", "backslashreplace").decode() for name, text in texts.items()}
    return msgspec.structs.replace(note, trail=(), **shown)
