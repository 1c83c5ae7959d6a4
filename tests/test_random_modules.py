"""Random edits of several modules at once, side by side or in a package: live equals fresh, or it is said."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from programs import PACKAGE, SIDE_BY_SIDE, Layout, check


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rare", [False, True], ids=["common", "rare"])
@pytest.mark.parametrize(("layout", "count"), [(SIDE_BY_SIDE, 80), (PACKAGE, 60)], ids=["side by side", "package"])
def test_live_equals_fresh_or_it_is_said(layout: Layout, count: int, rare: bool) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(count):
        check(Random(number), outcomes, layout=layout, rare=rare)
    assert outcomes["live"] > outcomes["refused by the build"] / 4
    assert outcomes["told"] < outcomes["live"] / 4


@pytest.mark.parametrize("number", [80700, 81346, 91499])
def test_edits_that_went_wrong_once(number: int) -> None:
    """A list of names was gone; an import came above one of all names; what a star had hidden came to light."""
    check(Random(number), Counter())
