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

class Base:
    def __init_subclass__(cls):
        cls.known = 1

class Box:
    def __init__(self):
        self.size = 1

    def grow(self):
        return 1

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
    sides = [sources({core: text, **beside}) for text in (CORE, CORE.replace(old, new))]
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
    "from pkg.core import load\nTABLE = load": [],
    "from pkg.core import load\ndef inner():\n    return load()": [],
    "from pkg.core import load\nif __name__ == '__main__':\n    load()": [],
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


def test_a_default_is_no_code_that_ran() -> None:
    beside = {"app": "import core\nTABLE = core.load()\n"}
    sides = [sources({"core": f"def load(a={one}): return a\n", **beside}) for one in (1, 2)]
    outcome = builder.compare(*sides)
    assert outcome.patch is not None
    assert outcome.patch.modules
    assert outcome.diagnostics == ()


def test_a_build_without_a_base_changes_nothing_that_is_known() -> None:
    outcome = builder.compare([], sources({"core": CORE, "app": "import core\nTABLE = core.load()\n"}))
    assert "BCP211" not in {one.code for one in outcome.diagnostics}


def test_a_module_that_is_no_python_is_passed_over() -> None:
    assert told("load", pkg__user="from pkg.core import load\nTABLE = load(") == []


def test_only_modules_that_may_have_taken_it_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = takers.outline

    def outline(source: Source, optimization: int) -> object:
        read.append(source.module.name)
        return real(source, optimization)

    monkeypatch.setattr(takers, "outline", outline)
    mine = "from pkg.core import load  # only here: a1b2"
    told("load", pkg__user=mine, pkg__other="import core_b\nload = 1", pkg__third="from pkg import core  # c3d4")
    assert read == ["pkg.user"]
