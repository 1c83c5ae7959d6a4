"""The default channel: a Unix socket of the process, which its own user (and root) can reach.

Its path is ``PID.sock`` in the user's runtime folder. The folder's mode is what keeps
others out from the first instant; the socket's mode and the peer's credentials are the
second and third lock.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable, Iterator

from bcpatch.channels import serve
from bcpatch.channels.base import Channel, ChannelError, Post
from bcpatch.channels.connection import Connection, Lost
from bcpatch.channels.directory import SUFFIX, directories, prepare, sockets
from bcpatch.channels.protocol import Failure, Handler, frame

logger = logging.getLogger("bcpatch")

#: Conversations at a time; one more is told so and hung up on.
LIMIT = 16

#: Seconds after which a peer that asks nothing is hung up on.
IDLE = 60.0


def open_channel(handler: Handler, greeting: serve.Greeting, pid: int | None = None) -> tuple[Channel, Post]:
    """Listen on the socket of this process, or in the name of process ``pid``; the post accepts connections.

    Raises `ChannelError` with every reason where no socket can be made.
    """
    listener, path = listen(str(os.getpid() if pid is None else pid))
    channel = Channel("socket", path, remover(path))

    def take(connection: Connection) -> None:
        if channel.posts > LIMIT:
            logger.warning("%s: refused a connection: there are %d already", channel.name, LIMIT)
            connection.send(frame(Failure(f"more than {LIMIT} connections")))
            connection.close()
            return
        connection.send(frame(greeting()))
        channel.attend(serve.post(connection, channel.name, handler, idle=IDLE))

    return channel, accepting(listener, channel, take)


def listen(name: str) -> tuple[socket.socket, str]:
    """A listening socket called ``name`` in the first of the user's runtime folders that is fit for one; its path.

    Sockets that dead processes left are removed. Raises `ChannelError` with every reason
    where no folder is fit.
    """
    sweep()
    reasons = []
    for directory in directories():
        path = os.path.join(directory, name + SUFFIX)
        try:
            prepare(directory)
            listener = _listen_at(path)
        except ChannelError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            logger.warning("%s; listening in %s instead", reason, directory)
        return listener, path
    raise ChannelError("; ".join(reasons))


def sweep() -> None:
    """Remove the sockets of processes that are gone: one that is killed, or forked and not exec'ed, leaves its own."""
    for pid, paths in sockets().items():
        for path in paths:
            if not lives(pid) and not is_served(path):
                with contextlib.suppress(OSError):  # another process sweeps at the same time
                    os.unlink(path)


def lives(pid: int) -> bool:
    """Whether there is a process ``pid``."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def remover(path: str) -> Callable[[], None]:
    """A function that removes the socket at ``path``, if it is still this one."""
    made = os.lstat(path)

    def remove() -> None:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if os.path.samestat(os.lstat(path), made):
                os.unlink(path)

    return remove


def accepting(listener: socket.socket, channel: Channel, take: Callable[[Connection], None]) -> Post:
    """A post that gives every trusted peer of ``listener`` to ``take``."""

    def step() -> bool:
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it hung up before
            return True
        except OSError as error:  # no descriptor or no memory left: others may give some back
            logger.warning("%s: can't accept a connection: %s", channel.name, error.strerror)
            channel.pause(1.0)
            return True
        connection = Connection(accepted)
        try:
            if connection.peer_is_trusted():
                take(connection)
                return True
            logger.warning("%s: refused a connection from another user", channel.name)
        except Lost:  # somebody who only looked whether this process lives
            logger.debug("%s: a connection was closed before it was greeted", channel.name)
        connection.close()
        return True

    return Post(channel.name, listener.fileno(), step, listener.close, forget=listener.detach)


def _listen_at(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _reason(path):
            _make_room(path)
            listener.bind(path)
            os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
            listener.listen(LIMIT)
            listener.setblocking(False)
    except ChannelError:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _reason(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        too_long = error.errno is None and "too long" in str(error)
        reason = f"{len(os.fsencode(path))} bytes are too long for a socket's path" if too_long else error.strerror
        raise ChannelError(f"{path}: {reason or error}") from error


def _make_room(path: str) -> None:
    """Remove what a dead process left at ``path``."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ChannelError(f"{path}: there is something that is no socket")
    if is_served(path):
        raise ChannelError(f"{path}: in use by another process")
    os.unlink(path)
    logger.info("%s: replaced the socket that a dead process left", path)


def is_served(path: str) -> bool:
    """Whether a living process listens on the socket at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    return result not in (errno.ECONNREFUSED, errno.ENOENT)
