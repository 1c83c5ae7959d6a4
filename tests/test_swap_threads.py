"""One instant: whatever threads call and read while patches come and go belongs to one generation.

An observation is one call of one function, or one snapshot of all functions taken by one
C call. The last test shows that these tests see a swap that is not one instant.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import worlds
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bcpatch import apply
from bcpatch.process import swap
from bcpatch.process.history import History
from bcpatch.process.swap import Change, Kind, Slot

NAMES = ("plain", "method", "accessor", "nested")
TEXT = """
def plain(a={plain[1]}, *, b={plain[2]}):
    return {plain[0]}, a, b

class Thing:
    def method(self, a={method[1]}, *, b={method[2]}):
        return {method[0]}, a, b

    @property
    def accessor(self, a={accessor[1]}, *, b={accessor[2]}):
        return {accessor[0]}, a, b

def nested(a={nested[1]}, *, b={nested[2]}):
    return [(lambda: {nested[0]})(), a, b]
"""
ATTRIBUTES = ("__code__", "__defaults__", "__kwdefaults__")
FIRST = (0, 0, 0)

State = tuple[tuple[int, int, int], ...]
"""For each function the numbers in its code, its default and its keyword default."""


def text(state: State) -> str:
    return TEXT.format(**dict(zip(NAMES, state, strict=True)))


@dataclass
class Observer:
    """Threads that call and read without pause, and what they saw.

    Where they ``hold`` the functions these are changed in place; else, on some versions, renewed.
    """

    module: ModuleType
    hold: bool
    calls: list[set[Any]] = field(default_factory=lambda: [set() for _ in NAMES])
    snapshots: set[tuple[int, ...]] = field(default_factory=set)
    rounds: int = 0
    going: bool = True

    def __post_init__(self) -> None:
        thing: Any = self.module.Thing
        functions = [self.module.plain, thing.method, thing.accessor.fget, self.module.nested]
        self.functions: list[FunctionType] = functions if self.hold else []

    def read(self) -> None:
        functions = [function for function in self.functions for _ in ATTRIBUTES]
        attributes = ATTRIBUTES * len(NAMES)
        while self.going:
            self.snapshots.add(tuple(map(id, map(getattr, functions, attributes))))
            self.rounds += 1

    def call(self) -> None:
        thing = self.module.Thing()
        module = self.module
        calls: list[Callable[[], Any]] = [
            lambda: module.plain(),
            lambda: thing.method(),
            lambda: thing.accessor,
            lambda: module.nested(),
        ]
        while self.going:
            for seen, one in zip(self.calls, calls, strict=True):
                seen.add(tuple(one()))

    @contextmanager
    def watching(self) -> Iterator[None]:
        interval = sys.getswitchinterval()
        targets = (self.read, self.call, self.call) if self.hold else (self.call, self.call)
        threads = [threading.Thread(target=target) for target in targets]
        sys.setswitchinterval(1e-6)
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.going = False
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)


def states_by_id(history: History, functions: Sequence[FunctionType]) -> set[tuple[int, ...]]:
    """What a snapshot may see: the state of each generation."""
    slots = [Slot(Kind.ATTRIBUTE, function, name) for function in functions for name in ATTRIBUTES]
    found = set()
    for number in range(len(history.records)):
        turned = history.turned(history.way(number))
        found.add(tuple(id(turned[one.key].new if one.key in turned else swap.held(one)) for one in slots))
    return found


tags = st.integers(1, 5)
state = st.tuples(*[st.one_of(st.just(FIRST), st.tuples(tags, tags, tags)) for _ in NAMES])
steps = st.lists(st.one_of(state, st.integers(0, 100)), min_size=1, max_size=6)


@pytest.mark.timeout(120)
@settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # threads don't repeat themselves: nothing to shrink by
    suppress_health_check=[HealthCheck.too_slow],
)
@given(steps, st.booleans())
def test_every_observation_belongs_to_one_generation(sequence: list[State | int], hold: bool) -> None:
    history = History()
    current: State = (FIRST,) * len(NAMES)
    states = [current]
    with tempfile.TemporaryDirectory() as folder, worlds.world(text(current), Path(folder)) as module:
        observer = Observer(module, hold)
        with observer.watching():
            for step in sequence:
                if isinstance(step, int):
                    number = step % len(history.records)
                    with history.exclusive():
                        apply.rollback(history, number)
                    current = states[number]
                elif step != current:
                    worlds.applied(text(current), text(step), history)
                    states.append(step)
                    current = step
        if hold:
            assert observer.snapshots <= states_by_id(history, observer.functions)
        for number, seen in enumerate(observer.calls):
            assert seen <= {one[number] for one in states}
        assert tuple(module.plain()) == current[0]
        assert tuple(module.nested()) == current[3]


def one_by_one(changes: Sequence[Change], *, along: Sequence[swap.Row] = (), **_: object) -> bool:
    """The naive swap: a loop of assignments."""
    for call, *arguments in [*(swap.writing(change.slot, change.new) for change in changes), *along]:
        call(*arguments)
    return True


def often(exchange: Callable[..., bool]) -> Callable[..., bool]:
    """A swap that goes there and back again many times: the way to each takes far longer than the swap itself."""

    def swapped(changes: Sequence[Change], **rest: Any) -> bool:
        done = exchange(changes, **rest)
        back = [Change(change.slot, change.new, change.old) for change in changes]
        for _ in range(50 if done else 0):
            assert exchange(back)
            assert exchange(changes)
        return done

    return swapped


@pytest.mark.timeout(120)
@pytest.mark.parametrize("naive", [False, True], ids=["one call", "one by one"])
def test_a_swap_that_assigns_in_a_loop_is_seen(naive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the test: what it can see is seen for the naive swap, and not for ours."""
    history = History()
    before: State = (FIRST,) * len(NAMES)
    after: State = ((1, 1, 1),) * len(NAMES)
    monkeypatch.setattr(swap, "exchange", often(one_by_one if naive else swap.exchange))
    with worlds.world(text(before), tmp_path) as module:
        observer = Observer(module, hold=True)
        worlds.applied(text(before), text(after), history)
        allowed = states_by_id(history, observer.functions)
        torn: set[tuple[int, ...]] = set()
        with observer.watching():
            for flip in range(500 if naive else 10):
                with history.exclusive():
                    apply.rollback(history, flip % 2)
                torn = {one for one in set(observer.snapshots) if one not in allowed}
                if torn:
                    break
    mixed = [seen - {FIRST, (1, 1, 1)} for seen in observer.calls]
    assert bool(torn) == naive
    assert naive or not any(mixed)
    assert observer.rounds
