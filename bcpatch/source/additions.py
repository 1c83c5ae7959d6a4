"""What the linked policy carries beyond functions: definitions and values added, changed and removed.

Works body by body (a module's, or one class's), on names: a name that only the new body
binds is an addition, one that only the old binds a removal, and an assignment whose
expression changed is a changed value if both expressions are plain enough to be
evaluated again. What that leaves is for the rules of `bcpatch.compile`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Severity, finding
from bcpatch.model import AdditionEdit, Edit, RemovalEdit, ValueEdit
from bcpatch.source import header, importtime, shape
from bcpatch.source.outline import Class, Unit, executed

#: Decorators that leave nothing behind but what they return, by the last part of their name.
_PURE = frozenset(
    """
    property setter getter deleter staticmethod classmethod cached_property cache lru_cache wraps
    contextmanager asynccontextmanager overload abstractmethod singledispatchmethod override final
    """.split()
)
#: Methods that ``type`` reads or converts when it makes a class.
_READ_BY_TYPE = frozenset({"__eq__", "__hash__", "__new__", "__init_subclass__", "__class_getitem__"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass
class Found:
    """The edits of one or more bodies, and the statements of either version that need no other rule."""

    edits: list[Edit] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    handled: set[int] = field(default_factory=set)
    added: list[ast.stmt] = field(default_factory=list)
    changed: dict[tuple[str, str], ast.stmt] = field(default_factory=dict)

    def handles(self, *nodes: ast.AST) -> bool:
        """Whether a statement is one of these, or stands inside of one."""
        return any(id(node) in self.handled for node in nodes)


def additions(old: Unit, new: Unit, optimization: int) -> Found:
    """Compare the bodies of two versions of a module, name by name."""
    found = Found()
    _body(old, new, None, None, optimization, found)
    running: dict[str, list[Class]] = {}
    for made in old.classes:
        running.setdefault(made.qualname, []).append(made)
    for made in new.classes:
        same = running.get(made.qualname)
        if same and not found.handles(*made.chain):
            _body(old, new, same.pop(0), made, optimization, found)
    _follow_readers(old, new, optimization, found)
    found.edits.sort(key=lambda edit: getattr(edit, "line", 0))  # what a statement reads stands above it
    return found


# --- one body ------------------------------------------------------------------------------


def _body(old: Unit, new: Unit, before: Class | None, after: Class | None, level: int, found: Found) -> None:
    was = _binders(before.node if before else old.tree)
    now = _binders(after.node if after else new.tree)
    added: list[ast.stmt] = []
    grown: list[ast.stmt] = []
    for name, statements in now.items():
        if name not in was:
            added += statements
        elif _is_value(was[name]) and _is_value(statements):
            _value(name, was[name][0], statements[0], new, after, level, found)
        elif _is_function(was[name]) and _is_function(statements):
            grown += _grown(was[name], statements, found)
    for statement in (*added, *grown):
        _add(statement, new, after, level, found, extends=statement in grown)
    for name, statements in was.items():
        if name not in now:
            _remove(name, statements, old, new, before, found)


def _binders(body: ast.Module | ast.ClassDef) -> dict[str, list[ast.stmt]]:
    """The statements of a body that bind one name each, by that name."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in body.body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.setdefault(name, []).append(statement)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                found.setdefault(name, []).append(statement)
    return found


def _is_value(statements: Sequence[ast.stmt]) -> bool:
    return len(statements) == 1 and isinstance(statements[0], (ast.Assign, ast.AnnAssign))


def _is_function(statements: Sequence[ast.stmt]) -> bool:
    return all(isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)) for one in statements)


def _grown(was: Sequence[ast.stmt], now: Sequence[ast.stmt], found: Found) -> list[ast.stmt]:
    """Definitions of a name that has others already: a setter beside its getter, an overload before its function.

    Only the last one stays bound; an added one before it leaves nothing behind.
    """
    known = [shape.shape(one) for one in was]
    more = []
    for statement in now:
        if shape.shape(statement) in known:
            known.remove(shape.shape(statement))
        else:
            more.append(statement)
    if len(now) <= len(was) or len(now) - len(was) != len(more) or not all(map(_is_pure, more)):
        return []
    found.handled.update(map(id, more))
    return [now[-1]] if now[-1] in more else []


def _add(statement: ast.stmt, new: Unit, after: Class | None, level: int, found: Found, *, extends: bool) -> None:
    problem = None if after is None else _class_obstacle(statement, after)
    if problem:
        found.diagnostics.append(finding("BCP207", problem, new.place(statement)))
    code = header.statements(new, [_plain(statement)], after, level)
    owner = after.qualname if after else ""
    found.edits.append(AdditionEdit(owner, tuple(_names(statement)), code, statement.lineno, extends))
    found.handled.add(id(statement))
    found.added.append(statement)


def _names(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name


def _plain(statement: ast.stmt) -> ast.stmt:
    """An assignment without its annotation: annotations are edits of their own."""
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return ast.copy_location(ast.Assign([statement.target], statement.value), statement)
    return statement


def _class_obstacle(statement: ast.stmt, owner: Class) -> str | None:
    """Why a class can't be given this after it was made, as far as the source tells."""
    decorated = bool(owner.node.decorator_list)
    if isinstance(statement, _DEFINITIONS):
        if decorated and statement.name.startswith("__") and statement.name.endswith("__"):
            return f"a decorator of `{owner.qualname}` may have read or replaced `{statement.name}`"
        if any(_last_name(one) == "abstractmethod" for one in getattr(statement, "decorator_list", ())):
            return f"`{statement.name}` is abstract, and `{owner.qualname}` has been made"
        return None
    (name,) = _names(statement)
    if decorated or name.startswith("__"):
        return f"`{name}` may be read when `{owner.qualname}` is made"
    return None


# --- values --------------------------------------------------------------------------------


def _value(
    name: str,
    was: ast.stmt,
    now: ast.stmt,
    new: Unit,
    after: Class | None,
    level: int,
    found: Found,
    *,
    forced: bool = False,
) -> None:
    """A changed value, if the rule lets it be evaluated again; else nothing, and other rules speak."""
    if not forced and shape.shape(was) == shape.shape(now):
        return
    expressions = [one.value for one in (was, now) if isinstance(one, (ast.Assign, ast.AnnAssign))]
    known = _evaluable_names(new)
    if not all(one is not None and _is_evaluable(one, known) for one in expressions):
        return
    if after is not None and (after.node.decorator_list or name.startswith("__")):
        return
    codes = [header.value(new, one, after, level) for one in expressions if one is not None]
    if not forced and fingerprint.digest(codes[0]) == fingerprint.digest(codes[1]):
        return
    owner = after.qualname if after else ""
    found.edits.append(ValueEdit(owner, name, codes[0], codes[1], now.lineno))
    found.handled.update((id(was), id(now)))
    found.changed[owner, name] = now


def _evaluable_names(unit: Unit) -> frozenset[str]:
    """Names that an evaluable expression may use: imported ones, and other values of the module."""
    imported = {one.name for one in shape.imports(unit.tree, unit.source.module, unit.own_names)}
    values = {name for name, statements in _binders(unit.tree).items() if _is_value(statements)}
    return frozenset(imported | values)


def _is_evaluable(node: ast.expr, known: frozenset[str]) -> bool:
    """Whether an expression is made of literals, displays, known names and ``re.compile``."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return name in known or name in ("True", "False", "None")
        case ast.Attribute(value=value):
            return _is_evaluable(value, known)
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            return all(_is_evaluable(item, known) for item in items)
        case ast.Dict(keys=keys, values=values):
            return all(key is None or _is_evaluable(key, known) for key in keys) and all(
                _is_evaluable(value, known) for value in values
            )
        case ast.UnaryOp(operand=operand):
            return _is_evaluable(operand, known)
        case ast.BinOp(left=left, right=right):
            return _is_evaluable(left, known) and _is_evaluable(right, known)
        case ast.Starred(value=value):
            return _is_evaluable(value, known)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr="compile"), args=arguments, keywords=keywords):
            return all(_is_evaluable(one, known) for one in (*arguments, *(each.value for each in keywords)))
    return False


def _follow_readers(old: Unit, new: Unit, level: int, found: Found) -> None:
    """Values computed from changed ones change with them; what else read one at import time refuses."""
    before = {name: one[0] for name, one in _binders(old.tree).items() if _is_value(one)}
    names = {name for owner, name in found.changed if not owner}
    while True:
        more = set()
        for name, statements in _binders(new.tree).items():
            if not _is_value(statements) or name in names or name not in before:
                continue
            if _reads(executed([statements[0]]), names):
                _value(name, before[name], statements[0], new, None, level, found, forced=True)
                if ("", name) in found.changed:
                    more.add(name)
        if not more:
            break
        names |= more
    attributes = {name for owner, name in found.changed if owner}
    if names or attributes:
        found.diagnostics += _stale_readers(new, names, attributes, found)


def _stale_readers(new: Unit, names: set[str], attributes: set[str], found: Found) -> Iterator[Diagnostic]:
    for statement in _all_statements(new.tree.body):
        if found.handles(statement):
            continue
        read = _reads(executed([statement]), names) or _reads_attribute(executed([statement]), attributes)
        if read is None and not isinstance(statement, ast.ClassDef):
            for function in importtime.run_by(new, statement):
                read = read or _reads(ast.walk(function.node), names)
        if read is not None:
            message = f"line {statement.lineno} used the old value of `{read}` when the module was imported"
            yield finding("BCP210", message, new.place(statement))


def _all_statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.If) and shape.is_main_guard(statement.test):
            continue
        yield statement
        if isinstance(statement, ast.ClassDef):
            yield from _all_statements(statement.body)


def _reads(nodes: Iterable[ast.AST], names: set[str]) -> str | None:
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            return node.id
    return None


def _reads_attribute(nodes: Iterable[ast.AST], names: set[str]) -> str | None:
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in names:
            return node.attr
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            return node.id
    return None


# --- removals ------------------------------------------------------------------------------


def _remove(
    name: str, statements: Sequence[ast.stmt], old: Unit, new: Unit, before: Class | None, found: Found
) -> None:
    if not all(map(_is_pure, statements)):
        return
    if before is not None and (before.node.decorator_list or not _is_removable(name, statements)):
        return
    rebound = before is None and name in {one.name for one in shape.imports(new.tree, new.source.module, frozenset())}
    found.handled.update(map(id, statements))
    if before is not None:
        found.edits.append(RemovalEdit(before.qualname, name))
    elif shape.has_stand_in(name, new.tree) and not rebound:
        found.edits.append(RemovalEdit("", name))
    elif not rebound:
        found.diagnostics.append(
            finding("BCP216", f"`{name}` stays bound in the running module", old.place(statements[-1]))
        )


def _is_removable(name: str, statements: Sequence[ast.stmt]) -> bool:
    """Whether ``type`` made nothing else of a class's name than an attribute."""
    if not name.startswith("__"):
        return True
    return _is_function(statements) and name not in _READ_BY_TYPE


def _is_pure(statement: ast.stmt) -> bool:
    """Whether executing a definition did nothing but bind its name."""
    if isinstance(statement, ast.ClassDef):
        return not statement.decorator_list
    return all(_last_name(one) in _PURE for one in getattr(statement, "decorator_list", ()))


def _last_name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return _last_name(func)
    return None


# --- what an addition runs --------------------------------------------------------------------


def premature(new: Unit, found: Found, changed: frozenset[str]) -> Iterator[Diagnostic]:
    """Added statements that run what changes in the same swap: they would run old code, or read old values."""
    values = {name for owner, name in found.changed if not owner}
    for statement in found.added:
        ran = importtime.run_by(new, statement)
        read = _reads(_inner_code(statement), values)
        for function in ran:
            read = read or _reads(ast.walk(function.node), values)
            if function.site.qualname in changed:
                message = f"this runs `{function.site.qualname}` before the swap, while that is still the old code"
                yield finding("BCP211", message, new.place(statement))
        if read is not None:
            message = f"this uses `{read}` before the swap, while that has its old value"
            yield finding("BCP210", message, new.place(statement))


def _inner_code(statement: ast.stmt) -> Iterator[ast.AST]:
    """What code inside of a statement evaluates when it is executed: class bodies, comprehensions, lambdas.

    It looks names up in the module itself, where changed values come with the swap only.
    """
    for node in executed([statement]):
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield from executed([inner])
                yield from _inner_code(inner)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)):
            yield from ast.walk(node)


def as_warning(found: Diagnostic) -> Diagnostic:
    return msgspec.structs.replace(found, severity=Severity.WARNING)
