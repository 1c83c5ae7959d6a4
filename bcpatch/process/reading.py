"""What functions, classes and objects of this process read when they are called, or used by an operator.

Follows names through namespaces and code. No code of the application is run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Final, NamedTuple, TypeGuard

from bcpatch.process.behind import Behind
from bcpatch.process.classes import with_subclasses
from bcpatch.process.objects import (
    all_modules,
    class_namespace,
    instance_namespace,
    is_class,
    is_module,
    mro_of,
    namespace_of,
    with_nested,
)
from bcpatch.process.spaces import names_of, names_of_objects
from bcpatch.process.stale import Rebound
from bcpatch.source.calls import MAKERS
from bcpatch.source.shape import is_special


class Readers(NamedTuple):
    """What reads some names when it is called, by identity.

    ``special`` are the classes whose objects do by special methods, and these, ``deriving`` those of which a class that
    derives from them does when it is made, ``owners`` those of which a method does.
    """

    found: dict[int, object]
    special: defaultdict[int, set[str]]
    deriving: set[int]
    owners: set[int]

    def asked(self) -> set[int]:
        """The modules of which the ``__getattr__`` reads one (PEP 562)."""
        asking = ((one, namespace_of(one).get("__getattr__")) for one in all_modules())
        return {id(module) for module, function in asking if id(function) in self.found}

    def add_method(self, cls: object, name: str, raw: object) -> None:
        self.found[id(raw)] = raw
        for one in map(id, with_subclasses(cls) if is_class(cls) else ()):
            self.owners.add(one)
            if name == "__init_subclass__":
                self.deriving.add(one)
            elif is_special(name) and name not in _OF_CLASSES:
                self.special[one].add(name)

    def names(self, spaces: Iterable[Mapping[str, object]]) -> set[str]:
        """The names by which namespaces hold such classes, their objects, and classes of such metaclasses."""
        some = list(spaces)
        metaclasses = {key for key, one in self.found.items() if is_class(one) and issubclass(one, type)}
        return names_of(some, self.deriving) | names_of_objects(some, self.special.keys() | metaclasses)


def find_readers(some: Iterable[tuple[object, str]]) -> Readers:
    """The functions and classes of any module whose call reads one of some names, directly or by each other.

    The names are of modules and classes. What is read of an object, of which no name tells the class, is not found.
    """
    search = _Search()
    for owner, name in some:
        search.rebound.add(owner, name)
    spaces = [(one, namespace_of(one)) for one in all_modules()]
    held = [set(map(id, list(space.values()))) for _, space in spaces]
    found, size = search.readers.found, -1
    while size < len(found):
        size = len(found)
        for (module, space), ids in zip(spaces, held, strict=True):
            if search.rebound.is_known_in(module, ids) or not ids.isdisjoint(found):
                search.look(module, space)
    return search.readers


class _Search:
    """The search for what reads names that are ``rebound``."""

    def __init__(self) -> None:
        self.rebound = Rebound()
        self.readers = Readers({}, defaultdict(set), set(), set())
        self._behind = Behind()

    def look(self, module: ModuleType, space: dict[str, object]) -> None:
        """Look once at what a module has."""
        found = self.readers.found
        for key, value in list(space.items()):
            if id(value) in found:
                is_reader = key not in self.rebound.of(space)
            else:
                is_reader = any(map(self._reads, _run_by_call(value, space, self._behind)))
            if is_reader:
                found[id(value)] = value
                self.rebound.add(module, key)
            for method, raw in _methods(value, space):
                if id(raw) not in found and any(self._reads(one, value) for one in self._behind.functions(raw)):
                    self.readers.add_method(value, method, raw)
                    self.rebound.add(value, method)

    def _reads(self, function: FunctionType, receiver: object = None) -> bool:
        """Whether a call of a function, or of one in it, reads one of the names, as far as the code shows."""
        return any(self._is_reading(function, one, receiver) for one in with_nested(function.__code__))

    def _is_reading(self, function: FunctionType, code: CodeType, receiver: object) -> bool:
        space = function.__globals__
        names = self.rebound.of(space)
        if receiver is not None and self.rebound.read_by(code, space, names, guess=False, receiver=receiver):
            return True
        return bool(self.rebound.read_by(code, space, names, guess=False))


_OF_CLASSES: Final = frozenset((*MAKERS, "__class_getitem__", "__prepare__"))
"""Special methods that no operator on an object calls."""


def _methods(value: object, space: dict[str, object]) -> Iterator[tuple[str, object]]:
    """What a class that a module has made holds, by name."""
    if _is_made(value, space):
        yield from list(class_namespace(value).items())


def _is_made(value: object, space: dict[str, object]) -> TypeGuard[type]:
    """Whether a value is a class that a module has made."""
    return is_class(value) and class_namespace(value).get("__module__") == space.get("__name__")


def _run_by_call(value: object, space: dict[str, object], behind: Behind) -> Iterator[FunctionType]:
    """The functions that calling a value of a module may run."""
    if not _is_made(value, space):
        yield from behind.functions(value)
        return
    for name in MAKERS:
        for above in mro_of(value):
            raw = class_namespace(above).get(name)
            functions = behind.functions(raw)
            yield from functions
            if raw is not None and not any("super" in one.__code__.co_names for one in functions):
                break
    yield from behind.functions(attribute(type(value), "__call__"))


def attribute(held: object, name: str) -> object:
    """What a module, a class or an object has by a name, as it lies there; None for nothing."""
    if is_module(held):
        return namespace_of(held).get(name)
    classes = mro_of(held if is_class(held) else type(held))
    spaces = [class_namespace(one) for one in classes]
    if is_class(held):
        spaces += map(class_namespace, mro_of(type(held)))
    else:
        spaces.insert(0, instance_namespace(held))
    return next((space[name] for space in spaces if name in space), None)
