"""A quiescent swap waits for the instant when no call is inside, and names who is in the way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import worlds

from bcpatch import apply
from bcpatch.diagnostics import Diagnostic, Refused
from bcpatch.process.history import History
from bcpatch.process.records import Generation

TREE = """
def outer(n):
    return ("old", *inner(n))

def inner(n):
    return ("old", *leaf(n))

def leaf(n):
    for _ in range(n):
        pass
    return ("old",)

def numbers():
    yield "old"
    yield "old"

async def coroutine(wait):
    await wait
    return "old"

def blocked(entered, event):
    entered.set()
    event.wait()
    return "old"
"""
NEW = TREE.replace('"old"', '"new"')


@pytest.fixture
def history() -> History:
    return History()


def quiescent(history: History, timeout: float, old: str = TREE, new: str = NEW) -> Generation:
    with history.exclusive():
        plan = worlds.plan(worlds.patch(worlds.module_patch(old, new)), history)
        return apply.apply(plan, history, consistency="quiescent", timeout=timeout)


def refusal(history: History) -> tuple[Diagnostic, ...]:
    with pytest.raises(Refused) as refused:
        quiescent(history, 0.02)
    assert history.current == 0
    assert {one.code for one in refused.value.diagnostics} == {"BCP601"}
    return refused.value.diagnostics


@pytest.mark.timeout(600)
@pytest.mark.parametrize("consistency", ["quiescent"])
def test_no_call_mixes_old_and_new(tmp_path: Path, history: History, consistency: str) -> None:
    with worlds.world(TREE, tmp_path) as module:
        seen: set[tuple[str, ...]] = set()
        going = True

        def call() -> None:
            while going:
                seen.add(module.outer(3))

        threads = [threading.Thread(target=call) for _ in range(2)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                texts = (TREE, NEW) if number % 2 == 0 else (NEW, TREE)
                quiescent(history, 60, *texts)
        finally:
            going = False
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)
        assert seen == {("old", "old", "old"), ("new", "new", "new")}


def test_a_thread_that_is_inside_is_named(tmp_path: Path, history: History) -> None:
    with worlds.world(TREE, tmp_path) as module:
        entered, event = threading.Event(), threading.Event()
        thread = threading.Thread(target=module.blocked, args=(entered, event), name="worker 7")
        thread.start()
        entered.wait()
        (found,) = refusal(history)
        event.set()
        thread.join()
        assert "thread worker 7 is inside blocked" in found.message
        assert (Path(found.file).name, found.line) == ("world.py", 23)
        quiescent(history, 1)
        assert module.leaf(1) == ("new",)


def test_suspended_generators_and_coroutines_are_inside(tmp_path: Path, history: History) -> None:
    class Wait:
        def __await__(self) -> Iterator[None]:
            yield

    with worlds.world(TREE, tmp_path) as module:
        generator = module.numbers()
        next(generator)
        (found,) = refusal(history)
        assert found.message == "generator is inside numbers"
        generator.close()
        del generator
        coroutine = module.coroutine(Wait())
        coroutine.send(None)
        (found,) = refusal(history)
        assert found.message == "coroutine is inside coroutine"
        coroutine.close()
        del coroutine
        quiescent(history, 1)
        assert module.leaf(1) == ("new",)


def test_a_function_that_applies_is_inside_itself(tmp_path: Path, history: History) -> None:
    text = "def f(action):\n    action()\n    return 'old'\n"
    with worlds.world(text, tmp_path) as module, pytest.raises(Refused) as refused:
        module.f(lambda: quiescent(history, 0.02, text, text.replace("old", "new")))
    assert [one.code for one in refused.value.diagnostics] == ["BCP601"]


def test_a_function_with_a_cache(tmp_path: Path, history: History) -> None:
    text = "import functools\n@functools.lru_cache\ndef f(a):\n    return 'old', a\n"
    with worlds.world(text, tmp_path) as module:
        assert module.f(1) == ("old", 1)
        quiescent(history, 1, text, text.replace("old", "new"))
        assert module.f(1) == ("new", 1)
