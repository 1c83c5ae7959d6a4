"""Fields of a code object that must agree, and arguments that must be in range: all that needs no path.

Knows each instruction by itself and the prologue, which is a straight line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple

from bcpatch import pythons
from bcpatch.flow.decode import Broken, Decoded, marks, places
from bcpatch.flow.effects import INTRINSICS_1, INTRINSICS_2
from bcpatch.flow.opcodes import FACTS, NUMBERS, numbers
from bcpatch.flow.values import Slots
from bcpatch.model import Code, FrozenSet, Slice, Text, Tuple

VARARGS: Final = 0x04
VARKEYWORDS: Final = 0x08
OPTIMIZED: Final = 0x01
GENERATOR: Final = 0x20
COROUTINE: Final = 0x80
ITERABLE_COROUTINE: Final = 0x100
ASYNC_GENERATOR: Final = 0x200
SUSPENDS: Final = GENERATOR | COROUTINE | ASYNC_GENERATOR

#: Deeper stacks, more variables and deeper constants than any source gives; the time and
#: memory to look at a code object grow with them.
MOST_STACK: Final = 1 << 16
MOST_NAMES: Final = 1 << 16
MOST_CONSTANTS: Final = 1 << 20
DEEPEST: Final = 60

_NUMBERS_END: Final = 1 << 31


def parameters(code: Code) -> int:
    """How many of ``varnames`` a call binds."""
    return code.argcount + code.kwonlyargcount + (code.flags & VARARGS != 0) + (code.flags & VARKEYWORDS != 0)


def fit(code: Code) -> bool:
    """Whether `check` has nothing to say, as it has not of most."""
    flags, variables, constants = code.flags, code.varnames, code.constants
    return (
        0 <= code.posonlyargcount <= code.argcount
        and code.kwonlyargcount >= 0
        and code.argcount + code.kwonlyargcount + (flags & VARARGS != 0) + (flags & VARKEYWORDS != 0) <= len(variables)
        and len(variables) + len(code.names) <= MOST_NAMES
        and not code.cellvars
        and not code.freevars
        and len(set(variables)) == len(variables)
        and 0 <= flags < _NUMBERS_END
        and not flags & _QUESTIONABLE
        and (not flags & _DOCUMENTED or (len(constants) > 0 and type(constants[0]) is str))
        and 0 <= code.stacksize <= MOST_STACK
        and -1 <= code.first_line < _NUMBERS_END
        and len(constants) <= MOST_CONSTANTS
        and _CONTAINERS.isdisjoint(map(type, constants))
    )


#: Flags of which there is more to ask than whether they exist.
_QUESTIONABLE: Final = ~pythons.CODE_FLAGS | SUSPENDS | ITERABLE_COROUTINE
_DOCUMENTED: Final = pythons.DOCSTRING_FLAG or 0
_CONTAINERS: Final = frozenset((Tuple, FrozenSet, Slice))


def check(code: Code) -> Iterator[Broken]:
    """Limits and fields (BCP310, BCP314)."""
    sizes = (code.varnames, code.cellvars, code.freevars, code.names)
    if not 0 <= code.stacksize <= MOST_STACK or sum(map(len, sizes)) > MOST_NAMES:
        yield Broken("BCP310", f"a stack of {code.stacksize}, {sum(map(len, sizes))} names: beyond any source", 0)
        return
    if len(code.constants) > MOST_CONSTANTS:
        yield Broken("BCP310", f"{len(code.constants)} constants: beyond any source", 0)
        return
    numbers = (code.argcount, code.posonlyargcount, code.kwonlyargcount, code.flags, code.first_line)
    if code.first_line < -1 or min(numbers[:4]) < 0 or max(numbers) >= _NUMBERS_END:
        yield Broken("BCP314", f"a negative or huge number among {numbers}", 0)
        return
    if code.posonlyargcount > code.argcount or parameters(code) > len(code.varnames):
        yield Broken("BCP314", f"{parameters(code)} parameters, but {len(code.varnames)} variables", 0)
    for kind, names in zip(("local", "cell", "free"), sizes, strict=False):
        if len(set(names)) != len(names):
            yield Broken("BCP314", f"a {kind} variable stands twice in the code's list of them", 0)
    if code.flags & ~pythons.CODE_FLAGS:
        yield Broken("BCP314", f"unknown flags {code.flags & ~pythons.CODE_FLAGS:#x}", 0)
    if (code.flags & SUSPENDS).bit_count() > 1 or (code.flags & ITERABLE_COROUTINE and not code.flags & GENERATOR):
        yield Broken("BCP314", "flags of more than one of generator, coroutine and asynchronous generator", 0)
    if code.flags & _DOCUMENTED and not (code.constants and isinstance(code.constants[0], str | Text)):
        yield Broken("BCP314", "the flags promise a docstring, but the first constant is none", 0)
    if _too_deep(code):
        yield Broken("BCP310", f"constants nested more than {DEEPEST} deep, or code in a container", 0)


def _too_deep(code: Code) -> bool:
    """Whether a container among the constants is nested too deep or holds code (which no compiler does)."""
    level: list[object] = [one for one in code.constants if type(one) in _CONTAINERS]
    for _ in range(DEEPEST):
        inner: list[object] = []
        for container in level:
            match container:
                case Tuple(items) | FrozenSet(items):
                    inner += items
                case Slice(start, stop, step):
                    inner += (start, stop, step)
        if any(isinstance(one, Code) for one in inner):
            return True
        level = [one for one in inner if type(one) in _CONTAINERS]
        if not level:
            return False
    return True


# --- arguments ------------------------------------------------------------------------


@cache
def _range(meaning: str) -> tuple[int, int, frozenset[int] | None]:
    """Lowest and highest argument of a row's ``0-3``, ``1-`` or ``one of 1 2 4``."""
    if meaning.startswith("one of "):
        allowed = frozenset(map(int, meaning.removeprefix("one of ").split()))
        return min(allowed), max(allowed), allowed
    low, _, high = meaning.partition("-")
    return int(low), int(high) if high else _NUMBERS_END, None


def _argument_fault(code: Code, slots: Slots, meaning: str, argument: int) -> str | None:
    """What is wrong with an argument; None where nothing is."""
    match meaning:
        case "local":
            return None if argument < len(slots.names) else f"slot {argument} of {len(slots.names)}"
        case "pair":
            worst = max(argument >> 4, argument & 15)
            return None if worst < len(slots.names) else f"slot {worst} of {len(slots.names)}"
        case "constant":
            return None if argument < len(code.constants) else f"constant {argument} of {len(code.constants)}"
        case "name" | "name>>1" | "name>>2":
            index = argument >> int(meaning[6:] or 0)
            return None if index < len(code.names) else f"name {index} of {len(code.names)}"
        case "texts":
            constant = code.constants[argument] if argument < len(code.constants) else None
            fits = isinstance(constant, Tuple) and all(isinstance(item, str) for item in constant.items)
            return None if fits else f"constant {argument} is no tuple of names"
        case "free variables":
            return (
                None if argument == len(code.freevars) else f"{argument} cells for {len(code.freevars)} free variables"
            )
    return _range_fault(meaning, argument)


def _range_fault(meaning: str, argument: int) -> str | None:
    """The same of an argument that means the same in every code object."""
    match meaning:
        case "unused" | "target" | "count" | "source":
            return None
        case "resume":
            fits = argument & pythons.RESUME_PLACE in pythons.RESUME_PLACES and argument <= pythons.RESUME_MOST
            return None if fits else f"{argument} is no place to resume at"
        case "comparison>>4" | "comparison>>5":
            return None if argument >> int(meaning[-1]) <= 5 else f"comparison {argument >> int(meaning[-1])} of 6"
        case "intrinsic 1" | "intrinsic 2":
            table = INTRINSICS_1 if meaning[-1] == "1" else INTRINSICS_2
            return None if argument in table else f"intrinsic function {argument} doesn't exist"
    low, high, allowed = _range(meaning)
    if low <= argument <= high and (allowed is None or argument in allowed):
        return None
    return f"argument {argument}, allowed: {meaning}"


class Indices(NamedTuple):
    """The largest index of each sort in an argument, -1 where there is none of it."""

    local: int
    constant: int
    name: int


#: Of an argument that has to be looked at by itself: it is beyond any limit.
_ASK: Final = Indices(_NUMBERS_END, -1, -1)
#: What is asked of the code that an argument stands in, and is no index.
_OF_THE_CODE: Final = frozenset({"texts", "free variables"})


def indices(number: int, argument: int) -> Indices:
    """What the lists of a code object must have for an instruction with an argument."""
    meaning, _, shift = FACTS[number].row.argument.partition(">>")
    match meaning:
        case "local":
            return Indices(argument, -1, -1)
        case "pair":
            return Indices(max(argument >> 4, argument & 15), -1, -1)
        case "constant":
            return Indices(-1, argument, -1)
        case "name":
            return Indices(-1, -1, argument >> int(shift or 0))
    if meaning in _OF_THE_CODE or _range_fault(FACTS[number].row.argument, argument):
        return _ASK
    return Indices(-1, -1, -1)


def arguments(code: Code, slots: Slots, decoded: Decoded, asked: Iterable[int]) -> Iterator[Broken]:
    """Every argument out of its range (BCP307), of some instructions."""
    for at in asked:
        offset, number, name, argument, _ = decoded[at]
        fault = _argument_fault(code, slots, FACTS[number].row.argument, argument)
        if fault:
            yield Broken("BCP307", f"{name}: {fault}", offset)


# --- neighbours and prologue ------------------------------------------------------------


def prologue(code: Code, slots: Slots, decoded: Decoded) -> Iterator[Broken]:
    """COPY_FREE_VARS, MAKE_CELL and RETURN_GENERATOR as flags and kinds of variables demand (BCP312)."""
    if not (code.freevars or slots.cells or code.flags & SUSPENDS) and decoded.keys[0] == _RESUME:
        yield from _after_prologue(code, decoded, 0)
        return
    names = decoded.names(0, len(slots.names) + 12)
    at = 0
    copies = names[:1] == ["COPY_FREE_VARS"]
    at += copies
    if copies != bool(code.freevars):
        yield Broken("BCP312", "free variables need one COPY_FREE_VARS as the first instruction", 0)
    made = set()
    while names[at : at + 1] == ["MAKE_CELL"]:
        made.add(decoded[at].argument)
        at += 1
    for slot in slots.cells - made:
        if slot < slots.parameters:
            yield Broken("BCP312", f"the captured parameter {slots.names[slot]!r} gets no cell at the start", 0)
    suspends = code.flags & SUSPENDS != 0
    if suspends:
        for start in pythons.GENERATOR_STARTS:
            if names[at : at + len(start)] == list(start):
                at += len(start)
                break
        else:
            yield Broken("BCP312", "the flags promise a generator or coroutine, but the code does not start as one", 0)
            return
    if names[at : at + 1] != ["RESUME"] or decoded[at].argument != 0:
        yield Broken("BCP312", "the code does not start with RESUME 0 after its prologue", 0)
        return
    yield from _after_prologue(code, decoded, at)


_ONCE: Final = frozenset(NUMBERS[name] for name in ("RETURN_GENERATOR", "COPY_FREE_VARS"))
_SUSPENDING: Final = frozenset(NUMBERS[name] for name in ("YIELD_VALUE", "SEND"))
_RESUME: Final = NUMBERS["RESUME"]
_YIELDS: Final = NUMBERS["YIELD_VALUE"]
_PLACED: Final = marks(_ONCE | _SUSPENDING | {_RESUME})


def _after_prologue(code: Code, decoded: Decoded, start: int) -> Iterator[Broken]:
    """What may only stand in the prologue, in a generator, or beside a certain other instruction."""
    for at in places(_PLACED, decoded.opcodes, start + 1):
        number, offset = decoded.opcodes[at], decoded.offsets[at]
        if number in _ONCE:
            yield Broken("BCP312", f"{decoded[at].name} after the prologue", offset)
        elif number in _SUSPENDING and not code.flags & SUSPENDS:
            yield Broken("BCP312", f"{decoded[at].name} in code whose flags promise no generator or coroutine", offset)
        if number == _RESUME and (
            decoded.opcodes[at - 1] != _YIELDS or not decoded.arguments[at] & pythons.RESUME_PLACE
        ):
            yield Broken("BCP312", "RESUME stands only at the start and after YIELD_VALUE", offset)
        if number == _YIELDS:
            yield from _suspension(decoded, at)
    for at in decoded.jumps:
        if decoded.targets[at] <= start:
            yield Broken("BCP312", f"{decoded[at].name} jumps into the prologue", decoded.offsets[at])


def _suspension(decoded: Decoded, at: int) -> Iterator[Broken]:
    """What stands around the YIELD_VALUE at ``at``: closing and throwing read it."""
    offset = decoded[at].offset
    if at + 1 == len(decoded) or decoded[at + 1].name != "RESUME":
        yield Broken("BCP312", "YIELD_VALUE without RESUME after it", offset)
        return
    delegates = decoded[at + 1].argument & pythons.RESUME_PLACE > 1
    if pythons.YIELD_TELLS_DELEGATION and delegates != bool(decoded[at].argument):
        yield Broken("BCP312", "YIELD_VALUE and RESUME disagree on what is delegated to", offset)
    if pythons.THROW_READS_SEND and delegates:
        before = decoded[at - 1]
        if before.name != "SEND" or before.offset != offset - 2 or before.argument > 255:
            yield Broken("BCP312", "YIELD_VALUE of a delegation without SEND before it", offset)


#: What must stand right behind an instruction: the interpreter takes it for granted, or skips it.
_FOLLOWERS: Final = {"KW_NAMES": ("PRECALL", "CALL"), "PRECALL": ("CALL",)}

_SOURCED: Final = frozenset(number for number, facts in FACTS.items() if facts.row.argument == "source")
_PAIR: Final = bytes((NUMBERS["PRECALL"], NUMBERS["CALL"])) if "PRECALL" in NUMBERS else b""
_WATCHED: Final = marks(_SOURCED | numbers(*_FOLLOWERS, *pythons.SKIPPED_AFTER_JUMP))


def neighbours(code: Code, decoded: Decoded) -> Iterator[Broken]:
    """Instructions that the interpreter reads ahead of, skips, or jumps to as one (BCP312)."""
    watched = places(_WATCHED, decoded.opcodes)
    targets = set(decoded.targets) if watched else set()
    for at in watched:
        if decoded.opcodes[at : at + 2] == _PAIR and at + 1 not in targets:
            if decoded.arguments[at] == decoded.arguments[at + 1] <= 255:
                continue  # the most frequent of them, as it should be
        instruction = decoded[at]
        after = decoded[at + 1] if at + 1 < len(decoded) else None
        wanted = _FOLLOWERS.get(instruction.name)
        if wanted and (after is None or after.name not in wanted or at + 1 in targets):
            yield Broken("BCP312", f"{instruction.name} without {wanted[-1]} after it", instruction.offset)
        elif instruction.name == "KW_NAMES" and after:
            names = code.constants[instruction.argument]
            if isinstance(names, Tuple) and len(names.items) > after.argument:
                yield Broken("BCP312", f"{len(names.items)} names for {after.argument} arguments", instruction.offset)
        elif (
            instruction.name == "PRECALL" and after and (instruction.argument != after.argument or after.argument > 255)
        ):
            yield Broken("BCP312", "PRECALL and CALL disagree", instruction.offset)
        elif instruction.opcode in _SOURCED:
            end = after.offset if after else len(code.bytecode)
            if not decoded.starts_at(end - 2 * instruction.argument):
                yield Broken("BCP312", "END_ASYNC_FOR does not say where its loop ended", instruction.offset)
        elif instruction.name in pythons.SKIPPED_AFTER_JUMP:
            follows = decoded.names(instruction.target, instruction.target + 2)
            skipped = pythons.SKIPPED_AFTER_JUMP[instruction.name]
            if follows[: len(skipped)] != list(skipped):
                yield Broken(
                    "BCP312", f"{instruction.name} jumps to {follows[:1]}, not to {skipped}", instruction.offset
                )
            elif decoded.offsets[instruction.target] - instruction.offset > 2 * 0xFFFF:
                yield Broken("BCP310", f"{instruction.name} jumps further than 65535 units", instruction.offset)
