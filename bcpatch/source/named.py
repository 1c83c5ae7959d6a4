"""What expressions of a module give: which of its functions, classes and objects, as far as names tell.

Reads the module's syntax only, and decides for more rather than for less.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any, Final, TypeAlias, TypeVar

from bcpatch.source import calls
from bcpatch.source.calls import Run
from bcpatch.source.outline import Function, Unit
from bcpatch.source.shape import DEFINITIONS, is_special, last_name

CLASS_STATEMENT: Final = frozenset({"__init_subclass__", "__class_getitem__", "__prepare__"})
_PROPERTIES: Final = frozenset({"property", "cached_property", "getter"})
_RECEIVERS: Final = frozenset({"self", "cls", "super"})

_Given = TypeVar("_Given", bound=ast.AST | str)
_Found = TypeVar("_Found")
#: What is being found out: a kind of answer, and of what.
_Asked: TypeAlias = tuple[str, int | str]


class Named:
    """The functions, classes and objects that expressions of a module give, as far as names tell."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self._known: dict[_Asked, list[Any]] = {}
        self._asked: dict[_Asked, int] = {}
        self._partly: dict[_Asked, tuple[list[Any], int]] = {}
        self._specials = set(filter(is_special, (*unit.by_name, *unit.class_values))) - calls.MAKERS
        self._open = sys.maxsize  # the first of what is asked that is asked for again

    def run_in(self, function: calls.Callable) -> list[calls.Callable]:
        """The functions that a call of a function runs, directly."""
        return self._once("run", function, self._run_in)

    def _run_in(self, function: calls.Callable) -> Iterator[calls.Callable]:
        yield from self.run_by(self.own_code(function), None)
        for default in calls.defaults(function):
            yield from self._called(default)

    def run_by(self, nodes: Iterable[ast.AST], statement: ast.stmt | None) -> Iterator[calls.Callable]:
        """The functions that evaluating some nodes runs, directly, which may stand in a ``statement`` of a class."""
        some = list(nodes)
        for run in calls.runs(some):
            if run.methods is calls.CALLED:
                yield from self._once("called", run.of, self._functions)
                if isinstance(run.of, ast.Name):
                    beside = self.unit.by_name.get(run.of.id, ())
                    yield from (one.node for one in beside if _is_beside(one, statement))
            else:
                yield from self._special(run)
        for node in some:
            if isinstance(node, ast.Attribute):
                yield from self._read(node)
            elif isinstance(node, ast.Call):
                for given in self.called_back(node):
                    yield from self._called(given)
            elif isinstance(node, DEFINITIONS) and node.decorator_list:
                made = self._methods([node], calls.MAKERS) if isinstance(node, ast.ClassDef) else [node]
                if any(self._calls_given(one) for mark in node.decorator_list for one in self._called(mark)):
                    yield from made

    def called_back(self, call: ast.Call) -> list[ast.expr]:
        """What is given to functions of the module by a call that call it."""
        if not any(map(self._calls_given, self._called(call.func))):
            return []
        return [one for given in calls.arguments(call) for one in calls.held(given)]

    def _calls_given(self, function: calls.Callable) -> bool:
        """Whether a function calls what it is given, or has another one of the module call it."""
        return bool(self._once("given", function, self._ways_to_call))

    def _ways_to_call(self, function: calls.Callable) -> Iterator[ast.AST]:
        if calls.calls_its_arguments(function):
            yield function
        else:
            yield from (one for call in calls.passing_on(function) for one in self._callers(call))

    def _callers(self, call: ast.Call) -> Iterator[calls.Callable]:
        """What a call calls, of that what calls what it is given."""
        return filter(self._calls_given, self._called(call.func))

    # --- what is called ---

    def _called(self, expression: ast.expr) -> Iterator[calls.Callable]:
        """The functions of the module that a call of what an expression gives runs."""
        for one in calls.alternatives(expression):
            yield from self._once("called", one, self._functions)

    def _functions(self, one: ast.expr) -> Iterator[calls.Callable]:
        yield from self._methods(self._objects(one), calls.CALLED)
        match one:
            case ast.Lambda():
                yield one
            case ast.Name(id=name):
                yield from self._once("of module", name, self._of_module)
                yield from self._made(one)
            case ast.Attribute(value=value, attr=name):
                yield from self._of_classes(name, value)
                yield from self._made(one)
            case ast.Subscript():
                yield from self._items(one)
            case ast.Call(func=callee):
                for function in self._called(callee):
                    yield from self._returned(function)
                if isinstance(callee, ast.Attribute):
                    yield from self._items(callee.value)

    def _of_module(self, name: str) -> Iterator[calls.Callable]:
        """Those of a call of what the module has by a name."""
        for meant in self.unit.meanings(name):
            for function in self.unit.by_name.get(meant, ()):
                yield from self._decorated(function.node) if not function.chain else ()
            for value in self.unit.assigned.get(meant, ()):
                for held in calls.held(value) if not isinstance(value, ast.Name | ast.Attribute) else ():
                    yield from self._called(held)
        for through in self.unit.iterated.get(name, ()):
            yield from self._items(through)

    def _of_classes(self, name: str, owner: ast.expr) -> Iterator[calls.Callable]:
        """Those of a call of what an owner has by a name, if that is of classes of the module."""
        methods = [one for one in self.unit.by_name.get(name, ()) if one.chain]
        values = self.unit.class_values.get(name, ())
        if (methods or values) and self._is_own(owner):
            for function in methods:
                yield from self._decorated(function.node)
            for held in values:
                yield from self._called(held)

    def _decorated(self, node: calls.Callable) -> Iterator[calls.Callable]:
        """A function, and those that its decorators put in its place."""
        yield node
        for decorator in getattr(node, "decorator_list", ()):
            for function in self._called(decorator):
                yield from self._returned(function)
            yield from self._methods(self._classes(decorator), calls.CALLED)

    def _returned(self, function: calls.Callable) -> Iterator[calls.Callable]:
        """The functions that a call of a function may return."""
        for one in self._once("returned", function, calls.returned):
            yield from self._called(one)

    def _items(self, container: ast.expr) -> Iterator[calls.Callable]:
        """The functions that a call of an item of a container runs."""
        root = calls.holder(container)
        values: list[ast.expr] = [root]
        if isinstance(root, ast.Name):
            yield from self._once("items of module", root.id, self._items_of_name)
            values = []
        if isinstance(container, ast.Attribute):
            values += self.unit.class_values.get(container.attr, ())
        elif isinstance(container, ast.Subscript) and isinstance(container.value, ast.Attribute):
            values += self.unit.class_values.get(container.value.attr, ())
        for value in values:
            for one in calls.held(value):
                if one is not container:
                    yield from self._called(one)

    def _items_of_name(self, name: str) -> Iterator[calls.Callable]:
        for meant in self.unit.meanings(name):
            for value in self.unit.assigned.get(meant, ()):
                for one in calls.held(value):
                    yield from self._called(one)

    def _made(self, one: ast.expr) -> Iterator[calls.Callable]:
        """The functions that making an object of a class runs."""
        some = list(self._classes(one))
        yield from self._methods(some, calls.MAKERS)
        yield from self._methods(self._metaclasses(some), calls.CALLED)
        for made in some:
            fields = (node.value for node in made.body if isinstance(node, ast.Assign | ast.AnnAssign))
            for field in fields if made.decorator_list else ():
                for keyword in field.keywords if isinstance(field, ast.Call) else ():
                    if "factory" in (keyword.arg or ""):
                        yield from self._called(keyword.value)

    # --- special methods, and what reading runs ---

    def _special(self, run: Run) -> Iterator[calls.Callable]:
        """The special methods that are run of what an expression gives."""
        methods = run.methods or self._specials
        if methods.isdisjoint(self._specials) and run.methods != calls.DERIVED:
            return
        of = run.of.value if isinstance(run.of, ast.Subscript) else run.of
        some = [made for one in calls.alternatives(of) for made in self._classes(one)]
        yield from self._methods(self._objects(run.of), methods)
        yield from self._methods(some, methods & CLASS_STATEMENT)
        yield from self._methods(self._metaclasses(some), methods)
        if run.methods == calls.DERIVED:
            for meta in self._metaclasses(some):
                yield from self._methods([meta], calls.MAKERS | {"__prepare__"})

    def _read(self, node: ast.Attribute) -> Iterator[calls.Callable]:
        """The properties and descriptors that reading, or storing, an attribute runs."""
        methods = [one for one in self.unit.by_name.get(node.attr, ()) if _is_property(one)]
        values = self.unit.class_values.get(node.attr, ())
        if (methods or values) and self._is_own(node.value):
            for function in methods:
                yield from self._decorated(function.node)
            for value in values:
                yield from self._methods(self._objects(value), calls.DESCRIPTORS)
                if isinstance(value, ast.Call) and last_name(value) in _PROPERTIES:
                    yield from self._called(value)

    def _methods(self, classes: Iterable[ast.ClassDef], names: Set[str]) -> Iterator[calls.Callable]:
        """The methods of classes by name, and what these have been given by such a name."""
        some = list(classes)
        if not some:
            return
        for name, functions in self.unit.by_name.items():
            if name in names:
                for one in functions:
                    if one.chain and any(one.chain[-1] is own for own in some):
                        yield from self._decorated(one.node)
        for value in (value for name in names for value in self.unit.class_values.get(name, ())):
            yield from self._called(value)

    # --- classes and objects ---

    def _classes(self, expression: ast.expr) -> Iterator[ast.ClassDef]:
        """The classes that an expression names, and those of the module that they derive from."""
        name = last_name(expression) if isinstance(expression, ast.Name | ast.Attribute) else None
        for meant in self.unit.meanings(name) if name is not None else ():
            yield from self._with_bases(meant)

    def _with_bases(self, name: str) -> list[ast.ClassDef]:
        # not those with arguments (``Base[int]``): to make an object would count as calling what has their `__call__`
        found = [made.node for made in self.unit.classes if made.node.name == name]
        for node in found:  # it grows meanwhile
            for base in filter(None, map(last_name, node.bases)):
                bases = (made.node for made in self.unit.classes if made.node.name in self.unit.meanings(base))
                found += [one for one in bases if one not in found]
        return found

    def _metaclasses(self, classes: Iterable[ast.ClassDef]) -> Iterator[ast.ClassDef]:
        for keyword in (keyword for one in classes for keyword in one.keywords):
            if keyword.arg == "metaclass":
                yield from self._classes(keyword.value)

    def _objects(self, expression: ast.expr) -> Iterator[ast.ClassDef]:
        """The classes of the module of which an expression gives an object."""
        for one in calls.alternatives(expression):
            yield from self._once("object", one, self._kinds)

    def _kinds(self, one: ast.expr) -> Iterator[ast.ClassDef]:
        match one:
            case ast.Call(func=callee):
                yield from self._classes(callee)
            case ast.Name(id=name):
                yield from self._once("object of module", name, self._kinds_of_name)
            case ast.Attribute(value=value, attr=name):
                for held in self.unit.class_values.get(name, ()):
                    yield from self._objects(held)
                yield from self._classes(value)  # a member of an enumeration

    def _kinds_of_name(self, name: str) -> Iterator[ast.ClassDef]:
        for meant in self.unit.meanings(name):
            for value in self.unit.assigned.get(meant, ()):
                yield from self._objects(value)
        for through in self.unit.iterated.get(name, ()):
            yield from self._classes(through)

    def _is_own(self, owner: ast.expr) -> bool:
        """Whether an expression names one of the module's classes, an instance of one, or a method's receiver."""
        if isinstance(owner, ast.Call):
            return self._is_own(owner.func)
        if isinstance(owner, ast.Attribute):  # a member of an enumeration, a class in a class
            return self._is_own(owner.value)
        if not isinstance(owner, ast.Name):
            return False
        return owner.id in _RECEIVERS or any(True for _ in (*self._classes(owner), *self._objects(owner)))

    def _once(self, kind: str, of: _Given, find: Callable[[_Given], Iterable[_Found]]) -> list[_Found]:
        """What is found out of something, which is kept. Names may lead in circles: then it is what else there is.

        What was found while a circle was left out is kept until that is known with which the circle begins.
        """
        key = kind, of if isinstance(of, str) else id(of)
        if key in self._known:
            return self._known[key]
        if key in self._asked:
            self._open = min(self._open, self._asked[key])
            return []
        if key in self._partly:
            found, begin = self._partly[key]
            self._open = min(self._open, begin)
            return found
        at = self._asked[key] = len(self._asked)
        outer, self._open = self._open, sys.maxsize
        try:
            found = list(find(of))
        finally:
            del self._asked[key]
        if self._open >= at:
            self._known[key] = found
            self._partly = {one: known for one, known in self._partly.items() if known[1] < at}
            self._open = outer
        else:
            self._partly[key] = found, self._open
            self._open = min(outer, self._open)
        return found

    def own_code(self, function: calls.Callable) -> list[ast.AST]:
        """See `bcpatch.source.calls.own_code`."""
        return self._once("code", function, calls.own_code)


def _is_property(function: Function) -> bool:
    """Whether reading an attribute calls it."""
    decorators = getattr(function.node, "decorator_list", ())
    return bool(function.chain) and not _PROPERTIES.isdisjoint(map(last_name, decorators))


def _is_beside(function: Function, statement: ast.stmt | None) -> bool:
    """Whether a method stands in the body of the class that a statement is in, which knows it by its name alone."""
    return any(one is statement for made in function.chain[-1:] for one in made.body)
