"""Sites that need no search: only their names hold the functions, and only these hold their code.

Whoever else held either of the two, were it a call under way, would be one reference more.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, repeat
from types import CodeType, FunctionType
from typing import Any, Final

from bcpatch import fingerprint
from bcpatch.model import PositionEdit
from bcpatch.process import guards, naming
from bcpatch.process.history import History
from bcpatch.process.linked import LinkedModule, LinkedSite, SiteEdit, Still, Wanted
from bcpatch.process.swap import runs_without_gil


def unshared(
    wanted: Sequence[Wanted], aside: Mapping[int, FunctionType], history: History
) -> tuple[list[LinkedSite], list[Wanted]]:
    """The sites that are found so, and what is left to be searched for. None of them is one of those set ``aside``."""
    if runs_without_gil():  # references are not counted there as they are given
        return [], list(wanted)
    likely: list[Wanted] = []
    rest: list[Wanted] = []
    functions: list[Any] = []
    for module, edits in _by_module(wanted):
        namespace = module.namespace
        twins = {what for what, count in Counter(map(_what, edits)).items() if count > 1}
        for edit in edits:
            held = naming.bound(namespace, edit.site.qualname)
            if held and _is_plain(held[0], edit, namespace, history) and not (twins and _what(edit) in twins):
                likely.append((module, edit))
                functions += held
            else:
                rest.append((module, edit))
            del held
    alone = _alone(functions, aside, history)
    sites = [
        LinkedSite(edit, history.lineages.of(edit.site, history.current), module, (function,), alone=True)
        for (module, edit), function, free in zip(likely, functions, alone, strict=True)
        if free
    ]
    rest += [one for one, free in zip(likely, alone, strict=True) if not free]
    return sites, rest


_what: Final = operator.attrgetter("site.qualname", "replaces")
"""The name of a site and the code that runs there: of which a module may have several."""


def _by_module(wanted: Iterable[Wanted]) -> Iterator[tuple[LinkedModule, list[SiteEdit]]]:
    for module, some in groupby(wanted, operator.itemgetter(0)):
        yield module, [edit for _, edit in some]


def at_rest(sites: Iterable[LinkedSite]) -> Iterator[Still]:
    """What is true of the code of those sites that are alone while no call is inside it."""
    return (Still(site.functions[0], 0, (), 1) for site in sites if site.alone)


def _is_plain(value: object, edit: SiteEdit, namespace: Mapping[str, Any], history: History) -> bool:
    """Whether a value is the function of a site, and its code makes no others that change with it."""
    if type(value) is not FunctionType or value.__globals__ is not namespace:
        return False
    code = value.__code__
    if code.co_qualname != edit.site.qualname or fingerprint.of(code) != edit.replaces:
        return False
    if isinstance(edit, PositionEdit):
        return True
    if edit.rivals or edit.twins or CodeType in map(type, code.co_consts):
        return False
    return history.lineages.of(edit.site, history.current) not in history.lingering


def _alone(functions: list[FunctionType], aside: Mapping[int, FunctionType], history: History) -> list[bool]:
    """Whether each function, and its code, is held once; ``functions`` and the records of the history aside.

    None of them is one of those set ``aside``.
    """
    codes = list(map(getattr, functions, repeat("__code__")))
    kept = history.records.places.of
    counts = [[1 + (place is not None) for place in kept(list(map(id, each)))] for each in (functions, codes)]
    free = map(operator.and_, guards.counted(functions, counts[0]), guards.counted(codes, counts[1]))
    here = map(operator.not_, map(aside.__contains__, map(id, functions)))
    return list(map(operator.and_, free, here))
