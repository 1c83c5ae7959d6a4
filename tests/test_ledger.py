"""What a process keeps of its generations, and that old ones cost nothing when new ones come."""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

import msgspec
import pytest
import worlds

from bcpatch import apply, fingerprint, load
from bcpatch.diagnostics import Severity, finding
from bcpatch.model import Patch
from bcpatch.process import history as records
from bcpatch.process import ledger, packing, swap
from bcpatch.process.history import History
from bcpatch.process.ledger import Ledger

T = TypeVar("T")

TEXT = '''
def f(a, b=1):
    """Text number 0."""
    return a + b, 0

def g():
    return lambda: 0

def numbers():
    yield 0
    yield lambda: 0
'''


def numbered(number: int) -> str:
    return TEXT.replace("number 0", f"number {number}").replace("lambda: 0", f"lambda: {number}")


def patches(*numbers: int) -> list[Patch]:
    return [worlds.patch(worlds.module_patch(old, new, imports=())) for old, new in pairwise(map(numbered, numbers))]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often records and kept code objects are looked at meanwhile."""
    looks: Counter[str] = Counter()
    record, code_at = Ledger.__getitem__, History.code_at

    def read(self: Ledger, number: int) -> Any:
        looks["records"] += 1
        return record(self, number)

    def code(self: History, place: int) -> CodeType:
        looks["codes"] += 1
        return code_at(self, place)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "__getitem__", read)
        patched.setattr(History, "code_at", code)
        yield looks


# --- work -------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_the_work_does_not_grow_with_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an apply and of a rollback; and of a status, but for the table of all generations."""
    history = History()
    looks = []
    number = 0
    with worlds.world(TEXT, tmp_path) as module:
        for rounds in (20, 160):
            for one in patches(*range(number, number + rounds)):
                load.apply(one, history)
            number += rounds - 1
            there, back = patches(number, number - 1, number)
            for _ in range(rounds // 2):
                load.apply(there, history)
                load.apply(back, history)
            (new,) = patches(number, number + 1)
            with counted(monkeypatch) as found:
                load.apply(new, history)
                assert module.g()() == number + 1
                load.rollback(history)
                load.rollback(history, history.current + 1)
                apply.sites(history)
            looks.append(found)
            number += 1
    assert looks[0]["records"] > 0
    assert looks[0] == looks[1]
    assert max(map(len, history.lingering.values())) < 5


def test_a_rollback_reads_each_record_on_the_way_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        for one in patches(*range(21)):
            load.apply(one, history)
        with history.exclusive(), counted(monkeypatch) as looks:
            apply.rollback(history, 0)
        assert module.g()() == 0
    assert looks["records"] == 20 + 1  # and what it came to


@pytest.mark.timeout(120)
def test_closures_of_any_generation_are_found_in_any_later_one(tmp_path: Path) -> None:
    history = History()
    kept = []
    with worlds.world(TEXT, tmp_path) as module:
        for number, one in enumerate(patches(*range(8), 3, 8), 1):
            if number in (1, 4, 5):
                kept.append(module.g())
            load.apply(one, history)
            wanted = module.g()()
            assert [closure() for closure in kept] == [wanted] * len(kept)
        for number in (2, 0, 7):
            load.rollback(history, number)
            assert [closure() for closure in kept] == [module.g()()] * len(kept) == [number] * len(kept)


def test_what_a_suspended_call_makes_after_many_applies_is_found(tmp_path: Path) -> None:
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        suspended = module.numbers()
        next(suspended)
        for one in patches(*range(5)):
            load.apply(one, history)
        closure = next(suspended)
        assert closure() == 0
        load.apply(patches(4, 5)[0], history)
        assert closure() == 5


def test_what_an_older_generation_makes_is_found(tmp_path: Path) -> None:
    """A maker that nobody could call any more is handed out again."""
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        for one in patches(*range(5)):
            load.apply(one, history)
        closure = apply.at(history, 1, module.g)()
        assert closure() == 1
        load.apply(patches(4, 5)[0], history)
        assert closure() == 5


# --- memory -----------------------------------------------------------------------------------

PARTS = '''
def f(a):
    """What does not change, however long it is."""
    try:
        return a, "a text of which the next generation has the same", 70_000, 0
    except TypeError:
        return lambda: "and so has the code within"
'''


def parts(code: CodeType) -> Iterator[object]:
    yield from (code.co_linetable, code.co_exceptiontable)
    for one in code.co_consts:
        yield from parts(one) if isinstance(one, CodeType) else [one]


def test_code_shares_what_did_not_change_with_the_code_that_it_replaces(tmp_path: Path) -> None:
    history = History()
    new = PARTS.replace("70_000", "70_001")
    with worlds.world(PARTS, tmp_path) as module:
        before = {id(one) for one in parts(module.f.__code__)}
        worlds.applied(PARTS, new, history)
        assert [one for one in parts(module.f.__code__) if id(one) not in before] == [70_001]


@pytest.mark.parametrize(
    ("old", "new"), [("True", "1"), ("1", "True"), ("0.0", "-0.0"), ("-0.0", "0.0"), ("'1'", "b'1'")]
)
def test_code_shares_nothing_with_what_is_merely_equal(old: str, new: str, tmp_path: Path) -> None:
    text = f"def f():\n    return {old}\n"
    with worlds.world(text, tmp_path) as module:
        worlds.applied(text, text.replace(old, new), History())
        assert repr(module.f()) == new


RECORDS = tuple(str(one.__file__) for one in (records, ledger, packing, swap))
CODE = (str(fingerprint.__file__), __file__)
"""Where code objects are made, and where they are asked for their bytecode, of which CPython keeps a copy with them."""


def allocated(where: Sequence[str] = ("*",), but: Sequence[str] = (tracemalloc.__file__,)) -> int:
    """Bytes that the code of some files has allocated and that are still held, but for what CPython caches.

    The cache of attributes holds up to 4096 names that C code made for a single look-up ("search", at each
    `finditer`): which ones hangs on their addresses.
    """
    _clear_caches()
    gc.collect()
    rules = [tracemalloc.Filter(True, one) for one in where] + [tracemalloc.Filter(False, one) for one in but]
    return sum(one.size for one in tracemalloc.take_snapshot().filter_traces(rules).traces)


_clear_caches = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


def alone(call: Callable[..., T], *arguments: object) -> T:
    """What a call comes to in a new process.

    In that of a test anything may grow meanwhile: what other tests left, or what pytest-xdist is told.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


@pytest.mark.timeout(300)
def test_edits_back_and_forth_keep_next_to_nothing(tmp_path: Path) -> None:
    assert alone(_kept_by_edits_back_and_forth, tmp_path) < 12


def _kept_by_edits_back_and_forth(folder: Path) -> float:
    history = History()
    with worlds.world(TEXT, folder):
        edits = patches(0, 1, 0, 2, 0)
        for one in edits * 10:
            load.apply(one, history)
        objects = len(history.records.objects)
        tracemalloc.start()
        for one in edits * 16:
            load.apply(one, history)
        before = allocated(RECORDS)
        for one in edits * 16:  # as often as numbers are compressed once
            load.apply(one, history)
        kept = allocated(RECORDS) - before
    assert len(history.records.objects) == objects
    assert len(history.records) == 1 + 42 * len(edits)
    return kept / (16 * len(edits))


@pytest.mark.timeout(300)
def test_edits_to_something_new_keep_little_beside_their_code(tmp_path: Path) -> None:
    """Code that is compiled and kept is the floor, though some of it is shared."""
    code, beside = alone(_kept_by_new_edits, tmp_path)
    assert code + beside < alone(_taken_by_compiled_code)
    assert beside < 280


def _kept_by_new_edits(folder: Path) -> tuple[float, float]:
    """Bytes of code and of all else that an edit leaves behind, from one moment to another that is like it.

    The records are compressed from time to time: it is those moments that are alike.
    """
    texts = _new_texts()
    edits = enumerate([worlds.patch(worlds.module_patch(old, new, imports=())) for old, new in pairwise(texts)], 1)
    history = History()

    def compressions(module: ModuleType, number: int) -> tuple[int, int, int]:
        """Apply edits until the records were compressed as often as this; how many, and the bytes held then."""
        while number:
            compressed = history.records._pieces
            done, edit = next(edits)
            (folder / "world.py").write_text(texts[done])
            _asked(module.f.__code__)
            load.apply(edit, history)
            number -= history.records._pieces is not compressed
        every = allocated()
        beside = allocated(but=(*CODE, tracemalloc.__file__))
        return done, every - beside, beside

    with worlds.world(texts[0], folder) as module:
        tracemalloc.start()
        compressions(module, 1)  # what the look itself leaves behind
        first, *before = compressions(module, 1)
        last, *after = compressions(module, 2)
    code, beside = ((later - sooner) / (last - first) for sooner, later in zip(before, after, strict=True))
    return code, beside


def _taken_by_compiled_code() -> float:
    tracemalloc.start()
    functions = [compile(text, "parts.py", "exec", dont_inherit=True).co_consts[0] for text in _new_texts()]
    for one in functions:
        _asked(one)
    return allocated() / len(functions)


def _asked(code: CodeType) -> bytes:
    """The bytecode of all that a code object has, as an edit asks for it."""
    return b"".join([code.co_code, *(_asked(one) for one in code.co_consts if isinstance(one, CodeType))])


def _new_texts() -> list[str]:
    return [PARTS.replace("70_000", str(number)) for number in range(10_000, 10_161)]


def test_generations_that_did_the_same_tell_their_own_times(tmp_path: Path) -> None:
    history = History()
    with worlds.world(TEXT, tmp_path):
        there, back = patches(0, 1, 0)
        done = [load.apply(one, history) for one in (there, back, there, back)]
        assert history.generations[1:] == tuple(done)
        assert [one.parent for one in history.generations] == [0, 0, 1, 2, 3]
        assert [one.patch for one in done[:2]] == [one.patch for one in done[2:]]
        records = [record.changes for record in history.records]
        assert [(one.slot, one.old, one.new) for one in records[1]] == [
            (one.slot, one.old, one.new) for one in records[3]
        ]


def test_a_record_holds_names_that_are_no_texts(tmp_path: Path) -> None:
    """A file may have any bytes as its name."""
    history = History()
    name = os.fsdecode(b"/nowhere/\xff.py")
    with worlds.world(TEXT, tmp_path) as module:
        module.f.__code__ = module.f.__code__.replace(co_filename=name)
        load.apply(patches(0, 1)[0], history)
        assert name in history.records[1].steps
        note = finding("BCP612", f"in {name}")
        history.records.note((msgspec.structs.replace(note, severity=Severity.NOTE),))
        assert history.generations[1].notes[0].message == r"in /nowhere/\udcff.py"
        load.rollback(history, 0)
        assert (module.f.__code__.co_filename, module.f(1)) == (name, (2, 0))
