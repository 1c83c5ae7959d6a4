"""Who runs code that gives way: every reference to it is explained, or its site is refused."""

from __future__ import annotations

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import CodeType, FunctionType
from typing import Final

import msgspec

from bcpatch import fingerprint, pythons
from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.flow.fields import ITERABLE_COROUTINE, SUSPENDS, VARARGS, VARKEYWORDS
from bcpatch.model import Code, FunctionEdit, Site
from bcpatch.process import nested
from bcpatch.process.accounting import Account, Walk, account
from bcpatch.process.history import History, Own
from bcpatch.process.linked import LinkedClosure, LinkedSite, Located, OldCode, Still

_LOOKS: Final = 25
"""How often a count is repeated: another thread may hold a code object for a moment (as ``logging`` does)."""
_GLANCES: Final = 3
"""How often it is where the search can go on: a holder that was not reached yet does not go away."""
_PAUSE: Final = 0.0002  # seconds: lets other threads run on

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
    for place in history.lingering.get(site.lineage, ()):
        code = history.code_at(place)
        if id(code) not in running:
            pairs = nested.pairs(code, edit.code)
            yield from (OldCode(site, history.records.objects, place, pair) for pair in pairs if pair.changed)


def _first_of_each_code(functions: Iterable[FunctionType]) -> Iterable[FunctionType]:
    return {id(function.__code__): function for function in functions}.values()


def accounted(
    sites: Sequence[LinkedSite],
    satisfied: tuple[Site, ...],
    walk: Walk,
    history: History,
    aside: Mapping[int, FunctionType],
    own: Own,
    *,
    patient: bool,
) -> Located:
    """The sites with their live closures, once all references to their code are explained.

    ``patient`` says to wait for those that somebody may hold for a moment alone.
    """
    olds = {id(old.code()): old for site in sites for old in _olds(site, history)}
    accounts = _balanced(list(olds.values()), walk, aside, own, _LOOKS if patient else _GLANCES)
    others = _others(sites, olds, walk, aside)
    still = tuple(
        Still(old.store, old.place, old.pair.old, one.functions + one.constants + one.others - own[key])
        for (key, old), one in zip(olds.items(), accounts, strict=True)
    )
    found = (*_unexplained(olds.values(), accounts), *others.found)
    return Located(_completed(sites, others), satisfied, found, still)


def _unexplained(olds: Iterable[OldCode], accounts: Iterable[Account]) -> Iterator[Diagnostic]:
    for old, one in zip(olds, accounts, strict=True):
        if one.unexplained:
            code = old.code()
            message = (
                f"{one.unexplained} of {one.references} references to {code.co_qualname} have no known holder"
                " (a function out of sight, or a generator in a running loop)"
            )
            place = Place(old.site.module.file, code.co_firstlineno)
            yield finding("BCP506", message, place, site=old.site.edit.site)


class _Others(msgspec.Struct, frozen=True):
    """Functions beside those of the sites that run code which gives way, by the ids of the sites: copies of one, and
    closures of code nested in it. ``found`` are those that can't go on with the new code.
    """

    copies: defaultdict[int, list[FunctionType]]
    closures: defaultdict[int, list[LinkedClosure]]
    found: list[Diagnostic]


def _others(
    sites: Iterable[LinkedSite], olds: Mapping[int, OldCode], walk: Walk, aside: Mapping[int, FunctionType]
) -> _Others:
    others = _Others(defaultdict(list), defaultdict(list), [])
    switched = {id(function) for site in sites for function in site.functions}
    for function in chain(walk.functions, _still_alive(walk)):
        old = olds.get(id(function.__code__))
        if old is None or id(function) in switched or id(function) in aside:
            continue
        reason = _obstacle(function, old) if old.pair.old else None
        if reason is not None:
            others.found.append(finding("BCP508", reason, _place(function), site=old.site.edit.site))
        elif not old.pair.old:
            others.copies[id(old.site)].append(function)
        elif old.pair.new is not None:
            others.closures[id(old.site)].append(LinkedClosure(function, old.pair.new))
    return others


def _completed(sites: Sequence[LinkedSite], others: _Others) -> tuple[LinkedSite, ...]:
    """The sites with all that runs their code."""
    more = others.copies.keys() | others.closures.keys()
    return tuple(
        msgspec.structs.replace(
            site,
            functions=(*site.functions, *others.copies.get(id(site), ())),
            closures=tuple(others.closures.get(id(site), ())),
        )
        if id(site) in more
        else site
        for site in sites
    )


def _still_alive(walk: Walk) -> Iterable[FunctionType]:
    """Of the functions that calls under way had just made, those that somebody still holds."""
    made = walk.made
    made.append(FunctionType(_ITSELF_CODE, {}))
    counts = list(map(sys.getrefcount, made))
    made.pop()
    return [function for function, count in zip(made, counts[:-1], strict=True) if count > counts[-1]]


def _balanced(
    olds: Sequence[OldCode],
    walk: Walk,
    aside: Mapping[int, FunctionType],
    own: Own,
    looks: int,
) -> list[Account]:
    for key, function in aside.items():
        if key not in walk.seen:
            walk.seen[key] = function
            walk.functions.append(function)
    accounts: list[Account] = []
    for look in range(looks):
        accounts = account(
            [old.code() for old in olds],
            walk,
            own,
            more=(old.outer() for old in olds),
            young=look > 0,
        )
        if not any(one.unexplained for one in accounts):
            break
        if look == looks // 2 and gc.isenabled():
            gc.collect(max(pythons.YOUNG_GENERATIONS))  # what holds it may be garbage in a cycle, of a call that failed
        if look:
            time.sleep(_PAUSE)
    return accounts


_SHAPE_FLAGS: Final = VARARGS | VARKEYWORDS | SUSPENDS | ITERABLE_COROUTINE


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
