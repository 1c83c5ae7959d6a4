"""Whether every operand is of the kind that its instruction needs, on every path.

Asks of a finished `interpret.Trace`: kinds of operands, what constants they are where that
matters, functions and their cells. Knows nothing of names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from operator import and_
from typing import Final

from bcpatch import pythons
from bcpatch.flow.decode import Broken, Instruction, marks, places
from bcpatch.flow.effects import INTRINSICS_1, INTRINSICS_2
from bcpatch.flow.fields import ASYNC_GENERATOR, GENERATOR, OPTIMIZED
from bcpatch.flow.interpret import Trace
from bcpatch.flow.opcodes import (
    ANYTHING,
    AWAITABLE,
    BORROWED,
    CELL,
    DEMANDING,
    DICT,
    EXCEPTION,
    EXCEPTIONS,
    FACTS,
    FUNCTION,
    ITERATOR,
    KIND_NAMES,
    NULL,
    NUMBERS,
    REST,
    SET,
    TEXT,
    TEXTS,
    TUPLE,
    UNBOUND,
    UNCLOSED,
    VALUE,
    numbers,
)
from bcpatch.flow.values import RESULTS, Work
from bcpatch.model import Code, Constant, Dots, Tuple

_CLOSURE: Final = 8
_ANNOTATIONS: Final = 4


def words(kind: int) -> str:
    """A kind for people."""
    return " or ".join(name for bit, name in KIND_NAMES.items() if kind & bit) or "nothing"


_MAKE: Final = NUMBERS["MAKE_FUNCTION"]
_ATTRIBUTE: Final = NUMBERS.get("SET_FUNCTION_ATTRIBUTE", -1)
_FOR_ITER: Final = NUMBERS["FOR_ITER"]
_RETURNS: Final = numbers("RETURN_VALUE", "RETURN_CONST")
_CALL: Final = NUMBERS["CALL"]
_DEREF: Final = numbers("LOAD_DEREF", "LOAD_FROM_DICT_OR_DEREF")
_CLASS_LOADS: Final = numbers("LOAD_NAME", "LOAD_DEREF")
#: Parameters that only the compiler can name, and what it fills them with.
_PARAMETERS: Final = {".defaults": TUPLE | TEXTS, ".kwdefaults": DICT, ".0": ITERATOR}
_PREPARES_STAR: Final = numbers("PREP_RERAISE_STAR", "CALL_INTRINSIC_2")
_NARROWED: Final = {_MAKE, *_DEREF, *_CLASS_LOADS, *_PREPARES_STAR} | ({_ATTRIBUTE} - {-1})
_NARROWED_PLACES: Final = marks(_NARROWED)
#: The same for code that makes functions, which it may call.
_NARROWED_OR_CALLED: Final = marks(_NARROWED | {_CALL})


class Kinds:
    """One finished trace being asked. ``demands`` are the kinds that its arguments must be of (`Flow.demands`),
    ``nested`` those of the code constants. ``made`` maps a function value to its constant and closure.
    """

    def __init__(self, trace: Trace, nested: Mapping[int, tuple[int, ...]]) -> None:
        self.trace = trace
        self.decoded = trace.decoded
        self.code = trace.code
        self.values = trace.values
        self.nested = nested
        self.demands: tuple[int, ...] = ()
        self.made: dict[int, tuple[int, int | None]] = {}

    # --- kinds that only the whole shows -----------------------------------------------

    def narrow(self) -> Iterator[Broken]:
        """Set the kinds that depend on what else is done with a value."""
        given = self._parameters()
        if given:
            self.values.rekind(given)
        kinds: dict[int, int] = {}
        for at in places(_NARROWED_OR_CALLED if self.nested else _NARROWED_PLACES, self.decoded.opcodes):
            work = self.trace.operands[at]
            if work is not None:
                yield from self._narrow(at, self.decoded.opcodes[at], self.decoded.arguments[at], work, kinds)
        if kinds:
            self.values.rekind(kinds)

    def _narrow(self, at: int, opcode: int, argument: int, work: Work, kinds: dict[int, int]) -> Iterator[Broken]:
        if opcode in _PREPARES_STAR and self._prepares(opcode, argument):
            kinds.update(dict.fromkeys(self._lists(work[1]), EXCEPTIONS))
        elif opcode == _MAKE:
            yield from self._make(at, argument if len(work) > 1 else 0, work, kinds)  # nothing reads it from 3.13 on
        elif opcode == _ATTRIBUTE:
            yield from self._set_attribute(at, argument, work, kinds)
        elif opcode == _CALL and self._makes_generator(work[0], kinds):
            kinds[RESULTS * at] = ITERATOR
        elif opcode in _DEREF and self.trace.slots.names[argument] == ".type_params":
            kinds[RESULTS * at] = TUPLE
        elif opcode in _CLASS_LOADS and self._conditional_annotations(self.decoded[at]):
            kinds[RESULTS * at] = SET

    def _parameters(self) -> dict[int, int]:
        """The kinds of parameters that only the compiler can name, and which only it fills."""
        names = self.trace.slots.names[: self.trace.slots.parameters]
        if _PARAMETERS.keys().isdisjoint(names):
            return {}
        wanted = {slot: _PARAMETERS[name] for slot, name in enumerate(names) if name in _PARAMETERS}
        if names[:1] == (".0",) and not self._iterates(self.values.first_slot):
            del wanted[0]
        if wanted:
            self.demands = tuple(wanted.get(slot, VALUE) for slot in range(len(names)))
        return {self.values.first_slot + slot: kind for slot, kind in wanted.items()}

    def _iterates(self, value: int) -> bool:
        """Whether a value goes to FOR_ITER as it is."""
        return not pythons.ITERATES_ANYTHING and any(
            work is not None and opcode == _FOR_ITER and value in self.values.members(work[0])
            for opcode, work in zip(self.decoded.opcodes, self.trace.operands, strict=True)
        )

    def _makes_generator(self, callee: int, kinds: dict[int, int]) -> bool:
        """Whether a call makes the generator of a generator expression, which FOR_ITER may take."""
        made = self.single(callee)
        known = self.made.get(RESULTS * made[0]) if made else None
        if made is None or known is None or not kinds[RESULTS * made[0]] & (DEMANDING | FUNCTION):
            return False
        code = self.code.constants[known[0]]
        return isinstance(code, Code) and code.flags & GENERATOR != 0

    def _conditional_annotations(self, instruction: Instruction) -> bool:
        """The compiler keeps a set in the namespace of a module or class that has annotations in branches (3.14+).
        Nothing but hostile Python code replaces it.
        """
        if self.code.flags & OPTIMIZED:
            return False
        names = self.code.names if instruction.name == "LOAD_NAME" else self.trace.slots.names
        return names[instruction.argument] == "__conditional_annotations__"

    def _prepares(self, opcode: int, argument: int) -> bool:
        return opcode != NUMBERS.get("CALL_INTRINSIC_2") or INTRINSICS_2[argument][0] == "INTRINSIC_PREP_RERAISE_STAR"

    def _lists(self, value: int) -> Iterator[int]:
        for member in self.values.members(value):
            at = member // RESULTS
            if member < self.values.entry and self.decoded[at].name == "BUILD_LIST" and not self.trace.steps.wanted[at]:
                yield member

    def single(self, value: int) -> tuple[int, int] | None:
        """(instruction, result) that made a value; None where it is not one instruction's."""
        members = self.values.members(value)
        member = next(iter(members))
        return divmod(member, RESULTS) if len(members) == 1 and member < self.values.entry else None

    def made_by(self, value: int) -> str | None:
        """The name of the only instruction that a value may come from."""
        made = self.single(value)
        return self.decoded[made[0]].name if made else None

    def constant(self, value: int) -> int | None:
        """The index of the constant that a value is."""
        made = self.single(value)
        return self.decoded[made[0]].argument if made and self.made_by(value) == "LOAD_CONST" else None

    def constant_or_number(self, value: int) -> Constant:
        """The constant that a value is, however it was loaded; ``...`` where it is none."""
        made, by = self.single(value), self.made_by(value)
        if made and by == "LOAD_CONST":
            return self.code.constants[self.decoded[made[0]].argument]
        if made and by == "LOAD_SMALL_INT":
            return self.decoded[made[0]].argument
        if made and by == "LOAD_COMMON_CONSTANT":
            common = pythons.common_constant(self.decoded[made[0]].argument)
            return common if common is None or isinstance(common, int | str) else Dots()
        return Dots()

    def _make(self, at: int, flags: int, work: Work, kinds: dict[int, int]) -> Iterator[Broken]:
        index = self.constant(work[-1])
        code = self.code.constants[index] if index is not None else None
        if index is None or not isinstance(code, Code):
            yield self.decoded.broken("BCP306", "MAKE_FUNCTION takes a code constant, loaded just for it", at)
            return
        closure = work[-2] if flags & _CLOSURE else None
        yield from self._complete(at, index, code, closure, kinds)
        if flags & _ANNOTATIONS and not self._is_even(work[-3 if flags & _CLOSURE else -2]):
            yield self.decoded.broken("BCP306", "MAKE_FUNCTION takes annotations as a tuple of names and values", at)

    def _complete(
        self, at: int, index: int, code: Code, closure: int | None, kinds: dict[int, int]
    ) -> Iterator[Broken]:
        """The kind of the function made at ``at``, once its cells are given or known to be none."""
        self.made[RESULTS * at] = (index, closure)
        if closure is not None and not self._is_closure(closure, code):
            yield self.decoded.broken(
                "BCP306", f"the closure of {code.qualname!r} must be {len(code.freevars)} cells", at
            )
        if closure is None and code.freevars:
            kinds[RESULTS * at] = UNCLOSED
        else:
            kinds[RESULTS * at] = DEMANDING if self.nested[index] else FUNCTION

    def _set_attribute(self, at: int, flag: int, work: Work, kinds: dict[int, int]) -> Iterator[Broken]:
        value, function = work
        made = self.single(function)
        known = self.made.get(RESULTS * made[0]) if made else None
        if made is None or known is None:
            yield self.decoded.broken("BCP306", "SET_FUNCTION_ATTRIBUTE takes a function that was just made", at)
            return
        code = self.code.constants[known[0]]
        assert isinstance(code, Code)
        if flag == _CLOSURE:
            yield from self._complete(at, known[0], code, value, kinds)
        else:
            self.made[RESULTS * at] = known
            kinds[RESULTS * at] = kinds[RESULTS * made[0]]
        wanted = {1: TUPLE | TEXTS, 2: DICT, 4: TUPLE | TEXTS}.get(flag)
        if wanted is not None and self.values.kinds[value] & ~(wanted | BORROWED):
            yield self.decoded.broken("BCP306", f"SET_FUNCTION_ATTRIBUTE {flag} takes {words(wanted)}", at)
        if flag == _ANNOTATIONS and not self._is_even(value):
            yield self.decoded.broken(
                "BCP306", "SET_FUNCTION_ATTRIBUTE takes annotations as a tuple of names and values", at
            )

    def tuple_items(self, value: int) -> Work | None:
        made = self.single(value)
        if made is None or self.made_by(value) != "BUILD_TUPLE":
            return None
        return self.trace.operands[made[0]]

    def _is_closure(self, value: int, code: Code) -> bool:
        """Whether a value is a tuple of exactly the cells that ``code`` needs. Variables that only the compiler
        can name keep their names.
        """
        items = self.tuple_items(value)
        if items is None or len(items) != len(code.freevars):
            return False
        if any(self.values.kinds[item] & ~(CELL | BORROWED) for item in items):
            return False
        pairs = zip(code.freevars, items, strict=True)
        return all(self._cell_name(item) == name for name, item in pairs if name.startswith("."))

    def _cell_name(self, value: int) -> str | None:
        """The variable whose cell a value is."""
        members = self.values.members(value)
        member = next(iter(members))
        slots = self.trace.slots
        if len(members) == 1 and member < self.values.entry:
            return slots.names[self.decoded[member // RESULTS].argument]
        first = self.values.first_slot
        return (
            slots.names[member - first] if len(members) == 1 and first <= member < self.values.first_handler else None
        )

    def _is_even(self, value: int) -> bool:
        items = self.tuple_items(value)
        if items is not None:
            return len(items) % 2 == 0
        index = self.constant(value)
        constant = self.code.constants[index] if index is not None else None
        return isinstance(constant, Tuple) and len(constant.items) % 2 == 0

    # --- operands ----------------------------------------------------------------------

    def check(self) -> Iterator[Broken]:
        """Every operand of a wrong kind (BCP306), unbound local (BCP314), borrowed reference (BCP315)."""
        kinds, forbids, operands = self.values.kinds, self.trace.steps.forbids, self.trace.operands
        for at, work in () if self._all_fit() else enumerate(operands):
            if work:
                for value, forbidden in zip(work, forbids[at], strict=False):
                    if kinds[value] & forbidden:
                        yield self._wrong(at, kinds[value] & forbidden)
        for at, left in self.trace.left.items():
            if self.decoded.opcodes[at] in _RETURNS:
                yield self.decoded.broken("BCP304", f"{left} values are left on the stack at the end", at)
        special = _SPECIAL_PLACES if self.nested or self.trace.slots.has_cells else _SPECIAL_WITHOUT_CELLS
        for at in places(special, self.decoded.opcodes):
            work = operands[at]
            if work is not None:
                for look in _SPECIAL[self.decoded.opcodes[at]]:
                    fault = look(self, at, work)
                    if fault:
                        yield self.decoded.broken(fault[0], fault[1], at)

    def _all_fit(self) -> bool:
        """Whether no operand is of a wrong kind, as far as that is plain: each has its forbidden kinds beside it."""
        reached, forbids = self.trace.operands, self.trace.steps.forbids
        if None in self.trace.entered:
            forbids = tuple([one for one, work in zip(forbids, reached, strict=True) if work is not None])
        works = list(filter(None, reached))
        kinds = map(self.values.kinds.__getitem__, chain.from_iterable(works))
        return not any(map(and_, kinds, chain.from_iterable(forbids)))

    def _wrong(self, at: int, extra: int) -> Broken:
        name = self.decoded[at].name
        if extra == UNBOUND and "bound" in FACTS[self.decoded.opcodes[at]].row.reads:
            return self.decoded.broken("BCP316", f"{name} of a local variable that may be unbound", at)
        if extra == BORROWED:
            return self.decoded.broken("BCP315", f"{name} keeps a reference that is borrowed from a local variable", at)
        return self.decoded.broken("BCP306", f"{name} can't take {words(extra)}", at)


# --- what single instructions ask ------------------------------------------------------

Fault = tuple[str, str]
Look = Callable[[Kinds, int, Work], Fault | None]


def _is_cell(kinds: Kinds, at: int, work: Work) -> Fault | None:
    kind = kinds.values.kinds[work[-1]]
    if kind & ~BORROWED != CELL:
        slot = kinds.trace.slots.names[kinds.decoded[at].argument]
        return "BCP306", f"{kinds.decoded[at].name} needs a cell in {slot!r}, which may hold {words(kind)}"
    return None


def _stored(kinds: Kinds, at: int, work: Work) -> Fault | None:
    instruction = kinds.decoded[at]
    first, second = instruction.argument >> 4, instruction.argument & 15
    targets = {
        "STORE_FAST": [(instruction.argument, work[0])],
        "STORE_FAST_LOAD_FAST": [(first, work[0])],
        "STORE_FAST_STORE_FAST": [(first, work[-1]), (second, work[0])],
    }[instruction.name]
    slots = kinds.trace.slots
    for slot, value in targets:
        allowed = ANYTHING
        if slot >= slots.first_free:
            allowed = CELL
        elif slot == 0 and slot in slots.cells:  # where super() looks for the receiver, unchecked
            allowed = CELL | UNBOUND
        if kinds.values.kinds[value] & ~allowed:
            what = words(kinds.values.kinds[value])
            return "BCP306", f"{instruction.name} puts {what} where the cell of {slots.names[slot]!r} is"
    return None


def _cleared(kinds: Kinds, at: int, work: Work) -> Fault | None:
    slots, slot = kinds.trace.slots, kinds.decoded[at].argument
    return (
        ("BCP306", f"the cell of the free variable {slots.names[slot]!r} is taken away")
        if slot >= slots.first_free
        else None
    )


def _namespace(kinds: Kinds, at: int, work: Work) -> Fault | None:
    if kinds.code.flags & OPTIMIZED:
        return "BCP312", f"{kinds.decoded[at].name} in a function: it has no local namespace"
    return None


def _compilers_own(kinds: Kinds, at: int, work: Work) -> Fault | None:
    slots, slot = kinds.trace.slots, kinds.decoded[at].argument
    if slots.names[slot] == ".type_params" and (
        slot >= slots.first_free or kinds.values.kinds[work[0]] & ~(TUPLE | BORROWED)
    ):
        return "BCP306", "'.type_params' holds the tuple that the compiler stored in it, and nothing else"
    return None


def _demanded(kinds: Kinds, at: int, work: Work) -> Fault | None:
    """A call of a function that takes its arguments unchecked."""
    has = [kinds.values.kinds[value] for value in work]
    place = next((place for place in (0, 1) if has[place] & DEMANDING), None)
    if place is None:
        return None
    made = kinds.single(work[place])
    known = kinds.made.get(RESULTS * made[0]) if made else None
    arguments = [kind for kind in has[:2] if kind != NULL and not kind & DEMANDING] + has[2:]
    if known and has[place] == DEMANDING and len(arguments) == len(kinds.nested[known[0]]):
        if not any(kind & ~(mask | BORROWED) for kind, mask in zip(arguments, kinds.nested[known[0]], strict=True)):
            return None
    return "BCP306", "a function that takes its arguments unchecked is called with others than it needs"


def _keywords(kinds: Kinds, at: int, work: Work) -> Fault | None:
    for member in kinds.values.members(work[-1]):
        index = kinds.constant(member)
        constant = kinds.code.constants[index] if index is not None else None
        if not isinstance(constant, Tuple) or len(constant.items) > kinds.decoded[at].argument:
            return "BCP306", "the names of keyword arguments must be a constant, no longer than the arguments"
    return None


def _keys(kinds: Kinds, at: int, work: Work) -> Fault | None:
    keys, values = kinds.constant_or_number(work[-1]), len(work) - 1
    if isinstance(keys, Tuple) and len(keys.items) == values:
        return None
    return "BCP306", f"the keys of a dictionary of {values} values must be a constant tuple of as many"


def _import(kinds: Kinds, at: int, work: Work) -> Fault | None:
    level, names = (kinds.constant_or_number(value) for value in work)
    if isinstance(level, int) and 0 <= level < 1 << 15 and (names is None or isinstance(names, Tuple)):
        if names is None or all(isinstance(item, str) for item in names.items):
            return None
    return "BCP306", "IMPORT_NAME takes a constant level and constant names"


def _wrap(kinds: Kinds, at: int, work: Work) -> Fault | None:
    instruction = kinds.decoded[at]
    wraps = instruction.name == "ASYNC_GEN_WRAP" or INTRINSICS_1[instruction.argument][0] == "INTRINSIC_ASYNC_GEN_WRAP"
    if wraps and not kinds.code.flags & ASYNC_GENERATOR:
        return "BCP312", "a value is wrapped for an asynchronous generator, which the flags do not promise"
    return None


def _type_alias(kinds: Kinds, at: int, work: Work) -> Fault | None:
    if INTRINSICS_1[kinds.decoded[at].argument][0] != "INTRINSIC_TYPEALIAS":
        return None
    items = kinds.tuple_items(work[0]) or ()
    of = [kinds.values.kinds[item] for item in items]
    if len(of) == 3 and of[0] == TEXT and not of[2] & ~(FUNCTION | BORROWED):
        if not of[1] & ~(TUPLE | TEXTS | BORROWED) or kinds.constant_or_number(items[1]) is None:
            return None
    return "BCP306", "a type alias is made of a name, a tuple of type parameters or None, and a function"


def _template(kinds: Kinds, at: int, work: Work) -> Fault | None:
    index, items = kinds.constant(work[0]), kinds.tuple_items(work[1])
    texts = kinds.code.constants[index] if index is not None else None
    if items is None and (other := kinds.constant(work[1])) is not None:
        empty = kinds.code.constants[other]
        items = () if isinstance(empty, Tuple) and not empty.items else None
    if isinstance(texts, Tuple) and items is not None and len(texts.items) == len(items) + 1:
        if all(kinds.made_by(item) == "BUILD_INTERPOLATION" for item in items):
            return None
    return "BCP306", "BUILD_TEMPLATE takes constant texts and a tuple of one interpolation fewer"


def _paired(kinds: Kinds, at: int, work: Work) -> Fault | None:
    """The halves of what GET_ITER left belong together; beside an awaitable stands NULL."""
    iterated, index = kinds.single(work[0]), kinds.single(work[1])
    if iterated and index and iterated[0] == index[0]:
        return None
    if kinds.values.kinds[work[0]] & ~BORROWED in (AWAITABLE, ITERATOR) and kinds.values.kinds[work[1]] == NULL:
        return None
    return "BCP306", f"{kinds.decoded[at].name} needs what one GET_ITER left"


def _collected(kinds: Kinds, at: int, work: Work) -> Fault | None:
    """What ``except*`` collects is raised again without a look at what it is."""
    if kinds.values.kinds[work[0]] & EXCEPTIONS and kinds.values.kinds[work[-1]] & ~(EXCEPTION | REST):
        return "BCP306", f"a list of exceptions can't take {words(kinds.values.kinds[work[-1]])}"
    return None


def _special() -> dict[int, tuple[Look, ...]]:
    rows: tuple[tuple[Look, tuple[str, ...]], ...] = (
        (_is_cell, (*(facts.row.name for facts in FACTS.values() if facts.row.move == "cell"), "LOAD_CLOSURE")),
        (_stored, ("STORE_FAST", "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST")),
        (_cleared, ("DELETE_FAST", "LOAD_FAST_AND_CLEAR")),
        (_compilers_own, ("STORE_DEREF", "DELETE_DEREF")),
        (_namespace, ("LOAD_NAME", "STORE_NAME", "DELETE_NAME", "LOAD_CLASSDEREF", "SETUP_ANNOTATIONS", "IMPORT_STAR")),
        (_demanded, ("CALL",)),
        (_keywords, ("CALL_KW",)),
        (_keys, ("BUILD_CONST_KEY_MAP",)),
        (_import, ("IMPORT_NAME",)),
        (_wrap, ("ASYNC_GEN_WRAP", "CALL_INTRINSIC_1")),
        (_type_alias, ("CALL_INTRINSIC_1",)),
        (_template, ("BUILD_TEMPLATE",)),
        (_paired, ("FOR_ITER", "SEND") if pythons.ITERATES_ANYTHING else ()),
        (_collected, ("LIST_APPEND",)),
    )
    table: dict[int, tuple[Look, ...]] = {}
    for look, names in rows:
        for name in names:
            if name in NUMBERS:
                table[NUMBERS[name]] = (*table.get(NUMBERS[name], ()), look)
    return table


_SPECIAL: Final = _special()
_SPECIAL_PLACES: Final = marks(_SPECIAL)
#: The same for code that neither has cells nor makes functions: a cell or such a function is all that these look for.
_SPECIAL_WITHOUT_CELLS: Final = marks(
    number for number, looks in _SPECIAL.items() if not {_stored, _demanded}.issuperset(looks)
)
