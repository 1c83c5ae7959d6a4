"""What the replacement fields of a ``str.format`` text reach, read without formatting anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import NamedTuple

_DEPTH = 2
"""Levels of fields within format specifications that ``str.format`` reads."""

_FIRST = re.compile(r"[^.\[]*")
_ATTRIBUTE = re.compile(r"\[[^\]]*\]?|\.([^.\[]*)")


class Field(NamedTuple):
    """One field: the argument it starts from (empty: the next one) and the attributes it takes."""

    argument: str
    attributes: tuple[str, ...]


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
            found = (match.group(1) for match in _ATTRIBUTE.finditer(name, start))
            yield Field(name[:start], tuple(one for one in found if one is not None))
        if specification and depth:
            yield from _fields(specification, depth - 1)
