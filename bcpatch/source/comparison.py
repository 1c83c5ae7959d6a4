"""Two versions of a module that are being compared, and what has come of that so far.

What every step of a comparison is given, so that none of them is handed the parts one by one. Decides nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

import msgspec

from bcpatch.diagnostics import Diagnostic
from bcpatch.model import Policy
from bcpatch.source.bodies import Found
from bcpatch.source.outline import Function, Unit


class Anew(msgspec.Struct):
    """What is evaluated again: default values, by function and parameters, and every node in it by id."""

    defaults: list[tuple[Function, frozenset[str]]] = msgspec.field(default_factory=list)
    nodes: set[int] = msgspec.field(default_factory=set)

    def note(self, expressions: Iterable[ast.expr]) -> None:
        self.nodes.update(id(node) for one in expressions for node in ast.walk(one))


class Comparison(msgspec.Struct, frozen=True):
    """Two versions of a module, and for which policy and level of ``-O`` they are compared.

    ``beyond`` is what a linked patch carries beside functions. To ``said`` and ``anew`` each step adds: findings,
    and what an apply evaluates again.
    """

    old: Unit
    new: Unit
    policy: Policy
    optimization: int
    beyond: Found
    said: list[Diagnostic] = msgspec.field(default_factory=list)
    anew: Anew = msgspec.field(default_factory=Anew)

    @property
    def is_strict(self) -> bool:
        return self.policy is Policy.STRICT
