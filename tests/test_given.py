"""What import-time code was given of a function, and may have looked at."""

from __future__ import annotations

import pytest

from bcpatch import compile as compiler
from bcpatch.diagnostics import Severity
from bcpatch.model import Module, Policy
from bcpatch.source.outline import Source, outline

LINES = """\
import atexit, functools, contextlib, framework
from functools import lru_cache, singledispatch as dispatch, wraps
try:
    from functools import cached_property as either
except ImportError:
    from framework import either

TABLE = {}
LIST = []

def wrapping(f):
    @functools.wraps(f)
    def inner(*rest, **options):
        return f(*rest, **options)
    return inner

def keeping(f):
    if f is None:
        raise TypeError(f"{f} is none")
    TABLE[f.__name__] = f
    LIST.append(f)
    f.kept = True
    return f

def looking(f):
    TABLE[f.__name__] = f.__defaults__
    return f

def handing(f):
    return framework.take(f)

def renaming(f):
    other = f
    return other

def misled(f, wraps):
    return wraps(f)

@framework.decorator
def replaced(f):
    return f

def anything(*rest):
    return rest[0]

def factory(name):
    def decorate(f):
        TABLE[name] = f
        return f
    return decorate

def looking_factory(name):
    def decorate(f):
        TABLE[name] = f.__doc__
        return f
    return decorate

def unclear_factory(name):
    return functools.partial(keeping)

@dispatch
def general(value):
    return value

@framework.dispatch
def other_general(value):
    return value

class property_like:
    pass

"""

#: A function, and what else the module has: "looked" where something may have looked at the function's definition.
CASES = {
    "no decorator": ("{}", ""),
    "blind builtin": ("@staticmethod\n{}", ""),
    "blind of an imported module": ("@atexit.register\n{}", ""),
    "blind imported name": ("@lru_cache\n{}", ""),
    "blind, called": ("@lru_cache(maxsize=3)\n{}", ""),
    "blind in two lines": ("@contextlib.contextmanager\n@lru_cache\n{}", ""),
    "unknown": ("@framework.route\n{}", "looked"),
    "unknown, called": ("@framework.route('/')\n{}", "looked"),
    "unknown around blind": ("@framework.route\n@lru_cache\n{}", "looked"),
    "one of two origins": ("@either\n{}", "looked"),
    "partial makes anything": ("@functools.partial(framework.route, 1)\n{}", "looked"),
    "own that wraps": ("@wrapping\n{}", ""),
    "own that keeps": ("@keeping\n{}", ""),
    "own that looks": ("@looking\n{}", "looked"),
    "own that hands on": ("@handing\n{}", "looked"),
    "own that calls it something else": ("@renaming\n{}", "looked"),
    "own with a parameter of a blind name": ("@misled\n{}", "looked"),
    "own that something replaced": ("@replaced\n{}", "looked"),
    "own that takes anything": ("@anything\n{}", "looked"),
    "own factory": ("@factory('x')\n{}", ""),
    "own factory that looks": ("@looking_factory('x')\n{}", "looked"),
    "own factory that returns what": ("@unclear_factory('x')\n{}", "looked"),
    "dispatch for a class": ("@general.register(int)\n{}", ""),
    "dispatch by annotation": ("@general.register\n{}", "certain"),
    "something like dispatch": ("@other_general.register(int)\n{}", "looked"),
    "call": ("{}\nframework.add(f)", "looked"),
    "call by keyword": ("{}\nframework.add(view=f)", "looked"),
    "call with a display": ("{}\nframework.add([('/', f)])", "looked"),
    "call of what is blind": ("{}\natexit.register(f)", ""),
    "call of own that looks": ("{}\nlooking(f)", "looked"),
    "call of a list's method": ("{}\nLIST.append(f)", ""),
    "call of something like it": ("{}\nframework.append(f)", "looked"),
    "call in a class body": ("class A:\n  x = framework.make(f)\n{}", "looked"),
    "call in a function that is run": ("{}\ndef setup(): framework.add(f)\nsetup()", "looked"),
    "call in a function that is not run": ("{}\ndef setup(): framework.add(f)", ""),
    "call of the program": ("{}\nif __name__ == '__main__':\n  framework.add(f)", ""),
    "value": ("{}\nVIEW = f", ""),
    "value in a table": ("{}\nVIEWS = [f]", ""),
}


def found(old: str, new: str, policy: Policy = Policy.STRICT) -> list[tuple[str, str]]:
    module = Module("m", "m.py")
    before, after = (outline(Source(module, "m.py", text.encode()), 0) for text in (old, new))
    changed = compiler.changes(before, after, policy, 0)
    return [(one.severity, one.message) for one in changed.diagnostics if one.code == "BCP217"]


OLD = "def f(x: int = 1):\n    'old'\n    return x\n"
CHANGES = {
    "default values": "def f(x: int = 2):\n    'old'\n    return x\n",
    "annotations": "def f(x: str = 1):\n    'old'\n    return x\n",
    "documentation": "def f(x: int = 1):\n    'new'\n    return x\n",
    "parameters": "def f(x: int = 1, *rest):\n    'old'\n    return x\n",
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("name", CASES)
def test_what_may_have_looked_at_a_definition_is_named(name: str, what: str) -> None:
    text, wanted = CASES[name]
    said = found(LINES + text.format(OLD), LINES + text.format(CHANGES[what]))
    assert len(said) == bool(wanted)
    assert all(severity == Severity.ERROR and f"made of its {what} stays" in message for severity, message in said)


@pytest.mark.parametrize("name", CASES)
def test_code_inside_of_a_function_is_not_looked_at(name: str) -> None:
    text = CASES[name][0]
    assert not found(LINES + text.format(OLD), LINES + text.format(OLD.replace("return x", "return [x]")))


@pytest.mark.parametrize("name", CASES)
def test_linked_warns_but_where_it_is_certain(name: str) -> None:
    text, wanted = CASES[name]
    said = found(LINES + text.format(OLD), LINES + text.format(CHANGES["annotations"]), Policy.LINKED)
    severities = {"": [], "looked": [Severity.WARNING], "certain": [Severity.ERROR]}
    assert [severity for severity, _ in said] == severities[wanted]


@pytest.mark.parametrize(
    ("text", "looked"),
    [
        ("class A:\n  @property\n  def f(self): {}\n", False),
        ("class A:\n  @property\n  def f(self): 1\n  @f.setter\n  def f(self, value): {}\n", False),
        ("class A:\n  property = print\n  @property\n  def f(self): {}\n", True),
        ("property = print\nclass A:\n  @property\n  def f(self): {}\n", True),
        ("def keep(f): return f\nclass A:\n  @keep\n  def f(self): {}\n", False),
        ("def keep(f): return f\nclass A:\n  keep = print\n  @keep\n  def f(self): {}\n", True),
        ("def keep(n):\n  def inner(f): return f\n  return inner\nclass A:\n  @keep(1)\n  def f(self): {}\n", False),
        (
            "def keep(n):\n  def inner(f): return f\n  return inner\n"
            "class A:\n  keep = print\n  @keep(1)\n  def f(self): {}\n",
            True,
        ),
        ("kept = []\nclass A:\n  @kept.append\n  def f(self): {}\n", False),
        ("kept = []\nclass A:\n  kept = print\n  @kept.append\n  def f(self): {}\n", True),
        ("import framework\nclass A:\n  @framework.hook\n  def f(self): {}\n", True),
        ("import framework\n@framework.model\nclass A:\n  def f(self): {}\n", True),
        ("import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass A:\n  def f(self): {}\n", False),
        ("import framework\nclass A(framework.Base):\n  def f(self): {}\n", False),
    ],
)
def test_methods(text: str, looked: bool) -> None:
    assert len(found(text.format("'old'"), text.format("'new'"))) == looked


def test_several_things_are_said_in_one_message() -> None:
    text = "@route\ndef f(x={0}): 'doc {0}'\n"
    [(_, message)] = found(text.format(1), text.format(2))
    assert message == (
        "`f` was given to `route` (line 1) when the module was imported; "
        "what that made of its default values and documentation stays"
    )
