"""What this process runs now, told for people: each patched site, and calls on older code.

Only looks. A suspended generator is searched for where the references to its code leave
room for one, because that search stops every thread for as long as the heap is large.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import CodeType, FunctionType
from typing import Final

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.exchange.flights import Call, calls_inside
from bcpatch.model import Flight, Site, SiteStatus
from bcpatch.process.history import History

_NAMED: Final = 3  # holders of calls in one note
_CAN_BE_SUSPENDED: Final = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR


def sites(history: History) -> tuple[SiteStatus, ...]:
    """Every site that was ever patched: its generation, where its code stands, calls on older code."""
    running = _functions(history)
    born = _generations(history)
    older = {id(code): site for site, function in running.items() for code in _older(history, site, function)}
    flights: dict[Site, list[Flight]] = {site: [] for site in running}
    for call in _calls(history, set(older)):
        site = older[call.code]
        flights[site].append(Flight(born.get(call.code, 0), call.holder, call.file, call.line))
    return tuple(_status(history, site, running[site], _in_order(flights[site])) for site in sorted(running))


def left_behind(history: History, changed: Iterable[Site]) -> Iterator[Diagnostic]:
    """Notes of calls on the stacks of threads that go on with code which their sites had in other generations.

    Stacks are looked at only where the references to such code leave room for a call of it.
    """
    wanted = set(changed)
    running = _functions(history)
    older: dict[int, CodeType] = {}
    sites: dict[int, Site] = {}
    for site in wanted & running.keys():
        for code in _older(history, site, running[site]):
            if _may_be_inside(code, history):
                older[id(code)], sites[id(code)] = code, site
    if not older:
        return
    calls: dict[Site, list[Call]] = {}
    for call in calls_inside(list(older.values()), asleep=()):
        calls.setdefault(sites[call.code], []).append(call)
    for site, some in sorted(calls.items()):
        first = some[0]
        holders = list(dict.fromkeys(call.holder for call in some))
        shown = ", ".join(holders[:_NAMED]) + (f" and {len(holders) - _NAMED} more" if len(holders) > _NAMED else "")
        message = f"{shown} is inside `{first.qualname}`, and stays on its old code until the call returns"
        place = Place(history.files.get(first.file, first.file), first.line)
        yield finding("BCP614", message if len(holders) == 1 else message.replace(" is ", " are ", 1), place, site=site)


def _status(history: History, site: Site, function: FunctionType, flights: tuple[Flight, ...]) -> SiteStatus:
    code = function.__code__
    generation = _current_generation(history, code)
    return SiteStatus(site, generation, fingerprint.of(code), code.co_filename, code.co_firstlineno, flights)


def _functions(history: History) -> dict[Site, FunctionType]:
    """The function of every site that was ever patched."""
    running: dict[Site, FunctionType] = {}
    for record in history.lineage(history.current):
        running.update((target.site, history.now(target.function)) for target in record.targets)
    for record in history.records:
        for target in record.targets:
            running.setdefault(target.site, history.now(target.function))
    return running


def _in_order(flights: list[Flight]) -> tuple[Flight, ...]:
    return tuple(sorted(flights, key=lambda one: (one.generation, one.holder, one.file, one.line)))


def _current_generation(history: History, code: CodeType) -> int:
    """The newest generation, up to the current one, that brought this code to its site."""
    for record in reversed(history.lineage(history.current)):
        if any(_brings(change.new, code) for change in record.changes):
            return record.generation.number
    return 0


def _brings(value: object, code: CodeType) -> bool:
    return value is code or (isinstance(value, FunctionType) and value.__code__ is code)


def _generations(history: History) -> dict[int, int]:
    """By id of a code object, nested ones included: the generation that first brought it."""
    found: dict[int, int] = {}
    for record in history.records:
        for change in record.changes:
            value = change.new.__code__ if isinstance(change.new, FunctionType) else change.new
            if isinstance(value, CodeType):
                for code in _with_nested(value):
                    found.setdefault(id(code), record.generation.number)
    return found


def _older(history: History, site: Site, function: FunctionType) -> Iterator[CodeType]:
    """Code that the site ran in other generations than the current one."""
    current = {id(code) for code in _with_nested(function.__code__)}
    for code in history.codes.get(site, {}).values():
        yield from (one for one in _with_nested(code) if id(one) not in current)


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _with_nested(constant)


def _calls(history: History, wanted: set[int]) -> Iterator[Call]:
    codes = [
        code
        for store in history.codes.values()
        for outer in store.values()
        for code in _with_nested(outer)
        if id(code) in wanted
    ]
    return calls_inside(codes, asleep=[code for code in codes if _may_be_asleep(code, history)])


def _may_be_asleep(code: CodeType, history: History) -> bool:
    """Whether a suspended call could be among its holders."""
    return bool(code.co_flags & _CAN_BE_SUSPENDED) and _may_be_inside(code, history)


def _may_be_inside(code: CodeType, history: History) -> bool:
    """Whether a call could be among its holders: an older generation's functions, and code around it, may too."""
    return sys.getrefcount(code) > history.references.get(id(code), 0) + 2
