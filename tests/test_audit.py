"""Commits of a real repository are judged as a build would judge them, and nothing of it is run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from bcpatch import audit
from bcpatch.cli.commands import bcpatch
from bcpatch.model import Policy

VERSIONS = {
    "start": {"shop/__init__.py": "", "shop/cart.py": "import os\nRATE = 1\ndef total(a):\n    return a\n"},
    "body": {"shop/cart.py": "import os\nRATE = 1\ndef total(a):\n    return [a]\n"},
    "comment": {"shop/cart.py": "# a comment\nimport os\nRATE = 1\ndef total(a):\n    return [a]\n"},
    "addition": {"shop/cart.py": "import os\nRATE = 1\ndef total(a):\n    return [a]\ndef more(): return RATE\n"},
    "statement": {"shop/cart.py": "raise SystemExit('this must never run')\n"},
    "text": {"README.md": "words", "tests/test_cart.py": "assert 1"},
    "not Python": {"shop/cart.py": "def f(:\n"},
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("history")
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.invalid", "-c", "commit.gpgsign=false"]

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    for subject, files in VERSIONS.items():
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        git("add", ".")
        git("commit", "-qm", subject)
    return str(folder)


def verdicts(repository: str, span: str = "HEAD~6..HEAD") -> dict[str, dict[str, tuple[bool, tuple[str, ...]]]]:
    judged = [audit.audit(repository, *commit) for commit in audit.commits(repository, span)]
    return {commit.subject: {one.policy.value: (one.live, one.rules) for one in commit.verdicts} for commit in judged}


def test_each_commit_gets_the_verdict_of_a_build(repository: str) -> None:
    found = verdicts(repository)
    assert list(found) == ["not Python", "text", "statement", "addition", "comment", "body"]
    assert found["body"] == {"strict": (True, ()), "linked": (True, ())}
    assert found["comment"]["strict"] == (True, ())
    assert found["addition"] == {"strict": (False, ("BCP201",)), "linked": (True, ())}
    assert found["statement"]["linked"][0] is False
    assert "BCP208" in found["statement"]["linked"][1]
    assert found["text"] == {}
    assert found["not Python"]["linked"] == (False, ("BCP001",))


def test_rules_are_counted_by_commit(repository: str) -> None:
    judged = [audit.audit(repository, *commit) for commit in audit.commits(repository, "HEAD~6..HEAD~2")]
    counted = audit.summary(judged, Policy.STRICT)
    assert (counted.commits, counted.live) == (4, 2)
    assert dict(counted.rules)["BCP201"] == 1


def test_what_is_no_history_is_said(repository: str, tmp_path: Path) -> None:
    with pytest.raises(audit.NoHistory):
        audit.commits(str(tmp_path), "HEAD~1..HEAD")
    with pytest.raises(audit.NoHistory):
        audit.commits(repository, "no-such..HEAD")


def test_the_command_writes_a_table_and_json(repository: str) -> None:
    table = CliRunner().invoke(bcpatch, ["audit", repository, "HEAD~6..HEAD"])
    assert "strict: 2 of 5 commits could have gone live (40 %)" in table.output
    assert "linked: 3 of 5 commits could have gone live (60 %)" in table.output
    answer = CliRunner().invoke(bcpatch, ["audit", repository, "HEAD~6..HEAD", "--format", "json"])
    assert json.loads(answer.output)["policies"]["linked"]["live"] == 3
