"""What became of each site through the generations: a patch may give the functions of a name other ordinals.

Two sites that had one ordinal at different times are two, and one that had two of them is one. Knows how
records tell of functions, and no patches.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import FunctionType
from typing import NamedTuple, TypeAlias

import msgspec

from bcpatch.model import Site, Turns
from bcpatch.process.ledger import Entry, Ledger
from bcpatch.process.packing import Numbers
from bcpatch.process.records import Record
from bcpatch.process.swap import Row

Name: TypeAlias = tuple[str, str]
"""A module's name, and a qualified name in it."""


class Lineage(NamedTuple):
    """A site through all generations, as it was in the text of the first that had it, generation ``since``."""

    site: Site
    since: int


class Lineages(msgspec.Struct, eq=False):
    """What the generations of a process made of sites.

    ``touched`` are the numbers of the generations that changed each, ``turns`` what became there of the ordinals of a
    name where not all were kept. ``families`` are the functions of those that have had new ones since they were
    first changed: their places, and which generation was the first to change each.
    """

    records: Ledger
    touched: dict[Lineage, Numbers] = msgspec.field(default_factory=dict)
    turns: dict[Name, dict[int, Sequence[int]]] = msgspec.field(default_factory=dict)
    families: dict[Lineage, dict[int, int]] = msgspec.field(default_factory=dict)

    def turns_of(self, site: Site) -> Mapping[int, Sequence[int]]:
        """What became of the ordinals of a site's name, by generation."""
        return self.turns.get((site.module, site.qualname), {})

    def of(self, site: Site, number: int) -> Lineage:
        """What a site in the text of a generation goes back to."""
        turns = self.turns_of(site)
        if not turns:
            return Lineage(site, 0)
        ordinal = site.ordinal
        for one in self.records.ancestors(number):
            now = turns.get(one)
            if now is not None:
                if ordinal not in now:
                    return Lineage(Site(site.module, site.qualname, ordinal), one)
                ordinal = now.index(ordinal)
        return Lineage(Site(site.module, site.qualname, ordinal), 0)

    def site(self, lineage: Lineage, number: int) -> Site:
        """The site in the text of a generation; as it was first where that has it no more, or had it not yet."""
        site, since = lineage
        turns = self.turns_of(site)
        if not turns:
            return site
        ancestors = list(self.records.ancestors(number))
        if since and since not in ancestors:
            return site
        ordinal = site.ordinal
        for one in reversed(ancestors):
            now = turns.get(one, ()) if one > since else ()
            if now:
                ordinal = now[ordinal] if ordinal < len(now) else -1
                if ordinal < 0:
                    return site
        return Site(site.module, site.qualname, ordinal)

    def family(self, lineage: Lineage) -> list[tuple[FunctionType, int]]:
        """The functions of a site that has had new ones, and which generation first changed each."""
        found = [(self.records.objects[place], first) for place, first in self.families.get(lineage, {}).items()]
        return [(one, first) for one, first in found if isinstance(one, FunctionType)]

    def remembering(self, record: Record, entry: Entry, turns: Iterable[tuple[str, Turns]]) -> Iterator[Row]:
        """The stores that note what a record did to sites; ``turns`` are those of its patch, with their modules."""
        number, parent = record.generation.number, record.generation.parent
        new: dict[Lineage, Numbers] = {}
        again = bool(self.turns)
        for lineage in dict.fromkeys(self.of(target.site, parent) for target in record.targets):
            if lineage in self.touched:
                again = True
                settled = self.touched[lineage] = self.touched[lineage].settled()
                yield settled.appending(number)
            else:
                new[lineage] = Numbers(number)
        yield self.touched.update, new
        if again:
            yield from self._coming(record, entry)
        for module, one in turns:
            yield operator.setitem, self.turns.setdefault((module, one.qualname), {}), number, one.now

    def _coming(self, record: Record, entry: Entry) -> Iterator[Row]:
        """The stores that note functions of sites which had others before."""
        came = set(map(id, entry.held))
        number, parent = record.generation.number, record.generation.parent
        found: dict[Lineage, dict[int, int]] = {}
        switched = Switched(self)
        for one in record.targets if came else ():
            lineage = self.of(one.site, parent) if id(one.function) in came else None
            if lineage in self.touched:
                known = found.get(lineage) or dict(self.families.get(lineage, ())) or switched.first(lineage)
                found[lineage] = known | {entry.places[id(one.function)]: number}
        if found:
            yield self.families.update, found


class Switched(msgspec.Struct, eq=False):
    """The functions that generations have switched, and what they go back to. Reads what it needs of records once."""

    lineages: Lineages
    _first: dict[int, Mapping[Lineage, Mapping[int, int]]] = msgspec.field(default_factory=dict)
    _names: dict[Name, list[Lineage]] = msgspec.field(default_factory=dict)

    def first(self, lineage: Lineage) -> dict[int, int]:
        """The places of a site's functions in the generation that first changed it, with its number."""
        number = self.lineages.touched[lineage][0]
        if number not in self._first:
            record = self.lineages.records[number]
            found: defaultdict[Lineage, dict[int, int]] = defaultdict(dict)
            for one in record.targets:
                place = self.lineages.records.places[id(one.function)]
                found[self.lineages.of(one.site, record.generation.parent)][place] = number
            self._first[number] = found
        return dict(self._first[number].get(lineage, ()))

    def named(self, module: str, qualname: str) -> dict[int, Lineage]:
        """The functions of a name, by their ids."""
        if not self._names:
            for lineage in self.lineages.touched:
                self._names.setdefault((lineage.site.module, lineage.site.qualname), []).append(lineage)
        objects = self.lineages.records.objects
        lineages = self._names.get((module, qualname), ())
        pairs = ([(place, one) for place in self.lineages.families.get(one) or self.first(one)] for one in lineages)
        return {id(objects[place]): one for place, one in chain.from_iterable(pairs)}
