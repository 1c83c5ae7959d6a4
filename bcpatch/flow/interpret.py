"""The abstract interpreter: which values may stand where, on every path through the instructions.

Blocks are followed until nothing new flows anywhere; the sets of values (`bcpatch.flow.values`) only
grow, so that ends. Knows depths and moves; whether an operand is of the kind that its
instruction needs is asked afterwards, of what was recorded here.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush
from itertools import accumulate
from operator import sub
from typing import Final

from bcpatch import pythons
from bcpatch.flow.blocks import Block, blocks
from bcpatch.flow.decode import Decoded, Handler, pattern, places
from bcpatch.flow.effects import Effect, effect
from bcpatch.flow.moves import Moves
from bcpatch.flow.opcodes import CELL, EXCEPTION, FACTS, LASTI, NUMBERS, Row, numbers
from bcpatch.flow.steps import BUDGET, CHANGING, Steps
from bcpatch.flow.values import RESULTS, Slots, Values, constant_kind
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
_CONSTANTS: Final = pattern({NUMBERS["LOAD_CONST"]})
_RAISING: Final = pattern(FACTS.keys() - _CALM)
#: Instructions after which slots, or where values stand on the stack, are not what they were.
_CHANGING: Final = pattern(number for number, facts in FACTS.items() if facts.row.move in CHANGING)


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
    as if they were on the stack.
    """

    def __init__(self, code: Code, decoded: Decoded, steps: Steps, table: tuple[Handler, ...], slots: Slots) -> None:
        self.code = code
        self.decoded = decoded
        self.table = table
        self.slots = slots
        self.steps = steps
        self._check_width()
        self.blocks, self.block_at, self._targets = blocks(decoded, table)
        self.values = Values(steps.results, len(slots.names), len(table))
        self._moves = Moves(decoded, steps, slots, self.values)
        self.operands = self._moves.operands
        #: How deep the stack is before each instruction, and behind the last, if it is empty before the first and every
        #: instruction goes on to the next; and how many values would be there that the instruction doesn't want.
        self._depths = list(accumulate(map(sub, steps.gives, steps.removes), initial=0))
        self._spare = list(map(sub, self._depths, steps.wanted))
        self.max_depth = 0
        #: By number of a block: stack and local variables as it is entered. These lists are never changed.
        self.entered: dict[int, tuple[list[int], list[int]]] = {}
        #: By instruction that ends the code: what is left on the stack, where anything is.
        self.left: dict[int, int] = {}
        self.spent = 0
        #: By number of a handler: a state before an instruction that it covers and that raises nothing itself. It is
        #: followed where nothing else leads to the handler. It adds nothing to what else does: in between, slots that
        #: a comprehension has for itself may hold what no handler of the compiler's own code is ready for.
        self._passing: dict[int, tuple[Block, list[int], list[int], int]] = {}
        self._waiting: list[int] = []
        self._queued: set[int] = set()
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
        for at in places(_CONSTANTS, self.decoded.opcodes):
            kinds[RESULTS * at] = constant_kind(self.code.constants[arguments[at]])
        for number in range(len(self.table)):
            kinds[self.values.first_handler + 2 * number] = LASTI
            kinds[self.values.first_handler + 2 * number + 1] = EXCEPTION
        for slot in range(self.slots.first_free, len(self.slots.names)):
            kinds[self.values.first_slot + slot] = CELL

    # --- following -----------------------------------------------------------------

    def follow(self) -> None:
        """To the end. Raises `Broken` (BCP303, BCP304, BCP305, BCP309, BCP310, BCP312, BCP315)."""
        slots = self.slots
        local = [self.values.unbound] * len(slots.names)
        local[: slots.parameters] = range(self.values.first_slot, self.values.first_slot + slots.parameters)
        self._enter(0, [], local, 0)
        self._follow()
        while unseen := [one for one in self._passing.values() if not self._is_entered(one[0])]:
            self._unwind(*unseen[0])
            self._follow()

    def _is_entered(self, block: Block) -> bool:
        """Whether the handler of a block was followed."""
        return block.handler is not None and self.block_at[block.handler.target] in self.entered

    def _follow(self) -> None:
        while self._waiting:
            number: int | None = heappop(self._waiting)
            self._queued.discard(number)
            while number is not None:
                number = self._through(number)

    def _through(self, number: int) -> int | None:
        """Through a block; the number of the one that has to be next, where only this one leads to it."""
        block = self.blocks[number]
        start, end, handler, _ = block
        stack, local = self.entered[number]
        self.spent += len(stack) + len(local) + end - start
        if self.spent > BUDGET:
            raise self.decoded.broken("BCP310", "the code is too tangled to follow", start)
        stack, local = stack.copy(), local.copy()
        self._moves.changed = True
        if self.table:
            self._raises_before(number, stack, local)
        if self.operands[start] is None:  # the first time; it never has another depth
            self._check_depth(start, end, len(stack))
        if handler is None:
            self._moves.run(start, end, stack, local)
        else:
            self._run_covered(block, stack, local)
        return self._leave(number, end - 1, stack, local)

    def _enter(self, start: int, stack: list[int], local: list[int], source: int) -> None:
        """Join what flows into the block at instruction ``start``: lists that nobody changes any more."""
        number = self.block_at.get(start)
        if number is None:
            raise self.decoded.broken("BCP309", "control falls off the end of the code", source)
        known = self.entered.get(number)
        if known is None:
            if len(stack) > self.code.stacksize:
                raise self.decoded.broken("BCP305", f"{len(stack)} values on a stack of {self.code.stacksize}", source)
            if len(stack) > self.max_depth:
                self.max_depth = len(stack)
            self.entered[number] = (stack, local)
        elif known == (stack, local):
            return
        else:
            if len(known[0]) != len(stack):
                raise self.decoded.broken(
                    "BCP304", f"paths meet with {len(known[0])} and {len(stack)} values on the stack", start
                )
            joined = self._join(known[0], stack), self._join(known[1], local)
            if joined == known:
                return
            self.entered[number] = joined
        self._wait(number)

    def _wait(self, number: int) -> None:
        if number not in self._queued:
            self._queued.add(number)
            heappush(self._waiting, number)

    def _join(self, known: list[int], new: list[int]) -> list[int]:
        if known == new:
            return known
        union = self.values.union
        return [old if old == one else union(old, one) for old, one in zip(known, new, strict=True)]

    def _unwind(self, block: Block, stack: list[int], local: list[int], source: int) -> None:
        """What an instruction that raises brings to the block's handler."""
        handler = block.handler
        assert handler is not None
        raised = self.values.first_handler + 2 * block.handler_number
        pushed = [raised, raised + 1] if handler.lasti else [raised + 1]
        self._enter(handler.target, stack[: handler.depth] + pushed, local.copy(), source)

    def _raises(self, block: Block, at: int, stack: list[int], local: list[int]) -> None:
        """An exception in the instruction at ``at`` finds its operands gone, and needs enough values below them."""
        assert block.handler is not None
        floor = block.handler.depth
        raises = self.decoded.opcodes[at] not in _CALM
        gone = 0 if self.decoded.opcodes[at] == _KEEPING or not raises else self.steps.removes[at]
        if len(stack) - gone < floor:
            if self.decoded.opcodes[at] in _BELOW and self._looks_at_exception_alone(block.handler):
                return
            name = self.decoded[at].name
            raise self.decoded.broken("BCP308", f"an exception at {name} has a handler that expects {floor} values", at)
        if not raises:
            if self._moves.changed and block.handler_number not in self._passing:
                self._passing[block.handler_number] = (block, stack[:floor], local.copy(), at)
        elif self._moves.changed:
            self._moves.changed = False
            self._unwind(block, stack, local, at)

    def _looks_at_exception_alone(self, handler: Handler) -> bool:
        """Whether a handler does no more than the one around a whole generator: turn StopIteration, raise again."""
        first, second = handler.target, handler.target + 1
        if not handler.lasti or self.decoded.names(first, second + 1) != ["CALL_INTRINSIC_1", "RERAISE"]:
            return False
        if self.blocks[self.block_of(first)].handler or self.blocks[self.block_of(second)].handler:
            return False
        turns = pythons.intrinsic(self.decoded.arguments[first]) == "INTRINSIC_STOPITERATION_ERROR"
        return turns and self.decoded.arguments[second] == 1

    def _raises_before(self, number: int, stack: list[int], local: list[int]) -> None:
        """The same, for the handler of the instruction before the block, where that may be asked instead."""
        block, before = self.blocks[number], self.blocks[number - 1]
        if number and before.handler and before.handler is not block.handler:
            if self.decoded.opcodes[block.start] in _CALLING:
                self._raises(before, block.start, stack, local)
                self._moves.changed = True

    def _run_covered(self, block: Block, stack: list[int], local: list[int]) -> None:
        """What the instructions of a block do whose exceptions a handler may take up.

        The first one that raises tells for all up to where a slot changes.
        """
        at, end, handler, number = block
        assert handler is not None
        if len(stack) - self._depths[at] + min(self._spare[at:end]) < handler.depth:
            self._run_close(block, stack, local)
            return
        opcodes = self.decoded.opcodes
        while at < end:
            if number not in self._passing and opcodes[at] in _CALM:
                self._passing[number] = (block, stack[: handler.depth], local.copy(), at)
            raising = _RAISING.search(opcodes, at, end)
            if raising is None:
                self._moves.run(at, end, stack, local)
                return
            self._moves.run(at, raising.start(), stack, local)
            self._unwind(block, stack, local, raising.start())
            changing = _CHANGING.search(opcodes, raising.start(), end)
            at = changing.end() if changing else end
            self._moves.run(raising.start(), at, stack, local)

    def _run_close(self, block: Block, stack: list[int], local: list[int]) -> None:
        """The same where an instruction may leave the handler fewer values than it expects."""
        for at in range(block.start, block.end):
            self._raises(block, at, stack, local)
            self._moves.run(at, at + 1, stack, local)

    def _check_depth(self, start: int, end: int, depth: int) -> None:
        """How deep the stack is from instruction to instruction, which depends on nothing but them."""
        depths = self._depths
        base = depth - depths[start]
        deepest = base + max(depths[start : end + 1])
        if deepest > self.max_depth:
            self.max_depth = deepest
        if deepest > self.code.stacksize or base + min(self._spare[start:end]) < 0:
            for at in range(start, end):
                if base + self._spare[at] < 0:
                    message = (
                        f"{self.decoded[at].name} needs {self.steps.wanted[at]} values, {base + depths[at]} are there"
                    )
                    raise self.decoded.broken("BCP303", message, at)
                if base + depths[at + 1] > self.code.stacksize:
                    message = f"{base + depths[at + 1]} values on a stack of {self.code.stacksize}"
                    raise self.decoded.broken("BCP305", message, at)

    def _leave(self, number: int, at: int, stack: list[int], local: list[int]) -> int | None:
        """To the blocks after the one whose last instruction is ``at``. The next one, if its turn is now and no other
        way leads to it, need not wait: its number.
        """
        falls, jumps, special = _LEAVES[self.decoded.opcodes[at]]
        falling, jumping = stack, stack
        falling_local, jumping_local = local, local
        if special == "jump":
            jumping = self._jumping(at, stack)
        elif special:
            tested = self.operands[at]
            assert tested
            known = self.values.present(tested[0])
            if known != tested[0]:
                narrowed = [known if one == tested[0] else one for one in stack]
                narrowed_local = [known if one == tested[0] else one for one in local]
                if special == "present":
                    jumping, jumping_local = narrowed, narrowed_local
                else:
                    falling, falling_local = narrowed, narrowed_local
        following = None
        if falls:
            if at + 1 in self._targets or number + 1 in self.entered or number + 1 == len(self.blocks):
                self._enter(at + 1, falling, falling_local, at)
            else:
                following = number + 1
                self.entered[following] = (falling, falling_local)
        if jumps:
            self._enter(self.decoded.targets[at], jumping, jumping_local, at)
        elif not falls and stack:
            self.left[at] = len(stack)
        if following is not None and self._waiting and self._waiting[0] < following:
            self._wait(following)
            return None
        return following

    def _jumping(self, at: int, stack: list[int]) -> list[int]:
        """The stack along a jump that leaves other values than going on."""
        work, facts = self.operands[at] or (), self.effect(at)
        before = [*stack[: len(stack) - len(facts.gives)], *work[len(work) - facts.removes :]]
        del before[len(before) - facts.jump_removes :]
        return before + [RESULTS * at + 2] * len(facts.jump_gives)
