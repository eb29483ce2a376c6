"""A live server that is one candidate, and is asked as others: `--attach` proves none of them, and starts and stops nothing."""

import shutil
import subprocess
import time
from contextlib import contextmanager

import psutil
import pytest
from support.launches import subject_of
from support.planted_table import faults_of
from support.planting import Host, gpu_that_lists, model

from fixtures.catalog.load import load_host
from fixtures.catalog.requirement import Arm
from fixtures.engine.client import LlamaClient
from fixtures.engine.command import service_command

pytestmark = [pytest.mark.runtime, pytest.mark.long]

ROWS = faults_of("attach")
GATES = ("-m", "coherence")


@contextmanager
def live(host):
    """The clean candidate's service as its owner would start it, its log in a file; its process."""
    loaded = load_host(str(host.file))
    command = service_command(subject_of(loaded, loaded.candidate("clean"), None, host.folder).prepared_as(Arm.PRODUCTION))
    log = host.folder / "live.log"
    with log.open("wb") as sink, subprocess.Popen(command.argv, env=command.env, stdout=sink, stderr=sink) as process:
        try:
            with LlamaClient(f"http://127.0.0.1:{host.service_port('clean')}", 60) as client:
                deadline = time.monotonic() + 120
                while client.health() != 200:
                    assert process.poll() is None, log.read_text(errors="replace")
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield process
        finally:
            process.kill()


def asked(folder, port, candidates, *, launch="", env=None):
    """What a session attached to the live server finds, which is still there afterwards."""
    host = Host(folder, port, candidates, launch=launch)
    if "attached-runs-another-model" in candidates:
        other = shutil.copy(model(), folder / "other.gguf")
        with open(other, "r+b") as file:  # noqa: PTH123 - to write in place
            file.seek(-1, 2)
            file.write(b"\x7f")
        host.files = {"attached-runs-another-model": (f'target = {{ kind = "file", path = "{other}" }}', "completion")}
    with live(host.write()) as process:
        born = psutil.Process(process.pid).create_time()
        url = f"--attach=http://127.0.0.1:{host.service_port('clean')}"
        signed = host.run(url, *GATES, env=env, status=(0, 1, 75))
        assert (process.poll(), psutil.Process(process.pid).create_time()) == (None, born)
    assert signed.session.launches() == []
    return signed


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """Each row's session: those that differ in their candidate share one."""
    others = {fault.id: fault.plant["candidate"] for fault in ROWS if "gpu" not in fault.plant}
    found = dict.fromkeys(["clean", *others], asked(tmp_path_factory.mktemp("attach"), 21400, {"clean": {}} | others))
    for fault in ROWS:
        if "gpu" in fault.plant:
            folder = tmp_path_factory.mktemp(fault.id)
            found[fault.id] = asked(folder, 21440, {"clean": {}}, launch="gpu_layers = 99", env=gpu_that_lists(folder, {"*": None}))
    return found


def test_what_it_is_passes(signed):
    assert [gate[1] for gate in signed["clean"].gates("clean") if gate[0] == "COH-1"] == ["PASS"], signed["clean"].session.output


@pytest.mark.parametrize("fault", ROWS, ids=[fault.id for fault in ROWS])
def test_caught(signed, fault):
    found = signed[fault.id]
    found.assert_caught(fault, fault.id if fault.id in found.candidates else "clean")
