"""What is found without a search: only what nobody but a name can hold."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import worlds

from bcpatch.model import FunctionEdit, PositionEdit
from bcpatch.process.history import History
from bcpatch.process.linked import LinkedModule
from bcpatch.process.unshared import at_rest, unshared

TEXT = """
def f():
    return "old"

def suspended():
    yield "old"

def g():
    return "old"

class C:
    def __private(self):
        return "old"

    def method(self):
        return "old"

    @staticmethod
    def static():
        return "old"

def makes():
    return lambda: "old"
"""


def names(module: ModuleType, new: str) -> tuple[set[str], set[str]]:
    """The sites that are found, and those that are left, of a patch to another text."""
    history = History()
    part = worlds.module_patch(TEXT, new)
    linked = LinkedModule(part, module, str(module.__file__), on_disk=True)
    wanted = [(linked, edit) for edit in part.edits if isinstance(edit, FunctionEdit | PositionEdit)]
    sites, rest = unshared(wanted, history.set_aside(), history)
    assert [one.references for one in at_rest(sites)] == [1] * len(sites)
    return {site.edit.site.qualname for site in sites}, {edit.site.qualname for _, edit in rest}


NEW = TEXT.replace("old", "new")


def test_what_only_its_name_holds_is_found(tmp_path: Path) -> None:
    with worlds.world(TEXT, tmp_path) as module:
        plain = {"f", "g", "suspended", "C.__private", "C.method"}
        assert names(module, NEW) == (plain, {"C.static", "makes"})


def test_what_only_moved_is_found_though_it_makes_functions(tmp_path: Path) -> None:
    with worlds.world(TEXT, tmp_path) as module:
        found, rest = names(module, "\n" + TEXT)
        assert "makes" in found
        assert rest == {"C.static"}


HOLDERS: dict[str, Callable[[ModuleType], Any]] = {
    "a list": lambda module: [module.f],
    "a bound method": lambda module: types.MethodType(module.f, 1),
    "a cache": lambda module: functools.lru_cache(module.f),
    "its code": lambda module: module.f.__code__,
    "a copy": lambda module: types.FunctionType(module.f.__code__, vars(module)),
    "another name": lambda module: vars(module).update(h=module.f),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_somebody_else_holds_is_left(holder: str, tmp_path: Path) -> None:
    with worlds.world(TEXT, tmp_path) as module:
        held = HOLDERS[holder](module)
        found, rest = names(module, NEW)
        assert "f" in rest, held
        assert "g" in found


def test_what_is_being_called_is_left(tmp_path: Path) -> None:
    with worlds.world(TEXT, tmp_path) as module:
        generator = module.suspended()
        next(generator)
        assert "suspended" in names(module, NEW)[1]
        generator.close()
        del generator
        assert "suspended" in names(module, NEW)[0]


OTHERS: dict[str, Callable[[ModuleType], object]] = {
    "other code": lambda module: setattr(module, "f", lambda: 0),
    "another module's": lambda module: setattr(module, "f", types.FunctionType(module.f.__code__, {})),
    "no function": lambda module: setattr(module, "f", print),
    "nothing": lambda module: delattr(module, "f"),
    "another name's": lambda module: setattr(module, "f", module.g),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_a_name_does_not_lead_to_is_left(other: str, tmp_path: Path) -> None:
    with worlds.world(TEXT, tmp_path) as module:
        OTHERS[other](module)
        assert "f" in names(module, NEW)[1]


def test_what_was_handed_out_is_left(tmp_path: Path) -> None:
    """`runtime.at` gives a function that stays on the code that it has."""
    with worlds.world(TEXT, tmp_path) as module:
        history = History()
        part = worlds.module_patch(TEXT, NEW)
        linked = LinkedModule(part, module, str(module.__file__), on_disk=True)
        wanted = [(linked, edit) for edit in part.edits if isinstance(edit, FunctionEdit)]
        history.exhibited(module.f)
        _, rest = unshared(wanted, history.set_aside(), history)
        assert "f" in {edit.site.qualname for _, edit in rest}
