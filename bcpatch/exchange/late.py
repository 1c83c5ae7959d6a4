"""Closures that the application made while a swap was prepared: of code that has given way since.

They were not there when closures were looked for. When the swap is made nothing makes more of
them but calls that are under way still. So they are looked for once more, where references
to the code say that there are some, and go on with the new code a moment after all else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import CodeType
from typing import Final

from bcpatch.diagnostics import Diagnostic, as_warning, finding
from bcpatch.exchange.prepare import closure_changes
from bcpatch.exchange.standing import running
from bcpatch.model import FunctionEdit
from bcpatch.process import guards, nested, swap
from bcpatch.process.history import History, Own
from bcpatch.process.linked import LinkedSite
from bcpatch.process.locate import relocate

_ROUNDS: Final = 5
_LOOKS: Final = 10
_PAUSE: Final = 0.0002
"""Seconds between two looks."""


def caught_up(sites: Iterable[LinkedSite], history: History) -> tuple[Diagnostic, ...]:
    """Switch the closures that old code of ``sites`` has made since they were linked; warnings of those that stay.

    The swap that they were linked for is made, and nothing of bcpatch refers any more to what it took.
    """
    makers = [site for site in sites if isinstance(site.edit, FunctionEdit)]
    for _ in range(_ROUNDS):
        found = _looked_for(_held_still(makers, history), history)
        if found is not None:
            return found
    return ()


def _held_still(sites: Sequence[LinkedSite], history: History) -> Sequence[LinkedSite]:
    """Those of whose old code somebody holds what is nested in it. Most calls, and what these alone hold, end soon."""
    for look in range(_LOOKS):
        sites = [site for site in sites if _are_held(history, site)]
        if not sites:
            break
        if look:
            time.sleep(_PAUSE)
    return sites


def _are_held(history: History, site: LinkedSite) -> bool:
    """Whether somebody holds changed code that is nested in what gave way at a site: closures, or calls of them."""
    assert isinstance(site.edit, FunctionEdit)
    found: dict[int, CodeType] = {}
    for place in history.lingering.get(site.lineage, ()):
        outer = history.code_at(place)
        changed = (pair.old for pair in nested.pairs(outer, site.edit.code) if pair.changed and pair.old)
        found.update((id(code), code) for code in (nested.at(outer, path) for path in changed))
    codes = list(found.values())
    found.clear()
    return not all(guards.counted(codes, [1] * len(codes)))


def _looked_for(sites: Sequence[LinkedSite], history: History) -> tuple[Diagnostic, ...] | None:
    """Notes on what stays, when nothing is left to be switched; None where something was."""
    if not sites:
        return ()
    located = relocate(sites, history, Own(history))
    codes = {site.lineage: running(history, site.lineage).__code__ for site in sites}  # not before: it is counted there
    changes = [
        change
        for site in located.sites
        for closure in site.closures
        for change in closure_changes(closure.function, nested.at(codes[site.lineage], closure.path))
    ]
    try:
        done = swap.exchange(changes, guards=[guards.unchanged(changes)]) if changes else True
    except swap.HalfDone as error:
        names = ", ".join(sorted({change.slot.owner.__qualname__ for change in changes}))
        return (finding("BCP614", f"`{names}` was made meanwhile, and stays on its old code: {error}"),)
    if changes or not done:
        return None
    return tuple(as_warning(one) for one in located.found if one.code == "BCP508")
