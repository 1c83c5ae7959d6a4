"""The call that makes all stores: when one raises, when what would restore them raises, when it is interrupted."""

from __future__ import annotations

import _thread
import gc
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch.process import swap
from bcpatch.process.guards import nobody_inside
from bcpatch.process.swap import ABSENT, Change, HalfDone, Kind, Slot, Torn, exchange


class Moody(dict[str, object]):
    """A namespace that raises at some of the stores into it, counted from the first."""

    def __init__(self, bad: set[int], **names: object) -> None:
        super().__init__(**names)
        self.bad = bad
        self.stores = 0

    def __setitem__(self, key: str, value: object) -> None:
        self.stores += 1
        if self.stores in self.bad:
            raise OSError(self.stores)
        super().__setitem__(key, value)


def changes(*spaces: dict[str, object]) -> list[Change]:
    return [Change(Slot(Kind.NAMESPACE, space, "x"), space.get("x", ABSENT), "new") for space in spaces]


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2))
def test_what_was_stored_is_restored_though_that_raises_too(before: int, after: int, errors: int) -> None:
    """Whatever is stored before the store that raises, and however often it raises again when that is undone."""
    plain: list[dict[str, object]] = [{"x": "old"} if number % 2 else {} for number in range(before + after)]
    often = Moody({1, *range(2, 2 + errors)}, x="old")
    stubborn = Moody(set(range(2, 2 + errors)), x="old")
    with pytest.raises(HalfDone, match="OSError"):
        exchange(changes(stubborn, *plain[:before], often, *plain[before:]))
    assert [space.get("x") for space in plain] == ["old" if number % 2 else None for number in range(before + after)]
    assert (stubborn["x"], often["x"]) == ("old", "old")
    assert gc.isenabled()


def test_what_can_not_be_restored_is_named_and_all_else_is_restored() -> None:
    first: dict[str, object] = {"x": "old"}
    last: dict[str, object] = {}
    never = Moody(set(range(2, 99)), x="old")
    with pytest.raises(Torn, match=r"OSError: 1; what was stored before could not be undone: x$"):
        exchange(changes(first, never, last, Moody({1}, x="old")))
    assert (first, dict(never), last) == ({"x": "old"}, {"x": "new"}, {})


def test_an_interrupt_after_the_last_store_leaves_all_done() -> None:
    space: dict[str, object] = {"x": "old"}
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        exchange(changes(space), along=[(told.append, "done"), (_thread.interrupt_main,)])
    assert (space, told) == ({"x": "new"}, ["done"])


def test_a_guard_that_does_not_hold_restores_nothing() -> None:
    space: dict[str, object] = {"x": "old"}
    assert not swap.exchange(changes(space), guards=[iter([True]), iter([True, False])])
    assert space == {"x": "old"}


def test_a_swap_that_was_not_made_leaves_no_garbage_that_holds_what_was_to_give_way() -> None:
    """What the guard has looked at is the frame of the very call that asks it: a cycle."""

    def running() -> int:
        old = {"an": "object"}
        space: dict[str, object] = {"x": old}
        before = sys.getrefcount(old)
        conditions = [nobody_inside(frozenset({id(running.__code__)}))]
        is_made = exchange(changes(space), guards=conditions)
        conditions.clear()
        assert not is_made
        return sys.getrefcount(old) - before

    gc.disable()
    try:
        assert running() == 0
    finally:
        gc.enable()
