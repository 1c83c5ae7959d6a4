"""What a patch comes to before its swap, and the code objects of it: built once, kept, named and placed.

Knows no expressions and no imports; nothing of the application runs here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import CodeType
from typing import Any, Final

import msgspec

from bcpatch import fingerprint, pythons
from bcpatch.diagnostics import Diagnostic, Place, Refused, finding
from bcpatch.flow.decode import Broken, check_positions
from bcpatch.model import Code, PositionEdit, Positions
from bcpatch.process import sources
from bcpatch.process.history import History
from bcpatch.process.lineages import Lineage
from bcpatch.process.linked import Cache, LinkedModule, LinkedSite
from bcpatch.process.records import Arrival, SiteChange, Step, Target
from bcpatch.process.swap import ABSENT, Change, Kind, Row, Slot, held

_encoder = msgspec.msgpack.Encoder()

_SHARED: Final = frozenset({str, int})
"""Types of constants of which those that are equal are the same: not so 0.0 and -0.0."""


class Prepared(msgspec.Struct, eq=False):
    """The stores of a swap, in order, and what they mean.

    ``codes`` are code objects to keep, by what the site goes back to and a digest: those replaced and those brought.
    ``texts`` are the stores of source texts for code with a file name of its own, ``files`` the
    real files behind such names, ``steps`` what becomes of what real files show. ``sole`` are objects that
    give way, and that nobody but their namespace may hold.
    ``caches`` hold results of functions that change, ``loose`` are the stores into closures.
    ``early`` are stores into names that no running text has, made already: `undo` takes them back. ``came`` are modules
    of the patch that it has imported.
    """

    changes: list[Change] = msgspec.field(default_factory=list)
    targets: list[Target] = msgspec.field(default_factory=list)
    sites: list[SiteChange] = msgspec.field(default_factory=list)
    notes: list[Diagnostic] = msgspec.field(default_factory=list)
    codes: dict[tuple[Lineage, bytes], CodeType] = msgspec.field(default_factory=dict)
    texts: list[Row] = msgspec.field(default_factory=list)
    files: dict[str, str] = msgspec.field(default_factory=dict)
    steps: dict[str, Step] = msgspec.field(default_factory=dict)
    sole: list[object] = msgspec.field(default_factory=list)
    caches: list[Cache] = msgspec.field(default_factory=list)
    loose: list[Change] = msgspec.field(default_factory=list)
    early: list[Change] = msgspec.field(default_factory=list)
    came: list[Arrival] = msgspec.field(default_factory=list)

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
    print_ = fingerprint.digest(fields)
    had = site.lineage, _key(print_, _positions_in(fields), filename)
    code = history.code(*had) or ready.codes.get(had)
    if code is None:
        code = ready.codes[had] = fingerprint.decode(_sharing(fields, site.functions[0].__code__), filename)
    fingerprint.know(code, print_)
    return code


def _sharing(fields: Code, running: CodeType) -> Code:
    """The same fields, with the very texts, numbers and tables of running code where they have equal ones.

    Most edits change a line or two: what the rest is made of is kept once for both.
    """
    return _with_parts(fields, {(type(one), one): one for one in _parts(running)})


def _parts(code: CodeType) -> Iterator[str | bytes | int]:
    yield from (code.co_linetable, code.co_exceptiontable)
    for constant in code.co_consts:
        if type(constant) in _SHARED:
            yield constant
        elif type(constant) is CodeType:
            yield from _parts(constant)


def _with_parts(fields: Code, parts: Mapping[tuple[type, object], Any]) -> Code:
    constants = [
        _with_parts(one, parts)
        if isinstance(one, Code)
        else parts.get((type(one), one), one)
        if type(one) in _SHARED
        else one
        for one in fields.constants
    ]
    return msgspec.structs.replace(
        fields,
        constants=tuple(constants),
        line_table=parts.get((bytes, fields.line_table), fields.line_table),
        exception_table=parts.get((bytes, fields.exception_table), fields.exception_table),
    )


def keep(lineage: Lineage, code: CodeType, history: History, ready: Prepared) -> None:
    """Let a code object that is replaced be found again when a later patch brings it back."""
    if history.keeps(code):  # a patch brought it, or another one has replaced it before
        return
    had = lineage, _key(fingerprint.of(code), _positions_of(code), code.co_filename)
    if history.code(*had) is None:
        ready.codes.setdefault(had, code)


def _key(print_: str, positions: object, filename: str) -> bytes:
    """What tells the code objects of a site from each other: a digest of all that they are."""
    named = filename.encode("utf-8", "surrogatepass")  # the name of a file need not be a text
    return fingerprint.hashed(_encoder.encode((print_, positions, named))).digest()


def _positions_of(code: CodeType) -> object:
    """What a fingerprint leaves out, nested code included; of a class body on 3.13+ everything, for it holds lines."""
    if pythons.CLASS_BODY_POSITIONS and fingerprint.is_class_body(code.co_flags, code.co_name):
        return fingerprint.encode(code)
    nested = [_positions_of(one) for one in code.co_consts if type(one) is CodeType]
    return code.co_firstlineno, code.co_linetable, nested


def _positions_in(fields: Code) -> object:
    """The same of a code object of a patch."""
    if pythons.CLASS_BODY_POSITIONS and fingerprint.is_class_body(fields.flags, fields.name):
        return fields
    nested = [_positions_in(one) for one in fields.constants if isinstance(one, Code)]
    return fields.first_line, fields.line_table, nested


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


def refresh(sites: Sequence[tuple[LinkedSite, PositionEdit]], history: History, ready: Prepared) -> None:
    """Let the functions of sites that only moved stand where the edits say. There may be thousands of them."""
    moves = [(site, edit, function, function.__code__) for site, edit in sites for function in site.functions]
    kept = history.records.places.of([id(running) for *_, running in moves])
    for (site, edit, function, running), place in zip(moves, kept, strict=True):
        filename = history.files.get(running.co_filename, running.co_filename)
        if not _fit(edit.positions, running):
            message = f"the positions of {edit.site} are not those of its code"
            raise Refused([finding("BCP408", message, Place(site.module.file), site=edit.site)])
        if place is None:
            keep(site.lineage, running, history, ready)
        moved = _moved(running, edit.positions, filename)
        where = _positions_of(moved) if edit.positions.nested else (moved.co_firstlineno, moved.co_linetable, ())
        had = site.lineage, _key(edit.replaces, where, filename)
        known = history.code(*had)
        moved = known or ready.codes.get(had, moved)
        if moved is not running:
            if known is None:
                ready.codes[had] = moved
                fingerprint.know(moved, edit.replaces)
            ready.changes.append(Change(Slot(Kind.ATTRIBUTE, function, "__code__"), running, moved))
            ready.targets.append(Target(function, edit.site))


def _fit(positions: Positions, code: CodeType) -> bool:
    """Whether positions that came with a patch can be those of running code: a table must cover its bytecode."""
    if positions.line_table is None and not positions.nested:
        return CodeType not in map(type, code.co_consts)
    inner = [constant for constant in code.co_consts if type(constant) is CodeType]
    if len(inner) != len(positions.nested):
        return False
    try:
        if positions.line_table is not None:
            check_positions(msgspec.structs.replace(fingerprint.encode(code), line_table=positions.line_table))
    except Broken:
        return False
    return all(map(_fit, positions.nested, inner))


def _moved(code: CodeType, positions: Positions, filename: str) -> CodeType:
    """The same code on other lines."""
    if positions.line_table is None and not positions.nested and filename == code.co_filename:
        return code.replace(co_firstlineno=positions.first_line)
    constants = code.co_consts
    if positions.nested:
        inner = iter(positions.nested)
        constants = tuple(_moved(one, next(inner), filename) if type(one) is CodeType else one for one in constants)
    return code.replace(
        co_consts=constants,
        co_filename=filename,
        co_firstlineno=positions.first_line,
        co_linetable=code.co_linetable if positions.line_table is None else positions.line_table,
    )
