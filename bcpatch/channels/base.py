"""What every channel is made of: file descriptors, each attended to by a daemon thread.

Threads can be sent away before a fork and called back after it with nothing lost, and
none is left waiting when the interpreter ends. Nothing here knows what is read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable

import msgspec

from bcpatch.diagnostics import Error

logger = logging.getLogger("bcpatch")


class ChannelError(Error):
    """A channel that can't be opened; the message says why."""


class Post(msgspec.Struct, eq=False):
    """A file descriptor and what to do when it is ready to be read.

    ``step`` returns False when there is nothing more to come; after that, or after
    ``idle`` seconds of silence, ``end`` releases what the post holds. Where the application
    has closed the descriptor meanwhile, its number may be that of a file of its own:
    then ``forget`` lets go of it without closing it.
    """

    name: str
    descriptor: int
    step: Callable[[], bool]
    end: Callable[[], None]
    idle: float | None = None
    forget: Callable[[], object] = lambda: None
    thread: threading.Thread | None = None
    identity: os.stat_result | None = None


class Channel:
    """A named place where requests come in.

    ``address`` is what others reach it by. ``release`` is called once, when the channel
    closes. A forked child that closes it only lets go of it: it is its parent's.
    """

    def __init__(self, name: str, address: str, release: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.address = address
        self._release = release
        self._owner = os.getpid()
        self._posts: list[Post] = []
        self._change = threading.Condition()
        self._ringing = self._closed = False
        self._bell, self._rope = os.pipe()
        self._identity = os.fstat(self._bell)

    @property
    def posts(self) -> int:
        """How many descriptors are attended to now."""
        return len(self._posts)

    def attend(self, post: Post) -> None:
        """Give ``post`` a daemon thread."""
        post.identity = os.fstat(post.descriptor)
        with self._change:
            self._posts.append(post)
            if not self._ringing:
                self._start(post)

    def serve(self, post: Post) -> None:
        """Attend to ``post`` in the calling thread until it ends or the channel closes."""
        post.identity = os.fstat(post.descriptor)
        with self._change:
            post.thread = threading.current_thread()
            self._posts.append(post)
        self._attend(post)

    def park(self, seconds: float = 1.0) -> None:
        """Send away every thread that only waits; one that is busy goes on, and isn't waited for longer."""
        with self._change:
            if not self._ringing and self._is_intact():  # else the threads end by themselves
                self._ringing = True
                os.write(self._rope, b"!")
            threads = [post.thread for post in self._posts if post.thread and _is_ours(post.thread)]
        deadline = time.monotonic() + seconds
        for thread in threads:
            if thread is not threading.current_thread():
                with contextlib.suppress(RuntimeError):  # Ctrl-C came while it was being started
                    thread.join(max(0.0, deadline - time.monotonic()))
                _outlive(thread, deadline)

    def resume(self) -> None:
        """Call back the threads that `park` sent away."""
        with self._change:
            if self._closed or not self._ringing or not self._is_intact():
                return
            os.read(self._bell, 1)
            self._ringing = False
            self._change.notify_all()
            for post in [post for post in self._posts if post.thread is None]:
                self._start(post)

    def close(self) -> None:
        """Stop serving. A request that is being handled is waited for one second at most."""
        if os.getpid() != self._owner:
            self._abandon()
            return
        with self._change:
            if self._closed:
                return
            self._closed = True
            self._change.notify_all()
        self._release()
        self.park()
        idle = [post for post in self._posts if post.thread is None]
        for post in idle:
            self._dismiss(post)
        if not idle and not self._posts:
            self._unhang()

    def _abandon(self) -> None:
        """Let go of all descriptors: no thread is left that could use them, and the lock may be held by one."""
        self._closed = True
        posts, self._posts = self._posts, []
        for post in posts:
            _end(post)
        self._unhang()

    def pause(self, seconds: float) -> None:
        """Wait, unless and until the channel closes or its threads are sent away."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        poll.poll(seconds * 1000)

    def _start(self, post: Post) -> None:
        post.thread = threading.Thread(target=self._attend, args=(post,), name=f"bcpatch {post.name}", daemon=True)
        try:
            post.thread.start()
        except RuntimeError as error:  # the interpreter is ending, or the system has no thread left
            logger.warning("%s: no thread to attend to it: %s", post.name, error)
            self._posts.remove(post)
            _end(post)

    def _attend(self, post: Post) -> None:
        """Run ``post`` until it ends, or the bell sends this thread away."""
        try:
            while post in self._posts:  # not so in a child that a step forked
                ready = self._wait(post)
                if not self._is_intact():
                    logger.error("%s: the application closed the descriptors of bcpatch", post.name)
                    break
                if self._bell in ready:
                    if self._closed:
                        break
                    if self._leave(post):
                        return
                elif post.descriptor not in ready or not post.step():
                    break
        except Exception:
            logger.exception("%s: an error of bcpatch itself ended it", post.name)
        except BaseException:  # an interrupt of the thread that was lent
            self._dismiss(post)
            raise
        self._dismiss(post)

    def _wait(self, post: Post) -> set[int]:
        """The descriptors that are ready: of the post, the bell, or none where it was silent for too long."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        poll.register(post.descriptor, select.POLLIN)
        return {descriptor for descriptor, _ in poll.poll(None if post.idle is None else post.idle * 1000)}

    def _leave(self, post: Post) -> bool:
        """Whether the thread of ``post`` shall end for now; a thread lent by the application waits instead."""
        with self._change:
            if _is_ours(threading.current_thread()):
                if self._ringing:
                    post.thread = None
                return self._ringing
            self._change.wait_for(lambda: self._closed or not self._ringing)
            return False

    def _dismiss(self, post: Post) -> None:
        with self._change:
            if post not in self._posts:
                return
            self._posts.remove(post)
            last = self._closed and not self._posts
        _end(post)
        if last:
            self._unhang()

    def _unhang(self) -> None:
        """Give up the bell: nobody listens for it any more."""
        if self._is_intact():
            os.close(self._bell)
            os.close(self._rope)

    def _is_intact(self) -> bool:
        """Whether the bell is still the bell: a process that becomes a daemon closes all descriptors."""
        return _is_still(self._bell, self._identity) and _is_still(self._rope, self._identity)


def _end(post: Post) -> None:
    if post.identity is None or _is_still(post.descriptor, post.identity):
        post.end()
    else:
        post.forget()


def _is_still(descriptor: int, identity: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), identity)
    except OSError:
        return False


def _outlive(thread: threading.Thread, deadline: float) -> None:
    """Wait for the system's part of a thread too: CPython counts it at a fork, and warns (3.12+, Linux).

    ``Thread.join`` returns a moment before it is gone, up to 3.13.
    """
    task = f"/proc/self/task/{thread.native_id}"
    while not thread.is_alive() and os.path.exists(task) and time.monotonic() < deadline:
        os.sched_yield()


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("bcpatch ")
