"""The abstract interpreter: which values may stand where, on every path through the instructions.

Blocks are followed until nothing new flows anywhere; the sets of values (`bcpatch.flow.values`) only
grow, so that ends. Knows depths and moves; whether an operand is of the kind that its
instruction needs is asked afterwards, of what was recorded here.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, compress
from operator import ne, sub
from typing import Final

from bcpatch import pythons
from bcpatch.flow.blocks import Block, blocks
from bcpatch.flow.decode import Decoded, Handler, marks, places
from bcpatch.flow.effects import Effect, effect
from bcpatch.flow.moves import Moves
from bcpatch.flow.opcodes import CELL, EXCEPTION, FACTS, LASTI, NUMBERS, Row, numbers
from bcpatch.flow.steps import BUDGET, CHANGING, Steps
from bcpatch.flow.values import RESULTS, Slots, Values, constant_kinds
from bcpatch.model import Code

#: Instructions that raise no exception of their own. One may still arise right before them, in what traces the thread
#: or monitors the code: their operands are there then.
_CALM: Final = numbers(
    "PUSH_EXC_INFO", "POP_EXCEPT", "POP_TOP", "POP_ITER", "END_FOR", "END_SEND", "PUSH_NULL", "COPY", "SWAP",
    "STORE_FAST", "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST", "LOAD_FAST_AND_CLEAR", "MAKE_CELL",
    "LOAD_FAST_BORROW", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "LOAD_FAST_LOAD_FAST", "LOAD_CONST",
    "LOAD_COMMON_CONSTANT", "LOAD_SMALL_INT", "NOP", "NOT_TAKEN", "JUMP_FORWARD", "RETURN_VALUE", "RETURN_CONST",
)  # fmt: skip
#: Instructions whose exceptions may be looked up at the code unit before them.
_CALLING: Final = numbers(*pythons.RAISING_BEFORE)
#: Instructions that the compiler itself puts where fewer values are than their handler expects.
_BELOW: Final = numbers(*pythons.BELOW_HANDLER)
_KEEPING: Final = NUMBERS["YIELD_VALUE"]
_CONSTANTS: Final = marks({NUMBERS["LOAD_CONST"]})
_RAISING: Final = marks(FACTS.keys() - _CALM)
#: Instructions after which slots, or where values stand on the stack, are not what they were.
_CHANGING: Final = frozenset(number for number, facts in FACTS.items() if facts.row.move in CHANGING)
_CHANGES: Final = marks(_CHANGING)


def _leaves(row: Row) -> tuple[bool, bool, str]:
    """Whether control falls and jumps from an instruction, and what is special: another stack along the jump, or
    which way a value is known to be present.
    """
    special = "jump" if row.jump else ""
    if row.move == "test":
        special = "present" if "NOT_NONE" in row.name else "absent"
    return row.flow.falls, row.flow.jumps, special


_LEAVES: Final = {number: _leaves(facts.row) for number, facts in FACTS.items()}


def _start(block: Block) -> int:
    return block.start


class Trace:
    """Follows one code object's instructions and records, for each, the values that it works on.

    ``operands`` is None where an instruction is never reached. Slots that an instruction reads stand in ``operands``
    as if they were on the stack. A state is a list: what is in each slot, then the stack, ``width`` values further on.
    """

    def __init__(self, code: Code, decoded: Decoded, steps: Steps, table: tuple[Handler, ...], slots: Slots) -> None:
        self.code = code
        self.decoded = decoded
        self.table = table
        self.slots = slots
        self.steps = steps
        self._check_width()
        found = blocks(decoded, table)
        self.blocks, self.block_at, self._targets = found.all, found.number, found.targets
        self.width = len(slots.names)
        self.values = Values(steps.results, self.width, len(table))
        self._moves = Moves(decoded, steps, slots, self.values)
        self.operands = self._moves.operands
        #: How deep the stack is before each instruction, and behind the last, if it is empty before the first and every
        #: instruction goes on to the next; and how many values would be there that the instruction doesn't want.
        self._depths = list(accumulate(steps.grows, initial=0))
        self._spare = list(map(sub, self._depths, steps.wanted))
        #: How deep the stack may be before the first instruction, with what stands in the slots not counted, so that
        #: it is deep enough, and not too deep, everywhere.
        self._lowest, self._highest = -min(self._spare), code.stacksize - max(self._depths)
        #: By number of a block: the state as it is entered, if it is. These lists are changed no more, but where only
        #: the block before leads to one.
        self.entered: list[list[int] | None] = [None] * len(self.blocks)
        #: By instruction that ends the code: what is left on the stack, where anything is.
        self.left: dict[int, int] = {}
        self.spent = 0
        #: By number of a handler: its first block, the state that an instruction brings to it which it covers and which
        #: raises nothing itself, and that instruction. It is followed where nothing else leads to the handler. It adds
        #: nothing to what else does: in between, slots that a comprehension has for itself may hold what no handler of
        #: the compiler's own code is ready for.
        self._passing: dict[int, tuple[int, list[int], int]] = {}
        #: By number of a block: whether it has to be followed; and the first for which that may be so.
        self._waiting = bytearray(len(self.blocks))
        self._next = 0
        #: By instruction: whether it raises, and whether it changes slots or where values stand.
        self._marked = decoded.opcodes.translate(_RAISING), decoded.opcodes.translate(_CHANGES)
        self._set_kinds()

    def effect(self, at: int) -> Effect:
        """What the instruction at ``at`` needs and leaves."""
        found = effect(self.decoded.opcodes[at], self.decoded.arguments[at])
        assert found is not None
        return found

    def block_of(self, at: int) -> int:
        """The number of the block that holds an instruction."""
        return bisect_right(self.blocks, at, key=_start) - 1

    # --- setting out ---------------------------------------------------------------

    def _check_width(self) -> None:
        steps = self.steps
        if max(steps.gives) > self.code.stacksize + 1:
            at = next(at for at, gives in enumerate(steps.gives) if gives > self.code.stacksize + 1)
            wide = self.decoded[at]
            message = f"{wide.name} {wide.argument} needs more than the stack of {self.code.stacksize}"
            raise self.decoded.broken("BCP305", message, at)
        if sum(steps.wanted) + sum(steps.gives) > BUDGET:
            raise self.decoded.broken("BCP310", "the code is too wide to follow", 0)

    def _set_kinds(self) -> None:
        kinds, arguments = self.values.kinds, self.decoded.arguments
        of_constants = constant_kinds(self.code.constants)
        for at in places(_CONSTANTS, self.decoded.opcodes):
            kinds[RESULTS * at] = of_constants[arguments[at]]
        for number in range(len(self.table)):
            kinds[self.values.first_handler + 2 * number] = LASTI
            kinds[self.values.first_handler + 2 * number + 1] = EXCEPTION
        for slot in range(self.slots.first_free, self.width):
            kinds[self.values.first_slot + slot] = CELL

    # --- following -----------------------------------------------------------------

    def follow(self) -> None:
        """To the end. Raises `Broken` (BCP303, BCP304, BCP305, BCP309, BCP310, BCP312, BCP315)."""
        first, parameters = self.values.first_slot, self.slots.parameters
        self._enter(0, [*range(first, first + parameters), *[self.values.unbound] * (self.width - parameters)], 0)
        self._follow()
        while unseen := [one for one in self._passing.values() if self.entered[one[0]] is None]:
            self._enter(*unseen[0])
            self._follow()

    def _follow(self) -> None:
        waiting = self._waiting
        while (number := waiting.find(1, self._next)) >= 0:
            state = self.entered[number]
            assert state is not None
            self._through(number, state.copy())

    def _through(self, number: int, state: list[int]) -> None:
        """Through a block whose turn it is, and on while control falls into the next one, no other way leads to that
        one, and none before it waits. Changes the state.
        """
        every, opcodes, depths, width = self.blocks, self.decoded.opcodes, self._depths, self.width
        run, entered, waiting = self._moves.run, self.entered, self._waiting
        while True:
            waiting[number] = 0
            block = every[number]
            number += 1
            self._next = number
            start, end = block.start, block.end
            size = len(state)
            self.spent += size + end - start
            if self.spent > BUDGET:
                raise self.decoded.broken("BCP310", "the code is too tangled to follow", start)
            if self.table and opcodes[start] in _CALLING:
                self._raises_before(number - 1, state)
            base = size - width - depths[start]
            if not self._lowest <= base <= self._highest:
                self._check_depth(start, end, base)
            if block.handler is None:
                run(start, end, state)
            else:
                self._run_covered(block, state)
            at = end - 1
            falls, jumps, special = _LEAVES[opcodes[at]]
            falling, jumping = self._parted(special, at, state) if special else (state, state)
            goes_on = False
            if falls:
                if end == len(opcodes):
                    raise self.decoded.broken("BCP309", "control falls off the end of the code", at)
                if end in self._targets:
                    self._enter(number, falling, at)
                else:
                    entered[number] = falling
                    goes_on = True
            if jumps:
                shares = goes_on and jumping is falling
                self._enter(self.block_at[self.decoded.targets[at]], jumping.copy() if shares else jumping, at)
            elif not falls and len(state) > width:
                self.left[at] = len(state) - width
            if not goes_on:
                return
            if self._next < number:
                waiting[number] = 1
                return
            state = falling

    def _enter(self, number: int, state: list[int], source: int) -> None:
        """Join what flows into a block: a list that nobody changes any more."""
        known = self.entered[number]
        if known is None:
            depth = len(state) - self.width
            if depth > self.code.stacksize:
                raise self.decoded.broken("BCP305", f"{depth} values on a stack of {self.code.stacksize}", source)
            self.entered[number] = state
        elif known == state:
            return
        else:
            if len(known) != len(state):
                depths = f"{len(known) - self.width} and {len(state) - self.width}"
                start = self.blocks[number].start
                raise self.decoded.broken("BCP304", f"paths meet with {depths} values on the stack", start)
            joined = known.copy()
            for place in compress(range(len(known)), map(ne, known, state)):
                joined[place] = self.values.union(known[place], state[place])
            if joined == known:
                return
            self.entered[number] = joined
        self._waiting[number] = 1
        if number < self._next:
            self._next = number

    def _brought(self, block: Block, state: list[int]) -> list[int]:
        """The state that an exception in a block brings to its handler."""
        handler = block.handler
        assert handler is not None
        raised = self.values.first_handler + 2 * block.handler_number
        return state[: self.width + handler.depth] + ([raised, raised + 1] if handler.lasti else [raised + 1])

    def _raises(self, block: Block, at: int, state: list[int], has_changed: bool) -> bool:
        """An exception in the instruction at ``at`` finds its operands gone, and needs enough values below them.

        ``has_changed`` and the result tell whether the handler was not told of such a state.
        """
        assert block.handler is not None
        opcode = self.decoded.opcodes[at]
        raises = opcode not in _CALM
        gone = 0 if opcode == _KEEPING or not raises else self.steps.removes[at]
        if len(state) - self.width - gone < block.handler.depth:
            if opcode in _BELOW and self._looks_at_exception_alone(block.handler):
                return has_changed
            message = f"an exception at {self.decoded[at].name} has a handler that expects {block.handler.depth} values"
            raise self.decoded.broken("BCP308", message, at)
        if has_changed and raises:
            self._enter(self.block_at[block.handler.target], self._brought(block, state), at)
        elif has_changed and block.handler_number not in self._passing:
            brought = self.block_at[block.handler.target], self._brought(block, state), at
            self._passing[block.handler_number] = brought
        return has_changed and not raises

    def _looks_at_exception_alone(self, handler: Handler) -> bool:
        """Whether a handler does no more than the one around a whole generator: turn StopIteration, raise again."""
        first, second = handler.target, handler.target + 1
        if not handler.lasti or self.decoded.names(first, second + 1) != ["CALL_INTRINSIC_1", "RERAISE"]:
            return False
        if self.blocks[self.block_of(first)].handler or self.blocks[self.block_of(second)].handler:
            return False
        turns = pythons.intrinsic(self.decoded.arguments[first]) == "INTRINSIC_STOPITERATION_ERROR"
        return turns and self.decoded.arguments[second] == 1

    def _raises_before(self, number: int, state: list[int]) -> None:
        """The same, for the handler of the instruction before the block, where that is asked instead."""
        block, before = self.blocks[number], self.blocks[number - 1]
        if number and before.handler and before.handler is not block.handler:
            self._raises(before, block.start, state, True)

    def _run_covered(self, block: Block, state: list[int]) -> None:
        """What the instructions of a block do whose exceptions a handler may take up.

        The first one that raises tells for all up to where a slot changes.
        """
        at, end, handler, number = block.start, block.end, block.handler, block.handler_number
        assert handler is not None
        if len(state) - self.width - self._depths[at] + min(self._spare[at:end]) < handler.depth:
            self._run_close(block, state)
            return
        raising, changing = self._marked
        target, run = self.block_at[handler.target], self._moves.run
        while at < end:
            if number not in self._passing and not raising[at]:
                self._passing[number] = (target, self._brought(block, state), at)
            first = raising.find(1, at, end)
            if first < 0:
                run(at, end, state)
                return
            run(at, first, state)
            self._enter(target, self._brought(block, state), first)
            at = changing.find(1, first, end) + 1 or end
            run(first, at, state)

    def _run_close(self, block: Block, state: list[int]) -> None:
        """The same where an instruction may leave the handler fewer values than it expects."""
        has_changed = True
        for at in range(block.start, block.end):
            has_changed = self._raises(block, at, state, has_changed)
            self._moves.run(at, at + 1, state)
            has_changed = has_changed or self.decoded.opcodes[at] in _CHANGING

    def _check_depth(self, start: int, end: int, base: int) -> None:
        """How deep the stack is from instruction to instruction; ``base`` is what there is beyond `_depths`."""
        depths = self._depths
        if base + max(depths[start : end + 1]) <= self.code.stacksize and base + min(self._spare[start:end]) >= 0:
            return
        for at in range(start, end):
            if base + self._spare[at] < 0:
                message = f"{self.decoded[at].name} needs {self.steps.wanted[at]} values, {base + depths[at]} are there"
                raise self.decoded.broken("BCP303", message, at)
            if base + depths[at + 1] > self.code.stacksize:
                message = f"{base + depths[at + 1]} values on a stack of {self.code.stacksize}"
                raise self.decoded.broken("BCP305", message, at)

    def _parted(self, special: str, at: int, state: list[int]) -> tuple[list[int], list[int]]:
        """The states with which control falls and jumps from the instruction at ``at``, which are not the same."""
        if special == "jump":
            return state, self._jumping(at, state)
        tested = self.operands[at]
        assert tested
        known = self.values.present(tested[0])
        if known == tested[0]:
            return state, state
        narrowed = [known if one == tested[0] else one for one in state]
        return (state, narrowed) if special == "present" else (narrowed, state)

    def _jumping(self, at: int, state: list[int]) -> list[int]:
        """The state along a jump that leaves other values than going on."""
        work, facts = self.operands[at] or (), self.effect(at)
        before = [*state[: len(state) - len(facts.gives)], *work[len(work) - facts.removes :]]
        del before[len(before) - facts.jump_removes :]
        return before + [RESULTS * at + 2] * len(facts.jump_gives)
