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
import operator
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress, filterfalse, repeat
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec

from bcpatch import pythons
from bcpatch.process.guards import stacks
from bcpatch.process.history import Own
from bcpatch.process.objects import (
    called,
    class_namespace,
    is_class,
    is_function,
    is_module,
    namespace_of,
    picking_young,
)

_T = TypeVar("_T")
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

_GENERATORS: Final = frozenset(map(id, _FRAME_OF))
_constants_of: Final = operator.attrgetter("co_consts")
_NO_HOLDERS: Final = _GENERATORS | {id(FunctionType), id(FrameType)}
"""The types of what refers to the code that it runs, by id."""
_AT_ONCE: Final = 500
"""How many objects are asked in one call what they refer to: no other thread can run while it lasts."""


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
            holders = list(map(deque.popleft, repeat(queue, min(len(queue), budget, _AT_ONCE))))
            budget -= len(holders)
            types = _types(holders)
            self._file(holders, types)
            queue.extend(self._new(_referents(holders, has_module=_has_module(types)), narrow))

    def add(self, objects: Iterable[object]) -> None:
        """File objects that were found without a walk, as a scan of the heap does."""
        found = [one for one in objects if id(one) not in self.beyond and self._mark(one)]
        for start in range(0, len(found), _AT_ONCE):
            holders = found[start : start + _AT_ONCE]
            self._file(holders, _types(holders))

    def _new(self, referents: Iterable[object], narrow: bool) -> Iterable[object]:
        """Those that are to be entered and were not marked before, which they are now."""
        found = _by_id(filter(gc.is_tracked, referents))
        keys = list(filterfalse(self.beyond.__contains__, filterfalse(self.seen.__contains__, found)))
        fresh = dict(zip(keys, map(found.__getitem__, keys), strict=True))
        closable = (ModuleType, type) if narrow else ModuleType
        kinds = {key for key, kind in _types(fresh.values()).items() if issubclass(kind, closable)}
        if kinds:
            closed = [key for key, one in fresh.items() if id(type(one)) in kinds and self._is_closed(one, narrow)]
            for key in closed:
                del fresh[key]
        self.seen.update(fresh)
        return fresh.values()

    def _is_closed(self, candidate: object, narrow: bool) -> bool:
        if not is_class(candidate):
            return is_module(candidate)
        name = class_namespace(candidate).get("__module__")
        return narrow and not (type(name) is str and name in self.names)

    def _mark(self, candidate: object) -> bool:
        if id(candidate) in self.seen or not gc.is_tracked(candidate):
            return False
        self.seen[id(candidate)] = candidate
        return True

    def _file(self, reached: Sequence[object], types: Mapping[int, type]) -> None:
        kinds = list(map(id, map(type, reached)))
        for kind, place in ((FunctionType, self.functions), (FrameType, self.frames), (CACHE, self.caches)):
            if id(kind) in types:
                place.extend(compress(cast("Sequence[Any]", reached), map(id(kind).__eq__, kinds)))
        if not _GENERATORS.isdisjoint(types):
            self.generators.extend(compress(reached, map(_GENERATORS.__contains__, kinds)))  # type: ignore[arg-type]
        if self.profiler is not None and any(issubclass(kind, self.profiler) for kind in types.values()):
            self.profilers.extend(one for one in reached if issubclass(type(one), self.profiler))
        others = list(compress(reached, map(operator.not_, map(_NO_HOLDERS.__contains__, kinds))))
        self.holders += _referring_to_code(others, has_module=_has_module(types))


def _by_id(objects: Iterable[_T]) -> dict[int, _T]:
    """Objects by their id, without asking them for a hash: a class may have one of its own, in Python."""
    held = list(objects)
    return dict(zip(map(id, held), held, strict=True))


def _types(objects: Iterable[object]) -> dict[int, type]:
    return _by_id(map(type, objects))


def _has_module(types: Mapping[int, type]) -> bool:
    return any(issubclass(kind, ModuleType) for kind in types.values())


def _referents(holders: Sequence[object], *, has_module: bool) -> list[object]:
    """What objects refer to: of a module its namespace alone.

    What C code keeps in a module's state may be freed objects. `_asyncio` shows its free list to the garbage
    collector (3.12, ``module_traverse`` in ``Modules/_asynciomodule.c``): who takes a reference to such an object and
    gives it back frees it again, the list gets a cycle, and the next collection never ends.
    """
    if not has_module:
        return gc.get_referents(*holders)
    apart = ([namespace_of(one)] if is_module(one) else gc.get_referents(one) for one in holders)
    return list(chain.from_iterable(apart))


def _referring_to_code(holders: Sequence[object], *, has_module: bool) -> Sequence[object]:
    """Those among some objects that refer to code: most often none."""
    if id(CodeType) not in map(id, map(type, _referents(holders, has_module=has_module))):
        return ()
    if len(holders) == 1:
        return holders
    middle = len(holders) // 2
    halves = holders[:middle], holders[middle:]
    return list(chain.from_iterable(_referring_to_code(half, has_module=has_module) for half in halves))


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
    seen: dict[int, tuple[object, ...]] = {}
    codes = list(alive)
    while codes:
        found = _by_id(map(_constants_of, codes))
        fresh = list(chain.from_iterable(map(found.__getitem__, filterfalse(seen.__contains__, found))))
        seen.update(found)
        codes = list(compress(cast("list[CodeType]", fresh), map(operator.is_, map(type, fresh), repeat(CodeType))))
        counts.update(filter(wanted.__contains__, map(id, codes)))
    return counts
