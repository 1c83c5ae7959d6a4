"""Fingerprints name what code means: on every run, machine and hash seed, and nothing else."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import textwrap
from types import CodeType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch import fingerprint
from bcpatch.model import Code, FrozenSet

constants = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.complex_numbers()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.just(...),
    lambda items: st.lists(items, max_size=4).map(tuple) | st.frozensets(items, max_size=4),
    max_leaves=12,
)


def function(source: str) -> CodeType:
    """The code of the first function that a source defines."""
    module = compile(textwrap.dedent(source), "sample.py", "exec")
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))


def exactly(value: object) -> object:
    """A value in a form whose ``==`` tells apart what a constant must."""
    if isinstance(value, float):
        return float, math.copysign(1, value), repr(value)
    if isinstance(value, complex):
        return complex, exactly(value.real), exactly(value.imag)
    if isinstance(value, tuple):
        return tuple, tuple(map(exactly, value))
    if isinstance(value, frozenset):
        return frozenset, frozenset(map(exactly, value))
    return type(value), value


@given(constants)
def test_a_constant_survives_the_round_trip(value: object) -> None:
    encoded = fingerprint.encode_constant(value)
    assert exactly(fingerprint.decode_constant(encoded, "x")) == exactly(value)


@pytest.mark.parametrize(
    "value",
    [1 << 4_000_000, -(10**30), 1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 63), -(1 << 63) - 1, "\ud800", slice(1, None)],
    ids=lambda value: type(value).__name__,
)
def test_extreme_constants_survive_the_round_trip(value: object) -> None:
    assert fingerprint.decode_constant(fingerprint.encode_constant(value), "x") == value


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), (0.0, -0.0), (0, False), ("a", b"a"), (1j, 1 + 0j), ((1,), frozenset({1})), (-0j, 0j)],
)
def test_equal_values_of_other_types_are_other_constants(one: object, other: object) -> None:
    code = function("def f(): return 'here'")

    def returning(value: object) -> str:
        constants = tuple(value if constant == "here" else constant for constant in code.co_consts)
        return fingerprint.of(code.replace(co_consts=constants))

    assert returning(one) != returning(other)


def test_an_unknown_constant_is_named() -> None:
    with pytest.raises(TypeError, match="bytearray"):
        fingerprint.encode_constant(bytearray())


def standard_library() -> list[CodeType]:
    found = []
    for name in ("ast", "collections", "dataclasses", "enum", "functools", "inspect", "typing", "argparse"):
        module = __import__(name)
        assert module.__file__
        with open(module.__file__, "rb") as file:
            found.append(compile(file.read(), f"{name}.py", "exec"))
    return found


@pytest.mark.parametrize("module", standard_library(), ids=lambda code: code.co_filename)
def test_code_survives_the_round_trip(module: CodeType) -> None:
    again = fingerprint.decode(fingerprint.encode(module), module.co_filename)
    assert again == module
    assert list(again.co_positions()) == list(module.co_positions())
    assert again.co_stacksize == module.co_stacksize
    assert again.co_qualname == module.co_qualname
    assert fingerprint.of(again) == fingerprint.of(module)


def test_positions_are_not_part_of_it() -> None:
    here = function("def f(a):\n    return [a for a in a]")
    there = function("\n\n\ndef f(a):\n    # moved\n    return [\n        a for a in a\n    ]")
    assert fingerprint.of(here) == fingerprint.of(there)
    assert fingerprint.of(here) == fingerprint.of(here.replace(co_filename="elsewhere.py"))


@pytest.mark.parametrize(
    "changed",
    [
        "def f(a): return a + 2",
        "def f(b): return b + 1",
        "def f(a, /): return a + 1",
        "async def f(a): return a + 1",
        "def f(a):\n    'doc'\n    return a + 1",
        "def f(a): return a - 1",
        "def f(a): return (lambda: a)() + 1",
    ],
)
def test_meaning_is_part_of_it(changed: str) -> None:
    assert fingerprint.of(function("def f(a): return a + 1")) != fingerprint.of(function(changed))


CLASS_INSIDE = """
def f():
    class A:
        'doc'
        values = [i for i in range(3)]
        try:
            y = 1
        except ValueError:
            y = 1000
        def g(self): self.z = 1
        if values:
            k = 2
    return A
"""


@pytest.mark.parametrize("lines", [1, 3, 300, 70_000])
def test_a_class_body_does_not_tell_its_line(lines: int) -> None:
    assert fingerprint.of(function(CLASS_INSIDE)) == fingerprint.of(function("\n" * lines + CLASS_INSIDE))


def test_a_class_body_does_not_tell_what_its_methods_assign() -> None:
    body = [c for c in function(CLASS_INSIDE).co_consts if isinstance(c, CodeType)][0]
    other = [c for c in function(CLASS_INSIDE.replace("self.z", "self.zz")).co_consts if isinstance(c, CodeType)][0]
    methods = [
        [constant for constant in code.co_consts if isinstance(constant, CodeType) and constant.co_name == "g"][0]
        for code in (body, other)
    ]
    assert fingerprint.of(methods[0]) != fingerprint.of(methods[1])
    alike = other.replace(co_consts=tuple(methods[0] if c is methods[1] else c for c in other.co_consts))
    assert fingerprint.of(body) == fingerprint.of(alike)


@pytest.mark.parametrize(
    ("old", "new"), [("k = 2", "k = 3"), ("if values", "if not values"), ("ValueError", "KeyError")]
)
def test_a_class_body_tells_what_it_does(old: str, new: str) -> None:
    assert fingerprint.of(function(CLASS_INSIDE)) != fingerprint.of(function(CLASS_INSIDE.replace(old, new)))


def test_malformed_class_bodies_have_a_fingerprint() -> None:
    body = next(c for c in function(CLASS_INSIDE).co_consts if isinstance(c, CodeType))
    code = fingerprint.encode(body)
    for cut in range(0, len(code.bytecode), 2):
        fields = {name: getattr(code, name) for name in Code.__struct_fields__}
        fields.update(bytecode=code.bytecode[:cut], names=code.names[: cut // 8], exception_table=b"\x80\x40")
        assert fingerprint.digest(Code(**fields))


def test_it_is_the_same_under_every_hash_seed() -> None:
    program = (
        "from bcpatch import fingerprint\n"
        'code = compile(\'def f(x): return x in {1, 2.5, "a", b"b", None, (1, "c")}\\n'
        "class A:\\n  def g(self): self.a = self.b = self.c = 1', 'f', 'exec')\n"
        "print(fingerprint.of(code))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2", "3")
    }
    assert len(answers) == 1


@given(st.frozensets(st.text(max_size=3)))
def test_a_set_is_written_in_one_order(values: frozenset[str]) -> None:
    encoded = fingerprint.encode_constant(values)
    assert isinstance(encoded, FrozenSet)
    assert list(encoded.items) == sorted(encoded.items, key=lambda item: fingerprint._encoder.encode(item))


def test_a_fingerprint_is_forgotten_with_its_code() -> None:
    gc.collect()
    known = len(fingerprint._fingerprints)
    code = function("def f(): return 'never seen before'")
    fingerprint.of(code)
    assert len(fingerprint._fingerprints) == known + 1
    del code
    gc.collect()
    assert len(fingerprint._fingerprints) == known


def test_the_interpreter_names_what_must_agree() -> None:
    running = fingerprint.this_interpreter()
    assert running.version == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert running.implementation == sys.implementation.name
    assert running.optimization == sys.flags.optimize


@given(st.lists(st.binary(max_size=2)))
def test_digests_are_those_of_each_text(texts: list[bytes]) -> None:
    digests = fingerprint.Digests()
    for one in texts[::2]:
        digests.add(one, fingerprint.blake(one))
    assert [digests.of(one) for one in texts] == list(map(fingerprint.blake, texts))
