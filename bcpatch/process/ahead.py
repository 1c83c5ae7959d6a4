"""Code of the application that a patch runs ahead of its swap: what it computes stays, so it must not be out of date.

It may run nothing that gives way in the swap, nor read a name that the swap binds anew, be that by whatever it calls.
What is called is seen while it runs, in this thread; what code reads is found in the code.
"""

from __future__ import annotations

import opcode
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from types import CodeType
from typing import Any, Final, TypeAlias

import msgspec

from bcpatch.diagnostics import Diagnostic, Place, Refused, finding
from bcpatch.model import AdditionEdit, FunctionEdit, ImportEdit, RemovalEdit, Site, ValueEdit
from bcpatch.process import importers
from bcpatch.process.below import Below, below
from bcpatch.process.linked import LinkedModule, LinkedSite
from bcpatch.process.objects import with_nested
from bcpatch.process.stale import Rebound
from bcpatch.process.starts import OccupiedError, Starts
from bcpatch.process.swap import ABSENT, Kind, Slot, held
from bcpatch.process.texts import Texts
from bcpatch.source.readers import NOT_AS_HERE

Where: TypeAlias = Callable[[], Place]

_HELP: Final = "apply the change of `{}` first, and this in a patch of its own"


class _Reason(msgspec.Struct, frozen=True):
    """Why code must not run: it changes, or reads ``read``, which is bound anew; or ``again``, as that says."""

    code: CodeType
    read: str = ""
    again: str = ""


def run(what: str, where: Where, site: Site | None, call: Callable[..., Any], *arguments: object) -> Any:
    """Call code of the application; what it raises is a refusal (BCP603)."""
    before = set(sys.modules)
    try:
        return call(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        imported = sorted(set(sys.modules) - before)
        effects = f"; modules imported meanwhile: {', '.join(imported)}" if imported else ""
        message = f"{what} raised {type(error).__name__}: {_words(error)}{effects}"
        raise Refused([finding("BCP603", message, where(), site=site)]) from error


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 (a text that can't be had must not hide what was raised)
        return f"(its text raised {type(worse).__name__})"


class Ahead:
    """Runs what ``modules`` and ``sites`` of a patch need before the swap, and sees what that does. To be closed.

    What is out of date is found out when the first code comes that does more than define functions.
    """

    def __init__(self, modules: Iterable[LinkedModule], sites: Iterable[LinkedSite], known: Texts) -> None:
        self._modules, self._sites, self._known = modules, sites, known
        self._starts = Starts()
        self._rebound: Rebound | None = None
        self._reasons: dict[int, _Reason] = {}
        self._defined: list[tuple[CodeType, LinkedModule]] = []

    def close(self) -> None:
        """Let go of all code."""
        self._starts.close()
        self._reasons.clear()
        self._defined.clear()

    def run(
        self,
        code: CodeType,
        module: LinkedModule,
        pending: Collection[str],
        what: str,
        where: Where,
        site: Site | None,
        call: Callable[..., Any],
        *arguments: object,
    ) -> Any:
        """Make a call that runs code in a module, where it finds ``pending`` names as they will be.

        Raises Refused where it raises (BCP603), where it runs what changes (BCP211), and where it or what it runs reads
        what changes, or what the module binds again below (BCP210).
        """
        if _only_defines(code):
            if self._rebound is None:
                self._defined.append((code, module))
            else:
                self._watch_inside(code, module, where)
            return run(what, where, site, call, *arguments)
        rebound = self._out_of_date(where)
        names = {*rebound.of(module.namespace)}.difference(pending)
        read = rebound.read_by(code, module.namespace, names, keeps=True)
        if read:
            message = f"{what} reads `{read}`, which changes in the same patch: it would get the old value"
            raise Refused([finding("BCP210", message, where(), help=_HELP.format(read), site=site)])
        later = below(module, where().line)
        read = later.read_by(code)
        if read:
            message = f"{what} reads `{read}`, which {later.words(read)}: {NOT_AS_HERE}"
            raise Refused([finding("BCP210", message, where(), site=site)])
        self._watch_inside(code, module, where)
        return self._call(self._reasons | self._watch_below(later, code, where), what, where, site, call, *arguments)

    def call(self, what: str, where: Where, site: Site | None, call: Callable[..., Any], *arguments: object) -> Any:
        """The same of a call that runs no code of the patch itself."""
        self._out_of_date(where)
        return self._call(self._reasons, what, where, site, call, *arguments)

    def _call(
        self,
        reasons: Mapping[int, _Reason],
        what: str,
        where: Where,
        site: Site | None,
        call: Callable[..., Any],
        *arguments: object,
    ) -> Any:
        try:
            with self._starts.seen() as seen:
                result = run(what, where, site, call, *arguments)
        except OccupiedError:
            raise Refused([_unseen(where)]) from None
        found = [_while_out_of_date(what, reasons[id(code)], where(), site) for code in seen if id(code) in reasons]
        if found:
            raise Refused(found)
        return result

    def _watch_below(self, later: Below, code: CodeType, where: Where) -> dict[int, _Reason]:
        """Watch for what reads a name that is bound again below; by the identity of its code, why that must not run."""
        inner = ((one, later.read_by(one)) for one in with_nested(code))
        readers = ((one, read) for one, read in (*inner, *later.readers()) if read is not None)
        found = {id(one): _Reason(one, read, later.words(read)) for one, read in readers}
        for reason in found.values():
            self._starts_watching(reason.code, where)
        return found

    def _out_of_date(self, where: Where) -> Rebound:
        """What the swap will bind anew. All code is watched for that reads it or changes."""
        if self._rebound is None:
            self._rebound = _rebound(self._modules, self._known)
            for code, read in self._rebound.readers() if self._rebound else ():
                self._watch(_Reason(code, read), where)
            for site in self._sites:
                if isinstance(site.edit, FunctionEdit) and site.edit.runs_otherwise:
                    for function in (*site.functions, *(one.function for one in site.closures)):
                        self._watch(_Reason(function.__code__), where)
            for code, module in self._defined:
                self._watch_inside(code, module, where)
        return self._rebound

    def _watch_inside(self, code: CodeType, module: LinkedModule, where: Where) -> None:
        assert self._rebound is not None
        for inner in with_nested(code):
            names = self._rebound.of(module.namespace)
            read = self._rebound.read_by(inner, module.namespace, names, keeps=True)
            if read and inner is not code:
                self._watch(_Reason(inner, read), where)

    def _watch(self, reason: _Reason, where: Where) -> None:
        self._reasons[id(reason.code)] = reason
        self._starts_watching(reason.code, where)

    def _starts_watching(self, code: CodeType, where: Where) -> None:
        try:
            self._starts.watch(code)
        except OccupiedError:
            raise Refused([_unseen(where)]) from None


#: What code consists of that does no more than make functions and bind names to them.
_DEFINING: Final = frozenset(
    opcode.opmap.get(name)
    for name in """
    RESUME NOP CACHE EXTENDED_ARG LOAD_CONST LOAD_SMALL_INT LOAD_COMMON_CONSTANT MAKE_FUNCTION SET_FUNCTION_ATTRIBUTE
    STORE_NAME RETURN_VALUE RETURN_CONST
    """.split()
)


def _only_defines(code: CodeType) -> bool:
    return _DEFINING.issuperset(code.co_code[::2])


def _unseen(where: Where) -> Diagnostic:
    message = "what the patch runs before the swap can't be seen: other tools have all that this thread's calls show in"
    return finding("BCP211", message, where(), help="end a profiler or a debugger of the process")


def _while_out_of_date(what: str, reason: _Reason, place: Place, site: Site | None) -> Diagnostic:
    name = reason.code.co_qualname
    if reason.again:
        message = f"{what} runs `{name}`, which reads `{reason.read}`; that {reason.again}: {NOT_AS_HERE}"
        return finding("BCP210", message, place, site=site)
    if reason.read:
        message = f"{what} runs `{name}`, which reads `{reason.read}`; that changes in the same patch"
        return finding("BCP210", message, place, help=_HELP.format(reason.read), site=site)
    message = f"{what} runs `{name}`, which changes in the same patch: it would get what the old code gives"
    return finding("BCP211", message, place, help=_HELP.format(name), site=site)


def _rebound(modules: Iterable[LinkedModule], known: Texts) -> Rebound:
    """What the swap is going to bind anew, in the modules of a patch and in those that took names of them."""
    found = Rebound()
    for module in modules:
        for edit in module.part.changes:
            owner, names = _bound_anew(edit)
            if owner:
                cls = module.owner(owner)
                for name in names if cls is not None else ():
                    found.add(cls, name)
                continue
            for name in names:
                value = held(Slot(Kind.NAMESPACE, module.namespace, name))
                if value is ABSENT:
                    continue
                found.add(module.object, name)
                for other, alias in importers.taken(known, module.object, name, value):
                    found.add(other, alias)
    return found


def _bound_anew(edit: object) -> tuple[str, tuple[str, ...]]:
    """The class, or "" for the module, of which an edit binds names anew or deletes them, and these."""
    match edit:
        case AdditionEdit(owner=owner, names=names, extends=extends) if owner or extends:
            return owner, names
        case ValueEdit(owner=owner, name=name):
            return owner, (name,)
        case RemovalEdit(owner=owner, name=name, stays=False):
            return owner, (name,)
        case ImportEdit(binding=binding, replaces=replaces) if replaces is not None:
            return "", (binding.name,)
    return "", ()
