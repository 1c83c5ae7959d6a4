"""What patches made of this process: its generations, and every value they replaced.

Nothing is unloaded: a record keeps the old and the new value of each slot for as long
as the process lives, which is what makes any generation a swap away. Generations form
a tree: each was made on top of one other, and one is current. This module knows
nothing of how a patch is linked or applied; it is told.
"""

from __future__ import annotations

import operator
import os
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, repeat
from types import CodeType, FunctionType, MappingProxyType
from typing import Final, NamedTuple, TypeAlias

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Refused, finding
from bcpatch.model import Turns
from bcpatch.process.guards import counted
from bcpatch.process.ledger import Entry, Ledger, Renewal, Store
from bcpatch.process.lineages import Lineage, Lineages
from bcpatch.process.objects import CAN_BE_SUSPENDED, functions_in
from bcpatch.process.packing import Keys
from bcpatch.process.records import Arrival, Generation, Record, Shown, Version
from bcpatch.process.swap import ABSENT, Change, Kind, Row, Slot, held

_NO_PLACES: Final = MappingProxyType[int, int]({})

SlotKey: TypeAlias = tuple[Kind, int, str]
"""What `Slot.key` gives."""


class Way(NamedTuple):
    """What lies between the current generation and another: records to undo and to make again, each oldest first."""

    undone: tuple[Record, ...]
    redone: tuple[Record, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        return (*self.undone, *self.redone)


class History(msgspec.Struct, eq=False, weakref=True):
    """The generations of this process. There is one of it in a process, and one writer at a time.

    ``lineages`` tells what became of sites. ``codes`` has the place of each code object that a site has had, by a
    digest of it; ``lingering`` the places of those that gave way and may live on, in functions that they made or as
    suspended generators. ``named`` are keys of the names in namespaces that were ever set.
    """

    pointer: dict[str, int] = msgspec.field(default_factory=lambda: {"current": 0, "serial": 0})
    lineages: Lineages = msgspec.field(default_factory=lambda: Lineages(Ledger()))
    codes: dict[Lineage, Keys] = msgspec.field(default_factory=dict)
    lingering: dict[Lineage, dict[int, None]] = msgspec.field(default_factory=dict)
    files: dict[str, str] = msgspec.field(default_factory=dict)
    arrivals: list[Arrival] = msgspec.field(default_factory=list)  # modules that came late, in their order
    texts: set[str] = msgspec.field(default_factory=set)  # names of modules that patches had a text for
    late: set[str] = msgspec.field(default_factory=set)  # those of them that were not imported at some time
    shown: dict[str, Shown] = msgspec.field(default_factory=dict)
    swaps_of: Counter[int] = msgspec.field(default_factory=Counter)  # swaps of functions, by the namespace's id
    named: set[SlotKey] = msgspec.field(default_factory=set)
    exchanged: dict[int, Store] = msgspec.field(default_factory=dict)
    displaced: set[str] = msgspec.field(default_factory=set)  # names of modules, see `Located`
    exhibits: weakref.WeakSet[FunctionType] = msgspec.field(default_factory=weakref.WeakSet)
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)
    _owner: int | None = None

    def __post_init__(self) -> None:
        _histories.add(self)

    @property
    def records(self) -> Ledger:
        """What each generation did."""
        return self.lineages.records

    @property
    def current(self) -> int:
        """The number of the generation that the process runs."""
        return self.pointer["current"]

    @property
    def serial(self) -> int:
        """Counts every swap, rollbacks too: what a plan was linked against."""
        return self.pointer["serial"]

    @property
    def generations(self) -> tuple[Generation, ...]:
        """Every generation, by number."""
        return tuple(record.generation for record in self.records)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only one that links and applies. Never waits.

        Raises `Refused` (BCP606) where another thread, or this one further up, already is.
        """
        if not self._lock.acquire(blocking=False):
            raise Refused([finding("BCP606", f"thread {self._owner} is applying a patch or rolling one back")])
        lock, self._owner = self._lock, threading.get_ident()
        try:
            yield
        finally:
            self._owner = None
            lock.release()

    @property
    def stores(self) -> list[object]:
        """What holds code objects and functions on behalf of the history: not for walks to enter."""
        return [self.records, self.records.objects]

    def version(self, module: str) -> Version | None:
        """The text that a patch had for a module last on the way to the current generation, None where none had one."""
        records = map(self.records.__getitem__, self.records.ancestors(self.current))
        versions = chain.from_iterable(record.versions for record in records)
        return next((one for one in versions if one.module.name == module), None)

    def text(self, module: str) -> str | None:
        """The digest of the text that a module runs in the current generation, None where no patch had one for it."""
        last = self.version(module)
        if last is not None:
            return last.brings
        every = chain.from_iterable(record.versions for record in self.records)
        return next((one.replaces for one in every if one.module.name == module), None)

    def code(self, lineage: Lineage, key: bytes) -> CodeType | None:
        """A code object that a site has had, None where it never had it."""
        known = self.codes.get(lineage)
        place = None if known is None else known.get(key)
        return None if place is None else self.code_at(place)

    def code_at(self, place: int) -> CodeType:
        """The code object at a place of the records' objects."""
        found = self.records.objects[place]
        assert isinstance(found, CodeType)
        return found

    def keeps(self, one: object) -> bool:
        """Whether a record speaks of an object: then the history holds one reference to it, and no other."""
        return id(one) in self.records.places

    def remember(
        self,
        record: Record,
        codes: Mapping[tuple[Lineage, bytes], CodeType],
        renewals: Sequence[Renewal] = (),
        turns: Iterable[tuple[str, Turns]] = (),
    ) -> Entry:
        """The stores that make ``record`` the newest and current generation: part of its swap.

        ``codes`` are code objects that must be found again when a later patch brings them, and that were not known
        before, by what their site goes back to and a digest; ``renewals`` the functions that give way to twins of
        theirs; ``turns`` tell what becomes of the ordinals of names, with the modules of these.
        """
        entry = self.records.entry(record, list(codes.values()), renewals)
        rows = entry.rows
        new_codes: defaultdict[Lineage, dict[bytes, int]] = defaultdict(dict)
        for (lineage, key), code in codes.items():
            known, place = self.codes.get(lineage), entry.places[id(code)]
            if known is None:
                new_codes[lineage][key] = place
            else:
                rows += known.appending(key, place)
        rows.append((self.codes.update, {one: Keys(placed) for one, placed in new_codes.items()}))
        rows += self.lineages.remembering(record, entry, turns)
        named: set[SlotKey] = set()
        exchanged: dict[int, Store] = {}
        for change, packed in zip(record.changes, entry.stores, strict=True):
            if change.slot.name == "__code__" and change.slot.kind is Kind.ATTRIBUTE:
                continue  # nearly all that a large patch changes
            if change.slot.kind is not Kind.ATTRIBUTE:
                named.add(change.slot.key)
            for value in (change.old, change.new):
                exchanged.update((id(function), packed) for function in functions_in(value))
        rows += [(self.named.update, named), (self.exchanged.update, exchanged)]
        rows.append((self.texts.update, {one.module.name for one in record.versions}))
        rows.append((self.late.update, record.generation.pending))
        rows += self.point_at(record.generation.number)
        return entry

    def giving_way(
        self, changes: Iterable[Change], lineages: Mapping[int, Lineage], places: Mapping[int, int] = _NO_PLACES
    ) -> list[Row]:
        """The stores that note which code gives way, as part of a swap: what it made may live on.

        ``lineages`` are those of functions, by their ids; ``places`` where code comes to stand that the records don't
        have yet. Code that nobody runs or can run any more, and of whose functions none lives, is forgotten.
        """
        rows: list[Row] = []
        given: dict[Lineage, dict[int, None]] = {}
        for function, code in chain.from_iterable(map(_codes_given_up, changes)):
            place = places.get(id(code), self.records.places.get(id(code)))
            if place is not None:
                known = lineages.get(id(function))
                for one in self.with_code(place) if known is None else (known,):
                    given.setdefault(one, {})[place] = None
        for lineage, more in given.items():
            resting = [place for place in self.lingering.get(lineage, ()) if place not in more and self._rests(place)]
            for code in map(self.code_at, resting):
                fingerprint.forget(code)
            rows += [(self.lingering[lineage].pop, place, None) for place in resting]
        rows += [(self.lingering[one].update, more) for one, more in given.items() if one in self.lingering]
        return [*rows, (self.lingering.update, {one: new for one, new in given.items() if one not in self.lingering})]

    def with_code(self, place: int) -> Iterator[Lineage]:
        """The sites that have had the code object at a place."""
        return (one for one, places in self.codes.items() if place in places)

    def exhibited(self, function: FunctionType) -> None:
        """Note that a function has code of some generation, and may be called and make functions of its own."""
        self.exhibits.add(function)
        rows = self.giving_way([Change(Slot(Kind.ATTRIBUTE, function, "__code__"), function.__code__, None)], {})
        for call, *arguments in rows:
            call(*arguments)

    def _rests(self, place: int) -> bool:
        """Whether nobody else holds a code object or any code nested in it."""
        codes = [self.code_at(place)]
        for code in codes:  # it grows meanwhile
            codes += [one for one in code.co_consts if type(one) is CodeType]
        del code
        return all(counted(codes, [1] * len(codes)))

    def point_at(self, number: int) -> list[Row]:
        """The stores that make a generation current: part of the swap to it."""
        return [
            (operator.setitem, self.pointer, "current", number),
            (operator.setitem, self.pointer, "serial", self.serial + 1),
        ]

    def line(self, number: int) -> list[Record]:
        """The records from generation 1 on that lead to a generation, oldest first."""
        return list(map(self.records.__getitem__, self.records.ancestors(number)))[::-1]

    def way(self, number: int) -> Way:
        """What lies between the current generation and another."""
        here, there = self.current, number
        undone: list[Record] = []
        redone: list[Record] = []
        while here != there:
            if here > there:  # a generation is younger than the one that it was applied to
                undone.append(self.records[here])
                here = self.records.parent(here)
            else:
                redone.append(self.records[there])
                there = self.records.parent(there)
        return Way(tuple(undone[::-1]), tuple(redone[::-1]))

    def changes_of(self, record: Record) -> Iterator[Change]:
        """The changes of a record, and those of modules that it brought and that were imported later."""
        yield from record.changes
        for arrival in list(self.arrivals):
            if arrival.brought_by == record.generation.number:
                yield from arrival.changes

    def turned(self, way: Way) -> dict[SlotKey, Change]:
        """What every slot holds that changed on the way to another generation, and what it held there."""
        found: dict[SlotKey, Change] = {}
        for record in reversed(way.undone):
            for change in reversed(list(self.changes_of(record))):
                now = found[change.slot.key].old if change.slot.key in found else change.new
                found[change.slot.key] = Change(change.slot, now, change.old)
        for record in way.redone:
            for change in self.changes_of(record):
                now = found[change.slot.key].old if change.slot.key in found else change.old
                found[change.slot.key] = Change(change.slot, now, change.new)
        return found

    def set_aside(self) -> dict[int, FunctionType]:
        """Functions that stay on the code that they have, by id: what `at` handed out, and what gave way to others."""
        aside = {id(function): function for function in self.exhibits}
        for change in map(self.records.change, self.exchanged.values()):
            present = functions_in(held(change.slot))
            for function in (*functions_in(change.old), *functions_in(change.new)):
                if all(function is not one for one in present):
                    aside[id(function)] = function
        return aside

    def bound(self, slot: Slot) -> object:
        """What the generations up to the current one last bound a name to, or left it bound to; else ABSENT."""
        if slot.key not in self.named and not self.arrivals:
            return ABSENT
        for record in map(self.records.__getitem__, self.records.ancestors(self.current)):
            for change in self.changes_of(record):
                if change.slot.key == slot.key:
                    return change.new
        return ABSENT

    def _after_fork(self) -> None:
        if self._owner != threading.get_ident():
            self._lock, self._owner = threading.Lock(), None


def _codes_given_up(change: Change) -> Iterator[tuple[FunctionType, CodeType]]:
    """The functions that lose their code by a change, or their place, and that code, if something of it may live on."""
    if type(change.old) is CodeType:
        if _may_linger(change.old) and isinstance(change.slot.owner, FunctionType):
            yield change.slot.owner, change.old
        return
    for function in functions_in(change.old):
        if _may_linger(function.__code__):
            yield function, function.__code__


def _may_linger(code: CodeType) -> bool:
    """Whether what code made can live on without its function: a generator, or functions."""
    return bool(code.co_flags & CAN_BE_SUSPENDED) or CodeType in map(type, code.co_consts)


class Own:
    """How often bcpatch itself refers to objects, by id: its history, and the data that is counted on top of it.

    Of most swaps nobody asks: what is to be counted is looked at when somebody does.
    """

    def __init__(self, history: History, referred: Iterable[int] = (), beside: Own | None = None) -> None:
        self._history = history
        self._referred = referred
        self._beside = beside
        self._counts: Counter[int] | None = None

    def __getitem__(self, key: int) -> int:
        return self.of([key])[0]

    def of(self, keys: Sequence[int]) -> list[int]:
        """How often it does to some objects."""
        found = [int(place is not None) for place in self._history.records.places.of(keys)]
        one: Own | None = self
        while one is not None:
            found = list(map(operator.add, found, map(one._counted().get, keys, repeat(0))))
            one = one._beside
        return found

    def update(self, ids: Iterable[int]) -> None:
        """Count one reference more to each of some objects."""
        self._counted().update(ids)

    def with_more(self, ids: Iterable[int]) -> Own:
        """The same with one reference more to each of some objects."""
        return Own(self._history, ids, self)

    def _counted(self) -> Counter[int]:
        if self._counts is None:
            self._counts = Counter(self._referred)
        return self._counts


_histories: weakref.WeakSet[History] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for history in _histories:
        history._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
