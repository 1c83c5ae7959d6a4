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
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from bcpatch.diagnostics import Diagnostic, Refused, finding
from bcpatch.model import GenerationStatus, Module, Policy, Site, Splice
from bcpatch.process.objects import functions_in
from bcpatch.process.swap import ABSENT, Change, Kind, Row, Slot, held


@dataclass(frozen=True, slots=True)
class SiteChange:
    """What a generation did to one site: fingerprints, and how many functions it switched."""

    site: Site
    replaced: str
    brought: str
    functions: int
    closures: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """What one applied patch made of the process; 0 is the process as started.

    ``parent`` is the generation it was applied to, ``patch`` the digest of the patch file.
    ``applied`` is in seconds since the epoch. ``certain`` is False where a Python audit
    hook made the one instant likely instead of certain. ``notes`` are warnings and notes.
    ``pending`` names the modules that were not imported when it was applied.
    """

    number: int
    parent: int
    patch: str | None
    policy: Policy | None
    applied: float
    milliseconds: float
    sites: tuple[SiteChange, ...] = ()
    notes: tuple[Diagnostic, ...] = ()
    certain: bool = True
    pending: tuple[str, ...] = ()

    @property
    def instant(self) -> str:
        """``certain`` or ``likely``."""
        return "certain" if self.certain else "likely"

    def status(self) -> GenerationStatus:
        """The same as it travels to another process."""
        return GenerationStatus(
            number=self.number,
            patch=self.patch,
            policy=self.policy,
            applied=self.applied,
            milliseconds=self.milliseconds,
            sites=len(self.sites),
            certain=self.certain,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A function that a generation switched, and its site."""

    function: FunctionType
    site: Site


@dataclass(frozen=True, slots=True, eq=False)
class Cache:
    """A ``functools.lru_cache`` around a function that a generation switched."""

    wrapper: Any
    function: FunctionType


@dataclass(frozen=True, slots=True)
class Version:
    """The source text that a patch has for a module. ``replaces`` and ``brings`` are digests of texts.

    ``brought`` identifies everything that the patch's edits bring, where the policy is strict.
    ``source`` is None where the module was loaded and its file had just this text: then it is not kept.
    """

    module: Module
    replaces: str | None
    brings: str
    policy: Policy
    is_new: bool
    brought: frozenset[tuple[str, ...]]
    source: bytes | None


class Shown(NamedTuple):
    """What a file name shows: the text that code under it was compiled from, None where that is not known.

    It is ``left`` where a patch has since brought code under a name of its own.
    """

    text: bytes | None
    left: bool


class Turn(NamedTuple):
    """What makes a `Shown` of another; no ``splices`` where its text is not known."""

    splices: tuple[Splice, ...] | None
    left: bool


class Step(NamedTuple):
    """How a generation changed what a file name shows, both ways."""

    back: Turn
    forward: Turn


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A generation and the values it exchanged.

    ``versions`` are the texts that its patch has, ``steps`` what it did to what file names show.
    """

    generation: Generation
    changes: tuple[Change, ...] = ()
    targets: tuple[Target, ...] = ()
    caches: tuple[Cache, ...] = ()
    versions: tuple[Version, ...] = ()
    steps: Mapping[str, Step] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A module that was imported, or loaded again, when a generation had a text for it.

    ``text`` is the digest of what it runs, and ``on_disk`` tells whether its file had just that.
    ``since`` is the number of the newest generation then. ``changes`` are the stores that made
    a new module known; they are those of generation ``brought_by``.
    """

    name: str
    module: object
    text: str
    on_disk: bool
    since: int
    brought_by: int = 0
    changes: tuple[Change, ...] = ()


@dataclass(slots=True, eq=False, weakref_slot=True)
class History:
    """The generations of this process. There is one of it in a process, and one writer at a time."""

    records: list[Record] = field(default_factory=list)
    pointer: dict[str, int] = field(default_factory=lambda: {"current": 0, "serial": 0})
    references: Counter[int] = field(default_factory=Counter)
    codes: dict[Site, dict[str, CodeType]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    # modules that came late, in their order, and the texts that patches had, each kept once
    arrivals: list[Arrival] = field(default_factory=list)
    versions: dict[Version, Version] = field(default_factory=dict)
    shown: dict[str, Shown] = field(default_factory=dict)
    successors: dict[int, FunctionType] = field(default_factory=dict)
    stores_into: Counter[int] = field(default_factory=Counter)
    exchanged: dict[int, Change] = field(default_factory=dict)
    exhibits: weakref.WeakSet[FunctionType] = field(default_factory=weakref.WeakSet)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _owner: int | None = None

    def __post_init__(self) -> None:
        if not self.records:
            start = Generation(0, 0, None, None, time.time(), 0.0)
            self.records.append(Record(start))
        _histories.add(self)

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
        return [self.records, self.successors, self.exchanged, self.codes, *self.codes.values()]

    def own_references(self) -> Counter[int]:
        """How often the history refers to each function and code object, by id."""
        known = Counter(self.references)
        known.update(map(id, self.successors.values()))
        return known

    def remember(self, record: Record, codes: Mapping[Site, dict[str, CodeType]]) -> list[Row]:
        """The stores that make ``record`` the newest and current generation: part of its swap.

        ``codes`` are code objects that must be found again when a later patch brings them.
        """
        counts: Counter[int] = Counter()
        for change in record.changes:
            counts.update(map(id, (change.slot.owner, change.old, change.new)))
        counts.update(id(target.function) for target in record.targets)
        counts.update(id(cache.function) for cache in record.caches)
        rows: list[Row] = []
        for site, store in codes.items():
            counts.update(map(id, store.values()))
            if site in self.codes:
                rows.append((self.codes[site].update, store))
            elif store:
                rows.append((operator.setitem, self.codes, site, store))
        for change in record.changes:
            both = (*functions_in(change.old), *functions_in(change.new))
            rows += [(operator.setitem, self.exchanged, id(function), change) for function in both]
        known = self.references
        rows += [(operator.setitem, known, key, known[key] + count) for key, count in counts.items()]
        return [*rows, (self.records.append, record), *self.point_at(record.generation.number)]

    def point_at(self, number: int) -> list[Row]:
        """The stores that make a generation current: part of the swap to it."""
        return [
            (operator.setitem, self.pointer, "current", number),
            (operator.setitem, self.pointer, "serial", self.serial + 1),
        ]

    def lineage(self, number: int) -> list[Record]:
        """The records from generation 1 on that lead to a generation, oldest first."""
        line = []
        while number:
            record = self.records[number]
            line.append(record)
            number = record.generation.parent
        return line[::-1]

    def changes_of(self, record: Record) -> Iterator[Change]:
        """The changes of a record, and those of modules that it brought and that were imported later."""
        yield from record.changes
        for arrival in list(self.arrivals):
            if arrival.brought_by == record.generation.number:
                yield from arrival.changes

    def values(self, number: int) -> dict[tuple[object, ...], tuple[Slot, object]]:
        """What every slot that any generation touched holds in generation ``number``."""
        found: dict[tuple[object, ...], tuple[Slot, object]] = {}
        for record in self.records:
            for change in self.changes_of(record):
                slot = self.present(change.slot)
                found.setdefault(slot.key, (slot, change.old))
        for record in self.lineage(number):
            for change in self.changes_of(record):
                slot = self.present(change.slot)
                found[slot.key] = slot, change.new
        return found

    def between(self, number: int) -> tuple[Record, ...]:
        """The records that are undone and redone on the way from the current generation to another, oldest first."""
        here, there = self.lineage(self.current), self.lineage(number)
        common = sum(1 for one, other in zip(here, there, strict=False) if one is other)
        return (*here[common:], *there[common:])

    def now(self, function: FunctionType) -> FunctionType:
        """The function object that stands for a patched one now: itself, or the last of its twins."""
        key = id(function)
        while id(function) in self.successors:
            function = self.successors[id(function)]
        if key in self.successors:
            self.successors[key] = function  # the next look takes one step
        return function

    def present(self, slot: Slot) -> Slot:
        """A slot, where its owner is a function that a twin stands for now, that of the twin."""
        if slot.kind is not Kind.ATTRIBUTE or not isinstance(slot.owner, FunctionType):
            return slot
        return slot._replace(owner=self.now(slot.owner))

    def set_aside(self) -> dict[int, FunctionType]:
        """Functions that stay on the code that they have, by id: what `at` handed out, and what gave way to others."""
        aside = {id(function): function for function in self.exhibits}
        for change in self.exchanged.values():
            present = functions_in(held(change.slot))
            for function in (*functions_in(change.old), *functions_in(change.new)):
                if all(function is not one for one in present):
                    aside[id(function)] = function
        return aside

    def bound(self, slot: Slot) -> object:
        """What the generations up to the current one last bound a name to, or left it bound to; else ABSENT."""
        for record in reversed(self.lineage(self.current)):
            for change in self.changes_of(record):
                if change.slot.key == slot.key:
                    return change.new
        return ABSENT

    def named_slots(self) -> set[tuple[Kind, int, str]]:
        """Keys of the names in namespaces that any generation has set."""
        changes = (change for record in self.records for change in record.changes)
        return {change.slot.key for change in changes if change.slot.kind is not Kind.ATTRIBUTE}

    def _after_fork(self) -> None:
        if self._owner != threading.get_ident():
            self._lock, self._owner = threading.Lock(), None


_histories: weakref.WeakSet[History] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for history in _histories:
        history._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
