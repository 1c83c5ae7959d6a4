"""Other modules that took a name of a module: what their import statements bound, and what they did with it then.

Identity can't tell an importer from a stranger that holds an equal small integer, so the
import statements in the sources of loaded modules decide. Nothing here changes anything.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from itertools import compress, repeat
from types import BuiltinFunctionType, EllipsisType, FunctionType, MappingProxyType, ModuleType, NoneType
from typing import Final, NamedTuple

from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.process import stars
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
from bcpatch.process.sources import is_opaque
from bcpatch.process.stale import Rebound
from bcpatch.process.swap import Kind, Slot
from bcpatch.process.texts import MAKERS, Facts, Texts, definitions, package_of, run_by_call
from bcpatch.source import importtime, shape
from bcpatch.source.evaluated import evaluated

_CONSTANTS: Final = (int, float, complex, str, bytes, tuple, frozenset, NoneType, EllipsisType)
_PROPERTIES: Final = (property, cached_property)
_DEFINED: Final = (type, FunctionType, BuiltinFunctionType, ModuleType)


def slots(texts: Texts, module: ModuleType, name: str, value: object) -> Iterator[Slot]:
    """The names that ``from module import name`` bound to a value in other modules, and in the importers of these."""
    for other, alias in taken(texts, module, name, value):
        yield Slot(Kind.NAMESPACE, namespace_of(other), alias)


def taken(texts: Texts, module: ModuleType, name: str, value: object) -> Iterator[tuple[ModuleType, str]]:
    """The same as modules and names of them: first of those that took it from the module, then of those behind them."""
    others = [module, *_holders(module, {id(value)})]
    found = [(module, name)]
    known = {(id(module), name)}
    while found:
        imports = _Imports(texts, found)
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


def used_at_import(texts: Texts, module: ModuleType, name: str, value: object) -> Iterator[Diagnostic]:
    """Statements of other modules that used the value while these were imported: what came of it stays (BCP210).

    They may have used it by a function or a class of any module that reads it, or have it from who passed it on.
    """
    message = f"used `{module.__name__}.{name}` when it was imported"
    holding = [(module, name), *taken(texts, module, name, value)]
    readers = _readers(holding)
    wanted, special = {*readers.found}, readers.special
    imports = _Imports(texts, holding)
    names: defaultdict[int, set[str]] = defaultdict(set)
    attributes: defaultdict[str, set[int]] = defaultdict(set)
    for other, alias in holding:
        names[id(other)].add(alias)
        attributes[alias].add(id(other))
    # a dotted name ends with a name that the module has somewhere, and with one of the value or of what reads it
    spaces = _Spaces()
    owners = {one for one, space in spaces.of.items() if any(_holding((space,), wanted))}
    owners |= special.keys()
    called = _names_of(map(spaces.of.__getitem__, owners & spaces.of.keys()), wanted)
    called |= readers.names(spaces.of.values())
    through = (
        ({*attributes}, _names_of(spaces.of.values(), set(names))),
        (called, _names_of(spaces.of.values(), {*names, *owners})),
    )
    for other in _holders(module, {id(value), *wanted, *spaces.leading_to({*names, *owners})}, owners):
        objects = (key for key, one in list(namespace_of(other).items()) if id(type(one)) in owners)
        own = {*_names_of((namespace_of(other),), wanted), *names[id(other)], *objects}
        facts = texts.facts(other, *imports.ways(other), (own,), *through)
        yield from _Use(other, attributes, names[id(other)], wanted, special).findings(texts, facts, message)


def attribute_used_at_import(texts: Texts, module: ModuleType, owner: type, name: str) -> Iterator[Diagnostic]:
    """Statements of other modules that read an attribute of a class while these were imported (BCP210)."""
    classes = with_subclasses(owner)
    owners = frozenset(map(id, classes))
    message = f"used `{owner.__qualname__}.{name}` when it was imported"
    readers = _readers([(one, name) for one in classes])
    wanted, special = {*readers.found}, readers.special
    spaces = _Spaces()
    called = _names_of(spaces.of.values(), wanted) | readers.names(spaces.of.values())
    for other in _holders(module, {*wanted, *spaces.leading_to({id(module), *owners, *wanted})}, special):
        use = _Use(other, {name: owners}, readers=wanted, special=special)
        yield from use.findings(texts, texts.facts(other, ({name},), (called,)), message)


# --- loaded modules ------------------------------------------------------------------------


def _holders(module: ModuleType, wanted: Collection[int], classes: Collection[int] = ()) -> Iterator[ModuleType]:
    """Other modules that have a name for one of some objects, or for an object of some classes, given by identity."""
    for other in all_modules():
        values = [] if other is module else list(namespace_of(other).values())
        if not set(wanted).isdisjoint(map(id, values)) or not set(classes).isdisjoint(map(id, map(type, values))):
            yield other


class _Imports:
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


def _names_of_objects(spaces: Iterable[Mapping[str, object]], classes: Set[int]) -> set[str]:
    """The names by which namespaces hold objects of some classes, given by their identity."""
    held = (pair for space in spaces if classes for pair in list(space.items()))
    return {name for name, one in held if id(type(one)) in classes}


def _holding(spaces: Iterable[Mapping[str, object]], wanted: Set[int]) -> Iterator[Mapping[str, object]]:
    """Those namespaces that have one of some objects."""
    return (space for space in spaces if wanted and not wanted.isdisjoint(map(id, list(space.values()))))


# --- what was used ---------------------------------------------------------------------------


class _Use:
    """How a module's import may have used a value: by a name of its own, by what has it as an attribute, given by
    identity, or by what reads it there.
    """

    def __init__(
        self,
        other: ModuleType,
        attributes: Mapping[str, Collection[int]],
        names: Collection[str] = (),
        readers: Collection[int] = (),
        special: Mapping[int, Set[str]] = MappingProxyType({}),
    ) -> None:
        self._other, self._space, self._attributes = other, namespace_of(other), attributes
        self._names, self._readers, self._special = names, readers, special

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
        """Whether reading a dotted name is a use, or calling it, or an operator on it, or deriving from it."""
        checks = self._is_use, self._is_reader, self._is_special, self._runs_when_derived
        return any(check(read) for check in checks)

    def _is_use(self, read: str) -> bool:
        base, _, last = read.rpartition(".")
        if not base:
            return last in self._names
        return last in self._attributes and id(self._held(base)) in self._attributes[last]

    def _reads(self, node: ast.AST) -> bool:
        return shape.is_read(node) and (self._is_use(read := shape.through(node)) or self._is_reader(read, _PROPERTIES))

    def _calls(self, node: ast.AST, own: set[str]) -> bool:
        """Whether it runs something that reads the name: a function, the making of a class or of an object of it."""
        for callee, method in importtime.run_by_nodes([node]):
            while isinstance(callee, ast.Subscript):
                callee = callee.value
            read = shape.through(callee)
            if self._runs_when_derived(read) if method else read in own or self._is_reader(read):
                return True
        by_operator = any(self._is_special(shape.through(one), methods) for one, methods in importtime.operands(node))
        return by_operator or self._calls_items(node)

    def _calls_items(self, node: ast.AST) -> bool:
        """Whether a comprehension calls what it finds in a container that holds a reader."""
        if not isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            return False
        paths = [shape.through(one.iter) for one in node.generators]
        if not any(self._is_reader(path) or self._is_reader(path.rpartition(".")[0]) for path in paths):
            return False
        inner = list(ast.walk(node))
        items = {one.id for one in inner if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        return any(isinstance(one, ast.Call) and shape.through(one.func) in items for one in inner)

    def _is_special(self, read: str, methods: Set[str] = frozenset()) -> bool:
        """Whether a dotted name leads to an object of which some special methods read the name, or any where none are
        given: operators call these.
        """
        reading = self._special.get(id(type(self._held(read))), frozenset()) if self._special else frozenset()
        return bool(reading & methods if methods else reading)

    def _runs_when_derived(self, read: str) -> bool:
        """Whether a dotted name leads to a class, and making one that derives from it reads the name."""
        held = self._held(read) if self._readers else None
        if not is_class(held):
            return False
        run = (
            _attribute(held, "__init_subclass__"),
            *(_attribute(type(held), name) for name in (*MAKERS, "__prepare__")),
        )
        return any(id(one) in self._readers for one in run if one is not None)

    def _is_reader(self, read: str, kinds: tuple[type, ...] = (object,)) -> bool:
        """Whether a dotted name leads to something of some kinds that reads the name."""
        held = self._held(read) if self._readers else None
        return id(held) in self._readers and issubclass(type(held), kinds)

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
        """What a dotted name holds, as far as it leads through modules, classes, and objects of classes."""
        first, *rest = dotted_name.split(".")
        held: object = self._space.get(first)
        for attribute in rest:
            held = _attribute(held, attribute)
        return held


def _attribute(held: object, name: str) -> object:
    """What a module, a class or an object has by a name, as it lies there; None for nothing."""
    if is_module(held):
        return namespace_of(held).get(name)
    classes = mro_of(held if is_class(held) else type(held))
    spaces = [class_namespace(one) for one in classes]
    if not is_class(held):
        spaces.insert(0, instance_namespace(held))
    return next((space[name] for space in spaces if name in space), None)


class _Readers(NamedTuple):
    """What reads some names when it is called, by identity.

    ``special`` are the classes whose objects do by special methods, and these, ``deriving`` those of which a class that
    derives from them does when it is made.
    """

    found: dict[int, object]
    special: defaultdict[int, set[str]]
    deriving: set[int]

    def add_method(self, cls: object, name: str, raw: object) -> None:
        self.found[id(raw)] = raw
        for one in map(id, with_subclasses(cls) if is_class(cls) else ()):
            if name == "__init_subclass__":
                self.deriving.add(one)
            elif name[:2] == "__" == name[-2:] and name not in _OF_CLASSES:
                self.special[one].add(name)

    def names(self, spaces: Iterable[Mapping[str, object]]) -> set[str]:
        """The names by which namespaces hold such classes, their objects, and classes of such metaclasses."""
        some = list(spaces)
        metaclasses = {key for key, one in self.found.items() if is_class(one) and issubclass(one, type)}
        return _names_of(some, self.deriving) | _names_of_objects(some, self.special.keys() | metaclasses)


def _readers(some: Iterable[tuple[object, str]]) -> _Readers:
    """The functions and classes of any module whose call reads one of some names, directly or by each other.

    The names are of modules and classes. What is read of an object, of which no name tells the class, is not found.
    """
    rebound = Rebound()
    for owner, name in some:
        rebound.add(owner, name)
    spaces = [(one, namespace_of(one)) for one in all_modules()]
    held = [set(map(id, list(space.values()))) for _, space in spaces]
    readers = _Readers({}, defaultdict(set), set())
    found = readers.found
    behind = Behind()

    def reads(function: FunctionType, receiver: object = None) -> bool:
        space = function.__globals__
        names = rebound.of(space)
        code = function.__code__
        if receiver is not None and rebound.read_by(code, space, names, guess=False, receiver=receiver):
            return True
        return any(rebound.read_by(one, space, names, guess=False) for one in with_nested(code))

    grown = True
    while grown:
        grown = False
        for (module, space), ids in zip(spaces, held, strict=True):
            if not rebound.is_known_in(module, ids) and ids.isdisjoint(found):
                continue
            for key, value in list(space.items()):
                if id(value) in found:
                    is_reader = key not in rebound.of(space)
                else:
                    is_reader = any(map(reads, _run_by_call(value, space, behind)))
                if is_reader:
                    found[id(value)] = value
                    rebound.add(module, key)
                    grown = True
                for method, raw in _methods(value, space):
                    if id(raw) not in found and any(reads(one, value) for one in behind.functions(raw)):
                        readers.add_method(value, method, raw)
                        rebound.add(value, method)
                        grown = True
    return readers


_OF_CLASSES: Final = frozenset((*MAKERS, "__class_getitem__", "__prepare__"))
"""Special methods that no operator on an object calls."""


def _methods(value: object, space: dict[str, object]) -> Iterator[tuple[str, object]]:
    """What a class that a module has made holds, by name."""
    if is_class(value) and class_namespace(value).get("__module__") == space.get("__name__"):
        yield from list(class_namespace(value).items())


def _run_by_call(value: object, space: dict[str, object], behind: Behind) -> Iterator[FunctionType]:
    """The functions that calling a value of a module may run."""
    if is_class(value) and class_namespace(value).get("__module__") == space.get("__name__"):
        for name in MAKERS:
            yield from behind.functions(_attribute(value, name))
    else:
        yield from behind.functions(value)
