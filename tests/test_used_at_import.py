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
import enum
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
  def __iadd__(self, one): return X
  def __neg__(self): return X
  def __index__(self): return X[0]
  def __matmul__(self, one): return X
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
  def __iadd__(self, one): return 3
  def __neg__(self): return 3
  def __index__(self): return 2
  def __matmul__(self, one): return 3
read = Read()
quiet = Quiet()
class Made:
  def __init__(self): self.size = X
  def __class_getitem__(cls, one): return X
class MadeOtherwise:
  def __init__(self): self.size = 3
  def __class_getitem__(cls, one): return 3
class Asked:
  def __getattr__(self, name): return X
class AskedOtherwise:
  def __getattr__(self, name): return 3
asked = Asked()
asked_otherwise = AskedOtherwise()
class Field:
  def __get__(self, *given): return X
class FieldOtherwise:
  def __get__(self, *given): return 3
class Owner:
  field = Field()
class OwnerOtherwise:
  field = FieldOtherwise()
owner = Owner()
owner_otherwise = OwnerOtherwise()
class Kinds(type):
  def __len__(cls): return X[0]
  @property
  def kinds(cls): return X
class KindsOtherwise(type):
  def __len__(cls): return 3
  @property
  def kinds(cls): return 3
class Kind(metaclass=Kinds): pass
class KindOtherwise(metaclass=KindsOtherwise): pass
class Members(enum.Enum):
  ONE = 1
  def get(self): return X
class MembersOtherwise(enum.Enum):
  ONE = 1
  def get(self): return 3
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
    "marks": "marks_otherwise", "Base": "BaseOtherwise", "Meta": "MetaOtherwise", "asked": "asked_otherwise",
    "owner": "owner_otherwise", "Kind": "KindOtherwise", "Members": "MembersOtherwise",
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
    "lambda": ("N = (lambda: low.{reads}())()", True),
    "lambda given to map": ("N = list(map(lambda one: low.{reads}(), [1]))", True),
    "lambda by its name": ("f = lambda: low.{reads}()\nN = f()", True),
    "lambda in a table": ("T = {{'a': lambda: low.{reads}()}}\nN = T['a']()", True),
    "lambda as a default": ("def f(g=lambda: low.{reads}()): return g()\nN = f()", True),
    "default": ("def f(g=low.{reads}): return g()\nN = f()", True),
    "pool": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor() as pool: N = pool.submit(low.{reads}).result()", True,
    ),
    "thread": (
        "import threading\nN = []\ndef run(): N.append(low.{reads}())\n"
        "t = threading.Thread(target=run)\nt.start()\nt.join()", True,
    ),
    "pattern": ("import re\nN = re.sub('a', lambda found: str(low.{reads}()), 'a')", True),
    "starmap": ("import itertools\nN = list(itertools.starmap(low.{reads}, [(1,)]))", True),
    "default factory": (
        "import dataclasses\n@dataclasses.dataclass\nclass K:\n"
        "  a: object = dataclasses.field(default_factory=low.{reads})\nN = K().a", False,
    ),
    "attrgetter": ("import operator\nN = operator.attrgetter('{reads}')(low)()", True),
    "vars": ("N = vars(low)['{reads}']()", True),
    "items of a display": ("N = tuple(one() for one in (low.{reads},))", True),
    "several names": ("a, b = low.{reads}, 1\nN = a()", True),
    "table of a class": ("class T:\n  fs = [low.{reads}]\nN = T.fs[0]()", True),
    "asked of a table": ("N = low.{TABLE}.get(next(iter(low.{TABLE})))()", True),
    "taken out of a list": ("fs = [low.{reads}]\nN = fs.pop()()", True),
    "one or the other": ("N = (None or low.{reads})()", True),
    "the one or the other": ("N = (low.{reads} if True else None)()", True),
    "named where it is called": ("N = (g := low.{reads})()", True),
    "given to a function": ("def go(f): return f()\nN = go(low.{reads})", True),
    "given by its name": ("def go(*, f): return f()\nN = go(f=low.{reads})", True),
    "lambda given to a function": ("def go(f): return f()\nN = go(lambda: low.{reads}())", True),
    "given on": ("def go(f): return f()\ndef both(f): return go(f)\nN = both(low.{reads})", True),
    "given several": ("def go(*fs): return [f() for f in fs]\nN = go(low.{reads})", True),
    "run by its decorator": ("def d(f): return f()\n@d\ndef N(): return low.{reads}()", True),
    "run by a class": (
        "class D:\n  def __init__(self, f): self.size = f()\n@D\ndef k(): return low.{reads}()\nN = k.size", True,
    ),
    "returned": ("def make():\n  def inner(): return low.{reads}()\n  return inner\nN = make()()", True),
    "returned and gone": (
        "def make():\n  def inner(): return low.{reads}()\n  return inner\nf = make()\nN = f()\ndel f", True,
    ),
    "wrapped": (
        "import functools\ndef d(f):\n  @functools.wraps(f)\n  def w(): return low.{reads}()\n  return w\n"
        "@d\ndef g(): pass\nN = g()", True,
    ),
    "object that is called": ("class C:\n  def __call__(self): return low.{reads}()\nc = C()\nN = c()", True),
    "overridden": ("class K(low.{Made}):\n  def __init__(self): super().__init__()\nN = K().size", True),
    "class item": ("N = low.{Made}[int]", False),
    "augmented": ("N = low.{read}\nN += 1", False),
    "negated": ("N = -low.{read}", False),
    "index": ("N = [1, 2, 3][low.{read}]", False),
    "matrix": ("N = low.{read} @ 1", False),
    "any attribute": ("N = low.{asked}.anything", False),
    "descriptor": ("N = low.{owner}.field", False),
    "length of a class": ("N = len(low.{Kind})", False),
    "property of a metaclass": ("N = low.{Kind}.kinds", False),
    "members": ("N = [member.get() for member in low.{Members}]", True),
}  # fmt: skip
IMPORT = "\nimport enum"
#: Forms that are of other modules only, or that name more of the module than they run.
OF_A_MODULE = {"getattr", "attrgetter", "vars", "item by its key", "item of a dictionary", "overridden"} | {
    "descriptor",
    "property of a metaclass",
    "members",
}
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
    low = f"import enum\nclass Held:\n  {head.removeprefix(IMPORT).strip()}\ndef reads" + rest.replace(
        " X", " Held.X"
    ).replace("(X)", "(Held.X)")
    for words, expected in ((REAL, {"BCP210"}), (TWIN, set())):
        old = {"low.py": low, "top.py": "import low\n" + FORMS[form][0].format(**words) + "\n"}
        assert outcome(old, {**old, "low.py": changed(low)}, tmp_path, monkeypatch) == expected


@pytest.mark.parametrize("form", [one for one in FORMS if one not in OF_A_MODULE])
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


DEFINED = {name: f"class {name}" for name in ("Made", "Base", "Meta", "Members")} | {
    "asked": "class Asked", "owner": "class Field", "Kind": "class Kinds",
    "reads": "def reads", "TABLE": "def reads", "LISTED": "def reads", "read": "class Read", "marks": "def marks",
}  # fmt: skip


@pytest.mark.parametrize("form", [one for one in FORMS if one not in ("getattr", "attrgetter", "vars")])
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


def test_a_receiver_that_is_loaded_with_another_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    low = "def pair(*given): return given\nclass A:\n  X = (1, 1)\n  def go(self, one): return pair(one, self.X)\n"
    old = {"low.py": low, "top.py": "import low\nN = low.A().go(1)\n"}
    assert outcome(old, {**old, "low.py": changed(low)}, tmp_path, monkeypatch) == {"BCP210"}


#: How a module may run what is edited, which comparing what differs must not miss.
HIDDEN = {
    "class attribute": ("class T:\n  f = reads\nN = T.f()\n", "return X", "return [X][0]"),
    "slice of a list": ("T = [reads, 1][:1]\nN = T[0]()\n", "return X", "return [X][0]"),
    "lambda": ("f = lambda: X\nN = f()\n", "lambda: X", "lambda: [X][0]"),
    "lambda that is called": ("N = (lambda: X)()\n", "lambda: X", "lambda: [X][0]"),
    "lambda of a lambda": ("f = lambda: lambda: X\nN = f()()\n", "lambda: X", "lambda: [X][0]"),
}


@pytest.mark.parametrize("form", HIDDEN)
def test_what_differs_is_left_to_the_whole(form: str) -> None:
    statements, was, now = HIDDEN[form]
    old = "X = (1, 1)\n\ndef reads(): return X\n\n" + statements
    base, source = (sources({"low.py": text})[0] for text in (old, old.replace(was, now)))
    assert narrow.compared(base, source, Policy.LINKED, 0) is None
    assert "BCP211" in {one.code for one in builder.compare([base], [source], policy="linked").diagnostics}


def test_a_parameter_is_not_the_object_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "X = (1, 1)\nclass A:\n  def go(self): return X\nclass B:\n  def go(self): return 3\nit = B()\n"
    old = text + "def run(it): return it.go()\nN = run(A())\n"
    assert outcome({"low.py": old}, {"low.py": changed(old)}, tmp_path, monkeypatch) == {"BCP210"}


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
    "a loop through what it is of": "def walk(it):\n  for it in it.all: it.go()\nN = low.reads is None",
    "an attribute that is there": "N = low.settled.size",
    "registered": "N = []\ndef register(f):\n  N.append(1)\n  return f\n@register\ndef g(): return low.X",
    "kept by an object": (
        "class App:\n  def __init__(self): self.all = []\n  def add(self, f): self.all.append(f)\n"
        "app = App()\napp.add(low.reads)\nN = 1"
    ),
    "given to a constructor": "class App:\n  def __init__(self, f): self.f = f\napp = App(low.reads)\nN = 1",
    "a default": "def f(g=low.reads): return g\nN = 1",
    "a default factory": (
        "import dataclasses\n@dataclasses.dataclass\nclass K:\n"
        "  a: object = dataclasses.field(default_factory=low.reads)\nN = 1"
    ),
}
MORE = """
class Settled:
  size = 3
  def __getattr__(self, name): return X
settled = Settled()
class Summed:
  def __add__(self, one): return X
summed = Summed()
"""


@pytest.mark.parametrize("form", NO_USES)
def test_what_only_passes_it_on_is_no_use(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"low.py": LOW + MORE, "top.py": f"import low\n{NO_USES[form]}\n"}
    assert outcome(old, {**old, "low.py": changed(LOW + MORE)}, tmp_path, monkeypatch) == set()


@pytest.mark.parametrize("form", [one for one in NO_USES if one != "an attribute that is there"])
def test_what_only_passes_it_on_in_the_module_itself(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = LOW + MORE + NO_USES[form].replace("low.", "") + "\n"
    assert outcome({"low.py": old}, {"low.py": changed(old)}, tmp_path, monkeypatch) == set()
