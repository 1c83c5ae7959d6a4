"""What functions, classes and objects of this process read when they are called, or used by an operator.

Follows names through namespaces and code. No code of the application is run.
"""

from __future__ import annotations

import ast
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
from bcpatch.process.texts import MAKERS, Texts, definition
from bcpatch.source import calls


class Readers(NamedTuple):
    """What reads some names when it is called, by identity.

    ``makers`` are those of which what they return does, with the number of calls that it takes (see
    `bcpatch.source.calls.handed_out`), ``special`` the classes whose objects do by special methods,
    and these, ``deriving`` those of which a class that derives from them does when it is made, ``owners`` those of
    which a method does.
    """

    found: dict[int, object]
    makers: dict[int, int]
    special: defaultdict[int, set[str]]
    deriving: set[int]
    owners: set[int]

    def known(self) -> set[int]:
        """All that reads one, or makes what does."""
        return {*self.found, *self.makers}

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
            elif name[:2] == "__" == name[-2:] and name not in _OF_CLASSES:
                self.special[one].add(name)

    def names(self, spaces: Iterable[Mapping[str, object]]) -> set[str]:
        """The names by which namespaces hold such classes, their objects, and classes of such metaclasses."""
        some = list(spaces)
        metaclasses = {key for key, one in self.found.items() if is_class(one) and issubclass(one, type)}
        return names_of(some, self.deriving) | names_of_objects(some, self.special.keys() | metaclasses)


def find_readers(texts: Texts, some: Iterable[tuple[object, str]]) -> Readers:
    """The functions and classes of any module whose call reads one of some names, directly or by each other.

    The names are of modules and classes. What is read of an object, of which no name tells the class, is not found.
    """
    search = _Search(texts)
    for owner, name in some:
        search.rebound.add(owner, name)
    spaces = [(one, namespace_of(one)) for one in all_modules()]
    held = [set(map(id, list(space.values()))) for _, space in spaces]
    known = search.readers.known()
    size = -1
    while size < len(known):
        size = len(known)
        for (module, space), ids in zip(spaces, held, strict=True):
            if search.rebound.is_known_in(module, ids) or not ids.isdisjoint(known):
                search.look(module, space)
                known = search.readers.known()
    return search.readers


class _Search:
    """The search for what reads names that are ``rebound``."""

    def __init__(self, texts: Texts) -> None:
        self.rebound = Rebound()
        self.readers = Readers({}, {}, defaultdict(set), set(), set())
        self._texts = texts
        self._behind = Behind()

    def look(self, module: ModuleType, space: dict[str, object]) -> None:
        """Look once at what a module has."""
        found, makers = self.readers.found, self.readers.makers
        for key, value in list(space.items()):
            is_known = id(value) in found or id(value) in makers
            if is_known and key not in self.rebound.of(space):
                self.rebound.add(module, key)
            if id(value) not in found:
                level = self._level_of(value, space)
                if level == 0:
                    found[id(value)] = value
                elif level is not None:
                    makers[id(value)] = level
                if level is not None and not is_known:
                    self.rebound.add(module, key)
            for method, raw in _methods(value, space):
                if id(raw) not in found and any(self._level(one, value) == 0 for one in self._behind.functions(raw)):
                    self.readers.add_method(value, method, raw)
                    self.rebound.add(value, method)

    def _level_of(self, value: object, space: dict[str, object]) -> int | None:
        """By how many calls of what a call of a value returns one of the names is read."""
        levels = []
        for function in _run_by_call(value, space, self._behind):
            level = self._level(function)
            if level == 0:
                return 0
            levels.append(level)
        if any(self._level(one) is not None for one in _passing(value, space)):
            levels.append(1)
        return min((level for level in levels if level is not None), default=None)

    def _level(self, function: FunctionType, receiver: object = None) -> int | None:
        """By how many calls of what a function returns one of the names is read: by none if the function reads it
        itself. None where that is not read at all, as far as the code shows.
        """
        code = function.__code__
        reading = {id(one) for one in with_nested(code) if self._is_reading(function, one, receiver)}
        if not reading or id(code) in reading:
            return 0 if reading else None
        node = definition(self._texts, function)
        handed_out = {} if node is None or isinstance(node, ast.ClassDef) else calls.handed_out(node)
        return min(level for one, level in _with_levels(code, handed_out) if id(one) in reading)

    def _is_reading(self, function: FunctionType, code: CodeType, receiver: object) -> bool:
        space = function.__globals__
        names = self.rebound.of(space)
        if receiver is not None and self.rebound.read_by(code, space, names, guess=False, receiver=receiver):
            return True
        return bool(self.rebound.read_by(code, space, names, guess=False))


def _with_levels(
    code: CodeType, handed_out: Mapping[tuple[str, int], int], level: int = 0
) -> Iterator[tuple[CodeType, int]]:
    """Code and all that is nested in it, with the level at which it is handed out."""
    own = handed_out.get((code.co_name, code.co_firstlineno), level)
    yield code, own
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _with_levels(one, handed_out, own)


_OF_CLASSES: Final = frozenset((*MAKERS, "__call__", "__class_getitem__", "__prepare__"))
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


def _passing(value: object, space: dict[str, object]) -> Iterator[FunctionType]:
    """The functions that a call of an object of a class runs."""
    if _is_made(value, space):
        raw = attribute(value, "__call__")
        if isinstance(raw, FunctionType):
            yield raw


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
