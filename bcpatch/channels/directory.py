"""The folder where the sockets of a user's processes are.

A process that runs as a service often has no ``XDG_RUNTIME_DIR`` where its operator's
shell has one, so there are two places: those who look for a process look in both.
"""

from __future__ import annotations

import os
import stat

from bcpatch.channels.base import ChannelError

SUFFIX = ".sock"


def directories() -> tuple[str, ...]:
    """Where a process of this user makes its socket, in order of preference."""
    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        found.append(os.path.join(runtime, "bcpatch"))
    found.append(os.path.join(_temporary(), f"bcpatch-{os.geteuid()}"))
    return tuple(found)


def _temporary() -> str:
    """The temporary folder, wherever an application has its own.

    ``tempfile`` would take another one, or raise, where it can write nothing: on a full disk, say, where there is still
    room for sockets, and where a process may have made its own before.
    """
    named = filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP")))
    places = [os.path.abspath(one) for one in (*named, "/tmp", "/var/tmp", "/usr/tmp") if os.path.isdir(one)]
    return next((one for one in places if os.access(one, os.W_OK | os.X_OK)), places[0] if places else "/tmp")


def check(directory: str) -> None:
    """Raise `ChannelError` unless ``directory`` is this user's own and nobody else can enter it."""
    try:
        found = os.lstat(directory)
    except OSError as error:
        raise ChannelError(f"{directory}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise ChannelError(f"{directory}: not a folder (a symbolic link is not followed)")
    if found.st_uid != os.geteuid():
        raise ChannelError(f"{directory}: belongs to user {found.st_uid}, not to {os.geteuid()}")
    if _can_be_replaced(directory):
        raise ChannelError(f"{directory}: another user may put a folder of his own in its place")
    if found.st_mode & 0o077:
        raise ChannelError(f"{directory}: open to other users (mode {stat.S_IMODE(found.st_mode):04o}, not 0700)")


def _can_be_replaced(directory: str) -> bool:
    above = os.stat(os.path.dirname(directory))
    shared = above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX
    return bool(shared) or above.st_uid not in (0, os.geteuid())


def prepare(directory: str) -> None:
    """Make ``directory``, mode 0700, where it doesn't exist; raise `ChannelError` where it isn't safe."""
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ChannelError(f"{directory}: {error.strerror}") from error
    check(directory)


def sockets() -> dict[int, list[str]]:
    """The sockets of this user's processes, by process id; some may be left by dead ones."""
    found: dict[int, list[str]] = {}
    for directory in directories():
        try:
            check(directory)
            names = os.listdir(directory)
        except (ChannelError, OSError):  # no process has made a socket there that could be trusted
            continue
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix == SUFFIX and stem.isdecimal():
                found.setdefault(int(stem), []).append(os.path.join(directory, name))
    return found
