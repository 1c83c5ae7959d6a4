"""Patches in real processes: the whole way, every sort of bad one, and everybody killed in the middle."""

from __future__ import annotations

import contextlib
import opcode
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest
from processes import SECONDS, Process, running, supervising

from bcpatch import builder, fingerprint, load, model, patchfile, runtime, service
from bcpatch.channels import client, workers
from bcpatch.channels.protocol import (
    Applied,
    Apply,
    Refusal,
    Rehearsed,
    Reply,
    Request,
    Rollback,
    StatusReply,
    StatusRequest,
)
from bcpatch.diagnostics import PatchFileError, Refused, finding

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("folder")]


# --- patches ---------------------------------------------------------------------------------

SHOP = """
import math

class Cart:
    def total(self, price):
        return price
"""

DEARER = SHOP.replace("return price", "return math.floor(price) + 1")
DEAREST = SHOP.replace("return price", "return math.ceil(price) + 2")

OPEN = """
    import sys
    from bcpatch import runtime
    import shop
    runtime.loop()
    print("open", flush=True)
    for line in sys.stdin:
        print(eval(line), flush=True)
"""


def built(folder: Path, old: str, new: str, file: str = "shop.py", **options: Any) -> model.Patch:
    """The patch between two texts of a module."""
    for version, text in (("old", old), ("new", new)):
        (folder / version).mkdir(exist_ok=True)
        (folder / version / file).write_text(text, "utf-8")
    return builder.build(folder / "new" / file, base=folder / "old" / file, **options)


@contextlib.contextmanager
def shop(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """A process that has imported ``shop``, and prints the value of every expression that it's told."""
    (folder / "shop.py").write_text(SHOP, "utf-8")
    path = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    with running(OPEN, *options, environment={"PYTHONPATH": path, **(environment or {})}) as process:
        assert process.hear() == "open"
        yield process


def ask(process: Process, request: Request) -> Reply:
    peer = client.connect(process.pid)
    try:
        return peer.request(request, SECONDS)
    finally:
        peer.close()


def value(process: Process, expression: str = "shop.Cart().total(1)") -> str:
    process.tell(expression)
    return process.hear()


def test_the_whole_way_of_a_patch_through_a_running_process(folder: Path) -> None:
    dearer = built(folder, SHOP, DEARER)
    dearest = built(folder, DEARER, DEAREST, parent=dearer)
    with shop(folder) as process:
        rehearsed = ask(process, Apply(patch=patchfile.encode(dearer), dry_run=True))
        assert isinstance(rehearsed, Rehearsed)
        assert [str(site) for site in rehearsed.sites] == ["shop:Cart.total"]
        assert value(process) == "1"
        for number, patch in enumerate((dearer, dearest), 1):
            applied = ask(process, Apply(patch=patchfile.encode(patch)))
            assert isinstance(applied, Applied)
            assert (applied.generation, value(process)) == (number, str(number + 1))
        assert value(process, "[runtime.at(n, shop.Cart.total)(None, 1) for n in range(3)]") == "[1, 2, 3]"
        status = ask(process, StatusRequest())
        assert isinstance(status, StatusReply)
        assert (status.status.pid, status.status.generation) == (process.pid, 2)
        assert [one.patch for one in status.status.generations] == [None, *map(patchfile.digest, (dearer, dearest))]
        assert [(str(one.site), one.generation) for one in status.status.sites] == [("shop:Cart.total", 2)]
        for to, number in ((None, 1), (0, 0), (2, 2)):
            rolled = ask(process, Rollback(to))
            assert isinstance(rolled, Applied)
            assert (rolled.generation, value(process)) == (number, str(number + 1))
        assert value(process, "[one.number for one in runtime.generations()]") == "[0, 1, 2]"
        assert process.end() == (0, "")


def _other(patch: model.Patch, **fields: object) -> model.Patch:
    return msgspec.structs.replace(patch, **fields)


def _elsewhere(patch: model.Patch, **fields: object) -> model.Patch:
    return _other(patch, interpreter=msgspec.structs.replace(patch.interpreter, **fields))


def _flipped(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 4]) + data[101:]


def _broken(patch: model.Patch) -> model.Patch:
    """Bytecode that takes from an empty stack."""
    part = patch.modules[0]
    (edit,) = part.edits
    pop = bytes([opcode.opmap["POP_TOP"], 0])
    code = msgspec.structs.replace(edit.code, bytecode=pop * 20)
    broken = msgspec.structs.replace(edit, code=code, brings=fingerprint.digest(code))
    return _other(patch, modules=(msgspec.structs.replace(part, edits=(broken,)),))


BAD: dict[str, tuple[Callable[[model.Patch], bytes], set[str]]] = {
    "empty": (lambda patch: b"", {"BCP401"}),
    "no patch": (lambda patch: b"PK\x03\x04" + b"x" * 100, {"BCP401"}),
    "cut": (lambda patch: patchfile.encode(patch)[:-1], {"BCP402", "BCP403"}),
    "cut to its magic": (lambda patch: patchfile.encode(patch)[:8], {"BCP402"}),
    "flipped": (lambda patch: _flipped(patchfile.encode(patch)), {"BCP403"}),
    "another Python": (lambda patch: patchfile.encode(_elsewhere(patch, version="3.99", magic=1)), {"BCP405"}),
    "another level": (lambda patch: patchfile.encode(_elsewhere(patch, optimization=2)), {"BCP406"}),
    "a parent not applied": (lambda patch: patchfile.encode(_other(patch, parent="0" * 32)), {"BCP407"}),
    "malformed bytecode": (lambda patch: patchfile.encode(_broken(patch)), {"BCP303", "BCP304", "BCP305", "BCP313"}),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_patch_is_answered_and_logged_and_leaves_the_application_running(case: str, folder: Path) -> None:
    spoil, codes = BAD[case]
    good = built(folder, SHOP, DEARER)
    with shop(folder) as process:
        refusal = ask(process, Apply(patch=spoil(good)))
        assert isinstance(refusal, Refusal)
        assert {found.code for found in refusal.diagnostics} <= codes
        assert refusal.diagnostics
        assert value(process) == "1"
        assert value(process, "runtime.status().generation, len(runtime.generations())") == "(0, 1)"
        assert isinstance(ask(process, Apply(patch=patchfile.encode(good))), Applied)
        assert value(process) == "2"
        status, errors = process.end()
    assert status == 0
    assert refusal.diagnostics[0].code in errors
    assert "Traceback" not in errors


def test_a_patch_for_other_running_code_is_refused_with_both_fingerprints(folder: Path) -> None:
    with shop(folder) as process:
        refusal = ask(process, Apply(patch=patchfile.encode(built(folder, DEARER, DEAREST))))
        assert isinstance(refusal, Refusal)
        assert [found.code for found in refusal.diagnostics] == ["BCP504"]
        assert value(process) == "1"


def test_a_patch_for_a_module_that_is_not_loaded_is_refused(folder: Path) -> None:
    with shop(folder) as process:
        refusal = ask(process, Apply(patch=patchfile.encode(built(folder, SHOP, DEARER, "till.py"))))
        assert isinstance(refusal, Refusal)
        assert [found.code for found in refusal.diagnostics] == ["BCP501"]
        assert value(process) == "1"


def test_a_process_with_another_optimisation_level_says_so(folder: Path) -> None:
    good = built(folder, SHOP, DEARER)
    with shop(folder, "-O") as process:
        refusal = ask(process, Apply(patch=patchfile.encode(good)))
        assert isinstance(refusal, Refusal)
        assert [found.code for found in refusal.diagnostics] == ["BCP406"]
        fitting = built(folder, SHOP, DEARER, optimization=1)
        assert isinstance(ask(process, Apply(patch=patchfile.encode(fitting))), Applied)
        assert value(process) == "2"


def test_a_pinned_process_takes_strict_patches_only(folder: Path) -> None:
    linked = built(folder, SHOP, DEARER, policy="linked")
    with shop(folder, environment={"BCPATCH_POLICY": "strict"}) as process:
        assert client.connect(process.pid).hello.policy is model.Policy.STRICT
        refusal = ask(process, Apply(patch=patchfile.encode(linked)))
        assert isinstance(refusal, Refusal)
        assert [found.code for found in refusal.diagnostics] == ["BCP409"]
        assert isinstance(ask(process, Apply(patch=patchfile.encode(built(folder, SHOP, DEARER)))), Applied)


def test_a_second_apply_is_refused_at_once(folder: Path) -> None:
    patch = built(folder, SHOP, DEARER)
    with service.history.exclusive():
        for attempt in (lambda: runtime.apply(patch), lambda: runtime.rollback(0)):
            with pytest.raises(Refused) as refused:
                attempt()
            assert [found.code for found in refused.value.diagnostics] == ["BCP606"]


def test_what_apply_takes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = built(folder, SHOP, DEARER)
    file = folder / "shop.patch"
    patchfile.write(patch, file)
    for source in (file, str(file), file.read_bytes(), patch):
        with pytest.raises(Refused) as refused:
            runtime.apply(source)
        assert [found.code for found in refused.value.diagnostics] == ["BCP501"]
    with pytest.raises(PatchFileError) as missing:
        runtime.apply(folder / "missing.patch")
    assert [found.code for found in missing.value.diagnostics] == ["BCP003"]


def test_patches_come_by_standard_input(folder: Path) -> None:
    file = folder / "shop.patch"
    patchfile.write(built(folder, SHOP, DEARER), file)
    script = """
        import shop
        from bcpatch import runtime
        runtime.loop("stdin", block=True)
        print(shop.Cart().total(1))
    """
    (folder / "shop.py").write_text(SHOP, "utf-8")
    path = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    with running(script, environment={"PYTHONPATH": path}) as process:
        process.tell(str(file))
        assert process.rest() == ("2\n", "")


CLIENT = """
    import sys
    from bcpatch.channels import client
    from bcpatch.channels.protocol import Apply, Rollback
    peer = client.connect(int(sys.stdin.readline()))
    patch = open(sys.stdin.readline().rstrip(), "rb").read()
    print("asking", flush=True)
    while True:
        peer.ask(Apply(patch=patch))
        peer.ask(Rollback(0))
"""


def test_clients_killed_in_the_middle_of_asking_leave_the_process_whole(folder: Path) -> None:
    file = folder / "shop.patch"
    patchfile.write(built(folder, SHOP, DEARER), file)
    with shop(folder) as process:
        for _ in range(5):
            with running(CLIENT) as killed:
                killed.tell(str(process.pid))
                killed.tell(str(file))
                assert killed.hear() == "asking"
                peer = client.connect(process.pid)
                for request in (Apply(patch=file.read_bytes()), Rollback(0)) * 10:
                    assert isinstance(peer.request(request, SECONDS), Applied | Refusal)
                peer.close()
                killed.popen.kill()
                killed.popen.wait()
        answered = ask(process, Rollback(0))
        while isinstance(answered, Refusal) and answered.diagnostics[0].code == "BCP606":
            answered = ask(process, Rollback(0))
        assert isinstance(answered, Applied)
        assert value(process) == "1"
        assert isinstance(ask(process, Apply(patch=file.read_bytes())), Applied)
        assert value(process) == "2"


def test_who_applies_leaves_nothing_that_stops_the_next_one(folder: Path) -> None:
    data = patchfile.encode(built(folder, SHOP, DEARER))
    with shop(folder) as process:
        peers = [client.connect(process.pid) for _ in range(3)]
        asked = [peer.ask(request) for _ in range(40) for peer in peers for request in (Apply(patch=data), Rollback(0))]
        replies = [answer.result(SECONDS) for answer in asked]
        refused = {found.code for reply in replies if isinstance(reply, Refusal) for found in reply.diagnostics}
        assert refused <= {"BCP606"}
        assert any(isinstance(reply, Applied) for reply in replies)
        for peer in peers:
            peer.close()


def test_a_refusal_keeps_no_plan_alive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[weakref.ref[object]] = []

    class Plan:
        """Something that lives as long as a plan."""

    def refuse(*arguments: object, **options: object) -> None:
        plan = Plan()
        plans.append(weakref.ref(plan))
        raise Refused([finding("BCP501", "refused")])

    monkeypatch.setattr(load, "link", refuse)
    with pytest.raises(Refused) as refused:
        runtime.apply(built(folder, SHOP, DEARER))
    assert refused.value.diagnostics
    assert [plan() for plan in plans] == [None]


def test_an_application_killed_while_it_is_asked_is_lost_and_not_waited_for(folder: Path) -> None:
    data = patchfile.encode(built(folder, SHOP, DEARER))
    with shop(folder) as process:
        peer = client.connect(process.pid)
        answers = [peer.ask(request) for _ in range(200) for request in (Apply(patch=data), Rollback(0))]
        answers[0].result(SECONDS)
        process.popen.kill()
        assert isinstance(answers[-1].exception(SECONDS), client.Lost)
        peer.close()
        process.popen.wait()
        assert client.processes().processes == []


def test_workers_of_a_fork_server_are_all_patched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
        import os, sys
        import shop
        from bcpatch import runtime
        runtime.loop()
        workers = []
        for _ in range(3):
            here, there = os.pipe()
            answer, reply = os.pipe()
            if not os.fork():
                while os.read(here, 1):
                    os.write(reply, str(shop.Cart().total(1)).encode())
                os._exit(0)
            workers.append((there, answer))
        print("open", flush=True)
        for line in sys.stdin:
            for there, _ in workers:
                os.write(there, b"?")
            print(shop.Cart().total(1), *(os.read(answer, 9).decode() for _, answer in workers), flush=True)
        os.killpg(0, 9)
    """
    (folder / "shop.py").write_text(SHOP, "utf-8")
    path = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    first, second = built(folder, SHOP, DEARER), built(folder, DEARER, DEAREST)
    with supervising(monkeypatch) as (_, crowd):
        program = f"import os; os.setsid()\n{dedent(script)}"
        with running(program, environment={"PYTHONPATH": path}) as process:
            assert process.hear() == "open"
            peers = crowd.wait(4)
            for patch, expected in ((first, "2 2 2 2"), (second, "3 3 3 3")):
                answers = workers.ask(peers, Apply(patch=patchfile.encode(patch)), SECONDS)
                assert all(isinstance(answer.reply, Applied) for answer in answers)
                process.tell()
                assert process.hear() == expected
            process.end()
            crowd.wait(0)


def test_a_child_forked_after_a_patch_has_it_and_its_history(folder: Path) -> None:
    first, second = built(folder, SHOP, DEARER), built(folder, DEARER, DEAREST)
    script = """
        import os, sys
        import shop
        from bcpatch import runtime
        loop = runtime.loop()
        print("open", flush=True)
        sys.stdin.readline()
        if os.fork():
            os.wait()
            print("parent", shop.Cart().total(1), flush=True)
            sys.exit()
        loop._opening.join()
        print(os.getpid(), shop.Cart().total(1), flush=True)
        for line in sys.stdin:
            print(shop.Cart().total(1), flush=True)
            break
        sys.exit()
    """
    (folder / "shop.py").write_text(SHOP, "utf-8")
    path = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    with running(script, environment={"PYTHONPATH": path}) as process:
        assert process.hear() == "open"
        assert isinstance(ask(process, Apply(patch=patchfile.encode(first))), Applied)
        process.tell()
        child, shown = process.hear().split()
        assert shown == "2"
        peer = client.connect(int(child))
        assert peer.hello.generation == 1
        assert isinstance(peer.request(Apply(patch=patchfile.encode(second)), SECONDS), Applied)
        process.tell()
        assert process.hear() == "3"
        peer.close()
        assert process.hear() == "parent 2"
