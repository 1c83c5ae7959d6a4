"""The check of installed modules: it edits, it finds nothing in a right patch, and it notices a wrong one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from samples import patch_of

from bcpatch import patchfile
from bcpatch.model import Module

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.checks import retouch  # noqa: E402

SHOP = '''\
"""A shop."""
import functools

RATES = {"a": 1, "b": (2, 3)}


@functools.lru_cache(maxsize=3)
def rate(name, times=2):
    """The rate."""
    found = RATES[name]
    return [found + one for one in range(times)]


class Base:
    limit = 5


class Shop(Base):
    """Sells."""

    def __init__(self, name):
        self.name = name

    def sell(self, count=1):
        key = lambda one: one + 1
        return key(count), self.name


def closed():
    return False
'''
WORKER = ROOT / "benchmarks" / "workers" / "installed.py"


@pytest.mark.parametrize("kind", retouch.EDITS)
def test_every_kind_of_edit_makes_another_text_that_compiles(kind: str) -> None:
    made = 0
    for number in range(40):
        new = retouch.EDITS[kind](retouch.Text(SHOP), Random(number))
        if new is not None and new != SHOP:
            made += _compiles(new)
    assert made


def _compiles(text: str) -> bool:
    try:
        compile(text, "shop", "exec")
    except SyntaxError:
        return False
    return True


def judged(folder: Path, new: str, applied: str, probes: list[str]) -> dict[str, Any]:
    """What the worker says of a patch to one text, where another one is the next version."""
    (folder / "root").mkdir()
    (folder / "root" / "client.py").write_text("import shop\nfrom shop import closed, RATES as rates\n")
    patch = folder / "shop.patch"
    patch.write_bytes(patchfile.encode(patch_of(SHOP, applied, "linked", Module("shop", "shop.py"))))
    case = {"texts": [SHOP, new], "patches": [str(patch)], "probes": [[], probes], "warned": False}
    where = {"folder": str(folder / "root"), "file": str(folder / "root" / "shop.py")}
    job = folder / "job.json"
    job.write_text(json.dumps({"module": "shop", "client": "client", **where, "cases": [case]}))
    done = subprocess.run(
        [sys.executable, str(WORKER), str(job)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


EDITS = {
    "code": ("return False", "return 7"),
    "default": ("times=2", "times=4"),
    "value": ('"a": 1', '"a": 4'),
    "method": ("    limit = 5", "    limit = 5\n\n    def more(self):\n        return functools.reduce(max, self)"),
    "lines": ("class Base", "# a word\nclass Base"),
    "documentation": ("Sells.", "Sold."),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_right_patch_and_a_wrong_one_are_told_apart(name: str, tmp_path: Path) -> None:
    new = SHOP.replace(*EDITS[name])
    (tmp_path / "right").mkdir()
    right = judged(tmp_path / "right", new, new, ["closed"])
    assert [(what, found) for what, _, _, found in right["steps"]] == [("live", []), ("back", []), ("back", [])]
    other = SHOP.replace(*EDITS["code" if name != "code" else "default"])
    (tmp_path / "wrong").mkdir()
    wrong = judged(tmp_path / "wrong", new, other, ["closed"])
    assert wrong["steps"][0][0] == "live"
    assert wrong["steps"][0][3]
