"""Whatever the disk has, every generation shows the lines that ran: to all that ask ``linecache``."""

from __future__ import annotations

import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from late import NEW_A, A, World, world
from samples import source
from test_state_machine import Fault, failing_at_store

from bcpatch import builder, load, splices
from bcpatch.model import Module, Patch
from bcpatch.process.history import History

__all__ = ["world"]

WORLD = Module("world", "world.py")

BASE = """\
import json

def changed():
    return 1 // int("0")  # in 0: ä

class Thing:
    def stays(self):
        return 2 // int("0")  # stays

def moves():
    return 3 // int("0")  # moves
"""
FIRST = (
    BASE.replace("import json\n", "import json\n# one more line\n").replace("# in 0", "# in 1").replace("1 //", "11 //")
)
SECOND = FIRST.replace("# one", "# one\n# and one").replace("# in 1", "# in 2").replace("11 //", "12 //")
TEXTS = (BASE, FIRST, SECOND)
THIRD = '"""Nobody runs this."""\n' * 20

FORMS: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda text: text.encode(),
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "latin-1": lambda text: b"# coding: latin-1\n" + text.encode("latin-1"),
    "carriage returns": lambda text: text.replace("\n", "\r\n").encode(),
    "carriage returns alone": lambda text: text.replace("\n", "\r").encode(),
    "no end of the last line": lambda text: text.rstrip("\n").encode(),
    "form feeds": lambda text: text.replace("\n\n", "\n\x0c\n").replace("ä", "\x0b\u2028").encode(),
}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    kept = dict(linecache.cache)
    yield
    linecache.cache.clear()
    linecache.cache.update(kept)


class Process:
    """A process that runs a module; ``form`` makes the bytes of its file."""

    def __init__(self, folder: Path, form: Callable[[str], bytes] = FORMS["utf-8"]) -> None:
        self.form = form
        self.file = folder / "world.py"
        self.file.write_bytes(form(BASE))
        self.history = History()
        spec = spec_from_file_location("world", self.file)
        assert spec is not None
        self.module: Any = module_from_spec(spec)
        linecache.checkcache(str(self.file))
        exec(compile(form(BASE), str(self.file), "exec", dont_inherit=True), vars(self.module))

    def patch(self, old: str | None, new: str) -> Patch:
        before = [] if old is None else [source(self.form(old), WORLD)]
        found = builder.compare(before, [source(self.form(new), WORLD)])
        assert found.patch is not None, found.diagnostics
        return found.patch

    def apply(self, old: str | None, new: str, disk: str) -> None:
        self.file.write_bytes(self.form(disk))
        load.apply(self.patch(old, new), self.history)

    def text(self, text: str) -> str:
        """What Python reads of a file with this text."""
        read = self.form(text).decode("latin-1" if self.form(text).startswith(b"# coding") else "utf-8-sig")
        return "\n".join(read.replace("\r\n", "\n").replace("\r", "\n").split("\n"))

    def failure(self, function: Callable[..., object]) -> traceback.TracebackException:
        """What a function raises, told without holding its frame: that would be a call under way."""
        try:
            function(*[None] * len(inspect.signature(function).parameters))
        except ZeroDivisionError as error:
            return traceback.TracebackException.from_exception(error)
        raise AssertionError("it raises")

    def shows(self, text: str, *functions: FunctionType) -> None:
        """The functions of the module show their lines in a text."""
        lines = [line + "\n" for line in self.text(text).split("\n")]
        for function in functions or (self.module.changed, self.module.Thing.stays, self.module.moves):
            (number,) = (n for n, line in enumerate(lines, 1) if f"def {function.__name__}" in line)
            found = self.failure(function)
            assert found.stack[-1].line == lines[number].strip()
            assert f"    {lines[number].strip()}\n" in "".join(found.format())
            name = function.__code__.co_filename
            assert linecache.getline(name, function.__code__.co_firstlineno) == lines[number - 1]
            assert inspect.getsource(function).rstrip("\n") == "".join(lines[number - 1 : number + 1]).rstrip("\n")


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    made = Process(tmp_path)
    monkeypatch.setitem(sys.modules, "world", made.module)
    return made


DISKS = {
    "the new text": lambda number: TEXTS[number],
    "the old text": lambda number: TEXTS[number - 1],
    "the text at the start": lambda _: BASE,
    "a third text": lambda _: THIRD,
    "first the old, then the new": lambda number: TEXTS[0] if number == 1 else TEXTS[number],
    "first the new, then the old": lambda number: TEXTS[number] if number == 1 else TEXTS[0],
    "first a third, then the new": lambda number: THIRD if number == 1 else TEXTS[number],
}


@pytest.mark.parametrize("printed", [False, True], ids=["not printed before", "printed before"])
@pytest.mark.parametrize("disk", DISKS)
def test_every_generation_shows_its_lines(process: Process, disk: str, printed: bool) -> None:
    ran = {id(code): TEXTS[0] for code in codes(process)}
    if printed:
        process.shows(BASE)
    for number in (1, 2):
        process.apply(TEXTS[number - 1], TEXTS[number], DISKS[disk](number))
        ran.update({id(code): TEXTS[number] for code in codes(process) if id(code) not in ran})
        shows_what_ran(process, ran)
    for number in (1, 0, 2, 0, 1, 2):
        load.rollback(process.history, number)
        shows_what_ran(process, ran)
        process.file.write_bytes(b"# and the disk has something else again\n")
        shows_what_ran(process, ran)


def codes(process: Process) -> list[Any]:
    return [one.__code__ for one in (process.module.changed, process.module.Thing.stays, process.module.moves)]


def shows_what_ran(process: Process, ran: dict[int, str]) -> None:
    for function in (process.module.changed, process.module.Thing.stays, process.module.moves):
        process.shows(ran[id(function.__code__)], function)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("disk", ["the new text", "the old text", "a third text"])
def test_every_form_of_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, disk: str) -> None:
    process = Process(tmp_path, FORMS[form])
    monkeypatch.setitem(sys.modules, "world", process.module)
    test_every_generation_shows_its_lines(process, disk, printed=False)


def test_a_text_may_come_without_its_base(process: Process) -> None:
    process.apply(None, FIRST, FIRST)
    process.shows(FIRST)
    process.file.write_text(THIRD)
    process.shows(FIRST)
    load.rollback(process.history, 0)
    process.file.write_text(BASE)
    process.shows(BASE)
    load.rollback(process.history, 1)
    process.shows(FIRST)


def test_an_edit_that_is_refused_changes_no_lines(process: Process) -> None:
    process.apply(BASE, FIRST, FIRST)
    process.file.write_text(THIRD)
    process.shows(FIRST)


def test_a_module_imported_after_the_edit_keeps_showing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, lambda text: FORMS["utf-8"](FIRST if text is BASE else text))
    monkeypatch.setitem(sys.modules, "world", process.module)
    process.form = FORMS["utf-8"]
    process.apply(BASE, FIRST, FIRST)
    process.shows(FIRST)
    process.file.write_text(THIRD)
    process.shows(FIRST)
    load.rollback(process.history, 0)
    process.shows(FIRST)


def test_code_of_a_text_that_was_left_keeps_its_lines_when_the_disk_catches_up(process: Process) -> None:
    """The second patch moves nothing, but the process never made the moves of the first."""
    again = FIRST.replace("# in 1", "# in 2").replace("11 //", "12 //")
    process.apply(BASE, FIRST, BASE)
    process.apply(FIRST, again, again)
    process.shows(again, process.module.changed)
    process.shows(BASE, process.module.Thing.stays, process.module.moves)
    load.rollback(process.history, 0)
    process.shows(BASE)
    process.apply(BASE, again, again)
    assert process.module.moves.__code__.co_filename == process.module.changed.__code__.co_filename == str(process.file)
    process.shows(again)


def test_a_base_that_is_not_what_runs_is_not_shown(process: Process) -> None:
    """The process was started from a text with other lines, which its disk still has."""
    other = "# only here\n" + BASE
    process.file.write_text(other)
    linecache.checkcache(str(process.file))
    exec(compile(other, str(process.file), "exec", dont_inherit=True), vars(process.module))
    process.apply(BASE, FIRST, other)
    process.shows(FIRST, process.module.changed)
    process.shows(other, process.module.Thing.stays, process.module.moves)
    load.rollback(process.history, 0)
    process.shows(other)


def test_an_apply_that_fails_shows_what_was_shown(process: Process) -> None:
    process.apply(BASE, FIRST, FIRST)
    before = dict(linecache.cache), dict(process.history.shown)
    process.file.write_text(SECOND)
    patch = process.patch(FIRST, SECOND)
    with failing_at_store(100), pytest.raises(Fault):
        load.apply(patch, process.history)
    assert (dict(linecache.cache), dict(process.history.shown)) == before


def test_a_patch_grows_by_the_lines_that_changed() -> None:
    text = BASE + "".join(f"\n# line {number}\n" for number in range(5000))
    for new in (text.replace("# in 0", "# in 1").replace("1 //", "11 //"), "# one\n" + text.replace("1 //", "7 //")):
        (part,) = builder.compare([source(text, WORLD)], [source(new, WORLD)]).patch.modules
        assert splices.applied(part.back, part.source) == text.encode()
        assert sum(len(one.text) for one in part.back) <= len(b'    return 1 // int("0")  # in 0: \xc3\xa4\n')


def test_a_generation_keeps_no_text_of_its_own(process: Process) -> None:
    texts = [BASE, *(BASE.replace("# in 0: ä", f"# in {n}: ä").replace("1 //", f"{n}1 //") for n in range(1, 6))]
    for old, new in pairwise(texts):
        process.apply(old, new, new)
    for record in process.history.records:
        for step in record.steps.values():
            for turn in step:
                assert turn.splices is not None
                assert sum(len(one.text) for one in turn.splices) < 60
    assert len(process.history.shown) == 1


@pytest.mark.parametrize("disk", [BASE, FIRST])
def test_a_module_that_arrives_late_shows_the_text_that_it_came_with(disk: str, world: World) -> None:
    """Its import runs what the first patch brought, whatever its file has; then a second patch, and back."""
    world.write(world=BASE, a=A)
    world.get("a")
    world.apply({"world": BASE, "a": A}, {"world": FIRST, "a": NEW_A})
    world.write(world=disk)
    late = Process.__new__(Process)
    late.form, late.module = FORMS["utf-8"], world.get("world")
    late.shows(FIRST)
    world.apply({"world": FIRST}, {"world": SECOND})
    late.shows(SECOND, late.module.changed)
    late.shows(FIRST, late.module.Thing.stays, late.module.moves)
    world.rollback(1)
    late.shows(FIRST)
