"""Which of the functions of a site's name are the site: by what they run, and by where the name leads."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import CodeType, FunctionType
from typing import TypeAlias

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.model import FunctionEdit, PositionEdit
from bcpatch.process import naming
from bcpatch.process.history import History
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


def chosen(
    module: LinkedModule,
    edit: SiteEdit,
    candidates: Sequence[FunctionType],
    twins: Twins,
    history: History,
    remade: Remade,
) -> Sequence[FunctionType] | Diagnostic:
    """The functions of a site among those of its name, or why not; none where all run the new code already."""
    found = _choose(module, edit, candidates, twins, history, remade)
    passed = None if isinstance(found, Diagnostic) else _passed_over(module, edit, candidates, found, remade)
    return found if passed is None else _mismatch(module, edit, [passed])


def _choose(
    module: LinkedModule,
    edit: SiteEdit,
    candidates: Sequence[FunctionType],
    twins: Twins,
    history: History,
    remade: Remade,
) -> Sequence[FunctionType] | Diagnostic:
    alike = _alike(edit, twins)
    if len(candidates) == len(alike) == 1 and fingerprint.of(candidates[0].__code__) == edit.replaces:
        if isinstance(edit, PositionEdit) or not edit.rivals:
            return candidates
    if isinstance(edit, FunctionEdit) and not edit.replaces and len(alike) > 1:
        return _by_turn(module, edit, candidates, twins, history)
    prints = {id(one): fingerprint.of(one.__code__) for one in candidates}
    matching = [one for one in candidates if edit.replaces in ("", prints[id(one)])]
    brings = edit.brings if isinstance(edit, FunctionEdit) else edit.replaces
    if isinstance(edit, FunctionEdit) and edit.rivals and candidates:
        ours = [one for one in candidates if not _is_rival(one.__code__, prints[id(one)], edit)]
        if any(edit.replaces in one.prints or brings in one.prints for one in edit.rivals):
            alike_here = [one for one in candidates if prints[id(one)] in (edit.replaces, brings)]
            lines = {one.__code__.co_firstlineno for one in ours}
            if lines - {edit.replaced_line} or (alike_here and remade.is_off()):
                message = f"which of the functions named `{edit.site.qualname}` runs here can't be told"
                return finding("BCP515", message, Place(module.file, edit.replaced_line), site=edit.site)
        if not ours:
            # one of several more may be a branch's of its own, and then what is looked for is still somewhere
            several = remade.definitions(edit.site.qualname) > 1 + len(edit.rivals)
            return _mismatch(module, edit, ()) if several else did_not_run(module, edit)
    if isinstance(edit, PositionEdit) and matching and _is_doubtful(alike, matching):
        matching = [one for one in matching if one.__code__.co_firstlineno == edit.replaced_line]
    if not matching:
        if isinstance(edit, PositionEdit) and brings in prints.values():
            return finding("BCP502", "a branch that did not run", Place(module.file), site=edit.site)
        doubles = edit.doubles if isinstance(edit, FunctionEdit) else ()
        done = [one for one in candidates if prints[id(one)] == brings]
        if doubles:  # what is held elsewhere alone may be left of an earlier load, and is one of these then
            done = [one for one in done if remade.holds(edit.site.qualname, [one])]
        there = {position(one.__code__) for one in done}
        if len(there) > len(doubles) and not _is_claimed(edit, brings, twins):
            return []
        return _mismatch(module, edit, candidates)
    places = sorted({position(one.__code__) for one in matching})
    if len(places) == 1 and (isinstance(edit, PositionEdit) or not edit.twins):
        return matching
    return _twin(module, edit, matching, places, alike, history, remade)


def _alike(edit: SiteEdit, twins: Twins) -> list[int]:
    """The ordinals of an edit's site and of those of its name that run the same code, as far as the patch knows."""
    known = edit.twins if isinstance(edit, FunctionEdit) else ()
    edited = (one.site.ordinal for one in twins[edit.site.qualname, edit.replaces])
    return sorted({edit.site.ordinal, *known, *edited})


def _passed_over(
    module: LinkedModule,
    edit: SiteEdit,
    candidates: Sequence[FunctionType],
    chosen: Sequence[FunctionType],
    remade: Remade,
) -> FunctionType | None:
    """What the module has in the site's place and what runs neither the old code nor the new, if there is such a one.

    Others that have both the name and the code are then no more than left over.
    """
    if not isinstance(edit, FunctionEdit) or not edit.replaces or edit.rivals:
        return None
    name = edit.site.qualname
    led = naming.led(module.namespace, name, remade.walk)
    right = chosen or [one for one in candidates if fingerprint.of(one.__code__) == edit.brings]
    if any(one is other for one in led for other in right):
        return None
    if led and naming.is_bound_last(edit.site, module.part):
        return led[0]
    running = {id(one.__code__) for one in right}
    if all(id(one.__code__) in running for one in candidates):
        return None
    found = remade.instead_of(name, right)
    return remade.among(candidates, name, right) if found is None and not remade.holds(name, right) else found


def _is_rival(code: CodeType, print_: str, edit: FunctionEdit) -> bool:
    """Whether code is that of another branch: by what it does, and by its line where both do the same."""
    return any(
        print_ in one.prints and (print_ not in (edit.replaces, edit.brings) or code.co_firstlineno == one.line)
        for one in edit.rivals
    )


def _is_doubtful(alike: Sequence[int], matching: Sequence[FunctionType]) -> bool:
    """Whether other sites of the name do the same, and not all of them are there: branches that did not run."""
    return len(alike) > len({position(one.__code__) for one in matching})


def _is_claimed(edit: SiteEdit, brings: str, twins: Twins) -> bool:
    """Whether what runs the code that an edit brings may be another site of its name, which gives it up."""
    rest = twins.get((edit.site.qualname, brings), ())
    return brings != edit.replaces and any(isinstance(other, FunctionEdit) for other in rest)


def _twin(
    module: LinkedModule,
    edit: SiteEdit,
    matching: Sequence[FunctionType],
    places: Sequence[tuple[int, int]],
    alike: Sequence[int],
    history: History,
    remade: Remade,
) -> list[FunctionType] | Diagnostic:
    """The functions of a site where others of its name run the same code on other lines.

    A line alone tells nothing: the base may stand some lines off what the process loaded. Their order does, where
    the patch knows as many of them as there are, and their lines are those of one text. What a generation brought to a
    site tells something only where there are no others: an ordinal may have been another function's then.
    """
    brought = history.codes.get(edit.site, ()) if len(alike) == 1 else ()
    known = {id(one.__code__) for one in matching if history.records.places.get(id(one.__code__)) in brought}
    led = {id(one.__code__) for one in naming.led(module.namespace, edit.site.qualname, remade.walk)}
    if not led.isdisjoint(id(one.__code__) for one in matching) and naming.is_bound_last(edit.site, module.part):
        return [one for one in matching if id(one.__code__) in led | known]
    texts = {one.__code__.co_filename for one in matching}
    # what a patch has changed or added stands on lines of its text, and what was there before, or loaded again, may not
    mixed = module.part.module.name in history.texts and remade.is_off()
    # what is held elsewhere alone may be left of an earlier load, in the place of one that left nothing behind
    apart = len({remade.holds(edit.site.qualname, [one]) for one in matching}) > 1
    if len(alike) != len(places) or len(texts) > 1 or mixed or apart:
        shown = ", ".join(str(line) for line, _ in places)
        named = f"functions named {edit.site.qualname} run the same code"
        several = f" of {len(texts)} texts" if len(texts) > 1 else ", some of them held elsewhere only" if apart else ""
        message = f"{len(alike)} {named}, and there are {len(places)} in this process, at lines {shown}{several}"
        return finding("BCP503", message, Place(module.file), site=edit.site)
    place = places[alike.index(edit.site.ordinal)]
    return [one for one in matching if position(one.__code__) == place]


def _by_turn(
    module: LinkedModule, edit: FunctionEdit, candidates: Sequence[FunctionType], twins: Twins, history: History
) -> list[FunctionType] | Diagnostic:
    """The functions of one of several definitions of a name, of a patch that replaces whatever they run.

    Nothing but their order tells which is which. So there must be as many as are defined, on the lines of the text
    that was loaded, and all but one must do already what their definitions say: else some may have changed places.
    """
    found = {position(one.__code__): one.__code__ for one in candidates}
    places = sorted(found)
    definitions = sorted(twins[edit.site.qualname, ""], key=lambda one: one.site.ordinal)
    first = not any(id(code) in history.records.places for code in found.values())
    if first and len(places) == len(definitions) and len({code.co_filename for code in found.values()}) == 1:
        running = [fingerprint.of(found[place]) for place in places]
        brought = [one.brings for one in definitions if isinstance(one, FunctionEdit)]
        if sum(map(operator.ne, running, brought)) <= 1:
            place = places[definitions.index(edit)]
            return [one for one in candidates if position(one.__code__) == place]
    message = f"{len(definitions)} functions named {edit.site.qualname}, of which {len(places)} are in this process"
    said = finding("BCP503", f"{message}, and the patch has no base that tells them apart", Place(module.file))
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
