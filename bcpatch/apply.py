"""Plan → one swap → Generation; and back.

Prepare computes everything, the swap makes all stores at one instant and records them
in the same call. Nothing here looks for functions or compiles; what it can't do whole
it refuses, and leaves the process as it was.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from types import CodeType

import msgspec
from msgspec.structs import replace

from bcpatch import fingerprint
from bcpatch.diagnostics import Refused, finding
from bcpatch.exchange import prepare as preparation
from bcpatch.exchange.codes import Prepared
from bcpatch.exchange.instant import Swap, certainty, made, make
from bcpatch.exchange.late import caught_up
from bcpatch.exchange.renew import HURRY, Renewed, ways
from bcpatch.exchange.rollback import at, rollback
from bcpatch.exchange.standing import sites
from bcpatch.link import Plan
from bcpatch.process.arrivals import imported_early
from bcpatch.process.history import History, Own
from bcpatch.process.ledger import Entry
from bcpatch.process.linked import Still
from bcpatch.process.records import Generation, Record
from bcpatch.process.swap import Change, Row, held_by
from bcpatch.process.unshared import at_rest

__all__ = ["Generation", "History", "apply", "at", "rollback", "sites"]


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
        generation = _apply(plan, history, _Asked(consistency == "quiescent", timeout, require_instant))
    except Refused as refused:
        # the frames below hold the code that would have given way: nobody shall hold them by a traceback
        raise refused.with_traceback(None) from refused.__cause__
    late = caught_up(plan.sites, history)
    if late:
        generation = replace(generation, notes=(*generation.notes, *late))
        history.records.note(generation.notes)
    return generation


class _Asked(msgspec.Struct, frozen=True):
    """What the caller asks of the instant of the swap, and when it asked."""

    quiescent: bool
    timeout: float | None
    require_instant: bool
    since: float = msgspec.field(default_factory=time.perf_counter)


def _apply(plan: Plan, history: History, asked: _Asked) -> Generation:
    if plan.serial != history.serial:
        raise Refused([finding("BCP609", "another patch was applied or rolled back after this one was linked")])
    with imported_early(history, plan.versions) as came:
        ready = preparation.prepare(plan, history)
        try:
            ready.came = came
            return _swap(plan, history, ready, asked)
        except BaseException:
            if history.serial == plan.serial:  # an interrupt may come when the swap is made already
                ready.undo()
            raise


def _swap(plan: Plan, history: History, ready: Prepared, asked: _Asked) -> Generation:
    certain = certainty((*ready.changes, *ready.loose), asked.require_instant)
    generation = _generation(plan, history, ready, asked.since, certain)
    still = (*plan.still, *at_rest(plan.sites)) if asked.quiescent else plan.still
    own = Own(history, _own_references(plan, ready, still))
    conditions = Swap(
        own=own,
        caches=tuple(ready.caches),
        certain=certain,
        still=still if asked.quiescent else (),
        imports=_imports(plan, ready),
        names=plan.names,
    )
    turns = [(part.module.name, one) for part in plan.patch.modules for one in part.turns]
    for way in ways(plan.sites, ready.changes, ready.targets, history, own):
        remembered = (*ready.early, *way.remembered)
        record = Record(generation, remembered, way.targets, versions=plan.versions, steps=ready.steps)
        entry = history.remember(record, ready.codes, way.renewals, turns)
        wanted = replace(
            conditions,
            changes=(*way.changes, *ready.loose),
            sole=(*ready.sole, *way.sole),
            own=own.with_more(map(id, entry.held)),
            along=tuple(_along(plan, history, ready, way, entry)),
            verified=way.verified,
        )
        if not way.renewals:
            make(wanted, asked.timeout)
        elif not made(wanted, HURRY):
            continue
        for change in record.changes:
            if isinstance(change.old, CodeType):
                fingerprint.forget(change.old)
        return generation
    raise AssertionError("the plain way returns or raises")


def _along(plan: Plan, history: History, ready: Prepared, way: Renewed, entry: Entry) -> Iterator[Row]:
    """What else is stored at the instant of the swap, mostly in the records."""
    patched = {id(function): site.lineage for site in plan.sites for function in site.functions}
    yield from ready.texts
    yield history.files.update, ready.files
    yield from way.along
    yield history.arrivals.extend, ready.came
    yield history.displaced.update, plan.displaced
    yield from entry.rows
    yield from history.giving_way(way.changes, patched, entry.places)


def _generation(plan: Plan, history: History, ready: Prepared, since: float, certain: bool) -> Generation:
    return Generation(
        number=len(history.records),
        parent=history.current,
        patch=plan.digest,
        policy=plan.patch.policy,
        applied=round(time.time(), 3),
        milliseconds=round((time.perf_counter() - since) * 1000, 1),
        sites=tuple(ready.sites),
        notes=tuple(ready.notes),
        certain=certain,
        pending=tuple(part.module.name for part in plan.pending),
    )


def _imports(plan: Plan, ready: Prepared) -> tuple[Change, ...]:
    """What ``sys.modules`` must have for each module of the patch: what link saw, or what the patch has imported."""
    came = {one.name: one.module for one in ready.came}
    values = [(one.slot, came.get(one.slot.name, one.old)) for one in plan.imports]
    return tuple(Change(slot, value, value) for slot, value in values)


def _own_references(plan: Plan, ready: Prepared, still: Sequence[Still]) -> Iterator[int]:
    """The ids of what the data of this apply refers to, each as often as it does.

    A proof that nobody else holds an object has to leave these out.
    """
    several = [map(operator.attrgetter(name), plan.sites) for name in ("functions", "closures", "caches")]
    functions, closures, caches = map(chain.from_iterable, several)
    referred = chain(
        map(operator.attrgetter("store"), still),
        functions,
        map(operator.attrgetter("function"), chain(closures, caches, ready.targets)),
        ready.sole,
        ready.codes.values(),
        plan.names.values,
    )
    return chain(map(id, referred), held_by(chain(ready.changes, ready.loose)))
