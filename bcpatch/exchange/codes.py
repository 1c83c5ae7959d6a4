"""What a patch comes to before its swap, and the code objects of it: built once, kept, named and placed.

Knows no expressions and no imports; nothing of the application runs here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import CodeType

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, Refused, finding
from bcpatch.flow.decode import Broken, check_positions
from bcpatch.model import Code, PositionEdit, Positions, Site
from bcpatch.process import sources
from bcpatch.process.history import History
from bcpatch.process.locate import LinkedModule, LinkedSite
from bcpatch.process.records import Arrival, Cache, SiteChange, Step, Target
from bcpatch.process.swap import ABSENT, Change, Kind, Row, Slot, held

_encoder = msgspec.msgpack.Encoder()


@dataclass(slots=True, eq=False)
class Prepared:
    """The stores of a swap, in order, and what they mean.

    ``codes`` are code objects to keep, by site: those replaced and those brought.
    ``texts`` are the stores of source texts for code with a file name of its own, ``files`` the
    real files behind such names, ``steps`` what becomes of what real files show. ``sole`` are objects that
    give way, and that nobody but their namespace may hold.
    ``caches`` hold results of functions that change, ``loose`` are the stores into closures.
    ``early`` are stores into names that no running text has, made already: `undo` takes them back. ``came`` are modules
    of the patch that it has imported.
    """

    changes: list[Change] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    sites: list[SiteChange] = field(default_factory=list)
    notes: list[Diagnostic] = field(default_factory=list)
    codes: dict[Site, dict[bytes, CodeType]] = field(default_factory=dict)
    texts: list[Row] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    sole: list[object] = field(default_factory=list)
    caches: list[Cache] = field(default_factory=list)
    loose: list[Change] = field(default_factory=list)
    early: list[Change] = field(default_factory=list)
    came: list[Arrival] = field(default_factory=list)

    def undo(self) -> None:
        """Leave nothing behind: unbind the new names, and give those that were left bound what they had."""
        for change in reversed(self.early):
            if change.old is ABSENT:
                change.slot.owner.pop(change.slot.name, None)
            elif change.old is not change.new:
                change.slot.owner[change.slot.name] = change.old


def change(ready: Prepared, slot: Slot, new: object) -> None:
    old = held(slot)
    if old is not new:
        ready.changes.append(Change(slot, old, new))


def built(site: LinkedSite, fields: Code, history: History, ready: Prepared) -> CodeType:
    """The code object of a patch: the very one that an earlier generation brought, where one did."""
    filename = filename_of(site, ready, history)
    key = _key(fields, filename)
    brought = ready.codes.setdefault(site.edit.site, {})
    code = history.code(site.edit.site, key) or brought.get(key)
    if code is None:
        code = brought[key] = fingerprint.decode(fields, filename)
    fingerprint.know(code, fingerprint.digest(fields))
    return code


def keep(site: Site, code: CodeType, history: History, ready: Prepared) -> None:
    """Let a code object that is replaced be found again when a later patch brings it back."""
    if not history.keeps(code):  # else a patch brought it, or another one has replaced it before
        _keep(site, code, fingerprint.encode(code), history, ready)


def _keep(site: Site, code: CodeType, fields: Code, history: History, ready: Prepared) -> None:
    key = _key(fields, code.co_filename)
    if history.code(site, key) is None:
        ready.codes.setdefault(site, {}).setdefault(key, code)


def _key(fields: Code, filename: str) -> bytes:
    named = filename.encode("utf-8", "surrogatepass")  # the name of a file need not be a text
    return bytes.fromhex(fingerprint.blake(_encoder.encode((fields, named))))


def filename_of(site: LinkedSite, ready: Prepared, history: History) -> str:
    running = site.functions[0].__code__.co_filename
    original = history.files.get(running, running)
    if site.module.on_disk:
        return original
    own = sources.name_for(original, site.module.part.source)
    if own not in ready.files:
        ready.files[own] = original
        ready.texts.append(sources.published(own, site.module.part.source))
    return own


def own_filename_of(module: LinkedModule, ready: Prepared) -> str:
    """The file name of code that replaces none."""
    if module.on_disk:
        return module.file
    own = sources.name_for(module.file, module.part.source)
    if own not in ready.files:
        ready.files[own] = module.file
        ready.texts.append(sources.published(own, module.part.source))
    return own


def refresh(site: LinkedSite, edit: PositionEdit, history: History, ready: Prepared) -> None:
    for function in site.functions:
        running = function.__code__
        fields = fingerprint.encode(running)
        if not _fit(edit.positions, fields):
            message = f"the positions of {edit.site} are not those of its code"
            raise Refused([finding("BCP408", message, Place(site.module.file), site=edit.site)])
        filename = filename_of(site, ready, history)
        key = _key(_placed(fields, edit.positions), filename)
        if not history.keeps(running):
            _keep(edit.site, running, fields, history, ready)
        known = history.code(edit.site, key)
        brought = ready.codes.setdefault(edit.site, {})
        moved = known or brought.get(key) or _moved(running, edit.positions, filename)
        if moved is not running:
            if known is None:
                brought[key] = moved
                fingerprint.know(moved, edit.replaces)
            change(ready, Slot(Kind.ATTRIBUTE, function, "__code__"), moved)
            ready.targets.append(Target(function, edit.site))


def _fit(positions: Positions, code: Code) -> bool:
    """Whether positions that came with a patch can be those of running code: a table must cover its bytecode."""
    inner = [constant for constant in code.constants if isinstance(constant, Code)]
    if len(inner) != len(positions.nested):
        return False
    try:
        if positions.line_table is not None:
            check_positions(msgspec.structs.replace(code, line_table=positions.line_table))
    except Broken:
        return False
    return all(map(_fit, positions.nested, inner))


def _placed(code: Code, positions: Positions) -> Code:
    """The same fields with other positions."""
    inner = iter(positions.nested)
    constants = code.constants
    if positions.nested:
        constants = tuple(_placed(one, next(inner)) if isinstance(one, Code) else one for one in constants)
    table = code.line_table if positions.line_table is None else positions.line_table
    return msgspec.structs.replace(code, constants=constants, first_line=positions.first_line, line_table=table)


def _moved(code: CodeType, positions: Positions, filename: str) -> CodeType:
    """The same code on other lines."""
    inner = iter(positions.nested)
    constants = tuple(_moved(one, next(inner), filename) if type(one) is CodeType else one for one in code.co_consts)
    return code.replace(
        co_consts=constants,
        co_filename=filename,
        co_firstlineno=positions.first_line,
        co_linetable=code.co_linetable if positions.line_table is None else positions.line_table,
    )
