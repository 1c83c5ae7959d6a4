"""Asking running processes, and telling what each of them said."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from bcpatch.channels import client
from bcpatch.channels.base import ChannelError
from bcpatch.channels.connection import Lost
from bcpatch.channels.protocol import Applied, Apply, Failure, Refusal, Rehearsed, Reply, Request
from bcpatch.cli.output import Format, Wrong, complain, report, say, write
from bcpatch.cli.program import DONE, REFUSED, WRONG
from bcpatch.cli.tables import counted
from bcpatch.diagnostics import Diagnostic, Refused, as_json

R = TypeVar("R")

#: Seconds that a process may take to answer, beyond what the request itself may take.
ANSWER_SECONDS: Final = 30.0


def ask(pid: int, request: Request) -> Reply:
    """What one process answers. Raises Wrong where it can't be reached, or doesn't."""
    waiting = request.timeout or 0.0 if isinstance(request, Apply) else 0.0
    try:
        peer = client.connect(pid)
        try:
            return peer.request(request, ANSWER_SECONDS + waiting)
        except KeyboardInterrupt:
            complain(f"interrupted; process {pid} may still do what it was asked to: see `bcpatch status {pid}`")
            raise
        finally:
            peer.close()
    except TimeoutError:
        raise Wrong(f"process {pid} does not answer; it may still do what it was asked to") from None
    except (ChannelError, Lost) as error:
        raise Wrong(str(error)) from error


def asked(pid: int, request: Request, expected: type[R]) -> R:
    """The answer of one process, which is of the ``expected`` kind. Raises Refused or Wrong."""
    reply = ask(pid, request)
    if isinstance(reply, expected):
        return reply
    if isinstance(reply, Refusal):
        raise Refused(reply.diagnostics)
    raise Wrong(f"process {pid}: {_failure(reply)}")


class Ending(StrEnum):
    """What came of asking one process."""

    DONE = "done"
    WOULD_DO = "would do"  # a dry run
    REFUSED = "refused"  # the findings say why; it runs what it ran before
    FAILED = "failed"
    UNREACHABLE = "unreachable"  # or it did not answer in time: then it may still do it


class Said(msgspec.Struct, frozen=True):
    """What one process said; ``sites`` are those that a dry run would switch. What does not apply is None."""

    pid: int
    outcome: Ending
    message: str
    generation: int | None = None
    milliseconds: float | None = None
    certain: bool | None = None
    sites: tuple[str, ...] | None = None
    findings: tuple[Diagnostic, ...] = ()


_STATUS: Final = {
    Ending.DONE: DONE,
    Ending.WOULD_DO: DONE,
    Ending.REFUSED: REFUSED,
    Ending.FAILED: REFUSED,
    Ending.UNREACHABLE: WRONG,
}


def each(pids: Sequence[int], request: Request, format: Format) -> int:
    """Ask each process and tell what it said. The exit status is that of the worst answer.

    All are asked, also where nobody can be told any more. Raises the OSError of standard output at the end.
    """
    answers: list[Said] = []
    unwritable: OSError | None = None
    for pid in dict.fromkeys(pids):
        answer = _said(pid, request)
        answers.append(answer)
        try:
            _tell(answer, format)
        except OSError as error:
            unwritable = error
            _tell_aside(answer)
    if unwritable is None and format != "text":
        try:
            _tell_machine(answers, format)
        except OSError as error:
            unwritable = error
            for answer in answers:
                _tell_aside(answer)
    if unwritable is not None:
        raise unwritable
    statuses = [_STATUS[one.outcome] for one in answers]
    return REFUSED if REFUSED in statuses else max(statuses, default=DONE)


def _tell(answer: Said, format: Format) -> None:
    if _STATUS[answer.outcome] == DONE:
        say(answer.message, format)
    else:
        complain(answer.message)
    if format == "text":
        report(answer.findings, format)


def _tell_machine(answers: Sequence[Said], format: Format) -> None:
    if format == "json":
        write(json.dumps(list(map(_as_json, answers)), indent=2, ensure_ascii=False), sys.stdout)
    else:
        report(list(dict.fromkeys(one for answer in answers for one in answer.findings)), format)


def _tell_aside(answer: Said) -> None:
    """Tell on standard error what a process did that could not be told on standard output."""
    with suppress(OSError):
        say(answer.message, aside=True)
        report(answer.findings)


def _said(pid: int, request: Request) -> Said:
    try:
        reply = ask(pid, request)
    except Wrong as error:
        return Said(pid, Ending.UNREACHABLE, str(error))
    match reply:
        case Applied(generation=generation, milliseconds=taken):
            message = f"process {pid} runs generation {generation} ({taken:.1f} ms)"
            return Said(pid, Ending.DONE, message, generation, taken, certain=reply.certain, findings=reply.notes)
        case Rehearsed(milliseconds=taken):
            sites = tuple(map(str, reply.sites))
            named = ": " + ", ".join(sites) if sites else ""
            message = f"process {pid} would switch {counted(len(sites), 'site')}{named}"
            return Said(pid, Ending.WOULD_DO, message, milliseconds=taken, sites=sites, findings=reply.notes)
        case Refusal(diagnostics=found):
            message = f"process {pid} refused; it runs what it ran before"
            return Said(pid, Ending.REFUSED, message, findings=tuple(found))
    return Said(pid, Ending.FAILED, f"process {pid}: {_failure(reply)}")


def _as_json(answer: Said) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(answer)
    return fields | {"findings": json.loads(as_json(answer.findings))}


def _failure(reply: Reply) -> str:
    return reply.message if isinstance(reply, Failure) else "an answer to another question"
