"""Which function of a new version is which of the old one, and what becomes of their turns."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from bcpatch.model import Module, Turns
from bcpatch.source import shape
from bcpatch.source.outline import Source, Unit, outline
from bcpatch.source.pairing import paired, turns


def unit(text: str) -> Unit:
    return outline(Source(Module("world", "world.py"), "world.py", text.encode()), 0)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("f = lambda: 1\n", "f = lambda: 2\n", [], id="changed"),
        pytest.param("f = lambda: 1\n", "f = lambda: 1\ng = lambda: 2\n", [], id="added below"),
        pytest.param("f = lambda: 1\n", "g = lambda: 2\nf = lambda: 1\n", [Turns("<lambda>", (1,))], id="added above"),
        pytest.param("f = lambda: 1\ng = lambda: 2\n", "g = lambda: 2\n", [Turns("<lambda>", (-1, 0))], id="removed"),
        pytest.param(
            "class C:\n @p\n def f(s): 1\n @p.s\n def f(s): 2\n",
            "class C:\n @p.s\n def f(s): 2\n @p\n def f(s): 1\n",
            [Turns("C.f", (1, 0))],
            id="exchanged",
        ),
        pytest.param("def f(): 1\ndef g(): 2\n", "def g(): 2\ndef f(): 1\n", [], id="of two names"),
    ],
)
def test_turns_are_told_where_they_are_not_kept(old: str, new: str, expected: list[Turns]) -> None:
    assert list(turns(paired(unit(old), unit(new)))) == expected


def test_a_statement_is_looked_at_once_however_many_lambdas_it_has() -> None:
    def looks(count: int) -> int:
        text = "table = [\n" + "".join(f"    lambda: {number},\n" for number in range(count)) + "]\n"
        old, new = unit(text), unit(text.replace("0", "-1", 1))
        calls = 0

        def count_calls(frame: FrameType, event: str, argument: object) -> None:
            nonlocal calls
            calls += event == "call" and frame.f_code.co_filename == shape.__file__

        profile = sys.getprofile()
        sys.setprofile(count_calls)
        try:
            paired(old, new)
        finally:
            sys.setprofile(profile)
        return calls

    assert looks(100) < 3 * looks(50)
