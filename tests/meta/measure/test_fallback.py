"""The fallback as a test run finds it: never started, and only proven where what runs is what was backed up."""

import shutil
import subprocess
import sys
import time

import pytest
from support.installed_judged import hide_variables
from support.legacy import UNIT, Legacy, Manager

from fixtures.deploy import service
from fixtures.measure import fallback
from fixtures.records.blocked import Blocked
from fixtures.records.conditions import PortState

GOOD = {"state": "active", "held_by": "llama-server", "own_process": True, "health_status": 200, "right_model": True, "tokens": 1}


@pytest.fixture
def legacy(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "journal"))
    made = Legacy(tmp_path)
    made.manager = Manager(monkeypatch, "active")
    made.place = made.backup()
    made.loaded = {"NeedDaemonReload": "no"}
    shown = made.manager.show
    made.manager.show = lambda *wanted: shown(*wanted) | {key: made.loaded[key] for key in wanted if key in made.loaded}
    monkeypatch.setattr(fallback, "answers", lambda _: dict(GOOD))
    monkeypatch.setattr(fallback, "port_state", lambda port: PortState(port=port, free=True))
    return made


def found(legacy):
    return fallback._as_found(legacy.host(legacy.place))


def test_what_runs_as_backed_up_is_proven(legacy):
    seen = found(legacy)
    assert seen.measured == {"restored": False, "differences": 0, **GOOD}
    assert "restored_by" not in seen.raw
    assert legacy.manager.asked == []


def test_one_that_does_not_run_is_never_started(legacy):
    legacy.manager.state = "inactive"
    with pytest.raises(Blocked, match=rf"the fallback {UNIT} does not run \(inactive\): .* \./readiness restore --execute --approve"):
        found(legacy)
    assert legacy.manager.asked == []


def test_somebody_else_on_its_port_is_no_reason_to_call_it_stopped(legacy, monkeypatch):
    legacy.manager.state = "inactive"
    monkeypatch.setattr(service, "port_state", lambda port: PortState(port=port, free=False, pid=1, name="python"))
    assert found(legacy).measured["restored"] is False


def test_without_systemd_nobody_can_tell(legacy):
    legacy.manager.silent = "systemd does not run here"
    with pytest.raises(Blocked, match="systemd does not run here"):
        found(legacy)


def test_a_broken_backup_proves_nothing(legacy):
    shutil.move(legacy.place, legacy.folder / "moved")
    with pytest.raises(Blocked, match=r"whether the fallback is the backed-up one cannot be told: the backup .* is not there"):
        found(legacy)


def test_a_changed_file_is_another_fallback(legacy):
    legacy.file(f"units/{UNIT}.d/90.conf", "[Service]\nNice=1\n")
    assert found(legacy).raw["differences"] == [f"{legacy.units}/{UNIT}.d/90.conf is not as backed up"]


def test_files_that_systemd_has_not_read_yet(legacy):
    legacy.loaded["NeedDaemonReload"] = "yes"
    assert "`systemctl daemon-reload` was forgotten" in found(legacy).raw["differences"][0]


@pytest.fixture
def holder(legacy, monkeypatch):
    """A process that holds the port; give it words and variables."""
    started = []

    def start(*words, env):
        program = [sys.executable, "-c", "import time; time.sleep(300)", *words]
        process = subprocess.Popen(program, env=env)
        started.append(process)
        monkeypatch.setattr(fallback, "port_state", lambda port: PortState(port=port, free=False, pid=process.pid, name="python"))
        monkeypatch.setattr(service, "unit_of", lambda pid: UNIT)
        monkeypatch.setattr(fallback, "running_command", lambda pid, unit, files: _as_server(REAL(pid, unit, files), unit))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


REAL = fallback.running_command


def _as_server(command, unit):
    """Without what makes it a Python process in place of a server."""
    command.argv[:3] = unit.argv[:1]
    return command


def test_a_process_that_was_started_before_the_change(legacy, holder):
    command = fallback.plan_restore(legacy.host(legacy.place).fallback, legacy.host().units, None).checked.engine.command
    holder(*command.argv[1:], env=command.env)
    assert found(legacy).raw["differences"] == []
    holder("-m", "/elsewhere.gguf", "--api-key", "geheim", env=command.env)
    (told,) = found(legacy).raw["differences"]
    assert "was started with '-m /elsewhere.gguf --api-key ***', not as the backed-up unit says" in told
    holder(*command.argv[1:], env={**command.env, "HF_TOKEN": "hf_other"})
    (told,) = found(legacy).raw["differences"]
    assert "has another HF_TOKEN than the backed-up unit gives it" in told
    assert "hf_" not in told


def test_another_users_process_that_is_older_than_what_its_unit_reads(legacy, holder, monkeypatch):
    """Its variables cannot be read, so nobody knows whether it has those that the backed-up unit gives it."""
    command = fallback.plan_restore(legacy.host(legacy.place).fallback, legacy.host().units, None).checked.engine.command
    hide_variables(monkeypatch)
    time.sleep(0.05)  # when a process was started is told in ticks of 10 ms
    holder(*command.argv[1:], env={})
    assert found(legacy).raw["differences"] == []
    time.sleep(0.05)
    (legacy.units / UNIT).touch()
    (told,) = found(legacy).raw["differences"]
    assert f"{legacy.units / UNIT} was changed after it started: restart the unit" in told


def test_another_program_than_the_backed_up_one(legacy, holder, monkeypatch):
    command = fallback.plan_restore(legacy.host(legacy.place).fallback, legacy.host().units, None).checked.engine.command
    holder(*command.argv[1:], env=command.env)
    other = legacy.file("engine/newer-server", b"\x7fELF")
    seen = fallback.running_command
    monkeypatch.setattr(fallback, "running_command", lambda pid, unit, files: _renamed(seen(pid, unit, files), str(other)))
    (told,) = found(legacy).raw["differences"]
    assert f"the running process is {other}, the backed-up unit starts {legacy.program}" in told


def _renamed(command, program):
    command.argv[0] = program
    return command


def test_a_holder_that_this_user_may_not_see_is_no_failure(legacy, monkeypatch):
    monkeypatch.setattr(service, "port_state", lambda port: PortState(port=port, free=False, note="held by another user"))
    with pytest.raises(Blocked, match=r"who holds port \d+ cannot be seen \(held by another user\): run this as the user of"):
        found(legacy)
    plan = fallback._dry_run(legacy.host(legacy.place))
    assert (plan.measured["faults"], plan.measured["hidden"]) == (0, 1)
