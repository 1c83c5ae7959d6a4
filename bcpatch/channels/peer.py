"""The asking side of a connection: a running process, as those who send it patches see it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from bcpatch.channels.connection import Connection, Lost
from bcpatch.channels.protocol import Failure, Hello, ProtocolError, Reply, Request, frame, read_hello, read_reply


class Peer:
    """A process that has greeted us. ``hello`` is its greeting.

    Replies come in the order of the requests, so one that comes too late for its asker
    is never taken for the answer to the next. ``gone`` is called once, with this peer,
    when the conversation has ended.
    """

    def __init__(self, connection: Connection, hello: Hello, gone: Callable[[Peer], None] | None = None) -> None:
        self.hello = hello
        self._connection = connection
        self._gone = gone
        self._lock = threading.Lock()
        self._over: Lost | None = None
        self._asked: deque[Future[Reply]] = deque()
        self._unsent: SimpleQueue[memoryview | None] = SimpleQueue()
        self._waiting = 0  # how many of these are not sent yet
        self._writer = threading.Thread(target=self._write, name=f"bcpatch to {hello.pid}", daemon=True)
        self._reader = threading.Thread(target=self._read, name=f"bcpatch from {hello.pid}", daemon=True)
        self._writer.start()
        self._reader.start()

    def __repr__(self) -> str:
        return f"<Peer {self.hello.pid} {self.hello.program}>"

    def ask(self, request: Request) -> Future[Reply]:
        """Send ``request`` without waiting; the future gets its reply, or `Lost`.

        Raises `ProtocolError` where the request is larger than allowed.
        """
        data = memoryview(frame(request))
        answer: Future[Reply] = Future()
        with self._lock:
            if self._over is not None:
                answer.set_exception(self._over)
                return answer
            self._asked.append(answer)
            try:
                rest = data if self._waiting else self._connection.offer(data)
            except Lost:
                self._connection.shut()
                return answer
            if rest:
                self._waiting += 1
                self._unsent.put(rest)
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

    def _write(self) -> None:
        """Send what could not be sent at once, until there is nobody to send it to."""
        try:
            while (data := self._unsent.get()) is not None:
                self._connection.send(data)
                with self._lock:
                    self._waiting -= 1
        except Lost:
            self._connection.shut()

    def _read(self) -> None:
        """Hand each reply to the one who asked first, until the conversation ends."""
        reason = f"process {self.hello.pid} ended the conversation"
        try:
            while (body := self._connection.receive()) is not None:
                reply = read_reply(body)
                if not self._asked:
                    raise ProtocolError("it sent a reply that nobody asked for")
                self._asked.popleft().set_result(reply)
        except (Lost, ProtocolError) as error:
            reason = f"process {self.hello.pid}: {error}"
        self._end(Lost(reason))

    def _end(self, reason: Lost) -> None:
        self._connection.shut()
        self._unsent.put(None)
        self._writer.join()
        with self._lock:
            self._connection.close()
            self._over = reason
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
