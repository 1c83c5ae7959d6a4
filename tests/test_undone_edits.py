"""Edit, undo, edit: what a patch adds after another took it away is there again, in every generation's own form."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import worlds
from samples import source

from bcpatch import builder, load
from bcpatch.diagnostics import Refused
from bcpatch.model import Module
from bcpatch.process.history import History

WORLD = Module("world", "world.py")
BASE = "A = 1\nclass Shop:\n  rate = 1\n"

#: Texts that follow each other in a process, and what is compared in each.
CHAINS = {
    "an added function": ([BASE, f"{BASE}def f(): return 1\n", BASE, f"{BASE}def f(): return 2\n"], "f()"),
    "a function of the first text": ([f"{BASE}def f(): return 1\n", BASE, f"{BASE}def f(): return 2\n"], "f()"),
    "twice": (
        [BASE, f"{BASE}def f(): return 1\n", BASE, f"{BASE}def f(): return 2\n", BASE, f"{BASE}def f(): return 3\n"],
        "f()",
    ),
    "changed in between": (
        [f"{BASE}def f(): return 1\n", f"{BASE}def f(): return 2\n", BASE, f"{BASE}def f(): return 3\n"],
        "f()",
    ),
    "changed afterwards": (
        [BASE, f"{BASE}def f(): return 1\n", BASE, f"{BASE}def f(): return 2\n", f"{BASE}def f(): return 3\n"],
        "f()",
    ),
    "a function for a value": ([BASE, f"{BASE}f = 1\n", BASE, f"{BASE}def f(): return 1\n"], "f"),
    "a value": ([BASE, f"{BASE}B = 1\n", BASE, f"{BASE}B = 2\n", f"{BASE}B = 3\n"], "B"),
    "a value of the first text": ([f"{BASE}B = A + 1\n", BASE, f"{BASE}B = A + 2\n"], "B"),
    "a class": ([BASE, f"{BASE}class C(Shop): x = 1\n", BASE, f"{BASE}class C(Shop): x = 2\n"], "C.x, C.__mro__"),
    "its subclass with it": (
        [BASE, f"{BASE}class C: x = 1\nclass D(C): pass\n", BASE, f"{BASE}class C: x = 2\nclass D(C): pass\n"],
        "D.x, D.__mro__[1] is C",
    ),
    "a decorator and what it calls": (
        [
            f"{BASE}def h(f): return 1\ndef d(f): return h(f)\n",
            BASE,
            f"{BASE}def h(f): return 2\ndef d(f): return h(f)\n@d\ndef g(): pass\n",
        ],
        "g",
    ),
    "what a class body reads": (
        [f"{BASE}B = 1\nclass C: x = B\n", BASE, f"{BASE}B = 2\nclass C:\n  x = B\n"],
        "C.x, B",
    ),
    "an import": ([f"import json\n{BASE}", BASE, f"import json\n{BASE}"], "json"),
    "a function for an import": (
        [f"from json import loads\n{BASE}", BASE, f"{BASE}def loads(): return 1\n"],
        "loads",
    ),
    "a method": (
        [BASE, f"{BASE}  def f(self): return 1\n", BASE, f"{BASE}  def f(self): return super().f, 2\n"],
        "Shop.f",
    ),
    "a class attribute": ([f"{BASE}  x = 1\n", BASE, f"{BASE}  x = 2\n"], "Shop.x"),
    "a property": (
        [BASE, f"{BASE}  @property\n  def x(self): return 1\n", BASE, f"{BASE}  @property\n  def x(self): return 2\n"],
        "Shop().x",
    ),
    "what hides a builtin": ([BASE, f"{BASE}len = 1\n", BASE, f"{BASE}len = 2\n"], "len"),
}


def shown(expression: str, space: dict[str, object]) -> str:
    try:
        value = eval(expression, dict(space))
    except Exception as error:  # noqa: BLE001 (what an expression raises is what is compared)
        return type(error).__name__
    return repr(value).partition(" at 0x")[0]


def step(old: str, new: str, history: History) -> None:
    outcome = builder.compare([source(old, WORLD)], [source(new, WORLD)], policy="linked")
    assert outcome.patch is not None, outcome.diagnostics
    load.apply(outcome.patch, history)


@pytest.mark.parametrize("name", CHAINS)
def test_every_generation_equals_a_fresh_start(name: str, tmp_path: Path) -> None:
    texts, expression = CHAINS[name]
    wanted = []
    for number, text in enumerate(texts):
        (tmp_path / str(number)).mkdir()
        with worlds.world(text, tmp_path / str(number)) as fresh:
            wanted.append(shown(expression, vars(fresh)))
    history = History()
    left = {"NameError", *wanted}  # a name that is gone from the text may stay bound
    with worlds.world(texts[0], tmp_path) as live:
        portraits = [worlds.portrait(live, renewed=True)]
        for old, new in pairwise(texts):
            step(old, new, history)
            portraits.append(worlds.portrait(live, renewed=True))
            is_there = wanted[history.current] not in ("NameError", "AttributeError")
            assert shown(expression, vars(live)) in ({wanted[history.current]} if is_there else left)
        for number in (0, len(texts) - 1, 1, 0, 2, len(texts) - 1, 0):
            load.rollback(history, number)
            assert {key: value for key, value in worlds.portrait(live, renewed=True).items() if key != "linecache"} == {
                key: value for key, value in portraits[number].items() if key != "linecache"
            }


def test_importers_get_what_is_added_again(tmp_path: Path) -> None:
    texts = [f"{BASE}def f(): return 1\n", BASE, f"{BASE}def f(): return 2\n"]
    history = History()
    with (
        worlds.world(texts[0], tmp_path) as live,
        worlds.world("from world import f as taken\n", tmp_path, "client") as client,
    ):
        step(texts[0], texts[1], history)
        step(texts[1], texts[2], history)
        assert client.taken is live.f
        assert client.taken() == 2
        load.rollback(history, 0)
        assert client.taken is live.f
        assert client.taken() == 1


@pytest.mark.parametrize("spoil", ["f = 1", "def f(): return 1"])
def test_a_name_that_the_application_took_is_its_own(spoil: str, tmp_path: Path) -> None:
    history = History()
    with worlds.world(f"{BASE}def f(): return 1\n", tmp_path) as live:
        step(f"{BASE}def f(): return 1\n", BASE, history)
        exec(spoil, vars(live))
        before = worlds.portrait(live)
        with pytest.raises(Refused, match="BCP513"):
            step(BASE, f"{BASE}def f(): return 2\n", history)
        assert worlds.portrait(live) == before


def test_a_failure_leaves_what_the_removal_had_left(tmp_path: Path) -> None:
    history = History()
    with worlds.world(f"{BASE}def f(): return 1\n", tmp_path) as live:
        step(f"{BASE}def f(): return 1\n", BASE, history)
        before = worlds.portrait(live)
        with pytest.raises(Refused, match="BCP603"):
            step(BASE, f"{BASE}def f(): return 2\nB = 1 // 0\n", history)
        assert worlds.portrait(live) == before
        step(BASE, f"{BASE}def f(): return 2\n", history)
        assert live.f() == 2


def test_what_another_module_made_of_it_at_import_refuses(tmp_path: Path) -> None:
    history = History()
    with (
        worlds.world(f"{BASE}def f(): return 1\n", tmp_path) as live,
        worlds.world("from world import f\nTABLE = [f]\n", tmp_path, "client"),
    ):
        step(f"{BASE}def f(): return 1\n", BASE, history)
        with pytest.raises(Refused, match="BCP210"):
            step(BASE, f"{BASE}def f(): return 2\n", history)
        assert live.f() == 1
