"""Edits prepared as files, and the patches between them: what workers put into place by themselves."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bcpatch import patchfile
from benchmarks.suite.applications import Silent, environment
from benchmarks.suite.environments import WORKERS, python
from benchmarks.suite.modules import between


def prepare(folder: Path, aside: Path, versions: Sequence[Mapping[str, str]], *, patches: bool) -> None:
    """Write the first version of some modules, each later one as an edit, and with ``patches`` those as well.

    A version is the text of every module that differs from the one before it, by name. What was
    compiled once is not compiled again.
    """
    second = int(time.time()) - 100_000
    current = dict(versions[0])
    _write(folder, current, second)
    for step, version in enumerate(versions[1:]):
        _write(aside / f"{step:05}", version, second + step + 1)
        if patches:
            old = {name: current[name] for name in version}
            (folder / f"{step:05}.patch").write_bytes(_patch(tuple(old.items()), tuple(version.items())))
        current |= version


@cache
def _patch(old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> bytes:
    return patchfile.encode(between(dict(old), dict(new)))


def _write(folder: Path, texts: Mapping[str, str], second: int) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        file = folder / f"{name}.py"
        file.write_text(text, "utf-8")
        os.utime(file, (second, second))


def work(worker: str, tool: str, folder: Path, job: Mapping[str, Any], patience: float) -> Any:
    """What a worker found, run in the environment of a tool. Raises NotHere or Silent."""
    told = json.dumps({"tool": tool, "folder": str(folder), **job})
    command = [str(python(tool)), str(WORKERS / f"{worker}.py"), told]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(folder, {}),
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Silent(f"took more than {patience:.0f} s") from None
    if done.returncode:
        raise Silent(f"it failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1][-200:]}")
    return json.loads(done.stdout.splitlines()[-1])
