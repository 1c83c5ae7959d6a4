"""What callables do with names that are given to them as texts: tables, one row a callable.

Only the builtins and the documented standard library are known here; nothing of patches
or of how a callable is reached.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import msgspec


class ByName(msgspec.Struct, frozen=True):
    """A callable that reaches an attribute or a module by a name given as an argument.

    ``name`` is the position of that argument, and every further one is a name too where
    ``all`` is set. ``owner`` is the position of the object, None where it comes later.
    ``dotted`` names are paths (``a.b``); ``module`` means that it is a module that is named. What is ``optional`` may
    be called without any argument.
    What is so named is given to the caller where ``gives`` is set, else only asked for, stored or deleted.
    """

    name: int
    owner: int | None = None
    all: bool = False
    dotted: bool = False
    module: bool = False
    optional: bool = False
    gives: bool = True


#: Callables that access by name, by where they are found.
BY_NAME: Final = MappingProxyType(
    {
        "builtins.getattr": ByName(1, 0),
        "builtins.hasattr": ByName(1, 0, gives=False),
        "builtins.setattr": ByName(1, 0, gives=False),
        "builtins.delattr": ByName(1, 0, gives=False),
        "inspect.getattr_static": ByName(1, 0),
        "operator.attrgetter": ByName(0, all=True, dotted=True),
        "operator.methodcaller": ByName(0),
        "importlib.import_module": ByName(0, module=True),
        "importlib.util.find_spec": ByName(0, module=True),
        "pkgutil.get_data": ByName(0, module=True),
        "pkgutil.resolve_name": ByName(0, module=True),
        "pydoc.locate": ByName(0, module=True),
        "test.support.swap_attr": ByName(1, 0),
        "xml.dom.domreg.getDOMImplementation": ByName(0, module=True, optional=True),
        "xml.dom.getDOMImplementation": ByName(0, module=True, optional=True),
        "xml.sax.make_parser": ByName(0, module=True, optional=True),
        "xmlrpc.server.resolve_dotted_attribute": ByName(1, 0, dotted=True),
    }
)

#: Callables that evaluate texts where ``eval_str`` says so.
EVALUATING: Final = ("inspect.signature", "inspect.Signature.from_callable")

#: Methods that do so with the names of what a keyword gives (`annotationlib.ForwardRef`).
EVALUATING_METHODS: Final = MappingProxyType({"evaluate": "owner"})

#: Callables that copy attributes from one object to another by names, with the position of the first argument
#: of names; a further one may follow. Both may be given by the keywords, too.
COPYING: Final = MappingProxyType({"functools.update_wrapper": 2, "functools.wraps": 1})
COPIED: Final = ("assigned", "updated")

#: Names that these copy where nothing else is said (library reference, functools).
USUALLY_COPIED: Final = ("functools.WRAPPER_ASSIGNMENTS", "functools.WRAPPER_UPDATES")

#: Callables that find objects of any module by texts in what they read.
LOADING: Final = (
    "multiprocessing.reduction.ForkingPickler.loads",
    "pickle.Unpickler",
    "pickle.load",
    "pickle.loads",
    "shelve.BsdDbShelf",
    "shelve.Shelf",
)

#: Callables, and modules of such, whose result is the bytes or texts in their arguments, in another form.
TURNING: Final = frozenset(
    """
    builtins.bytearray builtins.bytes builtins.filter builtins.map builtins.memoryview builtins.str
    ast.literal_eval base64 binascii quopri struct urllib.parse zlib
    bz2.decompress codecs.decode codecs.encode gzip.decompress io.BytesIO json.loads lzma.decompress
    """.split()
)


#: Methods of texts and bytes whose result has their arguments in it.
INSERTING: Final = frozenset({"center", "format", "format_map", "join", "ljust", "replace", "rjust", "translate"})


class Method(msgspec.Struct, frozen=True):
    """A protocol method that accesses by name. A bound call has a number of ``arguments``, an unbound one
    (``object.__setattr__(self, "total", 0)``) the object in front of them. ``name`` is the position of the name.
    """

    arguments: int
    name: int = 0


BY_NAME_METHODS: Final = MappingProxyType(
    {
        "__getattr__": Method(1),
        "__setattr__": Method(2),
        "__delattr__": Method(1),
        # a `functools.cached_property` keeps its value under this name
        "__set_name__": Method(2, 1),
    }
)


#: Methods that go by what texts say, of objects that a callable has made.
MADE_METHODS: Final = MappingProxyType(
    {
        "vformat": "string.Formatter",
        "get_field": "string.Formatter",
        "find_class": "pickle.Unpickler",
        "read_module": "optparse.Values",
        "read_file": "optparse.Values",
    }
)

#: Methods of texts that take attributes of their arguments by the names in the text.
FORMAT: Final = ("format", "format_map")

#: The same of `string.Formatter`, which has the text as an argument.
FORMATTERS: Final = ("get_field", "vformat")
FORMATTER_METHODS: Final = frozenset(f"string.Formatter.{name}" for name in ("format", *FORMATTERS))

#: Methods that store what they read under names that texts give, in the object that they are handed (library
#: reference, argparse and optparse).
STORING: Final = frozenset({"parse_args", "parse_known_args", "parse_intermixed_args", "parse_known_intermixed_args"})


class Formatting(msgspec.Struct, frozen=True):
    """A callable that keeps a text to format with later: the positions of the text and of its style, None where there
    is none, and their keywords. Without a style the text is one like that of `str.format`.
    """

    text: int | None
    text_keyword: str
    style: int | None = None
    style_keyword: str = ""


FORMATTING: Final = MappingProxyType(
    {
        "logging.Formatter": Formatting(0, "fmt", 2, "style"),
        "logging.StrFormatStyle": Formatting(0, "fmt"),
        "logging.basicConfig": Formatting(None, "format", None, "style"),
    }
)

#: Callables that give a container, or a way through one, of what they are given, or keep it in another object.
HOLDING: Final = frozenset(
    """
    builtins.dict builtins.enumerate builtins.frozenset builtins.iter builtins.list builtins.max builtins.min
    builtins.next builtins.reversed builtins.set builtins.sorted builtins.tuple builtins.zip collections.ChainMap
    collections.Counter collections.OrderedDict collections.UserDict collections.UserList collections.defaultdict
    collections.deque contextlib.nullcontext functools.partial itertools.chain itertools.cycle itertools.repeat
    itertools.zip_longest types.MappingProxyType types.MethodType types.SimpleNamespace weakref.proxy weakref.ref
    """.split()
)

#: Callables that make a class of what they are given.
CLASSES: Final = frozenset(
    """
    builtins.type collections.namedtuple dataclasses.make_dataclass types.new_class typing.NamedTuple
    """.split()
)

#: Callables that copy an object, with other values of the attributes that keywords name.
REPLACING: Final = ("copy.replace", "dataclasses.replace")
