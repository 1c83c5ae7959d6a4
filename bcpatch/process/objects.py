"""Looking at objects of the application without running its code.

Attribute look-up may be a module's or a metaclass's own; these functions go past it.
"""

from __future__ import annotations

import gc
import operator
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from itertools import chain, compress, repeat, starmap
from types import CodeType, FunctionType, GetSetDescriptorType, MappingProxyType, ModuleType
from typing import Any, Final, TypeGuard

from bcpatch import pythons

CAN_BE_SUSPENDED: Final = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
"""Flags of code whose calls are generators and their like."""

_namespace_of_module = vars(ModuleType)["__dict__"].__get__
_namespace_of_class = vars(type)["__dict__"].__get__
_qualname_of = vars(type)["__qualname__"].__get__
_module_name_of = vars(type)["__module__"].__get__
_mro_of = vars(type)["__mro__"].__get__
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def namespace_of(module: ModuleType) -> dict[str, Any]:
    """A module's own dictionary; a lazy module stays unloaded."""
    namespace: dict[str, Any] = _namespace_of_module(module)
    return namespace


def class_namespace(cls: type) -> Mapping[str, Any]:
    """A class's own dictionary, read-only, whatever its metaclass says.

    A type of a C module that nobody has used yet may have none (CPython 3.11: ``_socket.socket``).
    """
    namespace: Mapping[str, Any] | None = _namespace_of_class(cls)
    return _NOTHING if namespace is None else namespace


def mro_of(cls: type) -> tuple[type, ...]:
    """The classes that attributes are looked up in, whatever a metaclass says."""
    found: tuple[type, ...] = _mro_of(cls)
    return found


def qualname_of(cls: type) -> str:
    """A class's own qualified name, whatever its metaclass says."""
    name: str = _qualname_of(cls)
    return name


def module_name_of(cls: type) -> object:
    """What a class says of which module it is, whatever its metaclass does."""
    return _module_name_of(cls)


def instance_namespace(one: object) -> dict[str, Any]:
    """An object's own dictionary, whatever its class says of its attributes; empty where it has none."""
    for cls in mro_of(type(one)):
        found = class_namespace(cls).get("__dict__")
        if isinstance(found, GetSetDescriptorType):
            namespace: dict[str, Any] = found.__get__(one)
            return namespace
    return {}


def is_module(candidate: object) -> TypeGuard[ModuleType]:
    """Whether an object is a module by its type.

    ``isinstance`` would ask its ``__class__``, by which a proxy says that it is what it stands for.
    """
    return issubclass(type(candidate), ModuleType)


def is_class(candidate: object) -> TypeGuard[type]:
    """The same for classes."""
    return issubclass(type(candidate), type)


def is_function(candidate: object) -> TypeGuard[FunctionType]:
    """The same for functions that are written in Python."""
    return type(candidate) is FunctionType


def parts_of(value: Any) -> tuple[FunctionType | None, ...]:
    """The functions that a descriptor is made around, each at its place, or None where it has none."""
    if issubclass(type(value), (staticmethod, classmethod)):
        value = value.__func__
    parts = (value.fget, value.fset, value.fdel) if issubclass(type(value), property) else (value,)
    return tuple(part if is_function(part) else None for part in parts)


def functions_in(value: object) -> tuple[FunctionType, ...]:
    """The functions that a namespace holds by one value: itself, or what a descriptor is made around."""
    return tuple(part for part in parts_of(value) if part is not None)


def functions_of(namespace: Mapping[str, object], module: object) -> Iterator[FunctionType]:
    """The functions that a namespace of a module, and the classes of this that are in it, hold by a name."""
    for value in values_of(namespace, module):
        yield from functions_in(value)


def values_of(namespace: Mapping[str, object], module: object) -> Iterator[object]:
    """What a namespace of a module, and the classes of this that are in it, hold by a name."""
    queue: list[Mapping[str, object]] = [namespace]
    entered: set[int] = set()
    while queue:
        for value in list(queue.pop().values()):
            yield value
            if is_class(value) and id(value) not in entered:
                entered.add(id(value))
                space = class_namespace(value)
                if space.get("__module__") == module:
                    queue.append(space)


def with_nested(code: CodeType) -> Iterator[CodeType]:
    """A code object and all those in it."""
    yield code
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from with_nested(constant)


def all_modules() -> list[ModuleType]:
    """The modules of ``sys.modules``; programs put other objects there too."""
    present = list(sys.modules.values())
    return list(compress(present, map(issubclass, map(type, present), repeat(ModuleType))))


def all_namespaces() -> list[dict[str, Any]]:
    """The dictionaries of all modules in ``sys.modules``."""
    return list(map(_namespace_of_module, all_modules()))


# --- objects of the heap -------------------------------------------------------------
#
# C code that builds a tuple step by step must be its only holder: ``tuple(generator)`` in
# another thread fails with a SystemError (``_PyTuple_Resize``) where a list of the heap's
# objects holds the unfinished tuple too. So none of these lists is ever seen by Python
# code before the tuples are out of it: that happens within one call into C.


def picking_young(picked: list[object], *kinds: type) -> list[tuple[Any, ...]]:
    """The calls that add what was made lately and is exactly of one of some types; for one call into C to make."""
    return [row for one in pythons.YOUNG_GENERATIONS for row in _picking(picked, one, _of(kinds))]


def everything() -> list[object]:
    """Every object that the garbage collector knows, tuples aside."""
    picked: list[object] = []
    called([row for one in range(3) for row in _picking(picked, one, _no_tuple)])
    return picked


def called(rows: list[tuple[Any, ...]]) -> None:
    """Make calls of C functions within one, while no other thread can run Python."""
    collecting = gc.isenabled()
    gc.disable()  # on 3.11 a collection may start within an allocation, and run finalizers
    try:
        deque(starmap(operator.call, rows), maxlen=0)
    finally:
        if collecting:
            gc.enable()


def _of(kinds: Sequence[type]) -> Callable[[Callable[[], Iterator[object]]], Iterator[bool]]:
    wanted = frozenset(map(id, kinds))  # not the types: a metaclass may have a hash of its own, in Python

    def test(objects: Callable[[], Iterator[object]]) -> Iterator[bool]:
        return map(wanted.__contains__, map(id, map(type, objects())))

    return test


def _no_tuple(objects: Callable[[], Iterator[object]]) -> Iterator[bool]:
    return map(operator.is_not, map(type, objects()), repeat(tuple))


def _picking(
    picked: list[object], generation: int, test: Callable[[Callable[[], Iterator[object]]], Iterator[bool]]
) -> list[tuple[Any, ...]]:
    """The calls that add the objects of one generation that pass a test, and leave the list of them all empty."""
    lists: list[list[object]] = []

    def objects() -> Iterator[object]:
        return chain.from_iterable(iter(lists))

    return [
        (lists.extend, map(gc.get_objects, (generation,))),
        (picked.extend, compress(objects(), test(objects))),
        (deque, map(list.clear, lists), 0),
    ]
