"""Definitions and statements that a module makes on one way through its body and not on another.

A branch is an arm of an ``if`` or a ``try``. Which one ran is known in the process alone.
This module says which arms exclude each other and by what a process tells that one ran; it reads syntax only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from bcpatch.model import Import, Module
from bcpatch.source import shape
from bcpatch.source.values import is_evaluable

Path: TypeAlias = tuple[tuple[int, str], ...]
"""The compound statements around something, outermost first, each with the arm that it stands in."""


COMPOUND = (ast.If, ast.Try)


def head(statement: ast.stmt) -> object:
    """What two versions of a compound statement have in common if they are the same one."""
    if isinstance(statement, ast.If):
        return "if", ast.dump(statement.test), bool(statement.orelse)
    handlers = [ast.dump(one.type) if one.type else "" for one in getattr(statement, "handlers", ())]
    return "try", tuple(handlers), bool(getattr(statement, "orelse", ())), bool(getattr(statement, "finalbody", ()))


def is_simple(statement: ast.stmt) -> bool:
    """Whether a compound statement imports, assigns to names and defines, and does nothing else."""
    match statement:
        case ast.If() | ast.Try():
            return all(is_simple(one) for _, block in arms(statement) for one in block)
        case ast.Import() | ast.ImportFrom():
            return not shape.is_star(statement)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return not statement.decorator_list
        case ast.Assign(targets=targets):
            return all(isinstance(one, ast.Name) for one in targets)
        case ast.Pass():
            return True
    return False


def paths(tree: ast.Module) -> dict[int, Path]:
    """Where each definition of a module stands, by the id of its syntax tree."""
    found: dict[int, Path] = {}

    def visit(body: Sequence[ast.stmt], path: Path) -> None:
        for statement in body:
            found[id(statement)] = path
            if isinstance(statement, ast.ClassDef):
                visit(statement.body, path)
            elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for arm, block in arms(statement):
                    visit(block, (*path, (id(statement), arm)))

    visit(tree.body, ())
    return found


def arms(statement: ast.stmt) -> Iterator[tuple[str, list[ast.stmt]]]:
    """The blocks of a compound statement by name; what always runs with another has its name."""
    match statement:
        case ast.If():
            yield "then", statement.body
            yield "else", statement.orelse
        case ast.Try() | ast.TryStar():
            yield "body", statement.body
            for number, handler in enumerate(statement.handlers):
                yield f"handler {number}", handler.body
            yield "body", statement.orelse
            yield "always", statement.finalbody
        case ast.Match():
            for number, one in enumerate(statement.cases):
                yield f"case {number}", one.body
        case _:
            for block in shape.nested_statements(statement):
                yield "block", block


def exclude(one: Path, other: Path) -> bool:
    """Whether two places are in arms of which at most one stays in force."""
    theirs = dict(other)
    return any(key in theirs and theirs[key] != arm and "always" not in (arm, theirs[key]) for key, arm in one)


# --- whether an arm ran ------------------------------------------------------------------------


def condition(statement: ast.stmt, now: ast.stmt, arm: str, known: frozenset[str], module: Module) -> ast.expr | None:
    """An expression that tells a process whether an arm ran, as it would now: True, False, None where it can't be told.

    There is one for a test of constants, imported names and comparisons, and for a ``try`` that only
    imports: it went through if all is bound to what was imported, and did not if something can't have been. That it
    would not ``now`` either is known if what it tried is still tried first.
    """
    match statement:
        case ast.If(test=test) if is_test(test, known):
            whether = ast.Call(_name("bool"), [test], [])
            return _at(whether if arm == "then" else ast.UnaryOp(ast.Not(), whether), statement)
        case ast.Try(body=body, handlers=[_], orelse=orelse, finalbody=[]) if all(map(_only_imports, (*body, *orelse))):
            bound = [*_bindings(body, module)]
            if not bound or any(one.name == "*" for one in bound):
                return None
            went = _every(ast.And(), [_is_bound(one) for one in bound])
            failed = _every(ast.Or(), [_is_missing(one) for one in bound])
            through = arm == "body"
            otherwise: ast.expr = ast.Constant(None)
            if isinstance(now, ast.Try) and bound == [*_bindings(now.body, module)][: len(bound)]:
                otherwise = ast.IfExp(failed, ast.Constant(not through), ast.Constant(None))
            return _at(ast.IfExp(went, ast.Constant(through), otherwise), statement)
    return None


def tries_less(was: ast.stmt, now: ast.stmt, module: Module) -> bool:
    """Whether a ``try`` does not import any more what it imported, or in another order: it may go another way then."""
    if not (isinstance(was, ast.Try) and isinstance(now, ast.Try)):
        return False
    old, new = ([(one.name, one.submodule) for one in _bindings(body, module)] for body in (was.body, now.body))
    return [one for one in new if one in old] != old


def _bindings(body: Sequence[ast.stmt], module: Module) -> Iterator[Import]:
    for one in body:
        if isinstance(one, (ast.Import, ast.ImportFrom)):
            yield from shape.bindings(one, module)


def _only_imports(statement: ast.stmt) -> bool:
    """Whether nothing in a statement fails but an import."""
    if isinstance(statement, ast.Assign):
        return isinstance(statement.value, ast.Constant) and all(isinstance(one, ast.Name) for one in statement.targets)
    return is_simple(statement) and not isinstance(statement, (ast.ClassDef, *COMPOUND))


def is_test(node: ast.expr, known: frozenset[str]) -> bool:
    """Whether a test gives the same whenever it is evaluated, as far as its form tells."""
    match node:
        case ast.Compare(left=left, comparators=others):
            return all(is_test(one, known) for one in (left, *others))
        case ast.BoolOp(values=values):
            return all(is_test(one, known) for one in values)
        case ast.UnaryOp(operand=operand):
            return is_test(operand, known)
        case ast.Call(func=ast.Name(id="hasattr"), args=[ast.Name(id=name), ast.Constant()], keywords=[]):
            return name in known
        case ast.Call(
            func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="sys"), attr="platform"), attr="startswith"),
            args=[ast.Constant()],
            keywords=[],
        ):
            return "sys" in known
        case ast.Name(id="__debug__"):
            return True
        case ast.Subscript(value=value, slice=index):
            return is_test(value, known) and isinstance(index, (ast.Constant, ast.Slice))
    return is_evaluable(node, known)


def _is_bound(one: Import) -> ast.expr:
    """Whether the namespace holds what an import statement would bind now, without importing anything."""
    return ast.BoolOp(ast.And(), [_is_loaded(one), ast.Compare(_held(one.name), [ast.Is()], [_imported(one)])])


def _is_missing(one: Import) -> ast.expr:
    return ast.UnaryOp(ast.Not(), _is_loaded(one))


def _is_loaded(one: Import) -> ast.expr:
    whole = one.submodule or one.module
    loaded = ast.Compare(_loaded(whole), [ast.IsNot()], [ast.Constant(None)])
    if one.attribute is None:
        return loaded
    has = ast.Call(_name("hasattr"), [_loaded(whole), ast.Constant(one.attribute)], [])
    return ast.BoolOp(ast.And(), [loaded, has])


def _imported(one: Import) -> ast.expr:
    if one.attribute is None:
        return _loaded(one.module)
    return ast.Call(_name("getattr"), [_loaded(one.module), ast.Constant(one.attribute)], [])


def _loaded(module: str) -> ast.expr:
    modules = ast.Attribute(ast.Call(_name("__import__"), [ast.Constant("sys")], []), "modules", ast.Load())
    return ast.Call(ast.Attribute(modules, "get", ast.Load()), [ast.Constant(module)], [])


def _held(name: str) -> ast.expr:
    space = ast.Call(_name("globals"), [], [])
    return ast.Call(ast.Attribute(space, "get", ast.Load()), [ast.Constant(name)], [])


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _every(operator: ast.boolop, some: list[ast.expr]) -> ast.expr:
    return some[0] if len(some) == 1 else ast.BoolOp(operator, some)


def _at(node: ast.expr, statement: ast.stmt) -> ast.expr:
    return ast.fix_missing_locations(ast.copy_location(node, statement))
