"""What becomes of a site whose name loses and gains functions, and what generations tell of it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from types import FunctionType

import pytest
import worlds
from hypothesis import given
from hypothesis import strategies as st

from bcpatch import load
from bcpatch.diagnostics import Refused, errors
from bcpatch.exchange import standing
from bcpatch.model import Policy, Site
from bcpatch.process.history import History
from bcpatch.process.lineages import Lineage, Lineages
from bcpatch.process.records import Generation, Record


@pytest.fixture
def history() -> History:
    return History()


def _turned(lineages: Lineages, parent: int, now: tuple[int, ...]) -> None:
    """Let a generation on top of ``parent`` give the functions of a name other ordinals."""
    number = len(lineages.records)
    generation = Generation(number, parent, f"patch {number}", Policy.LINKED, 0.0, 0.0)
    for call, *arguments in lineages.records.entry(Record(generation), (), ()).rows:
        call(*arguments)
    lineages.turns.setdefault(("world", "<lambda>"), {})[number] = now


def _site(ordinal: int) -> Site:
    return Site("world", "<lambda>", ordinal)


@given(st.data())
def test_a_site_goes_back_to_what_it_was_and_that_leads_to_the_site(data: st.DataObject) -> None:
    """Each function of a text is a token here; a generation keeps some, in any order, and has new ones."""
    lineages = Lineages(History().records)
    texts = [[(0, ordinal) for ordinal in range(data.draw(st.integers(0, 4)))]]
    came = {one: one for one in texts[0]}
    for number in range(1, data.draw(st.integers(1, 7))):
        parent = data.draw(st.integers(0, number - 1))
        kept = data.draw(st.lists(st.sampled_from(texts[parent]), unique=True)) if texts[parent] else []
        new = [(number, one) for one in range(data.draw(st.integers(0, 2)))]
        text = data.draw(st.permutations([*kept, *new]))
        came |= {one: (number, text.index(one)) for one in new}
        _turned(lineages, parent, tuple(text.index(one) if one in text else -1 for one in texts[parent]))
        texts.append(list(text))
    for number, text in enumerate(texts):
        for ordinal, one in enumerate(text):
            since, first = came[one]
            lineage = lineages.of(_site(ordinal), number)
            assert lineage == Lineage(_site(first), since)
            assert lineages.site(lineage, number) == _site(ordinal)
        for one in set(chain.from_iterable(texts)) - set(text):
            since, first = came[one]
            assert lineages.site(Lineage(_site(first), since), number) == _site(first)


LAMBDAS = "all = [{}]\ndef last(): return 0\n"


def _apply(old: str, new: str, history: History) -> None:
    load.apply(worlds.linked(old, new), history)


def _lambdas(*values: int) -> str:
    return LAMBDAS.format("".join(f"\n    lambda: {value}," for value in values))


def test_a_patch_of_another_base_is_refused_where_ordinals_have_changed(tmp_path: Path, history: History) -> None:
    """`<lambda>#1` of its base is `<lambda>#2` of what runs."""
    base, new = _lambdas(1, 2), _lambdas(1, 3)
    current = f"above = lambda: 2\n{base}"
    with worlds.world(base, tmp_path) as module:
        _apply(base, current, history)
        with pytest.raises(Refused) as refused:
            _apply(base, new, history)
        assert {one.code for one in errors(refused.value.diagnostics)} == {"BCP503"}
        assert "since the text that the patch was built against" in refused.value.diagnostics[0].message
        assert (module.above(), [one() for one in module.all]) == (2, [1, 2])
        load.rollback(history, 0)
        _apply(base, new, history)
        assert [one() for one in module.all] == [1, 3]


def test_status_names_a_site_as_the_current_text_does(tmp_path: Path, history: History) -> None:
    base, new = _lambdas(1), _lambdas(2)
    with worlds.world(base, tmp_path) as module:
        _apply(base, new, history)
        _apply(new, f"above = lambda: 0\n{new}", history)
        told = {str(one.site): one.generation for one in standing.sites(history)}
        assert isinstance(module.all[0], FunctionType)
        assert told["world:<lambda>#1"] == 1
