"""How the command line reaches a process that runs on its own: by process id."""

from __future__ import annotations

import socket
from typing import Final, NamedTuple

from bcpatch.channels.base import ChannelError
from bcpatch.channels.connection import Connection, Lost
from bcpatch.channels.directory import directories, sockets
from bcpatch.channels.peer import Peer, greet
from bcpatch.channels.protocol import Hello, ProtocolError
from bcpatch.channels.unix import lives, sweep

#: Seconds that a process may take to accept a connection and to greet.
GREETING_SECONDS: Final = 5.0


class Gone(ChannelError):
    """Nobody listens on a socket any more."""


def connect(pid: int) -> Peer:
    """The process ``pid`` of this user; raises `ChannelError` where it can't be reached.

    >>> peer = connect(4711)                                    # doctest: +SKIP
    >>> peer.request(Apply(patch=data), timeout=30)             # doctest: +SKIP
    Applied(generation=1, milliseconds=0.8, notes=())
    """
    paths = sockets().get(pid, [])
    if not paths:
        places = " or ".join(directories())
        raise ChannelError(f"process {pid} has no socket in {places}: does it call bcpatch.runtime.loop()?")
    reasons = []
    for path in paths:
        try:
            return _reach(path, pid)
        except ChannelError as error:
            reasons.append(str(error))
    raise ChannelError("; ".join(reasons))


class Found(NamedTuple):
    """The greetings of the processes that can be reached, by process id, and why others that listen can't be."""

    processes: list[Hello]
    silent: list[str]


def processes() -> Found:
    """Every process of this user that takes patches. Sockets that dead processes left are removed on the way."""
    sweep()
    found = Found([], [])
    for pid, paths in sorted(sockets().items()):
        for path in paths:
            try:
                peer = _reach(path, pid)
            except Gone:  # just now, or something else has its number
                continue
            except ChannelError as error:  # it is stopped, or has no time
                found.silent.append(str(error))
                continue
            found.processes.append(peer.hello)
            peer.close()
    return found


def _reach(path: str, pid: int) -> Peer:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(GREETING_SECONDS)
        sock.connect(path)
        connection = Connection(sock)
        return Peer(connection, greet(connection, GREETING_SECONDS))
    except ConnectionRefusedError as error:
        sock.close()
        what = "runs, but has closed bcpatch's socket or executed another program" if lives(pid) else "is gone"
        raise Gone(f"process {pid} {what} (it left {path})") from error
    except (OSError, Lost, ProtocolError) as error:
        sock.close()
        raise ChannelError(f"process {pid}: {error}") from error
