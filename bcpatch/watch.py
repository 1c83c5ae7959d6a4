"""Which sources were saved, told once they are whole.

Editors write in place, write twice, rename over or move away and create; checkouts write
many files. Here their file events become batches of paths to look at. Knows file systems
and editors; nothing of what is in the files.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from bcpatch.diagnostics import Diagnostic, Error, relative
from bcpatch.files import is_foreign

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

SUFFIX: Final = ".py"

#: Seconds without an event after which one file that may be touched again, or several of them, are whole.
QUIET: Final = 0.01
QUIET_TOGETHER: Final = 0.05

#: Seconds without an event after which files that looked half-written are believed.
DOUBT: Final = 0.5

#: Seconds from a save on in which it goes with those that come while it is looked at.
PATIENCE: Final = 0.25

#: Seconds to wait for a writer to close the file that it has begun to write.
WRITING: Final = 1.0

#: Seconds to wait for git to finish a checkout; its lock may be one that a dead git left.
LOCKED: Final = 10.0

#: Sources that are watched at most.
LIMIT: Final = 20_000

#: Files in a batch from which on the system may have lost events, so that everything is looked at.
MANY: Final = 500

#: Whether the system tells when a writer closes a file (inotify does; FSEvents and kqueue don't).
TELLS_CLOSED: Final = sys.platform.startswith("linux")

#: Kinds of events after which there may be a new folder.
_MAKES: Final = frozenset({"created", "moved"})


class TooMany(Error):
    """Folders that hold more than any one program: a home folder, or a whole disk."""


class Stage(Enum):
    """How far a save has come: a writer has the file open; it may be touched again at once; it is whole."""

    OPEN = "open"
    UNSURE = "unsure"
    WHOLE = "whole"


#: How far a save has come by events that leave no doubt.
_STAGES: Final = {"modified": Stage.OPEN, "closed": Stage.WHOLE}


class Saved(msgspec.Struct, frozen=True):
    """A file event that matters."""

    path: str
    time: float
    stage: Stage


class Batch(NamedTuple):
    """Paths whose files are whole, and when the first of them was touched.

    ``again`` is True where they were put off once, and nothing was saved since.
    """

    paths: frozenset[str]
    since: float
    again: bool = False


class Fate(Enum):
    """What became of a batch: it is done with, looks half-written, or goes with what was saved meanwhile."""

    DONE = "done"
    DOUBTFUL = "doubtful"
    MORE = "more"


class Voice(msgspec.Struct, frozen=True):
    """How those who watch speak to those who edit: ``say`` a line, ``tell`` findings."""

    say: Callable[[str], None]
    tell: Callable[[Sequence[Diagnostic]], None]


class Settling:
    """Collects file events until the files are whole. Times are those of one monotonic clock, in seconds.

    ``locked`` tells whether something is at work that will save more files. A file that its
    writer has closed or renamed into its place is waited for no longer.
    """

    def __init__(self, locked: Callable[[], bool] = lambda: False) -> None:
        self._locked = locked
        self._pending: dict[str, float] = {}
        self._writing: dict[str, float] = {}
        self._unsure: dict[str, float] = {}
        self._last = 0.0
        self._put_off = False

    def note(self, saved: Saved) -> None:
        self._pending.setdefault(saved.path, saved.time)
        self._last = max(self._last, saved.time)
        self._put_off = False
        self._writing.pop(saved.path, None)
        self._unsure.pop(saved.path, None)
        if saved.stage is Stage.OPEN:
            self._writing[saved.path] = saved.time
        elif saved.stage is Stage.UNSURE:
            self._unsure[saved.path] = saved.time

    def wait(self, now: float) -> float | None:
        """Seconds until it is worth asking again; 0 when there is a batch to take, None when nothing is pending."""
        if not self._pending:
            return None
        due = now
        if self._put_off:
            due = max(due, self._last + DOUBT)
        if self._unsure:
            due = max(due, self._last + (QUIET if len(self._pending) == 1 else QUIET_TOGETHER))
        if self._writing:
            due = max(due, max(self._writing.values()) + WRITING)
        if due > now:
            return due - now
        if now < self._last + LOCKED and self._locked():
            return QUIET_TOGETHER
        return 0.0

    def take(self) -> Batch:
        """All that is pending, which is pending no more."""
        batch = Batch(frozenset(self._pending), min(self._pending.values()), self._put_off)
        self._pending.clear()
        self._writing.clear()
        self._unsure.clear()
        self._put_off = False
        return batch

    def put_off(self, batch: Batch, now: float) -> None:
        """Look at a batch again when nothing was saved for a while: its files are not whole after all."""
        self.put_back(batch)
        self._last = max(self._last, now)
        self._put_off = True

    def put_back(self, batch: Batch) -> None:
        """Look at a batch again together with what was saved since."""
        for path in batch.paths:
            self._pending[path] = min(batch.since, self._pending.get(path, batch.since))
        self._put_off = batch.again


# --- sources and folders -------------------------------------------------------------


def is_source(path: str) -> bool:
    """Whether a path names a Python source; editors' hidden locks and backups are none."""
    name = os.path.basename(path)
    return name.endswith(SUFFIX) and not name.startswith(".")


def sources(folder: str) -> Iterator[str]:
    """The Python sources below a folder, in a steady order, foreign folders left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_foreign(os.path.join(parent, name)))
        yield from (os.path.join(parent, name) for name in sorted(files) if is_source(name))


def snapshot(folders: Iterable[str]) -> dict[str, bytes]:
    """The content of every source below some folders that can be read, by path; raises TooMany."""
    paths: set[str] = set()
    for folder in folders:
        for path in sources(folder):
            paths.add(path)
            if len(paths) > LIMIT:
                raise TooMany(f"more than {LIMIT} sources below {relative(folder)}: choose folders with --watch")
    found = {}
    for path in sorted(paths):
        with contextlib.suppress(OSError):  # gone again, or not ours to read: so it is none that the application runs
            found[path] = Path(path).read_bytes()
    return found


def git_locks(folders: Iterable[str]) -> tuple[str, ...]:
    """The files that exist while git changes the working trees that folders belong to."""
    return tuple({lock for folder in folders if (lock := _git_lock(folder)) is not None})


def is_git_at_work(locks: Iterable[str]) -> bool:
    """Whether git is changing a working tree, or has just done so: then events of it may be on their way still."""
    return any(os.path.exists(lock) or _is_fresh(lock.removesuffix(".lock")) for lock in locks)


def _is_fresh(index: str) -> bool:
    try:
        return 0 <= time.time() - os.stat(index).st_mtime < QUIET_TOGETHER
    except OSError:  # nothing was ever added
        return False


def _git_lock(folder: str) -> str | None:
    while True:
        git = os.path.join(folder, ".git")
        if os.path.isdir(git):
            return os.path.join(git, "index.lock")
        if os.path.isfile(git):  # a linked working tree or a submodule: "gitdir: PATH" (gitrepository-layout(5))
            with open(git, encoding="utf-8", errors="surrogateescape") as file:
                place = file.read().removeprefix("gitdir:").strip()
            return os.path.join(folder, place, "index.lock")
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


# --- events ----------------------------------------------------------------------------


class Watching(Protocol):
    """An observer at work."""

    def stop(self) -> None: ...
    def join(self) -> None: ...


def watch(folders: Iterable[str], tell: Callable[[Saved], None], clock: Callable[[], float]) -> Watching:
    """Call ``tell``, from another thread, with every event on a source below ``folders`` (absolute paths).

    Raises OSError where the system can't watch a folder, or that many.
    """
    from watchdog.events import FileSystemEventHandler

    kinds = _kinds()
    shallow: set[str] = set()

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            now = clock()
            for saved in _saved(event, now):
                tell(saved)
            made = os.fsdecode(event.dest_path or event.src_path)
            new = event.is_directory and event.event_type in _MAKES and os.path.dirname(made) in shallow
            if new and not is_foreign(made):
                with contextlib.suppress(OSError):  # it is gone again
                    observer.schedule(handler, made, recursive=True, event_filter=kinds)
                for path in sources(made):
                    tell(Saved(path, now, Stage.UNSURE))

    handler = Handler()
    observer = _observer()

    for folder in folders:
        for part, recursive in _parts(folder):
            observer.schedule(handler, part, recursive=recursive, event_filter=kinds)
            if not recursive:
                shallow.add(part)
    observer.start()
    return observer


def _kinds() -> list[type[FileSystemEvent]]:
    """The kinds of events that matter: that somebody reads a file, as we do after each save, is none of them."""
    from watchdog import events

    return [
        events.FileCreatedEvent,
        events.FileModifiedEvent,
        events.FileClosedEvent,
        events.FileMovedEvent,
        events.FileDeletedEvent,
        events.DirCreatedEvent,
        events.DirMovedEvent,
        events.DirDeletedEvent,
    ]


def _observer() -> BaseObserver:
    """The system's observer; it tells a file that was renamed into a folder from one that is being made there."""
    if TELLS_CLOSED:
        from watchdog.observers.inotify import InotifyObserver

        return InotifyObserver(generate_full_events=True)
    from watchdog.observers import Observer

    return Observer()


def _parts(folder: str) -> list[tuple[str, bool]]:
    """What to watch so that the foreign folders directly below one cost nothing: path and whether recursively."""
    inner = [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    own = [path for path in inner if not is_foreign(path)]
    if len(own) == len(inner):
        return [(folder, True)]
    return [(folder, False), *((path, True) for path in own)]


def _saved(event: FileSystemEvent, now: float) -> Iterator[Saved]:
    kind = event.event_type
    if kind not in {"created", "modified", "closed", "moved", "deleted"}:
        return
    if event.is_directory and kind not in {"moved", "deleted"}:
        return
    stages = (_STAGES.get(kind, Stage.UNSURE) if TELLS_CLOSED else Stage.UNSURE, Stage.WHOLE)
    for path, stage in zip(map(os.fsdecode, (event.src_path or "", event.dest_path or "")), stages, strict=True):
        if path and (event.is_directory or is_source(path)):
            yield Saved(path, now, Stage.UNSURE if event.is_directory else stage)
