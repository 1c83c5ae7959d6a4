"""Which module a file is, and which files below a folder are modules."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from bcpatch.diagnostics import Refused
from bcpatch.files import collect
from bcpatch.model import Module


def write(root: Path, names: Iterable[str]) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("files", "path", "module"),
    [
        (["app.py"], "app.py", Module("app", "app.py")),
        (["shop/__init__.py", "shop/cart.py"], "shop/cart.py", Module("shop.cart", "shop/cart.py")),
        (["shop/__init__.py"], "shop/__init__.py", Module("shop", "shop/__init__.py")),
        (["src/shop/__init__.py", "src/shop/cart.py"], "src/shop/cart.py", Module("shop.cart", "shop/cart.py")),
        (["a/b/__init__.py", "a/b/c.py"], "a/b/c.py", Module("b.c", "b/c.py")),
        (["a/__init__.py", "a/b/c/d.py"], "a/b/c/d.py", Module("a.b.c.d", "a/b/c/d.py")),
        (["a/__init__.py", "a/b/pyproject.toml", "a/b/c.py"], "a/b/c.py", Module("c", "c.py")),
        (["a/__init__.py", "a/src/c.py"], "a/src/c.py", Module("c", "c.py")),
        (["a/__init__.py", "a/b-2/c.py"], "a/b-2/c.py", Module("c", "c.py")),
    ],
)
def test_a_lone_file_is_named_below_its_topmost_package(
    tmp_path: Path, files: list[str], path: str, module: Module
) -> None:
    write(tmp_path, files)
    (found,) = collect(str(tmp_path / path))
    assert found.module == module


def test_a_name_can_be_given_where_the_path_does_not_tell(tmp_path: Path) -> None:
    write(tmp_path, ["space/part/mod.py"])
    path = str(tmp_path / "space/part/mod.py")
    assert collect(path)[0].module == Module("mod", "mod.py")
    assert collect(path, "space.part.mod")[0].module == Module("space.part.mod", "space/part/mod.py")
    with pytest.raises(Refused, match="BCP004"):
        collect(path, "space.other.mod")


@pytest.mark.parametrize("name", ["my.app.py", "notes.txt", "class.d/.py"])
def test_what_can_not_be_imported_has_no_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, [name])
    with pytest.raises(Refused, match="BCP004"):
        collect(str(tmp_path / name))


def test_a_folder_is_every_module_below_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            "app.py",
            "shop/__init__.py",
            "shop/cart.py",
            "space/part.py",
            "src/lib/__init__.py",
            ".hidden/x.py",
            "__pycache__/y.py",
            "not-a-name/1.py",
            "no.name/z.py",
            "no.name.py",
            "venv/lib/w.py",
            "venv/pyvenv.cfg",
            "data.txt",
        ],
    )
    assert [one.module.name for one in collect(str(tmp_path))] == [
        "app",
        "not-a-name.1",
        "shop",
        "shop.cart",
        "space.part",
        "lib",
    ]
    assert [one.module.name for one in collect(str(tmp_path / "shop"))] == ["shop", "shop.cart"]
