"""A signature that is said to accept every old call accepts it: the judge is CPython's own binding."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch.source.signature import rejected_call, signature


@st.composite
def parameter_lists(draw: st.DrawFn) -> str:
    names = draw(st.permutations(["a", "b", "c"]))
    count = draw(st.integers(0, 3))
    names = names[:count]
    first, second = sorted((draw(st.integers(0, count)), draw(st.integers(0, count))))
    positional_only, positional, keywords = names[:first], names[first:second], names[second:]
    optional_from = draw(st.integers(0, second))
    ordered = [
        f"{name}=0" if index >= optional_from else name for index, name in enumerate(positional_only + positional)
    ]
    parts = ordered[:first] + (["/"] if first else []) + ordered[first:]
    variadic = draw(st.booleans())
    if variadic:
        parts.append("*rest")
    elif keywords:
        parts.append("*")
    parts += [f"{name}=0" if draw(st.booleans()) else name for name in keywords]
    if draw(st.booleans()):
        parts.append("**more")
    return ", ".join(parts)


def binds(parameters: str, positional: int, keywords: list[str]) -> bool:
    namespace: dict[str, object] = {}
    exec(f"def f({parameters}): pass", namespace)
    function = namespace["f"]
    assert callable(function)
    try:
        function(*range(positional), **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def judged(old: str, new: str) -> str | None:
    trees = [ast.parse(f"lambda {parameters}: None", mode="eval").body for parameters in (old, new)]
    return rejected_call(*(signature(tree.args) for tree in trees if isinstance(tree, ast.Lambda)))


CALLS = st.tuples(st.integers(0, 4), st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True, max_size=4))


@given(parameter_lists(), parameter_lists(), st.lists(CALLS, min_size=20, max_size=20))
def test_every_old_call_binds(old: str, new: str, calls: list[tuple[int, list[str]]]) -> None:
    if judged(old, new) is None:
        for positional, keywords in calls:
            assert not binds(old, positional, keywords) or binds(new, positional, keywords)


@given(parameter_lists())
def test_the_same_signature_is_accepted(parameters: str) -> None:
    assert judged(parameters, parameters) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a", "a, b=0"),
        ("a", "a, *rest"),
        ("a", "a, *, b=0"),
        ("a", "a, **more"),
        ("a, b", "a, b=0"),
        ("a, /", "a"),
        ("a, /", "b"),
        ("*, a", "a"),
        ("*, a", "*, a=0, b=0"),
        ("*, a", "**more"),
        ("a, b=0", "a, *rest, **more"),
    ],
)
def test_what_takes_more_is_accepted(old: str, new: str) -> None:
    assert judged(old, new) is None


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("a", "", "`a` could be passed by position"),
        ("a", "b", "`a` could be passed by keyword"),
        ("a", "a, b", "`b` need not be passed"),
        ("a=0", "a", "`a` need not be passed"),
        ("a", "a, /", "`a` could be passed by keyword"),
        ("a, b", "b, a", "parameter 1 was `a` and is `b` now"),
        ("*rest", "a=0", "any number of positional"),
        ("**more", "*, a=0", "any keyword"),
        ("*, a", "*, b=0", "`a` could be passed by keyword"),
        ("*, a=0", "*, a", "`a` need not be passed"),
        ("*rest, a", "a, *rest", "`a` could be passed by keyword"),
        ("a, /, **more", "a, **more", "`a` could be passed by keyword beside"),
    ],
)
def test_what_takes_less_is_named(old: str, new: str, why: str) -> None:
    assert why in (judged(old, new) or "")
