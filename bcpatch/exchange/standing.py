"""What this process runs now, told for people: each patched site, and calls on older code.

Only looks. A suspended generator is searched for where the references to its code leave
room for one, because that search stops every thread for as long as the heap is large. Of
the records only those are read that tell of a site, or of a call under way.
"""

from __future__ import annotations

import gc
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import compress
from types import CodeType, FunctionType
from typing import Final

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.exchange.flights import Call, calls_inside
from bcpatch.model import Site
from bcpatch.process import guards
from bcpatch.process.history import History
from bcpatch.process.lineages import Lineage
from bcpatch.process.locate import everywhere, walk_in
from bcpatch.process.objects import CAN_BE_SUSPENDED
from bcpatch.process.records import Record
from bcpatch.status import Flight, SiteStatus

_NAMED: Final = 3  # holders of calls in one note


def sites(history: History) -> tuple[SiteStatus, ...]:
    """Every site that was ever patched: its generation, where its code stands, calls on older code."""
    past = _Past(history)
    named = {one: history.lineages.site(one, history.current) for one in history.lineages.touched}
    running = {one: past.function(one) for one in sorted(named, key=named.__getitem__)}
    flights: dict[Lineage, list[Flight]] = {one: [] for one in running}
    current = _current(running)
    asleep = _perhaps_asleep(history, running, current)
    older = {id(one.code): one for one in (*_on_stacks(history, running), *asleep) if id(one.code) not in current}
    hidden = _frozen(history) if asleep else []
    for call in calls_inside([one.code for one in older.values()], [one.code for one in asleep], hidden):
        one = older[call.code]
        born = past.born(one.lineage, history.code_at(one.place))
        flights[one.lineage].append(Flight(born, call.holder, call.file, call.line))
    return tuple(_status(past, one, named[one], function, flights[one]) for one, function in running.items())


def left_behind(history: History, changed: Iterable[Lineage]) -> Iterator[Diagnostic]:
    """Notes of calls on the stacks of threads that go on with code which their sites had in other generations."""
    past = _Past(history)
    wanted = history.lineages.touched.keys() & set(changed)
    older = {id(one.code): one for one in _on_stacks(history, wanted)}
    for key in _current({one.lineage: past.function(one.lineage) for one in older.values()}):
        older.pop(key, None)
    calls: dict[Lineage, list[Call]] = {}
    for call in calls_inside([one.code for one in older.values()], asleep=()) if older else ():
        calls.setdefault(older[call.code].lineage, []).append(call)
    for lineage, some in sorted(calls.items()):
        site = history.lineages.site(lineage, history.current)
        first = some[0]
        holders = list(dict.fromkeys(call.holder for call in some))
        shown = ", ".join(holders[:_NAMED]) + (f" and {len(holders) - _NAMED} more" if len(holders) > _NAMED else "")
        are, stay = ("is", "stays on its old code until the call returns")
        if len(holders) > 1:
            are, stay = ("are", "stay on its old code until their calls return")
        message = f"{shown} {are} inside `{first.qualname}`, and {stay}"
        place = Place(history.files.get(first.file, first.file), first.line)
        yield finding("BCP614", message, place, site=site)


def running(history: History, lineage: Lineage) -> FunctionType:
    """The function that stands for a patched site now."""
    return _Past(history).function(lineage)


def _current(running: Mapping[Lineage, FunctionType]) -> set[int]:
    """The ids of the code that sites have now, nested code too."""
    return {id(code) for one in running.values() for code in (one.__code__, *_inside(one.__code__))}


def _status(past: _Past, lineage: Lineage, site: Site, function: FunctionType, flights: list[Flight]) -> SiteStatus:
    code = function.__code__
    calls = tuple(sorted(flights, key=lambda one: (one.generation, one.holder, one.file, one.line)))
    return SiteStatus(
        site, past.generation(lineage, code), fingerprint.of(code), code.co_filename, code.co_firstlineno, calls
    )


# --- what the records say of a site -------------------------------------------------------


class _Past(msgspec.Struct, eq=False):
    """The records that tell of some sites, each read once."""

    history: History
    read: dict[int, Record] = msgspec.field(default_factory=dict)

    def record(self, number: int) -> Record:
        if number not in self.read:
            self.read[number] = self.history.records[number]
        return self.read[number]

    def _back(self, lineage: Lineage) -> Iterator[Record]:
        """The records that changed a site and led to the current generation, newest first."""
        ancestors = self.history.records.ancestors(self.history.current)
        at = next(ancestors, 0)
        for number in reversed(self.history.lineages.touched[lineage]):
            while at > number:
                at = next(ancestors, 0)
            if at == number:
                yield self.record(number)

    def function(self, lineage: Lineage) -> FunctionType:
        """The function that stands for a site now."""
        lineages = self.history.lineages
        record = next(self._back(lineage), None) or self.record(lineages.touched[lineage][0])
        site = lineages.site(lineage, record.generation.parent)
        return next(target.function for target in reversed(record.targets) if target.site == site)

    def generation(self, lineage: Lineage, code: CodeType) -> int:
        """The newest generation, up to the current one, that brought this code to its site."""
        return next((one.generation.number for one in self._back(lineage) if _brings(one, code)), 0)

    def born(self, lineage: Lineage, code: CodeType) -> int:
        """The generation that first brought a code object to a site, 0 where the process had it at its start."""
        touched = self.history.lineages.touched[lineage]
        return next((number for number in touched if _brings(self.record(number), code)), 0)


def _brings(record: Record, code: CodeType) -> bool:
    news = (change.new for change in record.changes)
    return any(new is code or (isinstance(new, FunctionType) and new.__code__ is code) for new in news)


# --- older code ------------------------------------------------------------------------------


class _Older(msgspec.Struct, frozen=True):
    """Code that a site has had, or code nested in that: ``place`` is where the history keeps the outer one."""

    code: CodeType
    place: int
    lineage: Lineage


def _on_stacks(history: History, sites: Collection[Lineage]) -> Iterator[_Older]:
    """What sites have had that is on the stack of a thread."""
    codes = {id(code): code for code in map(operator.attrgetter("f_code"), guards.stacks())}
    for key, code in codes.items():
        place = history.records.places.get(key)
        if place is not None:
            yield from (_Older(code, place, one) for one in history.with_code(place) if one in sites)
    yield from (one for one in _lingering(history, sites) if id(one.code) in codes)


def _lingering(history: History, sites: Iterable[Lineage]) -> Iterator[_Older]:
    """Code of sites that gave way and may live on, and all code nested in such."""
    for lineage in sites:
        for place in history.lingering.get(lineage, ()):
            yield _Older(history.code_at(place), place, lineage)
            yield from (_Older(code, place, lineage) for code in _inside(history.code_at(place)))


def _frozen(history: History) -> Sequence[object]:
    """The generators and their like in all modules and calls, where ``gc.freeze`` may have hidden some."""
    if not gc.get_freeze_count():
        return []
    walk = walk_in((), history)
    everywhere(walk)
    return walk.generators


def _inside(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield constant
            yield from _inside(constant)


def _perhaps_asleep(history: History, sites: Iterable[Lineage], current: Set[int]) -> list[_Older]:
    """Code of generators and their like that sites have had, and that others hold too: maybe a suspended call."""
    able = [one for one in _lingering(history, sites) if one.code.co_flags & CAN_BE_SUSPENDED]
    able = [one for one in able if id(one.code) not in current]
    codes = [one.code for one in able]
    # the history holds each, or the code around it does, and so does what is told of it here
    return list(compress(able, map(operator.not_, guards.counted(codes, [2] * len(codes)))))
