"""Forms in which an import runs what reads a value: when that changes, or its code does, it is refused or told.

Each form has a twin that runs something else, which changes nothing: the value goes live.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_edits import Case, applied, imported, portraits, shown, sources

from bcpatch import builder, narrow
from bcpatch.model import Policy

LOW = """
X = (1, 1)
def reads(*given): return X
def other(*given): return 3
TABLE = {"reads": reads}
OTHERS = {"other": other}
LISTED = [reads]
OTHER = [other]
class Read:
  def __add__(self, one): return X
  def __getitem__(self, one): return X
  def __iter__(self): return iter(X)
  def __enter__(self): return X
  def __exit__(self, *given): pass
  def __contains__(self, one): return one in X
  def __str__(self): return str(X)
  def __bool__(self): return X == (1, 1)
  def __eq__(self, one): return X == one
class Quiet:
  def __add__(self, one): return 3
  def __getitem__(self, one): return 3
  def __iter__(self): return iter((3, 3))
  def __enter__(self): return 3
  def __exit__(self, *given): pass
  def __contains__(self, one): return one in (3, 3)
  def __str__(self): return "3"
  def __bool__(self): return True
  def __eq__(self, one): return one == (3, 3)
read = Read()
quiet = Quiet()
class Made:
  def __init__(self): self.size = X
class MadeOtherwise:
  def __init__(self): self.size = 3
def marks(function):
  function.mark = X
  return function
def marks_otherwise(function):
  function.mark = 3
  return function
class Base:
  def __init_subclass__(cls): cls.size = X
class BaseOtherwise:
  def __init_subclass__(cls): cls.size = 3
class Meta(type):
  def __new__(cls, *given):
    made = type.__new__(cls, *given)
    made.size = X
    return made
class MetaOtherwise(type):
  def __new__(cls, *given):
    made = type.__new__(cls, *given)
    made.size = 3
    return made
"""
TWINS = {
    "reads": "other", "TABLE": "OTHERS", "LISTED": "OTHER", "read": "quiet", "Made": "MadeOtherwise",
    "marks": "marks_otherwise", "Base": "BaseOtherwise", "Meta": "MetaOtherwise",
}  # fmt: skip
#: By name: the statements, and whether a change of the code that they run is told.
FORMS = {
    "map": ("N = list(map(low.{reads}, [1]))", True),
    "reduce": ("import functools\nN = functools.reduce(low.{reads}, [1, 2])", True),
    "key": ("N = sorted([1], key=low.{reads})", True),
    "partial": ("import functools\nN = functools.partial(low.{reads})()", True),
    "getattr": ("N = getattr(low, '{reads}')()", True),
    "item of a dictionary": ("N = [one() for one in low.{TABLE}.values()]", True),
    "item by its key": ("N = low.{TABLE}[next(iter(low.{TABLE}))]()", True),
    "item of a list": ("N = low.{LISTED}[0]()", True),
    "loop": ("for one in low.{LISTED}: N = one()", True),
    "comprehension": ("N = [one() for one in low.{LISTED}]", True),
    "decorator": ("@low.{marks}\ndef g(): pass\nN = g.mark", True),
    "decorator that calls": ("def d(g):\n  g.mark = low.{reads}()\n  return g\n@d\ndef g(): pass\nN = g.mark", True),
    "subclass that is made": ("class D(low.{Made}): pass\nN = D().size", True),
    "subclass": ("class D(low.{Base}): pass\nN = D.size", True),
    "subclass of its own": (
        "class B:\n  def __init_subclass__(cls): cls.size = low.{reads}()\nclass D(B): pass\nN = D.size", True,
    ),
    "metaclass": ("class D(metaclass=low.{Meta}): pass\nN = D.size", True),
    "operator": ("N = low.{read} + 1", False),
    "subscript": ("N = low.{read}[1]", False),
    "unpacking": ("N = [*low.{read}]", False),
    "with": ("with low.{read} as N: pass", False),
    "in": ("N = 1 in low.{read}", False),
    "format": ("N = f'{{low.{read}}}'", False),
    "test": ("N = 1 if low.{read} else 2", False),
    "comparison": ("N = low.{read} == (1, 1)", False),
    "iteration": ("N = list(low.{read})", False),
}  # fmt: skip
REAL, TWIN = {name: name for name in TWINS}, TWINS


def changed(text: str) -> str:
    return text.replace("X = (1, 1)", "X = (2, 2)")


def outcome(old: dict[str, str], new: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The codes of the refusal; nothing where the patch went live, and then it equals a fresh start."""
    names = [path.removesuffix(".py") for path in old]
    expression = f"{names[-1]}.N"
    with imported(new, folder, monkeypatch) as fresh:
        wanted = shown(expression, fresh)
    with imported(old, folder, monkeypatch) as live:
        before = portraits(names)
        refusal = applied(Case("", expression, old, new))
        if refusal:
            assert portraits(names) == before
        else:
            assert shown(expression, live) == wanted
    return {one.code for one in refusal}


@pytest.mark.parametrize("form", FORMS)
def test_of_another_module(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, expected in ((REAL, {"BCP210"}), (TWIN, set())):
        old = {"low.py": LOW, "top.py": "import low\n" + FORMS[form][0].format(**words) + "\n"}
        assert outcome(old, {**old, "low.py": changed(LOW)}, tmp_path, monkeypatch) == expected


@pytest.mark.parametrize("form", FORMS)
def test_of_a_class_of_another_module(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, _, rest = LOW.partition("def reads")
    low = f"class Held:\n  {head.strip()}\ndef reads" + rest.replace(" X", " Held.X").replace("(X)", "(Held.X)")
    for words, expected in ((REAL, {"BCP210"}), (TWIN, set())):
        old = {"low.py": low, "top.py": "import low\n" + FORMS[form][0].format(**words) + "\n"}
        assert outcome(old, {**old, "low.py": changed(low)}, tmp_path, monkeypatch) == expected


@pytest.mark.parametrize(
    "form", [one for one in FORMS if one not in ("getattr", "item by its key", "item of a dictionary")]
)
def test_of_the_module_itself(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, expected in ((REAL, {"BCP210"}), (TWIN, set())):
        old = LOW + FORMS[form][0].format(**words).replace("low.", "") + "\n"
        assert outcome({"low.py": old}, {"low.py": changed(old)}, tmp_path, monkeypatch) == expected


@pytest.mark.parametrize("form", FORMS)
def test_code_that_changes(form: str) -> None:
    for words, is_told in ((REAL, FORMS[form][1]), (TWIN, False)):
        old = {"low.py": LOW, "top.py": "import low\n" + FORMS[form][0].format(**words) + "\n"}
        new = {**old, "low.py": LOW.replace(" X\n", " [X][0]\n")}
        found = builder.compare(sources(old), sources(new), policy="linked")
        assert found.patch is not None
        assert bool([one for one in found.diagnostics if one.code == "BCP211"]) == is_told


DEFINED = {name: f"class {name}" for name in ("Made", "Base", "Meta")} | {
    "reads": "def reads", "TABLE": "def reads", "LISTED": "def reads", "read": "class Read", "marks": "def marks",
}  # fmt: skip


@pytest.mark.parametrize("form", [one for one in FORMS if one != "getattr"])
def test_comparing_what_differs_does_not_miss_it(form: str) -> None:
    """It leaves to comparing the whole what may have run."""
    statements = FORMS[form][0]
    word = next(one for one in DEFINED if f"{{{one}}}" in statements)
    old = LOW + statements.format(**REAL).replace("low.", "") + "\n"
    above, head, rest = old.partition(f"\n{DEFINED[word]}")
    body, end, below = rest.partition("\ndef " if "def" in DEFINED[word] else "\nclass ")
    new = above + head + re.sub(r"\bX\b", "[X][0]", body) + end + below
    assert new != old
    base, source = (sources({"low.py": text})[0] for text in (old, new))
    assert narrow.compared(base, source, Policy.LINKED, 0) is None
    assert "BCP211" in {one.code for one in builder.compare([base], [source], policy="linked").diagnostics}


def test_what_a_metaclass_prepares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "X = (1, 1)\nclass M(type):\n  @classmethod\n  def __prepare__(cls, *given): return {'N': X}\n"
    old = text + "class D(metaclass=M): pass\nN = D.N\n"
    assert outcome({"low.py": old}, {"low.py": changed(old)}, tmp_path, monkeypatch) == {"BCP210"}


NO_USES = {
    "made known by a decorator": (
        "def register(one): return lambda function: function\n@register(low.Made)\ndef N(): return 1"
    ),
    "handed on": "N = [low.reads, low.read, low.Made].count(1)",
    "compared by identity": "N = low.read is None",
    "another operator": "N = 1 if low.summed else 2",
}


@pytest.mark.parametrize("form", NO_USES)
def test_what_only_passes_it_on_is_no_use(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    low = LOW + "class Summed:\n  def __add__(self, one): return X\nsummed = Summed()\n"
    old = {"low.py": low, "top.py": f"import low\n{NO_USES[form]}\n"}
    assert outcome(old, {**old, "low.py": changed(low)}, tmp_path, monkeypatch) == set()
