"""What a commit comes to: processes started, their tests compared, one word said of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import history

SUBJECT = Path(__file__).resolve().with_name("subject.py")

Outcome = Literal["right", "wrong", "refused", "refused, changed", "crash", "no-op"]
OUTCOMES: tuple[Outcome, ...] = ("right", "wrong", "refused", "refused, changed", "crash", "no-op")


@dataclass(frozen=True)
class Setting:
    """What is the same for every commit of a run.

    ``packages`` are paths inside of the repository, all in the folder ``root``; ``tool``
    is ``bcpatch`` or a Python file with a function ``apply(old, new, policy)``; ``seconds``
    is how long one process may take.
    """

    repository: str
    python: str
    root: str
    packages: tuple[str, ...]
    suite: tuple[str, ...]
    whole: bool
    tool: str
    policies: tuple[str, ...]
    seconds: float
    arguments: tuple[str, ...]
    everything: bool


@dataclass(frozen=True)
class Verdict:
    """What a tool made of a commit. ``stale`` tests needed the new code, ``damaged`` ones passed without it;
    ``warned`` are rules that warned of an edit which was applied all the same.
    """

    policy: str
    outcome: Outcome
    refused: tuple[tuple[str, str], ...] = ()
    stale: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    warned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A commit with its verdicts; ``discriminating`` where its tests fail in an old process without a tool."""

    commit: history.Commit
    tests: int
    discriminating: bool
    verdicts: tuple[Verdict, ...]
    note: str = ""


class Run:
    """What one process saw."""

    def __init__(self, state: dict[str, Any], end: str) -> None:
        self.stage: str = state.get("stage", "starting")
        self.end = end
        self.unchanged: bool = state.get("unchanged", False)
        self.refused: tuple[tuple[str, str], ...] = tuple((code, text) for code, text in state.get("refused", ()))
        self.warned: tuple[str, ...] = tuple(state.get("warned", ()))
        self.passed: frozenset[str] = frozenset(state.get("passed", ()))
        self.failed: dict[str, str] = state.get("failed", {})


def judge(setting: Setting, commit: history.Commit) -> Judged:
    """Replay a commit under every policy."""
    tests = [name for name in commit.changed if history.is_test(name) and history.is_below(name, setting.suite)]
    with tempfile.TemporaryDirectory(prefix="replay") as name:
        place = Path(name)
        for version, revision in (("old", commit.parent), ("new", commit.digest)):
            history.export(setting.repository, revision, place / version)
            for package in setting.packages:
                _copy(place / version / package, place / f"{version} sources" / Path(package).name)
        tests = [*setting.suite] if setting.whole else [one for one in tests if (place / "new" / one).exists()]
        return _Replay(setting, place, commit, tests).judged()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy(source, target)


class _Replay:
    """The processes of one commit."""

    def __init__(self, setting: Setting, place: Path, commit: history.Commit, tests: list[str]) -> None:
        self.setting, self.place, self.commit, self.tests = setting, place, commit, tests

    def judged(self) -> Judged:
        fresh = self._run("new", "", "")
        counted = fresh.passed
        if not counted:
            return Judged(self.commit, 0, False, (), f"no test passes in a fresh process ({fresh.stage} {fresh.end})")
        control = self._run("old", "", "")
        if counted - control.passed:
            counted &= self._run("new", "", "").passed  # only what passes twice tells anything
        needed = counted - control.passed
        verdicts = []
        if needed or self.setting.everything:
            verdicts = [self._verdict(policy, counted, needed, control) for policy in self.setting.policies]
        return Judged(self.commit, len(counted), bool(needed), tuple(verdicts))

    def _verdict(self, policy: str, counted: frozenset[str], needed: frozenset[str], control: Run) -> Verdict:
        ran = self._run("old", self.setting.tool, policy)
        expected = needed if ran.refused else frozenset[str]()
        unexpected = (counted - ran.passed) ^ expected
        if unexpected and ran.stage == "done":  # not by chance?
            again = self._run("old", self.setting.tool, policy)
            unexpected &= (counted - again.passed) ^ expected
        missed = expected ^ unexpected
        if ran.stage != "done" and not (ran.refused and ran.stage == control.stage):  # it ends as old code does
            return Verdict(policy, "crash", ran.refused, reason=f"{ran.stage}: {ran.end}")
        stale, damaged = (
            {one: ran.failed.get(one, "did not run") for one in sorted(which)}
            for which in (missed & needed, missed - needed)
        )
        if ran.refused:
            return Verdict(policy, "refused, changed" if unexpected else "refused", ran.refused, {}, damaged)
        if missed:
            return Verdict(policy, "wrong", (), stale, damaged, warned=ran.warned)
        return Verdict(policy, "no-op" if ran.unchanged else "right", warned=ran.warned)

    def _run(self, start: str, tool: str, policy: str) -> Run:
        """One process, from its start to the end of the tests."""
        setting = self.setting
        with tempfile.TemporaryDirectory(prefix="replay") as name:
            folder = Path(name)
            live, out, job, said = folder / "live", folder / "out.json", folder / "job.json", folder / "said"
            shutil.copytree(self.place / start, live, symlinks=True)
            names = [Path(package).name.removesuffix(".py") for package in setting.packages]
            content = {
                "live": str(live), "out": str(out), "root": setting.root, "packages": names, "start": start,
                "tool": tool, "policy": policy, "new": str(self.place / "new"),
                "old_sources": str(self.place / "old sources"), "new_sources": str(self.place / "new sources"),
                "tests": [*setting.arguments, *self.tests],
            }  # fmt: skip
            job.write_text(json.dumps(content))
            path = os.pathsep.join(filter(None, (str(live / setting.root), os.environ.get("PYTHONPATH"))))
            more = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "HOME": name}
            with said.open("wb") as stream:
                process = subprocess.Popen(
                    [setting.python, str(SUBJECT), str(job)],
                    stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=live,
                    env={**os.environ, **more}, start_new_session=True,
                )  # fmt: skip
                try:
                    status = process.wait(setting.seconds)
                    end = f"exit status {status}"
                except subprocess.TimeoutExpired:
                    end = f"no end after {setting.seconds:.0f} s"
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # and what the tests started
                process.wait()
            state = json.loads(out.read_text()) if out.exists() and out.stat().st_size else {}
            last = said.read_bytes()[-600:].decode("utf-8", "replace").strip()
            return Run(state, f"{end}: {last}" if state.get("stage") != "done" else end)
