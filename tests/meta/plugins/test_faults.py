"""What goes wrong on a real machine: one clear message each, the rest of the run goes on, the evidence stays intact."""

import os
import signal
import socket
import subprocess
import time

import psutil
import pytest
from support import child_session
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


def finished(host, tmp_path, *args):
    """A whole child session over the KV gates, checked for what every fault must leave intact."""
    session = child_session.start(host, tmp_path / "reports", *(args or ("-m", "kv")))
    session.status = session.wait()
    assert "Traceback" not in session.output, session.output
    assert "INTERNALERROR" not in session.output, session.output
    assert read_ledger(session.folder / "evidence.jsonl").problems == ()
    assert session.record("KV-1", "good-q8")["status"] == "measured", session.output
    return session


def test_truncated_gguf(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(ensure_registry_model("smollm2-135m").read_bytes()[:20_000_000])
    host = child_session.write_host(tmp_path, port=18400, other=f'target = {{ kind = "file", path = "{broken}" }}')
    session = finished(host, tmp_path)
    record = session.record("KV-1", "other-q8")
    assert (session.status, record["status"]) == (75, "blocked")
    assert "broken.gguf" in record["reason"]
    assert "truncated" in record["reason"]


def test_missing_drafter(tmp_path):
    twin = ensure_twin("twin42", "scripted")
    other = f'target = {{ kind = "file", path = "{twin.target}" }}\ndrafter = {{ kind = "file", path = "{tmp_path}/none.gguf" }}'
    host = child_session.write_host(tmp_path, port=18405, other=other, speculation="mtp_block = 3")
    session = finished(host, tmp_path)
    record = session.record("KV-1", "other-q8")
    assert (session.status, record["status"]) == (75, "blocked")
    assert "drafter of other" in record["reason"]
    assert "none.gguf" in record["reason"]


def test_taken_port(tmp_path):
    host = child_session.write_host(tmp_path, port=18410)
    with socket.create_server(("127.0.0.1", 18412)):
        session = finished(host, tmp_path)
    record = session.record("KV-1", "other-q8")
    assert (session.status, record["status"]) == (75, "blocked")
    assert "port 18412 is taken by" in record["reason"]
    assert str(os.getpid()) in record["reason"]


def test_old_server_still_answering(tmp_path, engine):
    model = ensure_registry_model("smollm2-135m")
    command = [str(engine.server), "-m", str(model), "--port", "18417", "-c", "512", "-np", "1"]
    with (tmp_path / "old.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as old:
        try:
            while "listening" not in (tmp_path / "old.log").read_text() and old.poll() is None:
                time.sleep(0.1)
            session = finished(child_session.write_host(tmp_path, port=18415), tmp_path)
            assert old.poll() is None
        finally:
            old.kill()
    record = session.record("KV-1", "other-q8")
    assert (session.status, record["status"]) == (75, "blocked")
    assert f"port 18417 is taken by llama-server (pid {old.pid}" in record["reason"]


def test_refused_flag(tmp_path):
    config = child_session.faulty_engine(tmp_path / "engine", Faults(only="other.gguf", flags={"--no-such-flag": ""}))
    host = child_session.write_host(tmp_path, port=18420, recipe="path", engine=config, other=child_session.own_copy(tmp_path))
    session = finished(host, tmp_path)
    record = session.record("KV-1", "other-q8")
    assert (session.status, record["status"]) == (1, "error")
    assert "llama-server did not start: exit status 1" in record["reason"]
    assert "--no-such-flag" in record["reason"]  # the server's own last lines


def test_server_that_never_gets_ready(tmp_path):
    config = child_session.faulty_engine(tmp_path / "engine", Faults(only="other.gguf", instead=("sleep", "1000")))
    other = child_session.own_copy(tmp_path)
    host = child_session.write_host(tmp_path, port=18425, recipe="path", engine=config, other=other, ready_timeout_s=15.0)
    session = finished(host, tmp_path)
    record = session.record("KV-1", "other-q8")
    assert (session.status, record["status"]) == (1, "error")
    assert "was not ready within 15 s" in record["reason"]
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "1000"]]


def test_dead_server(tmp_path):
    host = child_session.write_host(tmp_path, port=18430, requests=40)
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
