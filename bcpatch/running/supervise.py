"""Runs an application and keeps its code equal to the sources on disk, for as long as it lives.

Two threads: one has the application and the signals, the other everything that takes
time. The application keeps its terminal, its standard streams and its exit status.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from bcpatch import watch
from bcpatch.channels import relay
from bcpatch.channels.base import Channel, ChannelError
from bcpatch.channels.peer import Peer
from bcpatch.channels.protocol import Applied, Reply, Request, Rollback
from bcpatch.channels.supervisor import ENVIRONMENT
from bcpatch.channels.workers import Workers
from bcpatch.diagnostics import Error, relative
from bcpatch.model import Policy
from bcpatch.running import bootstrap
from bcpatch.watch import Batch, Fate, Saved, Settling, Voice

if TYPE_CHECKING:
    from bcpatch.running.follow import Follower

logger = logging.getLogger("bcpatch")

#: Seconds without a single process that takes patches, after which that is said.
ALONE: Final = 5.0

_NOBODY: Final = (
    "no process takes patches yet: call bcpatch.runtime.loop() in the application,"
    " or start it as `bcpatch run FILE.py` or `bcpatch run -m MODULE`"
)

#: Seconds without an event after which sources are read that may be saved later.
IDLE: Final = 0.5

#: A second Ctrl-C within these seconds of another kills the application.
TWICE: Final = 3.0

#: Of a line of a script that says what starts it, in bytes.
_LONGEST: Final = 4096

#: Signals that are passed on to the application ...
_FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

#: ... and those that the terminal has sent to it already, if it was the terminal.
_FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT)


class Program(msgspec.Struct, frozen=True):
    """What to run: the command line, and the folder that its sources are in."""

    command: list[str]
    folder: str


class Processes(msgspec.Struct):
    """The processes that take patches now, and whether there ever was one."""

    pids: set[int] = msgspec.field(default_factory=set)
    met: bool = False


class CannotRun(Error):
    """There is nothing to start, or it can't be started; the message says why."""


class Joined(msgspec.Struct, frozen=True):
    peer: Peer


class Left(msgspec.Struct, frozen=True):
    peer: Peer


class Closed(msgspec.Struct, frozen=True):
    """There will be no more events."""


Disposition: TypeAlias = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
Event: TypeAlias = Saved | Joined | Left | Closed


# --- what to run ---------------------------------------------------------------------


def program(words: Sequence[str], module: str | None = None) -> Program:
    """The program that ``bcpatch run`` was asked for: a module, a Python file, or any command.

    Raises CannotRun where there is none.
    """
    # What multiprocessing does too, so that `python -O -m bcpatch run app.py` runs it optimised.
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    if module is not None:
        return Program(bootstrap.command(words, module, options), os.getcwd())
    if not words:
        raise CannotRun("nothing to run: name a Python file, -m MODULE, or a command after --")
    name = words[0]
    known = shutil.which(name)
    if known is None and (beside := shutil.which(name, path=os.path.dirname(sys.executable))):
        known = name = beside
    if name.endswith((".py", ".pyw")) or (known is None and os.path.isfile(os.path.join(name, "__main__.py"))):
        if not os.path.exists(name):
            raise CannotRun(f"{name}: no such file")
        folder = name if os.path.isdir(name) else os.path.dirname(os.path.realpath(name))
        return Program(bootstrap.command(words, None, options), folder)
    if known is None:
        raise CannotRun(f"{name}: no such program")
    if _interpreter_of(known) == _here(sys.executable):
        return Program(bootstrap.command([known, *words[1:]], None, options), os.getcwd())
    return Program([name, *words[1:]], os.getcwd())


def _interpreter_of(path: str) -> str | None:
    """What the system would start a script by, if that takes no options; None where it is no such script.

    Installers write the interpreter on the first line, or on the second for a shell where it is too long for the
    first (pip's distlib, ``ScriptMaker._build_shebang``).
    """
    try:
        with open(path, "rb") as stream:
            first, second = (os.fsdecode(stream.readline(_LONGEST)).strip() for _ in range(2))
    except OSError:
        return None
    if not first.startswith("#!"):
        return None
    match first[2:].split():
        case ["/bin/sh"] if second.startswith("'''exec' "):
            interpreter = second.removeprefix("'''exec' ").removesuffix(' "$0" "$@"').strip('"')
        case [env, name] if os.path.basename(env) == "env":
            interpreter = shutil.which(name) or name
        case [interpreter]:
            pass
        case _:
            return None
    return _here(interpreter)


def _here(interpreter: str) -> str:
    """An interpreter in its own folder: that of an environment is a link to another, and not the same."""
    folder, name = os.path.split(os.path.abspath(interpreter))
    return os.path.join(os.path.realpath(folder), os.path.basename(os.path.realpath(os.path.join(folder, name))))


# --- running it ----------------------------------------------------------------------


def supervise(program: Program, folders: Sequence[str], policy: Policy, voice: Voice) -> int:
    """Run a program until it ends, and bring every save below ``folders`` to its processes.

    Returns its exit status, 128 + N where signal N ended it; SIGINT and SIGQUIT are ignored
    from then on. Raises CannotRun or TooMany.
    """
    watched = tuple(dict.fromkeys(map(os.path.realpath, folders)))
    for folder in watched:
        if not os.path.isdir(folder):
            raise CannotRun(f"{relative(folder)}: no such folder to watch")
    start = watch.snapshot(watched)
    processes = Processes()
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        workers = _workers(events)
        stack.callback(workers.close)
        stack.callback(_watching(watched, events).stop)
        count = f"{len(start)} source{'' if len(start) == 1 else 's'}"
        voice.say(f"watching {count} below {', '.join(map(relative, watched))} ({policy.value})")
        application = _Application(program.command, workers.path, processes, voice)
        following = threading.Thread(
            target=_follow, args=(start, policy, events, watched, processes, voice), name="bcpatch follow", daemon=True
        )
        following.start()
        status = application.wait()
        events.put(Closed())
        following.join(TWICE)
    return status


def _workers(events: queue.SimpleQueue[Event]) -> Workers:
    try:
        return Workers(lambda peer: events.put(Joined(peer)), lambda peer: events.put(Left(peer)))
    except ChannelError as error:
        raise CannotRun(f"no place for a socket: {error}") from error


def _watching(folders: Sequence[str], events: queue.SimpleQueue[Event]) -> watch.Watching:
    try:
        return watch.watch(folders, events.put, time.monotonic)
    except OSError as error:
        raise CannotRun(f"can't watch {', '.join(map(relative, folders))}: {error.strerror or error}") from error


def _follow(
    start: Mapping[str, bytes],
    policy: Policy,
    events: queue.SimpleQueue[Event],
    folders: Sequence[str],
    processes: Processes,
    voice: Voice,
) -> None:
    """Handle events until there are no more."""
    from bcpatch.running.follow import Follower  # the compiler is loaded while the application starts, not before

    _handle(Follower(start, policy, voice), events, folders, processes, voice)


def _handle(
    follower: Follower,
    events: queue.SimpleQueue[Event],
    folders: Sequence[str],
    processes: Processes,
    voice: Voice,
) -> None:
    """Handle events in their order, and saves when they have settled, until there are no more."""
    locks = watch.git_locks(folders)
    settling = Settling(functools.partial(watch.is_git_at_work, locks))
    relays: dict[Peer, Channel] = {}
    unprepared = False
    while True:
        wait = settling.wait(time.monotonic())
        idle = wait is None and unprepared
        try:
            event = events.get(timeout=IDLE if idle else wait) if wait != 0 else events.get_nowait()
        except queue.Empty:
            if idle:
                unprepared = _prepared(follower, events)
            elif wait == 0:
                batch = settling.take()
                if len(batch.paths) > watch.MANY:
                    batch = batch._replace(paths=batch.paths.union(folders))
                match _saved(follower, batch, events, voice):
                    case Fate.DOUBTFUL:
                        settling.put_off(batch, time.monotonic())
                    case Fate.MORE:
                        settling.put_back(batch)
            continue
        match event:
            case Saved():
                settling.note(event)
            case Joined(peer):
                processes.met = True
                processes.pids.add(peer.hello.pid)
                with contextlib.suppress(ChannelError):  # then it is reached by saves alone
                    relays[peer] = relay.open_channel(peer, functools.partial(_passed, peer, voice))
                follower.joined(peer)
                unprepared = True
            case Left(peer):
                processes.pids.discard(peer.hello.pid)
                follower.left(peer)
                if peer in relays:
                    relays.pop(peer).close()
            case Closed():
                for channel in relays.values():
                    channel.close()
                return


def _prepared(follower: Follower, events: queue.SimpleQueue[Event]) -> bool:
    """Use the time until the next event; returns whether there may be more to do."""
    try:
        return follower.prepare(lambda: not events.empty())
    except Exception:
        logger.exception("an error of bcpatch itself")
        return False


def _saved(follower: Follower, batch: Batch, events: queue.SimpleQueue[Event], voice: Voice) -> Fate:
    """Have a batch followed; an error of ours costs this save, not those that come after it."""

    def more() -> bool:
        return not events.empty() and time.monotonic() < batch.since + watch.PATIENCE

    gc.disable()  # a pass of the collector may take as long as the rest: it waits until the save is live
    try:
        return follower.saved(batch, more)
    except Exception:
        logger.exception("an error of bcpatch itself")
        voice.say("that was an error of bcpatch itself: the application runs on with the code it has")
        return Fate.DONE
    finally:
        gc.enable()


def _passed(peer: Peer, voice: Voice, request: Request, reply: Reply) -> None:
    """Say that somebody else changed what a process runs."""
    if isinstance(reply, Applied):
        what = "rolled back" if isinstance(request, Rollback) else "patched"
        voice.say(f"process {peer.hello.pid} was {what} from outside: it runs generation {reply.generation}")


# --- the application's process ---------------------------------------------------------


class _Application:
    """A started program, and the signals that end it or us."""

    def __init__(self, command: Sequence[str], socket: str, processes: Processes, voice: Voice) -> None:
        self._processes = processes
        self._voice = voice
        self._inbox: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._interrupted = -TWICE
        self._handlers = {number: self._listen(number) for number in (*_FORWARDED, *_FROM_TERMINAL)}
        try:
            self._process = subprocess.Popen(command, env=os.environ | {ENVIRONMENT: socket})
        except OSError as error:
            self._restore()
            raise CannotRun(f"{command[0]}: {str(error.strerror).lower()}") from error

    def wait(self) -> int:
        """Pass signals on until the program ends; returns its exit status as a shell would."""
        threading.Thread(target=self._reap, name="bcpatch reap", daemon=True).start()
        alone: float | None = ALONE
        try:
            while True:
                try:
                    number = self._inbox.get(timeout=alone)
                except queue.Empty:
                    alone = None
                    if not self._processes.met:
                        self._voice.say(_NOBODY)
                    continue
                if number is None:
                    break
                self._pass_on(number)
        finally:
            for number in _FROM_TERMINAL:  # meant for a program that has ended, and its exit status is to be told
                self._handlers[number] = signal.SIG_IGN
            self._restore()
        status = self._process.returncode
        return 128 - status if status < 0 else status

    def _reap(self) -> None:
        self._process.wait()
        self._inbox.put(None)

    def _listen(self, number: int) -> Disposition:
        """Have a signal put into the inbox, unless whoever started us wanted it ignored."""
        if signal.getsignal(number) is signal.SIG_IGN:
            return signal.SIG_IGN
        return signal.signal(number, lambda received, _: self._inbox.put(received))

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int) -> None:
        if number not in _FROM_TERMINAL or not _in_foreground():
            self._process.send_signal(number)
        if number == signal.SIGINT:
            now = time.monotonic()
            if now - self._interrupted < TWICE:
                self._kill()
            self._interrupted = now

    def _kill(self) -> None:
        """End the program's processes at once: the first, and all that have made themselves known."""
        self._voice.say("killing the application")
        self._process.kill()
        for pid in tuple(self._processes.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _in_foreground() -> bool:
    """Whether the terminal sends its signals to our process group, and so to the application too."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except OSError:  # there is no terminal
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
