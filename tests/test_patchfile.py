"""A patch file is read back exactly, and anything else is a clear error before it is used."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import patch_of

from bcpatch import patchfile
from bcpatch.diagnostics import PatchFileError, Refused
from bcpatch.model import FunctionEdit, Patch

OLD = (
    "import os\n\ndef f(a: int, b=[], *, c=2) -> int:\n    return a\n\nclass A:\n    'one'\n    def g(self): return 1\n"
)
NEW = (
    "import os, json\n\ndef f(a: int, b=[], *, c=3) -> int:\n    return a + (lambda: {1, 2.5})\n\n"
    "class A:\n    'two'\n\n    def g(self): return 1\n"
)


@pytest.fixture(scope="module")
def patch() -> Patch:
    return patch_of(OLD, NEW)


@pytest.fixture(scope="module")
def data(patch: Patch) -> bytes:
    return patchfile.encode(patch)


def refusal(data: bytes) -> str:
    with pytest.raises(PatchFileError) as caught:
        patchfile.decode(data, "gen7.patch")
    (found,) = caught.value.diagnostics
    assert found.file == "gen7.patch"
    return found.code


def resealed(data: bytes, change: bytes) -> bytes:
    """A file with other content whose digest fits: what someone else's program might write."""
    return change + patchfile._seal(change)


def prefix(head: bytes) -> bytes:
    return patchfile._PREFIX.pack(patchfile.MAGIC, patchfile.FORMAT, len(head))


def test_it_is_read_back_exactly(patch: Patch, data: bytes) -> None:
    assert patchfile.decode(data) == patch
    assert patchfile.encode(patchfile.decode(data)) == data


def test_it_need_not_tell_what_it_links_to(patch: Patch) -> None:
    (part,) = patch.modules
    draft = msgspec.structs.replace(patch, modules=(msgspec.structs.replace(part, links=None),))
    assert patchfile.decode(patchfile.encode(draft)) == draft


def test_the_header_stands_before_the_bodies_and_answers_alone(patch: Patch, data: bytes) -> None:
    head = patchfile.header(patch)
    assert data[patchfile._PREFIX.size :].startswith(msgspec.msgpack.encode(head))
    (module,) = head.modules
    kinds = {edit.kind for edit in module.edits}
    assert {"function", "import", "docstring"} <= kinds
    (edit,) = [edit for edit in module.edits if edit.kind == "function"]
    assert (edit.qualname, edit.replaces != edit.brings) == ("f", True)


def test_every_flipped_bit_is_seen(data: bytes) -> None:
    for index in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[index] ^= 1 << bit
            assert refusal(bytes(flipped)) in {"BCP401", "BCP403", "BCP404"}


def test_every_cut_is_seen(data: bytes) -> None:
    for size in range(len(data)):
        assert refusal(data[:size]) in {"BCP401", "BCP402", "BCP403"}


@given(st.data())
def test_every_splice_is_seen(data: bytes, draw: st.DataObject) -> None:
    start, stop, to = (draw.draw(st.integers(0, len(data))) for _ in range(3))
    spliced = data[:to] + data[min(start, stop) : max(start, stop)] + data[to:]
    if spliced != data:
        assert refusal(spliced) in {"BCP401", "BCP403", "BCP404"}


@given(st.binary(max_size=300))
def test_garbage_is_no_patch(garbage: bytes) -> None:
    assert refusal(garbage) in {"BCP401", "BCP402"}
    sealed = prefix(garbage) + garbage
    assert refusal(resealed(b"", sealed)) in {"BCP408", "BCP402"}


def test_sizes_are_not_believed(data: bytes) -> None:
    content = data[: -patchfile._DIGEST_SIZE]
    lying = patchfile._PREFIX.pack(patchfile.MAGIC, patchfile.FORMAT, 0xFFFFFFFF) + content[patchfile._PREFIX.size :]
    assert refusal(resealed(data, lying)) == "BCP402"
    head = struct.pack(">BI", 0xDD, 0xFFFFFFFF)  # an array of four thousand million items
    assert refusal(resealed(data, prefix(head) + head)) == "BCP408"


def test_deep_nesting_is_an_error(patch: Patch, data: bytes) -> None:
    head = data[: -patchfile._DIGEST_SIZE]
    size = patchfile._PREFIX.size + len(msgspec.msgpack.encode(patchfile.header(patch)))
    assert refusal(resealed(data, head[:size] + b"\x91" * 1_000_000)) == "BCP408"


def spliced(patch: Patch, bodies: bytes) -> bytes:
    """The header of a patch before other bodies, and a digest that fits."""
    head = msgspec.msgpack.encode(patchfile.header(patch))
    return resealed(b"", prefix(head) + head + bodies)


def bodies(patch: Patch) -> Any:
    """The bodies of a patch in its file, as bare arrays."""
    head = msgspec.msgpack.encode(patchfile.header(patch))
    data = patchfile.encode(patch)[patchfile._PREFIX.size + len(head) : -patchfile._DIGEST_SIZE]
    return msgspec.msgpack.decode(data)


def changed(patch: Patch, **fields: object) -> Patch:
    """A patch of one module with another field or two in that part."""
    (module,) = patch.modules
    return msgspec.structs.replace(patch, modules=(msgspec.structs.replace(module, **fields),))


def test_a_header_that_lies_is_seen(patch: Patch) -> None:
    edits = patch.modules[0].edits
    for other in (edits[:1], edits[::-1], (*edits, edits[0])):
        found = bodies(changed(patch, edits=other))
        assert refusal(spliced(patch, msgspec.msgpack.encode(found))) == "BCP408"


def test_what_the_header_says_of_functions_is_not_said_again(patch: Patch) -> None:
    """So one patch has one file, and neither place can contradict the other."""
    assert bytes.fromhex(patch.modules[0].brings) in patchfile.encode(patch)
    places = {"function": (1, 2, 3), "position": (1, 2)}  # site, and what it replaces and brings
    tried = set()
    for number, edit in enumerate(bodies(patch)[0][1]):
        for place in places.get(edit[0], ()):
            told = bodies(patch)
            told[0][1][number][place] = ["m", "f", 0] if place == 1 else "0" * 32
            assert refusal(spliced(patch, msgspec.msgpack.encode(told))) == "BCP408"
            tried.add((edit[0], place))
    assert tried == {(kind, place) for kind, all_of_them in places.items() for place in all_of_them}


def test_a_header_says_nothing_that_its_edits_do_not_have(patch: Patch) -> None:
    head = patchfile.header(patch)
    (module,) = head.modules
    for number, edit in enumerate(module.edits):
        other = "function" if edit.kind == "docstring" else "docstring"
        more: list[dict[str, Any]] = [{"names": ("f",)}, {"kind": other}]
        if edit.kind != "function":
            more.append({"brings": b"x"})
        for fields in more:
            edits = [*module.edits]
            edits[number] = msgspec.structs.replace(edit, **fields)
            lying = msgspec.structs.replace(head, modules=(msgspec.structs.replace(module, edits=tuple(edits)),))
            data = msgspec.msgpack.encode(lying)
            content = prefix(data) + data + msgspec.msgpack.encode(bodies(patch))
            assert refusal(resealed(b"", content)) == "BCP408"


@pytest.mark.parametrize("digits", ["old", "0", "ABCDEF", "ab cd"])
def test_what_has_no_place_in_a_file_is_not_written(patch: Patch, digits: str) -> None:
    (module,) = patch.modules
    (edit,) = [edit for edit in module.edits if isinstance(edit, FunctionEdit)]
    elsewhere = msgspec.structs.replace(edit.site, module="elsewhere")
    for wrong in (
        changed(patch, brings=digits),
        changed(patch, replaces=digits),
        msgspec.structs.replace(patch, parent=digits),
        changed(patch, edits=(msgspec.structs.replace(edit, replaces=digits),)),
        changed(patch, edits=(msgspec.structs.replace(edit, site=elsewhere),)),
    ):
        with pytest.raises(PatchFileError, match="BCP408"):
            patchfile.encode(wrong)


def test_another_format_is_named(data: bytes) -> None:
    assert refusal(data[:8] + b"\x00\x63" + data[10:]) == "BCP404"


def test_a_file_is_written_and_read(patch: Patch, tmp_path: Path) -> None:
    path = tmp_path / "gen7.patch"
    patchfile.write(patch, path)
    assert patchfile.read(path) == patch
    assert os.listdir(tmp_path) == ["gen7.patch"]


def test_a_file_that_can_not_be_written_leaves_nothing(patch: Patch, tmp_path: Path) -> None:
    (tmp_path / "gen7.patch").mkdir()
    with pytest.raises(Refused) as caught:
        patchfile.write(patch, tmp_path / "gen7.patch")
    assert caught.value.diagnostics[0].code == "BCP003"
    assert os.listdir(tmp_path) == ["gen7.patch"]
    with pytest.raises(Refused, match="no such file"):
        patchfile.write(patch, tmp_path / "missing" / "gen7.patch")


def test_a_pipe_or_a_device_is_written_to_and_stays(patch: Patch, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        patchfile.write(patch, pipe)
        assert os.read(reading, 1 << 16) == patchfile.encode(patch)
    finally:
        os.close(reading)
    assert pipe.is_fifo()
    if os.path.exists("/dev/full"):
        (tmp_path / "full").symlink_to("/dev/full")
        with pytest.raises(Refused, match="no space left on device"):
            patchfile.write(patch, tmp_path / "full")


def test_a_link_stays_a_link(patch: Patch, tmp_path: Path) -> None:
    (tmp_path / "patches").mkdir()
    (tmp_path / "current.patch").symlink_to("patches/1.patch")
    for _ in range(2):
        patchfile.write(patch, tmp_path / "current.patch")
        assert (tmp_path / "current.patch").is_symlink()
        assert (tmp_path / "patches" / "1.patch").read_bytes() == patchfile.encode(patch)
    assert os.listdir(tmp_path / "patches") == ["1.patch"]


def test_an_interrupted_write_leaves_nothing(patch: Patch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        patchfile.write(patch, tmp_path / "gen7.patch")
    assert os.listdir(tmp_path) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PatchFileError) as caught:
        patchfile.read(tmp_path / "none.patch")
    assert caught.value.diagnostics[0].code == "BCP003"
