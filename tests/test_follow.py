"""What each process is sent, when processes differ: in what they run, accept, have loaded, and are."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest

from bcpatch import builder, patchfile, verify, watch
from bcpatch.channels.protocol import (
    Applied,
    Apply,
    Failure,
    Hello,
    LoadedModule,
    LoadedReply,
    LoadedRequest,
    Refusal,
    Rehearsed,
    Reply,
    Request,
    identity,
)
from bcpatch.diagnostics import Diagnostic, errors, finding, relative
from bcpatch.fingerprint import blake, this_interpreter
from bcpatch.model import FunctionEdit, Module, Patch, Policy, PositionEdit
from bcpatch.running import follow
from bcpatch.running.follow import LARGE, Follower
from bcpatch.source import facts, takers
from bcpatch.source.outline import Source
from bcpatch.watch import Batch, Fate, Voice


class Process:
    """A process as its peer: it answers with what it was told to answer, and keeps what it was sent."""

    def __init__(self, pid: int, folder: Path, *loaded: str, generation: int = 0, optimization: int = 0) -> None:
        interpreter = msgspec.structs.replace(this_interpreter(), optimization=optimization)
        self.hello = Hello(
            pid=pid, program="", interpreter=interpreter, policy=None, generation=generation, started=0.0
        )
        self.modules = tuple(LoadedModule(name, os.fsencode(folder / f"{name}.py"), "") for name in loaded)
        self.generation = generation
        self.patch: str | None = None
        self.answer: Reply | None = None
        self.sent: list[Patch] = []
        self.asked = self.lean = 0
        self.has_disk = True

    def ask(self, request: Request) -> Future[Reply]:
        future: Future[Reply] = Future()
        future.set_result(self._answer(request))
        return future

    def _answer(self, request: Request) -> Reply:
        loaded = LoadedReply(self.generation, self.patch, self.modules)
        if isinstance(request, LoadedRequest):
            self.asked += 1
            return loaded
        assert isinstance(request, Apply)
        patch = patchfile.decode(request.patch)
        if request.dry_run:
            return Rehearsed((), 1.0)
        if request.basis not in (None, identity(loaded)):
            return loaded
        self.sent.append(patch)
        if request.texts_on_disk:
            self.lean += 1
            if not self.has_disk:
                return loaded
            patch = self.with_texts(patch)
        if self.answer is not None:
            return self.answer
        wrong = errors(verify.verify(patch))
        return Refusal(wrong) if wrong else self.apply(patch)

    def with_texts(self, patch: Patch) -> Patch:
        """The patch with the texts of its modules as they are on the disk."""
        files = {one.name: Path(one.path) for one in self.modules}
        parts = [msgspec.structs.replace(one, source=files[one.module.name].read_bytes()) for one in patch.modules]
        return msgspec.structs.replace(patch, modules=tuple(parts))

    def apply(self, patch: Patch) -> Applied:
        self.generation += 1
        self.patch = patchfile.digest(patch)
        return Applied(self.generation, 1.0)

    @property
    def brought(self) -> list[tuple[str, int | None]]:
        """The modules of the last patch, and the constant that the function of each returns."""
        return [
            (part.module.name, next(one for one in edit.code.constants if isinstance(one, int)))
            for part in self.sent[-1].modules
            for edit in part.edits
            if isinstance(edit, FunctionEdit)
        ]


class World:
    """A folder of modules that each have a function which returns a number, and a follower of it."""

    def __init__(self, folder: Path, *names: str, policy: Policy = Policy.STRICT) -> None:
        self.folder = folder
        for name in names:
            self.write(name, 1000)
        self.lines: list[str] = []
        self.told: list[Diagnostic] = []
        self.follower = Follower(watch.snapshot([str(folder)]), policy, Voice(self.lines.append, self.told.extend))

    @property
    def codes(self) -> list[str]:
        return [one.code for one in self.told]

    def join(self, pid: int, *loaded: str, **facts: int) -> Process:
        process = Process(pid, self.folder, *loaded, **facts)
        self.follower.joined(process)  # type: ignore[arg-type]  # a peer as far as a follower looks
        return process

    def write(self, name: str, number: int, more: str = "") -> None:
        (self.folder / f"{name}.py").write_text(f"def value():\n    return {number}\n{more}")

    def save(self, again: bool = True, **numbers: int) -> bool:
        for name, number in numbers.items():
            self.write(name, number)
        return self.saved(*numbers, again=again)

    def saved(self, *names: str, again: bool = True, more: Callable[[], bool] = lambda: False) -> bool:
        paths = frozenset(str(self.folder / f"{name}.py") for name in names)
        self.lines.clear()
        self.told.clear()
        return self.follower.saved(Batch(paths, 0.0, again), more) is Fate.DONE


def digest(number: int, more: str = "") -> str:
    """The digest of a module's text."""
    return blake(f"def value():\n    return {number}\n{more}".encode())


BUSY = Refusal((finding("BCP606", "another one"),))
DIFFERS = Refusal((finding("BCP504", "it runs something else"),))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, "a", "b", "c")


def test_all_get_one_patch(world):
    first, second = world.join(1, "a", "b"), world.join(2, "a", "b")
    world.save(a=2000, b=3000)
    assert first.brought == second.brought == [("a", 2000), ("b", 3000)]
    assert "live in 2 processes" in world.lines[-1]


def test_the_same_text_again_is_no_save(world):
    process = world.join(1, "a")
    world.save(a=1000)
    assert (process.sent, world.lines) == ([], [])


def test_a_process_is_asked_once_what_it_has_loaded(world):
    process = world.join(1, "a", "b")
    for number in (2000, 3000, 4000):
        world.save(a=number)
        assert process.brought == [("a", number)]
    assert process.asked == 1


def test_what_was_prepared_is_not_read_again_by_the_first_save(world, monkeypatch):
    more = "".join(f"\ndef f{number}():\n    return {number}\n" for number in range(100))
    world.write("a", 1000, more)
    world.write("b", 1000, "import a\n")
    world.follower = Follower(watch.snapshot([str(world.folder)]), Policy.STRICT, world.follower._voice)
    process = world.join(1, "a", "b")
    assert world.follower.prepare()
    assert not world.follower.prepare()
    known = facts.names.cache_info().misses, facts.standings.cache_info().misses
    monkeypatch.setattr(takers, "outline", None)  # what imports call is known
    world.write("a", 2000, "\n\n" + more)
    world.saved("a")
    assert ("a", 2000) in process.brought
    assert sum(isinstance(edit, PositionEdit) for edit in process.sent[-1].modules[0].edits) == 100
    assert facts.names.cache_info().misses - known[0] < 5
    assert facts.standings.cache_info().misses - known[1] < 5


def test_preparing_waits_for_what_is_more_urgent(world):
    world.join(1, "a", "b")
    assert world.follower.prepare(lambda: True)
    assert world.follower.prepare()
    assert not world.follower.prepare()


def test_a_process_that_has_loaded_a_file_under_another_name_meanwhile_gets_both(world):
    process = world.join(1, "a")
    world.save(a=2000)
    process.modules += (LoadedModule("__main__", os.fsencode(world.folder / "a.py"), ""),)
    world.save(a=3000)
    assert sorted(process.brought) == [("__main__", 3000), ("a", 3000)]
    assert len(process.sent) == 2
    assert process.asked == 2


def test_a_process_that_was_rolled_back_meanwhile_is_compared_with_what_it_runs(world):
    process = world.join(1, "a")
    world.save(a=2000)
    process.generation, process.patch = 0, None
    world.save(a=3000)
    assert process.sent[-1].modules[0].replaces == digest(1000)


def test_an_edit_that_comes_to_nothing_is_no_guess(world):
    process = world.join(1, "a")
    world.save(a=2000)
    process.generation, process.patch = 0, None
    world.write("a", 2000, "# a comment\n")
    world.saved("a")
    assert process.brought == [("a", 2000)]
    assert process.sent[-1].modules[0].replaces == digest(1000)


def test_nothing_is_sent_where_more_was_saved_meanwhile(world):
    process = world.join(1, "a", "b")
    world.write("a", 2000)
    assert world.saved("a", more=lambda: True) is False
    assert process.sent == []
    world.write("b", 3000)
    assert world.saved("a", "b") is True
    assert process.brought == [("a", 2000), ("b", 3000)]


def test_who_refused_gets_it_with_the_next_save(world):
    first, second = world.join(1, "a", "b"), world.join(2, "a", "b")
    second.answer = BUSY
    world.save(a=2000)
    assert any("live in 1 process " in line for line in world.lines)
    assert "refused by process 2" in world.lines[-1]
    assert world.codes == ["BCP606"]
    second.answer = None
    world.save(b=3000)
    assert first.brought == [("b", 3000)]
    assert second.brought == [("a", 2000), ("b", 3000)]


LONG = f"# {'long ' * LARGE}\n"


def test_large_texts_are_left_to_the_disk(world):
    process = world.join(1, "a", "b")
    world.write("a", 2000, LONG)
    world.saved("a")
    world.write("a", 3000, LONG)
    world.saved("a")
    assert process.lean == 1
    assert process.sent[-1].modules[0].source == b""
    assert process.brought == [("a", 3000)]
    assert any("live in 1 process " in line for line in world.lines)
    world.save(b=3000)
    assert process.lean == 1
    assert process.sent[-1].modules[0].source


def test_who_has_another_disk_gets_the_texts_and_is_not_asked_again(world):
    process = world.join(1, "a")
    process.has_disk = False
    for number in (2000, 3000, 4000):
        world.write("a", number, LONG)
        world.saved("a")
        assert process.brought == [("a", number)]
        assert process.generation == number // 1000 - 1
    assert process.lean == 1
    assert process.sent[-1].modules[0].source


def test_a_file_that_is_not_loaded_is_no_part_of_a_patch(world):
    first, second = world.join(1, "a"), world.join(2, "a", "b")
    world.save(a=2000, b=3000)
    assert first.brought == [("a", 2000)]
    assert second.brought == [("a", 2000), ("b", 3000)]


def test_a_file_loaded_after_its_edit_is_compared_with_what_was_loaded(world):
    process = world.join(1, "a")
    world.save(b=2000)
    assert "b.py: not imported" in world.lines[-1]
    process.modules += (LoadedModule("b", os.fsencode(world.folder / "b.py"), ""),)
    world.save(b=3000)
    assert process.brought == [("b", 3000)]
    assert process.sent[-1].modules[0].replaces == digest(2000)


def test_a_file_loaded_as_it_was_made_is_compared_with_what_was_loaded(world):
    process = world.join(1, "a", "d")
    world.save(d=1000)
    assert process.sent == []
    world.save(d=2000)
    assert process.sent[-1].modules[0].replaces == digest(1000)


def test_a_file_in_which_no_code_changed_is_the_base_of_the_next_patch(world):
    process = world.join(1, "a")
    world.write("a", 1000, "# a comment\n")
    world.saved("a")
    assert "no code changed" in world.lines[-1]
    world.save(a=2000)
    assert process.sent[-1].modules[0].replaces == digest(1000, "# a comment\n")


def test_a_file_under_two_names_is_patched_under_both(world):
    process = world.join(1, "a")
    process.modules += (LoadedModule("__main__", os.fsencode(world.folder / "a.py"), ""),)
    world.save(a=2000)
    assert sorted(process.brought) == [("__main__", 2000), ("a", 2000)]


def test_the_main_module_of_a_package_is_below_its_import_root(world):
    process = world.join(1)
    process.modules = (LoadedModule("__main__", os.fsencode(world.folder / "a.py"), "shop.tools"),)
    world.save(a=2000)
    assert process.sent[-1].modules[0].module.path == "shop/tools/a.py"


def test_each_gets_code_of_its_optimisation_level(world):
    plain, optimized = world.join(1, "a"), world.join(2, "a", optimization=1)
    world.save(a=2000)
    assert (plain.sent[-1].interpreter.optimization, optimized.sent[-1].interpreter.optimization) == (0, 1)


def test_another_python_is_told_once_and_left_alone(world):
    for pid in (1, 2):
        process = Process(pid, world.folder, "a")
        other = msgspec.structs.replace(this_interpreter(), version="3.10", magic=1)
        process.hello = msgspec.structs.replace(process.hello, interpreter=other)
        world.follower.joined(process)
    assert [line for line in world.lines if "can't patch" in line] == world.lines
    assert len(world.lines) == 1


def test_who_rolled_back_is_brought_from_there(world):
    process = world.join(1, "a", "b")
    world.save(a=2000)
    process.generation, process.patch = 0, None
    world.save(b=3000)
    assert process.brought == [("a", 2000), ("b", 3000)]


def test_what_rolled_back_lacks_is_not_forgotten_by_a_patch_of_another_file(world):
    process = world.join(1, "a", "b")
    world.save(a=2000)
    process.generation, process.patch = 0, None
    world.write("a", 2000, "x = 1\n")
    world.saved("a")
    world.save(b=3000)
    assert process.brought == [("b", 3000)]
    world.save(a=2000)
    assert process.brought == [("a", 2000)]


def test_who_comes_late_is_brought_to_what_is_live(world):
    world.join(1, "a")
    world.save(a=2000)
    late = world.join(2, "a")
    assert late.brought == [("a", 2000)]
    world.save(a=3000)
    assert late.brought == [("a", 3000)]
    assert "live in 2 processes" in world.lines[-1]


def test_who_comes_late_and_has_imported_the_disk_runs_that(world):
    world.join(1, "a")
    world.save(a=2000)
    late = Process(2, world.folder, "a")
    late.answer = DIFFERS
    world.follower.joined(late)
    late.answer = None
    world.save(a=1000)
    assert late.brought == [("a", 1000)]


def test_who_comes_late_and_is_busy_gets_it_with_the_next_save(world):
    world.join(1, "a", "b")
    world.save(a=2000)
    late = Process(2, world.folder, "a", "b")
    late.answer = BUSY
    world.follower.joined(late)
    late.answer = None
    world.save(b=3000)
    assert late.brought == [("a", 2000), ("b", 3000)]


def test_what_is_refused_for_several_processes_is_told_once(world):
    _, second = world.join(1, "a", "b"), world.join(2, "a", "b")
    second.answer = BUSY
    world.save(b=2000)
    world.write("a", 2000, "x = 1\n")
    world.saved("a")
    assert len(world.codes) == 1
    assert len(world.lines) == 1


USES_ITS_OWN = "import json\n\ndef value():\n    return other() + 2000\n\ndef other():\n    return 1\n"
USES_NOTHING = USES_ITS_OWN.replace("other() + ", "")
BEFORE = USES_NOTHING.replace("2000", "1000")


@pytest.fixture
def own(tmp_path):
    """A world in which module ``a`` has a function that a strict patch must not use."""
    (tmp_path / "a.py").write_text(BEFORE)
    return World(tmp_path, "b")


def test_what_processes_find_wrong_with_a_patch_is_told_once_as_building_it_tells(own):
    processes = own.join(1, "a", "b"), own.join(2, "a", "b")
    (own.folder / "a.py").write_text(USES_ITS_OWN)
    own.saved("a")
    path = str(own.folder / "a.py")
    old, new = (Source(Module("a", "a.py"), relative(path), one.encode()) for one in (BEFORE, USES_ITS_OWN))
    expected = builder.compare([old], [new]).diagnostics
    assert [one.code for one in expected] == ["BCP101"]
    assert own.told == list(expected)
    assert own.lines == [f"refused: the application runs on with the code it has ({relative(path)})"]
    assert [process.generation for process in processes] == [0, 0]


def test_what_processes_find_wrong_holds_up_no_other_file(own):
    process = own.join(1, "a", "b")
    (own.folder / "a.py").write_text(USES_ITS_OWN)
    own.saved("a")
    own.save(b=3000)
    assert process.generation == 1
    assert process.brought == [("b", 3000)]
    (own.folder / "a.py").write_text(USES_NOTHING)
    own.saved("a")
    assert process.generation == 2
    assert process.brought == [("a", 2000)]


@pytest.mark.parametrize(("text", "codes"), [(USES_NOTHING, ["BCP215"]), (USES_ITS_OWN, ["BCP215", "BCP101"])])
def test_a_note_is_told_once_whatever_comes_of_the_patch(own, text, codes):
    own.join(1, "a", "b")
    (own.folder / "a.py").write_text(text.replace("import json\n", ""))
    own.saved("a")
    assert own.codes == codes


def test_a_circle_of_imports_among_loaded_modules_is_told_once_it_is_live(world):
    (world.folder / "b.py").write_text("from a import value\n")
    (world.folder / "c.py").write_text("from a import value\n")
    follower = World(world.folder)  # it has read these
    follower.join(1, "a", "b")
    text = (world.folder / "a.py").read_text()
    (follower.folder / "a.py").write_text("import c\n" + text)
    follower.saved("a")
    assert "live in 1 process" in follower.lines[-1]
    assert follower.codes == []  # c is not loaded
    (follower.folder / "a.py").write_text("import b\n" + text)
    follower.saved("a")
    assert "live in 1 process" in follower.lines[-1]
    assert "BCP220" in follower.codes


def test_who_uses_a_name_that_is_gone_is_told_once_it_is_live(world):
    (world.folder / "a.py").write_text("import os\ndef value(): return 1\n")
    (world.folder / "b.py").write_text("import a\ndef other(): return a.os\n")
    follower = World(world.folder)  # it has read these
    follower.join(1, "a", "b")
    (follower.folder / "a.py").write_text("def value(): return 2\n")
    follower.saved("a")
    assert "live in 1 process" in follower.lines[-1]
    assert follower.codes == ["BCP215", "BCP221"]


def test_what_the_import_of_another_loaded_module_ran_is_told_once_it_is_live(world):
    world.write("b", 1000, "import a\nTABLE = a.value()\n")
    world.write("c", 1000, "import a\nTABLE = a.value()\n")
    follower = World(world.folder)  # it has read these
    first = follower.join(1, "a", "b")
    follower.save(a=2000)
    assert "live in 1 process" in follower.lines[-1]
    assert follower.codes == ["BCP211"]
    assert "by the import of `b`" in follower.told[0].message
    assert "more module" not in follower.told[0].message  # c is not loaded
    follower.save(a=3000)
    assert follower.codes == ["BCP211"]
    (world.folder / "b.py").unlink()
    follower.saved("b")
    follower.save(a=4000)  # what the text of b was is not known any more
    assert "live in 1 process" in follower.lines[-1]
    assert follower.codes == []
    first.answer = BUSY
    follower.write("b", 1000, "import a\nTABLE = a.value()\n")
    follower.saved("b")
    follower.save(a=5000)
    assert follower.codes == ["BCP606"]


def test_a_note_is_told_though_nobody_answers(own):
    own.join(1, "a", "b").answer = Failure("no answer in time")
    (own.folder / "a.py").write_text(USES_NOTHING.replace("import json\n", ""))
    own.saved("a")
    assert own.codes == ["BCP215"]


def test_a_file_that_cannot_be_read_is_told_and_nothing_else(world, monkeypatch):
    process = world.join(1, "a")
    world.write("a", 2000)

    def denied(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(follow, "open", denied, raising=False)
    assert world.saved("a") is True
    assert [line.partition(":")[2] for line in world.lines] == [" permission denied"]
    monkeypatch.undo()
    world.saved("a")
    assert process.brought == [("a", 2000)]


def test_a_child_of_a_patched_process_runs_what_its_parent_ran(world):
    parent = world.join(1, "a", "b")
    world.save(a=2000)
    child = world.join(2, "a", "b", generation=1)
    child.patch = parent.patch
    assert child.sent == []
    world.save(b=3000)
    assert child.brought == [("b", 3000)]


def test_a_patch_that_was_applied_after_all_is_recognised(world):
    process = world.join(1, "a", "b")
    process.answer = Failure("no answer in time")
    world.save(a=2000)
    assert world.lines == ["process 1: no answer in time"]
    process.answer = None
    process.apply(process.sent[-1])
    world.save(b=3000)
    assert process.brought == [("b", 3000)]


def test_a_file_that_was_refused_holds_up_no_other_and_is_tried_again_when_saved(world):
    process = world.join(1, "a", "b")
    world.write("a", 2000, "x = 1\n")
    world.saved("a")
    assert "refused" in world.lines[-1]
    assert process.sent == []
    world.save(b=3000)
    assert process.brought == [("b", 3000)]
    world.save(a=2000)
    assert process.brought == [("a", 2000)]


def test_a_file_that_is_refused_again_is_told_again(world):
    world.join(1, "a", "b")
    for text in ("x = 1\n", "x = 2\n"):
        world.write("a", 2000, text)
        world.saved("a")
        assert "refused" in world.lines[-1]
        assert world.codes


def test_files_saved_together_go_live_together_or_not_at_all(world):
    process = world.join(1, "a", "b")
    world.write("a", 2000, "x = 1\n")
    world.write("b", 3000)
    world.saved("a", "b")
    assert process.sent == []
    world.save(a=2000)
    assert process.brought == [("a", 2000), ("b", 3000)]


@pytest.mark.parametrize("text", ["def value(:\n", "", "def other():\n    return 1\n", "# \xff\n"])
def test_what_looks_half_written_is_looked_at_again_before_anything_is_said(world, text):
    process = world.join(1, "a")
    world.lines.clear()
    (world.folder / "a.py").write_bytes(text.encode("latin-1"))
    assert world.saved("a", again=False) is False
    assert (world.lines, world.codes, process.sent) == ([], [], [])
    assert world.saved("a", again=True) is True
    assert world.lines


def test_a_deleted_file_is_looked_at_again_and_then_explained(world):
    world.join(1, "a")
    (world.folder / "a.py").unlink()
    assert world.saved("a", again=False) is False
    assert world.saved("a", again=True) is True
    assert [line.rpartition("/")[2] for line in world.lines] == ["a.py: deleted; what was imported from there runs on"]
    world.save(a=1000)
    assert [line.rpartition("/")[2] for line in world.lines] == ["a.py: back to what runs"]


def test_a_folder_that_was_moved_away_is_all_its_files(tmp_path):
    watched, inner = tmp_path / "watched", tmp_path / "watched" / "p"
    inner.mkdir(parents=True)
    world = World(watched)
    (inner / "a.py").write_text("x = 1\n")
    world.follower.saved(Batch(frozenset({str(inner)}), 0.0, True))
    world.join(1)
    inner.rename(tmp_path / "gone")
    world.lines.clear()
    world.follower.saved(Batch(frozenset({str(inner)}), 0.0, True))
    assert "deleted" in world.lines[0]


def test_a_whole_folder_is_looked_at_where_events_were_lost(world):
    process = world.join(1, "a", "b")
    world.write("a", 2000)
    world.write("b", 3000)
    world.follower.saved(Batch(frozenset({str(world.folder)}), 0.0, True))
    assert process.brought == [("a", 2000), ("b", 3000)]


def test_without_processes_nothing_is_said(world):
    assert world.save(a=2000) is True
    assert world.lines == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "A = 1\nclass B: pass\n", "a:A, a:B"),
        ("A = 1\nclass B:\n  b = 1\n", "A = 2\nclass B:\n  b = 2\n", "a:A, a:B.b"),
        ("class B:\n  b = c = 1\n  def d(self): pass\n", "class B:\n  b = c = 1\n", "a:B.d"),
        ("import os\n", "import os.path as os\n", "a:os"),
        ("def value(): pass\n", "def value(): return 1\n", "a:value"),
        ("'One.'\n", "'Two.'\n", "annotations or documentation of a"),
        ("def f(): pass\n", "\ndef f(): pass\n", "line numbers of a"),
    ],
)
def test_what_went_live_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "a.py").write_text(old)
    world = World(tmp_path, policy=Policy.LINKED)
    world.join(1, "a")
    (tmp_path / "a.py").write_text(new)
    world.saved("a")
    assert world.lines[-1].endswith(f": {said} (generation 1)"), world.lines
