"""What the linked policy carries beyond functions: definitions and values added, changed and removed.

Goes through the bodies of a module and of its classes, and through what follows from that. What it leaves is for
the rules of `bcpatch.compile`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from bcpatch.diagnostics import Diagnostic
from bcpatch.model import AdditionEdit, Edit, ImportEdit, RemovalEdit, ValueEdit
from bcpatch.source import arms, readers
from bcpatch.source.bodies import Found, Place, block, value_changed
from bcpatch.source.outline import Unit
from bcpatch.source.values import binders, is_value


def additions(old: Unit, new: Unit, reimported: frozenset[str], optimization: int) -> Found:
    """Compare the bodies of two versions of a module, name by name.

    ``reimported`` are names whose import statements bind something else in the new version.
    """
    found = Found()
    found.changed.update(("", name) for name in reimported)
    module = Place(old, new, None, None, optimization)
    _body(module, found)
    running = {made.qualname: made for made in old.classes}
    count = Counter(made.qualname for made in old.classes) | Counter(made.qualname for made in new.classes)
    for made in new.classes:
        before = running.get(made.qualname) if count[made.qualname] == 1 else None
        if before is not None and not found.handles(*made.chain):
            _body(Place(old, new, before, made, optimization), found)
    _follow_readers(module, found)
    found.edits.sort(key=lambda edit: getattr(edit, "line", 0))  # what a statement reads stands above it
    return found


def stale(new: Unit, found: Found, imports: Iterable[ImportEdit | RemovalEdit], anew: set[int]) -> Iterator[Diagnostic]:
    """Statements that used the old value of a name. ``anew`` are the nodes, by id, that are evaluated again."""
    hiding = {name for owner, name in found.hiding if not owner}
    owners = _first_lines((*found.edits, *imports))
    return readers.stale(new, found.names() | hiding, found.attributes(), found.hiding, owners, found.handles, anew)


def _first_lines(edits: Iterable[Edit]) -> dict[str, int]:
    """The classes, and "" for the module, whose names change, with the first line that makes one; 0 for a removal."""
    lines: dict[str, int] = {}
    for edit in edits:
        if isinstance(edit, (AdditionEdit, ValueEdit, RemovalEdit, ImportEdit)):
            owner = "" if isinstance(edit, ImportEdit) else edit.owner
            line = 0 if isinstance(edit, RemovalEdit) else edit.line
            lines[owner] = min(lines.get(owner, line), line)
    return lines


def premature(new: Unit, found: Found, changed: frozenset[str]) -> Iterator[Diagnostic]:
    """Added statements that run what changes in the same swap."""
    return readers.premature(new, found.added, found.names(), changed)


def _body(at: Place, found: Found) -> None:
    there = at.before.node.body if at.before else at.old.tree.body
    here = at.after.node.body if at.after else at.new.tree.body
    block(there, here, at, found)
    arms.compare(there, here, at, found)


def _follow_readers(at: Place, found: Found) -> None:
    """Values computed from changed names change with them."""
    before = {name: one[0] for name, one in binders(at.old.tree.body).items() if is_value(one)}
    now = {name: one[0] for name, one in binders(at.new.tree.body).items() if is_value(one)}
    waiting = [name for name in now if name in before and ("", name) not in found.changed]
    grown = True
    while grown:
        grown = False
        names = found.names()
        for name in list(waiting):
            value = now[name].value
            if value is not None and readers.reads_any(value, names):
                waiting.remove(name)
                grown = value_changed(before[name], now[name], at, found, forced=True) or grown
