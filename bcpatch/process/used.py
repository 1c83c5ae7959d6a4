"""What the imports of other modules did with a value that they took: what came of it stays.

Goes by the names in the texts of loaded modules, and by what these names hold. Nothing here changes anything.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Set
from functools import cached_property
from types import ModuleType
from typing import Final, NamedTuple

from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.process.classes import with_subclasses
from bcpatch.process.importers import Imports, holders, taken
from bcpatch.process.objects import is_class, is_module, namespace_of
from bcpatch.process.reading import Readers, attribute, find_readers
from bcpatch.process.spaces import Spaces, names_of, that_hold
from bcpatch.process.texts import Facts, Texts, bound, definition, definitions, run_by_call
from bcpatch.source import calls, shape
from bcpatch.source.evaluated import assigned, evaluated, iterated

_PROPERTIES: Final = (property, cached_property)


def used_at_import(texts: Texts, module: ModuleType, name: str, value: object) -> Iterator[Diagnostic]:
    """Statements of other modules that used the value while these were imported: what came of it stays (BCP210).

    They may have used it by a function or a class of any module that reads it, or have it from who passed it on.
    """
    message = f"used `{module.__name__}.{name}` when it was imported"
    holding = [(module, name), *taken(texts, module, name, value)]
    readers = find_readers(holding)
    wanted, special = {*readers.found}, readers.special
    imports = Imports(texts, holding)
    names: defaultdict[int, set[str]] = defaultdict(set)
    attributes: defaultdict[str, set[int]] = defaultdict(set)
    for other, alias in holding:
        names[id(other)].add(alias)
        attributes[alias].add(id(other))
    # a dotted name ends with a name that the module has somewhere, and with one of the value or of what reads it
    spaces = Spaces()
    owners = {one for one, space in spaces.of.items() if any(that_hold((space,), wanted))}
    owners |= special.keys()
    called = names_of(map(spaces.of.__getitem__, owners & spaces.of.keys()), wanted)
    called |= readers.names(spaces.of.values())
    asked = names_of(spaces.of.values(), readers.asked())
    through = (
        (asked,),
        ({*attributes}, names_of(spaces.of.values(), set(names))),
        (called, names_of(spaces.of.values(), {*names, *owners})),
    )
    for other in holders(module, {id(value), *wanted, *spaces.leading_to({*names, *owners})}, owners):
        objects = (key for key, one in list(namespace_of(other).items()) if id(type(one)) in owners)
        own = {*names_of((namespace_of(other),), wanted), *names[id(other)], *objects}
        facts = texts.facts(other, *imports.ways(other), (own,), *through)
        yield from _Use(texts, other, attributes, readers, names[id(other)]).findings(facts, message)


def attribute_used_at_import(texts: Texts, module: ModuleType, owner: type, name: str) -> Iterator[Diagnostic]:
    """Statements of other modules that read an attribute of a class while these were imported (BCP210)."""
    classes = with_subclasses(owner)
    owners = frozenset(map(id, classes))
    message = f"used `{owner.__qualname__}.{name}` when it was imported"
    readers = find_readers([(one, name) for one in classes])
    wanted, special = {*readers.found}, readers.special
    spaces = Spaces()
    called = names_of(spaces.of.values(), wanted) | readers.names(spaces.of.values())
    asked = names_of(spaces.of.values(), readers.asked())
    for other in holders(module, {*wanted, *spaces.leading_to({id(module), *owners, *wanted})}, special):
        facts = texts.facts(other, ({name},), (called,), (asked,))
        yield from _Use(texts, other, {name: owners}, readers).findings(facts, message)


class _Own(NamedTuple):
    """What a module defines, assigns and iterates."""

    definitions: Mapping[str, ast.stmt]
    assigned: Mapping[str, list[ast.expr]]
    iterated: Mapping[str, list[ast.expr]]


class _Use:
    """How a module's import may have used a value: by a name of its own, by what has it as an attribute, given by
    identity, or by what reads it there.
    """

    def __init__(
        self,
        texts: Texts,
        other: ModuleType,
        attributes: Mapping[str, Collection[int]],
        readers: Readers,
        names: Collection[str] = (),
    ) -> None:
        self._texts, self._other, self._space = texts, other, namespace_of(other)
        self._attributes, self._names = attributes, names
        self._readers = readers
        self._own = _Own({}, {}, {})
        self._quiet: set[str] = set()
        self._asked: set[str] = set()
        self._followed: set[str] = set()
        self._calling: dict[str, bool] = {}

    def findings(self, facts: Facts | None, message: str) -> Iterator[Diagnostic]:
        """The first statement that did. The module's text is parsed where what is known of it does not say no."""
        tree = self._texts.tree(self._other) if facts and self._are_of_interest(facts) else None
        if tree is None:
            return
        nodes = [node for statement in tree.body for node in evaluated(statement)]
        self._own = _Own(definitions(tree), assigned(nodes), iterated(ast.walk(tree)))
        for node in nodes:
            self._asked.clear()
            self._followed.clear()
            if self._reads(node) or self._runs(node) or self._takes(node):
                place = Place(str(self._space.get("__file__")), getattr(node, "lineno", 0))
                yield finding("BCP210", f"`{self._other.__name__}` {message}", place)
                return
            self._quiet |= self._asked

    def _are_of_interest(self, facts: Facts) -> bool:
        """Whether reading a dotted name of them is a use, or calling it, or an operator on it, or deriving from it."""
        checks = self._is_read, self._is_reader, self._is_special, self._runs_when_derived
        if any(check(read) for read in facts.reads for check in (*checks, self._has_readers)):
            return True
        return any(self._is_asked(sys.modules.get(module), name) for module, name, _ in facts.imports)

    def _is_use(self, read: str) -> bool:
        base, _, last = read.rpartition(".")
        if not base:
            return last in self._names
        return last in self._attributes and id(self._held(base)) in self._attributes[last]

    def _reads(self, node: ast.AST) -> bool:
        return shape.is_read(node) and self._is_read(shape.through(node))

    def _is_read(self, read: str) -> bool:
        """Whether reading a dotted name is a use: of the value itself, or by a descriptor that reads it."""
        if self._is_use(read) or self._is_reader(read, _PROPERTIES) or self._is_special(read, calls.DESCRIPTORS):
            return True
        base, _, name = read.rpartition(".")
        return bool(base) and self._is_asked(self._held(base), name)

    def _is_asked(self, owner: object, name: str | None) -> bool:
        """Whether a module's ``__getattr__`` is called for a name and reads the value (PEP 562)."""
        space = namespace_of(owner) if is_module(owner) and name else {name: None}
        return name not in space and id(space.get("__getattr__")) in self._readers.found

    def _takes(self, node: ast.AST) -> bool:
        """Whether it is an import statement that has a module ask for the name."""
        return any(self._is_asked(sys.modules.get(one.module), one.attribute) for one in bound([node], self._other))

    def _runs(self, node: ast.AST) -> bool:
        """Whether it runs something that reads the name: a function, the making of a class or of an object of it."""
        for run in calls.runs([node]):
            if run.methods is calls.CALLED:
                is_run = self._is_run(run.of)
            elif run.methods is calls.DERIVED:
                is_run = self._runs_when_derived(shape.through(_container(run.of)))
            else:
                methods = run.methods - {"__getattr__"} if self._is_there(node) else run.methods
                of = self._meant(run.of) if methods or not run.methods else ()
                is_run = any(self._is_special(shape.through(one), methods) for one in of)
            if is_run:
                return True
        return self._calls_items(node) or self._has_it_called(node)

    def _is_there(self, node: ast.AST) -> bool:
        """Whether a node reads an attribute that what it is of has, so that nothing is asked for it."""
        return isinstance(node, ast.Attribute) and (
            attribute(self._held(shape.through(node.value)), node.attr) is not None
        )

    def _is_run(self, callee: ast.expr) -> bool:
        """Whether a call of what an expression gives reads the name."""
        read = shape.through(callee)
        if self._is_reader(read):
            return True
        match callee:
            case ast.Lambda():
                return any(self._reads(node) or self._runs(node) for node in ast.walk(callee.body))
            case ast.Call(func=ast.Attribute(value=container)) if self._holds_some(container):
                return True
            case ast.Call(func=made_by):
                by_name = isinstance(made_by, ast.Name) and self._is_kept_run(made_by.id)
                return by_name or self._own_reads(read)
            case ast.Subscript(value=container):
                return self._holds_some(container)
            case ast.Name(id=name):
                return self._own_reads(name) or self._is_kept_run(name)
        return False

    def _is_kept_run(self, name: str) -> bool:
        """The same of what the module has assigned to a name."""
        if name in self._followed:
            return False
        self._followed.add(name)
        values = self._own.assigned.get(name, ())
        return any(self._is_run(one) for value in values for one in calls.held(value))

    def _holds_some(self, container: ast.expr) -> bool:
        """Whether a container holds what reads the name."""
        root = _container(container)
        key = f"{shape.through(root)}[]"
        if key in self._followed:
            return False
        if isinstance(root, ast.Name):
            self._followed.add(key)
        some = self._meant(root)
        return any(map(self._is_reader, map(shape.through, some))) or any(
            self._is_run(item) for one in some for item in calls.held(one) if item is not one
        )

    def _meant(self, expression: ast.expr) -> list[ast.expr]:
        """An expression, and what the module has assigned to it if that is a name."""
        name = expression.id if isinstance(expression, ast.Name) else ""
        return [expression, *self._own.assigned.get(name, ())]

    def _has_it_called(self, node: ast.AST) -> bool:
        """Whether it gives something that reads the name to what calls it.

        What asks for nothing else comes first: what was asked for must not read the name where the answer is no.
        """
        if isinstance(node, ast.Call):
            given = (one for argument in calls.arguments(node) for one in calls.held(argument))
            return self._calls_its_arguments(node.func) and any(map(self._is_run, given))
        if isinstance(node, shape.DEFINITIONS):
            return any(map(self._calls_its_arguments, node.decorator_list)) and self._own_reads(node.name)
        return False

    def _calls_its_arguments(self, callee: ast.expr) -> bool:
        """Whether a function or a class, as its text says, calls what it is given, or has another one call it."""
        read = shape.through(callee)
        if read not in self._calling:
            self._calling[read] = self._is_caller(read, set())
        return self._calling[read]

    def _is_caller(self, read: str, seen: set[str]) -> bool:
        if read in seen:
            return False
        seen.add(read)
        own = self._own.definitions.get(read)
        found = own or definition(self._texts, self._held(read))
        functions = [] if found is None else run_by_call(found)
        # what a function of another module names is found there, not here
        given_on = (shape.through(call.func) for one in functions for call in calls.passing_on(one) if own)
        return any(map(calls.calls_its_arguments, functions)) or any(self._is_caller(one, seen) for one in given_on)

    def _calls_items(self, node: ast.AST) -> bool:
        """Whether a comprehension calls what it finds in a container that holds a reader."""
        if not isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            return False
        inner = list(ast.walk(node))
        items = {one.id for one in inner if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        is_called = any(isinstance(one, ast.Call) and shape.through(one.func) in items for one in inner)
        return is_called and any(self._holds_some(one.iter) for one in node.generators)

    def _is_special(self, read: str, methods: Set[str] = calls.ANY) -> bool:
        """Whether a dotted name leads to an object of which some special methods read the name, or any where none are
        given: operators call these.
        """
        held = self._held(read) if self._readers.special or self._readers.found else None
        if is_class(held) and (not methods or "__class_getitem__" in methods):
            if id(attribute(held, "__class_getitem__")) in self._readers.found:
                return True
        reading: Set[str] = self._readers.special.get(id(type(held)), set())
        return bool(reading & methods if methods else reading)

    def _runs_when_derived(self, read: str) -> bool:
        """Whether a dotted name leads to a class, and making one that derives from it reads the name."""
        held = self._held(read) if self._readers.found else None
        if not is_class(held):
            return False
        run = (
            attribute(held, "__init_subclass__"),
            *(attribute(type(held), name) for name in (*calls.MAKERS, "__prepare__")),
        )
        return any(id(one) in self._readers.found for one in run if one is not None)

    def _is_reader(self, read: str, kinds: tuple[type, ...] = (object,)) -> bool:
        """Whether a dotted name leads to something of some kinds that reads the name."""
        held = self._held(read) if self._readers.found else None
        return id(held) in self._readers.found and issubclass(type(held), kinds)

    def _has_readers(self, read: str) -> bool:
        """Whether a dotted name leads to a class of which a method reads the name."""
        return bool(self._readers.owners) and id(self._held(read)) in self._readers.owners

    def _own_reads(self, name: str) -> bool:
        """Whether a call of what the module defines by a name reads the value.

        What is asked for meanwhile is looked at once: if that reads it, so does what was asked for first.
        """
        if name in self._quiet or name in self._asked or name not in self._own.definitions:
            return False
        self._asked.add(name)
        functions = run_by_call(self._own.definitions[name])
        nodes = (node for one in functions for node in calls.own_code(one))
        if any(self._reads(node) or self._runs(node) for node in nodes):
            return True
        return any(self._is_run(one) for function in functions for one in calls.defaults(function))

    def _held(self, dotted_name: str) -> object:
        """What a dotted name holds, as far as it leads through modules, classes, and objects of classes.

        An item of a class that is iterated has what the class has: it is a member of an enumeration.
        """
        first, *rest = dotted_name.split(".")
        held: object = self._space.get(first)
        if first not in self._space:
            iterated = (shape.through(one) for one in self._own.iterated.get(first, ()))
            known = (self._held(one) for one in iterated if one.partition(".")[0] in self._space)
            held = next(filter(is_class, known), None)
        for name in rest:
            held = attribute(held, name)
        return held


def _container(expression: ast.expr) -> ast.expr:
    """What an expression takes an item of, or the expression itself."""
    while True:
        match expression:
            case ast.Subscript(value=value) | ast.Call(func=ast.Attribute(value=value)):
                expression = value
            case _:
                return expression
