"""A fresh function object for each one that changes, where nobody can tell the difference.

From CPython 3.13 on, calls of a function whose ``__code__`` was assigned are never
specialised again. So where a namespace is a function's one holder, a twin with the new
values takes its place, and from then on stands for it in every generation. The proof
belongs to the swap; without it the function is changed in place. Stores nothing itself.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Final

from bcpatch import pythons
from bcpatch.exchange.replace import namespace_slot, rewrapped, twin
from bcpatch.exchange.wrappers import COPIED
from bcpatch.process import guards
from bcpatch.process.history import History, Own
from bcpatch.process.linked import LinkedSite
from bcpatch.process.records import Target
from bcpatch.process.swap import ABSENT, Change, Kind, Row, Slot, held, held_by

_MOST_SWAPS: Final = 500
"""Swaps that store into one class. A look-up after a store gives it a new version, and after 1,000 of these it gets
none and its look-ups are slow for good (3.13+, ``MAX_VERSIONS_PER_CLASS``); stores of others, and into what it
inherits from, count as well."""

HURRY: Final = 0.02
"""Seconds for which functions are waited for to be renewed, before they are changed in place."""


@dataclass(frozen=True, slots=True, eq=False)
class Renewal:
    """One function that gives way to a twin: the store into its namespace, and what nobody else may hold.

    ``changes`` are the stores that it would take otherwise, ``kept`` the defaults that the twin has taken over.
    """

    twin: FunctionType
    store: Change
    sole: tuple[object, ...]
    changes: tuple[Change, ...]
    kept: tuple[Change, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Renewed:
    """Changes as they are made, and as the history remembers them: as if the twins had always been there.

    ``verified`` are values of the old functions that must not have changed since the twins were made,
    ``along`` what the history counts of them, and ``renewals`` each old function with its twin.
    """

    changes: tuple[Change, ...]
    remembered: tuple[Change, ...]
    targets: tuple[Target, ...]
    sole: tuple[object, ...] = ()
    verified: tuple[Change, ...] = ()
    along: tuple[Row, ...] = ()
    renewals: tuple[tuple[FunctionType, FunctionType], ...] = ()

    def references(self, changes: Iterable[Change]) -> Iterator[int]:
        """The ids of what this refers to, as often as it does, beside the ``changes`` that it was made of."""
        counted = set(map(id, changes))
        more = {id(change): change for change in (*self.changes, *self.remembered, *self.verified)}
        yield from held_by(change for key, change in more.items() if key not in counted)
        yield from map(id, self.sole)
        yield from (id(old) for old, _ in self.renewals)


def ways(
    sites: Sequence[LinkedSite],
    changes: Sequence[Change],
    targets: Sequence[Target],
    history: History,
    own: Own,
) -> tuple[Renewed, ...]:
    """The ways to make changes, best first: with functions renewed, where nobody else holds them, and in place.

    ``own`` tells bcpatch's references, and from now on those of the ways too.
    """
    plain = Renewed(tuple(changes), tuple(changes), tuple(targets))
    fresh = renewed(sites, changes, targets, history, own)
    if not fresh.sole:
        return (plain,)
    own.update(fresh.references(changes))
    return fresh, plain


def renewed(
    sites: Sequence[LinkedSite],
    changes: Sequence[Change],
    targets: Sequence[Target],
    history: History,
    own: Own,
) -> Renewed:
    """The changes, with every function renewed that has no other holder now. ``own`` tells bcpatch's references."""
    plain = Renewed(tuple(changes), tuple(changes), tuple(targets))
    if not pythons.ASSIGNED_CODE_IS_SLOWER:
        return plain
    chosen = _unheld(list(_renewals(sites, changes, history)), own)
    if not chosen:
        return plain
    twins = {id(one.changes[0].slot.owner): one for one in chosen}
    kept = [change for change in changes if id(change.slot.owner) not in twins]
    moved = [
        Change(Slot(Kind.ATTRIBUTE, one.twin, change.slot.name), change.old, change.new)
        for one in chosen
        for change in one.changes
    ]
    return Renewed(
        changes=(*kept, *(one.store for one in chosen)),
        remembered=(*kept, *moved),
        targets=tuple(
            Target(twins[id(one.function)].twin, one.site) if id(one.function) in twins else one for one in targets
        ),
        sole=tuple(one for renewal in chosen for one in renewal.sole),
        verified=tuple(change for one in chosen for change in (*one.changes, *one.kept)),
        along=tuple(_along(chosen, history)),
        renewals=tuple((one.changes[0].slot.owner, one.twin) for one in chosen),
    )


def _renewals(sites: Sequence[LinkedSite], changes: Sequence[Change], history: History) -> Iterator[Renewal]:
    taken = {change.slot.key for change in changes if change.slot.kind is not Kind.ATTRIBUTE}
    by_owner: defaultdict[int, list[Change]] = defaultdict(list)
    for change in changes:
        by_owner[id(change.slot.owner)].append(change)
    for site in sites:
        own = by_owner[id(site.functions[0])]
        slot = namespace_slot(site)
        code = next((change.new for change in own if change.slot.name == "__code__"), None)
        if len(site.functions) > 1 or slot is None or code is None:
            continue
        key = slot.key
        if key in taken or key in history.named:
            continue
        if held(slot) is not site.functions[0] and any(change.slot.name in COPIED for change in own):
            continue  # what wraps it has copied that, and is to change with it
        if slot.kind is Kind.CLASS and history.swaps_of[id(slot.owner)] >= _MOST_SWAPS:
            continue
        renewal = _renewal(site.functions[0], slot, own)
        if renewal is not None:
            taken.add(key)
            yield renewal


def _renewal(function: FunctionType, slot: Slot, changes: Sequence[Change]) -> Renewal | None:
    value = held(slot)
    if value is ABSENT:
        return None
    fresh = twin(function, {change.slot.name: change.new for change in changes}, function.__closure__ or ())
    wrapped = rewrapped(value, function, fresh)
    if wrapped is None:
        return None
    sole = (function,) if value is function else (function, value)
    return Renewal(fresh, Change(slot, value, wrapped), sole, tuple(changes), tuple(_kept(function, changes)))


def _kept(function: FunctionType, changes: Sequence[Change]) -> Iterator[Change]:
    changing = {change.slot.name for change in changes}
    for name in ("__defaults__", "__kwdefaults__"):
        if name not in changing:
            value = getattr(function, name)
            yield Change(Slot(Kind.ATTRIBUTE, function, name), value, value)


def _unheld(renewals: list[Renewal], own: Own) -> list[Renewal]:
    """Those whose functions nobody else holds at this moment; the swap proves it again."""
    ids = [id(one) for renewal in renewals for one in renewal.sole]
    references = own.with_more(references_to(renewals))
    objects = [one for renewal in renewals for one in renewal.sole]
    counted = guards.counted(objects, [1 + references[key] for key in ids])
    free = list(map(operator.and_, counted, guards.not_weakly_held(objects)))
    objects.clear()
    alone = dict(zip(ids, free, strict=True))
    return [renewal for renewal in renewals if all(alone[id(one)] for one in renewal.sole)]


def references_to(renewals: Iterable[Renewal]) -> Iterator[int]:
    """The ids of what renewals refer to, but for the changes that they are about."""
    for one in renewals:
        yield from map(id, (*one.sole, one.store.old, *(change.slot.owner for change in one.kept)))


def _along(chosen: Iterable[Renewal], history: History) -> Iterator[Row]:
    for key in {id(one.store.slot.owner) for one in chosen}:
        yield operator.setitem, history.swaps_of, key, history.swaps_of[key] + 1
