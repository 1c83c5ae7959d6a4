"""Accesses by name: ``getattr`` and its kin, ``__setattr__``, ``importlib.import_module``, format texts.

With a constant name they are as good as an instruction and are judged like one; with any
other they can't be proved. What can make such accesses must therefore be called
where it is named: as a value it could be called with anything, anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from bcpatch import formats, model
from bcpatch.diagnostics import Diagnostic
from bcpatch.flow.origins import (
    ENTRY,
    Attribute,
    Called,
    Computed,
    Constant,
    Display,
    Global,
    Item,
    Made,
    Origin,
    Unknown,
)
from bcpatch.flow.uses import CallUse
from bcpatch.rules import access, callables, formatting, holding, names, routes
from bcpatch.rules.access import report
from bcpatch.rules.reach import (
    Frame,
    absolute,
    is_sure,
    named,
    options,
    paths,
    texts,
)

#: Callables of which the rules look at every call: what they are given decides.
LOOKED_AT = frozenset(
    {
        *callables.BY_NAME,
        *callables.COPYING,
        *callables.EVALUATING,
        *callables.LOADING,
        *callables.REPLACING,
        "builtins.str.format",
        "builtins.str.format_map",
    }
)


def call(use: CallUse, frame: Frame) -> Iterator[Diagnostic]:
    """A call: what the callee may be decides which arguments are names."""
    if not _is_looked_at(use, frame):
        return
    call = use.call
    for one, where in options(call.callee, frame):
        if isinstance(one, Attribute) and one.name not in CALLED:
            continue
        for path in sorted(paths(one, where)):
            yield from _function(path, call, frame)
        if formats_first(one, where):
            yield from _format(call.arguments[:1], call.arguments[1:], True, call, frame)
        elif isinstance(one, Attribute):
            yield from _method(one, where, call, frame)


def _is_looked_at(use: CallUse, frame: Frame) -> bool:
    """Whether a call is of what goes by its arguments: to be asked before these are."""
    callee = use.graph.origin(use.graph.callee(use.at), 1)
    return any(
        one.name in CALLED if isinstance(one, Attribute) else any(map(_has_row, paths(one, where)))
        for one, where in options(callee, frame)
    )


@lru_cache(maxsize=1024)
def _has_row(path: str) -> bool:
    """Whether a path leads to a row of a table of what goes by its arguments."""
    return named(path, _ROWS) is not None


_SAY = "write in Python what is wanted, or build with --policy linked"


def goes_by_names(path: str) -> bool:
    """Whether a path leads to something of which every call must be looked at."""
    return named(path, LOOKED_AT) is not None or path.rpartition(".")[2] in callables.BY_NAME_METHODS


def formats_first(callee: Origin, frame: Frame) -> bool:
    """Whether a callable formats the first of its arguments, a text, with the others."""
    if any(named(path, ("builtins.str.format", "builtins.str.format_map")) for path in paths(callee, frame)):
        return True
    return isinstance(callee, Attribute) and callee.name in callables.FORMAT and is_of_formatter(callee, frame)


def is_of_formatter(method: Attribute, frame: Frame) -> bool:
    """Whether a method may be of a `string.Formatter`, which reads texts as `str.format` does."""
    return _is_made_by("string.Formatter", method.owner, frame)


def _function(path: str, call: Called, frame: Frame) -> Iterator[Diagnostic]:
    """What is found by its path."""
    row = named(path, callables.BY_NAME)
    if row:
        yield from _by_name(row, callables.BY_NAME[row], call, frame)
    row = named(path, callables.FORMATTING)
    if row:
        yield from _formatting(row, callables.FORMATTING[row], call, frame)
    if named(path, callables.REPLACING):
        yield from _replaced(call.arguments[:1], call, frame)
    if named(path, callables.LOADING) and any(
        _is_made(one, frame) for one in call.arguments[: None if call.unpacked else 1]
    ):
        message = f"what `{path}` finds by the names in these bytes can't be proved"
        help = "load what comes from outside of the function, or name what is wanted"
        yield report("BCP106", message, call.offset, frame, help=help)
    if named(path, callables.EVALUATING) and (call.unpacked or "eval_str" in call.keywords):
        message = "`eval_str` evaluates texts as code, with the names of a module"
        yield report("BCP106", message, call.offset, frame, help=_SAY)
    row = named(path, callables.FORMATTER_METHODS)
    if row:
        message = f"what `{row}` takes by the names in its arguments can't be proved"
        yield report("BCP106", message, call.offset, frame, help=_SAY)
    row = named(path, callables.COPYING)
    if row:
        yield from _copied(row, call, frame)


def _method(one: Attribute, where: Frame, call: Called, frame: Frame) -> Iterator[Diagnostic]:
    """What is told by what it is called."""
    if one.name in callables.BY_NAME_METHODS:
        yield from _protocol_method(one, call, frame)
    elif one.name in callables.FORMAT and not paths(one, where):
        certain = _is_put_together(one.owner, where)
        yield from _format((one.owner,), call.arguments, certain, call, frame)
    elif one.name == "__replace__":
        yield from _replaced((one.owner,), call, frame)
    elif one.name in callables.STORING and holding.hold_receiver(call.arguments, frame):
        yield _stored(one.name, call, frame)
    elif one.name in callables.EVALUATING_METHODS and _is_given(callables.EVALUATING_METHODS[one.name], call, frame):
        message = f"`{one.name}` evaluates a text as code, with the names of a module"
        yield report("BCP106", message, call.offset, frame, help=_SAY)
    elif one.name in callables.MADE_METHODS and _is_made_by(callables.MADE_METHODS[one.name], one.owner, where):
        message = f"what `{one.name}` takes by the names in its arguments can't be proved"
        yield report("BCP106", message, call.offset, frame, help=_SAY)
    elif one.name in callables.FORMATTERS and len(call.arguments) == 3:
        known = texts(call.arguments[0], frame) or () if one.name == "get_field" else ()
        private = any(formatting.is_private_format(f"{{{text}}}") for text in known)
        if private or holding.hold_receiver(call.arguments, frame):
            yield formatting.unproved(call, frame)


def _stored(method: str, call: Called, frame: Frame) -> Diagnostic:
    message = f"the names under which `{method}` stores in the receiver can't be proved"
    return report("BCP106", message, call.offset, frame, help="store in another object, and take from that")


def _is_given(keyword: str, call: Called, frame: Frame) -> bool:
    """Whether a call has a keyword, or may have it and the receiver by ``**``."""
    return keyword in call.keywords or (call.unpacked and holding.hold_receiver(call.arguments, frame))


def _is_made_by(maker: str, origin: Origin, frame: Frame) -> bool:
    """Whether a value may be what a callable, such as a class, has made."""
    made = (one for one, _ in options(origin, frame) if isinstance(one, Called))
    return any(named(path, (maker,)) for one in made for path in paths(one.callee, frame))


#: What a method or a function of a module must be called to be looked at.
CALLED = names.last_parts(
    callables.BY_NAME,
    callables.BY_NAME_METHODS,
    callables.COPYING,
    callables.EVALUATING,
    callables.EVALUATING_METHODS,
    callables.FORMAT,
    callables.FORMATTING,
    callables.LOADING,
    callables.MADE_METHODS,
    callables.REPLACING,
    callables.STORING,
    ("__replace__",),
)


_ROWS: Final = LOOKED_AT.union(callables.FORMATTING, callables.FORMATTER_METHODS)


def _unproved(what: str, call: Called, frame: Frame) -> Diagnostic:
    return report("BCP106", f"the name that `{what}` is called with is not a constant", call.offset, frame)


def _by_name(row: str, rule: callables.ByName, call: Called, frame: Frame) -> Iterator[Diagnostic]:
    what = row.removeprefix("builtins.")
    given = call.arguments[: len(call.arguments) - len(call.keywords)]
    wanted = given[rule.name :] if rule.all else given[rule.name : rule.name + 1]
    if rule.optional and not call.arguments:
        return
    if call.unpacked or not wanted:
        yield _unproved(what, call, frame)
        return
    for argument in wanted:
        known = texts(argument, frame)
        if known is None:
            yield _unproved(what, call, frame)
            continue
        for text in known:
            if rule.module:
                yield from _module(text, what, call, frame)
                continue
            owner = None if rule.owner is None else given[rule.owner]
            parts = text.split(".") if rule.dotted else [text]
            yield from _parts(parts, owner, call, frame)
            if rule.gives and parts[-1] in callables.BY_NAME_METHODS:
                yield _reached_by_name(parts[-1], call.offset, frame)
            if parts[-1] in callables.STORING and holding.hold_receiver(call.arguments, frame):
                yield _stored(parts[-1], call, frame)
            if parts[-1] in callables.FORMAT and (owner is None or formatting.takes_by_name(owner, frame)):
                message = f"`{parts[-1]}` of a text is reached by name"
                yield report("BCP106", message, call.offset, frame, help="write an f-string")


def _parts(parts: Sequence[str | None], owner: Origin | None, call: Called, frame: Frame) -> Iterator[Diagnostic]:
    """Attributes taken one of the other (None: an item), from a value that is known where ``owner`` is."""
    for part in parts:
        if part is not None:
            yield from access.attribute(owner or Unknown(ENTRY), part, call.offset, frame)
            yield from access.module_by_name(owner, part, call.offset, frame)
        if owner and part is not None:
            yield from _callable_by_name(owner, part, call.offset, frame)
        owner = None


def by_pattern(owner: Origin, name: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    """An attribute that a class pattern reads: a module, or what accesses by name, would be out of sight."""
    yield from access.module_by_name(owner, name, offset, frame)
    yield from _callable_by_name(owner, name, offset, frame)
    if name in callables.BY_NAME_METHODS:
        yield _reached_by_name(name, offset, frame)


def _callable_by_name(owner: Origin, name: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    """``getattr(builtins, "getattr")``."""
    for path in sorted(paths(owner, frame)):
        row = named(f"{path}.{name}", LOOKED_AT)
        if row:
            yield _reached_by_name(row, offset, frame)


def _reached_by_name(what: str, offset: int, frame: Frame) -> Diagnostic:
    return report("BCP106", f"`{what}` is reached by name", offset, frame, help=f"write `{what}`")


def _module(text: str, what: str, call: Called, frame: Frame) -> Iterator[Diagnostic]:
    """A module by name. A relative name starts from the package that is the second argument."""
    name = text.replace(":", ".")  # pkgutil.resolve_name("package.module:name")
    level = len(name) - len(name.lstrip("."))
    if level:
        anchor = _anchor(call, frame)
        found = None if anchor is None else absolute(name[level:], level, anchor)
        if found is None:
            yield _unproved(what, call, frame)
            return
        name = found
    yield from access.dotted(name, call.offset, frame)
    row = named(name, routes.WATCHED_MODULES)
    if row:
        message = f"`{row}` is imported by name, and has functions that access by name"
        yield report("BCP106", message, call.offset, frame, help=f"import `{row}` by a statement")
    if goes_by_names(name):
        yield _reached_by_name(name, call.offset, frame)
    parts = name.split(".")
    for end in range(1, len(parts)):
        yield from access.reached(".".join(parts[:end]), call.offset, frame)


def _anchor(call: Called, frame: Frame) -> str | None:
    """The constant package that a relative name starts from."""
    given = call.arguments[1:2]
    if "package" in call.keywords:
        given = call.arguments[len(call.arguments) - len(call.keywords) + call.keywords.index("package") :][:1]
    for one, where in options(given[0], frame) if given else ():
        if isinstance(one, Global):
            if not is_sure(one, where):
                return None
            return {"__package__": frame.scope.module.package, "__name__": frame.scope.module.name}.get(one.name)
    known = texts(given[0], frame) if given else None
    return known[0] if known and len(known) == 1 else None


def _copied(what: str, call: Called, frame: Frame) -> Iterator[Diagnostic]:
    """Arguments that name what is copied from one object to another, where they are given."""
    positional = len(call.arguments) - len(call.keywords)
    wanted = list(call.arguments[callables.COPYING[what] : positional])
    given = zip(call.keywords, call.arguments[positional:], strict=True)
    wanted += [argument for keyword, argument in given if keyword in callables.COPIED]
    for one, where in (option for argument in wanted for option in options(argument, frame)):
        if any(named(path, callables.USUALLY_COPIED) for path in paths(one, where)):
            continue
        constant = where.flow.code.constants[one.index] if isinstance(one, Constant) and one.index >= 0 else None
        items = constant.items if isinstance(constant, model.Tuple) else (None,)
        for name in items:
            if not isinstance(name, str):
                yield _unproved(what, call, frame)
            elif name != "__dict__":  # what is private in there, stays so by its name
                yield from access.attribute(Unknown(ENTRY), name, call.offset, frame)
    if call.unpacked:
        yield _unproved(what, call, frame)


def _protocol_method(callee: Attribute, call: Called, frame: Frame) -> Iterator[Diagnostic]:
    """``owner.__setattr__(name, value)``, or ``klass.__setattr__(object, name, value)``."""
    method = callables.BY_NAME_METHODS[callee.name]
    unbound = len(call.arguments) > method.arguments
    at = method.name + unbound
    known = texts(call.arguments[at], frame) if at < len(call.arguments) else None
    wanted = (method.arguments, method.arguments + 1)
    if known is None or call.unpacked or call.keywords or len(call.arguments) not in wanted:
        yield _unproved(callee.name, call, frame)
        return
    owner = call.arguments[at - 1] if at else callee.owner
    for text in known:
        yield from _parts([text], owner, call, frame)


# --- format texts ------------------------------------------------------------------------


def _format(
    text: tuple[Origin, ...], given: tuple[Origin, ...], certain: bool, call: Called, frame: Frame
) -> Iterator[Diagnostic]:
    """``text.format(*given)``: a constant text says what it takes from its arguments.

    Another one can't be read here. Where it is not ``certain`` that there is a text at all
    (a parameter, an attribute), it is an ordinary call, which may pass on everything but
    the receiver, of which a text would take any attribute.
    """
    known = texts(text[0], frame) if text else None
    if known is not None:
        for one in known:
            yield from _fields(one, given, call, frame)
        return
    risky = [one for one in given if not holding.is_plain(one, frame)]
    if risky and (certain or holding.hold_receiver(risky, frame)):
        yield formatting.unproved(call, frame)


def _is_put_together(text: Origin, frame: Frame) -> bool:
    """Whether a value may be a text that the function makes: of others, of bytes, by a function of its own.

    Not one of several constant ones: those are looked at where they stand.
    """
    made = [(one, where) for one, where in options(text, frame) if isinstance(one, Called)]
    return holding.is_text(text, frame) or any(holding.may_hold(*one, _is_made_here, _parts_of_format) for one in made)


def _parts_of_format(origin: Origin, frame: Frame) -> Iterator[tuple[Origin, Frame]]:
    """What a format text may be made of: a constant that a method puts into it makes a field by a brace only."""
    inserts = isinstance(origin, Called) and _inserts(origin)
    for one, where in _parts_of(origin, frame):
        if not (inserts and isinstance(one, Constant) and isinstance(one.value, str) and not _BRACES & set(one.value)):
            yield one, where


_BRACES = frozenset("{}")


def _formatting(what: str, rule: callables.Formatting, call: Called, frame: Frame) -> Iterator[Diagnostic]:
    """A call that makes something which formats later, and what: a text that the function holds is read here."""
    style = _argument(rule.style, rule.style_keyword, call)
    styles = texts(style, frame) if style else ("%",) if rule.style_keyword else ("{",)
    text = _argument(rule.text, rule.text_keyword, call)
    if text is None or (styles is not None and "{" not in styles):
        return
    known = texts(text, frame)
    others = [one for one in call.arguments if one != text]
    if known is None and holding.hold_receiver(others, frame):
        yield formatting.unproved(call, frame)
    elif known is None and _is_put_together(text, frame):
        message = f"what `{what}` takes by the names in a text that is put together can't be proved"
        yield report("BCP106", message, call.offset, frame, help="give it a constant text")
    # a constant one is looked at wherever it goes (`bcpatch.rules.sight`)


def _argument(position: int | None, keyword: str, call: Called) -> Origin | None:
    """An argument by its place or keyword, where it is given as one."""
    positional = len(call.arguments) - len(call.keywords)
    if keyword in call.keywords:
        return call.arguments[positional + call.keywords.index(keyword)]
    return call.arguments[position] if position is not None and position < positional and not call.unpacked else None


def _replaced(owner: tuple[Origin, ...], call: Called, frame: Frame) -> Iterator[Diagnostic]:
    """A copy with other values of the attributes that the keywords name."""
    if call.unpacked:
        message = "the names of the attributes that the copy has other values of can't be proved"
        yield report("BCP106", message, call.offset, frame, help="write them as keywords")
    for keyword in call.keywords:
        yield from access.attribute(owner[0] if owner else Unknown(ENTRY), keyword, call.offset, frame)


def _fields(text: str, given: tuple[Origin, ...], call: Called, frame: Frame) -> Iterator[Diagnostic]:
    positional = len(given) - len(call.keywords)
    by_name = dict(zip(call.keywords, given[positional:], strict=False))
    following = 0
    for field in formats.fields(text) or ():
        if not field.argument:
            field, following = field._replace(argument=str(following)), following + 1
        owner = by_name.get(field.argument)
        if owner is None and field.argument.isdecimal() and int(field.argument) < positional:
            owner = given[int(field.argument)]
        yield from _parts(field.steps, owner, call, frame)


# --- what is read as a description of objects -------------------------------------------------


def _is_made(origin: Origin, frame: Frame) -> bool:
    """Whether bytes or texts that the function itself holds may be in a value, and not only what comes from outside."""
    return holding.may_hold(origin, frame, _is_made_here, _parts_of)


def _is_made_here(origin: Origin, frame: Frame) -> bool:
    match origin:
        case Constant(index=index, value=value):
            return (
                bool(value) if isinstance(value, str) else index >= 0 and _has_bytes(frame.flow.code.constants[index])
            )
        case Called(callee=Attribute(owner=Constant(value=int()), name="to_bytes")):
            return True
        case Called(callee=callee, arguments=given) if paths(callee, frame) & _OF_NUMBERS:
            return any(isinstance(one, Display) for one in given)
        case Called(callee=Made()):
            return True
        case Called(callee=Unknown(), arguments=(Made(constant=constant), *_)):
            return any(map(_has_bytes, frame.flow.nested[constant].code.constants))
    return False


def _inserts(call: Called) -> bool:
    """Whether a call is of a method whose result has the arguments in it."""
    return isinstance(call.callee, Attribute) and call.callee.name in callables.INSERTING


def _parts_of(origin: Origin, frame: Frame) -> Iterator[tuple[Origin, Frame]]:
    """What the bytes or texts of a value may be made of."""
    match origin:
        case Computed(operands=parts):
            yield from ((part, frame) for part in parts)
        case Item(owner=owner) | Attribute(owner=owner):
            yield owner, frame
        case Called(callee=callee, arguments=given):
            yield callee, frame
            if _inserts(origin) or any(_turns(path) for path in paths(callee, frame)):
                yield from ((one, frame) for one in given)
                yield from frame.put_into.get(origin.offset, ())
        case Display(items=items):
            yield from ((one, frame) for one in items)
            put = frame.put_into.get(origin.offset, ())
            yield from (one for one in put if not isinstance(one[0], Constant) or one[0].value is None)  # keys aside
        case _:
            yield from holding.inside(origin, frame)


#: What makes bytes of numbers, one each.
_OF_NUMBERS = frozenset({"builtins.bytes", "builtins.bytearray", "array.array"})


def _has_bytes(constant: model.Constant) -> bool:
    match constant:
        case model.Bytes(data=data) | model.Text(data=data):
            return bool(data)
        case model.Tuple(items=items) | model.FrozenSet(items=items):
            return any(isinstance(item, str) or _has_bytes(item) for item in items)
        case model.Code(constants=items):
            return any(map(_has_bytes, items))
    return False


def _turns(path: str) -> bool:
    return any(named(path[:end], callables.TURNING) for end in range(len(path) + 1) if path[end : end + 1] in ("", "."))
