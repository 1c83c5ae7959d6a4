"""Where calls of an assigned function stay slow, a twin takes its place, if nobody can tell."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import worlds

from bcpatch import apply, pythons
from bcpatch.diagnostics import Refused
from bcpatch.exchange import instant, renew
from bcpatch.process import swap
from bcpatch.process.history import History

pytestmark = pytest.mark.skipif(not pythons.ASSIGNED_CODE_IS_SLOWER, reason="assigned code is as fast here")

TEXT = """
def f(a=1, *, b=2):
    return "old", a, b

class C:
    def m(self):
        return "old"

    @property
    def p(self):
        return "old"

    @staticmethod
    def s():
        return "old"

    @classmethod
    def c(cls):
        return "old"
"""
NEW = TEXT.replace('"old"', '"new"').replace("a=1", "a=10")
NEWEST = NEW.replace('"new"', '"newest"')


def functions(module: ModuleType) -> list[Any]:
    space = vars(module.C)
    return [module.f, space["m"], space["p"].fget, space["s"].__func__, space["c"].__func__]


def results(module: ModuleType) -> tuple[object, ...]:
    return module.f(), module.C().m(), module.C().p, module.C.s(), module.C.c()


OLD_RESULTS = (("old", 1, 2), "old", "old", "old", "old")
NEW_RESULTS = (("new", 10, 2), "new", "new", "new", "new")
NEWEST_RESULTS = (("newest", 10, 2), "newest", "newest", "newest", "newest")


def test_unheld_functions_are_renewed_in_every_generation(tmp_path: Path) -> None:
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        module.f.note = "kept"
        old = [id(one) for one in functions(module)]
        worlds.applied(TEXT, NEW, history)
        assert results(module) == NEW_RESULTS
        fresh = [id(one) for one in functions(module)]
        assert all(map(operator.ne, old, fresh))  # a twin is made while the other still lives
        assert module.f.note == "kept"
        worlds.applied(NEW, NEWEST, history)
        assert all(map(operator.ne, fresh, map(id, functions(module))))
        for number, expected in ((0, OLD_RESULTS), (1, NEW_RESULTS), (0, OLD_RESULTS), (2, NEWEST_RESULTS)) * 2:
            fresh = [id(one) for one in functions(module)]
            with history.exclusive():
                apply.rollback(history, number)
            assert results(module) == expected
            assert all(map(operator.ne, fresh, map(id, functions(module))))
        with history.exclusive():
            apply.rollback(history, 0)
        assert apply.at(history, 1, module.f)() == ("new", 10, 2)
        assert [one.generation for one in apply.sites(history)] == [0] * 5
        assert [one() for one in (apply.at(history, number, module.f) for number in (0, 2))] == [
            ("old", 1, 2),
            ("newest", 10, 2),
        ]
        worlds.applied(TEXT, NEW, history)
        assert results(module) == NEW_RESULTS


HOLDERS = {"weak": weakref.ref, "list": lambda one: [one], "bound": lambda one: one.__get__(1)}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_a_function_that_somebody_holds_keeps_its_identity(tmp_path: Path, hold: Callable[[Any], object]) -> None:
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        held = hold(module.f)
        before = [id(one) for one in functions(module)]
        worlds.applied(TEXT, NEW, history)
        after = [id(one) for one in functions(module)]
        assert after[0] == before[0]
        assert after[1] != before[1]
        assert results(module) == NEW_RESULTS
        with history.exclusive():
            apply.rollback(history, 0)
        assert [id(one) for one in functions(module)][0] == before[0]
        assert id(functions(module)[1]) != after[1]
        assert results(module) == OLD_RESULTS
        del held


def test_the_records_know_no_function_that_is_gone(tmp_path: Path) -> None:
    """Its address may be that of another object by now, which nobody would look for then."""
    history = History()
    known: set[int] = set()
    text = "".join(f"def f{number}():\n    return 0\n" for number in range(200))
    with worlds.world(text, tmp_path) as module:
        for number in range(8):
            worlds.applied(text, text := text.replace(f"return {number}", f"return {number + 1}"), history)
            known.update(id(one) for one in vars(module).values() if isinstance(one, FunctionType))
    objects = history.records.objects
    places = {key: place for key in known if (place := history.records.places.get(key)) is not None}
    assert {key: id(objects[place]) for key, place in places.items()} == {key: key for key in places}


def test_a_twin_has_the_very_defaults(tmp_path: Path) -> None:
    """They are state: who holds them finds them changed where the function finds them changed."""
    text = "def f(a=[], *, b=[]):\n    return 'old', a, b\n"
    history = History()
    with worlds.world(text, tmp_path) as module:
        before, given, named = id(module.f), module.f.__defaults__, module.f.__kwdefaults__
        worlds.applied(text, text.replace("old", "new"), history)
        assert id(module.f) != before
        assert (module.f.__defaults__ is given, module.f.__kwdefaults__ is named) == (True, True)
        assert (module.f.__type_params__, module.f()) == ((), ("new", [], []))


def test_a_function_that_is_stored_elsewhere_during_a_rollback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that nobody else holds it belongs to the swap."""
    history = History()
    held = []
    with worlds.world(TEXT, tmp_path) as module:
        worlds.applied(TEXT, NEW, history)
        real = instant.made

        def made(wanted: instant.Swap, patience: float | None = None) -> bool:
            held.append(module.f)
            return real(wanted, patience)

        monkeypatch.setattr(instant, "made", made)
        with history.exclusive():
            apply.rollback(history, 0)
        assert module.f is held[0]
        assert results(module) == OLD_RESULTS


def test_a_class_is_not_stored_into_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a thousand versions CPython looks names of a class up slowly, for good; a swap takes one of them."""
    monkeypatch.setattr(renew, "_MOST_SWAPS", 2)
    history = History()
    texts = [TEXT.replace('self):\n        return "old"', f'self):\n        return "{number}"') for number in range(4)]
    with worlds.world(texts[0], tmp_path) as module:
        seen = [id(vars(module.C)["m"])]
        for old, new in pairwise(texts):
            worlds.applied(old, new, history)
            seen.append(id(vars(module.C)["m"]))
        assert module.C().m() == "3"
        assert seen[0] != seen[1] != seen[2] == seen[3]


def test_moved_functions_are_renewed_too(tmp_path: Path) -> None:
    history = History()
    moved = "# one more line\n" + TEXT
    with worlds.world(TEXT, tmp_path) as module:
        Path(str(module.__file__)).write_text(moved)
        before = [id(one) for one in functions(module)]
        worlds.applied(TEXT, moved, history)
        assert module.f.__code__.co_firstlineno == 3
        assert all(map(operator.ne, before, map(id, functions(module))))


@pytest.mark.parametrize("name", ["__defaults__", "__kwdefaults__", "__code__"])
def test_what_somebody_sets_before_the_swap_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A twin is made before the swap: what its function got since then refuses it."""
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        code = (lambda a, *, b: 5).__code__
        values: dict[str, Any] = {"__defaults__": (5,), "__kwdefaults__": {"b": 5}, "__code__": code}
        real = swap.exchange

        def exchange(*arguments: Any, **named: Any) -> bool:
            setattr(module.f, name, values[name])
            return real(*arguments, **named)

        monkeypatch.setattr(swap, "exchange", exchange)
        with pytest.raises(Refused) as refused:
            worlds.applied(TEXT, TEXT.replace('"old"', '"new"'), history)
        assert [one.code for one in refused.value.diagnostics] == ["BCP608"]
        assert getattr(module.f, name) is values[name]


@pytest.mark.parametrize("decorator", ["staticmethod", "classmethod", "property"])
@pytest.mark.parametrize("said", ["1", "'Other'"])
def test_what_wraps_a_function_has_its_documentation_again_in_every_generation(
    said: str, decorator: str, tmp_path: Path
) -> None:
    """The patch that changes it stores into the wrapper: the one after that must not put another in its place."""
    text = f"class C:\n    @{decorator}\n    def m(*s):\n        {{}}\n        return {{}}\n"
    texts = [text.format("'Doc'", 0), text.format(said, 1), text.format(said, 2)]
    history = History()
    told = []
    with worlds.world(texts[0], tmp_path) as module:
        for old, new in pairwise(texts):
            told.append(vars(module.C)["m"].__doc__)
            worlds.applied(old, new, history)
        told.append(vars(module.C)["m"].__doc__)
        with history.exclusive():
            for number in (0, 2, 1, 0):
                apply.rollback(history, number)
                assert vars(module.C)["m"].__doc__ == told[number]
