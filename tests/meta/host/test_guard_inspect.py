"""The whole guard on this machine: what `inspect` puts together, and that it touches nothing."""

import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest
from support.places import ROOT

from fixtures.catalog.host import Competing, Resident
from fixtures.catalog.load import load_host
from fixtures.host.guard import host_ports, inspect, port_block, session_block
from fixtures.host.lock import RunLock

BURN = "import time\nend = time.monotonic() + 4\nwhile time.monotonic() < end: pass"
ASR = Competing(name="ASR", cmdline="asr-inspected", max_cpu_pct=2)
ANYBODY = Resident(name="of whoever shares this machine", model="*")


@pytest.fixture(autouse=True)
def no_overlay(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def host(no_overlay):
    """The local host with the ports of this test file, an ASR of its own and a short window."""
    host = load_host("local")
    ports = host.ports.model_copy(update={"test": 18371, "watch": {"fallback": 18372}})
    guard = host.guard.model_copy(update={"competing": (ASR,), "window_s": 0.4, "residents": (ANYBODY,)})
    return host.model_copy(update={"ports": ports, "guard": guard})


@contextmanager
def detached_burner():
    """A busy process that is no descendant of ours."""
    shell = ["sh", "-c", 'setsid "$@" >/dev/null & echo $!', "sh", sys.executable, "-c", BURN, "asr-inspected"]
    told, _ = subprocess.Popen(shell, stdout=subprocess.PIPE, text=True).communicate()
    burner = psutil.Process(int(told))
    try:
        yield burner.pid
    finally:
        burner.kill()


def test_clear_machine_may_run(host, tmp_path):
    lock = tmp_path / "run.lock"
    lock.touch()
    report = inspect(host, lock)
    assert session_block(report, host.guard) is None
    assert report.lock.status == "stale"
    assert {18371, 18372} <= {state.port for state in report.ports}
    assert report.memory.available_mib > 0
    assert lock.read_bytes() == b""


def test_asr_load_blocks_with_pid_and_name(host, tmp_path):
    with detached_burner() as pid:
        report = inspect(host, tmp_path / "run.lock")
    block = session_block(report, host.guard)
    assert block.startswith("ASR: ")
    assert f"of a core, 2 % allowed (pid {pid} python" in block


def test_lock_of_another_process_blocks_and_taken_port_does_not(host, tmp_path):
    lock = tmp_path / "run.lock"
    with subprocess.Popen(["flock", str(lock), "sh", "-c", "echo held; exec sleep 60"], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with socket.create_server(("127.0.0.1", 18372)):
                report = inspect(host, lock)
        finally:
            psutil.Process(holder.pid).children()[0].kill()
            holder.kill()
    assert session_block(report, host.guard).startswith(f"lock {lock} is held by pid {holder.pid} (flock, user ")
    taken = {state.port: state for state in report.ports if not state.free}
    assert taken[18372].ours
    assert port_block(taken[18372]) is None


def test_lock_held_by_this_run_is_ours(host, tmp_path):
    with RunLock(tmp_path / "run.lock"):
        report = inspect(host, tmp_path / "run.lock")
    assert (report.lock.status, report.lock.ours) == ("held", True)
    assert session_block(report, host.guard) is None


def test_overlay_that_does_not_tell_lock_or_asr_blocks_by_key(host):
    silent = host.guard.model_copy(update={"competing": (), "competing_required": True, "lock": None})
    report = inspect(host.model_copy(update={"guard": silent}), None)
    assert report.missing_keys == ("guard.lock", "guard.competing")
    assert "`guard.lock`, `guard.competing`" in session_block(report, silent)
    assert report.lock is None


def test_nothing_to_watch_costs_no_window(host, tmp_path):
    calm = host.guard.model_copy(update={"competing": (), "window_s": 60.0})
    began = time.monotonic()
    report = inspect(host.model_copy(update={"guard": calm}), tmp_path / "run.lock")
    if report.gpus:
        pytest.skip("a GPU is watched over the window")
    assert time.monotonic() - began < 30


def test_inspection_opens_nothing_for_writing_and_sends_no_signal(tmp_path):
    lock = tmp_path / "run.lock"
    lock.write_text("999999999\n", encoding="ascii")
    program = """
import os, sys
from pathlib import Path
from fixtures.catalog.load import load_host
from fixtures.host.guard import inspect
touched = []
def watch(event, args):
    if event == "open" and not isinstance(args[0], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        touched.append(args[0])
    if event == "os.kill" and args[1] != 0:
        touched.append(args)
    search = event == "subprocess.Popen" and args[0] == "/proc/self/exe"  # of patterns, in a child that has an end
    if event in ("socket.bind", "socket.connect", "os.remove", "os.rename", "os.mkdir", "subprocess.Popen") and not search:
        touched.append((event, args))
sys.addaudithook(watch)
inspect(load_host("local"), Path(sys.argv[1]))
print(touched)
"""
    done = subprocess.run([sys.executable, "-B", "-c", program, str(lock)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert lock.read_text(encoding="ascii") == "999999999\n"


def test_dgx_ports_are_those_of_the_report():
    assert host_ports(load_host("dgx")) == (8080, 8087, 8088, 8089, 8090, 8092, 8093)
