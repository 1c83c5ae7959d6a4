"""File events become batches: what is whole, what is waited for, what is nobody's business."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch import watch
from bcpatch.watch import DOUBT, LOCKED, QUIET, QUIET_TOGETHER, WRITING, Saved, Settling, Stage

INSTANT = 1e-6


def settled(*saved: Saved, locked=lambda: False) -> Settling:
    settling = Settling(locked)
    for one in saved:
        settling.note(one)
    return settling


def test_nothing_saved_is_nothing_to_wait_for():
    assert Settling().wait(5.0) is None


def test_a_file_that_its_writer_has_closed_is_not_waited_for():
    settling = settled(Saved("a.py", 10.0, Stage.WHOLE))
    assert settling.wait(10.0) == 0
    assert settling.take() == (frozenset({"a.py"}), 10.0, False)
    assert settling.wait(11.0) is None


def test_a_file_that_may_be_touched_again_is_whole_after_a_short_silence():
    settling = settled(Saved("a.py", 10.0, Stage.UNSURE))
    assert settling.wait(10.0) == pytest.approx(QUIET)
    assert settling.wait(10.0 + QUIET + INSTANT) == 0
    assert settling.take() == (frozenset({"a.py"}), 10.0, False)


def test_several_files_are_one_batch():
    settling = settled(Saved("a.py", 10.0, Stage.UNSURE), Saved("b.py", 10.001, Stage.UNSURE))
    assert settling.wait(10.001 + QUIET + INSTANT) > 0
    assert settling.wait(10.001 + QUIET_TOGETHER + INSTANT) == 0
    assert settling.take().paths == {"a.py", "b.py"}


def test_what_is_put_back_goes_with_what_was_saved_since():
    settling = settled(Saved("a.py", 10.0, Stage.WHOLE))
    batch = settling.take()
    settling.note(Saved("b.py", 10.1, Stage.WHOLE))
    settling.put_back(batch)
    assert settling.wait(10.1) == 0
    assert settling.take() == (frozenset({"a.py", "b.py"}), 10.0, False)


def test_a_file_that_is_being_written_is_waited_for():
    settling = settled(Saved("a.py", 10.0, Stage.OPEN))
    assert settling.wait(10.0 + WRITING - INSTANT) > 0
    settling.note(Saved("a.py", 10.5, Stage.WHOLE))
    assert settling.wait(10.5) == 0
    assert settling.take().since == 10.0


def test_a_writer_that_never_closes_is_not_waited_for_for_ever():
    settling = settled(Saved("a.py", 10.0, Stage.OPEN))
    assert settling.wait(10.0 + WRITING + INSTANT) == 0


def test_a_checkout_is_waited_for_and_a_stale_lock_is_not():
    locks = [True]
    settling = settled(Saved("a.py", 10.0, Stage.WHOLE), locked=lambda: bool(locks))
    assert settling.wait(10.0 + QUIET + INSTANT) > 0
    assert settling.wait(10.0 + LOCKED + INSTANT) == 0
    locks.clear()
    assert settling.wait(10.0 + QUIET + INSTANT) == 0


def test_a_doubtful_batch_is_looked_at_again_once_and_keeps_its_time():
    settling = settled(Saved("a.py", 10.0, Stage.WHOLE))
    settling.put_off(settling.take(), 10.2)
    assert settling.wait(10.2 + DOUBT - INSTANT) > 0
    assert settling.wait(10.2 + DOUBT + INSTANT) == 0
    assert settling.take() == (frozenset({"a.py"}), 10.0, True)


def test_a_save_ends_the_doubt():
    settling = settled(Saved("a.py", 10.0, Stage.WHOLE))
    settling.put_off(settling.take(), 10.2)
    settling.note(Saved("a.py", 10.3, Stage.WHOLE))
    assert settling.wait(10.3) == 0
    assert not settling.take().again


@given(
    st.lists(
        st.tuples(st.sampled_from(["a.py", "b.py", "c.py"]), st.floats(0, 5), st.sampled_from(Stage)),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_happens_every_file_comes_out_once_and_in_time(events):
    settling = Settling()
    now = 0.0
    noted = set()
    for path, pause, stage in events:
        now += pause
        settling.note(Saved(path, now, stage))
        noted.add(path)
    wait = settling.wait(now)
    assert wait is not None
    assert wait <= max(WRITING, QUIET_TOGETHER) + INSTANT
    assert settling.wait(now + wait + INSTANT) == 0
    assert settling.take().paths == noted
    assert settling.wait(now) is None


# --- which files ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.py", True), (".#a.py", False), ("a.py~", False), (".a.py.swp", False), ("4913", False), ("a.pyc", False)],
)
def test_sources_are_python_files_that_no_editor_hides(name, expected):
    assert watch.is_source(os.path.join("shop", name)) is expected


def test_foreign_folders_are_left_out(tmp_path):
    for name in ("own", ".venv", "venv", "node_modules", "__pycache__"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "b.py").touch()
    found = [os.path.relpath(path, tmp_path) for path in watch.sources(str(tmp_path))]
    assert found == ["b.py", os.path.join("own", "a.py")]


def test_a_folder_of_everything_is_not_watched(tmp_path, monkeypatch):
    for name in ("a.py", "b.py"):
        (tmp_path / name).touch()
    monkeypatch.setattr(watch, "LIMIT", 2)
    assert len(watch.snapshot([str(tmp_path), str(tmp_path)])) == 2
    monkeypatch.setattr(watch, "LIMIT", 1)
    with pytest.raises(watch.TooMany, match="--watch"):
        watch.snapshot([str(tmp_path)])


def test_the_lock_of_a_repository_and_of_a_linked_working_tree(tmp_path):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(tmp_path / "main")]
    (tmp_path / "main" / "shop").mkdir(parents=True)
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    subprocess.run([*git, "worktree", "add", "-q", str(tmp_path / "linked")], check=True)
    assert watch.git_locks([str(tmp_path / "main" / "shop")]) == (str(tmp_path / "main" / ".git" / "index.lock"),)
    assert watch.git_locks([str(tmp_path / "linked")]) == (
        str(tmp_path / "main" / ".git" / "worktrees" / "linked" / "index.lock"),
    )


@pytest.mark.parametrize(
    ("age", "expected"), [(0, True), (QUIET_TOGETHER / 2, True), (QUIET_TOGETHER * 2, False), (-60, False)]
)
def test_git_is_at_work_a_moment_longer_than_it_holds_its_lock(tmp_path, monkeypatch, age, expected):
    lock, index = tmp_path / "index.lock", tmp_path / "index"
    assert not watch.is_git_at_work([str(lock)])
    lock.touch()
    assert watch.is_git_at_work([str(lock)])
    lock.rename(index)
    os.utime(index, (1000.0, 1000.0))
    monkeypatch.setattr(watch.time, "time", lambda: 1000.0 + age)
    assert watch.is_git_at_work([str(lock)]) is expected


# --- real saves ----------------------------------------------------------------------


class Watched:
    """A folder that is watched, and what came out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: queue.SimpleQueue[Saved] = queue.SimpleQueue()
        self.observer = watch.watch([str(folder)], self.events.put, time.monotonic)

    def batches(self, *names: str) -> list[set[str]]:
        """The batches until each of these files has come."""
        settling = Settling()
        missing = {str(self.folder / name) for name in names}
        found = []
        while missing:
            wait = settling.wait(time.monotonic())
            if wait == 0:
                paths = settling.take().paths
                found.append({os.path.relpath(path, self.folder) for path in paths})
                missing -= paths
                continue
            try:
                settling.note(self.events.get(timeout=30 if wait is None else wait))
            except queue.Empty:
                assert wait is not None, f"nothing came of {missing}"
        return found


@pytest.fixture
def watched(tmp_path):
    folder = Path(os.path.realpath(tmp_path))
    (folder / "a.py").write_text("old = 1\n")
    watched = Watched(folder)
    yield watched
    watched.observer.stop()
    watched.observer.join()


@pytest.mark.timeout(60)
class TestRealSaves:
    def test_in_place(self, watched):
        (watched.folder / "a.py").write_text("new = 1\n")
        assert watched.batches("a.py") == [{"a.py"}]

    def test_half_of_it_first(self, watched):
        with open(watched.folder / "a.py", "w") as file:
            file.write("def f(")
            file.flush()
            saved = watched.events.get(timeout=30)
            while saved.stage is not Stage.OPEN:
                saved = watched.events.get(timeout=30)
            file.write("): pass\n")
        assert watched.batches("a.py") == [{"a.py"}]

    def test_written_beside_and_renamed_over(self, watched):
        draft = watched.folder / ".a.py.tmp"
        draft.write_text("new = 1\n")
        draft.replace(watched.folder / "a.py")
        assert watched.batches("a.py") == [{"a.py"}]

    def test_renamed_in_from_outside(self, watched, tmp_path_factory):
        outside = tmp_path_factory.mktemp("outside") / "a.py"
        outside.write_text("new = 1\n")
        outside.replace(watched.folder / "a.py")
        assert watched.batches("a.py") == [{"a.py"}]

    @pytest.mark.skipif(not watch.TELLS_CLOSED, reason="the system does not tell")
    def test_what_is_renamed_into_place_is_whole_and_what_is_made_there_is_not(self, watched, tmp_path_factory):
        outside = tmp_path_factory.mktemp("outside") / "b.py"
        outside.write_text("new = 1\n")
        outside.replace(watched.folder / "b.py")
        assert watched.events.get(timeout=30).stage is Stage.WHOLE
        with open(watched.folder / "c.py", "w"):
            assert watched.events.get(timeout=30).stage is Stage.UNSURE
        (watched.folder / "c.py").replace(outside)
        while (saved := watched.events.get(timeout=30)).stage is Stage.WHOLE:
            assert saved.path.endswith("c.py")
        assert saved.stage is Stage.UNSURE

    def test_deleted_and_made_again(self, watched):
        (watched.folder / "a.py").unlink()
        assert watched.batches("a.py") == [{"a.py"}]
        (watched.folder / "a.py").write_text("new = 1\n")
        assert watched.batches("a.py") == [{"a.py"}]

    def test_in_a_folder_made_later(self, watched):
        (watched.folder / "package").mkdir()
        (watched.folder / "package" / "b.py").write_text("new = 1\n")
        assert "package/b.py" in set().union(*watched.batches("package/b.py"))

    def test_beside_a_virtual_environment_in_a_folder_made_later(self, tmp_path):
        folder = Path(os.path.realpath(tmp_path))
        (folder / "venv").mkdir()
        (folder / "venv" / "pyvenv.cfg").touch()
        watched = Watched(folder)
        try:
            (folder / "package").mkdir()
            (folder / "package" / "b.py").write_text("new = 1\n")
            assert "package/b.py" in set().union(*watched.batches("package/b.py"))
        finally:
            watched.observer.stop()
            watched.observer.join()

    @pytest.mark.skipif(shutil.which("vim") is None, reason="vim is not installed")
    @pytest.mark.parametrize("settings", ["set backupcopy=no", "set backupcopy=yes", "set nowritebackup"])
    def test_vim(self, watched, settings):
        command = ["vim", "-es", "-u", "NONE", "-i", "NONE", "-c", settings, "-c", "%s/old/new/", "-c", "wq", "a.py"]
        subprocess.run(command, cwd=watched.folder, check=True, stdin=subprocess.DEVNULL, timeout=30)
        batches = watched.batches("a.py")
        assert "new" in (watched.folder / "a.py").read_text()
        assert batches == [{"a.py"}]

    def test_a_program_that_reads_is_no_save(self, watched):
        subprocess.run([sys.executable, "-c", "open('a.py').read()"], cwd=watched.folder, check=True)
        (watched.folder / "b.py").write_text("new = 1\n")
        assert watched.batches("b.py") == [{"b.py"}]


@pytest.mark.skipif(not watch.TELLS_CLOSED, reason="only inotify tells who reads")
def test_reading_a_file_wakes_nobody(watched, monkeypatch):
    """Each event wakes three threads, beside the one that compares what was saved and has just read it."""
    kinds = []
    told = watch._saved

    def listening(event, now):
        kinds.append(event.event_type)
        return told(event, now)

    monkeypatch.setattr(watch, "_saved", listening)
    (watched.folder / "a.py").read_bytes()
    (watched.folder / "b.py").write_text("b = 1\n")
    watched.batches("b.py")
    assert set(kinds) == {"created", "modified", "closed"}
