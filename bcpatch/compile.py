"""Base and new source of a module → its edits.

What is compared is compiled code: a change in comments or formatting is no edit, or a
refresh of positions. Edits that no policy of this version can carry come back as
diagnostics (BCP2xx) at the place of the change. Whether the code may be *used* is the
verifier's business.
"""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from bcpatch import fingerprint, pythons
from bcpatch.diagnostics import Diagnostic, Severity, errors, finding
from bcpatch.model import (
    Annotations,
    AnnotationsEdit,
    ClassPositionEdit,
    DocstringEdit,
    Edit,
    FunctionEdit,
    Import,
    ImportEdit,
    Policy,
    ProgramEdit,
    RemovalEdit,
    Turns,
)
from bcpatch.source import functions, instances, order, readers, shape
from bcpatch.source.additions import additions, premature, stale
from bcpatch.source.bodies import Found
from bcpatch.source.comparison import Comparison
from bcpatch.source.facts import recorded
from bcpatch.source.fidelity import compiled_alike
from bcpatch.source.header import is_lazy, variable_annotations
from bcpatch.source.instances import Gained
from bcpatch.source.outline import Class, Unit
from bcpatch.source.pairing import paired, turns

_HIDES = "keep the import, or build with --policy linked: the name hides a builtin, or what `__getattr__` would answer"


class Changes(msgspec.Struct, frozen=True):
    """What differs between two versions of a module: edits, and findings about the rest.

    ``gained`` is what objects get by changed methods that those which the process has made lack.
    """

    edits: tuple[Edit, ...]
    diagnostics: tuple[Diagnostic, ...]
    turns: tuple[Turns, ...] = ()
    gained: tuple[Gained, ...] = ()


def changes(old: Unit | None, new: Unit, policy: Policy, optimization: int) -> Changes:
    """Compare two versions of one module source.

    Without an old version every function of the new one is an edit of whatever runs.
    """
    if old is None:
        return Changes(tuple(functions.without_base(new, optimization)), ())
    found: list[Diagnostic] = []
    imports = list(_imports(old, new, found))
    removed = list(_unimported(old, new, policy, found))
    reimported = frozenset(edit.binding.name for edit in imports if edit.replaces is not None)
    reimported |= {edit.name for edit in removed if not edit.stays}
    beyond = additions(old, new, reimported, optimization) if policy is Policy.LINKED else Found()
    found += beyond.diagnostics
    at = Comparison(old, new, policy, optimization, beyond, found)
    pairing = paired(old, new)
    edits: list[Edit] = [
        *_program(at),
        *_bodies(at),
        *imports,
        *removed,
        *beyond.edits,
        *functions.edits(at, pairing),
    ]
    changed = frozenset(edit.site.qualname for edit in edits if isinstance(edit, FunctionEdit))
    found.extend(premature(new, beyond, changed))
    found.extend(stale(new, beyond, (*imports, *removed), at.anew.nodes))
    for function, parameters in at.anew.defaults:
        what = beyond.names(), beyond.attributes(), changed
        found.extend(readers.premature_header(new, function, parameters, *what))
    switched = {edit.site for edit in edits if isinstance(edit, FunctionEdit)}
    written = (*(after for before, after in pairing.pairs if before.site in switched), *pairing.added)
    gained = instances.gained(old, new, written)
    found.extend(instances.findings(old, new, gained))
    if not errors(found):
        found.extend(_unplaced_findings(old, new))
    said = _without_repeats(found)
    told = tuple(said if at.is_strict else map(_for_linked, said))
    return Changes(tuple(edits), told, tuple(turns(pairing)), gained)


def _program(at: Comparison) -> Iterator[ProgramEdit]:
    """What differs in what ``if __name__ == "__main__":`` guards; definitions in there need no other rule."""
    was, now = (unit.body.program for unit in (at.old, at.new))
    at.beyond.handled.update(id(node) for one in (*was, *now) for node in ast.walk(one.node))
    if any(_statement_findings(at, was, now)):
        yield ProgramEdit(now[0].node.lineno if now else 0)


def _unplaced_findings(old: Unit, new: Unit) -> Iterator[Diagnostic]:
    """A change in a lambda whose place is not known is in no edit: it must not pass for none."""
    before, after = (Counter(map(fingerprint.of, unit.unplaced)) for unit in (old, new))
    if before != after:
        changed = next((code for code in new.unplaced if not before[fingerprint.of(code)]), None)
        place = new.place() if changed is None else new.place()._replace(line=changed.co_firstlineno)
        message = "a lambda on this line changed, and which one it is can't be told"
        yield finding("BCP213", message, place._replace(text=new.line(place.line)))


def _for_linked(found: Diagnostic) -> Diagnostic:
    """A finding that does not advise what was done already."""
    return msgspec.structs.replace(found, help=found.help.replace(", or build with --policy linked", ""))


#: Rules that say of a line what others only see as a statement that is not what it was.
_SAYS_MORE = {"BCP208": ("BCP201", "BCP202", "BCP205", "BCP206"), "BCP209": ("BCP207",)}


def _without_repeats(found: list[Diagnostic]) -> Iterator[Diagnostic]:
    """Findings, but for those where another rule says more, and for the second about a field: it is annotated, and
    has a value.
    """
    said: dict[tuple[str, int], list[Diagnostic]] = {}
    for one in found:
        said.setdefault((one.file, one.line), []).append(one)
    for one in found:
        others = said[one.file, one.line]
        is_less = any(other.code in _SAYS_MORE.get(one.code, ()) for other in others)
        is_again = one.code == "BCP207" and next(other for other in others if other.code == "BCP207") is not one
        if not (is_less or is_again):
            yield one


# --- module and class bodies -----------------------------------------------------------------


def _bodies(at: Comparison) -> Iterator[Edit]:
    old, new, beyond = at.old, at.new, at.beyond
    yield from _body(at, None, None)
    at.said.extend(order.reordered(old, new, None, None))
    several = Counter(made.qualname for made in new.classes)
    waiting: dict[str, list[Class]] = {}
    for made in old.classes:
        waiting.setdefault(made.qualname, []).append(made)
    for made in new.classes:
        same = waiting.get(made.qualname)
        if not same:
            if not beyond.handles(*made.chain):
                at.said.append(finding("BCP201", f"class `{made.qualname}` is not in the base", new.place(made.node)))
            continue
        before = same.pop(0)
        at.said.extend(_class_findings(before, made, new))
        for edit in _body(at, before, made):
            if several[made.qualname] > 1 and isinstance(edit, AnnotationsEdit):
                message = f"there are several classes `{made.qualname}`, and which one the process holds is not known"
                at.said.append(finding("BCP213", message, new.place(made.node)))
                continue
            yield edit
        at.said.extend(order.reordered(old, new, before, made))
        if pythons.CLASS_BODY_POSITIONS and several[made.qualname] == 1:
            yield from _class_positions(before, made)
    for left in waiting.values():
        at.said.extend(
            finding("BCP202", f"class `{made.qualname}` of the base is gone", old.place(made.node))
            for made in left
            if not beyond.handles(*made.chain)
        )


def _class_findings(before: Class, after: Class, new: Unit) -> Iterator[Diagnostic]:
    place = new.place(after.node)
    if [*map(shape.shape, before.node.decorator_list)] != [*map(shape.shape, after.node.decorator_list)]:
        yield finding("BCP205", f"class `{after.qualname}` has other decorators than in the base", place)
    for name in ("bases", "keywords", "type_params"):
        was, now = getattr(before.node, name, []), getattr(after.node, name, [])
        if shape.dumped(was) != shape.dumped(now):
            yield finding("BCP206", f"class `{after.qualname}` has other {name.replace('_', ' ')}", place)


def _body(at: Comparison, before: Class | None, after: Class | None) -> Iterator[Edit]:
    """Compare what one body executes: the module's, or that of one class."""
    there, here = before or at.old, after or at.new
    qualname = after.qualname if after else ""
    left = [[one for one in made.body.statements if not at.beyond.handles(one.node)] for made in (there, here)]
    at.said.extend(_statement_findings(at, *left))
    docstrings = [fingerprint.stored_constant(made.code, "__doc__") for made in (there, here)]
    if docstrings[0] != docstrings[1]:
        yield DocstringEdit(qualname, *(one if isinstance(one, str) else None for one in docstrings))
    was, now = there.body.annotations, here.body.annotations
    if shape.dumped(was) != shape.dumped(now):
        yield from _annotations(at, was, after, now)


def _annotations(
    at: Comparison, was: dict[str, ast.expr], after: Class | None, now: dict[str, ast.expr]
) -> Iterator[AnnotationsEdit]:
    """The edit of the annotated variables of a body, which differ."""
    qualname = after.qualname if after else ""
    if after is not None and _may_read_annotations(after.node, at.policy):
        changed: list[ast.AST] = [
            node for name, node in now.items() if shape.dumped(node) != shape.dumped(was.get(name))
        ]
        message = f"the annotated variables of `{qualname}` may be its generated fields"
        at.said.extend(finding("BCP207", message, at.new.place(node)) for node in changed or [after.node])
        return
    at.anew.note(now.values())
    at.said.extend(readers.class_scope(at.new, now.values(), after.chain if after else (), qualname))
    code = variable_annotations(at.new, after, now, at.optimization)
    yield AnnotationsEdit(qualname, Annotations(code, is_lazy(at.new), True))


def _may_read_annotations(node: ast.ClassDef, policy: Policy) -> bool:
    """Whether something generated methods from a class's annotations, as far as the source tells.

    What its bases and its metaclass do is seen in the process, which a linked patch trusts.
    """
    return bool(node.decorator_list) or (policy is Policy.STRICT and bool(node.bases or node.keywords))


def _statement_findings(
    at: Comparison, was: Sequence[shape.Statement], now: Sequence[shape.Statement]
) -> Iterator[Diagnostic]:
    """What differs between two sequences of executed statements."""
    if [one.shape for one in was] == [one.shape for one in now]:
        return
    shapes = [one.shape for one in was], [one.shape for one in now]
    matcher = difflib.SequenceMatcher(None, *shapes, autojunk=False)
    for tag, start, stop, new_start, new_stop in matcher.get_opcodes():
        if tag == "equal":
            continue
        removed, added = was[start:stop], now[new_start:new_stop]
        if len(removed) == len(added) and all(
            compiled_alike(one.node, other.node, at.optimization) for one, other in zip(removed, added, strict=True)
        ):
            continue
        if added:
            yield from (_statement_finding(one.node, at.new) for one in added)
        else:
            yield from (_removed_finding(one.node, at.old) for one in removed)


def _statement_finding(node: ast.stmt, unit: Unit) -> Diagnostic:
    if isinstance(node, shape.DEFINITIONS):
        message = f"`{node.name}` is decorated or derived, and it is changed or added or stands in another order"
        return finding("BCP208", message, unit.place(node))
    if isinstance(node, shape.ASSIGNMENTS):
        message = "this value is changed or added; it was computed when the module was imported"
        return finding("BCP209", message, unit.place(node))
    message = "this statement is changed or added; it runs when the module is imported"
    return finding("BCP208", message, unit.place(node))


def _removed_finding(node: ast.stmt, old: Unit) -> Diagnostic:
    code = "BCP209" if isinstance(node, shape.ASSIGNMENTS) else "BCP208"
    return finding(code, "this line of the base ran when the module was imported, and is gone", old.place(node))


def _class_positions(before: Class, after: Class) -> Iterator[ClassPositionEdit]:
    was, now = (recorded(made.code) for made in (before, after))
    if was != now:
        yield ClassPositionEdit(after.qualname, *now)


# --- imports ---------------------------------------------------------------------------------


def _imports(old: Unit, new: Unit, found: list[Diagnostic]) -> Iterator[ImportEdit]:
    """Names that top-level import statements bind anew."""
    was = _bound(old)
    now = _bound(new)
    for key, (binding, statement) in now.items():
        before = was.get(key)
        if before is not None and before[0] == binding:
            continue
        if binding.name in new.own_names:
            message = (
                f"`{binding.name}` is imported here and bound by the module itself: which one counts can't be told"
            )
            found.append(finding("BCP208", message, new.place(statement)))
        else:
            yield ImportEdit(binding, before[0] if before else None, statement.lineno)


def _unimported(old: Unit, new: Unit, policy: Policy, found: list[Diagnostic]) -> Iterator[RemovalEdit]:
    """Imported names that the new version does not bind: they stay bound, unless something stands in for them."""
    still = {one.name for one in shape.imports(new.tree, new.source.module, frozenset())} | new.own_names
    for (name, _), (_, statement) in _bound(old).items():
        if name in still:
            continue
        hides = shape.has_stand_in(name, new.tree)
        if policy is Policy.LINKED:
            yield RemovalEdit("", name, stays=not hides)
            if hides:
                continue
        message = f"`{name}`, imported by line {statement.lineno} of the base, stays bound in the running module"
        said = finding("BCP215", message, new.place())
        found.append(msgspec.structs.replace(said, severity=Severity.ERROR, help=_HIDES) if hides else said)


def _bound(unit: Unit) -> dict[tuple[str, str | None], tuple[Import, ast.stmt]]:
    found: dict[tuple[str, str | None], tuple[Import, ast.stmt]] = {}
    for statement in unit.body.imports:
        for binding in shape.bindings(statement, unit.source.module):
            found[binding.name, binding.submodule] = binding, statement
    return found
