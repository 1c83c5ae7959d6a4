"""Where and when a patch may arrive: without the GIL, under audit hooks, from handlers, at the end of the process."""

from __future__ import annotations

import cProfile
import ctypes
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType

import pytest
import worlds
from processes import running
from samples import patch_of

from bcpatch import load, pythons
from bcpatch.diagnostics import Refused, Severity
from bcpatch.exchange import flights
from bcpatch.model import Module
from bcpatch.process.accounting import Walk, account
from bcpatch.process.history import History, Own
from bcpatch.process.objects import everything

TEXT = "def f(a=1):\n    return 'old', a\n\ndef g():\n    return 'old'\n"
CODE = TEXT.replace("'old', a", "'new', a")
BOTH = TEXT.replace("'old'", "'new'")
DEFAULT = TEXT.replace("a=1", "a=2")


# --- without the GIL ------------------------------------------------------------------


@pytest.fixture
def without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "is_gil_enabled", lambda: False)


@pytest.mark.usefixtures("without_the_gil")
@pytest.mark.parametrize(
    "new", [BOTH, CODE.replace("a=1", "a=2"), DEFAULT], ids=["two codes", "code and more", "other"]
)
def test_without_the_gil_more_than_one_store_is_refused(new: str, tmp_path: Path) -> None:
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        before = worlds.portrait(module)
        assert refusal(lambda: worlds.applied(TEXT, new, history)) == ["BCP605"]
        assert worlds.portrait(module) == before
        assert (history.current, history.serial, len(history.records)) == (0, 0, 1)


@pytest.mark.usefixtures("without_the_gil")
def test_without_the_gil_one_code_may_be_stored(tmp_path: Path) -> None:
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        kept = module.f
        worlds.applied(TEXT, CODE, history)
        assert kept() == ("new", 1)
        load.rollback(history, 0)
        assert kept() == ("old", 1)


def refusal(update: Callable[[], object]) -> list[str]:
    """The codes with which an update is refused."""
    with pytest.raises(Refused) as refused:
        update()
    return [found.code for found in refused.value.diagnostics]


# --- audit hooks ----------------------------------------------------------------------

#: What child processes begin with: a module, and patches between its texts.
CHILD = f"""
import logging, sys, tempfile, threading
from pathlib import Path
import worlds
from bcpatch import load, service
from bcpatch.channels.protocol import Apply
from bcpatch import patchfile
from bcpatch.diagnostics import Refused, Severity
from bcpatch.exchange import flights
from bcpatch.model import Import, Module
from bcpatch.process.accounting import Walk, account
from bcpatch.process.history import History
from bcpatch.process.objects import everything

TEXT, BOTH = {TEXT!r}, {BOTH!r}
there = worlds.patch(worlds.module_patch(TEXT, BOTH))
back = worlds.patch(worlds.module_patch(BOTH, TEXT))
history = service.history
folder = tempfile.TemporaryDirectory()
module = worlds.imported(TEXT, Path(folder.name))
"""
FOLDERS = {"PYTHONPATH": ":".join(str(Path(__file__).resolve().parents[up]) for up in (0, 1))}


def child(script: str) -> list[str]:
    """What a child process that runs ``script`` says; it ends well and without a word of complaint."""
    with running(CHILD + script, environment=FOLDERS) as process:
        output, errors = process.rest()
        assert (process.popen.returncode, errors) == (0, "")
        return output.splitlines()


HOOKED = """
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
if {hooked}:
    sys.addaudithook(lambda event, arguments: None)
try:
    print(load.apply(there, history, require_instant=True).certain, module.f(), history.current)
except Refused as refused:
    print([found.code for found in refused.diagnostics], module.f(), history.current)
reply = service.answer(Apply(patch=patchfile.encode(back if history.current else there)))
print(history.generations[-1].certain, history.generations[-1].instant, module.f())
print(load.rollback(history, 0).certain)
"""


def test_with_an_audit_hook_the_instant_is_likely() -> None:
    refused, _, logged, applied, back = child(HOOKED.format(hooked=True))
    assert refused == "['BCP604'] ('old', 1) 0"
    assert logged == "a patch: with an audit hook in Python the one instant was likely, not certain"
    assert applied == "False likely ('new', 1)"
    assert back == "False"


UNDER_A_HIGH_LIMIT = """
from bcpatch.process import swap
sys.setrecursionlimit(10**6)
print(swap.has_audit_hook())
sys.addaudithook(lambda event, arguments: None)
print(swap.has_audit_hook())
"""


def test_that_no_hook_is_there_is_seen_at_once_where_the_interpreter_shows_it() -> None:
    assert child(UNDER_A_HIGH_LIMIT) == [str(not pythons.AUDITS_ANYTHING), "True"]


def test_without_an_audit_hook_the_instant_is_certain() -> None:
    required, _, applied, back = child(HOOKED.format(hooked=False))
    assert required == "True ('new', 1) 1"
    assert applied == "True certain ('old', 1)"
    assert back == "True"


FORBIDDEN = """
def forbid(event, arguments):
    if forbidding and event == "object.__setattr__" and arguments[1] == "__code__":
        raise forbidding
forbidding, kept = None, [module.f, module.g]  # held, so that they are changed in place on every version
sys.addaudithook(forbid)
def told(update):
    try:
        update()
    except Refused as refused:
        (found,) = refused.diagnostics
        return found.code, found.message
def shown():
    return module.f(), module.g(), vars(module).get("gcd") is not None, history.current
gcd = Import("gcd", "math", "gcd")
brings = worlds.patch(worlds.module_patch(TEXT, "from math import gcd\\n" + BOTH, imports=(gcd,)))
for forbidding in (OSError("no"), SystemExit(3)):
    print(told(lambda: load.apply(brings, history)), *shown())
forbidding = None
load.apply(brings, history)
forbidding = OSError("no")
print(told(lambda: load.rollback(history, 0)), *shown())
forbidding = None
load.rollback(history, 0)
print(*shown())
"""


def test_an_audit_hook_that_lets_no_function_change_is_a_refusal_and_no_store_is_made() -> None:
    *there, back, end = child(FORBIDDEN)
    refused = "('BCP610', 'an audit hook does not let functions be changed: it raised {}')"
    assert there == [f"{refused.format(error)} ('old', 1) old False 0" for error in ("OSError: no", "SystemExit: 3")]
    assert back == f"{refused.format('OSError: no')} ('new', 1) new True 1"
    assert end == "('old', 1) old False 0"


# --- from anywhere --------------------------------------------------------------------

CALLING = "import inside\n" + TEXT.replace("return 'old', a", "inside.act(); return 'old', a")
CALLING_NEW = CALLING.replace("'old'", "'new'")
VALUE = CALLING.replace("a=1", "a=inside.act()")


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module whose ``act`` the patched module calls."""
    module = ModuleType("inside")
    monkeypatch.setitem(sys.modules, "inside", module)
    return module


def test_a_function_that_patches_itself_ends_on_the_code_that_it_began_with(tmp_path: Path, inside: ModuleType) -> None:
    history = History()
    actions = [lambda: worlds.applied(CALLING, CALLING_NEW, history), lambda: load.rollback(history, 0)]
    vars(inside)["act"] = lambda: actions.pop(0)() if actions else None
    with worlds.world(CALLING, tmp_path) as module:
        assert (module.f(), history.current) == (("old", 1), 1)
        assert (module.f(), history.current) == (("new", 1), 0)
        assert (module.f(), module.g()) == (("old", 1), "old")


class Attempt:
    """An apply from a place where nobody expects it, and what came of it."""

    def __init__(self, history: History, text: str = CALLING, new: str = CALLING_NEW) -> None:
        self.history, self.text, self.new = history, text, new
        self.outcomes: list[object] = []

    def __call__(self) -> None:
        try:
            self.outcomes.append(worlds.applied(self.text, self.new, self.history).number)
        except Refused as refused:
            self.outcomes += [found.code for found in refused.diagnostics]


@pytest.fixture
def raised_signals() -> Iterator[None]:
    """Signals are handled as before, afterwards."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def by_signal(attempt: Attempt) -> None:
    signal.signal(signal.SIGINT, lambda number, frame: attempt())
    signal.raise_signal(signal.SIGINT)


def by_finalizer(attempt: Attempt) -> None:
    class Last:
        def __del__(self) -> None:
            attempt()

    Last()


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("raised_signals")
@pytest.mark.parametrize("way", [by_signal, by_finalizer])
def test_from_a_handler_while_idle(way: Callable[[Attempt], None], tmp_path: Path, inside: ModuleType) -> None:
    vars(inside)["act"] = lambda: None
    attempt = Attempt(History())
    with worlds.world(CALLING, tmp_path) as module:
        way(attempt)
        assert (attempt.outcomes, module.f()) == ([1], ("new", 1))


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("raised_signals")
@pytest.mark.parametrize("way", [by_signal, by_finalizer])
def test_from_a_handler_while_another_apply_is_under_way(
    way: Callable[[Attempt], None], tmp_path: Path, inside: ModuleType
) -> None:
    history = History()
    attempt = Attempt(history)

    def act() -> int:
        way(attempt)
        return 7

    with worlds.world(CALLING, tmp_path) as module:
        vars(inside)["act"] = act
        assert worlds.applied(CALLING, VALUE, history).number == 1
        assert (attempt.outcomes, module.f.__defaults__) == (["BCP606"], (7,))
        vars(inside)["act"] = lambda: None
        assert (module.f(), history.current) == (("old", 7), 1)
        load.rollback(history, 0)


# --- the end of the process -----------------------------------------------------------

ENDS = {
    "thread that is left behind": """
started = threading.Event()
def forever():
    while True:
        load.apply(there, history)
        load.rollback(history, 0)
        started.set()
threading.Thread(target=forever, daemon=True).start()
started.wait()
""",
    "thread that is waited for": """
def many():
    threading.main_thread().join()
    for _ in range(5):
        load.apply(there, history)
        load.rollback(history, 0)
    print(history.current, len(history.records), module.f())
threading.Thread(target=many).start()
""",
    "exit function": """
import atexit
def last():
    load.apply(there, history)
    print(history.current, len(history.records), module.f())
    load.rollback(history, 0)
atexit.register(last)
""",
}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", ENDS)
def test_an_apply_at_the_end_of_the_process(name: str) -> None:
    wanted = {
        "thread that is left behind": [],
        "thread that is waited for": ["0 6 ('old', 1)"],
        "exit function": ["1 2 ('new', 1)"],
    }
    assert child(ENDS[name]) == wanted[name]


# --- thousands ------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_the_same_two_texts_thousands_of_times(tmp_path: Path) -> None:
    there = worlds.patch(worlds.module_patch(TEXT, BOTH))
    back = worlds.patch(worlds.module_patch(BOTH, TEXT))
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        codes = {id(module.f.__code__), id(module.g.__code__)}
        load.apply(there, history)
        codes |= {id(module.f.__code__), id(module.g.__code__)}
        stored = {site: len(store) for site, store in history.codes.items()}
        for _ in range(1_000):
            load.apply(back, history)
            load.apply(there, history)
        assert (history.current, len(history.records), module.f()) == (2_001, 2_002, ("new", 1))
        assert {site: len(store) for site, store in history.codes.items()} == stored
        held = [one for record in history.records for change in record.changes for one in (change.old, change.new)]
        assert len(codes) == 4
        assert {id(one) for one in held if isinstance(one, CodeType)} == codes


# --- what other threads are in the middle of ---------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize("look", ["account", "heap", "status"])
def test_tuples_that_other_threads_are_building_stay_theirs(look: str, tmp_path: Path) -> None:
    """A tuple that C code fills from a generator must have one holder: a second one is a SystemError there."""
    text = "def numbers(limit):\n    yield from range(limit)\ndef plain(): return 1\n"
    stop = threading.Event()
    errors: list[BaseException] = []

    def build() -> None:
        try:
            while not stop.is_set():
                assert tuple(live.numbers(300)) == tuple(range(300))
        except BaseException as error:  # noqa: BLE001 (whatever it is, the test must see it)
            errors.append(error)

    interval = sys.getswitchinterval()
    with worlds.world(text, tmp_path) as live:
        threads = [threading.Thread(target=build) for _ in range(3)]
        sys.setswitchinterval(1e-4)
        try:
            for thread in threads:
                thread.start()
            for _ in range(1 if look == "heap" else 20):
                if look == "status":
                    list(flights.calls_inside([live.numbers.__code__]))
                    continue
                walk = Walk(frozenset(), frozenset())
                if look == "heap":
                    walk.add(everything())
                account([live.plain.__code__], walk, Own(History()))
        finally:
            stop.set()
            sys.setswitchinterval(interval)
            for thread in threads:
                thread.join()
    assert errors == []


FREED_ITERATORS = """
import asyncio, gc
from bcpatch.process.accounting import Walk
from bcpatch.process.objects import everything

async def main():
    futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
    for future in futures:
        future.set_result(None)
    iterators = [iter(future) for future in futures]

asyncio.run(main())
for _ in range(2):
    walk = Walk(frozenset(), frozenset())
    walk.add(everything())
gc.collect()
"""


def test_a_look_at_the_heap_takes_no_freed_objects_into_its_hands() -> None:
    """Or the next collection never ends (CPython 3.12)."""
    subprocess.run([sys.executable, "-c", FREED_ITERATORS], check=True, timeout=100)


def test_who_keeps_a_refusal_keeps_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do the frames that its cause leads back to: the next patch finds every reference explained."""
    loud = ModuleType("loud")
    exec("def fail(): raise ValueError('no')", vars(loud))
    monkeypatch.setitem(sys.modules, "loud", loud)
    world = Module("world", "world.py")
    old, bad, good = (
        f"import loud\ndef f():\n    return {value}\ndef g(a={default}):\n    return a\n"
        for value, default in (("0", "1"), ("1", "loud.fail()"), ("2", "2"))
    )
    history = History()
    with worlds.world(old, tmp_path) as module:
        with pytest.raises(Refused) as refused:
            load.apply(patch_of(old, bad, module=world), history)
        gc.collect()
        load.apply(patch_of(old, good, module=world), history)
        assert (module.f(), module.g()) == (2, 2)
        assert isinstance(refused.value.__cause__, ValueError)


PROFILED = "def f():\n    def inner(): return {0}\n    return inner()\ndef g():\n    yield {0}\ndef h(): return {0}\n"


@pytest.mark.parametrize(
    "kind", [cProfile.Profile, type("Own", (cProfile.Profile,), {})], ids=["it", "one of its kind"]
)
def test_a_profiler_that_has_seen_what_changes_bars_no_way(kind: type[cProfile.Profile], tmp_path: Path) -> None:
    """It keeps the code of all that was called, where only its statistics show it."""
    history = History()
    profiler = kind()
    with worlds.world(PROFILED.format(0), tmp_path) as module, profiler:
        vars(module)["profiler"] = profiler  # wherever it is found, but here in less time

        def told() -> list[int]:
            return [module.f(), next(module.g()), module.h()]

        assert told() == [0] * 3
        for number in range(3):
            worlds.applied(PROFILED.format(number), PROFILED.format(number + 1), history)
            assert told() == [number + 1] * 3
        for number in (1, 3, 0):
            load.rollback(history, number)
            assert told() == [number] * 3
    assert any(entry.code is module.f.__code__ for entry in profiler.getstats())


@pytest.mark.skipif(not hasattr(sys, "monitoring"), reason="sys.monitoring is in CPython 3.12+")
def test_who_keeps_all_code_that_runs_keeps_no_function_of_a_patch(tmp_path: Path) -> None:
    """A tool that nobody sees: what it has seen run is refused, and what is applied runs nothing that it could keep."""
    monitoring = vars(sys)["monitoring"]
    history = History()

    def start() -> None:
        kept: list[CodeType] = []
        monitoring.register_callback(4, monitoring.events.PY_START, lambda code, _: kept.append(code))

    monitoring.use_tool_id(4, "keeping")
    try:
        with worlds.world(PROFILED.format(0), tmp_path) as module:
            start()
            monitoring.set_events(4, monitoring.events.PY_START)
            for number in range(3):
                worlds.applied(PROFILED.format(number), PROFILED.format(number + 1), history)
            assert module.h() == 3
            with pytest.raises(Refused) as refused:
                worlds.applied(PROFILED.format(3), PROFILED.format(4), history)
            assert [one.code for one in refused.value.diagnostics] == ["BCP506"]
            assert module.h() == 3
    finally:
        monitoring.set_events(4, 0)
        monitoring.register_callback(4, monitoring.events.PY_START, None)
        monitoring.free_tool_id(4)


def test_a_rollback_says_what_stays_out_of_sight(tmp_path: Path) -> None:
    text = "def make():\n    def inner():\n        return {}\n    return inner\n"
    history = History()
    with worlds.world(text.format(1), tmp_path) as module:
        load.apply(worlds.linked(text.format(1), text.format(2)), history)
        held = ctypes.py_object(module.make())
        address = id(held.value)
        ctypes.pythonapi.Py_IncRef(held)  # as C code may hold it
        del held
        gc.collect()
        told = load.rollback(history, 0)
        inner = ctypes.cast(address, ctypes.py_object).value
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(inner))
        (found,) = (one for one in told.notes if one.code == "BCP506")
        assert (found.severity, inner(), module.make()()) == (Severity.WARNING, 2, 1)
        assert "end what holds it" in found.help
