"""Attributes that methods give to objects only now: objects that were made before lack them.

A patch changes code and classes, never the objects that a process has made. Reads the syntax of two versions of a
module, by names: of which class an object is, is known of a method's receiver; of any other object it is guessed, by
an attribute whose name the base has nowhere.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from bcpatch.diagnostics import Diagnostic, finding
from bcpatch.source import receivers, shape
from bcpatch.source.evaluated import binds
from bcpatch.source.outline import Class, Function, FunctionNode, Unit
from bcpatch.source.shape import last_name

#: Methods that run while an object is made: one that was made before is not asked by them.
_MAKING: Final = frozenset({"__new__", "__init__", "__post_init__", "__attrs_post_init__", "__setstate__"})
#: Methods that may answer for an attribute that an object does not have.
_ANSWERING: Final = frozenset({"__getattr__", "__getattribute__"})
#: Exceptions that whoever expects an attribute to be missing catches.
_EXPECTED: Final = frozenset({"AttributeError", "Exception", "BaseException"})

#: An attribute that is read, and the function that does.
_Read: TypeAlias = tuple[ast.Attribute, Function]


class Gained(msgspec.Struct, frozen=True):
    """An attribute that the objects of a class get by one of its methods now, on some line, and did not in the base."""

    owner: str
    name: str
    method: str
    line: int


def gained(old: Unit, new: Unit, changed: Iterable[Function]) -> tuple[Gained, ...]:
    """What objects get by some functions of the new version, and those that were made by the old one lack."""
    found: dict[tuple[str, str], Gained] = {}
    before, after = _Classes(old), _Classes(new)
    for function in changed:
        stores = _stores(function)
        owner = after.of(function) if stores else None
        if owner is None or owner.qualname not in before.named:
            continue
        had, has = before.bases(owner.qualname), after.bases(owner.qualname)
        if before.may_store_any(had) or not _ANSWERING.isdisjoint(_bound(has)):
            continue
        known = before.stored(had) | (before.loaded(had) - _bound(had)) | _bound(has)
        for store in stores:
            if store.attr not in known and not _is_brought(new, store.attr):
                one = Gained(owner.qualname, store.attr, function.name, store.lineno)
                found.setdefault((owner.qualname, store.attr), one)
    return tuple(found.values())


def findings(old: Unit, new: Unit, some: Sequence[Gained]) -> Iterator[Diagnostic]:
    """The first place where the new version reads each of them of an object that may lack it (BCP219)."""
    classes = _Classes(new)
    guessed = {one.name: one for one in reversed(some) if not _mentions(old.text, one.name)}
    for one in some:
        found: list[_Read] = []
        for function in new.functions:
            owner = classes.of(function)
            is_own = owner is not None and one.owner in [base.qualname for base in classes.bases(owner.qualname)]
            for read in _reads(function.node, one.name):
                if _is_name(read.value, receivers.receiver(function)):
                    is_meant = is_own and function.name not in _MAKING
                else:
                    is_meant = guessed.get(one.name) is one and _may_be(read, function, one, new)
                if is_meant:
                    found.append((read, function))
        yield from _finding(new, one, one.owner, found)


def elsewhere(new: Unit, base: str, module: str, some: Iterable[Gained]) -> Iterator[Diagnostic]:
    """The same of another module than the ``module`` of the classes; ``base`` is the text of its old version."""
    for one in {one.name: one for one in reversed([*some])}.values():
        if not _mentions(base, one.name):
            reads = [(read, function) for function in new.functions for read in _reads(function.node, one.name)]
            found = [(read, function) for read, function in reads if _may_be_from_elsewhere(read, function, one, new)]
            yield from _finding(new, one, f"{module}:{one.owner}", found)


def _finding(new: Unit, one: Gained, owner: str, found: Sequence[_Read]) -> Iterator[Diagnostic]:
    if found:
        read, function = min(found, key=lambda each: (each[0].lineno, each[0].col_offset))
        message = (
            f"objects of `{owner}` get `{one.name}` by `{one.method}` (line {one.line}) only now; those that were made "
            "before lack it"
        )
        yield finding("BCP219", message, new.place(read), site=function.site)


def _is_brought(new: Unit, name: str) -> bool:
    """Whether the module's update hook knows the attribute: it may give it to what exists."""
    nodes = [node for hook in new.by_name.get("__bcpatch_update__", ()) for node in ast.walk(hook.node)]
    return any(getattr(node, "attr", getattr(node, "value", None)) == name for node in nodes)


# --- classes -----------------------------------------------------------------------------


class _Classes:
    """The classes of one version that have a name of their own, and what their methods do with their receiver."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        times = Counter(made.qualname for made in unit.classes)
        self.named = {made.qualname: made for made in unit.classes if times[made.qualname] == 1}
        self._by_node = {id(made.node): made for made in self.named.values()}

    def of(self, function: Function) -> Class | None:
        """The class that a method stands in."""
        return self._by_node.get(id(function.chain[-1])) if function.chain else None

    def bases(self, qualname: str) -> list[Class]:
        """A class and those that it derives from, as far as the module defines them."""
        found: list[Class] = []
        waiting = [qualname]
        for name in waiting:
            made = self.named.get(name)
            if made is not None and made not in found:
                found.append(made)
                waiting += [ast.unparse(base) for base in made.node.bases]
        return found

    def _methods(self, classes: Sequence[Class]) -> Iterator[Function]:
        return (one for one in self._unit.functions if self.of(one) in classes)

    def stored(self, classes: Sequence[Class]) -> set[str]:
        """The attributes that their methods give to their receiver."""
        return {store.attr for one in self._methods(classes) for store in _stores(one)}

    def loaded(self, classes: Sequence[Class]) -> set[str]:
        """The attributes that their methods read of their receiver."""
        return {
            node.attr
            for one in self._methods(classes)
            for node in ast.walk(one.node)
            if isinstance(node, ast.Attribute) and _is_name(node.value, receivers.receiver(one))
        }

    def may_store_any(self, classes: Sequence[Class]) -> bool:
        """Whether a method may store attributes of which only a running process knows the names."""
        nodes = [node for one in self._methods(classes) for node in ast.walk(one.node)]
        named = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        named |= {node.id for node in nodes if isinstance(node, ast.Name)}
        return not named.isdisjoint({"__dict__", "setattr", "vars", "__setattr__"})


def _bound(classes: Iterable[Class]) -> set[str]:
    """The names that the bodies of classes give a value."""
    bodies = (statement for made in classes for statement in made.node.body)
    return {
        name
        for statement in bodies
        if not (isinstance(statement, ast.AnnAssign) and statement.value is None)
        for name in binds(statement)
    }


def _is_name(node: ast.expr, name: str | None) -> bool:
    return isinstance(node, ast.Name) and node.id == name


# --- stores and reads ----------------------------------------------------------------------


def _stores(function: Function) -> list[ast.Attribute]:
    """Where a method gives its receiver an attribute; of ``__new__`` where it gives any variable one."""
    receiver = receivers.receiver(function)
    found: list[ast.Attribute] = []
    changed = set()
    for node in ast.walk(function.node) if receiver is not None else ():
        if isinstance(node, ast.AugAssign):
            changed.add(id(node.target))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and id(node) not in changed:
            if _is_name(node.value, receiver) or (function.name == "__new__" and isinstance(node.value, ast.Name)):
                found.append(node)
    return found


def _reads(function: FunctionNode, name: str) -> Iterator[ast.Attribute]:
    """Where a function reads an attribute, of anything, that it neither expects to be missing nor has just stored."""
    given = dict(reversed([one for one in _surely_stored(function, name) if one[0]]))
    for read in [] if _asks_for(function, name) else _unguarded(function, name):
        if given.get(shape.dotted(read.value), read.lineno) >= read.lineno:
            yield read


def _unguarded(function: FunctionNode, name: str) -> Iterator[ast.Attribute]:
    """Where a function reads an attribute, but for what stands in a ``try`` that expects it to be missing."""
    waiting: list[ast.AST] = [function]
    while waiting:
        match node := waiting.pop():
            case ast.Attribute(attr=attr) if attr == name and not isinstance(node.ctx, ast.Store):
                yield node
            case ast.AugAssign(target=ast.Attribute(attr=attr) as target) if attr == name:
                yield target
            case ast.Try(handlers=handlers) if any(map(_expects, handlers)):
                waiting += (*handlers, *node.orelse, *node.finalbody)
                continue
        waiting += ast.iter_child_nodes(node)


def _expects(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches what reading a missing attribute raises."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(one is None or last_name(one) in _EXPECTED for one in caught)


def _asks_for(function: FunctionNode, name: str) -> bool:
    """Whether a function looks first whether there is an attribute."""
    return any(
        isinstance(node, ast.Call)
        and (last_name(node.func), len(node.args)) in (("hasattr", 2), ("getattr", 3))
        and isinstance(node.args[1], ast.Constant)
        and node.args[1].value == name
        for node in ast.walk(function)
    )


def _surely_stored(function: FunctionNode, name: str) -> Iterator[tuple[str, int]]:
    """Of what a function stores an attribute, whichever way it goes, and by which line."""
    waiting: list[ast.stmt] = [] if isinstance(function, ast.Lambda) else [*function.body]
    for statement in waiting:
        if isinstance(statement, (ast.With, ast.AsyncWith)):
            waiting += statement.body
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            for node in (node for target in targets for node in ast.walk(target)):
                if isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store):
                    yield shape.dotted(node.value), statement.end_lineno or node.lineno


def _may_be_from_elsewhere(read: ast.Attribute, function: Function, one: Gained, unit: Unit) -> bool:
    """Whether something may be an object of a class of another module: a receiver, where its class derives from it."""
    if not _is_name(read.value, receivers.receiver(function)):
        return _may_be(read, function, one, unit)
    bases = [last_name(base) for made in function.chain[-1:] for base in made.bases]
    return one.owner.rpartition(".")[2] in bases and function.name not in _MAKING


def _may_be(read: ast.Attribute, function: Function, one: Gained, unit: Unit) -> bool:
    """Whether something that is no receiver may be an object of the class, and made before."""
    if not isinstance(read.value, ast.Name):
        return True
    if read.value.id in unit.imported or (
        receivers.is_of_class(function) and read.value.id == receivers.first(function)
    ):
        return False
    made = {
        target.id
        for node in ast.walk(function.node)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and last_name(node.value.func) == one.owner.rpartition(".")[2]
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return read.value.id not in made


def _mentions(text: str, name: str) -> bool:
    """Whether a text has a name somewhere."""
    return re.search(rf"\b{re.escape(name)}\b", text) is not None
