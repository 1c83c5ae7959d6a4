"""What the application wants to do about an update: before it, which may veto, and after it.

A module's hook is its function ``__bcpatch_update__(update)``, called for updates that
touch the module; callbacks of `on_update` are called for every one. All are code of
the application: whatever they raise is told, and none of it half-applies a patch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import AsyncGeneratorType, CodeType, CoroutineType, GeneratorType
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from bcpatch.diagnostics import NOWHERE, Diagnostic, Place, Refused, finding
from bcpatch.model import Site

NAME: Final = "__bcpatch_update__"

Namespaces: TypeAlias = Iterable[Mapping[str, Any]]


class Update(msgspec.Struct, frozen=True):
    """What a hook is told: the process goes from generation ``previous`` to ``generation``.

    ``phase`` is ``"before"``, when everything was checked and nothing has changed, or
    ``"after"``, when the new code runs. ``sites`` are the functions whose code changes;
    ``rollback`` is True where the generation isn't a new one.
    """

    phase: Literal["before", "after"]
    generation: int
    previous: int
    sites: tuple[Site, ...]
    rollback: bool = False


Callback: TypeAlias = Callable[[Update], object]

_callbacks: Final[list[Callback]] = []


def on_update(callback: Callback) -> Callback:
    """Call ``callback`` before and after every update; one that is known already is not called twice."""
    if callback not in _callbacks:
        _callbacks.append(callback)
    return callback


def before(update: Update, namespaces: Namespaces) -> None:
    """Tell the hooks what is about to happen. Raises `Refused` (BCP602) at the first that raises."""
    for name, hook in _hooks(namespaces):
        error = _raised(hook, update)
        if error is not None:
            raise Refused([finding("BCP602", f"{name} raised {_words(error)}", _place(hook))]) from error


def after(update: Update, namespaces: Namespaces) -> tuple[Diagnostic, ...]:
    """Tell the hooks what has happened: each of them, whatever the others raise. Returns a warning for each error."""
    told = replace(update, phase="after")
    return tuple(
        finding("BCP612", f"{name} raised {_words(error)}", _place(hook))
        for name, hook in _hooks(namespaces)
        if (error := _raised(hook, told)) is not None
    )


def _hooks(namespaces: Namespaces) -> Iterator[tuple[str, Callback]]:
    """The hooks to call, with their names for findings; looked up as late as can be, for they may be patched."""
    for namespace in namespaces:
        hook = namespace.get(NAME)
        if hook is not None:
            yield f"{namespace.get('__name__')}.{NAME}", hook
    for callback in tuple(_callbacks):
        yield f"callback {getattr(callback, '__qualname__', type(callback).__qualname__)}", callback


_NOT_RUN: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)


def _raised(hook: Callback, update: Update) -> BaseException | None:
    """What a hook raises, if anything; a KeyboardInterrupt of the main thread is the user's and passes."""
    try:
        done = hook(update)
    except KeyboardInterrupt as error:
        if threading.current_thread() is threading.main_thread():
            raise
        return error
    except BaseException as error:  # noqa: BLE001 (SystemExit too: it must not end a thread of ours)
        return error
    if not isinstance(done, _NOT_RUN):
        return None
    if not isinstance(done, AsyncGeneratorType):
        done.close()
    return TypeError(f"nobody runs the {type(done).__name__} that it returned: a hook is a plain function")


def _place(hook: Callback) -> Place:
    code = getattr(hook, "__code__", None)
    return Place(code.co_filename, code.co_firstlineno) if isinstance(code, CodeType) else NOWHERE


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as worse:  # noqa: BLE001 (a text that can't be had must not hide what was raised)
        return f"{type(error).__name__} (its text raised {type(worse).__name__})"
