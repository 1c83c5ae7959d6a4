"""Finding every function that runs a code object, and proving that none was missed.

A walk follows what objects refer to (``gc.get_referents``: no attribute is read, no
code of the application runs) and collects functions. Then the references to the code
object, which CPython counts, must be explained by what was found: functions, frames of
all threads, generators, constants of other code, and bcpatch's own records.
This module knows nothing of patches; it never changes what it looks at.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any, Final, TypeAlias

import msgspec

from bcpatch import pythons
from bcpatch.process.guards import stacks
from bcpatch.process.history import Own
from bcpatch.process.objects import called, class_namespace, is_function, is_module, namespace_of, picking_young

Generator: TypeAlias = "GeneratorType[Any, Any, Any] | CoroutineType[Any, Any, Any] | AsyncGeneratorType[Any, Any]"

_FRAME_OF: Final[dict[type, str]] = {
    GeneratorType: "gi_frame",
    CoroutineType: "cr_frame",
    AsyncGeneratorType: "ag_frame",
}
_CODE_OF: Final[dict[type, str]] = {
    GeneratorType: "gi_code",
    CoroutineType: "cr_code",
    AsyncGeneratorType: "ag_code",
}
CACHE: Final = type(functools.lru_cache(len))
"""The type of what ``functools.lru_cache`` makes."""


def _profiler() -> type | None:
    """The type of the profilers of C, which keep the code of what was called out of sight: of `cProfile` for one."""
    module = sys.modules.get("_lsprof")
    found = namespace_of(module).get("Profiler") if is_module(module) else None
    return found if isinstance(found, type) else None


class Walk(msgspec.Struct, eq=False):
    """What was reached so far, and where to go on.

    ``beyond`` are ids of objects never entered: other modules' namespaces, bcpatch's own
    records. While ``narrow``, classes of modules not in ``names`` are not entered either.
    ``holders`` are objects other than functions, generators and frames that refer to code,
    ``caches`` those that ``functools.lru_cache`` makes, ``profilers`` those of the type ``profiler``. ``made`` are
    functions of the wanted code that the last account found among the youngest objects.
    """

    names: frozenset[str]
    beyond: frozenset[int]
    functions: list[FunctionType] = msgspec.field(default_factory=list)
    generators: list[Generator] = msgspec.field(default_factory=list)
    frames: list[FrameType] = msgspec.field(default_factory=list)
    holders: list[object] = msgspec.field(default_factory=list)
    caches: list[object] = msgspec.field(default_factory=list)
    profilers: list[object] = msgspec.field(default_factory=list)
    made: list[FunctionType] = msgspec.field(default_factory=list)
    profiler: type | None = msgspec.field(default_factory=_profiler)
    seen: dict[int, object] = msgspec.field(default_factory=dict)
    queue: deque[object] = msgspec.field(default_factory=deque)

    def enter(self, roots: Iterable[object], budget: int, *, narrow: bool) -> None:
        """Follow references breadth first from ``roots``, into at most ``budget`` objects."""
        queue = self.queue
        queue.extend(root for root in roots if self._mark(root))
        while queue and budget:
            budget -= 1
            holder = queue.popleft()
            referents = _referents(holder)
            if not self._file(holder) and CodeType in map(type, referents):
                self.holders.append(holder)
            queue.extend(self._new(referents, narrow))

    def add(self, objects: Iterable[object]) -> None:
        """File objects that were found without a walk, as a scan of the heap does."""
        for found in objects:
            if id(found) not in self.beyond and self._mark(found):
                if not self._file(found) and CodeType in map(type, _referents(found)):
                    self.holders.append(found)

    def _new(self, referents: Iterable[object], narrow: bool) -> Iterator[object]:
        """Those that are to be entered and were not marked before."""
        seen, beyond = self.seen, self.beyond
        for one in filter(gc.is_tracked, referents):
            if id(one) not in seen and id(one) not in beyond and not self._is_closed(one, narrow):
                seen[id(one)] = one
                yield one

    def _is_closed(self, candidate: object, narrow: bool) -> bool:
        kind = type(candidate)
        if issubclass(kind, ModuleType):
            return True
        return narrow and issubclass(kind, type) and _module_of(candidate) not in self.names

    def _mark(self, candidate: object) -> bool:
        if id(candidate) in self.seen or not gc.is_tracked(candidate):
            return False
        self.seen[id(candidate)] = candidate
        return True

    def _file(self, reached: object) -> bool:
        kind = type(reached)
        if kind is FunctionType:
            self.functions.append(reached)  # type: ignore[arg-type]
        elif kind is FrameType:
            self.frames.append(reached)  # type: ignore[arg-type]
        elif kind in _FRAME_OF:
            self.generators.append(reached)  # type: ignore[arg-type]
        else:
            if kind is CACHE:
                self.caches.append(reached)
            elif self.profiler is not None and issubclass(kind, self.profiler):
                self.profilers.append(reached)
            return False
        return True


def _referents(holder: object) -> list[object]:
    """What an object refers to: of a module its namespace alone.

    What C code keeps in a module's state may be freed objects. `_asyncio` shows its free list to the garbage
    collector (3.12, ``module_traverse`` in ``Modules/_asynciomodule.c``): who takes a reference to such an object and
    gives it back frees it again, the list gets a cycle, and the next collection never ends.
    """
    return [namespace_of(holder)] if is_module(holder) else gc.get_referents(holder)


def _module_of(cls: Any) -> object:
    return class_namespace(cls).get("__module__")


# --- one instant ---------------------------------------------------------------------


class Snapshot(msgspec.Struct, frozen=True):
    """What was true at one instant.

    ``counts`` are the references to each code object; a code object that nothing holds
    but the list it was passed in has 0. ``frames`` are those of all threads; ``suspended``
    the frame of each generator or None; ``held`` what each holder refers to, ``profiled`` what each profiler has
    seen; ``young`` the functions and generators of the garbage collector's young generations, if they were asked for:
    what calls under way have just made and keep on their stacks, where no walk sees it.
    """

    counts: Sequence[int]
    running: Sequence[CodeType]
    generating: Sequence[CodeType]
    suspended: Sequence[FrameType | None]
    held: Sequence[Sequence[object]]
    profiled: Sequence[Sequence[Sequence[object]]]
    young: list[object]
    frames: list[FrameType]


def snapshot(codes: Sequence[CodeType], walk: Walk, *, young: bool) -> Snapshot:
    """Count references to code objects, and see who holds them, in a single C call.

    ``codes`` must be the caller's only reference to each of them. ``young`` asks for what was made lately.
    """
    unheld = _nothing.__code__.replace(co_name="unheld")
    counted = [*codes, unheld]
    del unheld
    functions, generators, holders = walk.functions, walk.generators, walk.holders
    code_names = [_CODE_OF[type(generator)] for generator in generators]
    frame_names = [_FRAME_OF[type(generator)] for generator in generators]
    parts: list[Iterator[Any]] = [
        map(sys.getrefcount, counted),
        map(getattr, functions, repeat("__code__")),
        map(getattr, generators, code_names),
        map(getattr, generators, frame_names),
        map(gc.get_referents, holders),
        map(_statistics(walk.profiler), walk.profilers),
        stacks(),
    ]
    taken: list[list[Any]] = [[] for _ in parts]
    made: list[object] = []
    rows = [(result.extend, part) for result, part in zip(taken, parts, strict=True)]
    if young:
        rows += picking_young(made, FunctionType, *_CODE_OF)
    called(rows)
    counts, running, generating, suspended, held, profiled, frames = taken
    # ``counted`` holds each of them too, and ``codes`` all but the unheld one
    counts = [count - counts[-1] - 1 for count in counts[:-1]]
    return Snapshot(counts, running, generating, suspended, held, profiled, made, frames)


def _statistics(profiler: type | None) -> Callable[[object], list[Any]]:
    """What a profiler has seen: of each code object one entry, whose first field is the code."""
    if profiler is None:
        return lambda _: []
    found: Callable[[object], list[Any]] = class_namespace(profiler)["getstats"]
    return found


def _nothing() -> None:
    """Its code is the pattern for a code object that nothing holds."""


class Account(msgspec.Struct, frozen=True):
    """The references to one code object, and what explains them."""

    references: int
    functions: int
    calls: int
    constants: int
    others: int

    @property
    def unexplained(self) -> int:
        """References that nothing found accounts for."""
        return self.references - self.functions - self.calls - self.constants - self.others


def account(
    codes: Sequence[CodeType], walk: Walk, records: Own, *, more: Iterable[CodeType] = (), young: bool = True
) -> list[Account]:
    """Explain the references to each code object.

    Who holds one on the stack of a call alone, a function or generator that was made lately, is found if
    ``young`` says to look for it: where all references are explained without, there is none.

    ``codes`` must be the caller's only reference to each of them; ``records`` tells the
    references that bcpatch keeps, by id; ``more`` code objects are alive whose constants
    may be among ``codes``.
    """
    taken = snapshot(codes, walk, young=young)
    try:
        return _explained(codes, taken, walk, records, more)
    finally:
        taken.frames.clear()  # this call's own frame is among them: a cycle
        taken.young.clear()


def _explained(
    codes: Sequence[CodeType], taken: Snapshot, walk: Walk, records: Own, more: Iterable[CodeType]
) -> list[Account]:
    wanted = frozenset(map(id, codes))
    functions: Counter[int] = Counter(map(id, taken.running))
    made = _just_made(taken, walk, wanted)
    functions.update(id(function.__code__) for function in made)
    calls = _calls(taken, walk, wanted)
    profiled = [entry[0] for entries in taken.profiled for entry in entries]
    seen = [one for one in profiled if isinstance(one, CodeType)]
    kept = [one for one in chain(*taken.held) if type(one) is CodeType]
    others = Counter(id(one) for one in chain(kept, seen) if id(one) in wanted)
    alive = chain((frame.f_code for frame in taken.frames), taken.running, kept, seen, more)
    constants = _constants(alive, wanted)
    walk.made = made
    return [
        Account(
            references=count,
            functions=functions[id(code)],
            calls=calls[id(code)],
            constants=constants[id(code)],
            others=others[id(code)] + records[id(code)],
        )
        for code, count in zip(codes, taken.counts, strict=True)
    ]


def _just_made(taken: Snapshot, walk: Walk, wanted: frozenset[int]) -> list[FunctionType]:
    """Functions that no walk has reached yet, because a call under way has just made them."""
    return [one for one in taken.young if is_function(one) and id(one.__code__) in wanted and id(one) not in walk.seen]


def _calls(taken: Snapshot, walk: Walk, wanted: frozenset[int]) -> Counter[int]:
    """How many frames and generators hold each code object.

    A generator's frame holds it on the generator's behalf, and once more on 3.11.
    """
    counts: Counter[int] = Counter(map(id, taken.generating))
    suspended = [frame for frame in taken.suspended if frame is not None]
    for one in taken.young:
        name = _CODE_OF.get(type(one))
        if name is not None and id(one) not in walk.seen and id(getattr(one, name)) in wanted:
            counts[id(getattr(one, name))] += 1
            frame = getattr(one, _FRAME_OF[type(one)])
            suspended += [] if frame is None else [frame]
    own = {id(frame) for frame in suspended}
    if pythons.GENERATOR_HOLDS_CODE:
        counts.update(id(frame.f_code) for frame in suspended)
    frames = {id(frame): frame for frame in chain(taken.frames, walk.frames)}
    counts.update(id(frame.f_code) for key, frame in frames.items() if key not in own)
    return counts


def _constants(alive: Iterable[CodeType], wanted: frozenset[int]) -> Counter[int]:
    """How often each wanted code object is a constant of code that is alive, at any depth."""
    counts: Counter[int] = Counter()
    seen: set[int] = set()
    queue = deque(alive)
    while queue:
        constants = queue.popleft().co_consts
        if id(constants) in seen:
            continue
        seen.add(id(constants))
        nested = [constant for constant in constants if type(constant) is CodeType]
        counts.update(id(code) for code in nested if id(code) in wanted)
        queue.extend(nested)
    return counts
