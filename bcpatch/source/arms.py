"""Compound statements of two versions of a body: what differs in their arms, and those that are new.

Edits of an arm are for the processes in which it ran. What can't be told is left to other rules.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from msgspec.structs import replace

from bcpatch.model import AdditionEdit, Edit, ImportEdit, RemovalEdit, ValueEdit
from bcpatch.source import branches, header, order, shape
from bcpatch.source.bodies import Found, Place, block, import_names
from bcpatch.source.evaluated import binds
from bcpatch.source.values import known_names, mangled


def compare(was: Sequence[ast.stmt], now: Sequence[ast.stmt], at: Place, found: Found) -> None:
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
    was: Sequence[ast.stmt], before: ast.stmt, now: Sequence[ast.stmt], after: ast.stmt, at: Place
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


def _arms(was: ast.stmt, now: ast.stmt, hidden: set[str], at: Place, found: Found) -> None:
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
        block(before, after, inside, trial)
        if at.after is None:
            _imports_of_arm(before, after, inside, trial)
        shapes = [
            [shape.shape(one) for one in body if not trial.handles(one) and not _is_silent(one)]
            for body in (before, after)
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


def _imports_of_arm(was: Sequence[ast.stmt], now: Sequence[ast.stmt], at: Place, found: Found) -> None:
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


def _whole(statement: ast.stmt, at: Place, found: Found) -> None:
    """A compound statement that is new: it runs as a whole, and binds what it binds."""
    names = list(dict.fromkeys(mangled(name, at.after) for name in binds(statement)))
    there = {name for one in (at.before.node.body if at.before else at.old.tree.body) for name in binds(one)}
    imported = import_names(at.old) if at.before is None else frozenset()
    if not names or not branches.is_simple(statement) or not there.intersection(names) <= imported:
        return
    extends = not there.isdisjoint(names)
    code = header.statements(at.new, [statement], at.after, at.level)
    found.edits.append(AdditionEdit(at.owner, tuple(names), code, statement.lineno, extends, at.when))
    found.handled.add(id(statement))
    found.added.append(statement)
    for name in names:
        (found.changed if name in there else found.hiding).add((at.owner, name))
