"""The linked policy: definitions and values added, changed and removed, live as in a fresh process."""

from __future__ import annotations

from pathlib import Path

import pytest
import worlds

from bcpatch import builder, load
from bcpatch.builder import Outcome
from bcpatch.diagnostics import Refused
from bcpatch.history import History
from bcpatch.model import Module
from samples import source

WORLD = Module("world", "world.py")


def compared(old: str, new: str) -> Outcome:
    return builder.compare([source(old, WORLD)], [source(new, WORLD)], policy="linked")


def apply(old: str, new: str, history: History) -> None:
    outcome = compared(old, new)
    assert outcome.patch is not None, outcome.diagnostics
    load.apply(outcome.patch, history)


def refusals(old: str, new: str) -> set[str]:
    return {found.code for found in compared(old, new).diagnostics if found.severity == "error"}


LIVE = {
    "function": ("def f(): return 1", "def f(): return g()\ndef g(): return 2", "world.f()"),
}


@pytest.mark.parametrize("name", LIVE)
def test_live_equals_fresh(name: str, tmp_path: Path) -> None:
    old, new, expression = LIVE[name]
    (tmp_path / "new").mkdir()
    with worlds.world(new, tmp_path / "new") as fresh:
        wanted = eval(expression, {"world": fresh})
    history = History()
    with worlds.world(old, tmp_path) as live:
        before = worlds.portrait(live)
        apply(old, new, history)
        assert eval(expression, {"world": live}) == wanted
        load.rollback(history, 0)
        assert worlds.portrait(live) == before
