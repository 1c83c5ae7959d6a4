"""Whatever is applied, rolled back and broken in between: the process is what a fresh one of that generation is.

A machine of hypothesis edits a module that has every kind of site, goes to other
generations, keeps closures and suspended generators, lets threads call meanwhile, and
raises an error at any step of the way (no rule has a precondition: what threads do is
not the same in every run, and hypothesis must draw the same). After each step the module must equal one that
was imported afresh from that generation's source, or, where the step was refused, be
the very objects that it was.
"""

from __future__ import annotations

import gc
import linecache
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import module_from_spec
from pathlib import Path
from traceback import clear_frames
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, ClassVar, NamedTuple

import pytest
import sites
import worlds
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from samples import source
from sites import LINKED, READ, STRICT, Part

from bcpatch import apply, builder, load
from bcpatch.diagnostics import Refused, errors
from bcpatch.exchange import hooks
from bcpatch.model import Module, Patch
from bcpatch.process import swap
from bcpatch.process.history import History
from bcpatch.process.swap import Change, Kind, Slot

WORLD = Module("world", "world.py")
STEPS = ("/bcpatch/apply.py", "/bcpatch/exchange/", "/bcpatch/process/")
ATTRIBUTES = ("__code__", "__defaults__", "__kwdefaults__", "__doc__")


class Fault(BaseException):
    """What is raised at some step; nobody expects it."""


class Raising(dict[str, int]):
    """A namespace that can be restored, but refuses what is new."""

    def __setitem__(self, key: str, value: int) -> None:
        if value:
            raise Fault


class Fresh(NamedTuple):
    """What a module is that was imported from the source of a state."""

    described: Mapping[str, object]
    results: Mapping[str, object]
    read: Mapping[str, Any]
    sources: Mapping[str, str]
    names: frozenset[str]


class Machine(RuleBasedStateMachine):
    """One live module, what it should be in each generation, and what others do with it."""

    policy = "strict"
    parts: tuple[Part, ...] = STRICT
    outcomes: ClassVar[Counter[str]]
    known: ClassVar[dict[tuple[int, ...], Fresh]] = {}
    patches: ClassVar[dict[tuple[tuple[int, ...], tuple[int, ...]], Patch | None]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.hazard = hazard()
        self.state = dict.fromkeys([part.name for part in self.parts], 0)
        self.fresh = self.made(self.state)
        self.open = worlds.world(self.text(self.state), Path(self.folder.name))
        self.live = self.open.__enter__()
        worlds.described(self.live, lines=False)  # what is computed when it is asked for is there from now on
        self.history = History()
        self.states = [dict(self.state)]
        self.portraits = [self.portrait(renewed=True)]
        self.functions: list[FunctionType] = []
        self.closures: list[Sequence[Callable[..., Any]]] = [self.live.maker(3)]
        self.begun: list[tuple[Iterator[int], int]] = []
        self.barred: set[str] = set()  # what else may refuse a step
        self.lost = 0  # generations of whose functions none is left

    def teardown(self) -> None:
        self.open.__exit__(None, None, None)
        self.folder.cleanup()
        hooks._callbacks.clear()
        for name in ("hazard", *[name for name in linecache.cache if "world.py" in name]):
            sys.modules.pop(name, None)
            linecache.cache.pop(name, None)

    # --- what should be ---

    def text(self, state: Mapping[str, int]) -> str:
        return sites.text(self.parts, state)

    def made(self, state: Mapping[str, int]) -> Fresh:
        """A module imported afresh, described once."""
        key = tuple(state.values())
        if key not in self.known:
            live = sys.modules.get("world")
            with tempfile.TemporaryDirectory() as folder, worlds.world(self.text(state), Path(folder)) as module:
                results = {part.name: called(module, part.calls[state[part.name]]) for part in self.parts}
                read = {name: called(module, call) for name, call in READ.items()}
                described = worlds.described(module, lines=False)
                self.known[key] = Fresh(described, results, read, shown(module), frozenset(vars(module)))
            if live is not None:
                sys.modules["world"] = live
        return self.known[key]

    def patch(self, there: Mapping[str, int]) -> Patch | None:
        """The patch to a state; None where there is no difference."""
        key = tuple(self.state.values()), tuple(there.values())
        if key not in self.patches:
            old, new = (source(self.text(state), WORLD) for state in (self.state, there))
            outcome = builder.compare([old], [new], policy=self.policy)
            assert outcome.patch is not None, outcome.diagnostics
            self.patches[key] = outcome.patch if outcome.patch.modules else None
        return self.patches[key]

    def portrait(self, renewed: bool = False) -> dict[str, object]:
        """The identities of all that a patch could set. Texts that nobody runs any more may stay."""
        seen = worlds.portrait(self.live, renewed=renewed)
        return {name: value for name, value in seen.items() if not renewed or name != "linecache"}

    # --- steps ---

    @rule(data=st.data(), held=st.booleans(), readers=st.booleans(), on_disk=st.booleans())
    def edit(self, data: st.DataObject, held: bool, readers: bool, on_disk: bool) -> None:
        there = data.draw(self.others())
        patch = self.patch(there)
        if patch is not None:
            if on_disk:
                (Path(self.folder.name) / "world.py").write_text(self.text(there))
            self.step(there, lambda: load.apply(patch, self.history), held, readers)

    @rule(data=st.data(), readers=st.booleans())
    def edit_quietly(self, data: st.DataObject, readers: bool) -> None:
        there = data.draw(self.others())
        patch = self.patch(there)
        if patch is not None:
            timeout = 5 if readers else 0.01

            def update() -> None:
                load.apply(patch, self.history, consistency="quiescent", timeout=timeout)

            self.step(there, update, False, readers, quiet=True)

    @rule(number=st.integers(0, 1000), held=st.booleans(), readers=st.booleans())
    def roll_back(self, number: int, held: bool, readers: bool) -> None:
        to = number % len(self.states)
        self.step(self.states[to], lambda: load.rollback(self.history, to), held, readers, to=to)

    @rule(data=st.data(), fault=st.one_of(st.integers(0, 400), st.integers(0, 8000)))
    def edit_and_fail(self, data: st.DataObject, fault: int) -> None:
        there = data.draw(self.others())
        patch = self.patch(there)
        if patch is not None:
            self.step(there, within(failing_at_call(fault), lambda: load.apply(patch, self.history)), False, False)

    @rule(data=st.data(), fault=st.integers(0, 400))
    def edit_and_fail_in_the_swap(self, data: st.DataObject, fault: int) -> None:
        there = data.draw(self.others())
        patch = self.patch(there)
        if patch is not None:
            self.step(there, within(failing_at_store(fault), lambda: load.apply(patch, self.history)), False, False)

    @rule(number=st.integers(0, 1000), fault=st.integers(0, 4000), store=st.booleans())
    def roll_back_and_fail(self, number: int, fault: int, store: bool) -> None:
        to = number % len(self.states)
        failing = failing_at_store(fault) if store else failing_at_call(fault)
        self.step(self.states[to], within(failing, lambda: load.rollback(self.history, to)), False, False, to=to)

    @rule(data=st.data(), error=st.sampled_from([ValueError, SystemExit, KeyboardInterrupt, RecursionError]))
    def edit_with_a_value_that_raises(self, data: st.DataObject, error: type[BaseException]) -> None:
        there = {**data.draw(self.others()), "risky": (self.state["risky"] + 1) % 3}
        patch = self.patch(there)
        assert patch is not None
        vars(self.hazard)["error"] = error("no")
        try:
            self.refused(lambda: load.apply(patch, self.history), {"BCP603"})
        finally:
            vars(self.hazard)["error"] = None

    @rule(data=st.data(), to=st.integers(0, 1000), back=st.booleans())
    def edit_with_a_veto(self, data: st.DataObject, to: int, back: bool) -> None:
        there = data.draw(self.others())
        patch = self.patch(there)

        def veto(update: hooks.Update) -> None:
            raise ValueError("not now")

        hooks.on_update(veto)
        try:
            if back and len(self.states) > 1:
                self.refused(lambda: load.rollback(self.history, to % len(self.states)), {"BCP602"})
            elif patch is not None:
                self.refused(lambda: load.apply(patch, self.history), {"BCP602"})
        finally:
            hooks._callbacks.clear()

    @rule(number=st.integers(0, 1000), name=st.sampled_from(["__code__", "__defaults__"]))
    def roll_back_over_what_somebody_set(self, number: int, name: str) -> None:
        to = number % len(self.states)
        differs = self.states[to]["plain"] != self.state["plain"]
        kept = getattr(self.live.plain, name)
        setattr(self.live.plain, name, kept.replace() if name == "__code__" else tuple(map(int, kept)))
        if differs:
            self.refused(lambda: load.rollback(self.history, to), {"BCP608"})
        setattr(self.live.plain, name, kept)

    @rule()
    def make_closures(self) -> None:
        self.closures.append(self.live.maker(3))

    @rule()
    def copy_a_function(self) -> None:
        self.live.copying(self.live.copies)

    @rule()
    def begin_a_generator(self) -> None:
        numbers = self.live.numbers()
        self.begun.append((numbers, next(numbers)))

    @rule()
    def end_a_generator(self) -> None:
        if self.begun:
            numbers, first = self.begun.pop()
            assert list(numbers) == [first]

    # --- what holds after each ---

    @invariant()
    def equals_a_fresh_module(self) -> None:
        fresh = self.made(self.state)
        described = worlds.described(self.live, lines=False)
        agree({name: described.get(name) for name in fresh.described}, fresh.described)
        results = {part.name: called(self.live, part.calls[self.state[part.name]]) for part in self.parts}
        agree(results, fresh.results)
        assert vars(self.live).keys() >= fresh.names - {"__builtins__"}
        for inner, tell, short in self.closures:
            assert [inner(5, 1), tell(), short()] == fresh.results["maker"]
        if not self.lost:  # who loads a module himself shows its lines himself
            now = shown(self.live)
            agree({name: now.get(name) for name in fresh.sources}, fresh.sources)

    @invariant()
    def older_generations_can_be_called(self) -> None:
        left = range(self.lost, len(self.states))
        for number in {*left[:1], *left[len(left) // 2 :][:1], *left[-1:]}:
            wanted = self.made(self.states[number]).read["plain"]
            assert apply.at(self.history, number, self.live.plain)() == wanted

    # --- how a step is looked at ---

    def others(self) -> st.SearchStrategy[dict[str, int]]:
        """States that differ in some parts."""
        some = st.lists(st.sampled_from(self.parts), min_size=1, max_size=6, unique=True)
        return st.one_of(some, st.just(list(self.parts))).flatmap(
            lambda parts: st.tuples(*[st.integers(0, len(part.versions) - 1) for part in parts]).map(
                lambda versions: self.state | {part.name: one for part, one in zip(parts, versions, strict=True)}
            )
        )

    def step(
        self,
        there: Mapping[str, int],
        update: Callable[[], object],
        held: bool,
        readers: bool,
        *,
        to: int | None = None,
        quiet: bool = False,
    ) -> None:
        """Make a step, and look whether it was made whole or not at all."""
        before, serial = self.portrait(), self.history.serial
        allowed = {"BCP610"} | self.barred
        if held or readers or self.begun:
            allowed |= {"BCP611"}  # a first `super()` takes a new function, which nobody else may hold
        if quiet:
            allowed |= {"BCP601", "BCP611"} if readers or self.begun else set()
        self.functions = [self.live.plain, self.live.Thing.method] if held else []
        with self.reading(there, quiet) if readers else _nothing():
            try:
                update()
                self.outcomes["made"] += 1
            except Refused as refused:
                codes = {one.code for one in errors(refused.diagnostics)}
                agree(dict.fromkeys(codes - allowed, refused.diagnostics), {})
                self.outcomes["refused"] += 1
            except Fault as fault:
                clear_frames(fault.__traceback__)
                self.outcomes["failed"] += 1
        gc.collect()  # what an error's frames held in cycles is held no more
        self.functions = []
        if self.history.serial == serial:
            agree(self.portrait(), before)
            assert len(self.history.generations) == len(self.states)
            return
        self.state = dict(there)
        if to is None:
            self.states.append(dict(there))
            self.portraits.append(self.portrait(renewed=True))
            assert self.history.current == len(self.states) - 1
            return
        assert self.history.current == to
        if to >= self.lost:
            now = self.portrait(renewed=True)
            agree({name: now[name] for name in self.portraits[to]}, self.portraits[to])

    def refused(self, update: Callable[[], object], codes: set[str]) -> None:
        """A step that can't be made leaves all as it was."""
        before, serial = self.portrait(), self.history.serial
        with pytest.raises((Refused, KeyboardInterrupt)) as refused:
            update()
        if isinstance(refused.value, Refused):
            assert {one.code for one in errors(refused.value.diagnostics)} <= codes | self.barred
        clear_frames(refused.tb)
        del refused
        gc.collect()  # and the frames that led to what the application raised
        agree(self.portrait(), before)
        assert (self.history.serial, len(self.history.generations)) == (serial, len(self.states))

    @contextmanager
    def reading(self, there: Mapping[str, int], quiet: bool) -> Iterator[None]:
        """Threads that call all the time, and see one generation or the other."""
        seen: list[tuple[str, Any]] = []
        stop = threading.Event()
        begun = threading.Barrier(3)

        def read() -> None:
            space = vars(self.live)
            compiled = {name: compile(call, "reader", "eval") for name, call in READ.items()}
            last: dict[str, object] = {}
            begun.wait()
            while not stop.is_set():
                for name, call in compiled.items():
                    value = eval(call, space)
                    if value != last.get(name):
                        seen.append((name, value))
                        last[name] = value

        interval = sys.getswitchinterval()
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        begun.wait()
        sys.setswitchinterval(1e-5)
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)
        one, other = self.made(self.state).read, self.made(there).read
        for name, value in seen:
            if name == "tree" and not quiet:
                pairs = zip(value[::2], value[1::2], strict=True)
                either = [one["tree"][:2], other["tree"][:2]]
                assert all(pair in either for pair in pairs)
            elif name == "thing":
                parts = zip(value, one[name], other[name], strict=True)
                assert all(part in (before, after) for part, before, after in parts)
            else:
                assert value in (one[name], other[name]), name


def hazard() -> ModuleType:
    """The module that the live one calls."""
    module = ModuleType("hazard")
    vars(module)["error"] = None

    def value(of: int) -> int:
        if vars(module)["error"] is not None:
            raise vars(module)["error"]
        return of

    def run(coroutine: Any) -> object:
        with pytest.raises(StopIteration) as stop:
            coroutine.send(None)
        return stop.value.value

    vars(module).update(value=value, run=run)
    sys.modules["hazard"] = module
    return module


def agree(one: Mapping[str, object], other: Mapping[str, object]) -> None:
    """Two descriptions are equal; else the error says where not."""
    names = one.keys() | other.keys()
    differing = {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}
    if differing:
        # where threads are at work another run may not differ, and hypothesis says no more than that
        sys.stderr.write(f"{differing}\n")
    assert not differing


def called(module: ModuleType, call: str) -> object:
    return eval(call, vars(module), {})


def shown(module: ModuleType) -> dict[str, str]:
    """The source of each function, as tracebacks and debuggers show it; what only computes annotations aside."""
    found: dict[str, str] = {}
    for name, value in list(vars(module).items()):
        if name.startswith("__"):
            continue
        found_in = sorted(worlds.functions(value, module.__name__, set()), key=lambda one: one.__qualname__)
        for number, function in enumerate(found_in):
            if function.__code__.co_name == "__annotate__":
                continue
            if function.__module__ == module.__name__ and "world.py" in function.__code__.co_filename:
                found[f"{name} {number}"] = lines_of(function.__code__)
    return found


def lines_of(code: CodeType) -> str:
    linecache.checkcache(code.co_filename)
    numbers = sorted({line for *_, line in code.co_lines() if line})
    return "".join(linecache.getline(code.co_filename, number) for number in numbers)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def within(failing: AbstractContextManager[None], update: Callable[[], object]) -> Callable[[], object]:
    """The same update, and nothing else, with what fails in it."""

    def failed() -> object:
        with failing:
            return update()

    return failed


@contextmanager
def failing_at_call(number: int) -> Iterator[None]:
    """An error at the call of a function between link and record, counted from the first."""
    left = [number]

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and any(part in frame.f_code.co_filename for part in STEPS):
            left[0] -= 1
            if not left[0]:
                sys.setprofile(None)
                raise Fault

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


@contextmanager
def failing_at_store(number: int) -> Iterator[None]:
    """An error at a store of the swap, counted round and round, or at the first of the rows that go with it."""
    real = swap.exchange

    def exchange(changes: Sequence[Change], *, guards: Any = (), along: Sequence[swap.Row] = ()) -> bool:
        place = number % (len(changes) + 1)
        if place < len(changes):
            broken = [*changes]
            broken.insert(place, Change(Slot(Kind.NAMESPACE, Raising(x=0), "x"), 0, 1))
            return real(broken, guards=guards, along=along)
        return real(changes, guards=guards, along=[(Raising().__setitem__, "x", 1), *along])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(swap, "exchange", exchange)
        yield


class LinkedMachine(Machine):
    """The same where a patch may add, change and remove definitions and values."""

    policy = "linked"
    parts = LINKED
    known: ClassVar[dict[tuple[int, ...], Fresh]] = {}
    patches: ClassVar[dict[tuple[tuple[int, ...], tuple[int, ...]], Patch | None]] = {}


#: Parts that no other one is made of.
ALONE = ("plain", "keywords", "partial", "partial method", "chain", "closed", "held", "lambdas")


class AgainMachine(LinkedMachine):
    """The same in an application that executes its modules again, as a whole or in part.

    A patch then goes into what runs. A way back leads there too, or is refused.
    """

    known: ClassVar[dict[tuple[int, ...], Fresh]] = {}
    patches: ClassVar[dict[tuple[tuple[int, ...], tuple[int, ...]], Patch | None]] = {}
    kept: list[object]

    @rule(held=st.booleans(), shifted=st.booleans())
    def load_the_module_again(self, held: bool, shifted: bool) -> None:
        self.keep(held)
        self.execute("\n" * shifted + self.text(self.state))

    @rule(held=st.booleans())
    def import_the_module_again(self, held: bool) -> None:
        self.keep(held)
        assert self.live.__spec__ is not None
        self.live = sys.modules["world"] = module_from_spec(self.live.__spec__)
        self.execute(self.text(self.state))

    @rule(part=st.sampled_from(ALONE))
    def define_something_again(self, part: str) -> None:
        self.keep(True)
        version = next(one for one in self.parts if one.name == part).versions[self.state[part]]
        self.execute("\n" * 1000 + version)

    def keep(self, held: bool) -> None:
        self.kept = [*getattr(self, "kept", []), dict(vars(self.live))] if held else []

    def execute(self, text: str) -> None:
        exec(compile(text, str(self.live.__file__), "exec", dont_inherit=True), vars(self.live))
        self.closures = [self.live.maker(3)]
        self.barred = {"BCP503", "BCP504", "BCP506", "BCP608"}
        self.lost = len(self.states)
        worlds.described(self.live, lines=False)


MACHINES = {"strict": Machine, "linked": LinkedMachine, "again": AgainMachine}


def run(policy: str, lives: int, steps: int, number: int = 0) -> Counter[str]:
    """Some lives of a process, the same for the same number; returns how many steps were made, refused or failed."""
    outcomes: Counter[str] = Counter()
    machine = seed(number)(type(policy, (MACHINES[policy],), {"outcomes": outcomes}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=lives,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
            deadline=None,
            derandomize=False,
            database=None,
            phases=[Phase.generate],  # threads don't repeat themselves: no shrinking
        ),
    )
    return outcomes


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", MACHINES)
def test_the_process_is_what_a_fresh_one_is(policy: str) -> None:
    outcomes = run(policy, lives=3, steps=9)
    assert outcomes["made"] > outcomes["refused"]
    assert outcomes["failed"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", ["strict", "linked"])
def test_every_part_changes_and_comes_back(policy: str) -> None:
    """Each at once, with what was made of it before and after: whatever hypothesis draws."""
    machine = type(policy, (MACHINES[policy],), {"outcomes": Counter()})()
    try:
        for version in (1, 2, 0):
            there = {part.name: version % len(part.versions) for part in machine.parts}
            patch = machine.patch(there)
            assert patch is not None
            machine.step(there, lambda patch=patch: load.apply(patch, machine.history), False, False)
            machine.equals_a_fresh_module()
            machine.make_closures()
            machine.copy_a_function()
            last = machine.history.current
            for to in (last - 1, 0, last):
                machine.step(machine.states[to], lambda to=to: load.rollback(machine.history, to), False, False, to=to)
                machine.equals_a_fresh_module()
                machine.older_generations_can_be_called()
        assert machine.outcomes == {"made": 12}
    finally:
        machine.teardown()
