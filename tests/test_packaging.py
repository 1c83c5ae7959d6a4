"""What is built and what an import costs: metadata, contents of a wheel, links between pages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import bcpatch

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])


def run(*arguments: str, cwd: Path = ROOT) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the backend builds of this checkout, by itself and without a network."""
    pytest.importorskip("hatchling", reason="the build backend comes with the extra `test`")
    folder = tmp_path_factory.mktemp("wheel")
    run("-c", "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])", str(folder))
    (built,) = folder.glob("*.whl")
    return built


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def files(folder: str) -> set[str]:
    """The files below a folder of this checkout, by their paths in it."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in found}


def test_the_wheel_holds_the_package_and_what_the_demo_runs(wheel: Path) -> None:
    sources = files("bcpatch") | {f"bcpatch/{path}" for path in files("examples/counter")}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == sources
    assert "bcpatch/py.typed" in packaged
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_version_is_written_once(wheel: Path) -> None:
    assert "version" in PROJECT["dynamic"]
    assert metadata(wheel)["Version"] == bcpatch.__version__
    assert bcpatch.__version__ in run("-m", "bcpatch", "--version")


def test_an_installation_without_extras_brings_no_gpl_and_no_test_tools(wheel: Path) -> None:
    required = [line for line in metadata(wheel).get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {re.split(r"[^\w-]", line, maxsplit=1)[0] for line in required}
    assert names == {"msgspec", "rich", "watchdog"}


def test_supported_pythons_are_said_alike_everywhere() -> None:
    prefix = "Programming Language :: Python :: 3."
    classified = [f"3.{line.removeprefix(prefix)}" for line in PROJECT["classifiers"] if line.startswith(prefix)]
    (line,) = re.findall(r"^versions=\((.*)\)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert line.split() == classified
    assert PROJECT["requires-python"] == f">={classified[0]}"


def test_the_console_script_is_there() -> None:
    module, _, name = PROJECT["scripts"]["bcpatch"].partition(":")
    assert run("-c", f"import {module}; print(callable({module}.{name}))").strip() == "True"


def test_the_runtime_brings_nothing_that_an_application_would_pay_for() -> None:
    loaded = set(json.loads(run("-c", "import json, sys, bcpatch.runtime; print(json.dumps(sorted(sys.modules)))")))
    heavy = {"argparse", "bytecode", "hypothesis", "rich", "watchdog", "xdis"}
    ours = {"bcpatch.builder", "bcpatch.cli", "bcpatch.compile", "bcpatch.watch"}
    assert "bcpatch.runtime" in loaded
    assert not loaded & (heavy | ours)


@pytest.mark.parametrize("name", bcpatch.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(bcpatch, name) is not None
    assert name in dir(bcpatch)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        bcpatch.nonesuch  # noqa: B018


def test_the_pre_commit_hook_runs_a_command_that_exists() -> None:
    (entry,) = re.findall(r"^\s+entry: bcpatch (\w+)$", (ROOT / ".pre-commit-hooks.yaml").read_text(), re.MULTILINE)
    assert f"bcpatch {entry}" in run("-m", "bcpatch", entry, "--help")


def test_the_changelog_knows_this_version_or_what_comes_next() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] in {"Unreleased", bcpatch.__version__}


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = page if not path else page.parent / path
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_the_layers_are_explained_in_their_order() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(one["layers"] for one in tool["contracts"] if one.get("containers") == ["bcpatch"])
    _, _, table = (ROOT / "CONTRIBUTING.md").read_text().partition("| module | knows |\n")
    rows = [line.split("|")[1] for line in table.partition("\n\n")[0].splitlines()[1:]]
    explained = [name for row in rows for name in re.findall(r"`(\w+)/?`", row)]
    assert ["__main__", *reversed(explained)] == layers


def test_every_page_for_users_is_in_the_table_of_contents() -> None:
    docs = ROOT / "docs"
    listed = set(re.findall(r"\]\(([^)#\s]+\.md)\)", (docs / "index.md").read_text()))
    written = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}
    assert written - {"index.md"} <= listed


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have where it is rendered."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
