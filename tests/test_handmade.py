"""Instructions that no compiler puts together so: the reference rules hold on bytecode, not on sources."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from bytecode import Bytecode, Instr
from test_references import CART, patched

from bcpatch import fingerprint, verify
from bcpatch.diagnostics import Diagnostic
from bcpatch.model import FunctionEdit


def judged(source: str, change: Callable[[Bytecode], None]) -> tuple[Diagnostic, ...]:
    """The findings about a function whose instructions were changed."""
    patch = patched(source)
    (part,) = patch.modules
    edit = next(edit for edit in part.edits if isinstance(edit, FunctionEdit))
    made = Bytecode.from_code(fingerprint.decode(edit.code, CART.path))
    change(made)
    code = fingerprint.encode(made.to_code())
    edit = msgspec.structs.replace(edit, code=code, brings=fingerprint.digest(code))
    part = msgspec.structs.replace(part, edits=(edit,), links=None)
    return verify.verify(msgspec.structs.replace(patch, modules=(part,)))


def at(made: Bytecode, name: str, number: int = 0) -> int:
    """The index of an instruction whose name begins so."""
    found = [index for index, one in enumerate(made) if isinstance(one, Instr) and one.name.startswith(name)]
    return found[number]


def test_the_functions_that_are_changed_are_accepted() -> None:
    for source in (GETATTR, BODY, ATTRIBUTE):
        assert judged(source, lambda made: None) == ()


GETATTR = "def f(x, y):\n    z = getattr(x, 'low')\n    return y\n"


def test_a_second_reference_to_a_callable_that_accesses_by_name() -> None:
    def change(made: Bytecode) -> None:
        load = at(made, "LOAD_GLOBAL")
        where = made[load].location
        made[load:load] = [
            Instr("LOAD_GLOBAL", (False, "getattr"), location=where),
            Instr("COPY", 1, location=where),
            Instr("STORE_FAST", "z", location=where),
            Instr("RETURN_VALUE", location=where),
        ]

    assert {one.code for one in judged(GETATTR, change)} == {"BCP106"}


BODY = "def f(x):\n    class A:\n        RATE = 1\n    return A\n"


def test_the_body_of_a_class_that_is_called_by_somebody_else() -> None:
    def change(made: Bytecode) -> None:
        build = at(made, "LOAD_BUILD_CLASS")
        made[build] = Instr("LOAD_FAST", "x", location=made[build].location)

    (found,) = judged(BODY, change)
    assert (found.code, found.line) == ("BCP106", 2)


ATTRIBUTE = "def f(x):\n    return x.cart\n"


def test_a_name_imported_from_what_may_be_any_module() -> None:
    def change(made: Bytecode) -> None:
        load = at(made, "LOAD_ATTR")
        where = made[load].location
        made[load : load + 1] = [
            Instr("IMPORT_FROM", "cart", location=where),
            Instr("SWAP", 2, location=where),
            Instr("POP_TOP", location=where),
        ]

    (found,) = judged(ATTRIBUTE, change)
    assert (found.code, found.line) == ("BCP106", 2)
