"""To what another generation made of this process, and what functions were in it.

Going back is a swap like any other. Its values come from the history; closures that the
current generation made are looked for as when a patch is applied.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from msgspec.structs import replace

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, Refused, as_warning, finding
from bcpatch.exchange import instant, lines
from bcpatch.exchange.between import planned
from bcpatch.exchange.late import caught_up
from bcpatch.exchange.prepare import closure_changes
from bcpatch.exchange.renew import HURRY, ways
from bcpatch.exchange.replace import sole_objects, twins_in
from bcpatch.model import Annotations, FunctionEdit, Module, ModulePatch, Site
from bcpatch.process import arrivals, naming, nested
from bcpatch.process.accounting import Walk
from bcpatch.process.caches import around
from bcpatch.process.history import History, Own, Way
from bcpatch.process.lineages import Lineage
from bcpatch.process.linked import Cache, LinkedModule, LinkedSite, Located
from bcpatch.process.locate import everywhere, relocate, walk_in
from bcpatch.process.objects import all_modules, namespace_of
from bcpatch.process.records import Generation
from bcpatch.process.remade import Remade, by_name
from bcpatch.process.swap import Change, Kind, Slot, held, held_by

_OF_CODE: Final = ("__code__", "__doc__")


def rollback(history: History, to: int | None = None, *, require_instant: bool = False) -> Generation:
    """Swap to what any generation made of the process, an older or a newer one.

    None is the generation that the current one was applied to. The caller is `History.exclusive`.
    Raises `Refused`: BCP607 where there is no such generation, BCP608 where a value is no
    longer what bcpatch had set, and what `apply` refuses of a swap.
    """
    try:
        generation, switched = _rollback(history, to, require_instant)
    except Refused as refused:
        raise refused.with_traceback(None) from refused.__cause__
    late = (one for one in caught_up(switched, history) if one not in generation.notes)
    return replace(generation, notes=(*generation.notes, *late))


def _rollback(history: History, to: int | None, require_instant: bool) -> tuple[Generation, list[LinkedSite]]:
    """The generation that the process is in then, and the sites that left nothing of their old code, as it seems."""
    if to is None:
        to = _before(history)
    _known(history, to)
    strangers = tuple(arrivals.strangers(history, to))
    if strangers:
        raise Refused(strangers)
    changes, (sites, families), shown, imports = planned(history, to)
    known = Own(history, held_by(changes))
    caches = tuple(_caches(changes, history, known))
    modules = {id(namespace_of(one)): one for one in all_modules()}
    switched = list(_switched(history, sites, changes, modules))
    replaced = (*_imported_again(sites, changes, modules), *_replaced(sites, changes, families, history, modules))
    del families, modules  # the swap counts who holds a function
    if replaced:
        raise Refused(replaced)
    located = relocate(switched, history, known)
    loose = tuple(_loose(located, changes, sites))
    sole = tuple(one for change in changes for one in sole_objects(change.old, change.new))
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
            caches=caches,
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
    notes = (*generation.notes, *map(_left, located.found))
    told = {one.site for one in located.found}
    return replace(generation, certain=certain, notes=notes), [one for one in switched if one.edit.site not in told]


def _left(found: Diagnostic) -> Diagnostic:
    """What would refuse a patch, as a warning: a closure must not bar the way back."""
    told = as_warning(found)
    if told.code != "BCP506":
        return told
    return replace(
        told, help="what can't be found stays on the code that it has: end what holds it, or restart the process"
    )


def _caches(changes: Sequence[Change], history: History, own: Own) -> Iterator[Cache]:
    functions = {id(one): one for one in map(_function, changes) if one is not None}
    yield from around(functions.values(), walk_in((), history), own.with_more(functions.keys()), everywhere)


def _switched(
    history: History, known: Mapping[int, Lineage], changes: Sequence[Change], modules: Mapping[int, ModuleType]
) -> Iterator[LinkedSite]:
    """The sites whose code changes, as if a patch brought what they go back to."""
    for change in changes:
        function, code = _function_and_code(change)
        if function is None or code is None or id(function) not in known:
            continue
        module = modules.get(id(function.__globals__))
        if module is not None:
            lineage = known[id(function)]
            edit = _edit(history.lineages.site(lineage, history.current), function.__code__, code)
            part = ModulePatch(Module(edit.site.module, ""), None, "", (), (), (edit,), b"", ())
            yield LinkedSite(edit, lineage, LinkedModule(part, module, code.co_filename, False), (function,))


def _imported_again(
    known: Mapping[int, Lineage], changes: Sequence[Change], present: Mapping[int, ModuleType]
) -> Iterator[Diagnostic]:
    """Modules that the application has taken out of ``sys.modules`` and imported anew, which runs what is on disk."""
    lives: defaultdict[Lineage, bool] = defaultdict(bool)
    for function in map(_function, changes):
        if function is not None and id(function) in known:
            lives[known[id(function)]] |= id(function.__globals__) in present  # copies may be at home elsewhere
    for name in sorted({lineage.site.module for lineage, found in lives.items() if not found} & sys.modules.keys()):
        yield finding("BCP608", f"the module `{name}` is another one now: it was imported again since", Place(name))


def _replaced(
    sites: Mapping[int, Lineage],
    changes: Sequence[Change],
    families: Mapping[Lineage, Sequence[tuple[FunctionType, int]]],
    history: History,
    present: Mapping[int, ModuleType],
) -> Iterator[Diagnostic]:
    """Sites for which the application has made other functions since: to change those that were there does nothing."""
    functions: defaultdict[tuple[int, Lineage], dict[int, FunctionType]] = defaultdict(dict)
    for function in map(_function, changes):
        if function is not None and id(function) in sites and id(function.__globals__) in present:
            functions[id(function.__globals__), sites[id(function)]][id(function)] = function
    modules = {key: present[key] for key, _ in functions}
    spaces = {key: namespace_of(module) for key, module in modules.items()}
    aside = history.set_aside()
    walk = walk_in(spaces.values(), history)
    everything: list[Walk] = []  # taken where something is nowhere within its module
    bound = {change.slot.name for change in changes if change.slot.kind is not Kind.ATTRIBUTE}
    for (key, lineage), some in functions.items():
        some |= {id(one): one for one, _ in families.get(lineage, ()) if id(one.__globals__) == key}
    made = {
        key: Remade(spaces[key], _texts(module, history), history.files, walk, aside) for key, module in modules.items()
    }
    for (key, lineage), some in functions.items():
        remade, name, known = made[key], lineage.site.qualname, list(some.values())
        led = naming.led(remade.namespace, name, walk)
        if any(one is other for one in led for other in known) or not bound.isdisjoint(name.split(".")):
            continue
        found = remade.instead_of(name, known)
        if found is None and not remade.holds(name, known):
            if not everything:
                everything.append(walk_in(spaces.values(), history))
                everywhere(everything[0])
            found = remade.among(by_name(everything[0], remade.namespace).get(name, ()), name, known)
        if found is not None:
            code = found.__code__
            message = f"`{name}` is another function now: the application has made it since"
            site = history.lineages.site(lineage, history.current)
            yield finding("BCP608", message, Place(code.co_filename, code.co_firstlineno), site=site)


def _texts(module: ModuleType, history: History) -> Iterator[bytes]:
    text = lines.text_of(module, history)
    if text is not None:
        yield text


def _function(change: Change) -> FunctionType | None:
    """The function that a change is of."""
    if change.slot.kind is Kind.ATTRIBUTE and isinstance(change.slot.owner, FunctionType):
        return change.slot.owner
    return _function_and_code(change)[0]


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


def _loose(located: Located, changes: Sequence[Change], known: Container[int]) -> Iterator[Change]:
    """The stores into closures and copies that the history knows nothing of."""
    codes = {id(function): code for function, code in map(_function_and_code, changes) if function is not None}
    for site in located.sites:
        code = codes[id(site.functions[0])]
        assert code is not None
        for closure in site.closures:
            yield from closure_changes(closure.function, nested.at(code, closure.path))
        for copy in site.functions[1:]:
            if id(copy) not in known:
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
