"""A plan becomes a generation: code, defaults, closures and names switch, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import worlds

from bcpatch import apply
from bcpatch.diagnostics import Refused
from bcpatch.history import History

SHOP = '''
    """A shop."""

    class Cart:
        def __init__(self):
            self.total = 0

        def add(self, price, count=1):
            """Add."""
            self.total += price * count
            return self.total

    def rate(amount, percent=10):
        return amount * percent // 100
'''


def test_functions_and_methods_switch_and_state_stays(tmp_path: Path) -> None:
    new = SHOP.replace("price * count", "price * count + 1").replace("// 100", "// 10")
    history = History()
    with worlds.world(SHOP, tmp_path) as shop:
        cart = shop.Cart()
        assert (cart.add(5), shop.rate(200)) == (5, 20)
        generation = worlds.applied(SHOP, new, history)
        assert (generation.number, [str(one.site) for one in generation.sites]) == (1, ["world:Cart.add", "world:rate"])
        assert (cart.add(5), shop.rate(200)) == (11, 200)
        with history.exclusive():
            apply.rollback(history, 0)
        assert (cart.add(5), shop.rate(200)) == (16, 20)


BASE = """
class Base:
    def tell(self):
        return "base"

class Child(Base):
    def tell(self):
        return "child"

    @property
    def name(self):
        return "name"

    @classmethod
    def make(cls):
        return cls()
"""
SUPER = BASE.replace('return "child"', 'return "child of " + super().tell()')


def test_a_first_super_takes_a_new_function(tmp_path: Path) -> None:
    history = History()
    with worlds.world(BASE, tmp_path) as module:
        child = module.Child()
        old = id(vars(module.Child)["tell"])
        worlds.applied(BASE, SUPER, history)
        assert child.tell() == "child of base"
        assert id(vars(module.Child)["tell"]) != old
        with history.exclusive():
            apply.rollback(history, 0)
        assert child.tell() == "child"
        assert id(vars(module.Child)["tell"]) == old
        with history.exclusive():
            apply.rollback(history, 1)
        assert child.tell() == "child of base"


@pytest.mark.parametrize("accessor", ["name", "make"])
def test_a_first_super_below_a_descriptor(tmp_path: Path, accessor: str) -> None:
    history = History()
    body = {"name": 'return "name"', "make": "return cls()"}[accessor]
    new = BASE.replace(body, f"super; {body}")
    with worlds.world(BASE, tmp_path) as module:
        before = vars(module.Child)[accessor]
        kind, inner = type(before), before.fget if accessor == "name" else before.__func__
        old = id(inner)
        del before, inner
        worlds.applied(BASE, new, history)
        after = vars(module.Child)[accessor]
        function = after.fget if accessor == "name" else after.__func__
        assert isinstance(after, kind)
        assert function.__code__.co_freevars == ("__class__",)
        assert id(function) != old
        assert module.Child.make().name == "name"


def test_a_function_that_somebody_else_holds_is_not_replaced(tmp_path: Path) -> None:
    history = History()
    with worlds.world(BASE, tmp_path) as module:
        kept = module.Child.tell
        with pytest.raises(Refused) as refused:
            worlds.applied(BASE, SUPER, history)
        assert [one.code for one in refused.value.diagnostics] == ["BCP611"]
        assert history.current == 0
        assert kept(module.Child()) == "child"
