"""The reference rules, a minimal case each: what is refused with its place, and what is accepted beside it.

In a case, ``«`` and ``»`` stand around the places where the rule speaks; a case without
them is accepted.
"""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from bcpatch import compile as compiler
from bcpatch import fingerprint, pythons, verify
from bcpatch.diagnostics import Diagnostic
from bcpatch.flow import graph, uses
from bcpatch.flow.decode import has_any
from bcpatch.flow.values import Values
from bcpatch.model import Module, ModulePatch, Patch, Policy
from bcpatch.rules import access, byname, formatting, names, needs, sight, telling
from bcpatch.source import shape
from bcpatch.source.outline import Source, outline

CART = Module("shop.cart", "shop/cart.py")


class Case(NamedTuple):
    """A module's text and the rule that refuses what is marked in it; ``since``: whether this Python can read it."""

    about: str
    rule: str
    text: str
    since: bool = True


GENERIC = pythons.TYPE_PARAMETERS

METHOD = """\
import asyncio, builtins, collections, dataclasses, functools, importlib, inspect, json, logging, operator
import os, pkgutil, sys, typing
import shop
import shop.prices as prices
from . import prices as relative
from collections import namedtuple
from functools import partial
from operator import attrgetter
from shop.prices import Price, _hidden

RATE = 3

def helper(): pass

class Cart:
    def total(me, other, name):
{body}
"""


def refused(rule: str, about: str, text: str, since: bool = True) -> Case:
    """A method's body in `METHOD`."""
    return Case(
        about, rule, METHOD.replace("{body}", textwrap.indent(textwrap.dedent(text).strip("\n"), " " * 8)), since
    )


def accepted(about: str, text: str, since: bool = True) -> Case:
    return refused("", about, text, since)


def marked(text: str) -> tuple[str, list[tuple[int, int, int, int]]]:
    """The text without its marks, and the ranges that these stood around."""
    ranges, lines, opened = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        plain = ""
        for character in line:
            if character == "«":
                opened.append((number, len(plain) + 1))
            elif character == "»":
                ranges.append((*opened.pop(), number, len(plain) + 1))
            else:
                plain += character
        lines.append(plain)
    return "\n".join(lines) + "\n", sorted(ranges)


def patched(text: str, policy: Policy = Policy.STRICT, module: Module = CART) -> Patch:
    """A patch that brings every function of a module's text."""
    data = text.encode()
    unit = outline(Source(module, module.path, data), 0)
    edits = compiler.changes(None, unit, policy, 0).edits
    part = ModulePatch(
        module, None, fingerprint.blake(data), shape.imports(unit.tree, module, unit.own_names), None, edits, data, ()
    )
    return Patch(fingerprint.this_interpreter(), policy, 1, None, (part,))


def findings(text: str, policy: Policy = Policy.STRICT, module: Module = CART) -> tuple[Diagnostic, ...]:
    return verify.verify(patched(text, policy, module))


# --- rule 1: builtins, locals and imported names --------------------------------------------

NAMES = [
    accepted("builtins", "return len(str(other))"),
    accepted("locals and parameters", "count = other\nreturn count"),
    accepted("imported modules and names", "return json.dumps(prices.low), Price, partial"),
    accepted("an imported name that is spelled privately here", "import json as _json\nreturn _json.dumps(other)"),
    accepted("what the import system sets", "return __name__, __file__, __package__, __debug__"),
    refused("BCP101", "a variable of the module", "return «RATE» * other"),
    refused("BCP101", "a function of the module", "return «helper»()"),
    refused("BCP101", "a class of the module", "return isinstance(other, «Cart»)"),
    refused("BCP101", "in a nested function", "def inner():\n    return «RATE»\nreturn inner"),
    refused("BCP101", "in a lambda", "return lambda: «RATE»"),
    refused("BCP101", "in a comprehension", "return [«RATE» for _ in other]"),
    refused("BCP101", "in a generator expression", "return (one for one in other if one > «RATE»)"),
    refused("BCP101", "in a class body", "class Local:\n    rate = «RATE»\nreturn Local"),
    accepted("a name that the class body has bound", "class Local:\n    rate = 1\n    twice = rate * 2\nreturn Local"),
    refused("BCP101", "a class body's own name before it is bound", "class Local:\n    RATE = «RATE»\nreturn Local"),
    refused(
        "BCP101",
        "a class body's own name that may not be bound",
        "class Local:\n    if other:\n        RATE = 1\n    twice = «RATE»\nreturn Local",
    ),
    accepted("annotated names in a class body", "class Local:\n    rate: int = 1\n    name: str\nreturn Local"),
    refused("BCP101", "`__class__` by name", "return «__class__»"),
    accepted("`__class__` for super", "return super().total(other), super(__class__, me).total"),
    refused("BCP110", "a name that is nowhere", "return «helpr»()"),
    refused("BCP102", "a stored global", "global RATE\n«RATE» = other"),
    refused("BCP102", "a deleted global", "global RATE\ndel «RATE»"),
    refused("BCP102", "a stored global that is new", "global NEW\n«NEW» = other"),
    refused("BCP102", "a global stored by a loop", "global json\nfor «json» in other: pass"),
    refused("BCP102", "a global stored by an import", "global json\n«import json»"),
    accepted("a local of the same name", "RATE = other\nreturn RATE"),
    refused("BCP101", "`__class__` for super and for more", "kind = «__class__»\nsuper(kind, me).total\nreturn kind"),
    refused("BCP101", "`__class__` for super, by an alias", "return super(kind := «__class__», me).total, kind"),
    accepted("`__class__` for super, in a variable", "kind = __class__\nreturn super(kind, me).total"),
    refused("BCP101", "`__class__`, stored", "nonlocal __class__\n«__class__» = other"),
    accepted("a nonlocal", "count = 0\ndef inner():\n    nonlocal count\n    count += 1\nreturn inner"),
    refused("BCP111", "globals", "return «globals»()"),
    refused("BCP111", "locals", "return «locals»()"),
    refused("BCP111", "vars", "return «vars»(me)"),
    refused("BCP111", "eval", "return «eval»('1')"),
    refused("BCP111", "exec", "«exec»('1')"),
    refused("BCP111", "compile", "return «compile»(other, '', 'exec')"),
    accepted("a method that is called compile", "import re\nreturn re.compile(other)"),
    refused("BCP111", "__import__", "return «__import__»('json')"),
    refused("BCP111", "as a value", "return map(«vars», other)"),
    refused("BCP111", "from the module of builtins", "return «builtins.eval»('1')"),
    refused("BCP111", "imported from the module of builtins", "«from builtins import vars as v»\nreturn v(other)"),
    refused("BCP113", "the namespace of builtins", "return «__builtins__»"),
    refused("BCP111", "help, which imports by text", "«help»('shop.cart.RATE')"),
    refused("BCP111", "a debugger", "«breakpoint»()"),
    accepted("what is called so elsewhere", "other.help('x')\nother.breakpoint(me)"),
    refused("BCP111", "by another name of the module of builtins", "import enum\nreturn «enum.bltns.vars»(me)"),
    refused("BCP106", "another name of the module of builtins", "import enum\nreturn «[enum.bltns]»"),
    refused("BCP111", "imported by another name", "from enum import bltns\nreturn «bltns.eval»(name)"),
    accepted("another module's own", "import enum\nreturn enum.unique(other)"),
]

LIBRARY = [
    accepted("the names of the fields of a data class", "import dataclasses\nreturn dataclasses.fields(me)"),
    accepted("a copy of a data class", "import copy, dataclasses\nreturn dataclasses.replace(me, x=1), copy.copy(me)"),
    refused("BCP104", "a copy with a private field", "import dataclasses\nreturn «dataclasses.replace(me, _rate=1)»"),
    refused("BCP105", "a copy of anything with one", "import copy\nreturn «copy.replace(other, _rate=1)»"),
    refused("BCP104", "a copy by its protocol", "return «me.__replace__(_rate=1)»"),
    refused("BCP106", "a copy with fields that are not known", "import copy\nreturn «copy.replace(me, **other)»"),
    refused("BCP106", "by its protocol, not known", "return «me.__replace__(**other)»"),
    refused("BCP106", "options stored in the receiver", "return «other.parse_args(name, me)»"),
    refused("BCP106", "options stored in the receiver, some", "return «other.parse_known_args(namespace=me)»"),
    accepted("options stored elsewhere", "return other.parse_args(name, other), other.parse_args(namespace=name)"),
    refused("BCP106", "a shelf of bytes", "import shelve\nreturn «shelve.Shelf({b'a': b'cshop.cart'})»['a']"),
    accepted("a shelf in a file", "import shelve\nreturn shelve.open(name)['a']"),
    refused("BCP111", "documentation by name", "import pydoc\nreturn «pydoc.render_doc»('shop.cart.RATE')"),
    accepted("plain text", "import pydoc\nreturn pydoc.plain(name)"),
    refused("BCP111", "commands for a debugger", "import pdb\n«pdb.set_trace»(commands=['me._rate'])"),
    refused("BCP111", "an object at an address", "import ctypes\nreturn ctypes.cast(other, «ctypes.py_object»)"),
    accepted("a number at an address", "import ctypes\nreturn ctypes.cast(other, ctypes.c_void_p)"),
    refused("BCP106", "a text with the names of an owner", "return «name.evaluate(owner=type(me))»"),
    accepted("what is evaluated elsewhere", "return name.evaluate(other)"),
    accepted("a private keyword of something else", "return other(_rate=1), other.replace(_rate=1)"),
    refused("BCP111", "all fields of a data class", "import dataclasses\nreturn «dataclasses.asdict»(me)"),
    refused("BCP111", "all values of a data class", "«from dataclasses import astuple»\nreturn astuple(me)"),
    accepted("a mock", "from unittest import mock\nreturn mock.Mock(me)"),
    refused("BCP111", "a patched name", "from unittest import mock\nwith «mock.patch»('shop.cart.RATE', 4):\n    pass"),
    refused("BCP111", "a patched attribute", "import unittest.mock\n«unittest.mock.patch».object(me, '_rate', 4)"),
    refused("BCP111", "a patched name by an unknown package", "return «other.mock.patch»('shop.cart.RATE', 4)"),
    refused(
        "BCP111", "a patched name by an unknown value's packages", "«name[0].unittest.mock.patch»('shop.cart.RATE')"
    ),
    accepted("a method that is called patch", "return other.patch(name), prices.patch(me)"),
    refused("BCP111", "a module made of a specification", "return «importlib.util.module_from_spec»(other)"),
    refused("BCP111", "a loader", "from importlib import machinery\nreturn «machinery.SourceFileLoader»(name, name)"),
    refused("BCP111", "a loader of an unknown value's module", "return «other.machinery.SourceFileLoader»(name, name)"),
    accepted("the suffixes of modules", "from importlib import machinery\nreturn machinery.SOURCE_SUFFIXES"),
    refused(
        "BCP111", "an entry point", "«from importlib.metadata import EntryPoint»\nreturn EntryPoint(name, name, name)"
    ),
    accepted("entry points", "from importlib import metadata\nreturn metadata.entry_points(group='shop')"),
    refused("BCP111", "all packages", "return «pkgutil.walk_packages»(other)"),
    accepted("the names of packages", "return pkgutil.iter_modules(other)"),
    refused(
        "BCP111", "tests by their names", "import unittest\nreturn «unittest.TestLoader»().loadTestsFromName(name)"
    ),
    refused("BCP111", "a configuration that names objects", "from logging import config\n«config.dictConfig»(other)"),
    accepted("a configuration that doesn't", "logging.basicConfig(level=other)"),
    refused("BCP111", "types of annotations", "return «typing.get_type_hints»(me)"),
    accepted("what annotations are made of", "return typing.get_args(other), typing.get_origin(other)"),
    refused("BCP111", "a forward reference", "return «typing.ForwardRef»('RATE')"),
    refused("BCP111", "annotations", "return «inspect.get_annotations»(me, eval_str=True)"),
    refused("BCP106", "annotations of a signature", "return «inspect.signature(me, eval_str=True)»"),
    refused("BCP106", "a signature, unpacked", "return «inspect.signature(me, **other)»"),
    refused("BCP106", "a signature as a value", "return «map(inspect.signature, other)»"),
    refused("BCP111", "bases", "return «inspect.getmro»(other)"),
    refused("BCP111", "attributes of a class", "return «inspect.classify_class_attrs»(other)"),
    refused("BCP111", "arguments of a call", "return «inspect.getargvalues»(other)"),
    accepted("what something is", "return inspect.isclass(other), inspect.signature(other), inspect.getdoc(me)"),
    refused("BCP111", "measured text", "import timeit\nreturn «timeit.timeit»(name)"),
    accepted("a clock", "import timeit\nreturn timeit.default_timer()"),
    refused("BCP111", "completed text", "import rlcompleter\nreturn «rlcompleter.Completer»({'me': me})"),
    refused("BCP111", "unmarshalled code", "import marshal\nreturn «marshal.loads»(other)"),
    refused("BCP106", "objects found by names in bytes", "import pickle\nreturn «pickle.loads(b'cshop.cart')»"),
    refused("BCP106", "bytes made of text", "import pickle\nreturn «pickle.loads('cshop.cart'.encode())»"),
    refused("BCP106", "a file of bytes", "import io, pickle\nreturn «pickle.load(io.BytesIO(b'cshop.cart'))»"),
    refused("BCP106", "bytes in turn", "import pickle\nfor one in (b'a', b'b'):\n    «pickle.loads(one)»"),
    refused("BCP106", "by another name", "import pickle\nload = pickle.loads\nreturn «load(b'cshop.cart')»"),
    refused("BCP106", "bytes that a function gives", "import pickle\nreturn «pickle.loads((lambda: b'a')())»"),
    refused("BCP106", "a loader as a value", "import pickle\nreturn «map(pickle.loads, other)»"),
    refused("BCP106", "bytes made of numbers", "import pickle\nreturn «pickle.loads(bytes([99, 115]))»"),
    refused("BCP106", "bytes made of a number", "import pickle\nreturn «pickle.loads((25459).to_bytes(2, 'big'))»"),
    accepted("numbers as bytes, of another", "import pickle\nreturn pickle.loads(bytes(other)), bytes([99, 115])"),
    refused(
        "BCP106",
        "by another pickler",
        "from multiprocessing.reduction import ForkingPickler\nreturn «ForkingPickler.loads(b'cshop.cart')»",
    ),
    refused(
        "BCP111",
        "a configuration that names objects, in parts",
        "from logging import config\nreturn «config.DictConfigurator»({})",
    ),
    accepted("bytes from outside", "import pickle\nreturn pickle.loads(other.get('key'), encoding='latin1')"),
    accepted("a file by its name", "import pickle\nwith open('a', 'rb') as file:\n    return pickle.load(file)"),
    accepted(
        "gathered bytes", "import pickle\ndata = b''\nfor one in other:\n    data += one\nreturn pickle.loads(data)"
    ),
    refused("BCP113", "a call's code", "return «sys._getframe(1).f_code»"),
    refused("BCP113", "code in a variable", "code = «other.f_code»\nreturn code.replace(co_name=name)"),
    refused("BCP113", "captured code", "code = «other.gi_code»\nreturn lambda: code.co_name"),
    refused("BCP113", "code by name", "return «getattr(other, 'cr_code')».co_name"),
    accepted(
        "what code is called",
        "code = other.f_code\nreturn code.co_filename, code.co_firstlineno, other.gi_code.co_name",
    ),
    accepted("marshalled values", "import marshal\nreturn marshal.dumps(other)"),
    refused("BCP111", "the interpreter's own functions", "import ctypes\nreturn «ctypes.PyDLL»(None)"),
    accepted("a library's functions", "import ctypes\nreturn ctypes.CDLL(name)"),
    refused("BCP106", "a module of such functions, as a value", "import dataclasses\nreturn «[dataclasses]»"),
]

OWN_MODULE = [
    accepted("another module of the package", "import shop.prices\nreturn shop.prices.low"),
    accepted("the package above", "return shop.prices"),
    refused("BCP112", "imported by its name", "«import shop.cart»\nreturn shop.prices"),
    refused("BCP112", "imported under another name", "«import shop.cart as cart»\nreturn cart"),
    refused("BCP112", "imported from its package", "«from shop import cart»\nreturn cart.RATE"),
    refused("BCP112", "imported relatively", "«from . import cart»\nreturn cart.RATE"),
    refused("BCP112", "a name imported from it", "«from shop.cart import RATE»\nreturn RATE"),
    refused("BCP112", "a name imported from it relatively", "«from .cart import RATE»\nreturn RATE"),
    refused("BCP112", "reached through its package", "return «shop.cart».RATE"),
    refused("BCP112", "sys.modules", "return «sys.modules»['shop.cart']"),
    refused("BCP112", "sys.modules of another module's sys", "return «os.sys.modules»"),
    refused("BCP112", "sys.modules of an unknown value's sys", "return «other.sys.modules»"),
    refused("BCP112", "of an unknown value's package", "return «other.shop.cart».RATE"),
    refused("BCP106", "its package as a value", "return «[shop]»"),
    refused("BCP112", "its package, captured", "import shop\nreturn lambda: «shop.cart».RATE"),
    refused("BCP112", "sys.modules imported", "«from sys import modules»\nreturn modules"),
    refused("BCP112", "sys.modules by name", "return «getattr(sys, 'modules')»"),
    refused("BCP112", "imported by a function", "return «importlib.import_module('shop.cart')»"),
    refused("BCP112", "imported by a function, relatively", "return «importlib.import_module('.cart', 'shop')»"),
    refused("BCP112", "imported by a function, from here", "return «importlib.import_module('.cart', __package__)»"),
    accepted("another module imported by a function", "return importlib.import_module('shop.prices').low"),
    accepted("another module, relatively", "return importlib.import_module('.prices', package='shop')"),
    refused("BCP103", "a private module imported by a function", "return «importlib.import_module('shop._prices')»"),
    refused("BCP106", "an unknown module imported by a function", "return «importlib.import_module(name)»"),
    refused("BCP106", "from an unknown package", "return «importlib.import_module('.cart', name)»"),
    refused("BCP112", "by the finder of documentation", "import pydoc\nreturn «pydoc.locate('shop.cart.RATE')»"),
    accepted(
        "whether another module can be found", "from importlib.util import find_spec\nreturn find_spec('shop.prices')"
    ),
    refused("BCP112", "found by its name", "from importlib.util import find_spec\nreturn «find_spec('shop.cart')»"),
    refused("BCP106", "an unknown one found", "import importlib.util\nreturn «importlib.util.find_spec(name)»"),
    refused(
        "BCP112", "found from its package", "from importlib.util import find_spec\nreturn «find_spec('.cart', 'shop')»"
    ),
    accepted("data of another package", "return pkgutil.get_data('shop.prices', 'low.txt')"),
    refused("BCP112", "its data", "return «pkgutil.get_data('shop.cart', 'low.txt')»"),
    refused("BCP113", "by its loader", "return «prices.__loader__».load_module('shop.cart')"),
    refused("BCP113", "by its specification", "return «prices.__spec__».loader.load_module('shop.cart')"),
    refused("BCP111", "by a finder", "return «sys.meta_path»[0].find_spec('shop.cart')"),
    refused("BCP111", "by a finder of a folder", "return «sys.path_hooks»[0]('.')"),
    refused("BCP111", "by a finder that was used", "return «sys.path_importer_cache»"),
    accepted("where modules are looked for", "return sys.path[0]"),
    refused("BCP111", "a script in a process", "«sys.remote_exec»(1, name)"),
    refused("BCP111", "of one of several values", "return «[other.mock][0].patch»('shop.cart.RATE', 4)"),
    accepted("another one of one of several values", "return [other.mock][0].patches"),
    refused("BCP106", "a module of what is not known, as a value", "return «[other.sys]»[0].path"),
    accepted("a path of a module of what is not known", "return other.sys.path"),
    refused("BCP112", "of what a pattern reads", "match other:\n    case object(sys=found):\n        «found.modules»"),
    refused("BCP112", "names stored in it", "import enum\n«enum.global_enum»(other)"),
    accepted("names stored in the class itself", "import enum\nreturn enum.unique(other)"),
    refused("BCP112", "by a resolver of names", "return «pkgutil.resolve_name('shop.cart:RATE')»"),
    refused("BCP112", "by a function that finds modules", "return «inspect.getmodule»(me)"),
    refused("BCP112", "the module that was started", "«import __main__»\nreturn __main__"),
    accepted("another module, loaded again", "return importlib.reload(prices)"),
]

FORGETTING = """
class Forgetting(dict):
    def __setitem__(me, key, value): pass
class Meta(type):
    @classmethod
    def __prepare__(meta, name, bases): return Forgetting()
"""

BODIES = [
    refused(
        "BCP101", "a namespace that forgets", f"{FORGETTING}class L(metaclass=Meta):\n    RATE = 1\n    low = «RATE»"
    ),
    refused(
        "BCP101",
        "a namespace that forgets, by a base",
        f"{FORGETTING}class B(metaclass=Meta): pass\nclass L(B):\n    RATE = 1\n    low = «RATE»",
    ),
    accepted("a name that the module has not", "class L(other):\n    if name:\n        low = 1\n    twice = low * 2"),
    accepted("a name that a comprehension reads", "class L:\n    low = name\n    twice = [one * 2 for one in low]"),
    accepted("one that the module has too", "class L:\n    RATE = name\n    twice = [one * 2 for one in RATE]"),
    refused(
        "BCP101",
        "one that is bound after a try",
        "class L:\n    try: other()\n    except ValueError: pass\n    RATE = 1\n    low = «RATE»",
    ),
    refused(
        "BCP101",
        "its own `super` is given the class",
        "class L:\n    super = lambda *some: some\n    super(«__class__», me)",
    ),
    accepted("super in a class body", "class L:\n    low = super(__class__, me).total"),
    refused("BCP103", "its own name for a module", "class L:\n    os = me\n    low = «os._exit»"),
    accepted("a module", "class L:\n    low = os._exit"),
    refused("BCP103", "a name that its namespace may bring", "class L(metaclass=other):\n    low = «os._exit»"),
    refused(
        "BCP103",
        "its own name for a module, in an alias",
        "class L:\n    os = me\n    type Low = «os._exit»",
        GENERIC,
    ),
    accepted("a module, in an alias", "class L:\n    type Low = os._exit", GENERIC),
    refused(
        "BCP106",
        "its own `getattr` is given a module",
        "class L:\n    getattr = other.append\n    «getattr(operator, 'x')»",
    ),
    refused(
        "BCP106",
        "its own `__package__`",
        "class L:\n    __package__ = 'x'\n    low = «importlib.import_module('.y', __package__)»",
    ),
    accepted("`__package__`", "class L:\n    low = importlib.import_module('.y', __package__)"),
    refused(
        "BCP106",
        "its own type matches itself",
        "class L:\n    int = other\n    match name:\n        case «int(low)»: pass",
    ),
    accepted("a builtin type matches itself", "class L:\n    match name:\n        case int(low): pass"),
    accepted("bases and keywords that are unpacked", "class L(*other, **name): low = 1"),
    refused("BCP101", "a module's name in such a class", "class L(*other):\n    RATE = 1\n    low = «RATE»"),
    accepted("`__class__` of the class that is made", "class L:\n    def low(self): return __class__"),
    refused(
        "BCP101", "`__class__` in its body", "class L:\n    low = «__class__»\n    def high(self): return __class__"
    ),
]

#: Imports, and what they leave the module of its own.
IMPORTS = [
    Case(
        "for type checkers, of the module's own name",
        "BCP101",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from os import sep as X\nX = 3\n"
        "def use(): return «X»\n",
    ),
    Case(
        "for type checkers, with another at run time",
        "BCP108",
        "import typing\nif typing.TYPE_CHECKING:\n    from os import sep as X\nelse:\n    X = 3\ndef use(x=«X»): ...\n",
    ),
    Case(
        "for type checkers, where no other has it",
        "",
        "import typing\nif typing.TYPE_CHECKING:\n    from os import PathLike\n"
        "def use(x):\n    if typing.TYPE_CHECKING:\n        assert isinstance(x, PathLike)\n",
    ),
    Case(
        "for type checkers and at run time",
        "",
        "import typing\nif typing.TYPE_CHECKING:\n    from os import sep as X\nelse:\n    from os import name as X\n"
        "def use(x=X): return X\n",
    ),
    Case(
        "for type checkers, quoted in a function",
        "",
        "import typing\nif typing.TYPE_CHECKING:\n    from os import PathLike\n"
        "def use():\n    def inner(a: 'PathLike'): ...\n    return inner\n",
    ),
    refused("BCP112", "the module by another one", "return «prices.shop.cart».RATE"),
    accepted("another module by another one", "return prices.shop.eu.RATE"),
    refused("BCP112", "the module by one that is not known", "return «other.x.shop.cart».RATE"),
]

SHADOWED = [
    Case(
        "a builtin that the module defines anew",
        "BCP101",
        "def open(): pass\ndef use(path):\n    return «open»(path)\n",
    ),
    Case(
        "a builtin that the module stores under a condition",
        "BCP101",
        "if input:\n    max = 3\ndef use(x):\n    return «max»(x)\n",
    ),
    Case(
        "a builtin that a function of the module stores",
        "BCP101",
        "def use(x):\n    return «max»(x)\nclass A:\n    def set(self):\n        global max\n        return «max»\n",
    ),
    Case(
        "a builtin that a method is called like",
        "",
        "class Cart:\n    def open(self): pass\ndef use(path):\n    return open(path)\n",
    ),
    Case(
        "a builtin's name for a private one of another module",
        "BCP103",
        "from os import _path as max\ndef use(x):\n    return «max»(x)\n",
    ),
    Case("a builtin that is imported", "", "from os import open\ndef use(path):\n    return open(path)\n"),
    Case("a name from a star", "BCP106", "from os import *\ndef use(path):\n    return «getcwd»()\n"),
    Case("a builtin beside a star", "", "from os import *\ndef use(path):\n    return len(path)\n"),
    Case("a name of the module beside a star", "BCP101", "from os import *\nX = 1\ndef use():\n    return «X»\n"),
    Case(
        "one of two imports",
        "",
        "try:\n    import json\nexcept ImportError:\n    import ujson as json\ndef use():\n    return json.loads\n",
    ),
    Case(
        "the worse of two imports",
        "BCP103",
        "try:\n    import json\nexcept ImportError:\n    import _json as json\ndef use():\n    return «json».loads\n",
    ),
]

# --- rule 2: public names of other modules --------------------------------------------------

MODULES = [
    accepted("a public name", "return json.dumps, prices.low, relative.high"),
    refused("BCP103", "a private name", "return «prices._low»"),
    refused("BCP103", "a private name that is stored", "«prices._low» = other"),
    refused("BCP103", "a private name that is deleted", "del «prices._low»"),
    refused("BCP103", "a private name that is called", "return «prices._low»()"),
    refused("BCP103", "a private name of a module imported relatively", "return «relative._low»"),
    refused("BCP103", "imported by the module", "return «_hidden»"),
    refused("BCP103", "imported by the function", "«from shop.prices import _low»\nreturn _low"),
    refused("BCP103", "a private module", "«import shop._prices»\nreturn shop.prices"),
    refused("BCP103", "a private module under a public name", "«import shop._prices as p»\nreturn p"),
    refused("BCP103", "a private module of its package", "«from . import _prices»\nreturn _prices"),
    refused("BCP103", "a public name of a private module", "«from shop._prices import low»\nreturn low"),
    refused("BCP103", "a private attribute of an imported class", "return «Price._low»"),
    refused("BCP106", "an import from outside of the package", "«from ... import other as o»\nreturn o"),
    accepted("a documented private name", "return os._exit, sys._getframe(1).f_code.co_name"),
    accepted("a documented private name, imported", "from os import _exit\nimport _thread\nreturn _exit, _thread"),
    refused("BCP103", "the same name of another module", "return «json._exit»"),
    refused("BCP105", "the same name of an unknown object", "return «other._exit»"),
]

# --- rule 4: attributes ---------------------------------------------------------------------

RECEIVER = [
    accepted("public attributes", "me.count += 1\ndel me.extra\nreturn me.count, me.add(other)"),
    refused("BCP104", "read", "return «me._rate»"),
    refused("BCP104", "stored", "«me._rate» = other"),
    refused("BCP104", "deleted", "del «me._rate»"),
    refused("BCP104", "called", "return «me._rate»()"),
    refused("BCP104", "mangled", "return «me.__rate»"),
    refused("BCP104", "an alias", "cart = me\nreturn «cart._rate»"),
    refused(
        "BCP104", "an alias of an alias, on one path", "cart = other\nif name:\n    cart = me\nreturn «cart._rate»"
    ),
    refused(
        "BCP104",
        "of one of two values",
        "return «(me if other else name)._rate»",
    ),
    refused("BCP104", "in a nested function", "def inner():\n    return «me._rate»\nreturn inner"),
    refused(
        "BCP104",
        "in two nested functions",
        "def inner():\n    def deep():\n        return «me._rate»\n    return deep\nreturn inner",
    ),
    refused("BCP104", "an alias that is captured", "cart = me\nreturn lambda: «cart._rate»"),
    refused("BCP104", "in a comprehension", "return [«me._rate» for _ in other]"),
    refused("BCP104", "in a generator expression", "return any(«me._rate» for _ in other)"),
    refused("BCP104", "super", "return «super()._rate»"),
    refused("BCP104", "super, called", "return «super()._rate»()"),
    refused("BCP104", "super with its arguments", "return «super(__class__, me)._rate»"),
    refused("BCP104", "an alias of super", "base = super()\nreturn «base._rate»"),
    accepted("super, public", "return super().total(other)"),
    refused("BCP104", "type(self)", "return «type(me)._rate»"),
    refused("BCP104", "an alias of type(self)", "kind = type(me)\nreturn «kind._rate»"),
    refused("BCP104", "__class__", "return «me.__class__._rate»"),
    accepted("type(self), public", "type(me).count += 1\nreturn type(me)(other), me.__class__.__name__"),
    accepted("passing the receiver on", "other.add(me)\nreturn prices.of(me), [me], {'me': me}"),
    accepted("protocol names", "me.__init__()\nreturn me.__len__(), me.__doc__, type(me).__name__"),
]

ANYTHING = [
    accepted("public attributes", "other.count = 1\nreturn other.add(name).total"),
    refused("BCP105", "read", "return «other._rate»"),
    refused("BCP105", "stored", "«other._rate» = me"),
    refused("BCP105", "deleted", "del «other._rate»"),
    refused("BCP105", "called", "return «other._add»(me)"),
    refused("BCP105", "mangled", "return «other.__rate»"),
    refused("BCP105", "of a result", "return «other.find(name)._rate»"),
    refused("BCP105", "of an item", "return «other[0]._rate»"),
    refused("BCP105", "of an attribute of the receiver", "return «me.price._rate»"),
    refused("BCP105", "in a loop", "for «other._rate» in name: pass"),
    refused("BCP105", "in a with statement", "with other as «me.other._file»: pass"),
    refused(
        "BCP105", "by a keyword of a class pattern", "match other:\n    case «Price(_rate=rate)»:\n        return rate"
    ),
    accepted("by a public keyword of a class pattern", "match other:\n    case Price(rate=rate):\n        return rate"),
    refused("BCP106", "by position in a class pattern", "match other:\n    case «Price(rate)»:\n        return rate"),
    accepted(
        "the value itself in the pattern of a builtin type",
        "match other:\n    case int(rate) | str(rate):\n        return rate",
    ),
    accepted("a named tuple's", "return other._replace(x=1), other._asdict(), me._fields"),
    accepted("an enumeration's", "return other._value_, other._name_"),
]

INSIDE = [
    *(
        refused("BCP113", name, f"return «me.{name}»")
        for name in (
            "__dict__",
            "__getattribute__",
            "__getstate__",
            "__reduce_ex__",
            "__subclasses__",
            "__mro__",
            "__self__",
        )
    ),
    *(
        refused("BCP113", name, f"return «other.{name}»")
        for name in (
            "__dict__",
            "__globals__",
            "__code__",
            "__closure__",
            "__builtins__",
            "__func__",
            "__wrapped__",
            "gi_frame",
            "cr_frame",
            "ag_frame",
            "tb_frame",
            "f_back",
            "f_globals",
            "f_locals",
            "f_builtins",
        )
    ),
    refused("BCP113", "of a module", "return «prices.__dict__»"),
    refused("BCP113", "of super", "return «super().__getattribute__»(name)"),
    refused("BCP113", "of object", "return «object.__getattribute__»(me, 'total')"),
    refused("BCP113", "stored", "«other.__code__» = name"),
    refused("BCP113", "by name", "return «getattr(me, '__dict__')»"),
    refused("BCP113", "classes", "return «type(me).mro»()"),
    refused("BCP113", "classes, by the type of types", "return «type.mro»(other)"),
    accepted("what is called so elsewhere", "return other.mro(), me.mro"),
    *(
        Case(
            f"imported: {name}",
            rule,
            f"from shop.prices import {name} as found\ndef total(other):\n    return {place}['low']\n",
        )
        for name, rule, place in (
            ("__dict__", "BCP113", "«found»"),
            ("__loader__", "BCP113", "«found»"),
            ("__spec__", "BCP113", "«found»"),
            ("__getattr__", "BCP106", "«found»"),
            ("__doc__", "", "found"),
            ("low", "", "found"),
        )
    ),
]

BY_NAME = [
    accepted(
        "a constant public name",
        "setattr(me, 'count', 1)\ndelattr(other, 'x')\nreturn getattr(me, 'count', 0), hasattr(other, 'x')",
    ),
    refused("BCP104", "a constant private name of the receiver", "return «getattr(me, '_rate')»"),
    refused("BCP104", "of an alias", "cart = me\nreturn «hasattr(cart, '_rate')»"),
    refused("BCP105", "a constant private name", "«setattr(other, '_rate', 1)»"),
    refused("BCP103", "a constant private name of a module", "return «getattr(prices, '_low')»"),
    refused("BCP106", "an unknown name", "return «getattr(me, name)»"),
    refused("BCP106", "an unknown name, stored", "«setattr(me, name, 1)»"),
    refused("BCP106", "an unknown name, deleted", "«delattr(me, name)»"),
    refused("BCP106", "an unknown name, asked for", "return «hasattr(me, name)»"),
    refused("BCP106", "of any object", "return «getattr(other, name)»"),
    refused("BCP106", "put together", "return «getattr(me, 'to' + name)»"),
    accepted("one of two constant names", "return getattr(me, 'low' if other else 'high')"),
    accepted("a local that holds a constant", "key = 'count'\nreturn getattr(me, key)"),
    refused("BCP104", "one of two, a private one", "return «getattr(me, 'low' if other else '_high')»"),
    refused("BCP106", "unpacked", "return «getattr(*other)»"),
    refused("BCP106", "a text that is unpacked", "return «operator.attrgetter(*'_l')»(me)"),
    refused("BCP106", "of a module that is imported by name", "«importlib.import_module('operator')»"),
    refused("BCP106", "of an unknown value's module", "return «other.operator.attrgetter»(name)"),
    refused("BCP106", "a module of a module, by name", "return «getattr(os, 'sys')»"),
    refused("BCP106", "of what may be a module", "return «getattr(name or os, 'sys')».modules"),
    refused("BCP106", "of what comes later", "return «operator.attrgetter('sys.modules')»(os)"),
    refused("BCP106", "by a pattern", "match os:\n    case «object(sys=found)»:\n        return found"),
    accepted(
        "what is called like one, of another value",
        "match other:\n    case object(sys=found): pass\nreturn getattr(other, 'sys'), operator.attrgetter('code')",
    ),
    refused("BCP106", "as a value", "return «map(getattr, other, name)»"),
    refused("BCP106", "captured", "«read» = getattr\nreturn lambda: «read(me, name)»"),
    refused("BCP106", "by a finder of objects", "return «pkgutil.resolve_name('builtins:getattr')»(me, name)"),
    refused("BCP106", "a module of a module, by a finder", "return «pkgutil.resolve_name('os:sys')».modules"),
    refused("BCP106", "the format of texts, by a finder", "import pydoc\nreturn «pydoc.locate('builtins.str.format')»"),
    accepted("another one, by a finder", "return pkgutil.resolve_name('builtins:len')(name)"),
    accepted("a parser of XML", "import xml.sax\nreturn xml.sax.make_parser()"),
    refused("BCP106", "a parser of XML by its module", "import xml.sax\nreturn «xml.sax.make_parser(['shop.cart'])»"),
    refused("BCP106", "the names of a module", "import optparse\nreturn «optparse.Values().read_module('shop.cart')»"),
    accepted("the type of options", "import optparse\nreturn isinstance(other, optparse.Values)"),
    refused(
        "BCP106", "a copy with other values, as a value", "return «functools.partial(dataclasses.replace, _rate=1)»"
    ),
    refused("BCP106", "options stored in the receiver, unpacked", "return «other.parse_args(name, *[me])»"),
    accepted("a wrapper of what may be the receiver", "return functools.wraps(me)(other)"),
    refused("BCP106", "evaluated with names of the receiver's class", "return «name.evaluate(**{'owner': type(me)})»"),
    accepted("evaluated with others", "return name.evaluate(**other)"),
    refused("BCP106", "in a partial", "return «functools.partial(getattr, me)»"),
    refused("BCP106", "returned", "«return getattr»"),
    refused("BCP106", "put into a container", "return «[getattr]»"),
    refused("BCP106", "put into an attribute", "«me.get» = getattr"),
    refused("BCP106", "on one path, put into a container", "get = getattr if other else len\nreturn «[get]»"),
    accepted("through a local", "get = getattr\nreturn get(me, 'count')"),
    refused("BCP106", "through a local, unknown", "get = getattr\nreturn «get(me, name)»"),
    refused("BCP106", "by its own call", "return «getattr.__call__»(me, name)"),
    refused("BCP106", "from the module of builtins", "return «builtins.getattr(me, name)»"),
    refused("BCP106", "from the module of builtins, by name", "return «getattr(builtins, 'getattr')»(me, name)"),
    accepted("attrgetter, constant", "return operator.attrgetter('count', 'price.low')(me)"),
    refused("BCP105", "attrgetter, private", "return «operator.attrgetter('price._low')»(me)"),
    refused("BCP106", "attrgetter, unknown", "return «operator.attrgetter(name)»(me)"),
    refused("BCP106", "attrgetter imported, unknown", "return «attrgetter('low', name)»(me)"),
    Case(
        "attrgetter by another name, unknown",
        "BCP106",
        "from operator import attrgetter as pick\ndef use(name):\n    return «pick(name)»\n",
    ),
    Case(
        "attrgetter by another name", "", "from operator import attrgetter as pick\ndef use():\n    return pick('x')\n"
    ),
    refused("BCP105", "methodcaller", "return «operator.methodcaller('_low')»(me)"),
    refused("BCP106", "a module that has such functions", "return «[operator]»"),
    refused("BCP106", "a module that has such functions, passed on", "return «other(operator)»"),
    accepted(
        "imported in the function",
        "import operator\nfrom operator import attrgetter as get\nreturn get('x'), operator.itemgetter(0)",
    ),
    refused(
        "BCP106", "imported in the function and captured", "import operator\nreturn lambda: «operator.attrgetter(name)»"
    ),
    accepted("whether a module has a name", "return hasattr(sys, 'frozen'), getattr(sys, 'frozen', False)"),
    refused("BCP104", "statically", "return «inspect.getattr_static(me, '_rate')»"),
    refused("BCP111", "a module run by its name", "import runpy\nreturn «runpy.run_module»('shop.cart')"),
    accepted("an attribute that is called like a module of the standard library", "return prices.code, other.code"),
    refused("BCP111", "all of them", "return «inspect.getmembers»(me)"),
    accepted("__setattr__, constant", "object.__setattr__(me, 'count', 1)\nsuper().__setattr__('count', 1)"),
    refused("BCP104", "__setattr__, private", "«object.__setattr__(me, '_count', 1)»"),
    refused("BCP104", "__setattr__ of super, private", "«super().__setattr__('_count', 1)»"),
    refused("BCP106", "__setattr__, unknown", "«super().__setattr__(name, 1)»"),
    refused("BCP106", "__setattr__ as a value", "return «[me.__setattr__]»"),
    refused("BCP106", "__getattr__, unknown", "return «super().__getattr__(name)»"),
    refused("BCP106", "__delattr__, unknown", "«me.__delattr__(name)»"),
    refused("BCP106", "__setattr__ by name", "return «getattr(me, '__setattr__')»('_rate', 1)"),
    refused(
        "BCP106", "__setattr__ of what comes later", "return «operator.methodcaller('__setattr__', '_rate', 1)»(me)"
    ),
    accepted("whether there is one", "return hasattr(other, '__getattr__'), getattr(me, '__len__')()"),
    refused("BCP106", "__setattr__ by a pattern", "match me:\n    case «object(__setattr__=store)»: return"),
    accepted("another one by a pattern", "match me:\n    case object(__len__=size): return size()"),
    refused("BCP106", "getattr by a pattern", "match builtins:\n    case «object(getattr=get)»: return len(name)"),
    refused(
        "BCP106", "attrgetter by a pattern", "match operator:\n    case «object(attrgetter=get)»: return len(name)"
    ),
    refused(
        "BCP106",
        "of a pattern's third attribute",
        "match other:\n    case object(a=a, builtins=found, c=c, d=d): return «found.getattr»(me, name)",
    ),
    accepted(
        "a pattern's other attributes", "match other:\n    case object(a=a, low=b, c=c, d=d): return b.get(me, name)"
    ),
    refused(
        "BCP104",
        "a descriptor that keeps its value under a name",
        "«functools.cached_property(len).__set_name__(type(me), '_rate')»",
    ),
    refused("BCP106", "the same, unknown", "«functools.cached_property(len).__set_name__(type(me), name)»"),
    accepted("under a public name", "functools.cached_property(len).__set_name__(type(me), 'rate')"),
    refused("BCP106", "attrgetter of a module that imports it", "return «inspect.attrgetter(name)»(me)"),
    refused("BCP104", "getattr of a module that imports it", "return «prices.getattr(me, '_rate')»"),
    accepted("getattr of a module that imports it, constant", "return prices.getattr(me, 'rate')"),
    Case(
        "getattr from elsewhere",
        "BCP106",
        "from shop.compat import getattr as get\ndef use(me, name):\n    return «get(me, name)»\n",
    ),
    Case("another one", "", "from shop.compat import getter as get\ndef use(me, name):\n    return get(me, name)\n"),
    refused("BCP106", "imported in the function, as a value", "import gc\nreturn «[gc]»"),
    refused("BCP106", "imported in the function, captured, as a value", "import gc\nreturn lambda: «[gc]»"),
    refused(
        "BCP106",
        "imported in the function and captured beside others",
        """
        import operator
        a = b = c = d = [other.x.y.z, other.x.y.z, other.x.y.z, other.x.y.z, other.x.y.z, other.x.y.z]
        return lambda: (a, b, c, d, «operator.attrgetter(name)»)
        """,
    ),
    refused(
        "BCP106",
        "imported in the function and kept in a variable that other functions store",
        """
        import operator
        def store(value):
            nonlocal operator
            «operator» = getattr
        return store, operator.itemgetter(0)
        """,
    ),
]

FORMATS = [
    accepted(
        "public fields",
        "return '{0.count} {x.low[0]!r:>{width}}'.format(me, x=name, width=3)",
    ),
    refused("BCP104", "a private field of the receiver", "return «'{0._rate}'.format(me)»"),
    refused("BCP104", "in its turn", "return «'{} {._rate}'.format(other, me)»"),
    refused("BCP104", "by keyword", "return «'{cart._rate}'.format(cart=me)»"),
    refused("BCP105", "of a public field", "return «'{0.price._low}'.format(me)»"),
    refused("BCP105", "of an item", "return «'{0[0]._low}'.format(me)»"),
    refused("BCP104", "in a specification", "return «'{0:{1._width}}'.format(other, me)»"),
    refused("BCP113", "the inside", "return «'{0.__dict__}'.format(me)»"),
    refused("BCP105", "of a mapping", "return «'{me._rate}'.format_map(other)»"),
    refused("BCP106", "a text put together", "return «('{0.' + name + '}').format(other)»"),
    refused("BCP106", "an f-string as format text", "return «f'{{0.{name}}}'.format(other)»"),
    accepted("a text put together, of numbers", "return ('{0:' + name + '}').format(3, len(other))"),
    refused("BCP106", "an unknown text and the receiver", "return «name.format(me)»"),
    refused("BCP106", "an unknown text and the receiver, unpacked", "return «name.format(*[me])»"),
    accepted("an unknown text and unknown values", "return name.format(*other)"),
    accepted("an unknown object that formats another", "return logging.Formatter().format(other), name.format(other)"),
    refused(
        "BCP106",
        "a formatter's own way to its arguments",
        "import string\nreturn «string.Formatter().vformat('{0._rate}', (me,), {})»",
    ),
    refused(
        "BCP106",
        "a formatter that is asked for a field",
        "import string\nformatter = string.Formatter()\nreturn «formatter.get_field(name, (me,), {})»",
    ),
    refused(
        "BCP106",
        "a field of another value",
        "import string\nclass Own(string.Formatter): pass\nreturn «Own().get_field('0._rate', (other,), {})»",
    ),
    refused(
        "BCP106",
        "a formatter's own way, as a value",
        "import string\nreturn «functools.partial(string.Formatter().vformat, name)»",
    ),
    accepted("something else that has fields", "return other.get_field(name)"),
    refused("BCP106", "by the type, an unknown text", "return «str.format(name, other)»"),
    refused("BCP104", "by the type, a private field", "return «str.format('{0._rate}', me)»"),
    refused("BCP106", "as a value", "return «map(str.format, other)»"),
    refused("BCP106", "of a text, as a value", "return «functools.partial('{0._rate}'.format, me)»"),
    refused("BCP106", "of a text put together, as a value", "return «map(('{0.' + name + '}').format, other)»"),
    accepted("of a text without private fields, as a value", "return map('{0.rate:>3}'.format, other)"),
    accepted("an attribute that is called so", "return functools.partial(other.format, 1), other.format == 'PNG'"),
    refused("BCP106", "by name, of a text", "return «getattr('{0._rate}', 'format')»(other)"),
    *(
        refused("BCP106", f"of an unknown text, with the receiver: {about}", text)
        for about, text in (
            ("a map", "return «map(name.format, [me])»"),
            ("a partial", "return «functools.partial(name.format, me)»"),
            ("a mapping", "return «functools.partial(name.format_map, {'cart': me})»"),
            ("an unknown call", "return «other.run(name.format, me)»"),
            ("by keywords", "return «other.run(f=name.format, **{'x': me})»"),
            ("unpacked", "return «map(*[name.format, [me]])»"),
            ("an item", "return «[name.format][0](me)»"),
            ("in turn", "for f in (name.format,):\n    «f(me)»"),
            ("a list that grows", "found = []\nfound.append(name.format)\nreturn «found[0](me)»"),
            ("a mapping's item", "found = {}\nfound['f'] = name.format\nreturn «found['f'](me)»"),
            ("a default", "return (lambda f=name.format: «f(me)»)()"),
            ("captured", "f = name.format\nreturn lambda: «map(f, [me])»"),
            ("given", "def give(): return name.format\nreturn «map(give(), [me])»"),
            ("a generator", "return «map(name.format, (me for _ in other))»"),
            ("sent", "f = yield name.format\nreturn «f(me)»"),
            ("by name", "return «getattr(name, 'format')(me)»"),
            ("by a pattern", "match name:\n    case object(format=f):\n        return «f(me)»"),
            ("of its type", "return «map(type('').format, [name], [me])»"),
            ("its call", "return «name.format.__call__(me)»"),
        )
    ),
    *(
        accepted(f"of an unknown text, without the receiver: {about}", text)
        for about, text in (
            ("a map", "return map(name.format, [other])"),
            ("a partial", "return functools.partial(name.format, other)"),
            ("an item", "return [name.format][0](other)"),
            ("a default", "return (lambda f=name.format: f(other))()"),
            ("by a pattern", "match name:\n    case object(format=f):\n        return f(other)"),
            ("called, the receiver to another", "name.format(*other)\nreturn other.handlers[0](me)"),
            ("compared, the receiver to another", "return name.format == 'PNG' and other.handlers[0](me)"),
            ("the receiver to what is named", "other.keep(name.format)\nreturn other.keep(me), len(me)"),
        )
    ),
    refused("BCP106", "of an unknown text, kept in a class", "class Local:\n    «f» = name.format\nreturn Local.f(me)"),
    accepted("another one kept in a class", "class Local:\n    f = name.lower\nreturn Local.f(me)"),
    refused(
        "BCP106",
        "of a formatter, unbound",
        "import string\nreturn «string.Formatter.format(string.Formatter(), name, me)»",
    ),
    refused(
        "BCP106",
        "by a formatter of its own kind",
        "import string\nclass Own(string.Formatter): pass\nreturn «Own().vformat(name, (me,), {})»",
    ),
    accepted("the same of others", "import string\nclass Own(string.Formatter): pass\nOwn().vformat(name, (1,), {})"),
    refused(
        "BCP106", "the receiver for all records", "return «logging.Formatter(name, style='{', defaults={'a': me})»"
    ),
    accepted("another default", "return logging.Formatter(name, style='{', defaults={'a': 1})"),
    refused("BCP106", "by name, of what comes later", "return ««operator.methodcaller('format', me)»('{0._rate}')»"),
    accepted("by name, of what is no text", "return getattr(other, 'format', None)"),
    refused("BCP106", "a formatter of log records", "return «logging.Formatter('{msg._rate}', style='{')»"),
    accepted("a formatter of log records, public", "return logging.Formatter('{msg.rate}', style='{')"),
    refused("BCP106", "a text put together for one", "return «logging.Formatter('{msg.' + name, style='{')»"),
    refused("BCP106", "for one, in its places", "return «logging.Formatter('{msg.' + name, None, '{')»"),
    refused("BCP106", "for one, in a style that is not known", "return «logging.Formatter(f'%{name}', style=other)»"),
    accepted("for one, in another style", "return logging.Formatter('%(msg)s' + name), logging.Formatter(f'{name}')"),
    accepted("a text from outside for one", "return logging.Formatter(name, style='{')"),
    refused("BCP106", "the format of all records", "«logging.basicConfig(format=name + '{', style='{')»"),
    accepted("the format of all records, as usual", "logging.basicConfig(format=name + '%(msg)s', level=other)"),
    refused("BCP106", "handed on with another value", "return «other('{0._rate}', name)»"),
    refused("BCP106", "handed on in a tuple", "return «other(('{0._rate}', ''))»"),
    accepted(
        "one of a table of texts",
        "for text in ('{}', '{:>3}'):\n    text.format(other)\nreturn {'a': '{}', 'b': '{:>3}'}[name].format(other)",
    ),
    refused("BCP106", "put into a container", "return «['{0.x._rate}', other]»"),
    refused("BCP106", "kept", "«me.text» = '{0.gi_frame}'"),
    accepted("compared, or of no meaning", "return other == '{0._rate', '{0._rate', '{a}._rate {}'"),
    accepted("public fields, handed on", "return other('{0.rate[_x]}', name)"),
    refused("BCP105", "by a formatter", "import string\nreturn «string.Formatter().format('{0._rate}', other)»"),
    refused("BCP106", "by a formatter, unknown", "import string\nreturn «string.Formatter().format(name, other)»"),
    refused(
        "BCP106", "of a formatter, as a value", "import string\nreturn «map(string.Formatter().format, other, me)»"
    ),
    accepted("by a formatter, public", "import string\nreturn string.Formatter().format('{0.rate}', other)"),
    refused("BCP106", "an unknown text and a keyword that is the receiver", "return «name.format(**{'a': me})»"),
    refused("BCP106", "the same in a container", "return «name.format(**dict(a=me))»"),
    refused("BCP106", "an item of what holds it", "for one in [me]:\n    «name.format(one)»"),
    accepted("an item of what doesn't", "for one in [other]:\n    name.format(one, **dict(a=other))"),
    refused("BCP106", "bytes as text", "return «b'{0._rate}'.decode().format(other)»"),
    refused("BCP106", "a text inside of a text", "return «json.loads('[1]').format(other)»"),
    accepted("a text from outside with something in it", "return name.replace('-', ' ').format(other)"),
    refused("BCP106", "a text from outside with a field in it", "return «name.replace('-', '{').format(other)»"),
    accepted("a text without its indents", "import textwrap\nreturn textwrap.dedent('''\n  {0.rate}''').format(other)"),
    accepted("bytes from outside as text", "return name.decode().format(other), json.loads(name).format(other)"),
]

# --- annotations, defaults, type parameters, classes ------------------------------------------

HEADER = """\
import typing
from typing import TYPE_CHECKING, Annotated, Literal, Optional
from shop.prices import Price, _Hidden
import shop.prices
if TYPE_CHECKING:
    from shop.lines import Line

RATE = 3

class Item: ...

"""


def header(rule: str, about: str, text: str, since: bool = True) -> Case:
    """Definitions below `HEADER`."""
    return Case(about, rule, HEADER + textwrap.dedent(text), since)


#: A quoted annotation has a place of its own only where annotations are code of their own.
QUOTED = pythons.LAZY_ANNOTATIONS

ANNOTATIONS = [
    header(
        "",
        "builtin and imported types",
        "def f(a: int, b: list[Price], *c: 'Price', d: Optional['Price'] = None) -> None: ...\n",
    ),
    header("", "a type that only type checkers import", "def f(a: 'Line') -> 'list[Line]': ...\n"),
    header(
        "",
        "a type of typeshed's",
        "if TYPE_CHECKING:\n    from _typeshed import SupportsRead\ndef f(a: 'SupportsRead[str]'): ...\n",
    ),
    header("BCP107", "taken", "def f(a: «Item»): ...\n"),
    header("BCP107", "returned", "def f(a) -> «Item»: ...\n"),
    header("BCP107", "within a type", "def f(a: list[«Item»]): ...\n"),
    header("BCP107", "in a union", "def f(a: «Item» | None): ...\n"),
    header("BCP107", "of a keyword", "def f(*, a: «Item»): ...\n"),
    header("BCP107", "of the rest", "def f(*a: «Item», **b: «Item»): ...\n"),
    header("BCP107", "quoted", "def f(a: «'Item'»): ...\n"),
    header("BCP107", "unpacked and quoted", "def f(*a: «'*tuple[Item]'»): ...\n"),
    header("", "unpacked and quoted, of another module", "def f(*a: '*tuple[Price]'): ...\n"),
    header("BCP107", "quoted within a type", "def f(a: list[«'Item'»]): ...\n"),
    header("BCP107", "a type quoted", "def f(a: «'list[Item]'»): ...\n"),
    header("BCP107", "quoted within a quoted type", "def f(a: «'list[\"Item\"]'»): ...\n"),
    header("BCP107", "named like its parameter", "def f(Item: «'Item'»): ...\n"),
    header("", "a parameter named like a type", "def f(Item: int, a: 'int') -> 'str': ...\n"),
    header(
        "", "a literal", "def f(a: Literal['Item'], b: 'Literal[\"Item\"]', c: typing.Literal['Item', 'RATE']): ...\n"
    ),
    header("", "metadata", "def f(a: Annotated[int, 'Item'], b: 'Annotated[int, \"Item\"]'): ...\n"),
    header("BCP107", "a type with metadata", "def f(a: Annotated[«'Item'», 'RATE']): ...\n"),
    header("BCP107", "a forward reference by hand", "def f(a: typing.ForwardRef(«'Item'»)): ...\n"),
    header("BCP107", "in a list of types", "def f(a: typing.Callable[[«'Item'»], int]): ...\n"),
    header("BCP103", "a private type of another module", "def f(a: «_Hidden»): ...\n"),
    header("BCP103", "a private type of another module, quoted", "def f(a: «'shop.prices._Low'»): ...\n"),
    header("", "a public type of another module, quoted", "def f(a: 'shop.prices.Low'): ...\n"),
    header("", "many types", f"def f({', '.join(f'a{number}: list[int]' for number in range(60))}): ...\n"),
    header(
        "BCP107",
        "many types",
        f"def f({', '.join(f'a{number}: list[int]' for number in range(60))}, b: «'Item'»): ...\n",
    ),
    header("", "a large type", f"def f(a: typing.Union[{'Price, ' * 80}int]): ...\n"),
    header("BCP107", "a large type", f"def f(a: typing.Union[{'Price, ' * 80}«'Item'»]): ...\n"),
    header("", "no type at all", "def f(a: 'a text in prose'): ...\n"),
    header("BCP107", "of a method", "class Cart:\n    def add(self, item: «Item»): ...\n"),
    header("BCP107", "of a method, its class", "class Cart:\n    def add(self, cart: «'Cart'»): ...\n"),
    header(
        "BCP107",
        "of a method, a name of its class",
        "class Cart:\n    int = str\n    def add(self, item: «int»): ...\n",
    ),
    header(
        "BCP101" if not QUOTED else "BCP107",
        "of a nested function",
        "def f():\n    def inner(a: «Item»): ...\n    return inner\n",
    ),
    header(
        "BCP107" if QUOTED else "BCP101",
        "of a class in a function, quoted",
        "def f(x):\n    class Inner:\n        a: «'Item'» = 1\n        if x:\n            b: list[«'Item'»]\n",
    ),
    header(
        "",
        "of a class in a function, quoted, of another module and of the function",
        "def f():\n    class Own: ...\n    class Inner:\n        a: 'Price' = 1\n        b: list['Own']\n",
    ),
    header(
        "BCP107" if QUOTED else "BCP101",
        "of a nested function, quoted",
        "def f():\n    def inner(a: «'Item'»): ...\n    return inner\n",
    ),
]

DEFAULTS = [
    header("", "literals, builtins and imported names", "def f(a=3, *, b=len, c=Price(), d=[shop.prices.low]): ...\n"),
    header("BCP108", "a name of the module", "def f(a=«RATE»): ...\n"),
    header("BCP108", "within an expression", "def f(a=[1, «RATE» * 2]): ...\n"),
    header("BCP108", "of a keyword", "def f(*, a=«RATE»): ...\n"),
    header("BCP108", "in a comprehension", "def f(a=[«RATE» for _ in 'ab']): ...\n"),
    header(
        "BCP108", "of a method, a name of its class", "class Cart:\n    limit = 3\n    def f(self, a=«limit»): ...\n"
    ),
    header(
        "BCP108",
        "of a method, a builtin's name in its class",
        "class Cart:\n    max = 3\n    def f(self, a=«max»): ...\n",
    ),
    header("BCP103", "a private name of another module", "def f(a=«shop.prices._low»): ...\n"),
    header("BCP105", "a private attribute", "def f(a=«Price()._low»): ...\n"),
    header("BCP111", "a builtin that reaches around", "def f(a=«globals»()): ...\n"),
    header("", "a mangled parameter", "class Cart:\n    def f(self, __a=1, *, __b=2): return __a, __b\n"),
]

TYPE_PARAMETERS = [
    header("", "used", "def f[T](a: T, b: 'T', c: 'list[T]') -> T:\n    kind: T = a\n    return kind\n", GENERIC),
    header(
        "",
        "of the class",
        "class Cart[T]:\n    def f[U](self, a: T, b: 'T', c: U) -> 'U':\n        return T\n",
        GENERIC,
    ),
    header("", "bound by a builtin", "def f[T: int, U: (str, bytes)](a: T, b: U): ...\n", GENERIC),
    header("BCP107", "bound by a type of the module", "def f[T: «Item»](a: T): ...\n", GENERIC),
    header("BCP107", "bound by a quoted type of the module", "def f[T: «'Item'»](a: T): ...\n", GENERIC),
    header("BCP107", "annotations beside them", "def f[T](a: T) -> «Item»: ...\n", GENERIC),
    header("BCP107", "of a nested function, bound", "def f():\n    def inner[T: «Item»](a: T): ...\n", GENERIC),
    header("BCP107", "of a nested class, bound", "def f():\n    class Inner[T: «'Item'»]: ...\n", GENERIC),
    header("BCP107", "of a nested alias", "def f():\n    type Inner = list[«'Item'»]\n", GENERIC),
    header(
        "",
        "of nested functions, classes and aliases",
        "def f():\n    def inner[T: 'Price'](a: T, b: 'T'): ...\n    class Inner[T: int]: ...\n    type A[T] = T\n",
        GENERIC,
    ),
    header("BCP101", "in a generic function", "def f[T](a: T):\n    return «RATE»\n", GENERIC),
    header(
        "BCP107",
        "hidden by a name of the class, where annotations are computed in its scope",
        "class Cart:\n    T = 1\n    def f[T](self, a: «T»): ...\n",
        pythons.LAZY_ANNOTATIONS,
    ),
]

CLASSES = [
    Case("a public class", "", "class Cart:\n    def total(self): return 1\n"),
    Case("a private method of a public class", "", "class Cart:\n    def _total(self): return 1\n"),
    Case("a private function", "", "def _total(): return 1\n"),
    Case("a private class", "BCP109", "class _Cart:\n    def «total»(self): return 1\n"),
    Case(
        "a private class with a decorated method",
        "BCP109",
        "class _Cart:\n    @property\n    def «total»(self): return 1\n",
    ),
    Case(
        "a class in a private class", "BCP109", "class _Shop:\n    class Cart:\n        def «total»(self): return 1\n"
    ),
    Case(
        "a private class in a class", "BCP109", "class Shop:\n    class _Cart:\n        def «total»(self): return 1\n"
    ),
    Case(
        "a public class in a function",
        "",
        "def make():\n    class Cart:\n        def total(self): return 1\n    return Cart\n",
    ),
    Case(
        "a private class in a function",
        "BCP109",
        "def make():\n    «class _Cart:\n        def total(self): return 1»\n    return _Cart\n",
    ),
    Case(
        "a private class in a function, without functions",
        "",
        "def make():\n    class _Cart:\n        rate = 1\n    return _Cart\n",
    ),
]

FUTURE = [
    Case("an own type", "BCP107", "from __future__ import annotations\nclass Item: ...\ndef f(a: Item): ...\n"),
    Case(
        "an own type, quoted", "BCP107", "from __future__ import annotations\nclass Item: ...\ndef f(a: 'Item'): ...\n"
    ),
    Case("other types", "", "from __future__ import annotations\ndef f(a: int, b: 'int') -> list[str]: ...\n"),
]

# --- what Go's hotreload accepts and refuses, in Python ----------------------------------------

GO = [
    Case("a function takes types of other packages", "", "import decimal\ndef f(a: decimal.Decimal): return a\n"),
    Case("a function takes primitives", "", "def f(a: int, b: str): return a, b\n"),
    Case("a function reads public variables of other packages", "", "import sys\ndef f(): return sys.version\n"),
    Case(
        "a method calls public methods of its receiver",
        "",
        "class Counter:\n    def show(self): return self.count()\n    def count(self): return 1\n",
    ),
    Case(
        "a function takes a type of its own package", "BCP107", "class Counter: ...\ndef f(counter: «Counter»): ...\n"
    ),
    Case(
        "a function takes and changes a counter type of its own package",
        "BCP107",
        "class Counter: ...\ndef f(counter: «Counter»):\n    counter.count += 1\n",
    ),
    Case(
        "a method calls a private method of its receiver",
        "BCP104",
        "class Counter:\n    def show(self): return «self._count»()\n",
    ),
    Case("a private method of a public class", "", "class Counter:\n    def _show(self): return 1\n"),
    Case("a method of a private class", "BCP109", "class _Counter:\n    def «show»(self): return 1\n"),
]

#: The same for a module two packages deep.
EU = Module("shop.eu.cart", "shop/eu/cart.py")
DEEPER = [
    Case("by what is not known", "BCP112", "def use(x):\n    return «x.shop.eu.cart».RATE\n"),
    Case("what is called like its end", "", "def use(x):\n    return x.eu.cart.RATE\n"),
    Case("another module of the package", "", "import shop.eu.prices\ndef use():\n    return shop.eu.prices\n"),
    Case("through its packages", "BCP112", "import shop.eu\ndef use():\n    return «shop.eu.cart».RATE\n"),
    Case("its package as a value", "BCP106", "import shop.eu\ndef use():\n    return «[shop.eu]»\n"),
    Case("the topmost one as a value", "BCP106", "import shop.eu\ndef use():\n    return «[shop]»\n"),
]

#: The same for a package.
SHOP = Module("shop", "shop/__init__.py")
PACKAGE = [
    Case("a module below", "", "def use():\n    import shop.prices as prices\n    return prices\n"),
    Case("two modules below", "", "def use():\n    import shop.eu.prices as prices\n    return prices\n"),
    Case("the package by a module below", "BCP112", "def use():\n    «import shop.prices»\n    return shop.RATE\n"),
    Case("the package, captured", "BCP112", "def use():\n    «import shop.prices»\n    return lambda: shop\n"),
    Case("a module below, for what it does", "", "def use():\n    import shop.prices\n"),
]

TABLES = {
    "bodies": BODIES,
    "imports": IMPORTS,
    "names": NAMES,
    "library": LIBRARY,
    "own module": OWN_MODULE,
    "shadowed": SHADOWED,
    "modules": MODULES,
    "receiver": RECEIVER,
    "anything": ANYTHING,
    "inside": INSIDE,
    "by name": BY_NAME,
    "formats": FORMATS,
    "annotations": ANNOTATIONS,
    "defaults": DEFAULTS,
    "type parameters": TYPE_PARAMETERS,
    "classes": CLASSES,
    "go": GO,
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{family}: {case.about}")
        for family, cases in TABLES.items()
        for case in cases
        if case.since
    ],
)
def test_a_case_is_refused_where_it_is_marked_and_nowhere_else(case: Case) -> None:
    check(case, CART)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.about) for case in DEEPER])
def test_a_module_two_packages_deep(case: Case) -> None:
    check(case, EU)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.about) for case in PACKAGE])
def test_a_package(case: Case) -> None:
    check(case, SHOP)


def check(case: Case, module: Module) -> None:
    text, expected = marked(case.text)
    found = findings(text, module=module)
    assert [(one.code, one.line, one.column, one.end_line, one.end_column) for one in found] == [
        (case.rule, *place) for place in expected
    ], "\n".join(f"{one.code} {one.line}:{one.column}-{one.end_column} {one.message}" for one in found)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.about) for case in FUTURE])
def test_annotations_that_are_all_text_are_read(case: Case) -> None:
    assert {one.code for one in findings(case.text)} == ({case.rule} if case.rule else set())


def test_all_that_reaches_around_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs/diagnostics/bcp1xx.md").read_text("utf-8")
    assert {path for path in names.REACHING if f"`{path.removeprefix('builtins.')}`" not in page} <= {
        "builtins.__lazy_import__"
    }


@pytest.mark.parametrize("text", ["'{0._rate}'", "'{0._rate}\\udc80'", "('{0._rate}', 1)", "frozenset({'{0._rate}'})"])
def test_a_text_that_takes_private_attributes_is_not_returned(text: str) -> None:
    """Where it stands, versions say in different words."""
    found = findings(f"def total(other):\n    return {text}\n\ndef price(other, text={text}): pass\n")
    assert [(one.code, one.line) for one in found] == [("BCP106", 2), ("BCP106", 4)]
    assert findings(f"def total(other):\n    return {text.replace('_', '')}\n") == ()


def test_the_chain_from_the_receiver_is_told() -> None:
    text = "class Cart:\n    def total(me):\n        kind = type(me)\n        return [kind._rate for _ in me.lines]\n"
    (found,) = findings(text)
    assert [(step.line, step.column) for step in found.trail][:2] == [(2, 15), (3, 16)]
    assert "`me` is the receiver" in found.trail[0].message
    assert "_rate` of `Cart`" in found.message


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{family}: {case.about}")
        for family, cases in TABLES.items()
        for case in cases
        if case.since and case.rule
    ],
)
def test_linked_refuses_no_reference(case: Case) -> None:
    assert findings(marked(case.text)[0], Policy.LINKED) == ()


# --- what the rules pass over ------------------------------------------------------------------


class Everything(frozenset[object]):
    """A set that nothing is outside of."""

    def __contains__(self, one: object) -> bool:
        return True

    def isdisjoint(self, others: object) -> bool:
        return False


def look_at_everything(patch: pytest.MonkeyPatch) -> None:
    """Undo what spares the rules a look where they would say nothing."""
    everything = Everything()
    patch.setattr(telling, "uses", lambda frame: frame.flow.uses)
    patch.setattr(access, "TELLING", everything)
    patch.setattr(byname, "_is_looked_at", lambda use, frame: True)
    patch.setattr(byname, "CALLED", everything)
    patch.setattr(sight, "CALLED", everything)
    patch.setattr(formatting, "_names_format", lambda flow: True)
    patch.setattr(sight, "_may_give", lambda use, frame: True)
    patch.setattr(needs, "_may_need", lambda frame: True)
    patch.setattr(needs, "_may_be_of_module", lambda use, frame: True)
    patch.setattr(needs, "_ASKED", everything)
    patch.setattr(Values, "holding", lambda values, wanted: everything)


def test_code_that_is_passed_over_has_no_instruction_that_tells() -> None:
    by_name = {uses._attribute, uses._call, uses._subscript, uses._operator}
    for number, (find, _) in uses._FINDERS.items():
        assert (find in by_name) is (not has_any(telling._TELLING, bytes([number])))


def test_code_that_needs_nothing_has_no_instruction_that_gives_a_module() -> None:
    giving = {graph._global, graph._common, graph._imported, graph._deref}
    for number, make in graph._MAKERS.items():
        assert (make in giving) is has_any(needs._GIVING, bytes([number]))


@pytest.mark.parametrize(
    ("cases", "module"),
    [*((cases, CART) for cases in TABLES.values()), (FUTURE, CART), (DEEPER, EU), (PACKAGE, SHOP)],
    ids=[*TABLES, "future", "deeper", "package"],
)
def test_nothing_is_said_of_what_the_rules_pass_over(
    cases: list[Case], module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = [patched(marked(case.text)[0], module=module) for case in cases if case.since]
    found = [verify.verify(one) for one in patches]
    look_at_everything(monkeypatch)
    assert found == [verify.verify(one) for one in patches]


@pytest.mark.parametrize(
    "name",
    ["ast", "asyncio.base_events", "dataclasses", "enum", "functools", "inspect", "pickle", "typing", "unittest.mock"],
)
def test_nothing_is_said_of_real_code_that_the_rules_pass_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = importlib.util.find_spec(name)
    assert origin is not None
    assert origin.origin is not None
    text = Path(origin.origin).read_text("utf-8")
    one = patched(text, module=Module(name, name.replace(".", "/") + ".py"))
    found = verify.verify(one)
    assert "BCP101" in {each.code for each in found}
    look_at_everything(monkeypatch)
    assert found == verify.verify(one)
