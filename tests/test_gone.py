"""Names that a module has no more and that are used still (BCP221): where the next start would not find them."""

from __future__ import annotations

import pytest
from test_edits import sources

from bcpatch import builder
from bcpatch.diagnostics import Severity
from bcpatch.model import Policy

LOW = "X = 1\ndef f(): return 1\n"
WITHOUT = "def f(): return 2\n"


def said(old: dict[str, str], new: dict[str, str], policy: str = "linked") -> list[str]:
    outcome = builder.compare(sources(old), sources({**old, **new}), policy=policy)
    assert outcome.patch is not None, outcome.diagnostics
    found = [one for one in outcome.diagnostics if one.code == "BCP221"]
    assert {one.severity for one in found} <= {Severity.WARNING}
    return [f"{one.file}:{one.line} {one.message} [{one.text}]" for one in found]


def test_an_import_of_a_name_that_is_gone() -> None:
    top = "import os\nfrom low import X\n"
    assert said({"low.py": LOW, "top.py": top}, {"low.py": WITHOUT}) == [
        "top.py:2 `X` of `low` is used here, which has it no more [from low import X]"
    ]


def test_a_function_that_reads_a_name_that_is_gone() -> None:
    text = "def g(X): return X\ndef f():\n    return X\n"
    assert said({"low.py": LOW}, {"low.py": text}) == [
        "low.py:3 `X` is used here, and `low` has it no more [    return X]"
    ]


@pytest.mark.parametrize("policy", Policy)
def test_an_import_that_is_gone(policy: Policy) -> None:
    old = {"low.py": "import json, os\ndef f(one): return os.sep\n", "top.py": "import low\ndef g(): return low.json\n"}
    (told,) = said(old, {"low.py": "import os\ndef f(one): return os.sep, 1\n"}, policy)
    assert told.startswith("top.py:2 `json` of `low` is used here, which has it no more")


USED = {
    "by another name": "from low import f, X as Y\n",
    "in a function": "def g():\n    from low import X\n    return X\n",
    "where a handler has another one": "try:\n    from low import X\nexcept ImportError:\n    X = 2\n",
    "as an attribute": "import low\ndef g(): return low.X\n",
    "as an attribute by another name": "import low as l\ndef g(): return [l.X]\n",
    "several times": "import low\nfrom low import X\ndef g(): return low.X, low.X\n",
}
NOT_USED = {
    "another name": "from low import f\ndef g(X): return X\n",
    "another module's": "import os as low\ndef g(): return low.X\n",
    "a local variable": "import low\ndef g(low): return low.X\n",
    "stored": "import low\ndef g(): low.X = 1\n",
    "for type checkers": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from low import X\n",
    "no Python": "from low import X\n)\n",
}


@pytest.mark.parametrize("name", [*USED, *NOT_USED])
def test_other_modules(name: str) -> None:
    text = {**USED, **NOT_USED}[name]
    told = said({"low.py": LOW, "top.py": text}, {"low.py": WITHOUT})
    assert len(told) == (name in USED)


OWN = {
    "a default": ("def f(a=X): return a\n", True),
    "a class": ("class C:\n    def m(self): return [X for _ in self]\ndef f(): return 2\n", True),
    "a nested function": ("def f():\n    return lambda: X\n", True),
    "a list of names": ("__all__ = ['f', 'X']\ndef f(): return 2\n", True),
    "a global that a function makes": ("def f():\n    global X\n    X = 2\n    return X\n", False),
    "a local one": ("def f():\n    X = 2\n    return X\n", False),
    "one of the function around": ("def f(X=1):\n    return lambda: X\n", False),
    "all names of another module": ("from os.path import *\ndef f(): return X\n", False),
    "a module that answers for it": ("def __getattr__(name): return name\ndef f(): return 2\n", False),
    "an annotation as text": ("from __future__ import annotations\ndef f(a: X = 1): return 2\n", False),
}


@pytest.mark.parametrize("name", OWN)
def test_the_module_itself(name: str) -> None:
    text, is_used = OWN[name]
    old = text.partition("def")[0] if "__all__" in text or "__future__" in text or "*" in text else ""
    outcome = builder.compare(sources({"low.py": old + LOW}), sources({"low.py": text}), policy="linked")
    assert ["BCP221" for one in outcome.diagnostics if one.code == "BCP221"] == ["BCP221"] * is_used


def test_a_builtin_that_comes_to_light_is_found_and_who_takes_it_of_the_module_is_told() -> None:
    old = {
        "low.py": "def open(): return 1\ndef f(): return open()\ndef g(): return 1\n",
        "top.py": "from low import open\n",
    }
    new = "def f(): return open()\ndef g(): return 2\n"
    (told,) = said(old, {"low.py": new})
    assert told.startswith("top.py:1 `open` of `low` is used here")


def test_a_submodule_is_bound_by_whoever_imports_it() -> None:
    old = {
        "pack/__init__.py": "from . import low\ndef f(): return 1\n",
        "pack/low.py": "",
        "top.py": "from pack import low\nimport pack.low\ndef g(): return pack.low\n",
    }
    assert said(old, {"pack/__init__.py": "def f(): return 2\n"}) == []


def test_attributes_by_way_of_the_package() -> None:
    top = "import pack\ndef g(): return pack.low.X\n"
    old = {"pack/__init__.py": "from . import low\n", "pack/low.py": LOW, "top.py": top}
    (told,) = said(old, {"pack/low.py": WITHOUT})
    assert told.startswith("top.py:2 `X` of `pack.low` is used here")


def test_relative_imports() -> None:
    old = {
        "pack/__init__.py": "from .low import X\n",
        "pack/low.py": LOW,
        "pack/mid.py": "from . import low\ndef g(): return low.X\n",
    }
    assert [one.partition(" ")[0] for one in said(old, {"pack/low.py": WITHOUT})] == [
        "pack/__init__.py:1", "pack/mid.py:2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("other", "is_told"),
    [("Y = 1\n", True), ("X = 3\n", False), ("from top import *\n", False), ("from os import *\n", False)],
)
def test_all_names_of_another_module_of_the_sources(other: str, is_told: bool) -> None:
    old = {"other.py": other, "low.py": "from other import *\n" + LOW, "top.py": "from low import X\n"}
    assert bool(said(old, {"low.py": "from other import *\n" + WITHOUT})) == is_told


def test_what_goes_with_its_uses_is_no_finding() -> None:
    old = {"low.py": LOW, "top.py": "import low\nfrom low import X\ndef g(): return low.X\n"}
    assert said(old, {"low.py": WITHOUT, "top.py": "import low\ndef g(): return low\n"}) == []
