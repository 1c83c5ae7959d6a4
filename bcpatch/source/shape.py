"""What a module executes around its functions, as comparable shapes.

A shape is what a statement does when the module is imported, with the insides of
functions left out: those are code of their own and are compared as code. Nothing here
decides what a difference means.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from typing import Final, TypeGuard
from weakref import WeakKeyDictionary

import msgspec

from bcpatch.model import Import, Module

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)


class Statement(msgspec.Struct, frozen=True):
    """One statement of a body that runs when the module is imported.

    ``shape`` is equal for statements that do the same. ``node`` is where it stands.
    """

    shape: str
    node: ast.stmt


class Body(msgspec.Struct, frozen=True):
    """The executed part of a module or class body, sorted by what may be done about a change.

    ``statements`` run in order, decorators and base classes among them; undecorated
    functions and plain classes are not here: their order does nothing. ``program`` is what
    ``if __name__ == "__main__":`` guards.
    """

    docstring: str | None
    annotations: dict[str, ast.expr]
    statements: tuple[Statement, ...]
    imports: tuple[ast.Import | ast.ImportFrom, ...]
    program: tuple[Statement, ...]


def body(node: ast.Module | ast.ClassDef) -> Body:
    """Sort the statements of a module's or a class's body."""
    docstring = ast.get_docstring(node, clean=False)
    rest = node.body[1:] if docstring is not None else node.body
    annotations: dict[str, ast.expr] = {}
    statements: list[Statement] = []
    imports: list[ast.Import | ast.ImportFrom] = []
    program: list[Statement] = []
    for statement in rest:
        match statement:
            case ast.Import() | ast.ImportFrom() if isinstance(node, ast.Module) and not is_star(statement):
                imports.append(statement)
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not statement.decorator_list:
                continue
            case ast.ClassDef() if not (statement.decorator_list or statement.bases or statement.keywords):
                continue
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value, simple=1):
                annotations[name] = annotation
                if value is None:
                    continue
            case ast.If(orelse=[]) if is_type_checking(statement.test):
                continue
            case ast.If(orelse=[]) if isinstance(node, ast.Module) and is_main_guard(statement.test):
                program.append(Statement(shape(statement), statement))
                continue
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                continue
        statements.append(Statement(shape(statement), statement))
    return Body(docstring, annotations, tuple(statements), tuple(imports), tuple(program))


def is_star(statement: ast.Import | ast.ImportFrom) -> bool:
    """Whether an import statement binds all names of a module."""
    return any(alias.name == "*" for alias in statement.names)


def shape(node: ast.AST) -> str:
    """A text that is equal for syntax trees that do the same when executed, functions' insides aside.

    The annotation of a variable that a statement assigns does nothing to its value.
    """
    found = _shapes.get(node)
    if found is None:
        plain = node
        if isinstance(node, ast.AnnAssign) and node.simple and node.value is not None:
            plain = ast.Assign([node.target], node.value)
        found = _shapes[node] = _dump(plain)
    return found


_shapes: Final = WeakKeyDictionary[ast.AST, str]()
"""Those of nodes that were asked for: all lambdas of one statement ask for its."""


def _dump(node: object) -> str:
    match node:
        case list():
            return "[" + ",".join(map(_dump, node)) + "]"
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return f"def {node.name}{_dump(node.decorator_list)}"
        case ast.ClassDef():
            return f"class {node.name}{_dump(node.decorator_list)}"
        case ast.Lambda():
            return f"lambda{_dump(node.args)}"
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return ast.dump(node)  # a lambda in here is no site of its own
        case ast.If(test=test, orelse=orelse) if is_type_checking(test):
            return f"unchecked {_dump(orelse)}"
        case ast.AnnAssign(target=target, value=value, simple=1):
            return f"annotated {_dump(target)}{_dump(value)}"
        case ast.AST():
            fields = (getattr(node, name, None) for name in node._fields)
            return f"{type(node).__name__}({','.join(map(_dump, fields))})"
    return repr(node)


def dumped(node: object) -> object:
    """What is equal for syntax trees, lists and dictionaries of them and other values that are written the same."""
    if isinstance(node, list):
        return [dumped(item) for item in node]
    if isinstance(node, dict):
        return {key: dumped(item) for key, item in node.items()}
    return ast.dump(node) if isinstance(node, ast.AST) else node


def first_line(node: ast.AST) -> int:
    """The first line of a definition as code objects have it: that of its first decorator."""
    decorators = getattr(node, "decorator_list", None)
    line: int = decorators[0].lineno if decorators else getattr(node, "lineno", 0)
    return line


def dotted(node: ast.expr) -> str:
    """A name, or a dotted name that begins with one; an empty string for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join((node.id, *reversed(parts))) if isinstance(node, ast.Name) else ""


def through(node: ast.expr) -> str:
    """The same with calls on the way left out: ``a.b(c).d`` is ``a.b.d``, and ``getattr(a, "b").d`` too."""
    parts: list[str] = []
    while True:
        asked = asked_for(node)
        if asked is not None:
            node, name = asked
            parts.append(name)
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return ".".join((node.id, *reversed(parts))) if isinstance(node, ast.Name) else ""


def last_name(node: ast.expr) -> str | None:
    """The last part of the name by which an expression gives what it gives."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return last_name(func)
    return None


def is_special(name: str) -> bool:
    """Whether the language gives a name its meaning (Data model, "Special method names")."""
    return name[:2] == "__" == name[-2:]


def asked_for(node: ast.AST) -> tuple[ast.expr, str] | None:
    """What an expression asks for an attribute, where the text says which."""
    match node:
        case ast.Attribute(value=value, attr=name):
            return value, name
        case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(name)), *_]):
            return value, name
        case ast.Call(func=ast.Call(func=getter, args=[ast.Constant(value=str(name))]), args=[value]):
            return (value, name) if last_name(getter) == "attrgetter" else None
        case ast.Subscript(slice=ast.Constant(value=str(name)), value=ast.Attribute(value=value, attr="__dict__")):
            return value, name
        case ast.Subscript(slice=ast.Constant(value=str(name)), value=ast.Call(func=ast.Name(id="vars"), args=[value])):
            return value, name
    return None


def is_read(node: ast.AST) -> TypeGuard[ast.expr]:
    """Whether evaluating a node reads a name, or an attribute by its name."""
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return False
    return isinstance(node, ast.Name) or asked_for(node) is not None


def is_type_checking(test: ast.expr) -> bool:
    """Whether the test of an ``if`` is the constant that only type checkers take for true."""
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False


def is_main_guard(test: ast.expr) -> bool:
    """Whether the test of an ``if`` is ``__name__ == "__main__"``."""
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
    return False


# --- imports -----------------------------------------------------------------------------


def bindings(statement: ast.Import | ast.ImportFrom, module: Module, *, runtime: bool = True) -> Iterator[Import]:
    """The names that an import statement binds in a module's namespace."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            if alias.asname:
                yield Import(alias.asname, alias.name, None, runtime=runtime)
            else:
                top = alias.name.partition(".")[0]
                yield Import(top, top, None, None if top == alias.name else alias.name, runtime)
        return
    if statement.module == "__future__" and not statement.level:
        return
    origin = absolute(statement.module or "", statement.level, module)
    for alias in statement.names:
        yield Import(alias.asname or alias.name, origin, alias.name, runtime=runtime)


def absolute(name: str, level: int, module: Module) -> str:
    """The absolute name of a relatively imported module (``importlib._bootstrap._resolve_name``)."""
    if not level:
        return name
    parent = module.package
    for _ in range(level - 1):
        parent = parent.rpartition(".")[0]
    return f"{parent}.{name}" if name and parent else name or parent


def imports(tree: ast.Module, module: Module, own: frozenset[str]) -> tuple[Import, ...]:
    """Every name that the module's import statements bind, except those of its ``own`` names.

    ``try: import x`` with ``except ImportError: x = None`` counts as an import.
    """
    found: dict[Import, None] = {}

    def visit(statements: Iterable[ast.stmt], runtime: bool) -> None:
        for statement in statements:
            match statement:
                case ast.Import() | ast.ImportFrom():
                    found.update(dict.fromkeys(bindings(statement, module, runtime=runtime)))
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    continue
                case ast.If() if is_type_checking(statement.test):
                    visit(statement.body, False)
                    visit(statement.orelse, runtime)
                    continue
            for part in nested_statements(statement):
                visit(part, runtime)

    visit(tree.body, True)
    return tuple(one for one in found if one.name not in own)


_LOOKED_FOR = frozenset({"__all__", "__getattr__", "__dir__", "__bcpatch_update__"})


def has_stand_in(name: str, tree: ast.Module) -> bool:
    """Whether something answers for a module's name that is gone: a builtin, its ``__getattr__`` (PEP 562), a default.

    What others look for in every module, and do without where it is not, is answered for.
    """
    return (
        hasattr(builtins, name)
        or name in _LOOKED_FOR
        or any(isinstance(one, DEFINITIONS) and one.name == "__getattr__" for one in tree.body)
    )


def nested_statements(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a compound statement that is not a definition."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(statement, name, None)
        if block:
            yield block
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield part.body


def own_names(tree: ast.Module, *, stores_globals: bool) -> frozenset[str]:
    """Names that the module itself defines: functions, classes, variables, globals stored by functions.

    ``stores_globals`` is False where no function has a ``global`` statement. A placeholder
    constant beside an import (``json = None``) does not make a name its own.
    """
    names: set[str] = set()

    def collect(statements: list[ast.stmt]) -> None:
        for statement in statements:
            match statement:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    names.add(statement.name)
                    continue
                case ast.Assign(targets=targets, value=ast.Constant()) if all(
                    isinstance(one, ast.Name) for one in targets
                ):
                    continue
            for node in _own_level(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
                    names.add(node.id)
                elif isinstance(node, (ast.MatchAs, ast.MatchStar, ast.ExceptHandler)) and node.name:
                    names.add(node.name)
            for block in nested_statements(statement):
                collect(block)

    collect(tree.body)
    if stores_globals:
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                names.update(node.names)
    return frozenset(names)


def _own_level(statement: ast.stmt) -> Iterator[ast.AST]:
    """The expressions of a statement itself, without its blocks of statements."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            continue
        if isinstance(child, ast.ExceptHandler):
            yield child
            continue
        if isinstance(child, ast.match_case):
            yield from ast.walk(child.pattern)
            continue
        yield from ast.walk(child)
