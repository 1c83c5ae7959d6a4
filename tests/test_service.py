"""What a process says of its modules: always what is so, though each is looked at but once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import worlds

from bcpatch import patchfile, service
from bcpatch.channels.protocol import Applied, Apply, LoadedReply, Refusal, Rollback, identity
from bcpatch.process.history import History


def made(name: str, file: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = file
    module.__package__ = name.rpartition(".")[0]
    return module


def files() -> dict[str, str]:
    basis = service._basis()
    assert basis == identity(service.loaded()) == service._basis()
    return files_anew()


def files_anew() -> dict[str, str]:
    return {one.name: one.path for one in service.loaded().modules if one.name.startswith("told")}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of the process, which are put back after a test."""
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    return sys.modules


def test_what_comes_goes_and_changes_is_told(modules: dict[str, ModuleType]) -> None:
    assert files() == {}
    modules["told.a"] = made("told.a", "/a.py")
    assert files() == {"told.a": "/a.py"}
    modules["told.b"] = modules["told.a"]
    assert files() == {"told.a": "/a.py"}  # one module, though it has two names
    modules["told.a"] = made("told.a", "/other.py")
    assert files() == {"told.a": "/other.py", "told.b": "/a.py"}
    modules["told.a"], modules["told.b"] = modules["told.b"], modules["told.a"]
    assert files() == {"told.a": "/a.py", "told.b": "/other.py"}
    del modules["told.a"]
    assert files() == {"told.b": "/other.py"}


def test_a_module_in_the_place_of_one_that_is_gone_is_looked_at(modules: dict[str, ModuleType]) -> None:
    """The next object of its kind may well get the same address."""
    for number in range(100):
        modules["told"] = made("told", f"/{number}.py")
        assert files() == {"told": f"/{number}.py"}
        del modules["told"]


def test_they_are_looked_at_once_while_they_stay(
    modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = service._look

    def counting(there: dict[str, ModuleType]) -> service._Modules:
        looks.append(there)
        return look(there)

    monkeypatch.setattr(service, "_look", counting)
    modules["told"] = made("told", "/a.py")
    assert service._basis() == service._basis()
    assert len(looks) == 1
    modules["told"].__file__ = "/b.py"
    assert files_anew() == {"told": "/b.py"}, "who asks is told what is so"


def test_what_is_no_module_is_not_told_and_not_relied_on(modules: dict[str, ModuleType]) -> None:
    class Slotted:
        __slots__ = ()

    modules["told"] = Slotted()  # type: ignore[assignment]
    assert files() == {}
    modules["told"] = made("told", "/a.py")
    assert files() == {"told": "/a.py"}


def test_modules_are_not_kept_alive(modules: dict[str, ModuleType]) -> None:
    modules["told"] = made("told", "/a.py")
    before = sys.getrefcount(modules["told"])
    service.loaded()
    after = sys.getrefcount(modules["told"])
    assert after == before


def test_the_generation_is_part_of_the_identity() -> None:
    one = service.loaded()
    other = LoadedReply(one.generation + 1, one.patch, one.modules)
    assert identity(one) != identity(other) != identity(LoadedReply(one.generation, "0" * 64, one.modules))


# --- texts that stay on the disk --------------------------------------------------------------

OLD = "def value():\n    return 'old'\n"
NEW = OLD.replace("old", "new")


def without_its_text() -> Apply:
    """The request for a change whose text is not sent."""
    change = worlds.patch(worlds.module_patch(OLD, NEW))
    return Apply(patch=patchfile.encode(patchfile.without_texts(change)), texts_on_disk=True)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(service, "history", History())
    with worlds.world(OLD, tmp_path) as module:
        yield module


def test_a_text_that_is_not_sent_is_read_from_the_disk(world: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "world.py").write_text(NEW)
    reply = service.answer(without_its_text())
    assert isinstance(reply, Applied), reply
    assert world.value() == "new"
    reply = service.answer(Rollback())
    assert isinstance(reply, Applied), reply
    assert world.value() == "old"


def test_another_text_on_the_disk_is_not_taken_for_it(world: ModuleType, tmp_path: Path) -> None:
    for text in (OLD, f"{NEW}# and more\n", ""):
        (tmp_path / "world.py").write_text(text)
        assert service.answer(without_its_text()) == service.loaded()
    (tmp_path / "world.py").unlink()
    assert service.answer(without_its_text()) == service.loaded()
    assert world.value() == "old"


def test_a_module_that_is_not_loaded_has_no_text(world: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "world.py").write_text(NEW)
    del sys.modules["world"]
    assert service.answer(without_its_text()) == service.loaded()


def test_a_patch_without_its_text_is_refused_where_nobody_says_that_it_is_on_the_disk(
    world: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "world.py").write_text(NEW)
    reply = service.answer(Apply(patch=without_its_text().patch))
    assert isinstance(reply, Refusal)
    assert {one.code for one in reply.diagnostics} == {"BCP408"}
    assert world.value() == "old"
