"""Two versions of a source become the right edits, or the right refusal at the right place."""

from __future__ import annotations

import sys
from textwrap import dedent

import pytest
from samples import source

from bcpatch import fingerprint
from bcpatch.compile import Changes, changes
from bcpatch.diagnostics import errors
from bcpatch.model import (
    AnnotationsEdit,
    ClassPositionEdit,
    DocstringEdit,
    Edit,
    FunctionEdit,
    Import,
    ImportEdit,
    Policy,
    PositionEdit,
    ProgramEdit,
    Site,
)
from bcpatch.source.outline import outline

needs_type_parameters = pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 is in CPython 3.12+")


def between(old: str | None, new: str, policy: Policy = Policy.STRICT, optimization: int = 0) -> Changes:
    units = [
        None if text is None else outline(source(dedent(text), path=path), optimization)
        for text, path in ((old, "base.py"), (new, "cart.py"))
    ]
    assert units[1] is not None
    return changes(units[0], units[1], policy, optimization)


def edits(old: str, new: str) -> tuple[Edit, ...]:
    """The edits of an accepted change, positions aside."""
    changed = between(old, new)
    assert [found for found in changed.diagnostics if found.severity == "error"] == []
    return tuple(edit for edit in changed.edits if not isinstance(edit, (PositionEdit, ClassPositionEdit)))


def functions(old: str, new: str) -> list[FunctionEdit]:
    """The edits of an accepted change that touches functions only."""
    found = edits(old, new)
    assert all(isinstance(edit, FunctionEdit) for edit in found)
    return [edit for edit in found if isinstance(edit, FunctionEdit)]


def sites(old: str, new: str) -> list[str]:
    return [str(edit.site).partition(":")[2] for edit in functions(old, new)]


def refusals(old: str, new: str) -> list[tuple[str, int, int]]:
    """(code, line, column) of what refuses a change."""
    return [(found.code, found.line, found.column) for found in between(old, new).diagnostics]


CART = """\
'''doc'''
import os, json
from sys import path as places

TIMEOUT = 60 * 60

def helper(a, b=[]):
    def inner():
        return a
    return inner

class Cart:
    "cart"
    rate: int = 5

    def __init__(self):
        self.total = 0

    @property
    def size(self):
        return 1

    @size.setter
    def size(self, value):
        self.total = value

    def add(self, price: float, n=1, *, k={}) -> None:
        self.total += price * n

    class Line:
        def text(self):
            return "line"

    key = lambda self: 1
    keys = [lambda: 1, lambda: 2]
"""


# --- what is an edit ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "site"),
    [
        ("return a\n", "return a + 1\n", ["helper"]),
        ("self.total = 0", "self.total = 1", ["Cart.__init__"]),
        ("return 1", "return 2", ["Cart.size"]),
        ("self.total = value", "self.total = value + 1", ["Cart.size#1"]),
        ("price * n", "price * n * 2", ["Cart.add"]),
        ('"line"', '"text"', ["Cart.Line.text"]),
        ("lambda self: 1", "lambda self: 2", ["Cart.<lambda>"]),
        ("lambda: 2", "lambda: 3", ["Cart.<lambda>#2"]),
        ("[lambda: 1, lambda: 2]", "[lambda: 2, lambda: 1]", ["Cart.<lambda>#1", "Cart.<lambda>#2"]),
        ("k={}", "k={1: 2}", ["Cart.add"]),
        ("price: float", "price: int", ["Cart.add"]),
        ("def helper(a, b=[])", "def helper(a, b=[], c=None)", ["helper"]),
    ],
)
def test_a_changed_function_is_the_only_edit(old: str, new: str, site: list[str]) -> None:
    assert sites(CART, CART.replace(old, new)) == site


def test_an_edit_brings_what_the_compiler_made() -> None:
    (edit,) = functions(CART, CART.replace("price * n", "price * n * 2"))
    assert edit.brings == fingerprint.digest(edit.code) != edit.replaces
    assert edit.code.qualname == "Cart.add"
    assert edit.replaced_line == CART[: CART.index("def add")].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("60 * 60", "3600"),
        ("import os, json", "import os\nimport json"),
        ("import os, json\nfrom sys import path as places", "from sys import path as places\nimport json, os"),
        ("return a\n", "return (a)  # the same\n"),
        ("'''doc'''", '"""doc"""'),
        ("b=[]", "b=[ ]"),
        ("\nclass Cart", "\nif TYPE_CHECKING:\n    import x\n\nclass Cart"),
        ("    key = lambda", "    pass\n    key = lambda"),
    ],
)
def test_what_compiles_alike_is_no_edit(old: str, new: str) -> None:
    assert edits(CART, CART.replace(old, new)) == ()


def test_plain_functions_may_change_places() -> None:
    assert edits("def f(): return 1\ndef g(): return 2\n", "def g(): return 2\ndef f(): return 1\n") == ()


def test_moved_lines_are_positions_alone() -> None:
    changed = between(CART, CART.replace("TIMEOUT", "# moved by\n# two lines\nTIMEOUT"))
    assert changed.diagnostics == ()
    moved = [edit for edit in changed.edits if isinstance(edit, PositionEdit)]
    assert len(moved) == len(outline(source(CART), 0).functions)
    assert len(changed.edits) == len(moved) + (2 if sys.version_info >= (3, 13) else 0)
    assert moved[0].site == Site("shop.cart", "helper", 0)
    assert moved[0].positions.first_line == moved[0].replaced_line + 2
    assert moved[0].positions.line_table is None
    assert moved[0].positions.nested[0].line_table is None


def test_lines_moved_inside_a_function_bring_its_table() -> None:
    (edit,) = between("def f():\n  return 1\n", "def f():\n\n  return 1\n").edits
    assert isinstance(edit, PositionEdit)
    assert edit.positions.line_table is not None


def test_without_a_base_every_function_is_an_edit() -> None:
    changed = between(None, CART)
    assert len(changed.edits) == len(outline(source(CART), 0).functions)
    assert {edit.replaces for edit in changed.edits if isinstance(edit, FunctionEdit)} == {""}


def test_only_the_changed_default_is_evaluated_anew() -> None:
    (edit,) = functions("def f(a=[], b={}, *, c=1, d=2): pass", "def f(a=[], b={1: 1}, *, c=1, d=3): pass")
    assert [(default.parameter, default.changed) for default in (*edit.positional, *edit.keywords)] == [
        ("a", False),
        ("b", True),
        ("c", False),
        ("d", True),
    ]
    value = fingerprint.decode(edit.positional[1].expression, "f.py")
    assert eval(value) == {1: 1}


def test_a_default_is_compiled_inside_its_class() -> None:
    (edit,) = functions("class A:\n  def f(self, a=1): pass", "class A:\n  def f(self, a=os.__b): pass")
    assert edit.positional[0].expression.names == ("os", "_A__b")


def test_only_changed_annotations_are_marked() -> None:
    (body,) = functions("def f(a: int): return 1", "def f(a: int): return 2")
    (annotation,) = functions("def f(a: int): return 1", "def f(a: str): return 1")
    (none,) = functions("def f(a: int): return 1", "def f(a): return 1")
    assert (body.annotations.changed, annotation.annotations.changed, none.annotations.changed) == (False, True, True)
    assert body.annotations.code is not None
    assert none.annotations.code is None
    assert annotation.replaces == annotation.brings


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_annotations_give_what_the_compiler_gives(future: str) -> None:
    text = f"{future}class A:\n  def f(self, __a: int, *b: 'str', c: list[int] = 1, **d: float) -> None: {{}}\n"
    (edit,) = functions(text.format("pass"), text.format("return 1"))
    namespace: dict[str, object] = {}
    exec(compile(text.format("return 1"), "cart.py", "exec", dont_inherit=True), namespace)
    function = vars(namespace["A"])["f"]
    assert edit.annotations.code is not None
    code = fingerprint.decode(edit.annotations.code, "cart.py")
    if edit.annotations.lazy:
        assert fingerprint.of(code) == fingerprint.of(function.__annotate__.__code__)
    else:
        assert eval(code, namespace) == function.__annotations__


@needs_type_parameters
def test_changed_type_parameters_come_with_their_scope() -> None:
    (body,) = functions("def f[T](a: T): return 1", "def f[T](a: T): return 2")
    (bound,) = functions("def f[T](a: T): return 1", "def f[T: int](a: T): return 1")
    assert body.type_parameters is None
    assert bound.type_parameters is not None
    made = eval(fingerprint.decode(bound.type_parameters, "cart.py"), {})
    assert [one.__bound__ for one in made.__type_params__] == [int]


@needs_type_parameters
def test_a_method_of_a_generic_class_may_name_its_parameter() -> None:
    (edit,) = functions("class A[T]:\n  def f(self) -> T: return 1", "class A[T]:\n  def f(self) -> T: return 2")
    assert not edit.annotations.changed


def test_docstrings_are_edits() -> None:
    assert edits(CART, CART.replace("'''doc'''", "'''other'''")) == (DocstringEdit("", "doc", "other"),)
    assert edits(CART, CART.replace('    "cart"\n', "")) == (DocstringEdit("Cart", "cart", None),)


def test_docstrings_are_not_there_under_double_o() -> None:
    assert between(CART, CART.replace("'''doc'''", "'''other'''"), optimization=2).edits == ()


def test_annotated_variables_of_plain_bodies_are_edits() -> None:
    (edit,) = edits(CART, CART.replace("rate: int", "rate: float"))
    assert isinstance(edit, AnnotationsEdit)
    assert edit.qualname == "Cart"
    (edit,) = edits("x: int = 1\n", "x: str = 1\n")
    assert isinstance(edit, AnnotationsEdit)


# --- imports ----------------------------------------------------------------------------------


def imports(old: str, new: str) -> list[tuple[Import, Import | None]]:
    return [(edit.binding, edit.replaces) for edit in edits(old, new) if isinstance(edit, ImportEdit)]


@pytest.mark.parametrize(
    ("statement", "binding"),
    [
        ("import a", Import("a", "a", None)),
        ("import a.b", Import("a", "a", None, "a.b")),
        ("import a.b as c", Import("c", "a.b", None)),
        ("from a import b", Import("b", "a", "b")),
        ("from a.b import c as d", Import("d", "a.b", "c")),
        ("from . import b", Import("b", "shop", "b")),
        ("from .b import c", Import("c", "shop.b", "c")),
        ("from .. import b", Import("b", "", "b")),
    ],
)
def test_added_imports(statement: str, binding: Import) -> None:
    assert imports("x = 1\n", f"{statement}\nx = 1\n") == [(binding, None)]


def test_changed_imports() -> None:
    assert imports("import json\n", "import re as json\n") == [
        (Import("json", "re", None), Import("json", "json", None))
    ]
    assert imports("import a, a.b\n", "import a.b, a.c\n") == [(Import("a", "a", None, "a.c"), None)]


def test_a_removed_import_is_a_note() -> None:
    (found,) = between(CART, CART.replace("import os, json", "import os")).diagnostics
    assert (found.code, found.severity) == ("BCP215", "note")


@pytest.mark.parametrize("statement", ["from a import *", "try:\n    import a\nexcept ImportError:\n    a = None"])
def test_imports_that_run_other_code_are_statements(statement: str) -> None:
    assert refusals("x = 1\n", f"x = 1\n{statement}\n") == [("BCP208", 2, 1)]


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ("def f(): pass\n", "def f(): pass\ndef g(): pass\n", [("BCP201", 2, 5)]),
        ("class A: pass\n", "class A:\n  def g(self): pass\n", [("BCP201", 2, 7)]),
        ("x = 1\n", "x = 1\nclass A: pass\n", [("BCP201", 2, 7)]),
        ("def f(): pass\ndef g(): pass\n", "def f(): pass\n", [("BCP202", 2, 5)]),
        ("class A: pass\nx = 1\n", "x = 1\n", [("BCP202", 1, 7)]),
        ("def f(a): pass\n", "def f(a, b): pass\n", [("BCP203", 1, 5)]),
        ("def f(): pass\n", "async def f(): pass\n", [("BCP204", 1, 11)]),
        ("def f(): return 1\n", "def f(): yield 1\n", [("BCP204", 1, 5)]),
        ("@a\ndef f(): pass\n", "@b\ndef f(): pass\n", [("BCP205", 2, 5)]),
        ("def f(): pass\n", "@b\ndef f(): pass\n", [("BCP205", 2, 5)]),
        ("@a\nclass A: pass\n", "@b\nclass A: pass\n", [("BCP205", 2, 7)]),
        ("class A(B): pass\n", "class A(C): pass\n", [("BCP206", 1, 7)]),
        ("class A(B): pass\n", "class A(B, metaclass=M): pass\n", [("BCP206", 1, 7)]),
        ("@dataclass\nclass A:\n  x: int\n", "@dataclass\nclass A:\n  x: str\n", [("BCP207", 3, 6)]),
        ("@dataclass\nclass A:\n  x: int\n", "@dataclass\nclass A:\n  x: int\n  y: int\n", [("BCP207", 4, 6)]),
        ("@d\nclass A:\n  x: int\n", "@d\nclass A:\n  x: int\n  y: int = 1\n", [("BCP207", 4, 6)]),
        ("@d\nclass A:\n  x: int\n", "@d\nclass A:\n  x: str\n  y: int = 1\n", [("BCP207", 3, 6), ("BCP207", 4, 6)]),
        ("@d\nclass A:\n  x: int = 1\n", "@d\nclass A:\n  x: int = 2\n", [("BCP209", 3, 3)]),
        ("print(1)\n", "print(2)\n", [("BCP208", 1, 1)]),
        ("x = 1\n", "x = 1\nprint(2)\n", [("BCP208", 2, 1)]),
        ("x = 1\nprint(2)\n", "x = 1\n", [("BCP208", 2, 1)]),
        ("if x: a()\nelse: b()\n", "if x: a()\nelse: c()\n", [("BCP208", 1, 1)]),
        ("for a in b: [c for c in d]\n", "for a in b: [d for c in d]\n", [("BCP208", 1, 1)]),
        ("x = 1\n", "x = 2\n", [("BCP209", 1, 1)]),
        ("x = 1\n", "x = True\n", [("BCP209", 1, 1)]),
        ("x = 1.0\n", "x = 1\n", [("BCP209", 1, 1)]),
        ("x = 0.0\n", "x = -0.0\n", [("BCP209", 1, 1)]),
        ("class A:\n  x = 1\n", "class A:\n  x = 2\n", [("BCP209", 2, 3)]),
        ("class A:\n  __slots__ = ()\n", "class A:\n  __slots__ = ('a',)\n", [("BCP209", 2, 3)]),
        ("x: int = 1\n", "x: int = 2\n", [("BCP209", 1, 1)]),
        ("x = [a for a in b]\n", "x = [c for c in b]\n", [("BCP209", 1, 1)]),
        ("x = [lambda: 1 for a in b]\n", "x = [lambda: 2 for a in b]\n", [("BCP209", 1, 1)]),
        ("a()\nb()\n", "b()\na()\n", [("BCP208", 1, 1), ("BCP208", 2, 1)]),
        (
            "@a\ndef f(): pass\n@b\ndef g(): pass\n",
            "@b\ndef g(): pass\n@a\ndef f(): pass\n",
            [("BCP208", 2, 5), ("BCP208", 4, 5)],
        ),
        ("x = lambda: 1\n", "x = 1\n", [("BCP209", 1, 1)]),
    ],
)
def test_what_is_refused(old: str, new: str, refused: list[tuple[str, int, int]]) -> None:
    assert refusals(old, new) == refused


def test_a_removed_line_is_shown_where_it_stood() -> None:
    (found,) = between("x = 1\nprint(2)\n", "x = 1\n").diagnostics
    assert (found.file, found.text) == ("base.py", "print(2)")


def test_lambdas_never_pair_by_order_alone() -> None:
    """The first is gone, the second changed: by order, the second would take the third's body."""
    old = "a(lambda: 1)\nb(lambda: 2)\nc(lambda: 3)\n"
    changed = between(old, "b(lambda: 20)\nc(lambda: 3)\n")
    (edit,) = [edit for edit in changed.edits if isinstance(edit, FunctionEdit)]
    assert edit.site.ordinal == 1
    assert [found.code for found in changed.diagnostics] == ["BCP208"]


def test_a_lambda_without_a_place_is_no_silent_no_op(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_stands_at", "_stands_within", "_only_returns"):
        monkeypatch.setattr(f"bcpatch.source.outline.{name}", lambda code, node: False)
    text = "x = lambda: 1 + y\ndef f(): return {}\n"
    assert sites(text.format(1), text.format(2)) == ["f"]
    assert refusals(text.format(1), text.format(1).replace("1 + y", "2 + y")) == [("BCP213", 1, 0)]


def test_a_property_pairs_by_its_decorators() -> None:
    old = "class A:\n  @property\n  def x(self): return 1\n  @x.setter\n  def x(self, v): pass\n"
    new = "class A:\n  @property\n  def x(self): return 2\n  @x.setter\n  def x(self, v): return\n"
    assert sites(old, new) == ["A.x"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from a import open\ndef f(): return open", "def f(): return open"),
        ("from a import b\ndef __getattr__(name): pass", "def __getattr__(name): pass"),
    ],
)
def test_a_removed_import_that_hid_something_is_refused(old: str, new: str) -> None:
    assert [one.code for one in errors(between(old, new).diagnostics)] == ["BCP215"]
    assert not errors(between(old, new + "\nfrom c import open, b").diagnostics)


GUARD = "if __name__ == '__main__':\n"


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (GUARD + "  f()", GUARD + "  g()", 1),
        (GUARD + "  f()", GUARD + "  def f(): pass\n  class A: x = 1\n  f()", 1),
        ("", GUARD + "  f()", 1),
        (GUARD + "  f()", "", 0),
        (GUARD + "  f(60 * 60)", GUARD + "  f(3600)", None),
        (GUARD + "  f()", "\n" + GUARD + "  f()", None),
    ],
)
def test_what_the_program_alone_runs_is_told(policy: Policy, old: str, new: str, line: int | None) -> None:
    changed = between(old, new, policy)
    assert changed.diagnostics == ()
    assert changed.edits == (() if line is None else (ProgramEdit(line),))


@pytest.mark.parametrize("more", ["\nelse:\n  x = 1", "\nclass A:\n  if __name__ == '__main__':\n    x = 1"])
def test_what_an_import_runs_as_well_is_refused(more: str) -> None:
    (found, *_) = between(GUARD + "  f()" + more, GUARD + "  f()" + more.replace("1", "2")).diagnostics
    assert found.code == "BCP208"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x = f()", "x: int = f()"),
        ("x: int = f()", "x = f()"),
        ("class A:\n  x = f()", "class A:\n  x: int = f()"),
    ],
)
@pytest.mark.parametrize("policy", Policy)
def test_an_annotation_does_not_change_a_value(old: str, new: str, policy: Policy) -> None:
    changed = between(old, new, policy)
    assert changed.diagnostics == ()
    assert [type(edit) for edit in changed.edits] == [AnnotationsEdit]


def test_a_lambda_of_a_variable_that_gets_an_annotation_is_the_same_lambda() -> None:
    changed = between("x = lambda: 1", "x: object = lambda: 2")
    assert [type(edit) for edit in changed.edits] == [AnnotationsEdit, FunctionEdit]


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("T = f()", True),
        ("T = g()", True),
        ("@f\ndef h(): pass", True),
        ("@f()\ndef h(): pass", True),
        ("T = list(map(f, []))", True),
        ("class B:\n  T = f()", True),
        ("if True:\n  f()", True),
        ("h = f\nT = h()", True),
        ("h = i = g\nk = h\nT = k()", True),
        ("h = f", False),
        ("h = None\nT = h()", False),
        ("T = f", False),
        ("register(f)", False),
        ("if __name__ == '__main__':\n  f()", False),
        ("T = x.f()", False),
        ("def h(): f()", False),
    ],
)
def test_what_import_time_code_ran_is_refused(statement: str, refused: bool) -> None:
    text = f"def f(): return {{}}\ndef g(): return f()\n{statement}\n"
    assert refusals(text.format(1), text.format(2)) == ([("BCP211", 1, 5)] if refused else [])


@pytest.mark.parametrize(("old", "new", "refused"), [("a=1", "a=2", True), ("a=1", "a: int = 1", False)])
def test_a_default_value_of_what_import_time_code_ran_is_refused(old: str, new: str, refused: bool) -> None:
    text = "def f({}): return a\nT = f()\n"
    assert refusals(text.format(old), text.format(new)) == ([("BCP211", 1, 5)] if refused else [])


def test_a_default_value_that_follows_a_changed_one_counts_as_changed() -> None:
    text = "N = {}\ndef f(a=N): return a\nT = f()\n"
    found = between(text.format(1), text.format(2), Policy.LINKED).diagnostics
    assert ("BCP211", "warning") in [(one.code, one.severity.value) for one in found]


@pytest.mark.parametrize(
    ("method", "statement", "refused"),
    [
        ("__init__", "T = A()", True),
        ("__post_init__", "T = A()", True),
        ("get", "T = A.get()", True),
        ("get", "T = A().get()", True),
        ("get", "a = A()\nT = a.get()", True),
        ("__init_subclass__", "class B(A): pass", True),
        ("get", "B = A\nT = B().get()", True),
        ("get", "B = A\na = B()\nT = a.get()", True),
        ("get", "T = A.member.get()", True),
        ("get", "T = other.member.get()", False),
        ("get", "  T = get()", True),
        ("get", "T = get()", False),
        ("get", "  class B:\n    T = get()", False),
        ("get", "T = other.get()", False),
        ("get", "T = A()", False),
    ],
)
def test_what_import_time_code_ran_of_a_class_is_refused(method: str, statement: str, refused: bool) -> None:
    text = f"class A:\n  def {method}(self): return {{}}\n{statement}\n"
    assert refusals(text.format(1), text.format(2)) == ([("BCP211", 2, 7)] if refused else [])


@pytest.mark.parametrize("decorator", ["property", "functools.cached_property"])
@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("T = A().p", True),
        ("a = A()\nT = [a.p]", True),
        ("def f(a): return A().p\nT = f(1)", True),
        ("T = other.p", False),
        ("T = A().q", False),
        ("def f(a): return A().p", False),
    ],
)
def test_a_property_that_import_time_code_read_is_refused(statement: str, refused: bool, decorator: str) -> None:
    text = f"import functools\nclass A:\n  @{decorator}\n  def p(self): return {{}}\n{statement}\n"
    assert refusals(text.format(1), text.format(2)) == ([("BCP211", 4, 7)] if refused else [])
