"""Whether a module's file holds the text of a patch."""

from __future__ import annotations

import os
from types import ModuleType

import pytest

from bcpatch.process import sources


@pytest.mark.parametrize(
    ("held", "expected"),
    [(b"a = 1\n", True), (b"a = 2\n", False), (b"a = 1\n\n", False), (b"a = 1", False), (b"", False)],
)
def test_a_file_holds_a_text_or_another(tmp_path, held, expected):
    module = ModuleType("m")
    module.__file__ = str(tmp_path / "m.py")
    (tmp_path / "m.py").write_bytes(held)
    assert sources.is_on_disk(module, b"a = 1\n") is expected
    assert sources.is_on_disk(module, held)
    assert sources.is_on_disk(module, b"") is (held == b"")


def test_what_is_no_file_holds_nothing(tmp_path):
    module = ModuleType("m")
    for place in (tmp_path, tmp_path / "none.py", "", "a\0.py"):
        module.__file__ = str(place)
        assert not sources.is_on_disk(module, b"")


def test_a_text_that_comes_in_parts(tmp_path, monkeypatch):
    module = ModuleType("m")
    module.__file__ = str(tmp_path / "m.py")
    (tmp_path / "m.py").write_bytes(b"abcdef")
    read = os.read
    monkeypatch.setattr(sources.os, "read", lambda descriptor, size: read(descriptor, min(size, 4)))
    assert sources.is_on_disk(module, b"abcdef")
    assert not sources.is_on_disk(module, b"abcd")
    assert not sources.is_on_disk(module, b"abcdeX")
