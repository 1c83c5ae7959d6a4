"""Whether the order of a body's statements still means what it meant: which of several bindings a name has in the end.

Functions and imports are compared by name, wherever they stand. That is right only
while no other binding of their name comes to stand before or behind them, and no
statement that reads the name.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bcpatch.diagnostics import Diagnostic, finding
from bcpatch.source import shape
from bcpatch.source.evaluated import binds, evaluated, reads
from bcpatch.source.outline import Class, Unit


def reordered(old: Unit, new: Unit, before: Class | None, after: Class | None) -> Iterator[Diagnostic]:
    """Names of a body that another statement binds last, or that a statement reads at another time."""
    was, now = (_Events(body) for body in (before.node if before else old.tree, after.node if after else new.tree))
    for name in filter(was.bound.__contains__, now.bound):
        there, here = was.bound[name], now.bound[name]
        if _differ(there, here):
            message = f"`{name}` is bound several times, in another order or by other statements than in the base"
            yield finding("BCP208", message, new.place(now.last[name]))
        elif was.read.get(name) and now.read.get(name):
            moved = now.read[name] - was.read[name]
            kept = {text for text, _ in was.read[name]}
            if any(text in kept for text, _ in moved):
                message = f"`{name}` is read at another time: between other statements that bind it than in the base"
                yield finding("BCP208", message, new.place(now.last[name]))


def _differ(there: Sequence[str], here: Sequence[str]) -> bool:
    """Whether the statements that bind a name are others, or stand in another order.

    Definitions of one kind may be more or fewer: what is added or removed is told by its own rule. Those that are in
    both must keep their order, in which they are taken for the same.
    """
    if max(len(there), len(here)) == 1 or there == here:
        return False
    kinds = {*map(_kind, there), *map(_kind, here)}
    if len(kinds) > 1 or kinds == {"Import"}:
        return len(kinds) > 1  # of imports the last one is looked at, wherever it stands
    return _shared(there, here) != _shared(here, there)


def _shared(texts: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those texts that are among others too, each as often as it is there."""
    left = Counter(others)
    found = []
    for text in texts:
        if left[text]:
            left[text] -= 1
            found.append(text)
    return found


class _Events:
    """What a body's statements do to names, in their order."""

    def __init__(self, body: ast.Module | ast.ClassDef) -> None:
        self.bound: dict[str, list[str]] = {}
        self.last: dict[str, ast.stmt] = {}
        self.read: dict[str, Counter[tuple[str, str]]] = {}
        readers: list[tuple[str, ast.stmt, int]] = []
        for statement in body.body:
            own = dict.fromkeys(binds(statement))
            readers += (
                (name, statement, len(self.bound.get(name, ())))
                for name in set(reads(_evaluated_now(statement)))
                if name not in own
            )
            for name in own:
                self.bound.setdefault(name, []).append(_text(statement))
                self.last[name] = statement
        for name, statement, above in readers:
            where = _where(above, len(self.bound.get(name, ())))
            self.read.setdefault(name, Counter())[shape.shape(statement), where] += 1


def _evaluated_now(statement: ast.stmt) -> Iterator[ast.AST]:
    return evaluated(statement, annotations=False)


def _where(above: int, of: int) -> str:
    return "below" if above == of else "above" if not above else f"below {above}"


def _text(statement: ast.stmt) -> str:
    if isinstance(statement, shape.DEFINITIONS):
        return f"{type(statement).__name__} {','.join(map(shape.shape, statement.decorator_list))}"
    return f"{type(statement).__name__} {shape.shape(statement)}"


def _kind(text: str) -> str:
    word = text.partition(" ")[0]
    return "Import" if word == "ImportFrom" else word
