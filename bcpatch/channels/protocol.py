"""What a process and those who ask it say to each other: messages as data, and as frames of bytes.

A conversation is: the process sends `Hello`; then each request gets one reply, in
order. A frame is the length of its body in four bytes, big-endian, then the body, one
message in MessagePack. Nothing here knows of sockets, or of what a request does.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import msgspec

from bcpatch.diagnostics import Diagnostic, Error
from bcpatch.fingerprint import blake
from bcpatch.model import Interpreter, Policy, Site
from bcpatch.patchfile import MAX_SIZE
from bcpatch.status import Status

#: Said in `Hello`; a side that hears another number hangs up.
VERSION: Final = 1

#: The largest body that is read, in bytes: the largest patch, and room for what goes with it.
MAXIMUM: Final = MAX_SIZE + (1 << 20)

HEADER: Final = struct.Struct(">I")

Consistency: TypeAlias = Literal["immediate", "quiescent"]
Scan: TypeAlias = Literal["references", "heap"]


class ProtocolError(Error):
    """Bytes or messages that the other side should not have sent."""


class Message(msgspec.Struct, frozen=True, tag=str.lower):
    """Base of all that is said. Unknown fields are ignored, so that fields can be added."""


class Hello(Message, frozen=True, kw_only=True):
    """The first message on every connection: who answers here.

    ``started`` is in seconds since the epoch; ``generation`` is the current one;
    ``policy`` is what the process is pinned to, None where it takes either.
    """

    pid: int
    program: str
    interpreter: Interpreter
    policy: Policy | None
    generation: int
    started: float
    version: int = VERSION


# --- requests ----------------------------------------------------------------------


class Apply(Message, frozen=True, kw_only=True):
    """Apply a patch; with ``dry_run`` link it with the process and change nothing.

    ``timeout`` is how many seconds it may wait for its instant; ``require_instant``
    refuses where one instant is likely but not certain. ``basis`` is the `identity` of the
    reply to `LoadedRequest` that the patch was made for: a process that would give another
    one by now gives it, and applies nothing. With ``texts_on_disk`` the patch leaves out the
    texts of its modules, which the process reads from their files; where these are others, it
    gives that reply too.
    """

    patch: bytes
    consistency: Consistency = "immediate"
    scan: Scan = "references"
    timeout: float | None = None
    require_instant: bool = False
    dry_run: bool = False
    basis: str | None = None
    texts_on_disk: bool = False


class Rollback(Message, frozen=True):
    """Go back (or forward again) to generation ``to``; None is the one before the current one."""

    to: int | None = None


class StatusRequest(Message, frozen=True):
    """Tell the generations and every patched function."""


class LoadedRequest(Message, frozen=True):
    """Tell which modules are loaded from which source files, and the current generation.

    A supervisor asks it often: unlike `StatusRequest` it costs next to nothing.
    """


Request: TypeAlias = Apply | Rollback | StatusRequest | LoadedRequest


# --- replies -----------------------------------------------------------------------


class Applied(Message, frozen=True):
    """The process now runs ``generation``. ``notes`` are warnings and notes, never errors.

    ``certain`` is False where an audit hook in Python made the one instant likely only.
    """

    generation: int
    milliseconds: float
    notes: tuple[Diagnostic, ...] = ()
    certain: bool = True


class Rehearsed(Message, frozen=True):
    """Answer to a dry run: the patch would be applied to these sites. Nothing was changed."""

    sites: tuple[Site, ...]
    milliseconds: float
    notes: tuple[Diagnostic, ...] = ()


class Refusal(Message, frozen=True):
    """The request was refused for these reasons, and the process runs what it ran before."""

    diagnostics: tuple[Diagnostic, ...]


class StatusReply(Message, frozen=True):
    """Answer to `StatusRequest`."""

    status: Status


class LoadedModule(msgspec.Struct, frozen=True):
    """A module of the process: its key in ``sys.modules``, its file, and its ``__package__``.

    The package tells where below the import root the file is, for ``__main__`` too. The file is
    told by the bytes of its path (`os.fsencode`), which need be no text.
    """

    name: str
    file: bytes
    package: str

    @property
    def path(self) -> str:
        """The path of the file as Python has it."""
        return os.fsdecode(self.file)


class LoadedReply(Message, frozen=True):
    """Answer to `LoadedRequest`; ``patch`` is the digest of the patch that made ``generation``, None for 0."""

    generation: int
    patch: str | None
    modules: tuple[LoadedModule, ...]


class Failure(Message, frozen=True):
    """The request could not be understood, or an error of bcpatch itself stopped it."""

    message: str


Reply: TypeAlias = Applied | Rehearsed | Refusal | StatusReply | LoadedReply | Failure
Handler: TypeAlias = Callable[[Request], Reply]


def identity(reply: LoadedReply) -> str:
    """A digest of what a process said of its modules and its generation."""
    return identity_of(reply.generation, reply.patch, of_modules(reply.modules))


def identity_of(generation: int, patch: str | None, modules: str) -> str:
    """The same, from the digest that `of_modules` gives."""
    return blake(_encoded((generation, patch, modules)))


def of_modules(modules: tuple[LoadedModule, ...]) -> str:
    """A digest of what a process said of its modules alone, which stays the same for long."""
    return blake(_encoded(modules))


# --- frames ------------------------------------------------------------------------

_encoder = msgspec.msgpack.Encoder()
_hello: msgspec.msgpack.Decoder[Hello] = msgspec.msgpack.Decoder(Hello)
_request: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def frame(message: Hello | Request | Reply) -> bytes:
    r"""The bytes that carry ``message``.

    >>> frame(Rollback(3))
    b'\x00\x00\x00\x13\x82\xa4type\xa8rollback\xa2to\x03'
    """
    body = _encoded(message)
    if len(body) > MAXIMUM:
        raise ProtocolError(f"a message of {len(body)} bytes is larger than the limit of {MAXIMUM}")
    return HEADER.pack(len(body)) + body


def _encoded(content: object) -> bytes:
    """The content as MessagePack, whose texts are UTF-8: where others (surrogates) are only shown, they are escaped."""
    try:
        return _encoder.encode(content)
    except UnicodeEncodeError:
        return _encoder.encode(_escaped(msgspec.to_builtins(content, builtin_types=(bytes,))))


def _escaped(content: Any) -> Any:
    if isinstance(content, str):
        return content.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(content, dict):
        return {key: _escaped(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_escaped(one) for one in content]
    return content


def body_length(header: bytes) -> int:
    """How many bytes follow ``header``, the first four bytes of a frame."""
    length: int = HEADER.unpack(header)[0]
    if length > MAXIMUM:
        raise ProtocolError(f"a frame of {length} bytes is larger than the limit of {MAXIMUM}")
    return length


def read_hello(body: bytes) -> Hello:
    """The greeting in ``body``; raises `ProtocolError` where it's none, or of another version."""
    try:
        hello = _hello.decode(body)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a greeting of bcpatch: {error}") from error
    if hello.version != VERSION:
        raise ProtocolError(f"process {hello.pid} speaks protocol {hello.version}, this bcpatch speaks {VERSION}")
    return hello


def read_request(body: bytes) -> Request:
    """The request in ``body``; raises `ProtocolError` where it's none."""
    try:
        return _request.decode(body)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a request: {error}") from error


def read_reply(body: bytes) -> Reply:
    """The reply in ``body``; raises `ProtocolError` where it's none."""
    try:
        return _reply.decode(body)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a reply: {error}") from error
