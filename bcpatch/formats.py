"""What the replacement fields of a ``str.format`` text reach, read without formatting anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import NamedTuple

_DEPTH = 2
"""Levels of fields within format specifications that ``str.format`` reads."""

_FIRST = re.compile(r"[^.\[]*")
_STEP = re.compile(r"\[[^\]]*\]?|\.([^.\[]*)")


class Field(NamedTuple):
    """One field: the argument it starts from (empty: the next one), the attributes and items (None) it takes."""

    argument: str
    steps: tuple[str | None, ...]


def fields(text: str) -> tuple[Field, ...] | None:
    """The fields of a format text; None where ``str.format`` would refuse it."""
    try:
        return tuple(_fields(text, _DEPTH))
    except ValueError:
        return None


def _fields(text: str, depth: int) -> Iterator[Field]:
    for _, name, specification, _ in Formatter().parse(text):
        if name is not None:
            first = _FIRST.match(name)
            start = first.end() if first else 0
            yield Field(name[:start], tuple(match.group(1) for match in _STEP.finditer(name, start)))
        if specification and depth:
            yield from _fields(specification, depth - 1)
