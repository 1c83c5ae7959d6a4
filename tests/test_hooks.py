"""Hooks of the application: told before and after, may veto before, can't half-apply after."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import worlds

from bcpatch import builder, load
from bcpatch.diagnostics import Diagnostic, Refused, Severity
from bcpatch.exchange import hooks
from bcpatch.exchange.hooks import Update
from bcpatch.model import Module, Patch, Policy
from bcpatch.process.history import History
from bcpatch.source.outline import Source

BEFORE = """
import math

told = []

def __bcpatch_update__(update):
    told.append((update.phase, update.previous, update.generation, update.rollback, price(1)))

def price(of):
    return of
"""

AFTER = BEFORE.replace("return of", "return of + 1")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(hooks, "_callbacks", [])
    with worlds.world(BEFORE, tmp_path) as module:
        yield module


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def patch(world: ModuleType) -> Patch:
    return worlds.patch(worlds.module_patch(BEFORE, AFTER))


def test_a_modules_hook_is_told_before_and_after_every_update(
    world: ModuleType, patch: Patch, history: History
) -> None:
    load.apply(patch, history)
    assert world.told == [("before", 0, 1, False, 1), ("after", 0, 1, False, 2)]
    world.told.clear()
    load.rollback(history)
    load.rollback(history, 1)
    assert world.told == [
        ("before", 1, 0, True, 2),
        ("after", 1, 0, True, 1),
        ("before", 0, 1, True, 1),
        ("after", 0, 1, True, 2),
    ]


def test_a_callback_is_told_which_sites_change(world: ModuleType, patch: Patch, history: History) -> None:
    told: list[Update] = []
    hooks.on_update(told.append)
    hooks.on_update(told.append)
    load.apply(patch, history)
    load.rollback(history)
    assert [(one.phase, one.rollback) for one in told] == [
        ("before", False),
        ("after", False),
        ("before", True),
        ("after", True),
    ]
    assert {str(site) for one in told for site in one.sites} == {"world:price"}


def test_a_rehearsal_tells_nobody(world: ModuleType, patch: Patch, history: History) -> None:
    load.rehearse(patch, history)
    assert world.told == []


@pytest.mark.parametrize("veto", [ValueError("not now"), SystemExit("not now")])
def test_what_a_hook_raises_before_refuses_the_update(
    veto: BaseException, world: ModuleType, patch: Patch, history: History
) -> None:
    def refuse(update: Update) -> None:
        raise veto

    world.__bcpatch_update__ = refuse  # type: ignore[attr-defined]
    with pytest.raises(Refused) as refused:
        load.apply(patch, history)
    (found,) = refused.value.diagnostics
    assert found.code == "BCP602"
    assert found.message == f"world.__bcpatch_update__ raised {type(veto).__name__}: not now"
    assert (world.price(1), history.current, len(history.records)) == (1, 0, 1)


def test_a_rollback_can_be_vetoed(world: ModuleType, patch: Patch, history: History) -> None:
    load.apply(patch, history)

    def refuse(update: Update) -> None:
        raise ValueError(f"no way back to {update.generation}")

    hooks.on_update(refuse)
    with pytest.raises(Refused, match="no way back to 0"):
        load.rollback(history)
    assert (world.price(1), history.current) == (2, 1)


def test_what_a_hook_raises_after_is_a_warning_and_the_others_are_told(
    world: ModuleType, patch: Patch, history: History
) -> None:
    def fail(update: Update) -> None:
        if update.phase == "after":
            raise ValueError("too late")

    world.__bcpatch_update__ = fail  # type: ignore[attr-defined]
    told: list[Update] = []
    hooks.on_update(told.append)
    generation = load.apply(patch, history)
    (found,) = generation.notes
    assert (found.code, found.severity) == ("BCP612", Severity.WARNING)
    assert history.generations[1] == generation
    assert [one.phase for one in told] == ["before", "after"]
    assert (world.price(1), history.current) == (2, 1)
    assert [note.code for note in load.rollback(history).notes] == ["BCP612"]
    assert world.price(1) == 1


def test_an_interrupt_in_a_hook_is_the_users(world: ModuleType, patch: Patch, history: History) -> None:
    def interrupt(update: Update) -> None:
        raise KeyboardInterrupt

    hooks.on_update(interrupt)
    with pytest.raises(KeyboardInterrupt):
        load.apply(patch, history)
    assert (world.price(1), history.current) == (1, 0)
    hooks._callbacks.clear()
    load.apply(patch, history)
    assert world.price(1) == 2


def test_a_hook_that_applies_is_refused(world: ModuleType, patch: Patch, history: History) -> None:
    found: list[str] = []

    def apply(update: Update) -> None:
        with pytest.raises(Refused) as refused:
            load.apply(patch, history)
        found.append(refused.value.diagnostics[0].code)

    hooks.on_update(apply)
    load.apply(patch, history)
    assert found == ["BCP606", "BCP606"]


def test_a_patched_hook_is_the_old_one_before_and_the_new_one_after(world: ModuleType, history: History) -> None:
    new = BEFORE.replace("told.append(", "told.append('new') or told.append(")
    old, changed = (Source(Module("world", "world.py"), "world.py", text.encode()) for text in (BEFORE, new))
    outcome = builder.compare((old,), (changed,), policy=Policy.LINKED)
    assert outcome.patch
    load.apply(outcome.patch, history)
    assert world.told == [("before", 0, 1, False, 1), "new", ("after", 0, 1, False, 1)]


def test_an_exception_whose_text_raises_is_told_too(world: ModuleType, patch: Patch, history: History) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def refuse(update: Update) -> None:
        raise Mute

    hooks.on_update(refuse)
    with pytest.raises(Refused, match=r"raised Mute \(its text raised RuntimeError\)"):
        load.apply(patch, history)


def test_a_rollback_to_nowhere_tells_nobody(world: ModuleType, patch: Patch, history: History) -> None:
    for to in (None, -1, 5):
        with pytest.raises(Refused) as refused:
            load.rollback(history, to)
        assert [found.code for found in refused.value.diagnostics] == ["BCP607"]
    assert world.told == []


@pytest.mark.parametrize(
    "kind", ["async def hook(update): vetoed", "def hook(update): yield vetoed", "async def hook(update): yield vetoed"]
)
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_hook_that_nobody_would_run_is_an_error_of_its_phase(
    phase: str, kind: str, world: ModuleType, patch: Patch, history: History
) -> None:
    """Were it taken for done, what it wants to veto would go live."""
    space: dict[str, Callable[[Update], object]] = {}
    exec(kind, space)
    hooks.on_update(lambda update: space["hook"](update) if update.phase == phase else None)
    if phase == "before":
        with pytest.raises(Refused, match=r"nobody runs the (coroutine|generator|async_generator)") as refused:
            load.apply(patch, history)
        assert [one.code for one in refused.value.diagnostics] == ["BCP602"]
        assert (world.price(1), history.current) == (1, 0)
    else:
        notes = load.apply(patch, history).notes
        assert [(one.code, "a hook is a plain function" in one.message) for one in notes] == [("BCP612", True)]
        assert world.price(1) == 2


@pytest.mark.parametrize(("phase", "generation"), [("before", 0), ("after", 1)])
def test_what_a_hook_raises_in_a_thread_of_bcpatch_is_no_users_interrupt(
    phase: str, generation: int, world: ModuleType, patch: Patch, history: History
) -> None:
    def interrupt(update: Update) -> None:
        if update.phase == phase:
            raise KeyboardInterrupt

    def apply() -> None:
        try:
            told.extend(load.apply(patch, history).notes)
        except Refused as refused:
            told.extend(refused.diagnostics)

    told: list[Diagnostic] = []
    hooks.on_update(interrupt)
    thread = threading.Thread(target=apply)
    thread.start()
    thread.join()
    assert [one.code for one in told] == ["BCP612" if generation else "BCP602"]
    assert (world.price(1), history.current) == (1 + generation, generation)


REPLACED = (
    BEFORE
    + """
class Cart:
    class Item:
        def price(self):
            return 1
"""
)
REPLACED_NEW = REPLACED.replace("return 1", "return 2").replace("return of", "return of + 1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("module.price = lambda of: 0", "world.price"),
        ("del module.price", "world.price"),
        ("module.price.__code__ = (lambda of: 0).__code__", "the code of world:price"),
        ("module.Cart = type('Cart', (module.Cart,), {'__module__': 'world'})", "world.Cart"),
        ("module.Cart.Item = type('Item', (), {})", "world.Cart.Item"),
        ("module.Cart.Item.price = lambda self: 0", "world.Cart.Item.price"),
        ("del module.Cart.Item.price", "world.Cart.Item.price"),
    ],
)
def test_what_is_put_in_a_functions_place_meanwhile_is_not_passed_by(
    change: str, words: str, world: ModuleType, history: History, tmp_path: Path
) -> None:
    """The old function would get the new code, and nobody would call it."""
    del world
    with worlds.world(REPLACED, tmp_path) as module:

        def meanwhile(update: Update) -> None:
            if update.phase == "before":
                exec(change, {"module": module})
                before.append(worlds.portrait(module))

        before: list[object] = []
        hooks.on_update(meanwhile)
        with pytest.raises(Refused) as refused:
            load.apply(worlds.patch(worlds.module_patch(REPLACED, REPLACED_NEW)), history)
        (found,) = refused.value.diagnostics
        assert (found.code, f"something else has set {words}" in found.message) == ("BCP608", True)
        assert (before, history.current) == ([worlds.portrait(module)], 0)
