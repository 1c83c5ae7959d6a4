"""Whether the order of a body's statements still means what it meant: which of several bindings a name has in the end.

Functions and imports are compared by name, wherever they stand. That is right only
while no other binding of their name comes to stand before or behind them, and no
statement that reads the name.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from bcpatch.diagnostics import Diagnostic, finding
from bcpatch.source import branches, shape
from bcpatch.source.evaluated import binds, evaluated, reads
from bcpatch.source.outline import Class, Unit

_T = TypeVar("_T")


def reordered(old: Unit, new: Unit, before: Class | None, after: Class | None) -> Iterator[Diagnostic]:
    """Names of a body that another statement binds last, or that a statement reads at another time."""
    bodies = before.node.body if before else old.tree.body, after.node.body if after else new.tree.body
    for statement, message in differences(*bodies):
        yield finding("BCP208", message, new.place(statement))


def differences(before: Sequence[ast.stmt], after: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """The same of two lists of statements: the last that binds such a name, and what is to be said."""
    was, now = _Events(before), _Events(after)
    for name in filter(was.bound.__contains__, now.bound):
        there, here = was.bound[name], now.bound[name]
        if _differ(there, here):
            message = f"`{name}` is bound several times, in another order or by other statements than in the base"
            yield now.last[name], message
        elif was.read.get(name) and now.read.get(name):
            moved = now.read[name] - was.read[name]
            kept = {text for text, _ in was.read[name]}
            if any(text in kept for text, _ in moved):
                yield now.last[name], _STAR if name == "*" else f"`{name}` is read at another time: {_BETWEEN}"


_BETWEEN: Final = "between other statements that bind it than in the base"
_STAR: Final = (
    "what stood below this stands above it now, or the other way round: which has a name in the end is not known"
)


def _differ(there: Sequence[_Binder], here: Sequence[_Binder]) -> bool:
    """Whether the statements that bind a name are others, or stand in another order.

    Definitions of one kind may be more or fewer: what is added or removed is told by its own rule. Those that are in
    both must keep their order, in which they are taken for the same: compound statements are, whatever is in them.
    """
    if max(len(there), len(here)) == 1 or there == here:
        return False
    kinds = {one.kind for one in (*there, *here)}
    if len(kinds) > 1 or kinds == {"Import"}:
        return len(kinds) > 1  # of imports the last one is looked at, wherever it stands
    heads = [one.head for one in there], [one.head for one in here]
    return _shared(there, here) != _shared(here, there) or _shared(*heads) != _shared(*heads[::-1])


def _shared(some: Iterable[_T], others: Iterable[_T]) -> list[_T]:
    """Those that are among others too, each as often as it is there."""
    left = Counter(others)
    found = []
    for one in some:
        if left[one]:
            left[one] -= 1
            found.append(one)
    return found


class _Binder(NamedTuple):
    """A statement that binds a name: its kind, all that it says, and as what it is taken for the same one."""

    kind: str
    text: str
    head: object


class _Events:
    """What a body's statements do to names, in their order."""

    def __init__(self, body: Sequence[ast.stmt]) -> None:
        self.bound: dict[str, list[_Binder]] = {}
        self.last: dict[str, ast.stmt] = {}
        self.read: dict[str, Counter[tuple[str, str]]] = {}
        readers: list[tuple[str, ast.stmt, int]] = []
        for statement in body:
            own = dict.fromkeys(binds(statement))
            read = set(reads(_evaluated_now(statement)))
            if read or not isinstance(statement, ast.Import):
                read.add("*")  # it may be of a name that all names of a module have among them
            readers += ((name, statement, len(self.bound.get(name, ()))) for name in read if name not in own)
            for name in own:
                self.bound.setdefault(name, []).append(_binder(statement))
                self.last[name] = statement
        for name, statement, above in readers:
            if name not in self.bound:
                continue
            where = _where(above, len(self.bound[name]))
            self.read.setdefault(name, Counter())[_known_by(statement), where] += 1


def _known_by(statement: ast.stmt) -> str:
    """What a statement is taken for the same one by."""
    return statement.name if isinstance(statement, shape.DEFINITIONS) else shape.shape(statement)


def _evaluated_now(statement: ast.stmt) -> Iterator[ast.AST]:
    return evaluated(statement, annotations=False)


def _where(above: int, of: int) -> str:
    return "below" if above == of else "above" if not above else f"below {above}"


def _binder(statement: ast.stmt) -> _Binder:
    kind = "Import" if isinstance(statement, ast.ImportFrom) else type(statement).__name__
    if isinstance(statement, shape.DEFINITIONS):
        text = ",".join(map(shape.shape, statement.decorator_list))
    else:
        text = shape.shape(statement)
    text = f"{type(statement).__name__} {text}"
    return _Binder(kind, text, branches.head(statement) if isinstance(statement, branches.COMPOUND) else text)
