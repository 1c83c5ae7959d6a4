"""Who took a value, or used it at import, is found however it is written, and no text is parsed twice for that."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest
from samples import patch_of, source

from bcpatch import builder, load, patchfile
from bcpatch.diagnostics import Refused
from bcpatch.model import Module
from bcpatch.process import importers, sources, texts
from bcpatch.process.history import History

WORLD = Module("pkg.world", "pkg/world.py")
TEXT = "é = 2\nRATE = 2\ndef rate(): return RATE\nclass Made:\n  def __init__(self): self.rate = rate()\n"

OTHER = "import pkg.world as w\nits = w.rate\nclass A:\n  class B: make = w.Made\n"


def wide(text: str) -> str:
    """A text whose letters in angle brackets are wide: the parser reads them as those of ASCII (PEP 3131)."""
    return re.sub("<(.*?)>", lambda found: "".join(chr(ord(letter) + 0xFEE0) for letter in found[1]), text)


def edited(history: History, old: str = "RATE = 2", new: str = "RATE = 3") -> None:
    outcome = builder.compare([source(TEXT, WORLD)], [source(TEXT.replace(old, new), WORLD)], policy="linked")
    assert outcome.patch is not None, outcome.diagnostics
    load.apply(outcome.patch, history)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, ModuleType]:
    monkeypatch.setattr(sys, "modules", sys.modules.copy())  # forgotten afterwards
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pkg").mkdir()
    for name, text in {"pkg/__init__.py": "", "pkg/world.py": TEXT, "other.py": OTHER}.items():
        (tmp_path / name).write_text(text, "utf-8")
    importlib.import_module("pkg.world")
    return sys.modules


def takers(name: str) -> set[str]:
    """The names by which modules took a value of the world, as found by who knows nothing of any text yet."""
    world = sys.modules["pkg.world"]
    found = importers.slots(texts.Texts(), world, name, vars(world)[name])
    return {f"{slot.owner['__name__']}.{slot.name}" for slot in found}


def client(folder: Path, text: str, name: str = "client") -> ModuleType:
    (folder / f"{name}.py").parent.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(wide(text), "utf-8")
    return importlib.import_module(name.replace("/", "."))


@pytest.mark.parametrize(
    "text",
    [
        "from pkg.world import RATE as taken",
        "from pkg.world import*\ntaken = 0\nfrom pkg . world import RATE as taken",
        "from pkg.world import (rate, # RATES\n  RATE\\\n as taken)",
        "if 1:\n  try:\n    from pkg.world import RATE as taken\n  finally: pass",
        "def f():\n  global taken\n  from pkg.world import RATE as taken\nf()",
        "from pkg.\\\nworld import <RATE> as taken",
        "from pkg.<w>orld import RATE as taken",
        "x\u0304 = 0; from pkg.world import RATE as taken",
    ],
)
def test_who_took_a_value_gets_the_new_one(text: str, loaded: Mapping[str, ModuleType], tmp_path: Path) -> None:
    taker = client(tmp_path, text)
    second = client(tmp_path, "from client import taken as RATE_\nfrom client import *\n", "second")
    assert {"client.taken", "second.RATE_", "second.taken"} <= takers("RATE")
    edited(History())
    assert (taker.taken, second.RATE_, second.taken) == (3, 3, 3)


def test_who_bound_the_name_anew_has_not_taken_the_value(loaded: Mapping[str, ModuleType], tmp_path: Path) -> None:
    taker = client(tmp_path, "from pkg.world import RATE\nHELD = RATE\nRATE = 7")
    assert takers("RATE") == set()
    assert (taker.HELD, taker.RATE) == (2, 7)


def test_who_gave_a_value_may_have_it_back(loaded: Mapping[str, ModuleType], tmp_path: Path) -> None:
    client(tmp_path, "from pkg.world import RATE as taken")
    back = TEXT + "def again():\n  global BACK\n  from client import taken as BACK\nagain()\n"
    (tmp_path / "pkg" / "world.py").write_text(back, "utf-8")
    importlib.reload(loaded["pkg.world"])
    assert takers("RATE") == {"client.taken", "pkg.world.BACK"}


@pytest.mark.parametrize(
    ("text", "name"), [("from alias import RATE as taken", "taken"), ("from alias import *", "RATE")]
)
def test_who_took_a_value_by_another_name_of_the_module(
    text: str, name: str, loaded: Mapping[str, ModuleType], tmp_path: Path
) -> None:
    """A program may put a module into `sys.modules` under a second name."""
    sys.modules["alias"] = loaded["pkg.world"]
    taker = client(tmp_path, text)
    assert takers("RATE") == {f"client.{name}"}
    edited(History())
    assert vars(taker)[name] == 3
    added = TEXT + "ADDED = 5\n"
    outcome = builder.compare(
        [source(TEXT.replace("= 2\nd", "= 3\nd"), WORLD)], [source(added, WORLD)], policy="linked"
    )
    assert outcome.patch is not None
    load.apply(outcome.patch, History())
    assert vars(taker)[name] == 2
    assert vars(taker).get("ADDED") == (5 if "*" in text else None)


@pytest.mark.parametrize("text", ["from pkg.world import*", "from pkg.<w>orld import \\\n*", "from other import *"])
def test_who_took_all_there_is(text: str, loaded: Mapping[str, ModuleType], tmp_path: Path) -> None:
    client(tmp_path, "from pkg.world import *", "other")
    taker = client(tmp_path, text)
    assert "client.é" in takers("é")
    edited(History(), "é = 2", "é = 3")  # no function reads it
    assert vars(taker)["é"] == 3


@pytest.mark.parametrize("mark", ["é", "e\u0301"])
def test_a_name_that_is_not_of_ascii(mark: str, loaded: Mapping[str, ModuleType], tmp_path: Path) -> None:
    taker = client(tmp_path, f"from pkg.world import {mark} as taken\n")
    edited(History(), "é = 2", "é = 3")
    assert taker.taken == 3


@pytest.mark.parametrize("text", ["from . import RATE", "from .world import RATE"])
def test_who_took_it_within_the_package(text: str, loaded: Mapping[str, ModuleType], tmp_path: Path) -> None:
    package = client(tmp_path, "from pkg.world import RATE\n", "pkg/given")
    loaded["pkg"].RATE = package.RATE  # type: ignore[attr-defined]
    (tmp_path / "pkg" / "__init__.py").write_text("from pkg.world import RATE\n", "utf-8")
    taker = client(tmp_path, text, "pkg/client")
    assert takers("RATE") == {"pkg.RATE", "pkg.given.RATE", "pkg.client.RATE"}
    edited(History())
    assert (loaded["pkg"].RATE, package.RATE, taker.RATE) == (3, 3, 3)


@pytest.mark.parametrize(
    "text",
    [
        "from pkg.world import RATE\nx = RATE + 1",
        "from pkg.world import *\nx = RATE + 1",
        "import pkg.world\nx = pkg.world.RATE + 1",
        "import pkg.world as w\nx = w\\\n .RATE + 1",
        "import pkg.world as w\nx = (w. # here\n RATE) + 1",
        "import pkg\nclass A:\n  x = pkg.world.RATE + 1",
        "import importlib\nw = importlib.import_module('pkg.world')\nif w: x = w.RATE + 1",
        "import sys\nw = sys.modules['pkg.world']\nx = f'{w.RATE}'",
        "import pkg, other\nx = other.w.RATE + 1",
        "import pkg\nclass A:\n  class B: w = pkg.world\nx = A.B.w.RATE + 1",
        "import pkg.world as w\ndef f(): return g()\ndef g(): return w.RATE\nx = f()",
        "import pkg.world as w\nclass A:\n  def __init__(self): self.x = w.RATE\nx = A()",
        "from pkg.world import RATE as taken\ndef f(): return taken\nx = [f()]",
        "from pkg.world import rate\nx = rate()",
        "from pkg.world import *\nx = rate()",
        "from other import its\nx = its()",
        "import other\nx = other.its()",
        "import other\nx = other.A.B.make()",
        "import other\nx = other.w.RATE + 1",
        "from pkg.world import rate as its\nx = its()",
        "import pkg.world as w\nx = w.rate()",
        "import pkg\nits = pkg.world.rate\nclass A: made = pkg.world.Made\nx = A.made()",
        "from pkg.world import Made as M\ndef f(): return M()\nx = f()",
        "from pkg.<w>orld import <RATE>\nx = <RATE> + 1",
        "import pkg.world as w\nx = w.<RATE> + 1",
    ],
)
def test_what_used_a_value_at_import_refuses(text: str, loaded: Mapping[str, ModuleType], tmp_path: Path) -> None:
    client(tmp_path, text)
    with pytest.raises(Refused, match="BCP210"):
        edited(History())
    assert loaded["pkg.world"].RATE == 2


def test_no_text_is_parsed_twice(
    loaded: Mapping[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    parse = texts._parsed

    def noted(text: str) -> ast.Module | None:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(sources, "_SETTLED", 0)
    monkeypatch.setattr(texts, "_parsed", noted)
    taken, other = "from pkg.world import RATE\n", "import pkg.world\ndef f(): return pkg.world.RATE\n"
    client(tmp_path, taken)
    client(tmp_path, other, "reader")
    history = History()
    edited(history)
    assert {taken, other} <= set(parsed)
    load.rollback(history, 0)
    parsed.clear()
    edited(history)
    load.rollback(history, 0)
    assert not {taken, other} & set(parsed)
    (tmp_path / "reader.py").write_text(f"{other}x = f()\n", "utf-8")
    with pytest.raises(Refused, match="BCP210"):
        edited(history)


def test_a_text_that_was_written_just_now_is_not_relied_on(
    loaded: Mapping[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = client(tmp_path, "from pkg.world import RATE\n")
    assert sources.state_of(made) is None
    monkeypatch.setattr(sources, "_SETTLED", 0)
    assert sources.state_of(made) is not None


def test_a_type_of_c_that_has_no_namespace_yet(tmp_path: Path) -> None:
    """CPython 3.11 fills `_socket.socket` when it is first used; `socket` does, but `_socket` may come alone."""
    old, new = "class Shop:\n  rate = 1\n", "class Shop:\n  rate = 2\n"
    (tmp_path / "cart.py").write_text(old)
    (tmp_path / "cart.patch").write_bytes(patchfile.encode(patch_of(old, new, "linked", Module("cart", "cart.py"))))
    script = """
        import _socket, cart
        from bcpatch import load
        from bcpatch.process.history import History
        load.apply("cart.patch", History())
        print(cart.Shop.rate)
    """
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "2\n", done.stderr


@pytest.mark.parametrize("used", ["", " + RATE"])
def test_expressions_may_be_nested_as_deeply_as_python_takes_them(
    used: str, loaded: Mapping[str, ModuleType], tmp_path: Path
) -> None:
    deep = " + ".join(["1"] * 1_500)
    taker = client(tmp_path, f"from pkg.world import RATE\nVALUE = {deep}{used}\ndef get(): return {deep}\n")
    if used:
        with pytest.raises(Refused, match="BCP210"):
            edited(History())
    else:
        edited(History())
    assert vars(taker)["RATE"] == (2 if used else 3)
