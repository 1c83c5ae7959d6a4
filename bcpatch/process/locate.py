"""Every function of every site of a patch, or the reason why not.

Looks where a site's name leads first, then through its module, then through all
modules, and only on request through the whole heap; it stops as soon as every
reference to the code that is to be replaced is accounted for.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import CO_OPTIMIZED
from itertools import chain, repeat
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Final, TypeAlias

import msgspec

from bcpatch import fingerprint, pythons
from bcpatch.diagnostics import Diagnostic, Place, errors, finding
from bcpatch.model import Code, FunctionEdit, ModulePatch, PositionEdit, Site
from bcpatch.process import guards, naming, nested
from bcpatch.process.accounting import Account, Walk, account
from bcpatch.process.history import History, Own
from bcpatch.process.objects import all_namespaces, everything, namespace_of
from bcpatch.process.records import Cache

SiteEdit: TypeAlias = FunctionEdit | PositionEdit
Store: TypeAlias = FunctionType | Sequence[object]
"""What code is of: a function, or what the records of the history speak of."""

_NEAR: Final = 5_000
_MODULE: Final = 200_000
_EVERYWHERE: Final = 2_000_000
_LOOKS: Final = 25
"""How often a count is repeated: another thread may hold a code object for a moment (as ``logging`` does)."""
_PAUSE: Final = 0.0002  # seconds: lets other threads run on


@dataclass(frozen=True, slots=True, eq=False)
class LinkedModule:
    """One module object that a part of a patch goes into.

    ``on_disk`` says whether its file holds the new text now, and code under its name goes on there;
    ``file`` is that file.
    """

    part: ModulePatch
    object: ModuleType
    file: str
    on_disk: bool

    @property
    def namespace(self) -> dict[str, Any]:
        return namespace_of(self.object)


@dataclass(frozen=True, slots=True, eq=False)
class LinkedClosure:
    """A live function made by a site's code: ``path`` leads through constants to its new code."""

    function: FunctionType
    path: nested.Path


class LinkedSite(msgspec.Struct, frozen=True, eq=False):
    """A site found in one module object: every function that shares its code."""

    edit: SiteEdit
    module: LinkedModule
    functions: tuple[FunctionType, ...]
    closures: tuple[LinkedClosure, ...] = ()
    caches: tuple[Cache, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class OldCode:
    """Code to be replaced: says where it is, and holds no reference to it.

    It is the code of a function, or one that the history keeps at a place, or nested in
    either; ``pair`` says where, and what continues it.
    """

    site: LinkedSite
    store: Store
    place: int
    pair: nested.Pair

    def code(self) -> CodeType:
        return nested.at(self.outer(), self.pair.old)

    def outer(self) -> CodeType:
        return _stored(self.store, self.place)


def _stored(store: Store, place: int) -> CodeType:
    found = store.__code__ if isinstance(store, FunctionType) else store[place]
    assert isinstance(found, CodeType)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """Old code, and how many references it has while no call is inside it, those of bcpatch aside.

    The code is that of a function, or one that the history keeps at a place, or at a path in it.
    """

    store: Store
    place: int
    path: nested.Path
    references: int

    def code(self) -> CodeType:
        return nested.at(_stored(self.store, self.place), self.path)


@dataclass(frozen=True, slots=True)
class Located:
    """What was found: sites to switch, sites that run the new code already, and findings.

    ``still`` tells of each code object that gives way when nobody is inside.
    """

    sites: tuple[LinkedSite, ...]
    satisfied: tuple[Site, ...]
    found: tuple[Diagnostic, ...]
    still: tuple[Still, ...] = ()


def locate(modules: Sequence[LinkedModule], history: History, *, heap: bool, positions: bool) -> Located:
    """Find and account for every site of ``modules``.

    ``positions`` asks for sites that only moved too, where the disk has the new text.
    """
    wanted = [
        (module, edit)
        for module in modules
        for edit in module.part.edits
        if isinstance(edit, FunctionEdit) or (isinstance(edit, PositionEdit) and positions and module.on_disk)
    ]
    spaces = {id(module.namespace): module.namespace for module in modules}
    named = [(module.namespace, edit.site.qualname.partition(".")[0]) for module, edit in wanted]
    near = [space[name] for space, name in named if name in space]
    walk = walk_in(spaces.values(), history)
    aside = history.set_aside()
    result = Located((), (), ())
    missing: dict[Site | None, str] = {}
    moved: set[Site | None] = {edit.site for _, edit in wanted if isinstance(edit, PositionEdit)}
    for number, look_further in enumerate(_stages(near, list(spaces.values()), history, aside, heap)):
        look_further(walk)
        result = _settle(wanted, walk, aside, history)
        missing = {one.site: one.code for one in errors(result.found)}
        if not missing:
            return result
        if number and all(site in moved and code in _NOT_THERE for site, code in missing.items()):
            break  # nothing is lost but the places of lines: not worth looking at all modules
    left = [(module, edit) for module, edit in wanted if not _is_left_out(edit, missing.get(edit.site))]
    if len(left) == len(wanted):
        return result
    absent = [one for one in wanted if one not in left and isinstance(one[1], FunctionEdit)]
    result = _settle(left, walk, aside, history)
    return replace(result, found=(*result.found, *(_did_not_run(*one) for one in absent)))


_NOT_THERE: Final = ("BCP502", "BCP503", "BCP504")


def _is_left_out(edit: SiteEdit, code: str | None) -> bool:
    """Whether a site that was not found is no reason against a patch."""
    if isinstance(edit, PositionEdit):
        return code in _NOT_THERE
    return edit.conditional and code == "BCP502"


def _did_not_run(module: LinkedModule, edit: SiteEdit) -> Diagnostic:
    message = f"`{edit.site.qualname}` stays as it is: the branch that defines this one did not run here"
    return finding("BCP514", message, Place(module.file, edit.replaced_line), site=edit.site)


def relocate(sites: Sequence[LinkedSite], history: History, own: Own) -> Located:
    """Find what else runs the code of known functions: closures that it made, and copies.

    ``own`` tells the references of the history and of the caller, by id.
    """
    spaces = {id(site.module.namespace): site.module.namespace for site in sites}
    near = [function for site in sites for function in site.functions]
    walk = walk_in(spaces.values(), history)
    aside = history.set_aside()
    result = Located((), (), ())
    for look_further in _stages(near, list(spaces.values()), history, aside, heap=False):
        look_further(walk)
        result = _accounted(sites, (), walk, history, aside, own)
        if not any(one.code == "BCP506" for one in result.found):
            break
    return result


# --- where to look, nearest first ----------------------------------------------------

Wanted: TypeAlias = tuple[LinkedModule, SiteEdit]
Stage: TypeAlias = Callable[[Walk], None]


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

    def everywhere(walk: Walk) -> None:
        loaded = all_namespaces()
        own = [space for space in loaded if str(space.get("__name__")).partition(".")[0] == "bcpatch"]
        for space in own:
            walk.seen[id(space)] = space
        walk.enter([*_locals({id(space) for space in own}), *loaded], _EVERYWHERE, narrow=False)

    def in_heap(walk: Walk) -> None:
        walk.add(everything())

    yield nearby
    yield in_modules
    yield in_records
    yield everywhere
    if heap:
        yield in_heap


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


# --- matching ------------------------------------------------------------------------


def _settle(wanted: Sequence[Wanted], walk: Walk, aside: Mapping[int, FunctionType], history: History) -> Located:
    """Decide every site with what the walk has reached so far."""
    by_name: defaultdict[tuple[int, str], list[FunctionType]] = defaultdict(list)
    for function in walk.functions:
        if id(function) not in aside:
            by_name[id(function.__globals__), function.__code__.co_qualname].append(function)
    twins = _by_what_they_replace(wanted)
    sites: list[LinkedSite] = []
    satisfied: list[Site] = []
    found: list[Diagnostic] = []
    for module, edit in wanted:
        candidates = by_name[id(module.namespace), edit.site.qualname]
        chosen = _choose(module, edit, candidates, twins[id(module.part)], history, walk)
        passed = None if isinstance(chosen, Diagnostic) else _passed_over(module, edit, candidates, chosen, walk)
        if isinstance(chosen, Diagnostic):
            found.append(chosen)
        elif passed is not None:
            found.append(_mismatch(module, edit, [passed]))
        elif chosen:
            sites.append(LinkedSite(edit, module, tuple(chosen)))
        else:
            satisfied.append(edit.site)
    if errors(found):
        return Located(tuple(sites), tuple(satisfied), tuple(found))
    accounted = _accounted(sites, tuple(satisfied), walk, history, aside, Own(history))
    return replace(accounted, found=(*found, *accounted.found))


Twins: TypeAlias = Mapping[tuple[str, str], Sequence[SiteEdit]]
"""By a name and a fingerprint: the edits of one module that replace such code."""


def _by_what_they_replace(wanted: Iterable[Wanted]) -> dict[int, Twins]:
    """The twins of every module part, by its id: of all its edits, whether these are wanted or not."""
    found: dict[int, Twins] = {}
    for part in {id(module.part): module.part for module, _ in wanted}.values():
        twins: defaultdict[tuple[str, str], list[SiteEdit]] = defaultdict(list)
        for edit in part.edits:
            if isinstance(edit, FunctionEdit | PositionEdit):
                twins[edit.site.qualname, edit.replaces].append(edit)
        found[id(part)] = twins
    return found


def _choose(
    module: LinkedModule,
    edit: SiteEdit,
    candidates: Sequence[FunctionType],
    twins: Twins,
    history: History,
    walk: Walk,
) -> Sequence[FunctionType] | Diagnostic:
    """The functions of a site among those of its name; none where all run the new code already."""
    alike = twins[edit.site.qualname, edit.replaces]
    if len(candidates) == len(alike) == 1 and fingerprint.of(candidates[0].__code__) == edit.replaces:
        if isinstance(edit, PositionEdit) or not edit.rivals:
            return candidates
    prints = {id(one): fingerprint.of(one.__code__) for one in candidates}
    matching = [one for one in candidates if edit.replaces in ("", prints[id(one)])]
    brings = edit.brings if isinstance(edit, FunctionEdit) else edit.replaces
    if isinstance(edit, FunctionEdit) and edit.rivals and candidates:
        ours = [one for one in candidates if not _is_rival(one.__code__, prints[id(one)], edit)]
        if not ours:
            return _did_not_run(module, edit)
        if any(edit.replaces in one.prints or brings in one.prints for one in edit.rivals):
            lines = {one.__code__.co_firstlineno for one in ours}
            if lines != {edit.replaced_line}:
                message = f"which of the functions named `{edit.site.qualname}` runs here can't be told"
                return finding("BCP515", message, Place(module.file, edit.replaced_line), site=edit.site)
    if isinstance(edit, PositionEdit) and matching and _is_doubtful(alike, matching):
        matching = [one for one in matching if one.__code__.co_firstlineno == edit.replaced_line]
    if not matching:
        if isinstance(edit, PositionEdit) and brings in prints.values():
            return finding("BCP502", "a branch that did not run", Place(module.file), site=edit.site)
        if brings in prints.values() and not _is_claimed(edit, brings, twins):
            return []
        return _mismatch(module, edit, candidates)
    places = sorted({_position(one.__code__) for one in matching})
    return matching if len(places) == 1 else _twin(module, edit, matching, places, alike, history, walk)


def _passed_over(
    module: LinkedModule,
    edit: SiteEdit,
    candidates: Sequence[FunctionType],
    chosen: Sequence[FunctionType],
    walk: Walk,
) -> FunctionType | None:
    """What the site's name leads to and what runs neither the old code nor the new, if there is such a function.

    Others that have both the name and the code are then no more than left over.
    """
    if not isinstance(edit, FunctionEdit) or not edit.replaces or edit.rivals:
        return None
    led = naming.led(module.namespace, edit.site.qualname, walk)
    right = chosen or [one for one in candidates if fingerprint.of(one.__code__) == edit.brings]
    if not led or any(one is other for one in led for other in right):
        return None
    return led[0] if naming.is_bound_last(edit.site, module.part) else None


def _is_rival(code: CodeType, print_: str, edit: FunctionEdit) -> bool:
    """Whether code is that of another branch: by what it does, and by its line where both do the same."""
    return any(
        print_ in one.prints and (print_ not in (edit.replaces, edit.brings) or code.co_firstlineno == one.line)
        for one in edit.rivals
    )


def _is_doubtful(alike: Sequence[SiteEdit], matching: Sequence[FunctionType]) -> bool:
    """Whether other sites of the name do the same, and not all of them are there: branches that did not run."""
    return len(alike) > len({_position(one.__code__) for one in matching})


def _is_claimed(edit: SiteEdit, brings: str, twins: Twins) -> bool:
    """Whether what runs the code that an edit brings may be another site of its name, which gives it up."""
    rest = twins.get((edit.site.qualname, brings), ())
    return brings != edit.replaces and any(isinstance(other, FunctionEdit) for other in rest)


def _position(code: CodeType) -> tuple[int, int]:
    """The line and the column at which code starts: lambdas may share a line."""
    if code.co_name != "<lambda>":
        return code.co_firstlineno, 0
    columns = (column for *_, column, _ in code.co_positions() if column)
    return code.co_firstlineno, min(columns, default=0)


def _twin(
    module: LinkedModule,
    edit: SiteEdit,
    matching: Sequence[FunctionType],
    places: Sequence[tuple[int, int]],
    alike: Sequence[SiteEdit],
    history: History,
    walk: Walk,
) -> list[FunctionType] | Diagnostic:
    """The functions of a site where others of its name run the same code on other lines.

    A line alone tells nothing: the base may stand some lines off what the process loaded.
    Their order does, where the patch knows as many of them as there are.
    """
    brought = history.codes.get(edit.site, ())
    known = [one for one in matching if history.records.places.get(id(one.__code__)) in brought]
    led = {id(one.__code__) for one in naming.led(module.namespace, edit.site.qualname, walk)}
    if not led.isdisjoint(id(one.__code__) for one in matching) and naming.is_bound_last(edit.site, module.part):
        return [one for one in matching if one in known or id(one.__code__) in led]
    if len({id(one.__code__) for one in known}) == 1:
        return known
    if len(alike) != len(places):
        shown = ", ".join(str(line) for line, _ in places)
        message = f"{len(places)} functions named {edit.site.qualname} run the same code, at lines {shown}"
        return finding("BCP503", message, Place(module.file), site=edit.site)
    place = places[sorted(other.site.ordinal for other in alike).index(edit.site.ordinal)]
    return [one for one in matching if _position(one.__code__) == place]


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


# --- accounting ----------------------------------------------------------------------


_ITSELF_CODE: Final = (lambda: None).__code__
_ITSELF: Final = nested.Pair((), (), True)


def _olds(site: LinkedSite, history: History) -> Iterator[OldCode]:
    """The code that runs at a site, and all changed code nested in what its generations had."""
    edit = site.edit
    for function in _first_of_each_code(site.functions):
        yield OldCode(site, function, 0, _ITSELF)
        if isinstance(edit, FunctionEdit):
            for pair in nested.pairs(function.__code__, edit.code):
                if pair.changed:
                    yield OldCode(site, function, 0, pair)
    running = {id(function.__code__) for function in site.functions}
    if not isinstance(edit, FunctionEdit):
        return
    for place in history.lingering.get(edit.site, ()):
        code = history.code_at(place)
        if id(code) not in running:
            pairs = nested.pairs(code, edit.code)
            yield from (OldCode(site, history.records.objects, place, pair) for pair in pairs if pair.changed)


def _first_of_each_code(functions: Iterable[FunctionType]) -> Iterable[FunctionType]:
    return {id(function.__code__): function for function in functions}.values()


def _accounted(
    sites: Sequence[LinkedSite],
    satisfied: tuple[Site, ...],
    walk: Walk,
    history: History,
    aside: Mapping[int, FunctionType],
    own: Own,
) -> Located:
    """The sites with their live closures, once all references to their code are explained."""
    olds = {id(old.code()): old for site in sites for old in _olds(site, history)}
    accounts = _balanced(list(olds.values()), walk, aside, own)
    found = [
        finding(
            "BCP506",
            f"{one.unexplained} of {one.references} references to {old.code().co_qualname} have no known holder"
            " (a function out of sight, or a generator in a running loop)",
            Place(old.site.module.file, old.code().co_firstlineno),
            site=old.site.edit.site,
        )
        for old, one in zip(olds.values(), accounts, strict=True)
        if one.unexplained
    ]
    copies: defaultdict[int, list[FunctionType]] = defaultdict(list)
    closures: defaultdict[int, list[LinkedClosure]] = defaultdict(list)
    switched = {id(function) for site in sites for function in site.functions}
    for function in chain(walk.functions, _still_alive(walk)):
        old = olds.get(id(function.__code__))
        if old is None or id(function) in switched or id(function) in aside:
            continue
        reason = _obstacle(function, old) if old.pair.old else None
        if reason is not None:
            found.append(finding("BCP508", reason, _place(function), site=old.site.edit.site))
        elif not old.pair.old:
            copies[id(old.site)].append(function)
        elif old.pair.new is not None:
            closures[id(old.site)].append(LinkedClosure(function, old.pair.new))
    caches = _caches(sites, walk)
    more = copies.keys() | closures.keys() | caches.keys()
    linked = tuple(
        msgspec.structs.replace(
            site,
            functions=(*site.functions, *copies[id(site)]),
            closures=tuple(closures[id(site)]),
            caches=tuple(caches[id(site)]),
        )
        if id(site) in more
        else site
        for site in sites
    )
    still = tuple(
        Still(
            old.store,
            old.place,
            old.pair.old,
            one.functions + one.constants + one.others - own[key],
        )
        for (key, old), one in zip(olds.items(), accounts, strict=True)
    )
    return Located(linked, satisfied, tuple(found), still)


def _still_alive(walk: Walk) -> Iterable[FunctionType]:
    """Of the functions that calls under way had just made, those that somebody still holds."""
    made = walk.made
    made.append(FunctionType(_ITSELF_CODE, {}))
    counts = list(map(sys.getrefcount, made))
    made.pop()
    return [function for function, count in zip(made, counts[:-1], strict=True) if count > counts[-1]]


def _caches(sites: Iterable[LinkedSite], walk: Walk) -> defaultdict[int, list[Cache]]:
    """The ``lru_cache`` wrappers that keep results of the functions of sites, by the ids of these."""
    found: defaultdict[int, list[Cache]] = defaultdict(list)
    if not walk.caches:
        return found
    owners = {id(function): site for site in sites for function in site.functions}
    for wrapper in walk.caches:
        for inner in gc.get_referents(wrapper):
            if isinstance(inner, FunctionType) and id(inner) in owners:
                found[id(owners[id(inner)])].append(Cache(wrapper, inner))
    return found


def _balanced(
    olds: Sequence[OldCode],
    walk: Walk,
    aside: Mapping[int, FunctionType],
    own: Own,
) -> list[Account]:
    for key, function in aside.items():
        if key not in walk.seen:
            walk.seen[key] = function
            walk.functions.append(function)
    accounts: list[Account] = []
    for look in range(_LOOKS):
        accounts = account(
            [old.code() for old in olds],
            walk,
            own,
            more=(old.outer() for old in olds),
            young=look > 0,
        )
        if not any(one.unexplained for one in accounts):
            break
        if look == _LOOKS // 2 and gc.isenabled():
            gc.collect(max(pythons.YOUNG_GENERATIONS))  # what holds it may be garbage in a cycle, of a call that failed
        if look:
            time.sleep(_PAUSE)
    return accounts


_SHAPE_FLAGS: Final = 0x4 | 0x8 | 0x20 | 0x80 | 0x100 | 0x200
"""``*args``, ``**kwargs``, generator, coroutine, iterable coroutine, asynchronous generator."""


def _obstacle(function: FunctionType, old: OldCode) -> str | None:
    """Why a live closure can't go on with the new code, or None."""
    edit = old.site.edit
    name = function.__code__.co_qualname
    if not isinstance(edit, FunctionEdit) or old.pair.new is None:
        return f"{name} is alive, and which function of the new code continues it is not certain"
    new = nested.fields_at(edit.code, old.pair.new)
    code = function.__code__
    if code.co_freevars != new.freevars:
        differing = sorted(set(code.co_freevars) ^ set(new.freevars)) or list(new.freevars)
        return f"{name} is alive, and captures other variables in the new code: {', '.join(differing)}"
    if (code.co_flags ^ new.flags) & _SHAPE_FLAGS or _parameters(code) != _parameters_of(new):
        return f"{name} is alive, and takes other arguments or is of another kind in the new code"
    takes = code.co_argcount + code.co_kwonlyargcount
    if takes and not _same_maker(old, edit):
        return f"{name} is alive, and its default values are made by code that changed too"
    return None


def _parameters(code: CodeType) -> tuple[object, ...]:
    total = code.co_argcount + code.co_kwonlyargcount
    return code.co_argcount, code.co_posonlyargcount, code.co_varnames[:total]


def _parameters_of(code: Code) -> tuple[object, ...]:
    total = code.argcount + code.kwonlyargcount
    return code.argcount, code.posonlyargcount, code.varnames[:total]


def _same_maker(old: OldCode, edit: FunctionEdit) -> bool:
    """Whether the code around nested code is the old one's but for the code nested in it."""
    assert old.pair.new is not None
    before = nested.shell(fingerprint.encode(nested.at(old.outer(), old.pair.old[:-1])))
    return before == nested.shell(nested.fields_at(edit.code, old.pair.new[:-1]))


def _place(function: FunctionType) -> Place:
    return Place(function.__code__.co_filename, function.__code__.co_firstlineno)
