"""The linked policy: definitions and values added, changed and removed, live as in a fresh process."""

from __future__ import annotations

import importlib
import py_compile
import re
import sys
import zipfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourcelessFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import worlds
from samples import source

from bcpatch import builder, load, pythons
from bcpatch.builder import Outcome
from bcpatch.diagnostics import Refused
from bcpatch.model import Module, PositionEdit, Positions
from bcpatch.process.history import History

WORLD = Module("world", "world.py")


def compared(old: str, new: str) -> Outcome:
    return builder.compare([source(old, WORLD)], [source(new, WORLD)], policy="linked")


def apply(old: str, new: str, history: History) -> None:
    outcome = compared(old, new)
    assert outcome.patch is not None, outcome.diagnostics
    load.apply(outcome.patch, history)


def codes(old: str, new: str, severity: str = "error") -> list[str]:
    return [found.code for found in compared(old, new).diagnostics if found.severity == severity]


SHOP = """\
import functools
import re

RATE = 2
NAMES = ("a", RATE)
PATTERN = re.compile("a+")
TABLE = {"one": 1}

class Shop:
    limit = 5
    spare = 6

    def __init__(self, name="shop"):
        self.name = name

    def sell(self, count):
        return count * RATE

    @property
    def title(self):
        return self.name

    def old(self):
        return "old"

class Child(Shop):
    def old(self):
        return "child's"

def total(values):
    return sum(values) * RATE

def spare():
    return 1
"""

#: name: (text of SHOP, what stands there in the new version, an expression over the module)
LIVE = {
    "function": ("def spare", "def more(): return 7\n\ndef spare", "world.more()"),
    "functions that call each other": (
        "return sum(values) * RATE",
        "return first(values)\n\ndef first(values): return second(values)\n\ndef second(values): return values[1]",
        "world.total([1, 2])",
    ),
    "decorated by an addition": (
        "def spare():",
        "def twice(function):\n    return functools.wraps(function)(lambda *a: helper(function(*a)))\n\n"
        "def helper(value): return value * 2\n\n@twice\ndef more(value): return value\n\ndef spare():",
        "world.more(4), world.more.__name__",
    ),
    "value": ("RATE = 2", "RATE = 3", "world.RATE, world.NAMES, world.total([1])"),
    "value of a value": ('NAMES = ("a", RATE)', 'NAMES = ("b", RATE, 1)', "world.NAMES"),
    "added value": ("RATE = 2", "RATE = 2\nMORE = [RATE, RATE]", "world.MORE"),
    "value that names an addition": ('TABLE = {"one": 1}', 'TWO = 2\nTABLE = {"one": 1, "two": TWO}', "world.TABLE"),
    "pattern": ('"a+"', '"b+", re.I', "world.PATTERN.pattern, world.PATTERN.flags"),
    "table": ('{"one": 1}', '{"one": 1, "two": [2.0, None]}', "world.TABLE"),
    "class": (
        "def spare",
        "class New(Shop):\n    '''New.'''\n    def old(self):\n        return super().old() + '!'\n\ndef spare",
        "world.New().old(), world.New.__qualname__, world.New.__doc__, world.New.__mro__[1] is world.Shop",
    ),
    "method": (
        '    def old(self):\n        return "old"',
        "    def more(self, __a=1):\n        return self.__class__, __class__, __a\n\n"
        '    def old(self):\n        return "old"',
        "[getattr(one, '__name__', one) for one in world.Shop().more()], world.Shop.more.__qualname__",
    ),
    "method with super": (
        "class Child(Shop):",
        "class Child(Shop):\n    def sell(self, count):\n        return super().sell(count) + 1\n",
        "world.Child().sell(2)",
    ),
    "static and class methods": (
        '    def old(self):\n        return "old"',
        "    @staticmethod\n    def one(): return 1\n\n    @classmethod\n    def make(cls): return cls('made')\n\n"
        '    def old(self):\n        return "old"',
        "world.Shop.one(), world.Child.make().name",
    ),
    "property and its setter": (
        '    def old(self):\n        return "old"',
        "    @property\n    def both(self): return self.name\n\n    @both.setter\n    def both(self, value):\n"
        '        self.name = value\n\n    def old(self):\n        return "old"',
        "[setattr(shop := world.Shop(), 'both', 'x'), shop.both, shop.name]",
    ),
    "setter for a property": (
        '    def old(self):\n        return "old"',
        "    @title.setter\n    def title(self, value):\n        self.name = value + '!'\n\n"
        '    def old(self):\n        return "old"',
        "[setattr(shop := world.Shop(), 'title', 'x'), shop.title]",
    ),
    "implicit class methods": (
        '    def old(self):\n        return "child\'s"',
        "    def __class_getitem__(cls, key):\n        return cls, key\n\n    def __init_subclass__(cls, **more):\n"
        '        cls.made = True\n\n    def old(self):\n        return "child\'s"',
        "world.Child[1] == (world.Child, 1), type('X', (world.Child,), {}).made",
    ),
    "equality": (
        '    def old(self):\n        return "old"',
        '    def __eq__(self, other):\n        return True\n\n    def old(self):\n        return "old"',
        "world.Shop() == 1, world.Shop.__hash__",
    ),
    "descriptor that is named": (
        "    spare = 6",
        "    spare = 6\n\n    @functools.cached_property\n    def once(self): return 8\n",
        "world.Shop().once, vars(world.Shop)['once'].attrname",
    ),
    "class attribute": ("limit = 5", "limit = 50", "world.Shop.limit, world.Child.limit, world.Shop().limit"),
    "added class attribute": ("    spare = 6", "    spare = 6\n    more = (1, RATE)", "world.Child.more"),
    "removed class attribute": ("    spare = 6\n", "", "hasattr(world.Shop, 'spare')"),
    "removed method": ('    def old(self):\n        return "child\'s"', "    pass", "world.Child().old()"),
    "signature": ("def total(values):", "def total(values, more):", "world.total([1], 2)"),
    "import used by an addition": (
        "import re\n",
        "import re\nimport string\nDIGITS = string.digits\ndef more(): return string.digits\n",
        "world.DIGITS, world.more()",
    ),
    "annotated value": ("RATE = 2", "RATE: float = 2.5", "world.RATE, world.total([2])"),
    "unbound local name of a builtin": ("def spare():", "def len(values): return 5\n\ndef spare():", "world.len([])"),
}


@pytest.mark.parametrize("on_disk", [True, False], ids=["new text on disk", "old text on disk"])
@pytest.mark.parametrize("name", LIVE)
def test_live_equals_fresh(name: str, on_disk: bool, tmp_path: Path) -> None:
    old, new, expression = LIVE[name]
    assert old in SHOP
    changed = SHOP.replace(old, new)
    (tmp_path / "new").mkdir()
    with worlds.world(changed, tmp_path / "new") as fresh:
        wanted = repr(eval(expression, {"world": fresh})).replace(hex(id(fresh)), "")
        names = set(vars(fresh)) - {"__conditional_annotations__"}
    history = History()
    with worlds.world(SHOP, tmp_path) as live:
        before = worlds.portrait(live, renewed=True)
        if on_disk:
            (tmp_path / "world.py").write_text(changed)
        apply(SHOP, changed, history)
        assert repr(eval(expression, {"world": live})) == wanted
        assert names <= set(vars(live))
        load.rollback(history, 0)
        assert without_texts(worlds.portrait(live, renewed=True)) == without_texts(before)
        load.rollback(history, 1)
        assert repr(eval(expression, {"world": live})) == wanted


@pytest.mark.parametrize(
    "added",
    [
        "def more(): return re.escape('a')",
        "class More:\n    def more(self): return re.escape('a')",
        "MORE = functools.partial(lambda one: re.escape(one))\ndef more(): return MORE",
        "MORE = {'a': re.escape}\ndef more(): return [re.escape(one) for one in 'ab']",
        "import os.path as path\ndef more(): return path.join('a', 'b')",
        "try:\n    import json\nexcept ImportError:\n    json = None\ndef more(): return json.dumps(1)",
        "class More(Shop):\n    def more(self): return super().more(functools.reduce(max, self))",
    ],
)
def test_what_is_added_is_compiled_as_in_its_module(added: str, tmp_path: Path) -> None:
    """It calls what the module imports by other instructions than other attributes; the next patch compares them."""
    history, more = History(), f"{SHOP}{added}\n"
    (tmp_path / "new").mkdir()
    with worlds.world(more, tmp_path / "new") as fresh:
        wanted = worlds.described(fresh, lines=False)
    with worlds.world(SHOP, tmp_path) as live:
        apply(SHOP, more, history)
        assert worlds.described(live, lines=False) == wanted
        apply(more, more.replace("return ", "return 'x', "), history)


@pytest.mark.parametrize(
    "text",
    [
        "def f(): return 1\nif __name__ == '__main__':\n  class Made:\n    pass\n",
        "try:\n  from json import JSONDecoder as Made\nexcept ImportError:\n  class Made:\n    pass\n",
        "class Made:\n  pass\ndel Made\n",
        "class Made:\n  pass\nMade = None\n",
    ],
)
def test_a_class_that_is_not_there_does_not_move(text: str, tmp_path: Path) -> None:
    with worlds.world(text, tmp_path) as live:
        (tmp_path / "world.py").write_text(f"\n{text}def more(): pass\n")
        before = {name: getattr(value, "__firstlineno__", 0) for name, value in vars(live).items()}
        apply(text, f"\n{text}def more(): pass\n", History())
        assert {name: getattr(value, "__firstlineno__", 0) for name, value in vars(live).items()} == {
            **before,
            "more": 0,
        }


@pytest.mark.skipif(not pythons.CLASS_BODY_POSITIONS, reason="classes say where they stand from CPython 3.13 on")
def test_a_class_that_has_another_name_moves(tmp_path: Path) -> None:
    text = "class Queue:\n  class Inner: pass\n_Made = Queue\nfrom queue import SimpleQueue as Queue\n"
    with worlds.world(text, tmp_path) as live:
        (tmp_path / "world.py").write_text(f"\n\n{text}")
        apply(text, f"\n\n{text}", History())
        assert vars(live._Made)["__firstlineno__"] == 3


def test_documentation_that_something_made_of_what_was_written_stays_and_is_told(tmp_path: Path) -> None:
    text = "def d(cls):\n  cls.__doc__ += '!'\n  return cls\n@d\nclass A:\n  'old'\n"
    outcome = compared(text, text.replace("old", "new"))
    assert outcome.patch is not None
    with worlds.world(text, tmp_path) as live:
        done = load.apply(outcome.patch, History())
        assert [one.code for one in done.notes] == ["BCP521"]
        assert live.A.__doc__ == "old!"


ASKED = "def __getattr__(name):\n  return name\n"


@pytest.mark.parametrize(
    ("old", "new", "expression"),
    [
        ("from os.path import join as open\ndef f(): return open\n", "def f(): return open\n", "world.f()"),
        ("from os.path import join\n" + ASKED, ASKED, "world.join"),
        ("def spare(): return 1\n" + ASKED, ASKED, "world.spare"),
        ("spare = 1\n" + ASKED, "def more(): return 1\n" + ASKED, "world.spare"),
    ],
)
def test_what_a_removed_name_hid_comes_to_light(old: str, new: str, expression: str, tmp_path: Path) -> None:
    history = History()
    with worlds.world(old, tmp_path) as world:
        was = eval(expression, {"world": world})
        apply(old, new, history)
        (tmp_path / "fresh").mkdir()
        now = eval(expression, {"world": world})
        load.rollback(history, 0)
        assert eval(expression, {"world": world}) is was
    with worlds.world(new, tmp_path / "fresh") as world:
        assert eval(expression, {"world": world}) == now != was


def without_texts(portrait: dict[str, object]) -> dict[str, object]:
    """What a process was, but for the source texts of all generations, which stay for tracebacks."""
    return {key: value for key, value in portrait.items() if key != "linecache"}


REFUSED = {
    "decorated statement": ("def f(): pass\n@f\ndef g(): pass\n", "def f(): pass\n", "BCP202"),
    "slots": ("class A:\n  __slots__ = ('a',)\n", "class A:\n  __slots__ = ('a', 'b')\n", "BCP209"),
    "value of a call": ("A = list()\n", "A = dict()\n", "BCP209"),
    "value another statement reads": ("A = 1\nprint(A)\n", "A = 2\nprint(A)\n", "BCP210"),
    "value that a function read at import": (
        "A = 1\ndef f(): return A\nB = f()\n",
        "A = 2\ndef f(): return A\nB = f()\n",
        "BCP210",
    ),
    "value that a lambda's default reads": ("A = 1\nf = lambda a=A: a\n", "A = 2\nf = lambda a=A: a\n", "BCP210"),
    "class attribute another statement reads": (
        "class A:\n  x = 1\nB = [A.x]\nprint(A.x)\n",
        "class A:\n  x = 2\nB = [A.x]\nprint(A.x)\n",
        "BCP210",
    ),
    "addition that runs a changed function": ("def f(): return 1\n", "def f(): return 2\nA = f()\n", "BCP211"),
    "class body that reads a changed value": ("A = 1\n", "A = 2\nclass B:\n  x = A\n", "BCP210"),
    "comprehension that reads a changed value": ("A = 1\n", "A = 2\nB = [A for _ in 'ab']\n", "BCP210"),
    "addition that runs a reader of a changed value": (
        "A = 1\ndef f(): return A\n",
        "A = 2\ndef f(): return A\nB = f()\n",
        "BCP210",
    ),
    "field of a decorated class": ("@d\nclass A:\n  x: int\n", "@d\nclass A:\n  x: int\n  y: int = 1\n", "BCP207"),
    "protocol method of a decorated class": (
        "@d\nclass A: pass\n",
        "@d\nclass A:\n  def __eq__(self, o): pass\n",
        "BCP207",
    ),
    "function becomes a value": ("def f(): pass\n", "f = 1\n", "BCP202"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_carried_is_refused(name: str) -> None:
    old, new, code = REFUSED[name]
    assert code in codes(old, new)


def test_an_added_field_is_told_once() -> None:
    old = "@d\nclass A:\n  x: int\n"
    assert codes(old, f"{old}  y: int = 1\n") == ["BCP207"]
    assert codes(old, f"{old}  y: int = 1\n  z: int = 2\n") == ["BCP207", "BCP207"]


def test_what_import_time_code_ran_is_a_warning() -> None:
    assert codes("def f(): return 1\nA = f()\n", "def f(): return 2\nA = f()\n", "warning") == ["BCP211"]


def test_a_method_that_a_decorator_of_its_class_has_not_seen_is_a_warning() -> None:
    for old, new in (
        ("import w\n@w.tell\nclass A: pass\n", "import w\n@w.tell\nclass A:\n  def f(self): pass\n"),
        ("@d\nclass A:\n  class B: pass\n", "@d\nclass A:\n  class B:\n    def f(self): pass\n"),
    ):
        assert codes(old, new, "warning") == ["BCP217"]
        assert codes(new, old) == ["BCP202"]
    blind = "import enum\n@enum.unique\nclass A(enum.Enum):\n  X = 1\n"
    assert codes(blind, blind + "  def f(self): pass\n", "warning") == []


def test_the_way_out_is_not_what_was_done_already() -> None:
    found = compared("x = 1\n", "x = 1\nwhile x:\n  def f(): pass\n").diagnostics
    assert found
    assert not any("linked" in one.help for one in found)


def test_a_name_that_stays_is_a_note() -> None:
    assert codes("def f(): pass\n", "x = 1\n", "note") == ["BCP216"]


# --- in the process ---------------------------------------------------------------------------


def refusal(old: str, new: str, tmp_path: Path, spoil: str = "") -> set[str]:
    """What an apply is refused for; the module must be as before."""
    with worlds.world(old, tmp_path) as live:
        exec(spoil, vars(live))
        before = worlds.portrait(live)
        history = History()
        with pytest.raises(Refused) as caught:
            apply(old, new, history)
        assert worlds.portrait(live) == before
        assert history.current == 0
        return {found.code for found in caught.value.diagnostics}


def test_a_hash_can_be_added_where_a_class_got_none(tmp_path: Path) -> None:
    old = "class A:\n  def __eq__(self, other): return True\nclass B(A): pass\n"
    new = old.replace("class B", "  def __hash__(self): return 3\nclass B")
    with worlds.world(old, tmp_path) as live:
        before, history = worlds.portrait(live), History()
        apply(old, new, history)
        assert (hash(live.A()), hash(live.B())) == (3, 3)
        apply(new, new.replace("3", "4"), history)
        assert (hash(live.A()), hash(live.B())) == (4, 4)
        load.rollback(history, 0)
        assert vars(live.A)["__hash__"] is None
        assert without_texts(worlds.portrait(live)) == without_texts(before)
        load.rollback(history, 1)
        assert hash(live.B()) == 3
    assert refusal(old, new, tmp_path, "A.__hash__ = lambda self: 5") == {"BCP513"}


def test_a_value_that_the_process_changed_is_refused(tmp_path: Path) -> None:
    assert refusal("A = [1]\n", "A = [2]\n", tmp_path, "A.append(2)") == {"BCP512"}
    assert refusal("A = 1\n", "A = 2\n", tmp_path, "A = True") == {"BCP512"}
    assert refusal("A = 0.0\n", "A = 2.0\n", tmp_path, "A = -0.0") == {"BCP512"}


def test_a_name_that_is_there_already_is_refused(tmp_path: Path) -> None:
    assert refusal("A = 1\n", "A = 1\ndef f(): pass\n", tmp_path, "f = 1") == {"BCP513"}
    assert refusal("class A: pass\n", "class A:\n  def f(self): pass\n", tmp_path, "A.f = 1") == {"BCP513"}


@pytest.mark.parametrize(
    ("added", "marked"),
    [("class A:\n  ü = 2\n", "  ü = 2"), ("class A: pass\nB = 1 // 0\n", "B = 1 // 0")],
)
def test_what_the_process_refuses_is_shown_with_its_line(added: str, marked: str, tmp_path: Path) -> None:
    with worlds.world("class A: pass\n", tmp_path) as live:
        live.A.ü = 1
        with pytest.raises(Refused) as caught:
            apply("class A: pass\n", added, History())
    shown = str(caught.value).splitlines()
    assert [line.removeprefix("2 | ") for line in shown if line.startswith("2 | ")] == [marked]
    assert f"  | {'^' * len(marked.strip()):>{len(marked)}}" in shown


@pytest.mark.parametrize("reader", ["def f(): return LIMIT\n", "class C:\n  def f(self): return LIMIT\n"])
def test_a_module_whose_code_ran_in_another_namespace_is_refused(reader: str, tmp_path: Path) -> None:
    """What `multiprocessing` does with the main module of a process that it spawns."""
    old = f"import math\nLIMIT = 1\n{reader}"
    apart = "import runpy; found = runpy.run_path(__file__, run_name='world'); globals().update(found)"
    assert refusal(old, old.replace("1", "2"), tmp_path, apart) == {"BCP523"}


def test_an_addition_that_raises_leaves_nothing(tmp_path: Path) -> None:
    assert refusal("A = 1\n", "A = 1\nB = 2\ndef f(): pass\nC = 1 // 0\n", tmp_path) == {"BCP603"}
    assert refusal("A = 1\n", "A = 1\nimport json\nB = json.nothing\n", tmp_path) <= {"BCP603", "BCP505"}


def test_a_class_whose_metaclass_reads_it_is_refused(tmp_path: Path) -> None:
    old = "import enum\nclass A(enum.Enum):\n  x = 1\n"
    assert refusal(old, f"{old}  y = 2\n", tmp_path) == {"BCP207"}
    old = "class B:\n  def __init_subclass__(cls): pass\nclass A(B):\n  x = 1\n"
    assert refusal(old, f"{old}  y = 2\n", tmp_path) == {"BCP207"}


FRAMEWORK = """
class Meta(type):
    __module__ = "pydantic.main"
    def __new__(cls, name, bases, space):
        made = super().__new__(cls, name, bases, space)
        for one in space:
            getattr(made, one)
        made.has_post = hasattr(made, "post_init")
        return made
class Model:
    __module__ = "django.models"
    def __init_subclass__(cls):
        for one in vars(cls).values():
            pass
    def save(self): pass
    def load(self): pass
    save.alters_data = True
class A(metaclass=Meta): pass
class B(Model): pass
"""


@pytest.mark.parametrize(
    ("owner", "name"),
    [("A", "post_init"), ("A", "__get_core_schema__"), ("B", "__declare_last__"), ("B", "save")],
)
def test_a_method_that_a_framework_looks_for_is_refused(owner: str, name: str, tmp_path: Path) -> None:
    """Of those whose metaclasses and bases are known to leave all others alone."""

    def given(added: str) -> str:
        return re.sub(rf"(class {owner}\(.*\)): pass", rf"\1:\n  def {added}(self): return 7", FRAMEWORK)

    assert refusal(FRAMEWORK, given(name), tmp_path) == {"BCP207"}
    for innocent in ("more", "load", "__str__"):
        with worlds.world(FRAMEWORK, tmp_path) as live:
            apply(FRAMEWORK, given(innocent), History())
            assert getattr(live, owner).__dict__[innocent](None) == 7


LAZY = """
asked = []
class Lazy:
    @property
    def __class__(self):
        asked.append(1)
        return type(asked)
lazy, number = Lazy(), 1
def f(): return number
class C:
    lazy = Lazy()
    def g(self): return 1
    class D:
        lazy = Lazy()
"""


def test_a_lazy_object_is_not_asked_what_it_is(tmp_path: Path) -> None:
    """Django's `SimpleLazyObject` would fetch what it stands for, from a database for one."""
    new = LAZY.replace("number = Lazy(), 1", "number = Lazy(), 2").replace("return 1", "return 2")
    new = new.replace("class D:", "class D:\n        def h(self): return C")
    new += "\ndef added(): return C\nclass E(C): pass\n"
    with worlds.world(LAZY, tmp_path) as live:
        importer = worlds.imported("from world import lazy, number\n", tmp_path, "importer")
        try:
            history = History()
            apply(LAZY, f"\n{LAZY}", history)
            apply(f"\n{LAZY}", new, history)
            assert (live.f(), importer.number, live.C().g(), live.added()) == (2, 2, 2, live.C)
            load.rollback(history, 0)
        finally:
            del sys.modules["importer"]
        assert live.asked == []


def test_importers_change_with_the_value(tmp_path: Path) -> None:
    history = History()
    client_text = "from world import RATE as rate, OTHER\nmine = OTHER\n"
    with (
        worlds.world("RATE = 2\nOTHER = 2\n", tmp_path) as live,
        worlds.world(client_text, tmp_path, "client") as client,
    ):
        apply("RATE = 2\nOTHER = 2\n", "RATE = 3\nOTHER = 2\n", history)
        assert (live.RATE, client.rate, client.OTHER, client.mine) == (3, 3, 2, 2)
        load.rollback(history, 0)
        assert (live.RATE, client.rate) == (2, 2)


FULLWIDTH = "".join(chr(ord(letter) + 0xFEE0) for letter in "RATE")
"""An identifier that the parser reads as RATE (PEP 3131)."""


@pytest.mark.parametrize("names", ["*", "\\\n *", FULLWIDTH, "(OTHER,\nRATE)"])
def test_importers_are_found_however_they_write_it(names: str, tmp_path: Path) -> None:
    text = "RATE = 2\nOTHER = 2\n"
    statement = f"from world import {names}\n"
    with worlds.world(text, tmp_path), worlds.world(statement, tmp_path, "client") as client:
        apply(text, "RATE = 3\nOTHER = 2\n", History())
        assert client.RATE == 3


@pytest.mark.parametrize(
    "client_text",
    [
        "from world import RATE\nTABLE = [RATE]\n",
        "import world\nclass A:\n  rate = world.RATE\n",
        "from world import RATE as rate\ndef f(a=rate): pass\n",
    ],
)
def test_what_another_module_made_of_a_value_at_import_refuses(client_text: str, tmp_path: Path) -> None:
    with worlds.world("RATE = 2\n", tmp_path) as live, worlds.world(client_text, tmp_path, "client"):
        with pytest.raises(Refused, match="BCP210"):
            apply("RATE = 2\n", "RATE = 3\n", History())
        assert live.RATE == 2


def interactive(tmp_path: Path) -> ModuleType:
    made = ModuleType("__main__")
    exec("from world import RATE, TABLE as table", vars(made))
    return made


def sourceless(tmp_path: Path) -> ModuleType:
    (tmp_path / "client.py").write_text("from world import RATE, TABLE as table\n", "utf-8")
    compiled = str(tmp_path / "client.pyc")
    py_compile.compile(str(tmp_path / "client.py"), compiled, doraise=True)
    (tmp_path / "client.py").unlink()
    loader = SourcelessFileLoader("client", compiled)
    made = module_from_spec(ModuleSpec("client", loader, origin=compiled))
    loader.exec_module(made)
    return made


class OfAnotherTool:
    """A loader that is a class, used as it is, as those of builtin and frozen modules are."""


def generated(tmp_path: Path) -> ModuleType:
    made = interactive(tmp_path)
    made.__spec__ = ModuleSpec("client", OfAnotherTool)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("made", [interactive, sourceless, generated])
def test_a_module_without_a_source_that_may_have_imported_a_value_refuses(
    made: Callable[[Path], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "RATE = 2\nTABLE = [1]\nOTHER = 3\n"
    with worlds.world(text, tmp_path) as live:
        client = made(tmp_path)
        monkeypatch.setitem(sys.modules, "client", client)
        with pytest.raises(Refused, match="BCP522"):
            apply(text, text.replace("RATE = 2", "RATE = 4"), History())
        assert (live.RATE, client.RATE) == (2, 2)
        apply(text, text.replace("OTHER = 3", "OTHER = 5"), History())
        assert live.OTHER == 5
        text = text.replace("OTHER = 3", "OTHER = 5")
        with pytest.raises(Refused, match=r"table` may be an import of `world.TABLE`"):
            apply(text, text.replace("[1]", "[2]"), History())
        del client.RATE
        apply(text, text.replace("RATE = 2", "RATE = 4"), History())
        assert live.RATE == 4


def test_a_module_of_an_archive_is_an_importer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("archived.py", "from world import RATE as rate\n")
    monkeypatch.syspath_prepend(tmp_path / "archive.zip")
    with worlds.world("RATE = 2\n", tmp_path):
        archived = importlib.import_module("archived")
        monkeypatch.setitem(sys.modules, "archived", archived)
        apply("RATE = 2\n", "RATE = 4\n", History())
        assert archived.rate == 4
    monkeypatch.delitem(sys.modules, "archived")


def test_relative_imports_are_importers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "shop/__init__.py": "from .rates import RATE\n",
        "shop/rates.py": "RATE = 2\n",
        "shop/cart.py": "from .rates import RATE as rate\n",
        "shop/inner/__init__.py": "from ..rates import RATE\n",
        "shop/inner/deep.py": "from .. import rates\nfrom . import RATE\nfrom ..rates import RATE as deep\n",
        "shop/__main__.py": "from .rates import RATE\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", sys.modules.copy())  # forgotten afterwards
    shop, cart, inner, deep, main = map(
        importlib.import_module, ("shop", "shop.cart", "shop.inner", "shop.inner.deep", "shop.__main__")
    )
    main.__name__ = "__main__"  # as ``python -m shop`` has it
    rates = Module("shop.rates", "shop/rates.py")
    outcome = builder.compare([source("RATE = 2\n", rates)], [source("RATE = 3\n", rates)], policy="linked")
    assert outcome.patch is not None
    load.apply(outcome.patch, History())
    assert (shop.RATE, cart.rate, inner.RATE, deep.deep, main.RATE) == (3, 3, 3, 3, 3)


def test_what_another_module_reads_later_does_not(tmp_path: Path) -> None:
    client_text = "import world\ndef f(): return world.RATE\nif __name__ == '__main__':\n  print(world.RATE)\n"
    with worlds.world("RATE = 2\n", tmp_path), worlds.world(client_text, tmp_path, "client") as client:
        apply("RATE = 2\n", "RATE = 3\n", History())
        assert client.f() == 3


def test_importers_of_a_changed_import_change_with_it(tmp_path: Path) -> None:
    old, new = "from os.path import join as made\n", "from os.path import split as made\n"
    with worlds.world(old, tmp_path), worlds.world("from world import made\n", tmp_path, "client") as client:
        apply(old, new, History())
        assert client.made("a/b") == ("a", "b")


def test_one_patch_adds_and_imports_across_modules(tmp_path: Path) -> None:
    parts = {
        "world": ("A = 1\n", "A = 1\ndef f(): return 5\n"),
        "client": ("B = 1\n", "from world import f\nB = 1\ndef g(): return f()\n"),
    }
    modules = {name: Module(name, f"{name}.py") for name in parts}
    with worlds.world(parts["client"][0], tmp_path, "client") as client, worlds.world(parts["world"][0], tmp_path):
        outcome = builder.compare(
            [source(old, modules[name]) for name, (old, _) in parts.items()],
            [source(new, modules[name]) for name, (_, new) in parts.items()],
            policy="linked",
        )
        assert outcome.patch is not None, outcome.diagnostics
        load.apply(outcome.patch, History())
        assert client.g() == 5


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 is in CPython 3.12+")
def test_a_generic_class_gets_a_method(tmp_path: Path) -> None:
    old = "class A[T]:\n  pass\n"
    new = "class A[T]:\n  def f(self, a: T) -> T: return T\n"
    with worlds.world(old, tmp_path) as live:
        apply(old, new, History())
        assert live.A().f(1) is live.A.__type_params__[0]


# --- what the builder must not be trusted for ---------------------------------------------------


@pytest.mark.parametrize(
    "positions",
    [
        Positions(3, b"\x80", ()),
        Positions(3, b"", ()),
        Positions(3, b"\xf8" * 500, ()),
        Positions(3, None, (Positions(1, None, ()),)),
    ],
    ids=["cut", "empty", "too long", "of other code"],
)
def test_positions_that_are_not_those_of_the_code_are_refused(positions: Positions, tmp_path: Path) -> None:
    old, new = "def f(a):\n    return [a, 1]\n", "\n\ndef f(a):\n    return [a, 1]\n"
    patch = compared(old, new).patch
    assert patch is not None
    (module,) = patch.modules
    moved = tuple(
        msgspec.structs.replace(edit, positions=positions) if isinstance(edit, PositionEdit) else edit
        for edit in module.edits
    )
    lying = msgspec.structs.replace(patch, modules=(msgspec.structs.replace(module, edits=moved),))
    with worlds.world(old, tmp_path) as live:
        (tmp_path / "world.py").write_text(new)
        before = worlds.portrait(live)
        with pytest.raises(Refused, match="BCP408"):
            load.apply(lying, History())
        assert worlds.portrait(live) == before
