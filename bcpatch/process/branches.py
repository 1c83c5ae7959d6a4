"""Which branches of a module ran in this process, told by the tests that a patch carries.

A test reads names and compares; it imports nothing and changes nothing.
"""

from __future__ import annotations

from types import FunctionType, ModuleType

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.model import AdditionEdit, Code, Edit, ImportEdit, ModulePatch, ValueEdit
from bcpatch.process.objects import namespace_of


def decided(part: ModulePatch, module: ModuleType, file: str) -> tuple[ModulePatch, list[Diagnostic]]:
    """A part of a patch without the edits of branches that did not run, and what is to be said of it."""
    found: list[Diagnostic] = []
    if not any(isinstance(edit, (AdditionEdit, ImportEdit, ValueEdit)) and edit.when for edit in part.changes):
        return part, found
    kept: list[Edit] = []
    answers: dict[Code, object] = {}
    for edit in part.edits:
        if not isinstance(edit, (AdditionEdit, ImportEdit, ValueEdit)) or edit.when is None:
            kept.append(edit)
            continue
        if edit.when not in answers:
            answers[edit.when] = _answer(edit.when, module)
        answer, place = answers[edit.when], Place(file, edit.line)
        if answer is True:
            kept.append(edit)
        elif answer is False:
            found.append(finding("BCP514", f"this line of the new source did not run here{_names(edit)}", place))
        else:
            message = f"whether this branch ran can't be told from the process{_names(edit)}"
            found.append(finding("BCP515", message, place))
    return msgspec.structs.replace(part, edits=tuple(kept)), found


def _answer(when: Code, module: ModuleType) -> object:
    test = FunctionType(fingerprint.decode(when, "<branch>"), namespace_of(module))
    try:
        return test()
    except Exception:  # noqa: BLE001 (a test that raises tells nothing, which is what is said)
        return None


def _names(edit: AdditionEdit | ImportEdit | ValueEdit) -> str:
    match edit:
        case AdditionEdit(names=names):
            return f": {', '.join(names)}"
        case ImportEdit(binding=binding):
            return f": {binding.name}"
    return f": {edit.name}"
