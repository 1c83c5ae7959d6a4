"""What wrappers copied of a function's documentation and types changes with it, as in a fresh process, and back."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

import pytest
import worlds
from samples import source

from bcpatch import builder, load, pythons
from bcpatch.model import Module
from bcpatch.process.history import History

WORLD = Module("world", "world.py")

HELPERS = """\
import abc, contextlib, functools

def wrapping(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

def documented(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    wrapper.__doc__ = "its own"
    wrapper.__annotations__ = {"its": "own"}
    return wrapper

def bare(function):
    def wrapper(*args, **kwargs):
        "its own"
        return function(*args, **kwargs)
    return wrapper

class Holding:
    def __init__(self, function):
        functools.update_wrapper(self, function)
    def __call__(self, *args):
        return self.__wrapped__(*args)

class Lazy:
    def __init__(self, function):
        self.function = function
        self.__doc__ = function.__doc__
    def __get__(self, instance, owner=None):
        return self if instance is None else self.function(instance)

class lazy_property(property):
    pass
"""

FUNCTIONS = {
    "nothing": "",
    "wraps": "@wrapping",
    "wraps twice": "@wrapping\n@wrapping",
    "lru_cache": "@functools.lru_cache",
    "lru_cache around wraps": "@functools.lru_cache\n@wrapping",
    "contextmanager": "@contextlib.contextmanager",
    "singledispatch": "@functools.singledispatch",
    "an object": "@Holding",
    "an object around wraps": "@Holding\n@wrapping",
    "its own documentation": "@documented",
    "wraps around that": "@wrapping\n@documented",
    "no copies": "@bare",
}
METHODS = {
    "plain": "",
    "property": "@property",
    "property around wraps": "@property\n@wrapping",
    "abstract property": "@property\n@abc.abstractmethod",
    "property of a subclass": "@lazy_property",
    "cached_property": "@functools.cached_property",
    "a descriptor": "@Lazy",
    "static": "@staticmethod",
    "class": "@classmethod",
    "static around a cache": "@staticmethod\n@functools.lru_cache",
    "class around wraps": "@classmethod\n@wrapping",
    "wraps around static": "@wrapping\n@staticmethod",
}
#: The first line, the documentation and the body: old and new.
EDITS = {
    "documentation": ("def f(a=1):\n    'Old.'\n    yield 1", "def f(a=1):\n    'New.'\n    yield 1"),
    "documentation comes": ("def f(a=1):\n    yield 1", "def f(a=1):\n    'New.'\n    yield 1"),
    "documentation goes": ("def f(a=1):\n    'Old.'\n    yield 1", "def f(a=1):\n    yield 1"),
    "annotations": ("def f(a: int = 1):\n    yield 1", "def f(a: str = 1) -> int:\n    yield 1"),
    "annotations come": ("def f(a=1):\n    yield 1", "def f(a: str = 1) -> int:\n    yield 1"),
    "annotations go": ("def f(a: int = 1):\n    yield 1", "def f(a=1):\n    yield 1"),
    "all": ("def f(a: int = 1):\n    'Old.'\n    yield 1", "def f(a: str = 1, b=2):\n    'New.'\n    yield 2"),
    "body": ("def f(a: int = 1):\n    'Old.'\n    yield 1", "def f(a: int = 1):\n    'Old.'\n    yield 2"),
}
if pythons.TYPE_PARAMETERS:
    EDITS["type parameters"] = "def f[T](a: T):\n    yield 1", "def f[U](a: U):\n    'New.'\n    yield 1"


def text(decorators: str, definition: str, *, in_class: bool) -> str:
    lines = f"{decorators}\n{definition}".lstrip("\n").splitlines()
    return (
        HELPERS + ("class A:\n" + "\n".join(f"    {line}" for line in lines) if in_class else "\n".join(lines)) + "\n"
    )


def looked_at(module: ModuleType, name: str = "f") -> list[object]:
    """What every layer of wrappers says of itself."""
    found: list[object] = []
    layer = vars(module)[name] if name in vars(module) else vars(module.A)[name]
    while layer is not None:
        parameters = getattr(layer, "__type_params__", ())
        found.append((layer.__doc__, str(_annotations(layer)), [str(one) for one in parameters], _signature(layer)))
        holders = ("__wrapped__", "func", "fget", "function", "__func__")
        layer = next((getattr(layer, name) for name in holders if hasattr(layer, name)), None)
    return found


def _annotations(layer: object) -> object:
    return inspect.get_annotations(layer) if callable(layer) else getattr(layer, "__annotations__", None)


def _signature(layer: object) -> object:
    return str(inspect.signature(layer)) if callable(layer) else None


CASES = [
    pytest.param(
        text(decorators, old, in_class=in_class), text(decorators, new, in_class=in_class), id=f"{name}: {edit}"
    )
    for in_class, table in ((False, FUNCTIONS), (True, METHODS))
    for name, decorators in table.items()
    for edit, (old, new) in EDITS.items()
]

#: The wrappers themselves get documentation, which `functools.wraps` puts what it copies in the place of.
TOLD = HELPERS.replace("(*args, **kwargs):\n        return", '(*args, **kwargs):\n        "Wraps."\n        return')
CASES += [
    pytest.param(
        text("@wrapping", one, in_class=False),
        text("@wrapping", other, in_class=False).replace(HELPERS, TOLD),
        id=f"a wrapper with documentation: {edit}",
    )
    for edit, (one, other) in EDITS.items()
]


@pytest.mark.parametrize("asked", [False, True], ids=["not asked before", "asked before"])
@pytest.mark.parametrize(("old", "new"), CASES)
def test_wrappers_say_what_they_would_in_a_fresh_process(old: str, new: str, asked: bool, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with worlds.world(old, tmp_path / "new") as fresh:
        before = looked_at(fresh)
    with worlds.world(new, tmp_path / "new") as fresh:
        wanted = looked_at(fresh)
    history = History()
    outcome = builder.compare([source(old, WORLD)], [source(new, WORLD)], policy="linked")
    assert outcome.patch is not None, outcome.diagnostics
    with worlds.world(old, tmp_path) as live:
        if asked:
            looked_at(live)
        load.apply(outcome.patch, history)
        if asked:
            assert looked_at(live) == wanted
        load.rollback(history, 0)
        assert looked_at(live) == before
        load.rollback(history, 1)
        assert looked_at(live) == wanted


@pytest.mark.parametrize(
    "named",
    [
        "g = wrapping(f)\n",
        "g = wrapping(f)\nh = wrapping(g)\n",
        "h = wrapping(wrapping(f))\n",
        "g = functools.lru_cache(f)\n",
        "g = Holding(f)\n",
        "g = documented(f)\nh = wrapping(g)\n",
        "class A:\n    g = property(f)\n    h = wrapping(f)\ng, h = A.g, A.h\n",
    ],
)
@pytest.mark.parametrize("edit", EDITS)
def test_a_wrapper_that_has_a_name_of_its_own(named: str, edit: str, tmp_path: Path) -> None:
    old, new = (text("", one, in_class=False) + named for one in EDITS[edit])
    (tmp_path / "new").mkdir()
    said = []
    for source_text in (old, new):
        with worlds.world(source_text, tmp_path / "new") as fresh:
            said.append([looked_at(fresh, name) for name in "fgh" if name in vars(fresh)])
    outcome = builder.compare([source(old, WORLD)], [source(new, WORLD)], policy="linked")
    assert outcome.patch is not None, outcome.diagnostics
    history = History()
    with worlds.world(old, tmp_path) as live:
        load.apply(outcome.patch, history)
        assert [looked_at(live, name) for name in "fgh" if name in vars(live)] == said[1]
        load.rollback(history, 0)
        assert [looked_at(live, name) for name in "fgh" if name in vars(live)] == said[0]


def test_a_copy_that_was_changed_since_is_its_owners_own(tmp_path: Path) -> None:
    old, new = (text("@wrapping", one, in_class=False) for one in EDITS["documentation"])
    outcome = builder.compare([source(old, WORLD)], [source(new, WORLD)], policy="linked")
    assert outcome.patch is not None
    with worlds.world(old, tmp_path) as live:
        live.f.__doc__ = "set by the application"
        load.apply(outcome.patch, History())
        assert (live.f.__doc__, live.f.__wrapped__.__doc__) == ("set by the application", "New.")
