"""Edits of the linked policy as data: live they equal a fresh start, or they are refused and nothing has changed.

A file in ``edits`` holds cases: a name, what comes of it (``live``, or the codes of the refusal, after a slash those
of another one that is as right) and expressions to compare, then the files of the old and of the new version. What
comes of it where annotations are computed on demand (CPython 3.14+) stands behind a bar.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import worlds

from bcpatch import builder, load, patchfile, pythons, verify
from bcpatch.diagnostics import Diagnostic, Refused, Severity, errors
from bcpatch.model import Module, Policy
from bcpatch.process.history import History
from bcpatch.source.outline import Source


class Case(NamedTuple):
    outcome: str
    expression: str
    old: dict[str, str]
    new: dict[str, str]


def cases() -> dict[str, Case]:
    found = {}
    for file in sorted(Path(__file__).with_name("edits").glob("*.txt")):
        for text in file.read_text("utf-8").split("=== ")[1:]:
            head, *parts = re.split(r"^--- ", text, flags=re.MULTILINE)
            name, judgement = head.strip().split("\n")
            outcome, _, expression = judgement.partition(": ")
            outcome = outcome.split(" | ")[-1 if pythons.LAZY_ANNOTATIONS else 0]
            case = Case(outcome, expression, {}, {})
            for part in parts:
                title, _, body = part.partition("\n")
                kind, path = title.split(" ")
                (case.old if kind == "old" else case.new)[path] = body
            found[f"{file.stem}: {name}"] = case
    return found


CASES = cases()


def module_of(path: str) -> Module:
    return Module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."), path)


@contextmanager
def imported(files: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    names = [module_of(path).name for path in files]
    before = set(sys.modules)
    with monkeypatch.context() as patched:
        patched.syspath_prepend(folder)
        patched.setattr(sys, "dont_write_bytecode", True)
        try:
            for name in names:
                importlib.import_module(name)
            yield {name: sys.modules[name] for name in names if "." not in name}
        finally:
            for name in set(sys.modules) - before:
                if name in names or str(folder) in str(vars(sys.modules[name]).get("__file__")):
                    del sys.modules[name]


def shown(expression: str, space: dict[str, object]) -> str:
    try:
        return re.sub(r" at 0x\w+", "", repr(eval(expression, dict(space))))
    except Exception as error:  # noqa: BLE001 (what an expression raises is what is compared)
        return f"{type(error).__name__}: {error}"


def portraits(names: list[str]) -> list[dict[str, object]]:
    return [worlds.portrait(sys.modules[name]) for name in names]


def sources(files: dict[str, str]) -> list[Source]:
    return [Source(module_of(path), path, text.encode()) for path, text in files.items()]


def applied(case: Case) -> tuple[Diagnostic, ...]:
    """The refusal of a case's patch; nothing where it went live."""
    outcome = builder.draft(sources(case.old), sources(case.new), policy="linked")
    if outcome.patch is None:
        return errors(outcome.diagnostics)
    try:
        load.apply(outcome.patch, History())
    except Refused as refused:
        return errors(refused.diagnostics)
    return ()


@pytest.mark.parametrize("name", CASES)
def test_live_equals_fresh_or_nothing_changed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    (tmp_path / "new").mkdir()
    with imported(case.new, tmp_path / "new", monkeypatch) as fresh:
        wanted = shown(case.expression, fresh)
    with imported(case.old, tmp_path, monkeypatch) as live:
        names = [module_of(path).name for path in case.old]
        before = portraits(names)
        refusal = applied(case)
        if case.outcome == "live":
            assert not refusal
            assert shown(case.expression, live) == wanted
        else:
            assert portraits(names) == before
            assert " ".join(sorted({one.code for one in refusal})) in case.outcome.split("/")


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("name", CASES)
def test_a_draft_becomes_by_its_verification_what_comparing_gives(name: str, policy: Policy) -> None:
    sides = sources(CASES[name].old), sources(CASES[name].new)
    drafted, compared = builder.draft(*sides, policy=policy), builder.compare(*sides, policy=policy)
    if drafted.patch is None:
        assert compared.patch is None
        assert _alone(drafted.diagnostics) == _alone(compared.diagnostics)
        return
    assert not errors(drafted.diagnostics)
    patch, found = verify.verified(patchfile.decode(patchfile.encode(drafted.patch)))
    assert bool(errors(found)) == (compared.patch is None)
    said = _alone((*drafted.diagnostics, *found))
    assert [one.code for one in said] == [one.code for one in _alone(compared.diagnostics)]
    assert compared.patch in (None, patch)


def _alone(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Without what only comparing tells, for it looks at other modules: whose import runs what changes."""
    return [one for one in found if one.code != "BCP211" or one.severity is Severity.ERROR]
