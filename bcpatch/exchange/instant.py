"""The swap of a patch: made as soon as its conditions hold, or refused with the reason.

Between what wants to change the process and `swap.exchange` stands this module: it says
what must be true at the instant, waits a little for it, and tells who is in the way.
"""

from __future__ import annotations

import operator
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress
from types import FunctionType
from typing import Any, Final

import msgspec

from bcpatch.diagnostics import Diagnostic, Place, Refused, finding
from bcpatch.exchange import flights, wrappers
from bcpatch.process import classes, guards, swap
from bcpatch.process.history import Own
from bcpatch.process.linked import Cache, Still
from bcpatch.process.swap import Change, Kind, Slot

_FRESH_GIL: Final = 1e-5
"""Seconds of sleep after which this thread has the GIL for a whole switch interval."""

PATIENCE: Final = 1.0
"""Seconds for which a swap waits for its conditions."""

_PAUSE: Final = 0.0005
"""Seconds between two looks at them."""


def certainty(changes: Sequence[Change], required: bool) -> bool:
    """Whether one instant is certain; refuses where it can't be had at all."""
    if swap.runs_without_gil():
        alone = len(changes) == 1 and changes[0].slot.kind is Kind.ATTRIBUTE and changes[0].slot.name == "__code__"
        if changes and not alone:
            raise Refused([finding("BCP605", f"{len(changes)} stores are one instant only where the GIL runs")])
    certain = not swap.has_audit_hook()
    if required and not certain:
        raise Refused([finding("BCP604", "a Python audit hook may run in the middle of the swap")])
    return certain


# --- the swap -----------------------------------------------------------------------


class Swap(msgspec.Struct, frozen=True, eq=False):
    """The stores of one instant, and what must be true at it.

    Each of ``sole`` must be held by one object, references in ``own`` aside. No thread may
    be inside a function of ``caches``: it would store an old result after the cache was cleared.
    No call at all may be inside the code of ``still``. Attributes must have ``verified`` values.
    ``imports`` are keys of ``sys.modules`` that must have what they had, while nobody is importing them; ``names``
    lead to what is changed, and must do so still.
    """

    own: Own
    certain: bool
    changes: tuple[Change, ...] = ()
    sole: tuple[object, ...] = ()
    caches: tuple[Cache, ...] = ()
    along: tuple[swap.Row, ...] = ()
    still: tuple[Still, ...] = ()
    verified: swap.Values = swap.NO_VALUES
    imports: tuple[Change, ...] = ()
    names: guards.Names = guards.NO_NAMES


def make(wanted: Swap, patience: float | None = None) -> None:
    """Make a swap as soon as its conditions hold, within ``patience`` seconds; raises `Refused` where they do not."""
    if not made(wanted, patience):
        raise Refused(
            list(_held_back(wanted)) or [finding("BCP519", "an import of a module of the patch has just ended")]
        )


def made(wanted: Swap, patience: float | None = None) -> bool:
    """Whether a swap could be made within ``patience`` seconds.

    Raises `Refused` where it never can: a store raises (BCP610), or what is to be replaced is gone (BCP608);
    `swap.Torn` where a store raised, and what was stored before it could not be restored.
    """
    _announced(wanted.changes)
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    cached = frozenset(id(change.old) for change in _cached(wanted))
    own = wanted.own.with_more(_in_stores(wanted.changes))
    ids = list(map(id, wanted.sole))
    clear: list[swap.Row] = [(cache.wrapper.cache_clear,) for cache in wanted.caches]
    clear += classes.forgotten_answers(wanted.changes)
    clear += wrappers.forgotten(wanted.changes)
    while True:
        if not wanted.certain:
            time.sleep(_FRESH_GIL)
        conditions = [
            guards.unchanged(wanted.changes),
            guards.same_attributes(wanted.verified),
            guards.same_names(wanted.names),
            guards.unchanged(wanted.imports),
            guards.not_being_imported([one.slot.name for one in wanted.imports]),
        ]
        if wanted.sole:
            conditions.append(guards.not_weakly_held(wanted.sole))
            conditions.append(guards.counted(wanted.sole, [1 + count for count in own.of(ids)]))
        if cached:
            conditions.append(guards.nobody_inside(cached))
        if wanted.still:
            conditions.append(_quiet(wanted.still, own))
        try:
            if swap.exchange(wanted.changes, guards=conditions, along=[*clear, *wanted.along]):
                return True
        except swap.HalfDone as error:
            message = f"a store raised {error}; all of them were undone"
            raise Refused([finding("BCP610", message)]) from error.with_traceback(None)
        finally:
            conditions.clear()  # what they looked at may be this very call's frame
        moved = _set_since(wanted)
        if moved:
            raise Refused([finding("BCP608", f"something else has set {', '.join(moved)}")])
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)


def _announced(changes: Sequence[Change]) -> None:
    """Let audit hooks object while nothing is stored yet."""
    try:
        swap.announce(changes)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 (whatever a hook raises is an objection)
        message = f"an audit hook does not let functions be changed: it raised {type(error).__name__}: {error}"
        found = finding("BCP610", message, help="let the hook allow `object.__setattr__` on functions, or restart")
        raise Refused([found]) from error.with_traceback(None)


def _set_since(wanted: Swap) -> list[str]:
    """What no longer has the value that it is to have before the swap, in words."""
    slots = [one.slot for one in (*wanted.changes, *wanted.imports) if swap.held(one.slot) is not one.old]
    differing = map(operator.not_, guards.same_attributes(wanted.verified))
    attributes = zip(wanted.verified.owners, wanted.verified.names, strict=True)
    slots += [Slot(Kind.ATTRIBUTE, *one) for one in compress(attributes, differing)]
    names = compress(wanted.names.words, map(operator.not_, guards.same_names(wanted.names)))
    return list(dict.fromkeys((*map(_words, slots), *names)))


def _in_stores(changes: Iterable[Change]) -> Iterator[int]:
    """The ids of what the stores of a swap hold, and those that would undo it, as often as they do."""
    yield from map(id, map(operator.attrgetter("slot.owner"), changes))
    undone = [change for change in changes if change.old is not swap.ABSENT]
    yield from map(id, chain.from_iterable(map(operator.attrgetter("slot.owner", "old"), undone)))


def _quiet(still: Iterable[Still], own: Own) -> guards.Guard:
    """Whether no call is inside code that gives way: its references are those that it has at rest."""
    codes = [one.code() for one in still]
    counts = [one.references + count for one, count in zip(still, own.of(list(map(id, codes))), strict=True)]
    return guards.counted(codes, counts)


def _cached(wanted: Swap) -> list[Change]:
    """The stores of code into functions whose results are kept."""
    owners = {id(cache.function) for cache in wanted.caches}
    codes = [change for change in wanted.changes if change.slot.name == "__code__"] if owners else []
    return [change for change in codes if id(change.slot.owner) in owners]


def _held_back(wanted: Swap) -> Iterator[Diagnostic]:
    for change in wanted.imports:
        if not all(guards.not_being_imported([change.slot.name])):
            yield finding("BCP519", f"module {change.slot.name} is being imported")
    for one in wanted.sole:
        if isinstance(one, FunctionType):
            message = f"{one.__qualname__} needs a new function object, and something else holds the old one"
            yield finding("BCP611", message, Place(one.__code__.co_filename, one.__code__.co_firstlineno))
    codes: list[Any] = [one.code() for one in wanted.still]
    codes += [change.old for change in _cached(wanted)]
    if codes:
        calls = list(flights.calls_inside(codes))
        for call in calls:
            yield finding("BCP601", f"{call.holder} is inside {call.qualname}", Place(call.file, call.line))
        if not calls:
            message = (
                "no call is seen inside, but the code has other holders than when it was linked: generators that have"
                " ended or are out of sight (`gc.freeze`), or functions that were made or given up since"
            )
            yield finding("BCP601", message)


def _words(slot: Slot) -> str:
    if slot.owner is sys.modules:
        return f"module {slot.name}"
    if slot.kind is Kind.NAMESPACE:
        return f"{slot.owner.get('__name__')}.{slot.name}"
    return f"{slot.owner.__module__}.{slot.owner.__qualname__}.{slot.name}"
