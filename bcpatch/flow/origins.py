"""Where values come from: the nouns of `bcpatch.flow`.

Every origin carries the offset of the instruction at which it arose (`ENTRY` for what
a call brings), so that a chain of places can be printed from any of them. Origins
are bounded trees: what grows beyond `WIDTH` alternatives or `WEIGHT` parts becomes
`Unknown`. They serve precision and explanation; a rule must be sound without them.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

#: The offset of what exists before the first instruction.
ENTRY: Final = -1
#: The most alternatives of one `Either`.
WIDTH: Final = 8
#: The most origins that one origin is made of, itself included.
WEIGHT: Final = 64


class _Node(msgspec.Struct, frozen=True, gc=False):
    """One of the nouns below: a tree, so that the garbage collector need not look at it."""


class Unknown(_Node, frozen=True):
    """A value of which nothing is known."""

    offset: int


class Parameter(_Node, frozen=True):
    """The argument of a call. ``index`` is its place in ``varnames``; 0 is a method's receiver."""

    offset: int
    name: str
    index: int


class Free(_Node, frozen=True):
    """What a captured cell holds: the enclosing code's variable ``name``."""

    offset: int
    name: str


class Global(_Node, frozen=True):
    """A name looked up in the module, then in the builtins (in a class body, there first)."""

    offset: int
    name: str


class Imported(_Node, frozen=True):
    """What IMPORT_NAME gave: ``module`` as written, ``level`` leading dots.

    With ``names`` it is the module ``module`` itself, without them (``import a.b``) the topmost package.
    """

    offset: int
    module: str
    level: int
    names: tuple[str, ...]


class Constant(_Node, frozen=True):
    """A constant of the code; ``index`` in ``constants``, or -1 where the opcode carries the ``value``."""

    offset: int
    index: int
    value: None | bool | int | float | str


class Attribute(_Node, frozen=True):
    """``owner.name``; of `Imported` also what ``from owner import name`` gave."""

    offset: int
    owner: Origin
    name: str


class Called(_Node, frozen=True):
    """The result of a call. ``keywords`` name the last arguments; an ``unpacked`` call has ``*`` or ``**``."""

    offset: int
    callee: Origin
    arguments: tuple[Origin, ...]
    keywords: tuple[str, ...]
    unpacked: bool


class Item(_Node, frozen=True):
    """Something taken out of a value: subscript, iteration, unpacking, await, entering a ``with``."""

    offset: int
    owner: Origin


class Display(_Node, frozen=True):
    """A tuple, list, set, dictionary, slice or text built of values."""

    offset: int
    items: tuple[Origin, ...]


class Computed(_Node, frozen=True):
    """The result of an operator or a comparison."""

    offset: int
    operands: tuple[Origin, ...]


class Made(_Node, frozen=True):
    """A function made of ``constants[constant]``; ``captured`` says what each of its free variables may hold."""

    offset: int
    constant: int
    captured: tuple[tuple[str, Origin], ...]


class Super(_Node, frozen=True):
    """``super(klass, receiver)``."""

    offset: int
    klass: Origin
    receiver: Origin


class Either(_Node, frozen=True):
    """One of several; which one depends on the path taken. Never nested."""

    offset: int
    options: frozenset[Origin]


Origin: TypeAlias = (
    Unknown
    | Parameter
    | Free
    | Global
    | Imported
    | Constant
    | Attribute
    | Called
    | Item
    | Display
    | Computed
    | Made
    | Super
    | Either
)
