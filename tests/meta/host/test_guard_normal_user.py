"""What a normal user gets to see of others: "held by another user", never a crash."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.places import ROOT

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
PACKAGES = str(Path(pytest.__file__).resolve().parents[1])


@pytest.fixture(scope="module")
def as_nobody():
    """Runs a Python program as the user nobody and returns what it printed."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    env = {"PYTHONPATH": f"{ROOT}:{PACKAGES}", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    probe = "import psutil, pydantic, pynvml, fixtures.host.guard"
    for python in (sys.executable, shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")):
        if python and subprocess.run([*NOBODY, python, "-c", probe], env=env, cwd="/", capture_output=True, check=False).returncode == 0:
            break
    else:
        pytest.skip("no Python with the suite's packages that the user nobody may start")

    def run(program, *arguments):
        argv = [*NOBODY, python, "-W", "error", "-c", program, *map(str, arguments)]
        done = subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def shared():
    """A sticky folder for everybody, as /tmp is."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o1777)
        yield Path(name)


def test_port_of_another_user_is_taken_without_a_name(as_nobody):
    program = """
from fixtures.host.guard import port_block
from fixtures.host.ports import port_state
print(port_state(18373).model_dump_json(exclude_defaults=True))
print(port_block(port_state(18373)))
print(port_state(18374).free)
"""
    with socket.create_server(("127.0.0.1", 18373)):
        state, block, other = as_nobody(program).splitlines()
    assert json.loads(state) == {"port": 18373, "free": False, "addresses": ["127.0.0.1"], "note": "held by another user"}
    assert block == "port 18373 is taken: held by another user"
    assert other == "True"


TAKE = """
import sys
from pathlib import Path
from fixtures.host.lock import LockError, RunLock, current_holder, inspect_lock
path = Path(sys.argv[1])
lock = RunLock(path)
try:
    lock.acquire(current_holder())
except LockError as refused:
    print(refused)
else:
    print(path.read_text() and inspect_lock(path).holder.user)
    lock.release()
"""


def test_lock_file_of_another_user_in_a_sticky_folder_can_be_taken(as_nobody, shared):
    lock = shared / "run.lock"
    lock.touch()
    lock.chmod(0o666)
    assert as_nobody(TAKE, lock) == "nobody"
    assert lock.read_bytes() == b""
    assert lock.stat().st_uid == 0


def test_lock_file_that_may_only_be_read_can_be_taken_too(as_nobody, shared):
    lock = shared / "run.lock"
    lock.touch(0o644)
    program = TAKE.replace("path.read_text() and ", "")
    assert as_nobody(program, lock) == "nobody"  # the kernel knows the holder, the file does not


@contextmanager
def root_holds(lock):
    """The lock in the hands of a root process."""
    holder = subprocess.Popen(
        ["flock", str(lock), "sh", "-c", "echo held; exec sleep 60"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        yield holder.pid
    finally:
        os.killpg(holder.pid, 9)
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize("mode", [0o666, 0o644])
def test_lock_held_by_root_is_named_to_a_normal_user(as_nobody, shared, mode):
    lock = shared / "run.lock"
    lock.touch()
    lock.chmod(mode)
    with root_holds(lock) as pid:
        assert as_nobody(TAKE, lock).startswith(f"lock {lock} is held by pid {pid} (flock, user root)")


def test_lock_file_that_may_not_even_be_read_is_one_message(as_nobody, shared):
    lock = shared / "run.lock"
    lock.touch()
    lock.chmod(0o600)
    look = """
import sys
from pathlib import Path
from fixtures.host.lock import inspect_lock
state = inspect_lock(Path(sys.argv[1]))
print(state.status, state.holder and state.holder.pid)
"""
    assert as_nobody(TAKE, lock).startswith(f"lock {lock} cannot be used: Permission denied")
    assert as_nobody(look, lock) == "unclear None"
    with root_holds(lock) as pid:
        assert as_nobody(look, lock) == f"held {pid}"


def test_script_of_another_user_that_only_wrote_its_pid_is_held(as_nobody, shared):
    lock = shared / "run.lock"
    lock.write_text(f"{os.getpid()}\n", encoding="ascii")
    lock.chmod(0o666)
    assert as_nobody(TAKE, lock).startswith(f"lock {lock} is held by pid {os.getpid()} (")


def test_whole_guard_works_for_a_normal_user(as_nobody, shared):
    program = """
import sys
from pathlib import Path
from fixtures.catalog.load import load_host
from fixtures.catalog.host import Competing, Resident
from fixtures.host.guard import inspect, session_block
host = load_host("local")
anybody = Resident(name="of whoever shares this machine", model="*")
everything = Competing(name="everything", cmdline=".", max_cpu_pct=100000)
guard = host.guard.model_copy(update={"competing": (everything,), "window_s": 0.2, "residents": (anybody,)})
report = inspect(host.model_copy(update={"guard": guard}), Path(sys.argv[1]))
print(session_block(report, guard))
print(any(load.pid == int(sys.argv[2]) for load in report.load))
"""
    block, sees_others = as_nobody(program, shared / "run.lock", os.getppid()).splitlines()
    assert block == "None"
    assert sees_others == "False"  # those that started the guard never compete with it, whoever they belong to
    assert not (shared / "run.lock").exists()
