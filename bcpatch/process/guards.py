"""Conditions of a swap, each evaluated in the swap's own C call.

A guard is an iterator of truth values that runs no Python. It is looked at when no
other thread can run any more, so what it proves holds at the instant of the stores.
"""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain, repeat, starmap, takewhile
from types import FrameType
from typing import Any, Final, NamedTuple, TypeAlias

from bcpatch import pythons
from bcpatch.process.swap import ABSENT, Change, Values, reading

Guard: TypeAlias = Iterator[bool]


def unchanged(changes: Sequence[Change]) -> Guard:
    """Whether every slot still holds the very object that is to be replaced."""
    reads = starmap(operator.call, [reading(change.slot) for change in changes])
    return map(operator.is_, reads, map(getattr, changes, repeat("old")))


def same_attributes(known: Values) -> Guard:
    """Whether attributes still have the very objects that they had, without a reference more to their owners."""
    return map(operator.is_, map(getattr, known.owners, known.names), known.values)


class Names(NamedTuple):
    """What names of modules and classes were bound to: how each is looked up, its name, in words too, and its value."""

    lookups: Sequence[Callable[..., object]]
    names: Sequence[str]
    words: Sequence[str]
    values: Sequence[object]


NO_NAMES: Final = Names((), (), (), ())


def same_names(known: Names) -> Guard:
    """Whether names are still bound to the very objects that they were bound to."""
    values = map(operator.call, known.lookups, known.names, repeat(ABSENT))
    return map(operator.is_, values, known.values)


def not_being_imported(names: Sequence[str]) -> Guard:
    """Whether no thread is importing a module of one of these names, or loading it again.

    Importlib looks for a module, executes it and sets it in its package under a lock of the module's own.
    """
    references = map(pythons.MODULE_LOCKS.get, names, repeat(type(None)))
    owners = map(getattr, map(operator.call, references), repeat("owner"), repeat(None))
    return map(operator.is_, owners, repeat(None))


def not_weakly_held(objects: Sequence[object]) -> Guard:
    """Whether no weak reference to each object exists: its holder would find it gone."""
    return map(operator.not_, map(weakref.getweakrefcount, objects))


def stacks() -> Iterator[FrameType]:
    """The frames of all threads, innermost first: taken when iterated, without a line of Python."""
    threads = chain.from_iterable(map(dict.values, starmap(sys._current_frames, [()])))
    upward = map(accumulate, map(chain, zip(threads), repeat(repeat("f_back"))), repeat(getattr))
    until_none: Any = takewhile
    return chain.from_iterable(map(until_none, repeat(bool), upward))


def nobody_inside(inside: frozenset[int]) -> Guard:
    """Whether no thread's stack has a frame of these code objects: their ids, for they may be counted too."""
    running = map(id, map(getattr, stacks(), repeat("f_code")))
    return map(operator.not_, map(inside.__contains__, running))


def counted(objects: Sequence[object], counts: Sequence[int]) -> Guard:
    """Whether each object has exactly so many references, those of ``objects`` aside."""
    listed = _listed()
    return map(operator.eq, map(sys.getrefcount, objects), [count + listed for count in counts])


def _listed() -> int:
    """What ``sys.getrefcount`` gives within a pipeline for an object that only a list holds."""
    return next(map(sys.getrefcount, [object()]))
