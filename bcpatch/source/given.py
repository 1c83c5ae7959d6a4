"""Which import-time code was given a function, and may have made something of how it is defined.

A decorator, or another call that got the function, may have read its parameters, defaults,
annotations and documentation: what that made of them is state. This module knows what of the
standard library doesn't look, or leaves copies only that a patch renews, and reads what the
module's own decorators do with what they get. It decides by names, as ``importtime`` does.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Final

from bcpatch.diagnostics import Diagnostic, as_warning, finding
from bcpatch.model import FunctionEdit, Policy
from bcpatch.source import importtime, shape
from bcpatch.source.evaluated import binds, bound_in
from bcpatch.source.outline import Function, Unit
from bcpatch.source.readers import annotations_of
from bcpatch.source.signature import signature

#: They don't look at a function that they are given. What ``functools.update_wrapper`` copies is renewed by the swap.
_BLIND: Final = frozenset(
    {
        "abc.abstractmethod", "atexit.register", "builtins.callable", "builtins.classmethod", "builtins.filter",
        "builtins.id", "builtins.isinstance", "builtins.map", "builtins.property", "builtins.sorted",
        "builtins.staticmethod", "contextlib.asynccontextmanager", "contextlib.contextmanager", "functools.cache",
        "functools.cached_property", "functools.lru_cache", "functools.partial", "functools.partialmethod",
        "functools.reduce", "functools.singledispatch", "functools.singledispatchmethod", "functools.update_wrapper",
        "functools.wraps", "signal.signal", "threading.Thread", "threading.Timer", "types.coroutine", "typing.final",
        "typing.overload", "typing.override", "weakref.ref",
    }
)  # fmt: skip

#: What they return does not look at a function that it is given.
_MAKE_BLIND: Final = frozenset({"functools.lru_cache", "functools.wraps", "warnings.deprecated"})

#: As decorators of a class, by themselves or called: they don't look at how its methods are defined.
_BLIND_TO_METHODS: Final = frozenset(
    {
        "attr.attrs", "attr.dataclass", "attr.define", "attr.frozen", "attr.mutable", "attr.s", "attrs.define",
        "attrs.frozen", "attrs.mutable", "dataclasses.dataclass", "enum.unique", "functools.total_ordering",
        "typing.dataclass_transform", "typing.final", "typing.runtime_checkable",
    }
)  # fmt: skip

_ACCESSORS: Final = frozenset({"getter", "setter", "deleter"})
_STORE: Final = frozenset({"append", "insert"})
_DISPLAYS: Final = (ast.List, ast.ListComp)
_NAMES: Final = frozenset({"__name__", "__qualname__", "__module__"})


def shows(before: Function, after: Function) -> bool:
    """Whether a function that was given something would show itself to it as another one than before."""
    return before.header != after.header or _documentation(before) != _documentation(after)


def findings(new: Unit, before: Function, after: Function, edit: FunctionEdit, policy: Policy) -> Iterator[Diagnostic]:
    """What import-time code may have made of a definition that changes now: errors where it certainly has."""
    changed = _changed(before, after, edit)
    if not changed:
        return
    known = _Known(new)
    for taker in _takers(known, new, after):
        message = (
            f"`{before.site.qualname}` was given to `{ast.unparse(taker)}` (line {taker.lineno}) when the module was "
            f"imported; what that made of its {_listed(changed)} stays"
        )
        certain = "annotations" in changed and known.registers_by_annotation(taker)
        advice = "restart the process: the annotation says for which class it is" if certain else None
        found = finding("BCP217", message, new.place(after.node), help=advice, site=before.site)
        yield as_warning(found) if policy is Policy.LINKED and not certain else found


def _changed(before: Function, after: Function, edit: FunctionEdit) -> list[str]:
    """What of a function changes that can be seen without its code, in words."""
    parameters = signature(before.node.args) != signature(after.node.args)
    annotated = [[*map(ast.dump, annotations_of(one))] for one in (before, after)]
    words = {
        "parameters": parameters,
        "default values": any(one.changed or one.follows for one in (*edit.positional, *edit.keywords)),
        "annotations": edit.annotations.changed and not (parameters and annotated[0] == annotated[1]),
        "documentation": _documentation(before) != _documentation(after),
    }
    return [word for word, differs in words.items() if differs]


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _documentation(function: Function) -> str | None:
    return None if isinstance(function.node, ast.Lambda) else ast.get_docstring(function.node, clean=False)


def _takers(known: _Known, unit: Unit, function: Function) -> Iterator[ast.expr]:
    """The decorators and calls that got a function, and are not known not to look at it."""
    if not isinstance(function.node, ast.Lambda):
        for decorator in function.node.decorator_list:
            if not known.is_blind_decorator(decorator, function):
                yield decorator
    yield from _class_takers(known, function.chain)
    for call in importtime.calls_with(unit, function.name):
        if not known.is_blind(call.func):
            yield call


def class_takers(unit: Unit, classes: Sequence[ast.ClassDef]) -> Iterator[ast.expr]:
    """The decorators of classes that are not known not to look at methods."""
    if any(one.decorator_list for one in classes):
        yield from _class_takers(_Known(unit), classes)


def _class_takers(known: _Known, classes: Sequence[ast.ClassDef]) -> Iterator[ast.expr]:
    for one in classes:
        for decorator in one.decorator_list:
            callee = decorator.func if isinstance(decorator, ast.Call) else decorator
            if known.path(callee) not in _BLIND_TO_METHODS:
                yield decorator


class _Known:
    """What is known of what a module's code calls."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        paths: dict[str, set[str]] = {}
        for one in shape.imports(unit.tree, unit.source.module, unit.own_names):
            paths.setdefault(one.name, set()).add(f"{one.module}.{one.attribute}" if one.attribute else one.module)
        self._containers = {
            target.id
            for statement in unit.tree.body
            if isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(statement.value, _DISPLAYS)
            for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
            if isinstance(target, ast.Name)
        }
        self._imported: Mapping[str, str] = {name: "|".join(sorted(some)) for name, some in paths.items()}

    def path(self, callee: ast.expr, hidden: Container[str] = ()) -> str:
        """The dotted name of what is called, from the module on that has it; empty where that isn't known.

        ``hidden`` names mean something else where this is called.
        """
        match callee:
            case ast.Name(id=name) if name in hidden:
                return ""
            case ast.Name(id=name) if name in self._imported:
                return self._imported[name]
            case ast.Name(id=name) if name not in self._unit.own_names and hasattr(builtins, name):
                return f"builtins.{name}"
            case ast.Attribute(value=value, attr=name):
                owner = self.path(value, hidden)
                return owner and f"{owner}.{name}"
        return ""

    def is_blind_decorator(self, decorator: ast.expr, function: Function) -> bool:
        """Whether a decorator of a function does not look at how that is defined."""
        hidden = _bound_around(function)
        match decorator:
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if attr in _ACCESSORS and name == function.name:
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="register"), args=[_]):
                return self._dispatches(name)
            case ast.Call(func=callee):
                own = self._own(callee, hidden)
                inner = _returned(own) if own is not None else None
                if inner is not None:
                    return self._keeps_blind(inner)
                return self.path(callee, hidden) in _MAKE_BLIND
        return self.is_blind(decorator, hidden)

    def is_blind(self, callee: ast.expr, hidden: Container[str] = ()) -> bool:
        """Whether something that is called does not look at how a function is defined that it is given."""
        if self.path(callee, hidden) in _BLIND or self._is_store(callee, hidden):
            return True
        own = self._own(callee, hidden)
        return own is not None and self._keeps_blind(own)

    def _is_store(self, callee: ast.expr, hidden: Container[str]) -> bool:
        """Whether a call puts what it gets into a container of the module."""
        match callee:
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if attr in _STORE and name not in hidden:
                return name in self._containers
        return False

    def _own(self, callee: ast.expr, hidden: Container[str]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The module's one function of the name that is called."""
        if not isinstance(callee, ast.Name) or callee.id in hidden:
            return None
        found = self._unit.by_name.get(callee.id, [])
        if len(found) != 1 or found[0].chain or isinstance(found[0].node, ast.Lambda):
            return None
        return found[0].node

    def registers_by_annotation(self, taker: ast.expr) -> bool:
        """Whether a decorator adds to a single-dispatch function for the class that the annotation says."""
        match taker:
            case ast.Attribute(value=ast.Name(id=name), attr="register"):
                return self._dispatches(name)
        return False

    def _dispatches(self, name: str) -> bool:
        """Whether a name is that of a single-dispatch function, which looks at nothing when it is told the class."""
        decorators = [decorator for one in self._unit.by_name.get(name, ()) for decorator in _decorators(one.node)]
        return any(
            self.path(one) in ("functools.singledispatch", "functools.singledispatchmethod") for one in decorators
        )

    def _keeps_blind(self, decorator: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        """Whether a function only calls, wraps, keeps or returns what it is given first."""
        arguments = [*decorator.args.posonlyargs, *decorator.args.args]
        if not arguments or decorator.decorator_list:
            return False
        given = arguments[0].arg
        around = {id(child): node for node in ast.walk(decorator) for child in ast.iter_child_nodes(node)}
        own = bound_in(decorator)
        uses = [node for node in ast.walk(decorator) if isinstance(node, ast.Name) and node.id == given]
        return all(self._is_blind_use(use, around[id(use)], own) for use in uses)

    def _is_blind_use(self, use: ast.Name, node: ast.AST, hidden: Container[str]) -> bool:
        match node:
            case ast.Call(func=callee):
                return callee is use or self.path(callee, hidden) in _BLIND or self._is_store(callee, hidden)
            case ast.Attribute(attr=attr, ctx=context):
                return attr in _NAMES or not isinstance(context, ast.Load)
            case ast.Assign(targets=targets):
                kept = isinstance(use.ctx, ast.Load)
                return kept and all(isinstance(one, (ast.Attribute, ast.Subscript)) for one in targets)
            case ast.Compare(ops=ops):
                return all(isinstance(one, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for one in ops)
        return isinstance(node, (ast.Return, ast.FormattedValue))


def _bound_around(function: Function) -> set[str]:
    """The names that the class around a function binds, which its decorators see first."""
    return {name for made in function.chain[-1:] for one in made.body for name in binds(one)}


def _decorators(node: ast.AST) -> list[ast.expr]:
    return getattr(node, "decorator_list", [])


def _returned(
    factory: ast.FunctionDef | ast.AsyncFunctionDef,
) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The one function defined in another that this returns."""
    returned = [one.value for one in factory.body if isinstance(one, ast.Return)]
    inner = {one.name: one for one in factory.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}
    match returned:
        case [ast.Name(id=name)]:
            return inner.get(name)
    return None
