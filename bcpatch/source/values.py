"""Assignments whose value can be computed again: which ones, and the names that they bind.

Nothing here compares two versions of a source.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

import msgspec

from bcpatch.source import shape
from bcpatch.source.evaluated import binds
from bcpatch.source.outline import Class, Unit


class Binding(msgspec.Struct, frozen=True):
    """One name that a statement of a body binds; ``value`` is the expression where it is an assignment's."""

    name: str
    statement: ast.stmt
    value: ast.expr | None = None

    @property
    def is_function(self) -> bool:
        return isinstance(self.statement, (ast.FunctionDef, ast.AsyncFunctionDef))


def binders(body: Sequence[ast.stmt]) -> dict[str, list[Binding]]:
    """The definitions and assignments of a body, by the name that they bind."""
    found: dict[str, list[Binding]] = {}
    for statement in body:
        for binding in bindings(statement):
            found.setdefault(binding.name, []).append(binding)
    return found


def bindings(statement: ast.stmt) -> Iterator[Binding]:
    """The names of a definition or of an assignment to names; nothing for other statements."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield Binding(name, statement)
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield Binding(name, statement, value)
        case ast.Assign(targets=targets, value=value):
            yield from _assigned(statement, targets, value)
        case ast.stmt() if isinstance(getattr(statement, "name", None), ast.Name):  # ``type X = ...`` (PEP 695)
            yield Binding(statement.name.id, statement)  # type: ignore[attr-defined]


def _assigned(statement: ast.stmt, targets: list[ast.expr], value: ast.expr) -> Iterator[Binding]:
    found = []
    for target in targets:
        match target, value:
            case ast.Name(id=name), _:
                found.append(Binding(name, statement, value))
            case ast.Tuple(elts=names) | ast.List(elts=names), ast.Tuple(elts=values) | ast.List(elts=values) if len(
                targets
            ) == 1 and len(names) == len(values):
                for one, its in zip(names, values, strict=True):
                    if not isinstance(one, ast.Name) or isinstance(its, ast.Starred):
                        return
                    found.append(Binding(one.id, statement, its))
            case _:
                return
    if len({one.name for one in found}) == len(found):
        yield from found


def is_value(found: Sequence[Binding]) -> bool:
    """Whether a name is bound by one assignment alone."""
    return len(found) == 1 and found[0].value is not None


def known_names(unit: Unit, owner: Class | None) -> frozenset[str]:
    """Names that an expression of a body may use: imported ones, and those that the module binds once.

    In a class those that the class binds itself are left out: what stands for them there is not the module's.
    """
    imported = {one.name for one in shape.imports(unit.tree, unit.source.module, unit.own_names)}
    values = {name for name, found in binders(unit.tree.body).items() if len(found) == 1}
    inside = {name for one in owner.node.body for name in binds(one)} if owner else set()
    return frozenset((imported | values) - inside)


def is_evaluable(node: ast.expr, known: frozenset[str]) -> bool:
    """Whether an expression is made of literals, displays, known names and ``re.compile``."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return name in known or name in ("True", "False", "None")
        case ast.Attribute(value=value):
            return is_evaluable(value, known)
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            return all(is_evaluable(item, known) for item in items)
        case ast.Dict(keys=keys, values=values):
            return all(key is None or is_evaluable(key, known) for key in keys) and all(
                is_evaluable(value, known) for value in values
            )
        case ast.UnaryOp(operand=operand):
            return is_evaluable(operand, known)
        case ast.BinOp(left=left, right=right):
            return is_evaluable(left, known) and is_evaluable(right, known)
        case ast.Starred(value=value):
            return is_evaluable(value, known)
        case ast.JoinedStr(values=parts):
            return all(is_evaluable(part, known) for part in parts)
        case ast.FormattedValue(value=value, format_spec=spec):
            return is_evaluable(value, known) and (spec is None or is_evaluable(spec, known))
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr="compile"), args=arguments, keywords=keywords):
            return all(is_evaluable(one, known) for one in (*arguments, *(each.value for each in keywords)))
    return False


def is_shared(binding: Binding) -> bool:
    """Whether an assignment binds one object, which is not a plain constant, to several names."""
    several = sum(1 for _ in bindings(binding.statement)) > 1
    return (
        several
        and isinstance(binding.statement, ast.Assign)
        and len(binding.statement.targets) > 1
        and not (isinstance(binding.value, ast.Constant))
    )


def mangled(name: str, owner: Class | None) -> str:
    """A name as a class's body stores it (Language Reference, "Private name mangling")."""
    if owner is None or not name.startswith("__") or name.endswith("__"):
        return name
    around = owner.node.name.lstrip("_")
    return f"_{around}{name}" if around else name
