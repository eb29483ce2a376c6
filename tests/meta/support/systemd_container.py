"""A real systemd in a container of this machine: built once by debootstrap, kept in the cache, booted without touching what was kept."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fixtures.models.cache import cache_root
from fixtures.records.digest import digest

# curl: the units' health poll; the libraries: what llama-server and the suite's own Python are linked with
_PACKAGES = "systemd,dbus,curl,libgomp1,libsqlite3-0,libreadline8"
_BUILD = ("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm")
_NEEDED = ("debootstrap", "systemd-nspawn", "nsenter")
_BUILD_S, _BOOT_S, _ASK_S = 600, 60, 30


class Container:
    """A booted one. `root` is its tree as this machine sees it, /run included."""

    def __init__(self, leader):
        self.leader = leader
        self.root = Path(f"/proc/{leader}/root")

    def ask(self, *command):
        """What a command prints inside; its failure is the test's."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", *command], capture_output=True, text=True, timeout=_ASK_S, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def run(self, *command, env=None, timeout=300, cwd="/"):
        """A command inside with an environment of its own, whatever comes of it; stderr goes where stdout goes."""
        given = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"} | (env or {})
        words = [f"{name}={value}" for name, value in given.items()]
        inside = ["nsenter", "-t", str(self.leader), "-a", "env", "-i", f"--chdir={cwd}", *words, *command]
        return subprocess.run(inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)

    def path(self, inside):
        """A path of the container, from here."""
        return self.root / inside.lstrip("/")


@contextmanager
def booted(bind, *, shown=(), alone=False):
    """The container with `bind` at the same path inside; powered off in the end. Skips where this machine cannot have one.

    `shown`: pairs of a path here and the path at which it stands inside, read-only. `alone`: it has a network of its own, loopback only.
    """
    if os.geteuid() != 0:
        pytest.skip("a container with systemd needs root")
    if missing := [tool for tool in _NEEDED if shutil.which(tool) is None]:
        pytest.skip(f"a container with systemd needs {', '.join(missing)} (packages debootstrap, systemd-container, util-linux)")
    tree = _tree()
    command = ["systemd-nspawn", "--quiet", "-D", str(tree), "--volatile=overlay", "--register=no", "--keep-unit", "-b", f"--bind={bind}"]
    command += [f"--bind-ro={here}:{inside}" for here, inside in shown]
    command += ["--private-network"] if alone else []
    with (bind / "console.log").open("wb") as console:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
    container = None
    try:
        container = Container(_leader(process, bind / "console.log"))
        _wait_until_up(container)
        yield container
        subprocess.run(["nsenter", "-t", str(container.leader), "-a", "systemctl", "poweroff"], timeout=_ASK_S, check=False)
        process.wait(_BOOT_S)
    finally:
        if process.poll() is None:
            if container:  # all its processes end with it; they would outlive systemd-nspawn
                os.kill(container.leader, signal.SIGKILL)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_ASK_S)
            process.kill()
            process.wait()


def _tree():
    """The root folder, named by what it was built with; a build that was cut short leaves nothing under that name."""
    tree = cache_root() / "systemd" / digest(list(_BUILD))[:16]
    if not tree.is_dir():
        part = tree.with_suffix(f".{os.getpid()}")
        part.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([*_BUILD, str(part)], capture_output=True, text=True, timeout=_BUILD_S, check=False)
        if done.returncode != 0:
            shutil.rmtree(part, ignore_errors=True)
            pytest.skip(f"debootstrap cannot build a system here: {(done.stdout + done.stderr).strip()[-300:]}")
        part.rename(tree)
    return tree


def _leader(process, console):
    """The container's own process 1."""
    deadline = time.monotonic() + _BOOT_S
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.skip(f"systemd-nspawn ended with {process.returncode}: {console.read_text('utf-8', errors='replace').strip()[-300:]}")
        for child in children.read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            if any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in status.splitlines()):
                return int(child)
        time.sleep(0.1)
    raise AssertionError(f"the container has no leader after {_BOOT_S} s")


def _wait_until_up(container):
    deadline = time.monotonic() + _BOOT_S
    state = ""
    while time.monotonic() < deadline:
        asked = ["nsenter", "-t", str(container.leader), "-a", "systemctl", "is-system-running"]
        state = subprocess.run(asked, capture_output=True, text=True, timeout=_ASK_S, check=False).stdout.strip()
        if state in ("running", "degraded"):
            return
        time.sleep(0.2)
    raise AssertionError(f"the container's systemd is {state or 'silent'} after {_BOOT_S} s")
