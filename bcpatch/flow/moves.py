"""What instructions do to the slots and the stack before them, one after the other.

Records for each the values that it works on. Knows a stretch of instructions without branches, and nothing
of what comes before or after it.
"""

from __future__ import annotations

from bcpatch.flow.decode import Decoded
from bcpatch.flow.opcodes import BORROWED, INDEX, ITERATED, UNBOUND
from bcpatch.flow.steps import (
    MOVE_BORROW,
    MOVE_BORROW_TWO,
    MOVE_CELL,
    MOVE_CHANGE,
    MOVE_CHANGE_TWO,
    MOVE_COPY,
    MOVE_COPY_CELLS,
    MOVE_DELETE,
    MOVE_DROP,
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
from bcpatch.pythons import BORROWS


def _given(at: int, count: int) -> tuple[int, ...]:
    """The values that the instruction at ``at`` makes; results beyond the third are not told apart."""
    first = RESULTS * at
    if count < 3:
        return (first, first + 1)[:count]
    return (first, first + 1, *(first + 2,) * (count - 2))


class Moves:
    """Moves values as the instructions of one code object say, from state to state (`interpret.Trace`).

    ``operands`` is None where an instruction was not looked at yet. Slots that an instruction reads stand in it as if
    they were on the stack.
    """

    def __init__(self, decoded: Decoded, steps: Steps, slots: Slots, values: Values) -> None:
        self.decoded = decoded
        self.steps = steps
        self.slots = slots
        self.values = values
        self.operands: list[Work | None] = [None] * len(decoded.opcodes)
        self._columns = decoded.arguments, steps.wanted, values.kinds
        self._width = len(slots.names)

    def run(self, start: int, end: int, state: list[int]) -> None:
        """What the instructions ``start`` to before ``end`` do to a state whose stack is deep enough for them."""
        operands = self.operands
        arguments, wanted, kinds = self._columns
        for at, move in enumerate(self.steps.move[start:end], start):
            if move == MOVE_PUSH:
                operands[at] = ()
                state.append(RESULTS * at)
            elif move <= MOVE_LAST_LOAD:
                value = state[arguments[at]]
                if move == MOVE_LOAD_CHECKED and kinds[value] & UNBOUND:
                    value = state[arguments[at]] = self.values.bound(value, RESULTS * at)
                operands[at] = (value,)
                state.append(value)
            elif move == MOVE_BORROW:
                value = state[arguments[at]]
                operands[at] = (value,)
                state.append(self.values.borrowed(value, arguments[at]))
            elif move == MOVE_GATHER:
                operands[at] = tuple(state[-wanted[at] :])
                state[-wanted[at] :] = (RESULTS * at,)
            elif move == MOVE_POP:
                operands[at] = (state.pop(),)
            elif move == MOVE_CHANGE:
                operands[at] = (state[-1],)
                state[-1] = RESULTS * at
            elif move == MOVE_STAY:
                operands[at] = ()
            elif move == MOVE_STORE:
                value = state.pop()
                operands[at] = (value,)
                if BORROWS and len(state) > self._width:
                    self._check_lent(at, state, arguments[at])
                state[arguments[at]] = value
            elif move == MOVE_DROP:
                operands[at] = tuple(state[-wanted[at] :])
                del state[-wanted[at] :]
            elif move == MOVE_CHANGE_TWO:
                operands[at] = (state[-1],)
                state[-1] = RESULTS * at
                state.append(RESULTS * at + 1)
            else:
                self._move(move, at, state)

    def _move(self, move: int, at: int, state: list[int]) -> None:
        wanted, argument, made = self.steps.wanted[at], self.decoded.arguments[at], RESULTS * at
        work = self.operands[at] = tuple(state[-wanted:]) if wanted else ()
        del state[len(state) - self.steps.removes[at] :]
        if move == MOVE_PLAIN:
            state += _given(at, self.steps.gives[at])
        elif move == MOVE_LOAD_TWO:
            both = self.operands[at] = (state[argument >> 4], state[argument & 15])
            state += both
        elif move == MOVE_BORROW_TWO:
            first, second = argument >> 4, argument & 15
            both = self.operands[at] = (state[first], state[second])
            state += map(self.values.borrowed, both, (first, second))
        elif move == MOVE_PASS:
            self._pass(at, state, work[-1])
        elif move == MOVE_CELL:
            self.operands[at] = (*work, state[argument])
            state += _given(at, self.steps.gives[at])
        elif move == MOVE_COPY:
            state.append(work[0])
        elif move == MOVE_SWAP:
            self._swap(at, state, work)
        elif move == MOVE_END_SEND:
            state.append(work[-1])
        elif move == MOVE_PUSH_EXCEPTION:
            state += (made, work[0])
        else:
            self._move_slots(move, at, state, work)

    def _move_slots(self, move: int, at: int, state: list[int], work: Work) -> None:
        argument = self.decoded.arguments[at]
        first, second = argument >> 4, argument & 15
        if move == MOVE_STORE_LOAD:
            self._store(at, state, first, work[0])
            self.operands[at] = (work[0], state[second])
            state.append(state[second])
        elif move == MOVE_STORE_TWO:
            self._store(at, state, first, work[1])
            self._store(at, state, second, work[0])
        elif move == MOVE_TAKE:
            value = state[argument]
            self.operands[at] = (value,)
            self._store(at, state, argument, self.values.unbound)
            state.append(value)
        elif move == MOVE_DELETE:
            self.operands[at] = (state[argument],)
            self._store(at, state, argument, self.values.unbound)
        elif move == MOVE_MAKE_CELL:
            self.operands[at] = (state[argument],)
            self._store(at, state, argument, RESULTS * at)
        else:
            assert move == MOVE_COPY_CELLS
            for slot in range(self.slots.first_free, self._width):
                self._store(at, state, slot, self.values.first_slot + slot)

    def _store(self, at: int, state: list[int], slot: int, value: int) -> None:
        if BORROWS:
            self._check_lent(at, state, slot)
        state[slot] = value

    def _check_lent(self, at: int, state: list[int], slot: int) -> None:
        for lent in state[self._width :]:
            if lent >= self.values.single and slot in self.values.parts(lent)[1]:
                message = f"{self.slots.names[slot]!r} changes while a reference borrowed from it is on the stack"
                raise self.decoded.broken("BCP315", message, at)

    def _pass(self, at: int, state: list[int], operand: int) -> None:
        given = list(_given(at, self.steps.gives[at]))
        if self.values.kinds[operand] & BORROWED:
            result = PASSING[self.decoded.opcodes[at]]
            given[result] = self.values.lent(given[result], operand)
        state += given

    def _swap(self, at: int, state: list[int], work: Work) -> None:
        deep, top = work[0], work[-1]
        kinds = self.values.kinds
        state[-1] = RESULTS * at if kinds[deep] & (ITERATED | INDEX) else deep
        state[-len(work)] = RESULTS * at if kinds[top] & (ITERATED | INDEX) else top
