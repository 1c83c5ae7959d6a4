"""Constructs that Python 3.13 and 3.14 added: read by tests and benchmarks, never run."""


class Default[T = int, *Ts = tuple[int, str], **P = [int]]:
    def method[U: str = str](self, a: U) -> U:
        return a


def template(a, b):
    return t"{a}-{b!r:>{a}}", t"", t"{a}{b:x}"


def ungrouped(a):
    try:
        a()
    except KeyError, ValueError:
        return 1


def lazily(a: Undefined, b: list[Later]) -> Nowhere:
    return a, b


def slices(a):
    return a[1:2], a[::2], a[:-1], a[None]
