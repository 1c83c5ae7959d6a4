"""Two versions of a body, a module's or one class's, compared name by name: what is added, changed and removed.

A name that only the new body binds is an addition, one that only the old binds a removal, and an assignment whose
expression changed is a changed value if both expressions are plain enough to be evaluated again. Looks at the
definitions and assignments of a list of statements, and at no branch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, as_warning, finding
from bcpatch.model import AdditionEdit, Code, Edit, RemovalEdit, ValueEdit
from bcpatch.source import given, header, readers, shape
from bcpatch.source.outline import Class, Unit
from bcpatch.source.values import Binding, binders, bindings, is_evaluable, is_shared, is_value, known_names, mangled

#: Decorators that leave nothing behind but what they return, by the last part of their name.
_PURE = frozenset(
    """
    property setter getter deleter staticmethod classmethod cached_property cache lru_cache wraps
    contextmanager asynccontextmanager overload abstractmethod singledispatchmethod override final
    """.split()
)
#: Decorators that make a property from one that has the name already.
_PROPERTY_PARTS = frozenset({"setter", "getter", "deleter"})
#: Methods that ``type`` reads or converts when it makes a class.
_READ_BY_TYPE = frozenset({"__eq__", "__hash__", "__new__", "__init_subclass__", "__class_getitem__"})
#: Methods that a class is asked for when its subclasses or the owners of its instances are made.
_CALLED_ONCE = frozenset({"__init_subclass__", "__set_name__", "__prepare__", "__mro_entries__"})


class Found(msgspec.Struct):
    """The edits of one or more bodies, and the statements of either version that need no other rule.

    ``changed`` are names, with their class, that hold something else after the swap; ``hiding`` are
    new ones, which come to hide inherited, global or built-in ones.
    """

    edits: list[Edit] = msgspec.field(default_factory=list)
    diagnostics: list[Diagnostic] = msgspec.field(default_factory=list)
    handled: set[int] = msgspec.field(default_factory=set)
    added: list[ast.stmt] = msgspec.field(default_factory=list)
    changed: set[tuple[str, str]] = msgspec.field(default_factory=set)
    hiding: set[tuple[str, str]] = msgspec.field(default_factory=set)
    settled: dict[int, set[str]] = msgspec.field(default_factory=dict)

    def handles(self, *nodes: ast.AST) -> bool:
        """Whether a statement is one of these, or stands inside of one."""
        return any(id(node) in self.handled for node in nodes)

    def names(self) -> set[str]:
        """The names of the module that hold something else after the swap."""
        return {name for owner, name in self.changed if not owner}

    def take(self, other: Found) -> None:
        """Add what was found elsewhere."""
        self.edits += other.edits
        self.diagnostics += other.diagnostics
        self.handled |= other.handled
        self.added += other.added
        self.changed |= other.changed
        self.hiding |= other.hiding
        self.settled.update(other.settled)

    def attributes(self) -> set[str]:
        """The same of its classes."""
        return {name for owner, name in self.changed if owner}

    def settle(self, *some: Binding) -> None:
        """One name of a statement is dealt with; when all of its names are, so is the statement."""
        for binding in some:
            names = self.settled.setdefault(id(binding.statement), set())
            names.add(binding.name)
            if names.issuperset(one.name for one in bindings(binding.statement)):
                self.handled.add(id(binding.statement))


class Place(msgspec.Struct, frozen=True):
    """A body of both versions, and what is needed to make edits of it."""

    old: Unit
    new: Unit
    before: Class | None
    after: Class | None
    level: int
    when: Code | None = None
    is_branch: bool = False

    @property
    def owner(self) -> str:
        return self.after.qualname if self.after else ""


def block(before: Sequence[ast.stmt], after: Sequence[ast.stmt], at: Place, found: Found) -> None:
    """Compare the definitions and assignments of two lists of statements."""
    was, now = binders(before), binders(after)
    imported = import_names(at.old) if at.before is None else frozenset()
    added: list[Binding] = []
    for name, here in now.items():
        there = was.get(name, [])
        if not there:
            added += here
        elif is_value(there) and is_value(here):
            value_changed(there[0], here[0], at, found)
        elif all(one.is_function for one in (*there, *here)):
            _add([one.statement for one in _grown(there, here, found)], at, found, extends=True)
        elif is_value(there) and _is_plain(there[0], at.old, at.before) and _is_one_function(here):
            found.settle(*there)
            _add([one.statement for one in here], at, found, extends=True)
    for statement in _statements(added):
        names = [one.name for one in bindings(statement)]
        if all(name not in was for name in names):
            _add([statement], at, found, extends=any(name in imported for name in names))
        else:
            _part(statement, [one for one in added if one.statement is statement], at, found)
    for name, there in was.items():
        if name not in now:
            _remove(name, there, at, found)


def _statements(some: Sequence[Binding]) -> list[ast.stmt]:
    return list({id(one.statement): one.statement for one in some}.values())


def import_names(unit: Unit) -> frozenset[str]:
    return frozenset(one.name for one in shape.imports(unit.tree, unit.source.module, frozenset()))


def _is_one_function(some: Sequence[Binding]) -> bool:
    return bool(some) and all(one.is_function for one in some) and _is_property(some)


def _is_property(some: Sequence[Binding]) -> bool:
    """Whether each of some definitions makes its name from the one before it, if there is one."""
    return all(_is_pure(one.statement) for one in some) and all(
        any(shape.last_name(mark) in _PROPERTY_PARTS for mark in getattr(one.statement, "decorator_list", ()))
        for one in some[1:]
    )


def _is_plain(binding: Binding, unit: Unit, owner: Class | None) -> bool:
    return binding.value is not None and is_evaluable(binding.value, known_names(unit, owner))


def _grown(was: Sequence[Binding], now: Sequence[Binding], found: Found) -> list[Binding]:
    """Definitions of a name that has others already: a setter beside its getter, an overload before its function.

    What is executed anew are all parts of a property that were added, else the last definition,
    which is the one that stays bound; one before it leaves nothing behind.
    """
    known = [shape.shape(one.statement) for one in was]
    more = []
    for one in now:
        text = shape.shape(one.statement)
        if text in known:
            known.remove(text)
        else:
            more.append(one)
    if len(now) <= len(was) or len(now) - len(was) != len(more) or not all(_is_pure(one.statement) for one in more):
        return []
    found.settle(*more)
    if _is_property(now):
        return more
    return [now[-1]] if now[-1] in more else []


def _add(statements: list[ast.stmt], at: Place, found: Found, *, extends: bool) -> None:
    if not statements:
        return
    for statement in statements:
        problem = None if at.after is None else _class_obstacle(statement, at.after)
        if problem:
            found.diagnostics.append(finding("BCP207", problem, at.new.place(statement)))
        elif at.after is not None and isinstance(statement, shape.DEFINITIONS):
            found.diagnostics += _unseen(statement, at.after, at.new)
        found.handled.add(id(statement))
    names = dict.fromkeys(mangled(one.name, at.after) for statement in statements for one in bindings(statement))
    code = header.statements(at.new, [_bare(statement) for statement in statements], at.after, at.level)
    found.edits.append(AdditionEdit(at.owner, tuple(names), code, statements[0].lineno, extends, at.when))
    found.added += statements
    (found.changed if extends else found.hiding).update((at.owner, name) for name in names)


def _part(statement: ast.stmt, some: Sequence[Binding], at: Place, found: Found) -> None:
    """Names that an assignment binds anew beside names that there were already."""
    for one in some:
        if one.value is not None and not is_shared(one):
            target = ast.copy_location(ast.Name(one.name, ast.Store()), statement)
            alone: ast.stmt = ast.copy_location(ast.Assign([target], one.value), statement)
            _add([alone], at, found, extends=False)
            found.settle(one)


def _bare(statement: ast.stmt) -> ast.stmt:
    """An assignment without its annotation: annotations are edits of their own."""
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return ast.copy_location(ast.Assign([statement.target], statement.value), statement)
    return statement


def _class_obstacle(statement: ast.stmt, owner: Class) -> str | None:
    """Why a class can't be given this after it was made, as far as the source tells."""
    decorated = bool(owner.node.decorator_list)
    if isinstance(statement, shape.DEFINITIONS):
        if statement.name in _CALLED_ONCE and statement.name != "__init_subclass__":
            return f"`{statement.name}` is called once for each class, and classes have been made"
        if decorated and statement.name.startswith("__") and statement.name.endswith("__"):
            return f"a decorator of `{owner.qualname}` may have read or replaced `{statement.name}`"
        return None
    for binding in bindings(statement):
        if decorated or (binding.name.startswith("__") and binding.name.endswith("__")):
            return f"`{binding.name}` may be read when `{owner.qualname}` is made"
    return None


def _unseen(
    method: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, owner: Class, unit: Unit
) -> Iterator[Diagnostic]:
    """What a decorator of a class did to its methods, and does not do to one that is added now."""
    for taker in given.class_takers(unit, owner.chain):
        message = (
            f"`{owner.qualname}` was given to `{ast.unparse(taker)}` (line {taker.lineno}) when the module was "
            f"imported; what that made of its methods does not have `{method.name}`"
        )
        yield as_warning(finding("BCP217", message, unit.place(method)))


# --- values --------------------------------------------------------------------------------


def value_changed(was: Binding, now: Binding, at: Place, found: Found, *, forced: bool = False) -> bool:
    """A changed value, if the rule lets it be evaluated again; else nothing, and other rules speak."""
    assert was.value is not None
    assert now.value is not None
    same_shape = shape.shape(was.statement) == shape.shape(now.statement)
    if same_shape and not forced:
        return False
    codes = [header.value(at.new, one.value, at.after, at.level) for one in (was, now) if one.value is not None]
    if not forced and fingerprint.digest(codes[0]) == fingerprint.digest(codes[1]):
        found.settle(was, now)
        return False
    known = known_names(at.new, at.after), known_names(at.old, at.before)
    if not (is_evaluable(now.value, known[0]) and is_evaluable(was.value, known[0] | known[1])):
        return False
    if is_shared(was) or is_shared(now):
        return False
    name = mangled(now.name, at.after)
    if at.after is not None and (at.after.node.decorator_list or (name.startswith("__") and name.endswith("__"))):
        return False
    late = list(readers.too_late(at.new, now.value, at.after.node if at.after else None, ()))
    found.diagnostics += late
    found.edits.append(ValueEdit(at.owner, name, codes[0], codes[1], now.statement.lineno, at.when))
    found.settle(was, now)
    found.changed.add((at.owner, name))
    return True


# --- removals ------------------------------------------------------------------------------


def _remove(name: str, some: Sequence[Binding], at: Place, found: Found) -> None:
    elsewhere = at.before is None and name in at.new.stored_globals
    if elsewhere or (at.is_branch and (at.before is not None or shape.has_stand_in(name, at.new.tree))):
        message = f"`{name}` is gone from {'here' if elsewhere else 'one branch'}: what stands for it then is not known"
        found.diagnostics.append(finding("BCP202", message, at.old.place(some[-1].statement)))
        return
    if at.before is not None and at.before.node.decorator_list and not all(one.is_function for one in some):
        return
    holder = next(_holders(name, some, at), None)
    if holder:
        owner = f"{at.before.qualname}." if at.before else ""
        message = f"`{owner}{name}` of the base is gone, and {holder}"
        found.diagnostics.append(finding("BCP202", message, at.old.place(some[-1].statement)))
        found.settle(*some)
        return
    rebound = at.before is None and name in import_names(at.new)
    found.settle(*some)
    if not rebound:
        found.changed.add((at.owner, mangled(name, at.before)))
    if at.before is not None:
        found.edits.append(RemovalEdit(at.before.qualname, mangled(name, at.before)))
    elif shape.has_stand_in(name, at.new.tree) and not rebound:
        found.edits.append(RemovalEdit("", name))
    elif not rebound:
        if not at.is_branch:
            found.edits.append(RemovalEdit("", name, stays=True))
        found.diagnostics.append(
            finding("BCP216", f"`{name}` stays bound in the running module", at.old.place(some[-1].statement))
        )


def _holders(name: str, some: Sequence[Binding], at: Place) -> Iterator[str]:
    """What may have made more of a definition than a name that is bound to it, in words."""
    for one in some:
        statement = one.statement
        if isinstance(statement, ast.ClassDef):
            yield from (_may_hold(taker) for taker in given.class_takers(at.old, [statement]))
        else:
            yield from (_may_hold(taker) for taker in _impure(statement))
    if at.before is None:
        return
    yield from (_may_hold(taker) for taker in given.class_takers(at.old, at.before.chain))
    if name.startswith("__") and name.endswith("__"):
        if at.before.node.decorator_list:
            yield f"a decorator of `{at.before.qualname}` may have read it"
        elif name in _READ_BY_TYPE | _CALLED_ONCE or not all(one.is_function for one in some):
            yield f"it may have been read when `{at.before.qualname}` was made"


def _may_hold(taker: ast.expr) -> str:
    return f"`{ast.unparse(taker)}` (line {taker.lineno}) may hold it"


def _is_pure(statement: ast.stmt) -> bool:
    """Whether executing a definition of a function did nothing but bind its name."""
    return not isinstance(statement, ast.ClassDef) and not any(_impure(statement))


def _impure(statement: ast.stmt) -> Iterator[ast.expr]:
    """The decorators of a function that are not known to leave nothing behind but what they return."""
    return (one for one in getattr(statement, "decorator_list", ()) if shape.last_name(one) not in _PURE)
