"""Competing load, measured on real processes that burn real CPU time."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
from support.neighbours import detached

from fixtures.catalog.host import Competing
from fixtures.host.load import LoadMeter, competing_load

BURN = "import time\nend = time.monotonic() + 4\nwhile time.monotonic() < end: pass"
IDLE = "import time; time.sleep(20)"


def cpu_s(pid):
    """CPU time as psutil tells it, independently."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def asr(tag, **how):
    return Competing(name="ASR", max_cpu_pct=50, **(how or {"cmdline": rf"asr-{tag}\b"}))


def test_burner_is_found_by_its_command_line_at_its_real_share(tmp_path):
    (tmp_path / "asr-burner").symlink_to("/bin/sleep")
    with detached(sys.executable, "-c", BURN, "asr-burner") as burner, detached(str(tmp_path / "asr-burner"), "20") as idle:
        began, used = time.monotonic(), cpu_s(burner)
        loads = competing_load([asr("burner")], window_s=1.4)
        share_pct = 100 * (cpu_s(burner) - used) / (time.monotonic() - began)
    assert [load.pid for load in loads] == [burner, idle]  # busiest first
    assert loads[0].cpu_pct == pytest.approx(share_pct, rel=0.3)
    assert 5 < loads[0].cpu_pct < 115  # however busy this machine is
    assert loads[1].cpu_pct < 5
    assert loads[0].service == "ASR"
    assert loads[0].name.startswith("python")
    assert "asr-burner" in loads[0].command


def test_threads_of_one_process_add_up():
    """A percentage is of one core, as in the report's 344 %."""
    program = """
import hashlib, threading, time
end, block = time.monotonic() + 3, bytes(1 << 22)
def burn():
    while time.monotonic() < end: hashlib.sha256(block)
for _ in range(2): threading.Thread(target=burn).start()
"""
    with detached(sys.executable, "-c", program, "asr-threads") as pid:
        time.sleep(0.2)  # let both threads start
        began, used = time.monotonic(), cpu_s(pid)
        (load,) = competing_load([asr("threads")], window_s=1.2)
        share_pct = 100 * (cpu_s(pid) - used) / (time.monotonic() - began)
    assert load.pid == pid
    assert load.cpu_pct == pytest.approx(share_pct, rel=0.3)
    assert load.cpu_pct > 5  # however busy this machine is


def test_service_is_found_by_its_process_name(tmp_path):
    (tmp_path / "asr-daemon").symlink_to("/bin/sleep")
    with detached(str(tmp_path / "asr-daemon"), "20") as pid:
        (load,) = competing_load([asr("", process="asr-daemon")], window_s=0.05)
    assert (load.pid, load.name, load.cpu_pct) == (pid, "asr-daemon", 0.0)


def test_service_is_found_by_its_systemd_unit():
    tree = next((tree for tree in map(Path, ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup")) if (tree / "cgroup.procs").exists()), None)
    name = f"readiness-asr-{uuid.uuid4().hex}"  # the tree is the machine's: another session's unit is not ours
    unit = tree and tree / f"{name}.service"
    try:
        unit.mkdir()
    except (AttributeError, OSError):
        pytest.skip("no cgroup tree that this user may write to")
    try:
        with detached(sys.executable, "-c", BURN) as pid:
            (unit / "cgroup.procs").write_text(str(pid), encoding="ascii")
            with_suffix = competing_load([asr("", unit=f"{name}.service")], window_s=0.3)
            without = competing_load([asr("", unit=name)], window_s=0.05)
        assert [load.pid for load in with_suffix] == [load.pid for load in without] == [pid]
        assert with_suffix[0].unit == f"{name}.service"
        assert with_suffix[0].cpu_pct > 5
    finally:
        deadline = time.monotonic() + 5
        while (unit / "cgroup.procs").read_text(encoding="ascii") and time.monotonic() < deadline:
            time.sleep(0.01)
        unit.rmdir()


def test_own_process_tree_never_competes():
    """A pytest whose own arguments name the ASR must not block itself; nor what it starts, nor what started it."""
    mine = {os.getpid(), os.getppid()}
    with detached(sys.executable, "-c", IDLE, "asr-other") as other, subprocess.Popen([sys.executable, "-c", IDLE, "asr-child"]) as child:
        try:
            loads = competing_load([Competing(name="all", cmdline=".", max_cpu_pct=1), asr("child")], window_s=0.05)
        finally:
            child.kill()
    found = {load.pid for load in loads}
    assert other in found
    assert not found & (mine | {child.pid})


def test_process_that_starts_within_the_window_counts_and_one_that_ends_does_not():
    meter = LoadMeter([asr("late")])
    with detached(sys.executable, "-c", IDLE, "asr-late") as ended:
        assert [load.pid for load in meter.read()] == [ended]
    with detached(sys.executable, "-c", BURN, "asr-late") as burner:
        time.sleep(0.5)
        (load,) = meter.read()
        assert load.pid == burner
        assert 5 < load.cpu_pct < 115
        time.sleep(0.3)
        (again,) = meter.read()
        assert 5 < again.cpu_pct < 115
    assert meter.read() == ()


def test_process_that_becomes_the_service_later_is_found(tmp_path, monkeypatch):
    """Between fork and exec a service still looks like the shell that starts it."""
    (tmp_path / "asr-exec").symlink_to("/bin/sleep")
    monkeypatch.setenv("BECOMES", str(tmp_path / "asr-exec"))
    meter = LoadMeter([asr("", process="asr-exec")])
    with detached("sh", "-c", 'sleep 0.4; exec "$BECOMES" 20') as pid:
        assert meter.read() == ()
        time.sleep(0.8)
        assert [load.pid for load in meter.read()] == [pid]


def test_process_in_two_services_is_told_for_each(tmp_path):
    (tmp_path / "asr-both").symlink_to("/bin/sleep")
    services = [Competing(name="one", process="asr-both", max_cpu_pct=1), Competing(name="two", cmdline="asr-both 20", max_cpu_pct=1)]
    with detached(str(tmp_path / "asr-both"), "20"):
        assert [load.service for load in competing_load(services, window_s=0.05)] == ["one", "two"]


def test_nothing_competes_without_services_and_no_time_is_spent():
    began = time.monotonic()
    assert competing_load([], window_s=30) == ()
    assert time.monotonic() - began < 5
