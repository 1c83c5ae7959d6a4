"""A plan becomes a generation: code, defaults, closures and names switch, and back."""

from __future__ import annotations

import gc
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import worlds

from bcpatch import apply, pythons
from bcpatch.diagnostics import Refused
from bcpatch.exchange import instant
from bcpatch.process import swap
from bcpatch.process.history import History
from bcpatch.process.swap import Change, Kind, Slot

SHOP = '''
    """A shop."""

    class Cart:
        def __init__(self):
            self.total = 0

        def add(self, price, count=1):
            """Add."""
            self.total += price * count
            return self.total

    def rate(amount, percent=10):
        return amount * percent // 100
'''


def test_functions_and_methods_switch_and_state_stays(tmp_path: Path) -> None:
    new = SHOP.replace("price * count", "price * count + 1").replace("// 100", "// 10")
    history = History()
    with worlds.world(SHOP, tmp_path) as shop:
        cart = shop.Cart()
        assert (cart.add(5), shop.rate(200)) == (5, 20)
        generation = worlds.applied(SHOP, new, history)
        assert (generation.number, [str(one.site) for one in generation.sites]) == (1, ["world:Cart.add", "world:rate"])
        assert (cart.add(5), shop.rate(200)) == (11, 200)
        with history.exclusive():
            apply.rollback(history, 0)
        assert (cart.add(5), shop.rate(200)) == (16, 20)


BASE = """
class Base:
    def tell(self):
        return "base"

class Child(Base):
    def tell(self):
        return "child"

    @property
    def name(self):
        return "name"

    @classmethod
    def make(cls):
        return cls()
"""
COPIED = """
from dataclasses import dataclass

class Base:
    def tell(self):
        return "base"

@dataclass(slots=True)
class Copy(Base):
    x: int = 1
    def tell(self):
        return "child"

@dataclass
class Own(Base):
    __slots__ = ()
    def tell(self):
        return "child"
"""


@pytest.mark.parametrize("name", ["Copy", "Own"])
def test_a_first_super_in_a_class_that_was_copied_is_what_a_fresh_process_has(name: str, tmp_path: Path) -> None:
    """The copy of ``dataclass(slots=True)`` has a ``super()`` that raises, until CPython 3.14: never one that works."""
    history = History()
    head, mark, body = COPIED.partition(f"class {name}(Base)")
    new = head + mark + body.replace('return "child"', "return __class__, super().tell()", 1)
    (tmp_path / "fresh").mkdir()
    with worlds.world(new, tmp_path / "fresh", "fresh") as fresh, worlds.world(COPIED, tmp_path) as module:
        gc.collect()  # the class that was copied holds the old methods
        if name == "Copy" and pythons.SLOTS_LEAVE_SUPER_BEHIND:
            with pytest.raises(Refused, match="has copied here"):
                worlds.applied(COPIED, new, history)
            assert vars(module)[name]().tell() == "child"
            return
        worlds.applied(COPIED, new, history)

        def told(one: ModuleType) -> object:
            cls = vars(one)[name]
            try:
                found, said = cls().tell()
            except TypeError:
                return "TypeError"
            return found is cls, said

        assert told(module) == told(fresh)


SUPER = BASE.replace('return "child"', 'return "child of " + super().tell()')


def test_a_first_super_takes_a_new_function(tmp_path: Path) -> None:
    history = History()
    with worlds.world(BASE, tmp_path) as module:
        child = module.Child()
        old = id(vars(module.Child)["tell"])
        worlds.applied(BASE, SUPER, history)
        assert child.tell() == "child of base"
        assert id(vars(module.Child)["tell"]) != old
        with history.exclusive():
            apply.rollback(history, 0)
        assert child.tell() == "child"
        assert id(vars(module.Child)["tell"]) == old
        with history.exclusive():
            apply.rollback(history, 1)
        assert child.tell() == "child of base"


@pytest.mark.parametrize("accessor", ["name", "make"])
def test_a_first_super_below_a_descriptor(tmp_path: Path, accessor: str) -> None:
    history = History()
    body = {"name": 'return "name"', "make": "return cls()"}[accessor]
    new = BASE.replace(body, f"super; {body}")
    with worlds.world(BASE, tmp_path) as module:
        before = vars(module.Child)[accessor]
        kind, inner = type(before), before.fget if accessor == "name" else before.__func__
        old = id(inner)
        del before, inner
        worlds.applied(BASE, new, history)
        after = vars(module.Child)[accessor]
        function = after.fget if accessor == "name" else after.__func__
        assert isinstance(after, kind)
        assert function.__code__.co_freevars == ("__class__",)
        assert id(function) != old
        assert module.Child.make().name == "name"


def test_a_function_that_somebody_else_holds_is_not_replaced(tmp_path: Path) -> None:
    history = History()
    with worlds.world(BASE, tmp_path) as module:
        kept = module.Child.tell
        with pytest.raises(Refused) as refused:
            worlds.applied(BASE, SUPER, history)
        assert [one.code for one in refused.value.diagnostics] == ["BCP611"]
        assert history.current == 0
        assert kept(module.Child()) == "child"


# --- defaults, annotations, docstrings ------------------------------------------------

DEFAULTS = '''
def f(a, items=[], *, flag=True, table={}):
    """Say."""
    items.append(a)
    return items, flag, table
'''


def test_untouched_defaults_keep_their_running_objects(tmp_path: Path) -> None:
    new = DEFAULTS.replace("*, flag=True", "*, more=3, extra=(1, 2), flag=False")
    history = History()
    with worlds.world(DEFAULTS, tmp_path) as module:
        module.f(1)
        items, table = module.f.__defaults__[0], module.f.__kwdefaults__["table"]
        worlds.applied(DEFAULTS, new, history)
        assert module.f.__defaults__[0] is items
        assert module.f.__kwdefaults__["table"] is table
        assert module.f.__kwdefaults__ == {"more": 3, "extra": (1, 2), "flag": False, "table": {}}
        assert module.f(2) == ([1, 2], False, {})
        with history.exclusive():
            apply.rollback(history, 0)
        assert module.f.__kwdefaults__ == {"flag": True, "table": {}}
        assert module.f(3) == ([1, 2, 3], True, {})


def test_a_default_that_the_application_took_away(tmp_path: Path) -> None:
    with worlds.world(DEFAULTS, tmp_path) as module:
        module.f.__defaults__ = None
        with pytest.raises(Refused) as refused:
            worlds.applied(DEFAULTS, DEFAULTS.replace("items.append(a)", "items.append([a])"), History())
        assert [one.code for one in refused.value.diagnostics] == ["BCP510"]


def test_docstrings_follow_unless_they_were_set(tmp_path: Path) -> None:
    text = """
\"Module.\"
class C:
    \"Class.\"
    def f(self):
        \"Method.\"
def g():
    \"Function.\"
"""
    new = text.replace('."', ' indeed."')
    history = History()
    with worlds.world(text, tmp_path) as module:
        module.g.__doc__ = "set by the application"
        worlds.applied(text, new, history)
        docs = (module.__doc__, module.C.__doc__, module.C.f.__doc__, module.g.__doc__)
        assert docs == ("Module indeed.", "Class indeed.", "Method indeed.", "set by the application")
        with history.exclusive():
            apply.rollback(history, 0)
        assert (module.__doc__, module.C.__doc__, module.C.f.__doc__) == ("Module.", "Class.", "Method.")


def test_annotations(tmp_path: Path) -> None:
    text = "import typing\nx: int\nclass C:\n    y: int\n    def f(self, a: int) -> int: return a\n"
    new = text.replace("int", "str")
    history = History()
    with worlds.world(text, tmp_path) as module:

        def told() -> object:
            return module.__annotations__, module.C.__annotations__, module.C.f.__annotations__

        assert told() == ({"x": int}, {"y": int}, {"a": int, "return": int})
        worlds.applied(text, new, history)
        assert told() == ({"x": str}, {"y": str}, {"a": str, "return": str})
        with history.exclusive():
            apply.rollback(history, 0)
        assert told() == ({"x": int}, {"y": int}, {"a": int, "return": int})


def test_who_asks_for_annotations_that_there_are_not_bars_no_way(tmp_path: Path) -> None:
    """CPython keeps the empty dictionary that it answers with."""
    text, new = "x = 1\nclass C:\n    y = 1\n", "x: int = 1\nclass C:\n    y: str = 1\n"
    history = History()
    with worlds.world(text, tmp_path) as module:

        def told() -> object:
            return module.__annotations__, module.C.__annotations__

        worlds.applied(text, new, history)
        for number, expected in ((0, ({}, {})), (1, ({"x": int}, {"y": str})), (0, ({}, {}))):
            with history.exclusive():
                apply.rollback(history, number)
            assert told() == expected


# --- imports --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "expression", "value"),
    [
        ("import colorsys", "colorsys.__name__", "colorsys"),
        ("import xml.dom.minidom", "xml.dom.minidom.__name__", "xml.dom.minidom"),
        ("import xml.dom.minidom as short", "short.__name__", "xml.dom.minidom"),
        ("from xml.dom import minidom as short", "short.__name__", "xml.dom.minidom"),
        ("from math import floor", "floor(1.5)", 1),
    ],
)
def test_added_imports(tmp_path: Path, statement: str, expression: str, value: object) -> None:
    text = "def f():\n    return None\n"
    new = f"{statement}\ndef f():\n    return {expression}\n"
    history = History()
    with worlds.world(text, tmp_path) as module:
        names = set(vars(module))
        worlds.applied(text, new, history)
        assert module.f() == value
        with history.exclusive():
            apply.rollback(history, 0)
        assert set(vars(module)) == names


def test_what_an_import_raises_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud.py").write_text("import silent\nraise SystemExit('no')\n")
    (tmp_path / "silent.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "def f():\n    return None\n"
    with worlds.world(text, tmp_path) as module:
        before = worlds.portrait(module)
        with pytest.raises(Refused) as refused:
            worlds.applied(text, f"import loud\n{text.replace('None', 'loud')}", History())
        (found,) = refused.value.diagnostics
        assert found.code == "BCP603"
        assert "SystemExit: no" in found.message
        assert "silent" in found.message
        assert worlds.portrait(module) == before
    sys.modules.pop("silent", None)


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "GeneratorExit", "KeyboardInterrupt", "MemoryError"])
def test_a_default_that_raises_leaves_the_process_as_it_was(tmp_path: Path, error: str) -> None:
    text = "import loud\ndef f(a=1):\n    return a\ndef g():\n    return 1\n"
    new = "import loud\ndef f(a=loud.fail()):\n    return a\ndef g():\n    return 2\n"
    loud = ModuleType("loud")
    exec(f"def fail(): raise {error}('no')", vars(loud))
    sys.modules["loud"] = loud
    history = History()
    try:
        with worlds.world(text, tmp_path) as module:
            before = worlds.portrait(module)
            expected = KeyboardInterrupt if error == "KeyboardInterrupt" else Refused
            with pytest.raises(expected):
                worlds.applied(text, new, history)
            assert worlds.portrait(module) == before
            assert (history.current, len(history.records)) == (0, 1)
            vars(loud)["fail"] = lambda: 5
            worlds.applied(text, new, history)
            assert (module.f(), module.g()) == (5, 2)
    finally:
        del sys.modules["loud"]


# --- a fault at every step ------------------------------------------------------------

FAULTY = '''
"""Module."""
import math
class C:
    """Class."""
    def m(self, a=1, *, b=2):
        """Method."""
        return a, b
    @property
    def p(self):
        return 1
def f(a=1):
    def inner(): return a
    return inner
'''
FAULTY_NEW = (
    FAULTY.replace("a=1", "a=10")
    .replace("b=2", "b=20")
    .replace('."', '!"')
    .replace("return 1\n", "return 2\n")
    .replace("import math", "import math, colorsys")
    .replace("inner(): return a", "inner(): return [a]")
)


class Fault(Exception):
    """What the tests inject."""


class Raising(dict[str, int]):
    """A namespace that can be restored, but refuses what is new."""

    def __setitem__(self, key: str, value: int) -> None:
        if value:
            raise Fault


def broken_at(step: int, stores: list[int]) -> Callable[..., bool]:
    """`swap.exchange` with a store that raises before store ``step``, or before a row of the record."""
    real = swap.exchange

    def exchange(changes: Sequence[Change], *, guards: Any = (), along: Sequence[swap.Row] = ()) -> bool:
        stores.append(len(changes))
        if step < len(changes):
            broken = [*changes]
            broken.insert(step, Change(Slot(Kind.NAMESPACE, Raising(x=0), "x"), 0, 1))
            return real(broken, guards=guards, along=along)
        return real(changes, guards=guards, along=[(Raising().__setitem__, "x", 1), *along])

    return exchange


def test_a_fault_at_any_store_restores_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    with worlds.world(FAULTY, tmp_path) as module:
        inner = module.f()
        before = worlds.portrait(module, inner)
        stores = [0]
        step = 0
        while step <= stores[-1]:
            with monkeypatch.context() as patched:
                patched.setattr(swap, "exchange", broken_at(step, stores))
                with pytest.raises(Refused) as refused:
                    worlds.applied(FAULTY, FAULTY_NEW, history)
            assert [one.code for one in refused.value.diagnostics] == ["BCP610"]
            assert worlds.portrait(module, inner) == before
            assert (history.current, len(history.records), history.codes) == (0, 1, {})
            step += 1
        assert step > 6
        worlds.applied(FAULTY, FAULTY_NEW, history)
        assert module.C().m() == (10, 20)
        assert inner() == [1]
        with history.exclusive():
            apply.rollback(history, 0)
        after = worlds.portrait(module, inner)
        assert {name: after[name] for name in before if name != "linecache"} == {
            name: value for name, value in before.items() if name != "linecache"
        }


# --- one at a time --------------------------------------------------------------------


def test_an_apply_within_an_apply_is_refused(tmp_path: Path) -> None:
    text = "import inner\ndef f(a=1):\n    return a\n"
    new = "import inner\ndef f(a=inner.again()):\n    return a\n"
    history = History()
    codes: list[str] = []

    def again() -> int:
        try:
            worlds.applied(text, new, history)
        except Refused as refused:
            codes.extend(one.code for one in refused.diagnostics)
        return 7

    sys.modules["inner"] = ModuleType("inner")
    vars(sys.modules["inner"])["again"] = again
    try:
        with worlds.world(text, tmp_path) as module:
            worlds.applied(text, new, history)
            assert (codes, module.f()) == (["BCP606"], 7)
    finally:
        del sys.modules["inner"]


def test_another_thread_is_refused_at_once(tmp_path: Path) -> None:
    history = History()
    found: list[str] = []

    def other() -> None:
        try:
            worlds.applied(SHOP, SHOP.replace("// 100", "// 10"), history)
        except Refused as refused:
            found.extend(one.code for one in refused.diagnostics)

    with worlds.world(SHOP, tmp_path), history.exclusive():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == ["BCP606"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_forked_in_the_middle_is_not_locked(tmp_path: Path) -> None:
    history = History()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with history.exclusive():
            entered.set()
            leave.wait()

    with worlds.world(SHOP, tmp_path) as shop:
        thread = threading.Thread(target=hold)
        thread.start()
        entered.wait()
        child = os.fork()
        if not child:
            try:
                worlds.applied(SHOP, SHOP.replace("// 100", "// 10"), history)
                os._exit(0 if shop.rate(200) == 200 else 1)
            finally:
                os._exit(2)
        leave.set()
        thread.join()
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_plan_that_has_been_overtaken(tmp_path: Path) -> None:
    history = History()
    new = SHOP.replace("// 100", "// 10")
    with worlds.world(SHOP, tmp_path) as shop, history.exclusive():
        plan = worlds.plan(worlds.patch(worlds.module_patch(SHOP, new)), history)
        apply.apply(plan, history)
        with pytest.raises(Refused) as refused:
            apply.apply(plan, history)
        assert [one.code for one in refused.value.diagnostics] == ["BCP609"]
        shop.rate.__code__ = (lambda amount, percent=1: "other").__code__
        with pytest.raises(Refused) as refused:
            apply.rollback(history, 0)
        assert [one.code for one in refused.value.diagnostics] == ["BCP608"]
        assert "world.rate.__code__" in refused.value.diagnostics[0].message
        with pytest.raises(Refused) as refused:
            apply.rollback(history, 5)
        assert [one.code for one in refused.value.diagnostics] == ["BCP607"]


# --- generations ----------------------------------------------------------------------


def test_any_generation_back_and_forward(tmp_path: Path) -> None:
    texts = [f"def f(a={number}):\n    return {number}, a\n" for number in range(5)]
    history = History()
    with worlds.world(texts[0], tmp_path) as module:
        for number in range(1, 5):
            assert worlds.applied(texts[number - 1], texts[number], history).number == number
        for number in (0, 3, 1, 4, 2):
            with history.exclusive():
                apply.rollback(history, number)
            assert module.f() == (number, number)
            assert [apply.at(history, one, module.f)() for one in range(5)] == [(one, one) for one in range(5)]
        # a patch on top of an older generation begins a branch
        branch = worlds.applied(texts[2], texts[0], history)
        assert (branch.number, branch.parent) == (5, 2)
        with history.exclusive():
            apply.rollback(history)
        assert (history.current, module.f()) == (2, (2, 2))


def test_code_brought_again_is_the_same_object(tmp_path: Path) -> None:
    history = History()
    new = SHOP.replace("// 100", "// 10")
    with worlds.world(SHOP, tmp_path) as shop:
        first = id(shop.rate.__code__)
        worlds.applied(SHOP, new, history)
        second = id(shop.rate.__code__)
        for _ in range(3):
            worlds.applied(new, SHOP, history)
            worlds.applied(SHOP, new, history)
        assert id(shop.rate.__code__) == second
        with history.exclusive():
            apply.rollback(history, 0)
        assert id(shop.rate.__code__) == first


def test_at_a_bound_method(tmp_path: Path) -> None:
    history = History()
    with worlds.world(SHOP, tmp_path) as shop:
        cart = shop.Cart()
        worlds.applied(SHOP, SHOP.replace("price * count", "price * count + 100"), history)
        assert apply.at(history, 0, cart.add)(5) == 5
        assert cart.add(5) == 110
        with pytest.raises(TypeError):
            apply.at(history, 0, 5)


def test_at_another_function_of_the_name(tmp_path: Path) -> None:
    """What the application has made anew, and what wraps a function, has no older code."""
    text = """
def wrapping(function):
    import functools
    @functools.wraps(function)
    def wrapper():
        return function()
    return wrapper
@wrapping
def f():
    return "old"
def g():
    return "old"
"""
    history = History()
    with worlds.world(text, tmp_path) as module:
        wrapper, before = module.f, module.g
        worlds.applied(text, text.replace("old", "new"), history)
        for other in (wrapper, FunctionType(before.__code__, vars(module))):
            with pytest.raises(Refused) as refused:
                apply.at(history, 0, other)
            assert [one.code for one in refused.value.diagnostics] == ["BCP608"]
        assert apply.at(history, 0, module.g)() == "old"
        assert apply.at(history, 1, wrapper)() == "new"


# --- caches ---------------------------------------------------------------------------

CACHED = """
import functools
@functools.lru_cache
def f(wait):
    wait()
    return "old"
"""


def test_a_cache_is_cleared_with_the_swap(tmp_path: Path) -> None:
    history = History()
    with worlds.world(CACHED, tmp_path) as module:
        assert module.f(print) == "old"
        worlds.applied(CACHED, CACHED.replace('"old"', '"new"'), history)
        assert module.f(print) == "new"
        with history.exclusive():
            apply.rollback(history, 0)
        assert module.f(print) == "old"


def test_a_call_inside_a_cached_function_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its old result would be stored after the cache was cleared, for good."""
    monkeypatch.setattr(instant, "PATIENCE", 0.01)
    history = History()
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        leave.wait()

    with worlds.world(CACHED, tmp_path) as module:
        thread = threading.Thread(target=module.f, args=(wait,))
        thread.start()
        entered.wait()
        with pytest.raises(Refused) as refused:
            worlds.applied(CACHED, CACHED.replace('"old"', '"new"'), history)
        assert [one.code for one in refused.value.diagnostics] == ["BCP601"]
        leave.set()
        thread.join()
        worlds.applied(CACHED, CACHED.replace('"old"', '"new"'), history)
        assert module.f(wait) == "new"


# --- lines ----------------------------------------------------------------------------


def test_tracebacks_show_the_lines_that_ran(tmp_path: Path) -> None:
    text = "def f():\n    return 1 / 0  # old\n"
    new = "# moved\n\ndef f():\n    return 1 / 0  # new\n\ndef never(): pass\n".replace("\n\ndef never(): pass", "")
    history = History()
    with worlds.world(text, tmp_path) as module:

        def shown() -> str:
            try:
                module.f()
            except ZeroDivisionError as error:
                return "".join(traceback.format_exception(error))
            return ""

        changed = new.replace("1 / 0", "2 / 0")
        worlds.applied(text, changed, history)
        assert "return 2 / 0  # new" in shown()
        assert "line 4, in f" in shown()
        assert inspect.getsource(module.f) == "def f():\n    return 2 / 0  # new\n"
        assert module.f.__code__.co_filename != module.__file__
        Path(str(module.__file__)).write_text(text)
        worlds.applied(changed, text, history)
        assert module.f.__code__.co_filename == module.__file__
        assert "return 1 / 0  # old" in shown()


def test_positions_follow_the_file_where_it_has_the_new_text(tmp_path: Path) -> None:
    text = "def f():\n    return [lambda: 1 / 0]\n"
    moved = "# one\n# two\n" + text
    history = History()
    with worlds.world(text, tmp_path) as module:
        worlds.applied(text, moved, history)
        assert module.f.__code__.co_firstlineno == 1
        Path(str(module.__file__)).write_text(moved)
        worlds.applied(text, moved, history)
        assert module.f.__code__.co_firstlineno == 3
        assert module.f()[0].__code__.co_firstlineno == 4
        with history.exclusive():
            apply.rollback(history, 0)
        assert module.f.__code__.co_firstlineno == 1


def test_lines_move_back_and_forth(tmp_path: Path) -> None:
    texts = ["def f():\n    return 1\n", "\ndef f():\n    return 1\n"]
    history = History()
    with worlds.world(texts[0], tmp_path) as module:
        codes = {module.f.__code__}
        for turn in range(1, 6):
            old, new = texts[(turn + 1) % 2], texts[turn % 2]
            (tmp_path / "world.py").write_text(new, "utf-8")
            assert worlds.applied(old, new, history).number == turn
            assert module.f.__code__.co_firstlineno == 1 + turn % 2
            codes.add(module.f.__code__)
    assert len(codes) == 2  # and nothing is built again


def test_a_first_super_comes_and_goes_and_comes_again(tmp_path: Path) -> None:
    history = History()
    with worlds.world(BASE, tmp_path) as module:
        for old, new in [(BASE, SUPER), (SUPER, BASE)] * 2:
            worlds.applied(old, new, history)
            assert module.Child().tell() == ("child of base" if new is SUPER else "child")
        for number in (1, 0, 4, 3):
            with history.exclusive():
                apply.rollback(history, number)
            assert module.Child().tell() == ("child of base" if number % 2 else "child")
