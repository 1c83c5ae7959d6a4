"""Which of the functions of a site's name are the site: by what they run, and by where the name leads."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from itertools import chain
from types import CodeType, FunctionType
from typing import NamedTuple, TypeAlias

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.model import FunctionEdit, PositionEdit
from bcpatch.process import naming
from bcpatch.process.history import History
from bcpatch.process.lineages import Lineage, Switched
from bcpatch.process.linked import LinkedModule, SiteEdit, Wanted
from bcpatch.process.remade import Remade, position

Twins: TypeAlias = Mapping[tuple[str, str], Sequence[SiteEdit]]
"""By a name and a fingerprint: the edits of one module that replace such code."""


def by_what_they_replace(wanted: Iterable[Wanted]) -> dict[int, Twins]:
    """The twins of every module part, by its id: of all its edits, whether these are wanted or not."""
    found: dict[int, Twins] = {}
    for part in {id(module.part): module.part for module, _ in wanted}.values():
        twins: defaultdict[tuple[str, str], list[SiteEdit]] = defaultdict(list)
        for edit in part.edits:
            if isinstance(edit, (FunctionEdit, PositionEdit)):
                twins[edit.site.qualname, edit.replaces].append(edit)
        found[id(part)] = twins
    return found


class Known(msgspec.Struct, eq=False):
    """What tells the functions of a module apart: the text of a patch, what generations did, what the module holds."""

    module: LinkedModule
    twins: Twins
    history: History
    switched: Switched
    remade: Remade
    _namesakes: dict[str, _Namesakes] = msgspec.field(default_factory=dict)
    _positions: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)
    _has_base: bool | None = None

    def place(self, function: FunctionType) -> tuple[int, int]:
        """The line and the column at which the code of a function starts."""
        key = _code_id(function)
        if key not in self._positions:
            self._positions[key] = position(function.__code__)
        return self._positions[key]

    def namesakes(self, qualname: str, functions: Sequence[FunctionType]) -> _Namesakes:
        """What generations tell of all functions of a name."""
        if qualname not in self._namesakes:
            self._namesakes[qualname] = _namesakes(qualname, functions, self)
        return self._namesakes[qualname]

    def ordinal(self, lineage: Lineage) -> int:
        """Which function of its name a site is in the text that runs; -1 where that has it no more."""
        lineages, current = self.history.lineages, self.history.current
        site = lineages.site(lineage, current)
        return site.ordinal if lineages.of(site, current) == lineage else -1

    def alike(self, edit: SiteEdit) -> set[int]:
        """The ordinals of an edit's site and of those of its name that run the same code, as far as the patch knows."""
        known = edit.twins if isinstance(edit, FunctionEdit) else ()
        return {edit.site.ordinal, *known, *(one.site.ordinal for one in self.twins[edit.site.qualname, edit.replaces])}

    def is_claimed(self, edit: SiteEdit, brings: str) -> bool:
        """Whether what runs the code that an edit brings may be another site of its name, which gives it up."""
        rest = self.twins.get((edit.site.qualname, brings), ())
        return brings != edit.replaces and any(isinstance(other, FunctionEdit) for other in rest)

    def has_base(self) -> bool:
        """Whether what the patch was built against is what the generations have made of the module, as far as is known.

        Ordinals are of that text then.
        """
        if self._has_base is None:
            part = self.module.part
            self._has_base = self.history.text(part.module.name) in (None, part.replaces)
        return self._has_base


class _Told(NamedTuple):
    """What generations tell of the functions of a name.

    ``own`` are those of a site, ``candidates`` they and those that no generation has switched; ``alike`` and
    ``doubles`` are the ordinals of namesakes that are not told apart by that: of the site and its twins, and of those
    that do already what it is to do.
    """

    own: Sequence[FunctionType]
    candidates: Sequence[FunctionType]
    alike: Sequence[int]
    doubles: Collection[int]


def chosen(edit: SiteEdit, candidates: Sequence[FunctionType], known: Known) -> Sequence[FunctionType] | Diagnostic:
    """The functions of a site among those of its name, or why not; none where all run the new code already."""
    if known.history.lineages.turns_of(edit.site) and not known.has_base():
        message = f"functions named `{edit.site.qualname}` came or went since the text that the patch was built against"
        said = finding("BCP503", message, Place(known.module.file, edit.replaced_line), site=edit.site)
        return msgspec.structs.replace(said, help="build the patch against the source that runs now: --base")
    alike = known.alike(edit)
    if len(candidates) == len(alike) == 1 and fingerprint.of(candidates[0].__code__) == edit.replaces:
        if isinstance(edit, PositionEdit) or not edit.rivals:
            return candidates
    if isinstance(edit, FunctionEdit) and not edit.replaces and len(alike) > 1:
        return _by_turn(edit, candidates, known)
    told = _told(edit, candidates, alike, known)
    found = _settled(edit, told, known) if told.own else _choose(edit, told, known)
    if isinstance(found, Diagnostic):
        return found
    passed = _passed_over(edit, candidates, found or _running(told.candidates, edit), known)
    return found if passed is None else _mismatch(known.module, edit, [passed])


def _told(edit: SiteEdit, candidates: Sequence[FunctionType], alike: set[int], known: Known) -> _Told:
    """The functions of a site as far as generations have switched them, and those of which they tell nothing."""
    ordinal, several = edit.site.ordinal, len(alike) > 1
    doubles: Collection[int] = ()
    if isinstance(edit, FunctionEdit):
        several, doubles = several or bool(edit.rivals or edit.doubles), edit.doubles
    lineages = known.history.lineages
    if not lineages.touched or not (several or lineages.turns_of(edit.site)) or not known.has_base():
        return _Told((), candidates, sorted(alike), doubles)
    told = known.namesakes(edit.site.qualname, candidates)
    others = told.living - {ordinal}
    kept = (*told.switched.get(ordinal, ()), *told.strangers)
    return _Told(told.own.get(ordinal, ()), kept, sorted(alike - others), set(doubles) - others)


class _Namesakes(msgspec.Struct, frozen=True):
    """The functions of a name, by the ordinals of the base that they go back to.

    ``strangers`` are those that no generation has switched, and ``own`` those that are certainly of an ordinal: the
    module holds them, and no other ordinal has their code. What is held elsewhere alone may be left of an earlier
    load, where the module itself holds some. ``living`` are the ordinals of all that are not.
    """

    strangers: Sequence[FunctionType]
    switched: Mapping[int, Sequence[FunctionType]]
    own: Mapping[int, Sequence[FunctionType]]
    living: Set[int]


def _namesakes(qualname: str, functions: Sequence[FunctionType], known: Known) -> _Namesakes:
    switched = known.switched.named(known.module.part.module.name, qualname)
    lineages: defaultdict[int, set[Lineage]] = defaultdict(set)  # copies run the very code
    for one in functions:
        if id(one) in switched:
            lineages[_code_id(one)].add(switched[id(one)])
    ordinals = {one: known.ordinal(one) for one in set(chain.from_iterable(lineages.values()))}
    held = known.remade.held(qualname)
    if held.isdisjoint(map(id, functions)):
        held = set(map(id, functions))
    of: defaultdict[int, list[FunctionType]] = defaultdict(list)
    own: defaultdict[int, list[FunctionType]] = defaultdict(list)
    for one in functions:
        found = {ordinals[lineage] for lineage in lineages.get(_code_id(one), ())}
        for ordinal in found:
            of[ordinal].append(one)
            if id(one) in held and len(found) == 1:
                own[ordinal].append(one)
    strangers = [one for one in functions if _code_id(one) not in lineages]
    living = {ordinal for ordinal, some in of.items() if not held.isdisjoint(map(id, some))}
    return _Namesakes(strangers, of, own, living)


def _settled(edit: SiteEdit, told: _Told, known: Known) -> Sequence[FunctionType] | Diagnostic:
    """The functions of a site that generations have switched, if no more of its name are here than are defined."""
    running = set(map(_print, told.own))
    if isinstance(edit, FunctionEdit) and running == {edit.brings} != {edit.replaces}:
        return []
    if running != {edit.replaces}:
        return _mismatch(known.module, edit, told.own)
    codes = set(map(_code_id, told.own))
    rest = {known.place(one) for one in _matching(told.candidates, edit) if _code_id(one) not in codes}
    if len(rest) >= len(told.alike):
        return _several(edit, told.alike, sorted(rest), "more than the text defines", known)
    return told.own


def _choose(edit: SiteEdit, told: _Told, known: Known) -> Sequence[FunctionType] | Diagnostic:
    module, remade, candidates = known.module, known.remade, told.candidates
    prints = {id(one): _print(one) for one in candidates}
    matching = _matching(candidates, edit)
    brings = edit.brings if isinstance(edit, FunctionEdit) else edit.replaces
    if isinstance(edit, FunctionEdit) and edit.rivals and candidates:
        ours = [one for one in candidates if not _is_rival(one.__code__, prints[id(one)], edit)]
        if any(edit.replaces in one.prints or brings in one.prints for one in edit.rivals):
            alike_here = [one for one in candidates if prints[id(one)] in (edit.replaces, brings)]
            lines = {one.__code__.co_firstlineno for one in ours}
            if lines - {edit.replaced_line} or (alike_here and _are_lines_off(known)):
                message = f"which of the functions named `{edit.site.qualname}` runs here can't be told"
                return finding("BCP515", message, Place(module.file, edit.replaced_line), site=edit.site)
        if not ours:
            # one of several more may be a branch's of its own, and then what is looked for is still somewhere
            several = remade.definitions(edit.site.qualname) > 1 + len(edit.rivals)
            return _mismatch(module, edit, ()) if several else did_not_run(module, edit)
    if isinstance(edit, PositionEdit) and matching and _is_doubtful(told.alike, matching, known):
        matching = [one for one in matching if one.__code__.co_firstlineno == edit.replaced_line]
        if matching and _are_lines_off(known):
            return _several(edit, told.alike, sorted(map(known.place, matching)), "which may be of two of them", known)
    if not matching:
        if isinstance(edit, PositionEdit) and brings in prints.values():
            return finding("BCP502", "a branch that did not run", Place(module.file), site=edit.site)
        done = _running(candidates, edit)
        if done and remade.definitions(edit.site.qualname) > 1:  # what others hold may be left of another one of these
            done = [one for one in done if remade.holds(edit.site.qualname, [one])]
        there = {known.place(one) for one in done}
        if len(there) > len(told.doubles) and not known.is_claimed(edit, brings):
            return []
        return _mismatch(module, edit, candidates)
    places = sorted({known.place(one) for one in matching})
    if len(places) == 1 and (isinstance(edit, PositionEdit) or not edit.twins):
        return matching
    return _twin(edit, matching, places, told.alike, known)


def _print(function: FunctionType) -> str:
    return fingerprint.of(function.__code__)


def _code_id(function: FunctionType) -> int:
    return id(function.__code__)


def _matching(functions: Iterable[FunctionType], edit: SiteEdit) -> list[FunctionType]:
    """Those that run what an edit replaces."""
    return [one for one in functions if edit.replaces in ("", _print(one))]


def _running(functions: Iterable[FunctionType], edit: SiteEdit) -> list[FunctionType]:
    """Those that run what an edit brings."""
    brings = edit.brings if isinstance(edit, FunctionEdit) else edit.replaces
    return [one for one in functions if _print(one) == brings]


def _passed_over(
    edit: SiteEdit, candidates: Sequence[FunctionType], right: Sequence[FunctionType], known: Known
) -> FunctionType | None:
    """What the module has in the site's place and what runs neither the old code nor the new, if there is such a one.

    Others that have both the name and the code, those that are ``right``, are then no more than left over.
    """
    if not isinstance(edit, FunctionEdit) or not edit.replaces or edit.rivals:
        return None
    name, remade = edit.site.qualname, known.remade
    led = naming.led(known.module.namespace, name, remade.walk)
    if any(one is other for one in led for other in right):
        return None
    if led and naming.is_bound_last(edit.site, known.module.part):
        return led[0]
    running = set(map(_code_id, right))
    if all(_code_id(one) in running for one in candidates):
        return None
    found = remade.instead_of(name, right)
    return remade.among(candidates, name, right) if found is None and not remade.holds(name, right) else found


def _is_rival(code: CodeType, print_: str, edit: FunctionEdit) -> bool:
    """Whether code is that of another branch: by what it does, and by its line where both do the same."""
    return any(
        print_ in one.prints and (print_ not in (edit.replaces, edit.brings) or code.co_firstlineno == one.line)
        for one in edit.rivals
    )


def _are_lines_off(known: Known) -> bool:
    """Whether a function of the module may stand on the line that another definition has in the base."""
    return known.module.part.module.name in known.history.displaced or known.remade.is_off()


def _is_doubtful(alike: Sequence[int], matching: Sequence[FunctionType], known: Known) -> bool:
    """Whether other sites of the name do the same, and not all of them are there: branches that did not run."""
    return len(alike) > len({known.place(one) for one in matching})


def _twin(
    edit: SiteEdit,
    matching: Sequence[FunctionType],
    places: Sequence[tuple[int, int]],
    alike: Sequence[int],
    known: Known,
) -> list[FunctionType] | Diagnostic:
    """The functions of a site where others of its name run the same code on other lines.

    A line alone tells nothing: the base may stand some lines off what the process loaded. All of their lines do, where
    they are as far from one another as in the base: as many may be there of two loads, or of branches that did not run.
    """
    module, history, remade, name = known.module, known.history, known.remade, edit.site.qualname
    lineage = history.lineages.of(edit.site, history.current)
    brought = history.codes.get(lineage, ()) if len(alike) == 1 else ()
    had = {_code_id(one) for one in matching if history.records.places.get(_code_id(one)) in brought}
    led = set(map(_code_id, naming.led(module.namespace, name, remade.walk)))
    if not led.isdisjoint(map(_code_id, matching)) and naming.is_bound_last(edit.site, module.part):
        return [one for one in matching if _code_id(one) in led | had]
    texts = {one.__code__.co_filename for one in matching}
    # what a patch has changed or added stands on lines of its text, and what was there before, or loaded again, may not
    mixed = module.part.module.name in history.texts and remade.is_off()
    # what is held elsewhere alone may be left of an earlier load, in the place of one that left nothing behind
    apart = len({remade.holds(name, [one]) for one in matching}) > 1
    if not remade.are_places_of(name, alike, places) or len(texts) > 1 or mixed or apart:
        several = f"of {len(texts)} texts" if len(texts) > 1 else "some of them held elsewhere only" if apart else ""
        return _several(edit, alike, places, several, known)
    place = places[alike.index(edit.site.ordinal)]
    return [one for one in matching if known.place(one) == place]


def _several(
    edit: SiteEdit, alike: Sequence[int], places: Sequence[tuple[int, int]], what: str, known: Known
) -> Diagnostic:
    shown = ", ".join(str(line) for line, _ in places) + (f", {what}" if what else "")
    named = f"functions named {edit.site.qualname} run the same code"
    message = f"{len(alike)} {named}, and there are {len(places)} in this process, at lines {shown}"
    return finding("BCP503", message, Place(known.module.file), site=edit.site)


def _by_turn(edit: FunctionEdit, candidates: Sequence[FunctionType], known: Known) -> list[FunctionType] | Diagnostic:
    """The functions of one of several definitions of a name, of a patch that replaces whatever they run.

    Nothing but their order tells which is which. So there must be as many as are defined, on the lines of the text
    that was loaded, and all but one must do already what their definitions say: else some may have changed places.
    """
    found = {position(one.__code__): one.__code__ for one in candidates}
    places = sorted(found)
    definitions = sorted(known.twins[edit.site.qualname, ""], key=lambda one: one.site.ordinal)
    first = not any(id(code) in known.history.records.places for code in found.values())
    if first and len(places) == len(definitions) and len({code.co_filename for code in found.values()}) == 1:
        running = [fingerprint.of(found[place]) for place in places]
        brought = [one.brings for one in definitions if isinstance(one, FunctionEdit)]
        if sum(map(operator.ne, running, brought)) <= 1:
            place = places[definitions.index(edit)]
            return [one for one in candidates if position(one.__code__) == place]
    message = f"{len(definitions)} functions named {edit.site.qualname}, of which {len(places)} are in this process"
    said = finding("BCP503", f"{message}, and the patch has no base that tells them apart", Place(known.module.file))
    return msgspec.structs.replace(said, site=edit.site, help="build the patch with --base")


def _mismatch(module: LinkedModule, edit: SiteEdit, candidates: Sequence[FunctionType]) -> Diagnostic:
    if not candidates:
        message = f"{module.object.__name__} holds no function {edit.site.qualname}"
        return finding("BCP502", message, Place(module.file), site=edit.site)
    other = candidates[0].__code__
    place = Place(other.co_filename, other.co_firstlineno)
    if any(name.startswith("@py") for name in (*other.co_names, *other.co_varnames)):
        return finding("BCP507", "its assertions were rewritten by pytest", place, site=edit.site)
    running = ", ".join(sorted({fingerprint.of(one.__code__) for one in candidates}))
    return finding("BCP504", f"it runs {running}, the patch replaces {edit.replaces}", place, site=edit.site)


def did_not_run(module: LinkedModule, edit: SiteEdit) -> Diagnostic:
    message = f"`{edit.site.qualname}` stays as it is: the branch that defines this one did not run here"
    return finding("BCP514", message, Place(module.file, edit.replaced_line), site=edit.site)
