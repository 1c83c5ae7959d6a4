"""Functions that another one returns, and that read a value: run by whoever calls them, however that got them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_used_at_import import changed, outcome

LOW = """
X = (1, 1)
class Called:
  def __call__(self): return X
called = Called()
class M(type):
  def __call__(cls): return X
class K(metaclass=M): pass
def deco(f):
  def w(*a): return X, f(*a)
  return w
def factory(n):
  def d(f):
    def w(*a): return X, f(*a)
    return w
  return d
@deco
def decorated(): return 1
@factory(2)
def decorated2(): return 1
class H:
  @deco
  def m(self): return 1
  @factory(1)
  def m2(self): return 2
  @property
  @deco
  def p(self): return 3
  @staticmethod
  @deco
  def s(): return 3
h = H()
def cond(flag=False):
  def inner(): return X
  if flag: return inner()
  return inner
def stored(reg={}):
  def inner(): return X
  reg["a"] = inner
  return reg
def gen():
  def inner(): return X
  yield inner
def attr():
  def inner(): return X
  inner.calls = 0
  return inner
def lam():
  return lambda: X
def lamlist():
  return [lambda: X, lambda: 1]
def tup():
  def a(): return X
  def b(): return 1
  return a, b
def cls():
  class C:
    def m(self): return X
  return C
def nested():
  def outer():
    def inner(): return X
    return inner
  return outer()
def viaself():
  class O: pass
  o = O()
  def inner(): return X
  o.run = inner
  return o
def cm_():
  import contextlib
  @contextlib.contextmanager
  def c(): yield X
  return c
def passes():
  def inner(): return X
  return call(inner)
def call(f): return f()
def nonl():
  def inner(): return X
  def outer(): return inner()
  return outer
"""
FORMS = {
    "object": "N = low.called()",
    "made and called": "N = low.Called()()",
    "class with a metaclass": "N = low.K()",
    "object of its own": "c = low.Called()\nN = c()",
    "decorated": "N = low.decorated()",
    "decorated by what a call returned": "N = low.decorated2()",
    "decorated method": "N = low.H().m()",
    "method of an object": "N = low.h.m()",
    "method decorated by what a call returned": "N = low.h.m2()",
    "decorated property": "N = low.h.p",
    "decorated static method": "N = low.H.s()",
    "decorator": "@low.deco\ndef g(): return 1\nN = g()",
    "decorator with an argument": "@low.factory(3)\ndef g(): return 1\nN = g()",
    "decorator that is called": "def g(): return 1\nN = low.deco(g)()",
    "decorator with an argument that is called": "def g(): return 1\nN = low.factory(1)(g)()",
    "assigned and gone": "def g(): return 1\ng = low.deco(g)\nN = g()\ndel g",
    "decorator of a method": "class Q:\n  @low.deco\n  def m(self): return 1\nN = Q().m()",
    "decorator of a method with an argument": "class Q:\n  @low.factory(1)\n  def m(self): return 1\nN = Q().m()",
    "given on": "def g(): return 1\nN = low.call(low.deco(g))",
    "given to map": "def g(a): return 1\nN = list(map(low.deco(g), [1]))",
    "in a table that is gone": "def g(): return 1\nT = {'a': low.deco(g)}\nN = T['a']()\nT = None",
    "called by a condition": "N = low.cond(True)",
    "stored": "N = low.stored()['a']()",
    "yielded": "N = next(low.gen())()",
    "yielded in a loop": "for f in low.gen(): N = f()",
    "with an attribute": "N = low.attr()()",
    "lambda": "N = low.lam()()",
    "list of lambdas": "N = low.lamlist()[0]()",
    "one of several": "N = low.tup()[0]()",
    "several names": "a, b = low.tup()\nN = a()\ndel a",
    "class": "N = low.cls()().m()",
    "returned by what is called": "N = low.nested()()",
    "attribute of an object": "N = low.viaself().run()",
    "given to a function": "N = low.passes()",
    "called by another one": "N = low.nonl()()",
    "context manager": "with low.cm_()() as N: pass",
    "decorated twice": "@low.deco\n@low.deco\ndef g(): return 1\nN = g()",
    "decorator of a class": "@low.deco\nclass G: pass\nN = G()",
    "returned by another one": "def make(): return low.lam()\nN = make()()",
    "returned by its name": "def make(): return low.lam\nN = make()()()",
    "local variable": "def f():\n  g = low.lam()\n  return g()\nN = f()",
    "decorator in a function": "def f():\n  @low.deco\n  def g(): return 1\n  return g()\nN = f()",
    "attribute": "class A: pass\na = A()\na.f = low.lam()\nN = a.f()",
    "attribute that is gone": "class A: pass\na = A()\na.f = low.lam()\nN = a.f()\ndel a.f",
    "attribute of the receiver": (
        "class A:\n  def __init__(self): self.f = low.lam()\n  def go(self): return self.f()\nN = A().go()"
    ),
    "named where it is called": "N = (g := low.lam())()\ndel g",
    "the one or the other": "N = (low.lam() if True else None)()",
    "one or the other": "N = (None or low.lam())()",
    "in a display": "N = [*map(low.lam(), [])] or low.lam()()",
    "comprehension": "N = [f() for f in [low.lam()]]",
    "comprehension that calls twice": "N = [f()() for f in [low.lam]]",
    "loop": "for f in [low.lam()]: N = f()\ndel f",
    "partial": "import functools\nN = functools.partial(low.lam())()",
    "partial that is gone": "import functools\np = functools.partial(low.lam)\nN = p()()\ndel p",
    "in a block": "try:\n  f = low.lam()\nfinally: N = f()\ndel f",
    "bound by a with statement": "import contextlib\nwith contextlib.nullcontext(low.lam()) as f: N = f()\ndel f",
}


@pytest.mark.parametrize("form", FORMS)
def test_of_another_module(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"low.py": LOW, "top.py": f"import low\n{FORMS[form]}\n"}
    assert outcome(old, {**old, "low.py": changed(LOW)}, tmp_path, monkeypatch) == {"BCP210"}


@pytest.mark.parametrize("form", FORMS)
def test_of_the_module_itself(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = LOW + FORMS[form].replace("low.", "") + "\n"
    assert outcome({"low.py": old}, {"low.py": changed(old)}, tmp_path, monkeypatch) == {"BCP210"}


#: Names that lead in circles, and to each other many times.
CIRCLES = {
    "its own items": "x = {'a': int}\nx = list(x.values())\nN = [f() for f in x]",
    "an item of it": "x = {'a': {'b': int}}\nx = x.get('a')\nN = x.get('b')()",
    "a copy of it": "x = [int]\nx = [*x.copy(), str]\nN = x[0]()",
    "two names": "x, y = 1, 2\n" + "x = max(x, y)\ny = min(x, y)\n" * 8 + "N = x.bit_length()",
    "wrapped": "def w(f): return f\nh = int\n" + "h = w(h)\n" * 12 + "N = h()",
    "many objects around each other": (
        "class A:\n  def __init__(self, a): self.a = a\n  def go(self): return 1\na = A(None)\n"
        + "a = A(a)\n" * 16
        + "N = a.go()"
    ),
    "lists of themselves": "T = [int]\n" + "T = list(reversed([T.pop, *T.copy()]))\n" * 8 + "N = 1 if T else T[0]()",
    "each gives on to all others": (
        "\n".join(
            f"def f{one}(g, n):\n  if n: " + "; ".join(f"f{other}(g, n - 1)" for other in range(12) if other != one)
            for one in range(12)
        )
        + "\nN = f0(1, 0)"
    ),
    "each calls all others": (
        "\n".join(
            f"def f{one}(n):\n  if n: " + "; ".join(f"f{other}(n - 1)" for other in range(12)) for one in range(12)
        )
        + "\nN = f0(0)"
    ),
    "each is one of all others": (
        "; ".join(f"n{one} = int" for one in range(12))
        + "\n"
        + "\n".join(f"n{one} = n{other} or n{one}" for one in range(12) for other in range(12) if other != one)
        + "\nN = n3()"
    ),
}


@pytest.mark.parametrize("form", CIRCLES)
def test_circles_come_to_an_end(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    above = "from low import reads\nread = reads is None\n"
    old = {"low.py": "X = (1, 1)\ndef reads(): return X\n", "top.py": f"{above}{CIRCLES[form]}\n"}
    assert outcome(old, {**old, "low.py": changed(old["low.py"])}, tmp_path, monkeypatch) == set()


@pytest.mark.parametrize("form", CIRCLES)
def test_circles_in_the_module_itself(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    itself = "X = (1, 1)\ndef reads(): return X\n" + CIRCLES[form] + "\n"
    assert outcome({"low.py": itself}, {"low.py": changed(itself)}, tmp_path, monkeypatch) == set()
