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


EDITS = {
    "code": ("return False", "return 7"),
    "default": ("times=2", "times=4"),
    "value": ('"a": 1', '"a": 4'),
    "method": ("    limit = 5", "    limit = 5\n\n    def more(self):\n        return functools.reduce(max, self)"),
    "lines": ("class Base", "# a word\nclass Base"),
    "documentation": ("Sells.", "Sold."),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], list[list[Any]]]:
    """What the worker says of the steps of each edit, by its name: with the patch that makes it, and another's."""
    folder = tmp_path_factory.mktemp("installed")
    root = folder / "root"
    root.mkdir()
    (root / "client.py").write_text("import shop\nfrom shop import closed, RATES as rates\n")
    cases, keys = [], []
    for name, edit in EDITS.items():
        new = SHOP.replace(*edit)
        for right in (True, False):
            applied = new if right else SHOP.replace(*EDITS["code" if name != "code" else "default"])
            patch = folder / f"{name} {right}.patch"
            patch.write_bytes(patchfile.encode(patch_of(SHOP, applied, "linked", Module("shop", "shop.py"))))
            cases.append({"texts": [SHOP, new], "patches": [str(patch)], "probes": [[], ["closed"]], "warned": False})
            keys.append((name, right))
    job = folder / "job.json"
    where = {"folder": str(root), "file": str(root / "shop.py")}
    job.write_text(json.dumps({"module": "shop", "client": "client", **where, "cases": cases}))
    done = subprocess.run(
        [sys.executable, str(WORKER), str(job)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {key: json.loads(line)["steps"] for key, line in zip(keys, done.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize("name", EDITS)
def test_a_right_patch_and_a_wrong_one_are_told_apart(
    name: str, judged: dict[tuple[str, bool], list[list[Any]]]
) -> None:
    assert [(what, found) for what, _, _, found in judged[name, True]] == [("live", []), ("back", []), ("back", [])]
    what, _, _, found = judged[name, False][0]
    assert (what, bool(found)) == ("live", True)
