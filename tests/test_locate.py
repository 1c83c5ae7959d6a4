"""Every kind of site is found and switched, wherever the program keeps its functions."""

from __future__ import annotations

import ctypes
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest
import worlds

from bcpatch import apply, load
from bcpatch.diagnostics import Refused, Severity, errors
from bcpatch.process import holders
from bcpatch.process.history import History


class Kind(NamedTuple):
    """A module that says "old" in one place, and an expression whose value tells which code runs."""

    name: str
    text: str
    call: str


DECORATORS = """
import functools

def wrapping(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

def closing(function):
    def wrapper(*args):
        return function(*args)
    return wrapper

class Holding:
    def __init__(self, function):
        self.function = function
    def __call__(self, *args):
        return self.function(*args)

class Slotted:
    __slots__ = ("function",)
    def __init__(self, function):
        self.function = function
    def __call__(self, *args):
        return self.function(*args)

registry = {"all": []}
def registered(function):
    registry["all"].append((function, 1))
    return None
"""

KINDS = [
    Kind("function", 'def f(): return "old"', "f()"),
    Kind("method", 'class C:\n    def f(self): return "old"', "C().f()"),
    Kind("private method", 'class C:\n    def __f(self): return "old"\n    def g(self): return self.__f()', "C().g()"),
    Kind("static", 'class C:\n    @staticmethod\n    def f(): return "old"', "C.f()"),
    Kind("class method", 'class C:\n    @classmethod\n    def f(cls): return "old"', "C.f()"),
    Kind("getter", 'class C:\n    @property\n    def f(self): return "old"', "C().f"),
    Kind(
        "setter",
        "class C:\n    @property\n    def f(self): return self.v\n"
        '    @f.setter\n    def f(self, value): self.v = "old"\n'
        "def use():\n    c = C()\n    c.f = 1\n    return c.f",
        "use()",
    ),
    Kind(
        "deleter",
        "class C:\n    @property\n    def f(self): return self.v\n"
        '    @f.deleter\n    def f(self): self.v = "old"\n'
        "def use():\n    c = C()\n    del c.f\n    return c.f",
        "use()",
    ),
    Kind("cached property", 'class C:\n    @functools.cached_property\n    def f(self): return "old"', "C().f"),
    Kind("partial", 'def f(x): return "old" + x\np = functools.partial(f, "")\ndel f', "p()"),
    Kind(
        "partial method",
        'class C:\n    def f(self, x): return "old" + x\n    g = functools.partialmethod(f, "")\n    del f',
        "C().g()",
    ),
    Kind(
        "single dispatch",
        'functools\n@functools.singledispatch\ndef f(x): return "x"\n@f.register(int)\ndef _(x): return "old"',
        "f(1)",
    ),
    Kind(
        "single dispatch method",
        "class C:\n    @functools.singledispatchmethod\n    def f(self, x): return 1\n"
        '    @f.register(int)\n    def _(self, x): return "old"',
        "C().f(1)",
    ),
    Kind("lru cache", '@functools.lru_cache\ndef f(): return "old"', "f()"),
    Kind("lru cache of a method", 'class C:\n    @functools.lru_cache\n    def f(self): return "old"', "C().f()"),
    Kind(
        "context manager",
        'import contextlib\n@contextlib.contextmanager\ndef f():\n    yield "old"\n'
        "def use():\n    with f() as v: return v",
        "use()",
    ),
    Kind("wraps", '@wrapping\ndef f(): return "old"', "f()"),
    Kind("wraps of wraps", '@wrapping\n@wrapping\n@wrapping\ndef f(): return "old"', "f()"),
    Kind("closure", '@closing\ndef f(): return "old"', "f()"),
    Kind("attribute", '@Holding\ndef f(): return "old"', "f()"),
    Kind("slot", '@Slotted\n@Holding\ndef f(): return "old"', "f()"),
    Kind("container", '@registered\ndef f(): return "old"', 'registry["all"][0][0]()'),
    Kind("module lambda", 'table = {"a": [lambda: "old"], "b": lambda: "other"}', 'table["a"][0]()'),
    Kind("class lambda", 'class C:\n    f = lambda self: "old"', "C().f()"),
    Kind("lambda as a default", 'def f(key=lambda: "old"): return key()', "f()"),
    Kind("class in class", 'class C:\n    class D:\n        def f(self): return "old"', "C.D().f()"),
    Kind(
        "slots dataclass",
        "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass C:\n    x: int = 1\n"
        '    def f(self): return "old"',
        "C().f()",
    ),
    Kind(
        "abstract",
        'import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): return "old"\n'
        "class C(A):\n    def f(self): return super().f()",
        "C().f()",
    ),
    Kind("enum", 'import enum\nclass C(enum.Enum):\n    A = 1\n    def f(self): return "old"', "C.A.f()"),
    Kind(
        "generic",
        'import typing\nT = typing.TypeVar("T")\nclass C(typing.Generic[T]):\n    def f(self): return "old"',
        "C[int]().f()",
    ),
    Kind(
        "__init_subclass__",
        'class A:\n    def __init_subclass__(cls): cls.v = "old"\ndef use():\n    class C(A): pass\n    return C.v',
        "use()",
    ),
    Kind("__class_getitem__", 'class C:\n    def __class_getitem__(cls, key): return "old"', "C[1]"),
    Kind("metaclass", 'class M(type):\n    def f(cls): return "old"\nclass C(metaclass=M): pass', "C.f()"),
    Kind("super", 'class A:\n    x = "o"\nclass C(A):\n    def f(self): return super().x + "ld"[:2] + ""', "C().f()"),
    Kind("generator", 'def f():\n    yield "old"', "list(f())[0]"),
    Kind(
        "coroutine",
        'async def f(): return "old"\n'
        "def use():\n    try: f().send(None)\n    except StopIteration as e: return e.value",
        "use()",
    ),
    Kind("bound method held elsewhere", 'class C:\n    def f(self): return "old"\nheld = [C().f]', "held[0]()"),
    Kind(
        "function held elsewhere",
        'import threading\ndef f(): return "old"\nlocal = threading.local()\nlocal.f = f\ng = local.f\ndel f',
        "g()",
    ),
    Kind("property of two accessors", 'class C:\n    f = property(lambda self: "old", lambda self, v: None)', "C().f"),
]


@pytest.fixture
def history() -> History:
    return History()


def _new(text: str) -> str:
    return text.replace('"ld"[:2]', '"ld"[:2] + "er"') if '"ld"' in text else text.replace('"old"', '"new"')


#: Where the text tells what the site returns, and not the value of a default.
TOLD = [kind for kind in KINDS if '"old"' in kind.text and kind.name != "lambda as a default"]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_kinds_of_sites(kind: Kind, tmp_path: Path, history: History) -> None:
    old = DECORATORS + kind.text + "\n"
    new = _new(old)
    with worlds.world(old, tmp_path) as module:

        def call() -> Any:
            return eval(kind.call, vars(module))

        fresh = "older" if kind.name == "super" else "new"
        assert call() == "old"
        worlds.applied(old, new, history)
        assert call() == fresh
        with history.exclusive():
            apply.rollback(history, 0)
        assert call() == "old"
        with history.exclusive():
            apply.rollback(history, 1)
        assert call() == fresh


# --- closures that were made already --------------------------------------------------

MAKER = """
def maker(n):
    def inner(x):
        return n, x, "old"
    return inner

def user():
    return [make() for make in (lambda: "a", lambda: "b", lambda: "old")]

def local_class():
    class Local:
        def tell(self):
            return "old"
    return Local

def handlers():
    return [lambda: "a", lambda: "b", lambda: "old"]
#"""


def test_there_is_no_way_back_for_a_module_that_was_imported_again(tmp_path: Path, history: History) -> None:
    text = "def f(): return {}"
    with worlds.world(text.format(1), tmp_path):
        worlds.applied(text.format(1), text.format(2), history)
        sys.modules["world"] = again = ModuleType("world")
        vars(again)["__file__"] = str(tmp_path / "world.py")
        load_again(again, text.format(2))
        with pytest.raises(Refused) as refused, history.exclusive():
            apply.rollback(history, 0)
        assert [one.code for one in refused.value.diagnostics] == ["BCP608"]
        worlds.applied(text.format(2), text.format(3), history)
        with history.exclusive():
            apply.rollback(history, 1)
        assert again.f() == 2


@pytest.mark.parametrize("held", [False, True])
def test_what_the_application_loaded_again_is_the_site(held: bool, tmp_path: Path, history: History) -> None:
    text = "def f(): return {}"
    with worlds.world(text.format(1), tmp_path) as module:
        before = module.f
        worlds.applied(text.format(1), text.format(2), history)
        if not held:
            del before
        load_again(module, "\n\n" + text.format(2))
        sys.modules["elsewhere"] = keeping = ModuleType("elsewhere")
        vars(keeping)["codes"] = [module.f.__code__]  # so that the look goes on to what the records have
        try:
            worlds.applied("\n\n" + text.format(2), text.format(3), history)
        finally:
            del sys.modules["elsewhere"]
        assert module.f() == 3


def test_a_definition_that_another_of_its_name_hides_is_a_site(tmp_path: Path, history: History) -> None:
    text = "table = []\ndef f(): return {}\ntable.append(f)\ndef f(): return 'last'"
    with worlds.world(text.format(1), tmp_path) as module:
        for number in (2, 3):
            worlds.applied(text.format(number - 1), text.format(number), history)
            assert (module.table[0](), module.f()) == (number, "last")


def test_a_class_that_came_again_is_the_site_and_not_the_one_before(tmp_path: Path, history: History) -> None:
    text = "class New:\n    def f(self): return {}\n"
    steps = ["", text.format(1), text.format(2), "", "\n\n" + text.format(2), "\n\n" + text.format(3)]
    with worlds.world(steps[0], tmp_path) as module:
        made, keeping = None, ModuleType("elsewhere")
        sys.modules["elsewhere"] = keeping
        try:
            for before, after in pairwise(steps):
                load.apply(worlds.linked(before, after), history)
                made = made or vars(module)["New"]()
                vars(keeping)["codes"] = [vars(module)["New"].f.__code__]  # so that the look goes on
        finally:
            del sys.modules["elsewhere"]
        assert (vars(module)["New"]().f(), made.f()) == (3, 2)


def load_again(module: ModuleType, text: str) -> None:
    exec(compile(text, str(module.__file__), "exec", dont_inherit=True), vars(module))


def test_live_closures_switch_with_their_maker(tmp_path: Path, history: History) -> None:
    new = MAKER.replace('"old"', '"new"')
    with worlds.world(MAKER, tmp_path) as module:
        inners = [module.maker(1), module.maker(2)]
        handlers = module.handlers()
        thing = module.local_class()()
        worlds.applied(MAKER, new, history)
        assert [inner(5) for inner in inners] == [(1, 5, "new"), (2, 5, "new")]
        assert [one() for one in handlers] == ["a", "b", "new"]
        assert thing.tell() == "new"
        assert module.user() == ["a", "b", "new"]
        newer = module.maker(3)
        with history.exclusive():
            apply.rollback(history, 0)
        assert [inner(5) for inner in inners] == [(1, 5, "old"), (2, 5, "old")]
        assert [one() for one in handlers] == ["a", "b", "old"]
        assert module.maker(4)(0) == (4, 0, "old")
        assert newer(0) == (3, 0, "old")
        with history.exclusive():
            apply.rollback(history, 1)
        assert newer(0) == (3, 0, "new")
        assert thing.tell() == "new"


def test_a_closure_does_not_bar_the_way_back(tmp_path: Path, history: History) -> None:
    new = MAKER.replace('return n, x, "old"', 'return x, "new"')
    with worlds.world(MAKER, tmp_path) as module:
        worlds.applied(MAKER, new, history)
        inner = module.maker(1)
        with history.exclusive():
            generation = apply.rollback(history, 0)
        assert [(one.code, one.severity) for one in generation.notes] == [("BCP508", Severity.WARNING)]
        assert inner(5) == (5, "new")
        assert module.maker(1)(5) == (1, 5, "old")


def test_closures_do_not_outlive_the_application_by_our_doing(tmp_path: Path, history: History) -> None:
    import weakref

    new = MAKER.replace('"old"', '"new"')
    with worlds.world(MAKER, tmp_path) as module:
        inner = module.maker(1)
        gone = weakref.ref(inner)
        worlds.applied(MAKER, new, history)
        assert inner(5) == (1, 5, "new")
        del inner
        gc.collect()
        assert gone() is None
        with history.exclusive():
            apply.rollback(history, 0)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('return n, x, "old"', 'return x, "new"', "n"),
        ("def inner(x):", "def inner(x, y=1):", "arguments"),
        ("def inner(x):\n        return n", "def inner(x):\n        yield n", "kind"),
        ('[lambda: "a", lambda: "b", lambda: "old"]\n#', '[lambda: "A", lambda: "B", lambda: "new"]\n#', "certain"),
        ("    def inner(x):", "    n += 1\n    def inner(x, /):", "arguments"),
    ],
)
def test_live_closures_that_cannot_go_on_refuse(
    tmp_path: Path, history: History, old: str, new: str, word: str
) -> None:
    with worlds.world(MAKER, tmp_path) as module:
        alive = [module.maker(1), module.handlers()]
        with pytest.raises(Refused) as refused:
            worlds.applied(MAKER, MAKER.replace(old, new), history)
        found = refused.value.diagnostics
        assert {one.code for one in found} == {"BCP508"}
        assert word in found[0].message
        alive.clear()
        worlds.applied(MAKER, MAKER.replace(old, new), history)


# --- calls in flight ------------------------------------------------------------------

FLIGHT = """
def numbers():
    for n in (1, 2, 3):
        yield n, "old"

async def waiting(future):
    await future
    return "old"

def blocked(entered, event):
    entered.set()
    event.wait()
    return "old"
"""


def test_calls_in_flight_finish_on_their_code(tmp_path: Path, history: History) -> None:
    class Future:
        def __await__(self) -> Iterator[None]:
            yield

    new = FLIGHT.replace('"old"', '"new"')
    with worlds.world(FLIGHT, tmp_path) as module:
        generator = module.numbers()
        assert next(generator) == (1, "old")
        coroutine = module.waiting(Future())
        coroutine.send(None)
        entered, event, results = threading.Event(), threading.Event(), []
        thread = threading.Thread(target=lambda: results.append(module.blocked(entered, event)))
        thread.start()
        entered.wait()
        worlds.applied(FLIGHT, new, history)
        assert list(generator) == [(2, "old"), (3, "old")]
        with pytest.raises(StopIteration) as stop:
            coroutine.send(None)
        assert stop.value.value == "old"
        event.set()
        thread.join()
        assert results == ["old"]
        assert list(module.numbers())[0] == (1, "new")


# --- what can't be found ---------------------------------------------------------------


def codes(action: Callable[[], object]) -> list[str]:
    with pytest.raises(Refused) as refused:
        action()
    return sorted(one.code for one in refused.value.diagnostics)


SIMPLE = 'def f(): return "old"\ndef g(): return "old"\n'


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("young", [True, False])
def test_a_function_on_the_stack_of_a_call(tmp_path: Path, history: History, young: bool) -> None:
    """A copy that only a running loop holds: seen while it is young, else counted and searched for on request."""
    new = SIMPLE.replace('"old"', '"new"')
    with worlds.world(SIMPLE, tmp_path) as module:
        calls = []
        for call in map(_calling, [FunctionType(module.f.__code__, vars(module))] * 2):
            calls.append(call)
            if len(calls) == 2:
                continue
            if young:
                worlds.applied(SIMPLE, new, history)
                continue
            gc.collect()
            assert codes(lambda: worlds.applied(SIMPLE, new, history)) == ["BCP506"]
            assert module.f() == module.g() == "old"
            with history.exclusive():
                change = worlds.patch(worlds.module_patch(SIMPLE, new))
                apply.apply(worlds.plan(change, history, scan="heap"), history)
        assert calls == ["old", "new"]
        assert module.f() == module.g() == "new"


def _calling(function: Callable[[], str]) -> str:
    return function()


@pytest.mark.parametrize("text", [SIMPLE, "class C:\n    def f(self): return 'old'\nf = g = C().f\n"])
def test_code_of_the_module_that_an_object_keeps(text: str, tmp_path: Path, history: History) -> None:
    """The functions' code is a constant in it. An import that is still lazy keeps such code too (PEP 810)."""
    new = text.replace("old", "new")
    code = compile(text, str(tmp_path / "world.py"), "exec", dont_inherit=True)
    with worlds.world(text, tmp_path) as module:
        exec(code, vars(module))
        vars(module)["kept"] = [code]
        del code
        worlds.applied(text, new, history)
        assert module.f() == module.g() == "new"
        load.rollback(history, 0)
        assert module.f() == module.g() == "old"


def test_a_copy_in_another_namespace_switches_too(tmp_path: Path, history: History) -> None:
    new = SIMPLE.replace('"old"', '"new"')
    with worlds.world(SIMPLE, tmp_path) as module:
        copy = FunctionType(module.f.__code__, {})
        worlds.applied(SIMPLE, new, history)
        assert copy() == "new"


def test_a_copy_that_was_dropped_after_it_switched(tmp_path: Path, history: History) -> None:
    """The records are its only holder now; what it stood for can be patched and rolled back all the same."""
    texts = [SIMPLE.replace('"old"', f'"{word}"') for word in ("old", "new", "newer")]
    with worlds.world(SIMPLE, tmp_path) as module:
        copy = FunctionType(module.f.__code__, {})
        worlds.applied(texts[0], texts[1], history)
        assert copy() == "new"
        del copy
        gc.collect()  # no longer young
        worlds.applied(texts[1], texts[2], history)
        assert module.f() == "newer"
        with history.exclusive():
            apply.rollback(history, 0)
        assert module.f() == "old"


def test_garbage_that_nobody_has_collected_yet_is_no_holder(tmp_path: Path, history: History) -> None:
    new = SIMPLE.replace('"old"', '"new"')
    with worlds.world(SIMPLE, tmp_path) as module:
        cycle: list[object] = [module.f.__code__]
        cycle.append(cycle)
        del cycle
        before = gc.get_threshold()
        gc.set_threshold(1_000_000)
        try:
            worlds.applied(SIMPLE, new, history)
        finally:
            gc.set_threshold(*before)
        assert module.f() == "new"


def test_who_holds_code_for_a_moment_alone_is_waited_for(
    tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As C code of another thread may, where nobody sees it."""
    pauses: list[float] = []
    with worlds.world(SIMPLE, tmp_path) as module:
        address = id(module.f.__code__)

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 20:
                ctypes.pythonapi.Py_DecRef(ctypes.cast(address, ctypes.py_object))

        monkeypatch.setattr(holders.time, "sleep", pause)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(module.f.__code__))
        worlds.applied(SIMPLE, SIMPLE.replace('"old"', '"new"'), history)
        assert module.f() == "new"
    assert len(pauses) >= 20


def test_nobody_waits_while_there_is_more_to_search(
    tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that is only farther away does not go away."""
    pauses: list[float] = []
    monkeypatch.setattr(holders.time, "sleep", pauses.append)
    with worlds.world(SIMPLE, tmp_path) as module, worlds.world("", tmp_path, "far") as far:
        vars(far)["copy"] = FunctionType(module.f.__code__, {})
        gc.collect()  # no longer young
        worlds.applied(SIMPLE, SIMPLE.replace('"old"', '"new"'), history)
        assert vars(far)["copy"]() == "new"
    assert len(pauses) < 10


def test_frozen_functions_are_no_exception(tmp_path: Path, history: History) -> None:
    with worlds.world(SIMPLE, tmp_path) as module:
        gc.freeze()  # to thaw these would thaw all that the session has frozen (conftest.py)
        worlds.applied(SIMPLE, SIMPLE.replace('"old"', '"new"'), history)
        assert module.f() == "new"


SEVERAL = "def f(): return {}\nkept = [f]\ndef f(): return {}\n"
ACCESSORS = "class C:\n    @property\n    def f(self): return {}\n    @f.setter\n    def f(self, value): self.v = {}\n"
GUARDED = "import sys\nif sys.maxsize > 3:\n    def f(): return {}\nelse:\n    def f(): return {}\n"
LAMBDAS = "all = [lambda: {}]\nall += [lambda: {}]\n"


@pytest.mark.parametrize(
    ("old", "new", "call", "accepted"),
    [
        ("def f(): return 1", "def f(): return 2", "f()", True),
        (SEVERAL.format(1, 2), SEVERAL.format(3, 2), "kept[0](), f()", True),
        (SEVERAL.format(1, 2), SEVERAL.format(1, 3), "kept[0](), f()", True),
        (SEVERAL.format(1, 2), SEVERAL.format(3, 4), "kept[0](), f()", False),
        (SEVERAL.format(1, 2), SEVERAL.format(2, 1), "kept[0](), f()", False),
        ("def f(): return 2", SEVERAL.format(3, 4), "f()", False),
        (ACCESSORS.format(1, 2), ACCESSORS.format(3, 2), "C().f", True),
        (ACCESSORS.format(1, 2), ACCESSORS.format(3, 4), "C().f", False),
        (GUARDED.format(1, 2), GUARDED.format(3, 2), "f()", False),
        (LAMBDAS.format(1, 2), LAMBDAS.format(1, 3), "[one() for one in all]", True),
        (LAMBDAS.format(1, 2), LAMBDAS.format(3, 4), "[one() for one in all]", False),
        ("all = [lambda: 1]\n", LAMBDAS.format(3, 4), "[one() for one in all]", False),
    ],
)
def test_a_patch_without_a_base_tells_definitions_of_one_name_apart_or_is_refused(
    old: str, new: str, call: str, accepted: bool, tmp_path: Path, history: History
) -> None:
    with worlds.world(new, tmp_path) as module:
        wanted = eval(call, vars(module))
    patch = worlds.patch(worlds.module_patch(None, new))
    with worlds.world(old, tmp_path) as module:
        before = eval(call, vars(module))
        if not accepted:
            with pytest.raises(Refused) as refused:
                load.apply(patch, history)
            assert {one.code for one in refused.value.diagnostics} == {"BCP503"}
            assert eval(call, vars(module)) == before
            return
        load.apply(patch, history)
        assert eval(call, vars(module)) == wanted


APART = "import sys\nif sys.maxsize < 3:\n{}    def f(): return {}\n{}else:\n    def f(): return 1\n"
HIDDEN = "{}def f(): return {}\n{}x = 1\ndef f(): return 1\n"


@pytest.mark.parametrize("text", [APART, HIDDEN], ids=["in a branch that did not run", "hidden by another"])
def test_a_definition_that_left_nothing_behind_moves_no_other(text: str, tmp_path: Path, history: History) -> None:
    """Or the one that runs would be taken for it when it changes."""
    texts = [text.format("", 1, "\n"), text.format("\n", 1, ""), text.format("\n", 2, "")]
    with worlds.world(texts[0], tmp_path) as module:
        line = module.f.__code__.co_firstlineno
        Path(str(module.__file__)).write_text(texts[1], "utf-8")
        load.apply(worlds.linked(*texts[:2]), history)
        assert module.f.__code__.co_firstlineno == line
        with suppress(Refused):
            load.apply(worlds.linked(*texts[1:]), history)
        assert module.f() == 1


OFF = "import sys\n{}if sys.maxsize < 3:\n    def f(): return {}\nelse:\n    def f(): return {}\ndef last(): return 0\n"


@pytest.mark.parametrize("lines", range(-2, 4))
@pytest.mark.parametrize("new", [(2, 1), (1, 2), (2, 2), (2, 3)])
def test_lines_of_another_text_do_not_tell_which_branch_ran(
    lines: int, new: tuple[int, int], tmp_path: Path, history: History
) -> None:
    """The process was started with lines more or less than the base has: both branches do the same there."""
    loaded, base, after = (
        OFF.format("\n" * above, *values) for above, values in ((2 + lines, (1, 1)), (2, (1, 1)), (2, new))
    )
    with worlds.world(loaded, tmp_path) as module:
        found: set[str] = set()
        try:
            load.apply(worlds.linked(base, after), history)
        except Refused as refused:
            found = {one.code for one in errors(refused.diagnostics)}
        assert found in (set(), {"BCP515"} if lines else set())
        assert module.f() == (1 if found else new[1])


TRIED = "import sys\n{}try:\n    def f(): return {}\nexcept Exception:\n    def f(): return {}\ndef last(): return 0\n"


@pytest.mark.parametrize("lines", [0, 2, 3])
@pytest.mark.parametrize(
    "moves", [("",), ("\n", ""), ("\n\n", "")], ids=["once", "by one, and back", "by two, and back"]
)
def test_what_may_be_of_two_definitions_does_not_become_one_of_them_by_moves(
    moves: tuple[str, ...], lines: int, tmp_path: Path, history: History
) -> None:
    """Started with two lines more than the base has, the first of them stands where that has the second."""
    text = TRIED.format("\n", 1, 1)
    with worlds.world("\n" * lines + text, tmp_path) as module:
        for above in moves:
            moved = TRIED.format(above, 1, 1)
            Path(str(module.__file__)).write_text(moved)
            load.apply(worlds.linked(text, moved), history)
            text = moved
        second = text.replace("Exception:\n    def f(): return 1", "Exception:\n    def f(): return 2")
        Path(str(module.__file__)).write_text(second)
        with suppress(Refused) if lines else nullcontext():
            load.apply(worlds.linked(text, second), history)
        assert module.f() == 1


def test_what_could_not_follow_a_move_is_not_known_by_its_line_afterwards(tmp_path: Path, history: History) -> None:
    text, moved, second = (
        TRIED.format(above, 1, value).partition("def last")[0] for above, value in (("", 1), ("\n", 1), ("\n", 2))
    )
    with worlds.world("\n\n\n" + text, tmp_path) as module:
        Path(str(module.__file__)).write_text(moved)
        load.apply(worlds.linked(text, moved), history)
        Path(str(module.__file__)).write_text(second)
        with suppress(Refused):
            load.apply(worlds.linked(moved, second), history)
        assert module.f() == 1


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("lines", [0, 2])
def test_a_patch_does_not_take_away_what_tells_that_lines_are_off(
    lines: int, on_disk: bool, tmp_path: Path, history: History
) -> None:
    """What it has switched stands on the lines of its text."""
    text = TRIED.format("", 1, 1)
    other = text.replace("last(): return 0", "last(): return 1")
    second = other.replace("Exception:\n    def f(): return 1", "Exception:\n    def f(): return 2")
    with worlds.world("\n" * lines + text, tmp_path) as module:
        for before, after in ((text, other), (other, second)):
            if on_disk:
                Path(str(module.__file__)).write_text(after)
            with suppress(Refused) if lines else nullcontext():
                load.apply(worlds.linked(before, after), history)
        assert (module.last(), module.f()) == (1, 1)


def test_namesakes_on_lines_of_two_texts_are_told_by_what_was_switched(tmp_path: Path, history: History) -> None:
    """The process was started with a line more than the base has; what a patch brought has the lines of its text."""
    text = "all = [\n    lambda: {},\n    lambda: {},\n]\ndef last(): return 0\n"
    with worlds.world("\n\n" + text.format(2, 1), tmp_path) as module:
        file = Path(str(module.__file__))
        file.write_text(text.format(2, 2))
        load.apply(worlds.linked(text.format(2, 1), text.format(2, 2)), history)
        file.write_text(text.format(2, 3))
        load.apply(worlds.linked(text.format(2, 2), text.format(2, 3)), history)
        assert [one() for one in module.all] == [2, 3]
        file.write_text(text.format(4, 3))
        load.apply(worlds.linked(text.format(2, 3), text.format(4, 3)), history)
        assert [one() for one in module.all] == [4, 3]


def test_what_a_patch_has_added_may_stand_on_lines_of_another_text(tmp_path: Path, history: History) -> None:
    text = "all = [\n    lambda: {},\n]\nadded = lambda: {}\n"
    first = text.format(2, 2).partition("added")[0]
    with worlds.world("\n\n" + first, tmp_path) as module:
        file = Path(str(module.__file__))
        file.write_text(text.format(2, 2))
        load.apply(worlds.linked(first, text.format(2, 2)), history)
        with pytest.raises(Refused) as refused:
            load.apply(worlds.linked(text.format(2, 2), text.format(3, 2)), history)
        assert {one.code for one in errors(refused.value.diagnostics)} == {"BCP503"}
        assert (module.all[0](), module.added()) == (2, 2)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="no such signal here")
def test_a_closure_that_handles_a_signal(tmp_path: Path, history: History) -> None:
    """The interpreter alone holds it."""
    text = "def make():\n    def handler(*_):\n        told.append({})\n    return handler\ntold = []\n"
    with worlds.world(text.format(1), tmp_path) as module:
        before = signal.signal(signal.SIGUSR2, module.make())
        gc.collect()
        try:
            load.apply(worlds.linked(text.format(1), text.format(2)), history)
            signal.raise_signal(signal.SIGUSR2)
            load.rollback(history, 0)
            signal.raise_signal(signal.SIGUSR2)
        finally:
            signal.signal(signal.SIGUSR2, before)
        assert module.told == [2, 1]
