"""Additions, changed values and removals of the linked policy, as changes of this process.

Statements that are new run here, before the swap, in the namespace of their module or
class. Names that the module did not have are bound at once, so that what is added can
call what is added; all else becomes visible in the swap. Nothing here makes a swap.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, Refused, finding
from bcpatch.model import AdditionEdit, AnnotationsEdit, Code, Edit, ImportEdit, RemovalEdit, ValueEdit
from bcpatch.process import classes, importers, stars, texts, used
from bcpatch.process.ahead import Ahead, run
from bcpatch.process.history import History
from bcpatch.process.linked import LinkedModule
from bcpatch.process.objects import class_namespace, is_class, is_module, namespace_of, qualname_of
from bcpatch.process.swap import ABSENT, Change, Kind, Slot, held

_IMPLICIT_CLASS_METHODS: Final = frozenset({"__init_subclass__", "__class_getitem__"})


class Brought(msgspec.Struct, eq=False):
    """What additions come to.

    ``changes`` are stores of the swap, ``early`` stores that are made already and must be
    undone if the patch does not go live: of names that no text has which runs now, new or left by
    a removal. ``values`` are names that the swap rebinds; ``rebound`` tells of each in a module the
    old and the new value, ``reset`` of those in classes. ``deleted`` are names of modules
    that the swap deletes, ``left`` those that no text has any more and that stay bound, ``own`` names of namespaces
    that the patch has a value for itself, whatever they were taken from before.
    """

    changes: list[Change] = msgspec.field(default_factory=list)
    early: list[Change] = msgspec.field(default_factory=list)
    values: dict[int, dict[str, object]] = msgspec.field(default_factory=dict)
    rebound: list[tuple[ModuleType, str, object, object]] = msgspec.field(default_factory=list)
    reset: list[tuple[ModuleType, type, str]] = msgspec.field(default_factory=list)
    gave: list[tuple[ModuleType, frozenset[str]]] = msgspec.field(default_factory=list)
    deleted: set[tuple[int, str]] = msgspec.field(default_factory=set)
    left: set[tuple[int, str]] = msgspec.field(default_factory=set)
    own: set[tuple[int, str]] = msgspec.field(default_factory=set)

    def pending(self, owner: object) -> dict[str, object]:
        """Names of a module or class as they will be after the swap, as far as these differ."""
        return self.values.setdefault(id(owner), {})

    def in_class(self, owner: type, name: str, value: object) -> None:
        """Bind a class's name in the swap."""
        slot = Slot(Kind.CLASS, owner, name)
        origin = sys.modules.get(owner.__module__)
        if held(slot) is not ABSENT and is_module(origin):
            self.reset.append((origin, owner, name))
        self.changes = [change for change in self.changes if change.slot.key != slot.key]
        self.changes.append(Change(slot, held(slot), value))
        self.pending(owner)[name] = value

    def bind(self, module: LinkedModule, name: str, value: object, *, is_added: bool = False) -> None:
        """Bind a module's name: at once where it is new, in the swap where something may read it.

        One that ``is_added`` is new to the text that runs, even if a removal has left it bound.
        """
        slot = Slot(Kind.NAMESPACE, namespace_of(module.object), name)
        self.own.add((id(slot.owner), name))
        old = held(slot)
        if old is value:
            return
        change = Change(slot, old, value)
        if old is ABSENT or is_added:
            namespace_of(module.object)[name] = value
            self.early.append(change)
        else:
            self.changes.append(change)
            self.pending(module.object)[name] = value
        if old is ABSENT:
            return
        self.rebound.append((module.object, name, old, value))

    def in_importers(self, known: texts.Texts) -> list[Change]:
        """The same stores in the modules that took such names: asked when all is imported that the patch imports.

        Names that are new are bound at once in modules that took all there was. Raises `Refused` where another
        module used what changes while that was imported (BCP210), or where it can't have a new name (BCP520, BCP522).
        """
        stale: list[Diagnostic] = []
        for taken, before in self.gave:
            deleted = frozenset(name for owner, name in self.deleted if owner == id(taken))
            left = frozenset(name for owner, name in self.left if owner == id(taken))
            for one in stars.followed(known, stars.Gift(taken, before, self.pending(taken), deleted, left)):
                if isinstance(one, Diagnostic):
                    stale.append(one)
                else:
                    one.slot.owner[one.slot.name] = one.new
                    self.early.append(one)
        for origin, owner, name in self.reset:
            stale += used.attribute_used_at_import(known, origin, owner, name)
        for module, name, old, _ in self.rebound:
            stale += importers.untold(module, name, old)
            stale += used.used_at_import(known, module, name, old)
        if stale:
            raise Refused(stale)
        return [
            Change(slot, old, value)
            for module, name, old, value in self.rebound
            for slot in importers.slots(known, module, name, old)
            if (id(slot.owner), slot.name) not in self.own
        ]


# --- what can be known before anything runs ------------------------------------------------


def obstacles(module: LinkedModule, history: History) -> Iterator[Diagnostic]:
    """Why additions, values and removals of a module can't be made in this process."""
    takes_all = any(one.name == "*" for one in module.part.imports)
    tree = ast.parse(module.part.source) if takes_all else None
    for edit in module.part.changes:
        if tree is not None:
            yield from stars.covered(tree, module.object, *_bound_by(edit))
        if isinstance(edit, AnnotationsEdit) and edit.qualname:
            owner = module.owner(edit.qualname)
            reason = None if owner is None else classes.reader_of_values(owner)
            if reason:
                message = f"annotations of `{edit.qualname}` are read when it is made, by {reason}"
                yield finding("BCP207", message, Place(module.file))
        if not isinstance(edit, AdditionEdit | ValueEdit | RemovalEdit):
            continue
        if not edit.owner:
            if isinstance(edit, AdditionEdit) and not edit.extends:
                yield from _bound_by_others(module, edit, history)
            elif isinstance(edit, RemovalEdit):
                yield from stars.hidden(module.part.imports, module.object, edit.name)
            continue
        owner = module.owner(edit.owner)
        line = 0 if isinstance(edit, RemovalEdit) else edit.line
        where = functools.partial(module.place, line)
        if owner is None:
            yield finding("BCP502", f"{module.object.__name__} holds no class {edit.owner}", where())
        elif isinstance(edit, AdditionEdit) and not edit.extends and _there(edit, class_namespace(owner)):
            yield finding("BCP513", f"`{edit.owner}.{_there(edit, class_namespace(owner))}` is there already", where())
        else:
            names = edit.names if isinstance(edit, AdditionEdit) else (edit.name,)
            reason = classes.reader_of_methods(owner, names)
            if _has_values(edit, owner):
                reason = reason or classes.reader_of_values(owner)
            if reason:
                yield finding("BCP207", f"attributes of `{edit.owner}` are read when it is made, by {reason}", where())


def _bound_by(edit: Edit) -> tuple[tuple[str, ...], int]:
    """The names of the module that an edit binds, and on which line."""
    match edit:
        case ImportEdit(binding=binding, line=line):
            return (binding.name,), line
        case AdditionEdit(owner="", names=names, line=line):
            return names, line
        case ValueEdit(owner="", name=name, line=line):
            return (name,), line
    return (), 0


def made_as(module: LinkedModule, qualname: str) -> type | None:
    """A class that a module has made, under whatever name it has it now; None where there is none, or several.

    Its own name may be another class's by now (``from _fast import Queue``), and it in a branch that did not run.
    """
    there = [module.owner(qualname), *namespace_of(module.object).values()]
    name = module.object.__name__
    made = {id(one): one for one in there if is_class(one) and class_namespace(one).get("__module__") == name}
    found = [one for one in made.values() if qualname_of(one) == qualname]
    return found[0] if len(found) == 1 else None


def _bound_by_others(module: LinkedModule, edit: AdditionEdit, history: History) -> Iterator[Diagnostic]:
    """Names to be added that hold something already, unless it is what generations bound, and a removal left."""
    for name in edit.names:
        slot = Slot(Kind.NAMESPACE, namespace_of(module.object), name)
        there = held(slot)
        if there is not ABSENT and there is not history.bound(slot):
            yield finding("BCP513", f"`{module.object.__name__}.{name}` is there already", module.place(edit.line))
        elif is_class(there):
            message = f"instances of the `{name}` that was removed before stay instances of that"
            yield finding("BCP521", message, module.place(edit.line))


def _there(edit: AdditionEdit, space: Mapping[str, object]) -> str | None:
    return next((name for name in edit.names if name in space and not _is_made(name, space[name])), None)


def _is_made(name: str, value: object) -> bool:
    """Whether ``type`` has bound a name of a class: so it does for one that has an ``__eq__`` and no ``__hash__``."""
    return name == "__hash__" and value is None


def _has_values(edit: AdditionEdit | ValueEdit | RemovalEdit, owner: type) -> bool:
    """Whether an edit of a class is about more than methods."""
    if isinstance(edit, RemovalEdit):
        return edit.name in class_namespace(owner) and not classes.is_plain_method(class_namespace(owner)[edit.name])
    if isinstance(edit, ValueEdit):
        return True
    made = tuple(constant.name for constant in edit.code.constants if isinstance(constant, Code))
    return not all(name.endswith(made) for name in edit.names)  # a private name is stored with its class's before it


# --- additions -------------------------------------------------------------------------------


def add(module: LinkedModule, edit: AdditionEdit, filename: str, ahead: Ahead, brought: Brought) -> None:
    """Execute statements that are new, and bind what they define."""
    code = fingerprint.decode(edit.code, filename)
    what = f"an addition to {edit.owner or module.object.__name__}"
    where = functools.partial(module.place, edit.line)
    run_it = functools.partial(
        ahead.run, code, module, {*brought.pending(module.object), *edit.names}, what, where, None
    )
    if not edit.owner:
        run_it(exec, code, namespace_of(module.object), _ModuleNamespace(module, edit, brought))
        return
    owner = module.owner(edit.owner)
    assert owner is not None
    namespace = _ClassNamespace(owner, brought.pending(owner), brought.pending(module.object))
    cells = tuple(map(CellType, _captured(code, owner, what, where)))
    run_it(_execute, code, namespace_of(module.object), namespace, cells)
    for name in ("__classcell__", "__classdictcell__"):
        cell = namespace.pop(name, None)
        if isinstance(cell, CellType):
            cell.cell_contents = owner if name == "__classcell__" else class_namespace(owner)
    for name in edit.names:
        value = _as_class_attribute(name, namespace[name])
        if type(owner) not in (type, ABCMeta) and not classes.is_plain_method(value):
            message = f"`{edit.owner}.{name}` may be read when the class is made, by its metaclass"
            raise Refused([finding("BCP207", message, where())])
        named = getattr(type(value), "__set_name__", None)
        if named is not None:
            ahead.call(f"__set_name__ of {name}", where, None, named, value, owner, name)
        brought.in_class(owner, name, value)
    if "__eq__" in edit.names and "__hash__" not in {*brought.pending(owner), *class_namespace(owner)}:
        brought.in_class(owner, "__hash__", None)


class _ModuleNamespace(dict[str, object]):
    """Where added statements of a module store: what they define is bound as soon as it is there."""

    def __init__(self, module: LinkedModule, edit: AdditionEdit, to: Brought) -> None:
        super().__init__(to.pending(module.object))
        self._module, self._edit, self._to = module, edit, to

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, value)
        if name in self._edit.names:
            self._to.bind(self._module, name, value, is_added=not self._edit.extends)


class _ClassNamespace(dict[str, Any]):
    """Where added statements of a class store; they read what the class and then the module will have."""

    def __init__(self, owner: type, pending: Mapping[str, object], around: Mapping[str, object]) -> None:
        super().__init__()
        self._spaces = (pending, class_namespace(owner), around)

    def __missing__(self, name: str) -> object:
        for space in self._spaces:
            if name in space:
                return space[name]
        raise KeyError(name)


def _execute(code: CodeType, space: dict[str, Any], namespace: dict[str, Any], cells: tuple[CellType, ...]) -> None:
    if cells:
        exec(code, space, namespace, closure=cells)
    else:
        exec(code, space, namespace)


def _captured(code: CodeType, owner: type, what: str, where: Callable[[], Place]) -> Iterator[object]:
    """What the body of a generic class captures: its type parameters (PEP 695)."""
    known = {one.__name__: one for one in getattr(owner, "__type_params__", ())}
    known[".type_params"] = getattr(owner, "__type_params__", ())
    for name in code.co_freevars:
        if name not in known:
            raise Refused([finding("BCP212", f"{what} needs {name} of the code around the class", where())])
        yield known[name]


def _as_class_attribute(name: str, value: object) -> object:
    """What ``type`` makes of a function in a class body (``type_new_impl`` in ``Objects/typeobject.c``)."""
    if isinstance(value, FunctionType):
        if name in _IMPLICIT_CLASS_METHODS:
            return classmethod(value)
        if name == "__new__":
            return staticmethod(value)
    return value


# --- values ----------------------------------------------------------------------------------


def change_value(module: LinkedModule, edit: ValueEdit, filename: str, ahead: Ahead, brought: Brought) -> None:
    """Rebind a module's or a class's attribute, if it still holds what its old expression gives."""
    where = functools.partial(module.place, edit.line)
    pending = brought.pending(module.object)
    old = _function(edit.replaces, filename, namespace_of(module.object))
    new = _function(edit.code, filename, {**namespace_of(module.object), **pending})
    before = run(f"the old value of {edit.name}", where, None, old)
    value = ahead.run(new.__code__, module, pending, f"the value of {edit.name}", where, None, new)
    owner = module.owner(edit.owner) if edit.owner else None
    slot = (
        Slot(Kind.NAMESPACE, namespace_of(module.object), edit.name)
        if owner is None
        else Slot(Kind.CLASS, owner, edit.name)
    )
    running = held(slot)
    if not same(running, before):
        if same(running, value):
            return
        message = f"`{edit.name}` no longer is what its old expression gives: the process has changed it"
        raise Refused([finding("BCP512", message, where())])
    if owner is not None:
        brought.in_class(owner, edit.name, value)
        return
    brought.bind(module, edit.name, value)


def _function(code: Any, filename: str, space: dict[str, Any]) -> FunctionType:
    return FunctionType(fingerprint.decode(code, filename), space)


def same(one: object, other: object) -> bool:
    """Whether two values are of one type and content; objects that are not data must be one object."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    match one, other:
        case ((tuple() | list()), (tuple() | list())):
            return len(one) == len(other) and all(map(same, one, other))
        case dict(), dict():
            return len(one) == len(other) and all(
                same(key, twin) and same(one[key], other[twin]) for key, twin in zip(one, other, strict=True)
            )
        case ((set() | frozenset()), (set() | frozenset())):
            return one == other and {(type(item), repr(item)) for item in one} == {
                (type(item), repr(item)) for item in other
            }
        case re.Pattern(), re.Pattern():
            return one.flags == other.flags and same(one.pattern, other.pattern)
    # by text, which tells 0.0 from -0.0 and takes one NaN for another
    return type(one) in (int, str, bytes, float, complex, slice) and repr(one) == repr(other)


# --- removals --------------------------------------------------------------------------------


def remove(module: LinkedModule, edit: RemovalEdit, brought: Brought) -> None:
    """Delete a name in the swap, where it still is there, or take down what it is left with."""
    if edit.owner:
        owner = module.owner(edit.owner)
        assert owner is not None
        slot = Slot(Kind.CLASS, owner, edit.name)
    else:
        slot = Slot(Kind.NAMESPACE, namespace_of(module.object), edit.name)
    old = held(slot)
    if old is ABSENT:
        return
    if edit.stays:
        brought.early.append(Change(slot, old, old))
        brought.left.add((id(module.object), edit.name))
    else:
        brought.changes.append(Change(slot, old, ABSENT))
        if not edit.owner:
            brought.deleted.add((id(module.object), edit.name))
