"""Faults of the machine: locks, neighbours, memory. Each is in the way of every candidate, so each has a session of its own."""

import re
import shutil
from contextlib import ExitStack

import pytest
from support.lock_holders import FLOCK, OFD, POSIX, holding
from support.neighbours import burner, detached
from support.planted_table import faults_of
from support.planting import Host

pytestmark = [pytest.mark.runtime, pytest.mark.long]

ROWS = faults_of("guard")
HELD = {"flock": FLOCK, "posix": POSIX, "ofd": OFD}


def run(folder, fault=None):
    """What a session over the KV gates finds; with the pid of its neighbour."""
    plant, host = fault.plant if fault else {}, Host(folder, 21240, {"clean": {}}).write()
    text = host.file.read_text()
    for line in filter(None, [plant.get("guard")]):
        text, replaced = re.subn(rf"(?m)^{line.partition(' ')[0]} = .*$", lambda _, line=line: line, text)
        text = text if replaced else text.replace("[guard]", f"[guard]\n{line}")
    host.file.write_text(text)
    lock = folder / "run.lock"
    if "lock" in plant:
        lock.write_text(plant["lock"])
    if "folder" in plant:
        lock.mkdir()
    with ExitStack() as stack:
        if "held" in plant:
            lock.touch()
            stack.enter_context(holding(HELD[plant["held"]], lock))
        pid = stack.enter_context(neighbour(folder, plant["neighbour"])) if "neighbour" in plant else None
        return host.run("-m", "kv", status=(0 if fault is None else 75,)), pid


def neighbour(folder, kind):
    if kind == "burner":
        return detached(*burner("asr-of-planted", 120))
    program = folder / "llama-server"
    shutil.copy("/bin/sleep", program)
    return detached(str(program), "120")


def test_without_a_fault_every_gate_is_green(tmp_path):
    signed, _ = run(tmp_path)
    assert {verdict for requirement, verdict, _ in signed.gates("clean") if requirement in ("KV-1", "KV-3")} == {"PASS"}


@pytest.mark.parametrize("fault", ROWS, ids=[fault.id for fault in ROWS])
def test_caught(tmp_path, fault):
    signed, pid = run(tmp_path, fault)
    signed.assert_caught(fault, "clean", neighbour=pid)
    assert signed.session.launches() == []
    if "lock" in fault.plant:
        assert (tmp_path / "run.lock").read_text() == fault.plant["lock"], "what a person wrote is never overwritten"
