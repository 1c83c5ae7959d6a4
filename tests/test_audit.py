"""Commits of a real repository are judged as a build would judge them, and nothing of it is run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from bcpatch import audit, cli
from bcpatch.git import Failed
from bcpatch.model import Policy

VERSIONS = {
    "start": {"shop/__init__.py": "", "shop/cart.py": "import os\nRATE = 1\ndef total(a):\n    return a\n"},
    "body": {"shop/cart.py": "import os\nRATE = 1\ndef total(a):\n    return [a]\n"},
    "comment": {"shop/cart.py": "# a comment\nimport os\nRATE = 1\ndef total(a):\n    return [a]\n"},
    "addition": {"shop/cart.py": "import os\nRATE = 1\ndef total(a):\n    return [a]\ndef more(): return RATE\n"},
    "statement": {"shop/cart.py": "raise SystemExit('this must never run')\n"},
    "module": {"shop/more.py": "def f(): return 1"},
    "text": {"README.md": "words", "tests/test_cart.py": "assert 1"},
    "not Python": {"shop/cart.py": "def f(:\n"},
}


IDENTITY = ["-c", "user.name=tester", "-c", "user.email=tester@example.invalid", "-c", "commit.gpgsign=false"]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *IDENTITY, *arguments], check=True, capture_output=True)


def commit(folder: Path, subject: str, files: Mapping[str, str | bytes]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", subject)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("history")
    git(folder, "init", "-q")
    for subject, files in VERSIONS.items():
        commit(folder, subject, files)
    return str(folder)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A history with what histories have."""
    folder = tmp_path_factory.mktemp("odd")
    git(folder, "init", "-q", "-b", "main")
    below = "from ..base import x\ndef f():\n    return {}\n"
    commit(folder, "start", {"shop/__init__.py": "", "shop/base.py": "x = 1\n", "shop/space/cart.py": below.format(1)})
    commit(folder, "below a namespace package", {"shop/space/cart.py": below.format(2)})
    commit(folder, "Python 2", {"shop/old.py": "print 'old'\n"})
    commit(folder, "still Python 2", {"shop/old.py": "print 'older'\n"})
    commit(folder, "not UTF-8", {"shop/base.py": b"x = 1\ndef f(): return '\xff'\n"})
    commit(folder, "UTF-8 again", {"shop/base.py": "x = 1\ndef f(): return 1\n"})
    commit(folder, "odd names", {"shop/\xe9 \n.py": "x = 1\n", "shop/class.py": "x = 1\n", "shop/to-day.py": ""})
    (folder / "link.py").symlink_to("shop/base.py")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module.py")
    git(folder, "commit", "-qm", "a submodule")
    commit(folder, "a link and a message in \xe9", {"README": ""})
    git(folder, "mv", "shop/base.py", "shop/basis.py")
    commit(folder, "renamed", {})
    git(folder, "switch", "-qfc", "other", "HEAD~2")
    commit(folder, "on a branch", {"shop/base.py": "x = 1\ndef f(): return 2\n"})
    git(folder, "merge", "-q", "main", "-m", "merged", "-X", "theirs")
    git(folder, "switch", "-qf", "--orphan", "elsewhere")
    commit(folder, "a root", {"a.py": "def f(): return 1\n"})
    git(folder, "switch", "-qf", "other")
    git(folder, "merge", "-q", "--allow-unrelated-histories", "elsewhere", "-m", "merged again")
    return str(folder)


def verdicts(repository: str, span: str = "HEAD~7..HEAD") -> dict[str, dict[str, tuple[bool, tuple[str, ...]]]]:
    judged = [audit.audit(repository, *commit) for commit in audit.commits(repository, span)]
    return {commit.subject: {one.policy.value: (one.live, one.rules) for one in commit.verdicts} for commit in judged}


def test_each_commit_gets_the_verdict_of_a_build(repository: str) -> None:
    found = verdicts(repository)
    assert list(found) == ["not Python", "text", "module", "statement", "addition", "comment", "body"]
    assert found["body"] == {"strict": (True, ()), "linked": (True, ())}
    assert found["comment"]["strict"] == (True, ())
    assert found["addition"] == {"strict": (False, ("BCP201",)), "linked": (True, ())}
    assert found["statement"]["linked"][0] is False
    assert "BCP208" in found["statement"]["linked"][1]
    assert found["text"] == found["module"] == {}
    assert found["not Python"]["linked"] == (False, ("BCP001",))


def test_odd_histories_are_judged_as_well(odd: str) -> None:
    found = verdicts(odd, "main~9..other")
    assert {subject: judged["linked"] for subject, judged in found.items() if judged} == {
        "below a namespace package": (True, ()),
        "still Python 2": (False, ("BCP001",)),
        "not UTF-8": (False, ("BCP002",)),
        "UTF-8 again": (False, ("BCP005",)),
        "on a branch": (True, ()),
    }
    silent = {"Python 2", "odd names", "a submodule", "a link and a message in \xe9", "renamed"}
    assert {subject for subject, judged in found.items() if not judged} == silent


def test_many_commits_are_judged_by_many_processes_in_their_order(
    repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = audit.commits(repository, "HEAD~7..HEAD")
    alone = list(audit.audit_all(repository, found))
    monkeypatch.setattr(audit, "_MANY", 2)
    assert list(audit.audit_all(repository, found)) == alone


def test_an_empty_range_has_no_commits(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["audit", repository, "HEAD..HEAD"]) == 0
    assert capsys.readouterr().out.count("0 of 0 commits") == 2


def test_rules_are_counted_by_commit(repository: str) -> None:
    judged = [audit.audit(repository, *commit) for commit in audit.commits(repository, "HEAD~7..HEAD~3")]
    counted = audit.summary(judged, Policy.STRICT)
    assert (counted.commits, counted.live) == (4, 2)
    assert dict(counted.rules)["BCP201"] == 1


def test_what_is_no_history_is_said(repository: str, tmp_path: Path) -> None:
    with pytest.raises(Failed):
        audit.commits(str(tmp_path), "HEAD~1..HEAD")
    with pytest.raises(Failed):
        audit.commits(repository, "no-such..HEAD")


def test_the_command_writes_a_table_and_json(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["audit", repository, "HEAD~7..HEAD"]) == 0
    table = capsys.readouterr().out
    assert "strict: 2 of 5 commits could have gone live (40 %)" in table
    assert "linked: 3 of 5 commits could have gone live (60 %)" in table
    assert cli.run(["audit", repository, "HEAD~7..HEAD", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["policies"]["linked"]["live"] == 3
