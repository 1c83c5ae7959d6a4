"""Bytes ⇄ Patch.

A patch file is a magic, a format version, a header, the bodies, and a digest of all of
it. Reading proves that the bytes are whole and well-formed before anything of them is
believed; whether the code in them may run is the verifier's business.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
from typing import Any, Final, NoReturn

import msgspec
from msgspec.structs import replace

from bcpatch.diagnostics import PatchFileError, Place, Refused, finding
from bcpatch.model import (
    AdditionEdit,
    AnnotationsEdit,
    ClassPositionEdit,
    CreationEdit,
    DocstringEdit,
    Edit,
    FunctionEdit,
    Import,
    ImportEdit,
    Interpreter,
    Link,
    Module,
    ModulePatch,
    Noun,
    Patch,
    Policy,
    PositionEdit,
    ProgramEdit,
    RemovalEdit,
    Site,
    Splice,
    Turns,
    ValueEdit,
)

MAGIC = b"\x8fBCPATCH"
FORMAT = 2
SUFFIX = ".patch"
MAX_SIZE = 256 << 20
"""Bytes beyond which a file is not read: far more than the source of any program."""

_PREFIX = struct.Struct(">8sHI")  # magic, format version, size of the header
_DIGEST_SIZE = 32


class EditHeader(Noun, frozen=True):
    """What the header says of one edit: its kind, where it is, what it replaces and brings.

    For functions these are fingerprints, in bytes; others have none. ``names`` are those that an addition binds.
    """

    kind: str
    qualname: str
    ordinal: int = 0
    replaces: bytes = b""
    brings: bytes = b""
    names: tuple[str, ...] = ()


class ModuleHeader(Noun, frozen=True):
    """What the header says of one module; the digests are those of its source texts, in bytes.

    ``links`` are None where whoever made the patch has not looked for them: the process does.
    """

    module: Module
    replaces: bytes | None
    brings: bytes
    edits: tuple[EditHeader, ...]
    links: tuple[Link, ...] | None


class Header(Noun, frozen=True):
    """All that can be known of a patch without reading its code."""

    interpreter: Interpreter
    policy: Policy
    generation: int
    parent: bytes | None
    modules: tuple[ModuleHeader, ...]


class _Body(Noun, frozen=True):
    """What the header leaves out of one module; its edits do not say again what the header says of them."""

    imports: tuple[Import, ...]
    edits: tuple[Edit, ...]
    source: bytes
    back: tuple[Splice, ...]
    turns: tuple[Turns, ...]


_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(Header)
_bodies_decoder = msgspec.msgpack.Decoder(tuple[_Body, ...])


def header(patch: Patch) -> Header:
    """The header that a patch has in its file."""
    return Header(
        patch.interpreter,
        patch.policy,
        patch.generation,
        None if patch.parent is None else _packed(patch.parent),
        tuple(
            ModuleHeader(
                part.module,
                None if part.replaces is None else _packed(part.replaces),
                _packed(part.brings),
                tuple(map(_edit_header, part.edits)),
                part.links,
            )
            for part in patch.modules
        ),
    )


def _edit_header(edit: Edit) -> EditHeader:
    if isinstance(edit, PositionEdit):  # nearly all where lines were added
        return EditHeader("position", edit.site.qualname, edit.site.ordinal, _packed(edit.replaces))
    match edit:
        case FunctionEdit(site, replaces, brings):
            return EditHeader("function", site.qualname, site.ordinal, _packed(replaces), _packed(brings))
        case ImportEdit(binding):
            return EditHeader("import", binding.name)
        case DocstringEdit(qualname):
            return EditHeader("docstring", qualname)
        case ClassPositionEdit(qualname):
            return EditHeader("class position", qualname)
        case AnnotationsEdit(qualname):
            return EditHeader("annotations", qualname)
        case AdditionEdit(owner, names):
            return EditHeader("addition", owner, names=names)
        case ValueEdit(owner, name):
            return EditHeader("value", f"{owner}.{name}" if owner else name)
        case RemovalEdit(owner, name):
            return EditHeader("removal", f"{owner}.{name}" if owner else name)
        case ProgramEdit():
            return EditHeader("program", "")
        case CreationEdit():
            return EditHeader("module", "")


def _packed(digits: str) -> bytes:
    """A digest as the header has it. Raises PatchFileError where it is none."""
    try:
        packed = bytes.fromhex(digits)
    except ValueError:
        packed = b""
    if packed.hex() != digits:
        _refuse("BCP408", f"{digits!r} is no digest", Place(""))
    return packed


# --- what the bodies leave out -------------------------------------------------------

_NOWHERE: Final = Site("", "", 0)


def _without_header(edit: Edit, module: str) -> Edit:
    """An edit as it stands in a body: without what the header says of it."""
    if not isinstance(edit, (PositionEdit, FunctionEdit)):
        return edit
    if edit.site.module != module:
        _refuse("BCP408", f"an edit of {edit.site} in the module {module}", Place(""))
    if isinstance(edit, PositionEdit):
        return PositionEdit(_NOWHERE, "", edit.positions, edit.replaced_line)
    return replace(edit, site=_NOWHERE, replaces="", brings="")


def _with_header(edit: Edit, said: EditHeader, module: str) -> Edit | None:
    """An edit of a body with what the header says of it; None where the header says another one."""
    if isinstance(edit, PositionEdit):
        if said.kind != "position" or said.names or said.brings or edit.site != _NOWHERE or edit.replaces:
            return None
        site = Site(module, said.qualname, said.ordinal)
        return PositionEdit(site, said.replaces.hex(), edit.positions, edit.replaced_line)
    if isinstance(edit, FunctionEdit):
        if said.kind != "function" or said.names or edit.site != _NOWHERE or edit.replaces or edit.brings:
            return None
        site = Site(module, said.qualname, said.ordinal)
        return replace(edit, site=site, replaces=said.replaces.hex(), brings=said.brings.hex())
    return edit if _edit_header(edit) == said else None


# --- bytes ---------------------------------------------------------------------------


def encode(patch: Patch) -> bytes:
    """The bytes of a patch file. Equal patches give equal bytes, everywhere."""
    head = _encoder.encode(header(patch))
    bodies = _encoder.encode(tuple(map(_body, patch.modules)))
    content = _PREFIX.pack(MAGIC, FORMAT, len(head)) + head + bodies
    return content + _seal(content)


def without_texts(patch: Patch) -> Patch:
    """A patch for a process that reads the texts of the modules from its own disk. No other takes it (BCP408)."""
    return replace(patch, modules=tuple([replace(part, source=b"") for part in patch.modules]))


def _body(part: ModulePatch) -> _Body:
    edits = tuple([_without_header(edit, part.module.name) for edit in part.edits])
    return _Body(part.imports, edits, part.source, part.back, part.turns)


def decode(data: bytes, name: str = "") -> Patch:
    """The patch in some bytes; ``name`` is the file to blame.

    Raises PatchFileError with the first thing that is wrong (BCP401 to BCP404, BCP408).
    """
    place = Place(name)
    head, rest = _open(data, place)
    try:
        bodies = _bodies_decoder.decode(rest)
    except (msgspec.DecodeError, RecursionError) as error:
        _refuse("BCP408", f"a body does not decode: {error}", place)
    if len(bodies) != len(head.modules):
        _refuse("BCP408", f"{len(head.modules)} modules in the header, {len(bodies)} bodies", place)
    modules = tuple(_module(said, body, place) for said, body in zip(head.modules, bodies, strict=True))
    parent = None if head.parent is None else head.parent.hex()
    return Patch(head.interpreter, head.policy, head.generation, parent, modules)


def _module(said: ModuleHeader, body: _Body, place: Place) -> ModulePatch:
    if len(body.edits) != len(said.edits):
        _refuse("BCP408", f"{len(said.edits)} edits in the header, {len(body.edits)} in its body", place)
    name = said.module.name
    edits = tuple(
        found
        for edit, header in zip(body.edits, said.edits, strict=True)
        if (found := _with_header(edit, header, name)) is not None
    )
    if len(edits) < len(said.edits):
        _refuse("BCP408", "the header says other edits than the bodies have", place)
    replaces = None if said.replaces is None else said.replaces.hex()
    told = said.module, replaces, said.brings.hex()
    return ModulePatch(*told, body.imports, said.links, edits, body.source, body.back, body.turns)


def digest(patch: Patch) -> str:
    """What names a patch: the digest at the end of its file, as hexadecimal digits."""
    return digest_of(encode(patch))


def digest_of(data: bytes) -> str:
    """The same of the bytes of a file that were written or read before."""
    return data[-_DIGEST_SIZE:].hex()


def _seal(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE, person=MAGIC).digest()


def _open(data: bytes, place: Place) -> tuple[Header, memoryview]:
    """The header, and the bytes of the bodies, of a file whose digest fits."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        _refuse("BCP401", "it does not begin with the magic of a patch file", place)
    if len(data) < _PREFIX.size + _DIGEST_SIZE:
        _refuse("BCP402", f"{len(data)} bytes are fewer than any patch file has", place)
    _, version, head_size = _PREFIX.unpack_from(data)
    if version != FORMAT:
        _refuse("BCP404", f"format {version}; this bcpatch reads format {FORMAT}", place)
    content = memoryview(data)[:-_DIGEST_SIZE]
    if _seal(content) != data[-_DIGEST_SIZE:]:
        _refuse("BCP403", "the digest at its end is not that of its content: it was changed or cut", place)
    bodies = _PREFIX.size + head_size
    if bodies > len(content):
        _refuse("BCP402", f"a header of {head_size} bytes in a file of {len(data)}", place)
    try:
        return _header_decoder.decode(content[_PREFIX.size : bodies]), content[bodies:]
    except (msgspec.DecodeError, RecursionError) as error:
        _refuse("BCP408", f"the header does not decode: {error}", place)


def _refuse(code: str, message: str, place: Place) -> NoReturn:
    raise PatchFileError([finding(code, message, place)])


# --- files ---------------------------------------------------------------------------


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file that may be a patch. Raises PatchFileError (BCP003, BCP401)."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        raise PatchFileError([finding("BCP003", _reason(error), Place(name))]) from error
    if len(data) > MAX_SIZE:
        _refuse("BCP401", f"larger than the {MAX_SIZE >> 20} MiB that a patch may have", Place(name))
    return data


def read(path: str | os.PathLike[str]) -> Patch:
    """The patch in a file.

    Raises PatchFileError where the file can't be read or is not a patch that this
    bcpatch understands. It may still be for another Python: the runtime checks that.
    """
    return decode(read_bytes(path), os.fspath(path))


def write(patch: Patch, path: str | os.PathLike[str]) -> None:
    """Write a patch file: beside its place first, then by renaming, so that no half of it is ever seen.

    A symbolic link stays one. A pipe or a device is written to as it is.
    Raises Refused (BCP003) where the file system does not let us; then nothing is left behind.
    """
    name = os.fspath(path)
    try:
        if is_stream(name):
            with open(name, "wb") as stream:
                stream.write(encode(patch))
        else:
            _replace(os.path.realpath(name), encode(patch))
    except (OSError, ValueError) as error:
        raise Refused([finding("BCP003", f"can't write it: {_reason(error)}", Place(name))]) from error


def is_stream(name: str) -> bool:
    """Whether a path names a pipe, a device or the like, such as ``/dev/stdout``."""
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _replace(name: str, data: bytes) -> None:
    import tempfile  # a process that is patched writes no patches, and need not wait for what this imports

    folder, base = os.path.split(name)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{base}.", suffix=".tmp", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, name)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _reason(error: Exception) -> str:
    reason: Any = getattr(error, "strerror", None)
    return str(reason or error).lower()
