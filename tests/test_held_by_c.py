"""Functions that C holds, in an iterator under way, a callback, a hook: what is applied runs, or is refused."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import worlds

from bcpatch import load
from bcpatch.diagnostics import Refused
from bcpatch.process.history import History


class Held(NamedTuple):
    """A module that says "old", and an expression that tells what runs, once. ``out`` is a list in the module."""

    name: str
    text: str
    call: str


def rows(text: str) -> list[Held]:
    found = []
    for block in text.split("=== ")[1:]:
        head, _, body = block.partition("\n")
        name, _, call = head.partition(": ")
        found.append(Held(name, "out = []\n" + body, call))
    return found


REACHED = rows(r"""
=== map: next(it)
import itertools
it = map(lambda x: 'old', [1, 2, 3])
next(it)

=== filter: first(list(it), out)
it = filter(lambda x: out.append('old'), [1, 2])

=== starmap: next(it)
import itertools
it = itertools.starmap(lambda x: 'old', [(1,)])

=== accumulate: next(it)
import itertools
it = itertools.accumulate([1, 2], lambda x, y: 'old')
next(it)

=== groupby: next(it)[0]
import itertools
it = itertools.groupby([1], lambda x: 'old')

=== tee: next(it[1])
import itertools
it = itertools.tee(map(lambda x: 'old', [1]))

=== iter: next(it)
it = iter(lambda: 'old', 0)
next(it)

=== cmp_to_key: k(1) < k(2)
import functools
k = functools.cmp_to_key(lambda a, b: out.append('old') or 0)

=== partial: d[0]()
import functools, collections
d = collections.deque([functools.partial(lambda: 'old')])

=== default of a dict: d[1]
import collections
d = collections.defaultdict(lambda: 'old')

=== slot: s.f()
class S:
    __slots__ = ('f',)
s = S()
s.f = lambda: 'old'

=== queue: q.get()()
import queue
q = queue.SimpleQueue()
q.put(lambda: 'old')

=== local of a thread: d.f()
import threading
d = threading.local()
d.f = lambda: 'old'

=== thread: first(t.start(), t.join())
import threading
t = threading.Thread(target=lambda: out.append('old'))

=== weak reference: gone('o')
import weakref
o = type('O', (), {})()
w = weakref.ref(o, lambda r: out.append('old'))

=== finalize: gone('o')
import weakref
o = type('O', (), {})()
weakref.finalize(o, lambda: out.append('old'))

=== context: c[v]()
import contextvars
v = contextvars.ContextVar('v')
c = contextvars.copy_context()
c.run(v.set, lambda: 'old')

=== default of a context: v.get()()
import contextvars
v = contextvars.ContextVar('v', default=lambda: 'old')

=== exit stack: e.close()
import contextlib
e = contextlib.ExitStack()
e.callback(lambda: out.append('old'))

=== ctypes: c()
import ctypes
c = ctypes.CFUNCTYPE(None)(lambda: out.append('old'))

=== stack of a generator: next(it)
def g():
    for k in [lambda: 'old']:
        yield 0
        yield k()
it = g()
next(it)

=== dispatch of a method: f(1)
import functools
class C:
    @functools.singledispatchmethod
    def f(self, x): pass
    @f.register
    def _(self, x: int): return 'old'
f = C().f
f(1)

=== metaclass: C()
class M(type):
    def __call__(cls): return 'old'
class C(metaclass=M): pass

=== descriptor: C().x
class D:
    def __set_name__(self, o, n): pass
    def __get__(self, i, o): return 'old'
class C:
    x = D()

=== excepthook: sys.excepthook()
import sys
def hook(*_): out.append('old')
sys.excepthook = hook
del hook

=== copyreg: copy.copy(O())
import copy, copyreg
class O: pass
copyreg.pickle(O, lambda o: (str, ('old',)))

=== json: d.decode('{}')
import json
d = json.JSONDecoder(object_hook=lambda o: 'old')

=== expat: p.Parse('<a/>')
import xml.parsers.expat as e
p = e.ParserCreate()
p.StartElementHandler = lambda *_: out.append('old')

=== answers of a class: ('old', 'new')[issubclass(int, A)]
import abc
class A(abc.ABC): pass
class B(A):
    @classmethod
    def __subclasshook__(cls, c): return 'old' == 'new'
issubclass(int, A)
=== signal: signal.raise_signal(2)
import signal
signal.signal(signal.SIGINT, lambda *_: out.append('old'))

""")

OUT_OF_SIGHT = rows(r"""
=== profile: len('')
import sys
def seen(*_): out.append('old')
sys.setprofile(seen)
del seen
=== atexit: atexit._run_exitfuncs()
import atexit
atexit.register(lambda: out.append('old'))

=== errors of codecs: b'\xff'.decode('ascii', 'world')
import codecs
codecs.register_error('world', lambda e: ('old', e.end))

""")


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    yield
    sys.setprofile(None)
    sys.excepthook = sys.__excepthook__
    signal.signal(signal.SIGINT, handler)


def told(held: Held, space: dict[str, object]) -> object:
    """What the expression tells, or what it leaves in ``out``."""
    helpers = {"first": lambda *_: None, "gone": lambda name: space.pop(name) and None}
    value = eval(held.call, {**space, **helpers})
    sys.setprofile(None)
    out = space["out"]
    assert isinstance(out, list)
    return value if isinstance(value, str) else out[-1]


@pytest.mark.parametrize("held", REACHED, ids=[held.name for held in REACHED])
def test_what_c_holds_runs_the_new_code(held: Held, tmp_path: Path) -> None:
    old = held.text
    with worlds.world(old, tmp_path) as module:
        load.apply(worlds.linked(old, old.replace("'old'", "'new'").replace("'new' == 'new'", "True")), History())
        assert told(held, vars(module)) == "new"


@pytest.mark.parametrize("held", OUT_OF_SIGHT, ids=[held.name for held in OUT_OF_SIGHT])
def test_what_nobody_can_see_is_refused(held: Held, tmp_path: Path) -> None:
    old = held.text
    with worlds.world(old, tmp_path) as module:
        with pytest.raises(Refused) as refused:
            load.apply(worlds.linked(old, old.replace("'old'", "'new'")), History())
        assert {one.code for one in refused.value.diagnostics} == {"BCP502"}
        assert told(held, vars(module)) == "old"
