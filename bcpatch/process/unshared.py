"""Sites that need no search: only their names hold the functions, and only these hold their code.

Whoever else held either of the two, were it a call under way, would be one reference more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from types import CodeType, FunctionType
from typing import Any

from bcpatch import fingerprint
from bcpatch.model import FunctionEdit
from bcpatch.process import guards, naming
from bcpatch.process.history import History
from bcpatch.process.linked import LinkedSite, Still, Wanted
from bcpatch.process.matching import Twins, by_what_they_replace
from bcpatch.process.swap import runs_without_gil


def unshared(
    wanted: Sequence[Wanted], aside: Mapping[int, FunctionType], history: History
) -> tuple[list[LinkedSite], list[Wanted]]:
    """The sites that are found so, and what is left to be searched for. None of them is one of those set ``aside``."""
    if runs_without_gil():  # references are not counted there as they are given
        return [], list(wanted)
    twins = by_what_they_replace(wanted)
    likely: list[Wanted] = []
    rest: list[Wanted] = []
    functions: list[Any] = []
    for one in wanted:
        module, edit = one
        held = naming.bound(module.namespace, edit.site.qualname)
        if held and _is_plain(held[0], one, twins[id(module.part)], history) and id(held[0]) not in aside:
            likely.append(one)
            functions += held
        else:
            rest.append(one)
        del held
    alone = _alone(functions, history)
    sites = [
        LinkedSite(edit, module, (function,))
        for (module, edit), function, free in zip(likely, functions, alone, strict=True)
        if free
    ]
    rest += [one for one, free in zip(likely, alone, strict=True) if not free]
    return sites, rest


def at_rest(site: LinkedSite) -> Still:
    """What is true of the code of such a site while no call is inside it."""
    return Still(site.functions[0], 0, (), 1)


def _is_plain(value: object, wanted: Wanted, twins: Twins, history: History) -> bool:
    """Whether a value is a function that can be no other site's, and whose code makes no others that change with it."""
    module, edit = wanted
    if type(value) is not FunctionType or value.__globals__ is not module.namespace:
        return False
    code, site = value.__code__, edit.site
    if code.co_qualname != site.qualname or fingerprint.of(code) != edit.replaces:
        return False
    if isinstance(edit, FunctionEdit):
        if edit.rivals or edit.twins or site in history.lingering or CodeType in map(type, code.co_consts):
            return False
    return len(twins[site.qualname, edit.replaces]) == 1


def _alone(functions: list[FunctionType], history: History) -> list[bool]:
    """Whether each function, and its code, is held once; ``functions`` and the records of the history aside."""
    codes = list(map(getattr, functions, repeat("__code__")))
    places = history.records.places
    once = [guards.counted(each, [1 + (id(one) in places) for one in each]) for each in (functions, codes)]
    return list(map(all, zip(*once, strict=True)))
