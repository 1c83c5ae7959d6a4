"""Results that ``functools.lru_cache`` has kept of functions: cleared with a swap, wherever the cache lies."""

from __future__ import annotations

import functools
import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import worlds

from bcpatch import load
from bcpatch.process import caches
from bcpatch.process.history import History

TEXT = """
import functools

def kept(f):
    @functools.wraps(f)
    def inner(*arguments):
        return f(*arguments)
    return inner

def bare(f):
    return lambda *arguments: f(*arguments)

class Decorator:
    def __init__(self, f):
        self.f = f
    def __call__(self, *arguments):
        return self.f(*arguments)

def f():
    return "old"

class C:
    def f(self):
        return "old"
    @staticmethod
    def s():
        return "old"
"""

AROUND: dict[str, Callable[[ModuleType], Callable[[], str]]] = {
    "itself": lambda module: module.f,
    "a wrapper": lambda module: module.kept(module.f),
    "two wrappers": lambda module: module.kept(module.bare(module.f)),
    "a closure": lambda module: module.bare(module.f),
    "a partial": lambda module: functools.partial(module.f),
    "a partial of a wrapper": lambda module: functools.partial(module.bare(module.f)),
    "an object": lambda module: module.Decorator(module.f),
    "another cache": lambda module: functools.lru_cache(module.f),
    "a bound method": lambda module: module.C().f,
    "a partial of a method": lambda module: functools.partial(module.C.f, module.C()),
    "a static method": lambda module: module.C.s,
}


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def elsewhere() -> Iterator[dict[str, Any]]:
    sys.modules["elsewhere"] = made = ModuleType("elsewhere")
    yield vars(made)
    del sys.modules["elsewhere"]


@pytest.mark.parametrize("place", ["a module", "a list", "nothing that can be looked at", "what is frozen"])
@pytest.mark.parametrize("around", AROUND)
def test_a_cache_is_cleared_wherever_it_lies(
    around: str, place: str, tmp_path: Path, history: History, elsewhere: dict[str, Any]
) -> None:
    new = TEXT.replace("old", "new")
    with worlds.world(TEXT, tmp_path) as module:
        cached = functools.lru_cache(AROUND[around](module))
        if place == "a module":
            elsewhere["cached"] = cached
        elif place == "a list":
            elsewhere["some"] = [cached]
        elif place == "what is frozen":
            elsewhere["some"] = [cached]
            gc.freeze()
        try:
            assert cached() == "old"
            load.apply(worlds.linked(TEXT, new), history)
            assert cached() == "new"
            load.rollback(history, 0)
            assert cached() == "old"
            load.rollback(history, 1)
            assert cached() == "new"
        finally:
            gc.unfreeze()


def test_a_cache_that_decorates_what_another_decorator_made(tmp_path: Path, history: History) -> None:
    text = TEXT + "@functools.lru_cache\n@kept\ndef g():\n    return 1\n"
    with worlds.world(text, tmp_path) as module:
        assert module.g() == 1
        load.apply(worlds.linked(text, text.replace("return 1", "return 2")), history)
        assert module.g() == 2
        load.rollback(history, 0)
        assert module.g() == 1


def test_other_caches_keep_what_they_have(tmp_path: Path, history: History, elsewhere: dict[str, Any]) -> None:
    """One that only calls what changes has results of its own: state, as what it may have stored elsewhere is."""
    text = (
        TEXT
        + "@functools.lru_cache\ndef total():\n    return [f()]\n@functools.lru_cache\ndef other():\n    return []\n"
    )
    with worlds.world(text, tmp_path) as module:
        before = [module.total(), module.other()]
        elsewhere["cached"] = functools.lru_cache(module.f)
        load.apply(worlds.linked(text, text.replace("old", "new")), history)
        assert [id(module.total()), id(module.other())] == list(map(id, before))


def test_a_cache_that_nobody_holds_any_more_is_not_kept(tmp_path: Path, history: History) -> None:
    with worlds.world(TEXT, tmp_path) as module:
        cached = functools.lru_cache(module.f)
        cached()
        load.apply(worlds.linked(TEXT, TEXT.replace("old", "new")), history)
        gone = weakref.ref(cached)
        del cached
        assert gone() is None


@pytest.mark.parametrize(
    "holding",
    [
        "",
        "g = kept(f)\n",
        "g = kept(bare(f))\n",
        "f = kept(f)\n",
        "f = functools.lru_cache(f)\n",
        "f = kept(functools.lru_cache(kept(f)))\n",
        "some = [f, C.f, {'s': C.s}]\n",
        "g = [kept(f)]\n",
        "g = Decorator(f)\n",
        "g = {'a': [Decorator(f), functools.partial(f, 1)]}\n",
        "class D:\n    f = f\n    g = property(kept(f))\n    h = staticmethod(f)\n",
        "class D:\n    def __init__(self): self.f = f\nd = D()\n",
        "C.g = functools.cached_property(C.f)\nC.g.__set_name__(C, 'g')\n",
    ],
)
def test_all_caches_of_the_process_are_looked_at_only_where_holders_are_out_of_sight(
    holding: str, tmp_path: Path, history: History, elsewhere: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look at all objects stops every thread meanwhile."""
    text = TEXT.replace('return "old"', 'return [one for one in ["old"]] and (lambda: "old")()') + holding
    with worlds.world(text, tmp_path) as module:
        elsewhere |= {"f": module.f, "C": module.C}
        monkeypatch.setattr(caches, "_all", lambda *_: pytest.fail("looked for"))
        for to in (None, 0, 1):
            if to is None:
                load.apply(worlds.linked(text, text.replace("old", "new")), history)
            else:
                load.rollback(history, to)
            assert {module.f(), module.C().f(), module.C.s()} == {"old" if to == 0 else "new"}
