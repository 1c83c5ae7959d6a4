"""Which functions of a module its own import has run.

What such a function returned is state that a patch can't renew. This module reads the
module's syntax only, by names: a call through an object that another module holds is
not seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bcpatch.model import Import
from bcpatch.source import calls, shape
from bcpatch.source.evaluated import bound_in
from bcpatch.source.named import Named
from bcpatch.source.outline import Function, Unit, executed


class Entered(NamedTuple):
    """A function of a module that is run, or one in it, and the nodes that are evaluated then.

    There is none of a lambda of which the compiler made nothing.
    """

    function: Function | None
    node: calls.Callable
    nodes: list[ast.AST]


def ran(unit: Unit) -> dict[str, ast.stmt]:
    """Qualified names of functions that executing the module ran, each with the statement that did.

    What ``if __name__ == "__main__":`` guards is the program itself, not import time.
    """
    found: dict[str, ast.stmt] = {}
    named = Named(unit)
    for statement in _statements(unit.tree.body):
        for entered in run_by(named, statement):
            if entered.function is not None:
                found.setdefault(entered.function.site.qualname, statement)
    return found


def run_by(named: Named, statement: ast.stmt) -> list[Entered]:
    """The functions of the module that executing one of its statements runs, directly or through others."""
    return _run(named, with_comprehensions(statement), statement)


def run_by_header(named: Named, statement: ast.ClassDef) -> list[Entered]:
    """The same of the statement of a class, what its body executes left out."""
    header = (*statement.decorator_list, *statement.bases, *statement.keywords)
    return _run(named, [statement, *(node for part in header for node in ast.walk(part))], statement)


def run_in(named: Named, nodes: Iterable[ast.AST]) -> list[Entered]:
    """The same of some nodes that are evaluated."""
    return _run(named, nodes, None)


def _run(named: Named, nodes: Iterable[ast.AST], statement: ast.stmt | None) -> list[Entered]:
    found: dict[int, Entered] = {}
    waiting = list(named.run_by(nodes, statement))
    while waiting:
        one = waiting.pop()
        if id(one) not in found:
            inside = named.own_code(one)
            found[id(one)] = Entered(named.unit.function_around(one), one, inside)
            waiting.extend(named.run_in(one))
    return list(found.values())


def called(unit: Unit) -> Iterator[tuple[ast.stmt, tuple[str, ...]]]:
    """The statements that call something by a name when the module is executed, and the names that lead to it.

    A class that derives from another one calls the ``__init_subclass__`` of that.
    """
    named = Named(unit)
    for statement in _statements(unit.tree.body):
        nodes = [*with_comprehensions(statement)]
        given: list[ast.expr] = []
        for entered in run_by(named, statement):
            nodes += entered.nodes
            given += calls.defaults(entered.node)
        given += (one for node in nodes if isinstance(node, ast.Call) for one in named.called_back(node))
        yield from ((statement, names) for names in (*callees(nodes), *map(path, given)) if names[0])


def callees(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ...]]:
    """What evaluating some nodes calls by a name: the names that lead to it."""
    for run in calls.runs(nodes):
        if run.methods in (calls.CALLED, calls.DERIVED):
            names = (*path(run.of), *(run.methods - calls.CALLED))
            if names[0]:
                yield names
            if isinstance(run.of, ast.Call) and isinstance(run.of.func, ast.Attribute):
                container = path(run.of.func.value)
                yield from [container] if container[0] else []


def path(expression: ast.expr) -> tuple[str, ...]:
    """The names that an expression is made of: ``a.b(c).d`` and ``a.b[c].d`` are a, b, d; the first is empty where that
    is none.
    """
    found: list[str] = []
    while True:
        asked = shape.asked_for(expression)
        if asked is not None:
            expression, name = asked
            found.append(name)
        elif isinstance(expression, ast.Subscript):
            expression = expression.value
        elif isinstance(expression, ast.Call):
            expression = expression.func
        else:
            found.append(expression.id if isinstance(expression, ast.Name) else "")
            return tuple(found[::-1])


def paths(imports: Iterable[Import]) -> dict[str, str]:
    """What names that a module imports stand for, as dotted names."""
    return {one.name: f"{one.module}.{one.attribute}" if one.attribute else one.module for one in imports}


def calls_with(unit: Unit, name: str) -> Iterator[ast.Call]:
    """Calls that executing the module makes, with something of a name among what they are given."""
    every = (node for node in ast.walk(unit.tree) if isinstance(node, ast.Call))
    if not any(name in calls.given_to(node) for node in every):
        return
    found: dict[int, ast.Call] = {}
    named = Named(unit)
    for statement in _statements(unit.tree.body):
        nodes = [*with_comprehensions(statement)]
        for entered in run_by(named, statement):
            if entered.function is None or name not in bound_in(entered.function.node):
                nodes += entered.nodes
        found.update((id(node), node) for node in nodes if isinstance(node, ast.Call) and name in calls.given_to(node))
    yield from found.values()


def with_comprehensions(statement: ast.stmt) -> Iterator[ast.AST]:
    """What executing a statement evaluates, comprehensions included."""
    for node in executed([statement]):
        yield node
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            yield from ast.walk(node)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if not (isinstance(statement, ast.If) and shape.is_main_guard(statement.test)):
            yield statement
        if isinstance(statement, ast.ClassDef):
            yield from _statements(statement.body)
