"""Where values come from and what instructions do with names: the nouns of `bcpatch.flow`.

Every origin carries the offset of the instruction at which it arose (`ENTRY` for what
a call brings), so that a chain of places can be printed from any of them. Origins
are bounded trees: what grows beyond `WIDTH` alternatives or `WEIGHT` parts becomes
`Unknown`. They serve precision and explanation; a rule must be sound without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

#: The offset of what exists before the first instruction.
ENTRY: Final = -1
#: The most alternatives of one `Either`.
WIDTH: Final = 8
#: The most origins that one origin is made of, itself included.
WEIGHT: Final = 64


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value of which nothing is known."""

    offset: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """The argument of a call. ``index`` is its place in ``varnames``; 0 is a method's receiver."""

    offset: int
    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Free:
    """What a captured cell holds: the enclosing code's variable ``name``."""

    offset: int
    name: str


@dataclass(frozen=True, slots=True)
class Global:
    """A name looked up in the module, then in the builtins (in a class body, there first)."""

    offset: int
    name: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What IMPORT_NAME gave: ``module`` as written, ``level`` leading dots.

    With ``names`` it is the module ``module`` itself, without them (``import a.b``) the topmost package.
    """

    offset: int
    module: str
    level: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant of the code; ``index`` in ``constants``, or -1 where the opcode carries the ``value``."""

    offset: int
    index: int
    value: None | bool | int | float | str


@dataclass(frozen=True, slots=True)
class Attribute:
    """``owner.name``; of `Imported` also what ``from owner import name`` gave."""

    offset: int
    owner: Origin
    name: str


@dataclass(frozen=True, slots=True)
class Called:
    """The result of a call. ``keywords`` name the last arguments; an ``unpacked`` call has ``*`` or ``**``."""

    offset: int
    callee: Origin
    arguments: tuple[Origin, ...]
    keywords: tuple[str, ...]
    unpacked: bool


@dataclass(frozen=True, slots=True)
class Item:
    """Something taken out of a value: subscript, iteration, unpacking, await, entering a ``with``."""

    offset: int
    owner: Origin


@dataclass(frozen=True, slots=True)
class Display:
    """A tuple, list, set, dictionary, slice or text built of values."""

    offset: int
    items: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class Computed:
    """The result of an operator or a comparison."""

    offset: int
    operands: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A function made of ``constants[constant]``; ``captured`` says what each of its free variables may hold."""

    offset: int
    constant: int
    captured: tuple[tuple[str, Origin], ...]


@dataclass(frozen=True, slots=True)
class Super:
    """``super(klass, receiver)``."""

    offset: int
    klass: Origin
    receiver: Origin


@dataclass(frozen=True, slots=True)
class Either:
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

Action: TypeAlias = Literal["load", "store", "delete"]


# --- uses ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GlobalUse:
    """A name of the module. ``namespace`` where the local namespace (a class body's) is asked first."""

    offset: int
    action: Action
    name: str
    namespace: bool


@dataclass(frozen=True, slots=True)
class AttributeUse:
    """An attribute by constant name. ``method`` is a load that is called next, ``match`` a keyword of a class
    pattern, ``super`` a load by ``super().name``, ``import`` one by ``from owner import name``.
    """

    offset: int
    action: Literal["load", "store", "delete", "method", "match", "super", "import"]
    owner: Origin
    name: str


@dataclass(frozen=True, slots=True)
class ImportUse:
    """An import statement. ``names`` are those of ``from``; empty for ``import module``. Star is ``("*",)``."""

    offset: int
    module: str
    level: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallUse:
    """A call; the fields as in `Called`. A method's receiver is the owner in ``callee``, not an argument."""

    offset: int
    callee: Origin
    arguments: tuple[Origin, ...]
    keywords: tuple[str, ...]
    unpacked: bool


@dataclass(frozen=True, slots=True)
class SubscriptUse:
    """``owner[index]``."""

    offset: int
    action: Action
    owner: Origin
    index: Origin


@dataclass(frozen=True, slots=True)
class FreeUse:
    """A variable of an enclosing code, or one that nested code captures; ``value`` is what is stored."""

    offset: int
    action: Action
    name: str
    value: Origin | None


@dataclass(frozen=True, slots=True)
class MakeUse:
    """A function made of ``constants[constant]``. ``captured`` says, for each free variable of its
    code, what the cell may hold at any time.
    """

    offset: int
    constant: int
    captured: tuple[tuple[str, Origin], ...]
    defaults: Origin | None
    keyword_defaults: Origin | None
    annotations: Origin | None


Use: TypeAlias = GlobalUse | AttributeUse | ImportUse | CallUse | SubscriptUse | FreeUse | MakeUse
