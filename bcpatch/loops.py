"""The loops of this process: which channel is open, and what becomes of it at a fork and at the end.

It opens channels and closes them. What is asked on them goes to `bcpatch.service`.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from typing import Final

from bcpatch import service
from bcpatch.channels import stdin, supervisor, unix
from bcpatch.channels.base import Channel, ChannelError, Post

logger = logging.getLogger("bcpatch")

#: The one name that `start` may be given.
STDIN: Final = "stdin"

#: The supervisor tells what becomes of a patch: without a handler, logging would say it on the terminal again.
_TOLD: Final = logging.NullHandler()

#: Seconds that a fork waits for a loop which is being opened.
_OPENING_SECONDS: Final = 10.0


class Loop:
    """Requests being served.

    ``channel`` is ``"supervisor"``, ``"socket"`` or ``"stdin"``, and empty where there
    is none: it could not be opened (the log says why), has ended, or was closed.
    ``address`` is the path of its socket.
    """

    def __init__(self, asked: str | None) -> None:
        self._asked = asked
        self._channel: Channel | None = None
        self._opening: threading.Thread | None = None
        self._over = threading.Event()

    def __repr__(self) -> str:
        return f"<Loop {self.channel} {self.address}>" if self.channel else "<Loop, closed>"

    @property
    def channel(self) -> str:
        channel = self._channel
        return channel.name if channel else ""

    @property
    def address(self) -> str:
        channel = self._channel
        return channel.address if channel else ""

    def close(self) -> None:
        """Serve no more requests. The process stays as patched as it is."""
        if _loops.get(self._asked) is self:
            del _loops[self._asked]
        self._over.set()
        self._drop()

    def _open(self) -> Post | None:
        """Open the channel; None, and a line in the log, where that fails."""
        try:
            self._channel, post = self._first()
        except ChannelError as error:
            logger.error("this process can't be sent patches: %s", error)
            self._over.set()
            return None
        logger.info("taking patches from %s", self.address)
        return post

    def _first(self) -> tuple[Channel, Post]:
        if self._asked == STDIN:
            return stdin.open_channel(service.take, self._end)
        path = os.environ.get(supervisor.ENVIRONMENT)
        if path:
            try:
                opened = supervisor.open_channel(path, service.answer, service.hello, self._fall_back)
            except ChannelError as error:
                logger.warning("%s; listening on a socket of its own instead", error)
            else:
                logger.addHandler(_TOLD)
                return opened
        return unix.open_channel(service.answer, service.hello)

    def _fall_back(self) -> None:
        """The supervisor is gone: listen on a socket of its own."""
        self._drop()
        if self._over.is_set():
            return
        logger.info("the supervisor has gone")
        try:
            self._channel, post = unix.open_channel(service.answer, service.hello)
        except ChannelError as error:
            logger.error("this process can't be sent patches any more: %s", error)
            self._over.set()
            return
        self._channel.attend(post)

    def _end(self) -> None:
        self._over.set()
        self._drop()

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel:
            channel.close()

    def _run(self) -> None:
        """Open the channel and attend to it from a daemon thread."""
        post = self._open()
        if post and self._channel:
            self._channel.attend(post)

    def _block(self) -> None:
        """Attend to the channel in this thread until the loop is over; open it before, if it isn't."""
        try:
            post = None if self._channel else self._open()
            if post and self._channel:
                self._channel.serve(post)
            self._over.wait()
        finally:
            self.close()

    def _before_fork(self) -> None:
        if self._opening:
            self._opening.join(_OPENING_SECONDS)
        if self._channel:
            self._channel.park()

    def _after_fork_in_parent(self) -> None:
        if self._channel:
            self._channel.resume()

    def _after_fork_in_child(self) -> None:
        """Let go of the parent's channel, and open one for the child without keeping its first steps waiting."""
        self._drop()
        self._over = threading.Event()
        if self._asked is None:
            self._opening = threading.Thread(target=self._run, name="bcpatch loop", daemon=True)
            self._opening.start()


_loops: dict[str | None, Loop] = {}
_lock = threading.RLock()  # a signal handler may ask for the loop that its thread is opening


def start(channel: str | None = None, *, block: bool = False) -> Loop:
    """The loop on ``channel``, begun if there is none yet."""
    if channel not in (None, STDIN):
        raise ValueError(f"channel is None or {STDIN!r}, not {channel!r}")
    with _lock:
        found = _loops.get(channel)
        if found is None:
            found = _loops[channel] = Loop(channel)
            if not block:
                found._run()
    if block:
        found._block()
    return found


def _close_all() -> None:
    for loop in tuple(_loops.values()):
        loop.close()


def _before_fork() -> None:
    for loop in _loops.values():
        loop._before_fork()


def _after_fork_in_parent() -> None:
    for loop in _loops.values():
        loop._after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    for loop in _loops.values():
        loop._after_fork_in_child()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
