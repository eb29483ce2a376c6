"""Runs as a whole: one engine at a time, one launch per arm, one run a host, nothing left behind."""

import signal
import subprocess
import sys
import time

import psutil
import pytest
from support import child_session

from fixtures.catalog.load import load_host, load_requirements
from fixtures.catalog.owed import owed_by
from fixtures.evidence.ledger import read_ledger
from fixtures.host.lock import RunLock

pytestmark = [pytest.mark.runtime, pytest.mark.long]


def sample_engines(session):
    """The largest number of engines alive at once during the session, sampled every 50 ms."""
    most = 0
    while session.process.poll() is None:
        most = max(most, len(child_session.engines_of(session.process.pid)))
        time.sleep(0.05)
    return most


def owed(host):
    """What the host owes of the families that are asked for below."""
    asked = [requirement for requirement in load_requirements() if requirement.marker in ("kv", "coherence", "tps", "stability")]
    return list(owed_by(load_host(str(host)), asked))


@pytest.mark.parametrize("workers", [(), ("-n", "4")], ids=["one", "n4"])
def test_one_engine_at_a_time_and_one_launch_per_arm(tmp_path, workers):
    host = child_session.write_host(tmp_path, port=18900)
    session = child_session.start(host, tmp_path / "reports", "-m", "kv or coherence or tps or stability", *workers)
    assert sample_engines(session) == 1
    assert session.wait() == 0, session.output
    assert sorted((entry["candidate"], entry["arm"]) for entry in session.own_launches()) == [
        ("good-q8", "production"),
        ("other-q8", "production"),
    ]
    content = read_ledger(session.folder / "evidence.jsonl")
    assert (content.problems, len(content.records)) == ((), len(owed(host)))


def test_kill_9_leaves_no_engine_and_the_next_run_starts(tmp_path):
    host = child_session.write_host(tmp_path, port=18915)
    first = child_session.start(host, tmp_path / "first", "-m", "tps")
    engine = first.wait_for_launch(1)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert gone(engine)
    second = child_session.start(host, tmp_path / "second", "-m", "kv")
    assert second.wait() == 0, second.output


def test_kill_9_of_the_controller_takes_its_workers_engine_along(tmp_path):
    host = child_session.write_host(tmp_path, port=18930)
    session = child_session.start(host, tmp_path / "reports", "-m", "tps", "-n", "2")
    engine = session.wait_for_launch(1)
    session.process.send_signal(signal.SIGKILL)
    session.process.wait()
    assert gone(engine)


def test_second_run_is_blocked_with_the_firsts_pid(tmp_path):
    host = child_session.write_host(tmp_path, port=18945, requests=12)
    first = child_session.start(host, tmp_path / "first", "-m", "tps", "-k", "good")
    first.wait_for_launch(1)
    second = child_session.start(host, tmp_path / "second", "-m", "kv")
    assert sample_engines(second) == 0  # not even a probe: the machine is somebody else's now
    assert second.wait() == 75, second.output
    launching = [r for r in second.records() if r["arm"] != "none"]
    assert {(r["status"], f"held by pid {first.process.pid}" in r["reason"]) for r in launching} == {("blocked", True)}
    assert second.launches() == []
    assert first.wait() == 0, first.output


def test_competing_load_blocks_with_pid_and_name(tmp_path):
    host = child_session.write_host(tmp_path, port=18960)
    with subprocess.Popen([sys.executable, "-c", "while True: pass", f"asr-service-of-{host.stem}"]) as burner:
        session = child_session.start(host, tmp_path / "reports", "-m", "kv or audit", "-k", "good")
        assert session.wait() == 75, session.output
        reason = session.record("KV-1", "good-q8")["reason"]
        assert f"pid {burner.pid} " in reason
        assert "asr" in reason
        assert session.record("AUD-1", "good-q8")["status"] == "measured"  # looking is not launching
        assert session.launches() == []
        burner.kill()


def gone(pid, timeout=10):
    deadline = time.monotonic() + timeout
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # init reaps it when it likes


def test_wait_clear_starts_when_the_load_has_gone(tmp_path):
    host = child_session.write_host(tmp_path, port=18975)
    with subprocess.Popen([sys.executable, "-c", "while True: pass", f"asr-service-of-{host.stem}"]) as burner:
        session = child_session.start(host, tmp_path / "reports", "-m", "kv", "-k", "good", "--wait-clear=120")
        deadline = time.monotonic() + 60
        while "waiting for the guard to clear" not in session.output and time.monotonic() < deadline:
            time.sleep(0.1)
        burner.kill()
    assert session.wait() == 0, session.output
    assert "waiting for the guard to clear" in session.output


def test_nothing_is_built_while_somebody_else_holds_the_machine(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "CMakeLists.txt").write_text("project(nothing)\n")
    host = child_session.write_host(tmp_path, port=18990, recipe="source", engine=f'path = "{source}"\ncommit = "0c1e57098bba"')
    with RunLock(tmp_path / "run.lock"):
        session = child_session.start(host, tmp_path / "reports", "-m", "deploy", "-k", "test_unit_is_valid and good")
        assert session.wait() == 75, session.output
    reason = session.record("DEP-1", "good-q8")["reason"]
    assert "building it must wait" in reason
    assert "is held by pid" in reason
