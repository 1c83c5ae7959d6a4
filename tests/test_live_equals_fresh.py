"""After a patch a module is what a process started on the new source has: every kind of accepted edit, both ways."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest
import worlds
from samples import source
from worlds import described

from bcpatch import builder, fingerprint, load
from bcpatch.model import Module
from bcpatch.process.history import History

WORLD = Module("world", "world.py")

BASE = """\
'''A shop.'''
import functools
import os
from collections import deque

TIMEOUT = 60 * 60
PLAIN: int = 1

def total(prices, rate=1, *, digits=[]):
    '''The total.'''
    scale = lambda value: value * rate
    return [scale(price) for price in prices], digits

def counter(start):
    def step(by=1):
        nonlocal start
        start += by
        return start
    return step

def numbers(limit):
    yield from range(limit)

async def later(value):
    return value

@functools.lru_cache
def cached(value):
    return value + 1

def logged(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)
    return wrapper

TABLE = {"one": lambda: 1, "two": [lambda: 2, lambda: 3]}

class Shop:
    '''Sells.'''
    open: bool = True
    __hidden = 1

    def __init__(self, name):
        self.name = name

    def sell(self, __thing: int, count: 'int' = 1) -> 'list[int]':
        return [count] * __thing

    @property
    def title(self):
        return self.name

    @title.setter
    def title(self, value):
        self.name = value

    @staticmethod
    def tax(value):
        return value * 2

    @classmethod
    def make(cls, name="shop"):
        return cls(name)

    @functools.cached_property
    def once(self):
        return 1

    class Shelf:
        def size(self):
            return 10

    def __len__(self):
        return 3

    def _private(self):
        return self.name
"""

EDITS = {
    "body": ("scale(price) for", "scale(price) + 1 for"),
    "lambda inside": ("value * rate", "value * rate * 2"),
    "default": ("rate=1", "rate=2"),
    "keyword default": ("digits=[]", "digits=[1]"),
    "new parameter": ("rate=1, *", "rate=1, more=None, *"),
    "variadic": ("digits=[])", "digits=[], **more)"),
    "docstring": ("'''The total.'''", "'''All of it.'''"),
    "docstring gone": ("    '''The total.'''\n", ""),
    "module docstring": ("'''A shop.'''", "'''Another shop.'''"),
    "class docstring": ("    '''Sells.'''\n", "    '''Buys.'''\n"),
    "closure": ("start += by", "start -= by"),
    "closure default": ("step(by=1)", "step(by=2)"),
    "generator": ("range(limit)", "range(limit + 1)"),
    "coroutine": ("return value\n\n@", "return value + 1\n\n@"),
    "cached": ("value + 1", "value + 2"),
    "decorator": ("return function(*arguments)", "return [function(*arguments)]"),
    "lambda in a table": ("lambda: 2", "lambda: 20"),
    "two lambdas in a table": ("[lambda: 2, lambda: 3]", "[lambda: 3, lambda: 2]"),
    "initializer": ("self.name = name\n", "self.name = name.upper()\n"),
    "method": ("[count] * __thing", "[count] * __thing * 2"),
    "annotation": ("__thing: int", "__thing: float"),
    "text annotation": ("'list[int]'", "'list[float]'"),
    "annotation gone": (" -> 'list[int]'", ""),
    "getter": ("def title(self):\n        return self.name", "def title(self):\n        return self.name * 2"),
    "setter": ("self.name = value", "self.name = value * 2"),
    "static method": ("value * 2\n", "value * 3\n"),
    "class method": ('name="shop"', 'name="store"'),
    "cached property": ("def once(self):\n        return 1", "def once(self):\n        return 2"),
    "inner class": ("return 10", "return 20"),
    "protocol": ("return 3", "return 4"),
    "module annotation": ("PLAIN: int", "PLAIN: float"),
    "class annotation": ("open: bool", "open: int"),
    "import": ("import os\n", "import os\nimport json\n"),
    "changed import": ("from collections import deque", "from collections import OrderedDict as deque"),
    "moved": ("TIMEOUT", "# a comment\n\n\nTIMEOUT"),
    "moved inside": ("    scale =", "\n    # a comment\n\n    scale ="),
    "several": ("return ", "return 1 and "),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("on_disk", [True, False], ids=["new text on disk", "old text on disk"])
def test_live_equals_fresh(edit: str, on_disk: bool, tmp_path: Path) -> None:
    old, new = EDITS[edit]
    assert old in BASE
    changed = BASE.replace(old, new)
    (tmp_path / "new").mkdir()
    with worlds.world(changed, tmp_path / "new") as fresh:
        wanted = described(fresh, lines=on_disk)
    history = History()
    with worlds.world(BASE, tmp_path) as live:
        before = described(live, lines=True)
        names = set(vars(live))
        if on_disk:
            (tmp_path / "world.py").write_text(changed)
        outcome = builder.compare([source(BASE, WORLD)], [source(changed, WORLD)], policy="linked")
        assert outcome.patch is not None, outcome.diagnostics
        load.apply(outcome.patch, history)
        if on_disk or edit not in ("moved", "moved inside"):
            assert described(live, lines=on_disk) == wanted
        assert vars(live).keys() >= vars(fresh).keys() - {"__builtins__"}
        (tmp_path / "world.py").write_text(BASE)
        load.rollback(history, 0)
        assert described(live, lines=True) == before
        assert set(vars(live)) == names


def test_unchanged_defaults_keep_their_objects(tmp_path: Path) -> None:
    history = History()
    with worlds.world(BASE, tmp_path) as live:
        kept = live.total.__kwdefaults__["digits"]
        kept.append("state")
        outcome = builder.compare(
            [source(BASE, WORLD)], [source(BASE.replace("rate=1", "rate=2"), WORLD)], policy="linked"
        )
        assert outcome.patch is not None
        load.apply(outcome.patch, history)
        assert live.total.__kwdefaults__["digits"] is kept
        assert live.total([1]) == ([2], ["state"])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 is in CPython 3.12+")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def f[T](a: T) -> T: return a", "def f[T](a: T) -> T: return [a]"),
        ("def f[T](a: T) -> T: return a", "def f[T: int](a: T) -> list[T]: return a"),
        ("def f[T](a: T) -> T: return T", "def f[T](a: T, b=1) -> T: return T, b"),
        ("class A[T]:\n  def f[U](self, a: U) -> T: return 1", "class A[T]:\n  def f[U](self, a: U) -> T: return 2"),
    ],
)
def test_type_parameters(old: str, new: str, tmp_path: Path) -> None:
    def shown(module: ModuleType) -> object:
        function = module.f if hasattr(module, "f") else vars(module.A)["f"]
        return (
            fingerprint.of(function.__code__),
            [(str(one), one.__bound__) for one in function.__type_params__],
            {name: str(value) for name, value in inspect.get_annotations(function).items()},
        )

    (tmp_path / "new").mkdir()
    with worlds.world(new, tmp_path / "new") as fresh:
        wanted = shown(fresh)
    with worlds.world(old, tmp_path) as live:
        outcome = builder.compare([source(old, WORLD)], [source(new, WORLD)], policy="linked")
        assert outcome.patch is not None, outcome.diagnostics
        load.apply(outcome.patch, History())
        assert shown(live) == wanted


@pytest.mark.parametrize("name", ["f", "A", ""])
@pytest.mark.parametrize("asked", [False, True], ids=["not asked before", "asked before"])
def test_annotations_that_go_are_gone(name: str, asked: bool, tmp_path: Path) -> None:
    old = "def f(a: int): pass\nclass A:\n  x: int\ny: int\n"
    new = old.replace(*{"f": ("a: int", "a"), "A": ("  x: int", "  pass"), "": ("y: int\n", "")}[name])
    outcome = builder.compare([source(old, WORLD)], [source(new, WORLD)], policy="linked")
    assert outcome.patch is not None, outcome.diagnostics
    history = History()
    with worlds.world(old, tmp_path) as live:
        owner = getattr(live, name) if name else live
        before = inspect.get_annotations(owner) if asked else None
        load.apply(outcome.patch, history)
        assert not inspect.get_annotations(owner)
        load.rollback(history, 0)
        assert inspect.get_annotations(owner) == (before or inspect.get_annotations(owner)) != {}
