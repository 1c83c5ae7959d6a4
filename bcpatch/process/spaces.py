"""The namespaces of loaded modules and of the classes in them: what names lead to an object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import compress, repeat
from types import ModuleType

from bcpatch.process.objects import all_modules, class_namespace, is_class, is_module, namespace_of


class Spaces:
    """The namespaces that dotted names in loaded modules lead through, by the identity of their modules and classes."""

    def __init__(self) -> None:
        self.of: dict[int, Mapping[str, object]] = {}
        self._holders: defaultdict[int, list[int]] = defaultdict(list)
        waiting: list[object] = [*all_modules()]
        while waiting:
            one = waiting.pop()
            if id(one) in self.of:
                continue
            space = namespace_of(one) if is_module(one) else class_namespace(one) if is_class(one) else {}
            self.of[id(one)] = space
            values = list(space.values())
            inner = list(compress(values, map(issubclass, map(type, values), repeat((ModuleType, type)))))
            for held in inner:
                self._holders[id(held)].append(id(one))
            waiting += inner

    def leading_to(self, wanted: Iterable[int]) -> set[int]:
        """Some of them, and those from which a dotted name leads to one."""
        found: set[int] = set()
        waiting = list(wanted)
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self._holders.get(one, ())
        return found


def names_of(spaces: Iterable[Mapping[str, object]], wanted: Set[int]) -> set[str]:
    """The names by which namespaces hold some objects, given by their identity."""
    held = (pair for space in that_hold(spaces, wanted) for pair in list(space.items()))
    return {name for name, one in held if id(one) in wanted and isinstance(name, str)}


def names_of_objects(spaces: Iterable[Mapping[str, object]], classes: Set[int]) -> set[str]:
    """The names by which namespaces hold objects of some classes, given by their identity."""
    held = (pair for space in spaces if classes for pair in list(space.items()))
    return {name for name, one in held if id(type(one)) in classes}


def that_hold(spaces: Iterable[Mapping[str, object]], wanted: Set[int]) -> Iterator[Mapping[str, object]]:
    """Those namespaces that have one of some objects."""
    return (space for space in spaces if wanted and not wanted.isdisjoint(map(id, list(space.values()))))
