"""What shells are told about the word before the cursor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import PATIENCE, bcpatch, environment

from bcpatch import cli
from bcpatch.cli.completion import candidates
from bcpatch.cli.program import SUMMARIES

FORMATS = ["text", "json", "sarif", "github"]
RUN = ["--watch", "--policy", "-m", "-h", "--help"]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], list(SUMMARIES)),
        ([""], list(SUMMARIES)),
        (["s"], ["show", "status"]),
        (["-"], ["--version", "-h", "--help"]),
        (["show", ""], []),
        (["show", "-"], ["--dis", "--format", "-h", "--help"]),
        (["show", "a.patch", "--d"], ["--dis"]),
        (["show", "--dis", "--d"], ["--dis"]),
        (["show", "--format", ""], ["text", "json"]),
        (["build", "--format", ""], FORMATS),
        (["build", "--format", "="], FORMATS),
        (["build", "--format", "=", "j"], ["json"]),
        (["build", "--format=j"], ["--format=json"]),
        (["build", "--base=j"], []),
        (["build", "--base", "-"], []),
        (["build", "--", "-"], []),
        (["build", "--no-such", "-"], []),
        (["no-such", "-"], []),
        (["run", "-"], RUN),
        (["run", "--watch", "d", "-"], RUN),
        (["run", "--policy", "l"], ["linked"]),
        (["run", "-m", "-"], []),
        (["run", "-m", "shop", "-"], []),
        (["run", "app.py", "-"], []),
        (["run", "app.py", "--policy", ""], []),
    ],
)
def test_what_the_last_word_may_become(words: list[str], values: list[str]) -> None:
    assert [value for value, _ in candidates(words)] == values


def test_what_is_offered_comes_with_its_meaning() -> None:
    assert dict(candidates(["b"])) == {"build": SUMMARIES["build"]}
    assert dict(candidates(["ps", "--f"])) == {"--format": "How it is written (default: text)."}


@pytest.mark.parametrize("request_", ["bash", "bash_sources", "tcsh_source"])
def test_what_no_shell_asks(request_: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_BCPATCH_COMPLETE", request_)
    assert cli.run([]) == 2
    assert capsys.readouterr().err.startswith(f"error: _BCPATCH_COMPLETE is {request_!r}; it may be bash_source, ")


ASK = {
    "bash": """
        set -- bcpatch "$@"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _bcpatch_completion bcpatch
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "fish": 'complete -C "bcpatch $argv" | string replace -r "\\t.*" ""; true',
}


@pytest.mark.parametrize("shell", ASK)
@pytest.mark.parametrize(
    ("words", "values"),
    [(["ro"], ["rollback"]), (["show", "--f"], ["--format"]), (["build", "--policy", ""], ["strict", "linked"])],
)
def test_a_shell_gets_it(shell: str, words: list[str], values: list[str], tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not there")
    script = bcpatch(cwd=tmp_path, _BCPATCH_COMPLETE=f"{shell}_source").stdout
    (tmp_path / "bcpatch").write_text(f"#!{sys.executable}\nfrom bcpatch.cli import main\nmain()\n")
    (tmp_path / "bcpatch").chmod(0o755)
    (tmp_path / "script").write_text(f"{script}\n{ASK[shell]}\n")
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        [shell, "script", *words],
        cwd=tmp_path,
        env=environment(PATH=path, HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == (values, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_defines_the_completion_of_the_program(shell: str, tmp_path: Path) -> None:
    done = bcpatch(cwd=tmp_path, _BCPATCH_COMPLETE=f"{shell}_source")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_BCPATCH_COMPLETE={shell}_complete" in done.stdout
    answer = bcpatch("ps", "--f", cwd=tmp_path, _BCPATCH_COMPLETE=f"{shell}_complete").stdout
    between = ":" if shell == "zsh" else "\t"
    assert answer == f"--format{between}How it is written (default: text).\n"
    if shutil.which(shell):
        (tmp_path / "script").write_text(done.stdout)
        subprocess.run([shell, "-n", "script"], cwd=tmp_path, timeout=PATIENCE, check=True)
