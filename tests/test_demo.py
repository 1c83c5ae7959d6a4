"""The demonstration shows what it promises, notices when it doesn't, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import PATIENCE, REPOSITORY, Started, bcpatch, environment

from bcpatch import demo

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the demonstration makes its temporary folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def test_it_shows_what_the_readme_promises(folder):
    done = bcpatch("demo", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.strip() for line in done.stdout.splitlines()]
    told = iter(shown)
    for expected in (
        "the counter is now 1",
        "the counter is now 2",
        "the counter is now 3",
        "the counter is 3",
        "3 requests counted, and not one forgotten",
        "the counter is now 4",
        "4 requests counted, and not one forgotten",
        "the counter is 4",
        "stopped; the counter is 4",
    ):
        assert expected in told
    assert any("BCP104" in line for line in shown)
    assert [line for line in shown if "live in 1 process" in line]
    assert list(folder.glob("bcpatch-demo-*")) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_leaves_nothing_behind(folder, number, status):
    with Started([sys.executable, "-m", "bcpatch", "demo"], folder) as demonstration:
        pid = demonstration.hear(r"process (\d+) takes patches")[1]
        os.kill(demonstration.process.pid, number)
        assert demonstration.end() == status
        assert not any("Traceback" in line for line in demonstration.rest())
    assert not alive(pid)
    assert list(folder.glob("bcpatch-demo-*")) == []


def test_what_comes_out_other_than_promised_is_an_error(folder, tmp_path_factory):
    """With an example whose counter doesn't count, installed in the package's place."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(REPOSITORY / "bcpatch", source / "bcpatch", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "examples", source / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    handlers = source / "examples" / "counter" / "handlers.py"
    handlers.write_text(handlers.read_text().replace("self.value += 1", "self.value += 2"))
    done = subprocess.run(
        [sys.executable, "-m", "bcpatch", "demo"],
        cwd=folder,
        env=environment(PYTHONPATH=str(source)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "error: the answer to /increment should have been: the counter is now 1\n"
    assert list(folder.glob("bcpatch-demo-*")) == []


def test_an_edit_that_changes_nothing_is_an_error(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    with pytest.raises(demo.Unkept, match="no line to edit"):
        demo._edit(file, "y", "z", lambda speaker, line: None)


def test_the_example_is_found_and_runs_by_itself():
    example = demo._example()
    assert {path.name for path in example.iterdir()} >= {"server.py", "handlers.py", "README.md"}
    with Started([sys.executable, "server.py", "--port", "0"], Path(example)) as server:
        server.hear("counting on http://127.0.0.1:")
        server.process.send_signal(signal.SIGINT)
        server.hear("stopped; the counter is 0")
        assert server.end() == 0
