"""What instructions do with names, and with values of which origins.

Knows each instruction that does something with a name, not which use a policy allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, cast

from bcpatch import pythons
from bcpatch.flow.decode import pattern, places
from bcpatch.flow.graph import Graph, imported, name_of, texts_of
from bcpatch.flow.interpret import Trace
from bcpatch.flow.opcodes import NUMBERS
from bcpatch.flow.origins import (
    WEIGHT,
    Action,
    AttributeUse,
    CallUse,
    Display,
    FreeUse,
    GlobalUse,
    ImportUse,
    SubscriptUse,
    Super,
    Use,
)
from bcpatch.flow.values import RESULTS
from bcpatch.model import Code

#: The weight of what a use tells of captured variables: a closure is no part of another origin.
_UNBOUNDED: Final = 1 << 30


def _found(names: str) -> frozenset[int]:
    return frozenset(NUMBERS[name] for name in names.split() if name in NUMBERS)


_USING: Final = pattern(
    _found(
        """
        LOAD_GLOBAL STORE_GLOBAL DELETE_GLOBAL LOAD_NAME STORE_NAME DELETE_NAME LOAD_FROM_DICT_OR_GLOBALS
        LOAD_ATTR STORE_ATTR DELETE_ATTR LOAD_METHOD IMPORT_FROM LOAD_SUPER_ATTR MATCH_CLASS IMPORT_NAME
        CALL CALL_KW CALL_FUNCTION_EX BINARY_SUBSCR STORE_SUBSCR DELETE_SUBSCR BINARY_OP BINARY_SLICE STORE_SLICE
        LOAD_DEREF STORE_DEREF DELETE_DEREF LOAD_CLASSDEREF LOAD_FROM_DICT_OR_DEREF MAKE_FUNCTION
        """
    )
)
_CAPTURED_STORES: Final = pattern(_found("STORE_DEREF DELETE_DEREF"))


def _action(name: str) -> Action:
    return cast("Action", name.split("_")[0].lower())


def _uses(graph: Graph, at: int, work: list[int]) -> Iterator[Use]:
    instruction = graph.trace.decoded[at]
    name, offset = instruction.name, instruction.offset
    match name:
        case "LOAD_GLOBAL" | "STORE_GLOBAL" | "DELETE_GLOBAL":
            yield GlobalUse(offset, _action(name), name_of(graph, at), False)
        case "LOAD_NAME" | "STORE_NAME" | "DELETE_NAME" | "LOAD_FROM_DICT_OR_GLOBALS":
            yield GlobalUse(offset, _action(name), name_of(graph, at), True)
        case "LOAD_ATTR" | "STORE_ATTR" | "DELETE_ATTR" | "LOAD_METHOD" | "IMPORT_FROM":
            owner = graph.origin(work[-1] if name == "STORE_ATTR" else work[0])
            yield AttributeUse(offset, _attribute_action(graph, at), owner, name_of(graph, at))
        case "LOAD_SUPER_ATTR":
            klass, receiver = graph.origins(work[1:3], 0, WEIGHT - 2)
            yield AttributeUse(offset, "super", Super(offset, klass, receiver), name_of(graph, at))
        case "MATCH_CLASS":
            for loaded in graph.values.members(work[-1]):
                constant = graph.code.constants[graph.argument(loaded // RESULTS)]
                for attribute in texts_of(constant):
                    yield AttributeUse(offset, "match", graph.origin(work[0]), attribute)
        case "IMPORT_NAME":
            yield ImportUse(offset, *imported(graph, at))
        case "CALL" | "CALL_KW" | "CALL_FUNCTION_EX":
            yield CallUse(offset, *graph.call(at, 0))
        case "BINARY_SUBSCR" | "STORE_SUBSCR" | "DELETE_SUBSCR" | "BINARY_OP" | "BINARY_SLICE" | "STORE_SLICE":
            yield from _subscript(graph, at, work)
        case "LOAD_DEREF" | "STORE_DEREF" | "DELETE_DEREF" | "LOAD_CLASSDEREF" | "LOAD_FROM_DICT_OR_DEREF":
            value = graph.origin(work[0]) if name == "STORE_DEREF" else None
            yield FreeUse(offset, _action(name), graph.trace.slots.names[instruction.argument], value)
        case "MAKE_FUNCTION":
            yield graph.made(at, 0, _UNBOUNDED)


def _subscript(graph: Graph, at: int, work: list[int]) -> Iterator[Use]:
    instruction = graph.trace.decoded[at]
    name, offset = instruction.name, instruction.offset
    match name:
        case "BINARY_SUBSCR" | "STORE_SUBSCR" | "DELETE_SUBSCR":
            owner, index = graph.origins(work[-2:])
            yield SubscriptUse(offset, "load" if name == "BINARY_SUBSCR" else _action(name), owner, index)
        case "BINARY_OP" if instruction.argument == pythons.SUBSCRIPT_OPERATOR:
            yield SubscriptUse(offset, "load", *graph.origins(work[-2:]))
        case "BINARY_SLICE" | "STORE_SLICE":
            container = work[0] if name == "BINARY_SLICE" else work[1]
            action: Action = "load" if name == "BINARY_SLICE" else "store"
            yield SubscriptUse(offset, action, graph.origin(container), Display(offset, graph.origins(work[-2:])))


def _attribute_action(graph: Graph, at: int) -> Literal["load", "store", "delete", "method", "import"]:
    instruction = graph.trace.decoded[at]
    if instruction.name == "IMPORT_FROM":
        return "import"
    if instruction.name == "LOAD_METHOD" or (
        instruction.name == "LOAD_ATTR" and len(graph.trace.effects[at].gives) == 2
    ):
        return "method"
    return _action(instruction.name)


def uses(graph: Graph) -> tuple[Use, ...]:
    """Of all reachable instructions, in their order."""
    found: list[Use] = []
    for at in places(_USING, graph.trace.decoded.opcodes):
        work = graph.trace.operands[at]
        if work is not None:
            found += _uses(graph, at, work)
    return tuple(found)


def stored_captures(code: Code, reached: Trace, nested: Mapping[int, frozenset[str]]) -> frozenset[str]:
    """The free variables of ``code`` that it, or code nested in it, assigns."""
    slots = reached.slots
    own = {slots.names[reached.decoded.arguments[at]] for at in places(_CAPTURED_STORES, reached.decoded.opcodes)}
    for stored in nested.values():
        own |= stored
    return frozenset(own & set(code.freevars))
