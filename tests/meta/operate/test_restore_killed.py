"""A restore that succeeds, fails or is killed at any step: what is on disk is the new state or the old one, or is brought back to it."""

import os
import signal

import pytest
from support.legacy import UNIT, Legacy, Manager

from fixtures.deploy.journal import last_done, unfinished
from fixtures.deploy.restore_plan import plan_restore
from fixtures.operate import restoring, swap
from fixtures.operate.restoring import recover, restore
from fixtures.records.blocked import Blocked
from fixtures.records.operation import Approval
from fixtures.records.restore import Step

ANN = Approval(who="Ann", reason="the candidate is withdrawn")
GOOD = {"state": "active", "held_by": "llama-server (pid 7)", "own_process": True, "health_status": 200, "right_model": True, "tokens": 1}


class Bench:
    def __init__(self, folder, monkeypatch, state):
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "journal"))
        self.legacy = Legacy(folder)
        self.host = self.legacy.host(self.legacy.backup())
        self.new = self.legacy.tree()
        self.legacy.change()
        self.old = self.legacy.tree()
        self.manager = Manager(monkeypatch, state)
        self.answer = dict(GOOD)
        monkeypatch.setattr(restoring, "wait_for_health", lambda *_: "")
        monkeypatch.setattr(restoring, "answers", lambda _: self.answer)

    def plan(self):
        return plan_restore(self.host.fallback, self.host.units, None)

    def restore(self):
        return restore(self.host, self.plan(), ANN, print)

    def tree(self):
        return self.legacy.tree()


@pytest.fixture(params=["active", "inactive"])
def bench(request, tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch, request.param)


def test_a_restore_brings_everything_back(bench):
    assert {change.kind for change in bench.plan().changes} == {"write", "link", "remove"}
    found = bench.restore()
    assert found.measured["restored"] is True
    assert bench.tree() == bench.new
    assert bench.manager.asked == ["daemon-reload", "restart"]
    assert bench.plan().changes == ()
    assert (last_done(UNIT, "user").who, last_done(UNIT, "user").reason) == ("Ann", "the candidate is withdrawn")


def test_secrets_are_in_no_record(bench):
    assert "hf_" not in str(bench.restore().raw)


@pytest.mark.parametrize("fault", [{"tokens": 0}, {"health_status": 503}, {"right_model": False}, {"own_process": False}])
def test_a_fallback_that_does_not_answer_is_rolled_back(bench, fault):
    was = bench.manager.state
    bench.answer |= fault
    found = bench.restore()
    assert found.measured["restored"] is False
    assert found.raw["failure"]
    assert found.raw["rolled_back"].startswith("rolled back: the old files are in place")
    assert bench.tree() == bench.old
    assert bench.manager.state == was
    assert unfinished(UNIT, "user") is None
    assert last_done(UNIT, "user") is None


@pytest.mark.parametrize("verb", ["daemon-reload", "restart"])
def test_a_systemd_that_refuses_is_rolled_back(bench, verb):
    bench.manager.refuse = verb
    found = bench.restore()
    assert "refused by the test" in found.raw["failure"]
    assert bench.tree() == bench.old


def test_a_disk_that_is_full_is_met_before_anything_changes(bench, monkeypatch):
    real, count = swap._stage, iter(range(100))

    def full(target, *rest):
        if next(count) == 6:  # after what is kept, at one of the new files
            raise OSError(28, "No space left on device", str(target))
        return real(target, *rest)

    monkeypatch.setattr(swap, "_stage", full)
    found = bench.restore()
    assert "No space left on device" in found.raw["failure"]
    assert bench.tree() == bench.old


def test_an_interrupt_is_rolled_back(bench, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(restoring, "wait_for_health", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.restore()
    assert bench.tree() == bench.old
    assert unfinished(UNIT, "user") is None


@pytest.mark.parametrize("bench", ["active"], indirect=True)
def test_a_kill_at_each_step_leaves_the_old_or_the_new_state(bench):
    number, steps = 0, set()
    while killed(bench, number):
        cut_off = unfinished(UNIT, "user")
        if cut_off is None:
            assert bench.tree() in (bench.old, bench.new), f"step {number}"
        else:
            steps.add(cut_off[1].step)
            with_cut = bench.plan().faults
            assert any("was cut off" in fault and "--recover" in fault for fault in with_cut)
            assert recover(bench.host, *cut_off, ANN) == ""
            assert bench.tree() == bench.old, f"step {number}"
        number += 1
    assert steps == {Step.PREPARED, Step.SWAPPED, Step.RESTARTED}
    assert number > 25
    assert bench.tree() == bench.new


def test_a_kill_while_recovering_can_be_recovered_from(bench):
    assert killed(bench, 24)
    folder, journal = unfinished(UNIT, "user")
    number = 0
    while in_child(number, lambda: recover(bench.host, folder, journal, ANN)):
        number += 1
        assert number < 100
    assert bench.tree() == bench.old
    assert unfinished(UNIT, "user") is None


def killed(bench, at):
    """Whether a child that restores was killed at its step `at`: each sync, rename, removal and systemd verb is one."""
    return in_child(at, bench.restore)


def in_child(at, work):
    child = os.fork()
    if child == 0:
        count = iter(range(10**6))

        def step(real):
            def maybe(*args, **more):
                if next(count) == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **more)

            return maybe

        os.fsync, os.replace, os.unlink = step(os.fsync), step(os.replace), step(os.unlink)
        Manager.change = step(Manager.change)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_what_somebody_changed_meanwhile_is_not_overwritten(bench):
    number = 0
    while killed(bench, number) and ((cut_off := unfinished(UNIT, "user")) is None or cut_off[1].step is not Step.SWAPPED):
        if cut_off:
            recover(bench.host, *cut_off, ANN)
        number += 6
    bench.legacy.script.write_text("#!/bin/sh\n# mine\n")
    said = recover(bench.host, *unfinished(UNIT, "user"), ANN)
    assert "run.sh is neither what it was before the restore nor what that put there" in said
    assert bench.legacy.script.read_text() == "#!/bin/sh\n# mine\n"
    assert unfinished(UNIT, "user") is not None


def test_nothing_is_begun_where_a_plan_has_a_fault(bench):
    bench.legacy.model.unlink()
    old = bench.tree()
    with pytest.raises(Blocked, match=r"nothing was changed: .*m\.gguf, which the backed-up unit serves, is not on this machine"):
        bench.restore()
    assert bench.tree() == old
    assert bench.manager.asked == []


def test_nothing_is_begun_without_systemd(bench):
    bench.manager.silent = "systemd does not run here"
    with pytest.raises(Blocked, match="nothing was changed: systemd does not run here"):
        bench.restore()
    assert bench.tree() == bench.old


def test_without_rights_the_commands_are_told(bench, monkeypatch):
    monkeypatch.setattr(restoring.os, "access", lambda place, mode: not str(place).startswith(str(bench.legacy.units)))
    with pytest.raises(Blocked) as blocked:
        bench.restore()
    said = str(blocked.value)
    assert f"{bench.legacy.units} may not be written to" in said
    assert f"install -D -m 644 -o {os.getuid()} -g {os.getgid()} --" in said
    assert f"systemctl --user restart {UNIT}" in said
    assert bench.tree() == bench.old
