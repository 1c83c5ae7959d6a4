"""What the file of a module shows in each generation: the text that code under its name was compiled from.

The disk goes on without the process: an editor, a deployment, a patch that was refused. So
``linecache`` is given the text that code of the current generation stands in, for every
file of a patched module, and every swap gives it that of its generation, in the same instant.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Sequence
from types import CodeType, ModuleType

from bcpatch import splices
from bcpatch.exchange.codes import Prepared
from bcpatch.link import Plan
from bcpatch.model import FunctionEdit, ModulePatch
from bcpatch.process import sources
from bcpatch.process.history import History, Way
from bcpatch.process.linked import LinkedModule
from bcpatch.process.objects import functions_of, namespace_of
from bcpatch.process.records import Shown, Step, Turn
from bcpatch.process.swap import Row


def follow(plan: Plan, history: History, ready: Prepared) -> None:
    """Find what the files of a plan's modules show before and after its swap; nothing has changed yet."""
    for module in plan.modules:
        for name in _names(module, plan, history):
            if name not in ready.steps:
                before = history.shown.get(name) or Shown(_first(name, module, plan), left=False)
                after = Shown(module.part.source, left=False) if module.on_disk else Shown(before.text, left=True)
                ready.steps[name] = _step(before, after, module.part)
                ready.texts += _showing(history, name, after)


def back_and_forth(history: History, way: Way) -> Iterator[Row]:
    """The stores that let files show what they show in another generation: part of the swap to it."""
    turns: list[tuple[str, Turn]] = []
    for record in reversed(way.undone):
        turns += [(name, step.back) for name, step in record.steps.items()]
    for record in way.redone:
        turns += [(name, step.forward) for name, step in record.steps.items()]
    shown: dict[str, Shown] = {}
    for name, turn in turns:
        shown[name] = _turned(shown.get(name) or history.shown[name], turn)
    for name, one in shown.items():
        yield from _showing(history, name, one)


def text_of(module: ModuleType, history: History) -> bytes | None:
    """The text of a patched module in the current generation, None where it is not known."""
    shown = history.shown.get(sources.file_of(module))
    if shown is None or shown.left:
        last = history.version(str(namespace_of(module).get("__name__")))
        if last is not None:
            return last.source
    return None if shown is None else shown.text


def _names(module: LinkedModule, plan: Plan, history: History) -> list[str]:
    """The file names of a module's code: that of its file, and what its functions say."""
    sites = (site for site in plan.sites if site.module is module)
    running = {function.__code__.co_filename: None for site in sites for function in site.functions}
    found = [module.file, *(history.files.get(name, name) for name in running)]
    return [name for name in dict.fromkeys(found) if name and not sources.is_own_name(name)]


def _showing(history: History, name: str, shown: Shown) -> list[Row]:
    kept = (history.shown.__setitem__, name, shown)
    if shown.text is None:
        return [kept, (linecache.cache.pop, name, None)]
    return [kept, sources.published(name, shown.text)]


def _step(before: Shown, after: Shown, part: ModulePatch) -> Step:
    """What leads from one to the other and back: small, for each generation keeps its own for good."""
    if before.text is None or after.text is None:
        return Step(_turn(before), _turn(after))
    back = part.back if splices.applied(part.back, part.source) == before.text else None
    if after.text != part.source or back is None:
        back = splices.between(after.text, before.text)
    return Step(Turn(back, before.left), Turn(splices.inverse(back, after.text), after.left))


def _turn(shown: Shown) -> Turn:
    """What leads to it from a text that is not known."""
    return Turn(None if shown.text is None else splices.between(b"", shown.text), shown.left)


def _turned(shown: Shown, turn: Turn) -> Shown:
    text = None if turn.splices is None else splices.applied(turn.splices, shown.text or b"")
    return Shown(text, turn.left)


# --- the process as started ----------------------------------------------------------------


def _first(name: str, module: LinkedModule, plan: Plan) -> bytes | None:
    """The text that the running code was compiled from, None where that can't be told.

    It is the patch's base, or what the patch brings where the module was imported after the
    edit; and the lines on which its functions begin must be those of that text.
    """
    part = module.part
    switched = any(site.module is module and isinstance(site.edit, FunctionEdit) for site in plan.sites)
    if not switched and any(site.module == part.module.name for site in plan.satisfied):
        text = part.source
    elif part.replaces is not None:
        text = splices.applied(part.back, part.source)
    else:
        return None
    lines = sources.lines_of(text)
    codes = (function.__code__ for function in functions_of(module.namespace, module.object.__name__))
    return text if all(_begins(code, lines) for code in codes if code.co_filename == name) else None


def _begins(code: CodeType, lines: Sequence[str]) -> bool:
    """Whether a function can begin where its code says."""
    if not 0 < code.co_firstlineno <= len(lines):
        return False
    line = lines[code.co_firstlineno - 1].lstrip()
    return line.startswith("@") or "lambda" in line or code.co_name in line
