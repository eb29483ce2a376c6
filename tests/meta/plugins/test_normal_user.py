"""The suite as a normal user meets it: own HOME, no write access to the checkout, other users' processes closed."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import ROOT

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="making a user for the test needs root"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed"),
]

UID = 61234  # nobody's: no account, no rights


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout that root owns and everybody may read, with a Python of its own that everybody may run."""
    base = Path("/tmp") / f"readiness-normal-user-{os.getpid()}"  # noqa: S108 - pytest's own folders are closed to other users
    base.mkdir(mode=0o755)
    folder = base / "checkout"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".venv", "reports", "__pycache__", ".*_cache", ".hypothesis"))
    (folder / "reports").mkdir()
    python = base / "python"
    shutil.copytree(sys.base_prefix, python, symlinks=True, ignore=shutil.ignore_patterns("test", "__pycache__", "site-packages"))
    shutil.copytree(
        next(Path(sys.prefix).glob("lib/python3*/site-packages")),
        base / "site",
        ignore=shutil.ignore_patterns("__pycache__", "playwright", "mypy"),
    )
    subprocess.run(["chmod", "-R", "a+rX,go-w", str(base)], check=True)
    yield folder, python / "bin" / f"python3.{sys.version_info[1]}", base / "site"
    shutil.rmtree(base)


@pytest.fixture
def as_user(checkout, tmp_path_factory):
    """Run pytest in that checkout as the user; returns (exit status, output)."""
    folder, python, site = checkout
    home = Path("/tmp") / f"readiness-home-{os.getpid()}"  # noqa: S108
    home.mkdir(mode=0o700, exist_ok=True)
    os.chown(home, UID, UID)

    def run(*args):
        env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
        command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", str(python), "-m", "pytest", *args]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False)
        return done.returncode, done.stdout + done.stderr

    yield run, home
    shutil.rmtree(home)


def test_static_gates_pass_and_the_report_goes_to_the_users_own_folder(as_user):
    run, home = as_user
    status, output = run("-m", "not runtime", "-q")
    assert status == 0, output
    assert f"{home}/.local/state/llama-readiness/reports/" in output


def test_audit_works_and_a_port_of_root_is_held_by_another_user(as_user):
    run, _ = as_user
    with socket.create_server(("127.0.0.1", 8087)):
        status, output = run("--host", "dgx", "-m", "audit", "-k", "26b-k3v4")
    assert status == 75, output
    assert "port 8087 is taken: held by another user" in output
    assert "models.gemma4-26b.target.path" in output
    assert "Traceback" not in output


def test_the_doctor_may_write_straight_into_the_overlay(as_user):
    run, home = as_user
    overlay = home / ".config" / "llama-readiness" / "dgx.toml"
    overlay.parent.mkdir(parents=True)
    overlay.touch()  # what the shell's `>` does before the doctor starts
    for folder in (home / ".config", overlay.parent, overlay):
        os.chown(folder, UID, UID)
    status, output = run("--doctor")
    assert status == 0, output
    assert "#lock = " in output
    assert "Traceback" not in output
