"""Lambdas on one line, which do the same in one version or another: each comes to what it is in the new text.

CPython 3.12 gives equal ones a single code object. A refusal is always right; so is a change of those that the
test says must be accepted.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
import worlds

from bcpatch import builder, load
from bcpatch.diagnostics import Refused
from bcpatch.model import Module
from bcpatch.process.history import History
from bcpatch.source.outline import Source


class Shape(NamedTuple):
    """A text with three places for lambdas, and an expression that calls what they made."""

    name: str
    text: str
    call: str


SHAPES = [
    Shape("a list", "all = [{}, {}, {}]", "[one() for one in all]"),
    Shape("statements", "a = {}; b = {}; c = {}", "a(), b(), c()"),
    Shape("a class", "class C:\n    a = {}; b = {}; c = {}", "[C.__dict__[one]() for one in 'abc']"),
    Shape("calls", "all = []; all.append({}); all.append({}); all.append({})", "[one() for one in all]"),
    Shape("a default", "def f(a={}, b={}): return a(), b()\nc = {}", "(*f(), c())"),
    Shape("a comprehension", "a = {}; b = [{} for _ in 'xy']; c = {}", "a(), b[0](), b[1](), c()"),
    Shape("closures", "def make(): return {}, {}, {}\nall = make()", "[one() for one in (*all, *make())]"),
    Shape("closures within", "def make():\n    def within(): return {}, {}, {}\n    return within\nw = make()", "w()"),
]


def offered(old: str, new: str) -> builder.Outcome:
    one, other = (Source(Module("world", "world.py"), "world.py", text.encode()) for text in (old, new))
    return builder.compare([one], [other], policy="linked")


def becomes(old: str, new: str, call: str, folder: Path) -> object:
    """What a call gives after a patch from one text to another; None where that was refused."""
    history = History()
    with worlds.world(old, folder) as module:
        before = shown(call, module)
        patch = offered(old, new).patch
        try:
            if patch is None:
                return None
            load.apply(patch, history)
        except Refused:
            assert shown(call, module) == before
            return None
        after = shown(call, module)
        stayed = [one.code for one in load.rollback(history, 0).notes]
        assert stayed == ["BCP508"] or shown(call, module) == before
        return after


def shown(call: str, module: object) -> object:
    return repr(eval(call.replace("w()", "[one() for one in w()]"), vars(module)))


def fresh(text: str, call: str, folder: Path) -> object:
    with worlds.world(text, folder) as module:
        return shown(call, module)


BODIES = ["lambda *_: 1", "lambda *_: 2"]


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_each_comes_to_what_it_is_in_the_new_text(shape: Shape, tmp_path: Path) -> None:
    texts = [shape.text.format(*some) for some in product(BODIES, repeat=3)]
    expected = {text: fresh(text, shape.call, tmp_path) for text in texts}
    of_one_body_first = texts[: len(texts) // 2]  # the others differ from these in which body is called which
    for old, new in product(of_one_body_first, texts):
        if old != new:
            assert becomes(old, new, shape.call, tmp_path) in (None, expected[new]), f"{old}\n-> {new}"


@pytest.mark.parametrize("shape", SHAPES[:4], ids=[shape.name for shape in SHAPES[:4]])
def test_equal_ones_change_together(shape: Shape, tmp_path: Path) -> None:
    old, new = (shape.text.format(*[body] * 3) for body in BODIES)
    assert becomes(old, new, shape.call, tmp_path) == fresh(new, shape.call, tmp_path)


@pytest.mark.parametrize("old", [("1", "1"), ("1", "2")])
@pytest.mark.parametrize("new", [("1", "1"), ("2", "1"), ("1", "2"), ("2", "2"), ("3", "2"), ("A", "B"), ("A", "A")])
def test_default_values_of_each(old: tuple[str, str], new: tuple[str, str], tmp_path: Path) -> None:
    text = "A = {}; B = {}\na = lambda x={}: x; b = lambda x={}: x"
    was, now = text.format(5, 6, *old), text.format(7, 6, *new)
    if was != now:
        assert becomes(was, now, "a(), b()", tmp_path) in (None, fresh(now, "a(), b()", tmp_path))
