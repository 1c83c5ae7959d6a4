"""The last versions of sources in their sections, and what is known of each: the next save is compared with one.

What versions have in common is found out once.
"""

from __future__ import annotations
import __future__

import warnings
from collections.abc import Sequence, Set
from functools import cached_property, lru_cache
from types import CodeType
from typing import Final

import msgspec

from bcpatch.diagnostics import Refused
from bcpatch.model import Import, Module
from bcpatch.sections import NOTHING, Sections, Split, split
from bcpatch.source import facts
from bcpatch.source.outline import Source, Surroundings, Unit, decoded, part

FUTURE_FLAGS: Final = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})

#: Modules of which the last versions are kept in their sections: the next save is compared with one of them.
_KEPT: Final = 32


class Names(msgspec.Struct, frozen=True, eq=False, dict=True):
    """The names of a version's sections, in their order."""

    of: tuple[facts.Names, ...]

    @cached_property
    def homes(self) -> dict[str, list[int]]:
        """By name: the numbers of the sections that define it, or may."""
        found: dict[str, list[int]] = {}
        for number, names in enumerate(self.of):
            for name in names.defined:
                found.setdefault(name, []).append(number)
        return found

    @cached_property
    def imported(self) -> frozenset[str]:
        return frozenset(name for one in self.of if one.imported for name in one.imported)

    @cached_property
    def own(self) -> frozenset[str]:
        """The names that the sections bind in the module."""
        return frozenset().union(*[one.own for one in self.of])

    @cached_property
    def called(self) -> frozenset[str]:
        """The names that the import of the module calls, as the sections tell it by themselves."""
        return frozenset().union(*[one.called for one in self.of if one.called])

    @cached_property
    def handed(self) -> frozenset[tuple[str, str]]:
        """What the import of the module calls by a name, with the names of what it gives to it."""
        return frozenset().union(*[one.handed for one in self.of if one.handed])

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """All that the sections import, but for what the module has of its own."""
        found = dict.fromkeys(one for names in self.of if names.imports for one in names.imports)
        return tuple(one for one in found if one.name not in self.own)

    @cached_property
    def special(self) -> bool:
        """Whether a section changes how the compiler sees others."""
        return any(one.special for one in self.of)

    @cached_property
    def futures(self) -> list[int]:
        """The numbers of the sections that mention ``__future__``."""
        return [number for number, one in enumerate(self.of) if one.future]

    def binds(self, wanted: Set[str]) -> bool:
        """Whether the module may bind any of some names."""
        return any(name in self.homes or name in self.imported or name in self.own for name in wanted)


class Places:
    """Where the definitions of each section stand, as it is found out; in some surroundings."""

    def __init__(self, texts: Sequence[str], around: Surroundings, known: Sequence[facts.Standings | None]) -> None:
        self._texts = texts
        self._known = list(known)
        self.around = around

    def of(self, number: int) -> facts.Standings:
        """Where those of one section stand. Raises Untold."""
        known = self._known[number]
        if known is None:
            text, around = self._texts[number], self.around
            imported = facts.mentioned(text, around.imported)
            known = facts.standings(text, Surroundings(around.flags, around.optimization, imported))
            if known is None:
                raise Untold
            self._known[number] = known
        return known

    def carried(self, texts: Sequence[str], found: Split) -> Places:
        """The same of the next version of these sections."""
        return Places(texts, self.around, found.carried(self._known, _unknown))


def _unknown(text: str) -> None:
    """What is known of a section that was not there before."""


class Version(msgspec.Struct, frozen=True, eq=False):
    """A version of a source in its sections, each with its text and its names.

    What was found out about it once is ``kept``, and its ``parts`` that were compiled.
    """

    source: Source
    sections: Sections
    texts: tuple[str, ...]
    names: Names
    kept: list[Places]
    parts: dict[tuple[range, Surroundings], Unit]

    def between(self, stretch: range, around: Surroundings, ordinals: dict[str, int]) -> Unit:
        """What stands in some neighbouring sections. What differs from the last version may differ from the next."""
        if (stretch, around) not in self.parts:
            sections = [self.sections[number] for number in stretch]
            self.parts[stretch, around] = part(self.source, self.sections.text, sections, around, ordinals)
        unit = self.parts[stretch, around]
        ordinals.update((one.site.qualname, one.site.ordinal + 1) for one in unit.functions)
        return unit

    def homes(self, qualname: str) -> Sequence[int]:
        """The numbers of the sections that may define functions of a name, in order."""
        name = qualname.partition(".")[0]
        if name == "<lambda>":
            return [number for number, text in enumerate(self.texts) if "lambda" in text]
        return self.names.homes.get(name, ())

    def standings(self, around: Surroundings) -> Places:
        """Where the definitions of its sections stand."""
        if not self.kept or self.kept[0].around != around:
            self.kept[:] = [Places(self.texts, around, [None] * len(self.texts))]
        return self.kept[0]


class Untold(Exception):
    """A section does not tell all of itself when it is read alone."""


_last: dict[Module, tuple[Version, ...]] = {}
"""Of modules, the latest ones last, the two versions that were looked at last."""


def read(source: Source) -> Version | None:
    """A source in its sections; None where it is no Python. What the last one has in common is not read again."""
    last = _last.get(source.module, ())
    version = next((one for one in last if one.source == source), None)
    if version is None:
        version = _cut(source, last[-1] if last else None)
    if version is not None:
        _last.pop(source.module, None)
        _last[source.module] = (*[one for one in last if one is not version][-1:], version)
        for oldest in list(_last)[:-_KEPT]:
            _last.pop(oldest, None)
    return version


def _cut(source: Source, last: Version | None) -> Version | None:
    module = source.module
    try:
        text = decoded(source)
    except Refused:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        near = last.sections if last else NOTHING
        found = split(text, lambda one: facts.names(one, module) is not None, near)
        names = found.carried(last.names.of if last else (), lambda one: facts.names(one, module))
    told = tuple([one for one in names if one is not None])
    if len(told) < len(names):
        return None
    texts = found.carried(last.texts if last else (), str)
    all_names = last.names if last and last.names.of == told else Names(told)
    standings = [one.carried(texts, found) for one in last.kept] if last else []
    return Version(source, found.sections, texts, all_names, standings, {})


def future(version: Version, above: int | None, optimization: int) -> int:
    """What the ``from __future__`` imports of a text make of the compiler; ``above`` a section. Raises Untold."""
    last = max((number for number in version.names.futures if above is None or number < above), default=-1)
    flags = _future_flags("".join(version.texts[: last + 1]), optimization)
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
    flags: int = code.co_flags & FUTURE_FLAGS
    return flags
