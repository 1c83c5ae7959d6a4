"""Imports in a circle (BCP220): what a fresh start would not find is told, and of real starts the same is true."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from test_edits import module_of, sources

from bcpatch import builder
from bcpatch.model import Policy
from bcpatch.source import circles
from bcpatch.source.outline import Source

PLUG = "from app import helper\ndef g(): return helper()\n"
APP = "def helper(): return 1\n"


def said(old: dict[str, str], new: dict[str, str], policy: str = "linked") -> list[str]:
    outcome = builder.compare(sources(old), sources({**old, **new}), policy=policy)
    return [f"{one.file}:{one.line} {one.message}" for one in outcome.diagnostics if one.code == "BCP220"]


@pytest.mark.parametrize("policy", Policy)
def test_an_import_above_what_the_other_module_takes(policy: Policy) -> None:
    changed = "import plug\ndef helper(): return plug\n"
    (told,) = said({"app.py": APP, "plug.py": PLUG}, {"app.py": changed}, policy)
    assert told.startswith("app.py:1 a start that imports `app` first fails now: ")
    assert told.endswith("`plug` takes `helper` of `app` (line 1) before that has it")


def test_a_module_that_is_no_text_is_passed_over() -> None:
    old, new = sources({"app.py": APP}), sources({"app.py": "import plug\n" + APP, "plug.py": PLUG})
    broken = Source(new[1].module, new[1].path, b"# \0\n" + new[1].data)
    assert builder.compare([*old, broken], [new[0], broken], policy="linked").patch is not None


def test_the_patch_is_made_all_the_same() -> None:
    new = {"app.py": "import plug\ndef helper(): return plug\n", "plug.py": PLUG}
    outcome = builder.compare(sources({"app.py": APP, "plug.py": PLUG}), sources(new), policy="linked")
    assert outcome.patch is not None


TOLD = {
    "through a third module": (
        {"app.py": APP, "mid.py": "import plug\n", "plug.py": PLUG},
        {"app.py": "import mid\n" + APP},
    ),
    "an attribute": (
        {"app.py": APP, "plug.py": "import app\nX = [app.helper]\n"},
        {"app.py": "import plug\n" + APP},
    ),
    "a base of a class": (
        {"app.py": "class Base: pass\n", "plug.py": "import app\nclass Plug(app.Base): pass\n"},
        {"app.py": "import plug\nclass Base: pass\n"},
    ),
    "the other one first": (
        {"app.py": APP, "plug.py": "import app\ndef late(): return 1\n"},
        {"app.py": "from plug import late\n" + APP},
    ),
    "a new module": ({"app.py": APP}, {"app.py": "import plug\n" + APP, "plug.py": PLUG}),
    "modules of a package": (
        {"shop/__init__.py": "", "shop/app.py": APP, "shop/plug.py": "from .app import helper\n"},
        {"shop/app.py": "from . import plug\n" + APP},
    ),
    "the package itself": (
        {"shop/__init__.py": "RATE = 1\n", "shop/plug.py": "from shop import RATE\n"},
        {"shop/__init__.py": "from shop import plug\nRATE = 1\n"},
    ),
    "a list of several lines": (
        {"shop/__init__.py": "", "shop/app.py": APP, "shop/plug.py": "from shop.app import (\n    helper,\n)\n"},
        {"shop/app.py": "from shop import (\n    plug,\n)\n" + APP},
    ),
    "the header of a loop": (
        {"app.py": APP, "plug.py": "import app\nfor one in [app.helper]:\n    pass\n"},
        {"app.py": "import plug\n" + APP},
    ),
    "another handler": (
        {"app.py": APP, "plug.py": "try:\n    from app import helper\nexcept KeyError:\n    pass\n"},
        {"app.py": "import plug\n" + APP},
    ),
}
NOT_TOLD = {
    "below what is taken": ({"app.py": APP, "plug.py": PLUG}, {"app.py": APP + "import plug\n"}),
    "in a function": ({"app.py": APP, "plug.py": PLUG}, {"app.py": "def helper():\n    import plug\n"}),
    "for type checkers alone": (
        {"app.py": "from typing import TYPE_CHECKING\n" + APP, "plug.py": PLUG},
        {"app.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import plug\n" + APP},
    ),
    "taken in a function": (
        {"app.py": APP, "plug.py": "def g():\n    from app import helper\n    return helper()\n"},
        {"app.py": "import plug\n" + APP},
    ),
    "read in a function": (
        {"app.py": APP, "plug.py": "import app\ndef g(): return app.helper()\n"},
        {"app.py": "import plug\n" + APP},
    ),
    "a handler catches it": (
        {"app.py": APP, "plug.py": "try:\n    from app import helper\nexcept ImportError:\n    helper = None\n"},
        {"app.py": "import plug\n" + APP},
    ),
    "it failed before": (
        {"app.py": "import plug\n" + APP, "plug.py": PLUG},
        {"app.py": "import os\nimport plug\n" + APP},
    ),
    "the other module has a `__getattr__`": (
        {"app.py": "def __getattr__(name): return 1\n" + APP, "plug.py": PLUG},
        {"app.py": "def __getattr__(name): return 1\nimport plug\n" + APP},
    ),
    "a submodule is taken of a package": (
        {"shop/__init__.py": "", "shop/app.py": "", "shop/plug.py": "from shop import app\n"},
        {"shop/__init__.py": "from shop import plug\n"},
    ),
    "a case that need not match": (
        {"app.py": APP, "plug.py": "import app\nmatch 1:\n    case 2:\n        app.helper()\n"},
        {"app.py": "import plug\n" + APP},
    ),
    "an annotation that is kept as text": (
        {
            "app.py": APP,
            "plug.py": "from __future__ import (\n    annotations,\n)\nimport app\ndef g(a: app.helper): return a\n",
        },
        {"app.py": "import plug\n" + APP},
    ),
    "no circle": ({"app.py": APP, "plug.py": "X = 1\n"}, {"app.py": "import plug\n" + APP}),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_a_start_would_not_find_is_told(name: str, tmp_path: Path) -> None:
    old, new = TOLD[name]
    assert len(said(old, new)) == 1
    assert set(starts({**old, **new}, tmp_path)) != {None}


@pytest.mark.parametrize("name", NOT_TOLD)
def test_nothing_is_said_of_other_imports(name: str) -> None:
    assert said(*NOT_TOLD[name]) == []


def test_an_annotation_is_read_where_it_is_evaluated(tmp_path: Path) -> None:
    old = {"app.py": APP, "plug.py": "import app\ndef g(a: app.helper): return a\n"}
    new = {**old, "app.py": "import plug\n" + APP}
    assert bool(said(old, new)) is (set(starts(new, tmp_path)) != {None})


# --- real starts --------------------------------------------------------------------------


@contextmanager
def importable(files: dict[str, str], folder: Path) -> Iterator[None]:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    keeps, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = keeps


def starts(files: dict[str, str], folder: Path) -> Iterator[str | None]:
    """Of starts with each module: why that fails, if it does."""
    names = [module_of(path).name for path in files]
    with importable(files, folder):
        for first in names:
            try:
                importlib.import_module(first)
                yield None
            except (ImportError, AttributeError) as error:
                yield f"{first}: {error!r}"
            finally:
                for name in names:
                    sys.modules.pop(name, None)


NAMES = ("one", "two", "three")


def program(random: Random) -> dict[str, str]:
    """Some modules that import each other: at the top, or in a package."""
    package = random.choice(("", "", "shop/"))
    files = [f"{package}m{number}.py" for number in range(random.randint(2, 4))]
    files += [f"{package}__init__.py"] if package else []
    return {path: "".join(text(random, path, files)) for path in files}


def text(random: Random, path: str, files: list[str]) -> Iterator[str]:
    known: list[str] = []
    for _ in range(random.randint(1, 6)):
        yield from indented(random, statement(random, random.choice(files), path, known))
    yield from (f"{name} = 1\n" for name in NAMES)  # of what has ended, nothing is missing


def statement(random: Random, target: str, path: str, known: list[str]) -> str:
    module, name = module_of(target).name, random.choice(NAMES)
    last = module.rpartition(".")[2]
    kind = random.randrange(10)
    if kind == 0:
        known.append(module)
        return f"import {module}\n"
    if kind == 1:
        known.append(f"as_{last}")
        return f"import {module} as as_{last}\n"
    if kind == 2 and "." in module:
        return random.choice((f"from . import {last}\n", f"from shop import {last}\n"))
    if kind == 3 and target != path:
        return f"from {module} import *\n"
    if kind in (4, 5):
        return f"from {module} import {name}\n"
    if kind == 6 and known:
        return f"taken = [{random.choice(known)}.{name}]\n"
    if kind == 7 and known:
        return f"def function(): return {random.choice(known)}.{name}\n"
    if kind == 8:
        return f"def {name}(): return 1\n"
    return f"{name} = 1\n"


def indented(random: Random, line: str) -> Iterator[str]:
    kind = random.randrange(12)
    if line.startswith("import") or "as_" in line or kind > 2:
        yield line
    elif kind == 0:
        yield f"try:\n    {line}except (ImportError, AttributeError):\n    pass\n"
    elif kind == 1:
        yield f"def function():\n    {line}" if "*" not in line else line
    else:
        yield f"with open(__file__):\n    {line}"


def check(random: Random, folder: Path, seen: Counter[bool]) -> None:
    files = program(random)
    by_name = {one.module.name: one for one in sources(files)}
    for name, wanted in zip(by_name, starts(files, folder), strict=True):
        found = circles._started(name, by_name, by_name.keys())
        assert (found is None) is (wanted is None), (files, name, found, wanted)
        seen[found is None] += 1


@pytest.mark.parametrize("seed", range(8))
def test_real_starts_find_the_same(seed: int, tmp_path: Path) -> None:
    seen: Counter[bool] = Counter()
    for number in range(40):
        check(Random(1000 * seed + number), tmp_path / str(number), seen)
    assert min(seen[True], seen[False]) > 20
