"""Bodies that try to get around the strict policy, each beside the smallest innocent one, through ``bcpatch.build``.

A file in ``hostile`` holds cases: a name, the codes of the refusal (after a slash those that are as right on another
version) and since which Python it is read, then the hostile body of a method and the innocent one, or the two versions
of a whole module each. What is ``accepted`` in ``limits.txt`` are limits that docs/policies.md names.
"""

from __future__ import annotations

import random
import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest
from test_references import patched

import bcpatch
from bcpatch import flow
from bcpatch.model import FunctionEdit, Policy
from bcpatch.rules import needs, references
from bcpatch.rules.reach import Frame, Scope, importing
from bcpatch.rules.sourcetext import Text
from benchmarks.checks import mutation

CART = """\
import asyncio, builtins, collections, contextlib, copy, dataclasses, functools, importlib, inspect, json, logging
import operator, os, pickle, pkgutil, re, string, sys, threading, traceback, types, typing, weakref
import shop
import shop.prices as prices
from . import prices as relative
from collections import namedtuple
from functools import partial
from operator import attrgetter
from shop.prices import Price

RATE = 3

def helper(): return 4

class Line:
    pass

class Cart:
    rate = 1
    def total(self, other, name):
{body}
"""


class Change(NamedTuple):
    file: str
    old: str
    new: str


class Case(NamedTuple):
    outcomes: list[str]
    hostile: Change
    innocent: Change


def method(body: str) -> str:
    return CART.replace("{body}", textwrap.indent(body, " " * 8))


def change(file: str, parts: dict[str, str], prefix: str) -> Change:
    if f"{prefix}old" in parts:
        return Change(file, parts[f"{prefix}old"], parts[f"{prefix}new"])
    return Change(file, method("return other.unlike_any(name)\n"), method(parts[f"{prefix}new"]))


def cases() -> dict[str, Case]:
    found = {}
    for path in sorted(Path(__file__).with_name("hostile").glob("*.txt")):
        for text in re.split(r"^=== ", path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
            head, *parts = re.split(r"^--- ", text, flags=re.MULTILINE)
            name, judgement = head.strip().split("\n")
            codes, _, since = judgement.partition(" since ")
            if since and sys.version_info < tuple(map(int, since.split("."))):
                continue
            file, said = "cart.py", {}
            for part in parts:
                title, _, body = part.partition("\n")
                kind, _, where = title.partition(" shop/")
                file = where or file
                said[kind] = body
            found[f"{path.stem}: {name}"] = Case(
                codes.split("/"), change(file, said, ""), change(file, said, "innocent ")
            )
    return found


CASES = cases()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    for version in ("old", "new"):
        for file in ("__init__.py", "prices.py"):
            path = root / version / "shop" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("", "utf-8")
    return root


def refusal(change: Change, shop: Path) -> str:
    """The codes against a change; empty where there is a patch."""
    paths = [shop / version / "shop" / change.file for version in ("old", "new")]
    try:
        for path, text in zip(paths, (change.old, change.new), strict=True):
            path.write_text(text, "utf-8")
        patch = bcpatch.build(paths[1], base=paths[0], policy="strict")
    except bcpatch.Refused as refused:
        return " ".join(sorted({one.code for one in refused.diagnostics}))
    finally:
        for path in paths:
            path.write_text("", "utf-8")
    assert patch.modules, "nothing changed"
    return ""


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_a_hostile_body_is_refused_and_its_innocent_twin_is_not(case: Case, shop: Path) -> None:
    assert refusal(case.innocent, shop) == ""
    assert (refusal(case.hostile, shop) or "accepted") in case.outcomes


def test_damaged_bodies_are_judged_like_others() -> None:
    """Whatever bytecode has no fault, the rules for references come to an end with it."""
    choose = random.Random(5)
    judged = 0
    for name in choose.sample(sorted(CASES), 40):
        (part,) = patched(CASES[name].hostile.new).modules
        text = Text(part.module, part.source)
        for edit in (one for one in part.edits if isinstance(one, FunctionEdit)):
            scope = Scope(text, Policy.STRICT, importing(part.imports), edit.site, around="Cart")
            for _ in range(20):
                try:
                    frame = Frame(flow.analyze(mutation.mutate(edit.code, choose)), scope)
                except flow.Malformed:
                    continue
                references.check(frame)
                list(needs.links(frame))
                judged += 1
    assert judged > 100
