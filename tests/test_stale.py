"""What code reads of what a swap binds anew, by its instructions."""

from __future__ import annotations

import json.decoder
from types import CodeType

import pytest

from bcpatch.process.stale import Rebound

#: Of names beyond the 256th the instructions have a prefix.
MANY = "".join(f"    if one: name{number}\n" for number in range(300))


def function(body: str) -> CodeType:
    code = compile(f"def f(one):\n{MANY}{body}", "", "exec")
    return next(one for one in code.co_consts if isinstance(one, CodeType))


@pytest.mark.parametrize(
    ("body", "is_read"),
    [
        ("    from json.decoder import FLAGS\n", True),
        ("    from json.scanner import FLAGS\n", False),
        ("    import json.decoder as low\n    return low.FLAGS\n", True),
        ("    import json.scanner as low\n    return low.FLAGS\n", False),
        ("    import json.decoder\n    return json.decoder.FLAGS\n", True),
        ("    import json as low\n    return low.decoder.FLAGS\n", True),
        ("    import json as low\n    return low.FLAGS\n", False),
        ("    low = json.decoder\n    return one, low.FLAGS\n", True),
        ("    low = json.decoder\n    low = one\n    return low.FLAGS\n", False),
    ],
)
def test_a_module_that_a_local_variable_has(body: str, is_read: bool) -> None:
    rebound = Rebound()
    rebound.add(json.decoder, "FLAGS")
    assert bool(rebound.read_by(function(body), {"json": json}, (), guess=False)) == is_read
