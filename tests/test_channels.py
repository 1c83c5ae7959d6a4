"""Channels: what is said, who may come in, and that nothing a peer does stops the others being served."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcpatch import fingerprint
from bcpatch.channels import client, connection, directory, protocol, stdin, supervisor, unix, workers
from bcpatch.channels.base import Channel, ChannelError, Post
from bcpatch.channels.connection import Connection, Lost
from bcpatch.channels.peer import Peer, greet
from bcpatch.channels.protocol import (
    Applied,
    Apply,
    Failure,
    Hello,
    LoadedRequest,
    ProtocolError,
    Refusal,
    Reply,
    Request,
    Rollback,
    StatusRequest,
    frame,
)
from bcpatch.diagnostics import finding

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("folder")]

SECONDS = 20.0
"""How long a test waits for what must come; only a failing test waits so long."""

#: The test runner may have threads of its own, of which CPython 3.12+ warns at a fork.
RUNNER_HAS_THREADS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def hello() -> Hello:
    return Hello(
        pid=os.getpid(),
        program="test",
        interpreter=fingerprint.this_interpreter(),
        policy=None,
        generation=0,
        started=0.0,
    )


def echo(request: Request) -> Reply:
    """A handler that says which request it got."""
    match request:
        case Apply(patch=data):
            return Failure(data.decode())
        case Rollback(to=number):
            return Applied(number or 0, 0.5)
        case StatusRequest() | LoadedRequest():
            return Refusal((finding("BCP606", "busy"),))


@contextlib.contextmanager
def serving(handler: protocol.Handler = echo) -> Iterator[Channel]:
    channel, post = unix.open_channel(handler, hello)
    channel.attend(post)
    try:
        yield channel
    finally:
        channel.close()


@contextlib.contextmanager
def dialled(path: str) -> Iterator[socket.socket]:
    """A bare socket connected to a channel; it fails the test rather than wait for ever."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(SECONDS)
        sock.connect(path)
        yield sock


def body(sock: socket.socket) -> bytes:
    """The next frame's body; empty where the other side has hung up."""
    try:
        header = sock.recv(4, socket.MSG_WAITALL)
    except ConnectionResetError:  # it hung up on what it had not read
        return b""
    return sock.recv(struct.unpack(">I", header)[0], socket.MSG_WAITALL) if header else b""


def reply(sock: socket.socket) -> Reply:
    return protocol.read_reply(body(sock))


def asks(path: str, number: int) -> Reply:
    """What a well-behaved peer hears."""
    with dialled(path) as sock:
        protocol.read_hello(body(sock))
        sock.sendall(frame(Rollback(number)))
        return reply(sock)


# --- messages --------------------------------------------------------------------------

REQUESTS = st.one_of(
    st.builds(
        Apply,
        patch=st.binary(),
        consistency=st.sampled_from(["immediate", "quiescent"]),
        scan=st.sampled_from(["references", "heap"]),
        timeout=st.none() | st.floats(0, 1e6),
        dry_run=st.booleans(),
    ),
    st.builds(Rollback, st.none() | st.integers(0, 2**40)),
    st.builds(StatusRequest),
    st.builds(LoadedRequest),
)


@given(REQUESTS)
def test_a_request_is_read_as_it_was_sent(request: Request) -> None:
    data = frame(request)
    assert protocol.body_length(data[:4]) == len(data) - 4
    assert protocol.read_request(data[4:]) == request


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    for read in (protocol.read_hello, protocol.read_request, protocol.read_reply):
        with contextlib.suppress(ProtocolError):
            read(data)


def test_a_frame_larger_than_the_limit_is_refused_before_it_is_read() -> None:
    assert protocol.body_length(protocol.HEADER.pack(protocol.MAXIMUM)) == protocol.MAXIMUM
    with pytest.raises(ProtocolError, match="larger than the limit"):
        protocol.body_length(protocol.HEADER.pack(protocol.MAXIMUM + 1))


def test_a_greeting_of_another_version_is_refused() -> None:
    other = Hello(**{name: getattr(hello(), name) for name in Hello.__struct_fields__} | {"version": 99})
    with pytest.raises(ProtocolError, match="speaks protocol 99"):
        protocol.read_hello(frame(other)[4:])


# --- one connection --------------------------------------------------------------------


def test_a_process_greets_and_then_answers_in_order() -> None:
    with serving() as channel, dialled(channel.address) as sock:
        assert protocol.read_hello(body(sock)).pid == os.getpid()
        sock.sendall(b"".join(frame(Rollback(number)) for number in range(50)))
        assert [reply(sock) for _ in range(50)] == [Applied(number, 0.5) for number in range(50)]


def test_a_body_that_is_no_request_is_answered_and_the_conversation_goes_on() -> None:
    with serving() as channel, dialled(channel.address) as sock:
        body(sock)
        sock.sendall(struct.pack(">I", 7) + b"garbage")
        answer = reply(sock)
        assert isinstance(answer, Failure)
        assert "not a request" in answer.message
        sock.sendall(frame(Rollback(1)))
        assert reply(sock) == Applied(1, 0.5)


MISBEHAVIOUR: dict[str, bytes] = {
    "half a header": b"\0\0",
    "half a body": frame(Rollback(1))[:-3],
    "a frame too large": b"\xff\xff\xff\xff" + b"x" * 1000,
    "an HTTP request": b"GET / HTTP/1.0\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("sent", MISBEHAVIOUR.values(), ids=MISBEHAVIOUR)
def test_a_peer_that_breaks_off_harms_nobody(sent: bytes) -> None:
    with serving() as channel:
        with dialled(channel.address) as sock:
            body(sock)
            sock.sendall(sent)
        assert asks(channel.address, 3) == Applied(3, 0.5)


@given(st.lists(st.binary(max_size=40) | REQUESTS.map(frame), max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_peer_sends_the_next_one_is_served(parts: list[bytes]) -> None:
    with serving() as channel:
        with dialled(channel.address) as sock:
            body(sock)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for part in parts:
                    sock.sendall(part)
                sock.shutdown(socket.SHUT_WR)
                while heard := body(sock):
                    protocol.read_reply(heard)
        assert asks(channel.address, 3) == Applied(3, 0.5)


@pytest.mark.parametrize("sent", [b"\0\0", frame(Rollback(1))[:-3]], ids=["header", "body"])
def test_a_peer_that_stops_in_the_middle_of_a_message_is_hung_up_on(
    sent: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "MESSAGE_SECONDS", 0.05)
    with serving() as channel, dialled(channel.address) as sock:
        body(sock)
        sock.sendall(sent)
        assert asks(channel.address, 4) == Applied(4, 0.5)
        assert body(sock) == b""
    assert "stopped in the middle of a message" in caplog.text


def test_a_peer_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(connection, "MESSAGE_SECONDS", 0.05)
    gave_up = threading.Event()
    monkeypatch.setattr(logging.getLogger("bcpatch"), "warning", lambda *words: gave_up.set())
    with serving(lambda request: Failure("x" * (8 << 20))) as channel, dialled(channel.address) as sock:
        sock.sendall(frame(StatusRequest()))
        assert gave_up.wait(SECONDS)


def test_a_peer_that_has_nothing_more_to_say_still_gets_its_reply() -> None:
    with serving() as channel, dialled(channel.address) as sock:
        body(sock)
        sock.sendall(frame(Rollback(5)))
        sock.shutdown(socket.SHUT_WR)
        assert reply(sock) == Applied(5, 0.5)
        assert body(sock) == b""


def test_a_peer_that_asks_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix, "IDLE", 0.02)
    with serving() as channel, dialled(channel.address) as sock:
        body(sock)
        assert body(sock) == b""


def test_one_connection_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix, "LIMIT", 2)
    with serving() as channel, contextlib.ExitStack() as stack:
        guests = [stack.enter_context(dialled(channel.address)) for _ in range(2)]
        for guest in guests:
            body(guest)
        with dialled(channel.address) as sock:
            assert reply(sock) == Failure("more than 2 connections")
            assert body(sock) == b""
        with pytest.raises(ChannelError, match="more than 2 connections"):
            client.connect(os.getpid())


def test_a_busy_handler_keeps_no_other_peer_waiting() -> None:
    entered, leave = threading.Event(), threading.Event()

    def handler(request: Request) -> Reply:
        if request == Rollback(1):
            entered.set()
            leave.wait(SECONDS)
        return echo(request)

    with serving(handler) as channel, dialled(channel.address) as sock:
        body(sock)
        sock.sendall(frame(Rollback(1)))
        assert entered.wait(SECONDS)
        assert asks(channel.address, 2) == Applied(2, 0.5)
        leave.set()
        assert reply(sock) == Applied(1, 0.5)


def test_an_error_in_a_handler_ends_its_conversation_only(caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: Request) -> Reply:
        if request == Rollback(1):
            raise ZeroDivisionError
        return echo(request)

    with serving(handler) as channel:
        with dialled(channel.address) as sock:
            body(sock)
            sock.sendall(frame(Rollback(1)))
            assert body(sock) == b""
        assert asks(channel.address, 2) == Applied(2, 0.5)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused_even_where_the_folder_would_let_him_in(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dial = "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
    with serving() as channel:
        for path in (folder, Path(channel.address).parent):
            path.chmod(0o755)
        Path(channel.address).chmod(0o777)
        heard = subprocess.check_output([sys.executable, "-c", dial + "print(s.recv(99))", channel.address])
        assert heard == b"b''\n"
        assert asks(channel.address, 1) == Applied(1, 0.5)
    assert "refused a connection from another user" in caplog.text


# --- the socket and its folder -----------------------------------------------------------


def test_the_socket_is_its_users_alone_and_is_removed_at_the_end(folder: Path) -> None:
    with serving() as channel:
        path = Path(channel.address)
        assert path == folder / "bcpatch" / f"{os.getpid()}.sock"
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


@RUNNER_HAS_THREADS
def test_a_forked_child_that_closes_the_channel_leaves_the_socket_to_its_parent() -> None:
    with serving() as channel:
        channel.park()
        child = os.fork()
        if not child:
            channel.close()
            os._exit(0)
        channel.resume()
        assert os.waitpid(child, 0)[1] == 0
        assert asks(channel.address, 1) == Applied(1, 0.5)


def test_a_socket_that_a_dead_process_left_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        (folder / "bcpatch").mkdir(mode=0o700)
        dead.bind(str(folder / "bcpatch" / f"{os.getpid()}.sock"))
    with serving() as channel:
        assert Path(channel.address).parent == folder / "bcpatch"
        assert asks(channel.address, 1) == Applied(1, 0.5)


def test_where_a_socket_is_in_use_the_next_folder_is_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "bcpatch").mkdir(mode=0o700)
    taken = folder / "bcpatch" / f"{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(taken))
        living.listen()
        with serving() as channel:
            assert Path(channel.address).parent == folder / f"bcpatch-{os.geteuid()}"
        assert taken.exists()
    assert f"{taken}: in use by another process; listening in {folder}" in caplog.text


def _symbolic(path: Path) -> None:
    path.with_name("elsewhere").mkdir(mode=0o700, exist_ok=True)
    path.symlink_to(path.with_name("elsewhere"))


def _open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o755)


def _somebody_elses(path: Path) -> None:
    path.mkdir(mode=0o700)
    try:
        os.chown(path, 65534, -1)
    except PermissionError:
        pytest.skip("only root can give a folder away")


def _below_somebody_elses(path: Path) -> None:
    path.mkdir(mode=0o700)
    try:
        os.chown(path.parent, 65534, -1)
    except PermissionError:
        pytest.skip("only root can give a folder away")


def _below_a_shared_folder(path: Path) -> None:
    path.mkdir(mode=0o700)
    path.parent.chmod(0o777)


def _occupied(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / f"{os.getpid()}.sock").write_text("mine", "utf-8")


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "symbolic link": (_symbolic, "not a folder"),
    "open to others": (_open_to_all, "mode 0755, not 0700"),
    "somebody else's": (_somebody_elses, "belongs to user 65534"),
    "below somebody else's": (_below_somebody_elses, "in its place"),
    "below a shared folder": (_below_a_shared_folder, "in its place"),
    "a file": (lambda path: path.write_text("", "utf-8"), "not a folder"),
    "something else there": (_occupied, "no socket"),
}


@pytest.mark.parametrize(("spoil", "reason"), UNFIT.values(), ids=UNFIT)
def test_a_folder_that_is_not_safe_is_not_used(spoil: Callable[[Path], object], reason: str, folder: Path) -> None:
    for name in ("bcpatch", f"bcpatch-{os.geteuid()}"):
        spoil(folder / name)
    with pytest.raises(ChannelError, match=reason) as raised:
        unix.open_channel(echo, hello)
    assert str(raised.value).count(reason) == 2


def test_a_path_too_long_for_a_socket_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = folder / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with serving() as channel:
        assert Path(channel.address).parent == folder / f"bcpatch-{os.geteuid()}"
    monkeypatch.setenv("TMPDIR", str(long))
    with pytest.raises(ChannelError, match="too long for a socket's path"):
        unix.open_channel(echo, hello)


def test_a_folder_that_cannot_be_made_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "missing"))
    monkeypatch.setattr(directory, "_temporary", lambda: str(folder / "missing"))
    with pytest.raises(ChannelError, match="No such file or directory"):
        unix.open_channel(echo, hello)


def test_names_of_programs_that_are_no_text_are_told_escaped() -> None:
    told = msgspec.structs.replace(hello(), program="python a\udcff.py")
    assert protocol.read_hello(frame(told)[4:]).program == "python a\\udcff.py"


def test_files_of_modules_are_told_as_they_are() -> None:
    reply = protocol.LoadedReply(0, None, (protocol.LoadedModule("a", os.fsencode("/a\udcff.py"), ""),))
    found = protocol.read_reply(frame(reply)[4:])
    assert isinstance(found, protocol.LoadedReply)
    assert found.modules[0].path == "/a\udcff.py"
    assert protocol.identity(found) == protocol.identity(reply)


# --- those who ask -----------------------------------------------------------------------


def test_a_client_finds_a_process_by_its_id() -> None:
    with serving():
        assert [found.pid for found in client.processes().processes] == [os.getpid()]
        peer = client.connect(os.getpid())
        assert peer.request(Rollback(7), SECONDS) == Applied(7, 0.5)
        peer.close()


def test_a_process_without_a_socket_is_named() -> None:
    with pytest.raises(ChannelError, match=r"process 1 has no socket in .*bcpatch"):
        client.connect(1)


def test_sockets_of_dead_processes_are_cleared_away(folder: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (folder / "bcpatch").mkdir(mode=0o700)
    left = folder / "bcpatch" / f"{ended.pid}.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    with pytest.raises(ChannelError, match="is gone"):
        client.connect(ended.pid)
    with serving():
        assert [found.pid for found in client.processes().processes] == [os.getpid()]
    assert not left.exists()


@contextlib.contextmanager
def talking(behave: Callable[[socket.socket], None]) -> Iterator[Peer]:
    """A peer on the other side of which ``behave`` has the bare socket, already greeted."""
    here, there = socket.socketpair()
    there.settimeout(SECONDS)
    thread = threading.Thread(target=behave, args=(there,))
    peer = Peer(Connection(here), hello())
    thread.start()
    try:
        yield peer
    finally:
        peer.close()
        thread.join()
        there.close()


def test_a_late_reply_is_not_taken_for_the_next_one() -> None:
    late = threading.Event()

    def behave(sock: socket.socket) -> None:
        body(sock)
        late.wait(SECONDS)
        sock.sendall(frame(Applied(1, 0.5)))
        body(sock)
        sock.sendall(frame(Applied(2, 0.5)))

    with talking(behave) as peer:
        with pytest.raises(TimeoutError):
            peer.request(Rollback(1), 0.01)
        answer = peer.ask(Rollback(2))
        late.set()
        assert answer.result(SECONDS) == Applied(2, 0.5)


def test_what_is_asked_while_a_large_request_is_on_its_way_comes_after_it() -> None:
    released = threading.Event()

    class Held(Connection):
        def send(self, frame: bytes | memoryview) -> None:
            released.wait(SECONDS)
            super().send(frame)

    requests: list[Request] = [Apply(patch=b"x" * (8 << 20)), Rollback(1), Rollback(2)]
    expected = b"".join(map(frame, requests))
    here, there = socket.socketpair()
    there.settimeout(SECONDS)
    peer = Peer(Held(here), hello())
    peer.ask(requests[0])
    came = there.recv(len(expected))  # there is room for the next one now
    peer.ask(requests[1])
    peer.ask(requests[2])
    released.set()
    while len(came) < len(expected):
        came += there.recv(len(expected))
    assert came == expected
    there.close()
    peer.close()


REPLIES: dict[str, tuple[bytes, str]] = {
    "none": (b"", "ended the conversation"),
    "half of one": (frame(Applied(1, 0.5))[:-2], "in the middle of a message"),
    "garbage": (struct.pack(">I", 3) + b"abc", "not a reply"),
    "too large": (b"\xff\xff\xff\xff", "larger than the limit"),
}


@pytest.mark.parametrize(("sent", "reason"), REPLIES.values(), ids=REPLIES)
def test_a_process_that_breaks_off_is_lost_to_everyone_who_asked(sent: bytes, reason: str) -> None:
    def behave(sock: socket.socket) -> None:
        body(sock)
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_RDWR)

    with talking(behave) as peer:
        answers = [peer.ask(Rollback(1)), peer.ask(Rollback(2))]
        for answer in answers:
            with pytest.raises(Lost, match=reason):
                answer.result(SECONDS)
        with pytest.raises(Lost, match=reason):
            peer.request(Rollback(3), SECONDS)


def test_a_reply_that_nobody_asked_for_ends_the_conversation() -> None:
    with talking(lambda sock: sock.sendall(frame(Applied(1, 0.5)))) as peer:
        peer._reader.join(SECONDS)
        with pytest.raises(Lost, match="nobody asked for"):
            peer.request(Rollback(1), SECONDS)


def test_somebody_who_is_no_process_of_ours_is_not_taken_for_one() -> None:
    here, there = socket.socketpair()
    with there:
        there.sendall(struct.pack(">I", 3) + b"abc")
        with pytest.raises(ProtocolError, match="not a greeting"):
            greet(Connection(here), SECONDS)
    here.close()


# --- the supervisor ------------------------------------------------------------------------


class Crowd:
    """Workers as a supervisor sees them come and go."""

    def __init__(self) -> None:
        self.change = threading.Condition()
        self.joined: list[int] = []
        self.left: list[int] = []

    def join(self, peer: Peer) -> None:
        with self.change:
            self.joined.append(peer.hello.pid)
            self.change.notify_all()

    def leave(self, peer: Peer) -> None:
        with self.change:
            assert peer.hello.pid in self.joined
            self.left.append(peer.hello.pid)
            self.change.notify_all()

    def wait(self, *, joined: int = 0, left: int = 0) -> None:
        with self.change:
            assert self.change.wait_for(lambda: len(self.joined) >= joined and len(self.left) >= left, SECONDS)


@contextlib.contextmanager
def supervising() -> Iterator[tuple[workers.Workers, Crowd]]:
    crowd = Crowd()
    found = workers.Workers(crowd.join, crowd.leave)
    try:
        yield found, crowd
    finally:
        found.close()


def connected(path: str, handler: protocol.Handler = echo, gone: Callable[[], None] = lambda: None) -> Channel:
    channel, post = supervisor.open_channel(path, handler, hello, gone)
    channel.attend(post)
    return channel


def test_all_workers_are_asked_and_all_answer() -> None:
    with supervising() as (found, crowd):
        channels = [connected(found.path) for _ in range(3)]
        crowd.wait(joined=3)
        answers = workers.ask(found.peers(), Rollback(4), SECONDS)
        assert [answer.reply for answer in answers] == [Applied(4, 0.5)] * 3
        channels[0].close()
        crowd.wait(left=1)
        assert len(found.peers()) == 2
        for channel in channels[1:]:
            channel.close()
    assert not Path(found.path).exists()


def test_a_worker_that_does_not_answer_keeps_no_other_waiting() -> None:
    leave = threading.Event()

    def slow(request: Request) -> Reply:
        leave.wait(SECONDS)
        return echo(request)

    with supervising() as (found, crowd):
        channels = [connected(found.path, slow), connected(found.path)]
        crowd.wait(joined=2)
        replies = [answer.reply for answer in workers.ask(found.peers(), Rollback(4), 0.3)]
        assert sorted(replies, key=repr) == [Applied(4, 0.5), None]
        leave.set()
        assert [answer.reply for answer in workers.ask(found.peers(), Rollback(5), SECONDS)] == [Applied(5, 0.5)] * 2
        for channel in channels:
            channel.close()


def test_a_worker_that_ends_while_it_is_welcomed_has_joined_before_it_left() -> None:
    left = threading.Event()
    early: list[bool] = []
    made, welcomed = threading.Event(), threading.Event()

    def join(peer: Peer) -> None:
        made.wait(SECONDS)
        channel.close()
        peer._writer.join(SECONDS)
        early.append(left.wait(0.2))
        welcomed.set()

    found = workers.Workers(join, lambda peer: left.set())
    channel = connected(found.path)
    made.set()
    assert welcomed.wait(SECONDS)
    assert left.wait(SECONDS)
    assert early == [False]
    found.close()


def test_a_worker_hears_that_its_supervisor_has_gone() -> None:
    gone = threading.Event()
    with supervising() as (found, crowd):
        channel = connected(found.path, gone=gone.set)
        crowd.wait(joined=1)
    assert gone.wait(SECONDS)
    channel.close()


def test_a_supervisor_that_is_not_there_is_said(folder: Path) -> None:
    with pytest.raises(ChannelError, match="can't reach the supervisor"):
        supervisor.open_channel(str(folder / "none.sock"), echo, hello, lambda: None)


def test_a_stranger_at_the_supervisors_socket_is_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    with supervising() as (found, crowd):
        with dialled(found.path) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert body(sock) == b""
        channel = connected(found.path)
        crowd.wait(joined=1)
        assert crowd.left == []
        channel.close()
    assert "isn't a worker" in caplog.text


WORKER = """
import os, sys, time
from bcpatch.channels import supervisor
from bcpatch.channels.protocol import Hello, Rollback, Applied
from bcpatch.fingerprint import this_interpreter
def hello():
    return Hello(pid=os.getpid(), program="w", interpreter=this_interpreter(), policy=None, generation=0, started=0.0)
def handler(request):
    if request == Rollback(9):
        os.kill(os.getpid(), 9)
    return Applied(request.to, 0.5)
channel, post = supervisor.open_channel(sys.argv[1], handler, hello, lambda: None)
channel.serve(post)
"""


def test_a_worker_killed_while_it_is_asked_is_told_from_one_that_answers() -> None:
    with supervising() as (found, crowd), contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", WORKER, found.path])) for _ in range(2)
        ]
        crowd.wait(joined=2)
        assert sorted(crowd.joined) == sorted(process.pid for process in processes)
        killed, other = found.peers()
        with pytest.raises(Lost, match=f"process {killed.hello.pid} "):
            killed.request(Rollback(9), SECONDS)
        crowd.wait(left=1)
        assert other.request(Rollback(2), SECONDS) == Applied(2, 0.5)
        for process in processes:
            process.kill()


def test_a_stopped_worker_does_not_hold_up_a_large_patch() -> None:
    with supervising() as (found, crowd), subprocess.Popen([sys.executable, "-c", WORKER, found.path]) as process:
        crowd.wait(joined=1)
        channel = connected(found.path)
        crowd.wait(joined=2)
        process.send_signal(signal.SIGSTOP)
        answers = workers.ask(found.peers(), Apply(patch=b"x" * (8 << 20)), 2.0)
        process.kill()
        assert sorted(answer.reply is None for answer in answers) == [False, True]
        channel.close()


# --- standard input ------------------------------------------------------------------------


@contextlib.contextmanager
def typing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[str], threading.Event]]:
    """A pipe as standard input, the lines that were taken from it, and when it had ended."""
    read, write = os.pipe()
    lines: list[str] = []
    ended = threading.Event()
    with os.fdopen(read) as fake:
        monkeypatch.setattr(sys, "stdin", fake)
        channel, post = stdin.open_channel(lines.append, ended.set)
        channel.attend(post)
        yield write, lines, ended
        channel.close()


def test_each_line_is_a_path_and_blank_lines_are_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with typing(monkeypatch) as (write, lines, ended):
        for part in (b"one.pa", b"tch\n\n   \n/two with space.patch  \r\n", "drei-ä.patch".encode()):
            os.write(write, part)
        os.close(write)
        assert ended.wait(SECONDS)
    assert lines == ["one.patch", "/two with space.patch", "drei-ä.patch"]


def test_a_line_too_long_for_a_path_is_ignored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with typing(monkeypatch) as (write, lines, ended):
        for _ in range(40):
            os.write(write, b"x" * 4096)
        os.write(write, b"\nnext.patch\n")
        os.close(write)
        assert ended.wait(SECONDS)
    assert lines == ["next.patch"]
    assert "no path is so long" in caplog.text


@pytest.mark.parametrize("instead", [None, object()], ids=["none", "no file"])
def test_a_process_without_standard_input_is_told_so(instead: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", instead)
    with pytest.raises(ChannelError, match="no standard input"):
        stdin.open_channel(lambda line: None, lambda: None)


# --- threads -------------------------------------------------------------------------------


def attended() -> tuple[Channel, int, list[bytes], threading.Semaphore]:
    """A channel with one post that reads bytes from a pipe."""
    read, write = os.pipe()
    heard: list[bytes] = []
    count = threading.Semaphore(0)

    def step() -> bool:
        heard.append(os.read(read, 1))
        count.release()
        return True

    channel = Channel("test", "")
    channel.attend(Post("test", read, step, lambda: os.close(read)))
    return channel, write, heard, count


def _own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "bcpatch test"]


def test_threads_that_are_sent_away_come_back_and_miss_nothing() -> None:
    channel, write, heard, count = attended()
    for _ in range(100):
        channel.park()
        assert _own_threads() == []
        os.write(write, b"x")
        channel.resume()
        assert count.acquire(timeout=SECONDS)
    assert heard == [b"x"] * 100
    channel.close()
    assert _own_threads() == []
    os.close(write)


def test_a_closed_channel_leaves_no_descriptor_open() -> None:
    before = set(os.listdir("/dev/fd"))
    channel, write, _, _ = attended()
    channel.close()
    os.close(write)
    assert set(os.listdir("/dev/fd")) == before


def test_a_channel_can_be_closed_from_its_own_thread() -> None:
    read, write = os.pipe()
    done = threading.Event()

    def step() -> bool:
        channel.close()
        return False

    def end() -> None:
        os.close(read)
        done.set()

    channel = Channel("test", "")
    channel.attend(Post("test", read, step, end))
    os.write(write, b"x")
    assert done.wait(SECONDS)
    os.close(write)


def test_a_channel_closes_after_an_interrupt_while_a_thread_was_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    read, write = os.pipe()
    channel = Channel("test", "")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            channel.attend(Post("test", read, lambda: False, lambda: None))
    channel.close()
    os.close(read)
    os.close(write)


def test_a_connection_for_which_there_is_no_thread_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with serving() as channel:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)  # before the connection is there to be accepted
            with dialled(channel.address) as sock:
                body(sock)
                assert body(sock) == b""
        assert asks(channel.address, 1) == Applied(1, 0.5)


def test_an_application_that_closes_all_descriptors_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    channel, write, heard, _ = attended()
    thread = _own_threads()[0]
    bell, rope = channel._bell, channel._rope
    channel.park()
    os.close(bell)
    os.close(rope)
    instead = os.pipe()
    assert bell in instead
    channel._ringing = False
    os.write(instead[1], b"x")
    channel.attend(channel._posts[0])
    for found in _own_threads():
        found.join(SECONDS)
    assert not thread.is_alive()
    assert "closed the descriptors" in caplog.text
    assert heard == []
    for descriptor in (*instead, write):
        os.close(descriptor)
