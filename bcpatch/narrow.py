"""Two versions of a source compared where they differ, and nowhere else.

Equal sections of a text compile to equal code but for its lines. So the sections that
differ are compiled and compared as `bcpatch.compile` does it, and those below are told to
have moved. That is done only where the sections around can't have a say; else None comes
back, and the whole is to be compared.
"""

from __future__ import annotations
import __future__

import ast
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from functools import lru_cache
from itertools import takewhile
from operator import eq
from types import CodeType
from typing import Final, NamedTuple

from bcpatch import compile as compiler
from bcpatch.diagnostics import Diagnostic, Refused
from bcpatch.model import ClassPositionEdit, Code, Edit, FunctionEdit, Import, Policy, PositionEdit, Site
from bcpatch.pythons import CLASS_BODY_POSITIONS
from bcpatch.sections import Section, split
from bcpatch.source import facts, importtime, shape
from bcpatch.source.outline import Function, Source, Surroundings, Unit, decoded, part

_FUTURE: Final = "__future__"
_FUTURE_FLAGS: Final = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})

#: Versions of sources that are kept in their sections: the next save is compared with one of them.
_KEPT: Final = 32


class Compared(NamedTuple):
    """The edits between two versions of a module, findings about them, and all that the new one imports."""

    edits: tuple[Edit, ...]
    diagnostics: tuple[Diagnostic, ...]
    imports: tuple[Import, ...]


class _Version(NamedTuple):
    """A version of a source in its sections, each with its names."""

    source: Source
    text: str
    sections: tuple[Section, ...]
    names: tuple[facts.Names, ...]

    def between(self, above: int, below: int, around: Surroundings, ordinals: dict[str, int]) -> Unit:
        """What stands between so many sections above and so many below."""
        wanted = self.sections[above : len(self.sections) - below]
        return part(self.source, self.text, wanted, around, ordinals)

    def standings(self, number: int, around: Surroundings) -> facts.Standings:
        """Where the definitions of one of the sections stand. Raises Untold."""
        names = self.names[number]
        named = names.used & around.imported
        found = facts.standings(self.sections[number].text, around._replace(imported=named))
        if found is None:
            raise Untold
        return found


def compared(base: Source, source: Source, policy: Policy, optimization: int) -> Compared | None:
    """The difference between two versions of a source, where the sections that differ tell all of it."""
    before, after = _read(base), _read(source)
    if before is None or after is None:
        return None
    above, below = _common(before.sections, after.sections)
    try:
        flags = _future(after.sections[:above], optimization)
        was, now = (Surroundings(flags, optimization, _imported(one)) for one in (before, after))
        old = before.between(above, below, was, _Ordinals(before, above, was))
        ordinals = _Ordinals(after, above, now)
        new = after.between(above, below, now, ordinals)
        if was != now or not _is_calm(old, new) or _is_elsewhere(new, after, above, below):
            return None
        changed = compiler.changes(old, new, policy, optimization)
        edited = {edit.site for edit in changed.edits if isinstance(edit, FunctionEdit)}
        run = _may_have_run(after)
        if any(_is_among(one, run) for one in new.functions if one.site in edited):
            return None
        bound = {name for names in after.names for name in (*names.own, *names.defined, *names.imported)}
        if any(isinstance(edit, FunctionEdit) and not _read_by(edit).isdisjoint(bound) for edit in changed.edits):
            return None
        moved = _moved(before, after, below, now._replace(flags=new.code.co_flags & _FUTURE_FLAGS), ordinals)
    except (Refused, Untold):
        return None
    # classes first, as where the whole is compared
    edits = sorted((*changed.edits, *moved), key=lambda edit: not isinstance(edit, ClassPositionEdit))
    return Compared(tuple(edits), changed.diagnostics, _imports(after))


def _imported(version: _Version) -> frozenset[str]:
    return frozenset(name for one in version.names for name in one.imported)


class Untold(Exception):
    """A section does not tell all of itself when it is read alone."""


@lru_cache(maxsize=_KEPT)
def _read(source: Source) -> _Version | None:
    module = source.module
    try:
        text = decoded(source)
    except Refused:
        return None
    sections = split(text, lambda one: facts.names(one, module) is not None)
    names = [facts.names(one.text, module) for one in sections]
    known = tuple(one for one in names if one is not None and not one.special)
    return _Version(source, text, sections, known) if len(known) == len(names) else None


def _common(old: Sequence[Section], new: Sequence[Section]) -> tuple[int, int]:
    """How many sections are equal above, and how many below, what differs.

    ``from __future__`` imports stand first in a module: what they stand in, and what stands
    above them, belongs to what differs, unless all of it is equal.
    """
    both = [[one.text for one in sections] for sections in (old, new)]
    above = sum(takewhile(bool, map(eq, *both)))
    below = sum(takewhile(bool, map(eq, *(texts[above:][::-1] for texts in both))))
    last = [max((number for number, text in enumerate(texts) if _FUTURE in text), default=-1) for texts in both]
    if max(last) >= above:
        above = 0
        below = min(below, *(len(texts) - number - 1 for texts, number in zip(both, last, strict=True)))
    return above, below


def _future(sections: Sequence[Section], optimization: int) -> int:
    """What the ``from __future__`` imports in the first sections of a text make of the compiler. Raises Untold."""
    last = max((number for number, one in enumerate(sections) if _FUTURE in one.text), default=-1)
    flags = _future_flags("".join(one.text for one in sections[: last + 1]), optimization)
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


class _Ordinals(dict[str, int]):
    """How many functions of a qualified name stand in the first sections of a version; counted when asked."""

    def __init__(self, version: _Version, above: int, around: Surroundings) -> None:
        super().__init__()
        self._version = version
        self._around = around
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        for number in range(above):
            for name in version.names[number].defined:
                self._numbers[name].append(number)
            if "lambda" in version.sections[number].text:
                self._numbers["<lambda>"].append(number)

    def __missing__(self, qualname: str) -> int:
        numbers = self._numbers.get(qualname.partition(".")[0], ())
        found = (self._version.standings(number, self._around) for number in numbers)
        return sum(one.qualname == qualname for standings in found for one in standings.functions)


# --- whether the sections around have a say --------------------------------------------------


def _is_calm(old: Unit, new: Unit) -> bool:
    """Whether no more differs than the insides, headers and lines of functions, each in its turn."""
    if old.unplaced or new.unplaced or (old.code.co_flags ^ new.code.co_flags) & _FUTURE_FLAGS:
        return False
    if [*map(compiler.context_key, old.functions)] != [*map(compiler.context_key, new.functions)]:
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


def _is_elsewhere(unit: Unit, version: _Version, above: int, below: int) -> bool:
    """Whether a class of a part has a namesake in the rest."""
    classes = {one.chain[0].name for one in unit.classes}
    rest = (*version.names[:above], *version.names[len(version.names) - below :])
    return bool(classes) and any(not classes.isdisjoint(one.defined) for one in rest)


def _may_have_run(version: _Version) -> set[str]:
    """The names of what the import of the module may have run: those that names lead to from there, at least."""
    reached = set(importtime.CLASS_STATEMENT).union(*(one.called for one in version.names))
    by_name: defaultdict[str, list[int]] = defaultdict(list)
    for number, names in enumerate(version.names):
        for name in names.defined:
            by_name[name].append(number)
    waiting = list(reached)
    entered = set()
    while waiting:
        for number in by_name.get(waiting.pop(), ()):
            if number not in entered:
                entered.add(number)
                more = version.names[number].calls - reached
                reached |= more
                waiting += more
    return reached


def _is_among(function: Function, run: Set[str]) -> bool:
    """Whether a function is one of those that were called by these names."""
    made_by = function.chain[-1].name if function.chain and function.name in importtime.CLASS_PROTOCOL else None
    return function.name in run or made_by in run


# --- what moved ------------------------------------------------------------------------------


def _moved(before: _Version, after: _Version, below: int, around: Surroundings, ordinals: dict[str, int]) -> list[Edit]:
    """The edits of the last sections, which only stand elsewhere. Raises Untold where they are not that simple."""
    edits: list[Edit] = []
    if not below or before.sections[-below].above == after.sections[-below].above:
        return edits
    module = after.source.module.name
    homes = Counter(name for names in after.names for name in names.defined)
    for number in range(-below, 0):
        was, now = before.sections[number], after.sections[number]
        standings = after.standings(number, around)
        if not standings.movable:
            raise Untold
        if CLASS_BODY_POSITIONS:
            classes = {one.qualname for one in standings.classes}
            shared = any(homes[name.partition(".")[0]] > 1 for name in classes)
            if shared or len(classes) < len(standings.classes):
                raise Untold  # which of several is meant is seen in the whole
            edits += [
                ClassPositionEdit(made.qualname, made.first_line + now.above, made.attributes)
                for made in standings.classes
            ]
        for one in standings.functions:
            site = Site(module, one.qualname, ordinals[one.qualname])
            ordinals[one.qualname] = site.ordinal + 1
            positions = facts.moved(one.positions, now.above)
            edits.append(PositionEdit(site, one.print, positions, one.positions.first_line + was.above))
    return edits


def _imports(version: _Version) -> tuple[Import, ...]:
    own: set[str] = set().union(*(one.own for one in version.names))
    found = dict.fromkeys(one for names in version.names for one in names.imports)
    return tuple(one for one in found if one.name not in own)
