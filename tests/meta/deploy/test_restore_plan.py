"""The plan of a restore: exact, masked, and with a fault for whatever would make the restored unit another one."""

import shlex
import subprocess

import pytest
from support.legacy import PORT, UNIT, Legacy, Manager

from fixtures.deploy import service
from fixtures.deploy.restore_plan import plan_restore
from fixtures.records.conditions import PortState


@pytest.fixture
def legacy(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "journal"))
    made = Legacy(tmp_path)
    made.manager = Manager(monkeypatch)
    made.place = made.backup()
    return made


def planned(legacy, source=None):
    host = legacy.host(legacy.place)
    return plan_restore(host.fallback, host.units, PORT, source)


def test_nothing_to_do_where_all_is_as_backed_up(legacy):
    plan = planned(legacy)
    assert (plan.changes, plan.faults, plan.hidden) == ((), (), ())
    assert plan.unchanged == 8


def test_every_change_is_told_and_nothing_is_done(legacy):
    legacy.change()
    before = legacy.tree()
    plan = planned(legacy)
    told = {str(change.target.relative_to(legacy.folder)): change.kind for change in plan.changes}
    assert told == {
        f"units/{UNIT}": "write",
        "bin/run.sh": "write",
        "state/sub/notes.txt": "write",
        f"units/default.target.wants/{UNIT}": "link",
        f"units/{UNIT}.d/90.conf": "remove",
    }
    assert plan.faults == ()
    assert legacy.tree() == before
    assert legacy.manager.asked == []


def test_the_difference_is_shown_without_secrets(legacy):
    legacy.change()
    (unit,) = [change for change in planned(legacy).changes if change.target == legacy.unit]
    assert f"-ExecStart={legacy.program} --other HF_TOKEN=***" in unit.diff
    assert f"+ExecStart={legacy.script}" in unit.diff
    assert "hf_" not in str(planned(legacy).record())


def test_the_commands_by_hand_do_the_same(legacy):
    new = legacy.tree()
    legacy.change()
    for command in planned(legacy).commands:
        if not command.startswith("systemctl"):
            subprocess.run(shlex.split(command), check=True)
    assert legacy.tree() == new
    assert planned(legacy).commands[-2:] == ("systemctl --user daemon-reload", f"systemctl --user restart {UNIT}")


def test_a_changed_mode_is_a_change(legacy):
    legacy.script.chmod(0o644)
    (change,) = planned(legacy).changes
    assert change.target == legacy.script


def test_a_folder_where_a_file_belongs(legacy):
    legacy.env.unlink()
    legacy.env.mkdir()
    assert f"{legacy.env} is a folder, the backup has a file there: move it away first" in planned(legacy).faults


def test_a_port_that_somebody_else_has(legacy, monkeypatch):
    monkeypatch.setattr(service, "port_state", lambda port: PortState(port=port, free=False, pid=1, name="python"))
    assert f"port {PORT} is taken by python (pid 1), not by {UNIT}" in planned(legacy).faults


def test_the_fallbacks_own_port_is_no_clash(legacy, monkeypatch):
    monkeypatch.setattr(service, "port_state", lambda port: PortState(port=port, free=False, pid=7, name="llama-server"))
    monkeypatch.setattr(service, "unit_of", lambda pid: UNIT)
    assert planned(legacy).faults == ()


def test_a_source_of_ones_own_is_checked_the_same(legacy):
    other = legacy.file(f"elsewhere/{UNIT}", f"[Service]\nExecStart={legacy.program} -m {legacy.model} --port {PORT}\n")
    plan = planned(legacy, other)
    assert plan.backup.unit.source == other
    assert plan.faults == ()
    legacy.model.unlink()
    assert "m.gguf, which the backed-up unit serves, is not on this machine" in planned(legacy, other).faults[0]


def test_nothing_is_installed_yet(legacy):
    legacy.unit.unlink()
    legacy.dropin.unlink()
    assert {change.target for change in planned(legacy).changes} == {legacy.unit, legacy.dropin}
