"""The nouns of bcpatch, as plain frozen data.

Everything here can be printed, compared and encoded. Nothing here knows how a
patch is made, checked, stored or applied.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec


class Policy(StrEnum):
    """Which edits and which references a patch may contain."""

    STRICT = "strict"
    LINKED = "linked"


class Noun(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Base of everything that travels in a patch file.

    None of it can be part of a cycle, so the garbage collector needs not look at it (``gc=False``).
    """


# --- code objects, field by field ------------------------------------------------


class Bytes(Noun, frozen=True, tag=1):
    """A ``bytes`` constant."""

    data: bytes


class Text(Noun, frozen=True, tag=2):
    """A ``str`` constant that UTF-8 cannot hold (lone surrogates), as ``surrogatepass`` UTF-8."""

    data: bytes


class Integer(Noun, frozen=True, tag=3):
    """An ``int`` constant beyond 64 bits, as little-endian two's complement."""

    data: bytes


class Complex(Noun, frozen=True, tag=4):
    """A ``complex`` constant."""

    real: float
    imag: float


class Dots(Noun, frozen=True, tag=5):
    """The constant ``...``."""


class Tuple(Noun, frozen=True, tag=6):
    """A ``tuple`` constant."""

    items: tuple[Constant, ...]


class FrozenSet(Noun, frozen=True, tag=7):
    """A ``frozenset`` constant, its items in the order of their encodings."""

    items: tuple[Constant, ...]


class Slice(Noun, frozen=True, tag=8):
    """A ``slice`` constant (CPython 3.14+)."""

    start: Constant
    stop: Constant
    step: Constant


class Code(Noun, frozen=True, tag=9):
    """A code object without its file name: all that ``types.CodeType`` takes.

    ``first_line`` and ``line_table`` are its positions; every other field is its
    meaning, which is what a fingerprint covers.
    """

    name: str
    qualname: str
    flags: int
    argcount: int
    posonlyargcount: int
    kwonlyargcount: int
    stacksize: int
    bytecode: bytes
    constants: tuple[Constant, ...]
    names: tuple[str, ...]
    varnames: tuple[str, ...]
    cellvars: tuple[str, ...]
    freevars: tuple[str, ...]
    exception_table: bytes
    first_line: int
    line_table: bytes


Constant: TypeAlias = (
    bool | int | float | str | Bytes | Text | Integer | Complex | Dots | Tuple | FrozenSet | Slice | Code | None
)


class Positions(Noun, frozen=True):
    """Where a code object stands in its file, and the same of the code nested in it.

    ``line_table`` is None where it did not change: the table is relative to
    ``first_line``, so code that moved as a whole is one number.
    """

    first_line: int
    line_table: bytes | None
    nested: tuple[Positions, ...]


# --- where things are --------------------------------------------------------------


class Module(Noun, frozen=True):
    """A module source: its dotted name and its path below the import root (``/`` between parts)."""

    name: str
    path: str

    @property
    def is_package(self) -> bool:
        return self.path.rpartition("/")[2] == "__init__.py"

    @property
    def package(self) -> str:
        """What ``__package__`` is in the module: where its relative imports start.

        The path tells, and not the name: that of a module which was started is ``__main__``.
        """
        return self.path.rpartition("/")[0].replace("/", ".")


class Site(Noun, frozen=True, order=True):
    """A function that executing the module's body or its class bodies creates.

    ``ordinal`` counts the functions of the same qualified name in source order: a
    property's getter and setter share one, so do lambdas.
    """

    module: str
    qualname: str
    ordinal: int

    def __str__(self) -> str:
        ordinal = f"#{self.ordinal}" if self.ordinal else ""
        return f"{self.module}:{self.qualname}{ordinal}"


class Import(Noun, frozen=True):
    """One name that an import statement binds in the module's namespace.

    ``import a.b as c`` is Import("c", "a.b", None); ``import a.b`` is
    Import("a", "a", None, "a.b"): it binds ``a`` and sees to it that ``a.b`` is
    imported. ``from a import b as c`` is Import("c", "a", "b"), and
    ``from a import *`` is Import("*", "a", "*"). ``module`` is absolute. ``runtime`` is
    False where only type checkers see the statement (``if TYPE_CHECKING:``).
    """

    name: str
    module: str
    attribute: str | None
    submodule: str | None = None
    runtime: bool = True


class Link(Noun, frozen=True, order=True):
    """A name that a patch needs to find in a module of the process it is loaded into."""

    module: str
    name: str


# --- edits -------------------------------------------------------------------------


class Default(Noun, frozen=True):
    """One parameter's default value.

    ``expression`` takes no argument and returns the value. ``changed`` is False where
    the expression is the base's: then the object that the process holds for this
    parameter is kept, unless it ``follows`` names that change with the patch: then it
    must still be what the expression gives before, and becomes what it gives after.
    """

    parameter: str
    expression: Code
    changed: bool
    follows: bool = False


class Annotations(Noun, frozen=True):
    """What a function, class or module says of its types.

    ``code`` is the compiler's own ``__annotate__`` (CPython 3.14+, ``lazy``), else an
    expression that returns the ``__annotations__`` dictionary; None where there are
    none. ``changed`` is False where they are the base's.
    """

    code: Code | None
    lazy: bool
    changed: bool


class Rival(Noun, frozen=True):
    """A function of the same name in another branch (``if``, ``try``) of the module: one of the two runs.

    ``prints`` are the fingerprints of its code, old and new, ``line`` its first line in the base.
    """

    prints: tuple[str, ...]
    line: int


class FunctionEdit(Noun, frozen=True, tag="function"):
    """A function whose compiled code, defaults, annotations or type parameters changed.

    ``replaces`` and ``brings`` are fingerprints of its code object; an empty ``replaces``
    stands for whatever runs there (a build without a base). ``positional`` and
    ``keywords`` are the defaults of the new signature, in its order. ``type_parameters``
    returns a function that has the new type parameters and annotations, where these changed (PEP 695).
    ``replaced_line`` is the first line in the base: it tells siblings of one fingerprint apart.
    ``conditional`` is True in a branch that need not have run, ``rivals`` stand in its other branches. ``twins`` are
    the ordinals of namesakes that did the same and may be there as well, ``doubles`` of those that did what this one
    does now.
    """

    site: Site
    replaces: str
    brings: str
    code: Code
    positional: tuple[Default, ...]
    keywords: tuple[Default, ...]
    annotations: Annotations
    type_parameters: Code | None
    replaced_line: int = 0
    conditional: bool = False
    rivals: tuple[Rival, ...] = ()
    twins: tuple[int, ...] = ()
    doubles: tuple[int, ...] = ()

    @property
    def runs_otherwise(self) -> bool:
        """Whether a call of it may do something else than in the base: its code changed, or a default value."""
        return self.replaces != self.brings or any(
            one.changed or one.follows for one in (*self.positional, *self.keywords)
        )


class PositionEdit(Noun, frozen=True, tag="position"):
    """A function that only moved: the same fingerprint stands on other lines."""

    site: Site
    replaces: str
    positions: Positions
    replaced_line: int = 0


class ClassPositionEdit(Noun, frozen=True, tag="class position"):
    """What a class of CPython 3.13+ records of its place and of its methods' attributes."""

    qualname: str
    first_line: int
    static_attributes: tuple[str, ...]


class ImportEdit(Noun, frozen=True, tag="import"):
    """A name that an added or changed import statement binds. Imports run before the swap.

    ``when`` is an expression that is True where the branch that it stands in has run, and False where it
    has not; None outside of branches. Additions and values have the same.
    """

    binding: Import
    replaces: Import | None
    line: int
    when: Code | None = None


class DocstringEdit(Noun, frozen=True, tag="docstring"):
    """A changed docstring of the module (``qualname`` empty) or of a class."""

    qualname: str
    replaces: str | None
    text: str | None


class AnnotationsEdit(Noun, frozen=True, tag="annotations"):
    """Changed annotations of variables of the module (``qualname`` empty) or of a class."""

    qualname: str
    annotations: Annotations


class AdditionEdit(Noun, frozen=True, tag="addition"):
    """Statements that are new in the module (``owner`` empty) or in a class: run before the swap, visible with it.

    ``code`` is that of a module body, or of a body of the class, with these statements alone;
    ``names`` are those that they bind for good. ``extends`` tells that the name exists and
    is made anew from what it holds (a setter for a property).
    """

    owner: str
    names: tuple[str, ...]
    code: Code
    line: int
    extends: bool = False
    when: Code | None = None


class ValueEdit(Noun, frozen=True, tag="value"):
    """A module or class attribute with another value. Both codes take no argument and return the value.

    The running value must still be what ``replaces`` gives.
    """

    owner: str
    name: str
    replaces: Code
    code: Code
    line: int
    when: Code | None = None


class RemovalEdit(Noun, frozen=True, tag="removal"):
    """A name that the module or a class no longer binds, and that is deleted in the swap.

    A name of the module that ``stays`` is left bound, for those who hold on to it; a later patch may bind it anew.
    """

    owner: str
    name: str
    stays: bool = False


class ProgramEdit(Noun, frozen=True, tag="program"):
    """What ``if __name__ == "__main__":`` guards changed: refuses the process that has run it, and no other."""

    line: int


class CreationEdit(Noun, frozen=True, tag="module"):
    """The module itself, which the base does not have: the only edit of its part. Importing it runs ``source``."""


Edit: TypeAlias = (
    FunctionEdit
    | PositionEdit
    | ClassPositionEdit
    | ImportEdit
    | DocstringEdit
    | AnnotationsEdit
    | AdditionEdit
    | ValueEdit
    | RemovalEdit
    | ProgramEdit
    | CreationEdit
)


class Splice(Noun, frozen=True):
    """A place in a text, as an offset and a size in bytes, and what stands there in another text."""

    start: int
    size: int
    text: bytes


class Turns(Noun, frozen=True):
    """Which functions of one qualified name are which in the new source.

    ``now`` has the ordinal there of each one of the base, in the order of theirs; -1 where it is gone.
    """

    qualname: str
    now: tuple[int, ...]


class ModulePatch(Noun, frozen=True):
    """What a patch does to one module.

    ``replaces`` and ``brings`` are digests of the base's and the new source text,
    ``source`` is the new text (as bytes of the file), and ``back`` makes the base's text of it: what code
    that is not replaced was compiled from. ``imports`` are all names that
    the new source's import statements bind, changed or not: what the verifier takes
    for other modules' names. ``links`` are the names that the edits reach; None where
    nobody has looked for them yet: the verifier finds them. ``turns`` are of the names whose functions do not all
    keep their ordinals.
    """

    module: Module
    replaces: str | None
    brings: str
    imports: tuple[Import, ...]
    links: tuple[Link, ...] | None
    edits: tuple[Edit, ...]
    source: bytes
    back: tuple[Splice, ...]
    turns: tuple[Turns, ...] = ()

    @property
    def needed(self) -> tuple[Link, ...]:
        """The names that the edits reach. Raises ValueError where they are not known."""
        if self.links is None:
            raise ValueError(f"the part for {self.module.name} was not verified")
        return self.links

    @property
    def is_new(self) -> bool:
        """Whether the base has no such module."""
        return CreationEdit in map(type, self.edits)

    @property
    def changes(self) -> list[Edit]:
        """The edits but those of functions that only moved, of which there may be thousands."""
        return [edit for edit in self.edits if type(edit) is not PositionEdit]


# --- patches -----------------------------------------------------------------------


class Interpreter(Noun, frozen=True):
    """What must agree between the Python that compiled a patch and the one that loads it."""

    implementation: str
    version: str
    magic: int
    optimization: int

    def __str__(self) -> str:
        flag = {0: "", 1: " -O", 2: " -OO"}.get(self.optimization, "")
        return f"{self.implementation} {self.version}{flag} (magic {self.magic})"


class Patch(Noun, frozen=True):
    """Compiled, verified edits of one or more modules, all applied in one step.

    ``generation`` counts from 1 along the chain of parents; ``parent`` is the digest of
    the patch that must have been applied last before this one, None where it is free.
    """

    interpreter: Interpreter
    policy: Policy
    generation: int
    parent: str | None
    modules: tuple[ModulePatch, ...]
