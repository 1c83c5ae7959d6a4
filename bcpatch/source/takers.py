"""Modules of the same sources that take names of others, and which of these importing them calls.

Found by names: import statements say what a name is, through modules that pass it on, and functions are followed to
those that call them. What is called of an object is not seen, unless a method calls it of its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from functools import lru_cache
from itertools import compress
from operator import not_
from typing import Final, TypeAlias

import msgspec

from bcpatch.diagnostics import Refused
from bcpatch.model import Import, Module
from bcpatch.source import calls, importtime, receivers, shape
from bcpatch.source.evaluated import assigned, binds
from bcpatch.source.outline import Source, Unit, executed, outline

#: A function or a class: its module, and its qualified name there.
Callee: TypeAlias = tuple[str, str]

#: At most so many callers are followed: a name that half of an application uses says nothing.
_MOST: Final = 200

#: What takes names of the package around it, which it need not name; and what takes all that there are.
_RELATIVE: Final = rb"\bfrom[\s\\]*\."
_STAR: Final = rb"\bimport[\s\\]*\*"

#: Sources of which it is kept what they import and call.
_KEPT: Final = 4096


class Call(msgspec.Struct, frozen=True):
    """A statement of a module whose execution calls something by its dotted name, itself or by what it calls."""

    module: Module
    line: int
    text: str
    called: str


class _Inherited(msgspec.Struct, frozen=True):
    """A class that derives from another one, or an object that is made of one, each by its dotted name."""

    name: str
    of: str
    own: frozenset[str]


class _Read(msgspec.Struct, frozen=True):
    """What a module imports, and the dotted names of what it calls.

    ``called`` has what executing the module calls, with the line and text of the statement; ``inside`` what its
    functions call, with their qualified names, and ``inherited`` what has the methods of something else but for such as
    it has ``own``. A name that is not imported is the module's own.
    """

    imports: tuple[Import, ...]
    called: tuple[tuple[int, str, str], ...]
    inside: tuple[tuple[str, str], ...]
    inherited: tuple[_Inherited, ...]


def calls_made(sources: Iterable[Source], wanted: Set[Callee], optimization: int) -> Iterator[Call]:
    """The calls of some functions and classes that importing any of some sources makes.

    Only modules that may have taken one, or what calls one, are compiled.
    """
    followed = _Followed(list(sources), len(wanted) + _MOST, optimization)
    for module, qualname in wanted:
        followed.lead(module, qualname, {f"{module}.{qualname}"})
    while followed.step():
        pass
    yield from followed.found


class _Followed:
    """What leads to a call of something wanted, ``most`` of it at most; ``found`` are the calls that imports make."""

    def __init__(self, sources: list[Source], most: int, optimization: int) -> None:
        self._left = sources
        self._most = most
        self._level = optimization
        self._read: list[tuple[Source, _Read]] = []
        #: Names that are looked for, by all dotted names that they have anywhere.
        self._origins: dict[str, str] = {}
        #: By dotted name of a callee: what is wanted and called by it.
        self._leads: dict[str, set[str]] = {}
        #: By name of a module: the names of its own that these are made of.
        self._own: dict[str, set[str]] = {}
        #: How many of the leads are there by what they derive from.
        self._inherited = 0
        self.found: dict[Call, None] = {}

    def lead(self, module: str, qualname: str, wanted: Set[str], *, is_inherited: bool = False) -> bool:
        """A call of this leads to what is wanted. Returns whether that is new."""
        name = f"{module}.{qualname}"
        top = f"{module}.{qualname.partition('.')[0]}"
        known = self._leads.get(name, set())
        if wanted <= known or (not known and len(self._leads) - self._inherited >= self._most and not is_inherited):
            return False
        self._inherited += is_inherited and not known
        self._leads[name] = known | wanted
        self._own.setdefault(module, set()).update(qualname.split("."))
        self._origins.setdefault(top, top)
        return True

    def step(self) -> bool:
        """Look once at all that may call something. Returns whether there is more to look for."""
        self._take()
        is_more = False
        for source, read in self._read:
            for line, text, called in read.called:
                for wanted in self._reached(called):
                    self.found.setdefault(Call(source.module, line, text, wanted))
            found = [(caller, self._reached(called), False) for caller, called in read.inside]
            found += ((*method, True) for one in read.inherited for method in self._methods(one))
            for caller, reached, is_inherited in found:
                owner, _, name = caller.rpartition(".")
                if reached:
                    is_more |= self.lead(source.module.name, caller, reached, is_inherited=is_inherited)
                if reached and owner and name in calls.MAKERS:
                    is_more |= self.lead(source.module.name, owner, reached, is_inherited=is_inherited)
        return is_more

    def _methods(self, inherited: _Inherited) -> list[tuple[str, Set[str]]]:
        """What a class or an object has of another one that leads to what is wanted."""
        above = f"{self._origin(inherited.of)}."
        found = [(name.removeprefix(above), wanted) for name, wanted in self._leads.items() if name.startswith(above)]
        own = inherited.own
        return [(f"{inherited.name}.{name}", wanted) for name, wanted in found if name.partition(".")[0] not in own]

    def _reached(self, called: str) -> Set[str]:
        """What is wanted that calling something leads to."""
        return self._leads.get(self._origin(called), frozenset())

    def _origin(self, name: str) -> str:
        """A dotted name by the module that what it begins with is of; empty where that is not looked for."""
        parts = name.split(".")
        for end in range(len(parts), 1, -1):
            origin = self._origins.get(".".join(parts[:end]))
            if origin is not None:
                return ".".join((origin, *parts[end:]))
        return ""

    def _take(self) -> None:
        """Read the modules that may have taken a name, and learn by what names they have it."""
        size = 0
        while size < len(self._origins):
            size = len(self._origins)
            names = _any_of((name.rpartition(".")[2] for name in self._origins), _STAR)
            modules = _any_of((name.split(".")[-2] for name in self._origins), _RELATIVE)
            is_near = [_is_near(one, names, modules, self._own.get(one.module.name, ())) for one in self._left]
            read = ((source, _read(source, self._level)) for source in compress(self._left, is_near))
            self._read += [(source, one) for source, one in read if one is not None]
            self._left = list(compress(self._left, map(not_, is_near)))
            for source, one in self._read:
                for taken in _with_stars(one.imports, self._origins):
                    origin = self._origins.get(f"{taken.module}.{taken.attribute}")
                    if origin is not None:
                        self._origins.setdefault(f"{source.module.name}.{taken.name}", origin)


def prepare(source: Source, optimization: int) -> None:
    """Find out what `calls_made` will ask of a source."""
    _read(source, optimization)


def _is_near(source: Source, names: re.Pattern[bytes], modules: re.Pattern[bytes], own: Collection[str]) -> bool:
    """Whether a text may use some names, or its ``own`` beyond the definition of each."""
    if own and len(_any_of(own).findall(source.data)) > len(own):
        return True
    return names.search(source.data) is not None and modules.search(source.data) is not None


def _any_of(words: Iterable[str], *more: bytes) -> re.Pattern[bytes]:
    found = b"|".join(sorted(re.escape(word.encode()) for word in set(words)))
    return re.compile(b"|".join((rb"\b(?:%s)\b" % found, *more)))


@lru_cache(maxsize=_KEPT)
def _read(source: Source, optimization: int) -> _Read | None:
    """What a module imports and calls; None where it is no Python, or nested too deeply to be read."""
    try:
        unit = outline(source, optimization)
        imports = shape.imports(unit.tree, source.module, unit.own_names)
        imports += tuple(_aliases(unit, importtime.paths(imports)))
        paths = importtime.paths(imports)
        called = ((one.lineno, _dotted(names, paths, source.module)) for one, names in importtime.called(unit))
        return _Read(
            imports,
            tuple((line, unit.line(line).strip(), name) for line, name in dict.fromkeys(called)),
            tuple(dict.fromkeys(_inside(unit, paths))),
            tuple(_inherited(unit, paths)),
        )
    except (Refused, RecursionError):
        return None


def _aliases(unit: Unit, paths: Mapping[str, str]) -> Iterator[Import]:
    """Names that a module gives to what has a name already, as if it had imported them; loops give them to items."""
    for name, there in unit.aliases.items():
        for one in there:
            module, _, attribute = _dotted(tuple(one.split(".")), paths, unit.source.module).rpartition(".")
            yield Import(name, module, attribute)
    for name, iterated in unit.iterated.items():
        for through in iterated:
            for held in calls.held(through):
                way = importtime.path(held)
                way = way[:-1] if isinstance(held, ast.Call) and len(way) > 1 else way
                module, _, attribute = _dotted(way, paths, unit.source.module).rpartition(".")
                if way[0]:
                    yield Import(name, module, attribute)


def _inside(unit: Unit, paths: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The functions of a module, and what they call; its values with what they hold."""
    module = unit.source.module
    for name, values in _values(unit):
        held = (one for value in values for one in calls.held(value) if one is not value)
        with_names = (one for one in held if isinstance(one, ast.Name | ast.Attribute))
        yield from ((name, _dotted(importtime.path(one), paths, module)) for one in with_names)
    for function in unit.functions:
        if isinstance(function.node, ast.Lambda):
            continue
        nodes = [node for statement in function.node.body for node in ast.walk(statement)]
        local = [one for one in nodes if isinstance(one, (ast.Import, ast.ImportFrom))]
        known = paths | importtime.paths(bound for one in local for bound in shape.bindings(one, module))
        qualname, first = function.site.qualname, receivers.first(function)
        if first is not None:
            known[first] = f"{module.name}.{qualname.rpartition('.')[0]}"
        for base in function.chain[-1].bases[:1] if function.chain else ():
            known["super"] = _dotted(importtime.path(base), paths, module)
        for names in (names for names in importtime.callees(nodes) if names != ("super",)):
            yield qualname, _dotted(names, known, module)


def _inherited(unit: Unit, paths: Mapping[str, str]) -> Iterator[_Inherited]:
    """The classes of a module with what they derive from, and its objects with their classes."""
    module = unit.source.module
    for made in unit.classes:
        own = frozenset(name for statement in made.node.body for name in binds(statement))
        for base in made.node.bases:
            yield _Inherited(made.qualname, _dotted(importtime.path(base), paths, module), own)
    for name, values in _values(unit):
        for made_by in (one.func for one in values if isinstance(one, ast.Call)):
            yield _Inherited(name, _dotted(importtime.path(made_by), paths, module), frozenset())


def _values(unit: Unit) -> Iterator[tuple[str, list[ast.expr]]]:
    """What a module and its classes assign to names, by their qualified names."""
    yield from unit.assigned.items()
    for made in unit.classes:
        given = assigned(executed(made.node.body))
        yield from ((f"{made.qualname}.{name}", values) for name, values in given.items())


def _dotted(names: tuple[str, ...], paths: Mapping[str, str], module: Module) -> str:
    first, *rest = names
    return ".".join((paths.get(first, f"{module.name}.{first}"), *rest))


def _with_stars(imports: Iterable[Import], origins: Iterable[str]) -> list[Import]:
    """Imports, and for each of all names (``*``) those of the wanted ones that it takes."""
    found = list(imports)
    for one in imports:
        if one.name == "*":
            names = (name.rpartition(".") for name in origins)
            found += [Import(name, module, name) for module, _, name in names if module == one.module]
    return found
