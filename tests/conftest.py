"""How hypothesis runs: the same examples every time in CI, new ones on a desk; what tests need or leave behind."""

from __future__ import annotations

import compileall
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec
import pytest
from hypothesis import settings
from hypothesis.internal.entropy import deterministic_PRNG

settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

ROOT = Path(__file__).resolve().parents[1]

# A shell that starts the tests in the background has them ignore interrupts, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def finders() -> Iterator[None]:
    """A process that was patched keeps the import hook: not the next test's."""
    before = list(sys.meta_path)
    yield
    sys.meta_path[:] = before


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of a test's own: its path is short enough for sockets, and nobody's processes are in it."""
    made = Path(tempfile.mkdtemp(prefix="bc"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(made))
    monkeypatch.setenv("TMPDIR", str(made))
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    monkeypatch.delenv("BCPATCH_SUPERVISOR", raising=False)
    monkeypatch.delenv("BCPATCH_POLICY", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that goes with the test. With pytest's own, every test that had one would stay until the last one has
    run, and every search for functions would look at them all.
    """
    with tempfile.TemporaryDirectory(prefix="bcpatch-test-", ignore_cleanup_errors=True) as made:
        yield Path(made)


class Aside(msgspec.Struct, gc=False):
    """The tests of a session, out of the garbage collector's sight, and so of every search for functions.

    There are thousands of them, and a search looks at all that calls under way hold: those of pytest too.
    """

    items: list[pytest.Item]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> pytest.Item:
        return self.items[index]


class Forgetting:
    """Has a worker of pytest-xdist keep none of the reports that it has sent: a search looks at them too."""

    def __init__(self, reports: dict[str, list[object]]) -> None:
        self.reports = reports

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self) -> None:
        self.reports.clear()


def pytest_configure(config: pytest.Config) -> None:
    """Compile bcpatch once for the hundreds of processes that tests start: they may not write what they compile.

    Under pytest-xdist it is done before the workers are there.
    """
    if not hasattr(config, "workerinput"):
        for name in ("bcpatch", "benchmarks"):
            compileall.compile_dir(ROOT / name, quiet=2)


def pytest_collection_finish(session: pytest.Session) -> None:
    session.items = cast(list[pytest.Item], Aside(session.items))
    plugins = session.config.pluginmanager
    if hasattr(session.config, "workerinput"):
        plugins.register(Forgetting(plugins.getplugin("terminalreporter").stats))
    with deterministic_PRNG():
        pass  # hypothesis looks who holds its own generator of numbers, once, and would not see it afterwards
    gc.collect()
    gc.freeze()  # what is here now stays until the end: a collection need not look at it
