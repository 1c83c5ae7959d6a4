"""Constructs that Python 3.12 added: read by tests and benchmarks, never run."""

type Alias[T] = list[T]
type Plain = dict[str, Alias[int]]


class Box[T, *Ts, **P]:
    value: T

    def get[U: int, V: (str, bytes)](self, other: U, default: V = None, *, key=3) -> tuple[T, U]:
        type Local = tuple[T, U]
        return Local, T, U, self.value, default, key

    class Nested[W](list[W]):
        kind = W


def generic[T](a: T, b=1, *c, d=2, **e) -> T:
    return [T for x in a if (lambda: x)], b, c, d, e


def shadow[T](T: T):
    return [T for T in T]


def quotes(a):
    return f"{a["key"]} {f"{a:{a}}"!r}"


def inlined(a, b):
    x = [[(lambda: (x, y)) for y in x] for x in a]
    try:
        return {x: [b for b in a] for x in b}, x
    finally:
        y = [b for b in b]
        del x, y
