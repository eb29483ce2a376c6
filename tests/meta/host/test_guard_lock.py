"""The run's lock against real holders: other processes, shell scripts, the dead."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.places import ROOT

from fixtures.host import processes
from fixtures.host.lock import LockError, LockHeld, LockHolder, RunLock, current_holder, describe_lock, inspect_lock

HOLD = """
import sys, time
from pathlib import Path
from fixtures.host.lock import RunLock, current_holder
lock = RunLock(Path(sys.argv[1]))
lock.acquire(current_holder())
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def running(*argv, wait_for=b""):
    """A child process that has printed `wait_for`; killed at the end."""
    child = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    try:
        if wait_for:
            assert wait_for in child.stdout.readline()
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()


def acquired(path):
    """Whether the lock can be had now; let go at once."""
    with RunLock(path):
        return True


def test_absent_file_is_free_and_an_inspection_does_not_create_it(path):
    state = inspect_lock(path)
    assert (state.status, state.is_free, state.holder) == ("free", True, None)
    assert not path.exists()


def test_empty_file_is_stale_and_can_be_had(path):
    path.touch()
    state = inspect_lock(path)
    assert (state.status, state.is_free, state.note) == ("stale", True, "present but empty")
    assert acquired(path)


def test_holder_is_recorded_and_the_file_left_empty(path):
    lock = RunLock(path)
    lock.acquire(current_holder())
    holder = LockHolder.model_validate_json(path.read_text(encoding="utf-8"))
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert holder.pid == os.getpid()
    assert holder.boot_id == processes.boot_id()
    assert holder.start_ticks == processes.read_stat(os.getpid()).start_ticks
    assert holder.user and holder.command and holder.since
    state = inspect_lock(path)
    assert (state.status, state.ours) == ("held", True)
    lock.release()
    assert path.read_bytes() == b""
    assert inspect_lock(path).is_free
    lock.release()  # harmless


def test_recording_another_holder_while_held_replaces_the_line(path):
    with RunLock(path) as lock:
        lock.acquire(current_holder().model_copy(update={"command": "x" * 200}))
        lock.acquire(current_holder().model_copy(update={"command": "short"}))
        assert json.loads(path.read_text(encoding="utf-8"))["command"] == "short"


def test_created_file_can_be_taken_by_every_user_whatever_the_umask(path):
    before = os.umask(0o077)
    try:
        acquired(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_shell_flock_holds_it(path):
    with running("flock", str(path), "sh", "-c", "echo held; exec sleep 60", wait_for=b"held") as child:
        with pytest.raises(LockHeld) as held:
            RunLock(path).acquire(current_holder())
        assert held.value.state.holder.pid == child.pid
        assert f"held by pid {child.pid} (flock, user " in str(held.value)
        assert "\n" not in str(held.value)
        state = inspect_lock(path)
        assert (state.status, state.ours, state.holder.name) == ("held", False, "flock")
    assert acquired(path)


def test_script_that_keeps_the_lock_after_its_flock_command_ended_is_named(path):
    with running("bash", "-c", 'exec 9>>"$1"; flock 9; echo held; sleep 60; :', "bash", str(path), wait_for=b"held") as child:
        state = inspect_lock(path)
        assert (state.status, state.holder.pid, state.holder.name) == ("held", child.pid, "bash")


def test_shared_shell_lock_holds_it_too(path):
    with running("flock", "-s", str(path), "sh", "-c", "echo held; exec sleep 60", wait_for=b"held"):
        assert inspect_lock(path).status == "held"
        with pytest.raises(LockHeld):
            RunLock(path).acquire(current_holder())


def test_shell_flock_cannot_have_it_while_we_hold_it(path):
    attempt = ["flock", "-n", str(path), "true"]
    with RunLock(path):
        assert subprocess.run(attempt, check=False).returncode == 1
    assert subprocess.run(attempt, check=False).returncode == 0


def test_other_process_holds_it_and_its_death_frees_it(path):
    with running(sys.executable, "-c", HOLD, str(path), wait_for=b"held") as child:
        with pytest.raises(LockHeld, match=f"held by pid {child.pid} "):
            RunLock(path).acquire(current_holder())
        assert inspect_lock(path).holder.command.startswith(sys.executable)
        child.kill()
        child.wait()
        assert path.stat().st_size > 0  # the dead cannot tidy up
        state = inspect_lock(path)
        assert (state.status, state.note) == ("stale", f"names pid {child.pid}, which is gone")
        assert acquired(path)
        assert path.read_bytes() == b""


def test_zombie_holds_nothing(path):
    child = subprocess.Popen(["sleep", "0"])
    try:
        deadline = time.monotonic() + 10
        while processes.read_stat(child.pid) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        path.write_text(f"{child.pid}\n", encoding="ascii")
        assert Path(f"/proc/{child.pid}").exists()  # dead, not reaped
        assert inspect_lock(path).status == "stale"
    finally:
        child.wait()


@pytest.mark.parametrize(
    "content", ["{pid}", "{pid}\n", "pid={pid} host=spark", "PID: {pid}\n", '{{"pid": {pid}, "note": "ours"}}', "{pid} 2026-05-14 bench.sh"]
)
def test_file_naming_a_live_pid_is_held_without_any_flock(path, content):
    with running("sleep", "60") as child:
        text = content.format(pid=child.pid)
        path.write_text(text, encoding="utf-8")
        state = inspect_lock(path)
        assert (state.status, state.holder.pid, state.holder.name) == ("held", child.pid, "sleep")
        with pytest.raises(LockHeld, match=f"held by pid {child.pid} "):
            RunLock(path).acquire(current_holder())
        assert path.read_text(encoding="utf-8") == text
    assert inspect_lock(path).status == "stale"
    assert acquired(path)


def test_own_bare_pid_counts_as_held_like_any_other(path):
    path.write_text(str(os.getpid()), encoding="ascii")
    assert (inspect_lock(path).status, inspect_lock(path).ours) == ("held", False)
    with pytest.raises(LockHeld):
        RunLock(path).acquire(current_holder())


@pytest.mark.parametrize(
    "other", [{"start_ticks": 1}, {"boot_id": "00000000-0000-0000-0000-000000000000"}], ids=["pid-reused", "before-reboot"]
)
def test_record_of_an_earlier_process_with_the_same_pid_is_stale(path, other):
    path.write_text(current_holder().model_copy(update=other).model_dump_json(), encoding="utf-8")
    assert inspect_lock(path).status == "stale"
    assert acquired(path)


@pytest.mark.parametrize(
    "content",
    [b"wayne: do not run\n", b"[guard]\nlimit = 5\n", b"GGUF" + bytes(range(256)) * 64, b"1 " + b"x" * 5000],
    ids=["note", "settings", "model", "long"],
)
def test_file_that_is_no_lock_is_never_overwritten(path, content):
    path.write_bytes(content)
    assert inspect_lock(path).status == "unclear"
    with pytest.raises(LockError, match="names no process") as refused:
        RunLock(path).acquire(current_holder())
    assert not isinstance(refused.value, LockHeld)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == content
    assert subprocess.run(["flock", "-n", str(path), "true"], check=False).returncode == 0  # nothing stays locked


def make_missing_folder(path):
    return path.parent / "no" / "run.lock"


def make_folder(path):
    path.mkdir()
    return path


def make_fifo(path):
    os.mkfifo(path)
    return path


def make_dangling_link(path):
    path.symlink_to(path.parent / "nowhere" / "run.lock")
    return path


def make_loop(path):
    path.symlink_to(path)
    return path


@pytest.mark.parametrize("make", [make_missing_folder, make_folder, make_fifo, make_dangling_link, make_loop])
def test_unusable_path_is_one_clear_message(path, make):
    place = make(path)
    with pytest.raises(LockError, match=r"cannot be used: .*guard\.lock") as refused:
        RunLock(place).acquire(current_holder())
    assert "\n" not in str(refused.value)
    assert describe_lock(inspect_lock(place)).startswith(f"lock {place} is ")


def test_existing_file_is_opened_without_o_creat(path):
    """With it, fs.protected_regular refuses another user's lock in a sticky folder."""
    path.touch()
    program = """
import os, sys
from pathlib import Path
from fixtures.host.lock import RunLock
flags = []
sys.addaudithook(lambda event, args: flags.append(args[2]) if event == "open" and str(args[0]) == sys.argv[1] else None)
with RunLock(Path(sys.argv[1])):
    pass
print(len(flags), sum(bool(flag & os.O_CREAT) for flag in flags))
"""
    told = subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    opened, creating = map(int, told.stdout.split())
    assert opened >= 1
    assert creating == 0
