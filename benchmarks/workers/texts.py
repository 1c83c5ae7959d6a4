"""What the suite and the workers agree on: the text of the module that is changed, and what is said."""

from __future__ import annotations

MODULE = "subject"

#: What a worker prints once its tool is at work.
READY = "ready"

_FUNCTION = '''

def f{number}(values, scale=1):
    """Sum what is positive, floored and scaled."""
    total = 0
    for value in values:
        if value > 0:
            total += math.floor(value) * scale
    return total, {value}
'''


def name(number: int) -> str:
    return f"f{number}"


def text(functions: int, values: dict[int, int] | None = None, lines: int = 0) -> str:
    """A module of some functions; each returns 0, or what ``values`` says; ``lines`` comments stand at the top."""
    given = values or {}
    body = "".join(_FUNCTION.format(number=number, value=given.get(number, 0)) for number in range(functions))
    return "# a line more\n" * lines + f'"""A module of {functions} functions."""\n\nimport math\n' + body
