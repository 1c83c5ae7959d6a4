"""Asking running processes, and telling what each of them said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from bcpatch.channels import client
from bcpatch.channels.base import ChannelError
from bcpatch.channels.connection import Lost
from bcpatch.channels.protocol import Applied, Apply, Failure, Refusal, Rehearsed, Reply, Request
from bcpatch.cli.output import Format, Wrong, complain, report, say
from bcpatch.cli.program import DONE, REFUSED, WRONG
from bcpatch.cli.tables import counted
from bcpatch.diagnostics import Diagnostic, Refused

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


def each(pids: Sequence[int], request: Request, format: Format) -> int:
    """Ask each process and tell what it said. The exit status is that of the worst answer."""
    found: list[Diagnostic] = []
    worst = DONE
    for pid in dict.fromkeys(pids):
        try:
            reply = ask(pid, request)
        except Wrong as error:
            complain(str(error))
            worst = worst or WRONG
            continue
        match reply:
            case Applied():
                found += reply.notes
                say(f"process {pid} runs generation {reply.generation} ({reply.milliseconds:.1f} ms)", format)
            case Rehearsed():
                found += reply.notes
                sites = ": " + ", ".join(map(str, reply.sites)) if reply.sites else ""
                say(f"process {pid} would switch {counted(len(reply.sites), 'site')}{sites}", format)
            case Refusal():
                found += reply.diagnostics
                complain(f"process {pid} refused; it runs what it ran before")
                worst = REFUSED
            case _:
                complain(f"process {pid}: {_failure(reply)}")
                worst = REFUSED
    report(list(dict.fromkeys(found)), format)
    return worst


def _failure(reply: Reply) -> str:
    return reply.message if isinstance(reply, Failure) else "an answer to another question"
