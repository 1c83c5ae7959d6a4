"""One end of a stream socket on which whole messages travel.

Every wait has an end, so that a peer that is slow, silent or gone costs one thread a
bounded time. Nothing here knows what the messages mean.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from typing import Final

from bcpatch.channels.protocol import HEADER, body_length
from bcpatch.diagnostics import Error

#: Seconds within which a message that has begun must have arrived, or have been taken.
MESSAGE_SECONDS = 30.0

#: A peer that hangs up must not raise SIGPIPE: the application may have set it to kill.
_SEND_FLAGS: Final = getattr(socket, "MSG_NOSIGNAL", 0)
_CHUNK: Final = 1 << 18
_CREDENTIALS: Final = struct.Struct("3i")


class Lost(Error):
    """The other side is gone, or too slow to wait for."""


class Connection:
    """Takes over ``sock``, a connected stream socket.

    One thread may send while another receives; no two may do the same.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, frame: bytes | memoryview) -> None:
        """Send a whole frame, or raise `Lost`."""
        deadline = time.monotonic() + MESSAGE_SECONDS
        while rest := self.offer(frame):
            self._wait(select.POLLOUT, deadline, "took nothing")
            frame = rest

    def offer(self, frame: bytes | memoryview) -> memoryview:
        """Send as much of a frame as the other side takes without being waited for; the rest, or raise `Lost`."""
        rest = memoryview(frame)
        try:
            while rest:
                rest = rest[self._socket.send(rest, _SEND_FLAGS) :]
        except BlockingIOError:
            return rest
        except OSError as error:
            raise Lost(f"the other side is gone: {error.strerror or error}") from error
        return rest

    def receive(self, idle: float | None = None) -> bytes | None:
        """The body of the next message; None where the other side has ended the conversation.

        ``idle`` is how many seconds to wait for its first byte, None for ever. Raises
        `Lost`, or `ProtocolError` where the message is larger than allowed.
        """
        first = self._part(HEADER.size)
        while first is None:
            self._wait(select.POLLIN, None if idle is None else time.monotonic() + idle, "said nothing")
            first = self._part(HEADER.size)
        if not first:
            return None
        deadline = time.monotonic() + MESSAGE_SECONDS
        header = first + self._read(HEADER.size - len(first), deadline)
        if len(header) < HEADER.size:
            raise Lost("the other side hung up in the middle of a message")
        length = body_length(header)
        body = self._read(length, deadline)
        if len(body) < length:
            raise Lost("the other side hung up in the middle of a message")
        return body

    def shut(self) -> None:
        """End the conversation for both sides; a thread that waits in `receive` gets None or `Lost`."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # not connected any more: that is what was wanted
            return

    def close(self) -> None:
        """Give up this process's hold on the socket. Unlike `shut` it leaves a forked relative's alone."""
        self._socket.close()

    def forget(self) -> None:
        """Let go of the socket where somebody else has closed it: its number may be another file's by now."""
        self._socket.detach()

    def peer_is_trusted(self) -> bool:
        """Whether the other side runs as this user or as root; True where the system can't tell."""
        if not hasattr(socket, "SO_PEERCRED"):
            return True
        found = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(found)
        return user in (0, os.geteuid())

    def _read(self, size: int, deadline: float) -> bytes:
        """``size`` bytes; fewer where the other side hung up before."""
        parts: list[bytes] = []
        missing = size
        while missing:
            part = self._part(missing)
            if part is None:
                self._wait(select.POLLIN, deadline, "stopped in the middle of a message")
                continue
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _part(self, size: int) -> bytes | None:
        """What has come of ``size`` bytes: None if nothing yet, no bytes if the other side has hung up.

        It is asked before it is waited for: every call of the system lets other threads of the application go first.
        """
        try:
            return self._socket.recv(min(size, _CHUNK))
        except BlockingIOError:
            return None
        except OSError as error:
            raise Lost(f"the other side is gone: {error.strerror or error}") from error

    def _wait(self, event: int, deadline: float | None, reason: str) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not poll.poll(None if seconds is None else seconds * 1000):
            raise Lost(f"the other side {reason} in time")
