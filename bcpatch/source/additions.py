"""What the linked policy carries beyond functions: definitions and values added, changed and removed.

Works body by body (a module's, or one class's), on names: a name that only the new body
binds is an addition, one that only the old binds a removal, and an assignment whose
expression changed is a changed value if both expressions are plain enough to be
evaluated again. What that leaves is for the rules of `bcpatch.compile`.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, as_warning, finding
from bcpatch.model import AdditionEdit, Code, Edit, ImportEdit, RemovalEdit, ValueEdit
from bcpatch.source import branches, given, header, importtime, order, readers, shape
from bcpatch.source.evaluated import binds
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


class _Place(msgspec.Struct, frozen=True):
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


def additions(old: Unit, new: Unit, reimported: frozenset[str], optimization: int) -> Found:
    """Compare the bodies of two versions of a module, name by name.

    ``reimported`` are names whose import statements bind something else in the new version.
    """
    found = Found()
    found.changed.update(("", name) for name in reimported)
    module = _Place(old, new, None, None, optimization)
    _body(module, found)
    running = {made.qualname: made for made in old.classes}
    count = Counter(made.qualname for made in old.classes) | Counter(made.qualname for made in new.classes)
    for made in new.classes:
        before = running.get(made.qualname) if count[made.qualname] == 1 else None
        if before is not None and not found.handles(*made.chain):
            _body(_Place(old, new, before, made, optimization), found)
    _follow_readers(module, found)
    found.edits.sort(key=lambda edit: getattr(edit, "line", 0))  # what a statement reads stands above it
    return found


def stale(new: Unit, found: Found, imports: Iterable[ImportEdit | RemovalEdit], anew: set[int]) -> Iterator[Diagnostic]:
    """Statements that used the old value of a name. ``anew`` are the nodes, by id, that are evaluated again."""
    hiding = {name for owner, name in found.hiding if not owner}
    owners = _first_lines((*found.edits, *imports))
    return readers.stale(new, found.names() | hiding, found.attributes(), found.hiding, owners, found.handles, anew)


def _first_lines(edits: Iterable[Edit]) -> dict[str, int]:
    """The classes, and "" for the module, whose names change, with the first line that makes one; 0 for a removal."""
    lines: dict[str, int] = {}
    for edit in edits:
        if isinstance(edit, (AdditionEdit, ValueEdit, RemovalEdit, ImportEdit)):
            owner = "" if isinstance(edit, ImportEdit) else edit.owner
            line = 0 if isinstance(edit, RemovalEdit) else edit.line
            lines[owner] = min(lines.get(owner, line), line)
    return lines


def premature(new: Unit, found: Found, changed: frozenset[str]) -> Iterator[Diagnostic]:
    """Added statements that run what changes in the same swap."""
    return readers.premature(new, found.added, found.names(), changed)


# --- one body ------------------------------------------------------------------------------


def _body(at: _Place, found: Found) -> None:
    there = at.before.node.body if at.before else at.old.tree.body
    here = at.after.node.body if at.after else at.new.tree.body
    _block(there, here, at, found)
    _compounds(there, here, at, found)


def _block(before: Sequence[ast.stmt], after: Sequence[ast.stmt], at: _Place, found: Found) -> None:
    """Compare the definitions and assignments of two lists of statements."""
    was, now = binders(before), binders(after)
    imported = _imported(at.old) if at.before is None else frozenset()
    added: list[Binding] = []
    for name, here in now.items():
        there = was.get(name, [])
        if not there:
            added += here
        elif is_value(there) and is_value(here):
            _value(there[0], here[0], at, found)
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


# --- compound statements -------------------------------------------------------------------


def _compounds(was: Sequence[ast.stmt], now: Sequence[ast.stmt], at: _Place, found: Found) -> None:
    """Compare ``if`` and ``try`` statements arm by arm, and take those that are new as additions."""
    shapes = [shape.shape(one) for one in now]
    left = [one for one in was if isinstance(one, branches.COMPOUND) and shape.shape(one) not in shapes]
    known = [shape.shape(one) for one in was]
    for statement in now:
        if not isinstance(statement, branches.COMPOUND) or shape.shape(statement) in known:
            continue
        if isinstance(statement, ast.If) and shape.is_main_guard(statement.test):
            continue
        same = [one for one in left if branches.head(one) == branches.head(statement)]
        if same:
            left.remove(same[0])
            _arms(same[0], statement, _hidden_behind(was, same[0], now, statement, at), at, found)
        else:
            _whole(statement, at, found)


def _hidden_behind(
    was: Sequence[ast.stmt], before: ast.stmt, now: Sequence[ast.stmt], after: ast.stmt, at: _Place
) -> set[str]:
    """The names of which a process can't tell whether they hold what a statement binds, or what one behind it does.

    It tells where all of that are constants, and others in the one than in the others.
    """
    later = was[was.index(before) + 1 :]
    behind = {name for one in (*later, *now[now.index(after) + 1 :]) for name in binds(one)}
    told = set()
    for name in behind:
        first, second = _constants([before], name), _constants(later, name)
        if first is not None and second is not None and first.isdisjoint(second):
            told.add(name)
    return {mangled(name, at.after) for name in behind - told}


def _constants(body: Sequence[ast.stmt], name: str) -> set[tuple[type, str]] | None:
    """The constants that some statements may bind to a name; None where they may bind anything else to it."""
    found: set[tuple[type, str]] = set()
    bound = 0
    for node in (node for statement in body for node in ast.walk(statement)):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Constant(value=value)) if target == name:
                found.add((type(value), repr(value)))
                bound += 1
    return found if bound == sum([one == name for statement in body for one in binds(statement)]) else None


def _arms(was: ast.stmt, now: ast.stmt, hidden: set[str], at: _Place, found: Found) -> None:
    """Take the edits of every arm, if all that differs in them are edits, and none of a ``hidden`` name."""
    if branches.tries_less(was, now, at.new.source.module):
        return
    known = known_names(at.old, at.before) - at.old.stored_globals
    trial = Found(handled=set(found.handled))
    for (arm, before), (_, after) in zip(branches.arms(was), branches.arms(now), strict=True):
        if [ast.dump(one) for one in before] == [ast.dump(one) for one in after]:
            continue
        if any(order.differences(before, after)):
            return
        test = branches.condition(was, now, arm, known, at.new.source.module)
        when = None if test is None else header.value(at.new, test, None, at.level)
        inside = replace(at, when=when, is_branch=True)
        _block(before, after, inside, trial)
        if at.after is None:
            _imports_of_arm(before, after, inside, trial)
        shapes = [
            [shape.shape(one) for one in block if not trial.handles(one) and not _is_silent(one)]
            for block in (before, after)
        ]
        if shapes[0] != shapes[1] or (when is None and len(trial.edits)):
            return
    if not hidden.isdisjoint(name for edit in trial.edits for name in _names(edit)):
        return
    trial.handled.update((id(was), id(now)))
    found.take(trial)


def _names(edit: Edit) -> tuple[str, ...]:
    """The names of a body that an edit binds or deletes."""
    match edit:
        case AdditionEdit(names=names):
            return names
        case ValueEdit(name=name) | RemovalEdit(name=name):
            return (name,)
        case ImportEdit(binding=binding):
            return (binding.name,)
    return ()


def _is_silent(statement: ast.stmt) -> bool:
    """Whether a statement does nothing but define a function or a class, or nothing at all."""
    if isinstance(statement, ast.ClassDef):
        return not (statement.decorator_list or statement.bases or statement.keywords)
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return not statement.decorator_list
    return isinstance(statement, ast.Pass)


def _imports_of_arm(was: Sequence[ast.stmt], now: Sequence[ast.stmt], at: _Place, found: Found) -> None:
    bound = [
        [
            ((binding.name, binding.submodule), (binding, one))
            for one in body
            if isinstance(one, (ast.Import, ast.ImportFrom))
            for binding in shape.bindings(one, at.new.source.module)
        ]
        for body in (was, now)
    ]
    before, after = map(dict, bound)
    if len(before) + len(after) < sum(map(len, bound)):  # one import of a name after another, which may fail before it
        return
    for key, (binding, statement) in after.items():
        replaced = before.get(key)
        if binding.name != "*" and (replaced is None or replaced[0] != binding):
            old = replaced[0] if replaced else None
            found.edits.append(ImportEdit(binding, old, statement.lineno, at.when))
            (found.changed if old else found.hiding).add(("", binding.name))
    for body in (was, now):
        found.handled.update(
            id(one) for one in body if isinstance(one, (ast.Import, ast.ImportFrom)) and not shape.is_star(one)
        )


def _whole(statement: ast.stmt, at: _Place, found: Found) -> None:
    """A compound statement that is new: it runs as a whole, and binds what it binds."""
    names = list(dict.fromkeys(mangled(name, at.after) for name in binds(statement)))
    there = {name for one in (at.before.node.body if at.before else at.old.tree.body) for name in binds(one)}
    imported = _imported(at.old) if at.before is None else frozenset()
    if not names or not branches.is_simple(statement) or not there.intersection(names) <= imported:
        return
    extends = not there.isdisjoint(names)
    code = header.statements(at.new, [statement], at.after, at.level)
    found.edits.append(AdditionEdit(at.owner, tuple(names), code, statement.lineno, extends, at.when))
    found.handled.add(id(statement))
    found.added.append(statement)
    for name in names:
        (found.changed if name in there else found.hiding).add((at.owner, name))


def _statements(some: Sequence[Binding]) -> list[ast.stmt]:
    return list({id(one.statement): one.statement for one in some}.values())


def _imported(unit: Unit) -> frozenset[str]:
    return frozenset(one.name for one in shape.imports(unit.tree, unit.source.module, frozenset()))


def _is_one_function(some: Sequence[Binding]) -> bool:
    return bool(some) and all(one.is_function for one in some) and _is_property(some)


def _is_property(some: Sequence[Binding]) -> bool:
    """Whether each of some definitions makes its name from the one before it, if there is one."""
    return all(_is_pure(one.statement) for one in some) and all(
        any(importtime.last_name(mark) in _PROPERTY_PARTS for mark in getattr(one.statement, "decorator_list", ()))
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


def _add(statements: list[ast.stmt], at: _Place, found: Found, *, extends: bool) -> None:
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


def _part(statement: ast.stmt, some: Sequence[Binding], at: _Place, found: Found) -> None:
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


def _value(was: Binding, now: Binding, at: _Place, found: Found, *, forced: bool = False) -> bool:
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
    late = list(readers.too_late(at.new, now.value))
    found.diagnostics += late
    found.edits.append(ValueEdit(at.owner, name, codes[0], codes[1], now.statement.lineno, at.when))
    found.settle(was, now)
    found.changed.add((at.owner, name))
    return True


def _follow_readers(at: _Place, found: Found) -> None:
    """Values computed from changed names change with them."""
    before = {name: one[0] for name, one in binders(at.old.tree.body).items() if is_value(one)}
    now = {name: one[0] for name, one in binders(at.new.tree.body).items() if is_value(one)}
    waiting = [name for name in now if name in before and ("", name) not in found.changed]
    grown = True
    while grown:
        grown = False
        names = found.names()
        for name in list(waiting):
            value = now[name].value
            if value is not None and readers.reads_any(value, names):
                waiting.remove(name)
                grown = _value(before[name], now[name], at, found, forced=True) or grown


# --- removals ------------------------------------------------------------------------------


def _remove(name: str, some: Sequence[Binding], at: _Place, found: Found) -> None:
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
    rebound = at.before is None and name in _imported(at.new)
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


def _holders(name: str, some: Sequence[Binding], at: _Place) -> Iterator[str]:
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
    return (one for one in getattr(statement, "decorator_list", ()) if importtime.last_name(one) not in _PURE)
