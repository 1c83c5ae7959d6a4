"""A text and its sections parse to the same, wherever it is cut."""

from __future__ import annotations

import ast
import inspect
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcpatch import sections


def parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def texts(source: str) -> list[str]:
    return [one.text for one in sections.split(source, parses).sections]


def dumped(*trees: ast.Module) -> list[str]:
    return [ast.dump(node, include_attributes=True) for tree in trees for node in tree.body]


def moved(section: sections.Section) -> ast.Module:
    return ast.increment_lineno(ast.parse(section.text), section.above)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = 1\n\nb = 2\n", ["a = 1\n\n", "b = 2\n"]),
        ("a = 1\n\n\n\nb = 2", ["a = 1\n\n\n\n", "b = 2"]),
        ("a = 1\nb = 2\n", ["a = 1\nb = 2\n"]),
        ("def f():\n    a\n\n    b\n\ndef g(): pass\n", ["def f():\n    a\n\n    b\n\n", "def g(): pass\n"]),
        ("if a:\n    b\n\nelse:\n    c\n", ["if a:\n    b\n\nelse:\n    c\n"]),
        ("if a:\n    b\n\n# or\nelse:\n    c\n", ["if a:\n    b\n\n# or\nelse:\n    c\n"]),
        ("if a:\n    b\n\nelsewhere = 1\n", ["if a:\n    b\n\n", "elsewhere = 1\n"]),
        ('a = """\n\ndef f(): pass\n\n"""\n\nb = 1\n', ['a = """\n\ndef f(): pass\n\n"""\n\n', "b = 1\n"]),
        ("a = [\n\nb\n\n]\n\nc = 1\n", ["a = [\n\nb\n\n]\n\n", "c = 1\n"]),
        ("@a\n\ndef f(): pass\n", ["@a\n\ndef f(): pass\n"]),
        ("a = \\\n\nb = 1\n", ["a = \\\n\nb = 1\n"]),
        ("a = 1\r\n\r\nb = 2\r\n", ["a = 1\r\n\r\n", "b = 2\r\n"]),
        ("a = 1\n\nb = 2\rc = 3\n", ["a = 1\n\nb = 2\rc = 3\n"]),
        ("a = 1\n\nb = (\n", ["a = 1\n\nb = (\n"]),
        ("", [""]),
    ],
)
def test_where_a_text_is_cut(source, expected):
    assert texts(source) == expected


PIECES = st.sampled_from(
    """a = 1|def f():|    return 1|class A:|    x: int|@a|else:|elif b:|except E:|finally:|try:|    pass|if a:|'''|(|)
|[|]|# a|||||\f|match a:|    case 1:|        pass|case = 1|f"{|}|a = \\|global a|\r|\u00e9 = 1|    else:""".split("|")
)


@given(st.lists(PIECES, max_size=14).map("\n".join))
def test_sections_are_the_text_and_parse_to_its_statements(source):
    found = [*sections.split(source, parses).sections]
    assert "".join(one.text for one in found) == source
    if len(found) > 1:
        assert dumped(*map(moved, found)) == dumped(ast.parse(source))
    elif not parses(source):
        assert found == [sections.Section(source, 0)]


def near(source: str) -> sections.Sections:
    return sections.split(source, parses).sections


@given(st.lists(PIECES, max_size=14), st.lists(PIECES, max_size=4), st.data())
def test_what_is_known_of_another_text_changes_nothing(pieces, more, data):
    at, end, there = sorted(data.draw(st.tuples(*[st.integers(0, len(pieces))] * 3)))
    other = [*pieces[:at], *more, *pieces[end:there], *more[:1], *pieces[there:]]
    source, before = ("\n\n".join(one) for one in (pieces, other))
    found = sections.split(source, parses, near(before))
    assert found.sections == near(source)
    assert found.carried([one.text for one in near(before)], str) == tuple(texts(source))


def functions(numbers) -> str:
    return "".join(f"def f{number}():\n    return 1\n\n" for number in numbers)


@pytest.mark.parametrize(
    ("after", "most"),
    [
        (functions(range(50)), 0),
        ("# on top\n\n" + functions(range(50)), 1),
        ("# on top\n" + functions(range(50)), 1),
        (functions(range(50)).replace("f20():\n    return 1\n", "f20():\n    return 2\n\n    # more\n"), 2),
        ("# on top\n\n" + functions(range(50)).replace("f20", "g") + "# below\n", 5),
        (functions([*range(20), 70, 71, *range(20, 40), 72, *range(40, 50), 73]), 7),
        (functions([*range(20), *range(40, 49), 70]), 6),
        (functions([*range(30, 50), *range(30)]), 6),
    ],
)
def test_only_what_differs_is_asked_about(after, most):
    asked = []

    def watched(text):
        asked.append(text)
        return parses(text)

    assert sections.split(after, watched, near(functions(range(50)))).sections == near(after)
    assert len(asked) <= most


@pytest.mark.parametrize("module", [ast, inspect, tokenize])
def test_a_module_of_the_library_parses_to_the_statements_of_its_sections(module):
    source = inspect.getsource(module)
    found = sections.split(source, parses).sections
    assert len(found) > 10
    assert dumped(*map(moved, found)) == dumped(ast.parse(source))
