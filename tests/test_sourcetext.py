"""What a text binds does not depend on what was read before it."""

from __future__ import annotations

import itertools
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch import fingerprint
from bcpatch.model import Module
from bcpatch.rules.sourcetext import Text, last_read

PARTS = st.sampled_from(
    [
        dedent(one)
        for one in (
            "def f(): return 1",
            "def f():\n    global g\n    g = 1",
            "class C:\n    a = 1\n    class D:\n        b = 1",
            "class C:\n    c = 1\n    def f(self): pass",
            "import g",
            "from a import b as C",
            "if f():\n    import d\n\nelse:\n    e = 1",
            "x = y = 1",
            "x: int",
            "\u212a = 1",
            "# \u00e9",
            "(",
            "",
        )
    ]
)
TEXTS = st.lists(PARTS, max_size=8).map("\n\n".join)

NUMBERS = itertools.count()
#: The same module from example to example: what is known of it, is of any text before.
KNOWN = Module("m", "m.py")


def told(text: Text) -> tuple[object, ...]:
    if not text.is_python:
        return (text.digest,)
    classes = [text.bound_in_class(one) for one in ("C", "C.D", "f", "")]
    return text.digest, text.bound, text.imported, text.certain, classes, text.type_parameters("C.f")


@given(TEXTS, TEXTS)
def test_the_last_text_changes_nothing(before, after):
    number = next(NUMBERS)
    fresh = Module(f"m{number}", f"m{number}.py")
    told(Text(KNOWN, before.encode()))
    assert told(Text(KNOWN, after.encode())) == told(Text(fresh, after.encode()))


@pytest.mark.parametrize("source", [b"x = 1\n\xff", b"# coding: none\n", b"x = (", b"a\0b"])
def test_what_is_no_python_binds_nothing(source):
    text = Text(KNOWN, source)
    assert not text.is_python
    assert text.bound == text.imported == text.certain == frozenset()


def test_of_the_last_text_the_digest_is_known():
    module = Module("digested", "digested.py")
    assert Text(module, b"x = 1\n").is_python
    digests = fingerprint.Digests()
    last_read(module, digests)
    assert digests.of(b"x = 1\n") == fingerprint.blake(b"x = 1\n")
    assert digests.of(b"x = 2\n") == fingerprint.blake(b"x = 2\n")
