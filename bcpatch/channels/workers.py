"""The supervisor's side: every process below it that has called ``runtime.loop()``.

Workers come and go as the application likes; nothing here starts or ends one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Final

import msgspec

from bcpatch.channels import unix
from bcpatch.channels.base import Channel
from bcpatch.channels.connection import Connection, Lost
from bcpatch.channels.peer import Peer, greet
from bcpatch.channels.protocol import Hello, ProtocolError, Reply, Request

logger = logging.getLogger("bcpatch")

#: Seconds that a new worker may take to greet.
GREETING_SECONDS: Final = 5.0


class Answer(msgspec.Struct, frozen=True):
    """What one worker said.

    ``reply`` is None where the worker has ended or did not answer in time; ``reason``
    says which.
    """

    hello: Hello
    reply: Reply | None
    reason: str = ""


def _nobody(peer: Peer) -> None:
    """Nobody wants to know."""


class Workers:
    """Listens on a socket in the user's runtime folder; ``path`` is its path.

    ``joined`` is called with each worker that has greeted, and ``left`` after that when
    it has ended, both in threads of their own; the worker may be asked from ``joined``.
    Raises `ChannelError` where no socket can be made.

    >>> workers = Workers()                                            # doctest: +SKIP
    >>> process = Popen(command, env=os.environ | {ENVIRONMENT: workers.path})     # doctest: +SKIP
    >>> for answer in ask(workers.peers(), Apply(patch=data), timeout=30):         # doctest: +SKIP
    ...     print(answer.hello.pid, answer.reply or answer.reason)
    """

    def __init__(self, joined: Callable[[Peer], None] = _nobody, left: Callable[[Peer], None] = _nobody) -> None:
        self._joined, self._left = joined, left
        self._lock = threading.Lock()
        self._peers: dict[Peer, threading.Event] = {}
        listener, self.path = unix.listen(f"run-{os.getpid()}")
        self._channel = Channel("workers", self.path, unix.remover(self.path))
        self._channel.attend(unix.accepting(listener, self._channel, self._accept))

    def peers(self) -> tuple[Peer, ...]:
        """The workers that can be asked now, in the order in which they came."""
        with self._lock:
            return tuple(self._peers)

    def close(self) -> None:
        """Hang up on every worker and remove the socket."""
        self._channel.close()
        for peer in self.peers():
            peer.close()

    def _accept(self, connection: Connection) -> None:
        threading.Thread(target=self._welcome, args=(connection,), name="bcpatch welcome", daemon=True).start()

    def _welcome(self, connection: Connection) -> None:
        try:
            hello = greet(connection, GREETING_SECONDS)
        except (Lost, ProtocolError) as error:
            logger.warning("a process connected, but isn't a worker: %s", error)
            connection.close()
            return
        welcomed = threading.Event()
        with self._lock:
            peer = Peer(connection, hello, self._gone)
            self._peers[peer] = welcomed
        try:
            self._joined(peer)
        finally:
            welcomed.set()

    def _gone(self, peer: Peer) -> None:
        with self._lock:
            welcomed = self._peers.pop(peer)
        welcomed.wait()
        self._left(peer)


def ask(peers: Iterable[Peer], request: Request, timeout: float) -> list[Answer]:
    """Send ``request`` to some workers at once; what each said within ``timeout`` seconds, in their order."""
    return ask_each([(peer, request) for peer in peers], timeout)


def ask_each(requests: Iterable[tuple[Peer, Request]], timeout: float) -> list[Answer]:
    """The same with a request of its own for each worker."""
    asked = [(peer, peer.ask(request)) for peer, request in requests]
    deadline = time.monotonic() + timeout
    return [_answer(peer, future, deadline) for peer, future in asked]


def _answer(peer: Peer, future: Future[Reply], deadline: float) -> Answer:
    try:
        return Answer(peer.hello, future.result(max(0.0, deadline - time.monotonic())))
    except TimeoutError:
        return Answer(peer.hello, None, "no answer in time; it may still do what it was asked to")
    except Lost as error:
        return Answer(peer.hello, None, str(error))
