"""What a patch runs ahead of its swap is seen: on all Pythons, beside other tools, in its own thread alone.

What comes of which statement is data: ``edits/ahead.txt``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_edits import imported, shown, sources

from bcpatch import builder, load, pythons
from bcpatch.diagnostics import Refused, errors
from bcpatch.process import importers, texts, used
from bcpatch.process.history import History
from bcpatch.process.starts import OccupiedError, Starts

LIB = "def rate(): return 1\ndef table(): return rate() * 10\ndef other(): return 5\n"
WORLD = "import lib\ndef f(): return lib.table()\n"
CHANGED = {"lib.py": LIB.replace("return 1", "return 2")}
BEFORE = {"lib.py": LIB, "world.py": WORLD}


def apply(new: dict[str, str], history: History, old: dict[str, str] = BEFORE) -> None:
    outcome = builder.compare(sources(old), sources({**old, **new}), policy="linked")
    assert outcome.patch is not None, outcome.diagnostics
    load.apply(outcome.patch, history)


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(Refused) as caught:
        yield
    assert [one.code for one in errors(caught.value.diagnostics)] == [code], caught.value


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ("def f(): return g()\ndef g(): return 1\n", "def f(): return g()\nN = f()\ndef g(): return 1\n"),
        ("def f(): return A\nA = 1\n", "def f(): return A\ndef h(a=f()): return a\nA = 1\n"),
        ("def f(): return 1\nA = 1\n", "def f(): return 1\nN = [A]\nA = 1\n"),
        ("class C:\n  pass\n  A = 1\n", "class C:\n  N = [A]\n  A = 1\n"),
    ],
)
def test_what_a_fresh_start_would_not_find_yet_is_refused(base: str, text: str) -> None:
    with pytest.raises(NameError):
        exec(text, {})
    outcome = builder.compare(sources({"world.py": base}), sources({"world.py": text}), policy="linked")
    assert outcome.patch is None
    assert [one.code for one in errors(outcome.diagnostics)] == ["BCP210"]


@contextmanager
def occupied() -> Iterator[None]:
    """Other tools have all by which a thread's calls could be seen."""
    with ExitStack() as stack:
        if pythons.MONITORING:
            for tool in range(6):
                if pythons.MONITORING.get_tool(tool) is None:
                    pythons.MONITORING.use_tool_id(tool, "another tool")
                    stack.callback(pythons.MONITORING.free_tool_id, tool)
        else:
            stack.callback(sys.setprofile, sys.getprofile())
            stack.callback(sys.settrace, sys.gettrace())
            sys.setprofile(_ignore)
            sys.settrace(_ignore)
        yield


def _ignore(*_: object) -> None:
    pass


def tools() -> list[object]:
    if pythons.MONITORING:
        return [pythons.MONITORING.get_tool(tool) for tool in range(6)]
    return [sys.getprofile(), sys.gettrace()]


def test_what_a_new_module_runs_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    with imported(BEFORE, tmp_path, monkeypatch) as live:
        new = {"world.py": f"import fresh\n{WORLD}", "fresh.py": "import lib\nN = lib.table()\n"}
        with refused("BCP211"):
            apply({**CHANGED, **new}, history)
        assert "fresh" not in sys.modules
        assert shown("world.f()", live) == "10"
        assert not hasattr(live["world"], "fresh")


def test_a_refusal_leaves_no_reference_and_no_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history, before = History(), tools()
    with imported(BEFORE, tmp_path, monkeypatch) as live:
        with refused("BCP211"):
            apply({**CHANGED, "world.py": f"{WORLD}N = lib.table()\n"}, history)
        assert tools() == before
        apply(CHANGED, history)
        apply({"world.py": f"{WORLD}N = lib.table()\n"}, history, {**BEFORE, **CHANGED})
        assert tools() == before
        assert shown("world.N, world.f()", live) == "(20, 20)"


def test_what_another_thread_runs_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{LIB}CALL = None\ndef other(): return CALL()\n"
    old = {"lib.py": text, "world.py": WORLD}
    new = {"lib.py": text.replace("return 1", "return 2"), "world.py": f"{WORLD}N = lib.other()\n"}
    asked, answered = threading.Event(), threading.Event()
    with imported(old, tmp_path, monkeypatch) as live:

        def answer() -> None:
            asked.wait()
            shown("lib.table()", live)
            answered.set()

        def ask() -> bool:
            asked.set()
            return answered.wait(60)

        monkeypatch.setattr(live["lib"], "CALL", ask)
        thread = threading.Thread(target=answer)
        thread.start()
        apply(new, History(), old)
        thread.join()
        assert shown("world.N, world.f()", live) == "(True, 20)"


@pytest.mark.parametrize("text", [f"{WORLD}N = lib.other()\n", WORLD.replace("f()", "f(a=lib.other())")])
def test_what_can_not_be_seen_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with imported(BEFORE, tmp_path, monkeypatch) as live:
        with occupied(), refused("BCP211"):
            apply({**CHANGED, "world.py": text}, History())
        assert shown("world.f()", live) == "10"


def test_what_runs_nothing_need_not_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with imported(BEFORE, tmp_path, monkeypatch) as live:
        with occupied():
            apply({**CHANGED, "world.py": f"{WORLD}def n(a=()): return lib.table()\n"}, History())
        assert shown("world.n()", live) == "20"


def _called() -> int:
    return 1


def _made() -> Iterator[int]:
    while True:
        yield 1


@pytest.fixture
def starts() -> Iterator[Starts]:
    made = Starts()
    yield made
    made.close()


def test_calls_and_resumptions_are_seen_while_they_are_looked_for(starts: Starts) -> None:
    begun = _made()
    next(begun)
    for function in (_called, _made):
        starts.watch(function.__code__)
    _called()
    with starts.seen() as seen:
        _ignore()
        assert not seen
        for _ in range(2):
            _called()
            next(begun)
        assert [*seen] == [_called.__code__, _made.__code__]
    with starts.seen() as seen:
        assert not seen


@pytest.mark.skipif(pythons.MONITORING is None, reason="sys.monitoring is in CPython 3.12+")
def test_the_next_tool_sees_nothing_of_it() -> None:
    starts = Starts()
    starts.watch(_called.__code__)
    (tool,) = (tool for tool in range(6) if pythons.MONITORING.get_tool(tool) == "bcpatch")
    starts.close()
    seen: list[object] = []
    pythons.MONITORING.use_tool_id(tool, "the next tool")
    try:
        for event in (pythons.MONITORING.events.PY_START, pythons.MONITORING.events.PY_RESUME):
            pythons.MONITORING.register_callback(tool, event, lambda *about: seen.append(about))
        _called()
    finally:
        pythons.MONITORING.free_tool_id(tool)
    assert seen == []


@pytest.mark.skipif(pythons.MONITORING is not None, reason="sys.monitoring is there for it")
@pytest.mark.parametrize("kind", ["profile", "trace"])
def test_one_tool_of_the_thread_is_let_alone(kind: str, starts: Starts) -> None:
    before = sys.getprofile(), sys.gettrace()
    installs: dict[str, Callable[[Any], None]] = {"profile": sys.setprofile, "trace": sys.settrace}
    starts.watch(_called.__code__)
    installs[kind](_ignore)
    try:
        with starts.seen() as seen:
            _called()
            assert [*seen] == [_called.__code__]
        assert {"profile": sys.getprofile(), "trace": sys.gettrace()}[kind] is _ignore
    finally:
        sys.setprofile(before[0])
        sys.settrace(before[1])


def test_nothing_to_watch_needs_no_tool(starts: Starts) -> None:
    with occupied(), starts.seen() as seen:
        _called()
        assert not seen


def test_who_has_no_tool_says_so(starts: Starts) -> None:
    def look() -> None:
        starts.watch(_called.__code__)
        with starts.seen():
            pass

    with occupied(), pytest.raises(OccupiedError):
        look()


@pytest.mark.parametrize("count", [10, 40])
def test_importers_are_looked_at_a_few_times_each(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: each may have passed the value on to each other one."""
    looked: list[object] = []
    facts = texts.Texts.facts

    def counting(self: texts.Texts, module: Any, *ways: Any) -> texts.Facts | None:
        if module.__name__.startswith("taker"):
            looked.append(module)
        return facts(self, module, *ways)

    monkeypatch.setattr(texts.Texts, "facts", counting)
    files = {"lib.py": "RATE = ('rate',)\n"}
    files.update({f"taker{number}.py": "from lib import RATE\n" for number in range(count)})
    with imported(files, tmp_path, monkeypatch) as live:
        lib: Any = live["lib"]
        known = texts.Texts()
        slots = list(importers.slots(known, lib, "RATE", lib.RATE))
        assert not list(used.used_at_import(known, lib, "RATE", lib.RATE))
    assert len(slots) == count
    assert len(looked) <= 6 * count
