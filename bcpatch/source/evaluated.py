"""What executing a statement of a module's or a class's body reads and binds, by name.

Reads syntax only. The bodies of functions and lambdas run later and are left out; class
bodies and comprehensions run with the statement and are not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from bcpatch.source import shape

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def evaluated(node: ast.AST, *, annotations: bool = True) -> Iterator[ast.AST]:
    """Every node that executing a statement evaluates, at any depth.

    ``annotations`` is False where the module's annotations are kept as text (PEP 563).
    """
    waiting = [(node, annotations)]
    while waiting:
        one, annotated = waiting.pop()
        inner: list[tuple[ast.AST, bool]]
        match one:
            case ast.If(test=test, orelse=orelse) if shape.is_type_checking(test):
                inner = [(child, annotated) for child in orelse]
            case ast.If(test=test) if shape.is_main_guard(test):
                continue
            case ast.Lambda():
                yield one
                inner = _children(one.args, annotated)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield one
                inner = [(decorator, annotated) for decorator in one.decorator_list]
                inner += _children(one.args, annotated)
                if one.returns is not None and annotated:
                    inner.append((one.returns, True))
            case ast.arg() if not annotated:
                continue
            case ast.AnnAssign(target=target, value=value) if not annotated:
                inner = [(part, False) for part in (target, value) if part is not None]
            case _:
                yield one
                inner = _children(one, annotated)
        waiting += reversed(inner)


def _children(node: ast.AST, annotated: bool) -> list[tuple[ast.AST, bool]]:
    return [(child, annotated) for child in ast.iter_child_nodes(node)]


def reads(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names that some nodes load."""
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id


def binds(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds or deletes in the body that it stands in, whichever way it goes.

    What the main program alone binds is left out; of ``from x import *`` nothing is known.
    """
    if isinstance(statement, ast.If) and shape.is_main_guard(statement.test):
        return
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        yield statement.name
        return
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
        return
    yield from _bound_by(statement)
    for block in shape.nested_statements(statement):
        for inner in block:
            yield from binds(inner)


def _bound_by(node: ast.AST) -> Iterator[str]:
    """Names bound by the expressions of a statement itself: targets, captures, ``:=``."""
    waiting = [*ast.iter_child_nodes(node)][::-1]
    while waiting:
        match child := waiting.pop():
            case ast.stmt() | ast.Lambda():
                continue
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name
        waiting += [*ast.iter_child_nodes(child)][::-1]


def assigned(nodes: Iterable[ast.AST]) -> dict[str, list[ast.expr]]:
    """By name: what some nodes assign to it; where a value is taken apart and is no display, the whole of it."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        pairs: list[tuple[ast.expr, ast.expr]] = []
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs += ((target, value) for target in targets)
            case ast.AnnAssign(target=one, value=ast.expr() as value) | ast.NamedExpr(target=one, value=value):
                pairs.append((one, value))
        for target, given in pairs:  # it grows meanwhile
            match target, given:
                case ast.Name(id=name), _:
                    found.setdefault(name, []).append(given)
                case ast.Tuple(elts=parts) | ast.List(elts=parts), ast.Tuple(elts=values) | ast.List(elts=values) if (
                    len(parts) == len(values)
                ):
                    pairs += zip(parts, values, strict=True)
                case ast.Tuple(elts=parts) | ast.List(elts=parts), _:
                    pairs += [(one, given) for one in parts]
                case ast.Starred(value=inner), _:
                    pairs.append((inner, given))
    return found


def iterated(nodes: Iterable[ast.AST]) -> dict[str, list[ast.expr]]:
    """By name: what loops and comprehensions among some nodes go through whose items they give to it."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.For | ast.comprehension):
            for target in ast.walk(node.target):
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.iter)
    return found


def bound_in(function: ast.AST) -> frozenset[str]:
    """The names that are bound anywhere in a function."""
    nodes = list(ast.walk(function))
    parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound = (binds(node) for node in nodes if isinstance(node, ast.stmt) and node is not function)
    return frozenset(parameters.union(*bound))


def bound_below(body: ast.Module | ast.ClassDef, line: int) -> frozenset[str]:
    """The names that a body binds when it has executed what ends on a line: that found other values, or none."""
    return frozenset(_bound_below(body.body, line))


def _bound_below(block: Iterable[ast.stmt], line: int) -> Iterator[str]:
    for statement in block:
        if statement.lineno > line:
            yield from binds(statement)
        elif not isinstance(statement, shape.DEFINITIONS) and (statement.end_lineno or 0) > line:
            for inner in shape.nested_statements(statement):
                if inner[0].lineno <= line <= (inner[-1].end_lineno or 0):
                    yield from _bound_below(inner, line)


def bound_above(body: ast.Module, line: int) -> frozenset[str]:
    """The names that statements of a body bind which begin above a line."""
    return frozenset(name for statement in body.body if statement.lineno < line for name in binds(statement))
