"""What an application imports: be reachable, apply, roll back, look.

    from bcpatch import runtime
    runtime.loop()

`loop` returns at once; from then on the process takes patches from `bcpatch run`, or
on a socket of its own that ``bcpatch apply PATCH PID`` finds. Nothing goes to standard
output; what happens is told to the logger ``bcpatch``.

Importing this module costs next to nothing: all else is imported when first used. It
knows no compiler, no watcher and no command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from bcpatch.channels.protocol import Consistency, Scan
    from bcpatch.exchange.hooks import Callback
    from bcpatch.load import Source
    from bcpatch.loops import Loop
    from bcpatch.process.records import Generation
    from bcpatch.status import Status

__all__ = ["apply", "at", "generations", "loop", "on_update", "rollback", "status"]

P = ParamSpec("P")
R = TypeVar("R")


def loop(channel: str | None = None, *, block: bool = False, policy: str | None = None) -> Loop:
    """Serve requests from a daemon thread and return at once; with ``block`` in this thread, until it ends.

    By default they come from the supervisor where `bcpatch run` started the process,
    else from a Unix socket of its own; from standard input, one patch path a line,
    where ``channel`` is ``"stdin"``. Called again it returns the same loop. A forked
    child gets a loop of its own (not one on standard input, which stays its parent's).

    ``policy="strict"`` makes this process refuse all but strict patches, whoever brings
    them; so does the environment variable ``BCPATCH_POLICY``.

    Raises ValueError for a channel or policy that doesn't exist, and nothing later:
    whatever goes wrong is told to the logger ``bcpatch``, and the application goes on.

    >>> serving = loop()                                               # doctest: +SKIP
    >>> serving.channel, serving.address                               # doctest: +SKIP
    ('socket', '/run/user/1000/bcpatch/4711.sock')
    """
    from bcpatch import loops, service

    service.pin(policy)
    return loops.start(channel, block=block)


def apply(
    patch: Source,
    *,
    consistency: Consistency = "immediate",
    scan: Scan = "references",
    timeout: float | None = None,
    require_instant: bool = False,
) -> Generation:
    """Apply a patch: a path, the bytes of a patch file, or a `Patch`. Whole, or not at all.

    ``consistency="quiescent"`` swaps only while nothing runs any function of the patch,
    and gives up after ``timeout`` seconds. ``scan="heap"`` searches the heap for
    references that can't be accounted for otherwise; every thread stops meanwhile.
    ``require_instant`` refuses where an audit hook in Python makes the one instant
    likely instead of certain.

    Returns the new `Generation`. Raises `bcpatch.Refused` (its ``diagnostics`` say why),
    and then the process runs what it ran before.

    >>> apply("gen7.patch").number                                     # doctest: +SKIP
    1
    """
    from bcpatch import service

    return service.apply(patch, consistency=consistency, scan=scan, timeout=timeout, require_instant=require_instant)


def rollback(to: int | None = None) -> Generation:
    """Go to generation ``to``, back or forward again; None is the one before the current one.

    Raises `bcpatch.Refused` where there is no such generation, or where what a patch set
    has been changed since.
    """
    from bcpatch import service

    return service.rollback(to)


def on_update(callback: Callback) -> Callback:
    """Call ``callback`` with an `Update` before and after every apply and rollback; returns it.

    An exception that it raises before refuses the update (BCP602); after, it's a warning.
    A module's own function ``__bcpatch_update__`` is called in the same way, for updates
    that touch the module.

    >>> @on_update                                                     # doctest: +SKIP
    ... def clear(update):
    ...     if update.phase == "after":
    ...         cache.clear()
    """
    from bcpatch.exchange import hooks

    return hooks.on_update(callback)


def generations() -> tuple[Generation, ...]:
    """Every generation of this process, by number; 0 is the process as started."""
    from bcpatch import service

    return service.history.generations


def status() -> Status:
    """What this process runs: its generations, and every function that was ever patched."""
    from bcpatch import service

    return service.status()


def at(generation: int, function: Callable[P, R]) -> Callable[P, R]:
    """A function that runs the code, and the defaults, which ``function`` had in ``generation``.

    It reads and writes the same globals and captured variables. Raises `bcpatch.Refused`
    where there is no such generation.

    >>> at(0, shop.cart.Cart.total)(cart)                              # doctest: +SKIP
    """
    from bcpatch import service

    return service.at(generation, function)
