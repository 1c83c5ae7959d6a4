"""What the change of one module means for others of the same sources: who has run at import what changes (BCP211)."""

from __future__ import annotations

import pytest

from bcpatch import builder
from bcpatch.diagnostics import Severity
from bcpatch.model import Module, Policy
from bcpatch.source import takers
from bcpatch.source.outline import Source

CORE = """\
import functools

def load():
    return 1

def wrap(function):
    return function

def both():
    return load()

again = load

class Base:
    def __init_subclass__(cls):
        cls.known = 1

class Box:
    def __init__(self):
        self.size = 1

    def grow(self):
        return 1

    def more(self):
        return self.grow()

    @classmethod
    def make(cls):
        return cls.__new__(cls)

class Meta(type):
    def __new__(cls, *rest):
        return super().__new__(cls, *rest)
"""
#: An edit of each function, by its name.
CHANGES = {
    "load": ("def load():\n    return 1", "def load():\n    return 2"),
    "wrap": ("    return function\n", "    return [function][0]\n"),
    "Base.__init_subclass__": ("cls.known = 1", "cls.known = 2"),
    "Box.__init__": ("self.size = 1", "self.size = 2"),
    "Box.grow": ("    def grow(self):\n        return 1", "    def grow(self):\n        return 2"),
    "Box.make": ("return cls.__new__(cls)", "return object.__new__(cls)"),
    "Meta.__new__": ("return super().__new__(cls, *rest)", "return type.__new__(cls, *rest)"),
}


def sources(modules: dict[str, str]) -> list[Source]:
    """Modules by their names; of a package with its ``/__init__``."""
    found = []
    for path, text in modules.items():
        name = path.removesuffix("/__init__").replace("/", ".")
        found.append(Source(Module(name, f"{path}.py"), f"{path}.py", text.encode()))
    return found


def told(change: str, policy: Policy = Policy.LINKED, core: str = "pkg/core", **others: str) -> list[str]:
    """What is said of a change in a module when others are beside it."""
    old, new = CHANGES[change]
    assert CORE.count(old) == 1
    beside = {name.replace("__", "/", 1): text for name, text in others.items()}
    beside = {name if name != "pkg" else "pkg/__init__": text for name, text in beside.items()}
    # of `Base` the module itself runs what is asked, as it makes a class that may derive from it
    base = CORE.partition("class Meta")[0] if change.startswith("Base") else CORE
    sides = [sources({core: text, **beside}) for text in (base, base.replace(old, new))]
    outcome = builder.compare(*sides, policy=policy)
    found = [one for one in outcome.diagnostics if one.code == "BCP211" and "by the import of" in one.message]
    assert all(one.severity is Severity.WARNING for one in found)
    assert all((one.file, one.site and one.site.qualname) == (f"{core}.py", change) for one in found)
    return [one.message for one in found]


#: Which functions an import runs: what it has, and the changes that are told.
RUNS = {
    "from pkg.core import load\nTABLE = load()": ["load"],
    "from pkg.core import load as other\nTABLE = [other()]": ["load"],
    "from pkg import core\nTABLE = core.load()": ["load"],
    "from . import core\nTABLE = core.load()": ["load"],
    "from .core import load\nTABLE = load()": ["load"],
    "import pkg.core\nTABLE = pkg.core.load()": ["load"],
    "import pkg.core as core\nTABLE = core.load()": ["load"],
    "from pkg.core import *\nTABLE = load()": ["load"],
    "from pkg.core import load\nclass A:\n    table = load()": ["load"],
    "from pkg.core import load\nif load:\n    load()": ["load"],
    "from pkg.core import load\ndef inner():\n    return load()\nTABLE = inner()": ["load"],
    "from pkg.core import load\nTABLE = list(map(load, [1]))": ["load"],
    "from pkg.core import load\nTABLE = [load() for _ in '12']": ["load"],
    "from pkg.core import load\nother = load\nTABLE = other()": ["load"],
    "import pkg.core\nother = pkg.core.load\nTABLE = other()": ["load"],
    "from pkg.core import both\nTABLE = both()": ["load"],
    "from pkg.core import again\nTABLE = again()": ["load"],
    "from pkg.core import again as load": [],
    "from pkg.core import load\nTABLE = load": [],
    "from pkg.core import load\ndef inner():\n    return load()": [],
    "from pkg.core import load\nif __name__ == '__main__':\n    load()": [],
    "from pkg.core import Box\nclass Large(Box): pass\nTABLE = Large().grow()": ["Box.__init__", "Box.grow"],
    "from pkg.core import Box\nclass Large(Box):\n    def grow(self): return 2\nTABLE = Large().grow()": [
        "Box.__init__"
    ],
    (
        "from pkg.core import Box\nclass Large(Box):\n    def __init__(self): pass\n"
        "    def grow(self): return super().grow()\nTABLE = Large().grow()"
    ): ["Box.grow"],
    "from pkg.core import Box\nbox = Box()\nTABLE = box.grow()": ["Box.__init__", "Box.grow"],
    "from pkg.core import Box\nclass Held:\n    box = Box()\nTABLE = Held.box.grow()": ["Box.__init__", "Box.grow"],
    "from pkg.core import Box\nbox = Box()\nTABLE = box.other()": ["Box.__init__"],
    "from elsewhere import load\nTABLE = load()": [],
    "from elsewhere import *  # not pkg.core\nTABLE = load()": [],
    "from elsewhere.core import load\nTABLE = load()": [],
    "def load():\n    pass\nTABLE = load()  # not that of pkg.core": [],
    "from pkg.core import wrap\n@wrap\ndef f(): pass": ["wrap"],
    "from pkg.core import wrap\nclass A:\n    @wrap\n    def f(self): pass": ["wrap"],
    "from pkg.core import wrap\ndef outer():\n    @wrap\n    def f(): pass": [],
    "from pkg.core import Base\nclass A(Base): pass": ["Base.__init_subclass__"],
    "from pkg.core import Meta\nclass A(metaclass=Meta): pass": ["Meta.__new__"],
    "from pkg.core import Box\nBOX = Box()": ["Box.__init__"],
    "from pkg.core import Box\nSIZE = Box().grow()": ["Box.__init__", "Box.grow"],
    "from pkg.core import Box\nBOX = Box.make()": ["Box.make"],
    "from pkg.core import Box\nSIZE = Box().more()": ["Box.__init__", "Box.grow"],
    "from pkg.core import Box\nGROW = Box.grow": [],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("text", RUNS)
def test_what_the_import_of_another_module_runs_is_told(text: str, change: str) -> None:
    found = told(change, pkg__user=text)
    assert bool(found) == (change in RUNS[text])


@pytest.mark.parametrize(
    "statement", ["from . import load", "from .  import load", "from.import load", "from.import *"]
)
def test_a_module_may_take_what_its_package_has(statement: str) -> None:
    assert told("load", core="pkg/__init__", pkg__user=f"{statement}\nTABLE = load()")


#: Modules between the function and the import that runs it, and whether that is told.
CHAINS = {
    "a function": ("from pkg.core import load\ndef go():\n    return load()", "go()", True),
    "a function that another one calls": (
        "from pkg.core import load\ndef inner():\n    return load()\ndef go():\n    return inner()",
        "go()",
        True,
    ),
    "an import in the function": ("def go():\n    from pkg import core\n    return core.load()", "go()", True),
    "a relative import in the function": ("def go():\n    from .core import load\n    return load()", "go()", True),
    "a class": ("from .core import load\nclass A:\n    def __init__(self):\n        load()", "A()", True),
    "a class that is not called": (
        "from .core import load\nclass A:\n    def __init__(self):\n        load()",
        "A",
        False,
    ),
    "a class of which only another method does": (
        "from .core import load\nclass A:\n    def go(self):\n        load()",
        "A()",
        False,
    ),
    "a method": (
        "from .core import load\nclass A:\n    @classmethod\n    def go(cls):\n        load()",
        "A.go()",
        True,
    ),
    "a static method, of something else that has such a method": (
        "from .core import load\nclass A:\n    def one(self):\n        load()\n"
        "    @staticmethod\n    def go(other):\n        other.one()",
        "A.go(1)",
        False,
    ),
    "a method whose receiver has no name that can be given": (
        "from .core import load\nclass A:\n    def one(self):\n        load()\n"
        "    def go(self, /):\n        self.one()",
        "A().go()",
        True,
    ),
    "a method that another one calls": (
        "from .core import load\nclass A:\n    def one(self):\n        load()\n    def go(self):\n        self.one()",
        "A().go()",
        True,
    ),
    "a decorator": ("from .core import load\ndef go(f):\n    load()\n@go\ndef f(): pass", "f", True),
    "a default": ("from .core import load\ndef go(a=load()): pass", "go", True),
    "another function": ("from pkg.core import load\ndef go():\n    return load\ndef no():\n    load()", "go()", False),
    "a function of another name": ("from pkg.core import load\ndef go():\n    return load()", "no()", False),
    "a namesake": ("from pkg.core import wrap\ndef go():\n    load()\ndef load(): pass", "go()", False),
}


@pytest.mark.parametrize("case", CHAINS)
def test_it_is_followed_through_functions_of_other_modules(case: str) -> None:
    between, use, expected = CHAINS[case]
    assert bool(told("load", pkg__between=between, app=f"from pkg.between import *\nTABLE = {use}")) == expected
    third = "from pkg import between\ndef last():\n    return between." + use
    assert (
        bool(told("load", pkg__between=between, pkg__third=third, app="import pkg.third\npkg.third.last()")) == expected
    )


def test_calls_in_a_circle_come_to_an_end() -> None:
    one = "from pkg.core import load\nfrom pkg import other\ndef go():\n    other.back()\n    load()"
    other = "from pkg import one\ndef back():\n    one.go()"
    assert told("load", pkg__one=one, pkg__other=other) == []
    assert len(told("load", pkg__one=one, pkg__other=other, app="from pkg.other import back\nback()")) == 1


def test_not_more_is_followed_than_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    between = "from pkg.core import load\ndef f0(): load()\n" + "".join(
        f"def f{n}(): f{n - 1}()\n" for n in range(1, 10)
    )
    app = "from pkg.between import f9\nf9()"
    assert told("load", pkg__between=between, app=app)
    monkeypatch.setattr(takers, "_MOST", 11)  # these ten, and the one in the module itself
    assert told("load", pkg__between=between, app=app)
    monkeypatch.setattr(takers, "_MOST", 10)
    assert not told("load", pkg__between=between, app=app)


def test_all_that_changes_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takers, "_MOST", 1)
    texts = ["".join(f"def f{n}(): return {n + more}\n" for n in range(9)) for more in (0, 1)]
    beside = {"app": "import core\nTABLE = " + " + ".join(f"core.f{n}()" for n in range(9))}
    found = builder.compare(*(sources({"core": text, **beside}) for text in texts)).diagnostics
    assert [one.code for one in found] == ["BCP211"] * 9


def test_each_of_several_functions_is_told() -> None:
    between = "from pkg.core import load, Box\ndef go():\n    load()\n    Box()"
    text = CORE
    for change in ("load", "Box.__init__"):
        text = text.replace(*CHANGES[change])
    beside = {"pkg/between": between, "app": "from pkg.between import go\ngo()"}
    sides = [sources({"pkg/core": one, **beside}) for one in (CORE, text)]
    found = builder.compare(*sides, policy=Policy.LINKED).diagnostics
    assert sorted(one.site.qualname for one in found if one.code == "BCP211" and one.site) == ["Box.__init__", "load"]


def test_what_the_modules_own_import_ran_is_told_once() -> None:
    text = f"{CORE}\nTABLE = load()\n"
    beside = {"app": "import core\nTABLE = core.load()\n"}
    sides = [sources({"core": one, **beside}) for one in (text, text.replace(*CHANGES["load"]))]
    found = [one.message for one in builder.compare(*sides, policy=Policy.LINKED).diagnostics if one.code == "BCP211"]
    assert len(found) == 1
    assert "by the import of" not in found[0]


def test_the_message_says_where_and_how_often() -> None:
    text = "from pkg.core import load\n\nTABLE = load()  # once\nload()\n"
    stays = "what it returned or did there stays as the old code made it"
    run = "`load` is run by the import of `pkg.user` (line 3: `TABLE = load()  # once`)"
    assert told("load", pkg__user=text) == [f"{run}; {stays}"]
    assert told("load", pkg__user=text, a=text) == [f"{run}, and by 1 more module; {stays}"]
    assert told("load", pkg__user=text, a=text, b=text) == [f"{run}, and by 2 more modules; {stays}"]


def test_it_is_a_warning_under_strict_too() -> None:
    assert len(told("load", Policy.STRICT, pkg__user="from pkg.core import load\nTABLE = load()")) == 1


@pytest.mark.parametrize(
    "passes_on",
    [
        "from .core import load",
        "from pkg.core import *",
        "from pkg.core import load as load",
        "from .between import load",
    ],
)
def test_a_name_is_followed_through_modules_that_pass_it_on(passes_on: str) -> None:
    between = "from pkg.core import load\n"
    assert told("load", pkg=passes_on, pkg__between=between, app="from pkg import load\nTABLE = load()")
    assert told("load", pkg=passes_on, pkg__between=between, app="import pkg\nTABLE = pkg.load()")
    assert not told("load", pkg="", pkg__between=between, app="from pkg import load\nTABLE = load()")


def test_the_place_is_the_function() -> None:
    sides = [
        sources({"core": text, "app": "import core\nTABLE = core.load()\n"})
        for text in (CORE, CORE.replace(*CHANGES["load"]))
    ]
    outcome = builder.compare(*sides)
    [found] = [one for one in outcome.diagnostics if one.code == "BCP211"]
    assert (found.file, found.line, found.text) == ("core.py", 3, "def load():")


def test_what_only_moved_is_not_told() -> None:
    sides = [
        sources({"core": text, "app": "import core\nTABLE = core.load()\n"}) for text in (CORE, f"# words\n{CORE}")
    ]
    assert builder.compare(*sides).diagnostics == ()


def test_what_a_module_imports_of_itself_is_told() -> None:
    text = f"{CORE}\nfrom pkg import core as me\nTABLE = me.load()\n"
    sides = [sources({"pkg/core": one}) for one in (text, text.replace(*CHANGES["load"]))]
    [found] = builder.compare(*sides, policy=Policy.LINKED).diagnostics
    assert "by the import of `pkg.core`" in found.message


@pytest.mark.parametrize(("old", "new", "is_told"), [("a=1", "a=2", True), ("a=1", "a: int = 1", False)])
def test_a_default_value_is_part_of_what_ran(old: str, new: str, is_told: bool) -> None:
    beside = {"app": "import core\nTABLE = core.load()\n"}
    sides = [sources({"core": f"def load({one}): return a\n", **beside}) for one in (old, new)]
    outcome = builder.compare(*sides)
    assert outcome.patch is not None
    assert outcome.patch.modules
    assert [one.code for one in outcome.diagnostics] == ["BCP211"] * is_told


def test_a_build_without_a_base_changes_nothing_that_is_known() -> None:
    outcome = builder.compare([], sources({"core": CORE, "app": "import core\nTABLE = core.load()\n"}))
    assert "BCP211" not in {one.code for one in outcome.diagnostics}


def test_a_module_that_is_no_python_is_passed_over() -> None:
    assert told("load", pkg__user="from pkg.core import load\nTABLE = load(") == []


@pytest.mark.parametrize("deep", ["load" + "()" * 1_200, "load()" + ".a()" * 600, " + ".join(["load()"] * 900)])
def test_a_module_that_is_nested_too_deeply_to_be_read_is_passed_over(deep: str) -> None:
    told("load", pkg__user=f"from pkg.core import load\nTABLE = {deep}\n")
    text = "from pkg.core import load\ndef go():\n    return {}\nTABLE = go()\n"
    told("load", pkg__user=text.format(deep))


def test_only_modules_that_may_have_taken_it_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = takers.outline

    def outline(source: Source, optimization: int) -> object:
        read.append(source.module.name)
        return real(source, optimization)

    monkeypatch.setattr(takers, "outline", outline)
    mine = "from pkg.core import load  # only here: a1b2"
    told("load", pkg__user=mine, pkg__other="import core_b\nload = 1", pkg__third="from pkg import core  # c3d4")
    assert [name for name in read if name != "pkg.core"] == ["pkg.user"]
