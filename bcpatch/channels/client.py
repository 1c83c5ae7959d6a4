"""How the command line reaches a process that runs on its own: by process id."""

from __future__ import annotations

import socket
from typing import Final

from bcpatch.channels.base import ChannelError
from bcpatch.channels.connection import Connection, Lost
from bcpatch.channels.directory import directories, sockets
from bcpatch.channels.peer import Peer, greet
from bcpatch.channels.protocol import Hello, ProtocolError
from bcpatch.channels.unix import sweep

#: Seconds that a process may take to accept a connection and to greet.
GREETING_SECONDS: Final = 5.0


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


def processes() -> list[Hello]:
    """The greeting of every process of this user that can be reached, by process id.

    Sockets that dead processes left are removed on the way.
    """
    sweep()
    found = []
    for pid, paths in sorted(sockets().items()):
        for path in paths:
            try:
                peer = _reach(path, pid)
            except ChannelError:  # it ends just now, or is stopped: it can't be asked
                continue
            found.append(peer.hello)
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
        raise ChannelError(f"process {pid} is gone (it left {path})") from error
    except (OSError, Lost, ProtocolError) as error:
        sock.close()
        raise ChannelError(f"process {pid}: {error}") from error
