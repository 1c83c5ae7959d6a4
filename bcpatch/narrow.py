"""Two versions of a source compared where they differ, and nowhere else.

Equal sections of a text compile to equal code but for its lines. So the sections that
differ are compiled and compared as `bcpatch.compile` does it, each gap between equal ones
by itself, and of those below it is told that they have moved. That is done only where the
sections around can't have a say; else None comes back, and the whole is to be compared.
"""

from __future__ import annotations
import __future__

import ast
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, takewhile
from operator import eq
from types import CodeType
from typing import Final, NamedTuple

from bcpatch import compile as compiler
from bcpatch.diagnostics import Diagnostic, Refused
from bcpatch.model import ClassPositionEdit, Code, Edit, FunctionEdit, Import, Policy, PositionEdit, Site
from bcpatch.pythons import CLASS_BODY_POSITIONS
from bcpatch.sections import Section, Splitter
from bcpatch.source import facts, importtime, shape
from bcpatch.source.outline import Function, Source, Surroundings, Unit, decoded, part
from bcpatch.source.pairing import context_key
from bcpatch.splices import in_order

_FUTURE: Final = "__future__"
_FUTURE_FLAGS: Final = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})

#: Versions of sources that are kept in their sections: the next save is compared with one of them.
_KEPT: Final = 32


_SPLITTER: Final = Splitter(_KEPT)


class Compared(NamedTuple):
    """The edits between two versions of a module, findings about them, and all that the new one imports."""

    edits: tuple[Edit, ...]
    diagnostics: tuple[Diagnostic, ...]
    imports: tuple[Import, ...]


@dataclass(frozen=True, eq=False)
class _Version:
    """A version of a source in its sections, each with its names."""

    source: Source
    text: str
    sections: tuple[Section, ...]
    names: tuple[facts.Names, ...]

    @cached_property
    def homes(self) -> dict[str, list[int]]:
        """By name: the numbers of the sections that define it, or may."""
        places = [(name, number) for number, names in enumerate(self.names) for name in names.defined]
        found = {name: [number] for name, number in places}
        if len(found) < len(places):
            found = {name: [] for name in found}
            for name, number in places:
                found[name].append(number)
        return found

    @cached_property
    def imported(self) -> frozenset[str]:
        return frozenset(name for one in self.names if one.imported for name in one.imported)

    def binds(self, wanted: Set[str]) -> bool:
        """Whether the module may bind any of some names."""
        return any(name in self.homes or name in self.imported or name in self.own for name in wanted)

    @cached_property
    def own(self) -> frozenset[str]:
        """The names that the sections bind in the module."""
        return frozenset().union(*[one.own for one in self.names])

    @cached_property
    def futures(self) -> list[int]:
        """The numbers of the sections that mention ``__future__``."""
        if _FUTURE not in self.text:
            return []
        return [number for number, one in enumerate(self.sections) if _FUTURE in one.text]

    @cached_property
    def _parts(self) -> dict[tuple[range, Surroundings], Unit]:
        return {}

    def between(self, stretch: range, around: Surroundings, ordinals: dict[str, int]) -> Unit:
        """What stands in some neighbouring sections. What differs from the last version may differ from the next."""
        if (stretch, around) not in self._parts:
            sections = self.sections[stretch.start : stretch.stop]
            self._parts[stretch, around] = part(self.source, self.text, sections, around, ordinals)
        unit = self._parts[stretch, around]
        ordinals.update((one.site.qualname, one.site.ordinal + 1) for one in unit.functions)
        return unit

    def standings(self, number: int, around: Surroundings) -> facts.Standings:
        """Where the definitions of one of the sections stand. Raises Untold."""
        text = self.sections[number].text
        imported = facts.mentioned(text, around.imported)
        found = facts.standings(text, Surroundings(around.flags, around.optimization, imported))
        if found is None:
            raise Untold
        return found


class _Gap(NamedTuple):
    """Neighbouring sections of both versions that differ; either may be none."""

    old: range
    new: range


def compared(base: Source, source: Source, policy: Policy, optimization: int) -> Compared | None:
    """The difference between two versions of a source, where the sections that differ tell all of it."""
    before, after = _read(base), _read(source)
    if before is None or after is None:
        return None
    try:
        found = list(_in_gaps(before, after, policy, optimization))
    except (Refused, Untold):
        return None
    edits = [edit for changed in found for edit in changed.edits]
    said = [changed.diagnostics for changed in found if changed.diagnostics]
    switched = [edit for edit in edits if isinstance(edit, FunctionEdit)]
    read = set().union(*map(_read_by, switched))
    if len(said) > 1 or (read and after.binds(read)):
        return None
    edits.sort(key=_turn)
    return Compared(tuple(edits), said[0] if said else (), _imports(after))


def prepare(source: Source, optimization: int) -> Iterator[None]:
    """Find out, step by step, what a comparison of a source with its next version will ask."""
    version = _read(source)
    yield
    if version is not None:
        with suppress(Refused, Untold):
            around = Surroundings(_future(version, None, optimization), optimization, version.imported)
            for number in range(len(version.sections)):
                version.standings(number, around)
                yield


def _turn(edit: Edit) -> int:
    """Classes first, functions in the order of their lines last: as where the whole is compared."""
    return 0 if isinstance(edit, ClassPositionEdit) else 2 if isinstance(edit, FunctionEdit | PositionEdit) else 1


def _in_gaps(before: _Version, after: _Version, policy: Policy, optimization: int) -> Iterator[compiler.Changes]:
    """What differs in each gap, and what has moved below it. Raises Refused, and Untold where the rest has a say."""
    gaps = _gaps(before, after)
    flags = _future(after, gaps[0].new.start if gaps else None, optimization)
    was, now = (Surroundings(flags, optimization, one.imported) for one in (before, after))
    if was != now:
        raise Untold
    olds, news = _Ordinals(before, was), _Ordinals(after, now)
    run = _may_have_run(after)
    for number, gap in enumerate(gaps):
        old = before.between(gap.old, was, olds.above(gap.old.start))
        ordinals = news.above(gap.new.start)
        new = after.between(gap.new, now, ordinals)
        if not _is_calm(old, new) or _is_elsewhere(new, after, gap.new):
            raise Untold
        was = now = now._replace(flags=new.code.co_flags & _FUTURE_FLAGS)
        changed = compiler.changes(old, new, policy, optimization)
        switched = {edit.site: edit for edit in changed.edits if isinstance(edit, FunctionEdit)}
        if any(_is_among(one, run) for one in new.functions if one.site in switched):
            raise Untold
        if any(olds.has_twin(edit, gap.old) for edit in switched.values()):
            raise Untold
        yield changed
        end = gaps[number + 1].new.start if number + 1 < len(gaps) else len(after.sections)
        below = range(gap.new.stop, end)
        lines = _lines_between(before, after, gap)
        if below and lines:
            yield compiler.Changes(tuple(_moved(after, below, lines, now, ordinals)), ())


class Untold(Exception):
    """A section does not tell all of itself when it is read alone."""


@lru_cache(maxsize=_KEPT)
def _read(source: Source) -> _Version | None:
    module = source.module
    try:
        text = decoded(source)
    except Refused:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sections = _SPLITTER.split(module, text, lambda one: facts.names(one, module) is not None)
        names = [facts.names(one.text, module) for one in sections]
    known = tuple(one for one in names if one is not None and not one.special)
    return _Version(source, text, sections, known) if len(known) == len(names) else None


def _gaps(before: _Version, after: _Version) -> list[_Gap]:
    """What stands between the sections that stay as they are, in both versions.

    These are the equal ones above and below all that differs, and between these such as there is
    one of in both versions. ``from __future__`` imports stand first in a module: what they stand in,
    and what stands above them, belongs to what differs, unless all of it is equal.
    """
    both = [[one.text for one in version.sections] for version in (before, after)]
    above = sum(takewhile(bool, map(eq, *both)))
    last = [max(version.futures, default=-1) for version in (before, after)]
    first = (above, above)
    if max(last) >= above:
        above, first = 0, (last[0] + 1, last[1] + 1)
    left = [texts[start:] for texts, start in zip(both, first, strict=True)]
    below = sum(takewhile(bool, map(eq, *(texts[::-1] for texts in left))))
    places = [_alone(texts[: len(texts) - below], start) for texts, start in zip(left, first, strict=True)]
    edges = [
        (above - 1, above - 1),
        *in_order([(number, places[1][text]) for text, number in places[0].items() if text in places[1]]),
        (len(both[0]) - below, len(both[1]) - below),
    ]
    return [_Gap(range(a + 1, b), range(c + 1, d)) for (a, c), (b, d) in pairwise(edges) if b - a > 1 or d - c > 1]


def _alone(texts: Sequence[str], start: int) -> dict[str, int]:
    """The texts that there is one of, and their numbers."""
    times = Counter(texts)
    return {text: number for number, text in enumerate(texts, start) if times[text] == 1}


def _lines_between(before: _Version, after: _Version, gap: _Gap) -> int:
    """How many lines what stands below a gap has moved down, if there is anything."""
    if gap.new.stop == len(after.sections):
        return 0
    return after.sections[gap.new.stop].above - before.sections[gap.old.stop].above


def _future(version: _Version, above: int | None, optimization: int) -> int:
    """What the ``from __future__`` imports of a text make of the compiler; ``above`` a section. Raises Untold."""
    last = max((number for number in version.futures if above is None or number < above), default=-1)
    flags = _future_flags("".join(one.text for one in version.sections[: last + 1]), optimization)
    if flags is None:
        raise Untold
    return flags


@lru_cache(maxsize=_KEPT)
def _future_flags(text: str, optimization: int) -> int | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code: CodeType = compile(text, "", "exec", dont_inherit=True, optimize=optimization)
    except SyntaxError:
        return None
    flags: int = code.co_flags & _FUTURE_FLAGS
    return flags


class _Ordinals:
    """How many functions of a qualified name stand above some section of a version."""

    def __init__(self, version: _Version, around: Surroundings) -> None:
        self._version = version
        self._around = around

    def above(self, number: int) -> dict[str, int]:
        """By qualified name: how many there are above a section; counted when asked."""
        return _Counted(lambda qualname: self._count(qualname, number))

    def has_twin(self, edit: FunctionEdit, stretch: range) -> bool:
        """Whether a namesake of a function, which is not in its stretch of sections, does what it did."""
        qualname = edit.site.qualname
        numbers = (number for number in self._homes(qualname) if number not in stretch)
        found = (one for number in numbers for one in self._version.standings(number, self._around).functions)
        return any(one.qualname == qualname and one.print == edit.replaces for one in found)

    def _count(self, qualname: str, above: int) -> int:
        numbers = (number for number in self._homes(qualname) if number < above)
        found = (self._version.standings(number, self._around) for number in numbers)
        return sum(one.qualname == qualname for standings in found for one in standings.functions)

    def _homes(self, qualname: str) -> Iterable[int]:
        """The sections that may define functions of a name."""
        version, name = self._version, qualname.partition(".")[0]
        if name == "<lambda>":
            return (number for number, one in enumerate(version.sections) if "lambda" in one.text)
        return version.homes.get(name, ())


class _Counted(dict[str, int]):
    """Numbers that are found when they are first asked for."""

    def __init__(self, count: Callable[[str], int]) -> None:
        super().__init__()
        self._count = count

    def __missing__(self, qualname: str) -> int:
        return self._count(qualname)


# --- whether the sections around have a say --------------------------------------------------


def _is_calm(old: Unit, new: Unit) -> bool:
    """Whether no more differs than the insides, headers and lines of functions, each in its turn."""
    if old.unplaced or new.unplaced or (old.code.co_flags ^ new.code.co_flags) & _FUTURE_FLAGS:
        return False
    if [*map(context_key, old.functions)] != [*map(context_key, new.functions)]:
        return False
    if [one.qualname for one in old.classes] != [one.qualname for one in new.classes]:
        return False
    was, now = (
        [_executed(unit.tree, unit), *(_executed(one.node, unit) for one in unit.classes)] for unit in (old, new)
    )
    return was == now


def _executed(node: ast.Module | ast.ClassDef, unit: Unit) -> object:
    """All that a body does but for the insides of its functions and classes."""
    body = shape.body(node)
    return (
        body.docstring,
        {name: ast.dump(annotation) for name, annotation in body.annotations.items()},
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


def _is_elsewhere(unit: Unit, version: _Version, stretch: range) -> bool:
    """Whether a class of a part has a namesake in the rest."""
    classes = {one.chain[0].name for one in unit.classes}
    return any(number not in stretch for name in classes for number in version.homes.get(name, ()))


def _may_have_run(version: _Version) -> set[str]:
    """The names of what the import of the module may have run: those that names lead to from there, at least."""
    reached = set(importtime.CLASS_STATEMENT).union(*(one.called for one in version.names if one.called))
    waiting = list(reached)
    entered = set()
    while waiting:
        for number in version.homes.get(waiting.pop(), ()):
            if number not in entered:
                entered.add(number)
                more = facts.calls(version.sections[number].text) - reached
                reached |= more
                waiting += more
    return reached


def _is_among(function: Function, run: Set[str]) -> bool:
    """Whether a function is one of those that were called by these names."""
    made_by = function.chain[-1].name if function.chain and function.name in importtime.CLASS_PROTOCOL else None
    return function.name in run or made_by in run


# --- what moved ------------------------------------------------------------------------------


def _moved(
    version: _Version, stretch: range, lines: int, around: Surroundings, ordinals: dict[str, int]
) -> Iterator[Edit]:
    """The edits of sections that stand some lines further down. Raises Untold where they are not that simple."""
    module = version.source.module.name
    for number in stretch:
        above = version.sections[number].above
        standings = version.standings(number, around)
        if not standings.movable:
            raise Untold
        if CLASS_BODY_POSITIONS:
            classes = {one.qualname for one in standings.classes}
            shared = any(len(version.homes[name.partition(".")[0]]) > 1 for name in classes)
            if shared or len(classes) < len(standings.classes):
                raise Untold  # which of several is meant is seen in the whole
            for made in standings.classes:
                yield ClassPositionEdit(made.qualname, made.first_line + above, made.attributes)
        for one in standings.functions:
            site = Site(module, one.qualname, ordinals[one.qualname])
            ordinals[one.qualname] = site.ordinal + 1
            positions = facts.moved(one.positions, above)
            yield PositionEdit(site, one.print, positions, one.positions.first_line + above - lines)


def _imports(version: _Version) -> tuple[Import, ...]:
    found = dict.fromkeys(one for names in version.names if names.imports for one in names.imports)
    return tuple(one for one in found if one.name not in version.own)
