"""A fresh function object for each one that changes, where nobody can tell the difference.

From CPython 3.13 on, calls of a function whose ``__code__`` was assigned are never
specialised again. So where a namespace is a function's one holder, a twin with the new
values takes its place, and from then on stands for it in every generation. The proof
belongs to the swap; without it the function is changed in place. Stores nothing itself.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress, repeat
from types import FunctionType
from typing import Final

import msgspec

from bcpatch import pythons
from bcpatch.exchange.replace import namespace_slot, rewrapped, twin
from bcpatch.exchange.wrappers import COPIED
from bcpatch.process import guards
from bcpatch.process.history import History, Own
from bcpatch.process.linked import LinkedSite
from bcpatch.process.objects import instance_namespace
from bcpatch.process.records import Target
from bcpatch.process.swap import NO_VALUES, Change, Kind, Row, Slot, Values, held, held_by

_MOST_SWAPS: Final = 500
"""Swaps that store into one class. A look-up after a store gives it a new version, and after 1,000 of these it gets
none and its look-ups are slow for good (3.13+, ``MAX_VERSIONS_PER_CLASS``); stores of others, and into what it
inherits from, count as well."""

HURRY: Final = 0.02
"""Seconds for which functions are waited for to be renewed, before they are changed in place."""


class Renewal(msgspec.Struct, frozen=True):
    """One function that gives way to a twin, the ``pair``: the store into its namespace, and what nobody else may hold.

    ``changes`` are the stores that it would take otherwise, and ``values`` what they store, by name.
    """

    pair: tuple[FunctionType, FunctionType]
    store: Change
    sole: tuple[object, ...]
    changes: Sequence[Change]
    values: Mapping[str, object]


class Renewed(msgspec.Struct, frozen=True, eq=False):
    """Changes as they are made, and as the history remembers them: as if the twins had always been there.

    ``verified`` are values of the old functions that must not have changed since the twins were made,
    ``along`` what the history counts of them, and ``renewals`` each old function with its twin.
    """

    changes: tuple[Change, ...]
    remembered: tuple[Change, ...]
    targets: tuple[Target, ...]
    sole: tuple[object, ...] = ()
    verified: Values = NO_VALUES
    along: tuple[Row, ...] = ()
    renewals: tuple[tuple[FunctionType, FunctionType], ...] = ()

    def references(self, changes: Iterable[Change]) -> list[int]:
        """The ids of what this refers to, as often as it does, beside the ``changes`` that it was made of."""
        counted = set(map(id, changes))
        more = [change for change in (*self.changes, *self.remembered) if id(change) not in counted]
        old = [old for old, _ in self.renewals]
        return [*held_by(more), *map(id, chain(self.sole, self.verified.owners, self.verified.values, old))]


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
    pairs = tuple([one.pair for one in chosen])
    twins = {id(old): new for old, new in pairs}
    kept = [change for change in changes if id(change.slot.owner) not in twins]
    moved = [
        Change(Slot(Kind.ATTRIBUTE, one.pair[1], change.slot.name), change.old, change.new)
        for one in chosen
        for change in one.changes
    ]
    followed = [Target(twins.get(id(one.function), one.function), one.site) for one in targets]
    return Renewed(
        changes=(*kept, *[one.store for one in chosen]),
        remembered=(*kept, *moved),
        targets=tuple(followed),
        sole=tuple(chain.from_iterable([one.sole for one in chosen])),
        verified=_verified(chosen),
        along=tuple(_along(chosen, history)),
        renewals=pairs,
    )


def _renewals(sites: Sequence[LinkedSite], changes: Sequence[Change], history: History) -> Iterator[Renewal]:
    taken = {change.slot.key for change in changes if change.slot.kind is not Kind.ATTRIBUTE}
    by_owner: defaultdict[int, list[Change]] = defaultdict(list)
    for change in changes:
        by_owner[id(change.slot.owner)].append(change)
    for site in sites:
        function, own = site.functions[0], by_owner.get(id(site.functions[0]), ())
        slot = namespace_slot(site) if own and len(site.functions) == 1 else None
        values = {change.slot.name: change.new for change in own}
        if slot is None or "__code__" not in values:
            continue
        key = slot.key
        if key in taken or key in history.named:
            continue
        value = held(slot)
        if value is not function and (not COPIED.isdisjoint(values) or _is_recorded(value, history)):
            continue  # what wraps it has copied that, and changes with it, there and back
        if slot.kind is Kind.CLASS and history.swaps_of[id(slot.owner)] >= _MOST_SWAPS:
            continue
        fresh = twin(function, values, function.__closure__ or ())
        wrapped = rewrapped(value, function, fresh)
        if wrapped is not None:
            taken.add(key)
            sole = (function,) if value is function else (function, value)
            yield Renewal((function, fresh), Change(slot, value, wrapped), sole, own, values)


def _is_recorded(wrapper: object, history: History) -> bool:
    """Whether a generation has changed what a wrapper copied: the way back leads to this very one."""
    return history.keeps(wrapper) or history.keeps(instance_namespace(wrapper))


def _verified(chosen: Sequence[Renewal]) -> Values:
    """What each function must still have: its twin was made with it, or to have something else in its place."""
    changes = list(chain.from_iterable([one.changes for one in chosen]))
    owners = [change.slot.owner for change in changes]
    names = [change.slot.name for change in changes]
    values = [change.old for change in changes]
    for name in ("__defaults__", "__kwdefaults__"):
        taken_over = [one for one in chosen if name not in one.values]
        owners += [one.pair[0] for one in taken_over]
        names += repeat(name, len(taken_over))
        values += [getattr(one.pair[1], name) for one in taken_over]
    return Values(owners, names, values)


def _unheld(renewals: list[Renewal], own: Own) -> list[Renewal]:
    """Those whose functions nobody else holds at this moment; the swap proves it again."""
    objects = list(chain.from_iterable([one.sole for one in renewals]))
    ids = list(map(id, objects))
    references = own.with_more(references_to(renewals)).of(ids)
    counted = guards.counted(objects, [1 + count for count in references])
    free = list(map(operator.and_, counted, guards.not_weakly_held(objects)))
    objects.clear()
    shared = set(compress(ids, map(operator.not_, free)))
    return [one for one in renewals if shared.isdisjoint(map(id, one.sole))]


def references_to(renewals: Iterable[Renewal]) -> list[int]:
    """The ids of what renewals refer to, but for the changes that they are about."""
    ids = [id(one) for renewal in renewals for one in renewal.sole]
    return ids + [key for one in renewals for key in (id(one.pair[0]), id(one.store.old))]


def _along(chosen: Iterable[Renewal], history: History) -> Iterator[Row]:
    for key in {id(one.store.slot.owner) for one in chosen}:
        yield operator.setitem, history.swaps_of, key, history.swaps_of[key] + 1
