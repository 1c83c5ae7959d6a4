"""What instructions do to the stack and the local variables before them, one after the other.

Records for each the values that it works on. Knows a stretch of instructions without branches, and nothing
of what comes before or after it.
"""

from __future__ import annotations

from bcpatch import pythons
from bcpatch.flow.decode import Decoded
from bcpatch.flow.opcodes import BORROWED, INDEX, ITERATED, UNBOUND
from bcpatch.flow.steps import (
    MOVE_BORROW,
    MOVE_BORROW_TWO,
    MOVE_CELL,
    MOVE_CHANGE,
    MOVE_COPY,
    MOVE_COPY_CELLS,
    MOVE_DELETE,
    MOVE_END_SEND,
    MOVE_GATHER,
    MOVE_LAST_LOAD,
    MOVE_LOAD_CHECKED,
    MOVE_LOAD_TWO,
    MOVE_MAKE_CELL,
    MOVE_PASS,
    MOVE_PLAIN,
    MOVE_POP,
    MOVE_PUSH,
    MOVE_PUSH_EXCEPTION,
    MOVE_STAY,
    MOVE_STORE,
    MOVE_STORE_LOAD,
    MOVE_STORE_TWO,
    MOVE_SWAP,
    MOVE_TAKE,
    PASSING,
    Steps,
)
from bcpatch.flow.values import RESULTS, Slots, Values, Work


def _given(at: int, count: int) -> tuple[int, ...]:
    """The values that the instruction at ``at`` makes; results beyond the third are not told apart."""
    first = RESULTS * at
    if count < 3:
        return (first, first + 1)[:count]
    return (first, first + 1, *(first + 2,) * (count - 2))


class Moves:
    """Moves values as the instructions of one code object say.

    ``operands`` is None where an instruction was not looked at yet. Slots that an instruction reads stand in it as if
    they were on the stack. ``changed`` tells that a slot, or where values stand on the stack, is not what it was when
    whoever follows the code last said so.
    """

    def __init__(self, decoded: Decoded, steps: Steps, slots: Slots, values: Values) -> None:
        self.decoded = decoded
        self.steps = steps
        self.slots = slots
        self.values = values
        self.operands: list[Work | None] = [None] * len(decoded)
        self.changed = False

    def run(self, start: int, end: int, stack: list[int], local: list[int]) -> None:
        """What the instructions ``start`` to before ``end`` do to a stack that is deep enough for them."""
        operands, kinds, arguments, wanted = self.operands, self.values.kinds, self.decoded.arguments, self.steps.wanted
        for at, move in enumerate(self.steps.move[start:end], start):
            if move == MOVE_PUSH:
                operands[at] = ()
                stack.append(RESULTS * at)
            elif move <= MOVE_LAST_LOAD:
                slot = arguments[at]
                value = local[slot]
                if move == MOVE_LOAD_CHECKED and kinds[value] & UNBOUND:
                    value = local[slot] = self.values.bound(value, RESULTS * at)
                operands[at] = (value,)
                stack.append(self.values.borrowed(value, slot) if move == MOVE_BORROW else value)
            elif move == MOVE_POP:
                operands[at] = (stack.pop(),)
            elif move == MOVE_GATHER:
                operands[at] = tuple(stack[-wanted[at] :])
                stack[-wanted[at] :] = (RESULTS * at,)
            elif move == MOVE_STAY:
                operands[at] = ()
            elif move == MOVE_CHANGE:
                operands[at] = (stack[-1],)
                stack[-1] = RESULTS * at
            elif move == MOVE_LOAD_TWO:
                pair = arguments[at]
                both = operands[at] = (local[pair >> 4], local[pair & 15])
                stack += both
            else:
                work = operands[at] = tuple(stack[-wanted[at] :]) if wanted[at] else ()
                del stack[len(stack) - self.steps.removes[at] :]
                if move == MOVE_PLAIN:
                    gives = self.steps.gives[at]
                    if gives:
                        stack += _given(at, gives)
                elif move == MOVE_STORE and not stack:
                    local[arguments[at]] = work[0]
                    self.changed = True
                else:
                    self._move(move, at, stack, local, work)

    def _move(self, move: int, at: int, stack: list[int], local: list[int], work: Work) -> None:
        argument, made = self.decoded.arguments[at], RESULTS * at
        if move == MOVE_STORE:
            self._store(at, stack, local, argument, work[0])
        elif move == MOVE_PASS:
            self._pass(at, stack, work[-1])
        elif move == MOVE_CELL:
            self.operands[at] = (*work, local[argument])
            stack += _given(at, self.steps.gives[at])
        elif move == MOVE_COPY:
            stack.append(work[0])
        elif move == MOVE_SWAP:
            self._swap(at, stack, work)
        elif move == MOVE_END_SEND:
            stack.append(work[-1])
        elif move == MOVE_PUSH_EXCEPTION:
            stack += (made, work[0])
        else:
            self._move_locals(move, at, stack, local, work)

    def _move_locals(self, move: int, at: int, stack: list[int], local: list[int], work: Work) -> None:
        argument = self.decoded.arguments[at]
        first, second = argument >> 4, argument & 15
        if move == MOVE_STORE_LOAD:
            self._store(at, stack, local, first, work[0])
            self.operands[at] = (work[0], local[second])
            stack.append(local[second])
        elif move == MOVE_STORE_TWO:
            self._store(at, stack, local, first, work[1])
            self._store(at, stack, local, second, work[0])
        elif move == MOVE_BORROW_TWO:
            self.operands[at] = (local[first], local[second])
            borrowed = self.values.borrowed
            stack += (borrowed(local[first], first), borrowed(local[second], second))
        elif move == MOVE_TAKE:
            value = local[argument]
            self.operands[at] = (value,)
            self._store(at, stack, local, argument, self.values.unbound)
            stack.append(value)
        elif move == MOVE_DELETE:
            self.operands[at] = (local[argument],)
            self._store(at, stack, local, argument, self.values.unbound)
        elif move == MOVE_MAKE_CELL:
            self.operands[at] = (local[argument],)
            self._store(at, stack, local, argument, RESULTS * at)
        else:
            assert move == MOVE_COPY_CELLS
            for slot in range(self.slots.first_free, len(self.slots.names)):
                self._store(at, stack, local, slot, self.values.first_slot + slot)

    def _store(self, at: int, stack: list[int], local: list[int], slot: int, value: int) -> None:
        if pythons.BORROWS and any(slot in self.values.parts(lent)[1] for lent in stack if lent >= self.values.single):
            name = self.slots.names[slot]
            raise self.decoded.broken(
                "BCP315", f"{name!r} changes while a reference borrowed from it is on the stack", at
            )
        local[slot] = value
        self.changed = True

    def _pass(self, at: int, stack: list[int], operand: int) -> None:
        given = list(_given(at, self.steps.gives[at]))
        if self.values.kinds[operand] & BORROWED:
            result = PASSING[self.decoded.opcodes[at]]
            given[result] = self.values.lent(given[result], operand)
        stack += given

    def _swap(self, at: int, stack: list[int], work: Work) -> None:
        deep, top = work[0], work[-1]
        kinds = self.values.kinds
        stack[-1] = RESULTS * at if kinds[deep] & (ITERATED | INDEX) else deep
        stack[-len(work)] = RESULTS * at if kinds[top] & (ITERATED | INDEX) else top
        self.changed = True
