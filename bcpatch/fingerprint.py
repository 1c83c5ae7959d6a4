"""Code objects as canonical fields, and the digest of what they mean.

Two code objects have one fingerprint when they do the same: on every run, machine and
hash seed of one Python version. Positions and file names are not part of it, nor is
what class bodies of CPython 3.13+ record about positions. This module knows nothing
of patches, and it never executes, marshals or validates code.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib.util
import itertools
import sys
import weakref
from collections.abc import Iterator
from types import CodeType

import msgspec

from bcpatch import pythons
from bcpatch.model import (
    Bytes,
    Code,
    Complex,
    Constant,
    Dots,
    FrozenSet,
    Integer,
    Interpreter,
    Slice,
    Text,
    Tuple,
)

DIGEST_SIZE = 16
"""Bytes of a digest: 128 bits, written as 32 hexadecimal digits."""

OPTIMIZED = 0x1
"""The flag of code that is a function's: its locals are slots (``CO_OPTIMIZED``)."""

_encoder = msgspec.msgpack.Encoder()
_fingerprints: dict[int, tuple[weakref.ref[CodeType], str]] = {}


def this_interpreter() -> Interpreter:
    """What a patch must have been compiled by, to be loaded into this process."""
    return Interpreter(
        implementation=sys.implementation.name,
        version=f"{sys.version_info.major}.{sys.version_info.minor}",
        magic=int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little"),
        optimization=sys.flags.optimize,
    )


def is_same_python(one: Interpreter, other: Interpreter) -> bool:
    """Whether both run the same bytecode, whatever they were told to optimise."""
    return (one.implementation, one.version, one.magic) == (other.implementation, other.version, other.magic)


def hashed(data: bytes) -> hashlib.blake2b:
    """BLAKE2b of some bytes (RFC 7693)."""
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE)


def blake(data: bytes) -> str:
    """BLAKE2b of some bytes, as hexadecimal digits (RFC 7693)."""
    return hashed(data).hexdigest()


class Digests:
    """The digests of some texts, each computed once, for as long as they are together here."""

    def __init__(self) -> None:
        self._known: dict[int, list[tuple[bytes, str]]] = {}

    def add(self, data: bytes, digest: str) -> None:
        """Take what `blake` gave for some bytes."""
        self._known.setdefault(len(data), []).append((data, digest))

    def of(self, data: bytes) -> str:
        """The digest of some bytes, as `blake` gives it."""
        for known, digest in self._known.get(len(data), ()):
            if known == data:
                return digest
        digest = blake(data)
        self.add(data, digest)
        return digest


# --- code object → fields -----------------------------------------------------------


def encode(code: CodeType) -> Code:
    """The fields of a code object, nested ones included.

    Raises TypeError for a constant that no CPython compiler makes.
    """
    return Code(
        name=code.co_name,
        qualname=code.co_qualname,
        flags=code.co_flags,
        argcount=code.co_argcount,
        posonlyargcount=code.co_posonlyargcount,
        kwonlyargcount=code.co_kwonlyargcount,
        stacksize=code.co_stacksize,
        bytecode=code.co_code,
        constants=tuple(map(encode_constant, code.co_consts)),
        names=code.co_names,
        varnames=code.co_varnames,
        cellvars=code.co_cellvars,
        freevars=code.co_freevars,
        exception_table=code.co_exceptiontable,
        first_line=code.co_firstlineno,
        line_table=code.co_linetable,
    )


def encode_constant(value: object) -> Constant:
    """A constant as the model writes it. The exact type decides: ``True`` is not ``1``."""
    match value:
        case None | bool() | float():
            return value
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                return Text(value.encode("utf-8", "surrogatepass"))
            return value
        case int():
            if -(1 << 63) <= value < 1 << 64:
                return value
            return Integer(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
        case bytes():
            return Bytes(value)
        case tuple():
            return Tuple(tuple(map(encode_constant, value)))
        case CodeType():
            return encode(value)
        case complex():
            return Complex(value.real, value.imag)
        case frozenset():
            return FrozenSet(tuple(sorted(map(encode_constant, value), key=_encoder.encode)))
        case slice():
            return Slice(encode_constant(value.start), encode_constant(value.stop), encode_constant(value.step))
    if value is ...:
        return Dots()
    raise TypeError(f"no compiler makes a constant of type {type(value).__name__}")


# --- fields → code object -----------------------------------------------------------


def decode(code: Code, filename: str) -> CodeType:
    """The code object of some fields. They must have been verified: CPython checks next to nothing.

    Raises ValueError or TypeError where ``types.CodeType`` does.
    """
    return CodeType(
        code.argcount,
        code.posonlyargcount,
        code.kwonlyargcount,
        len(code.varnames),
        code.stacksize,
        code.flags,
        code.bytecode,
        _decoded(code.constants, filename),
        code.names,
        code.varnames,
        filename,
        sys.intern(code.name),
        sys.intern(code.qualname),
        code.first_line,
        code.line_table,
        code.exception_table,
        code.freevars,
        code.cellvars,
    )


def decode_constant(constant: Constant, filename: str) -> object:
    """The value of a constant; nested code gets ``filename`` too."""
    match constant:
        case Bytes(data):
            return data
        case Text(data):
            return data.decode("utf-8", "surrogatepass")
        case Integer(data):
            return int.from_bytes(data, "little", signed=True)
        case Complex(real, imag):
            return complex(real, imag)
        case Dots():
            return ...
        case Tuple(items):
            return _decoded(items, filename)
        case FrozenSet(items):
            return frozenset(_decoded(items, filename))
        case Slice(start, stop, step):
            return slice(*_decoded((start, stop, step), filename))
        case Code():
            return decode(constant, filename)
    return constant


def _decoded(constants: tuple[Constant, ...], filename: str) -> tuple[object, ...]:
    """The values of some constants; most are what they are."""
    return tuple([one if type(one) in _PLAIN else decode_constant(one, filename) for one in constants])


_PLAIN = frozenset({type(None), bool, int, float, str})


# --- fingerprints -------------------------------------------------------------------


def digest(code: Code) -> str:
    """The fingerprint of a code object's fields."""
    return blake(_encoder.encode(meaning(code)))


def of(code: CodeType) -> str:
    """The fingerprint of a code object, computed once for each."""
    known = _fingerprints.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    found = digest(encode(code))
    know(code, found)
    return found


def know(code: CodeType, print_: str) -> None:
    """Note the fingerprint of a code object that was made of fields."""
    key = id(code)
    _fingerprints[key] = weakref.ref(code, functools.partial(_gone, key)), print_


def forget(code: CodeType) -> None:
    """Note no longer the fingerprints of code, and of the code in it, that lives on and is hardly asked for again."""
    known = _fingerprints.get(id(code))
    if known is not None:
        _gone(id(code), known[0])
    for constant in code.co_consts:
        if type(constant) is CodeType:
            forget(constant)


def _gone(key: int, reference: weakref.ref[CodeType]) -> None:
    known = _fingerprints.get(key)
    if known is not None and known[0] is reference:
        del _fingerprints[key]


def meaning(code: Code) -> Code:
    """The code without its positions, and the same of the code nested in it."""
    constants = code.constants
    if Code in map(type, constants):
        constants = tuple(map(_meaning_of_constant, constants))
    code = msgspec.structs.replace(code, constants=constants, first_line=0, line_table=b"")
    return (
        _without_class_positions(code)
        if pythons.CLASS_BODY_POSITIONS and is_class_body(code.flags, code.name)
        else code
    )


def _meaning_of_constant(constant: Constant) -> Constant:
    return meaning(constant) if isinstance(constant, Code) else constant


def is_class_body(flags: int, name: str) -> bool:
    """Whether code is the body of a class statement: neither optimised nor a module's."""
    return not flags & OPTIMIZED and name != "<module>"


# --- class bodies of CPython 3.13+ ---------------------------------------------------

_CACHE = dis.opmap["CACHE"]
_EXTENDED_ARG = dis.opmap["EXTENDED_ARG"]
_STORE_NAME = dis.opmap["STORE_NAME"]
_CONSTANT_OPCODES = frozenset(dis.hasconst)
_JUMPS = {opcode: -1 if "BACKWARD" in dis.opname[opcode] else 1 for opcode in dis.hasjrel}
_POSITION_NAMES = ("__firstlineno__", "__static_attributes__")


def executed(code: CodeType) -> str:
    """A digest of what a module's code does, constants that it holds but never uses left out."""
    return blake(_encoder.encode(_without_class_positions(meaning(encode(code)))))


def _without_class_positions(code: Code) -> Code:
    """A class body that does not store its line and its methods' attributes.

    Both change the size of instructions and the numbers of constants around them, so the
    rest is written anew: constants in order of use, jumps and exception table by
    instruction instead of by offset. Malformed code comes back as it is.
    """
    try:
        instructions = _instructions(code.bytecode)
        table = list(_exception_table(code.exception_table))
        dropped = {
            position
            for i, (_, opcode, argument, _) in enumerate(instructions)
            if opcode == _STORE_NAME and code.names[argument] in _POSITION_NAMES
            for position in (i - 1, i)
        }
        index_of: dict[int, int] = {}
        for i, (start, _, _, _) in enumerate(instructions):
            index_of[start] = i - sum(1 for position in dropped if position < i)
        index_of[len(code.bytecode)] = len(instructions) - len(dropped)
        pool: dict[int, int] = {}
        rewritten = []
        for i, (_, opcode, argument, after) in enumerate(instructions):
            if i in dropped:
                continue
            if opcode in _CONSTANT_OPCODES:
                argument = pool.setdefault(argument, len(pool))
            elif opcode in _JUMPS:
                argument = index_of[after + 2 * argument * _JUMPS[opcode]]
            rewritten.append((opcode, argument))
        entries = [(index_of[start], index_of[end], index_of[target], depth) for start, end, target, depth in table]
        constants = tuple(code.constants[number] for number in pool)
    except (IndexError, KeyError):
        return code
    return msgspec.structs.replace(
        code,
        bytecode=_encoder.encode(rewritten),
        exception_table=_encoder.encode(entries),
        constants=constants,
    )


def _instructions(bytecode: bytes) -> list[tuple[int, int, int, int]]:
    """(start, opcode, argument, offset after it and its caches) of each instruction."""
    found = []
    start: int | None = None
    argument = 0
    size = len(bytecode)
    offset = 0
    while offset < size:
        opcode = bytecode[offset]
        argument = argument << 8 | bytecode[offset + 1]
        start = offset if start is None else start
        offset += 2
        if opcode == _EXTENDED_ARG:
            continue
        while offset < size and bytecode[offset] == _CACHE:
            offset += 2
        found.append((start, opcode, argument, offset))
        start, argument = None, 0
    return found


def _exception_table(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(start, end, target, depth and lasti) of each entry (CPython ``InternalDocs/exception_handling.md``)."""
    data = iter(table)

    def number(first: int | None = None) -> int:
        byte = next(data) if first is None else first
        value = byte & 63
        while byte & 64:
            byte = next(data)
            value = value << 6 | byte & 63
        return value

    for first in data:
        try:
            start, length, target, depth = number(first) * 2, number() * 2, number() * 2, number()
        except StopIteration:
            raise IndexError("exception table ends within an entry") from None
        yield start, start + length, target, depth


def stored_constant(body: CodeType, name: str) -> object:
    """The constant that a module's or class's body stores under a name; None where it stores none."""
    if name not in body.co_names:
        return None
    for (_, opcode, argument, _), (_, following, stored, _) in itertools.pairwise(_instructions(body.co_code)):
        if following == _STORE_NAME and body.co_names[stored] == name and opcode in _CONSTANT_OPCODES:
            return body.co_consts[argument]
    return None
