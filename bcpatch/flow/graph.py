"""Where the values of one trace come from: how an instruction's result comes from its operands.

Reads a finished trace; every path has been followed and every kind checked. What is done
with a value is not asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import BuiltinFunctionType
from typing import Any, Final, cast

from bcpatch import pythons
from bcpatch.flow.decode import marks, places
from bcpatch.flow.interpret import Trace
from bcpatch.flow.opcodes import FACTS, NULL, NUMBERS, numbers
from bcpatch.flow.origins import (
    ENTRY,
    WEIGHT,
    WIDTH,
    Attribute,
    Called,
    Computed,
    Display,
    Either,
    Free,
    Global,
    Imported,
    Item,
    Made,
    Origin,
    Parameter,
    Super,
    Unknown,
)
from bcpatch.flow.origins import Constant as ConstantOrigin
from bcpatch.flow.values import RESULTS, Work
from bcpatch.model import Code, Constant, Text, Tuple

#: How far back a chain of origins is followed at once.
_DEEPEST: Final = 40
_METHOD_LOADS: Final = numbers("LOAD_METHOD", "LOAD_ATTR", "LOAD_SUPER_ATTR", "LOAD_SPECIAL")
_CALL_KW: Final = NUMBERS.get("CALL_KW", -1)
_CALL_FUNCTION_EX: Final = NUMBERS["CALL_FUNCTION_EX"]
#: One that no code has, where the version lacks it.
_KW_NAMES: Final = NUMBERS.get("KW_NAMES", 0)
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
#: The flag of what a function captures, among those of what it is given.
CLOSURE: Final = 8


#: Instructions that load a value by its name; those among them that take it out of another one.
_ATTRIBUTES: Final = numbers("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
_NAMING: Final = _ATTRIBUTES | numbers("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_SUPER_ATTR")

#: Origins that are made of no others.
_LEAVES: Final = (Unknown, Parameter, Free, Global, Imported, ConstantOrigin)


#: Instructions that give something to a container, a cell or a function.
_GIVING: Final = marks(numbers(*_GATHERING, "STORE_DEREF", "MAKE_CELL", "SET_FUNCTION_ATTRIBUTE"))


def text_of(constant: Constant) -> None | bool | int | float | str:
    """A constant as far as a rule may look at it: surrogates replaced, containers left out."""
    if isinstance(constant, Text):
        return constant.data.decode("utf-8", "replace")
    return constant if constant is None or isinstance(constant, (bool, int, float, str)) else None


def texts_of(constant: Constant) -> tuple[str, ...]:
    """The texts of a constant tuple."""
    items = constant.items if isinstance(constant, Tuple) else ()
    return tuple(item for item in map(text_of, items) if isinstance(item, str))


def weigh(origin: Origin) -> int:
    """How many origins an origin is made of, itself included."""
    return 1 + sum(map(weigh, parts(origin)))


def parts(origin: Origin) -> tuple[Origin, ...]:
    """The origins that an origin is directly made of."""
    find = _PARTS.get(type(origin))
    return find(origin) if find else ()


_PARTS: Final[dict[type, Callable[[Any], tuple[Origin, ...]]]] = {
    Attribute: lambda one: (one.owner,),
    Item: lambda one: (one.owner,),
    Called: lambda one: (one.callee, *one.arguments),
    Display: lambda one: one.items,
    Computed: lambda one: one.operands,
    Made: lambda one: tuple(origin for _, origin in one.captured),
    Super: lambda one: (one.klass, one.receiver),
    Either: lambda one: tuple(one.options),
}


class Graph:
    """Origins of one trace's values, made as they are asked for. ``stored_by_nested`` are the captured variables,
    by name, that nested code assigns.
    """

    def __init__(self, trace: Trace, stored_by_nested: frozenset[str]) -> None:
        self.trace = trace
        self.code = trace.code
        self.values = trace.values
        self._opcodes, self._arguments = trace.decoded.opcodes, trace.decoded.arguments
        self._offsets = trace.decoded.offsets
        self._operands = trace.operands
        self.stored_by_nested = stored_by_nested
        #: By value; None while its origin is looked for.
        self._known: dict[int, Origin | None] = {}
        self._weights: dict[int, int] = {}
        #: By value of a container: the instructions that add to it.
        self.added: dict[int, list[int]] = {}
        #: By slot of a cell: what is stored in it.
        self.stored: dict[int, list[int]] = {}
        #: By MAKE_FUNCTION: what SET_FUNCTION_ATTRIBUTE gives its function.
        self.attributes: dict[int, dict[int, int]] = {}
        for at in places(_GIVING, trace.decoded.opcodes):
            work = trace.operands[at]
            if work is None:
                continue
            name, argument = self.name(at), self.argument(at)
            if name in _GATHERING:
                for member in self.values.members(work[_GATHERING[name]]):
                    self.added.setdefault(member, []).append(at)
            elif name == "SET_FUNCTION_ATTRIBUTE":
                self.attributes.setdefault(self._maker(work[1]), {})[argument] = work[0]
            else:
                self.stored.setdefault(argument, []).append(work[0])

    def _maker(self, function: int) -> int:
        """The MAKE_FUNCTION of a function that was given attributes since."""
        at = min(self.values.members(function)) // RESULTS
        while self.name(at) == "SET_FUNCTION_ATTRIBUTE":
            at = min(self.values.members(self.operands(at)[1])) // RESULTS
        return at

    def operands(self, at: int) -> Work:
        """What the instruction at ``at`` works on; nothing where it is never reached."""
        return self._operands[at] or ()

    def named(self, at: int) -> str:
        """The name in the argument of an instruction."""
        return self.code.names[self._arguments[at] >> _NAME_SHIFTS[self._opcodes[at]]]

    def offset(self, at: int) -> int:
        return self._offsets[at]

    def argument(self, at: int) -> int:
        return self._arguments[at]

    def name(self, at: int) -> str:
        """The instruction at ``at``."""
        return FACTS[self._opcodes[at]].row.name

    def origin(self, value: int, depth: int = 0) -> Origin:
        """Where a value came from; `Unknown` inside itself, and too far back."""
        known = self._known.get(value)
        if known is not None:
            return known
        if depth > _DEEPEST or value in self._known:
            return Unknown(self._made_at(value))
        self._known[value] = None
        members = None if value < self.values.single else self.values.members(value) - {self.values.unbound}
        if members is None:
            found = self._single(value, depth)
        elif len(members) == 1:
            found = self._single(next(iter(members)), depth)
        else:
            options = [self.origin(one, depth + 1) for one in sorted(members)[: WIDTH + 1]]
            found = self.either(options, self._made_at(value))
        self._known[value] = found
        return found

    def _made_at(self, value: int) -> int:
        """The offset of the first instruction that may have made a value."""
        first = min(self.values.members(value))
        return self.offset(first // RESULTS) if first < self.values.entry else ENTRY

    def _weigh(self, value: int, origin: Origin) -> int:
        """The weight of a value's origin, which is looked at once where it is settled."""
        weight = self._weights.get(value)
        if weight is None:
            weight = weigh(origin)
            if self._known.get(value) is not None:
                self._weights[value] = weight
        return weight

    def origins(self, values: Sequence[int], depth: int = 0, budget: int = WEIGHT - 1) -> tuple[Origin, ...]:
        """Several at once; those that would weigh too much together are `Unknown`."""
        found: list[Origin] = []
        for value in values:
            one = self.origin(value, depth + 1)
            weight = 1 if isinstance(one, _LEAVES) else self._weigh(value, one)
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
        make = _MAKERS.get(self._opcodes[at])
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

    def captured(self, at: int, constant: int, depth: int, budget: int) -> tuple[tuple[str, Origin], ...]:
        """What the function that is made at ``at`` captures: for each free variable of its code, the code
        ``constants[constant]``, what the cell may hold. Beyond a weight of ``budget`` they are `Unknown`.
        """
        code, closure = self.code.constants[constant], self.given(at).get(CLOSURE)
        if closure is None or not isinstance(code, Code):
            return ()
        found: list[tuple[str, Origin]] = []
        for name, cell in zip(code.freevars, self.operands(min(self.values.members(closure)) // RESULTS), strict=False):
            member = min(self.values.members(cell) - {self.values.unbound})
            at = member // RESULTS
            if member < self.values.entry:
                one = self.content(self.argument(at), self.offset(at), depth + 1)
            else:
                one = self.content(member - self.values.first_slot, ENTRY, depth + 1)
            budget -= weigh(one)
            found.append((name, one if budget > 0 else Unknown(one.offset)))
        return tuple(found)

    # --- calls and functions -----------------------------------------------------------

    def keywords(self, at: int) -> tuple[str, ...]:
        """The names of a call's keyword arguments."""
        if self._opcodes[at] == _CALL_KW:
            loaded = min(self.values.members(self.operands(at)[-1])) // RESULTS
            return texts_of(self.code.constants[self.argument(loaded)])
        before = self._opcodes.find(_KW_NAMES, max(at - 2, 0), at)
        return texts_of(self.code.constants[self.argument(before)]) if before >= 0 else ()

    def call(self, at: int, depth: int) -> tuple[Origin, tuple[Origin, ...], tuple[str, ...], bool]:
        """Callee, arguments, their keywords, and whether there is ``*`` or ``**``."""
        work, kinds = self.operands(at), self.values.kinds
        unpacks = self._opcodes[at] == _CALL_FUNCTION_EX
        rest = work[2:-1] if self._opcodes[at] == _CALL_KW else work[2:]
        if unpacks:
            rest = tuple([one for one in rest if kinds[one] != NULL])
        elif not self._is_pair(work[0], work[1]):
            rest = (work[1], *rest)
        found = self.origins([self.callee(at), *rest], depth)
        return found[0], found[1:], () if unpacks else self.keywords(at), unpacks

    def callee(self, at: int) -> int:
        """The value that a call calls; with a method, what was loaded of its receiver."""
        first, second = self.operands(at)[:2]
        return second if self.values.kinds[first] == NULL else first

    def _is_pair(self, first: int, second: int) -> bool:
        """Whether the first two operands of a call are a callee and what was left for the receiver of a method."""
        if self.values.kinds[first] == NULL or self.values.kinds[second] == NULL:
            return True
        maker = min(self.values.members(first)) // RESULTS
        if maker != min(self.values.members(second)) // RESULTS or first >= self.values.entry:
            return False
        return self._opcodes[maker] in _METHOD_LOADS

    def loaded(self, value: int) -> str | None:
        """The name of the global or the attribute that a value is; None where it may be something else."""
        at = self.maker(value)
        return self.named(at) if at is not None and self._opcodes[at] in _NAMING else None

    def bottom(self, value: int) -> int:
        """The value at the bottom of a chain of attributes: that of ``a`` in ``a.b.c``."""
        at = self.maker(value)
        while at is not None and self._opcodes[at] in _ATTRIBUTES:
            value = self.operands(at)[0]
            at = self.maker(value)
        return value

    def maker(self, value: int) -> int | None:
        """The one instruction that made a value; None where there is no such."""
        if value >= self.values.single:
            members = self.values.members(value)
            value = next(iter(members)) if len(members) == 1 else self.values.entry
        return value // RESULTS if value < self.values.entry else None

    def made_of(self, at: int) -> int:
        """Which constant the code of the function that MAKE_FUNCTION at ``at`` makes is."""
        return self.argument(min(self.values.members(self.operands(at)[-1])) // RESULTS)

    def given(self, at: int) -> dict[int, int]:
        """What this function is given, by the flag that says so: defaults, annotations, closure."""
        flags, work = self.argument(at), self.operands(at)
        if len(work) == 1:
            return self.attributes.get(at, {})
        return dict(zip((flag for flag in (1, 2, 4, CLOSURE) if flags & flag), work, strict=False))


# --- how results come from operands --------------------------------------------------

#: By opcode: the bits of an argument that are beside the index of its name.
_NAME_SHIFTS: Final = {
    number: int(facts.row.argument.partition(">>")[2] or 0)
    for number, facts in FACTS.items()
    if facts.row.argument.startswith("name")
}

_Make = Callable[[Graph, int, int, int], Origin]


def _global(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return Global(graph.offset(at), graph.named(at))


def _constant(graph: Graph, at: int, result: int, depth: int) -> Origin:
    index = graph.argument(at)
    return ConstantOrigin(graph.offset(at), index, text_of(graph.code.constants[index]))


def _small(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return ConstantOrigin(graph.offset(at), -1, graph.argument(at))


def _common(graph: Graph, at: int, result: int, depth: int) -> Origin:
    value = pythons.common_constant(graph.argument(at))
    if isinstance(value, (type, BuiltinFunctionType)):
        return Global(graph.offset(at), value.__name__)
    return ConstantOrigin(graph.offset(at), -1, cast("None | bool | int | str", value))


def _attribute(graph: Graph, at: int, result: int, depth: int) -> Origin:
    (owner,) = graph.origins(graph.operands(at)[:1], depth)
    return Attribute(graph.offset(at), owner, graph.named(at))


def _super(graph: Graph, at: int, result: int, depth: int) -> Origin:
    klass, receiver = graph.origins(graph.operands(at)[1:3], depth, WEIGHT - 2)
    return Attribute(graph.offset(at), Super(graph.offset(at), klass, receiver), graph.named(at))


def _special(graph: Graph, at: int, result: int, depth: int) -> Origin:
    (owner,) = graph.origins(graph.operands(at)[:1], depth)
    return Attribute(graph.offset(at), owner, pythons.special_method(graph.argument(at)))


def _entered(graph: Graph, at: int, result: int, depth: int) -> Origin:
    (owner,) = graph.origins(graph.operands(at), depth)
    return Item(graph.offset(at), owner) if result else Attribute(graph.offset(at), owner, "__exit__")


def imported(graph: Graph, at: int) -> tuple[str, int, tuple[str, ...]]:
    """Module, level and names of an import statement."""
    level, names = (min(graph.values.members(value)) for value in graph.operands(at))
    number = graph.origin(level)
    loaded = names // RESULTS
    found = texts_of(graph.code.constants[graph.argument(loaded)]) if graph.name(loaded) == "LOAD_CONST" else ()
    value = number.value if isinstance(number, ConstantOrigin) else 0
    return graph.named(at), int(value or 0), found


def _imported(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return Imported(graph.offset(at), *imported(graph, at))


def _item(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return Item(graph.offset(at), *graph.origins(graph.operands(at)[:1], depth))


def _unpacked(graph: Graph, at: int, result: int, depth: int) -> Origin:
    """An item; where a class pattern has put the items together, an attribute of what it has matched."""
    at_pattern = graph.maker(graph.operands(at)[0])
    if at_pattern is None or graph.name(at_pattern) != "MATCH_CLASS":
        return _item(graph, at, result, depth)
    subject, _, keywords = graph.operands(at_pattern)
    loaded = graph.maker(keywords)
    if loaded is None or graph.name(loaded) != "LOAD_CONST":
        return _item(graph, at, result, depth)
    found = texts_of(graph.code.constants[graph.argument(loaded)])
    (owner,) = graph.origins((subject,), depth)
    # the last one lies deepest, and from the third on they are not told apart
    wanted = found[::-1][result : result + 1] if result < 2 else found[:-2]
    positional = graph.argument(at) - len(found)
    if not wanted or (positional and result == 2):
        return Item(graph.offset(at), owner)
    return graph.either([Attribute(graph.offset(at), owner, name) for name in wanted], graph.offset(at))


def _binary(graph: Graph, at: int, result: int, depth: int) -> Origin:
    if graph.argument(at) == pythons.SUBSCRIPT_OPERATOR:
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
    if graph.name(at) == "SET_FUNCTION_ATTRIBUTE":
        return graph.origin(graph.operands(at)[1], depth + 1)
    constant = graph.made_of(at)
    return Made(graph.offset(at), constant, graph.captured(at, constant, depth, WEIGHT // 2))


def _deref(graph: Graph, at: int, result: int, depth: int) -> Origin:
    return graph.content(graph.argument(at), graph.offset(at), depth)


def _intrinsic(graph: Graph, at: int, result: int, depth: int) -> Origin:
    passes = pythons.intrinsic(graph.argument(at)) in (
        "INTRINSIC_LIST_TO_TUPLE",
        "INTRINSIC_ASYNC_GEN_WRAP",
    )
    return (_same if passes else _computed)(graph, at, result, depth)


_MAKERS: Final[dict[int, _Make]] = {
    NUMBERS[name]: make
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
        (_item, "BINARY_SUBSCR BINARY_SLICE FOR_ITER SEND UNPACK_EX MATCH_CLASS MATCH_KEYS GET_ANEXT"),
        (_unpacked, "UNPACK_SEQUENCE"),
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
    if name in NUMBERS
}
