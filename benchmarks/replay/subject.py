"""The process that is patched: the old version imported whole, the new one applied, the tests run in it.

    python subject.py JOB.json

Uses nothing but the standard library, pytest and the tool under test. What it saw is
written to the job's ``out`` as it goes, so that a process which dies has said how far it came.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

#: How a tool answers: what it refused, rule and message, empty where it applied the change.
Refusals = list[tuple[str, str]]


def import_all(packages: Iterable[str]) -> None:
    """Import every module that imports cleanly, as an application that uses all of a package would have."""
    waiting = list(packages)
    while waiting:
        name = waiting.pop()
        try:
            with warnings.catch_warnings(action="ignore"):
                module = importlib.import_module(name)
        except (Exception, SystemExit):  # noqa: BLE001 - an optional dependency is missing, or it is a program
            continue
        below = pkgutil.iter_modules(getattr(module, "__path__", ()))
        waiting += [f"{name}.{one.name}" for one in below if one.name != "__main__"]


def bring(new: Path, live: Path) -> None:
    """Make a folder's files those of another."""
    for file in [one for one in live.rglob("*") if one.is_symlink() or one.is_file()]:
        if not os.path.lexists(new / file.relative_to(live)):
            file.unlink()
    shutil.copytree(new, live, symlinks=False, ignore_dangling_symlinks=True, dirs_exist_ok=True)
    importlib.invalidate_caches()


def with_bcpatch(old: str, new: str, policy: str) -> tuple[Refusals | None, list[str]]:
    """Build in a process of its own, apply in this one; None where nothing changed. And the rules that warned."""
    with tempfile.TemporaryDirectory() as folder:
        patch = os.path.join(folder, "commit.patch")
        build = [sys.executable, "-m", "bcpatch", "build", new, "--base", old, "-o", patch]
        done = subprocess.run(
            [*build, "--policy", policy, "--format", "json"], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode == 3:
            return None, []
        if done.returncode not in (0, 1, 2) or "Traceback" in done.stderr:
            raise RuntimeError(f"bcpatch build: exit status {done.returncode}: {done.stderr[-800:]}")
        found = json.loads(done.stdout)
        warned = sorted({one["code"] for one in found if one["severity"] == "warning"})
        if done.returncode:
            return [(one["code"], one["message"]) for one in found if one["severity"] == "error"], warned
        from bcpatch import Refused, runtime

        try:
            runtime.apply(patch)
        except Refused as refused:
            return [(one.code, one.message) for one in refused.diagnostics if one.severity.value == "error"], warned
    return [], warned


def tool_of(file: str) -> Callable[[str, str, str], tuple[Refusals | None, list[str]]]:
    """The function ``apply(old, new, policy)`` that a Python file defines; it warns of nothing."""
    spec = importlib.util.spec_from_file_location("tool_under_test", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda old, new, policy: (module.apply(old, new, policy), [])


class Recorder:
    """A plugin of pytest: what became of every test, and the last line of what failed."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed[report.nodeid] = str(report.longrepr).strip().rpartition("\n")[2][:300]
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed[report.nodeid] = str(report.longrepr).strip().rpartition("\n")[2][:300]


def main(job_file: str) -> int:
    job = json.loads(Path(job_file).read_text())
    state: dict[str, Any] = {"stage": "importing"}

    def save(**more: Any) -> None:
        state.update(more)
        Path(job["out"]).write_text(json.dumps(state))

    save()
    os.chdir(job["live"])
    sys.path[0] = os.path.join(job["live"], job["root"])
    import_all(job["packages"])
    if job["start"] == "old":
        bring(Path(job["new"]), Path(job["live"]))
        if job["tool"]:
            apply = with_bcpatch if job["tool"] == "bcpatch" else tool_of(job["tool"])
            save(stage="applying")
            answer, warned = apply(job["old_sources"], job["new_sources"], job["policy"])
            save(refused=answer or [], unchanged=answer is None, warned=warned)
    save(stage="testing")
    import pytest

    sys.argv = ["pytest", *job["tests"]]
    recorder = Recorder()
    quiet = ["-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-o", "addopts="]
    pytest.main([*quiet, *job["tests"]], plugins=[recorder])
    save(stage="done", passed=sorted(recorder.passed - recorder.failed.keys()), failed=recorder.failed)
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)  # threads that the tests left behind hold nothing up
