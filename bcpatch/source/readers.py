"""What stands against a change of names: statements that have read the old ones, and those that would run too early.

Both are found in the new source alone, by name.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from bcpatch.diagnostics import Diagnostic, finding
from bcpatch.source import importtime, shape, whole
from bcpatch.source.evaluated import binds, bound_below, bound_in, evaluated, reads
from bcpatch.source.header import defaults, is_lazy, keeps_text
from bcpatch.source.importtime import Entered
from bcpatch.source.named import Named
from bcpatch.source.outline import Function, Unit
from bcpatch.source.values import is_evaluable, known_names

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def stale(
    new: Unit,
    names: set[str],
    attributes: set[str],
    added: set[tuple[str, str]],
    owners: Mapping[str, int],
    handles: Callable[[ast.stmt], bool],
    anew: set[int],
) -> Iterator[Diagnostic]:
    """Statements that used an old value of a name when they were executed, and are not executed again.

    ``names`` are those of the module, ``attributes`` those of its classes, ``added`` class attributes that
    come to hide others, with their class. ``owners`` are the classes, and "" for the module, whose names are others
    than before, with the first line that makes one of these. ``handles`` tells of statements that change themselves,
    ``anew`` are the nodes, by id, of expressions that are evaluated again: defaults and annotations.
    """
    if not (names or attributes or added or owners):
        return
    foreign, named = _foreign(new, owners), Named(new)
    for statement, owner in _statements(new.tree.body, "", handles):
        nodes = [node for node in _own(statement, new) if id(node) not in anew]
        read = _name(nodes, names) or _attribute(nodes, attributes) or _hidden(nodes, owner, added)
        above = {one for one, line in owners.items() if line < statement.lineno}
        looked = whole.looks(nodes, owner, above, foreign) if above else None
        if read is None:
            for _, _, inside in _run_by(named, statement):
                read = read or _name(inside, names) or _attribute(inside, attributes)
                looked = whole.looks_of_called(inside, nodes, above) if looked is None and above else looked
        if read is None and looked is not None:
            of = f"the class `{looked}`" if looked else "the module"
            message = (
                f"line {statement.lineno} read all names of {of} when the module was imported: they are others now"
            )
            yield finding("BCP210", message, new.place(statement))
        if read is not None:
            message = f"line {statement.lineno} used the old value of `{read}` when the module was imported"
            yield finding("BCP210", message, new.place(statement))


def _run_by(named: Named, statement: ast.stmt) -> list[Entered]:
    """The functions that a statement runs; the statements of a class's body speak for themselves."""
    if isinstance(statement, ast.ClassDef):
        return importtime.run_by_header(named, statement)
    return importtime.run_by(named, statement)


def _foreign(unit: Unit, owners: Collection[str]) -> frozenset[str]:
    """Names of things that have nothing of the owners: other modules', functions, and classes that derive from none."""
    functions = {one.name for one in unit.functions if not one.chain}
    plain = {one.qualname for one in unit.classes if len(one.chain) == 1 and not one.node.bases}
    return unit.imported | functions | (plain - set(owners))


def _statements(
    body: Iterable[ast.stmt], owner: str, handles: Callable[[ast.stmt], bool]
) -> Iterator[tuple[ast.stmt, str]]:
    """The statements that import executed, each with the class that it stands in, outer ones before inner ones.

    What is in one that changes itself, as a class that is added, is left out with it.
    """
    for statement in body:
        if handles(statement) or (isinstance(statement, ast.If) and shape.is_main_guard(statement.test)):
            continue
        yield statement, owner
        if isinstance(statement, ast.ClassDef):
            yield from _statements(statement.body, f"{owner}.{statement.name}".lstrip("."), handles)


def _own(statement: ast.stmt, unit: Unit) -> Iterator[ast.AST]:
    """What a statement evaluates itself; the statements of a class's body speak for themselves."""
    annotations = not keeps_text(unit)
    if isinstance(statement, ast.ClassDef):
        for part in (*statement.decorator_list, *statement.bases, *statement.keywords):
            yield from evaluated(part, annotations=annotations)
        return
    yield from evaluated(statement, annotations=annotations)


def following(new: Unit, function: Function, names: set[str]) -> dict[str, ast.expr]:
    """The default values of a function, by parameter, that are computed from some names and can be again."""
    if function.statement is not function.node or not names:
        return {}
    body = function.chain[-1].body if function.chain else new.tree.body
    owner = next((one for one in new.classes if function.chain and one.node is function.chain[-1]), None)
    if function.statement not in body:
        return {}
    known = known_names(new, owner)
    positional, keywords = defaults(function)
    values = dict((*positional, *keywords))
    return {name: one for name, one in values.items() if reads_any(one, names) and is_evaluable(one, known)}


def reads_any(expression: ast.expr, names: set[str]) -> bool:
    """Whether evaluating an expression reads one of some names."""
    return _name(evaluated(expression), names) is not None


def _name(nodes: Iterable[ast.AST], names: set[str]) -> str | None:
    return next((name for name in reads(nodes) if name in names), None)


def _attribute(nodes: Iterable[ast.AST], names: set[str]) -> str | None:
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in names:
            return node.attr
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            return node.id
    return None


def _hidden(nodes: Iterable[ast.AST], owner: str, added: set[tuple[str, str]]) -> str | None:
    """A name of a class that a statement read before the class had one of its own."""
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id=cls), attr=name, ctx=ast.Load()) if (cls, name) in added:
                return name
            case ast.Name(id=name, ctx=ast.Load()) if (owner, name) in added:
                return name
    return None


# --- what an addition runs --------------------------------------------------------------------


def premature(new: Unit, added: Iterable[ast.stmt], values: set[str], changed: frozenset[str]) -> Iterator[Diagnostic]:
    """Added statements that run what changes in the same swap: they would run old code, or read old values.

    ``values`` are names of the module that change, ``changed`` the qualified names of functions that do.
    """
    named = Named(new)
    for statement in added:
        ran = importtime.run_by(named, statement)
        read = _name(_inner_code(statement), values)
        for function, _, inside in ran:
            read = read or _name(inside, values)
            if function is not None and function.site.qualname in changed:
                message = f"this runs `{function.site.qualname}` before the swap, while that is still the old code"
                yield finding("BCP211", message, new.place(statement))
        if read is not None:
            message = f"this uses `{read}` before the swap, while that has its old value"
            yield finding("BCP210", message, new.place(statement))
        around = next((made.node for made in new.classes if any(one is statement for one in made.node.body)), None)
        yield from too_late(new, statement, around, ran)


def premature_header(
    new: Unit,
    function: Function,
    parameters: Collection[str],
    names: set[str],
    attributes: set[str],
    changed: frozenset[str],
) -> Iterator[Diagnostic]:
    """Default values that have to be computed now, and would be others than at the function's definition.

    ``names`` and ``attributes`` change with the patch, ``changed`` are qualified names of functions that do.
    """
    inside = {name for node in function.chain for one in node.body for name in binds(one)}
    positional, keywords = defaults(function)
    for _, value in (one for one in (*positional, *keywords) if one[0] in parameters):
        nodes = list(evaluated(value))
        place, what = new.place(value), function.site.qualname
        hidden = _name(nodes, inside)
        if hidden is not None:
            message = f"a default of `{what}` needs `{hidden}` of the class around it, whose body has run already"
            yield finding("BCP212", message, place)
        if _is_repeated(function):
            yield finding("BCP213", f"`{what}` is defined in a loop: each function has defaults of its own", place)
        inner = any(isinstance(node, (*_COMPREHENSIONS, ast.Lambda)) for node in nodes)
        read = _attribute(nodes, attributes) or (_name(_walked(nodes), names) if inner else None)
        if read is not None:
            message = f"this uses `{read}` before the swap, while that has its old value"
            yield finding("BCP210", message, place)
        ran = importtime.run_in(Named(new), nodes)
        for one, _, _ in ran:
            if one is not None and one.site.qualname in changed:
                message = f"this runs `{one.site.qualname}` before the swap, while that is still the old code"
                yield finding("BCP211", message, place)
        yield from too_late(new, value, None, ran)


def annotations_of(function: Function) -> list[ast.expr]:
    """The annotations that a definition writes."""
    if isinstance(function.node, ast.Lambda):
        return []
    arguments = [one.annotation for one in ast.walk(function.node.args) if isinstance(one, ast.arg)]
    return [one for one in (*arguments, function.node.returns) if one is not None]


def class_scope(
    new: Unit, annotations: Iterable[ast.expr], chain: Iterable[ast.ClassDef], what: str
) -> Iterator[Diagnostic]:
    """Annotations that name something of the class around: evaluated now, they would find the module's."""
    if keeps_text(new) or is_lazy(new):
        return
    inside = {name for node in chain for one in node.body for name in binds(one)}
    for annotation in annotations:
        hidden = _name(evaluated(annotation), inside)
        if hidden is not None:
            message = f"an annotation of `{what}` needs `{hidden}` of the class around it, whose body has run already"
            yield finding("BCP212", message, new.place(annotation))


def _is_repeated(function: Function) -> bool:
    """Whether a statement that may run several times makes a function."""
    if isinstance(function.node, ast.Lambda):
        return any(isinstance(one, (ast.For, ast.AsyncFor, ast.While)) for one in ast.walk(function.statement))
    return isinstance(function.statement, (ast.For, ast.AsyncFor, ast.While))


def _walked(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    return (inner for node in nodes for inner in ast.walk(node))


def too_late(
    new: Unit, node: ast.stmt | ast.expr, around: ast.ClassDef | None, ran: Iterable[Entered]
) -> Iterator[Diagnostic]:
    """Whether what is evaluated now, after all of the module, reads a name that is bound below it: in the module, or in
    the class around it. ``ran`` are the functions of the module that it runs.
    """
    end = node.end_lineno or node.lineno
    below = bound_below(new.tree, end)
    own = {*bound_below(around, end)} if around is not None else set()
    if isinstance(node, ast.stmt):
        own.difference_update(binds(node))  # a property and its setter
    name = _name(evaluated(node, annotations=False), own.union(below))
    if name is not None:
        yield finding("BCP210", f"`{name}` is bound below this line: {NOT_AS_HERE}", new.place(node))
        return
    for function, _, inside in ran if below else ():
        name = _name(inside, {*below} - bound_in(function.node)) if function is not None else None
        if function is not None and name is not None:
            message = f"this runs `{function.site.qualname}`, which reads `{name}`; that is bound below: {NOT_AS_HERE}"
            yield finding("BCP210", message, new.place(node))
            return


#: Why a name that is bound below a line can't be read there now.
NOT_AS_HERE: Final = "a fresh start finds another value here, or none"


def _inner_code(statement: ast.stmt) -> Iterator[ast.AST]:
    """What code inside of a statement evaluates when it is executed: class bodies, comprehensions, lambdas.

    It looks names up in the module itself, where changed values come with the swap only.
    """
    for node in evaluated(statement):
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield from evaluated(inner)
                yield from _inner_code(inner)
        elif isinstance(node, (*_COMPREHENSIONS, ast.Lambda)):
            yield from ast.walk(node)
