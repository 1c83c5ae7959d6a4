"""A module put together from parts, each with a few versions: every kind of site, and what calls of it give.

A state says which version of each part a module has; `text` is its source. What a part
gives for a version tells which code ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from bcpatch import pythons

State: TypeAlias = Mapping[str, int]
"""The version of each part, by name."""


class Part(NamedTuple):
    """A piece of a module: its versions, and an expression whose value tells which one runs.

    Where a version has no such expression, what it would give is not looked at.
    """

    name: str
    versions: tuple[str, ...]
    calls: tuple[str, ...]


def _tagged(name: str, text: str, call: str) -> Part:
    """Versions that differ by a number, which is all over the text; the last is some lines longer than the others."""
    versions = [text.strip("\n").replace("TAG", str(tag)) for tag in (10, 11, 12)]
    versions[2] = f"# version 12\n# of {name}\n\n{versions[2]}"
    return Part(name, tuple(versions), (call,) * 3)


HELPERS = """
import abc, contextlib, dataclasses, enum, functools, types, typing
import hazard

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
    __slots__ = ("function",)
    def __init__(self, function):
        self.function = function
    def __call__(self, *args):
        return self.function(*args)

registry = []

def registered(function):
    registry.append((function, 1))

def copying(function):
    copy = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__module__, copy.__doc__ = function.__module__, function.__doc__
    function.copies = [*getattr(function, "copies", []), copy]
    return function

T = typing.TypeVar("T")
"""

_GENERIC = (
    (_tagged("generic", "def generic[A: 'TAG'](a=TAG): return a", "generic(), generic.__type_params__[0].__bound__"),)
    if pythons.TYPE_PARAMETERS
    else ()
)

STRICT = (
    Part("imports", ("", "import colorsys", "import colorsys, json as other"), ("1", "colorsys", "colorsys, other")),
    _tagged("plain", 'def plain(a=TAG, *, b=TAG):\n    """Doc TAG."""\n    return TAG, a, b', "plain()"),
    _tagged("keywords", "def keywords(a, b=[TAG], *, c='x' * 3):\n    return TAG, a, b, c", "keywords(1)"),
    _tagged("annotated", "def annotated(a: 'TAG', b: int = TAG) -> 'TAG': return a, b", "annotated(1)"),
    _tagged(
        "thing",
        """
class Thing:
    '''Thing TAG.'''
    size = 3
    def method(self, a=TAG):
        '''Method TAG.'''
        return TAG, a
    def __private(self): return TAG
    @staticmethod
    def static(): return TAG
    @classmethod
    def make(cls, a=TAG): return cls, TAG, a
    @property
    def both(self): return TAG, self.value
    @both.setter
    def both(self, value): self.value = TAG, value
    @both.deleter
    def both(self): self.value = TAG
    @functools.cached_property
    def once(self): return TAG
    short = lambda self: TAG
    class Inner:
        def method(self): return TAG
    def __len__(self): return TAG
""",
        "[t := Thing(), t.method(), t._Thing__private(), t.static(), Thing.make()[1:], setattr(t, 'both', 1), t.both,"
        " delattr(t, 'both'), t.both, t.once, t.short(), t.Inner().method(), len(t)][1:]",
    ),
    _tagged("partial", "def inner_p(x): return TAG, x\np = functools.partial(inner_p, 1)\ndel inner_p", "p()"),
    _tagged(
        "partial method",
        "class PM:\n    def f(self, x): return TAG, x\n    g = functools.partialmethod(f, 1)\n    del f",
        "PM().g()",
    ),
    _tagged(
        "dispatch",
        "@functools.singledispatch\ndef d(x): return TAG\n@d.register(int)\ndef _(x): return 'int', TAG",
        "d(1), d('')",
    ),
    _tagged("cached", "@functools.lru_cache\ndef cached(x): return TAG, x", "cached(1)"),
    _tagged("manager", "@contextlib.contextmanager\ndef manager():\n    yield TAG", "manager().__enter__()"),
    _tagged("chain", "@wrapping\n@wrapping\n@wrapping\ndef chain(): return TAG", "chain()"),
    _tagged("closed", "@closing\ndef closed(): return TAG", "closed()"),
    _tagged("held", "@Holding\n@Holding\ndef held(): return TAG", "held()"),
    _tagged("contained", "@registered\ndef contained(): return TAG", "registry[0][0]()"),
    _tagged(
        "copies",
        "@copying\ndef copies(): return TAG",
        "copies(), {one() for one in copies.copies}",
    ),
    _tagged(
        "maker",
        """
def maker(n):
    def inner(x, y=1):
        return n, x, y, TAG
    class Local:
        def tell(self): return n, TAG
    return inner, Local().tell, lambda: TAG
""",
        "[one(*[5][:not number]) for number, one in enumerate(maker(3))]",
    ),
    _tagged("lambdas", "table = {'a': [lambda: 1],\n 'b': lambda x=1: (TAG, x)}", "table['a'][0](), table['b']()"),
    _tagged(
        "copied",
        "@dataclasses.dataclass(slots=True)\nclass Copied:\n    x: int = 1\n    def f(self): return self.x, TAG",
        "Copied().f()",
    ),
    _tagged(
        "family",
        """
class Family(abc.ABC, typing.Generic[T]):
    @abc.abstractmethod
    def f(self): return TAG
class Child(Family):
    def f(self): return 'child', TAG, super().f()
""",
        "Child().f()",
    ),
    _tagged("enum", "class Color(enum.Enum):\n    RED = 1\n    def f(self): return TAG", "Color.RED.f()"),
    Part(
        "first super",
        tuple(
            f"class Below(Thing):\n    def method(self, a=1): return {body}"
            for body in ("10, a", "super().size, a", "12, super().size, a")
        ),
        ("Below().method()",) * 3,
    ),
    _tagged("generator", "def numbers():\n    yield TAG\n    yield TAG", "list(numbers())"),
    _tagged("coroutine", "async def later(): return TAG", "hazard.run(later())"),
    _tagged(
        "tree",
        """
class Tree:
    def root(self, a=TAG): return (TAG, a, *self.branch(), *self.leaf())
    def branch(self, a=TAG): return (TAG, a, *self.leaf())
    def leaf(self, a=TAG): return (TAG, a)
""",
        "Tree().root()",
    ),
    *_GENERIC,
    _tagged("risky", "def risky(a=hazard.value(TAG)): return TAG, a", "risky()"),
)

LINKED = (
    *STRICT,
    _tagged(
        "copies of all",
        "@copying\ndef copies_of_all(a=TAG):\n    'Doc TAG.'\n    return TAG, a",
        "copies_of_all(), {one() for one in copies_of_all.copies}",
    ),
    _tagged(
        "protocol",
        """
class Protocol:
    def __init_subclass__(cls): cls.mark = TAG
    def __class_getitem__(cls, key): return key, TAG
""",
        "Protocol[1], type('Other', (Protocol,), {}).mark",
    ),
    _tagged("value", "RATE = TAG\nNAMES = ('a', RATE, {'b': [TAG]})\ndef rated(x=1): return RATE, x", "rated(), NAMES"),
    Part(
        "more functions",
        (
            "",
            "def extra(): return helper()\ndef helper(): return 1",
            "def extra(): return helper() + 1\ndef helper(): return 2",
        ),
        ("None", "extra()", "extra()"),
    ),
    Part(
        "more methods",
        (
            "class Growing(Thing):\n    level = 1\n    def f(self): return 1",
            "class Growing(Thing):\n    level = 1\n    def f(self): return self.g()\n"
            "    def g(self): return super().size",
            "class Growing(Thing):\n    level = 2\n    def method(self): return self.level\n    def f(self): return 3",
        ),
        ("Growing().f(), Growing().method(1), hasattr(Growing, 'g')",) * 2
        + ("Growing().f(), Growing().method(), hasattr(Growing, 'g')",),
    ),
    Part(
        "more classes",
        (
            "",
            "class New:\n    def f(self): return 1",
            "class New:\n    def f(self): return 2\n    def g(self): return 3",
        ),
        ("None", "New().f()", "New().f(), New().g()"),
    ),
)

#: What readers call all the time: a part and an expression, most plain calls, the whole tree among them.
READ = {
    "plain": "plain()",
    "thing": "Thing().method(), Thing.static(), Thing().once",
    "chain": "chain()",
    "cached": "cached(2)",
    "tree": "Tree().root()",
}


def text(parts: tuple[Part, ...], state: State) -> str:
    """The source of a module."""
    first, *others = (part.versions[state[part.name]] for part in parts)
    docstring = f"'''Module {sum(state.values()) % 3}.'''"
    return "\n\n".join([docstring, first, HELPERS.strip("\n"), *others]) + "\n"
