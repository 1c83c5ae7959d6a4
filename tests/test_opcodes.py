"""The table of instructions against what `dis` and the `bytecode` library know of them."""

from __future__ import annotations

import dis
import opcode

import bytecode
import pytest

from bcpatch import pythons
from bcpatch.flow import effects, opcodes

#: Where the table rightly differs from `dis.stack_effect`, and by how much.
DIFFERENT = {
    # The value sent to a generator that was just made is there when it first runs.
    ("RETURN_GENERATOR", 11): 1,
    ("RETURN_GENERATOR", 12): 1,
    # `dis` lets the caller's stack have what is returned.
    ("RETURN_VALUE", 14): -1,
    ("RETURN_VALUE", 15): -1,
}
#: `dis` shares the effect of a call between the two.
PAIR = ("PRECALL", "CALL")
ROWS = [pytest.param(facts, id=facts.row.name) for facts in opcodes.FACTS.values()]


def arguments(row: opcodes.Row) -> list[int]:
    """Arguments that the row allows."""
    if row.argument == "unused":
        return [0]
    if row.argument.startswith("one of"):
        return [int(one) for one in row.argument.split()[2:]]
    if row.argument == "free variables":
        return [1]
    if row.argument == "intrinsic 1":
        return list(effects.INTRINSICS_1)
    if row.argument == "intrinsic 2":
        return list(effects.INTRINSICS_2)
    low, _, high = row.argument.partition("-")
    if low.isdigit():
        return list(range(int(low), min(int(high or 300), 300) + 1))
    return list(range(8)) if row.argument == "resume" else [*range(40), 255]


def takes_argument(number: int) -> bool:
    known = getattr(opcode, "hasarg", None)
    return number in known if known is not None else number >= opcode.HAVE_ARGUMENT


@pytest.mark.parametrize("facts", ROWS)
def test_the_stack_effect_is_that_of_dis(facts: opcodes.Facts) -> None:
    row, number = facts.row, facts.number
    if row.name in PAIR and pythons.INSTRUCTION_SET == 11:
        pytest.skip("looked at as a pair")
    off = DIFFERENT.get((row.name, pythons.INSTRUCTION_SET), 0)
    for argument in arguments(row):
        effect = effects.effect(number, argument)
        assert effect is not None
        theirs = argument if takes_argument(number) else None
        assert len(effect.gives) - effect.removes == dis.stack_effect(number, theirs, jump=False) + off
        if row.flow.jumps:
            assert len(effect.jump_gives) - effect.jump_removes == dis.stack_effect(number, theirs, jump=True)


@pytest.mark.skipif(pythons.INSTRUCTION_SET > 11, reason="3.11 only")
def test_the_pair_of_a_call_has_the_stack_effect_of_dis() -> None:
    for argument in range(20):
        ours = sum(
            len(one.gives) - one.removes
            for one in (effects.effect(opcodes.NUMBERS[name], argument) for name in PAIR)
            if one is not None
        )
        assert ours == sum(dis.stack_effect(opcodes.NUMBERS[name], argument) for name in PAIR)


def test_every_opcode_that_the_compiler_emits_has_one_row() -> None:
    specialised = set(getattr(opcode, "_specialized_opmap", ())) | set(getattr(opcode, "_specialized_instructions", ()))
    internal = {
        "CACHE", "EXTENDED_ARG", "RESERVED", "INTERPRETER_EXIT", "EXIT_INIT_CHECK", "ENTER_EXECUTOR", "TRACE_RECORD",
    }  # fmt: skip
    emitted = {
        name
        for name, number in opcode.opmap.items()
        if number < 256 and not name.startswith("INSTRUMENTED_") and name not in specialised | internal
    }
    assert set(opcodes.NUMBERS) == emitted


@pytest.mark.parametrize("facts", ROWS)
def test_number_cache_and_jumps_are_those_of_the_running_version(facts: opcodes.Facts) -> None:
    name = facts.row.name
    assert opcode.opname[facts.number] == name
    jumps = facts.number in opcode.hasjrel or facts.number in opcode.hasjabs
    assert facts.row.flow.jumps == (jumps and name != "END_ASYNC_FOR")
    assert ("constant" in facts.row.argument or facts.row.argument == "texts") == (
        facts.number in opcode.hasconst and name != "LOAD_SMALL_INT"
    )
    assert facts.row.argument.startswith("name") == (facts.number in opcode.hasname)
    assert (facts.row.argument == "unused") == (not takes_argument(facts.number))


@pytest.mark.parametrize("facts", ROWS)
def test_the_bytecode_library_says_the_same(facts: opcodes.Facts) -> None:
    row = facts.row
    argument = arguments(row)[-1]
    instruction = bytecode.ConcreteInstr(row.name, *([argument] if takes_argument(facts.number) else []))
    assert (instruction.opcode, instruction.use_cache_opcodes()) == (facts.number, facts.caches)
    assert instruction.has_jump() == (row.flow.jumps or row.argument == "source")
    assert instruction.is_final() == (not row.flow.falls)


def test_an_argument_beyond_any_stack_has_no_effect() -> None:
    assert effects.effect(opcodes.NUMBERS["BUILD_LIST"], 1 << 20) is None


def test_kinds_have_names() -> None:
    bits = {1 << place for place in range(opcodes.ANYTHING.bit_length())}
    assert set(opcodes.KIND_NAMES) == bits


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.name} {row.since}") for row in opcodes.ROWS])
def test_rows_of_an_opcode_do_not_overlap(row: opcodes.Row) -> None:
    others = [other for other in opcodes.ROWS if other.name == row.name and other is not row]
    assert all(other.until < row.since or other.since > row.until for other in others)
