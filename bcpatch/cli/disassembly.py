"""The instructions that a patch brings, for people: of this Python, and through xdis of others.

Nothing is disassembled here that the verifier has not accepted: CPython's own decoders
trust the tables of a code object.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bcpatch import fingerprint
from bcpatch.cli.output import Wrong
from bcpatch.diagnostics import Refused, errors
from bcpatch.model import Annotations, AnnotationsEdit, Code, Default, FunctionEdit, Interpreter, ModulePatch, Patch

if TYPE_CHECKING:
    from types import ModuleType

_MISSING = "install bcpatch[inspect] to disassemble patches for another Python"


def show(patch: Patch) -> None:
    """Write the disassembly of every piece of code in a patch.

    Raises Refused where the verifier refuses the patch, Wrong where nothing can read its Python's code.
    """
    ours = fingerprint.this_interpreter()
    if (patch.interpreter.implementation, patch.interpreter.magic) == (ours.implementation, ours.magic):
        _show_own(patch)
    else:
        _show_foreign(patch)


def _pieces(part: ModulePatch) -> Iterator[tuple[str, Code]]:
    """Every code object that a module's edits bring, with a title."""
    for edit in part.edits:
        match edit:
            case FunctionEdit():
                yield str(edit.site), edit.code
                yield from _defaults(edit)
                yield from _annotations(f"{edit.site}, annotations", edit.annotations)
                if edit.type_parameters is not None:
                    yield f"{edit.site}, type parameters", edit.type_parameters
            case AnnotationsEdit():
                name = f"{part.module.name}:{edit.qualname}" if edit.qualname else part.module.name
                yield from _annotations(f"{name}, annotations", edit.annotations)


def _defaults(edit: FunctionEdit) -> Iterator[tuple[str, Code]]:
    changed: list[Default] = [default for default in (*edit.positional, *edit.keywords) if default.changed]
    for default in changed:
        yield f"{edit.site}, default of {default.parameter}", default.expression


def _annotations(title: str, annotations: Annotations) -> Iterator[tuple[str, Code]]:
    if annotations.changed and annotations.code is not None:
        yield title, annotations.code


def _heading(title: str) -> None:
    sys.stdout.write(f"\n{title}\n")


def _show_own(patch: Patch) -> None:
    from bcpatch.verify import verify

    refused = errors(verify(patch))
    if refused:
        raise Refused(refused)
    for part in patch.modules:
        for title, code in _pieces(part):
            _heading(title)
            dis.dis(fingerprint.decode(code, part.module.path), file=sys.stdout)


# --- other Pythons -------------------------------------------------------------------


def _show_foreign(patch: Patch) -> None:
    version = _version(patch.interpreter)
    try:
        from xdis.bytecode import Bytecode
        from xdis.op_imports import get_opcode_module
        from xdis.version_info import PythonImplementation
    except ImportError as error:
        raise Wrong(f"this patch is for {patch.interpreter}: {_MISSING}") from error
    try:
        opcodes: ModuleType = get_opcode_module(version, PythonImplementation.CPython)
    except KeyError as error:
        raise Wrong(f"this patch is for {patch.interpreter}, which the installed xdis doesn't know") from error
    for part in patch.modules:
        for title, code in _pieces(part):
            for inner in _nested(code):
                _heading(title if inner is code else f"{title}, its {inner.qualname}")
                sys.stdout.write(Bytecode(_portable(inner, part.module.path, version), opcodes).dis())


def _version(interpreter: Interpreter) -> tuple[int, int, int]:
    """The version as xdis wants it; the last part makes no difference to bytecode."""
    major, _, minor = interpreter.version.partition(".")
    if interpreter.implementation != "cpython" or not (major.isdecimal() and minor.isdecimal()):
        raise Wrong(f"this patch is for {interpreter}, which nothing here can disassemble")
    return int(major), int(minor), 0


def _nested(code: Code) -> Iterator[Code]:
    yield code
    for constant in code.constants:
        if isinstance(constant, Code):
            yield from _nested(constant)


def _portable(code: Code, path: str, version: tuple[int, int, int]) -> Any:
    """A code object of another Python as xdis has it."""
    from xdis.codetype import to_portable

    return to_portable(
        co_argcount=code.argcount,
        co_posonlyargcount=code.posonlyargcount,
        co_kwonlyargcount=code.kwonlyargcount,
        co_nlocals=len(code.varnames),
        co_stacksize=code.stacksize,
        co_flags=code.flags,
        co_code=code.bytecode,
        co_consts=tuple(
            _portable(constant, path, version)
            if isinstance(constant, Code)
            else fingerprint.decode_constant(constant, path)
            for constant in code.constants
        ),
        co_names=code.names,
        co_varnames=code.varnames,
        co_filename=path,
        co_name=code.name,
        co_qualname=code.qualname,
        co_firstlineno=code.first_line,
        co_lnotab=code.line_table,
        co_freevars=code.freevars,
        co_cellvars=code.cellvars,
        co_exceptiontable=code.exception_table,
        version_triple=version,
    )
