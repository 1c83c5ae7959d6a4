"""To what another generation made of this process, and what functions were in it.

Going back is a swap like any other. Its values come from the history; closures that the
current generation made are looked for as when a patch is applied.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, Refused, Severity, finding
from bcpatch.exchange import instant, lines
from bcpatch.exchange.prepare import closure_changes
from bcpatch.exchange.renew import HURRY, ways
from bcpatch.exchange.replace import sole_objects, twins_in
from bcpatch.model import Annotations, FunctionEdit, Module, ModulePatch, Site
from bcpatch.process import arrivals, naming, nested
from bcpatch.process.accounting import Walk
from bcpatch.process.history import History, Own, Way
from bcpatch.process.linked import LinkedModule, LinkedSite, Located
from bcpatch.process.locate import everywhere, relocate, walk_in
from bcpatch.process.objects import all_modules, is_module, namespace_of
from bcpatch.process.records import Cache, Generation, Record
from bcpatch.process.remade import Remade, by_name
from bcpatch.process.swap import ABSENT, Change, Kind, Row, Slot, held, held_by

_OF_CODE: Final = ("__code__", "__doc__")


def rollback(history: History, to: int | None = None, *, require_instant: bool = False) -> Generation:
    """Swap to what any generation made of the process, an older or a newer one.

    None is the generation that the current one was applied to. The caller is `History.exclusive`.
    Raises `Refused`: BCP607 where there is no such generation, BCP608 where a value is no
    longer what bcpatch had set, and what `apply` refuses of a swap.
    """
    try:
        return _rollback(history, to, require_instant)
    except Refused as refused:
        raise refused.with_traceback(None) from refused.__cause__


def _rollback(history: History, to: int | None, require_instant: bool) -> Generation:
    if to is None:
        to = _before(history)
    _known(history, to)
    strangers = tuple(arrivals.strangers(history, to))
    if strangers:
        raise Refused(strangers)
    changes, sites, caches, shown, imports = _planned(history, to)
    known = Own(history, held_by(changes))
    switched = list(_switched(sites, changes))
    replaced = (*_imported_again(sites, changes), *_replaced(switched, changes, history))
    if replaced:
        raise Refused(replaced)
    located = relocate(switched, history, known)
    loose = tuple(_loose(located, changes))
    sole = tuple(one for change in changes for one in sole_objects(change.old, change.new))
    touched = {id(change.slot.owner) for change in changes}
    certain = instant.certainty((*changes, *loose), require_instant)
    own = known.with_more(held_by(loose))
    for site in located.sites:
        own.update(map(id, site.functions))
    own.update(id(one.store) for one in located.still)
    own.update(id(cache.function) for cache in caches)
    own.update(map(id, sole))
    for way in ways(located.sites, changes, (), history, own):
        wanted = instant.Swap(
            changes=(*way.changes, *loose),
            sole=(*sole, *way.sole),
            own=own,
            caches=tuple(cache for cache in caches if id(cache.function) in touched),
            along=(
                *shown,
                *way.along,
                *history.records.renewing(way.renewals),
                *history.giving_way(way.changes, sites),
                *history.point_at(to),
            ),
            certain=certain,
            verified=way.verified,
            imports=imports,
        )
        if not way.renewals:
            instant.make(wanted)
        elif instant.made(wanted, HURRY):
            break
    arrivals.settle(history)
    generation = history.records[to].generation
    return replace(generation, certain=certain, notes=(*generation.notes, *map(_warning, located.found)))


class _Planned(NamedTuple):
    """What a rollback comes to, as far as the records say: stores, the sites of functions, what files show then."""

    changes: tuple[Change, ...]
    sites: Mapping[int, Site]
    caches: tuple[Cache, ...]
    shown: tuple[Row, ...]
    imports: tuple[Change, ...]


def _planned(history: History, to: int) -> _Planned:
    """Each record on the way is read once, and none is held when the swap counts who holds a function."""
    way = history.way(to)
    sites, caches = _patched(way.records)
    changes = _between(history, way, sites)
    return _Planned(changes, sites, caches, tuple(lines.back_and_forth(history, way)), tuple(_imports(way)))


def _warning(found: Diagnostic) -> Diagnostic:
    """What would refuse a patch is told of a rollback: the way back must not be barred by a closure."""
    return msgspec.structs.replace(found, severity=Severity.WARNING)


def _patched(records: Sequence[Record]) -> tuple[dict[int, Site], tuple[Cache, ...]]:
    """The sites of the functions that some records switched, by their ids, and the caches around these."""
    sites = {id(target.function): target.site for record in records for target in record.targets}
    caches = {id(cache.wrapper): cache for record in records for cache in record.caches}
    return sites, tuple(caches.values())


def _switched(known: Mapping[int, Site], changes: Sequence[Change]) -> Iterator[LinkedSite]:
    """The sites whose code changes, as if a patch brought what they go back to."""
    modules = {id(namespace_of(one)): one for one in all_modules()}
    for change in changes:
        function, code = _function_and_code(change)
        if function is None or code is None or id(function) not in known:
            continue
        module = modules.get(id(function.__globals__))
        if module is not None:
            edit = _edit(known[id(function)], function.__code__, code)
            part = ModulePatch(Module(edit.site.module, ""), None, "", (), (), (edit,), b"", ())
            yield LinkedSite(edit, LinkedModule(part, module, code.co_filename, False), (function,))


def _imported_again(known: Mapping[int, Site], changes: Sequence[Change]) -> Iterator[Diagnostic]:
    """Modules that the application has taken out of ``sys.modules`` and imported anew, which runs what is on disk."""
    present = {id(namespace_of(one)) for one in all_modules()}
    lives: defaultdict[Site, bool] = defaultdict(bool)
    for function, code in map(_function_and_code, changes):
        if function is not None and code is not None and id(function) in known:
            lives[known[id(function)]] |= id(function.__globals__) in present  # copies may be at home elsewhere
    for name in sorted({site.module for site, found in lives.items() if not found} & sys.modules.keys()):
        yield finding("BCP608", f"the module `{name}` is another one now: it was imported again since", Place(name))


def _replaced(switched: Sequence[LinkedSite], changes: Sequence[Change], history: History) -> Iterator[Diagnostic]:
    """Sites for which the application has made other functions since: to change those that were there does nothing."""
    modules = {id(one.module.namespace): one.module for one in switched}
    aside = history.set_aside()
    walk = walk_in([one.namespace for one in modules.values()], history)
    everything: list[Walk] = []  # taken where something is nowhere within its module
    bound = {change.slot.name for change in changes if change.slot.kind is not Kind.ATTRIBUTE}
    functions: defaultdict[tuple[int, Site], list[FunctionType]] = defaultdict(list)
    for one in switched:
        functions[id(one.module.namespace), one.edit.site].extend(one.functions)
    made = {
        key: Remade(module.namespace, _texts(module, history), history.files, walk, aside)
        for key, module in modules.items()
    }
    ends = _ends(changes)
    for (key, site), known in functions.items():
        remade, name = made[key], site.qualname
        if len({ends[id(one)] for one in known}) > 1 and not _are_all_there(remade, name, known):
            code = known[-1].__code__
            message = f"`{name}` is another function now, which had no part in all that lies between"
            yield finding("BCP608", message, Place(code.co_filename, code.co_firstlineno), site=site)
            continue
        led = naming.led(remade.namespace, name, walk)
        if any(one is other for one in led for other in known) or not bound.isdisjoint(name.split(".")):
            continue
        found = remade.instead_of(name, known)
        if found is None and not remade.holds(name, known):
            if not everything:
                everything.append(walk_in([one.namespace for one in modules.values()], history))
                everywhere(everything[0])
            found = remade.among(by_name(everything[0], remade.namespace).get(name, ()), name, known)
        if found is not None:
            code = found.__code__
            message = f"`{name}` is another function now: the application has made it since"
            yield finding("BCP608", message, Place(code.co_filename, code.co_firstlineno), site=site)


def _ends(changes: Sequence[Change]) -> dict[int, str]:
    """What functions come to do, by their ids."""
    found = map(_function_and_code, changes)
    return {id(function): fingerprint.of(code) for function, code in found if function is not None and code is not None}


def _are_all_there(remade: Remade, qualname: str, known: Sequence[FunctionType]) -> bool:
    """Whether the text defines several functions of a name, and the module holds each of some.

    Then one site's turn may have been another one's in another generation.
    """
    return remade.definitions(qualname) > 1 and all(remade.holds(qualname, [one]) for one in known)


def _texts(module: LinkedModule, history: History) -> Iterator[bytes]:
    text = lines.text_of(module.object, history)
    if text is not None:
        yield text


def _function_and_code(change: Change) -> tuple[FunctionType | None, CodeType | None]:
    """The function that gives its code up, and the code that comes."""
    if change.slot.name == "__code__" and isinstance(change.new, CodeType):
        return change.slot.owner, change.new
    return next(((old, new.__code__) for old, new in twins_in(change.old, change.new)), (None, None))


def _edit(site: Site, old: CodeType, new: CodeType) -> FunctionEdit:
    return FunctionEdit(
        site=site,
        replaces=fingerprint.of(old),
        brings=fingerprint.of(new),
        code=fingerprint.encode(new),
        positional=(),
        keywords=(),
        annotations=Annotations(None, False, False),
        type_parameters=None,
    )


def _loose(located: Located, changes: Sequence[Change]) -> Iterator[Change]:
    """The stores into closures and copies that the history knows nothing of."""
    codes = {id(function): code for function, code in map(_function_and_code, changes) if function is not None}
    for site in located.sites:
        code = codes[id(site.functions[0])]
        assert code is not None
        for closure in site.closures:
            yield from closure_changes(closure.function, nested.at(code, closure.path))
        for copy in site.functions[1:]:
            if id(copy) not in codes:
                yield from closure_changes(copy, code)
                yield from _taken_over(copy, changes)


def _taken_over(copy: FunctionType, changes: Sequence[Change]) -> Iterator[Change]:
    """The stores into a copy that has values of a function of the same code that these change: its defaults."""
    for change in changes:
        owner, name = change.slot.owner, change.slot.name
        if isinstance(owner, FunctionType) and owner.__code__ is copy.__code__ and name not in _OF_CODE:
            slot = Slot(Kind.ATTRIBUTE, copy, name)
            if held(slot) is change.old:
                yield Change(slot, change.old, change.new)


def _between(history: History, way: Way, sites: Mapping[int, Site]) -> tuple[Change, ...]:
    """The stores that lead from the current generation to another: of what changed on the way, and nothing else."""
    turned = map(_as_asked, _with_late_copies(tuple(history.turned(way).values()), history, way, sites))
    return tuple(change for change in turned if change.old is not change.new and not _is_hidden(change))


def _as_asked(change: Change) -> Change:
    """The same store, where somebody has asked for annotations that there are not: that leaves an empty dictionary.

    So do ``module_get_annotations`` (until 3.13) and ``type_get_annotations`` of CPython, and it means no other thing.
    """
    if change.slot.name == "__annotations__" and change.old is ABSENT:
        now = held(change.slot)
        if type(now) is dict and not now:
            return Change(change.slot, now, change.new)
    return change


def _with_late_copies(
    changes: Sequence[Change], history: History, way: Way, sites: Mapping[int, Site]
) -> Iterator[Change]:
    """The same stores; a copy follows its site through generations that didn't know it yet.

    What such a generation did to a function of the site that had the same value, it would have done to the copy.
    """
    alone = {site for site, count in Counter(sites.values()).items() if count == 1}
    alone |= {site for key, site in sites.items() if key in history.exchanged}  # twins are no copies
    for change in changes:
        site = sites.get(id(change.slot.owner))
        if site is None or site in alone or change.slot.kind is not Kind.ATTRIBUTE:
            yield change
        else:
            now = held(change.slot)
            others = [one.old for one in changes if one.slot.name == change.slot.name]
            known = now is change.old or all(now is not one for one in others)
            yield Change(change.slot, change.old if known else now, _followed(change, site, way, sites))


def _followed(change: Change, site: Site, way: Way, sites: Mapping[int, Site]) -> object:
    """The value that an attribute of a function of a site comes to on the way to another generation."""
    turns = [(record, True) for record in reversed(way.undone)] + [(record, False) for record in way.redone]
    value: object = held(change.slot)
    for record, back in turns:
        same = [
            Change(one.slot, one.new, one.old) if back else one
            for one in (reversed(record.changes) if back else record.changes)
            if one.slot.name == change.slot.name and sites.get(id(one.slot.owner)) == site
        ]
        own = [one for one in same if one.slot.owner is change.slot.owner]
        like = [one for one in same if one.old is value]
        value = (own or like or [Change(change.slot, value, value)])[0].new
    return value


def _is_hidden(change: Change) -> bool:
    """Whether a package has something else under the name of a module that comes or goes: that is not touched."""
    moves = ABSENT in (change.old, change.new) and (is_module(change.old) or is_module(change.new))
    return moves and change.slot.owner is not sys.modules and held(change.slot) is not change.old


def _imports(way: Way) -> Iterator[Change]:
    """What ``sys.modules`` must have meanwhile for each module whose text is another one there."""
    names = {one.module.name for record in way.records for one in record.versions}
    for name in sorted(names):
        slot = Slot(Kind.NAMESPACE, sys.modules, name)
        yield Change(slot, held(slot), held(slot))


def _before(history: History) -> int:
    if not history.current:
        raise Refused([finding("BCP607", "generation 0 is the process as started: nothing was before it")])
    return history.records.parent(history.current)


def _known(history: History, number: int) -> None:
    if not 0 <= number < len(history.records):
        message = f"generation {number} is not one of 0 to {len(history.records) - 1}"
        raise Refused([finding("BCP607", message)])


def _is_another(function: FunctionType, way: Way) -> bool:
    """Whether the records on a way changed a function of this name, and not this one."""
    named = function.__module__, function.__qualname__
    targets = [
        one.function
        for record in way.records
        for one in record.targets
        if (one.site.module, one.site.qualname) == named
    ]
    return bool(targets) and all(function is not one for one in targets)


def at(history: History, generation: int, function: Any) -> Any:
    """A function that runs the code, with the defaults, that ``function`` had in a generation.

    A bound method gives a bound method. Raises TypeError for what is no Python function,
    `Refused` where there is no such generation (BCP607), or it was another function that changed since (BCP608).
    """
    _known(history, generation)
    if isinstance(function, MethodType):
        return MethodType(at(history, generation, function.__func__), function.__self__)
    if not isinstance(function, FunctionType):
        raise TypeError(f"a function or bound method is needed, not {type(function).__name__}")
    way = history.way(generation)
    turned = history.turned(way)
    if _is_another(function, way):
        message = (
            f"`{function.__qualname__}` changed on the way to generation {generation}, but this is another function:"
            " one around it, or one that was made since"
        )
        raise Refused(
            [finding("BCP608", message, Place(function.__code__.co_filename, function.__code__.co_firstlineno))]
        )

    def then(name: str) -> Any:
        slot = Slot(Kind.ATTRIBUTE, function, name)
        return turned[slot.key].new if slot.key in turned else getattr(function, name)

    shown = FunctionType(
        then("__code__"), function.__globals__, function.__name__, then("__defaults__"), function.__closure__
    )
    shown.__kwdefaults__ = then("__kwdefaults__")
    shown.__doc__ = then("__doc__")
    shown.__qualname__, shown.__module__ = function.__qualname__, function.__module__
    shown.__dict__.update(function.__dict__)
    history.exhibited(shown)
    return shown
