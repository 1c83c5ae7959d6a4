"""Every construct of Python 3.11 that compiles to an instruction of its own: read by tests and benchmarks, never run."""

import asyncio
import os.path as path
from collections import OrderedDict, deque as queue


class Resource:
    kind: str = "plain"
    if path:
        size: int = 3

    def __init__(self, start=0, *rest, step: int = 1, **options):
        self.start, self.step = start, step
        self.rest, self.options = rest, options

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        return kind is KeyError

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, value, trace):
        return False

    @property
    def total(self):
        return sum(self.rest, self.start)

    @classmethod
    def make(cls, *rest):
        return cls(*rest, step=2)

    def parent(self):
        return super().__repr__(), __class__


def operators(a, b):
    c = a + b - a * b / 2 // 3 % 5 ** 2
    c |= a & b ^ a << 1 >> 2
    c @= b
    return -c, +c, ~c, not c, a < b <= c != a, a is b, a is not b, a in b, a not in b, a @ b


def subscripts(a, b, c):
    a[b] = a[c]
    a[b:c] = a[b:c:2]
    a[1:2], a[1:2:3] = a[1:2], a[b:]
    del a[b], a[1:2]
    return a[1], a[-1], a["k"]


def attributes(a):
    a.x = a.y
    a.x += 1
    del a.z
    return a.method(1), a.method(*a.rest), a.method(1, key=2), a.method(*a.rest, **a.options), a.method(key=1, **a)


def displays(a, b):
    one = [a, *b, 1]
    two = {a, *b}
    three = {a: b, **a, "k": 1, "l": 2}
    four = (a, *b)
    return one, two, three, four, [1, 2, 3], {1, 2, 3}, {"a": a, "b": b}, f"{a!r:>{b}}-{a}{b!s}", ...


def comprehensions(a, b):
    one = [x for x in a if x not in b]
    two = {x: y for x, y in a}
    three = {x + y for x in a for y in b}
    four = list(x for x in a if x)
    five = [[y for y in x] for x in a]
    six = [lambda: x for x in a]
    return one, two, three, four, five, six, any(x for x in a), all(not x for x in b), tuple(y for y in a)


def branches(a, b=None, *, c=()):
    if a and b or not c:
        value = 1 if a is None else 2
    elif b is not None:
        value = 3
    else:
        assert c, "empty"
        value = 4
    while a:
        a -= 1
        if a == 5:
            continue
        if a == 7:
            break
    else:
        value += 1
    for index, (first, *middle, last) in enumerate(c):
        value += index
        if first == last:
            return middle
    del value
    return a


def closures(a):
    count = 0

    def inner(b):
        nonlocal count, a
        count += b
        a = [count]
        return lambda: (a, b, count)

    def clear():
        nonlocal count
        del count

    return inner, clear, [inner(x)() for x in range(3)]


def exceptions(a, b):
    try:
        result = a()
    except (KeyError, ValueError) as error:
        result = error.args
    except TypeError:
        raise
    except Exception as error:
        raise RuntimeError("no") from error
    else:
        result = 3
    finally:
        b()
    for one in a:
        try:
            if one:
                continue
            return one
        finally:
            b(one)
    return result


def groups(a):
    try:
        a()
    except* ValueError as error:
        print(error.exceptions)
    except* (KeyError, IndexError):
        raise
    except* OSError as error:
        raise RuntimeError from error
    return a


def contexts(a, b):
    with a:
        b()
    with a as x, b as y:
        x.close(y)
        if x:
            return y
    with Resource(1) as (p, q):
        del p
    return a


def generator(a):
    got = yield
    while got:
        got = yield got
    got = yield from a
    try:
        yield 1
    finally:
        yield 2
    for x in a:
        with x:
            yield x
    return got


async def coroutine(a, b):
    await a
    async with a as x:
        await x
    async for y in b:
        if y:
            continue
        await y
    else:
        b()
    z = [await w async for w in b if await w]
    return x, z, [w async for w in b], {k: v async for k, v in b}


async def asynchronous_generator(a):
    async for x in a:
        got = yield x
        yield await got
    async with a:
        try:
            yield 1
        finally:
            await a


def patterns(a):
    match a:
        case 0 | 1 | None | True:
            return "simple"
        case -1 | "text" | b"bytes" | 1.5 | 2j:
            return "literal"
        case [x, y]:
            return x, y
        case [x, *rest, y] if rest:
            return rest
        case {"key": value, **others}:
            return value, others
        case {"only": 1}:
            return 1
        case Resource(start=0, step=step) | OrderedDict(start=step):
            return step
        case str(text) | int(text):
            return text
        case asyncio.Queue() as whole:
            return whole
        case _:
            return None


def names():
    global counter
    counter = 1
    counter += 1
    del counter
    import os.path
    import collections.abc as abstract
    from asyncio import run, sleep as rest
    return os, abstract, run, rest, queue, __name__, print


def scopes(klass, x=3):
    class Inner(klass, metaclass=type):
        y = x
        z: int = y

        def method(self, /, a, b: "int" = 2, *, c: int = 3) -> str:
            return super().method, self.y, x, a, b, c

        x = x

    return Inner


def delete(a):
    b = a
    if a:
        del b
    try:
        return b
    except NameError:
        b = 1
    del a
    return b


def many_locals(a):
    (b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9) = a
    d0 = d1 = d2 = d3 = d4 = d5 = d6 = d7 = d8 = d9 = b0
    return b1 + c1, b2 + c2, (c0, c9), [d0, d9], {b3: b4, b5: b6}, (b7, b8, b9), (c3, c4), (c5, c6, c7, c8), d1, d2, d3, d4, d5, d6, d7, d8


def walrus(a):
    if (n := len(a)) > 3 and (m := a[n - 1]):
        return n, m
    return [last := x for x in a], last


lambdas = [lambda: 0, lambda a, *b, c=1, **d: (a, b, c, d), lambda a: (yield a)]
