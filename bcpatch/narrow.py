"""Two versions of a source compared where they differ, and nowhere else.

Equal sections of a text compile to equal code but for its lines. So the sections that
differ are compiled and compared as `bcpatch.compile` does it, each gap between equal ones
by itself, and of those below it is told that they have moved. That is done only where the
sections around can't have a say; else None comes back, and the whole is to be compared.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from bcpatch import compile as compiler
from bcpatch.diagnostics import Diagnostic, Refused
from bcpatch.model import (
    ClassPositionEdit,
    Code,
    Edit,
    FunctionEdit,
    Import,
    Policy,
    PositionEdit,
    Site,
    Turns,
)
from bcpatch.pythons import CLASS_BODY_POSITIONS
from bcpatch.source import facts, given, named, shape
from bcpatch.source.evaluated import binds
from bcpatch.source.instances import Gained
from bcpatch.source.outline import Class, Function, Source, Surroundings, Unit
from bcpatch.source.pairing import context_key
from bcpatch.source.versions import FUTURE_FLAGS, Untold, Version, future, read
from bcpatch.splices import in_order


class Compared(NamedTuple):
    """The edits between two versions of a module, findings about them, and all that the new one imports.

    ``gained`` as in `bcpatch.compile.Changes`.
    """

    edits: tuple[Edit, ...]
    diagnostics: tuple[Diagnostic, ...]
    imports: tuple[Import, ...]
    turns: tuple[Turns, ...] = ()
    gained: tuple[Gained, ...] = ()


class _Gap(msgspec.Struct, frozen=True):
    """Neighbouring sections of both versions that differ; either may be none."""

    old: range
    new: range


def compared(base: Source, source: Source, policy: Policy, optimization: int) -> Compared | None:
    """The difference between two versions of a source, where the sections that differ tell all of it."""
    before, after = read(base), read(source)
    if before is None or after is None or before.names.special or after.names.special:
        return None
    try:
        found = list(_in_gaps(before, after, policy, optimization))
    except (Refused, Untold):
        return None
    edits = [edit for changed in found for edit in changed.edits]
    said = [changed.diagnostics for changed in found if changed.diagnostics]
    switched = [edit for edit in edits if isinstance(edit, FunctionEdit)]
    evaluated = set().union(*map(_read_by, switched))
    if len(said) > 1 or (evaluated and after.names.binds(evaluated)):
        return None
    edits.sort(key=_turn)
    return Compared(tuple(edits), said[0] if said else (), after.names.imports)


def prepare(source: Source, optimization: int) -> Iterator[None]:
    """Find out, step by step, what a comparison of a source with its next version will ask."""
    version = read(source)
    yield
    if version is not None and not version.names.special:
        with suppress(Refused, Untold):
            flags = future(version, None, optimization)
            standings = version.standings(Surroundings(flags, optimization, version.names.imported))
            for number in range(len(version.sections)):
                standings.of(number)
                yield


def _turn(edit: Edit) -> int:
    """Classes first, functions in the order of their lines last: as where the whole is compared."""
    return _TURNS.get(type(edit), 1)


_TURNS: Final[dict[type, int]] = {ClassPositionEdit: 0, FunctionEdit: 2, PositionEdit: 2}


def _in_gaps(before: Version, after: Version, policy: Policy, optimization: int) -> Iterator[compiler.Changes]:
    """What differs in each gap, and what has moved below it. Raises Refused, and Untold where the rest has a say."""
    gaps = _gaps(before, after)
    flags = future(after, gaps[0].new.start if gaps else None, optimization)
    was, now = (Surroundings(flags, optimization, one.names.imported) for one in (before, after))
    if was != now:
        raise Untold
    around = now
    run = _may_have_run(after)
    for number, gap in enumerate(gaps):
        old = before.between(gap.old, was, _Ordinals(before, around, gap.old.start))
        ordinals = _Ordinals(after, around, gap.new.start)
        new = after.between(gap.new, now, ordinals)
        if not _is_calm(old, new) or _is_elsewhere(new, after, gap.new):
            raise Untold
        was = now = now._replace(flags=new.code.co_flags & FUTURE_FLAGS)
        changed = compiler.changes(old, new, policy, optimization)
        if changed.gained:  # what reads it, and classes that it may come from, may stand anywhere
            raise Untold
        switched = {edit.site: edit for edit in changed.edits if isinstance(edit, FunctionEdit)}
        if any(
            _is_among(one, run) or _is_run_by_decorator(one, after) for one in new.functions if one.site in switched
        ):
            raise Untold
        if any(_may_be_known(*pair, after) for pair in zip(old.functions, new.functions, strict=True)):
            raise Untold
        if any(_has_twin(edit, before, around, gap.old) for edit in switched.values()):
            raise Untold
        yield changed
        end = gaps[number + 1].new.start if number + 1 < len(gaps) else len(after.sections)
        below = range(gap.new.stop, end)
        lines = _lines_between(before, after, gap)
        if below and lines:
            yield compiler.Changes(tuple(_moved(after, below, lines, now, ordinals)), ())


def _gaps(before: Version, after: Version) -> list[_Gap]:
    """What stands between the sections that stay as they are, in both versions.

    These are the equal ones above and below all that differs, and between these such as there is
    one of in both versions. ``from __future__`` imports stand first in a module: what they stand in,
    and what stands above them, belongs to what differs, unless all of it is equal.
    """
    both = before.texts, after.texts
    above = _equal(*both)
    last = [max(version.names.futures, default=-1) for version in (before, after)]
    first = (above, above)
    if max(last) >= above:
        above, first = 0, (last[0] + 1, last[1] + 1)
    left = [texts[start:] for texts, start in zip(both, first, strict=True)]
    below = _equal(*(texts[::-1] for texts in left))
    places = [_alone(texts[: len(texts) - below], start) for texts, start in zip(left, first, strict=True)]
    edges = [
        (above - 1, above - 1),
        *in_order([(number, places[1][text]) for text, number in places[0].items() if text in places[1]]),
        (len(both[0]) - below, len(both[1]) - below),
    ]
    return [_Gap(range(a + 1, b), range(c + 1, d)) for (a, c), (b, d) in pairwise(edges) if b - a > 1 or d - c > 1]


def _equal(one: Sequence[str], other: Sequence[str]) -> int:
    """How many texts are equal before the first two that differ."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _alone(texts: Sequence[str], start: int) -> dict[str, int]:
    """The texts that there is one of, and their numbers."""
    times = Counter(texts)
    return {text: number for number, text in enumerate(texts, start) if times[text] == 1}


def _lines_between(before: Version, after: Version, gap: _Gap) -> int:
    """How many lines what stands below a gap has moved down, if there is anything."""
    if gap.new.stop == len(after.sections):
        return 0
    return after.sections.above[gap.new.stop] - before.sections.above[gap.old.stop]


class _Ordinals(dict[str, int]):
    """How many functions of a qualified name stand above some section of a version; counted when it is asked for."""

    def __init__(self, version: Version, around: Surroundings, above: int) -> None:
        super().__init__()
        self._version = version
        self._standings = version.standings(around)
        self._above = above

    def __missing__(self, qualname: str) -> int:
        numbers = self._version.homes(qualname)
        if not numbers or numbers[0] >= self._above:
            return 0
        found = [self._standings.of(number) for number in numbers if number < self._above]
        return sum([one.qualname == qualname for standings in found for one in standings.functions])


# --- whether the sections around have a say --------------------------------------------------


def _is_calm(old: Unit, new: Unit) -> bool:
    """Whether no more differs than the insides, headers and lines of functions, each in its turn."""
    if old.unplaced or new.unplaced or old.merged or new.merged:
        return False
    if (old.code.co_flags ^ new.code.co_flags) & FUTURE_FLAGS:
        return False
    if [*map(context_key, old.functions)] != [*map(context_key, new.functions)]:
        return False
    if [one.qualname for one in old.classes] != [one.qualname for one in new.classes]:
        return False
    was, now = (
        [_executed(unit, unit.tree, unit), *(_executed(one, one.node, unit) for one in unit.classes)]
        for unit in (old, new)
    )
    return was == now


def _executed(made: Unit | Class, node: ast.Module | ast.ClassDef, unit: Unit) -> object:
    """All that a body does but for the insides of its functions and classes."""
    body = made.body
    return (
        body.docstring,
        shape.dumped(body.annotations),
        [one.shape for one in (*body.statements, *body.program)],
        [binding for one in body.imports for binding in shape.bindings(one, unit.source.module)],
        [ast.dump(one) for name in ("bases", "keywords", "type_params") for one in getattr(node, name, ())],
        [shape.shape(one) for one in getattr(node, "decorator_list", ())],
        [(type(one), one.name) for one in node.body if isinstance(one, shape.DEFINITIONS)],
    )


def _read_by(edit: FunctionEdit) -> set[str]:
    """The names that are read by what a patch evaluates of a function's header."""
    codes = [one.expression for one in (*edit.positional, *edit.keywords) if one.changed]
    if edit.annotations.changed and edit.annotations.code is not None:
        codes.append(edit.annotations.code)
    return set().union(*map(_names, codes))


def _names(code: Code) -> set[str]:
    inner = (_names(constant) for constant in code.constants if isinstance(constant, Code))
    return set(code.names).union(code.freevars, *inner)


def _is_elsewhere(unit: Unit, version: Version, stretch: range) -> bool:
    """Whether a class of a part has a namesake in the rest."""
    classes = {one.chain[0].name for one in unit.classes}
    return any(number not in stretch for name in classes for number in version.names.homes.get(name, ()))


def _has_twin(edit: FunctionEdit, version: Version, around: Surroundings, stretch: range) -> bool:
    """Whether a namesake of a function, which is not in its stretch of sections, does what it did, or does now."""
    qualname, standings = edit.site.qualname, version.standings(around)
    others = [standings.of(number) for number in version.homes(qualname) if number not in stretch]
    found = (one for some in others for one in some.functions)
    return any(one.qualname == qualname and one.print in (edit.replaces, edit.brings) for one in found)


def _may_be_known(before: Function, after: Function, version: Version) -> bool:
    """Whether import-time code may have been given a function that shows itself as another one now."""
    if not given.shows(before, after):
        return False
    decorated = not isinstance(after.node, ast.Lambda) and bool(after.node.decorator_list)
    if decorated or any(one.decorator_list for one in after.chain):
        return True
    return any(after.name in text and after.name in facts.given(text) for text in version.texts)


def _may_have_run(version: Version) -> set[str]:
    """The names of what the import of the module may have run: those that names lead to from there, at least."""
    reached: set[str] = set()
    waiting = [*version.names.called, *named.CLASS_STATEMENT, *_called_back(version, version.names.handed)]
    entered = set()
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for number in version.names.homes.get(name, ()):
            if number not in entered:
                entered.add(number)
                text = version.texts[number]
                waiting += facts.may_call(text)
                waiting += _called_back(version, facts.handed(text))
    return reached


def _called_back(version: Version, handed: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Those of some names that are given to what the module defines and what calls what it is given."""
    return (name for callee, name in handed if _calls_what_it_is_given(version, callee))


def _calls_what_it_is_given(version: Version, callee: str) -> bool:
    return any(callee in facts.callers(version.texts[number]) for number in version.names.homes.get(callee, ()))


def _is_among(function: Function, run: Set[str]) -> bool:
    """Whether a function is one of those that were called by these names."""
    # making the class calls it, or an operator on an object
    made_by = function.chain[-1].name if function.chain and shape.is_special(function.name) else None
    if isinstance(function.node, ast.Lambda):  # called by what its statement names it, or there
        nodes = list(ast.walk(function.statement))
        return not run.isdisjoint(binds(function.statement)) or any(isinstance(one, ast.Call) for one in nodes)
    return function.name in run or made_by in run


def _is_run_by_decorator(function: Function, version: Version) -> bool:
    """Whether a decorator of the module may call a function that it is given."""
    marks = getattr(function.node, "decorator_list", ())
    return any(_calls_what_it_is_given(version, name) for name in map(shape.last_name, marks) if name is not None)


# --- what moved ------------------------------------------------------------------------------


def _moved(
    version: Version, stretch: range, lines: int, around: Surroundings, ordinals: dict[str, int]
) -> Iterator[Edit]:
    """The edits of sections that stand some lines further down. Raises Untold where they are not that simple."""
    module = version.source.module.name
    standings = version.standings(around)
    for number in stretch:
        above = version.sections.above[number]
        found = standings.of(number)
        if not found.movable:
            raise Untold
        if CLASS_BODY_POSITIONS:
            classes = {one.qualname for one in found.classes}
            shared = any(len(version.names.homes[name.partition(".")[0]]) > 1 for name in classes)
            if shared or len(classes) < len(found.classes):
                raise Untold  # which of several is meant is seen in the whole
            for made in found.classes:
                yield ClassPositionEdit(made.qualname, made.first_line + above, made.attributes)
        for one in found.functions:
            site = Site(module, one.qualname, ordinals[one.qualname])
            ordinals[one.qualname] = site.ordinal + 1
            positions = facts.moved(one.positions, above)
            yield PositionEdit(site, one.print, positions, one.positions.first_line + above - lines)
