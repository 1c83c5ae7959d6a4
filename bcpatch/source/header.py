"""What a ``def`` evaluates when it is executed: defaults, annotations, type parameters.

Each becomes a code object of its own, made by the compiler from the definition's own
syntax inside the classes around it, so that names are mangled as they are there.
"""

from __future__ import annotations
import __future__

import ast
from collections.abc import Sequence
from types import CodeType
from typing import Any

import msgspec

from bcpatch import fingerprint, pythons
from bcpatch.model import Code
from bcpatch.source.outline import Class, Function, Unit, importing, nested

_FUTURE_ANNOTATIONS = __future__.annotations.compiler_flag

#: The function that carries annotations of variables to the compiler. 3.15 names their code after it.
_CARRIER = "annotated"


class Header(msgspec.Struct, frozen=True):
    """The code that makes a function's defaults (by parameter, in order) and annotations.

    ``type_parameters`` returns a function with the type parameters and the annotations of a
    generic function, and nothing else of it.
    """

    positional: tuple[tuple[str, Code], ...]
    keywords: tuple[tuple[str, Code], ...]
    annotations: Code | None
    lazy: bool
    type_parameters: Code | None


def defaults(function: Function) -> tuple[list[tuple[str, ast.expr]], list[tuple[str, ast.expr]]]:
    """The default expressions of a function by parameter, positional and keyword-only ones.

    Parameters are named as the function itself knows them: those of methods are mangled.
    """
    arguments = function.node.args
    ordered = [*arguments.posonlyargs, *arguments.args]
    known = dict(zip((one.arg for one in (*ordered, *arguments.kwonlyargs)), function.code.co_varnames, strict=False))
    last = ordered[len(ordered) - len(arguments.defaults) :]
    positional = [(known[one.arg], value) for one, value in zip(last, arguments.defaults, strict=True)]
    keywords = [
        (known[one.arg], value)
        for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if value is not None
    ]
    return positional, keywords


def header(unit: Unit, function: Function, optimization: int) -> Header:
    """The header of a function of a unit."""
    positional, keywords = defaults(function)
    annotations = generic = None
    if not isinstance(function.node, ast.Lambda):
        annotations = _annotations(unit, function.node, function, optimization)
        if function.generic is not None:
            generic = _type_parameters_of(unit, function.node, function, optimization)
    return Header(
        tuple((name, _default(unit, function, name, value, optimization)) for name, value in positional),
        tuple((name, _default(unit, function, name, value, optimization)) for name, value in keywords),
        annotations,
        pythons.LAZY_ANNOTATIONS,
        generic,
    )


def is_lazy(unit: Unit) -> bool:
    """Whether annotations of the unit's variables are computed on demand (PEP 649) rather than at the definition.

    Those of functions are wherever any are, also where they are kept as text.
    """
    return pythons.LAZY_ANNOTATIONS and not keeps_text(unit)


def keeps_text(unit: Unit) -> bool:
    """Whether the unit's annotations are never evaluated, but kept as text (PEP 563)."""
    return bool(unit.code.co_flags & _FUTURE_ANNOTATIONS)


def variable_annotations(
    unit: Unit, owner: Class | None, annotations: dict[str, ast.expr], optimization: int
) -> Code | None:
    """The code that makes the annotations of a module's or a class's variables."""
    arguments = _no_arguments()
    arguments.kwonlyargs = [ast.arg(name, annotation) for name, annotation in annotations.items()]
    arguments.kw_defaults = [None] * len(annotations)
    for argument in arguments.kwonlyargs:
        ast.copy_location(argument, annotations[argument.arg])
    chain = () if owner is None else owner.chain
    found = _annotated(unit, arguments, None, chain, _CARRIER, optimization, lazy=is_lazy(unit))
    around = "".join(f"{one.name}." for one in chain)
    return found and _requalified(found, f"{around}{_CARRIER}.", around)


def value(unit: Unit, expression: ast.expr, owner: Class | None, optimization: int) -> Code:
    """Code that takes nothing and returns what an expression of a module's or a class's body gives."""
    returning = ast.copy_location(ast.Return(expression), expression)
    definition = _definition("<value>", _no_arguments(), [returning], expression)
    return _named(_compiled(unit, definition, owner.chain if owner else (), optimization), "<value>")


def statements(unit: Unit, body: list[ast.stmt], owner: Class | None, optimization: int) -> Code:
    """The code of a module's or a class's body that has these statements alone."""
    chain = owner.chain if owner else ()
    code = _nested_in(unit, body, chain, optimization)
    for around in chain:
        code = _inside(code, around.name)
    return fingerprint.encode(code)


def _default(unit: Unit, function: Function, parameter: str, value: ast.expr, optimization: int) -> Code:
    name = f"<default of {parameter}>"
    returning = ast.copy_location(ast.Return(value), value)
    code = _compiled(unit, _definition(name, _no_arguments(), [returning], value), function.chain, optimization)
    return _named(code, name)


def _annotations(
    unit: Unit, node: ast.FunctionDef | ast.AsyncFunctionDef, function: Function, optimization: int
) -> Code | None:
    bare = _without_defaults(node.args)
    annotated = any(one.annotation for one in ast.walk(bare) if isinstance(one, ast.arg))
    if node.returns is None and not annotated:
        return None
    parameters = getattr(node, "type_params", [])
    lazy = pythons.LAZY_ANNOTATIONS
    return _annotated(unit, bare, node.returns, function.chain, function.name, optimization, parameters, lazy=lazy)


def _type_parameters_of(
    unit: Unit, node: ast.FunctionDef | ast.AsyncFunctionDef, function: Function, optimization: int
) -> Code:
    parameters = getattr(node, "type_params", [])
    at = parameters[0]
    body: list[ast.stmt] = [ast.copy_location(ast.Pass(), at)]
    bare = _definition(node.name, _without_defaults(node.args), body, at, parameters)
    bare.returns = node.returns
    reference = ast.copy_location(ast.Name(node.name, ast.Load()), at)
    returning = ast.copy_location(ast.Return(reference), at)
    whole = _definition("<type parameters>", _no_arguments(), [bare, returning], at)
    return _named(_compiled(unit, whole, function.chain, optimization), "<type parameters>")


def _without_defaults(arguments: ast.arguments) -> ast.arguments:
    return ast.arguments(
        arguments.posonlyargs,
        arguments.args,
        arguments.vararg,
        arguments.kwonlyargs,
        [None] * len(arguments.kwonlyargs),
        arguments.kwarg,
        [],
    )


def _annotated(
    unit: Unit,
    arguments: ast.arguments,
    returns: ast.expr | None,
    chain: tuple[ast.ClassDef, ...],
    name: str,
    optimization: int,
    parameters: Sequence[ast.AST] = (),
    *,
    lazy: bool,
) -> Code | None:
    """The annotations of a function with these arguments: its ``__annotate__``, or code that returns the dict."""
    at = next((node for node in ast.walk(arguments) if isinstance(node, ast.arg)), None) or returns
    if at is None:
        return None
    bare = _definition(name, arguments, [ast.copy_location(ast.Pass(), at)], at, parameters)
    bare.returns = returns
    if lazy:
        return _compiled(unit, bare, chain, optimization, pick="__annotate__")
    reference = ast.Attribute(ast.Name(name, ast.Load()), "__annotations__", ast.Load())
    returning = ast.fix_missing_locations(ast.copy_location(ast.Return(reference), at))
    whole = _definition("<annotations>", _no_arguments(), [bare, returning], at)
    return _named(_compiled(unit, whole, chain, optimization), "<annotations>")


def _no_arguments() -> ast.arguments:
    return ast.arguments([], [], None, [], [], None, [])


def _definition(
    name: str, arguments: ast.arguments, body: list[ast.stmt], at: ast.AST, parameters: Sequence[ast.AST] = ()
) -> ast.FunctionDef:
    node = ast.FunctionDef(name, arguments, body, [], None, None, **_type_parameters(parameters))
    return ast.copy_location(node, at)


def _compiled(
    unit: Unit,
    definition: ast.FunctionDef,
    chain: tuple[ast.ClassDef, ...],
    optimization: int,
    pick: str | None = None,
) -> Code:
    """The code of a definition that stands in some classes, or of what the compiler made beside it."""
    code = _nested_in(unit, [definition], chain, optimization)
    for around in chain:
        code = _inside(code, around.name)
    return fingerprint.encode(_inside(code, pick or definition.name))


def _nested_in(unit: Unit, body: list[ast.stmt], chain: tuple[ast.ClassDef, ...], optimization: int) -> CodeType:
    """A module that has some statements in some classes, and nothing else.

    The compiler must know what the whole one imports: methods of it are called by other instructions.
    """
    used = {node.id for statement in body for node in ast.walk(statement) if isinstance(node, ast.Name)}
    known = sorted(used & unit.imported)
    for around in reversed(chain):
        parameters = _type_parameters(getattr(around, "type_params", ()))
        body = [ast.copy_location(ast.ClassDef(around.name, [], [], body, [], **parameters), body[0])]
    code: CodeType = compile(
        ast.Module([*body, importing(known)] if known else body, []),
        unit.source.path,
        "exec",
        flags=unit.code.co_flags & _FUTURE_ANNOTATIONS,
        dont_inherit=True,
        optimize=optimization,
    )
    return code


def _inside(code: CodeType, name: str) -> CodeType:
    """The code of this name among a code's constants, or in the scope of type parameters around it."""
    found = {inner.co_name: inner for inner in nested(code)}
    if name not in found:
        found = {inner.co_name: inner for scope in found.values() for inner in nested(scope)}
    return found[name]


def _type_parameters(parameters: Sequence[ast.AST]) -> dict[str, Any]:
    """The field of a definition's syntax tree that only CPython 3.12+ has."""
    return {"type_params": list(parameters)} if pythons.TYPE_PARAMETERS else {}


def _requalified(code: Code, old: str, new: str) -> Code:
    """Code whose qualified name, and that of the code nested in it, begins with something else."""
    constants = tuple(_requalified(one, old, new) if isinstance(one, Code) else one for one in code.constants)
    qualname = new + code.qualname.removeprefix(old) if code.qualname.startswith(old) else code.qualname
    return msgspec.structs.replace(code, qualname=qualname, constants=constants)


def _named(code: Code, name: str) -> Code:
    return msgspec.structs.replace(code, name=name, qualname=name)
