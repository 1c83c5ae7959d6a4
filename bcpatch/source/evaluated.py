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
    match node:
        case ast.If(test=test, body=body, orelse=orelse) if shape.is_main_guard(test) or shape.is_type_checking(test):
            for child in orelse if shape.is_type_checking(test) else body[:0]:
                yield from evaluated(child, annotations=annotations)
            return
        case ast.Lambda():
            yield node
            yield from _children(node.args, annotations)
            return
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node
            for decorator in node.decorator_list:
                yield from evaluated(decorator, annotations=annotations)
            yield from _children(node.args, annotations)
            if node.returns is not None and annotations:
                yield from evaluated(node.returns)
            return
        case ast.arg() if not annotations:
            return
        case ast.AnnAssign(target=target, value=value) if not annotations:
            for part in (target, value):
                if part is not None:
                    yield from evaluated(part, annotations=False)
            return
    yield node
    yield from _children(node, annotations)


def _children(node: ast.AST, annotations: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield from evaluated(child, annotations=annotations)


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
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.stmt():
                continue
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.Lambda():
                continue
        yield from _bound_by(child)


def bound_in(function: ast.AST) -> frozenset[str]:
    """The names that are bound anywhere in a function."""
    nodes = list(ast.walk(function))
    parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound = (binds(node) for node in nodes if isinstance(node, ast.stmt) and node is not function)
    return frozenset(parameters.union(*bound))


def bound_below(body: ast.Module | ast.ClassDef, line: int) -> frozenset[str]:
    """The names that statements of a body bind below a line: what stands above it read another value."""
    return frozenset(name for statement in body.body if statement.lineno > line for name in binds(statement))
