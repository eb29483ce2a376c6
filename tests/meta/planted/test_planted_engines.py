"""Another engine in place of the tested one; and one that nobody knows, which is learnt and signed off on its first run."""

import pytest
from support.engine_copies import as_engine, copied, fork
from support.planted_table import faults_of
from support.planted_units import reference
from support.planting import Host

pytestmark = [pytest.mark.runtime, pytest.mark.long]

ROWS = faults_of("engines")
TWIN = {"model": "twin", "lane": "k3v3", "speculation": "mtp_block = 3"}


def script(folder, text):
    """A llama-server that is a shell script."""
    folder.mkdir()
    (folder / "llama-server").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "llama-server").chmod(0o755)
    return folder


def scripted_perplexity(folder):
    program = copied(folder) / "llama-perplexity"
    program.unlink()
    program.write_text("#!/bin/sh\necho 'Final estimate: PPL = 25.1373 +/- 0.1'\n")
    program.chmod(0o755)
    return as_engine(folder)


ENGINES = {
    "scripted-perplexity": scripted_perplexity,
    "other-commit": lambda folder: as_engine(copied(folder), "1234567890ab"),
    "lying-fork": lambda folder: fork(folder, tbq4_0="turbo3", tbq3_0="turboX"),
    "mute-fork": lambda folder: fork(folder, **{"allowed values: %s": "offered values: %s"}),
    "other-program": lambda folder: as_engine(script(folder, "echo hello")),
}


def run(folder, engine, given, *args, status):
    host = Host(folder, 21280, {"clean": given}, recipe="path", engine=engine, requests=4, max_tokens=48)
    host.references = {"clean": reference({})} if "ppl" in given else {}
    return host.write().run(*args, status=status)


def test_a_fork_that_nobody_knew_is_signed_off_on_its_first_run(tmp_path):
    """Its types are learnt before anything is asked of them; no overlay, no second run, no size declared anywhere."""
    signed = run(tmp_path, fork(tmp_path / "engine", tbq3_0="turbo3", tbq4_0="turbo9"), TWIN, "--signoff", status=(0,))
    signed.assert_clean("clean")
    (learnt,) = [reason for requirement, _, reason in signed.gates("clean") if requirement == "KV-3"]
    assert "K type turbo3 of this engine is 3.125 bits per weight" in learnt


@pytest.mark.parametrize("fault", ROWS, ids=[fault.id for fault in ROWS])
def test_caught(tmp_path, fault):
    family = "ppl" if fault.requirement == "PPL-1" else "kv"
    engine = ENGINES[fault.plant["engine"]](tmp_path / "engine")
    run(tmp_path, engine, fault.with_, "-m", family, status=(1, 75)).assert_caught(fault, "clean")
