"""`--attach` to a service of a real systemd in a container: its journal is not ours to read, its log file is."""

import re
import shutil
import subprocess
import time

import pytest
from support.engine_copies import as_engine, copied
from support.launches import subject_of
from support.planting import Host, model
from support.systemd_container import booted

from fixtures.catalog.load import load_host
from fixtures.catalog.requirement import Arm
from fixtures.engine.attached import attach
from fixtures.engine.client import LlamaClient
from fixtures.engine.command import service_command
from fixtures.measure.attached_candidate import not_the_candidate

pytestmark = [pytest.mark.runtime, pytest.mark.long]

PORT = 21520


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A container that shares this machine's network, with engine and model where they are here; and the candidate."""
    folder = tmp_path_factory.mktemp("container")
    engine = copied(folder / "engine")
    for path in re.findall(r"=> (\S*libgomp\S*)", subprocess.check_output(["ldd", engine / "llama-server"], text=True)):
        shutil.copy(path, engine)  # the container has no compiler's libraries
    host = Host(folder, PORT, {"clean": {}}, recipe="path", engine=as_engine(engine))
    own = folder / "own.gguf"
    own.write_bytes(model().read_bytes())
    host.files = {"clean": (f'target = {{ kind = "file", path = "{own}" }}', "completion")}
    loaded = load_host(str(host.write().file))
    with booted(folder) as container:
        yield container, loaded, folder


def served(container, loaded, folder, *properties):
    """What attaching to the candidate's service finds; `properties` of the service."""
    subject = subject_of(loaded, loaded.candidate("clean"), None, folder)
    command = service_command(subject.prepared_as(Arm.PRODUCTION))
    variables = [f"--setenv={name}={value}" for name, value in command.env.items()]
    container.ask("systemd-run", "--unit=llama", "--collect", *properties, *variables, *command.argv)
    try:
        url = f"http://127.0.0.1:{loaded.candidate('clean').port}"
        deadline = time.monotonic() + 120
        with LlamaClient(url, 60) as client:
            while client.health() != 200:
                assert time.monotonic() < deadline, container.ask("journalctl", "--unit=llama", "--lines=20")
                time.sleep(0.2)
        live = attach(url, 60.0)
        with live.client:
            return live, not_the_candidate(subject, live)
    finally:
        container.ask("systemctl", "stop", "llama")


def test_a_journal_that_cannot_be_read_here_proves_nothing(machine):
    live, found = served(*machine)
    assert f"pid {live.pid} logs neither to a file nor to a journal that can be read here" in found.raw["attached"]["invalid"]


def test_a_file_that_the_service_writes_is_its_log(machine):
    folder = machine[2]
    _, found = served(*machine, "-p", f"StandardError=file:{folder}/live.log", "-p", f"StandardOutput=file:{folder}/live.log")
    assert found is None
