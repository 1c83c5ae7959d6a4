"""What a patch leaves as it was is said: instances that exist, and calls that go on with the old code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import worlds
from samples import source

from bcpatch import builder, load
from bcpatch.diagnostics import Diagnostic
from bcpatch.model import Module
from bcpatch.process.history import Generation, History

WORLD = Module("world", "world.py")


def applied(old: str, new: str, history: History, policy: str = "linked") -> Generation:
    outcome = builder.compare([source(old, WORLD)], [source(new, WORLD)], policy=policy)
    assert outcome.patch is not None, outcome.diagnostics
    return load.apply(outcome.patch, history)


def said(generation: Generation, code: str) -> list[Diagnostic]:
    assert all(one.severity == "note" for one in generation.notes)
    return [one for one in generation.notes if one.code == code]


# --- what was made before -------------------------------------------------------------------------

CLASS = "class A:\n  def __init__(self, a=1): self.a = a\n  def f(self): return 1\n"
NEW = {
    "body": CLASS.replace("self.a = a", "self.a = [a]"),
    "default": CLASS.replace("a=1", "a=2"),
    "removed": CLASS.replace("  def __init__(self, a=1): self.a = a\n", ""),
    "maker": f"{CLASS}  def __new__(cls, *a): return super().__new__(cls)\n",
    "subclasses": f"{CLASS}  def __init_subclass__(cls): pass\n",
}


@pytest.mark.parametrize("new", NEW.values(), ids=NEW)
def test_a_changed_maker_leaves_what_it_made(new: str, tmp_path: Path) -> None:
    with worlds.world(CLASS, tmp_path):
        (note,) = said(applied(CLASS, new, History()), "BCP521")
    assert "`A`" in note.message
    assert Path(note.file).name == "world.py"


@pytest.mark.parametrize(
    "new",
    [
        CLASS.replace("return 1", "return 2"),
        CLASS.replace("a=1", "a: int = 1"),
        f"\n{CLASS}",
        f"{CLASS}def __init__(): pass\n",
    ],
)
def test_what_makes_nothing_is_not_noted(new: str, tmp_path: Path) -> None:
    with worlds.world(CLASS, tmp_path):
        assert not said(applied(CLASS, new, History()), "BCP521")


@pytest.mark.parametrize(
    ("decorator", "is_noted"),
    [
        ("functools.cached_property", True),
        ("cached_property", True),
        ("property", False),
        ("functools.lru_cache", False),
        ("staticmethod", False),
    ],
)
def test_what_objects_keep_of_a_method_is_noted(decorator: str, is_noted: bool, tmp_path: Path) -> None:
    old = (
        "import functools\nclass cached_property(functools.cached_property): pass\n"
        f"class A:\n  class B:\n    @{decorator}\n    def f(self): return 1\n"
        "def outer():\n  class C:\n    @functools.cached_property\n    def f(self): return 1\n  return C\n"
    )
    with worlds.world(old, tmp_path):
        found = said(applied(old, old.replace("return 1", "return 2"), History()), "BCP521")
        assert [one.message for one in found] == [
            "what `f` has stored in objects of `A.B` that asked for it stays as it was computed"
        ] * is_noted
        assert [one.line for one in found] == [5] * is_noted


def test_a_default_that_follows_a_value_is_a_change_of_what_makes(tmp_path: Path) -> None:
    old = f"N = 1\n{CLASS.replace('a=1', 'a=N')}"
    with worlds.world(old, tmp_path):
        assert len(said(applied(old, old.replace("N = 1", "N = 2"), History()), "BCP521")) == 1


def test_a_class_that_is_added_again_is_another_one(tmp_path: Path) -> None:
    history = History()
    with worlds.world(f"B = 1\n{CLASS}", tmp_path) as live:
        old = live.A()
        applied(f"B = 1\n{CLASS}", "B = 1\n", history)
        (note,) = said(applied("B = 1\n", f"B = 1\n{CLASS}", history), "BCP521")
        assert not isinstance(old, live.A)
        assert (note.line, "`A`" in note.message) == (2, True)


# --- calls under way ------------------------------------------------------------------------------

SERVER = """\
def serve(entered, end):
    entered.set()
    while not end.wait(60):
        pass
    return turn()

def turn():
    return 1

def around(entered, end):
    def inner():
        return serve(entered, end)
    return inner()
"""


@contextmanager
def serving(live: ModuleType, name: str, threads: int = 1) -> Iterator[None]:
    end = threading.Event()
    entered = [threading.Event() for _ in range(threads)]
    function = getattr(live, name)
    begun = [threading.Thread(target=function, args=(one, end), name=f"server {n}") for n, one in enumerate(entered)]
    for thread, one in zip(begun, entered, strict=True):
        thread.start()
        one.wait()
    try:
        yield
    finally:
        end.set()
        for thread in begun:
            thread.join()


@pytest.mark.parametrize("policy", ["linked", "strict"])
def test_a_call_that_goes_on_is_named_by_thread_and_line(policy: str, tmp_path: Path) -> None:
    text = SERVER.replace("return turn()", "return 1")
    with worlds.world(text, tmp_path) as live, serving(live, "serve"):
        new = text.replace("entered.set()", "entered.is_set(); entered.set()")
        (note,) = said(applied(text, new, History(), policy), "BCP614")
    assert "thread server 0 is inside `serve`" in note.message
    assert note.line in (2, 3)
    assert Path(note.file).name == "world.py"
    assert str(note.site) == "world:serve"


def test_many_threads_make_one_note(tmp_path: Path) -> None:
    with worlds.world(SERVER, tmp_path) as live, serving(live, "serve", 5):
        (note,) = said(applied(SERVER, SERVER.replace("60", "61"), History()), "BCP614")
    assert note.message.count("server") == 3
    assert "and 2 more are inside" in note.message


def test_nested_functions_are_calls_too(tmp_path: Path) -> None:
    new = SERVER.replace("return serve(entered, end)", "return serve(entered, end), 1")
    with worlds.world(SERVER, tmp_path) as live, serving(live, "around"):
        notes = said(applied(SERVER, new, History()), "BCP614")
    assert [str(one.site) for one in notes] == ["world:around"]


def test_who_is_elsewhere_is_not_named(tmp_path: Path) -> None:
    with worlds.world(SERVER, tmp_path) as live, serving(live, "serve"):
        assert not said(applied(SERVER, SERVER.replace("return 1", "return 2"), History()), "BCP614")


def test_a_call_is_named_until_it_returns(tmp_path: Path) -> None:
    history = History()
    second = SERVER.replace("60", "61")
    third = SERVER.replace("60", "62")
    with worlds.world(SERVER, tmp_path) as live:
        with serving(live, "serve"):
            assert said(applied(SERVER, second, history), "BCP614")
            assert said(applied(second, third, history), "BCP614")
            assert said(load.rollback(history, 1), "BCP614")
            assert not said(load.rollback(history, 0), "BCP614")  # it runs this one's code
        assert not said(applied(SERVER, second, history), "BCP614")
