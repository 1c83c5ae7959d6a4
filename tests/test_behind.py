"""Functions behind what a decorator has put in their place: what they read is out of date for whoever calls that."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from test_edits import Case, applied, imported, portraits, shown

from bcpatch.process.behind import Behind

DECORATORS = {
    "a wrapper that says what it wraps": (
        "import functools\ndef deco(g):\n  @functools.wraps(g)\n  def inner(): return g()\n  return inner\n"
    ),
    "a closure": "def deco(g):\n  def inner(): return g()\n  return inner\n",
    "a closure around a closure": "def deco(g):\n  def a(): return g()\n  def b(): return a()\n  return b\n",
    "a list in a closure": "def deco(g):\n  held = [g]\n  return lambda: held[0]()\n",
    "a dictionary of the module": (
        "HELD = {}\ndef deco(g):\n  HELD[g.__name__] = g\n  return lambda name=g.__name__: HELD[name]()\n"
    ),
    "an object": "class deco:\n  def __init__(self, g): self.g = g\n  def __call__(self): return self.g()\n",
    "an object in a closure": (
        "class Held:\n  def __init__(self, g): self.g = g\n  def __call__(self): return self.g()\n"
        "def deco(g):\n  held = Held(g)\n  return lambda: held()\n"
    ),
    "a bound method": (
        "class Held:\n  def __init__(self, g): self.g = g\n  def run(self): return self.g()\n"
        "def deco(g): return Held(g).run\n"
    ),
    "a partial": "import functools\ndef deco(g): return functools.partial(g)\n",
    "a cache": "import functools\ndeco = functools.cache\n",
}
LOW = "X = (1, 1)\n@deco\ndef f(): return X\n@deco\ndef other(): return 1\n"
SCENARIOS = {
    "ran at import": ("import low\nN = low.{}()\n", "import low\nN = low.{}()\n"),
    "ran at import by a function": (
        "import low\ndef g(): return low.{}()\nN = g()\n", "import low\ndef g(): return low.{}()\nN = g()\n",
    ),
    "is run by what comes": ("import low\n", "import low\nN = low.{}()\n"),
    "is run by a default": ("import low\ndef N(a=1): return a\n", "import low\ndef N(a=low.{}()): return a\n"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_finders() -> Iterator[None]:
    before = list(sys.meta_path)
    yield
    sys.meta_path[:] = before


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("name", ["f", "other"])
def test_a_value_that_a_decorated_function_reads_changes(
    decorator: str, scenario: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = DECORATORS[decorator] + LOW
    old = {"low.py": low, "top.py": SCENARIOS[scenario][0].format(name)}
    new = {"low.py": low.replace("(1, 1)", "(2, 2)"), "top.py": SCENARIOS[scenario][1].format(name)}
    expression = "top.N, low.f()"
    with imported(new, tmp_path, monkeypatch) as fresh:
        wanted = shown(expression, fresh)
    with imported(old, tmp_path, monkeypatch) as live:
        before = portraits(["low", "top"])
        refusal = applied(Case("", expression, old, new))
        if refusal:
            assert {one.code for one in refusal} == {"BCP210"}
            assert portraits(["low", "top"]) == before
        else:
            assert shown(expression, live) == wanted
        is_one_of_several = decorator == "a dictionary of the module" and scenario.startswith("ran")
        assert bool(refusal) == (name == "f" or is_one_of_several)


@pytest.mark.parametrize("attribute", ["property(lambda self: X)", "deco(lambda self: X)", "staticmethod(lambda: X)"])
def test_a_class_whose_attribute_reads_it(attribute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deco = "def deco(g):\n  def inner(self): return g(self)\n  return inner\n"
    text = f"{deco}X = (1, 1)\nclass C:\n  f = {attribute}\n"
    call = "C().f" if "property" in attribute else "C().f()"
    top = f"from low import C\nN = {call}\n"
    old = {"low.py": text, "top.py": top}
    with imported(old, tmp_path, monkeypatch):
        refusal = applied(Case("", "", old, {**old, "low.py": text.replace("(1, 1)", "(2, 2)")}))
    assert {one.code for one in refusal} == {"BCP210"}


def plain(_: object = None) -> int:
    return 1


def held_by(value: object) -> set[str]:
    return {one.__qualname__.rpartition(".")[2] for one in Behind().functions(value)}


def test_what_is_looked_into() -> None:
    class Calls:
        def __init__(self, held: object) -> None:
            self.held = held

        def __call__(self) -> None:
            """Is called."""

    class Holds:
        def __init__(self, held: object) -> None:
            self.held = held

    cell = plain
    empty: Any
    assert held_by(plain) == held_by(functools.partial(plain)) == held_by([plain]) == held_by({1: plain}) == {"plain"}
    assert held_by(functools.cache(plain)) == held_by(property(plain)) == held_by(staticmethod(plain)) == {"plain"}
    assert held_by(functools.cached_property(plain)) == held_by(functools.partialmethod(plain)) >= {"plain"}
    assert held_by(Calls(plain)) == {"plain", "__call__"}
    assert held_by(lambda: cell) == {"plain", "<lambda>"}
    assert held_by(lambda: empty) == {"<lambda>"}
    for other in (1, "text", None, Calls, sys, Holds(plain), Holds, len, [[[plain]]][0][0][0:0], range(3)):
        assert held_by(other) == set(), other
    assert held_by([plain] * 2000) == set()  # data
    if False:
        empty = 1


def test_no_code_is_run() -> None:
    asked: list[str] = []

    class Meta(type):
        def __getattribute__(cls, name: str) -> object:
            asked.append(name)
            return type.__getattribute__(cls, name)

        def __hash__(cls) -> int:
            asked.append("hash")
            return 1

    class Odd(metaclass=Meta):
        def __init__(self) -> None:
            self.held = plain

        def __getattribute__(self, name: str) -> object:
            asked.append(name)
            return object.__getattribute__(self, name)

        def __call__(self) -> None:
            """Is called."""

        def __eq__(self, other: object) -> bool:
            asked.append("equal")
            return False

        __hash__ = None  # type: ignore[assignment]

    some: list[object] = [Odd(), [Odd()], functools.partial(Odd()), lambda: some]
    asked.clear()
    found: list[FunctionType] = []
    behind = Behind()
    for one in some:
        found += behind.functions(one)
    assert plain in found
    assert asked == []
