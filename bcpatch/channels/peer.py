"""The asking side of a connection: a running process, as those who send it patches see it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from bcpatch.channels.connection import Connection, Lost
from bcpatch.channels.protocol import Failure, Hello, ProtocolError, Reply, Request, read_hello, read_reply

logger = logging.getLogger("bcpatch")


class Peer:
    """A process that has greeted us. ``hello`` is its greeting.

    Replies come in the order of the requests, so one that comes too late for its asker
    is never taken for the answer to the next. ``gone`` is called once, with this peer,
    when the process ends the conversation.
    """

    def __init__(self, connection: Connection, hello: Hello, gone: Callable[[Peer], None] | None = None) -> None:
        self.hello = hello
        self._connection = connection
        self._gone = gone
        self._asked: deque[Future[Reply]] = deque()
        self._lock = threading.Lock()
        self._over: Lost | None = None
        self._reader = threading.Thread(target=self._read, name=f"bcpatch peer {hello.pid}", daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        return f"<Peer {self.hello.pid} {self.hello.program}>"

    def ask(self, request: Request) -> Future[Reply]:
        """Send ``request``; the future has its reply, or `Lost`, raised here too where it can't be sent."""
        answer: Future[Reply] = Future()
        with self._lock:
            if self._over is not None:
                raise Lost(str(self._over))
            self._asked.append(answer)
            try:
                self._connection.send(request)
            except Lost:
                self._connection.shut()
                raise
        return answer

    def request(self, request: Request, timeout: float | None = None) -> Reply:
        """Send ``request`` and wait for its reply; raises `Lost`, or TimeoutError after ``timeout`` seconds.

        After a TimeoutError the process may still do what it was asked to.
        """
        return self.ask(request).result(timeout)

    def close(self) -> None:
        """Hang up."""
        self._connection.shut()
        if threading.current_thread() is not self._reader:
            self._reader.join()

    def _read(self) -> None:
        """Hand each reply to the one who asked first, until the process hangs up."""
        reason = Lost(f"process {self.hello.pid} ended the conversation")
        try:
            while (body := self._connection.receive()) is not None:
                reply = read_reply(body)
                self._asked.popleft().set_result(reply)
        except IndexError:
            reason = Lost(f"process {self.hello.pid} sent a reply that nobody asked for")
        except (Lost, ProtocolError) as error:
            reason = Lost(f"process {self.hello.pid}: {error}")
        self._connection.shut()
        with self._lock:
            self._over = reason
        self._connection.close()
        while self._asked:
            self._asked.popleft().set_exception(reason)
        if self._gone is not None:
            self._gone(self)


def greet(connection: Connection, seconds: float) -> Hello:
    """Wait for the greeting on a new connection; raises `Lost` or `ProtocolError`."""
    body = connection.receive(idle=seconds)
    if body is None:
        raise Lost("the process ended the conversation before it greeted")
    try:
        return read_hello(body)
    except ProtocolError:
        if isinstance(reply := _failure(body), Failure):
            raise Lost(reply.message) from None
        raise


def _failure(body: bytes) -> Reply | None:
    """What a process said that doesn't want to talk, if it said so."""
    try:
        return read_reply(body)
    except ProtocolError:
        return None
