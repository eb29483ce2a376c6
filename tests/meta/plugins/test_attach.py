"""`--attach`: a live server is asked, never started, never stopped."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest
from support import child_session, owners_servers

from fixtures.engine.attached import AttachError
from fixtures.engine.attached import attach as connect
from fixtures.models.registry import ensure_registry_model
from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]

ENGINE_FLAGS = ("-c", "2048", "-t", "1", "-np", "1", "-fa", "on", "--jinja", "-lv", "4")
DRAFTING = ("--spec-type", "ngram-mod", "--spec-ngram-mod-n-match", "8", "--spec-ngram-mod-n-min", "4", "--spec-ngram-mod-n-max", "16")


@pytest.fixture
def live(tmp_path):
    """Starts a server as an owner would, from a shell full of ordinary variables, log into a file; stopped by the test that owns it."""
    engine = build_engine(EngineRequest.named("pinned+tbq"))
    with owners_servers.killed_in_the_end() as started:

        def start(port, *flags):
            log = tmp_path / f"live{port}.log"
            command = [str(engine.server), "-m", str(ensure_registry_model("smollm2-135m")), "--port", str(port), *ENGINE_FLAGS, *flags]
            with log.open("wb") as sink:
                process = subprocess.Popen(command, env=os.environ | {"CI": "true", "DEBUG": "1"}, stdout=sink, stderr=sink)
            started.append(process)
            while "listening" not in log.read_text(errors="replace"):
                assert process.poll() is None, log.read_text(errors="replace")
                time.sleep(0.1)
            return process

        yield start


def attach(tmp_path, url, *args):
    host = child_session.write_host(tmp_path, port=18865)
    session = child_session.start(host, tmp_path / "reports", f"--attach={url}", "-k", "good", *args)
    session.status = session.wait()
    assert "Traceback" not in session.output, session.output
    return session


def test_coherence_passes_speed_is_noisy_and_the_server_stays_untouched(tmp_path, live):
    server = live(18870, "-ctk", "q8_0", "-ctv", "q8_0", *DRAFTING)
    born = psutil.Process(server.pid).create_time()
    session = attach(tmp_path, "http://127.0.0.1:18870", "-m", "coherence or tps")
    assert session.status == 75, session.output
    verdicts = {gate["requirement"]: gate["judgement"] for gate in gates_of(session)}
    assert verdicts["COH-1"]["verdict"] == "PASS"
    assert verdicts["TPS-1"]["verdict"] == "INVALID"
    assert "live server that others may use: noisy" in verdicts["TPS-1"]["reason"]
    assert (server.poll(), psutil.Process(server.pid).create_time()) == (None, born)
    assert session.launches() == []
    record = session.record("COH-1", "good-q8")
    assert record["status"] == "measured"
    assert record["raw"]["attached"]["pid"] == server.pid
    assert record["raw"]["attached"]["invalid"] == ""
    assert record["measured"]["cuda_errors"] == 0  # read from the live server's own log file


def test_other_kv_types_are_another_candidate(tmp_path, live):
    live(18872, "-ctk", "q4_0", "-ctv", "q8_0", *DRAFTING)
    session = attach(tmp_path, "127.0.0.1:18872", "-m", "coherence")
    assert session.status == 75
    assert "is not proven to be good-q8: it has -ctk q4_0, tested was q8_0" in session.record("COH-1", "good-q8")["reason"]


def test_without_drafts_it_is_another_candidate(tmp_path, live):
    live(18873, "-ctk", "q8_0", "-ctv", "q8_0")
    session = attach(tmp_path, "http://127.0.0.1:18873", "-m", "coherence")
    assert session.status == 75
    assert "it does not say --spec-type (default none), tested was ngram-mod" in session.record("COH-1", "good-q8")["reason"]


def test_a_key_is_asked_for_used_and_written_nowhere(tmp_path, live):
    key = "cle-de-la-maison"
    live(18874, "-ctk", "q8_0", "-ctv", "q8_0", *DRAFTING, "--api-key", key)
    url = "http://127.0.0.1:18874"
    host = child_session.write_host(tmp_path, port=18865)
    for name, env, status in (("none", {}, 4), ("wrong", {"READINESS_API_KEY": "falsch"}, 4), ("right", {"READINESS_API_KEY": key}, 0)):
        session = child_session.start(host, tmp_path / name, f"--attach={url}", "-k", "good", "-m", "coherence", env=env)
        assert session.wait() == status, session.output
        written = [session.output.encode(), *(file.read_bytes() for file in session.reports.rglob("*") if file.is_file())]
        assert not [text for text in written if key.encode() in text or b"falsch" in text]
        said = {"none": "give a key (READINESS_API_KEY)", "wrong": "the key in READINESS_API_KEY is refused", "right": "1 passed"}
        assert said[name] in session.output
    assert session.record("COH-1", "good-q8")["status"] == "measured"


def test_a_server_replaced_between_prompts_counts_for_nothing(tmp_path, live):
    first = live(18875, "-ctk", "q8_0", "-ctv", "q8_0", *DRAFTING)
    host = child_session.write_host(tmp_path, port=18865)
    host.write_text(host.read_text().replace('prompts = ["zh_marker"]', 'prompts = ["zh_marker", "repeat_line", "embedded_facts"]'))
    session = child_session.start(host, tmp_path / "reports", "--attach=http://127.0.0.1:18875", "-k", "good", "-m", "coherence", "-v")
    deadline = time.monotonic() + 120
    while not (session.reports.exists() and any(session.reports.glob("*/evidence.jsonl"))) or not session.records():
        assert time.monotonic() < deadline
        assert session.process.poll() is None, session.output
        time.sleep(0.05)
    session.process.send_signal(signal.SIGSTOP)
    first.kill()
    first.wait()
    live(18875, "-ctk", "q8_0", "-ctv", "q8_0", *DRAFTING)
    session.process.send_signal(signal.SIGCONT)
    session.wait()
    verdict = json.loads((session.folder / "verdict.json").read_text())
    gates = [gate for each in verdict["candidates"] for gate in each["gates"] if gate["requirement"] == "COH-1" and gate["seq"]]
    assert len(gates) == 3
    # the one under way when it went broke off, or was BLOCKED where its server was just being proven; what came after is INVALID, too
    verdicts = [gate["judgement"]["verdict"] for gate in gates]
    assert set(verdicts) <= {"INVALID", "FAIL", "BLOCKED"}, gates
    assert "INVALID" in verdicts, gates
    assert all("was replaced" in gate["judgement"]["reason"] for gate in gates if gate["judgement"]["verdict"] == "INVALID")


def gates_of(session):
    """The gates of `good-q8` in verdict.json."""
    verdict = json.loads((session.folder / "verdict.json").read_text())
    (gates,) = [candidate["gates"] for candidate in verdict["candidates"] if candidate["candidate"] == "good-q8"]
    return gates


@contextmanager
def answering(body):
    """The address of a server that gives every GET this answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_router_without_a_model_is_one_message(tmp_path):
    with answering(b'{"model_alias": "llama-server", "model_path": "none"}') as url:
        session = attach(tmp_path, url, "-m", "coherence")
    assert session.status == 4
    assert "the server answers but has no model (router mode?)" in session.output
    assert "which is no llama-server" in session.output


def test_no_llama_server_is_named(tmp_path):
    with answering(b"<html>welcome</html>") as url:
        session = attach(tmp_path, url, "-m", "coherence")
    assert session.status == 4
    assert f"is held by pid {os.getpid()}" in session.output
    assert "which is no llama-server" in session.output


def test_nobody_there_is_one_message(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    session = attach(tmp_path, f"http://127.0.0.1:{port}", "-m", "coherence")
    assert session.status == 4
    assert "start the server first, this suite never does" in session.output


@pytest.mark.parametrize("url", ["http://", "127.0.0.1", "http://127.0.0.1:99999", "ftp://x:1"])
def test_not_an_address(url):
    with pytest.raises(AttachError, match="not a server address"):
        connect(url, 1.0)


def test_what_is_no_address_is_one_message(tmp_path):
    session = attach(tmp_path, "http://", "-m", "coherence")
    assert session.status == 4
    assert "not a server address" in session.output


def test_streams_and_conversations_are_asked_of_a_live_server_too(tmp_path, live):
    live(18888, "-ctk", "q8_0", "-ctv", "q8_0", *DRAFTING)
    host = child_session.write_host(tmp_path, port=18865)
    exempt = child_session.exempt_from(("COH-2", "COH-3", "COH-4"))
    host.write_text(host.read_text().replace(exempt, ""))
    chosen = ("-k", "good and not lines and not facts and not rare and not json", "-m", "coherence", "--prompt-seed=7")
    session = child_session.start(host, tmp_path / "reports", "--attach=http://127.0.0.1:18888", *chosen)
    assert session.wait() == 0, session.output
    assert "prompts drawn from seed 7" in session.output
    assert session.record("COH-4", "good-q8")["measured"] == {"asked": 2, "right": 2, "prompt_seed": 7}
    measured = {name: session.record(name, "good-q8")["measured"] for name in ("COH-2", "COH-3")}
    assert measured["COH-2"]["text_ok"]
    assert measured["COH-2"]["plain"] is False, "what drafts may answer otherwise by a margin: only the checks decide"
    assert measured["COH-3"]["good"] == measured["COH-3"]["steps"] == 5
