"""What linking finds: the modules, the functions and the code of a patch's sites. Plain data."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, TypeAlias

import msgspec

from bcpatch.diagnostics import Diagnostic, Place
from bcpatch.model import FunctionEdit, ModulePatch, PositionEdit, Site
from bcpatch.process import nested, sources
from bcpatch.process.lineages import Lineage
from bcpatch.process.objects import class_namespace, functions_in, is_class, is_module, module_name_of, namespace_of

SiteEdit: TypeAlias = FunctionEdit | PositionEdit
Store: TypeAlias = FunctionType | Sequence[object]
"""What code is of: a function, or what the records of the history speak of."""


class LinkedModule(msgspec.Struct, frozen=True, eq=False):
    """One module object that a part of a patch goes into.

    ``on_disk`` says whether its file holds the new text now, and code under its name goes on there;
    ``file`` is that file.
    """

    part: ModulePatch
    object: ModuleType
    file: str
    on_disk: bool

    @property
    def namespace(self) -> dict[str, Any]:
        return namespace_of(self.object)

    def place(self, line: int = 0) -> Place:
        """Where a line of the new text stands, and what it says."""
        lines = sources.lines_of(self.part.source) if line else []
        text = lines[line - 1].rstrip("\n") if 0 < line <= len(lines) else ""
        return Place(self.file, line, text=text)

    def owner(self, qualname: str) -> type | None:
        """A running class of the module; None where there is none of that name, or another module's."""
        found: object = self.object
        for name in qualname.split("."):
            space = class_namespace(found) if is_class(found) else self.namespace
            found = space.get(name)
            if not is_class(found) or self._has_from_elsewhere(found):
                return None
        return found if is_class(found) else None

    def _has_from_elsewhere(self, cls: type) -> bool:
        """Whether the module has a class by a name that the text of another module defines.

        A class that only says that it is of another module (``Shop.__module__ = "shop"``) is the module's own: its
        methods are, or the other one's text does not have it.
        """
        home = sys.modules.get(str(module_name_of(cls)))
        if home is self.object or not is_module(home) or namespace_of(home).get("__name__") == self.object.__name__:
            return False
        made = (function for one in list(class_namespace(cls).values()) for function in functions_in(one))
        if any(function.__globals__ is self.namespace for function in made):
            return False
        text, name = sources.text_of(home), re.escape(cls.__name__.encode())
        return text is None or re.search(rb"\bclass[ \t]+%s\b" % name, text) is not None


class Cache:
    """A ``functools.lru_cache`` around a function that is switched."""

    __slots__ = ("wrapper", "function")

    def __init__(self, wrapper: Any, function: FunctionType) -> None:
        self.wrapper: Final = wrapper
        self.function: Final = function


class LinkedClosure:
    """A live function made by a site's code: ``path`` leads through constants to its new code."""

    __slots__ = ("function", "path")

    def __init__(self, function: FunctionType, path: nested.Path) -> None:
        self.function: Final = function
        self.path: Final = path


class LinkedSite(msgspec.Struct, frozen=True, eq=False):
    """A site found in one module object: every function that shares its code.

    ``lineage`` is what it goes back to. It is ``alone`` where only its name held its one function when it was found,
    and only this its code.
    """

    edit: SiteEdit
    lineage: Lineage
    module: LinkedModule
    functions: tuple[FunctionType, ...]
    closures: tuple[LinkedClosure, ...] = ()
    caches: tuple[Cache, ...] = ()
    alone: bool = False


class OldCode:
    """Code to be replaced: says where it is, and holds no reference to it.

    It is the code of a function, or one that the history keeps at a place, or nested in
    either; ``pair`` says where, and what continues it.
    """

    __slots__ = ("site", "store", "place", "pair")

    def __init__(self, site: LinkedSite, store: Store, place: int, pair: nested.Pair) -> None:
        self.site: Final = site
        self.store: Final = store
        self.place: Final = place
        self.pair: Final = pair

    def code(self) -> CodeType:
        return nested.at(self.outer(), self.pair.old)

    def outer(self) -> CodeType:
        return _stored(self.store, self.place)


def _stored(store: Store, place: int) -> CodeType:
    found = store.__code__ if isinstance(store, FunctionType) else store[place]
    assert isinstance(found, CodeType)
    return found


class Still:
    """Old code, and how many references it has while no call is inside it, those of bcpatch aside.

    The code is that of a function, or one that the history keeps at a place, or at a path in it.
    """

    __slots__ = ("store", "place", "path", "references")

    def __init__(self, store: Store, place: int, path: nested.Path, references: int) -> None:
        self.store: Final = store
        self.place: Final = place
        self.path: Final = path
        self.references: Final = references

    def code(self) -> CodeType:
        return nested.at(_stored(self.store, self.place), self.path)


class Located(msgspec.Struct, frozen=True):
    """What was found: sites to switch, sites that run the new code already, and findings.

    ``still`` tells of each code object that gives way, but for those of sites that are alone, when nobody is inside.
    ``displaced`` are the names of modules of which something stood on another line than in the base: the process was
    started from another text, or does not follow what moves. From then on lines tell little there, as what a patch has
    switched stands where its text has it.
    """

    sites: tuple[LinkedSite, ...]
    satisfied: tuple[Site, ...]
    found: tuple[Diagnostic, ...]
    still: tuple[Still, ...] = ()
    displaced: frozenset[str] = frozenset()


Wanted: TypeAlias = tuple[LinkedModule, SiteEdit]
"""A site to be found in a module."""
