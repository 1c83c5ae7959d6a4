"""What accepted code touches when it runs, against what the reference rules said it can't.

Functions are generated, verified as a strict patch and run in a world that records every
attribute and every global that their own instructions reach, also through ``getattr`` and
other callables that are no Python code. Of accepted functions nothing private may be seen.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import CodeType, ModuleType

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_references import findings

from bcpatch.rules import names

#: What the running example touched: ("attribute" or "global", name).
SEEN: set[tuple[str, str]] = set()
OWN: set[CodeType] = set()


def note(kind: str, name: str, frame: int = 2) -> None:
    if sys._getframe(frame).f_code in OWN:
        SEEN.add((kind, name))


class Watched:
    """A value whose attributes exist, whatever they are called, and are seen."""

    def __getattribute__(self, name: str) -> object:
        note("attribute", name)
        try:
            return object.__getattribute__(self, name)
        except AttributeError:
            if names.is_protocol(name):
                raise
            return Watched()

    def __setattr__(self, name: str, value: object) -> None:
        note("attribute", name)

    def __delattr__(self, name: str) -> None:
        note("attribute", name)

    def __call__(self, *given: object, **named: object) -> object:
        return given[0] if given else Watched()


class WatchedType(type):
    """The same for the attributes of a class."""

    def __getattribute__(cls, name: str) -> object:
        note("attribute", name)
        return type.__getattribute__(cls, name)

    def __setattr__(cls, name: str, value: object) -> None:
        note("attribute", name)

    def __delattr__(cls, name: str) -> None:
        note("attribute", name)


class Seen:
    """An attribute of a base class, which `super` finds without asking anybody."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> object:
        note("attribute", self.name)
        return Watched()


ATTRIBUTES = ("low", "high", "_low", "_Cart__low", "_replace")


class Base(Watched, metaclass=WatchedType):
    __match_args__ = ("low", "_low")


for one in ATTRIBUTES:
    type.__setattr__(Base, one, Seen(one))


class Namespace(dict):
    """A module's namespace that sees which of its names are looked up."""

    def __getitem__(self, name: str) -> object:
        found = dict.__getitem__(self, name)
        note("global", name)
        return found


@contextlib.contextmanager
def world() -> Iterator[None]:
    """The modules that the examples import."""
    package, prices, base = ModuleType("shop"), ModuleType("shop.prices"), ModuleType("shop.base")
    vars(package).update(prices=prices, base=base, __path__=[])
    vars(prices).update(low=Watched(), high=Watched(), _low=Watched())
    vars(base).update(Base=Base, Price=Base, Watched=Watched)
    mine = {"shop": package, "shop.prices": prices, "shop.base": base}
    before = {name: sys.modules.get(name) for name in mine}
    sys.modules.update(mine)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def functions(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from functions(constant)


def touched(text: str) -> set[tuple[str, str]]:
    """What the functions of a module touch when each is called once."""
    code = compile(text, "shop/cart.py", "exec", dont_inherit=True)
    with world():
        namespace = Namespace(__name__="shop.cart", __package__="shop", __file__="shop/cart.py")
        exec(code, namespace)
        before = dict(namespace)
        cart = dict.__getitem__(namespace, "Cart")()
        OWN.update(functions(code))
        SEEN.clear()
        try:
            for flag in (True, False):
                # whatever the example raises, it has touched what it has touched
                with contextlib.suppress(Exception):
                    type(cart).total(cart, Watched(), "_low", flag)
            found = set(SEEN)
        finally:
            OWN.clear()
        changed = {name for name in {*before, *namespace} if before.get(name) is not dict.get(namespace, name)}
        return found | {("stored global", name) for name in changed}


IMPORTED = ("operator", "functools", "prices", "attrgetter", "Price", "Base", "sys", "shop", "builtins")
HEADER = """\
import builtins, functools, operator, sys
import shop
import shop.prices as prices
from operator import attrgetter
from shop.base import Base, Price

RATE = 3

def helper(value=None):
    return value

class Cart(Base):
    def total(me, other, key, flag):
"""


def forbidden(seen: set[tuple[str, str]]) -> set[tuple[str, str]]:
    allowed = {*IMPORTED, *names.FACTS}
    return {
        (kind, name)
        for kind, name in seen
        if kind == "stored global"
        or (kind == "global" and name not in allowed)
        or (kind == "attribute" and (name in names.INSIDE or (names.is_private(name) and name != "_replace")))
    }


# --- generated bodies ------------------------------------------------------------------------

PUBLIC = st.sampled_from(("low", "high", "price"))
NAME = st.one_of(PUBLIC, PUBLIC, st.sampled_from(("_low", "__low", "_replace", "__dict__", "__class__")))
TEXT = st.one_of(NAME.map(repr), NAME.map(repr), st.sampled_from(("key", "'_' + 'low'", "('low' if flag else '_low')")))
ATOM = st.sampled_from(
    "me me other x y flag prices Price super() type(me) operator RATE helper Cart".split(),
)
GETTER = st.sampled_from(
    ("getattr", "builtins.getattr", "x", "y", "[getattr][0]", "(getattr if flag else helper)", "(lambda f: f)(getattr)")
)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{}.{}".format, inner, NAME),
        st.builds("{}.{}".format, inner, PUBLIC),
        st.builds("({} if flag else {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("[{}, {}][0]".format, inner, inner),
        st.builds("[q for q in [{}]][0]".format, inner),
        st.builds("next(q.{1} for q in [{0}])".format, inner, NAME),
        st.builds("(lambda: {})()".format, inner),
        st.builds("(lambda q: q.{1})({0})".format, inner, NAME),
        st.builds("(x := {})".format, inner),
        st.builds("type({})".format, inner),
        st.builds("{}({})".format, inner, inner),
        st.builds("{}({}, {})".format, GETTER, inner, TEXT),
        st.builds("hasattr({}, {})".format, inner, TEXT),
        st.builds("operator.attrgetter({1})({0})".format, inner, TEXT),
        st.builds("functools.partial(getattr, {})({})".format, inner, TEXT),
        st.builds("'{{0.{1}}}'.format({0})".format, inner, NAME),
        st.builds("('{{0.' + {1} + '}}').format({0})".format, inner, TEXT),
        st.builds("f'{{{}}}'".format, inner),
    )


EXPRESSION = st.recursive(ATOM, grown, max_leaves=5)


def indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


SIMPLE = st.one_of(
    st.builds("{} = {}".format, st.sampled_from(("x", "y")), EXPRESSION).map(lambda line: [line]),
    st.builds("{}.{} = {}".format, ATOM, NAME, EXPRESSION).map(lambda line: [line]),
    st.builds("del {}.{}".format, ATOM, NAME).map(lambda line: [line]),
    st.builds("setattr({}, {}, 1)".format, EXPRESSION, TEXT).map(lambda line: [line]),
    st.builds("object.__setattr__({}, {}, 1)".format, EXPRESSION, TEXT).map(lambda line: [line]),
    EXPRESSION.map(lambda line: [line]),
    st.sampled_from(
        (
            ["import operator as x"],
            ["from shop import prices as x"],
            ["from shop.prices import _low as x"],
            ["from operator import attrgetter as y"],
            ["import builtins as y"],
            ["x = getattr"],
            ["global RATE", "RATE = 4"],
        )
    ),
)


def nested(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    block = st.lists(inner, min_size=1, max_size=2).map(lambda parts: [line for part in parts for line in part])
    return st.one_of(
        block.map(lambda lines: ["if flag:", *indented(lines)]),
        block.map(lambda lines: ["for x in [me, other]:", *indented(lines)]),
        block.map(lambda lines: ["try:", *indented(lines), "except Exception:", "    y = me"]),
        block.map(lambda lines: ["def inner():", "    x = y = me", *indented(lines), "inner()"]),
        block.map(lambda lines: ["def inner():", "    nonlocal x, y", *indented(lines), "inner()"]),
        block.map(lambda lines: ["class Local:", "    x = y = me", *indented(lines)]),
        st.builds(
            lambda subject, name: [f"match {subject}:", f"    case Price({name}=x):", "        y = x"], EXPRESSION, NAME
        ),
        st.builds(lambda subject: [f"match {subject}:", "    case Price(x, y):", "        pass"], EXPRESSION),
    )


STATEMENT = st.recursive(SIMPLE, nested, max_leaves=4)
BODY = st.lists(STATEMENT, min_size=1, max_size=4).map(
    lambda parts: ["x = y = me", *(line for part in parts for line in part)]
)


def module(lines: list[str]) -> str:
    return HEADER + "".join(f"        {line}\n" for line in lines)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(BODY)
@example(["x = type(me)", "y = x.low"])
@example(["def inner():", "    return operator.attrgetter('low')(me)", "inner()"])
def test_accepted_code_touches_nothing_that_the_rules_exclude(lines: list[str]) -> None:
    text = module(lines)
    try:
        compile(text, "shop/cart.py", "exec", dont_inherit=True)
    except SyntaxError:
        return
    refused = [one for one in findings(text) if one.site is not None and one.site.qualname == "Cart.total"]
    seen = touched(text)
    if not refused:
        assert forbidden(seen) == set()


# --- the oracle itself -------------------------------------------------------------------------

BREAKING = {
    "me._low": ("attribute", "_low"),
    "me.__low": ("attribute", "_Cart__low"),
    "me._low = 1": ("attribute", "_low"),
    "del me._low": ("attribute", "_low"),
    "type(me)._low": ("attribute", "_low"),
    "super()._low": ("attribute", "_low"),
    "other._low": ("attribute", "_low"),
    "getattr(me, key)": ("attribute", "_low"),
    "[getattr][0](me, key)": ("attribute", "_low"),
    "(lambda f: f(me, key))(getattr)": ("attribute", "_low"),
    "functools.partial(getattr, me)(key)": ("attribute", "_low"),
    "operator.attrgetter(key)(me)": ("attribute", "_low"),
    "'{0._low}'.format(me)": ("attribute", "_low"),
    "[q._low for q in [me]]": ("attribute", "_low"),
    "(lambda: me._low)()": ("attribute", "_low"),
    "me.__dict__": ("attribute", "__dict__"),
    "helper()": ("global", "helper"),
    "Cart": ("global", "Cart"),
    "(lambda: RATE)()": ("global", "RATE"),
}


@pytest.mark.parametrize("line", sorted(BREAKING))
def test_the_oracle_sees_what_breaks_the_rules(line: str) -> None:
    assert BREAKING[line] in forbidden(touched(module([line])))


def test_the_oracle_sees_stored_globals_and_patterns() -> None:
    assert ("stored global", "RATE") in touched(module(["global RATE", "RATE = 4"]))
    assert ("attribute", "_low") in touched(module(["match me:", "    case Price(x, y):", "        pass"]))


@pytest.mark.parametrize(
    "line", ["me.low", "helper", "getattr(me, 'low')", "other(me)", "prices.low", "operator.attrgetter('low')(me)"]
)
def test_what_is_passed_on_is_not_touched(line: str) -> None:
    assert forbidden(touched(module([line]))) == ({("global", "helper")} if line == "helper" else set())
