"""The caches of ``functools.lru_cache`` around functions, wherever somebody holds them.

What such a cache has of a function are results of its old code. Between the two there may be wrappers, and a cache
may lie in another module than the function. So all of the process are looked at, unless nothing but names holds
the functions. Changes nothing, and runs no code of the application.
"""

from __future__ import annotations

import functools
import gc
import operator
import sys
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, compress, repeat, starmap
from types import CellType, FunctionType, MethodType
from typing import Any, Final, TypeAlias

import msgspec

from bcpatch.model import FunctionEdit
from bcpatch.process import naming
from bcpatch.process.accounting import CACHE, Walk
from bcpatch.process.history import Own
from bcpatch.process.linked import Cache, Located
from bcpatch.process.objects import (
    all_namespaces,
    called,
    functions_in,
    instance_namespace,
    is_class,
    is_function,
    is_module,
    parts_of,
)

Search: TypeAlias = Callable[[Walk], None]
"""What makes a walk go on somewhere."""

_BEHIND: Final = 100
"""Objects that are looked at behind a cache."""

_WRAPPERS: Final = (FunctionType, MethodType, staticmethod, classmethod, functools.partial, CACHE)


def with_caches(located: Located, walk: Walk, own: Own, everywhere: Search) -> Located:
    """The same, with the caches around the functions of its sites.

    ``own`` tells the references of bcpatch, but for those from ``walk`` and ``located``. ``everywhere`` makes a walk go
    on through all modules.
    """
    changed = [site for site in located.sites if isinstance(site.edit, FunctionEdit)]
    owners = {id(function): site for site in changed for function in site.functions}
    own = own.with_more([*owners, *(id(one.store) for one in located.still)])
    found: defaultdict[int, list[Cache]] = defaultdict(list)
    for cache in around(chain.from_iterable(site.functions for site in changed), walk, own, everywhere):
        found[id(owners[id(cache.function)])].append(cache)
    sites = [msgspec.structs.replace(site, caches=tuple(found[id(site)])) for site in located.sites]
    return msgspec.structs.replace(located, sites=tuple(sites)) if found else located


def around(functions: Iterable[FunctionType], walk: Walk, own: Own, everywhere: Search) -> list[Cache]:
    """The caches around some functions. ``own`` tells the references of bcpatch, but for those from ``walk``."""
    changed = {id(one): one for one in functions}
    if not _is_otherwise_held(list(changed.values()), walk, own.with_more(changed.keys())):
        return []
    return [
        Cache(wrapper, one)
        for wrapper in _all(walk, everywhere)
        for one in _behind(wrapper)
        if is_function(one) and id(one) in changed
    ]


def _is_otherwise_held(functions: list[FunctionType], walk: Walk, own: Own) -> bool:
    """Whether something else refers to a function than names in modules, and bcpatch: to any but for ``functions``."""
    ids = list(map(id, functions))
    expected = Counter(dict(zip(ids, own.of(ids), strict=True)))
    expected.update(filter(None, map(_in_its_class, functions)))
    wanted = frozenset(ids)
    named = chain.from_iterable(map(dict.values, all_namespaces()))
    referents = chain(named, walk.functions, walk.seen.values(), walk.queue)
    expected.update(filter(wanted.__contains__, map(id, referents)))
    functions.append(_unheld())
    counts = list(map(sys.getrefcount, functions))
    return any(count - counts[-1] > expected[key] for key, count in zip(ids, counts[:-1], strict=True))


def _unheld() -> FunctionType:
    """A function that nobody holds: what is counted of it comes from the counting."""
    return FunctionType(_is_otherwise_held.__code__, {})


def _in_its_class(function: FunctionType) -> int:
    """The id of a function that a class holds by its name, else 0."""
    name = function.__code__.co_qualname
    value = naming.bound(function.__globals__, name) if "." in name else ()
    return id(function) if value and any(function is one for one in functions_in(value[0])) else 0


class _Frozen:
    """Caches that the garbage collector was told to leave alone: they are searched for when it was told of more.

    They are weakly held, so that they go when nobody else holds them.
    """

    def __init__(self) -> None:
        self._count = 0
        self._known: list[weakref.ref[Any]] = []

    def caches(self, walk: Walk, everywhere: Search) -> list[Any]:
        """What is left of those that were found, after a walk through all modules if there may be others."""
        count = gc.get_freeze_count()
        if count > self._count:
            everywhere(walk)
            self._known = list(map(weakref.ref, walk.caches))
        self._count = count
        return [one for one in (known() for known in self._known) if one is not None]


_frozen: Final = _Frozen()


def _all(walk: Walk, everywhere: Search) -> list[Any]:
    """Every cache of the process: each refers to its type (``lru_cache_tp_traverse``, ``Modules/_functoolsmodule.c``).

    The garbage collector does not tell of what it was told to leave alone (``gc.freeze``).
    """
    referrers: list[list[object]] = []
    found: list[Any] = []

    def objects() -> Iterator[object]:
        return chain.from_iterable(iter(referrers))

    called(
        [
            (referrers.extend, starmap(gc.get_referrers, [(CACHE,)])),
            (found.extend, compress(objects(), map(operator.is_, map(type, objects()), repeat(CACHE)))),
            (list.clear, referrers),
        ]
    )
    found += _frozen.caches(walk, everywhere)
    found += walk.caches
    return list({id(one): one for one in found}.values())


def _behind(wrapper: object) -> Iterator[object]:
    """What a wrapper calls, and what that calls, as far as it shows: they refer to it, and are made to do so."""
    seen = {id(wrapper)}
    queue = [wrapper]
    for one in queue:  # it grows meanwhile
        for inner in _inside(one):
            if id(inner) not in seen and len(seen) < _BEHIND:
                seen.add(id(inner))
                queue.append(inner)
                yield inner


def _inside(one: Any) -> Iterator[object]:
    kind = type(one)
    if kind is FunctionType:
        yield from (part for part in _contents(one.__closure__ or ()) if issubclass(type(part), _WRAPPERS))
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
        yield from (part for part in instance_namespace(one).values() if issubclass(type(part), _WRAPPERS))


def _contents(cells: Iterable[CellType]) -> Iterator[object]:
    """What cells hold, those that are empty aside."""
    for cell in cells:
        with suppress(ValueError):
            yield cell.cell_contents
