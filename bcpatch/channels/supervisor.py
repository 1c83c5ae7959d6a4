"""The channel of a process below `bcpatch run`: one connection to the supervisor, which asks on it.

The supervisor's side is `bcpatch.channels.workers`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from bcpatch.channels import serve
from bcpatch.channels.base import Channel, ChannelError, Post
from bcpatch.channels.connection import Connection, Lost
from bcpatch.channels.protocol import Handler, frame

#: The environment variable that names the supervisor's socket.
ENVIRONMENT: Final = "BCPATCH_SUPERVISOR"

#: Seconds that a supervisor may take to accept.
CONNECT_SECONDS: Final = 5.0


def open_channel(
    path: str, handler: Handler, greeting: serve.Greeting, gone: Callable[[], None]
) -> tuple[Channel, Post]:
    """Connect to the supervisor that listens at ``path``, and greet it.

    ``gone`` is called when it hangs up. Raises `ChannelError` where it can't be reached.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECT_SECONDS)
        sock.connect(path)
        connection = Connection(sock)
        if not connection.peer_is_trusted():
            raise ChannelError(f"{path}: the supervisor is another user's")
        connection.send(frame(greeting()))
    except (OSError, Lost) as error:
        sock.close()
        raise ChannelError(f"{path}: can't reach the supervisor: {error}") from error
    except ChannelError:
        sock.close()
        raise
    channel = Channel("supervisor", path)
    return channel, serve.post(connection, channel.name, handler, gone=gone)
