"""Every example of the diagnostics' pages is run, and every code has its section in one page.

Below a heading ``## BCPnnn title`` a block ``python base`` is what the process runs (none:
every function is an edit), ``python refused`` must get that code, and ``python accepted`` must
build; ``python told`` must build and get the code as a warning or a note. A block may name the
first Python that can read it: ``python accepted 3.12``. It is the module ``shop/cart.py``; behind a line
``# shop/NAME.py`` it is that one.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import bcpatch
from bcpatch import builder, files
from bcpatch.diagnostics import RULES, Refused, errors

PAGES = sorted((Path(__file__).parent.parent / "docs" / "diagnostics").glob("*.md"))
_HEADING = re.compile(r"^## (BCP\d{3}) (.+)$")
_FENCE = re.compile(r"^```python (base|refused|told|accepted)(?: (\d+)\.(\d+))?$")


class Example(NamedTuple):
    page: str
    line: int
    code: str
    kind: str
    since: tuple[int, int]
    base: str | None
    text: str


def examples(page: Path) -> Iterator[Example]:
    """The examples of a page, each with the base that stands last before it in its section."""
    code = ""
    base: str | None = None
    block: list[str] | None = None
    opened = (0, "", (0, 0))
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        heading, fence = _HEADING.match(line), _FENCE.match(line)
        if block is not None:
            if line != "```":
                block.append(line)
                continue
            text = "\n".join(block) + "\n"
            start, kind, since = opened
            if kind == "base":
                base = text
            else:
                yield Example(page.name, start, code, kind, since, base, text)
            block = None
        elif heading:
            code, base = heading[1], None
        elif fence:
            opened, block = (number, fence[1], (int(fence[2] or 3), int(fence[3] or 11))), []


ALL = [example for page in PAGES for example in examples(page)]
KINDS = Counter((one.code, one.kind) for one in ALL)


@pytest.mark.parametrize("example", [pytest.param(one, id=f"{one.page}:{one.line}") for one in ALL])
def test_examples_do_what_they_say(example: Example, tmp_path: Path) -> None:
    if sys.version_info < example.since:
        pytest.skip(f"needs Python {'.'.join(map(str, example.since))}")
    file = written(example.text, tmp_path / "new")
    base = None if example.base is None else written(example.base, tmp_path / "base")
    if example.kind == "refused":
        with pytest.raises(Refused) as refusal:
            bcpatch.build(file, base)
        codes = {one.code for one in errors(refusal.value.diagnostics)}
        assert example.code in codes
        assert codes == {example.code} or not example.code.startswith("BCP1")
    else:
        assert bcpatch.build(file, base).modules
    if (example.code, "told") in KINDS:
        outcome = builder.compare(*files.versions([str(file)], None if base is None else str(base), None))
        assert (example.code in {one.code for one in outcome.diagnostics}) == (example.kind == "told")


def written(text: str, root: Path) -> Path:
    """The file of an example, or the folder of its files."""
    package = root / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    first, *others = re.split(r"^# shop/(\w+\.py)\n", text, flags=re.MULTILINE)
    for name, content in zip(("cart.py", *others[::2]), (first, *others[1::2]), strict=True):
        if content:
            (package / name).write_text(content, "utf-8")
    return root if others else package / "cart.py"


def test_every_code_has_its_section_in_one_page() -> None:
    headings = [
        (match[1], match[2])
        for page in PAGES
        for line in page.read_text("utf-8").splitlines()
        if (match := _HEADING.match(line))
    ]
    assert sorted(code for code, _ in headings) == sorted(RULES)
    assert dict(headings) == {code: rule.title for code, rule in RULES.items()}


def test_a_page_holds_one_family_in_order() -> None:
    for page in PAGES:
        codes = [match[1] for line in page.read_text("utf-8").splitlines() if (match := _HEADING.match(line))]
        assert codes == sorted(codes)
        assert {f"{code[:4]}xx.md".lower() for code in codes} <= {page.name}


def test_the_reference_rules_have_both_kinds_of_examples() -> None:
    for code in RULES:
        if code.startswith("BCP1"):
            assert KINDS[code, "refused"], code
            assert KINDS[code, "accepted"], code
