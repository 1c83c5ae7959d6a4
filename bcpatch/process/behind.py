"""The functions behind a value: those that calling it may run, as far as the value itself holds them.

A decorator may put anything in the place of a function that passes calls on: a closure, a `functools.partial`, a bound
method, an object with ``__call__``. No code of the application is run.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import CellType, FunctionType, MethodType
from typing import Any, Final

from bcpatch.process.accounting import CACHE
from bcpatch.process.objects import (
    class_namespace,
    instance_namespace,
    is_class,
    is_function,
    is_module,
    mro_of,
    parts_of,
)

WRAPPERS: Final = (FunctionType, MethodType, staticmethod, classmethod, functools.partial, CACHE)
CONTAINERS: Final = (list, dict, tuple, set, frozenset)
LARGE: Final = 1_000
"""Items of a container that is data: it is not looked into."""

_MOST: Final = 100
"""Objects that are looked at behind a value."""


def inside(one: Any) -> Iterator[object]:
    """What a wrapper passes calls on to."""
    kind = type(one)
    if kind is FunctionType:
        yield from (part for part in _contents(one.__closure__ or ()) if issubclass(type(part), WRAPPERS))
        if "__wrapped__" in vars(one):
            yield vars(one)["__wrapped__"]
    elif kind is CACHE:
        yield from (part for part in gc.get_referents(one) if not is_class(part) and type(part) is not dict)
    elif kind is MethodType:
        yield one.__func__
    elif issubclass(kind, functools.partial):
        yield functools.partial.func.__get__(one)
    elif issubclass(kind, (staticmethod, classmethod, property)):
        yield from (part for part in parts_of(one) if part is not None)
    elif not (is_class(one) or is_module(one)):
        yield from (part for part in instance_namespace(one).values() if issubclass(type(part), WRAPPERS))


def reached(value: object, held: Callable[[Any], Iterable[object]] = inside) -> list[object]:
    """A value, and what it leads to by what each holds."""
    seen = {id(value)}
    found = [value]
    for one in found:  # it grows meanwhile
        for inner in held(one):
            if id(inner) not in seen and len(seen) < _MOST:
                seen.add(id(inner))
                found.append(inner)
    return found


class Behind:
    """The functions behind values. Each value is looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, tuple[FunctionType, ...]]] = {}
        self._passing: dict[int, tuple[type, bool]] = {}

    def functions(self, value: object) -> tuple[FunctionType, ...]:
        """Those that calling a value may run, a descriptor's and those in a container too; none for a class."""
        if is_function(value) and value.__closure__ is None and not value.__dict__:
            return (value,)
        if not self._passes_on(value) and type(value) not in CONTAINERS:
            return ()
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = value, tuple(filter(is_function, reached(value, self._held)))
        return known[1]

    def _held(self, one: Any) -> Iterator[object]:
        kind = type(one)
        if kind in CONTAINERS:
            items = list(one.values() if kind is dict else one) if len(one) <= LARGE else []
            yield from filter(self._passes_on, items)
            return
        yield from inside(one)
        if kind is FunctionType:
            cells = _contents(one.__closure__ or ())
            yield from (part for part in cells if type(part) in CONTAINERS or self._passes_on(part))
        elif kind is MethodType:
            yield one.__self__
        elif not issubclass(kind, WRAPPERS):
            yield from (_special(kind, name) for name in _PASSING)
            yield from filter(self._passes_on, list(instance_namespace(one).values()))

    def _passes_on(self, value: object) -> bool:
        """Whether a value passes on calls that are made of it, or reads by way of a class."""
        kind = type(value)
        known = self._passing.get(id(kind))
        if known is None:
            passes = issubclass(kind, (*WRAPPERS, property, functools.cached_property, functools.partialmethod))
            passes = passes or any(_special(kind, name) is not None for name in _PASSING)
            known = self._passing[id(kind)] = kind, passes and not issubclass(kind, type)
        return known[1]


_PASSING: Final = ("__call__", "__get__")


def _special(kind: type, name: str) -> object:
    """A method of a class that is written in Python; None where it has none."""
    spaces = map(class_namespace, mro_of(kind))
    found = next((space[name] for space in spaces if name in space), None)
    return found if is_function(found) else None


def _contents(cells: Iterable[CellType]) -> Iterator[object]:
    """What cells hold, those that are empty aside."""
    for cell in cells:
        with suppress(ValueError):
            yield cell.cell_contents
