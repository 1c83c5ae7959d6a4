"""`bcpatch run`, on real applications: what is saved goes live, what is refused doesn't, and all end well."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from time import monotonic

import pytest
from running import PATIENCE, Started, bcpatch, environment, run

from bcpatch.running import supervise

pytestmark = pytest.mark.timeout(120)

APP = """
    import sys

    import lib


    def main():
        print("ready", flush=True)
        for line in sys.stdin:
            print(lib.answer(line.strip()), flush=True)
        print("over", flush=True)
        sys.exit(7)


    if __name__ == "__main__":
        main()
"""

LIB = """
    import json


    class Words:
        def __init__(self):
            self.count = 0

        def say(self, word):
            self.count += 1
            return f"old {word} {self.count}"

        def _private(self):
            return "private"


    WORDS = Words()
    answer = WORDS.say
"""

OLD = 'f"old {word} {self.count}"'
NEW = 'f"new {word} {self.count}"'


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text).lstrip())


def edit(path: Path, old: str, new: str) -> None:
    """Save as most editors do: write the new text beside the old one, then rename."""
    text = path.read_text()
    assert old in text
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text.replace(old, new))
    draft.replace(path)


@pytest.fixture(autouse=True)
def runtime_folder(monkeypatch):
    """A folder for sockets that no other test has; a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="bcp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def project(tmp_path):
    write(tmp_path / "app.py", APP)
    write(tmp_path / "lib.py", LIB)
    return tmp_path


@pytest.fixture
def running(project):
    with run("app.py", cwd=project) as running:
        running.pid = running.hear(r"process (\d+) takes patches", "ready")[1]
        yield running


def asked(running: Started, word: str) -> str:
    """What the application answers to a word."""
    running.say(word)
    return running.hear(f"^.* {word} .*$")[0]


class TestSaves:
    def test_what_a_save_leaves_as_it_was_is_said(self, project):
        with run("--policy", "linked", "app.py", cwd=project) as running:
            running.hear(r"process (\d+) takes patches", "ready")
            edit(project / "lib.py", "self.count = 0", "self.count = 5")
            running.hear("BCP521", "instances of `Words` that exist stay")
            edit(project / "app.py", 'print("over", flush=True)', 'print("end", flush=True)')
            running.hear("BCP614", "thread MainThread is inside `main`")
            running.say("word")
            assert running.hear(r"^\w+ word \d+$")[0] == "old word 1"

    def test_an_edit_goes_live_and_keeps_the_state_and_undoing_it_brings_the_old_code_back(self, running, project):
        assert asked(running, "a") == "old a 1"
        edit(project / "lib.py", OLD, NEW)
        assert running.hear(r"live in 1 process after \d+ ms: (.*)")[1] == "lib:Words.say (generation 1)"
        assert asked(running, "b") == "new b 2"
        edit(project / "lib.py", NEW, OLD)
        running.hear("live in 1 process")
        assert asked(running, "c") == "old c 3"

    def test_an_edit_in_a_folder_whose_name_is_no_text_goes_live(self, project):
        folder = project / "caf\udce9"
        write(folder / "app.py", APP)
        write(folder / "lib.py", LIB)
        with run("app.py", cwd=folder) as running:
            running.hear("takes patches", "ready")
            edit(folder / "lib.py", OLD, NEW)
            running.hear("live in 1 process")
            assert asked(running, "a") == "new a 1"

    def test_a_refused_edit_is_explained_and_the_next_one_is_compared_with_what_runs(self, running, project):
        edit(project / "lib.py", OLD, "self._private()")
        running.hear("BCP104")
        running.hear(r"bcpatch: refused: .*lib\.py")
        assert asked(running, "a") == "old a 1"
        edit(project / "lib.py", "self._private()", NEW)
        running.hear("live in 1 process")
        assert asked(running, "b") == "new b 2"

    def test_the_policy_is_the_projects_or_the_one_that_was_chosen(self, project):
        (project / "pyproject.toml").write_text('[tool.bcpatch]\npolicy = "linked"\n')
        for arguments, expected in (([], "live in 1 process"), (["--policy", "strict"], "refused")):
            write(project / "lib.py", LIB)
            with run(*arguments, "app.py", cwd=project) as running:
                running.hear("takes patches", "ready")
                edit(project / "lib.py", OLD, "f'new {word} ' + self._private()")
                assert running.hear("live in 1 process|refused")[0] == expected

    def test_undoing_a_refused_edit_is_no_patch(self, running, project):
        edit(project / "lib.py", "WORDS = Words()", "WORDS = Words() or None")
        running.hear("refused")
        edit(project / "lib.py", "WORDS = Words() or None", "WORDS = Words()")
        running.hear(r"lib\.py: back to what runs")

    def test_a_syntax_error_is_told_and_its_correction_goes_live(self, running, project):
        edit(project / "lib.py", OLD, "(")
        running.hear(r"lib\.py:\d+:\d+: BCP001")
        assert asked(running, "a") == "old a 1"
        edit(project / "lib.py", "return (", f"return {NEW}")
        running.hear("live in 1 process")
        assert asked(running, "b") == "new b 2"

    def test_a_file_written_in_two_halves_is_taken_when_it_is_whole(self, running, project):
        text = (project / "lib.py").read_text().replace(OLD, NEW)
        with open(project / "lib.py", "w") as file:
            file.write(text[: text.index(NEW) + 4])
            file.flush()
            file.write(text[text.index(NEW) + 4 :])
        running.hear("live in 1 process")
        assert not any("BCP001" in line for line in running.lines)

    @pytest.mark.skipif(shutil.which("vim") is None, reason="vim is not installed")
    def test_vim_renames(self, running, project):
        arguments = ["-es", "-u", "NONE", "-i", "NONE", "-c", "set backupcopy=no", "-c", "%s/old/new/", "-c", "wq"]
        subprocess.run(["vim", *arguments, "lib.py"], cwd=project, check=True, stdin=subprocess.DEVNULL, timeout=30)
        running.hear("live in 1 process")
        assert asked(running, "a") == "new a 1"

    def test_a_comment_changes_no_code(self, running, project):
        edit(project / "lib.py", "import json\n", "import json  # a comment\n")
        running.hear(r"no code changed \(lib\.py\)")

    def test_moved_lines_are_refreshed(self, running, project):
        edit(project / "lib.py", "import json\n", "import json\n\n\n")
        running.hear("live in 1 process after .*: line numbers of lib")

    def test_files_that_come_and_go(self, running, project):
        write(project / "other.py", "x = 1\n")
        running.hear(r"other\.py: not imported by the application yet")
        (project / "lib.py").unlink()
        running.hear(r"lib\.py: deleted")
        assert asked(running, "a") == "old a 1"
        write(project / "lib.py", LIB.replace(OLD, NEW))
        running.hear("live in 1 process")
        assert asked(running, "b") == "new b 2"

    def test_a_created_file_is_there_for_what_is_saved_after_it(self, running, project):
        write(project / "other.py", "def shout(word):\n    return word.upper()\n")
        running.hear(r"other\.py: not imported by the application yet")
        edit(project / "other.py", "upper()", "upper() + '!'")
        running.hear(r"other\.py: not imported by the application yet")
        text = (project / "lib.py").read_text().replace("import json\n", "import json\n\nimport other\n")
        write(project / "lib.py", text.replace(OLD, "other.shout(word)"))
        running.hear("live in 1 process")
        running.say("a")
        running.hear("^A!$")
        edit(project / "other.py", "'!'", "'?'")
        running.hear("live in 1 process after .*: other:shout")
        running.say("b")
        running.hear(r"^B\?$")

    def test_a_file_that_needs_a_restart_holds_up_no_other(self, running, project):
        edit(project / "lib.py", "WORDS = Words()", "WORDS = Words() or None")
        running.hear(r"refused: .*lib\.py")
        edit(project / "app.py", '"over"', '"really over"')
        running.hear("live in 1 process.*__main__:main")
        edit(project / "lib.py", "WORDS = Words() or None", "WORDS = Words()")
        running.hear(r"lib\.py: back to what runs")
        edit(project / "lib.py", OLD, NEW)
        running.hear("live in 1 process.*lib:Words.say")
        assert asked(running, "b") == "new b 1"

    def test_a_large_file_goes_live_again_and_again(self, project):
        with (project / "lib.py").open("a") as file:
            file.write("# and so on\n" * 10_000)
        with run("app.py", cwd=project) as running:
            running.hear("takes patches", "ready")
            for before, after in pairwise(["old", "new", "newer", "newest"]):
                edit(project / "lib.py", OLD.replace("old", before), OLD.replace("old", after))
                running.hear(r"live in 1 process after \d+ ms: lib:Words.say")
                assert asked(running, after).startswith(f"{after} {after} ")

    def test_an_error_of_bcpatch_itself_costs_one_save(self, project):
        broken = (
            "from bcpatch import builder, cli\n"
            "draft = builder.draft\n"
            "def once(*arguments, **options):\n"
            "    builder.draft = draft\n"
            "    1 / 0\n"
            "builder.draft = once\n"
            "cli.main()"
        )
        with Started([sys.executable, "-c", broken, "run", "app.py"], project) as running:
            running.hear("takes patches", "ready")
            edit(project / "lib.py", OLD, NEW)
            running.hear("ZeroDivisionError")
            running.hear("an error of bcpatch itself: the application runs on")
            assert asked(running, "a") == "old a 1"
            edit(project / "lib.py", NEW, NEW.replace("new", "newer"))
            running.hear("live in 1 process")
            assert asked(running, "b") == "newer b 2"

    def test_a_checkout_of_many_files_is_one_patch(self, tmp_path):
        names = [f"part{number}" for number in range(30)]
        imports = "".join(f"import {name}\n" for name in names)
        total = " + ".join(f"{name}.value()" for name in names)
        write(tmp_path / "lib.py", imports + f"def answer(word):\n    return f'sum {{word}} ' + str({total})\n")
        write(tmp_path / "app.py", APP)
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(tmp_path)]
        subprocess.run([*git, "init", "-q"], check=True)
        for number in (1, 2):
            for name in names:
                write(tmp_path / f"{name}.py", f"def value():\n    return {number}\n")
            subprocess.run([*git, "add", "."], check=True)
            subprocess.run([*git, "commit", "-q", "-m", str(number)], check=True)
        with run("app.py", cwd=tmp_path) as running:
            running.hear("takes patches", "ready")
            assert asked(running, "a") == "sum a 60"
            subprocess.run([*git, "checkout", "-q", "HEAD~1"], check=True)
            assert "and 27 more" in running.hear("live in 1 process.*")[0]
            assert asked(running, "b") == "sum b 30"


class TestPrograms:
    def test_its_exit_status_is_passed_on_and_its_input_is_its_own(self, running):
        running.process.stdin.close()
        running.hear("over")
        assert running.end() == 7

    def test_a_signal_that_ends_it_is_told_as_a_shell_does(self, running):
        os.kill(int(running.pid), signal.SIGKILL)
        assert running.end() == 128 + signal.SIGKILL

    def test_termination_is_passed_on(self, running):
        running.process.terminate()
        assert running.end() == 128 + signal.SIGTERM

    def test_nothing_is_left_behind(self, running, runtime_folder):
        assert len(list((runtime_folder / "bcpatch").iterdir())) == 2
        running.process.stdin.close()
        running.end()
        assert list((runtime_folder / "bcpatch").iterdir()) == []

    def test_an_installed_command_of_this_python_need_not_know_of_bcpatch(self, project):
        lines = (f"#!{sys.executable}", "import sys", "sys.path.insert(0, '.')", "import app", "app.main()", "")
        write(project / "bin" / "serve", "\n".join(lines))
        (project / "bin" / "serve").chmod(0o755)
        with run("bin/serve", cwd=project) as running:
            running.hear("takes patches", "ready")
            edit(project / "lib.py", OLD, NEW)
            running.hear("live in 1 process")
            assert asked(running, "a") == "new a 1"

    @pytest.mark.parametrize(
        ("lines", "is_ours"),
        [
            ("#!{python}", True),
            ("#! {python} ", True),
            ("#!/usr/bin/env {name}", True),
            ("#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''", True),
            ("#!{python} -I", False),
            ("#!/usr/bin/env -S {name} -I", False),
            ("#!/bin/sh\n{python} app.py", False),
            ("#!/bin/sh", False),
            ("#!/nowhere/python", False),
            ("#!{other}/python", False),
            ("", False),
            ("\x7fELF", False),
        ],
    )
    def test_a_command_is_ours_where_the_system_would_start_it_by_this_python(
        self, lines, is_ours, tmp_path, monkeypatch
    ):
        """A link to the same interpreter from another environment is not."""
        other = tmp_path / "other"
        other.mkdir()
        (other / "python").symlink_to(os.path.realpath(sys.executable))
        name = os.path.basename(sys.executable)
        script = tmp_path / "serve"
        script.write_text(lines.format(python=sys.executable, name=name, other=other) + "\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
        command = supervise.program(["serve", "--port", "1"]).command
        assert command[-2:] == ["--port", "1"]
        assert (command[:1] == [sys.executable]) == is_ours
        assert command[-3] == (str(script) if is_ours else "serve")

    def test_a_command_beside_this_python_is_found_without_the_path(self, tmp_path, monkeypatch):
        """As when the environment was not activated."""
        script = tmp_path / "serve"
        script.write_text(f"#!{sys.executable}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(supervise.CannotRun):
            supervise.program(["serve"])
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        assert supervise.program(["serve"]).command == [str(script)]

    def test_a_module_of_a_package(self, tmp_path):
        write(tmp_path / "shop" / "__init__.py", "")
        write(tmp_path / "shop" / "lib.py", LIB)
        write(tmp_path / "shop" / "__main__.py", APP.replace("import lib", "from . import lib"))
        with run("-m", "shop", cwd=tmp_path) as running:
            running.hear("takes patches", "ready")
            assert asked(running, "a") == "old a 1"
            edit(tmp_path / "shop" / "lib.py", OLD, NEW)
            running.hear(r"live in 1 process.*shop\.lib:Words\.say")
            assert asked(running, "b") == "new b 2"
            edit(tmp_path / "shop" / "__main__.py", 'print("over"', 'print("all over"')
            running.hear(r"live in 1 process.*__main__:main")

    def test_the_interpreters_own_options_are_the_applications_too(self, project):
        with Started([sys.executable, "-O", "-m", "bcpatch", "run", "app.py"], project) as running:
            running.hear("takes patches", "ready")
            edit(project / "lib.py", f"return {OLD}", f"assert False\n        return {NEW}")
            running.hear("live in 1 process")
            assert asked(running, "a") == "new a 1"

    def test_a_command_with_its_own_loop_and_optimisation_level(self, project):
        edit(project / "app.py", "import lib\n", "import lib\nfrom bcpatch import runtime\n\nruntime.loop()\n")
        with run("--", sys.executable, "-O", "app.py", cwd=project) as running:
            running.hear("takes patches", "ready")
            edit(project / "lib.py", f"return {OLD}", f"assert False\n        return {NEW}")
            running.hear("live in 1 process")
            assert asked(running, "a") == "new a 1"

    def test_a_command_without_a_loop_is_told_how_to_get_one(self, project):
        at_once = "from bcpatch.running import supervise; supervise.ALONE = 0.0; from bcpatch.cli import main; main()"
        with Started([sys.executable, "-c", at_once, "run", "--", sys.executable, "app.py"], project) as running:
            running.hear(r"no process takes patches yet: call bcpatch\.runtime\.loop\(\)")
            running.process.stdin.close()
            assert running.end() == 7

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_every_worker_is_reached(self, method, tmp_path):
        write(tmp_path / "lib.py", LIB)
        write(
            tmp_path / "app.py",
            f"""
            import multiprocessing
            import sys

            import lib


            def work(pipe):
                while True:
                    pipe.send(lib.answer(pipe.recv()))


            def main():
                context = multiprocessing.get_context({method!r})
                pipes = []
                for _ in range(2):
                    ours, theirs = context.Pipe()
                    context.Process(target=work, args=(theirs,), daemon=True).start()
                    pipes.append(ours)
                print("ready", flush=True)
                for line in sys.stdin:
                    for pipe in pipes:
                        pipe.send(line.strip())
                    print("|".join(pipe.recv() for pipe in pipes), flush=True)


            if __name__ == "__main__":
                main()
            """,
        )
        with run("app.py", cwd=tmp_path, PYTHONWARNINGS="ignore") as running:
            for _ in range(3):
                running.hear("takes patches")  # "ready" may come before, between or after
            assert asked(running, "a") == "old a 1|old a 1"
            edit(tmp_path / "lib.py", OLD, NEW)
            running.hear("live in 3 processes")
            assert asked(running, "b") == "new b 2|new b 2"
            edit(tmp_path / "app.py", "lib.answer(", "lib.answer('c' + ")
            if method != "fork":
                running.hear("BCP523")
                running.hear("refused by process")

    def test_without_its_supervisor_it_goes_on_and_listens_itself(self, running, project, runtime_folder):
        running.process.kill()
        running.process.wait(PATIENCE)
        try:
            while running.pid not in bcpatch("ps", cwd=project).stdout:
                pass
            assert asked(running, "a") == "old a 1"
        finally:
            os.kill(int(running.pid), signal.SIGKILL)

    def test_a_log_on_a_full_disk_stops_neither_the_patches_nor_the_application(self, project):
        words = ["sh", "-c", 'exec "$0" -m bcpatch run app.py 2> /dev/full', sys.executable]
        with Started(words, project) as running:
            running.hear("ready")
            edit(project / "lib.py", OLD, NEW)
            ends = monotonic() + PATIENCE
            while asked(running, "a").startswith("old"):
                assert monotonic() < ends
            running.process.stdin.close()
            assert running.end() == 7

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ([], "nothing to run"),
            (["missing.py"], "missing.py: no such file"),
            (["--", "no-such-program-here"], "no-such-program-here: no such program"),
            (["--watch", "missing", "app.py"], "missing: no such folder to watch"),
            (["--policy", "lax", "app.py"], "lax"),
        ],
    )
    def test_what_cannot_be_run(self, project, arguments, reason):
        done = bcpatch("run", *arguments, cwd=project)
        assert done.returncode == 2
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


class TestFromOutside:
    def test_a_rollback_is_told_and_the_next_save_is_compared_with_what_runs_then(self, running, project):
        edit(project / "lib.py", OLD, NEW)
        running.hear("live in 1 process")
        done = bcpatch("rollback", running.pid, cwd=project)
        assert (done.returncode, done.stdout.startswith(f"process {running.pid} runs generation 0")) == (0, True)
        running.hear("was rolled back from outside")
        assert asked(running, "a") == "old a 1"
        edit(project / "lib.py", NEW, NEW.replace("new", "newer"))
        running.hear("live in 1 process")
        assert asked(running, "b") == "newer b 2"

    def test_ps_and_status(self, running, project):
        assert running.pid in bcpatch("ps", cwd=project).stdout
        assert "as started" in bcpatch("status", running.pid, cwd=project).stdout


class TestTerminal:
    """What Ctrl-C does, on a terminal of its own."""

    @contextlib.contextmanager
    def on_terminal(self, *arguments: str, cwd: Path):
        """A program for which a new terminal is the controlling one, and our side of that terminal."""
        ours, theirs = os.openpty()
        take = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", take, sys.executable, "-m", "bcpatch", *arguments],
            cwd=cwd,
            env=environment(TERM="xterm"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait(PATIENCE)
            os.close(ours)

    def hear(self, terminal: int, *expected: str) -> str:
        """What the terminal shows until one of these is among it."""
        heard = b""
        while not any(one.encode() in heard for one in expected):
            try:
                heard += os.read(terminal, 4096)
            except OSError as error:  # the terminal was hung up
                raise AssertionError(f"never said: {expected}, but: {heard.decode()}") from error
        return heard.decode()

    def test_control_c_stops_both(self, project):
        edit(
            project / "app.py",
            "    main()\n",
            "    try:\n        main()\n    except KeyboardInterrupt:\n        print('bye')\n",
        )
        with self.on_terminal("run", "app.py", cwd=project) as (process, terminal):
            self.hear(terminal, "ready")
            os.write(terminal, b"\x03")
            assert self.hear(terminal, "bye").count("bye") == 1
            assert process.wait(PATIENCE) == 0

    def test_a_second_control_c_kills(self, project):
        write(
            project / "app.py",
            """
            import signal
            import sys

            signal.signal(signal.SIGINT, lambda *_: print("no", flush=True))
            print("ready", flush=True)
            while True:
                signal.pause()
            """,
        )
        with self.on_terminal("run", "app.py", cwd=project) as (process, terminal):
            self.hear(terminal, "ready")
            with contextlib.suppress(OSError):  # when bcpatch ends the terminal hangs up, on what was not read too
                heard = b""
                while b"killing the application" not in heard:  # two may count as one, or be too far apart
                    os.write(terminal, b"\x03")
                    heard = os.read(terminal, 4096)
            assert process.wait(PATIENCE) == 128 + signal.SIGKILL

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
    def test_control_c_after_the_end_does_not_change_the_exit_status(self, project, number):
        write(project / "app.py", "raise SystemExit(7)\n")
        ours = f"""
            import signal
            from bcpatch.cli import running
            from bcpatch.model import Policy
            from bcpatch.running import supervise

            status = supervise.supervise(supervise.program(["app.py"]), ["."], Policy.STRICT, running.voice())
            signal.raise_signal({int(number)})
            raise SystemExit(status)
            """
        status = subprocess.call([sys.executable, "-c", dedent(ours)], cwd=project, env=environment(), timeout=PATIENCE)
        assert status == 7

    def test_colour_only_where_it_is_wanted(self, project):
        with self.on_terminal("run", "app.py", cwd=project) as (process, terminal):
            assert "\x1b[" not in self.hear(terminal, "ready")
            process.terminate()


def test_the_terminal_is_ours():
    """The ioctl that the tests above hand to their programs exists on this system."""
    assert termios.TIOCSCTTY
    assert fcntl.ioctl
