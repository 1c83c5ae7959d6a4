"""What wrappers of a function have copied of it: documentation, annotations, type parameters.

A property, ``functools.wraps`` and their like copy these when they are made, so the copies
have to change with the function. A copy that holds something else by now is its owner's own.
This module finds them, by what objects hold, and stores nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any, Final

from bcpatch.exchange.replace import slot_of
from bcpatch.process.objects import instance_namespace, namespace_of
from bcpatch.process.swap import Change, Kind, Row, Slot, held

COPIED: Final = frozenset({"__doc__", "__annotations__", "__annotate__", "__type_params__"})
"""Attributes that ``functools.WRAPPER_ASSIGNMENTS`` names and that a patch may change."""

_HOLDERS: Final = ("__wrapped__", "func", "fget")
_DEEPEST: Final = 50


def changes(values: Iterable[object], function: FunctionType, new: Mapping[str, object]) -> Iterator[Change]:
    """The stores into the copies that wrappers have.

    ``values`` are what may be the function or lead to it, ``new`` the attributes of it that change.
    """
    names = [name for name in sorted(COPIED) if name in new]
    if not names:
        return
    done: set[int] = set()
    for value in values:
        between = _between(value, function, _DEEPEST) or []
        if between and id(value) not in done:
            yield from _copied(between, {name: getattr(function, name, None) for name in names}, new, done)


def _copied(
    between: Sequence[object], old: dict[str, object], new: Mapping[str, object], done: set[int]
) -> Iterator[Change]:
    """The stores into those wrappers that are not ``done`` yet; ``old`` is what may have been copied."""
    for wrapper in reversed(between):
        for name in list(old):
            if name == "__annotate__" and _asks(wrapper):
                continue
            slot = _slot(wrapper, name)
            if slot is None or not _is_copy(slot, old[name]):
                del old[name]  # who wraps this one copied what it has
            elif id(wrapper) not in done:
                yield Change(slot, held(slot), new[name])
        done.add(id(wrapper))


def forgotten(changes: Iterable[Change]) -> Iterator[Row]:
    """The calls that make who was asked for annotations forget what it kept of them (3.14+).

    Static and class methods keep those of their functions, a module its own ones.
    """
    for change in changes:
        function = change.slot.owner
        if change.slot.name == "__annotate__" and change.new is None and isinstance(function, ModuleType):
            yield namespace_of(function).pop, "__annotations__", None
        if change.slot.name != "__annotate__" or type(function) is not FunctionType:
            continue
        slot = slot_of(function.__globals__, function.__qualname__)
        for wrapper in (slot and _between(held(slot), function, _DEEPEST)) or ():
            if _asks(wrapper):
                space = instance_namespace(wrapper)
                yield from ((space.pop, name, None) for name in ("__annotations__", "__annotate__"))


def _asks(wrapper: object) -> bool:
    """Whether it has no copies of annotations, but asks what it wraps (``Objects/funcobject.c``, "staticmethod")."""
    return issubclass(type(wrapper), staticmethod | classmethod)


def _between(value: object, function: FunctionType, depth: int) -> list[object] | None:
    """The wrappers that lead from a value to a function, outermost first; None where none do."""
    if value is function:
        return []
    for inner in _inner(value, function) if depth else ():
        rest = _between(inner, function, depth - 1)
        if rest is not None:
            return [value, *rest]
    return None


def _inner(value: Any, function: FunctionType) -> Iterator[object]:
    kind = type(value)
    if issubclass(kind, property):
        yield value.fget
    elif issubclass(kind, staticmethod | classmethod):
        yield value.__func__
    elif not issubclass(kind, type):
        space = instance_namespace(value)
        yield from (space[name] for name in _HOLDERS if name in space)
        yield from (one for one in list(space.values()) if one is function)


def _slot(wrapper: object, name: str) -> Slot | None:
    if type(wrapper) is FunctionType or (type(wrapper) is property and name == "__doc__"):
        return Slot(Kind.ATTRIBUTE, wrapper, name)
    space = instance_namespace(wrapper)
    return Slot(Kind.NAMESPACE, space, name) if name in space else None


def _is_copy(slot: Slot, original: object) -> bool:
    value = held(slot)
    if value is None and slot.name == "__annotate__" and slot.kind is Kind.ATTRIBUTE:
        return (
            original is None and not slot.owner.__annotations__
        )  # it may have been given some, which need no function
    return value is original or (isinstance(value, str) and value == original)
