"""A process as others may ask it: its identity, its history, and the answers to requests.

It answers whoever a channel let in; it knows no sockets. Every refusal and every error
becomes a reply and a line in the log, and goes no further.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
import threading
import time
import weakref
from types import ModuleType
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import msgspec

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
    Rollback,
    StatusReply,
    StatusRequest,
    identity_of,
    of_modules,
)
from bcpatch.diagnostics import Error, Refused, Severity, text
from bcpatch.fingerprint import this_interpreter
from bcpatch.model import Policy
from bcpatch.process.history import History
from bcpatch.process.records import Generation
from bcpatch.process.sources import file_of
from bcpatch.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bcpatch.channels.protocol import Consistency, Scan
    from bcpatch.load import Source

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("bcpatch")

#: The generations of this process: there is one history in a process.
history: Final = History()

#: The environment variable that pins the policy of a process and of those below it.
ENVIRONMENT: Final = "BCPATCH_POLICY"

#: Characters of a command line that are shown to others.
_LONGEST: Final = 1000

_LEVELS: Final = {Severity.ERROR: logging.ERROR, Severity.WARNING: logging.WARNING, Severity.NOTE: logging.INFO}

#: Seconds that a fork waits for an import.
_IMPORT_SECONDS: Final = 10.0

_started = time.time()
_pinned: Policy | None = None
_importing = threading.RLock()  # an import hook may fork


class Incomplete(Error):
    """What is imported with the first patch can't be: the process sees no libraries any more, say."""


def pin(policy: str | None) -> None:
    """Refuse from now on what ``policy`` doesn't allow; a pin can be tightened, never loosened.

    Raises ValueError where it's not the name of a policy.
    """
    global _pinned
    wanted = None if policy is None else Policy(policy)
    if wanted and _pinned is not Policy.STRICT:
        _pinned = wanted


def pinned() -> Policy | None:
    """What this process is pinned to, by `pin` or by the environment; None where it takes any patch.

    A name in the environment that is no policy pins to strict: a mistake must not open anything.
    """
    named = os.environ.get(ENVIRONMENT)
    if not named:
        return _pinned
    try:
        return Policy.STRICT if _pinned is Policy.STRICT else Policy(named)
    except ValueError:
        logger.error("%s=%s names no policy: only strict patches are taken", ENVIRONMENT, named)
        return Policy.STRICT


def hello() -> Hello:
    """The greeting of this process."""
    return Hello(
        pid=os.getpid(),
        program=_program(),
        interpreter=this_interpreter(),
        policy=pinned(),
        generation=history.current,
        started=_started,
    )


def status() -> Status:
    """What this process tells of itself."""
    _complete()
    from bcpatch import apply
    from bcpatch.process import arrivals

    return Status(
        pid=os.getpid(),
        program=_program(),
        interpreter=this_interpreter(),
        policy=pinned(),
        started=_started,
        generation=history.current,
        generations=tuple(generation.status() for generation in history.generations),
        sites=apply.sites(history),
        modules=tuple(arrivals.modules(history)),
    )


def loaded() -> LoadedReply:
    """The modules of this process that have a source file. Runs nothing of the application's."""
    return LoadedReply(history.current, _patch(), _look(sys.modules.copy()).told)


def _basis() -> str:
    """The `identity` of what `loaded` would give, as long as no module is given another file."""
    return identity_of(history.current, _patch(), _modules().digest)


def _patch() -> str | None:
    return history.records.patch(history.current)


def apply(
    source: Source, *, consistency: Consistency, scan: Scan, timeout: float | None, require_instant: bool
) -> Generation:
    """Apply a patch to this process. Raises `Refused`."""
    _complete()
    from bcpatch import load

    return load.apply(
        source,
        history,
        pinned(),
        consistency=consistency,
        scan=scan,
        timeout=timeout,
        require_instant=require_instant,
    )


def rollback(to: int | None) -> Generation:
    """Swap this process to generation ``to``. Raises `Refused`."""
    _complete()
    from bcpatch import load

    return load.rollback(history, to)


def at(generation: int, function: Callable[P, R]) -> Callable[P, R]:
    """``function`` as it was in ``generation``. Raises `Refused`."""
    _complete()
    from bcpatch import apply

    shown: Callable[P, R] = apply.at(history, generation, function)
    return shown


def take(path: str) -> None:
    """Apply the patch at ``path``; what comes of it goes to the log alone."""
    _logged(Apply(patch=b""), path)


def answer(request: Request) -> Reply:
    """Do what is asked; whatever comes of it is logged and becomes the reply."""
    return _logged(request)


def _logged(request: Request, path: str | None = None) -> Reply:
    words = path or _words(request)
    try:
        reply = _answer(request, path)
    except Refused as refused:
        logger.error("refused %s:\n%s", words, refused)
        return Refusal(refused.diagnostics)
    except Incomplete as error:
        logger.error("%s: %s", words, error)
        return Failure(str(error))
    except Exception as error:
        logger.exception("an error of bcpatch itself stopped %s", words)
        return Failure(f"{type(error).__name__}: {error}")
    if isinstance(reply, Applied):
        for note in reply.notes:
            logger.log(_LEVELS[note.severity], "%s: %s", words, text(note))
        logger.info("%s: generation %d is live after %.1f ms", words, reply.generation, reply.milliseconds)
        if not reply.certain:
            logger.warning("%s: with an audit hook in Python the one instant was likely, not certain", words)
    return reply


def _answer(request: Request, path: str | None) -> Reply:
    """What comes of a request; with ``path`` the patch is read from there."""
    begin = time.perf_counter()
    match request:
        case Apply(dry_run=True):
            _complete()
            from bcpatch import load

            rehearsal = load.rehearse(request.patch, history, pinned(), scan=request.scan)
            return Rehearsed(rehearsal.sites, _milliseconds(begin), rehearsal.notes)
        case Apply():
            if request.basis is not None and request.basis != _basis():
                return loaded()
            source: Source = path or request.patch
            if request.texts_on_disk:
                _complete()
                from bcpatch import load

                completed = load.completed(request.patch)
                if completed is None:
                    return loaded()
                source = completed
            generation = apply(
                source,
                consistency=request.consistency,
                scan=request.scan,
                timeout=request.timeout,
                require_instant=request.require_instant,
            )
            return Applied(generation.number, _milliseconds(begin), generation.notes, generation.certain)
        case Rollback():
            generation = rollback(request.to)
            return Applied(generation.number, _milliseconds(begin), generation.notes, generation.certain)
        case StatusRequest():
            return StatusReply(status())
        case LoadedRequest():
            return loaded()


def _milliseconds(begin: float) -> float:
    return (time.perf_counter() - begin) * 1000


def _words(request: Request) -> str:
    match request:
        case Apply(dry_run=True):
            return "a rehearsal"
        case Apply():
            return "a patch"
        case Rollback(to=None):
            return "a rollback"
        case Rollback():
            return f"a rollback to generation {request.to}"
        case StatusRequest():
            return "a request for the status"
        case LoadedRequest():
            return "a request for the loaded modules"


def _program() -> str:
    return shlex.join(sys.orig_argv)[:_LONGEST]


# --- what is imported with the first request -------------------------------------------


def _complete() -> None:
    """Import what nobody needs before the first patch.

    No fork falls into that: its child would wait for ever for a thread that it doesn't have to finish the import
    (``_ModuleLock`` in ``Lib/importlib/_bootstrap.py`` knows nothing of forks).
    """
    try:
        with _importing:
            import bcpatch.load
            import bcpatch.process.arrivals  # noqa: F401
    except ImportError as error:
        reason = "has the process lost sight of its libraries? runtime.status() before it does imports them"
        raise Incomplete(f"what patches take can't be imported ({error}): {reason}") from error


def _before_fork() -> None:
    _importing.acquire(timeout=_IMPORT_SECONDS)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # the import was not waited for any longer
        _importing.release()


def _after_fork_in_child() -> None:
    global _importing, _started
    _importing = threading.RLock()
    _started = time.time()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


# --- the modules of this process -----------------------------------------------------


class _Modules(msgspec.Struct, frozen=True):
    """What there is to tell of the modules, and by which objects it is known that it holds still.

    ``places`` are the addresses of names and modules. They are worth something while all of these
    live: ``names`` holds the ones, and a weak reference of ``kept`` sees the end of the others.
    """

    told: tuple[LoadedModule, ...]
    digest: str
    places: list[int]
    names: list[str]
    kept: list[weakref.ref[object]]


_known: _Modules | None = None


def _modules() -> _Modules:
    """What there is to tell of the modules; they are looked at where any of them is not the one it was."""
    there = sys.modules.copy()
    found = _known
    return found if found is not None and found.places == _places(there) else _look(there)


def _look(modules: dict[str, ModuleType]) -> _Modules:
    global _known
    told = tuple(_told(modules))
    found = _Modules(told, of_modules(told), _places(modules), list(modules), [])
    try:
        found.kept.extend(weakref.ref(module, _forget) for module in modules.values())
    except TypeError:  # something that is no module, whose end can't be seen
        _known = None
    else:
        _known = found
    return found


def _places(modules: dict[str, ModuleType]) -> list[int]:
    return [*map(id, modules), *map(id, modules.values())]


def _forget(_: weakref.ref[object]) -> None:
    global _known
    _known = None


def _told(modules: dict[str, ModuleType]) -> Iterator[LoadedModule]:
    """Each module once, under its first name: a process of ``multiprocessing`` has its main module under two."""
    first: dict[int, str] = {}
    for name, module in modules.items():
        if type(module) is ModuleType and first.setdefault(id(module), name) == name:
            names = vars(module)
            file = names.get("__file__")
            if type(file) is not str or file.endswith(".pyc"):
                file = file_of(module)
            if file:
                package = names.get("__package__")
                yield LoadedModule(name, os.fsencode(file), package if isinstance(package, str) else "")
