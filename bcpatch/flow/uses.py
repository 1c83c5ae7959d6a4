"""What instructions do with names, and with values of which origins.

Knows each instruction that does something with a name, not which use a policy allows. The
origins that a use tells of are looked for when they are asked for: most are of no interest to anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias, cast

import msgspec

from bcpatch import pythons
from bcpatch.flow.decode import has_any, marks, places
from bcpatch.flow.graph import Graph, imported, texts_of
from bcpatch.flow.interpret import Trace
from bcpatch.flow.opcodes import NUMBERS
from bcpatch.flow.origins import WEIGHT, Called, Display, Origin, Super
from bcpatch.flow.values import RESULTS
from bcpatch.model import Code

Action: TypeAlias = Literal["load", "store", "delete"]

#: The weight of what a use tells of captured variables: a closure is no part of another origin.
_UNBOUNDED: Final = 1 << 30


class _Use(msgspec.Struct, frozen=True, gc=False):
    """One of the nouns below. It refers to the graph, which never refers to a use: no garbage that goes in circles."""


class GlobalUse(_Use, frozen=True):
    """A name of the module. ``namespace`` where the local namespace (a class body's) is asked first."""

    offset: int
    action: Action
    name: str
    namespace: bool


class AttributeUse(_Use, frozen=True):
    """An attribute by constant name. ``method`` is a load that is called next, ``match`` a keyword of a class
    pattern, ``super`` a load by ``super().name``, ``import`` one by ``from owner import name``.
    """

    offset: int
    action: Literal["load", "store", "delete", "method", "match", "super", "import"]
    name: str
    graph: Graph
    at: int

    @property
    def value(self) -> int:
        """The value whose attribute it is; with ``super``, the receiver."""
        work = self.graph.operands(self.at)
        return work[-1] if self.action in ("store", "super") else work[0]

    @property
    def owner(self) -> Origin:
        """Whose attribute it is."""
        if self.action != "super":
            return self.graph.origin(self.value)
        klass, receiver = self.graph.origins(self.graph.operands(self.at)[1:3], 0, WEIGHT - 2)
        return Super(self.offset, klass, receiver)


class ImportUse(_Use, frozen=True):
    """An import statement. ``names`` are those of ``from``; empty for ``import module``. Star is ``("*",)``."""

    offset: int
    module: str
    level: int
    names: tuple[str, ...]


class CallUse(_Use, frozen=True):
    """A call. A method's receiver is the owner in what is called, not an argument."""

    offset: int
    graph: Graph
    at: int

    @property
    def called(self) -> str | None:
        """The name by which the callee was just loaded, of a global or an attribute; None where that is not known."""
        return self.graph.loaded(self.graph.callee(self.at))

    @property
    def call(self) -> Called:
        """What is called, and with which arguments."""
        return Called(self.offset, *self.graph.call(self.at, 0))


class SubscriptUse(_Use, frozen=True):
    """``owner[index]``."""

    offset: int
    action: Action
    graph: Graph
    at: int

    @property
    def owner(self) -> Origin:
        return self._parts()[0]

    @property
    def index(self) -> Origin:
        return self._parts()[1]

    def _parts(self) -> tuple[Origin, ...]:
        work = self.graph.operands(self.at)
        if self.graph.name(self.at).endswith("_SLICE"):
            return self.graph.origin(work[-3]), Display(self.offset, self.graph.origins(work[-2:]))
        return self.graph.origins(work[-2:])


class FreeUse(_Use, frozen=True):
    """A variable of an enclosing code, or one that nested code captures."""

    offset: int
    action: Action
    name: str
    graph: Graph
    at: int

    @property
    def value(self) -> Origin | None:
        """What is stored."""
        return self.graph.origin(self.graph.operands(self.at)[0]) if self.action == "store" else None


class MakeUse(_Use, frozen=True):
    """A function made of ``constants[constant]``."""

    offset: int
    constant: int
    graph: Graph
    at: int

    @property
    def captured(self) -> tuple[tuple[str, Origin], ...]:
        """For each free variable of its code, what the cell may hold at any time."""
        return self.graph.captured(self.at, self.constant, 0, _UNBOUNDED)

    @property
    def defaults(self) -> Origin | None:
        return self._given(1)

    @property
    def keyword_defaults(self) -> Origin | None:
        return self._given(2)

    @property
    def annotations(self) -> Origin | None:
        """A tuple of names and values, or a function that gives them (3.14+)."""
        return self._given(4) or self._given(16)

    def _given(self, flag: int) -> Origin | None:
        value = self.graph.given(self.at).get(flag)
        return None if value is None else self.graph.origin(value, 1)


Use: TypeAlias = GlobalUse | AttributeUse | ImportUse | CallUse | SubscriptUse | FreeUse | MakeUse


# --- one function a kind of instruction ---------------------------------------------------


def _global(graph: Graph, at: int, offset: int, action: Action) -> Use:
    return GlobalUse(offset, action, graph.named(at), False)


def _namespace(graph: Graph, at: int, offset: int, action: Action) -> Use:
    return GlobalUse(offset, action, graph.named(at), True)


def _attribute(graph: Graph, at: int, offset: int, action: Action) -> Use:
    called = action == "load" and graph.trace.steps.gives[at] == 2
    return AttributeUse(offset, "method" if called else action, graph.named(at), graph, at)


def _from(graph: Graph, at: int, offset: int, action: Action) -> Use:
    return AttributeUse(offset, "import", graph.named(at), graph, at)


def _super(graph: Graph, at: int, offset: int, action: Action) -> Use:
    return AttributeUse(offset, "super", graph.named(at), graph, at)


def _match(graph: Graph, at: int, offset: int, action: Action) -> list[Use]:
    loaded = (member // RESULTS for member in graph.values.members(graph.operands(at)[-1]))
    return [
        AttributeUse(offset, "match", name, graph, at)
        for one in loaded
        for name in texts_of(graph.code.constants[graph.argument(one)])
    ]


def _import(graph: Graph, at: int, offset: int, action: Action) -> Use:
    return ImportUse(offset, *imported(graph, at))


def _call(graph: Graph, at: int, offset: int, action: Action) -> Use:
    return CallUse(offset, graph, at)


def _subscript(graph: Graph, at: int, offset: int, action: Action) -> Use:
    return SubscriptUse(offset, action, graph, at)


def _operator(graph: Graph, at: int, offset: int, action: Action) -> Use | list[Use]:
    return SubscriptUse(offset, "load", graph, at) if graph.argument(at) == pythons.SUBSCRIPT_OPERATOR else []


def _free(graph: Graph, at: int, offset: int, action: Action) -> Use:
    return FreeUse(offset, action, graph.trace.slots.names[graph.argument(at)], graph, at)


def _make(graph: Graph, at: int, offset: int, action: Action) -> Use:
    return MakeUse(offset, graph.made_of(at), graph, at)


_Find = Callable[[Graph, int, int, Action], Use | list[Use]]


def _action(name: str) -> Action:
    """What the first word of an instruction's name says; it is of no account where it says nothing."""
    first = name.split("_")[0].lower()
    return cast("Action", first) if first in ("store", "delete") else "load"


_FINDERS: Final[dict[int, tuple[_Find, Action]]] = {
    NUMBERS[name]: (find, _action(name))
    for find, names in (
        (_global, "LOAD_GLOBAL STORE_GLOBAL DELETE_GLOBAL"),
        (_namespace, "LOAD_NAME STORE_NAME DELETE_NAME LOAD_FROM_DICT_OR_GLOBALS"),
        (_attribute, "LOAD_ATTR STORE_ATTR DELETE_ATTR LOAD_METHOD"),
        (_from, "IMPORT_FROM"),
        (_super, "LOAD_SUPER_ATTR"),
        (_match, "MATCH_CLASS"),
        (_import, "IMPORT_NAME"),
        (_call, "CALL CALL_KW CALL_FUNCTION_EX"),
        (_subscript, "BINARY_SUBSCR STORE_SUBSCR DELETE_SUBSCR BINARY_SLICE STORE_SLICE"),
        (_operator, "BINARY_OP"),
        (_free, "LOAD_DEREF STORE_DEREF DELETE_DEREF LOAD_CLASSDEREF LOAD_FROM_DICT_OR_DEREF"),
        (_make, "MAKE_FUNCTION"),
    )
    for name in names.split()
    if name in NUMBERS
}
_USING: Final = marks(_FINDERS)
_CAPTURED_STORES: Final = marks(NUMBERS[name] for name in ("STORE_DEREF", "DELETE_DEREF"))


def may_use(trace: Trace) -> bool:
    """Whether any instruction, reachable or not, does something with a name or a value of which a use tells."""
    return has_any(_USING, trace.decoded.opcodes)


def uses(graph: Graph) -> tuple[Use, ...]:
    """Of all reachable instructions, in their order."""
    found: list[Use] = []
    decoded, operands = graph.trace.decoded, graph.trace.operands
    for at in places(_USING, decoded.opcodes):
        if operands[at] is not None:
            find, action = _FINDERS[decoded.opcodes[at]]
            one = find(graph, at, decoded.offsets[at], action)
            if isinstance(one, list):
                found += one
            else:
                found.append(one)
    return tuple(found)


def stored_captures(code: Code, reached: Trace, nested: Mapping[int, frozenset[str]]) -> frozenset[str]:
    """The free variables of ``code`` that it, or code nested in it, assigns."""
    slots = reached.slots
    own = {slots.names[reached.decoded.arguments[at]] for at in places(_CAPTURED_STORES, reached.decoded.opcodes)}
    for stored in nested.values():
        own |= stored
    return frozenset(own & set(code.freevars))
