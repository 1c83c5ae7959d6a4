"""Closures that are made between the look for closures and the swap switch with it, or are told of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import worlds

from bcpatch import load
from bcpatch.diagnostics import Severity
from bcpatch.exchange import late
from bcpatch.process import swap
from bcpatch.process.history import History

TEXT = """
class Cart:
    def rate(self, percent):
        def of(amount):
            return amount * percent, 1
        def waiting():
            yield 1
        return of, waiting

def make(bound):
    free = 10
    def inner():
        return bound, 1
    return inner
"""
NEW = TEXT.replace("percent, 1", "percent, 2").replace("bound, 1", "bound, 2").replace("yield 1", "yield 2")
OTHER = NEW.replace("return bound, 2", "return free, 2")


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something done when all is linked and nothing is swapped yet."""

    def plan(act: Callable[[], object]) -> None:
        real = swap.has_audit_hook
        monkeypatch.setattr(swap, "has_audit_hook", lambda: [act(), real()][1])

    return plan


def made(module: ModuleType) -> list[Any]:
    of, waiting = module.Cart().rate(3)
    return [module.make(7), of, waiting]


def called(functions: list[Any]) -> list[Any]:
    inner, of, waiting = functions
    return [inner(), of(1), *waiting()]


def test_closures_that_are_made_meanwhile_switch_too(tmp_path: Path, meanwhile: Any) -> None:
    history = History()
    made_meanwhile: list[list[Any]] = []
    with worlds.world(TEXT, tmp_path) as module:
        before = made(module)
        meanwhile(lambda: made_meanwhile.append(made(module)))
        load.apply(worlds.patch(worlds.module_patch(TEXT, NEW)), history)
        assert list(map(called, [before, *made_meanwhile])) == [[(7, 2), (3, 2), 2]] * 2
        load.rollback(history)
        assert list(map(called, [before, *made_meanwhile])) == [[(7, 1), (3, 1), 1]] * 3
        load.rollback(history, 1)
        assert list(map(called, [before, *made_meanwhile])) == [[(7, 2), (3, 2), 2]] * 4
        assert all(one.notes == () for one in history.generations)


def test_one_that_can_not_go_on_with_the_new_code_is_told_of(tmp_path: Path, meanwhile: Any) -> None:
    history = History()
    kept: list[Any] = []
    with worlds.world(TEXT, tmp_path) as module:
        meanwhile(lambda: kept.append(module.make(7)))
        patch = worlds.patch(worlds.module_patch(TEXT, OTHER))
        notes = load.apply(patch, history).notes
        assert [(one.code, one.severity, "free" in one.message) for one in notes] == [
            ("BCP508", Severity.WARNING, True)
        ]
        assert history.generations[-1].notes == notes
        assert (kept[0](), module.make(7)()) == ((7, 1), (10, 2))


def test_the_look_ends_where_all_that_is_held_is_explained(
    tmp_path: Path, meanwhile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What bcpatch itself holds meanwhile would be searched for everywhere, again and again."""
    history = History()
    kept: list[Any] = []
    found: list[object] = []
    relocate = late.relocate

    def noting(*arguments: Any) -> Any:
        located = relocate(*arguments)
        found.append(located.found)
        return located

    monkeypatch.setattr(late, "relocate", noting)
    with worlds.world(TEXT, tmp_path) as module:
        meanwhile(lambda: kept.append(made(module)))
        load.apply(worlds.patch(worlds.module_patch(TEXT, NEW)), history)
        assert called(kept[0]) == [(7, 2), (3, 2), 2]
    assert found
    assert set(found) == {()}


def test_nothing_is_looked_for_where_nobody_holds_what_gave_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        kept = made(module)
        monkeypatch.setattr(late, "relocate", None)
        load.apply(worlds.patch(worlds.module_patch(TEXT, NEW)), history)
        assert called(kept) == called(made(module)) == [(7, 2), (3, 2), 2]


def test_a_closure_that_has_not_changed_is_no_reason_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its code, and that is nested in what gave way."""
    text = "def make():\n    return (lambda: 'same'), (lambda: {})\nkept = make()\n"
    history = History()
    with worlds.world(text.format(1), tmp_path) as module:
        monkeypatch.setattr(late, "relocate", lambda *_: pytest.fail("looked for"))
        load.apply(worlds.linked(text.format(1), text.format(2)), history)
        assert [one() for one in module.kept] == ["same", 2]
        load.rollback(history, 0)
        assert [one() for one in module.kept] == ["same", 1]
