"""What link refuses, what it takes as done, and that it changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import worlds

from bcpatch import apply, load
from bcpatch.diagnostics import Diagnostic, Refused
from bcpatch.link import link
from bcpatch.model import FunctionEdit, Import, Link, Patch, Policy
from bcpatch.process.history import History

OLD = """
def f():
    return "old"

def g():
    return "old"

class C:
    def m(self):
        return "old"
"""
NEW = OLD.replace('"old"', '"new"')


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    with worlds.world(OLD, tmp_path) as made:
        yield made


def change(old: str | None = OLD, new: str = NEW, name: str = "world") -> Patch:
    return worlds.patch(worlds.module_patch(old, new, name))


def refused(patch: Patch, history: History) -> list[Diagnostic]:
    with pytest.raises(Refused) as caught:
        link(patch, history)
    return list(caught.value.diagnostics)


def codes(found: list[Diagnostic]) -> list[str]:
    return [one.code for one in found]


def test_what_nobody_has_verified_is_not_linked(module: ModuleType, history: History) -> None:
    (part,) = change().modules
    with pytest.raises(ValueError, match="not verified"):
        link(worlds.patch(msgspec.structs.replace(part, links=None)), history)


def test_linking_changes_nothing(module: ModuleType, history: History) -> None:
    before = {name: id(value) for name, value in vars(module).items()}
    code = id(module.f.__code__)
    plan = link(change(), history)
    assert sorted(str(site.edit.site) for site in plan.sites) == ["world:C.m", "world:f", "world:g"]
    assert id(module.f.__code__) == code
    assert {name: id(value) for name, value in vars(module).items()} == before


def test_everything_that_stands_in_the_way_is_said_at_once(module: ModuleType, history: History) -> None:
    del module.f
    module.g.__code__ = (lambda: "other").__code__.replace(co_qualname="g")
    assert codes(refused(change(), history)) == ["BCP502", "BCP504"]


def test_a_module_that_is_not_loaded(history: History) -> None:
    (found,) = refused(change(name="nowhere"), history)
    assert (found.code, found.file) == ("BCP501", "nowhere.py")


def test_a_difference_shows_both_fingerprints(module: ModuleType, history: History) -> None:
    patch = change(OLD.replace("f():\n    return", "f():\n    x = 1\n    return"))
    (found,) = refused(patch, history)
    edit = next(one for one in patch.modules[0].edits if isinstance(one, FunctionEdit))
    assert found.code == "BCP504"
    assert edit.replaces in found.message
    assert found.line == 2


def test_what_runs_already_is_satisfied(module: ModuleType, history: History) -> None:
    worlds.applied(OLD, OLD.replace('def f():\n    return "old"', 'def f():\n    return "new"'), history)
    plan = link(change(), history)
    assert [str(site) for site in plan.satisfied] == ["world:f"]
    assert sorted(str(site.edit.site) for site in plan.sites) == ["world:C.m", "world:g"]


def test_without_a_base_whatever_runs_is_replaced(module: ModuleType, history: History) -> None:
    patch = change(None)
    assert {one.replaces for one in patch.modules[0].edits} == {""}
    with history.exclusive():
        apply.apply(link(patch, history), history)
    assert (module.f(), module.g(), module.C().m()) == ("new", "new", "new")


def test_assertions_rewritten_by_pytest_are_told(module: ModuleType, history: History) -> None:
    code = module.f.__code__
    module.f.__code__ = code.replace(co_varnames=("@py_assert0",), co_nlocals=1)
    assert codes(refused(change(), history)) == ["BCP507"]


def test_one_file_under_two_names(tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    with worlds.world(OLD, tmp_path) as imported:
        main = ModuleType("__main__")
        main.__file__ = imported.__file__
        main.__spec__ = None
        exec(compile(OLD, str(imported.__file__), "exec", dont_inherit=True), vars(main))
        monkeypatch.setitem(sys.modules, "__main__", main)
        worlds.applied(OLD, NEW, history)
        assert (imported.f(), main.f()) == ("new", "new")


GUARDED = OLD + 'if __name__ == "__main__":\n    {}\n'


@pytest.mark.parametrize("running", ["world", "__main__"])
def test_what_a_program_has_run_refuses_that_process_alone(
    running: str, tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worlds.world(GUARDED.format("x = 1"), tmp_path) as imported:
        imported.__name__ = running
        monkeypatch.setitem(sys.modules, running, imported)
        change = worlds.patch(worlds.module_patch(GUARDED.format("x = 1"), GUARDED.format("x = 2")))
        if running == "__main__":
            assert [(one.code, one.line) for one in refused(change, history)] == [("BCP208", GUARDED.count("\n") - 1)]
        else:
            assert worlds.plan(change, history).satisfied == ()


def test_another_file_that_runs_as_main(tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    with worlds.world(OLD, tmp_path) as imported:
        main = ModuleType("__main__")
        main.__file__ = "/elsewhere/other.py"
        main.__spec__ = None
        exec(compile(OLD, "other.py", "exec", dont_inherit=True), vars(main))
        monkeypatch.setitem(sys.modules, "__main__", main)
        worlds.applied(OLD, NEW, history)
        assert (imported.f(), main.f()) == ("new", "old")


def test_a_package_run_as_main(tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.machinery import ModuleSpec

    main = ModuleType("__main__")
    main.__spec__ = ModuleSpec("package.__main__", None)
    exec(compile(OLD, "main.py", "exec", dont_inherit=True), vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    worlds.applied(OLD, NEW, history, "package.__main__")
    assert main.f() == "new"


# --- names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needed", "found"),
    [
        (Link("colorsys", "rgb_to_hsv"), []),
        (Link("json", "decoder"), []),
        (Link("colorsys", "no_such"), ["BCP505"]),
        (Link("no_such_module", "name"), ["BCP505"]),
        (Link("builtins", "len"), []),
    ],
)
def test_linked_names(module: ModuleType, history: History, needed: Link, found: list[str]) -> None:
    import colorsys  # noqa: F401 (loaded, so that it can be linked to)
    import json.decoder  # noqa: F401

    patch = change()
    part = msgspec.structs.replace(patch.modules[0], links=(needed,))
    patch = msgspec.structs.replace(patch, modules=(part,))
    if found:
        assert codes(refused(patch, history)) == found
    else:
        link(patch, history)


FALLBACK = """
try:
    from no_such_module import helper
except ImportError:
    def helper():
        return "own"

def f():
    return helper()
"""


def test_an_imported_name_that_is_the_modules_own(tmp_path: Path, history: History) -> None:
    imports = (Import("helper", "no_such_module", "helper"),)
    part = worlds.module_patch(FALLBACK, FALLBACK.replace("return helper()", "return [helper()]"), imports=imports)
    with worlds.world(FALLBACK, tmp_path):
        assert codes(refused(worlds.patch(part), history)) == ["BCP509"]
        link(worlds.patch(part, policy=Policy.LINKED), history)


# --- functions of one name --------------------------------------------------------------

LAMBDAS = """
table = [lambda: "a", lambda: "b", lambda: "b", lambda: "old"]
"""


def test_lambdas_of_one_line_are_told_apart_by_their_code(tmp_path: Path, history: History) -> None:
    with worlds.world(LAMBDAS, tmp_path) as module:
        worlds.applied(LAMBDAS, LAMBDAS.replace("old", "new"), history)
        assert [one() for one in module.table] == ["a", "b", "b", "new"]


TWINS = """
first = lambda: "same"

second = lambda: "same"
"""


@pytest.mark.parametrize("off", ["", "\n\n"], ids=["as in the base", "two lines off"])
def test_twins_are_told_apart_by_where_they_stand(tmp_path: Path, history: History, off: str) -> None:
    new = """
first = lambda: "new first"

second = lambda: "new second"
"""
    with worlds.world(off + TWINS, tmp_path) as module:
        worlds.applied(TWINS, new, history)
        assert (module.first(), module.second()) == ("new first", "new second")


@pytest.mark.parametrize("off", ["", "\n\n"], ids=["as in the base", "two lines off"])
def test_one_twin_is_told_from_another_by_where_both_stand(tmp_path: Path, history: History, off: str) -> None:
    """Not by its line: the base may stand as many lines off as the twins are apart."""
    with worlds.world(off + TWINS, tmp_path) as module:
        worlds.applied(TWINS, TWINS.replace('second = lambda: "same"', 'second = lambda: "new"'), history)
        assert (module.first(), module.second()) == ("same", "new")


@pytest.mark.parametrize("off", ["", "\n\n"], ids=["as in the base", "two lines off"])
def test_one_twin_is_not_told_from_another_that_is_gone(tmp_path: Path, history: History, off: str) -> None:
    with worlds.world(off + TWINS, tmp_path) as module:
        del module.first
        patch = change(TWINS, TWINS.replace('second = lambda: "same"', 'second = lambda: "new"'))
        (found,) = refused(patch, history)
        assert found.code == "BCP503"
        assert "2 functions" in found.message
        assert f"there are 1 in this process, at lines {len(off) + 4}" in found.message


def test_a_file_that_was_executed_under_other_names_too_is_patched_in_all(tmp_path: Path) -> None:
    text = "def f(): return {}\n"
    history = History()
    with worlds.world(text.format(1), tmp_path) as module:
        file = Path(str(module.__file__))
        link_to_it = tmp_path / "elsewhere" / file.name
        link_to_it.parent.mkdir()
        link_to_it.symlink_to(file)
        others = {"ghost": file, "linked": link_to_it}
        unlike = tmp_path / "unlike" / file.name
        unlike.parent.mkdir()
        unlike.write_text(text.format(1))
        try:
            for name, path in (others | {"unlike": unlike}).items():
                sys.modules[name] = made = ModuleType(name)
                made.__file__ = str(path)
                exec(compile(text.format(1), str(path), "exec", dont_inherit=True), vars(made))
            sys.modules["lazy"] = lazy = ModuleType("lazy")
            lazy.__file__ = str(file)
            load.apply(worlds.linked(text.format(1), text.format(2)), history)
            assert [vars(sys.modules[name])["f"]() for name in ("world", *others, "unlike")] == [2, 2, 2, 1]
            load.rollback(history, 0)
            assert [vars(sys.modules[name])["f"]() for name in ("world", *others, "unlike")] == [1, 1, 1, 1]
        finally:
            for name in (*others, "unlike", "lazy"):
                sys.modules.pop(name, None)
