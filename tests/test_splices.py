"""Splices: they make exactly the one text of the other, and are no larger than what differs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch import splices
from bcpatch.model import Splice

FEW = st.lists(st.sampled_from([b"\n", b"\r\n", b"a\n", b"b\n", b"c\r", b"\x0c\n", b"\xff", b""])).map(b"".join)
MANY = st.lists(st.integers(0, 60).map(lambda number: b"line %d\n" % number), max_size=60).map(b"".join)
TEXTS = st.one_of(FEW, MANY, st.binary(max_size=50))


@given(TEXTS, TEXTS)
def test_splices_make_the_one_text_of_the_other(one: bytes, other: bytes) -> None:
    found = splices.between(one, other)
    assert splices.applied(found, one) == other
    assert sum(len(splice.text) for splice in found) <= len(other)
    assert sum(splice.size for splice in found) <= len(one)
    if one == other:
        assert found == ()


LINES = [b"    line %d\n" % number if number % 3 else b"\n" for number in range(3000)]


@pytest.mark.parametrize(
    ("places", "size"),
    [
        ([0], 1),
        ([2999], 1),
        ([1500], 4),
        ([0, 2999], 1),
        ([0, 1, 1000, 2000, 2998], 1),
        ([7, 8, 9, 10, 2990], 3),
        (list(range(100, 2900, 100)), 1),
    ],
)
def test_splices_are_the_lines_that_differ(places: list[int], size: int) -> None:
    changed = list(LINES)
    for place in reversed(places):
        changed[place : place + 1] = [b"    # changed %d %d\n" % (place, number) for number in range(size)]
    found = splices.between(b"".join(changed), b"".join(LINES))
    assert splices.applied(found, b"".join(changed)) == b"".join(LINES)
    assert b"".join(splice.text for splice in found) == b"".join(LINES[place] for place in places)


def test_a_part_that_moved_is_taken_out_and_put_in() -> None:
    moved = LINES[100:130]
    there = LINES[:100] + LINES[130:2000] + moved + LINES[2000:]
    found = splices.between(b"".join(there), b"".join(LINES))
    assert splices.applied(found, b"".join(there)) == b"".join(LINES)
    assert sum(len(splice.text) for splice in found) <= len(b"".join(moved))


def test_texts_that_have_nothing_in_order_are_compared_soon() -> None:
    mixed = random.Random(1).sample(LINES, len(LINES)) * 20
    found = splices.between(b"".join(mixed), b"".join(LINES * 20))
    assert splices.applied(found, b"".join(mixed)) == b"".join(LINES * 20)


@pytest.mark.parametrize(
    "wrong",
    [
        (Splice(-1, 0, b""),),
        (Splice(0, 7, b""),),
        (Splice(7, 0, b""),),
        (Splice(3, -1, b""),),
        (Splice(2, 2, b"x"), Splice(3, 1, b"y")),
        (Splice(4, 1, b"x"), Splice(0, 1, b"y")),
    ],
)
def test_splices_that_do_not_fit_are_refused(wrong: tuple[Splice, ...]) -> None:
    with pytest.raises(ValueError, match="a splice from"):
        splices.applied(wrong, b"abcdef")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_the_inverse_leads_back(one: bytes, other: bytes) -> None:
    forth = splices.between(one, other)
    assert splices.applied(splices.inverse(forth, one), other) == one


@pytest.mark.parametrize("added", [b"# a line more\n", b"\n", b"line 7\n", b"line 0\n"])
def test_lines_above_and_among_many_others(added: bytes) -> None:
    """Both ways, and whatever else the lines that were added are equal to."""
    lines = [b"line %d\n" % number for number in range(1000)]
    text = b"".join(lines)
    wanted = b"".join([added, *lines[:500], b"changed\n", *lines[501:700], added, *lines[700:]])
    for one, other in ((text, wanted), (wanted, text)):
        found = splices.between(one, other)
        assert splices.applied(found, one) == other
        assert sum(splice.size + len(splice.text) for splice in found) < 100
        assert all(one[: splice.start].endswith(b"\n") or not splice.start for splice in found)
