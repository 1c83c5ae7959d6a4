"""Plan → one swap → Generation; and back.

Prepare computes everything, the swap makes all stores at one instant and records them
in the same call. Nothing here looks for functions or compiles; what it can't do whole
it refuses, and leaves the process as it was.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any, Final
from weakref import ref

from bcpatch import flights, guards, swap
from bcpatch import prepare as preparation
from bcpatch.diagnostics import Diagnostic, Place, Refused, finding
from bcpatch.history import Cache, Generation, History, Loose, Record
from bcpatch.link import Plan
from bcpatch.locate import Still
from bcpatch.replace import sole_objects
from bcpatch.standing import sites
from bcpatch.swap import Change, Kind, Slot

__all__ = ["Generation", "History", "apply", "at", "rollback", "sites"]

_FRESH_GIL: Final = 1e-5
"""Seconds of sleep after which this thread has the GIL for a whole switch interval."""

_PATIENCE: Final = 1.0
"""Seconds for which an apply waits for its conditions."""

_PAUSE: Final = 0.0005
"""Seconds between two looks at them."""


def apply(
    plan: Plan,
    history: History,
    *,
    consistency: str = "immediate",
    timeout: float | None = None,
    require_instant: bool = False,
) -> Generation:
    """Make a plan real: all of it at one instant, or nothing. The caller is `History.exclusive`.

    ``consistency="quiescent"`` swaps only while no thread, coroutine or generator is inside
    a function of the patch; ``timeout`` is how many seconds it may look for that instant.
    Raises `Refused`: BCP601 where there was none, BCP603 where the patch's own expressions raise, BCP604 where
    ``require_instant`` can't be had, BCP605 without the GIL, BCP608 and BCP609 where the
    process has changed since the plan was made.
    """
    try:
        return _apply(plan, history, consistency, timeout, require_instant)
    except Refused as refused:
        # the frames below hold the code that would have given way: nobody shall hold them by a traceback
        raise refused.with_traceback(None) from refused.__cause__


def _apply(
    plan: Plan, history: History, consistency: str, timeout: float | None, require_instant: bool
) -> Generation:
    started = time.perf_counter()
    if plan.serial != history.serial:
        raise Refused([finding("BCP609", "another patch was applied or rolled back after this one was linked")])
    ready = preparation.prepare(plan, history)
    changes = (*ready.changes, *ready.loose)
    certain = _instant(changes, require_instant)
    generation = Generation(
        number=len(history.records),
        parent=history.current,
        patch=plan.digest,
        policy=plan.patch.policy,
        applied=time.time(),
        milliseconds=(time.perf_counter() - started) * 1000,
        sites=tuple(ready.sites),
        notes=tuple(ready.notes),
        certain=certain,
    )
    record = Record(
        generation,
        tuple(ready.changes),
        tuple(ready.targets),
        tuple(ready.caches),
        tuple(Loose(ref(one.slot.owner), one.slot.name, one.old, one.new) for one in ready.loose),
    )
    wanted = Swap(
        changes=changes,
        sole=tuple(ready.sole),
        own=_own_references(plan, ready, history),
        caches=record.caches,
        along=(*ready.texts, (history.files.update, ready.files), *history.remember(record, ready.codes)),
        certain=certain,
        still=plan.still if consistency == "quiescent" else (),
    )
    _make(wanted, _PATIENCE if timeout is None else timeout)
    return generation


def _own_references(plan: Plan, ready: preparation.Prepared, history: History) -> Counter[int]:
    """How often the data of this apply, and the history, refer to each object, by id.

    A proof that nobody else holds an object has to leave these out.
    """
    own: Counter[int] = Counter(history.references)
    for site in plan.sites:
        own.update(map(id, site.functions))
        own.update(id(closure.function) for closure in site.closures)
        own.update(id(cache.function) for cache in site.caches)
    own.update(id(target.function) for target in ready.targets)
    own.update(map(id, ready.sole))
    own.update(id(one.store) for one in plan.still)
    for store in ready.codes.values():
        own.update(map(id, store.values()))
    return own + _held_by((*ready.changes, *ready.loose))


def _held_by(changes: Iterable[Change]) -> Counter[int]:
    return Counter(id(one) for change in changes for one in (change.slot.owner, change.old, change.new))


def _instant(changes: Sequence[Change], required: bool) -> bool:
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


@dataclass(frozen=True, slots=True, eq=False)
class Swap:
    """The stores of one instant, and what must be true at it.

    Each of ``sole`` must be held by one object, references in ``own`` aside. No thread may
    be inside a function of ``caches``: it would store an old result after the cache was cleared.
    No call at all may be inside the code of ``still``.
    """

    changes: tuple[Change, ...]
    sole: tuple[object, ...]
    own: Counter[int]
    caches: tuple[Cache, ...]
    along: tuple[swap.Row, ...]
    certain: bool
    still: tuple[Still, ...] = ()


def _make(wanted: Swap, patience: float) -> None:
    """Make a swap as soon as its conditions hold, within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    cached = [change.old for change in wanted.changes if _is_cached(change, wanted.caches)]
    own = wanted.own + Counter(id(change.old) for change in wanted.changes)  # in the stores that would undo the swap
    clear: list[swap.Row] = [(cache.wrapper.cache_clear,) for cache in wanted.caches]
    while True:
        if not wanted.certain:
            time.sleep(_FRESH_GIL)
        conditions = [guards.unchanged(wanted.changes)]
        if wanted.sole:
            conditions.append(guards.counted(wanted.sole, [1 + own[key] for key in map(id, wanted.sole)]))
        if cached:
            conditions.append(guards.nobody_inside(cached))
        if wanted.still:
            conditions.append(_quiet(wanted.still, own))
        try:
            if swap.exchange(wanted.changes, guards=conditions, along=[*clear, *wanted.along]):
                return
        except swap.HalfDone as error:
            message = f"a store raised {error}; all of them were undone"
            raise Refused([finding("BCP610", message)]) from error.with_traceback(None)
        finally:
            conditions.clear()  # what they looked at may be this very call's frame
        moved = [one.slot for one in wanted.changes if swap.held(one.slot) is not one.old]
        if moved:
            raise Refused([finding("BCP608", f"something else has set {', '.join(map(_words, moved))}")])
        if time.monotonic() > deadline:
            raise Refused(_held_back(wanted))
        time.sleep(_PAUSE)


def _quiet(still: Iterable[Still], own: Counter[int]) -> guards.Guard:
    """Whether no call is inside code that gives way: its references are those that it has at rest."""
    codes = [one.code() for one in still]
    counts = [one.references + own[key] for one, key in zip(still, map(id, codes), strict=True)]
    return guards.counted(codes, counts)


def _is_cached(change: Change, caches: Iterable[Cache]) -> bool:
    if change.slot.name != "__code__":
        return False
    return any(cache.function is change.slot.owner for cache in caches)


def _held_back(wanted: Swap) -> Iterator[Diagnostic]:
    for one in wanted.sole:
        if isinstance(one, FunctionType):
            message = f"{one.__qualname__} needs a new function object, and something else holds the old one"
            yield finding("BCP611", message, Place(one.__code__.co_filename, one.__code__.co_firstlineno))
    codes: list[Any] = [one.code() for one in wanted.still]
    codes += [change.old for change in wanted.changes if _is_cached(change, wanted.caches)]
    if codes:
        calls = list(flights.calls_inside(codes))
        for call in calls:
            yield finding("BCP601", f"{call.holder} is inside {call.qualname}", Place(call.file, call.line))
        if not calls:
            yield finding("BCP601", "no call is left inside, but new functions were made of the code meanwhile")


def _words(slot: Slot) -> str:
    if slot.kind is Kind.NAMESPACE:
        return f"{slot.owner.get('__name__')}.{slot.name}"
    return f"{slot.owner.__module__}.{slot.owner.__qualname__}.{slot.name}"


# --- other generations --------------------------------------------------------------


def rollback(history: History, to: int | None = None, *, require_instant: bool = False) -> Generation:
    """Swap to what any generation made of the process, an older or a newer one.

    None is the generation that the current one was applied to. The caller is `History.exclusive`.
    Raises `Refused`: BCP607 where there is no such generation, BCP608 where a value is no
    longer what bcpatch had set, and what `apply` refuses of a swap.
    """
    try:
        return _rollback(history, to, require_instant)
    except Refused as refused:
        raise refused.with_traceback(None) from refused.__cause__


def _rollback(history: History, to: int | None, require_instant: bool) -> Generation:
    if to is None:
        to = _before(history)
    _known(history, to)
    changes = _between(history, to)
    sole = tuple(one for change in changes for one in sole_objects(change.old, change.new))
    touched = {id(change.slot.owner) for change in changes}
    caches = {id(cache.wrapper): cache for record in history.records for cache in record.caches}
    certain = _instant(changes, require_instant)
    wanted = Swap(
        changes=changes,
        sole=sole,
        own=Counter(history.references) + _held_by(changes),
        caches=tuple(cache for cache in caches.values() if id(cache.function) in touched),
        along=tuple(history.point_at(to)),
        certain=certain,
    )
    _make(wanted, _PATIENCE)
    return history.records[to].generation


def _between(history: History, to: int) -> tuple[Change, ...]:
    """The stores that lead from the current generation to another."""
    now = history.values(history.current)
    then = history.values(to)
    return tuple(Change(slot, now[key][1], value) for key, (slot, value) in then.items() if now[key][1] is not value)


def _before(history: History) -> int:
    if not history.current:
        raise Refused([finding("BCP607", "generation 0 is the process as started: nothing was before it")])
    return history.records[history.current].generation.parent


def _known(history: History, number: int) -> None:
    if not 0 <= number < len(history.records):
        message = f"generation {number} is not one of 0 to {len(history.records) - 1}"
        raise Refused([finding("BCP607", message)])


def at(history: History, generation: int, function: Any) -> Any:
    """A function that runs the code, with the defaults, that ``function`` had in a generation.

    A bound method gives a bound method. Raises TypeError for what is no Python function,
    `Refused` (BCP607) where there is no such generation.
    """
    _known(history, generation)
    if isinstance(function, MethodType):
        return MethodType(at(history, generation, function.__func__), function.__self__)
    if not isinstance(function, FunctionType):
        raise TypeError(f"a function or bound method is needed, not {type(function).__name__}")
    values = history.values(generation)

    def then(name: str) -> Any:
        slot = Slot(Kind.ATTRIBUTE, function, name)
        return values[slot.key][1] if slot.key in values else getattr(function, name)

    shown = FunctionType(
        then("__code__"), function.__globals__, function.__name__, then("__defaults__"), function.__closure__
    )
    shown.__kwdefaults__ = then("__kwdefaults__")
    shown.__doc__ = then("__doc__")
    shown.__qualname__, shown.__module__ = function.__qualname__, function.__module__
    shown.__dict__.update(function.__dict__)
    history.exhibits.add(shown)
    return shown
