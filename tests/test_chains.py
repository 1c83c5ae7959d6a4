"""Chains of patches, rollbacks and loads by hand of modules full of namesakes: each as in a fresh process, or refused.

`benchmarks/checks/chains.py` goes on with it for as long as you like.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Final, NamedTuple

import pytest
import worlds

from bcpatch import load
from bcpatch.diagnostics import Refused, Severity
from bcpatch.process.history import History

PIECES: Final[Mapping[str, str]] = {
    "function": "def f(): return {a}\n",
    "kept": "def f(): return {a}\nkept.append(f)\n",
    "default": "def f(a={b}): return a, {a}\nkept.append(f)\n",
    "loop": "for i in range(2):\n    def f(i=i): return {a}, i\n    kept.append(f)\n",
    "branch": "if sys.maxsize < 3:\n    def f(): return {a}\nelse:\n    def f(): return {b}\nkept.append(f)\n",
    "lambda": "kept.append(lambda: {a})\n",
    "lambdas": "kept += [lambda: {a}, lambda: {b}]\n",
    "sort key": "sorted([1], key=lambda *_: {a})\n",
    "value": "value{n} = lambda: {a}\n",
    "maker": "make{n} = lambda: [lambda: {a}]\n",
    "nested lambdas": "def make(): return [lambda: {a},\n    lambda: {b}]\nkept += make()\n",
    "nested": "def make{n}():\n    def g(): return {a}\n    f = g\n    def g(): return {b}\n"
    "    return f, g\nkept += make{n}()\n",
    "closures": "def make{n}(x=1):\n    def g(): return x, {a}\n    return g, lambda: (x, {b})\nkept += make{n}(7)\n",
    "class": "class C:\n    def f(self): return {a}\n    g = lambda self: {b}\nkept += [C().f, C().g]\n",
    "class lambdas": "class D{n}:\n    g = lambda self: {a}\n    h = lambda self: {b}\nkept += [D{n}().g, D{n}().h]\n",
    "local class": "def make{n}():\n    class C:\n        def f(self): return {a}\n        g = lambda self: {b}\n"
    "    return C().f, C().g\nkept += make{n}()\n",
    "property": "class P:\n    @property\n    def f(self): return {a}\n    @f.setter\n"
    "    def f(self, v): self.x = v, {b}\np = P()\n"
    "\nkept.append(lambda p=p: (p.f, setattr(p, 'f', 1), p.x))\n",
}

MORE: Final[Mapping[str, str]] = {
    "registry": "def f(): return {a}\nglobals().setdefault('registry', []).append(f)\nkept.append(f)\n",
    "registered": "kept.append(lambda: {a})\nglobals().setdefault('registry', []).append(kept[-1])\n",
    "wrapped": "def wrap{n}(x):\n    @functools.wraps(x)\n    def f(): return x(), {b}\n    return f\n"
    "@wrap{n}\ndef f(): return {a}\nkept.append(f)\n",
    "partial": "def f(): return {a}\nkept.append(functools.partial(f))\n",
    "cached": "@functools.lru_cache\ndef f(): return {a}\nkept.append(f)\n",
    "alias": "def f(): return {a}\nother{n} = f\nkept.append(other{n})\n",
    "dispatch": "@functools.singledispatch\ndef d(x): return {a}\n@d.register\ndef _(x: int): return {b}\n"
    "kept.append(lambda d=d: (d(None), d(1)))\n",
    "static": "class S:\n    @staticmethod\n    def f(): return {a}\n    @classmethod\n    def g(cls): return {b}\n"
    "kept += [S.f, S.g]\n",
    "try": "try:\n    def f(): return {a}\nexcept Exception:\n    def f(): return {b}\nkept.append(f)\n",
    "table": "table = {{'a': lambda: {a}, 'b': lambda: {b}}}\nkept += table.values()\n",
    "deleted": "def f(): return {a}\nkept.append(f)\ndel f\n",
    "comprehension": "kept += [lambda i=i: (i, {a}) for i in range(2)]\n",
    "default lambda": "def f(x=lambda: {a}): return x(), {b}\nkept.append(f)\n",
    "keyword": "def f(*, k={b}): return k, {a}\nkept.append(f)\n",
    "generator": "def g():\n    yield {a}\n    yield {b}\nkept.append(lambda g=g: list(g()))\n",
    "named": "def f(): return {a}\nf.__qualname__ = 'g'\nkept.append(f)\n",
    "inner class": "class O:\n    class C:\n        def f(self): return {a}\n    def f(self): return {b}\n"
    "kept += [O.C().f, O().f]\n",
}
"""Kinds that came later: `PIECES` alone are those of the seeds that once ended wrong."""

KINDS: Final = {**PIECES, **MORE}
_ADDED: Final = ("value", "maker", "function")


class Piece(NamedTuple):
    """A few statements: their kind, two values that functions return, a number that nothing else has, lines above."""

    kind: str
    a: int
    b: int
    n: int
    gap: int


def _text(pieces: list[Piece]) -> str:
    parts = ["\n" * one.gap + KINDS[one.kind].format(**one._asdict()) for one in pieces]
    return "import functools, sys\nkept = []\n" + "".join(parts) + "def last(): return 0\n"


def _edited(pieces: list[Piece], rng: Random, number: int) -> list[Piece]:
    edited = list(pieces)
    for _ in range(rng.randint(1, 2)):
        place = rng.randrange(len(edited))
        one = edited[place]
        what = rng.choices(["a", "b", "gap", "add", "remove", "exchange"], [30, 25, 20, 13, 6, 6])[0]
        if what == "add":
            edited.insert(place, Piece(rng.choice(_ADDED), rng.randint(1, 2), 1, number, 0))
        elif what == "remove" and len(edited) > 1:
            edited.pop(place)
        elif what == "exchange":
            other = rng.randrange(len(edited))
            edited[place], edited[other] = edited[other], one
        elif what in ("a", "b", "gap"):
            value = rng.randint(0 if what == "gap" else 1, 3)
            edited[place] = Piece(**(one._asdict() | {what: value}))
    return edited


def _told(space: Mapping[str, object], names: set[str]) -> list[object]:
    """What the functions of a module say, and those that some of them make now."""
    told: list[object] = []
    kept = space["kept"]
    assert isinstance(kept, list)
    told += [one() for one in kept]
    for name in sorted(names):
        value = space.get(name)
        if callable(value):
            told.append((name, [one() for one in value()] if name.startswith("make") else value()))
    return told


def _agree(module: ModuleType, text: str) -> None:
    fresh: dict[str, object] = {}
    exec(compile(text, "fresh", "exec", dont_inherit=True), fresh)
    names = {name for name in fresh if name == "f" or name.startswith(("make", "value"))}  # what is gone stays bound
    assert _told(vars(module), names) == _told(fresh, names)


@contextmanager
def _elsewhere(rng: Random) -> Iterator[list[object]]:
    """Another module that may hold what was there before a load; garbage may be collected meanwhile or not."""
    sys.modules["elsewhere"] = made = ModuleType("elsewhere")
    kept: list[object] = []
    vars(made)["kept"] = kept
    if rng.random() < 0.5:
        gc.disable()
    try:
        yield kept
    finally:
        gc.enable()
        del sys.modules["elsewhere"]


def check(rng: Random, folder: Path, outcomes: Counter[str], kinds: Mapping[str, str] = KINDS) -> None:
    """Make one chain. Raises AssertionError where something succeeded, and the process is not as a fresh one."""
    pieces = [
        Piece(rng.choice(list(kinds)), rng.randint(1, 2), rng.randint(1, 2), number, rng.choice([0, 0, 1]))
        for number in range(rng.randint(2, 5))
    ]
    history, generations, follows = History(), {0: pieces}, rng.random() < 0.5
    loaded = "\n" * rng.choice([0, 0, 0, 2]) + _text(pieces)
    with _elsewhere(rng) as kept, worlds.world(loaded, folder) as module:
        for step in range(rng.randint(5, 11)):
            what = rng.choices(["load", "back", "apply"], [20, 32, 48])[0]
            text = _text(pieces)
            if what == "load":
                if rng.random() < 0.5:
                    kept.append(dict(vars(module)))
                again = "\n" * rng.choice([0, 0, 1, 2]) + text
                exec(compile(again, str(folder / "world.py"), "exec", dont_inherit=True), vars(module))
            elif what == "back":
                to = rng.choice(list(generations))
                try:
                    done = load.rollback(history, to)
                    if any(note.severity == Severity.WARNING for note in done.notes):
                        outcomes["back, with a warning"] += 1
                        return  # a closure is named that could not go back
                    pieces = generations[to]
                except Refused:
                    what = "back, refused"
            else:
                edited = _edited(pieces, rng, 10 + step)
                if _text(edited) == text:
                    continue
                if follows:
                    (folder / "world.py").write_text(_text(edited))
                try:
                    patch = worlds.linked(text, _text(edited))
                    what = "apply, refused"
                    load.apply(patch, history)
                    what = "apply"
                    pieces = generations[history.current] = edited
                except Refused:
                    what = what if what != "apply" else "build, refused"
            outcomes[what] += 1
            _agree(module, _text(pieces))


@pytest.mark.parametrize("seed", [*range(12), 100081, 229355, 305792, 311224, 424924, 500117, 600621, 620383])
def test_chains_of_patches_rollbacks_and_loads_end_as_a_fresh_process_or_are_refused(seed: int, tmp_path: Path) -> None:
    check(Random(seed), tmp_path, Counter(), PIECES)


@pytest.mark.parametrize("seed", [*range(12), 801136, 915170, 916835, 31128289])
def test_chains_of_all_kinds_of_definitions_end_as_a_fresh_process_or_are_refused(seed: int, tmp_path: Path) -> None:
    check(Random(seed), tmp_path, Counter())
