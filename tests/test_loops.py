"""Loops in real processes: reachable, kept by forks, silent, and gone when the process is."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from processes import SECONDS, Process, running, supervising

from bcpatch import loops, runtime, service
from bcpatch.channels import client, workers
from bcpatch.channels.base import ChannelError
from bcpatch.channels.peer import Peer
from bcpatch.channels.protocol import (
    Failure,
    LoadedReply,
    LoadedRequest,
    Rollback,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("folder")]

#: The test runner may have threads of its own, of which CPython 3.12+ warns at a fork.
RUNNER_HAS_THREADS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


WAITING = """
    import sys
    from bcpatch import runtime
    loop = runtime.loop()
    print(loop.channel, loop.address, flush=True)
    sys.stdin.readline()
"""


# --- importing it ------------------------------------------------------------------------


def test_importing_the_runtime_imports_nothing_that_costs() -> None:
    script = """
        import sys
        before = set(sys.modules)
        import bcpatch.runtime
        print(*sorted(set(sys.modules) - before))
    """
    found = subprocess.check_output([sys.executable, "-c", dedent(script)], text=True).split()
    assert [name for name in found if name.startswith("bcpatch")] == ["bcpatch", "bcpatch.runtime"]
    assert not {"msgspec", "logging", "threading", "socket", "dataclasses", "dis", "tempfile"} & set(found)


# --- one loop ------------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[loops.Loop]:
    found = runtime.loop()
    yield found
    found.close()


def test_a_loop_says_where_it_listens_and_is_the_same_when_asked_again(loop: loops.Loop, folder: Path) -> None:
    assert (loop.channel, loop.address) == ("socket", str(folder / "bcpatch" / f"{os.getpid()}.sock"))
    assert runtime.loop() is loop
    assert "socket" in repr(loop)


def test_a_closed_loop_is_gone_and_can_be_begun_again(folder: Path) -> None:
    first = runtime.loop()
    first.close()
    assert (first.channel, first.address, repr(first)) == ("", "", "<Loop, closed>")
    assert not list((folder / "bcpatch").iterdir())
    second = runtime.loop()
    assert second is not first
    assert client.connect(os.getpid()).hello.pid == os.getpid()
    second.close()


@pytest.mark.parametrize("wrong", ["stdout", "", 7])
def test_a_channel_that_does_not_exist_is_a_mistake_of_the_caller(wrong: str) -> None:
    with pytest.raises(ValueError, match="channel is None or 'stdin'"):
        runtime.loop(wrong)


def test_a_loop_that_cannot_be_opened_is_told_to_the_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "bcpatch").write_text("", "utf-8")
    (folder / f"bcpatch-{os.geteuid()}").write_text("", "utf-8")
    loop = runtime.loop()
    assert loop.channel == ""
    assert "this process can't be sent patches" in caplog.text
    loop.close()


def test_a_process_tells_its_loaded_modules(loop: loops.Loop) -> None:
    peer = client.connect(os.getpid())
    reply = peer.request(LoadedRequest(), SECONDS)
    peer.close()
    assert isinstance(reply, LoadedReply)
    files = {module.name: (module.path, module.package) for module in reply.modules}
    assert files["bcpatch.runtime"] == (runtime.__file__, "bcpatch")
    assert "sys" not in files


# --- the end of a process ------------------------------------------------------------------

ENDS = {
    "returns": "pass",
    "exits": "sys.exit(0)",
    "has a thread of its own": "import threading; threading.Thread(target=lambda: None).start()",
    "closes first": "loop.close()",
    "lost its log": "import logging; logging.shutdown(); sys.stderr.flush()",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_process_ends_silently_and_leaves_no_socket(end: str, folder: Path) -> None:
    with running(dedent(WAITING) + end) as process:
        assert process.hear().startswith("socket ")
        peer = client.connect(process.pid)
        assert process.end() == (0, "")
        peer.close()
    assert not list((folder / "bcpatch").iterdir())


def test_a_process_that_ends_while_a_request_hangs_does_not_hang(folder: Path) -> None:
    script = """
        import sys, threading
        from bcpatch import runtime, service
        entered = threading.Event()
        def answer(request):
            entered.set()
            threading.Event().wait()
        service.answer = answer
        runtime.loop()
        print("ready", flush=True)
        entered.wait()
    """
    with running(script) as process:
        process.hear()
        peer = client.connect(process.pid)
        answer = peer.ask(LoadedRequest())
        assert process.end() == (0, "")
        assert answer.exception(SECONDS)
    assert not list((folder / "bcpatch").iterdir())


def test_an_interrupt_reaches_the_application(folder: Path) -> None:
    script = """
        from bcpatch import runtime
        runtime.loop()
        try:
            print("ready", flush=True)
            while True:
                pass
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    with running(script) as process:
        process.hear()
        process.popen.send_signal(signal.SIGINT)
        assert process.hear() == "interrupted"
        assert process.end() == (0, "")
    assert not list((folder / "bcpatch").iterdir())


def test_a_peer_that_hangs_up_does_not_kill_a_process_with_default_sigpipe() -> None:
    script = """
        import signal, sys, threading
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        from bcpatch import runtime, service
        asked, hung_up = threading.Event(), threading.Event()
        inner = service.answer
        def answer(request):
            asked.set()
            hung_up.wait()
            return inner(request)
        service.answer = answer
        runtime.loop()
        print("ready", flush=True)
        asked.wait()
        print("asked", flush=True)
        sys.stdin.readline()
        hung_up.set()
        for thread in threading.enumerate():
            if thread.name == "bcpatch socket" and thread is not threading.current_thread():
                thread.join(0.2)
    """
    with running(script) as process:
        process.hear()
        peer = client.connect(process.pid)
        peer.ask(LoadedRequest())
        assert process.hear() == "asked"
        peer.close()
        process.tell()
        assert process.end()[0] == 0


# --- a loop that blocks ----------------------------------------------------------------------


def test_a_blocking_loop_serves_until_it_is_closed() -> None:
    script = """
        import threading
        from bcpatch import loops, runtime
        def closer():
            input()
            loops._loops[None].close()
        threading.Thread(target=closer).start()
        print("ready", flush=True)
        runtime.loop(block=True)
        print("returned", flush=True)
    """
    with running(script) as process, listening(process) as peer:
        assert isinstance(peer.request(LoadedRequest(), SECONDS), LoadedReply)
        process.tell()
        assert process.hear() == "returned"
        assert process.end() == (0, "")


@contextlib.contextmanager
def listening(process: Process) -> Iterator[Peer]:
    """A connection to a process that says a line before it blocks in its loop."""
    process.hear()
    found = None
    while found is None:
        with contextlib.suppress(client.ChannelError):
            found = client.connect(process.pid)
    yield found
    found.close()


def test_a_blocking_loop_can_be_interrupted(folder: Path) -> None:
    script = "print(1, flush=True)\nfrom bcpatch import runtime\nruntime.loop(block=True)"
    with running(script) as process, listening(process):
        process.popen.send_signal(signal.SIGINT)
        status, errors = process.end()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert status == -signal.SIGINT
    assert not list((folder / "bcpatch").iterdir())


# --- standard input ----------------------------------------------------------------------------

STDIN = """
    import logging, sys, threading
    logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s", level=logging.ERROR)
    from bcpatch import runtime
    loop = runtime.loop("stdin")
    print(loop.channel, flush=True)
"""


def test_what_comes_of_a_line_on_standard_input_goes_to_the_log() -> None:
    with running(dedent(STDIN) + "loop._over.wait()\nprint('over', loop.channel)") as process:
        assert process.hear() == "stdin"
        process.tell("nowhere.patch")
        assert process.hear() == "ERROR refused nowhere.patch:"
        assert "BCP003" in process.hear()
        assert process.end() == (0, "")


def test_a_process_that_still_reads_standard_input_ends_silently() -> None:
    with running(dedent(STDIN)) as process:
        assert process.hear() == "stdin"
        assert process.popen.wait(SECONDS) == 0
        assert process.end() == (0, "")


def test_a_blocking_loop_on_standard_input_ends_with_it() -> None:
    script = "from bcpatch import runtime\nruntime.loop('stdin', block=True)\nprint('over')"
    with running(script) as process:
        process.tell("")
        assert process.end() == (0, "")


# --- forks -----------------------------------------------------------------------------------

FORKING = """
    import os, sys
    from bcpatch import runtime
    loop = runtime.loop()
    pid = os.fork()
    if pid == 0:
        assert runtime.loop() is loop
        loop._opening.join()
        print(os.getpid(), loop.address, flush=True)
        sys.stdin.readline()
        sys.exit(0)
    print(os.waitpid(pid, 0)[1], flush=True)
    sys.stdin.readline()
"""


def test_a_forked_child_has_a_loop_of_its_own_and_leaves_its_parents_alone(folder: Path) -> None:
    with running(FORKING, "-W", "error") as process:
        child, address = process.hear().split()
        assert Path(address) == folder / "bcpatch" / f"{child}.sock"
        started = {found.pid: found.started for found in client.processes().processes}
        assert set(started) == {process.pid, int(child)}
        assert started[process.pid] < started[int(child)]
        for pid in (int(child), process.pid):
            peer = client.connect(pid)
            assert isinstance(peer.request(LoadedRequest(), SECONDS), LoadedReply)
            peer.close()
        process.tell()
        assert process.hear() == "0"
        assert [found.pid for found in client.processes().processes] == [process.pid]
        assert process.end() == (0, "")
    assert not list((folder / "bcpatch").iterdir())


@pytest.mark.skipif(sys.version_info[:2] == (3, 13), reason="CPython 3.13 counts threads after they were called back")
def test_a_fork_warns_of_no_threads_when_there_are_none_but_ours() -> None:
    with running(FORKING, "-W", "always::DeprecationWarning") as process:
        process.hear()
        process.tell()
        assert process.hear() == "0"
        assert process.end() == (0, "")


def test_a_fork_waits_until_what_the_first_request_needs_is_imported() -> None:
    """Else the child has a lock on the module, and no thread that would ever let go of it."""
    script = """
        import contextlib, os, signal, sys, threading
        importing, go_on = threading.Event(), threading.Event()
        class Slow:
            def find_spec(self, name, path, target=None):
                if name == "bcpatch.link":
                    importing.set()
                    go_on.wait()
        sys.meta_path.insert(0, Slow())
        from bcpatch import Error, runtime, service
        def rejected():
            with contextlib.suppress(Error):
                runtime.apply(b"no patch")
        first = threading.Thread(target=rejected)
        first.start()
        importing.wait()
        os.register_at_fork(before=go_on.set)  # what was registered last runs first
        pid = os.fork()
        if not pid:
            signal.alarm(20)
            rejected()
            os._exit(0)
        first.join()
        print(os.waitpid(pid, 0)[1], flush=True)
    """
    with running(script, "-W", "ignore::DeprecationWarning") as process:
        assert process.hear() == "0"


@RUNNER_HAS_THREADS
def test_a_child_leaves_the_bell_of_its_parent_alone(loop: loops.Loop) -> None:
    channel = loop._channel
    assert channel
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert select.select([channel._bell], [], [], 0)[0] == []


def test_a_conversation_goes_on_while_its_process_forks() -> None:
    script = """
        import os, sys
        from bcpatch import runtime
        runtime.loop()
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
        print("forked", flush=True)
        sys.stdin.readline()
    """
    with running(script) as process:
        process.hear()
        peer = client.connect(process.pid)
        process.tell()
        replies = [peer.request(LoadedRequest(), SECONDS) for _ in range(200)]
        assert process.hear() == "forked"
        replies.append(peer.request(LoadedRequest(), SECONDS))
        assert all(isinstance(reply, LoadedReply) for reply in replies)
        peer.close()
        assert process.end()[0] == 0


def test_forked_children_that_end_at_once_leave_no_heap_of_sockets(folder: Path) -> None:
    script = """
        import os
        from bcpatch import runtime
        loop = runtime.loop()
        for _ in range(20):
            if not os.fork():
                loop._opening.join()
                os._exit(0)
            os.wait()
    """
    with running(script) as process:
        assert process.end()[0] == 0
    assert len(list((folder / "bcpatch").iterdir())) == 1


def test_a_daemon_of_two_forks_is_reached_and_its_ancestors_leave_nothing_that_answers() -> None:
    script = """
        import os, sys
        from bcpatch import runtime
        loop = runtime.loop()
        if os.fork():
            sys.stdin.readline()
            os._exit(0)
        os.setsid()
        between = os.getpid()
        if os.fork():
            os._exit(0)
        loop._opening.join()
        while os.getppid() == between:
            pass
        print(os.getpid(), flush=True)
        sys.stdin.readline()
        sys.exit(0)
    """
    with running(script) as process:
        daemon = int(process.hear())
        assert {found.pid for found in client.processes().processes} == {process.pid, daemon}
        peer = client.connect(daemon)
        assert peer.hello.pid == daemon
        process.tell()
        process.tell()
        with contextlib.suppress(client.Lost):
            peer.request(LoadedRequest(), SECONDS)
        peer.close()
        process.end()


CLOSING = """
    import os
    from bcpatch import runtime
    loop = runtime.loop()
    os.closerange(3, 256)
    files = [os.open(f"{os.environ['TMPDIR']}/{number}", os.O_RDWR | os.O_CREAT) for number in range(12)]
    pid = os.fork()
    if pid == 0:
        loop._opening.join()
    print([os.path.basename(os.readlink(f"/proc/self/fd/{one}")) for one in files], flush=True)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    print([os.fstat(one).st_size for one in files], flush=True)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="looks into /proc")
def test_files_that_took_the_numbers_of_closed_descriptors_are_the_applications() -> None:
    counted = (
        ["-W", "ignore::DeprecationWarning"] if sys.version_info[:2] == (3, 13) else []
    )  # after they were called back
    with running(CLOSING, *counted) as process:
        names = [str(number) for number in range(12)]
        assert [process.hear(), process.hear()] == [str(names)] * 2  # one of them is the child's
        assert process.hear() == str([0] * 12)
        status, errors = process.end()
        said = "socket: the application closed the descriptors of bcpatch\n"
        assert (status, errors.replace(said, "")) == (0, "")


def test_a_process_that_can_write_no_file_is_reached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the disk is full: a socket takes no space on it."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    script = """
        import resource, sys
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        from bcpatch import runtime
        print(runtime.loop().address, flush=True)
        sys.stdin.read()
    """
    with running(script) as process:
        assert Path(process.hear()) == folder / f"bcpatch-{os.geteuid()}" / f"{process.pid}.sock"
        client.connect(process.pid).close()


def test_a_process_that_sees_no_libraries_any_more_says_so() -> None:
    script = """
        import sys
        from bcpatch import runtime
        runtime.loop()
        sys.meta_path.clear()
        print("open", flush=True)
        sys.stdin.read()
    """
    with running(script) as process:
        assert process.hear() == "open"
        peer = client.connect(process.pid)
        reply = peer.request(Rollback(0), SECONDS)
        assert isinstance(reply, Failure)
        assert "can't be imported" in reply.message
        peer.close()
        assert "Traceback" not in process.end()[1]


def test_a_process_that_executed_another_program_is_not_said_to_be_gone() -> None:
    script = """
        import os, sys
        from bcpatch import runtime
        runtime.loop()
        os.execv(sys.executable, [sys.executable, "-c", "print('other', flush=True); input()"])
    """
    with running(script) as process:
        assert process.hear() == "other"
        with pytest.raises(ChannelError, match="executed another program"):
            client.connect(process.pid)
        process.tell()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_are_reached_where_they_call_loop(method: str, folder: Path) -> None:
    program = folder / "program.py"
    program.write_text(
        dedent(
            f"""
            import multiprocessing, os, sys
            from bcpatch import runtime
            def work(pipe):
                loop = runtime.loop()
                if loop._opening:
                    loop._opening.join()
                pipe.send((os.getpid(), loop.address))
                pipe.recv()
            if __name__ == "__main__":
                runtime.loop()
                context = multiprocessing.get_context({method!r})
                here, there = context.Pipe()
                child = context.Process(target=work, args=(there,))
                child.start()
                print(*here.recv(), flush=True)
                sys.stdin.readline()
                here.send(None)
                child.join()
            """
        ),
        "utf-8",
    )
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        assert parent.stdin
        child, address = parent.stdout.readline().split()
        peer = client.connect(int(child))
        assert (peer.hello.pid, str(folder / "bcpatch" / f"{child}.sock")) == (int(child), address)
        peer.close()
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.wait(SECONDS) == 0
    assert client.processes().processes == []


# --- below a supervisor ----------------------------------------------------------------------


PRE_FORK = """
    import os, sys
    from bcpatch import runtime
    loop = runtime.loop()
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            sys.stdin.readline()
            os._exit(0)
        children.append(pid)
    print(*children, flush=True)
    sys.stdin.readline()
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    print("alone", flush=True)
    sys.stdin.read()
"""


def test_every_worker_of_a_fork_server_reaches_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    with supervising(monkeypatch) as (_, crowd), running(PRE_FORK) as process:
        children = set(map(int, process.hear().split()))
        peers = crowd.wait(4)
        assert {peer.hello.pid for peer in peers} == children | {process.pid}
        assert all(isinstance(answer.reply, LoadedReply) for answer in workers.ask(peers, LoadedRequest(), SECONDS))
        assert client.processes().processes == []
        process.popen.kill()


def test_a_process_that_loses_its_supervisor_listens_on_its_own(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    script = dedent(WAITING) + "print(loop.channel, flush=True)"
    with running("import sys; sys.stdin.readline()") as other, supervising(monkeypatch) as (found, crowd):
        with running(script) as process:
            assert process.hear() == f"supervisor {found.path}"
            crowd.wait(1)
            found.close()
            peer = None
            while peer is None:
                with contextlib.suppress(client.ChannelError):
                    peer = client.connect(process.pid)
            assert isinstance(peer.request(LoadedRequest(), SECONDS), LoadedReply)
            peer.close()
            process.tell()
            assert process.hear() == "socket"
            assert process.end() == (0, "")
        other.end()


def test_a_process_that_finds_no_supervisor_listens_on_its_own(folder: Path) -> None:
    with running(WAITING, environment={"BCPATCH_SUPERVISOR": str(folder / "none")}) as process:
        assert process.hear() == f"socket {folder / 'bcpatch' / str(process.pid)}.sock"
        status, errors = process.end()
    assert status == 0
    assert "can't reach the supervisor" in errors


# --- the policy of a process -------------------------------------------------------------------

PINS = {
    ("", None): None,
    ("", "strict"): "strict",
    ("", "linked"): "linked",
    ("strict", None): "strict",
    ("linked", None): "linked",
    ("linked", "strict"): "strict",
    ("strict", "linked"): "strict",
    ("lniked", None): "strict",
}


@pytest.mark.parametrize(("named", "asked"), PINS)
def test_a_pin_can_be_tightened_and_a_mistake_opens_nothing(
    named: str, asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCPATCH_POLICY", named)
    monkeypatch.setattr(service, "_pinned", None)
    service.pin(asked)
    assert service.pinned() == PINS[named, asked]


def test_a_pin_is_not_loosened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_pinned", None)
    service.pin("strict")
    service.pin("linked")
    assert service.pinned() == "strict"
    with pytest.raises(ValueError, match="is not a valid Policy"):
        service.pin("laissez-faire")
