"""What goes wrong on a real machine: one clear message each, the rest of the run goes on, the evidence stays intact."""

import os
import signal
import socket
import subprocess
import time

import psutil
import pytest
from support import child_session
from support.child_session import Model
from support.launcher import Faults

from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchFailed, LaunchPlan, launch
from fixtures.evidence.ledger import read_ledger
from fixtures.models.registry import ensure_registry_model
from fixtures.models.twins import ensure_twin
from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]


@pytest.fixture(scope="module")
def engine():
    return build_engine(EngineRequest.named("pinned+tbq"))


def finished(host, folder, status):
    """A whole child session over the KV gates, checked for what every fault must leave intact: `good` comes last and is measured."""
    session = child_session.start(host, folder / "reports", "-m", "kv")
    assert session.wait() == status, session.output
    assert "Traceback" not in session.output, session.output
    assert "INTERNALERROR" not in session.output, session.output
    assert read_ledger(session.folder / "evidence.jsonl").problems == ()
    assert session.record("KV-1", "good-q8")["status"] == "measured", session.output
    return session


@pytest.fixture(scope="module")
def blocked(tmp_path_factory, engine):
    """A session over four candidates that cannot be launched; with the server that answers on the port of the last one."""
    folder = tmp_path_factory.mktemp("blocked")
    smollm2, twin = ensure_registry_model("smollm2-135m"), ensure_twin("twin42", "scripted")
    (folder / "broken.gguf").write_bytes(smollm2.read_bytes()[:20_000_000])
    no_drafter = f'target = {{ kind = "file", path = "{twin.target}" }}\ndrafter = {{ kind = "file", path = "{folder}/none.gguf" }}'
    models = {
        "truncated": Model(f'target = {{ kind = "file", path = "{folder}/broken.gguf" }}'),
        "drafterless": Model(no_drafter, "mtp_block = 3"),
        "taken": Model(),
        "answered": Model(),
        "good": Model(),
    }
    host = child_session.write_host(folder, port=18400, models=models)
    command = [str(engine.server), "-m", str(smollm2), "--port", "18404", "-c", "512", "-np", "1", "-t", "1"]
    log = folder / "old.log"
    with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as old, socket.create_server(("127.0.0.1", 18403)):
        try:
            while "listening" not in log.read_text() and old.poll() is None:
                time.sleep(0.1)
            session = finished(host, folder, 75)
            assert old.poll() is None
        finally:
            old.kill()
    return session, old.pid


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("truncated", ("broken.gguf", "truncated")),
        ("drafterless", ("drafter of drafterless", "none.gguf")),
        ("taken", ("port 18403 is taken by", f"{os.getpid()}")),
        ("answered", ("port 18404 is taken by llama-server (pid {old}",)),
    ],
)
def test_what_cannot_be_launched_is_blocked(blocked, name, said):
    session, old = blocked
    record = session.record("KV-1", f"{name}-q8")
    assert record["status"] == "blocked"
    for part in said:
        assert part.format(old=old) in record["reason"]


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A session over an engine that refuses a flag of one candidate, and with the next one never gets ready."""
    folder = tmp_path_factory.mktemp("failed")
    refusing = Faults(only="--port 18421", flags={"--no-such-flag": ""})
    config = child_session.faulty_engine(folder / "engine", refusing, Faults(only="--port 18422", instead=("sleep", "1000")))
    models = dict.fromkeys(("refused", "silent", "good"), Model())
    host = child_session.write_host(folder, port=18420, recipe="path", engine=config, models=models, ready_timeout_s=15.0)
    return finished(host, folder, 1)


def test_refused_flag(failed):
    record = failed.record("KV-1", "refused-q8")
    assert record["status"] == "error"
    assert "llama-server did not start: exit status 1" in record["reason"]
    assert "--no-such-flag" in record["reason"]  # the server's own last lines


def test_server_that_never_gets_ready(failed):
    record = failed.record("KV-1", "silent-q8")
    assert record["status"] == "error"
    assert "was not ready within 15 s" in record["reason"]
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "1000"]]


def test_dead_server(tmp_path):
    host = child_session.write_host(tmp_path, port=18430, requests=12)
    session = child_session.start(host, tmp_path / "reports", "-m", "kv or tps or stability")
    victim = session.wait_for_launch(1)
    while not any(r["requirement"] == "KV-1" for r in session.records()):
        time.sleep(0.05)
    time.sleep(0.5)  # inside the speed requests
    os.kill(victim, signal.SIGKILL)
    assert session.wait() == 1
    assert "Traceback" not in session.output
    speed = session.record("TPS-1", "good-q8")
    assert speed["status"] == "error"
    assert f"llama-server pid {victim} died: killed by signal 9 (SIGKILL)" in speed["reason"]
    assert "last lines of" in speed["reason"]
    assert session.record("STA-1", "good-q8")["status"] == "error"
    assert session.record("TPS-1", "other-q8")["status"] == "measured", session.output
    assert read_ledger(session.folder / "evidence.jsonl").problems == ()


def test_launch_proves_ownership_not_just_health(tmp_path, engine):
    """A server that answers /health on the port but is not the launched one is refused: here by its alias."""
    model = ensure_registry_model("smollm2-135m")
    argv = (str(engine.server), "-m", str(model), "--port", "18436", "-c", "512", "-np", "1", "--alias", "somebody-else")
    command = CommandLine(argv=argv, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, policy_env={})
    plan = LaunchPlan(command, 18436, "mine-1234", model, tmp_path / "x.log", 60.0, 60.0, 5.0)
    with pytest.raises(LaunchFailed, match=r"answered by another server \(alias 'somebody-else', expected 'mine-1234'\)"), launch(plan):
        pass
