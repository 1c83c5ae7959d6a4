"""The answering side of a connection: greet, then one reply to each request, in order.

Nothing a peer sends, omits or breaks off gets further than this connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from bcpatch.channels.base import Post
from bcpatch.channels.connection import Connection, Lost
from bcpatch.channels.protocol import Failure, Handler, Hello, ProtocolError, frame, read_request

logger = logging.getLogger("bcpatch")

Greeting: TypeAlias = Callable[[], Hello]


def post(
    connection: Connection,
    name: str,
    handler: Handler,
    *,
    idle: float | None = None,
    gone: Callable[[], None] = lambda: None,
) -> Post:
    """A post that answers what comes in on ``connection``, which was greeted before.

    ``gone`` is called when the other side has ended the conversation.
    """

    def step() -> bool:
        if answer(connection, name, handler):
            return True
        gone()
        return False

    return Post(name, connection.fileno(), step, connection.close, idle, connection.forget)


def answer(connection: Connection, name: str, handler: Handler) -> bool:
    """Read one request and send its reply; False when the conversation has ended."""
    try:
        body = connection.receive()
        if body is None:
            return False
        try:
            request = read_request(body)
        except ProtocolError as error:
            logger.warning("%s: %s", name, error)
            connection.send(frame(Failure(str(error))))
            return True
        connection.send(frame(handler(request)))
    except ProtocolError as error:  # what follows a frame that is too large can't be told apart
        logger.warning("%s: %s; hanging up", name, error)
        return False
    except Lost as error:
        logger.warning("%s: %s", name, error)
        return False
    return True
