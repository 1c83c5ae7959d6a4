"""Attributes that objects get only now, and code that reads them of objects that were made before (BCP219)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from bcpatch import builder
from bcpatch.diagnostics import Diagnostic, Severity
from bcpatch.model import Module, Policy
from bcpatch.source.outline import Source

BASE = """\
import json
from elsewhere import Elsewhere

class Order:
    size = 1

    def __init__(self, items):
        self.items = items

    def total(self):
        return len(self.items)

    @classmethod
    def empty(cls):
        return cls([])

    @staticmethod
    def parse(text):
        return Order(json.loads(text))

class Special(Order):
    def price(self):
        return self.total()

class Other:
    def total(self):
        return 0

class Foreign(Elsewhere):
    def total(self):
        return self.inherited

def handle(order):
    return order.total()

def make():
    order = Order([])
    return order.total()
"""
INIT = "        self.items = items\n"
GAINS = (INIT, f"{INIT}        self.rate = 2\n")
TOTAL = "        return len(self.items)\n"


MADE_HERE = ("order = Order([])\n    return order.total()", "order = Order([])\n    return order.rate")
NEW = """\
    def __new__(cls, items):
        made = object.__new__(cls)
        made.rate = 2
        return made

"""
CLASS = """\
class New:
    def __init__(self):
        self.rate = 1

    def get(self):
        return self.rate

"""


def told(edits: Iterable[tuple[str, str]], base: str = BASE, policy: Policy = Policy.LINKED) -> list[Diagnostic]:
    """What is said of such reads after some edits."""
    new = base
    for old, text in edits:
        assert old in new
        new = new.replace(old, text, 1)
    sides = ([Source(Module("m", "m.py"), "m.py", text.encode())] for text in (base, new))
    return [one for one in builder.compare(*sides, policy=policy).diagnostics if one.code == "BCP219"]


def found(*edits: tuple[str, str], base: str = BASE, policy: Policy = Policy.LINKED) -> list[str]:
    """What is read there."""
    findings = told(edits, base, policy)
    assert all(one.severity is Severity.WARNING for one in findings)
    return [one.text[one.column - 1 : one.end_column - 1] for one in findings]


def reading(text: str) -> tuple[str, str]:
    """An edit that makes `Order.total` another one."""
    return TOTAL, text


#: What reads the attribute that `__init__` gives now, and what of that is told.
CASES = {
    "a method": ([reading("        return self.rate\n")], ["self.rate"]),
    "a method that calls it": ([reading("        return self.rate()\n")], ["self.rate"]),
    "a method that adds to it": ([reading("        self.rate += 1\n")], ["self.rate"]),
    "a method that deletes it": ([reading("        del self.rate\n")], ["self.rate"]),
    "a function in a method": ([reading("        return [lambda: self.rate]\n")], ["self.rate"]),
    "a method of a class that derives": ([("return self.total()", "return self.rate")], ["self.rate"]),
    "several, the first": (
        [reading("        return self.rate\n"), ("return self.total()", "return self.rate")],
        ["self.rate"],
    ),
    "a function": ([("    return order.total()", "    return order.rate")], ["order.rate"]),
    "a function, of what it got from another": (
        [("    return order.total()", "    return order.first().rate")],
        ["order.first().rate"],
    ),
    "a function, of what it has made": ([MADE_HERE], []),
    "a function, of a module": ([("    return order.total()", "    return json.rate")], []),
    "nothing": ([], []),
    "a method of a class that has nothing to do with it": ([("        return 0", "        return self.rate")], []),
    "`__init__` itself": ([(GAINS[1], f"{GAINS[1]}        self.items *= self.rate\n")], []),
    "where it was stored before": ([reading("        self.rate = 3\n        return self.rate\n")], []),
    "where it was stored before, in a with": (
        [reading("        with self.items:\n            self.rate, _ = 3, 4\n        return self.rate\n")],
        [],
    ),
    "where it was stored behind": ([reading("        one = self.rate\n        self.rate = 3\n")], ["self.rate"]),
    "where it is stored from itself": ([reading("        self.rate = self.rate + 1\n")], ["self.rate"]),
    "where it may have been stored": (
        [reading("        if self.items:\n            self.rate = 3\n        return self.rate\n")],
        ["self.rate"],
    ),
    "where another's was stored": (
        [reading("        self.items.rate = 3\n        return self.rate\n")],
        ["self.rate"],
    ),
    "where it may be missing": (
        [reading("        try:\n            return self.rate\n        except AttributeError:\n            return 1\n")],
        [],
    ),
    "where anything may be missing": (
        [reading("        try:\n            return self.rate\n        except:\n            return 1\n")],
        [],
    ),
    "where something else may be missing": (
        [
            reading(
                "        try:\n            return self.rate\n        except (KeyError, OSError):\n            pass\n"
            )
        ],
        ["self.rate"],
    ),
    "in what handles that it is missing": (
        [reading("        try:\n            return 1\n        except Exception:\n            return self.rate\n")],
        ["self.rate"],
    ),
    "where it is looked for": (
        [reading("        return self.rate if hasattr(self, 'rate') else 1\n")],
        [],
    ),
    "where another is looked for": (
        [reading("        return self.rate if hasattr(self, 'items') else 1\n")],
        ["self.rate"],
    ),
    "by a default": ([reading("        return getattr(self, 'rate', 1)\n")], []),
    "with a value of the class": (
        [("    size = 1\n", "    size = 1\n    rate = 1\n"), reading("        return self.rate\n")],
        [],
    ),
    "with an update hook that stores it": (
        [
            reading("        return self.rate\n"),
            ("def make", "def __bcpatch_update__(update):\n    ONE.rate = 2\n\ndef make"),
        ],
        [],
    ),
    "with an update hook that stores it by name": (
        [
            reading("        return self.rate\n"),
            ("def make", "def __bcpatch_update__(update):\n    setattr(ONE, 'rate', 2)\n\ndef make"),
        ],
        [],
    ),
    "with an update hook that does something else": (
        [
            reading("        return self.rate\n"),
            ("def make", "def __bcpatch_update__(update):\n    ONE.size = 2\n\ndef make"),
        ],
        ["self.rate"],
    ),
    "with an annotation of the class": (
        [("    size = 1\n", "    size = 1\n    rate: int\n"), reading("        return self.rate\n")],
        ["self.rate"],
    ),
    "with what answers for it": (
        [
            ("    def total", "    def __getattr__(self, name):\n        return 1\n\n    def total"),
            reading("        return self.rate\n"),
        ],
        [],
    ),
    "a class method": ([("return cls([])", "return cls.rate")], []),
    "a static method": ([("return Order(json.loads(text))", "return text.rate")], ["text.rate"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_reads_an_attribute_that_only_new_objects_have_is_told(case: str) -> None:
    edits, expected = CASES[case]
    assert found(GAINS, *edits) == expected


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_told_of_an_attribute_that_was_there_before(case: str) -> None:
    edits, _ = CASES[case]
    base = BASE.replace(*GAINS)
    assert found(*((old, new) for old, new in edits), base=base) == []


def test_it_is_a_warning_in_a_strict_patch_too() -> None:
    assert found(GAINS, reading("        return self.rate\n"), policy=Policy.STRICT) == ["self.rate"]


#: Edits that give objects an attribute in another way, and what reads it.
GIVING = {
    "another method": (
        [reading("        self.rate = 1\n"), ("return self.total()", "return self.rate")],
        ["self.rate"],
    ),
    "`__new__`": (
        [
            ("    def __init__", f"{NEW}    def __init__"),
            reading("        return self.rate\n"),
        ],
        ["self.rate"],
    ),
    "a class that derives": (
        [("return self.total()", "self.rate = 1"), reading("        return self.rate\n")],
        [],
    ),
    "a value that is none of the class any more": (
        [("    size = 1\n", ""), (INIT, f"{INIT}        self.size = 2\n"), reading("        return self.size\n")],
        ["self.size"],
    ),
    "a value that is the class's too": (
        [(INIT, f"{INIT}        self.size = 2\n"), reading("        return self.size\n")],
        [],
    ),
    "a new class": (
        [("def make", f"{CLASS}def make")],
        [],
    ),
    "what a class elsewhere may have given": ([("return self.inherited", "self.inherited = self.inherited")], []),
    "what only adds to it": ([reading("        self.rate += 1\n")], []),
    "what adds to it": ([(INIT, f"{INIT}        self.rate += 2\n")], []),
}


@pytest.mark.parametrize("case", GIVING)
def test_whatever_gives_it(case: str) -> None:
    edits, expected = GIVING[case]
    assert found(*edits) == expected


@pytest.mark.parametrize("by", ["setattr(self, name, 1)", "self.__dict__.update(name)", "vars(self)[name] = 1"])
def test_nothing_is_told_of_a_class_whose_base_may_have_stored_anything(by: str) -> None:
    base = BASE.replace("        return 0", "        return 0\n\n    def rest(self, name):\n        pass")
    edits = [GAINS, reading("        return self.rate\n")]
    assert found(*edits, base=base) == ["self.rate"]
    anything = BASE.replace(TOTAL, f"{TOTAL}\n    def rest(self, name):\n        {by}\n")
    assert found(*edits, base=anything) == []


def test_a_value_of_the_class_that_goes_is_none_that_objects_have() -> None:
    read = BASE.replace(TOTAL, "        return self.size\n")
    goes = [("    size = 1\n", ""), ("        return self.size\n", "        return self.size + 1\n")]
    assert found(*goes, (INIT, f"{INIT}        self.size = 2\n"), base=read) == ["self.size"]
    stored = read.replace(INIT, f"{INIT}        self.size = 2\n")
    assert found(*goes, ("self.size = 2", "self.size = 3"), base=stored) == []


def test_nothing_is_told_of_classes_that_have_namesakes() -> None:
    edits = [GAINS, reading("        return self.rate\n")]
    assert found(*edits, base=f"class Order:\n    pass\n\n{BASE}") == []


def test_the_name_of_another_classs_attribute_does_not_hide_it() -> None:
    base = BASE.replace("        return 0", "        self.rate = 0")
    assert found(GAINS, reading("        return self.rate\n"), base=base) == ["self.rate"]
    assert found(GAINS, ("    return order.total()", "    return order.rate"), base=base) == []  # it may be the other's


# --- several modules -----------------------------------------------------------------------

ELSEWHERE = """\
from m import Order

class Vip(Order):
    def __init__(self):
        super().__init__([])

    def price(self):
        return 1

class Plain:
    def price(self):
        return 1

def serve(order):
    return order.items
"""


def told_elsewhere(old: str, new: str, base: str | None = ELSEWHERE) -> list[tuple[str, int, str]]:
    texts = {"m": (BASE, BASE.replace(*GAINS)), "n": (base, ELSEWHERE.replace(old, new))}
    sides = [
        [
            Source(Module(name, f"{name}.py"), f"{name}.py", versions[side].encode())
            for name, versions in texts.items()
            if versions[side] is not None
        ]
        for side in (0, 1)
    ]
    outcome = builder.compare(*sides, policy=Policy.LINKED)
    return [(one.file, one.line, one.message) for one in outcome.diagnostics if one.code == "BCP219"]


GIVEN = "objects of `m:Order` get `rate` by `__init__` (line 9) only now; those that were made before lack it"


def test_another_module_of_the_patch_may_read_it() -> None:
    assert told_elsewhere("return order.items", "return order.rate") == [("n.py", 15, GIVEN)]


def test_a_class_of_another_module_may_derive_from_it() -> None:
    old = "    def price(self):\n        return 1\n\nclass Plain"
    assert told_elsewhere(old, old.replace("return 1", "return self.rate")) == [("n.py", 8, GIVEN)]
    old = "        super().__init__([])"
    assert told_elsewhere(old, f"{old}\n        self.rate") == []  # it is a new object
    old = "class Plain:\n    def price(self):\n        return 1"
    assert told_elsewhere(old, old.replace("return 1", "return self.rate")) == []


def test_a_new_module_may_read_it() -> None:
    assert told_elsewhere("return order.items", "return order.rate", None) == [("n.py", 15, GIVEN)]


def test_what_the_other_module_has_read_before_is_no_matter() -> None:
    base = ELSEWHERE.replace("return order.items", "return [order.rate]")
    assert told_elsewhere("return order.items", "return order.rate", base) == []


def test_the_message_says_of_what_and_by_what() -> None:
    found = told([GAINS, reading("        return self.rate\n")])
    assert [one.message for one in found] == [GIVEN.replace("m:", "")]


def test_a_long_expression_is_no_matter() -> None:
    long = " + ".join(["1"] * 400)
    assert found(GAINS, reading(f"        return ({long} + self.rate).rate\n")) == [f"({long} + self.rate).rate"]
    assert len(found(GAINS, reading(f"        return self{'.rate' * 400}\n"))) == 1
