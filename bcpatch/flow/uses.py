"""What instructions do with names, and the origins of the values they do it with.

Reads a finished trace; every path has been followed and every kind checked. Knows how an
instruction's result comes from its operands, not which use a policy allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType
from typing import Final, Literal, cast

from bcpatch import pythons
from bcpatch.flow.interpret import Trace
from bcpatch.flow.opcodes import FACTS, NULL
from bcpatch.flow.origins import (
    ENTRY,
    WEIGHT,
    WIDTH,
    Action,
    Attribute,
    AttributeUse,
    Called,
    CallUse,
    Computed,
    Display,
    Either,
    Free,
    FreeUse,
    Global,
    GlobalUse,
    Imported,
    ImportUse,
    Item,
    Made,
    MakeUse,
    Origin,
    Parameter,
    SubscriptUse,
    Super,
    Unknown,
    Use,
)
from bcpatch.flow.origins import Constant as ConstantOrigin
from bcpatch.flow.values import RESULTS
from bcpatch.model import Code, Constant, Text, Tuple

#: How far back a chain of origins is followed at once.
_DEEPEST: Final = 40
#: The weight of what a use tells of captured variables: a closure is no part of another origin.
_UNBOUNDED: Final = 1 << 30
_METHOD_LOADS: Final = frozenset({"LOAD_METHOD", "LOAD_ATTR", "LOAD_SUPER_ATTR", "LOAD_SPECIAL"})
#: Instructions that add to a container: where it stands among their operands.
_GATHERING: Final = {
    "LIST_APPEND": 0,
    "LIST_EXTEND": 0,
    "SET_ADD": 0,
    "SET_UPDATE": 0,
    "MAP_ADD": 0,
    "DICT_UPDATE": 0,
    "DICT_MERGE": pythons.DICT_MERGE_PLACE,
}
_CLOSURE: Final = 8


def text_of(constant: Constant) -> None | bool | int | float | str:
    """A constant as far as a rule may look at it: surrogates replaced, containers left out."""
    if isinstance(constant, Text):
        return constant.data.decode("utf-8", "replace")
    return constant if constant is None or isinstance(constant, bool | int | float | str) else None


def texts_of(constant: Constant) -> tuple[str, ...]:
    """The texts of a constant tuple."""
    items = constant.items if isinstance(constant, Tuple) else ()
    return tuple(item for item in map(text_of, items) if isinstance(item, str))


def weigh(origin: Origin) -> int:
    """How many origins an origin is made of, itself included."""
    return 1 + sum(map(weigh, parts(origin)))


def parts(origin: Origin) -> tuple[Origin, ...]:
    """The origins that an origin is directly made of."""
    match origin:
        case Attribute(_, owner, _) | Item(_, owner):
            return (owner,)
        case Called(_, callee, arguments, _, _):
            return (callee, *arguments)
        case Display(_, items) | Computed(_, items):
            return items
        case Made(_, _, captured):
            return tuple(one for _, one in captured)
        case Super(_, klass, receiver):
            return (klass, receiver)
        case Either(_, options):
            return tuple(options)
    return ()


class Graph:
    """Origins of one trace's values, made as they are asked for. ``stored_by_nested`` are the captured variables,
    by name, that nested code assigns.
    """

    def __init__(self, trace: Trace, stored_by_nested: frozenset[str]) -> None:
        self.trace = trace
        self.code = trace.code
        self.values = trace.values
        self.stored_by_nested = stored_by_nested
        self._known: dict[int, Origin] = {}
        self._open: set[int] = set()
        #: By value of a container: the instructions that add to it.
        self.added: dict[int, list[int]] = {}
        #: By slot of a cell: what is stored in it.
        self.stored: dict[int, list[int]] = {}
        #: By MAKE_FUNCTION: what SET_FUNCTION_ATTRIBUTE gives its function.
        self.attributes: dict[int, dict[int, int]] = {}
        for at, instruction in enumerate(trace.decoded):
            work = trace.operands[at]
            if work is None:
                continue
            if instruction.name in _GATHERING:
                for member in self.values.members(work[_GATHERING[instruction.name]]):
                    self.added.setdefault(member, []).append(at)
            elif instruction.name in ("STORE_DEREF", "MAKE_CELL"):
                self.stored.setdefault(instruction.argument, []).append(work[0])
            elif instruction.name == "SET_FUNCTION_ATTRIBUTE":
                self.attributes.setdefault(self._maker(work[1]), {})[instruction.argument] = work[0]

    def _maker(self, function: int) -> int:
        """The MAKE_FUNCTION of a function that was given attributes since."""
        at = min(self.values.members(function)) // RESULTS
        while self.trace.decoded[at].name == "SET_FUNCTION_ATTRIBUTE":
            at = min(self.values.members(self.operands(at)[1])) // RESULTS
        return at

    def operands(self, at: int) -> list[int]:
        """What the instruction at ``at`` works on; nothing where it is never reached."""
        return self.trace.operands[at] or []

    def offset(self, at: int) -> int:
        return self.trace.decoded[at].offset

    def origin(self, value: int, depth: int = 0) -> Origin:
        """Where a value came from; `Unknown` inside itself, and too far back."""
        known = self._known.get(value)
        if known is not None:
            return known
        first = min(self.values.members(value))
        offset = self.offset(first // RESULTS) if first < self.values.entry else ENTRY
        if value in self._open or depth > _DEEPEST:
            return Unknown(offset)
        self._open.add(value)
        members = sorted(self.values.members(value) - {self.values.unbound})
        if len(members) == 1:
            found = self._single(members[0], depth)
        else:
            found = self.either([self.origin(one, depth + 1) for one in members[: WIDTH + 1]], offset)
        self._open.discard(value)
        self._known[value] = found
        return found

    def origins(self, values: list[int], depth: int = 0, budget: int = WEIGHT - 1) -> tuple[Origin, ...]:
        """Several at once; those that would weigh too much together are `Unknown`."""
        found: list[Origin] = []
        for value in values:
            one = self.origin(value, depth + 1)
            weight = weigh(one)
            if weight > budget:
                one = Unknown(one.offset)
            else:
                budget -= weight
            found.append(one)
        return tuple(found)

    def either(self, found: list[Origin], offset: int) -> Origin:
        """One of several origins."""
        options: set[Origin] = set()
        for one in found:
            options |= one.options if isinstance(one, Either) else {one}
        if not options or len(options) > WIDTH or sum(map(weigh, options)) >= WEIGHT:
            return Unknown(offset)
        return next(iter(options)) if len(options) == 1 else Either(offset, frozenset(options))

    def _single(self, value: int, depth: int) -> Origin:
        if value >= self.values.entry:
            slot = value - self.values.first_slot
            if 0 <= slot < self.trace.slots.parameters:
                return Parameter(ENTRY, self.trace.slots.names[slot], slot)
            return Unknown(ENTRY)
        at = value // RESULTS
        make = _MAKERS.get(self.trace.decoded[at].name)
        return make(self, at, value % RESULTS, depth) if make else Unknown(self.offset(at))

    # --- cells -----------------------------------------------------------------------

    def content(self, slot: int, offset: int, depth: int) -> Origin:
        """What the cell in ``slot`` may hold at any time."""
        slots = self.trace.slots
        name = slots.names[slot]
        if slot >= slots.first_free:
            return Free(offset, name)
        found: list[Origin] = [
            self.origin(one, depth + 1) for one in self.stored.get(slot, []) if one != self.values.unbound
        ]
        if name in self.stored_by_nested:
            found.append(Unknown(offset))
        return self.either(found, offset)

    def captured(self, closure: int | None, constant: int, depth: int, budget: int) -> tuple[tuple[str, Origin], ...]:
        """For each free variable of the code ``constants[constant]``, what its cell may hold."""
        code = self.code.constants[constant]
        if closure is None or not isinstance(code, Code):
            return ()
        found: list[tuple[str, Origin]] = []
        for name, cell in zip(code.freevars, self.operands(min(self.values.members(closure)) // RESULTS), strict=False):
            member = min(self.values.members(cell) - {self.values.unbound})
            at = member // RESULTS
            if member < self.values.entry:
                one = self.content(self.trace.decoded[at].argument, self.offset(at), depth + 1)
            else:
                one = self.content(member - self.values.first_slot, ENTRY, depth + 1)
            budget -= weigh(one)
            found.append((name, one if budget > 0 else Unknown(one.offset)))
        return tuple(found)

    # --- calls and functions -----------------------------------------------------------

    def keywords(self, at: int) -> tuple[str, ...]:
        """The names of a call's keyword arguments."""
        if self.trace.decoded[at].name == "CALL_KW":
            loaded = min(self.values.members(self.operands(at)[-1])) // RESULTS
            return texts_of(self.code.constants[self.trace.decoded[loaded].argument])
        for before in self.trace.decoded[max(at - 2, 0) : at]:
            if before.name == "KW_NAMES":
                return texts_of(self.code.constants[before.argument])
        return ()

    def call(self, at: int, depth: int) -> tuple[Origin, tuple[Origin, ...], tuple[str, ...], bool]:
        """Callee, arguments, their keywords, and whether there is ``*`` or ``**``."""
        work = self.operands(at)
        if self.trace.decoded[at].name == "CALL_FUNCTION_EX":
            callee = work[0] if self.values.kinds[work[1]] == NULL else work[1]
            kinds = self.values.kinds
            found = self.origins([callee, *(one for one in work[2:] if kinds[one] != NULL)], depth)
            return found[0], found[1:], (), True
        rest = work[2:-1] if self.trace.decoded[at].name == "CALL_KW" else work[2:]
        first, second = work[0], work[1]
        makers = {min(self.values.members(one)) // RESULTS for one in (first, second)}
        loaded = self.trace.decoded[makers.pop()].name if len(makers) == 1 and first < self.values.entry else ""
        if loaded in _METHOD_LOADS or self.values.kinds[second] == NULL:
            values = [first, *rest]
        elif self.values.kinds[first] == NULL:
            values = [second, *rest]
        else:
            values = [first, second, *rest]
        found = self.origins(values, depth)
        return found[0], found[1:], self.keywords(at), False

    def made(self, at: int, depth: int, budget: int) -> MakeUse:
        """The function that MAKE_FUNCTION at ``at`` makes, with all that it is given.

        ``budget`` is the weight of the captured origins beyond which they are `Unknown`.
        """
        flags, work = self.trace.decoded[at].argument, self.operands(at)
        constant = self.trace.decoded[min(self.values.members(work[-1])) // RESULTS].argument
        given = dict(self.attributes.get(at, {}))
        if self.trace.decoded[at].name == "MAKE_FUNCTION" and len(work) > 1:
            present = [flag for flag in (1, 2, 4, 8) if flags & flag]
            given = dict(zip(present, work, strict=False))
        extra = {flag: self.origin(value, depth + 1) for flag, value in given.items() if flag != _CLOSURE}
        return MakeUse(
            self.offset(at),
            constant,
            self.captured(given.get(_CLOSURE), constant, depth, budget),
            extra.get(1),
            extra.get(2),
            extra.get(4, extra.get(16)),
        )


# --- how results come from operands --------------------------------------------------

_Make = Callable[[Graph, int, int, int], Origin]


def _name(graph: Graph, at: int) -> str:
    return graph.code.names[graph.trace.decoded[at].argument >> _NAME_SHIFTS.get(graph.trace.decoded[at].name, 0)]


def _global(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return Global(graph.offset(at), _name(graph, at))


def _constant(graph: Graph, at: int, result: int, depth: int) -> Origin:
    index = graph.trace.decoded[at].argument
    return ConstantOrigin(graph.offset(at), index, text_of(graph.code.constants[index]))


def _small(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return ConstantOrigin(graph.offset(at), -1, graph.trace.decoded[at].argument)


def _common(graph: Graph, at: int, result: int, depth: int) -> Origin:
    value = pythons.common_constant(graph.trace.decoded[at].argument)
    if isinstance(value, type | BuiltinFunctionType):
        return Global(graph.offset(at), value.__name__)
    return ConstantOrigin(graph.offset(at), -1, cast("None | bool | int | str", value))


def _attribute(graph: Graph, at: int, result: int, depth: int) -> Origin:
    (owner,) = graph.origins(graph.operands(at)[:1], depth)
    return Attribute(graph.offset(at), owner, _name(graph, at))


def _super(graph: Graph, at: int, result: int, depth: int) -> Origin:
    klass, receiver = graph.origins(graph.operands(at)[1:3], depth, WEIGHT - 2)
    return Attribute(graph.offset(at), Super(graph.offset(at), klass, receiver), _name(graph, at))


def _special(graph: Graph, at: int, result: int, depth: int) -> Origin:
    (owner,) = graph.origins(graph.operands(at)[:1], depth)
    return Attribute(graph.offset(at), owner, pythons.special_method(graph.trace.decoded[at].argument))


def _entered(graph: Graph, at: int, result: int, depth: int) -> Origin:
    (owner,) = graph.origins(graph.operands(at), depth)
    return Item(graph.offset(at), owner) if result else Attribute(graph.offset(at), owner, "__exit__")


def _imported(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return Imported(graph.offset(at), *_import(graph, at))


def _item(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return Item(graph.offset(at), *graph.origins(graph.operands(at)[:1], depth))


def _binary(graph: Graph, at: int, result: int, depth: int) -> Origin:
    if graph.trace.decoded[at].argument == pythons.SUBSCRIPT_OPERATOR:
        return _item(graph, at, result, depth)
    return _computed(graph, at, result, depth)


def _same(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return graph.origin(graph.operands(at)[0], depth + 1)


def _computed(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return Computed(graph.offset(at), graph.origins(graph.operands(at), depth))


def _display(graph: Graph, at: int, result: int, depth: int) -> Origin:
    extra = [graph.operands(other)[-1] for other in graph.added.get(RESULTS * at, ())]
    return Display(graph.offset(at), graph.origins([*graph.operands(at), *extra], depth))


def _called(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return Called(graph.offset(at), *graph.call(at, depth))


def _function(graph: Graph, at: int, result: int, depth: int) -> Origin:
    if graph.trace.decoded[at].name == "SET_FUNCTION_ATTRIBUTE":
        return graph.origin(graph.operands(at)[1], depth + 1)
    use = graph.made(at, depth, WEIGHT // 2)
    return Made(use.offset, use.constant, use.captured)


def _deref(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return graph.content(graph.trace.decoded[at].argument, graph.offset(at), depth)


def _intrinsic(graph: Graph, at: int, result: int, depth: int) -> Origin:
    passes = pythons.intrinsic(graph.trace.decoded[at].argument) in (
        "INTRINSIC_LIST_TO_TUPLE",
        "INTRINSIC_ASYNC_GEN_WRAP",
    )
    return (_same if passes else _computed)(graph, at, result, depth)


_MAKERS: Final[dict[str, _Make]] = {
    name: make
    for make, names in (
        (_global, "LOAD_GLOBAL LOAD_NAME LOAD_FROM_DICT_OR_GLOBALS"),
        (_constant, "LOAD_CONST"),
        (_small, "LOAD_SMALL_INT"),
        (_common, "LOAD_COMMON_CONSTANT"),
        (_attribute, "LOAD_ATTR LOAD_METHOD IMPORT_FROM"),
        (_super, "LOAD_SUPER_ATTR"),
        (_special, "LOAD_SPECIAL"),
        (_entered, "BEFORE_WITH BEFORE_ASYNC_WITH"),
        (_imported, "IMPORT_NAME"),
        (_item, "BINARY_SUBSCR BINARY_SLICE FOR_ITER SEND UNPACK_SEQUENCE UNPACK_EX MATCH_CLASS MATCH_KEYS GET_ANEXT"),
        (_binary, "BINARY_OP"),
        (_same, "GET_ITER GET_AITER GET_AWAITABLE GET_YIELD_FROM_ITER LIST_TO_TUPLE ASYNC_GEN_WRAP"),
        (_computed, "UNARY_POSITIVE UNARY_NEGATIVE UNARY_INVERT UNARY_NOT COMPARE_OP FORMAT_VALUE CONVERT_VALUE"),
        (_computed, "FORMAT_SIMPLE FORMAT_WITH_SPEC BUILD_INTERPOLATION BUILD_TEMPLATE CALL_INTRINSIC_2"),
        (_display, "BUILD_TUPLE BUILD_LIST BUILD_SET BUILD_MAP BUILD_CONST_KEY_MAP BUILD_STRING BUILD_SLICE"),
        (_called, "CALL CALL_KW CALL_FUNCTION_EX"),
        (_function, "MAKE_FUNCTION SET_FUNCTION_ATTRIBUTE"),
        (_deref, "LOAD_DEREF LOAD_CLASSDEREF LOAD_FROM_DICT_OR_DEREF"),
        (_intrinsic, "CALL_INTRINSIC_1"),
    )
    for name in names.split()
}


# --- uses ------------------------------------------------------------------------------


def _import(graph: Graph, at: int) -> tuple[str, int, tuple[str, ...]]:
    """Module, level and names of an import statement."""
    level, names = (min(graph.values.members(value)) for value in graph.operands(at))
    number = graph.origin(level)
    loaded = graph.trace.decoded[names // RESULTS]
    found = texts_of(graph.code.constants[loaded.argument]) if loaded.name == "LOAD_CONST" else ()
    value = number.value if isinstance(number, ConstantOrigin) else 0
    return _name(graph, at), int(value or 0), found


def _action(name: str) -> Action:
    return cast("Action", name.split("_")[0].lower())


def _uses(graph: Graph, at: int, work: list[int]) -> Iterator[Use]:
    instruction = graph.trace.decoded[at]
    name, offset = instruction.name, instruction.offset
    match name:
        case "LOAD_GLOBAL" | "STORE_GLOBAL" | "DELETE_GLOBAL":
            yield GlobalUse(offset, _action(name), _name(graph, at), False)
        case "LOAD_NAME" | "STORE_NAME" | "DELETE_NAME" | "LOAD_FROM_DICT_OR_GLOBALS":
            yield GlobalUse(offset, _action(name), _name(graph, at), True)
        case "LOAD_ATTR" | "STORE_ATTR" | "DELETE_ATTR" | "LOAD_METHOD" | "IMPORT_FROM":
            owner = graph.origin(work[-1] if name == "STORE_ATTR" else work[0])
            yield AttributeUse(offset, _attribute_action(graph, at), owner, _name(graph, at))
        case "LOAD_SUPER_ATTR":
            klass, receiver = graph.origins(work[1:3], 0, WEIGHT - 2)
            yield AttributeUse(offset, "super", Super(offset, klass, receiver), _name(graph, at))
        case "MATCH_CLASS":
            for loaded in graph.values.members(work[-1]):
                constant = graph.code.constants[graph.trace.decoded[loaded // RESULTS].argument]
                for attribute in texts_of(constant):
                    yield AttributeUse(offset, "match", graph.origin(work[0]), attribute)
        case "IMPORT_NAME":
            yield ImportUse(offset, *_import(graph, at))
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


_NAME_SHIFTS: Final = {
    facts.row.name: int(facts.row.argument.partition(">>")[2])
    for facts in FACTS.values()
    if facts.row.argument.startswith("name>>")
}


def uses(graph: Graph) -> tuple[Use, ...]:
    """Of all reachable instructions, in their order."""
    found: list[Use] = []
    for at, work in enumerate(graph.trace.operands):
        if work is not None:
            found += _uses(graph, at, work)
    return tuple(found)


def operands(graph: Graph) -> Mapping[int, tuple[Origin, ...]]:
    """By offset of each reachable instruction: the origins of the values that it works on, deepest first."""
    return {
        instruction.offset: graph.origins(work)
        for instruction, work in zip(graph.trace.decoded, graph.trace.operands, strict=True)
        if work is not None
    }


def stored_captures(code: Code, reached: Trace, nested: Mapping[int, frozenset[str]]) -> frozenset[str]:
    """The free variables of ``code`` that it, or code nested in it, assigns."""
    slots = reached.slots
    own = {
        slots.names[instruction.argument]
        for instruction in reached.decoded
        if instruction.name in ("STORE_DEREF", "DELETE_DEREF")
    }
    for stored in nested.values():
        own |= stored
    return frozenset(own & set(code.freevars))
