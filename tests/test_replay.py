"""benchmarks/replay tells right from wrong: on a small history, with bcpatch and with a tool that lies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)  # about twenty processes

ROOT = Path(__file__).resolve().parents[1]

CART = """\
import functools

def total(prices):
    return {total}

@functools.{cache}
def rate(country):
    return 1
"""
BOX = """
class Box:
    def __init__(self):
        self.{given} = {value}

    def get(self):
        return self.{given}

BOX = Box()
"""
TEST = """\
from shop import cart

def test_total():
    assert cart.total([1, 2]) == {total}

def test_rate():
    assert cart.rate("x") == 1
"""
VERSIONS = {
    "start": (CART.format(total=0, cache="cache"), TEST.format(total=0)),
    "body": (CART.format(total="sum(prices)", cache="cache"), TEST.format(total=3)),
    "comment": (CART.format(total="sum(prices)", cache="cache") + "# words\n", TEST.format(total=3) + "\n"),
    "decorator": (CART.format(total="7", cache="lru_cache(2)"), TEST.format(total=7)),
    "a class": (f"{CART.format(total='7', cache='cache')}{BOX.format(given='size', value=1)}", TEST.format(total=7)),
    "attribute": (
        f"{CART.format(total='7', cache='cache')}{BOX.format(given='more', value=2)}",
        f"{TEST.format(total=7)}\ndef test_box():\n    assert cart.BOX.get() == 2\n",
    ),
}
#: Says that it applied a patch and does nothing; says that it refused, and leaves a changed process.
LIAR = """
from shop import cart

def apply(old, new, policy):
    if policy == "linked":
        return []
    cart.rate = None
    return [("NO", "no")]
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / "src" / "shop").mkdir(parents=True)
    (folder / "src" / "shop" / "__init__.py").touch()
    (folder / "tests").mkdir()
    for subject, (text, tests) in VERSIONS.items():
        (folder / "src" / "shop" / "cart.py").write_text(text)
        (folder / "tests" / "test_cart.py").write_text(tests)
        for command in (["add", "."], [*identity, "commit", "-qm", subject]):
            subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def replayed(
    clone: Path, tmp_path: Path, *more: str, span: str = "HEAD~5..HEAD~2"
) -> tuple[int, dict[tuple[str, str], Any]]:
    """The exit status, and by subject and policy what each discriminating commit came to."""
    out = tmp_path / "out.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "replay"), str(clone), span, "--package", "src/shop"]
    done = subprocess.run(
        [*command, "--json", str(out), "--jobs", "1", *more],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.exists(), done.stderr
    found = {one["commit"]["subject"]: one for one in json.loads(out.read_text())}
    assert not any(one["note"] for one in found.values()), done.stderr
    return done.returncode, {
        (subject, verdict["policy"]): verdict for subject, one in found.items() for verdict in one["verdicts"]
    }


def test_a_history_is_replayed(clone: Path, tmp_path: Path) -> None:
    status, found = replayed(clone, tmp_path, "--", "-p", "no:doctest")  # pytest gets what stands behind
    assert {key: verdict["outcome"] for key, verdict in found.items()} == {
        ("body", "linked"): "right",
        ("decorator", "linked"): "refused",
    }
    assert [code for code, _ in found["decorator", "linked"]["refused"]] == ["BCP205"]
    assert status == 0


def test_a_tool_that_lies_is_noticed(clone: Path, tmp_path: Path) -> None:
    tool = tmp_path / "liar.py"
    tool.write_text(LIAR)
    policies = ["--policy", "linked", "--policy", "strict"]
    status, found = replayed(clone, tmp_path, "--tool", str(tool), *policies, span="HEAD~5..HEAD~4")
    assert found["body", "linked"]["outcome"] == "wrong"
    assert list(found["body", "linked"]["stale"]) == ["tests/test_cart.py::test_total"]
    assert found["body", "strict"]["outcome"] == "refused, changed"
    assert list(found["body", "strict"]["damaged"]) == ["tests/test_cart.py::test_rate"]
    assert status == 1


def test_a_wrong_outcome_says_what_was_warned_of(clone: Path, tmp_path: Path) -> None:
    status, found = replayed(clone, tmp_path, span="HEAD~1..HEAD")
    assert found["attribute", "linked"]["outcome"] == "wrong"
    assert found["attribute", "linked"]["warned"] == ["BCP211", "BCP219"]
    assert status == 1
