"""What a command line means: the values that a command is called with, what is refused, and the help."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import bcpatch

from bcpatch import cli
from bcpatch.channels import protocol
from bcpatch.cli import arguments, commands, output, program
from bcpatch.cli.arguments import TAKES, read
from bcpatch.cli.program import SUMMARIES, Misused
from bcpatch.model import Policy

BUILD = {"base": None, "policy": None, "parent": None, "module": None, "format": "text"}
APPLY = {"dry_run": False, "consistency": "immediate", "timeout": None, "scan": "references", "format": "text"}
RUN: dict[str, Any] = {"folders": [], "policy": None, "module": None}


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("build a.py -o x", {**BUILD, "paths": ["a.py"], "output": "x"}),
        ("build a.py -ox b.py", {**BUILD, "paths": ["a.py", "b.py"], "output": "x"}),
        (
            "build --output=x a.py --base=git:v1 b.py",
            {**BUILD, "paths": ["a.py", "b.py"], "output": "x", "base": "git:v1"},
        ),
        ("build -o x -o y a --base=", {**BUILD, "paths": ["a"], "output": "y", "base": ""}),
        (
            "build -o - a --base=-x -- -b.py --module",
            {**BUILD, "paths": ["a", "-b.py", "--module"], "output": "-", "base": "-x"},
        ),
        ("build - --policy linked -o=x", {**BUILD, "paths": ["-"], "output": "x", "policy": "linked"}),
        (
            "apply p --dry-run 1 --timeout 0.5 2",
            {**APPLY, "patch": "p", "pids": [1, 2], "dry_run": True, "timeout": 0.5},
        ),
        (
            "apply --scan heap p 1 --consistency quiescent",
            {**APPLY, "patch": "p", "pids": [1], "scan": "heap", "consistency": "quiescent"},
        ),
        ("audit --format json r a..b", {"repository": "r", "span": "a..b", "format": "json"}),
        ("demo", {}),
        ("ps", {"format": "text"}),
        ("rollback 7 --to 0", {"pid": 7, "to": 0, "format": "text"}),
        ("show --dis p", {"patch": "p", "disassembled": True, "format": "text"}),
        ("run", {**RUN, "command": []}),
        ("run app.py", {**RUN, "command": ["app.py"]}),
        (
            "run --watch a --watch=b --policy linked app.py --watch c",
            {"folders": ["a", "b"], "policy": "linked", "module": None, "command": ["app.py", "--watch", "c"]},
        ),
        ("run -- ls -- -l --help", {**RUN, "command": ["ls", "--", "-l", "--help"]}),
        (
            "run -m shop --port 0 --help -m x",
            {**RUN, "module": "shop", "command": ["--port", "0", "--help", "-m", "x"]},
        ),
        ("run -mshop -- --port", {**RUN, "module": "shop", "command": ["--port"]}),
    ],
)
def test_what_a_command_line_means(line: str, values: dict[str, Any]) -> None:
    name, *words = line.split()
    assert read(name, words) == values


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("build --formt json", "no such option: --formt (did you mean --format?)"),
        ("build --pol strict a -o x", "no such option: --pol (did you mean --policy?)"),
        ("build a -o x --zzz", "no such option: --zzz"),
        ("build a -o x -z", "no such option: -z"),
        ("run --polcy linked app.py", "no such option: --polcy (did you mean --policy?)"),
        ("status -5", "no such option: -5"),
        ("build", "required: PATH, -o/--output"),
        ("build a", "required: -o/--output"),
        ("build -o x --", "required: PATH"),
        ("apply p", "required: PID"),
        ("build a -o", "argument -o/--output: expected one argument"),
        ("build a -o --base x", "argument -o/--output: expected one argument"),
        ("build a -o x --policy lax", "argument --policy: invalid choice: 'lax'"),
        ("apply p 1 --dry-run=yes", "argument --dry-run: ignored explicit argument 'yes'"),
        ("build a -o x --help=yes", "argument -h/--help: ignored explicit argument 'yes'"),
        ("ps extra", "unexpected argument: extra"),
        ("audit r a..b c", "unexpected argument: c"),
        ("status me", "argument PID: 'me' is not a process id (1 or more)"),
        ("status 0", "argument PID: '0' is not a process id (1 or more)"),
        ("apply p 1 2.5", "argument PID: '2.5' is not a process id (1 or more)"),
        ("rollback 1 --to -1", "argument --to: '-1' is not a generation (0 or more)"),
        ("apply p 1 --timeout nan", "argument --timeout: 'nan' is not a number of seconds (0 or more)"),
        ("apply p 1 --timeout inf", "argument --timeout: inf is more than 1000000000"),
    ],
)
def test_a_command_line_that_makes_no_sense(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says why, and two say what would make sense."""
    words = line.split()
    assert cli.run(words) == 2
    written = capsys.readouterr()
    error, usage, help_line = written.err.splitlines()
    assert (written.out, error.startswith("error: ")) == ("", True)
    assert message in error
    assert usage == f"usage: {arguments.usage(words[0])}"
    assert help_line == f"help: bcpatch {words[0]} --help"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bild"], "no such command: 'bild' (did you mean build?)"),
        (["roll"], "no such command: 'roll' (did you mean rollback?)"),
        (["xyz"], "no such command: 'xyz'"),
        ([""], "no such command: ''"),
        (["--verson"], "no such option: --verson (did you mean --version?)"),
        (["--format", "json", "ps"], "no such option: --format"),
    ],
)
def test_a_command_that_there_is_not(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(words) == 2
    usage = f"usage: {program.USAGE}\nhelp: bcpatch --help"
    assert capsys.readouterr().err == f"error: {message}\n{usage}\n"


OPTIONS = [["-o", "x"], ["--base=b"], ["--policy", "linked"], ["--format", "json"]]


@given(st.permutations([*OPTIONS, ["p"], ["q"], ["r"]]))
def test_options_stand_anywhere(order: list[list[str]]) -> None:
    words = [word for part in order for word in part]
    paths = [part[0] for part in order if part[0] in "pqr"]
    expected = {**BUILD, "paths": paths, "output": "x", "base": "b", "policy": "linked", "format": "json"}
    assert read("build", words) == expected


WORDS = st.lists(
    st.sampled_from(["--", "-m", "-h", "--help", "--policy", "--watch", "-", "", "a b", "-5", "-x=y"]) | st.text()
)


@given(WORDS)
def test_an_application_gets_its_words_untouched(words: list[str]) -> None:
    for own in (["app.py"], ["--", "ls"], ["--policy", "strict", "app.py"]):
        values = read("run", [*own, *words])
        assert values is not None
        assert values["command"] == [own[-1], *words]
    if words[:1] != ["--"]:
        assert read("run", ["-m", "shop", *words]) == {**RUN, "module": "shop", "command": words}


class TestTables:
    def test_every_command_is_in_each(self) -> None:
        assert list(TAKES) == list(SUMMARIES) == list(commands.COMMANDS)

    @pytest.mark.parametrize("name", SUMMARIES)
    def test_a_command_takes_what_its_function_does(self, name: str) -> None:
        parser = arguments._parser(name)
        given = {action.dest for action in parser._actions} - {"help"}
        assert given == set(inspect.signature(commands.COMMANDS[name]).parameters)

    def test_choices_are_those_of_the_nouns(self) -> None:
        assert list(arguments.POLICIES) == [one.value for one in Policy]
        assert get_args(output.Format) == arguments.FORMATS
        assert get_args(commands.Form) == arguments.FORMS
        assert get_args(protocol.Consistency) == arguments.CONSISTENCIES
        assert get_args(protocol.Scan) == arguments.SCANS


class TestHelp:
    @pytest.mark.parametrize("name", SUMMARIES)
    @pytest.mark.parametrize("columns", [40, 80, 100])
    def test_of_a_command(
        self, name: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        assert cli.run([name, "--help"]) == 0
        written = capsys.readouterr().out
        plain = " ".join(written.split())
        assert plain.startswith(f"usage: {arguments.usage(name)} {SUMMARIES[name]}")
        for one in arguments.takes(name):
            names = one.names if one.is_option else [one.how["metavar"]]
            assert all(re.search(rf"^  .*{re.escape(each)}", written, re.MULTILINE) for each in names)
            assert one.how["help"] % one.how in plain
        assert max(map(len, written.splitlines())) <= columns or columns == 40

    @pytest.mark.parametrize("columns", [10, 40, 80, 100, 500])
    def test_of_the_program(
        self, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        assert cli.run(["--help"]) == 0
        written = capsys.readouterr().out
        rows = dict(re.findall(r"^  (\S.*?)  +(.*(?:\n {4,}.*)*)", written, re.MULTILINE))
        assert {name: " ".join(text.split()) for name, text in rows.items()} == program.OPTIONS | SUMMARIES
        widest = max(map(len, written.splitlines()))
        assert widest <= max(min(columns, 100) - 2, len(f"usage: {program.USAGE}"))
        assert columns < 100 or widest > 80

    def test_no_command_at_all_is_wrong_usage(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run([]) == 2
        assert capsys.readouterr() == ("", program.overview() + "\n")

    def test_has_no_colour_where_it_is_piped(self, tmp_path) -> None:
        """Whatever argparse thinks of it (3.14+)."""
        done = bcpatch("build", "--help", cwd=tmp_path, NO_COLOR="", FORCE_COLOR="1", PYTHON_COLORS="1")
        assert (done.returncode, "\x1b" in done.stdout + done.stderr) == (0, False)

    def test_is_the_first_thing_that_counts(self) -> None:
        """It is not looked at what else is wrong."""
        assert read("build", ["--policy", "lax", "-h"]) is None
        with pytest.raises(Misused):
            read("build", ["--polcy", "lax", "-h"])
