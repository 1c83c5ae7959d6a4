"""The flow analysis: total on any input, true to the interpreter on real code, and what it says of values."""

from __future__ import annotations

import ast
import base64
import dis
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import msgspec
import pytest
from assembly import assemble
from hypothesis import given, settings
from hypothesis import strategies as some

from bcpatch import fingerprint, flow, pythons
from bcpatch.flow import decode, fields, steps
from bcpatch.flow.graph import weigh
from bcpatch.flow.origins import (
    WEIGHT,
    Attribute,
    Called,
    Computed,
    Constant,
    Display,
    Either,
    Free,
    Global,
    Imported,
    Item,
    Made,
    Origin,
    Parameter,
    Super,
    Unknown,
)
from bcpatch.flow.uses import (
    AttributeUse,
    CallUse,
    FreeUse,
    GlobalUse,
    ImportUse,
    MakeUse,
    SubscriptUse,
    Use,
)
from bcpatch.flow.values import slots
from bcpatch.model import Code
from benchmarks.checks import mutation

HERE = Path(__file__).resolve().parent
FEATURES = [
    path
    for path in sorted((HERE / "data").glob("features_*.py"))
    if tuple(map(int, path.stem.split("_")[1:])) <= sys.version_info[:2]
]
CRASHES = sorted((HERE / "data").glob("crash-*.json"))


def compiled(text: str) -> CodeType:
    return compile(text, "case.py", "exec", dont_inherit=True)


def all_code(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_code(constant)


def flows(found: flow.Flow) -> Iterator[flow.Flow]:
    yield found
    for nested in found.nested.values():
        yield from flows(nested)


def uses(text: str, qualname: str) -> tuple[Use, ...]:
    """The uses of one function of a module's text."""
    module = flow.analyze(fingerprint.encode(compiled(text)))
    return next(one for one in flows(module) if one.code.qualname == qualname).uses


@pytest.fixture(scope="module", params=FEATURES, ids=lambda path: path.stem)
def features(request: pytest.FixtureRequest) -> CodeType:
    return compiled(request.param.read_text())


# --- decoding ----------------------------------------------------------------------------


def test_instructions_are_those_of_dis(features: CodeType) -> None:
    for code in all_code(features):
        theirs = [
            (one.offset, one.opname, one.arg or 0) for one in dis.get_instructions(code) if one.opname != "EXTENDED_ARG"
        ]
        ours = decode.instructions(fingerprint.encode(code))
        assert [(one.name, one.argument) for one in ours] == [(name, argument) for _, name, argument in theirs]
        for one, (offset, _, _) in zip(ours, theirs, strict=True):
            assert one.offset <= offset <= one.offset + 6


def test_positions_are_those_of_the_interpreter(features: CodeType) -> None:
    for code in all_code(features):
        ends, found = decode.positions(fingerprint.encode(code))
        theirs = [tuple(-1 if part is None else part for part in one) for one in code.co_positions()]
        ours: list[tuple[int, ...]] = []
        for end, one in zip(ends, found, strict=True):
            ours += [(one.line, one.end_line, one.column, one.end_column)] * (end // 2 - len(ours))
        assert ours == theirs


def test_the_exception_table_is_that_of_dis(features: CodeType) -> None:
    for code in all_code(features):
        encoded = fingerprint.encode(code)
        instructions = decode.instructions(encoded)
        offsets = [*(one.offset for one in instructions), len(encoded.bytecode)]
        ours = [
            (offsets[one.start], offsets[one.end], offsets[one.target], one.depth, one.lasti)
            for one in decode.handlers(encoded, instructions)
        ]
        parse = dis._parse_exception_table  # type: ignore[attr-defined]
        assert ours == [(one.start, one.end, one.target, one.depth, one.lasti) for one in parse(code)]


# --- accepting and refusing ----------------------------------------------------------------


def test_all_that_the_compiler_makes_is_accepted(features: CodeType) -> None:
    found = flow.analyze(fingerprint.encode(features))
    assert len(list(flows(found))) == len(list(all_code(features)))


@pytest.mark.parametrize(
    "expression",
    [
        "(a for a in x)",
        "(a async for a in x)",
        "(await a for a in x)",
        "(b async for a in x for b in a)",
        "(b for a in x async for b in a)",
        "[a async for a in x if await a]",
        "{a: b async for a, b in x}",
    ],
)
def test_comprehensions_of_all_kinds_are_accepted(expression: str) -> None:
    flow.analyze(fingerprint.encode(compiled(f"async def f(x):\n  return {expression}\n")))


@settings(max_examples=300, deadline=None)
@given(
    some.binary(max_size=80).map(lambda data: data[: len(data) // 2 * 2]),
    some.binary(max_size=12),
    some.integers(-2, 1 << 33),
    some.integers(-2, 1 << 33),
)
def test_any_bytes_are_refused_or_accepted_and_nothing_else(code: bytes, table: bytes, flags: int, stack: int) -> None:
    subject = msgspec.structs.replace(
        assemble("NOP"),
        bytecode=code,
        exception_table=table,
        flags=flags,
        stacksize=stack,
        line_table=bytes([0xF8]) * (len(code) // 2),
    )
    faults: tuple[flow.Fault, ...] | None = None
    try:
        flow.analyze(subject)
    except flow.Malformed as malformed:
        faults = malformed.faults
    assert faults is None or faults


@pytest.mark.timeout(300)
def test_no_accepted_mutant_crashes_the_interpreter() -> None:
    """A short run of benchmarks/checks/verify_mutants.py."""
    command = [sys.executable, "-m", "benchmarks.checks.verify_mutants", "--count", "1500", "--seed", "7"]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["crashed"], result["undamaged refused"], result["verifier failed"]) == (0, 0, 0)
    assert result["accepted"] > 100
    assert result["refused"] > 700


def _of_this_version(path: Path) -> bool:
    return path.name.split("-")[1] == ".".join(map(str, sys.version_info[:2]))


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in CRASHES if _of_this_version(path)])
def test_what_once_crashed_is_refused(path: Path) -> None:
    row = json.loads(path.read_text())
    code = msgspec.msgpack.decode(base64.b64decode(row["code"]), type=Code)
    with pytest.raises(flow.Malformed):
        flow.analyze(code)


# --- uses ------------------------------------------------------------------------------------

SELF = "P self"


def call(arguments: tuple[Origin, ...], keywords: tuple[str, ...]) -> str:
    return f"({', '.join(map(brief, arguments))}{'; ' * bool(keywords)}{' '.join(keywords)})"


def brief(origin: Origin | None) -> str:  # noqa: C901  one line a kind of origin
    """An origin in few words."""
    match origin:
        case None:
            return "-"
        case Unknown():
            return "?"
        case Parameter(_, name, _):
            return f"P {name}"
        case Free(_, name):
            return f"F {name}"
        case Global(_, name):
            return f"G {name}"
        case Imported(_, module, level, _):
            return f"I {'.' * level}{module}"
        case Constant(_, _, value):
            return repr(value)
        case Attribute(_, owner, name):
            return f"{brief(owner)}.{name}"
        case Called(_, callee, arguments, keywords, _):
            return brief(callee) + call(arguments, keywords)
        case Item(_, owner):
            return f"{brief(owner)}[]"
        case Display(_, items) | Computed(_, items):
            return f"{{{', '.join(map(brief, items))}}}"
        case Made(_, _, captured):
            return f"def({', '.join(f'{name}={brief(one)}' for name, one in captured)})"
        case Super(_, klass, receiver):
            return f"super({brief(klass)}, {brief(receiver)})"
        case Either(_, options):
            return " | ".join(sorted(map(brief, options)))
    raise AssertionError(origin)


def said(use: Use) -> str:
    """A use in few words."""
    match use:
        case GlobalUse(action=action, name=name):
            return f"{action} G {name}"
        case AttributeUse(action=action, owner=owner, name=name):
            return f"{action} {brief(owner)}.{name}"
        case ImportUse(module=module, level=level, names=names):
            return f"import {'.' * level}{module} {','.join(names)}".rstrip()
        case CallUse(call=Called(_, callee, arguments, keywords, unpacked)):
            return f"call {brief(callee)}{'*' * unpacked}{call(arguments, keywords)}"
        case SubscriptUse(action=action, owner=owner, index=index):
            return f"{action} {brief(owner)}[{brief(index)}]"
        case FreeUse(action=action, name=name, value=value):
            return f"{action} F {name}" + (f" = {brief(value)}" if value else "")
        case MakeUse(captured=captured):
            return f"make({', '.join(f'{name}={brief(one)}' for name, one in captured)})"
    raise AssertionError(use)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("self._x", [f"load {SELF}._x"]),
        ("self._x = a", [f"store {SELF}._x"]),
        ("del self._x", [f"delete {SELF}._x"]),
        ("me = self; me._x", [f"load {SELF}._x"]),
        ("me = you = self; (you if a else me)._x", [f"load {SELF}._x"]),
        ("me = self if a else b; me._x", [f"load P b | {SELF}._x"]),
        ("self.run(a, k=b)", [f"method {SELF}.run", f"call {SELF}.run(P a, P b; k)"]),
        ("helper(a)", ["load G helper", "call G helper(P a)"]),
        ("helper(*a, **b)", ["load G helper", "call G helper*(P a, {P b})"]),
        ("getattr(self, 'x')", ["load G getattr", f"call G getattr({SELF}, 'x')"]),
        ("a[b]", ["load P a[P b]"]),
        ("a[b] = 1", ["store P a[P b]"]),
        ("del a[b]", ["delete P a[P b]"]),
        ("(self, 1)[0]._x", [f"load {{{SELF}, 1}}[0]", f"load {{{SELF}, 1}}[]._x"]),
        ("x, y = self, a; y._x", ["load P a._x"]),
        ("[x] = [self]; x._x", [f"load {{{SELF}}}[]._x"]),
        ("for x in a.items: x._x", ["load P a.items", "load P a.items[]._x"]),
        ("import a.b", ["import a.b"]),
        ("from .a import b as c; c.d", ["import .a b", "import I .a.b", "load I .a.b.d"]),
        ("import a.b as c; c.d", ["import a.b", "import I a.b.b", "load I a.b.b.d"]),
        ("global g; g = 1", ["store G g"]),
        ("global g; del g", ["delete G g"]),
        ("type(self)._x", ["load G type", f"call G type({SELF})", f"load G type({SELF})._x"]),
        ("(a + b)._x", ["load {P a, P b}._x"]),
        ("(lambda: self)()._x", [f"make(self={SELF})", f"call def(self={SELF})()", f"load def(self={SELF})()._x"]),
        ("match a:\n   case str(_x=1): pass", ["load G str", "match P a._x"]),
    ],
)
def test_what_a_statement_uses(statement: str, expected: list[str]) -> None:
    text = f"def f(self, a, b):\n  {statement}\n"
    assert list(dict.fromkeys(said(one) for one in uses(text, "f"))) == expected


def test_the_attribute_of_super() -> None:
    text = "class C:\n  def f(self):\n    super()._x\n"
    attributes = [one for one in uses(text, "C.f") if isinstance(one, AttributeUse)]
    assert [one.name for one in attributes] == ["_x"]
    owner = attributes[0].owner
    if pythons.INSTRUCTION_SET == 11:
        assert brief(owner) == "G super()"
    else:
        assert brief(owner) == f"super(F __class__, {SELF})"


def test_what_nested_code_captures() -> None:
    text = "def f(self, a):\n  x = self\n  def g():\n    nonlocal a\n    a = 1\n    return x._x\n  return g, a\n"
    (made,) = [one for one in uses(text, "f") if isinstance(one, MakeUse)]
    assert {name: brief(one) for name, one in made.captured} == {"a": "? | P a", "x": SELF}
    assert "load F x._x" in [said(one) for one in uses(text, "f.<locals>.g")]


def test_defaults_and_annotations_of_a_function_that_is_made() -> None:
    text = "def f(a, b):\n  def g(x=a, *, y=b): pass\n"
    (made,) = [one for one in uses(text, "f") if isinstance(one, MakeUse)]
    assert brief(made.defaults) == "{P a}"
    assert "P b" in brief(made.keyword_defaults)


def test_a_value_that_is_made_of_itself_is_cut() -> None:
    text = "def f(a):\n  while a.go:\n    a = a.next\n  a._x\n"
    found = [one for one in uses(text, "f") if isinstance(one, AttributeUse) and one.name == "_x"]
    assert "P a" in brief(found[0].owner)


def test_origins_are_bounded() -> None:
    body = "".join("  a = g(a, a, a)\n" for _ in range(200))
    calls = [one.call for one in uses(f"def f(a, g):\n{body}  a._x\n", "f") if isinstance(one, CallUse)]
    assert len(calls) == 200
    assert all(weigh(one) <= 2 * WEIGHT for one in calls)


@pytest.mark.parametrize("last", [False, True])
def test_origins_far_back_are_found_or_unknown(last: bool) -> None:
    body = "".join(f"  a = a.n{number}\n" for number in range(300))
    found = [one for one in uses(f"def f(a):\n{body}", "f") if isinstance(one, AttributeUse)]
    owners = [one.owner for one in (reversed(found) if last else found)]
    assert max(map(weigh, owners)) <= WEIGHT
    assert brief(found[3].owner) == "P a.n0.n1.n2"


def test_every_use_in_real_code_has_its_place(features: CodeType) -> None:
    for one in flows(flow.analyze(fingerprint.encode(features))):
        for use in one.uses:
            position = one.position(use.offset)
            assert position is None or position.line > 0


def test_the_place_of_a_use_is_that_of_the_source() -> None:
    text = "def f(self):\n  return (1 +\n    self._x)\n"
    module = flow.analyze(fingerprint.encode(compiled(text)))
    (inner,) = module.nested.values()
    (use,) = inner.uses
    position = inner.position(use.offset)
    assert position is not None
    assert ast.get_source_segment(text, ast.parse(text).body[0].body[0].value.right) == "self._x"  # type: ignore[attr-defined]
    assert (position.line, position.column, position.end_column) == (3, 4, 11)


def test_operands_are_known_for_every_reached_instruction() -> None:
    module = flow.analyze(fingerprint.encode(compiled("def f(a):\n  return [a.b]\n")))
    (inner,) = module.nested.values()
    (returned,) = [one for one in inner.instructions if one.name == "RETURN_VALUE"]
    assert [brief(one) for one in inner.operands(returned.offset)] == ["{P a.b}"]


def test_analysing_twice_gives_the_same(features: CodeType) -> None:
    encoded = fingerprint.encode(features)
    one, two = (list(flows(flow.analyze(encoded))) for _ in range(2))
    assert [list(map(said, each.uses)) for each in one] == [list(map(said, each.uses)) for each in two]


def test_random_arguments_of_real_code_are_handled(features: CodeType) -> None:
    choose = random.Random(3)
    for code in all_code(features):
        encoded = fingerprint.encode(code)
        for _ in range(3):
            changed = bytearray(encoded.bytecode)
            changed[choose.randrange(len(changed))] = choose.randrange(256)
            try:
                found = flow.analyze(msgspec.structs.replace(encoded, bytecode=bytes(changed)))
            except flow.Malformed:
                continue
            assert all(said(use) for use in found.uses)
            assert all(isinstance(found.operands(one.offset), tuple) for one in found.instructions)


def test_what_is_let_pass_at_once_is_what_has_no_fault_when_looked_at_closely() -> None:
    """Of whole code objects and of columns: the short ways of `flow`, beside those that say where a fault is."""
    choose = random.Random(3)
    text = Path(__file__).read_text("utf-8")
    codes = list(map(fingerprint.encode, _nested(compile(text, "t", "exec", dont_inherit=True))))
    passed = refused = 0
    for _ in range(4000):
        code = choose.choice(codes)
        for _ in range(choose.randrange(3)):
            code = mutation.mutate(code, choose)
        faults = list(fields.check(code))
        assert not (fields.fit(code) and faults)
        try:
            decoded = decode.instructions(code)
        except decode.Broken:
            continue
        if faults:
            continue
        local = slots(code, fields.parameters(code))
        asked = steps.asked(steps.columns(decoded), code, local)
        wrong, all_wrong = (
            [vars(one) for one in fields.arguments(code, local, decoded, some)] for some in (asked, range(len(decoded)))
        )
        assert wrong == all_wrong
        passed, refused = passed + (not asked), refused + bool(wrong)
    assert passed > 1000
    assert refused > 30


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _nested(one)
