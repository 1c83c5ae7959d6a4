"""Every function of every site of a patch, or the reason why not.

Looks where a site's name leads first, then through its module, then through all
modules, and only on request through the whole heap; it stops as soon as every
reference to the code that is to be replaced is accounted for.
"""

from __future__ import annotations

import gc
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from importlib import import_module
from inspect import CO_OPTIMIZED
from itertools import repeat
from types import FrameType, FunctionType
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from bcpatch import fingerprint, pythons, splices
from bcpatch.diagnostics import Diagnostic, errors
from bcpatch.model import FunctionEdit, PositionEdit, Site
from bcpatch.process import guards, naming
from bcpatch.process.accounting import Walk
from bcpatch.process.caches import with_caches
from bcpatch.process.history import History, Own
from bcpatch.process.holders import accounted
from bcpatch.process.lineages import Switched
from bcpatch.process.linked import LinkedModule, LinkedSite, Located, SiteEdit, Wanted
from bcpatch.process.matching import Known, by_what_they_replace, chosen, did_not_run
from bcpatch.process.objects import all_namespaces, everything
from bcpatch.process.remade import Remade
from bcpatch.process.unshared import unshared

_signals: Final = import_module("_signal")  # `signal` makes enumerations, which takes a millisecond

_NEAR: Final = 5_000
_MODULE: Final = 200_000
_EVERYWHERE: Final = 2_000_000


def locate(modules: Sequence[LinkedModule], history: History, *, heap: bool, positions: bool) -> Located:
    """Find and account for every site of ``modules``.

    ``positions`` asks for sites that only moved too, where the disk has the new text.
    """
    wanted = [
        (module, edit)
        for module in modules
        for edit in module.part.edits
        if isinstance(edit, FunctionEdit) or (positions and module.on_disk and isinstance(edit, PositionEdit))
    ]
    aside = history.set_aside()
    sites, left = unshared(wanted, aside, history)
    searched = Located((), (), ())
    if left:
        spaces = {id(module.namespace): module.namespace for module in modules}
        walk = walk_in(spaces.values(), history)
        searched = _searched(list(spaces.values()), left, walk, aside, history, heap=heap)
        searched = with_caches(searched, walk, Own(history), everywhere)
    sites += searched.sites
    displaced = searched.displaced.union(_displaced(sites))
    return replace(searched, sites=tuple(site for site in sites if not _is_another(site)), displaced=displaced)


def _is_another(site: LinkedSite) -> bool:
    """Whether what was found for a definition that only moved may be another definition of its name.

    A patch does not tell of those that did not move. One that is hidden, or stands in a branch that did not run, has
    left nothing behind, and the lines of what did run are not its.
    """
    edit = site.edit
    if isinstance(edit, FunctionEdit) or all(
        one.__code__.co_firstlineno == edit.replaced_line for one in site.functions
    ):
        return False
    name = edit.site.qualname.rpartition(".")[2]
    text = splices.applied(site.module.part.back, site.module.part.source).decode("utf-8", "replace")
    return not name.isascii() or _DEFINED.findall(text).count("" if name == "<lambda>" else name) > 1


_DEFINED: Final = re.compile(r"\bdef[\s\\]+(\w+)|\blambda\b")
"""The name of each function that a text may define; none for a lambda."""


def _searched(
    spaces: Sequence[dict[str, Any]],
    wanted: Sequence[Wanted],
    walk: Walk,
    aside: dict[int, FunctionType],
    history: History,
    *,
    heap: bool,
) -> Located:
    """The sites that take a search."""
    named = [(module.namespace, edit.site.qualname.partition(".")[0]) for module, edit in wanted]
    near = [space[name] for space, name in named if name in space]
    result = Located((), (), ())
    missing: dict[Site | None, str] = {}
    moved: set[Site | None] = {edit.site for _, edit in wanted if isinstance(edit, PositionEdit)}
    last = Where.HEAP if heap else Where.EVERYWHERE
    for where, look_further in _stages(near, spaces, history, aside, heap):
        reached = walk.seen.keys() if where is not Where.RECORDS else frozenset(walk.seen)
        look_further(walk)
        result = _settle(wanted, walk, aside, history, patient=where is last)
        missing = {one.site: one.code for one in errors(result.found)}
        if not missing and not _is_recorded_only(result, reached):
            return result
        if (
            where is not Where.NEARBY
            and missing
            and all(site in moved and code in _NOT_THERE for site, code in missing.items())
        ):
            break  # nothing is lost but the places of lines: not worth looking at all modules
    left = [(module, edit) for module, edit in wanted if not _is_left_out(edit, missing.get(edit.site))]
    if len(left) == len(wanted):
        return result
    absent = [one for one in wanted if one not in left and isinstance(one[1], FunctionEdit)]
    result = _settle(left, walk, aside, history, patient=True)
    stay = [one for one in wanted if one not in left and isinstance(one[1], PositionEdit)]
    displaced = frozenset(_left_behind(stay, result, walk))
    return replace(result, found=(*result.found, *(did_not_run(*one) for one in absent)), displaced=displaced)


def _left_behind(stay: Iterable[Wanted], result: Located, walk: Walk) -> Iterator[str]:
    """The modules of definitions whose lines can't be followed, where something is there that may be of these."""
    switched = {id(function) for site in result.sites for function in site.functions}
    left = {(id(module.namespace), edit.site.qualname, edit.replaces): edit.site.module for module, edit in stay}
    names = {(namespace, qualname) for namespace, qualname, _ in left}
    for function in walk.functions:
        name = id(function.__globals__), function.__code__.co_qualname
        if name in names and id(function) not in switched:
            module = left.get((*name, fingerprint.of(function.__code__)))
            if module is not None:
                yield module


def _displaced(sites: Iterable[LinkedSite]) -> Iterator[str]:
    """The modules of sites that stood on other lines than in the base."""
    for site in sites:
        line = site.edit.replaced_line
        if line and any(one.__code__.co_firstlineno != line for one in site.functions):
            yield site.edit.site.module


def _is_recorded_only(result: Located, reached: Container[int]) -> bool:
    """Whether all that is known of some site are the records: its module has it nowhere, and may have made another."""
    edited = [site for site in result.sites if isinstance(site.edit, FunctionEdit)]
    return any(not any(id(one) in reached for one in site.functions) for site in edited)


_NOT_THERE: Final = ("BCP502", "BCP503", "BCP504")


def _is_left_out(edit: SiteEdit, code: str | None) -> bool:
    """Whether a site that was not found is no reason against a patch."""
    if isinstance(edit, PositionEdit):
        return code in _NOT_THERE
    return edit.conditional and code == "BCP502"


def relocate(sites: Sequence[LinkedSite], history: History, own: Own) -> Located:
    """Find what else runs the code of known functions: closures that it made, and copies.

    ``own`` tells the references of the history and of the caller, by id.
    """
    spaces = {id(site.module.namespace): site.module.namespace for site in sites}
    near = [function for site in sites for function in site.functions]
    walk = walk_in(spaces.values(), history)
    aside = history.set_aside()
    result = Located((), (), ())
    for where, look_further in _stages(near, list(spaces.values()), history, aside, heap=False):
        look_further(walk)
        result = accounted(sites, (), walk, history, aside, own, patient=where is Where.EVERYWHERE)
        if not any(one.code == "BCP506" for one in result.found):
            break
    return result


# --- where to look, nearest first ----------------------------------------------------


class Where(Enum):
    """A stage of the search."""

    NEARBY = "where the names of sites lead"
    MODULES = "the modules of the sites"
    RECORDS = "what the records know"
    EVERYWHERE = "all modules, and the local variables of calls"
    HEAP = "every object"


Stage: TypeAlias = tuple[Where, Callable[[Walk], None]]
"""A stage, and what makes a walk go on there."""


def walk_in(spaces: Iterable[dict[str, Any]], history: History) -> Walk:
    """A walk that enters no module's namespace by itself, nor what bcpatch keeps."""
    beyond = [*all_namespaces(), history, *history.stores]
    return Walk(frozenset(str(space.get("__name__")) for space in spaces), frozenset(map(id, beyond)))


def _stages(
    near: Sequence[object],
    spaces: Sequence[dict[str, Any]],
    history: History,
    aside: dict[int, FunctionType],
    heap: bool,
) -> Iterator[Stage]:
    """Where to look. What is found to be left over joins those set ``aside``."""

    def nearby(walk: Walk) -> None:
        walk.enter(near, _NEAR, narrow=True)

    def in_modules(walk: Walk) -> None:
        walk.enter(spaces, _MODULE, narrow=True)

    def in_records(walk: Walk) -> None:
        known = [one for one in history.records.objects if type(one) is FunctionType and id(one) not in walk.seen]
        left = naming.left_over(known, Own(history))
        if len(left) < len(known) and gc.isenabled():
            left.clear()
            gc.collect()  # classes that gave way are garbage in cycles, and hold their functions
            left = naming.left_over(known, Own(history))
        aside.update((id(one), one) for one in left)
        walk.add(one for one in known if id(one) not in aside)

    def in_heap(walk: Walk) -> None:
        walk.add(everything())

    yield Where.NEARBY, nearby
    yield Where.MODULES, in_modules
    yield Where.RECORDS, in_records
    yield Where.EVERYWHERE, everywhere
    if heap:
        yield Where.HEAP, in_heap


def everywhere(walk: Walk) -> None:
    """Go on through all modules, and the local variables of calls."""
    loaded = all_namespaces()
    own = [space for space in loaded if str(space.get("__name__")).partition(".")[0] == "bcpatch"]
    for space in own:
        walk.seen[id(space)] = space
    walk.enter([*_locals({id(space) for space in own}), *_called_back(), *loaded], _EVERYWHERE, narrow=False)


def _called_back() -> Iterator[object]:
    """What the interpreter itself keeps, to call it: handlers of signals."""
    yield from map(_signals.getsignal, range(1, _signals.NSIG))


def _locals(own: set[int]) -> Iterator[object]:
    """What the local variables of all threads' frames refer to, bcpatch's own frames excepted."""
    # no variable keeps a frame: this call's own is among them, and would become a cycle
    for values in map(_values, guards.stacks(), repeat(own)):
        yield from values


def _values(frame: FrameType, own: set[int]) -> list[object]:
    if id(frame.f_globals) in own or not frame.f_code.co_flags & CO_OPTIMIZED:
        return []
    found = frame.f_locals
    values = list(found.values())
    if pythons.LOCALS_ARE_KEPT:
        found.clear()
    return values


# --- what was found so far ------------------------------------------------------------


def _settle(
    wanted: Sequence[Wanted], walk: Walk, aside: Mapping[int, FunctionType], history: History, *, patient: bool
) -> Located:
    """Decide every site with what the walk has reached so far; ``patient`` as in `holders.accounted`."""
    by_name: defaultdict[tuple[int, str], list[FunctionType]] = defaultdict(list)
    for function in walk.functions:
        if id(function) not in aside:
            by_name[id(function.__globals__), function.__code__.co_qualname].append(function)
    twins, switched = by_what_they_replace(wanted), Switched(history.lineages)
    known = {
        id(module): Known(module, twins[id(module.part)], history, switched, _remade(module, walk, aside, history))
        for module in {id(module): module for module, _ in wanted}.values()
    }
    sites: list[LinkedSite] = []
    satisfied: list[Site] = []
    found: list[Diagnostic] = []
    for module, edit in wanted:
        candidates = by_name[id(module.namespace), edit.site.qualname]
        functions = chosen(edit, candidates, known[id(module)])
        if isinstance(functions, Diagnostic):
            found.append(functions)
        elif functions:
            lineage = history.lineages.of(edit.site, history.current)
            sites.append(LinkedSite(edit, lineage, module, tuple(functions)))
        else:
            satisfied.append(edit.site)
    if errors(found):
        return Located(tuple(sites), tuple(satisfied), tuple(found))
    settled = accounted(sites, tuple(satisfied), walk, history, aside, Own(history), patient=patient)
    return replace(settled, found=(*found, *settled.found))


def _remade(module: LinkedModule, walk: Walk, aside: Mapping[int, FunctionType], history: History) -> Remade:
    return Remade(module.namespace, _texts(module), history.files, walk, aside)


def _texts(module: LinkedModule) -> Iterator[bytes]:
    yield splices.applied(module.part.back, module.part.source)
    yield module.part.source
