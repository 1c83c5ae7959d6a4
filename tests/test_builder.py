"""A build finds its base, and gives the same bytes everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from samples import CART, compared, source

import bcpatch
from bcpatch import builder, files, patchfile
from bcpatch.diagnostics import Refused
from bcpatch.model import Module, Policy

OLD = "import os\n\ndef total(prices, rate=1):\n    return sum(prices) * rate\n\ndef same():\n    return os.sep\n"
NEW = OLD.replace("sum(prices)", "max(prices, default=0)")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def refused(path: str | Path, **options: str) -> str:
    with pytest.raises(Refused) as caught:
        builder.build(str(path), **options)  # type: ignore[arg-type]
    return caught.value.diagnostics[0].code


# --- the base ------------------------------------------------------------------------------------


def test_a_base_may_be_a_file_or_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "old", {"shop/__init__.py": "", "shop/cart.py": OLD})
    write(tmp_path / "new", {"shop/__init__.py": "", "shop/cart.py": NEW})
    patches = [
        builder.build(str(tmp_path / "new" / path), base=str(tmp_path / "old" / base))
        for path, base in (("shop/cart.py", "shop/cart.py"), ("shop/cart.py", ""), ("shop", "shop"), ("", ""))
    ]
    assert len({patchfile.encode(patch) for patch in patches}) == 1
    (module,) = patches[0].modules
    assert [str(edit.site) for edit in module.edits if hasattr(edit, "site")] == ["shop.cart:total"]


@pytest.mark.parametrize("name", ["plain", "caf\udce9", "two\nlines"])
def test_a_base_may_be_a_commit(name: str, tmp_path: Path) -> None:
    tmp_path = tmp_path / name
    write(tmp_path, {"shop/__init__.py": "", "shop/cart.py": OLD, "src/lib.py": OLD})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    write(tmp_path, {"shop/cart.py": NEW, "src/lib.py": NEW})
    head = builder.build(str(tmp_path / "shop/cart.py"))
    assert [module.module.name for module in head.modules] == ["shop.cart"]
    assert head.modules[0].replaces == source(OLD).digest
    everything = builder.build(str(tmp_path))
    assert [module.module.name for module in everything.modules] == ["lib", "shop.cart"]
    git(tmp_path, "commit", "-qam", "two")
    assert builder.build(str(tmp_path)).modules == ()
    assert builder.build(str(tmp_path / "shop"), base="git:HEAD~1") == head
    assert builder.build(str(tmp_path / "shop" / "cart.py"), base="git:HEAD~1") == head


def test_the_base_of_a_link_is_in_the_repository_that_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path, {"one/app.py": OLD, "two/other.py": OLD})
    (tmp_path / "two" / "app.py").symlink_to("../one/app.py")
    git(tmp_path / "two", "init", "-q")
    git(tmp_path / "two", "add", ".")
    git(tmp_path / "two", "commit", "-qm", "two")
    link = tmp_path / "two" / "app.py"
    assert refused(link, base="git:HEAD") == "BCP005"
    git(tmp_path / "one", "init", "-q")
    git(tmp_path / "one", "add", ".")
    git(tmp_path / "one", "commit", "-qm", "one")
    write(tmp_path, {"one/app.py": NEW})
    (module,) = builder.build(str(link)).modules
    assert module.replaces == source(OLD).digest


def test_a_module_that_no_statement_can_import_changes_as_others_do(tmp_path: Path) -> None:
    """`importlib.import_module` can, so that it is left out would not be seen."""
    write(tmp_path, {"shop/__init__.py": "", "shop/unicode15-1.py": OLD})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    write(tmp_path, {"shop/unicode15-1.py": NEW})
    for path in (tmp_path, tmp_path / "shop", tmp_path / "shop" / "unicode15-1.py"):
        (module,) = builder.build(str(path)).modules
        assert module.module == Module("shop.unicode15-1", "shop/unicode15-1.py")


def test_without_a_base_every_function_is_an_edit(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": OLD})
    (module,) = builder.build(str(tmp_path / "app.py")).modules
    assert module.replaces is None
    assert len(module.edits) == 2


def test_that_there_is_no_base_is_said_once(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": OLD, "other.py": OLD})
    first, second = files.collect(str(tmp_path))
    told = [builder.compare((), sources).diagnostics for sources in ((first,), (first, second))]
    assert [[(one.code, one.severity) for one in said] for said in told] == [[("BCP218", "note")]] * 2
    assert ["`app`" in told[0][0].message, "2 modules" in told[1][0].message] == [True, True]
    assert not builder.compare((first,), (first,)).diagnostics


@pytest.mark.parametrize("base", ["git:HEAD", "missing", "missing.py"])
def test_a_missing_base_is_named(tmp_path: Path, base: str) -> None:
    write(tmp_path, {"app.py": OLD})
    wanted = base if base.startswith("git:") else str(tmp_path / base)
    assert refused(tmp_path / "app.py", base=wanted) in ("BCP005", "BCP003")


def test_an_unknown_commit_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": OLD})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    assert refused(tmp_path / "app.py", base="git:no-such") == "BCP005"
    write(tmp_path, {"new.py": OLD})
    assert refused(tmp_path / "new.py", base="git:HEAD") == "BCP005"


def test_a_base_that_does_not_compile_is_no_base() -> None:
    outcome = compared("def f(:\n", "def f(): pass\n")
    assert outcome.patch is None
    assert [found.code for found in outcome.diagnostics] == ["BCP005"]


def test_modules_of_one_side_are_notes() -> None:
    added = Module("shop.new", "shop/new.py")
    outcome = builder.compare([source(OLD)], [source(NEW), source("x = 1", added)])
    assert outcome.patch is not None
    assert [(found.code, found.severity) for found in outcome.diagnostics] == [("BCP214", "note")]
    outcome = builder.compare([source(OLD), source("x = 1", added)], [source(NEW)])
    assert [(found.code, found.severity) for found in outcome.diagnostics] == [("BCP214", "note")]


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        (b"def f(:\n", "BCP001", 1),
        (b"x = 1\n  y = 2\n", "BCP001", 2),
        (b"x = '\xff'\n", "BCP002", 1),
        (b"# coding: no-such\n", "BCP002", 1),
        (b"x = 1\ny = '\0'\n", "BCP002", 2),
        (b"\xff\xfe\x00x", "BCP002", 1),
        (b"(" * 10_000, "BCP001", 1),
        (b"x = " + b"-" * 200_000 + b"1\n", "BCP001", 0),
    ],
)
def test_what_is_no_source_is_named(data: bytes, code: str, line: int) -> None:
    outcome = builder.compare([source(OLD)], [source(data)])
    assert outcome.patch is None
    (found,) = outcome.diagnostics
    assert found.code == code
    assert found.line == line


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"# only a comment\n", b"\xef\xbb\xbfx = 1\n", b"# coding: latin-1\nx='\xe9'\n"]
)
def test_small_sources_are_sources(data: bytes) -> None:
    outcome = builder.compare([source(data)], [source(data + b"\n# more\n")])
    assert outcome.diagnostics == ()
    assert outcome.patch is not None
    assert outcome.patch.modules == ()


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(
    "deep", ["g()" + ".a()" * 450, " + ".join(["1"] * 900), "g" + "()" * 600, "-" * 700 + "1", "g" + ".a" * 900]
)
def test_what_is_nested_too_deeply_to_be_compared_is_refused(deep: str, policy: Policy) -> None:
    old = f"def f(): return 1\nVALUE = {deep}\n"
    for new in (
        old.replace("return 1", "return 2"),
        f"{old}OTHER = {deep}\n",
        old.replace("VALUE = ", "VALUE = 0 or "),
    ):
        outcome = builder.compare([source(old)], [source(new)], policy=policy)
        assert outcome.patch is not None or {one.code for one in outcome.diagnostics} <= {"BCP001", "BCP208", "BCP209"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.py") == "BCP003"


# --- one input, one output ---------------------------------------------------------------------------


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """Under every hash seed, in other folders, from other working directories."""
    text = (
        "import os\nclass A:\n  '''d'''\n  def f(self, a=1):\n"
        "    self.x = self.y = {1, 'a', 2.5}\n    return a in {'q', 'r', 's'}\n"
    )
    program = (
        "import sys; from bcpatch import builder, patchfile\n"
        "sys.stdout.buffer.write(patchfile.encode(builder.build(sys.argv[1], base=sys.argv[2])))"
    )
    written = set()
    for number, seed in enumerate(("0", "1", "77")):
        folder = tmp_path / f"folder{number}"
        write(folder / "old", {"shop/__init__.py": "", "shop/cart.py": text})
        write(folder / "new", {"shop/__init__.py": "", "shop/cart.py": text.replace("return a", "return not a")})
        done = subprocess.run(
            [sys.executable, "-c", program, "new", "old"],
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(bcpatch.__file__).parents[1])},
            capture_output=True,
            check=True,
        )
        written.add(done.stdout)
    assert len(written) == 1


def test_the_same_input_gives_the_same_findings(tmp_path: Path) -> None:
    """In the same order, under every hash seed."""
    names = ("join", "split", "exists", "isdir", "isfile")
    imports = "".join(f"from os.path import {name}\n" for name in names)
    values = "".join(f"{name} = 1\n" for name in names)
    program = (
        "import sys; from bcpatch import builder, diagnostics\n"
        "try: builder.build(sys.argv[1], base=sys.argv[2], policy='linked')\n"
        "except diagnostics.Refused as refused: print(*refused.diagnostics, sep='\\n')"
    )
    (tmp_path / "old.py").write_text(imports + values)
    (tmp_path / "new.py").write_text(values + imports)
    said = set()
    for seed in ("0", "1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", program, "new.py", "old.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(bcpatch.__file__).parents[1])},
            capture_output=True,
            check=True,
        )
        said.add(done.stdout)
    assert len(said) == 1
    assert said.pop().count(b"BCP208") >= len(names)


def test_a_parent_makes_the_next_generation() -> None:
    first = compared(OLD, NEW).patch
    assert first is not None
    assert (first.generation, first.parent) == (1, None)
    second = builder.compare([source(NEW)], [source(OLD)], parent=first).patch
    assert second is not None
    assert (second.generation, second.parent) == (2, patchfile.digest(first))


def test_the_optimization_level_is_that_of_the_process() -> None:
    old, new = "def f(a):\n  assert a\n  return 1\n", "def f(a):\n  assert not a\n  return 1\n"
    checked = builder.compare([source(old)], [source(new)], optimization=0).patch
    optimized = builder.compare([source(old)], [source(new)], optimization=1).patch
    assert checked is not None
    assert optimized is not None
    assert (len(checked.modules), len(optimized.modules)) == (1, 0)
    assert optimized.interpreter.optimization == 1


def test_the_public_names() -> None:
    for name in bcpatch.__all__:
        assert getattr(bcpatch, name) is not None
    assert bcpatch.build is builder.build
    assert CART in {part.module for part in (compared(OLD, NEW).patch or pytest.fail("refused")).modules}
