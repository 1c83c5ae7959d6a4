"""The tables of names, row by row: what each row refuses or lets pass, and its nearest neighbour, which it does not."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from test_references import METHOD, findings

from bcpatch.rules import callables, names, routes


class Row(NamedTuple):
    """A row of a table, the rule that speaks, a function's body where it does, and one where it doesn't."""

    table: str
    name: str
    rule: str
    refused: str
    accepted: str


def imported(table: str, path: str, rule: str) -> Row:
    """A row that is refused where it is named. The neighbour's name is a letter longer."""
    module, _, name = path.rpartition(".")
    statement = f"import {module}\nreturn {module}"
    return Row(table, path, rule, f"{statement}.{name}", f"{statement}.{name[:-2]}x{name[-2:]}")


def called(table: str, path: str, refused: str, accepted: str) -> Row:
    """A row of which the arguments decide."""
    module = path.partition(".")[0] if path.startswith("inspect.") else path.rpartition(".")[0]
    call = f"import {module}\nreturn {path}"
    return Row(table, path, "BCP106", f"{call}({refused})", f"{call}({accepted})")


def rows() -> Iterator[Row]:
    yield from rows_of_reaching()
    yield from rows_of_calls()
    yield from rows_of_methods()
    yield from rows_of_loading()
    yield from rows_of_routes()
    yield from rows_of_public_names()


def rows_of_reaching() -> Iterator[Row]:
    for path in names.REACHING:
        yield imported("REACHING", path, "BCP111")
    for path in names.OWN_MODULE:
        yield imported("OWN_MODULE", path, "BCP112")
    for name in names.INSIDE:
        yield Row("INSIDE", name, "BCP113", f"return other.{name}", f"return other.{name[:-2]}x{name[-2:]}")
    for name in sorted(names.DESCRIBING):
        code = "import sys\nreturn sys._getframe().f_code"
        yield Row("DESCRIBING", name, "BCP113", f"{code}.{name}x", f"{code}.{name}")


def rows_of_calls() -> Iterator[Row]:
    for path, how in callables.BY_NAME.items():
        before = "other, " * how.name
        text = "json" if how.module else "total"
        yield called("BY_NAME", path, f"{before}name", f"{before}'{text}'")
    for path in callables.EVALUATING:
        yield called("EVALUATING", path, "other, eval_str=True", "other")
    for path, position in callables.COPYING.items():
        before = "other, " * position
        yield called("COPYING", path, f"{before}name", f"{before}('total',)")
    for keyword in callables.COPIED:
        wraps = f"import functools\nreturn functools.wraps(other, {keyword}="
        yield Row("COPIED", keyword, "BCP105", f"{wraps}('_rate',))", f"{wraps}('rate', '__dict__'))")
    for path in callables.USUALLY_COPIED:
        wraps = f"import functools\nreturn functools.wraps(other, assigned={path}"
        yield Row("USUALLY_COPIED", path, "BCP106", f"{wraps}X)", f"{wraps})")
    for method, path in callables.MADE_METHODS.items():
        made = f"import {path.partition('.')[0]}\nreturn {path}(other)"
        yield Row("MADE_METHODS", method, "BCP106", f"{made}.{method}('x')", f"{made}.{method}x('x')")
    for name in callables.FORMAT:
        yield Row("FORMAT", name, "BCP106", f"map('{{0._rate}}'.{name}, other)", f"map('{{0.rate}}'.{name}, other)")
    for path, formatting in callables.FORMATTING.items():
        style = f", {formatting.style_keyword}='{{'" if formatting.style_keyword else ""
        text = f"{formatting.text_keyword}='{{0.'"
        yield called("FORMATTING", path, f"{text} + name{style}", f"{text}{style}")
    for path in sorted(callables.HOLDING):
        held = f"import {path.rpartition('.')[0]}\nreturn name.format({path}"
        yield Row("HOLDING", path, "BCP106", f"{held}(me))", f"{held}(other))")
    for path in sorted(callables.CLASSES):
        made = f"import {path.rpartition('.')[0]}\nreturn name.format({path}(name, name, name)"
        yield Row("CLASSES", path, "BCP106", f"{made}(me))", f"{made}(other))")
    for path in callables.REPLACING:
        copy = f"import {path.partition('.')[0]}\nreturn {path}(other, "
        yield Row("REPLACING", path, "BCP105", f"{copy}_rate=1)", f"{copy}rate=1)")


def rows_of_methods() -> Iterator[Row]:
    for name, protocol in callables.BY_NAME_METHODS.items():
        before, after = "1, " * protocol.name, ", 1" * (protocol.arguments - protocol.name - 1)
        call = f"return other.{name}({before}"
        yield Row("BY_NAME_METHODS", name, "BCP106", f"{call}name{after})", f"{call}'total'{after})")
    for name, keyword in callables.EVALUATING_METHODS.items():
        call = f"return other.{name}"
        yield Row("EVALUATING_METHODS", name, "BCP106", f"{call}({keyword}=other)", f"{call}(other)")
    for name in callables.FORMATTERS:
        call = f"return other.{name}"
        yield Row("FORMATTERS", name, "BCP106", f"{call}(name, [me], other)", f"{call}(name, [other], other)")
    for path in sorted(callables.FORMATTER_METHODS):
        call = f"import string\nreturn {path}"
        yield Row("FORMATTER_METHODS", path, "BCP106", f"{call}(other, name, other)", f"{call}x(other, name, other)")
    for name in sorted(callables.STORING):
        call = f"return other.{name}"
        yield Row("STORING", name, "BCP106", f"{call}(namespace=me)", f"{call}(namespace=other)")


def rows_of_loading() -> Iterator[Row]:
    for path in callables.LOADING:
        yield called("LOADING", path, "b'x'", "other")
    for path in sorted(callables.TURNING):
        what = path if "." in path else f"{path}.anything"
        load = f"import pickle, {what.rpartition('.')[0]}\nreturn pickle.loads({what}"
        yield Row("TURNING", path, "BCP106", f"{load}(b'x'))", f"{load}(other))")

    for name in sorted(callables.INSERTING):
        load = f"import pickle\nreturn pickle.loads(other.{name}"
        yield Row("INSERTING", name, "BCP106", f"{load}(b'x'))", f"{load}x(b'x'))")


def rows_of_routes() -> Iterator[Row]:
    """Under another name each means what it means under its own."""
    for alias, target in routes.ALIASES.items():
        yield by_another_name("ALIASES", alias, alias, target)
    for name, target in routes.EVERYWHERE.items():
        yield by_another_name("EVERYWHERE", name, f"shop.prices.{name}", target)


def by_another_name(table: str, name: str, alias: str, target: str) -> Row:
    tables = names.REACHING, names.OWN_MODULE, callables.BY_NAME, callables.EVALUATING, callables.LOADING
    known, found = next((known, one) for known in tables for one in sorted(known) if f"{one}.".startswith(f"{target}."))
    path = alias + found.removeprefix(target)
    if known in (names.REACHING, names.OWN_MODULE):
        return imported(table, path, "BCP111" if known is names.REACHING else "BCP112")._replace(name=name)
    refused, accepted = "b'x'", "other"
    if known is callables.BY_NAME:
        before = "other, " * callables.BY_NAME[found].name
        refused, accepted = f"{before}name", f"{before}'json'"
    elif known is callables.EVALUATING:
        refused, accepted = "other, eval_str=True", "other"
    return called(table, path, refused, accepted)._replace(name=name)


def rows_of_public_names() -> Iterator[Row]:
    for path in names.PUBLIC_NAMES:
        module, _, name = path.rpartition(".")
        statement = f"import {module}\nreturn {module}.{name}" if module else f"import {name}"
        yield Row("PUBLIC_NAMES", path, "BCP103", f"{statement}x", statement)
    for name in names.PUBLIC_ATTRIBUTES:
        yield Row("PUBLIC_ATTRIBUTES", name, "BCP105", f"return other.{name}x", f"return other.{name}")
    for name in sorted(names.FACTS):
        yield Row("FACTS", name, "BCP110", f"return {name[:-2]}x__", f"return {name}")
    for name in sorted(names.SELF_MATCHING):
        match = "match other:\n    case {}(found): return found"
        yield Row("SELF_MATCHING", name, "BCP106", match.format("object"), match.format(name))


ROWS = list(rows())


def rules(body: str) -> set[str]:
    """The rules that speak against a method with a body."""
    return {one.code for one in findings(METHOD.replace("{body}", textwrap.indent(body, " " * 8)))}


@pytest.mark.parametrize("row", ROWS, ids=[f"{one.table} {one.name}" for one in ROWS])
def test_each_row_of_a_table_refuses_what_it_says_and_not_its_neighbour(row: Row) -> None:
    assert row.rule in rules(row.refused)
    assert rules(row.accepted) == set()


def test_no_table_of_names_is_without_rows_here() -> None:
    modules = vars(names), vars(callables), vars(routes)
    tables = {name for one in modules for name in one if name.isupper() and not name.startswith("_")}
    derived = set("BUILTINS PLAIN_RESULTS HARMLESS TELLING BY_TAIL CODES IN_ANNOTATIONS".split())
    derived |= set("WATCHED_MODULES WATCHED_NAMES MODULES_EVERYWHERE WORDS".split())
    assert tables - derived == {one.table for one in ROWS}


@pytest.mark.parametrize(
    "body", ["return prices.profile.run(other)", "return prices.code", "return other.trace.Trace()"]
)
def test_a_module_that_is_called_by_a_common_word_is_meant_by_its_own_name_only(body: str) -> None:
    assert rules(body) == set()
