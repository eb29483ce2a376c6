"""The audit touches nothing, as the kernel saw it: what is opened for writing, what is moved or removed, which signals are sent.

Decided here what may be written: the run's folder under --reports, `~/.cache/llama-readiness` (locks of the suite's own models), the
caches of pytest (`.pytest_cache`) and Python (`__pycache__`), /dev/null, /dev/tty (bash looks for it), and temporary files that have
no name or lose it within the run.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import child_session
from support.places import ROOT

from fixtures.models.cache import cache_root
from fixtures.models.registry import ensure_registry_model

CALLS = "open,openat,openat2,creat,truncate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat"
CALLS += ",chmod,fchmodat,chown,lchown,fchownat,mknod,mknodat,utimensat,kill,tkill,tgkill,rt_sigqueueinfo,pidfd_send_signal,bind,connect"
TRACED = ",".join(f"?{call}" for call in CALLS.split(","))  # not every architecture has them all
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
CALL = re.compile(r"^(?:\[pid +)?(?:\d+\]? +)?(?P<name>\w+)\((?P<arguments>.*)$")
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
SIGNALS = {"kill": 1, "tkill": 1, "tgkill": 2, "rt_sigqueueinfo": 1, "pidfd_send_signal": 1}  # call -> place of the signal


def violations(trace, allowed):
    """The lines of an strace output that write, move, remove, connect or signal where that is not `allowed` (path -> bool)."""
    return [line for line in trace.splitlines() if (match := CALL.match(line)) and _violates(match["name"], match["arguments"], allowed)]


def _violates(name, arguments, allowed):
    if name in SIGNALS:
        return arguments.split(", ")[SIGNALS[name]].split(")")[0].strip() != "0"
    if name in ("bind", "connect"):
        return "AF_INET" in arguments  # a local socket is how names of users are looked up
    failed = re.search(r"= -1 E\w+", arguments)
    if name in ("open", "openat", "openat2"):
        if not WRITES.search(arguments) or "O_TMPFILE" in arguments:
            return False
    elif failed:
        return False
    return not all(allowed(path) for path in PATH.findall(arguments))


def may_ptrace():
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()}"


@pytest.mark.parametrize(
    "line",
    [
        '12 openat(AT_FDCWD, "/etc/hosts", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3',
        '[pid 12] openat(AT_FDCWD, "/models/a.gguf", O_RDWR|O_CLOEXEC) = -1 EACCES (Permission denied)',
        '12 unlink("/run/lock/x.lock") = 0',
        '12 rename("/ok/a", "/models/a") = 0',
        "12 kill(2317, SIGTERM) = 0",
        "12 tgkill(2317, 2317, SIGKILL) = 0",
        "12 pidfd_send_signal(5, SIGKILL, NULL, 0) = 0",
        '12 connect(3, {sa_family=AF_INET, sin_port=htons(8092), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
    ],
)
def test_the_check_can_fail(line):
    assert violations(line, lambda path: path.startswith("/ok")) == [line]


@pytest.mark.parametrize(
    "line",
    [
        '12 openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3',
        '12 openat(AT_FDCWD, "/ok/a", O_WRONLY|O_CREAT, 0666) = 3',
        '12 openat(AT_FDCWD, "/tmp", O_RDWR|O_EXCL|O_TMPFILE, 0600) = 3',
        '12 mkdir("/models", 0777) = -1 EEXIST (File exists)',
        "12 kill(2317, 0) = 0",
        "12 +++ exited with 0 +++",
    ],
)
def test_what_is_harmless(line):
    assert violations(line, lambda path: path.startswith("/ok")) == []


@pytest.mark.runtime
@pytest.mark.long
@pytest.mark.skipif(bool(may_ptrace()), reason=may_ptrace())
def test_the_audit_writes_to_reports_and_caches_only_and_sends_no_signal(tmp_path):
    """With everything there is to look at: a linked model, scripts good and bad, a unit folder, a held lock, a burner as ASR."""
    host = audited_host(tmp_path)
    trace, reports, temporary = tmp_path / "trace", tmp_path / "reports", tmp_path / "tmp"
    temporary.mkdir()
    before = snapshot_of(tmp_path / "machine")
    command = ["strace", "-f", "-qq", "-s", "400", "-e", f"trace={TRACED}", "-o", str(trace), sys.executable, "-m", "pytest"]
    lock = tmp_path / "machine" / "run.lock"
    with (
        subprocess.Popen(["flock", str(lock), "sleep", "300"], start_new_session=True) as holder,
        subprocess.Popen([sys.executable, "-c", "while True: pass", f"asr-service-of-{host.stem}"]) as asr,
    ):
        try:
            done = subprocess.run(
                [*command, f"--host={host}", f"--reports={reports}", "-m", "audit"],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(temporary)},
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            assert [process.poll() for process in (holder, asr)] == [None, None]
            assert lock.read_bytes() == b""
        finally:
            asr.kill()
            os.killpg(holder.pid, signal.SIGKILL)
    assert "readiness audit" in done.stdout, done.stdout + done.stderr
    assert f"is held by pid {holder.pid} (flock" in " ".join(done.stdout.split())
    assert violations(trace.read_text(errors="replace"), lambda path: is_ours(path, reports, temporary)) == []
    assert list(temporary.iterdir()) == []
    assert snapshot_of(tmp_path / "machine") == before


def is_ours(path, reports, temporary):
    ours = (reports, temporary, cache_root(), ROOT / ".pytest_cache")
    place = Path(os.path.normpath(ROOT / path))
    if str(place) in ("/dev/null", "/dev/tty") or "__pycache__" in place.parts:
        return True
    in_root = place.relative_to(ROOT).parts[:1] if place.is_relative_to(ROOT) else ()
    aside = any(part.startswith("pytest-cache-files-") for part in in_root)  # what pytest renames to .pytest_cache
    return aside or any(place == folder or folder in place.parents for folder in ours)


def audited_host(folder):
    """A host with something to look at for every line of the audit, all of it under `machine`."""
    machine = folder / "machine"
    (machine / "units").mkdir(parents=True)
    (machine / "run.lock").touch()
    (machine / "linked.gguf").symlink_to(ensure_registry_model("smollm2-135m"))
    (machine / "good.py").write_text("print('never run')\n")
    (machine / "bad.sh").write_text("if true\n")
    host = child_session.write_host(folder, port=18560, other=f'target = {{ kind = "file", path = "{machine}/linked.gguf" }}')
    text = host.read_text().replace(str(folder / "run.lock"), str(machine / "run.lock"))
    text = text.replace("~/.config/systemd/user", str(machine / "units")).replace('AUD-4 = "nothing is installed"\n', "")
    host.write_text(
        text.replace("standin = true\n", f'standin = true\nscripts = ["{machine}/good.py", "{machine}/bad.sh", "{machine}/gone.py"]\n')
    )
    (machine / "units" / "meta18560-good.service").write_text("[Service]\nExecStart=/opt/llama-server --port 18571\n")
    return host


def snapshot_of(folder):
    """Every file with its content and time of change; the lock is its holder's to write."""
    files = [path for path in sorted(folder.rglob("*")) if path.name != "run.lock"]
    return [(path, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() and path.suffix != ".gguf" else b"") for path in files]
