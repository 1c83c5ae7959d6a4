"""The command line: what it prints where, and the status that it ends with."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from unittest import mock

import msgspec
import pytest
from processes import running
from running import PATIENCE, REPOSITORY, bcpatch, environment

from bcpatch import cli, patchfile
from bcpatch.channels import client
from bcpatch.cli import commands, output
from bcpatch.diagnostics import Place, Severity, finding

CART = """
    import math


    class Cart:
        def __init__(self):
            self.total = 0

        def add(self, price):
            self.total += price
            return self.total

        def _rate(self):
            return math.pi
"""


@pytest.fixture
def shop(tmp_path):
    """A package in a git repository, whose last commit is the base."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "cart.py").write_text(dedent(CART))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "base"], check=True)
    return tmp_path


def edit(shop: Path, old: str, new: str) -> None:
    file = shop / "shop" / "cart.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def good(shop: Path) -> None:
    edit(shop, "self.total += price\n", "self.total += 2 * price\n")


def bad(shop: Path) -> None:
    edit(shop, "self.total += price\n", "self.total += self._rate() * price\n")


def _imported(folder: Path, program: str) -> set[str]:
    """The modules that a process has after a program."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; print(*sorted(sys.modules))"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def called(*arguments: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Carry out a command here: all that a process of its own would add is the time that it takes to start."""
    words = list(map(str, arguments))
    streams = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, {"NO_COLOR": "1", **more}),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        status = cli.run(words)
    return subprocess.CompletedProcess(words, status, *(one.getvalue() for one in streams))


def clean(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """What was done, which must not have ended in a traceback or with escape sequences."""
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done


class TestBuild:
    def test_a_change_becomes_a_patch(self, shop):
        good(shop)
        done = clean(bcpatch("build", "shop/cart.py", "-o", "1.patch", cwd=shop))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "1.patch: 1 function in shop.cart (strict, generation 1)\n"
        assert patchfile.read(shop / "1.patch").modules[0].module.name == "shop.cart"

    def test_a_chain_of_patches(self, shop):
        good(shop)
        called("build", "shop", "-o", "1.patch", cwd=shop)
        done = clean(called("build", "shop", "-o", "2.patch", "--parent", "1.patch", cwd=shop))
        assert "generation 2" in done.stdout
        assert patchfile.read(shop / "2.patch").parent == patchfile.digest(patchfile.read(shop / "1.patch"))

    def test_a_patch_on_standard_output_is_nothing_but_the_patch(self, shop):
        good(shop)
        called("build", "shop", "-o", "1.patch", cwd=shop)
        command = [sys.executable, "-m", "bcpatch", "build", "shop", "-o", "/dev/stdout"]
        done = subprocess.run(command, cwd=shop, env=environment(), capture_output=True, check=True)
        assert done.stdout == (shop / "1.patch").read_bytes()
        assert done.stderr == b"/dev/stdout: 1 function in shop.cart (strict, generation 1)\n"

    def test_a_refused_change_writes_nothing(self, shop):
        bad(shop)
        done = clean(bcpatch("build", "shop", "-o", "1.patch", cwd=shop))
        assert (done.returncode, done.stdout) == (1, "")
        assert "shop/cart.py:10:23: BCP104 private attribute of the receiver" in done.stderr
        assert not (shop / "1.patch").exists()

    def test_no_change_writes_nothing(self, shop):
        done = clean(bcpatch("build", "shop", "-o", "1.patch", cwd=shop))
        assert (done.returncode, done.stdout) == (3, "nothing changed; nothing written\n")
        assert not (shop / "1.patch").exists()

    def test_json_on_standard_output(self, shop):
        bad(shop)
        done = clean(called("build", "shop", "-o", "1.patch", "--format", "json", cwd=shop))
        (found,) = json.loads(done.stdout)
        assert (done.returncode, done.stderr) == (1, "")
        assert (found["code"], found["line"], found["site"]) == ("BCP104", 10, "shop.cart:Cart.add")

    def test_json_of_a_success_is_an_empty_list(self, shop):
        good(shop)
        done = clean(called("build", "shop", "-o", "1.patch", "--format", "json", cwd=shop))
        assert (done.returncode, json.loads(done.stdout)) == (0, [])

    def test_sarif(self, shop):
        bad(shop)
        done = clean(called("build", "shop", "-o", "1.patch", "--format", "sarif", cwd=shop))
        assert json.loads(done.stdout)["runs"][0]["results"][0]["ruleId"] == "BCP104"

    def test_workflow_commands(self, shop):
        bad(shop)
        done = clean(called("build", "shop", "-o", "1.patch", "--format", "github", cwd=shop))
        assert done.stdout.startswith("::error file=shop/cart.py,")

    def test_the_policy_of_the_project(self, shop):
        bad(shop)
        (shop / "pyproject.toml").write_text('[tool.bcpatch]\npolicy = "linked"\n')
        assert "linked" in clean(called("build", "shop", "-o", "1.patch", cwd=shop)).stdout
        assert clean(called("build", "shop", "-o", "2.patch", "--policy", "strict", cwd=shop)).returncode == 1

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ('[tool.bcpatch]\npolicy = "lax"\n', "policy is 'lax'"),
            ("[tool.bcpatch]\npolcy = 1\n", "no setting 'polcy'"),
            ("[tool]\nbcpatch = 1\n", "must be a table"),
            ("[tool.bcpatch\n", "pyproject.toml: "),
        ],
    )
    def test_a_project_file_that_makes_no_sense(self, shop, content, reason):
        (shop / "pyproject.toml").write_text(content)
        done = clean(called("build", "shop", "-o", "1.patch", cwd=shop))
        assert done.returncode == 2
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("arguments", "status", "words"),
        [
            (["missing.py", "-o", "1.patch"], 2, "BCP003"),
            (["shop/cart.py"], 2, "--output"),
            (["-o", "1.patch"], 2, "PATH"),
            (["shop", "-o", "missing/1.patch"], 2, "BCP003"),
            (["shop", "-o", "1.patch", "--base", "git:none"], 2, "BCP005"),
            (["shop", "-o", "1.patch", "--base", "missing"], 2, "BCP005"),
            (["shop", "-o", "1.patch", "--parent", "shop/cart.py"], 2, "BCP401"),
            (["shop/cart.py", "shop/__init__.py", "-o", "1.patch", "--module", "a"], 2, "one PATH"),
            (["shop", "-o", "1.patch", "--policy", "lax"], 2, "lax"),
            (["shop", "-o", "1.patch", "--format", "xml"], 2, "xml"),
        ],
    )
    def test_what_is_wrong_with_a_request(self, shop, arguments, status, words):
        good(shop)
        done = clean(called("build", *arguments, cwd=shop))
        assert done.returncode == status
        assert words in done.stderr
        assert not list(shop.glob("*.patch"))

    @pytest.mark.parametrize(
        ("content", "status", "code"),
        [
            (b"def f(:\n", 1, "BCP001"),
            (b"x = '\xff'\n", 2, "BCP002"),
            (b"# coding: nothing\n", 2, "BCP002"),
            (b"x = 1\0\n", 2, "BCP002"),
        ],
    )
    def test_a_source_that_is_none(self, shop, content, status, code):
        (shop / "shop" / "cart.py").write_bytes(content)
        done = clean(called("build", "shop", "-o", "1.patch", cwd=shop))
        assert (done.returncode, code in done.stderr) == (status, True)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
    def test_without_rights(self, shop):
        good(shop)
        (shop / "shop").chmod(0)
        try:
            done = clean(called("build", "shop", "-o", "1.patch", cwd=shop))
        finally:
            (shop / "shop").chmod(0o755)
        assert (done.returncode, "BCP003" in done.stderr) == (2, True)

    def test_a_source_is_not_overwritten(self, shop):
        good(shop)
        before = (shop / "shop" / "cart.py").read_bytes()
        done = bcpatch("build", "shop/cart.py", "-o", "shop/cart.py", cwd=shop)
        assert (done.returncode, "in the place of a source file" in done.stderr) == (2, True)
        assert (shop / "shop" / "cart.py").read_bytes() == before

    def test_a_full_disk_leaves_the_old_patch(self, shop):
        good(shop)
        (shop / "1.patch").write_bytes(b"old")

        def no_room() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

        done = subprocess.run(
            [sys.executable, "-m", "bcpatch", "build", "shop", "-o", "1.patch"],
            cwd=shop,
            env=environment(PYTHONDONTWRITEBYTECODE="1"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            preexec_fn=no_room,
        )
        clean(done)
        assert (done.returncode, "BCP003" in done.stderr) == (2, True)
        assert (shop / "1.patch").read_bytes() == b"old"
        assert [file.name for file in shop.iterdir() if file.is_file()] == ["1.patch"]


class TestVerify:
    def test_a_good_change_and_no_change_pass(self, shop):
        assert clean(bcpatch("verify", "shop", cwd=shop)).returncode == 0
        good(shop)
        done = clean(bcpatch("verify", "shop", cwd=shop))
        assert (done.returncode, done.stdout) == (0, "1 function in shop.cart (strict, generation 1)\n")

    def test_a_bad_change_fails(self, shop):
        bad(shop)
        done = clean(called("verify", "shop", cwd=shop))
        assert (done.returncode, "BCP104" in done.stderr) == (1, True)

    def test_a_patch_file(self, shop):
        good(shop)
        called("build", "shop", "-o", "1.patch", cwd=shop)
        assert clean(called("verify", "1.patch", cwd=shop)).returncode == 0

    def test_a_patch_file_for_another_python_is_not_called_damaged(self, shop):
        good(shop)
        called("build", "shop", "-o", "1.patch", cwd=shop)
        patch = patchfile.read(shop / "1.patch")
        other = msgspec.structs.replace(patch.interpreter, version="3.99", magic=9999)
        patchfile.write(msgspec.structs.replace(patch, interpreter=other), shop / "2.patch")
        done = clean(called("verify", "2.patch", cwd=shop))
        assert (done.returncode, done.stderr.count("BCP")) == (1, 1)
        assert "2.patch: BCP405 built for another Python" in done.stderr

    @pytest.mark.parametrize(
        ("cut", "code"), [(slice(0, -1), "BCP403"), (slice(0, 20), "BCP402"), (slice(1, None), "BCP401")]
    )
    def test_a_damaged_patch_file(self, shop, cut, code):
        good(shop)
        called("build", "shop", "-o", "1.patch", cwd=shop)
        (shop / "2.patch").write_bytes((shop / "1.patch").read_bytes()[cut])
        for command in (["verify", "2.patch"], ["show", "2.patch"], ["apply", "2.patch", "1"]):
            done = clean(called(*command, cwd=shop))
            assert (done.returncode, code in done.stderr) == (2, True)


class TestShow:
    @pytest.fixture
    def patch(self, shop):
        good(shop)
        called("build", "shop", "-o", "1.patch", cwd=shop)
        return shop

    def test_header_and_edits(self, patch):
        done = clean(bcpatch("show", "1.patch", cwd=patch))
        assert done.returncode == 0
        for words in ("strict", "shop.cart  shop/cart.py", "function", "Cart.add"):
            assert words in done.stdout
        assert not any(line.endswith(" ") for line in done.stdout.splitlines())

    def test_json(self, patch):
        content = json.loads(clean(called("show", "1.patch", "--format", "json", cwd=patch)).stdout)
        assert content["modules"][0]["edits"][0]["qualname"] == "Cart.add"
        assert content["digest"] == patchfile.digest(patchfile.read(patch / "1.patch"))

    def test_disassembly(self, patch):
        done = clean(called("show", "1.patch", "--dis", cwd=patch))
        assert "shop.cart:Cart.add\n" in done.stdout
        assert "STORE_ATTR" in done.stdout

    @pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
    def test_disassembly_of_another_python(self, patch, version):
        """The header is made to say so: what it disassembles to is another matter."""
        pytest.importorskip("xdis")
        done = self.disguised(patch, version)
        assert done.returncode == 0
        assert "shop.cart:Cart.add\n" in done.stdout

    def test_disassembly_of_a_python_that_nobody_knows(self, patch):
        pytest.importorskip("xdis")
        done = self.disguised(patch, "3.99")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "doesn't know" in done.stderr

    def test_disassembly_of_another_python_without_the_extra(self, patch):
        (patch / "hidden" / "xdis").mkdir(parents=True)
        (patch / "hidden" / "xdis" / "__init__.py").write_text("raise ImportError\n")
        done = self.disguised(
            patch, "3.11", PYTHONPATH=os.pathsep.join([str(patch / "hidden"), environment()["PYTHONPATH"]])
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "bcpatch[inspect]" in done.stderr

    def disguised(self, folder: Path, version: str, **more: str) -> subprocess.CompletedProcess[str]:
        import msgspec

        found = patchfile.read(folder / "1.patch")
        interpreter = msgspec.structs.replace(found.interpreter, version=version, magic=1)
        patchfile.write(msgspec.structs.replace(found, interpreter=interpreter), folder / "2.patch")
        return clean(bcpatch("show", "2.patch", "--dis", cwd=folder, **more))


class TestProcesses:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["status", "4194304"], "process 4194304"),
            (["rollback", "4194304"], "process 4194304"),
            (["rollback", "4194304", "--to", "-1"], "-1"),
            (["rollback", "4194304", "--to", "99999999999999999999"], "is more than 1000000000"),
            (["apply", "1.patch", "1", "--timeout", "1e300"], "1e300"),
            (["status", "me"], "me"),
        ],
    )
    def test_a_process_that_cannot_be_reached(self, tmp_path, arguments, words):
        done = clean(called(*arguments, cwd=tmp_path))
        assert (done.returncode, words in done.stderr) == (2, True)

    def test_no_processes(self, tmp_path):
        done = clean(bcpatch("ps", cwd=tmp_path, XDG_RUNTIME_DIR=str(tmp_path), TMPDIR=str(tmp_path)))
        assert (done.returncode, done.stdout.startswith("no process")) == (0, True)
        done = clean(bcpatch("ps", "--format", "json", cwd=tmp_path, XDG_RUNTIME_DIR="/", TMPDIR=str(tmp_path)))
        assert json.loads(done.stdout) == []


class TestEnds:
    def test_version_and_help(self, tmp_path):
        assert bcpatch("--version", cwd=tmp_path).stdout.startswith("bcpatch 0.")
        done = clean(bcpatch("--help", cwd=tmp_path))
        assert (done.returncode, "rollback" in done.stdout) == (0, True)
        assert bcpatch(cwd=tmp_path).returncode == 2

    def test_a_pipe_that_nobody_reads(self, shop):
        reading, writing = os.pipe()
        os.close(reading)
        process = subprocess.Popen(
            [sys.executable, "-m", "bcpatch", "ps"],
            env=environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        _, words = process.communicate(timeout=PATIENCE)
        assert (process.returncode, words) == (128 + signal.SIGPIPE, "")

    @pytest.mark.parametrize("options", [[], ["--help"]])
    def test_an_output_without_space(self, tmp_path, options):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "bcpatch", "ps", *options],
                env=environment(XDG_RUNTIME_DIR=str(tmp_path), TMPDIR=str(tmp_path)),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        assert (done.returncode, done.stderr) == (
            2,
            "error: standard output can't be written to: No space left on device\n",
        )

    @pytest.mark.parametrize(
        ("line", "status"),
        [("--version", 0), ("--help", 0), ("build --help", 0), ("ps", 0), ("bild", 2), ("status 4194304", 2)],
    )
    def test_closed_streams(self, tmp_path, line, status):
        """What is meant for one of them doesn't go to the other, nor into a file."""
        command = f'exec "$0" -m bcpatch {line}'
        for closed in (">&-", "2>&-"):
            done = subprocess.run(
                ["sh", "-c", f"{command} {closed}", sys.executable],
                cwd=tmp_path,
                env=environment(XDG_RUNTIME_DIR=str(tmp_path), TMPDIR=str(tmp_path)),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert "Traceback" not in done.stderr
            assert done.returncode == status
            heard = done.stderr if closed == ">&-" else done.stdout
            assert bool(heard) is ((status == 0) is (closed == "2>&-"))

    def test_what_the_encoding_of_the_output_lacks_is_escaped(self, shop):
        edit(shop, "return math.pi", "return 'π'")
        words = ["build", "shop/cart.py", "-o", "π.patch", "--policy", "linked"]
        done = bcpatch(*words, cwd=shop, PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("\\u03c0.patch: 1 function")
        done = bcpatch("show", "π.patch", "--dis", cwd=shop, PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr, "('\\u03c0')" in done.stdout) == (0, "", True)

    def test_an_interrupt(self, shop):
        """Reading its base from a named pipe it waits for ever, until it is interrupted."""
        os.mkfifo(shop / "base.py")
        process = subprocess.Popen(
            [sys.executable, "-m", "bcpatch", "build", "shop/cart.py", "-o", "1.patch", "--base", "base.py"],
            cwd=shop,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with open(shop / "base.py", "wb"):  # it has opened the other end now
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, *said) == (128 + signal.SIGINT, "", "")
        assert not (shop / "1.patch").exists()

    @pytest.mark.parametrize("option", ["--help", "--version"])
    def test_help_and_version_import_next_to_nothing(self, tmp_path, option):
        found = _imported(tmp_path, f"from bcpatch import cli; cli.run([{option!r}])") - _imported(tmp_path, "pass")
        assert found == {"__future__", "bcpatch", "bcpatch.cli", "bcpatch.cli.program"}

    def test_the_help_of_a_command_imports_no_command(self, tmp_path):
        found = _imported(tmp_path, "from bcpatch import cli; cli.run(['build', '--help'])")
        ours = {name for name in found if name.startswith("bcpatch")}
        assert ours == {"bcpatch", "bcpatch.cli", "bcpatch.cli.program", "bcpatch.cli.arguments"}

    def test_a_command_imports_only_what_it_needs(self, shop):
        good(shop)
        found = _imported(shop, "from bcpatch import cli; cli.run(['build', 'shop', '-o', '1.patch'])")
        assert "bcpatch.builder" in found
        assert not found & {"rich", "watchdog", "bcpatch.runtime", "bcpatch.watch", "xdis"}


class TestFindings:
    FOUND = finding("BCP104", "it is private", Place("a.py", 2, 3, 2, 4, "  x = 1"))

    def test_colour_says_the_same(self):
        plain = output.painted(self.FOUND, False)
        coloured = output.painted(self.FOUND, True)
        assert "\x1b[" in coloured
        for code in ("0", "1", "2", "36", "1;31"):
            coloured = coloured.replace(f"\x1b[{code}m", "")
        assert coloured == plain

    @pytest.mark.parametrize(
        ("codes", "status"),
        [([], 0), (["BCP215"], 0), (["BCP104"], 1), (["BCP003"], 2), (["BCP003", "BCP104"], 1), (["BCP405"], 1)],
    )
    def test_the_status_that_findings_lead_to(self, codes, status):
        assert output.status([finding(code, "") for code in codes]) == status

    def test_every_unreadable_rule_exists_and_is_an_error(self):
        assert {finding(code, "").severity for code in output.UNREADABLE} == {Severity.ERROR}


SERVING = """
    import importlib, sys
    sys.path.insert(0, "deployed")
    import shop.cart
    from bcpatch import runtime
    runtime.loop()
    print("open", flush=True)
    for line in sys.stdin:
        importlib.import_module(line.strip())
        print("done", flush=True)
"""


def test_modules_that_come_after_their_patch(shop, folder, monkeypatch):
    """On a server that has the old files: told by a rehearsal, by the apply, and by the status until they are there."""
    (shop / "shop" / "late.py").write_text("def price():\n    return 1\n")
    subprocess.run(
        [sys.executable, "-c", "import shutil; shutil.copytree('shop', 'deployed/shop')"], cwd=shop, check=True
    )
    (shop / "shop" / "late.py").write_text("def price():\n    return 2\n")
    (shop / "shop" / "brand.py").write_text("NEW = True\n")
    good(shop)
    done = called("build", "shop", "--base", "deployed/shop", "--policy", "linked", "-o", "1.patch", cwd=shop)
    assert "1 new module, 2 functions in shop.brand, shop.cart, shop.late" in clean(done).stdout
    assert "(new)" in clean(called("show", "1.patch", cwd=shop)).stdout
    monkeypatch.chdir(shop)
    with running(SERVING) as process:
        assert process.hear() == "open"
        pid = str(process.pid)
        rehearsed = clean(called("apply", "1.patch", pid, "--dry-run", cwd=shop))
        assert "would switch 1 site: shop.cart:Cart.add" in rehearsed.stdout
        for words in ("BCP517", "shop.late is not imported yet", "shop.brand is new"):
            assert words in rehearsed.stderr
        both = clean(called("apply", "1.patch", pid, str(os.getpid()), "--dry-run", "--format", "json", cwd=shop))
        told = [(one["pid"], one["outcome"], one["sites"], len(one["findings"])) for one in json.loads(both.stdout)]
        assert told == [
            (process.pid, "would do", ["shop.cart:Cart.add"], 2),
            (os.getpid(), "unreachable", None, 0),
        ]
        assert both.returncode == 2
        applied = clean(called("apply", "1.patch", pid, cwd=shop))
        assert (applied.returncode, applied.stderr.count("BCP517")) == (0, 2)
        for name, words in (("shop.brand", "not yet"), ("shop.late", "not yet")):
            assert [name, words] == _row(called("status", pid, cwd=shop).stdout, name)
        for name in ("shop.brand", "shop.late"):
            process.tell(name)
            assert process.hear() == "done"
        status = called("status", pid, cwd=shop).stdout
        assert _row(status, "shop.brand") == ["shop.brand", "with the text of the patch"]
        assert _row(status, "shop.late") == ["shop.late", "with the text of the patch"]
        found = json.loads(called("status", pid, "--format", "json", cwd=shop).stdout)["modules"]
        assert [(one["module"], one["is_new"], one["presence"]) for one in found] == [
            ("shop.brand", True, "carried"),
            ("shop.late", False, "carried"),
        ]
        refused = clean(called("rollback", pid, cwd=shop))
        assert (refused.returncode, "BCP613" in refused.stderr, "shop.late" in refused.stderr) == (1, True, True)


WAITING = """
import threading

class Cart:
    def __init__(self):
        self.total = 0

def serve(entered):
    entered.set()
    return threading.Event().wait()
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_an_apply_leaves_as_it_was_is_said(form, shop, folder, monkeypatch):
    """Instances that exist, and a call that never returns."""
    (shop / "wait.py").write_text(WAITING)
    (shop / "new").mkdir()
    changed = WAITING.replace("total = 0", "total = 1").replace("return threading", "raise threading")
    (shop / "new" / "wait.py").write_text(changed)
    clean(bcpatch("build", "new/wait.py", "--base", "wait.py", "--policy", "linked", "-o", "1.patch", cwd=shop))
    monkeypatch.chdir(shop)
    script = """
        import sys, threading
        sys.path.insert(0, "")
        import wait
        from bcpatch import runtime
        runtime.loop()
        entered = threading.Event()
        threading.Thread(target=wait.serve, args=(entered,), name="waiter", daemon=True).start()
        entered.wait()
        print("open", flush=True)
        sys.stdin.read()
    """
    with running(script) as process:
        assert process.hear() == "open"
        done = clean(bcpatch("apply", "1.patch", str(process.pid), "--format", form, cwd=shop))
    assert done.returncode == 0
    if form == "json":
        (answer,) = json.loads(done.stdout)
        assert (answer["pid"], answer["outcome"], answer["generation"]) == (process.pid, "done", 1)
        assert (answer["certain"], answer["sites"]) == (True, None)
        found = {one["code"]: (one["severity"], one["site"], one["line"]) for one in answer["findings"]}
        assert found == {
            "BCP521": ("note", "wait:Cart.__init__", 5),
            "BCP614": ("note", "wait:serve", 10),
        }
    else:
        assert "wait.py:5: BCP521 note" in done.stderr
        assert "wait.py:10: BCP614 note" in done.stderr
        assert "thread waiter is inside `serve`" in done.stderr


STOPPING = """
    import os, sys
    from bcpatch import runtime
    runtime.loop()
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_process_that_is_stopped_is_said_to_be_silent_by_ps(folder, monkeypatch, capsys):
    monkeypatch.setattr(client, "GREETING_SECONDS", 0.2)
    with running(STOPPING) as process:
        assert process.hear() == "open"
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        try:
            assert cli.run(["ps"]) == 2
            said = capsys.readouterr()
            assert (said.out, said.err) == ("", f"error: process {process.pid}: the other side said nothing in time\n")
        finally:
            os.kill(process.pid, signal.SIGCONT)
    assert cli.run(["ps"]) == 0
    assert capsys.readouterr().out.startswith("no process")


IMPORTING = """
    import sys
    sys.path.insert(0, "deployed")
    import shop.cart
    from bcpatch import runtime
    runtime.loop()
    print("open", flush=True)
    sys.stdin.read()
"""


def test_an_apply_that_is_interrupted_is_said_to_go_on(shop, folder, monkeypatch, tmp_path):
    """The process has the patch by then: nobody must think that it was called back."""
    (shop / "slow.py").write_text("print('slow', flush=True)\nopen('pipe').read()\n")
    subprocess.run(
        [sys.executable, "-c", "import shutil; shutil.copytree('shop', 'deployed/shop')"], cwd=shop, check=True
    )
    edit(shop, "import math", "import math\nimport slow")
    os.mkfifo(shop / "pipe")
    monkeypatch.chdir(shop)
    clean(bcpatch("build", "shop", "--base", "deployed/shop", "--policy", "linked", "-o", "1.patch", cwd=shop))
    with running(IMPORTING, environment={"PYTHONPATH": f"{shop}:{REPOSITORY}"}) as process:
        assert process.hear() == "open"
        command = [sys.executable, "-m", "bcpatch", "apply", "1.patch", str(process.pid)]
        with subprocess.Popen(command, env=environment(), stdout=-1, stderr=-1, text=True) as asking:
            assert process.hear() == "slow"
            asking.send_signal(signal.SIGINT)
            said = asking.communicate(timeout=PATIENCE)
        assert (asking.returncode, said[0]) == (130, "")
        assert said[1].startswith(f"error: interrupted; process {process.pid} may still do what it was asked to")
        (shop / "pipe").write_text("")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("output", ["full", "gone", "both full"])
def test_every_process_is_asked_where_the_output_can_not_be_written(form, output, shop, folder, monkeypatch):
    subprocess.run(
        [sys.executable, "-c", "import shutil; shutil.copytree('shop', 'deployed/shop')"], cwd=shop, check=True
    )
    good(shop)
    monkeypatch.chdir(shop)
    clean(bcpatch("build", "shop", "--base", "deployed/shop", "-o", "1.patch", cwd=shop))

    def untold(*words: str) -> tuple[int, str]:
        """The exit status of a command whose output goes nowhere, and what it says on standard error."""
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "bcpatch", *words, "--format", form]
        with open(writing, "wb") as gone, open("/dev/full", "wb") as full:
            out = gone if output == "gone" else full
            errors = out if output == "both full" else subprocess.PIPE
            done = subprocess.run(
                command, env=environment(), stdout=out, stderr=errors, text=True, timeout=PATIENCE, check=False
            )
        assert "Traceback" not in (done.stderr or "")
        return done.returncode, done.stderr or ""

    status = 128 + signal.SIGPIPE if output == "gone" else 2
    with running(IMPORTING) as one, running(IMPORTING) as other:
        assert one.hear() == other.hear() == "open"
        found = [untold("apply", "1.patch", str(one.pid), str(other.pid))]
        assert [_generation(each.pid, shop) for each in (one, other)] == [1, 1]
        found.append(untold("rollback", str(other.pid)))
        assert [_generation(each.pid, shop) for each in (one, other)] == [1, 0]
    assert [answer for answer, _ in found] == [status, status]
    if output != "both full":
        assert [f"process {each.pid} runs generation 1" in found[0][1] for each in (one, other)] == [True, True]
        assert f"process {other.pid} runs generation 0" in found[1][1]
        assert ("No space left" in found[0][1]) is (output == "full")


def _generation(pid: int, shop: Path) -> int:
    return json.loads(called("status", str(pid), "--format", "json", cwd=shop).stdout)["generation"]


def _row(status: str, name: str) -> list[str]:
    """A module, and what the table of modules says of its import."""
    line = next(one for one in status.splitlines() if one.startswith(name) and ":" not in one)
    return [name, line.removeprefix(name).replace("(new)", "").strip().lstrip("1").strip()]


def test_an_error_of_ours_is_one_line(capsys, monkeypatch):
    def wrong(format: str) -> int:
        raise output.Wrong("so it is")

    monkeypatch.setitem(commands.COMMANDS, "ps", wrong)
    assert cli.run(["ps"]) == 2
    assert capsys.readouterr().err == "error: so it is\n"
