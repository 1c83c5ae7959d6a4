"""The walk that looks for functions: in which order, how far, and what it leaves alone."""

from __future__ import annotations

import gc
import types
from collections import Counter, deque
from collections.abc import Iterable
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch.process.accounting import CACHE, Walk, account
from bcpatch.process.history import History, Own
from bcpatch.process.objects import all_namespaces


def one_by_one(
    roots: Iterable[object], budget: int, names: frozenset[str], beyond: frozenset[int], *, narrow: bool
) -> list[object]:
    """What a walk enters, in its order: the same as `Walk.enter` does, told as plainly as can be."""
    queue = deque(root for root in roots if gc.is_tracked(root))
    seen = {id(one) for one in queue}
    entered = []
    while queue and budget:
        budget -= 1
        holder = queue.popleft()
        entered.append(holder)
        for one in [vars(holder)] if isinstance(holder, ModuleType) else gc.get_referents(holder):
            closed = isinstance(one, ModuleType) or (narrow and isinstance(one, type) and one.__module__ not in names)
            if gc.is_tracked(one) and id(one) not in seen and id(one) not in beyond and not closed:
                seen.add(id(one))
                queue.append(one)
    return entered


def functions_of(entered: Iterable[object]) -> list[object]:
    return [one for one in entered if type(one) is FunctionType]


TEXT = """
from functools import lru_cache

class Plain:
    def method(self): return 1

class Foreign:
    def method(self): return 2
Foreign.__module__ = "other"

def made(value):
    def inner(): return value
    return inner

def counted(): yield 1

cached = lru_cache(made)
code = made.__code__
"""


@given(st.data())
def test_it_enters_what_one_object_after_the_other_would_in_the_same_order(data: st.DataObject) -> None:
    module = ModuleType("world")
    exec(TEXT, vars(module))
    space = vars(module)
    del space["__builtins__"], space["lru_cache"]  # or the walk leads through all of them
    nodes: list[Any] = [[] for _ in range(data.draw(st.integers(1, 700)))]
    ends = st.integers(0, len(nodes) - 1)
    for here, there in data.draw(st.lists(st.tuples(ends, ends), max_size=1500)):
        nodes[here].append(nodes[there])
    kinds = [
        space["Plain"], space["Foreign"], space["made"](nodes[0]), space["cached"], module, {"code": space["code"]},
        space["counted"](),
    ]  # fmt: skip
    for here, kind in data.draw(st.lists(st.tuples(ends, st.sampled_from(kinds)), max_size=40)):
        nodes[here].append(kind)
    roots = [nodes[at] for at in data.draw(st.lists(ends, max_size=4))] + [module] * data.draw(st.integers(0, 1))
    budget, narrow = data.draw(st.sampled_from((1, 7, 499, 500, 501, 10_000))), data.draw(st.booleans())
    names = frozenset({"world"})
    beyond = frozenset(map(id, [nodes[data.draw(ends)], *all_namespaces()]))
    roots = [root for root in {id(root): root for root in roots}.values() if id(root) not in beyond]

    walk = Walk(names, beyond)
    gc.disable()  # a collection no longer tracks tuples that hold no containers
    try:
        entered = one_by_one(roots, budget, names, beyond, narrow=narrow)
        walk.enter(roots, budget, narrow=narrow)
    finally:
        gc.enable()
    assert list(map(id, walk.functions)) == list(map(id, functions_of(entered)))
    marked = [*entered, *walk.queue]
    assert len(marked) == len(walk.seen)
    assert set(map(id, marked)) == walk.seen.keys()
    assert list(map(id, walk.caches)) == [id(one) for one in entered if type(one) is CACHE]
    assert list(map(id, walk.generators)) == [id(one) for one in entered if isinstance(one, types.GeneratorType)]
    referring = [
        one
        for one in entered
        if not isinstance(one, (FunctionType, types.GeneratorType, ModuleType))
        and any(type(part) is CodeType for part in gc.get_referents(one))
    ]
    assert list(map(id, walk.holders)) == list(map(id, referring))


def test_where_a_walk_stopped_the_next_one_goes_on() -> None:
    chain: list[object] = []
    for _ in range(50):
        chain = [chain]
    walk = Walk(frozenset(), frozenset())
    walk.enter([chain], 20, narrow=True)
    assert len(walk.seen) == 21
    walk.enter([], 1000, narrow=True)
    assert len(walk.seen) == 51


def test_no_class_is_asked_how_it_compares() -> None:
    """Nor for a hash: both may be Python code of the application."""
    asked = []

    class Meta(type):
        def __hash__(cls) -> int:
            asked.append("hash")
            return 1

        def __eq__(cls, other: object) -> bool:
            asked.append("equal")
            return False

    class Name(str):
        __slots__ = ()

        def __hash__(self) -> int:
            asked.append("hash of the name")
            return 1

    class Odd(metaclass=Meta):
        pass

    Odd.__module__ = Name("odd")
    held = [Odd(), Odd, [Odd()], lru_cache(len)]
    asked.clear()
    for narrow in (True, False):
        walk = Walk(frozenset({"odd"}), frozenset())
        walk.enter([held], 10_000, narrow=narrow)
        walk.add([Odd()])
        account([test_no_class_is_asked_how_it_compares.__code__], walk, Own(History()))
        assert id(held[0]) in walk.seen
    assert asked == []


@pytest.mark.parametrize("times", [1, 3])
def test_constants_of_code_are_counted_once_for_each_code_that_has_them(times: int) -> None:
    text = "def outer():\n" + "    def inner():\n        return lambda: 1\n" * times
    space: dict[str, Any] = {}
    exec(text, space)
    outer = space["outer"].__code__
    inner = [one for one in outer.co_consts if isinstance(one, CodeType)]
    lambdas = [one for code in inner for one in code.co_consts if isinstance(one, CodeType)]
    twin = outer.replace(co_name="twin")  # has constants of its own, and the same code among them
    wanted = Counter(map(id, [*inner, *lambdas]))
    walk = Walk(frozenset(), frozenset())
    walk.enter([space["outer"]], 1000, narrow=True)
    counted = account([*inner, *lambdas], walk, Own(History()), more=[twin, outer, twin])
    shared = 1 + (twin.co_consts is not outer.co_consts)
    assert [one.constants for one in counted] == [
        *(shared * wanted[id(one)] for one in inner),
        *(wanted[id(one)] for one in lambdas),
    ]
