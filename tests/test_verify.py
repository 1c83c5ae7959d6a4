"""The entry: whatever is wrong with a patch is found without trusting who made it, and nothing makes it raise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_references import findings, patched

from bcpatch import fingerprint, pythons, verify
from bcpatch.model import (
    Annotations,
    AnnotationsEdit,
    ClassPositionEdit,
    Code,
    Default,
    DocstringEdit,
    FunctionEdit,
    Import,
    ImportEdit,
    Link,
    Module,
    ModulePatch,
    Patch,
    Policy,
    PositionEdit,
    Positions,
    Splice,
    Tuple,
    Turns,
)

SOURCE = """\
import json
from shop import prices

class Cart:
    def total(self, lines, rate=2, *, digits=2) -> int:
        return round(sum(lines) * rate, digits), json.dumps(lines), prices.low
"""

PATCH = verify.verified(patched(SOURCE)).patch
PART = PATCH.modules[0]
EDIT = next(edit for edit in PART.edits if isinstance(edit, FunctionEdit))
replace = msgspec.structs.replace


def with_part(part: ModulePatch) -> Patch:
    return replace(PATCH, modules=(part,))


def based(base: bytes, *back: Splice) -> ModulePatch:
    return replace(PART, replaces=fingerprint.blake(base), back=back)


def with_edit(edit: FunctionEdit) -> Patch:
    return with_part(replace(PART, edits=(edit,)))


def with_code(**fields: object) -> Patch:
    code = replace(EDIT.code, **fields)
    return with_edit(replace(EDIT, code=code, brings=fingerprint.digest(code)))


def with_edits(*edits: object) -> Patch:
    return with_part(replace(PART, edits=(*PART.edits, *edits)))


def codes(patch: Patch) -> set[str]:
    return {one.code for one in verify.verify(patch)}


def expression(text: str) -> Code:
    namespace: dict[str, object] = {}
    exec(f"def expression(): return {text}", namespace)
    return fingerprint.encode(namespace["expression"].__code__)  # type: ignore[attr-defined]


def test_the_patch_that_the_cases_change_is_accepted() -> None:
    assert verify.verify(PATCH) == ()


def deep(levels: int) -> Tuple:
    found = Tuple(())
    for _ in range(levels):
        found = Tuple((found,))
    return found


MALFORMED: dict[str, Callable[[], Patch]] = {
    "a generation that can't be": lambda: replace(PATCH, generation=0),
    "a parent that is no digest": lambda: replace(PATCH, parent="parent"),
    "a module twice": lambda: replace(PATCH, modules=(PART, PART)),
    "a module without a name": lambda: with_part(replace(PART, module=Module("shop..cart", "shop/cart.py"))),
    "an absolute path": lambda: with_part(replace(PART, module=Module("shop.cart", "/shop/cart.py"))),
    "a path out of the import root": lambda: with_part(replace(PART, module=Module("shop.cart", "../shop/cart.py"))),
    "a path of another system": lambda: with_part(replace(PART, module=Module("shop.cart", "shop\\cart.py"))),
    "another source": lambda: with_part(replace(PART, source=PART.source + b"\n")),
    "a source that is not Python": lambda: with_part(replace(PART, source=b"def", brings=fingerprint.blake(b"def"))),
    "a replaced source that is no digest": lambda: with_part(replace(PART, replaces="old")),
    "splices to another base": lambda: with_part(replace(PART, replaces=fingerprint.blake(b"old"))),
    "splices out of the source": lambda: with_part(based(b"", Splice(0, 9999, b""))),
    "splices out of order": lambda: with_part(based(b"", Splice(9, 1, b""), Splice(0, 1, b""))),
    "splices to a base that is no text": lambda: with_part(based(b"\xff", Splice(0, len(PART.source), b"\xff"))),
    "splices to no base": lambda: with_part(replace(PART, back=(Splice(0, 0, b""),))),
    "an import that binds no name": lambda: with_part(replace(PART, imports=(*PART.imports, Import("a.b", "a", None)))),
    "an import of no module": lambda: with_part(replace(PART, imports=(*PART.imports, Import("a", "a-b", None)))),
    "an import that binds another name": lambda: with_part(
        replace(PART, imports=(*PART.imports, Import("b", "a", None, "a.c")))
    ),
    "fewer links": lambda: with_part(replace(PART, links=PART.needed[1:])),
    "more links": lambda: with_part(replace(PART, links=(*PART.needed, Link("sys", "path")))),
    "a link to no name": lambda: with_part(replace(PART, links=(Link("sys", "a b"),))),
    "a site twice": lambda: with_edits(EDIT),
    "a site that moved too": lambda: with_edits(PositionEdit(EDIT.site, EDIT.brings, Positions(1, None, ()))),
    "a site of another module": lambda: with_edit(replace(EDIT, site=replace(EDIT.site, module="shop.other"))),
    "a site that counts backwards": lambda: with_edit(replace(EDIT, site=replace(EDIT.site, ordinal=-1))),
    "a site in a function": lambda: with_edit(replace(EDIT, site=replace(EDIT.site, qualname="f.<locals>.g"))),
    "another site's code": lambda: with_edit(replace(EDIT, site=replace(EDIT.site, qualname="Cart.other"))),
    "another name": lambda: with_code(name="other"),
    "another fingerprint": lambda: with_edit(replace(EDIT, brings=fingerprint.blake(b""))),
    "a replaced fingerprint that is none": lambda: with_edit(replace(EDIT, replaces="old")),
    "code of a class body": lambda: with_code(flags=EDIT.code.flags & ~1),
    "code without locals of its own": lambda: with_code(flags=EDIT.code.flags & ~2),
    "constants that are too deep": lambda: with_code(constants=(*EDIT.code.constants, deep(100))),
    "a default of another parameter": lambda: with_edit(
        replace(EDIT, positional=(replace(EDIT.positional[0], parameter="lines"),))
    ),
    "more defaults than parameters": lambda: with_edit(replace(EDIT, positional=EDIT.positional * 5)),
    "a keyword default of no parameter": lambda: with_edit(
        replace(EDIT, keywords=(replace(EDIT.keywords[0], parameter="rate"),))
    ),
    "a keyword default twice": lambda: with_edit(replace(EDIT, keywords=EDIT.keywords * 2)),
    "a default that takes arguments": lambda: with_edit(replace(EDIT, positional=(Default("rate", EDIT.code, True),))),
    "a default that is a generator": lambda: with_edit(
        replace(EDIT, positional=(Default("rate", expression("(yield)"), True),))
    ),
    "annotations that take arguments": lambda: with_edit(
        replace(EDIT, annotations=Annotations(EDIT.code, pythons.LAZY_ANNOTATIONS, True))
    ),
    "annotations of the wrong time": lambda: with_edit(
        replace(EDIT, annotations=Annotations(expression("{}"), True, True))
    ),
    "a line before the file": lambda: with_edits(
        PositionEdit(replace(EDIT.site, ordinal=1), EDIT.brings, Positions(-1, None, ()))
    ),
    "positions of no fingerprint": lambda: with_edits(
        PositionEdit(replace(EDIT.site, ordinal=1), "old", Positions(1, None, ()))
    ),
    "positions below the file": lambda: with_edits(
        PositionEdit(replace(EDIT.site, ordinal=1), EDIT.brings, Positions(1 << 31, None, ()))
    ),
    "positions of a nested code before the file": lambda: with_edits(
        PositionEdit(replace(EDIT.site, ordinal=1), EDIT.brings, Positions(1, None, (Positions(-1, None, ()),)))
    ),
    "a moved function of no name": lambda: with_edits(
        PositionEdit(replace(EDIT.site, qualname="Cart.1st"), EDIT.brings, Positions(1, None, ()))
    ),
    "a moved function of a keyword's name": lambda: with_edits(
        PositionEdit(replace(EDIT.site, qualname="Cart.class"), EDIT.brings, Positions(1, None, ()))
    ),
    "a moved function of another module": lambda: with_edits(
        PositionEdit(replace(EDIT.site, module="other"), EDIT.brings, Positions(1, None, ()))
    ),
    "a moved function before the first": lambda: with_edits(
        PositionEdit(replace(EDIT.site, ordinal=-1), EDIT.brings, Positions(1, None, ()))
    ),
    "a class on no line": lambda: with_edits(ClassPositionEdit("Cart", -1, ())),
    "a class of no name": lambda: with_edits(ClassPositionEdit("", 1, ())),
    "a docstring of no class": lambda: with_edits(DocstringEdit("Cart.<locals>", None, "text")),
    "a docstring twice": lambda: with_edits(DocstringEdit("Cart", None, "a"), DocstringEdit("Cart", None, "b")),
    "annotations of no class": lambda: with_edits(AnnotationsEdit("Cart ", Annotations(None, False, True))),
    "an import that the module does not have": lambda: with_edits(ImportEdit(Import("a", "a", None), None, 1)),
    "an import before the file": lambda: with_edits(ImportEdit(PART.imports[0], None, -1)),
}


@pytest.mark.parametrize("make", [pytest.param(make, id=about) for about, make in MALFORMED.items()])
def test_parts_that_do_not_fit_are_malformed(make: Callable[[], Patch]) -> None:
    assert codes(make()) == {"BCP408"}


def test_broken_bytecode_is_refused_under_every_policy() -> None:
    broken = with_code(bytecode=b"\xff" + EDIT.code.bytecode[1:])
    for policy in Policy:
        found = verify.verify(replace(broken, policy=policy))
        assert [one.code[:4] for one in found] == ["BCP3"]
        assert found[0].site == EDIT.site


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(replace(EDIT, positional=(Default("rate", expression("secret"), True),)), id="default"),
        pytest.param(replace(EDIT, positional=(Default("rate", expression("json._x"), False),)), id="kept default"),
        pytest.param(replace(EDIT, annotations=Annotations(expression("secret"), False, True)), id="annotations"),
    ],
)
def test_every_code_of_an_edit_is_read(edit: FunctionEdit) -> None:
    assert codes(with_edit(edit)) & {"BCP103", "BCP107", "BCP108"}


def test_imports_must_be_in_the_source() -> None:
    part = replace(PART, imports=(*PART.imports, Import("secret", "json", "secret")))
    assert codes(with_part(part)) == {"BCP408"}


@pytest.mark.parametrize("now", [(1, 1), (0, -2)], ids=str)
def test_turns_are_ordinals(now: tuple[int, ...]) -> None:
    assert codes(with_part(replace(PART, turns=(Turns("total", (1, -1, 0)),)))) == set()
    assert codes(with_part(replace(PART, turns=(Turns("total", now),)))) == {"BCP408"}


IMPORTS = [
    ("import shop._prices as _prices", Import("_prices", "shop._prices", None), "BCP103"),
    ("from shop.prices import _low", Import("_low", "shop.prices", "_low"), "BCP103"),
    ("from shop import cart", Import("cart", "shop", "cart"), "BCP112"),
    ("import shop.cart", Import("shop", "shop", None, "shop.cart"), "BCP112"),
    ("from sys import modules", Import("modules", "sys", "modules"), "BCP112"),
    ("from os import _exit", Import("_exit", "os", "_exit"), ""),
    ("import os.path", Import("os", "os", None, "os.path"), ""),
]


@pytest.mark.parametrize(("text", "binding", "rule"), IMPORTS)
def test_an_import_that_a_patch_adds_obeys_the_rules(text: str, binding: Import, rule: str) -> None:
    changed = patched(f"{text}\n{SOURCE}").modules[0]
    part = replace(changed, edits=(*changed.edits, ImportEdit(binding, None, 1)))
    found = verify.verify(with_part(part))
    assert {one.code for one in found} == ({rule} if rule else set())
    assert all(one.line == 1 for one in found)
    assert verify.verify(replace(with_part(part), policy=Policy.LINKED)) == ()


def test_annotations_of_variables_obey_the_rules() -> None:
    code = expression("{'x': secret}")
    edit = AnnotationsEdit("", Annotations(code, False, True))
    assert codes(with_edits(edit)) == {"BCP107", "BCP408"}  # the link to it is missing too


# --- links -------------------------------------------------------------------------------------

LINKED = [
    ("builtins and locals need nothing", "def f(x):\n    y = len(x)\n    return y, __name__\n", []),
    ("an imported module", "import json\ndef f():\n    return json\n", ["shop.cart.json"]),
    ("its attribute", "import json\ndef f():\n    return json.dumps\n", ["json.dumps", "shop.cart.json"]),
    (
        "a submodule's",
        "import os.path\ndef f():\n    return os.path.join\n",
        ["os.path", "os.path.join", "shop.cart.os"],
    ),
    ("an imported name", "from json import dumps\ndef f():\n    return dumps\n", ["json.dumps", "shop.cart.dumps"]),
    (
        "its attributes are its own",
        "from shop import prices\ndef f():\n    return prices.low\n",
        ["shop.prices", "shop.cart.prices"],
    ),
    ("a stored attribute need not be there", "import json\ndef f():\n    json.x = 1\n", ["shop.cart.json"]),
    ("a name of its own", "RATE = 1\ndef f():\n    return RATE\n", ["shop.cart.RATE"]),
    ("a name that nothing binds", "def f():\n    return RATE\n", ["shop.cart.RATE"]),
    ("a name that hides a builtin", "def open(): pass\ndef f():\n    return open\n", ["shop.cart.open"]),
    ("in nested code", "import json\ndef f():\n    return lambda: json.dumps\n", ["json.dumps", "shop.cart.json"]),
    (
        "imported under a condition",
        "try:\n    import json\nexcept ImportError:\n    json = None\ndef f():\n    return json.dumps\n",
        [],
    ),
    (
        "for type checkers",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json\ndef f(x: 'json.JSONDecoder'): pass\n",
        [],
    ),
    ("looked at first", "import os\ndef f():\n    return hasattr(os, 'fork') and os.fork()\n", ["shop.cart.os"]),
    (
        "on one system",
        "import os, sys\ndef f():\n    return sys.platform == 'win32' and os.startfile\n",
        ["shop.cart.os", "shop.cart.sys"],
    ),
    ("imported by the function", "def f():\n    import json\n    return json.dumps\n", []),
    (
        "imported by a function's name for it",
        "import importlib, json\ndef f():\n    return importlib.import_module('json').dumps\n",
        ["importlib.import_module", "json.dumps", "shop.cart.importlib"],
    ),
    ("in a default value", "import json\ndef f(x=json.dumps): pass\n", ["json.dumps", "shop.cart.json"]),
]


@pytest.mark.parametrize(
    ("text", "expected"), [pytest.param(text, expected, id=about) for about, text, expected in LINKED]
)
def test_links_are_what_the_code_needs_to_find(text: str, expected: list[str]) -> None:
    found = verify.verified(patched(text, Policy.LINKED)).patch.modules[0].links
    assert [f"{link.module}.{link.name}" for link in found] == expected
    assert findings(text, Policy.LINKED) == ()


# --- nothing makes it raise --------------------------------------------------------------------

FIELDS = sorted(set(Code.__struct_fields__) - {"qualname", "name", "first_line", "line_table"})
OTHERS = [
    next(edit for edit in patched(text).modules[0].edits if isinstance(edit, FunctionEdit)).code
    for text in (
        "def f(a, *b, c=1, **d):\n    def g(): return a\n    return g\n",
        "async def f(self):\n    async with self as x: yield [y async for y in x]\n",
        "def f(x):\n    try: import a.b as c, builtins\n    except* ValueError: x = super\n"
        "    match x:\n        case A(b, c=1): pass\n",
        "def f(x):\n    class A(x):\n        y: int = 1\n    return '{0._x}'.format(A), getattr(A, x)\n",
    )
]


@given(st.sampled_from(OTHERS), st.sampled_from(OTHERS), st.sets(st.sampled_from(FIELDS)), st.sampled_from(Policy))
def test_fields_of_other_code_are_judged_without_an_exception(
    one: Code, other: Code, fields: set[str], policy: Policy
) -> None:
    code = replace(one, name="total", qualname="Cart.total", **{name: getattr(other, name) for name in fields})
    edit = replace(EDIT, code=code, brings=fingerprint.digest(code), positional=(), keywords=())
    for found in verify.verify(replace(with_edit(edit), policy=policy)):
        assert found.code.startswith(("BCP1", "BCP3", "BCP408"))


@given(st.data())
def test_flipped_bytes_are_judged_without_an_exception(data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(OTHERS))
    bytecode = bytearray(code.bytecode)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(bytecode) - 1))
        bytecode[at] = data.draw(st.one_of(st.sampled_from(bytecode), st.integers(0, 255)))
    code = replace(code, name="total", qualname="Cart.total", bytecode=bytes(bytecode))
    edit = replace(EDIT, code=code, brings=fingerprint.digest(code), positional=(), keywords=())
    for found in verify.verify(with_edit(edit)):
        assert found.code.startswith(("BCP1", "BCP3", "BCP408"))


def test_what_is_known_of_code_is_given_back_before_the_next_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """To give back all of it at once is one step in C, as long as there are functions: other threads stand still."""
    source = "".join(f"def f{number}(values):\n    return [one for one in values]\n\n" for number in range(5))
    seen: list[object] = []
    held: list[int] = []
    check = verify.structure.check

    def checked(*arguments: Any) -> Any:
        held.append(sum(sys.getrefcount(seen[at]) > _UNHELD for at in range(len(seen) - 1)))
        found = check(*arguments)
        seen.append(found[0])
        return found

    monkeypatch.setattr(verify.structure, "check", checked)
    assert not verify.verify(patched(source))
    assert held == [0] * 5


#: What counting the references of an item of a list gives where nobody else has one.
_UNHELD = [sys.getrefcount(one[0]) for one in [[object()]]][0]
