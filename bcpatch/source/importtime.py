"""Which functions of a module its own import has run.

What such a function returned is state that a patch can't renew. This module reads the
module's syntax only, by names: a call through an object that another module holds is
not seen.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping

from bcpatch.model import Import
from bcpatch.source.evaluated import bound_in
from bcpatch.source.outline import Function, Unit, executed
from bcpatch.source.shape import is_main_guard

CLASS_PROTOCOL = frozenset({"__init__", "__new__", "__post_init__", "__call__", "__set_name__"})
CLASS_STATEMENT = frozenset({"__init_subclass__", "__class_getitem__", "__prepare__"})
_PROPERTIES = frozenset({"property", "cached_property", "getter"})
CALLS_ITS_ARGUMENTS = frozenset({"map", "filter", "sorted", "min", "max", "reduce"})


def ran(unit: Unit) -> dict[str, ast.stmt]:
    """Qualified names of functions that executing the module ran, each with the statement that did.

    What ``if __name__ == "__main__":`` guards is the program itself, not import time.
    """
    found: dict[str, ast.stmt] = {}
    for statement in _statements(unit.tree.body):
        for function in run_by(unit, statement):
            found.setdefault(function.site.qualname, statement)
    return found


def run_by(unit: Unit, statement: ast.stmt) -> list[Function]:
    """The functions of the module that executing one of its statements runs, directly or through others."""
    return _run(unit, with_comprehensions(statement), statement)


def run_by_header(unit: Unit, statement: ast.stmt) -> list[Function]:
    """The same of the statement of a class, what its body executes left out."""
    assert isinstance(statement, ast.ClassDef)
    header = (*statement.decorator_list, *statement.bases, *statement.keywords)
    return _run(unit, [node for part in header for node in ast.walk(part)], statement)


def run_in(unit: Unit, nodes: Iterable[ast.AST]) -> list[Function]:
    """The same of some nodes that are evaluated."""
    return _run(unit, nodes, None)


def _run(unit: Unit, nodes: Iterable[ast.AST], statement: ast.stmt | None) -> list[Function]:
    by_name = unit.by_name
    found: dict[int, Function] = {}
    waiting = list(_called_by(nodes, statement, by_name, unit))
    while waiting:
        function = waiting.pop()
        if id(function) not in found:
            found[id(function)] = function
            waiting.extend(_called_by(ast.walk(function.node), None, by_name, unit))
    return list(found.values())


def called(unit: Unit) -> Iterator[tuple[ast.stmt, tuple[str, ...]]]:
    """The statements that call something by a name when the module is executed, and the names that lead to it.

    A class that derives from another one calls the ``__init_subclass__`` of that.
    """
    for statement in _statements(unit.tree.body):
        nodes = [*with_comprehensions(statement)]
        for function in run_by(unit, statement):
            nodes += ast.walk(function.node)
        yield from ((statement, names) for names in callees(nodes))


def callees(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ...]]:
    """What evaluating some nodes calls by a name: the names that lead to it."""
    for callee, method in run_by_nodes(nodes):
        names = (*_path(callee), *method)
        if names[0]:
            yield names


def holder(expression: ast.expr) -> ast.expr:
    """What an expression begins with: the table of ``TABLE[key]``, of ``TABLE.values()``."""
    while isinstance(expression, ast.Subscript | ast.Attribute | ast.Call):
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    return expression


def path(expression: ast.expr) -> tuple[str, ...]:
    """The names that lead to what an expression gives, or to what holds it; the first is empty where none does."""
    return tuple(_path(expression))


def paths(imports: Iterable[Import]) -> dict[str, str]:
    """What names that a module imports stand for, as dotted names."""
    return {one.name: f"{one.module}.{one.attribute}" if one.attribute else one.module for one in imports}


def run_by_nodes(nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.expr, tuple[str, ...]]]:
    """What evaluating some nodes calls, and the method of it where it is not called itself."""
    for node in nodes:
        if isinstance(node, ast.Call):
            yield node.func, ()
            yield from ((one, ()) for one in given_around(node.func))
            if last_name(node.func) in CALLS_ITS_ARGUMENTS:
                yield from ((one, ()) for one in (*node.args, *(keyword.value for keyword in node.keywords)))
        for decorator in getattr(node, "decorator_list", ()):
            yield decorator, ()
        if isinstance(node, ast.ClassDef):
            yield from ((base, ("__init_subclass__",)) for base in node.bases)
            yield from ((one.value, ()) for one in node.keywords if one.arg == "metaclass")


def given_around(callee: ast.expr) -> list[ast.expr]:
    """What is given to the call that makes what is called: ``partial(f)()`` runs f."""
    return callee.args if isinstance(callee, ast.Call) else []


def calls_with(unit: Unit, name: str) -> Iterator[ast.Call]:
    """Calls that executing the module makes, with something of a name among what they are given."""
    found: dict[int, ast.Call] = {}
    for statement in _statements(unit.tree.body):
        nodes = [*with_comprehensions(statement)]
        for function in run_by(unit, statement):
            if name not in bound_in(function.node):
                nodes += ast.walk(function.node)
        found.update((id(node), node) for node in nodes if isinstance(node, ast.Call) and name in given_to(node))
    yield from found.values()


def given_to(call: ast.Call) -> Iterator[str]:
    """The last parts of the names by which a call gets what it is given, itself or in a display."""
    waiting: list[ast.expr | None] = [*call.args, *(keyword.value for keyword in call.keywords)]
    while waiting:
        match waiting.pop():
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.Starred(value=value):
                waiting.append(value)
            case ast.List(elts=inner) | ast.Tuple(elts=inner) | ast.Set(elts=inner) | ast.Dict(values=inner):
                waiting += inner


def _path(callee: ast.expr) -> list[str]:
    """The names that an expression is made of: ``a.b(c).d`` and ``a.b[c].d`` are a, b, d."""
    found: list[str] = []
    while True:
        match callee:
            case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(name)), *_]):
                found.append(name)
                callee = value
            case ast.Subscript(value=value):
                callee = value
            case ast.Attribute(value=value, attr=name):
                found.append(name)
                callee = value
            case ast.Call(func=function):
                callee = function
            case _:
                found.append(callee.id if isinstance(callee, ast.Name) else "")
                return found[::-1]


def with_comprehensions(statement: ast.stmt) -> Iterator[ast.AST]:
    """What executing a statement evaluates, comprehensions included."""
    for node in executed([statement]):
        yield node
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            yield from ast.walk(node)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if not (isinstance(statement, ast.If) and is_main_guard(statement.test)):
            yield statement
        if isinstance(statement, ast.ClassDef):
            yield from _statements(statement.body)


def _called_by(
    nodes: Iterable[ast.AST], statement: ast.stmt | None, by_name: Mapping[str, list[Function]], unit: Unit
) -> Iterator[Function]:
    """The functions that some code calls, as far as names tell."""
    yield from _called_by_definition(statement, by_name, unit)
    for node in nodes:
        if isinstance(node, ast.Attribute):
            own = [one for one in by_name.get(node.attr, ()) if _is_property(one)]
            yield from own if own and _is_own(node.value, unit) else ()
        for operand, methods in operands(node):
            yield from _special_methods(operand, methods, by_name, unit)
        if not isinstance(node, ast.Call):
            continue
        for callee in (node.func, *_held_by(node.func, unit)):
            yield from _of_callee(callee, by_name, unit)
        if isinstance(node.func, ast.Name):
            yield from (one for one in by_name.get(node.func.id, ()) if _is_beside(one, statement))
        if last_name(node.func) in CALLS_ITS_ARGUMENTS:
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                yield from _of_callee(argument, by_name, unit)


def _called_by_definition(
    statement: ast.stmt | None, by_name: Mapping[str, list[Function]], unit: Unit
) -> Iterator[Function]:
    """The functions that the definition of a function or a class calls by its decorators, bases and metaclass."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        for decorator in statement.decorator_list:
            yield from _of_callee(decorator, by_name, unit)
    if not isinstance(statement, ast.ClassDef):
        return
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in statement.bases]
    names = [meant for base in bases for meant in unit.meanings(last_name(base) or "")]
    above = [one for name in names for one in _with_bases(name, unit)]
    for name in CLASS_STATEMENT:
        yield from (one for one in by_name.get(name, ()) if one.chain and one.chain[-1] in above)
    for keyword in (keyword for one in (statement, *above) for keyword in one.keywords):
        if keyword.arg == "metaclass":
            yield from _of_callee(keyword.value, by_name, unit)
            made = [one for meant in unit.meanings(last_name(keyword.value) or "") for one in _with_bases(meant, unit)]
            yield from (one for one in by_name.get("__prepare__", ()) if one.chain and one.chain[-1] in made)


def operands(node: ast.AST) -> Iterator[tuple[ast.expr, frozenset[str]]]:
    """What a node evaluates by special methods of the values, and by which; by any, where these are none."""
    found: list[ast.expr] = []
    methods = _COMPARED
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others):
            found = [] if all(isinstance(one, ast.Is | ast.IsNot) for one in ops) else [left, *others]
        case ast.BinOp(left=left, right=right):
            found, methods = [left, right], _CALCULATED
        case ast.UnaryOp(op=ast.Not(), operand=one) | ast.If(test=one) | ast.While(test=one) | ast.IfExp(test=one):
            found, methods = [one], _TESTED
        case ast.BoolOp(values=values):
            found, methods = values, _TESTED
        case ast.UnaryOp(operand=one):
            found, methods = [one], _CALCULATED
        case ast.FormattedValue(value=one):
            found, methods = [one], _SHOWN
        case ast.Starred(value=one) | ast.For(iter=one) | ast.AsyncFor(iter=one) | ast.comprehension(iter=one):
            found, methods = [one], _ITERATED
        case ast.Subscript(value=one):
            found, methods = [one], _INDEXED
        case ast.withitem(context_expr=one):
            found, methods = [one], _ENTERED
        case ast.Call(func=ast.Name(id=name), args=given) if hasattr(builtins, name):
            found, methods = given, frozenset()
    for one in found:
        yield one, methods


def _dunder(names: str) -> frozenset[str]:
    return frozenset(f"__{name}__" for name in names.split())


_TESTED = _dunder("bool len")
_SHOWN = _dunder("format str repr")
_INDEXED = _dunder("getitem setitem delitem missing")
_ITERATED = _dunder("iter next aiter anext getitem len")
_ENTERED = _dunder("enter exit aenter aexit")
_COMPARED = _dunder("eq ne lt le gt ge contains iter getitem hash")
_CALCULATED = _dunder("neg pos invert") | frozenset(
    f"__{prefix}{name}__"
    for prefix in ("", "r", "i")
    for name in "add sub mul matmul truediv floordiv mod pow lshift rshift and or xor".split()
)


def _special_methods(
    operand: ast.expr, methods: frozenset[str], by_name: Mapping[str, list[Function]], unit: Unit
) -> Iterator[Function]:
    """The special methods of the class of the module that an expression gives an object of, as far as names tell."""
    made = operand if isinstance(operand, ast.Call) else None
    if isinstance(operand, ast.Name):
        made = next((one for one in unit.assigned.get(operand.id, ()) if isinstance(one, ast.Call)), None)
    name = last_name(made.func) if made is not None else None
    classes = [one for meant in unit.meanings(name) for one in _with_bases(meant, unit)] if name else []
    for special, functions in by_name.items() if classes else ():
        if special in methods or (
            not methods and special[:2] == "__" == special[-2:] and special not in CLASS_PROTOCOL
        ):
            yield from (one for one in functions if one.chain and one.chain[-1] in classes)


def _held_by(callee: ast.expr, unit: Unit) -> Iterator[ast.expr]:
    """What a call of an item of a display may run, or of what a call makes around a function: ``partial(f)()``."""
    yield from given_around(callee)
    holders = [callee.value] if isinstance(callee, ast.Subscript) else []
    if isinstance(callee, ast.Name):
        holders += unit.iterated.get(callee.id, ())
    for name in filter(None, (_path(one)[0] for one in holders)):
        for value in unit.assigned.get(name, ()):
            yield from (one for one in ast.walk(value) if isinstance(one, ast.Name))


def _of_callee(callee: ast.expr, by_name: Mapping[str, list[Function]], unit: Unit) -> Iterator[Function]:
    """The functions of the module that a call of this expression may run."""
    name = last_name(callee)
    if name is None:
        return
    if isinstance(callee, ast.Attribute):
        yield from (one for one in by_name.get(name, ()) if one.chain and _is_own(callee.value, unit))
        return
    for meant in unit.meanings(name):
        yield from (one for one in by_name.get(meant, ()) if not one.chain)
        for made in _with_bases(meant, unit):
            for method in CLASS_PROTOCOL:
                yield from (one for one in by_name.get(method, ()) if one.chain and one.chain[-1] is made)


def _with_bases(name: str, unit: Unit) -> list[ast.ClassDef]:
    """The classes of a module by a name, and those of the module that they derive from."""
    found = [made.node for made in unit.classes if made.node.name == name]
    for node in found:  # it grows meanwhile
        for base in filter(None, map(last_name, node.bases)):
            bases = (made.node for made in unit.classes if made.node.name in unit.meanings(base))
            found += [one for one in bases if one not in found]
    return found


def _is_property(function: Function) -> bool:
    """Whether reading an attribute calls it."""
    decorators = getattr(function.node, "decorator_list", ())
    return bool(function.chain) and not _PROPERTIES.isdisjoint(map(last_name, decorators))


def _is_beside(function: Function, statement: ast.stmt | None) -> bool:
    """Whether a method stands in the body of the class that a statement is in, which knows it by its name alone."""
    return any(one is statement for made in function.chain[-1:] for one in made.body)


def _is_own(owner: ast.expr, unit: Unit) -> bool:
    """Whether an expression names one of the module's classes, an instance of one, or a method's receiver."""
    if isinstance(owner, ast.Call):
        return _is_own(owner.func, unit)
    if isinstance(owner, ast.Attribute):  # a member of an enumeration, a class in a class
        return _is_own(owner.value, unit)
    if not isinstance(owner, ast.Name):
        return False
    classes = {made.node.name for made in unit.classes}
    if not classes.isdisjoint(unit.meanings(owner.id)) or owner.id in ("self", "cls", "super"):
        return True
    return any(
        isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Call)
        and not classes.isdisjoint(unit.meanings(last_name(statement.value.func) or ""))
        and any(isinstance(target, ast.Name) and target.id == owner.id for target in statement.targets)
        for statement in unit.tree.body
    )


def last_name(node: ast.expr) -> str | None:
    """The last part of the name by which an expression gives what it gives."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return last_name(func)
    return None
