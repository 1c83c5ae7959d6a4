"""Small module sources and the patches between them."""

from __future__ import annotations

from bcpatch import builder
from bcpatch.builder import Outcome
from bcpatch.model import Edit, Module, Patch
from bcpatch.source.outline import Source

CART = Module("shop.cart", "shop/cart.py")


def source(text: str | bytes, module: Module = CART, path: str = "shop/cart.py") -> Source:
    return Source(module, path, text.encode() if isinstance(text, str) else text)


def compared(old: str, new: str, policy: str = "strict", module: Module = CART) -> Outcome:
    """What a comparison of two texts of one module comes to."""
    return builder.compare([source(old, module, "base/cart.py")], [source(new, module)], policy=policy)


def patch_of(old: str, new: str, policy: str = "strict", module: Module = CART) -> Patch:
    """The patch between two texts of one module, which must be accepted."""
    outcome = compared(old, new, policy, module)
    assert outcome.patch is not None, outcome.diagnostics
    return outcome.patch


def edits(old: str, new: str, policy: str = "strict") -> tuple[Edit, ...]:
    """The edits of the patch between two texts of one module; none where nothing changed."""
    return tuple(edit for module in patch_of(old, new, policy).modules for edit in module.edits)


def codes(old: str, new: str, policy: str = "strict") -> list[str]:
    """The codes of all that is said of a change, in order."""
    return [found.code for found in compared(old, new, policy).diagnostics]
