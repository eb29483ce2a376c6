"""DEP-6 where the unit's process is another user's: its command line is compared, its variables cannot be read."""

import os
import subprocess
import time

import pytest
from support.installed_judged import hide_variables, loaded
from support.installed_units import UNIT
from support.neighbours import detached

from fixtures.records.verdict import Verdict


@pytest.fixture
def foreign(monkeypatch):
    return hide_variables(monkeypatch)


@pytest.mark.usefixtures("foreign")
def test_of_another_users_process_the_command_line_is_compared(bench, prove):
    bench.install(bench.line())
    process = subprocess.Popen(["/bin/sleep", "60"], env={})
    try:
        found, judgement = prove(loaded(bench, active_state="active", pid=process.pid))
    finally:
        process.kill()
        process.wait()
    assert judgement.verdict is Verdict.FAIL
    assert f"the running process (pid {process.pid}) starts /bin/sleep, another program" in judgement.reason
    assert "TURBO_PURE" not in judgement.reason
    assert any("belongs to another user" in note for note in found.raw["notes"])


@pytest.mark.parametrize("changed", ["nothing", "variables", "unit", "dropin", "optional"])
def test_another_users_process_has_the_units_variables_as_long_as_nothing_of_it_is_newer(bench, prove, foreign, changed):
    """Planted: the environment file was edited and nothing was restarted. A time that is put back does not hide it."""
    variables, optional = bench.file("variables", "LANG=C\n"), bench.file("optional/variables", "TURBO_PURE=0\n")
    bench.install(bench.line(), extra=f"EnvironmentFile={variables}\nEnvironmentFile=-{optional}")
    bench.dropin("Environment=TURBO_PURE=0", name="10-before.conf")
    bench.dropin("Nice=5", name="20-stays.conf")
    dropin = bench.units / f"{UNIT}.d/10-before.conf"
    if changed != "optional":
        optional.unlink()
    if changed != "dropin":
        dropin.unlink()
    time.sleep(0.05)  # when a process was started is told in ticks of 10 ms
    foreign["cmdline"] = b"".join(str(word).encode() + b"\0" for word in (bench.program, *bench.argv))
    with detached("/bin/sleep", "60") as pid:
        time.sleep(0.05)
        files = {"variables": variables, "unit": bench.units / UNIT}
        if changed in ("dropin", "optional"):  # it set a variable when the process was started, and is gone
            gone = {"dropin": dropin, "optional": optional}[changed]
            gone.unlink()
            files[changed] = gone.parent
        elif file := files.get(changed):
            before = file.stat()
            file.write_text(file.read_text() + "# changed\n")
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        found, judgement = prove(loaded(bench, active_state="active", pid=pid))
    if changed == "nothing":
        assert judgement.verdict is Verdict.PASS, judgement.reason
        assert any("what the unit reads is older than the process" in note for note in found.raw["notes"])
    else:
        assert judgement.verdict is Verdict.BLOCKED
        assert f"and {files[changed]} was changed after it started: restart the unit" in judgement.reason


@pytest.mark.usefixtures("foreign")
def test_a_process_without_a_command_line_proves_nothing(bench, prove):
    """It may have erased it: what it runs is not known then."""
    bench.install(bench.line())
    with subprocess.Popen(["/bin/true"], env={}) as process:  # ended, and not waited for: nothing is left of its command line
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        _, judgement = prove(loaded(bench, active_state="active", pid=process.pid))
    assert judgement.verdict is Verdict.BLOCKED
    assert "shows no command line" in judgement.reason
