"""The caches of ``functools.lru_cache`` around functions, wherever somebody holds them.

What such a cache has of a function are results of its old code. Between the two there may be wrappers, and a cache
may lie in another module than the function. So the way goes up from the functions, from each object to those that
hold it, as long as a search has reached all of these, which references tell; else all caches of the process are
looked at. Changes nothing, and runs no code of the application.
"""

from __future__ import annotations

import gc
import operator
import sys
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, compress, repeat, starmap
from types import CellType, FunctionType
from typing import Any, Final, TypeAlias

import msgspec

from bcpatch.model import FunctionEdit
from bcpatch.process.accounting import CACHE, Walk
from bcpatch.process.behind import CONTAINERS, LARGE, WRAPPERS, reached
from bcpatch.process.history import Own
from bcpatch.process.linked import Cache, Located
from bcpatch.process.objects import (
    all_namespaces,
    called,
    class_namespace,
    is_class,
    is_function,
    is_module,
    mro_of,
)

Search: TypeAlias = Callable[[Walk], None]
"""What makes a walk go on somewhere."""

_NEAR: Final = 10_000
"""Objects that are looked at near the names of modules."""


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
    above = _above(changed, walk, own)
    return [
        Cache(wrapper, one)
        for wrapper in (_all(walk, everywhere) if above is None else above)
        for one in reached(wrapper)[1:]
        if is_function(one) and id(one) in changed
    ]


# --- up from the functions ----------------------------------------------------------------


def _above(functions: Mapping[int, FunctionType], walk: Walk, own: Own) -> list[Any] | None:
    """The caches that hold some functions, by others that pass calls on; None where something is out of sight."""
    spaces = {id(one.__globals__): one.__globals__ for one in functions.values()}
    near = _near(spaces.values())
    referring = [near.values(), walk.functions, walk.caches, walk.holders, walk.queue, walk.seen.values()]
    found: list[Any] = []
    done: set[int] = set()
    level: dict[int, object] = dict(functions)
    while level:
        known = own.with_more([*level, *functions, *map(id, found)])
        if _is_held_elsewhere(list(level.values()), spaces, near.values(), referring, known):
            return None
        done |= level.keys()
        wanted = frozenset(level)
        above = [one for one in near.values() if not wanted.isdisjoint(map(id, gc.get_referents(one)))]
        level = {id(one): one for one in above if id(one) not in done and _passes_on(one)}
        del above
        found += [one for one in level.values() if type(one) is CACHE]
    return found


def _near(spaces: Iterable[dict[str, Any]]) -> dict[int, object]:
    """What holds functions near the names of some modules, by identity: classes, wrappers, small containers."""
    beyond = frozenset(map(id, all_namespaces()))
    found: dict[int, object] = {}
    waiting: deque[object] = deque()
    for space in spaces:
        for value in list(space.values()):
            is_own = is_class(value) and class_namespace(value).get("__module__") == space.get("__name__")
            if is_own or not (is_class(value) or is_module(value)):
                waiting.append(value)
    while waiting and len(found) < _NEAR:
        one = waiting.popleft()
        if id(one) in found or id(one) in beyond or not gc.is_tracked(one) or _is_large(one):
            continue
        found[id(one)] = one
        waiting += (part for part in gc.get_referents(one) if type(part) in CONTAINERS or _passes_on(part))
        if is_class(one):
            waiting += (value for value in list(class_namespace(one).values()) if not is_class(value))
    return found


def _is_large(one: Any) -> bool:
    return type(one) in CONTAINERS and len(one) > LARGE


def _is_held_elsewhere(
    objects: list[object],
    spaces: Collection[int],
    holders: Iterable[object],
    referring: Iterable[Iterable[object]],
    own: Own,
) -> bool:
    """Whether something refers to one of some objects that is neither a module, nor bcpatch, nor one of some holders.

    ``referring`` have references of bcpatch that ``own`` does not tell of, and ``objects`` one to each. Where a
    reference is likely, as by the names of the modules with the namespaces ``spaces``, is looked at first: the names
    of all others are many.
    """
    ids = list(map(id, objects))
    objects.append(_unheld())
    counts = list(map(sys.getrefcount, objects))
    known = zip(ids, counts[:-1], own.of(ids), strict=True)
    missing = {key: count - counts[-1] - told for key, count, told in known if count - counts[-1] > told}
    loaded = all_namespaces()
    near = (space.values() for space in loaded if id(space) in spaces)
    far = (space.values() for space in loaded if id(space) not in spaces)
    referents: Iterable[object]
    for referents in chain(near, map(gc.get_referents, holders), referring, far):
        for key in filter(missing.__contains__, map(id, referents)):
            missing[key] -= 1
            if not missing[key]:
                del missing[key]
        if not missing:
            break
    return bool(missing)


def _unheld() -> FunctionType:
    """A function that nobody holds: what is counted of it comes from the counting."""
    return FunctionType(_is_held_elsewhere.__code__, {})


def _passes_on(holder: Any) -> bool:
    """Whether what holds something may be a part of what passes calls on to it (see `behind.inside`)."""
    kind = type(holder)
    if kind is tuple:
        return CellType in map(type, holder)  # of a closure
    if issubclass(kind, (*WRAPPERS, property)) or kind in (CellType, dict):  # a dictionary may be a namespace
        return True
    return not is_class(holder) and any("__call__" in class_namespace(cls) for cls in mro_of(kind))


# --- among all caches ---------------------------------------------------------------------


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
