"""Functions that the application has made since: it loaded a module again, or executed a part of it.

What was patched may live on then, where somebody holds it or the garbage collector has not come yet, and to change
that is to change what nobody calls. Such functions have the name of a site, and there are more of them than the text
of the module defines. Knows no edits.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import starmap
from types import CodeType, FunctionType
from typing import Any, Final

import msgspec

from bcpatch import fingerprint
from bcpatch.process.accounting import Walk

_WITHIN: Final = 200_000
"""Objects that are looked at within a module."""

_LAMBDA: Final = "<lambda>"

Named = Mapping[str, Sequence[FunctionType]]
_Placed = tuple[int, str]


class Remade(msgspec.Struct, eq=False):
    """What a module holds beside what it defines; each is found when it is first asked for.

    ``texts`` gives sources that the module may run, the likeliest first; ``files`` the real names of files behind
    those that bcpatch made. ``walk`` says what is never entered, and ``aside`` are functions, by their ids, that stay
    what they are.
    """

    namespace: dict[str, Any]
    texts: Iterator[bytes]
    files: Mapping[str, str]
    walk: Walk
    aside: Mapping[int, FunctionType]
    _within: Named | None = None
    _held: dict[str, Set[int]] = msgspec.field(default_factory=dict)
    _is_off: bool | None = None
    _known_shifts: Set[int] | None = None
    _defined: list[Mapping[str, Sequence[CodeType]]] = msgspec.field(default_factory=list)

    def held(self, qualname: str) -> Set[int]:
        """The ids of the functions of a name that can be reached within the module."""
        if qualname not in self._held:
            self._held[qualname] = frozenset(map(id, self._functions(qualname)))
        return self._held[qualname]

    def holds(self, qualname: str, known: Iterable[FunctionType]) -> bool:
        """Whether one of some functions of a name can be reached within the module."""
        return not self.held(qualname).isdisjoint(map(id, known))

    def definitions(self, qualname: str) -> int:
        """How many functions of a name the likeliest text defines."""
        return len(next(self._definitions(), {}).get(qualname, ()))

    def are_places_of(self, qualname: str, ordinals: Sequence[int], places: Sequence[tuple[int, int]]) -> bool:
        """Whether places are those of definitions of a name in the likeliest text, or all as many lines from these."""
        written = [position(one) for one in next(self._definitions(), {}).get(qualname, ())]
        if len(places) != len(ordinals) or not all(ordinal < len(written) for ordinal in ordinals):
            return False
        pairs = zip(places, map(written.__getitem__, ordinals), strict=True)
        apart = {(line - own_line, column - own_column) for (line, column), (own_line, own_column) in pairs}
        return len(apart) == 1 and all(columns == 0 for _, columns in apart)

    def is_off(self) -> bool:
        """Whether functions of the module stand on other lines than in the likeliest text: then lines tell nothing.

        A process that has the text before on its disk does not follow what only moves.
        """
        if self._is_off is None:
            self._is_off = any(
                len(written) == len(present) and present != written
                for present, written in starmap(self._in_order, next(self._definitions(), {}).items())
            )
        return self._is_off

    def _shifts(self) -> Set[int]:
        """By how many lines functions stand from where the likeliest text has them, as the only ones of their names."""
        if self._known_shifts is None:
            defined = next(self._definitions(), {}).items()
            single = {name: _placed(written[0]) for name, written in defined if len(written) == 1}
            self._known_shifts = frozenset(
                present.co_firstlineno - line
                for name, (line, print_) in single.items()
                for present in (one.__code__ for one in self._functions(name))
                if fingerprint.of(present) == print_
            )
        return self._known_shifts

    def _in_order(self, qualname: str, written: Sequence[CodeType]) -> tuple[list[_Placed], list[_Placed]]:
        """What functions of a name do, and on which lines: those that the module holds and do what the text says."""
        prints = set(map(fingerprint.of, written))
        present = {id(one.__code__): _placed(one.__code__) for one in self._functions(qualname)}
        return sorted(one for one in present.values() if one[1] in prints), sorted(map(_placed, written))

    def instead_of(self, qualname: str, known: Sequence[FunctionType]) -> FunctionType | None:
        """A function that the module holds, and that was made since the ``known`` ones of its name were."""
        found = self.among(self._functions(qualname), qualname, known)
        if qualname == _LAMBDA and found is not None and self.holds(qualname, known):
            # a table that a patch has removed stays bound, and has lambdas that no text has
            return found if fingerprint.of(found.__code__) in _prints(known) else None
        return found

    def among(
        self, functions: Iterable[FunctionType], qualname: str, known: Sequence[FunctionType]
    ) -> FunctionType | None:
        """One of some functions of a name that is neither one of the ``known`` nor defined beside them in the text."""
        running = {id(one.__code__): one.__code__ for one in known}
        origins = set(map(self._origin, running.values()))
        others: dict[int, FunctionType] = {}
        for one in functions:
            code = one.__code__
            if id(code) not in running and id(one) not in self.aside and self._origin(code) in origins:
                others.setdefault(id(code), one)
        if not others:
            return None
        held = self.holds(qualname, known)
        found = _perhaps_beside(running.values(), others.values(), held)  # all that can be said without a text
        for defined in self._definitions():
            found = _beside(defined.get(qualname, ()), running.values(), others.values(), held, self._shifts)
            if found is None:
                break
        return found

    def _origin(self, code: CodeType) -> str:
        return self.files.get(code.co_filename, code.co_filename)

    def _functions(self, qualname: str) -> Sequence[FunctionType]:
        if self._within is None:
            within = Walk(self.walk.names, self.walk.beyond)
            within.enter(list(self.namespace.values()), _WITHIN, narrow=True)
            self._within = by_name(within, self.namespace)
        return self._within.get(qualname, ())

    def _definitions(self) -> Iterator[Mapping[str, Sequence[CodeType]]]:
        """The code of the definitions of each text, by their names."""
        yield from self._defined
        for text in self.texts:
            self._defined.append(_defined(text))
            yield self._defined[-1]


def by_name(walk: Walk, namespace: Mapping[str, Any]) -> Named:
    """The functions of a module that a walk has reached, by their names."""
    found: defaultdict[str, list[FunctionType]] = defaultdict(list)
    for one in walk.functions:
        if one.__globals__ is namespace:
            found[one.__code__.co_qualname].append(one)
    return found


def _beside(
    defined: Sequence[CodeType],
    known: Collection[CodeType],
    others: Collection[FunctionType],
    held: bool,
    shifts: Callable[[], Set[int]],
) -> FunctionType | None:
    """One of the others that no definition is left for, or that may come from the one of the known ones.

    Of definitions that do the same only the place tells what comes from which: one may have left nothing behind.
    ``held`` ones may stand where the module was loaded, which is by one of some ``shifts`` from the text.
    """
    prints = set(map(fingerprint.of, known))
    same = [one for one in others if fingerprint.of(one.__code__) in prints]
    if same:
        own = set(map(position, known))
        places = {position(one) for one in defined if fingerprint.of(one) in prints}
        moved = shifts() if held else {0}
        lines_tell = own <= places and bool(moved)
        elsewhere = {(line + shift, column) for line, column in places - own for shift in {0, *moved}} - own
        for one in same:
            place = position(one.__code__)
            if place not in elsewhere if lines_tell else place in own or not held:
                return one
    left = Counter(map(fingerprint.of, defined))
    left.subtract(map(fingerprint.of, known))
    for one in others:
        print_ = fingerprint.of(one.__code__)
        if left[print_] <= 0:
            return one
        left[print_] -= 1
    return None


def _perhaps_beside(known: Iterable[CodeType], others: Iterable[FunctionType], held: bool) -> FunctionType | None:
    """One of the others, where no text tells what they are: any, or while the known ones are held one of their kind."""
    prints = set(map(fingerprint.of, known))
    return next((one for one in others if not held or fingerprint.of(one.__code__) in prints), None)


def _prints(functions: Iterable[FunctionType]) -> set[str]:
    return {fingerprint.of(one.__code__) for one in functions}


def _placed(code: CodeType) -> _Placed:
    return code.co_firstlineno, fingerprint.of(code)


def position(code: CodeType) -> tuple[int, int]:
    """The line and the column at which code starts: lambdas may share a line."""
    if code.co_name != _LAMBDA:
        return code.co_firstlineno, 0
    columns = (column for *_, column, _ in code.co_positions() if column)
    return code.co_firstlineno, min(columns, default=0)


def _defined(text: bytes) -> Mapping[str, Sequence[CodeType]]:
    found: defaultdict[str, list[CodeType]] = defaultdict(list)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the application's own import says them
            code = compile(text, "", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # what does not compile defines nothing
        return found
    for one in _nested(code):
        found[one.co_qualname].append(one)
    return found


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield constant
            yield from _nested(constant)
