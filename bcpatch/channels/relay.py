"""Lets others reach a process below `bcpatch run` by its id: the supervisor passes on what they ask.

A process answers on one channel, and that one leads to its supervisor. So the supervisor
listens in the process's name, for as long as the process is connected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from bcpatch.channels import unix
from bcpatch.channels.base import Channel
from bcpatch.channels.connection import Lost
from bcpatch.channels.peer import Peer
from bcpatch.channels.protocol import Apply, Failure, Hello, LoadedReply, LoadedRequest, Reply, Request

#: Seconds that a process may take to answer, beyond what the request itself may take.
ANSWER_SECONDS: Final = 30.0


def open_channel(peer: Peer, passed: Callable[[Request, Reply], None]) -> Channel:
    """Listen in the name of ``peer``. ``passed`` is told of every request that was passed on, and its reply.

    Raises `ChannelError` where no socket can be made.
    """

    def answer(request: Request) -> Reply:
        reply = _asked(peer, request)
        passed(request, reply)
        return reply

    def greeting() -> Hello:
        now = _asked(peer, LoadedRequest())
        if not isinstance(now, LoadedReply):
            return peer.hello
        return msgspec.structs.replace(peer.hello, generation=now.generation)

    channel, post = unix.open_channel(answer, greeting, peer.hello.pid)
    channel.attend(post)
    return channel


def _asked(peer: Peer, request: Request) -> Reply:
    waiting = request.timeout or 0.0 if isinstance(request, Apply) else 0.0
    try:
        return peer.request(request, ANSWER_SECONDS + waiting)
    except TimeoutError:
        return Failure("it does not answer; it may still do what it was asked to")
    except Lost as error:
        return Failure(str(error))
