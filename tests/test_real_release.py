"""Two consecutive releases of a package that people use: the older one runs, and becomes the newer one live.

What changed between them in some function bodies is built into a strict patch and
loaded into a process whose threads call these functions without a pause.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE, OLDER, NEWER = "more-itertools", "10.5.0", "10.6.0"
FUNCTIONS = ("is_sorted", "spy")

APPLICATION = """
import math, sys, threading
from pathlib import Path

import more_itertools
from bcpatch import runtime
from more_itertools.more import is_sorted, spy

assert more_itertools.__version__ == "10.5.0"
unordered = [0, math.nan, 1]
head = ([0, 1], [0, 1, 2])
seen, wrong, stop = set(), [], threading.Event()
calling = threading.Barrier(5)

def call():
    first = True
    while not stop.is_set():
        seen.add(is_sorted(unordered, strict=True))
        start, rest = spy(range(3), 2)
        if (start, list(rest)) != head:
            wrong.append((start, rest))
        if first:
            calling.wait()
            first = False

def shown():
    here = is_sorted(unordered, strict=True)
    return here, here == more_itertools.is_sorted(unordered, strict=True)

threads = [threading.Thread(target=call, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
calling.wait()
print("older", *shown())
generation = runtime.apply(sys.argv[1])
print("newer", *shown(), generation.number)
generation = runtime.rollback(to=0)
print("older", *shown(), generation.number)
stop.set()
for thread in threads:
    thread.join()
print("threads", sorted(seen) in ([True], [False, True]), wrong)
"""


def install(release: str, folder: Path) -> Path:
    """A release of the package, from the index that the installer is set up for."""
    if find_spec("pip"):
        installer = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    elif uv := shutil.which("uv"):
        installer = [uv, "pip", "install", "--quiet", "--python", sys.executable]
    else:
        pytest.fail("neither pip nor uv is here to install a release with")
    target = folder / release
    done = subprocess.run(
        [*installer, "--no-deps", "--target", str(target), f"{PACKAGE}=={release}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1:]}")
    assert done.returncode == 0, done.stderr
    return target


def with_functions_of(older: str, newer: str, names: tuple[str, ...]) -> str:
    """The older text with some of its functions as the newer text has them."""
    found = {}
    for text in (older, newer):
        lines = text.splitlines(keepends=True)
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name in names:
                found[node.name, text is newer] = "".join(lines[node.lineno - 1 : node.end_lineno])
    for name in names:
        older = older.replace(found[name, False], found[name, True])
    return older


@pytest.mark.timeout(300)
def test_a_process_goes_from_one_release_to_the_next_and_back(tmp_path: Path) -> None:
    older, newer = (install(release, tmp_path) / "more_itertools" / "more.py" for release in (OLDER, NEWER))
    mixed = tmp_path / "mixed" / "more_itertools" / "more.py"
    mixed.parent.mkdir(parents=True)
    (mixed.parent / "__init__.py").touch()
    mixed.write_text(with_functions_of(older.read_text(), newer.read_text(), FUNCTIONS))
    patch = tmp_path / "release.patch"
    built = subprocess.run(
        [sys.executable, "-m", "bcpatch", "build", str(mixed), "--base", str(older), "-o", str(patch)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", APPLICATION, str(patch)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path / OLDER), *sys.path[1:]))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "older True True",
        "newer False True 1",
        "older True True 0",
        "threads True []",
    ]
