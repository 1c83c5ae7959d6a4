"""The stores that lead from the current generation to another, as far as the records tell.

Nothing here looks for functions, and nothing is stored.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import chain, repeat
from types import CodeType, FunctionType
from typing import NamedTuple

from bcpatch import fingerprint
from bcpatch.diagnostics import Place, Refused, finding
from bcpatch.exchange import lines
from bcpatch.process.history import History, Way
from bcpatch.process.lineages import Lineage
from bcpatch.process.objects import functions_in, is_module
from bcpatch.process.records import Record
from bcpatch.process.swap import ABSENT, Change, Kind, Row, Slot, held


class Patched(NamedTuple):
    """The sites that functions are of, by their ids.

    Of sites that have had new functions since they were first changed, ``families`` tells all, and when each was first.
    """

    sites: Mapping[int, Lineage]
    families: Mapping[Lineage, Sequence[tuple[FunctionType, int]]]


class Planned(NamedTuple):
    """What a rollback comes to, as far as the records say: stores, the sites of functions, what files show then."""

    changes: tuple[Change, ...]
    patched: Patched
    shown: tuple[Row, ...]
    imports: tuple[Change, ...]


def planned(history: History, to: int) -> Planned:
    """What the way to a generation comes to. Each record is read once, and none is held when holders are counted."""
    way = history.way(to)
    patched = _patched(history, way.records)
    changes = _between(history, way, patched)
    return Planned(changes, patched, tuple(lines.back_and_forth(history, way)), tuple(_imports(way)))


def _patched(history: History, records: Sequence[Record]) -> Patched:
    """What some records switched."""
    lineages = history.lineages
    sites = {
        id(target.function): lineages.of(target.site, record.generation.parent)
        for record in records
        for target in record.targets
    }
    families: dict[Lineage, list[tuple[FunctionType, int]]] = {}
    for lineage in dict.fromkeys(sites.values()):
        if lineage in lineages.families:
            families[lineage] = lineages.family(lineage)
            for function, _ in families[lineage]:
                sites.setdefault(id(function), lineage)
    return Patched(sites, families)


def _between(history: History, way: Way, patched: Patched) -> tuple[Change, ...]:
    """The stores that lead from the current generation to another: of what changed on the way, and nothing else."""
    turned = map(_as_asked, _with_families(tuple(history.turned(way).values()), history, way, patched))
    return tuple(change for change in turned if change.old is not change.new and not _is_hidden(change))


def _as_asked(change: Change) -> Change:
    """The same store, where somebody has asked for annotations that there are not: that leaves an empty dictionary.

    So do ``module_get_annotations`` (until 3.13) and ``type_get_annotations`` of CPython, and it means no other thing.
    """
    if change.slot.name == "__annotations__" and change.old is ABSENT:
        now = held(change.slot)
        if type(now) is dict and not now:
            return Change(change.slot, now, change.new)
    return change


def _with_families(changes: Sequence[Change], history: History, way: Way, patched: Patched) -> Iterator[Change]:
    """The same stores; a function goes with those of its site through generations that were before it.

    What such a generation did to a function of the site that was the same, it would have done to this one.
    """
    each = chain.from_iterable(patched.families.values())
    members = {id(one) for one, first in each if not _took_a_place(one, first, history)}
    yield from (one for one in changes if one.slot.kind is not Kind.ATTRIBUTE or id(one.slot.owner) not in members)
    turns = list(_turns(history, way, members)) if members else []
    for lineage, family in patched.families.items():
        for function, first in family:
            if id(function) in members:
                yield from _followed(function, lineage, first, turns)


def _took_a_place(function: FunctionType, first: int, history: History) -> bool:
    """Whether the generation that first changed a function put it in place of another, which goes back in its turn."""
    if id(function) not in history.exchanged:
        return False
    stores = (one for one in history.records[first].changes if one.slot.kind is not Kind.ATTRIBUTE)
    return any(function is one for store in stores for one in functions_in(store.new))


class _Passage(NamedTuple):
    """What generation ``number`` means to functions: its stores, in the direction of the way, by the ids of these.

    ``targets`` are the ids of all functions that it switched, by their sites.
    """

    number: int
    stores: Mapping[int, Sequence[Change]]
    targets: Mapping[Lineage, Sequence[int]]


def _turns(history: History, way: Way, members: Container[int]) -> Iterator[_Passage]:
    for record, back in (*zip(reversed(way.undone), repeat(True)), *zip(way.redone, repeat(False))):
        stores: defaultdict[int, list[Change]] = defaultdict(list)
        changes = list(history.changes_of(record))
        for one in reversed(changes) if back else changes:
            if id(one.slot.owner) in members:
                stores[id(one.slot.owner)].append(Change(one.slot, one.new, one.old) if back else one)
        targets: defaultdict[Lineage, list[int]] = defaultdict(list)
        for target in record.targets:
            if id(target.function) in members:
                lineage = history.lineages.of(target.site, record.generation.parent)
                targets[lineage].append(id(target.function))
        yield _Passage(record.generation.number, stores, targets)


def _followed(function: FunctionType, lineage: Lineage, first: int, turns: Sequence[_Passage]) -> Iterator[Change]:
    """The stores that take a function of a site to another generation. Raises Refused where that can't be told.

    ``first`` is the generation that first changed it: those after it have left it what it was, if they did not.
    """
    was: dict[str, object] = {}
    values: dict[str, object] = {}

    def value(name: str) -> object:
        return values[name] if name in values else held(Slot(Kind.ATTRIBUTE, function, name))

    for turn in turns:
        mates = turn.targets.get(lineage, ())
        stores = turn.stores.get(id(function), ())
        if mates and turn.number < first:
            of_mates = [turn.stores.get(mate, ()) for mate in mates]
            alike = (some for some in of_mates if all(_is_same(one.old, value(one.slot.name)) for one in some))
            done = any(all(_is_same(one.new, value(one.slot.name)) for one in some) for some in of_mates)
            found = next(alike, () if done else None)
            if found is None:
                code = function.__code__
                name = lineage.site.qualname
                message = f"`{name}` is another function now, which had no part in all that lies between"
                place = Place(code.co_filename, code.co_firstlineno)
                raise Refused([finding("BCP608", message, place, site=lineage.site)])
            stores = found
        for one in stores:
            now = value(one.slot.name)
            was.setdefault(one.slot.name, now if _is_same(now, one.old) else one.old)
            values[one.slot.name] = one.new
    for name, new in values.items():
        yield Change(Slot(Kind.ATTRIBUTE, function, name), was[name], new)


def _is_same(one: object, other: object) -> bool:
    """Whether two values of an attribute are the same to a function; of code what it does, not where it stands."""
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return fingerprint.of(one) == fingerprint.of(other)
    return one is other or (type(one) is type(other) is str and one == other)


def _is_hidden(change: Change) -> bool:
    """Whether a package has something else under the name of a module that comes or goes: that is not touched."""
    moves = ABSENT in (change.old, change.new) and (is_module(change.old) or is_module(change.new))
    return moves and change.slot.owner is not sys.modules and held(change.slot) is not change.old


def _imports(way: Way) -> Iterator[Change]:
    """What ``sys.modules`` must have meanwhile for each module whose text is another one there."""
    names = {one.module.name for record in way.records for one in record.versions}
    for name in sorted(names):
        slot = Slot(Kind.NAMESPACE, sys.modules, name)
        yield Change(slot, held(slot), held(slot))
