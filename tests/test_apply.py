"""A plan becomes a generation: code, defaults, closures and names switch, and back."""

from __future__ import annotations

from pathlib import Path

import worlds
from bcpatch import apply
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
