"""Rows that are kept in few bytes are, in all that is asked of them, plain lists and dictionaries."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch.process import packing
from bcpatch.process.packing import Call, Keys, Numbers, Pieces, Places

integers = st.integers(-(1 << 40), 1 << 40)
digests = st.binary(min_size=2, max_size=2)


def do(*calls: Call) -> None:
    for call, *arguments in calls:
        call(*arguments)


# --- what they say ----------------------------------------------------------------------------


@given(st.lists(st.tuples(st.lists(integers, max_size=700), st.booleans()), max_size=6))
def test_numbers_are_those_that_came(parts: list[tuple[list[int], bool]]) -> None:
    numbers, model = Numbers(7), [7]
    for more, is_last_other in parts:
        before, said = numbers, list(model)
        numbers = numbers.settled()
        for one in more:
            do(numbers.appending(one))
            model.append(one)
        if more and is_last_other:
            numbers.replace_last(-1)
            model[-1] = -1
        if before is not numbers:  # what somebody reads stays as it is
            assert list(before) == said
    assert (len(numbers), list(numbers), list(reversed(numbers))) == (len(model), model, model[::-1])
    assert [numbers[index] for index in range(len(model))] == model


@given(st.lists(st.lists(st.binary(max_size=9).map(lambda one: one * 900), max_size=9), max_size=6))
def test_pieces_are_those_that_came(parts: list[list[bytes]]) -> None:
    pieces, model = Pieces(b""), [b""]
    for more in parts:
        before, said = pieces, list(model)
        pieces = pieces.settled()
        for one in more:
            do(pieces.appending(one))
            model.append(one)
        if more:
            pieces.replace_last(b"other")
            model[-1] = b"other"
        if before is not pieces:
            assert [before[index] for index in range(len(before))] == said
    assert [pieces[index] for index in range(len(pieces))] == model


@given(st.dictionaries(digests, st.integers(0, 9)), st.lists(st.tuples(digests, st.integers(0, 9))), digests)
def test_keys_are_a_dictionary(first: dict[bytes, int], more: list[tuple[bytes, int]], other: bytes) -> None:
    keys, model = Keys(first), dict(first)
    for key, number in more:
        if key not in model:
            do(*keys.appending(key, number))
            model[key] = number
    assert len(keys) == len(model)
    assert [keys.get(key) for key in (*model, other)] == [model.get(key) for key in (*model, other)]
    assert [number in keys for number in range(10)] == [number in model.values() for number in range(10)]


@given(st.lists(st.lists(st.booleans(), max_size=80), max_size=5), st.randoms(use_true_random=False))
def test_places_are_those_of_the_objects(parts: list[list[bool]], chance: random.Random) -> None:
    """Some of which give way to others, and some never."""
    objects: list[object] = []
    places = Places(objects)
    gone: list[object] = []
    for kinds in parts:
        places.settle(lambda one: type(one) is bytearray)
        new: list[object] = [bytearray() if stays else [] for stays in kinds]
        do(places.adding({id(one): len(objects) + at for at, one in enumerate(new)}))
        objects += new
        movable = [at for at, one in enumerate(objects) if type(one) is list]
        if movable:
            at, twin = chance.choice(movable), list[object]()
            do(*places.moving(id(objects[at]), id(twin), at))
            gone.append(objects[at])
            objects[at] = twin
        assert [places[id(one)] for one in objects] == list(range(len(objects)))
        assert not any(id(one) in places for one in (*gone, new))
    with pytest.raises(KeyError):
        places[id(gone)]


# --- in how many bytes ------------------------------------------------------------------------


def bytes_each(make: Callable[[int], object]) -> float:
    """What is allocated here for each thing more, once there are some thousands: other threads are no matter."""
    here = [tracemalloc.Filter(True, one) for one in (packing.__file__, __file__)]
    kept = []
    for count in (1500, 11_500):
        tracemalloc.start()
        made = make(count)
        kept.append(sum(one.size for one in tracemalloc.take_snapshot().filter_traces(here).traces))
        tracemalloc.stop()
        del made
    return (kept[1] - kept[0]) / 10_000


def alternating(count: int) -> Numbers:
    numbers = Numbers()
    for number in range(count):
        numbers = numbers.settled()
        do(numbers.appending(1000 + number % 2))
    return numbers


def alike(count: int) -> Pieces:
    pieces, chance = Pieces(), random.Random(1)
    for number in range(count):
        pieces = pieces.settled()
        do(pieces.appending(b"what all of them say, at some length: " * 9 + b"%d" % number + chance.randbytes(16)))
    return pieces


def keyed(count: int) -> Keys:
    keys, chance = Keys(), random.Random(1)
    for number in range(count):
        do(*keys.appending(chance.randbytes(16), number))
    return keys


def test_a_pattern_takes_next_to_nothing() -> None:
    assert bytes_each(alternating) < 0.3


def test_pieces_that_resemble_each_other_take_what_is_new() -> None:
    assert 16 < bytes_each(alike) < 40


def test_a_key_takes_little_more_than_its_digest() -> None:
    assert 20 <= bytes_each(keyed) < 26
