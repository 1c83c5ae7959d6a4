"""Plan → one swap → Generation; and back.

Prepare computes everything, the swap makes all stores at one instant and records them
in the same call. Nothing here looks for functions or compiles; what it can't do whole
it refuses, and leaves the process as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import FunctionType, MethodType
from typing import Any

from bcpatch import fingerprint, sources, swap
from bcpatch import prepare as preparation
from bcpatch.diagnostics import Diagnostic, Refused, finding
from bcpatch.history import Generation, History, Record
from bcpatch.link import Plan
from bcpatch.model import Site, SiteStatus
from bcpatch.swap import Change, Kind, Slot

__all__ = ["Generation", "History", "apply", "at", "rollback", "sites"]

_FRESH_GIL = 1e-5
"""Seconds of sleep after which this thread has the GIL for a whole switch interval."""


def apply(
    plan: Plan,
    history: History,
    *,
    consistency: str = "immediate",
    timeout: float | None = None,
    require_instant: bool = False,
) -> Generation:
    """Make a plan real: all of it at one instant, or nothing. The caller is `History.exclusive`.

    Raises `Refused`: BCP603 where the patch's own expressions raise, BCP604 where
    ``require_instant`` can't be had, BCP605 without the GIL, BCP608 and BCP609 where the
    process has changed since the plan was made.
    """
    started = time.perf_counter()
    if plan.serial != history.serial:
        raise Refused([finding("BCP609", "another patch was applied or rolled back after this one was linked")])
    ready = preparation.prepare(plan, history)
    certain = _instant(ready.changes, require_instant)
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
    for name, text in ready.texts.items():
        sources.publish(name, text)
    record = Record(generation, tuple(ready.changes), tuple(ready.targets))
    rows = history.remember(record, ready.codes)
    _swap(ready.changes, rows, certain)
    return generation


def _instant(changes: Iterable[Change], required: bool) -> bool:
    """Whether one instant is certain; refuses where it can't be had at all."""
    changes = list(changes)
    if swap.runs_without_gil():
        alone = len(changes) == 1 and changes[0].slot.kind is Kind.ATTRIBUTE and changes[0].slot.name == "__code__"
        if changes and not alone:
            raise Refused([finding("BCP605", f"{len(changes)} stores are one instant only where the GIL runs")])
    certain = not swap.has_audit_hook()
    if required and not certain:
        raise Refused([finding("BCP604", "a Python audit hook may run in the middle of the swap")])
    return certain


def _swap(changes: list[Change], along: list[swap.Row], certain: bool) -> None:
    guard = swap.unchanged(changes)
    if not certain:
        time.sleep(_FRESH_GIL)
    try:
        done = swap.exchange(changes, guards=[guard], along=along)
    except swap.HalfDone as error:
        raise Refused([finding("BCP610", f"a store raised {error}; all of them were undone")]) from error
    if not done:
        raise Refused([_moved_on(changes)])


def _moved_on(changes: Iterable[Change]) -> Diagnostic:
    names = [_words(one.slot) for one in changes if swap.held(one.slot) is not one.old]
    return finding("BCP608", f"something else has set {', '.join(names) or 'a value for a moment'}")


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
    if to is None:
        to = _before(history)
    _known(history, to)
    now = history.values(history.current)
    then = history.values(to)
    changes = [Change(slot, now[key][1], value) for key, (slot, value) in then.items() if now[key][1] is not value]
    certain = _instant(changes, require_instant)
    _swap(changes, history.point_at(to), certain)
    return history.records[to].generation


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


# --- what runs now ------------------------------------------------------------------


def sites(history: History) -> tuple[SiteStatus, ...]:
    """Every site that was ever patched: its generation, and where its code stands."""
    found: dict[Site, SiteStatus] = {}
    for record in history.records:
        for target in record.targets:
            if target.path:
                continue
            code = target.function.__code__
            generation = _generation_of(history, target.function)
            found[target.site] = SiteStatus(
                target.site, generation, fingerprint.of(code), code.co_filename, code.co_firstlineno
            )
    return tuple(found[site] for site in sorted(found))


def _generation_of(history: History, function: FunctionType) -> int:
    """The newest generation, up to the current one, that brought a function the code it runs."""
    for record in reversed(history.lineage(history.current)):
        if any(one.slot.owner is function and one.slot.name == "__code__" for one in record.changes):
            return record.generation.number
    return 0
