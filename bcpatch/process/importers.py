"""Other modules that took a name of a module: what their import statements bound, and what they did with it then.

Identity can't tell an importer from a stranger that holds an equal small integer, so the
import statements in the sources of loaded modules decide. Nothing here changes anything.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import compress, repeat
from types import BuiltinFunctionType, CodeType, EllipsisType, FunctionType, ModuleType, NoneType
from typing import Final

from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.process.classes import with_subclasses
from bcpatch.process.objects import all_modules, class_namespace, is_class, is_function, is_module, namespace_of
from bcpatch.process.sources import is_opaque
from bcpatch.process.swap import Kind, Slot
from bcpatch.process.texts import MAKERS, Facts, Texts, definitions, package_of, run_by_call
from bcpatch.source import shape
from bcpatch.source.evaluated import evaluated

_CONSTANTS: Final = (int, float, complex, str, bytes, tuple, frozenset, NoneType, EllipsisType)
_DEFINED: Final = (type, FunctionType, BuiltinFunctionType, ModuleType)


def slots(texts: Texts, module: ModuleType, name: str, value: object) -> Iterator[Slot]:
    """The names that ``from module import name`` bound to a value in other modules, and in the importers of these."""
    waiting = [(module, name)]
    known = {(id(module), name)}
    while waiting:
        origin, taken = waiting.pop()
        for other in _holders(origin, {id(value)}):
            for alias in _taken_as(texts, other, origin, taken, value):
                if (id(other), alias) not in known:
                    known.add((id(other), alias))
                    waiting.append((other, alias))
                    yield Slot(Kind.NAMESPACE, namespace_of(other), alias)


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


def used_at_import(texts: Texts, module: ModuleType, name: str, value: object) -> Iterator[Diagnostic]:
    """Statements of other modules that used the value while these were imported: what came of it stays (BCP210).

    They may have used it by a function or a class of the module that reads it.
    """
    readers = _readers(namespace_of(module), name)
    wanted = set(map(id, readers.values()))
    message = f"used `{module.__name__}.{name}` when it was imported"
    # a dotted name ends with a name that the module has somewhere, and with one of the value or of what reads it
    spaces = _Spaces()
    owners = {one for one, space in spaces.of.items() if any(_holding((space,), wanted))}
    called = _names_of(map(spaces.of.__getitem__, owners), wanted)
    through = ({name}, _names_of(spaces.of.values(), {id(module)})), (called, _names_of(spaces.of.values(), owners))
    for other in _holders(module, {id(value), *wanted, *spaces.leading_to({id(module), *owners})}):
        own = _names_of((namespace_of(other),), wanted)
        facts = texts.facts(other, _import_of(texts, other, module, name), (own,), *through)
        names = _taken_as(texts, other, module, name, value)
        yield from _Use(other, module, name, names, wanted).findings(texts, facts, message)
    # what took it may have passed it on
    for slot in slots(texts, module, name, value):
        origin = next(one for one in all_modules() if namespace_of(one) is slot.owner)
        for other in _holders(origin, {id(value), *spaces.leading_to({id(origin)})}):
            facts = texts.facts(other, _import_of(texts, other, origin, slot.name), ({slot.name},))
            names = _taken_as(texts, other, origin, slot.name, value)
            yield from _Use(other, origin, slot.name, names).findings(texts, facts, message)


def attribute_used_at_import(texts: Texts, module: ModuleType, owner: type, name: str) -> Iterator[Diagnostic]:
    """Statements of other modules that read an attribute of a class while these were imported (BCP210)."""
    owners = frozenset(map(id, with_subclasses(owner)))
    message = f"used `{owner.__qualname__}.{name}` when it was imported"
    for other in _holders(module, _Spaces().leading_to({id(module), *owners})):
        use = _Use(other, None, name, owners=owners)
        yield from use.findings(texts, texts.facts(other, ({name},)), message)


# --- loaded modules ------------------------------------------------------------------------


def _holders(module: ModuleType, wanted: Collection[int]) -> Iterator[ModuleType]:
    """Other modules that have a name for one of some objects, given by their identity."""
    for other in all_modules():
        if other is not module and not set(wanted).isdisjoint(map(id, list(namespace_of(other).values()))):
            yield other


def _taken_as(texts: Texts, other: ModuleType, origin: ModuleType, name: str, value: object) -> set[str]:
    """The names that a module took a value by, from a name of another, and still holds it by."""
    space = namespace_of(other)
    facts = texts.facts(other, _import_of(texts, other, origin, name))
    imported = facts.imported_as(texts.names(origin), name) if facts else set()
    return {alias for alias in imported if space.get(alias) is value}


def _import_of(texts: Texts, other: ModuleType, origin: ModuleType, name: str) -> Sequence[Collection[str]]:
    """What a module's text must have for a ``from`` statement of a name of another module."""
    names = texts.names(origin)
    if any(f"{package_of(other)}.".startswith(f"{one}.") for one in names):  # from . import name
        return ({name, "*"},)
    return {one.rpartition(".")[2] for one in names}, {name, "*"}


class _Spaces:
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


def _names_of(spaces: Iterable[Mapping[str, object]], wanted: Set[int]) -> set[str]:
    """The names by which namespaces hold some objects, given by their identity."""
    held = (pair for space in _holding(spaces, wanted) for pair in list(space.items()))
    return {name for name, one in held if id(one) in wanted and isinstance(name, str)}


def _holding(spaces: Iterable[Mapping[str, object]], wanted: Set[int]) -> Iterator[Mapping[str, object]]:
    """Those namespaces that have one of some objects."""
    return (space for space in spaces if wanted and not wanted.isdisjoint(map(id, list(space.values()))))


# --- what was used ---------------------------------------------------------------------------


class _Use:
    """How a module's import may have used a name of another: its own, by that module, or by what reads it there."""

    def __init__(
        self,
        other: ModuleType,
        module: ModuleType | None,
        name: str,
        names: Collection[str] = (),
        readers: Collection[int] = (),
        owners: Collection[int] = (),
    ) -> None:
        self._other, self._space, self._module, self._name = other, namespace_of(other), module, name
        self._names, self._readers, self._owners = names, readers, owners

    def findings(self, texts: Texts, facts: Facts | None, message: str) -> Iterator[Diagnostic]:
        """The first statement that did. The module's text is parsed where what is known of it does not say no."""
        tree = texts.tree(self._other) if facts and any(map(self._is_of_interest, facts.reads)) else None
        if tree is None:
            return
        own = self._own_readers(tree)
        for node in (node for statement in tree.body for node in evaluated(statement)):
            if self._reads(node) or self._calls(node, own):
                place = Place(str(self._space.get("__file__")), getattr(node, "lineno", 0))
                yield finding("BCP210", f"`{self._other.__name__}` {message}", place)
                return

    def _is_of_interest(self, read: str) -> bool:
        """Whether reading a dotted name is a use, or a call of it would be one."""
        return self._is_use(read) or (bool(self._readers) and id(self._held(read)) in self._readers)

    def _is_use(self, read: str) -> bool:
        base, _, last = read.rpartition(".")
        if not base:
            return last in self._names
        if last != self._name:
            return False
        held = self._held(base)
        return held is not None and (held is self._module or id(held) in self._owners)

    def _reads(self, node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Name | ast.Attribute)
            and isinstance(node.ctx, ast.Load)
            and self._is_use(shape.dotted(node))
        )

    def _calls(self, node: ast.AST, own: set[str]) -> bool:
        """Whether it calls something that reads the name: a function, or a class whose making does."""
        called = node.func if isinstance(node, ast.Call) else None
        if called is None:
            return False
        return (isinstance(called, ast.Name) and called.id in own) or id(
            self._held(shape.dotted(called))
        ) in self._readers

    def _own_readers(self, tree: ast.Module) -> set[str]:
        """Functions and classes of the module itself that read the name, directly or by each other."""
        defined = {name: run_by_call(node) for name, node in definitions(tree).items()}
        found: set[str] = set()
        grown = True
        while grown:
            more = {
                name
                for name, nodes in defined.items()
                if name not in found and any(self._reads(node) or self._calls(node, found) for node in nodes)
            }
            found |= more
            grown = bool(more)
        return found

    def _held(self, dotted_name: str) -> object:
        """What a dotted name holds, as far as it leads through modules and classes."""
        first, *rest = dotted_name.split(".")
        held: object = self._space.get(first)
        for attribute in rest:
            if is_module(held):
                held = namespace_of(held).get(attribute)
            elif is_class(held):
                held = class_namespace(held).get(attribute)
            else:
                return None
        return held


def _readers(space: dict[str, object], name: str) -> dict[str, object]:
    """The functions and classes of a module whose call reads one of its names, directly or by each other."""
    codes = {key: _codes(value, space) for key, value in list(space.items())}
    found: dict[str, object] = {}
    grown = True
    while grown:
        wanted = {name, *found}
        more = {
            key: space[key]
            for key, some in codes.items()
            if key not in found and any(not wanted.isdisjoint(_names(code)) for code in some)
        }
        found.update(more)
        grown = bool(more)
    return found


def _codes(value: object, space: dict[str, object]) -> list[CodeType]:
    """The code that calling a value of a module runs there."""
    if is_class(value) and class_namespace(value).get("__module__") == space.get("__name__"):
        made = [class_namespace(value).get(name) for name in MAKERS]
        return [one.__code__ for one in made if is_function(one) and one.__globals__ is space]
    while is_function(value) and "__wrapped__" in vars(value):
        value = vars(value)["__wrapped__"]
    return [value.__code__] if is_function(value) and value.__globals__ is space else []


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
