"""One instant: many stores, or none, in a single call into C.

A `Slot` is a place that holds a value, a `Change` one store into it. `exchange` makes
all stores of a list while no other thread can run Python, after guards that are
evaluated within the same call. It knows nothing of patches, sites or generations.

Why it holds: CPython looks for a request to give up the GIL between bytecodes only;
``deque``, ``starmap`` and the setters used here run none.
"""

from __future__ import annotations

import gc
import operator
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, StrEnum
from itertools import chain, starmap
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from bcpatch import pythons
from bcpatch.diagnostics import Error
from bcpatch.process.objects import class_namespace

Row: TypeAlias = tuple[Any, ...]
"""A callable that runs no Python, and its arguments."""


class Absent(Enum):
    """The value of a slot that holds nothing."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


class Kind(StrEnum):
    """What a slot's owner is, which decides how it is read and written."""

    ATTRIBUTE = "attribute"  # of a function: its getters and setters are C
    CLASS = "class"  # name in a class: the metaclass has no say
    NAMESPACE = "namespace"  # key of a dictionary


class Slot(NamedTuple):
    """A place that holds a value: an attribute of a function or class, or a key of a namespace."""

    kind: Kind
    owner: Any
    name: str

    @property
    def key(self) -> tuple[Kind, int, str]:
        """Equal for slots that are one place; valid while the owner lives."""
        return self.kind, id(self.owner), self.name


class _Verbs(NamedTuple):
    read: Callable[[Slot], Row]
    write: Callable[[Slot, object], Row]
    delete: Callable[[Slot], Row]


_VERBS: Final = {
    Kind.ATTRIBUTE: _Verbs(
        read=lambda slot: (getattr, slot.owner, slot.name),
        write=lambda slot, value: (setattr, slot.owner, slot.name, value),
        delete=lambda slot: (delattr, slot.owner, slot.name),
    ),
    Kind.CLASS: _Verbs(
        read=lambda slot: (class_namespace(slot.owner).get, slot.name, ABSENT),
        write=lambda slot, value: (type.__setattr__, slot.owner, slot.name, value),
        delete=lambda slot: (type.__delattr__, slot.owner, slot.name),
    ),
    Kind.NAMESPACE: _Verbs(
        read=lambda slot: (dict.get, slot.owner, slot.name, ABSENT),
        write=lambda slot, value: (operator.setitem, slot.owner, slot.name, value),
        delete=lambda slot: (operator.delitem, slot.owner, slot.name),
    ),
}


class Change(msgspec.Struct, frozen=True, eq=False):
    """One store: what the slot holds, and what it shall hold. Keeps both alive."""

    slot: Slot
    old: object
    new: object


class Values(NamedTuple):
    """Attributes and what they have: owners, names and values, each in the same order."""

    owners: Sequence[object]
    names: Sequence[str]
    values: Sequence[object]


NO_VALUES: Final = Values((), (), ())


def reading(slot: Slot) -> Row:
    """The call that reads a slot."""
    if slot.kind is Kind.ATTRIBUTE:
        return getattr, slot.owner, slot.name  # nearly all that a large patch reads
    return _VERBS[slot.kind].read(slot)


def writing(slot: Slot, value: object) -> Row:
    """The call that stores a value into a slot, or empties it.

    To have no ``__annotate__`` is to have no annotations (3.14+). Storing None there would leave those that were
    computed when somebody asked for them (``function___annotate___set_impl`` in ``Objects/funcobject.c``); a module
    has these in its namespace, and whoever makes the swap takes them out.
    """
    if slot.name == "__code__" and slot.kind is Kind.ATTRIBUTE:
        return setattr, slot.owner, "__code__", value  # nearly all that a large patch stores
    verbs = _VERBS[slot.kind]
    if slot.name == "__annotate__" and value is None and isinstance(slot.owner, FunctionType | type):
        return setattr, slot.owner, "__annotations__", None if isinstance(slot.owner, FunctionType) else {}
    return verbs.delete(slot) if value is ABSENT else verbs.write(slot, value)


def held(slot: Slot) -> object:
    """What a slot holds now."""
    call, *arguments = reading(slot)
    value: object = call(*arguments)
    return value


def held_by(changes: Iterable[Change]) -> Iterator[int]:
    """The ids of what changes refer to, each as often as they do."""
    return map(id, chain.from_iterable(map(_objects_of, changes)))


_objects_of: Final = operator.attrgetter("slot.owner", "old", "new")


# --- the call ------------------------------------------------------------------------

_PROVEN: Final = {True: None}


class HalfDone(Exception):
    """A store raised. What had been stored before it was restored."""


class Torn(Error):
    """A store raised, and so did whatever would restore what had been stored before it. The message names that."""


def exchange(
    changes: Sequence[Change],
    *,
    guards: Iterable[Iterator[bool]] = (),
    along: Iterable[Row] = (),
) -> bool:
    """Make all changes at one instant, and the rows ``along`` with them.

    True when done; False when a guard did not hold, and then nothing was changed.
    Raises `HalfDone`, with everything restored, when a store raised: what can be known
    to raise must have been refused before. What is no Exception passes, after the same.
    An interrupt that comes when all is done passes, and all stays done.
    """
    asked: list[Row] = [(deque, map(_PROVEN.__getitem__, guard), 0) for guard in guards]
    stores = [writing(change.slot, change.new) for change in changes]
    back = [writing(change.slot, change.old) for change in changes]
    finished: list[bool] = []
    rows = [*asked, *stores, *along, (finished.append, True)]
    to_come = iter(rows)
    collecting = gc.isenabled()
    gc.disable()  # on 3.11 a collection may start within an allocation, and run finalizers
    try:
        deque(starmap(operator.call, to_come), maxlen=0)
    except BaseException as error:
        if finished:
            raise
        made = len(rows) - operator.length_hint(to_come) - 1 - len(asked)
        if made < 0 and isinstance(error, KeyError) and error.args == (False,):
            return False
        _restore(list(zip(changes, back, strict=True))[: max(made, 0)], error)
        if not isinstance(error, Exception):
            raise
        # without its traceback, which would keep all that this frame holds
        raise HalfDone(f"{type(error).__name__}: {error}") from error.with_traceback(None)
    finally:
        if collecting:
            gc.enable()
        asked.clear()  # what guards looked at may be this very frame: a cycle, which would hold what gives way
        rows.clear()
    return True


_ATTEMPTS: Final = 3


def _restore(stored: Sequence[tuple[Change, Row]], error: BaseException) -> None:
    """Put back what was stored before ``error``: in one call, or each for itself where that raises as well."""
    left = [*reversed(stored)]
    try:
        deque(starmap(operator.call, [row for _, row in left]), maxlen=0)
    except BaseException:  # noqa: BLE001 (the caller raises what stopped the swap; here all has to be tried)
        for _ in range(_ATTEMPTS):
            left = [one for one in left if not _is_restored(*one)]
        if left:
            names = ", ".join(change.slot.name for change, _ in left)
            message = f"a store raised {type(error).__name__}: {error}; what was stored before could not be undone"
            raise Torn(f"{message}: {names}") from error.with_traceback(None)


def _is_restored(change: Change, row: Row) -> bool:
    if held(change.slot) is not change.old:
        call, *arguments = row
        try:
            call(*arguments)
        except BaseException:  # noqa: BLE001 (as above)
            return False
    return True


def announce(changes: Iterable[Change]) -> None:
    """Ask audit hooks for each store of a swap into a function; raises what they raise.

    CPython asks them at the store (``func_set_code`` in ``Objects/funcobject.c``): one that raised in the middle
    would do so once more when what was stored before is to be restored.
    """
    events = [
        ("object.__setattr__", change.slot.owner, change.slot.name, change.new)
        for change in changes
        if change.slot.kind is Kind.ATTRIBUTE
    ]
    deque(starmap(sys.audit, events), maxlen=0)


# --- what one instant depends on -----------------------------------------------------


def runs_without_gil() -> bool:
    """Whether several stores can't be one instant in this process."""
    return not pythons.is_gil_enabled()


_MOST_FRAMES: Final = 20_000
_hooked = False


def has_audit_hook() -> bool:
    """Whether an audit hook written in Python is installed: it runs within C calls that are audited.

    There is no list of hooks to look at. But at the recursion limit a hook in C still
    runs, and one in Python can't. Hooks are never removed, so a yes stands. Under a limit
    too high to descend to, the answer is yes, as it might be. The way down takes a while,
    and is spared where the interpreter itself shows that there is no hook of any kind.
    """
    global _hooked
    if not _hooked and not _is_seen_without_hooks():
        _hooked = sys.getrecursionlimit() > _MOST_FRAMES or _at_the_limit()
    return _hooked


def _is_seen_without_hooks() -> bool:
    """Whether the interpreter shows that no hook is installed; False where it does not say."""
    if not pythons.AUDITS_ANYTHING:
        return False
    nothing: Any = None
    try:
        sys.audit(nothing)
    except TypeError:
        return False
    return True


def _at_the_limit() -> bool:
    try:
        return _at_the_limit()
    except RecursionError:
        try:
            sys.audit("bcpatch.probe")
        except RecursionError:
            return True
        return False
