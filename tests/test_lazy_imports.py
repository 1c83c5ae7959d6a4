"""Modules with lazy imports (PEP 810, CPython 3.15+): what nobody has used yet stays unloaded through a patch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import worlds

from bcpatch import load
from bcpatch.diagnostics import Refused
from bcpatch.process.history import History

pytestmark = pytest.mark.skipif(sys.version_info < (3, 15), reason="PEP 810 is in CPython 3.15+")

F = "def f(): return 1\n"
EDITS = {
    "a body": ("lazy import other\n" + F, "lazy import other\ndef f(): return 2\n"),
    "a body, and two names": (
        "lazy import other\nlazy from other import x\n" + F,
        "lazy import other\nlazy from other import x\ndef f(): return 2\n",
    ),
    "a method": (
        "lazy import other\nclass A:\n    def g(self): return 1\ndef f(): return A().g()\n",
        "lazy import other\nclass A:\n    def g(self): return 2\ndef f(): return A().g()\n",
    ),
    "a function comes": ("lazy import other\n" + F, "lazy import other\ndef g(): return 2\ndef f(): return g()\n"),
    "an import goes": ("lazy import other\n" + F, "def f(): return 2\n"),
}


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.py").write_text("x = 2\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    yield
    sys.modules.pop("other", None)


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize(("old", "new"), EDITS.values(), ids=EDITS)
def test_what_is_lazy_stays_unloaded(old: str, new: str, tmp_path: Path) -> None:
    history = History()
    with worlds.world(old, tmp_path) as module:
        load.apply(worlds.linked(old, new), history)
        assert module.f() == 2
        for to in (0, 1):
            load.rollback(history, to)
            assert module.f() == to + 1
        assert "other" not in sys.modules


COMES = {
    "an import": (F, "lazy import other\ndef f(): return other.x\n"),
    "a name of a module": (F, "lazy from other import x\ndef f(): return x\n"),
    "another name": ("lazy import other\n" + F, "lazy import other as o\ndef f(): return o.x\n"),
    "a name that meant another module": (
        "lazy import textwrap as o\n" + F,
        "lazy import other as o\ndef f(): return o.x\n",
    ),
    "what was eager": ("import textwrap as o\n" + F, "lazy import other as o\ndef f(): return o.x\n"),
}


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize(("old", "new"), COMES.values(), ids=COMES)
def test_what_comes_is_loaded_before_the_swap(old: str, new: str, tmp_path: Path) -> None:
    """As all that a patch imports: what can't be loaded must not go live."""
    history = History()
    with worlds.world(old, tmp_path) as module:
        load.apply(worlds.linked(old, new), history)
        assert "other" in sys.modules
        assert module.f() == 2
        load.rollback(history, 0)
        assert module.f() == 1


def test_what_comes_and_can_not_be_loaded_is_refused(tmp_path: Path) -> None:
    with worlds.world(F, tmp_path) as module:
        with pytest.raises(Refused) as refused:
            load.apply(worlds.linked(F, "lazy import nowhere\ndef f(): return nowhere.x\n"), History())
        assert [one.code for one in refused.value.diagnostics] == ["BCP603"]
        assert module.f() == 1
