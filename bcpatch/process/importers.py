"""Other modules that took a name of a module: what their import statements bound.

Identity can't tell an importer from a stranger that holds an equal small integer, so the
import statements in the sources of loaded modules decide. Nothing here changes anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import BuiltinFunctionType, EllipsisType, FunctionType, ModuleType, NoneType
from typing import Final

from bcpatch.diagnostics import Diagnostic, finding
from bcpatch.process import stars
from bcpatch.process.objects import all_modules, namespace_of
from bcpatch.process.sources import is_opaque
from bcpatch.process.swap import Kind, Slot
from bcpatch.process.texts import Texts, package_of

_CONSTANTS: Final = (int, float, complex, str, bytes, tuple, frozenset, NoneType, EllipsisType)
_DEFINED: Final = (type, FunctionType, BuiltinFunctionType, ModuleType)


def slots(texts: Texts, module: ModuleType, name: str, value: object) -> Iterator[Slot]:
    """The names that ``from module import name`` bound to a value in other modules, and in the importers of these."""
    for other, alias in taken(texts, module, name, value):
        yield Slot(Kind.NAMESPACE, namespace_of(other), alias)


def taken(texts: Texts, module: ModuleType, name: str, value: object) -> Iterator[tuple[ModuleType, str]]:
    """The same as modules and names of them: first of those that took it from the module, then of those behind them."""
    others = [module, *holders(module, {id(value)})]
    found = [(module, name)]
    known = {(id(module), name)}
    while found:
        imports = Imports(texts, found)
        found = []
        for other in others:
            for alias in imports.taken_by(other):
                if namespace_of(other).get(alias) is value and (id(other), alias) not in known:
                    known.add((id(other), alias))
                    found.append((other, alias))
        yield from found


def untold(module: ModuleType, name: str, value: object) -> Iterator[Diagnostic]:
    """Modules without a source that hold the value: whether they imported it can't be told (BCP522).

    Equal constants may be one object, and who has a class or a function may have it from where it was defined: these
    count under the same name only.
    """
    is_anywhere = isinstance(value, (*_CONSTANTS, *_DEFINED))
    for other in all_modules():
        space = namespace_of(other)
        held = [key for key, one in list(space.items()) if one is value and (key == name or not is_anywhere)]
        if held and other is not module and is_opaque(other):
            message = f"`{other.__name__}.{held[0]}` may be an import of `{module.__name__}.{name}`: no source tells"
            yield finding("BCP522", message)


def holders(module: ModuleType, wanted: Collection[int], classes: Collection[int] = ()) -> Iterator[ModuleType]:
    """Other modules that have a name for one of some objects, or for an object of some classes, given by identity."""
    for other in all_modules():
        values = [] if other is module else list(namespace_of(other).values())
        if not set(wanted).isdisjoint(map(id, values)) or not set(classes).isdisjoint(map(id, map(type, values))):
            yield other


class Imports:
    """Import statements of some names of some modules: by what names other modules have taken them."""

    def __init__(self, texts: Texts, wanted: Iterable[tuple[ModuleType, str]]) -> None:
        self._texts = texts
        self._names: defaultdict[str, set[str]] = defaultdict(set)
        for module, name in wanted:
            for own in texts.names(module):
                self._names[own].add(name)
        self._last = {own.rpartition(".")[2] for own in self._names}
        self._any = {"*"}.union(*self._names.values())

    def ways(self, other: ModuleType) -> Iterator[Sequence[Collection[str]]]:
        """What a module's text must have for such a statement."""
        yield self._last, self._any
        around = f"{package_of(other)}."
        if any(around.startswith(f"{own}.") for own in self._names):  # from . import name
            yield (self._any,)

    def taken_by(self, other: ModuleType) -> set[str]:
        """The names under which a module's text imports one of them."""
        facts = self._texts.facts(other, *self.ways(other))
        found: set[str] = set()
        for one in facts.imports - facts.hidden if facts else ():
            origin, attribute, alias = one
            names = self._names.get(origin, set())
            if attribute == "*":
                bound = {name for name in names if facts and (origin, "*", name) not in facts.hidden}
            else:
                bound = {alias} if attribute in names else set()
            found |= bound.difference(*map(stars.given_by, facts.stars.get(one, ()))) if bound and facts else bound
        return found
