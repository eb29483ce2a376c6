"""A unit that was started is stopped whatever happens meanwhile, and what it leaves is told."""

import os
import signal
import subprocess
import time

import pytest

from fixtures.catalog.host import LaunchSettings
from fixtures.deploy.systemctl import ChangeFailed, SystemdSilent
from fixtures.host.processes import read_stat
from fixtures.operate import started
from fixtures.operate.started import CandidateUnit, running
from fixtures.records.conditions import MemoryReading

PORT = 18877  # nobody listens there


class Manager:
    """A systemctl that remembers what it was told; `fails`: verb -> what it says."""

    scope = "system"

    def __init__(self, **fails):
        self.told, self.fails, self.state = [], fails, "inactive"

    def change(self, verb, *_):
        self.told.append(verb)
        if verb in self.fails:
            self.state = "failed"
            raise ChangeFailed(self.fails[verb])
        self.state = {"start": "active", "stop": self.state if self.state == "failed" else "inactive", "reset-failed": "inactive"}[verb]

    def show(self, _, *properties):
        return dict.fromkeys(properties, "") | {"MainPID": "7", "TimeoutStopUSec": "10s", "Result": "success"}

    def active_state(self, _):
        return self.state


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    monkeypatch.setattr(started, "_SETTLE_S", 0.0)
    monkeypatch.setattr(started, "_GONE_S", 0.0)


def unit(manager, ready_timeout_s=0.3):
    return CandidateUnit("llama-nobody.service", PORT, manager, LaunchSettings(ready_timeout_s=ready_timeout_s))


def test_it_is_started_and_stopped():
    manager = Manager()
    with running(unit(manager)) as run:
        assert manager.told == ["start"]
    assert manager.told == ["start", "stop"]
    assert run.start_s is None  # nobody answers there
    measured, raw = run.aftermath()
    assert (measured["active_state"], measured["port_free"], measured["left_over"]) == ("inactive", True, 0)
    assert raw["stop_said"] == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_this_command_ends_the_unit_first(number):
    manager, before = Manager(), signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), running(unit(manager)):
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert manager.told == ["start", "stop"]
    assert signal.getsignal(number) == before


def test_an_error_of_this_suite_does_not_leave_it_running():
    manager = Manager()
    with pytest.raises(ZeroDivisionError), running(unit(manager)):
        raise ZeroDivisionError
    assert manager.told == ["start", "stop"]


def test_a_signal_while_it_is_stopped_does_not_cut_that_short(monkeypatch):
    manager = Manager()
    stop = manager.change

    def told_to_end(verb, name, timeout_s):
        if verb == "stop":
            os.kill(os.getpid(), signal.SIGINT)
        stop(verb, name, timeout_s)

    monkeypatch.setattr(manager, "change", told_to_end)
    with running(unit(manager)):
        pass
    assert manager.told == ["start", "stop"]


def test_what_did_not_start_is_stopped_too_and_is_not_left_failed():
    """systemd may be about to try again."""
    manager = Manager(start="Job failed")
    with running(unit(manager)) as run:
        pass
    assert manager.told == ["start", "stop", "reset-failed"]
    assert run.start_said == "Job failed"


def test_a_stop_that_fails_is_told():
    manager = Manager(stop="Access denied")
    with running(unit(manager)) as run:
        pass
    measured, raw = run.aftermath()
    assert raw["stop_said"] == "Access denied"
    assert measured["active_state"] == "failed"


def test_a_manager_that_falls_silent_is_told():
    manager = Manager()
    with running(unit(manager)) as run:
        manager.show = manager.active_state = silent
    measured, raw = run.aftermath()
    assert "no answer" in raw["stop_said"]
    assert measured["active_state"] == "unknown (no answer)"


def silent(*_):
    raise SystemdSilent("no answer")


def test_a_process_that_outlives_the_unit_is_named(monkeypatch):
    manager = Manager()
    with subprocess.Popen(["sleep", "60"]) as orphan:
        family = {orphan.pid: read_stat(orphan.pid).start_ticks}
        monkeypatch.setattr(CandidateUnit, "processes", lambda _: family if manager.state == "active" else {})
        with running(unit(manager)) as run:
            pass
        measured, raw = run.aftermath()
        orphan.kill()
    assert measured["left_over"] == 1
    assert raw["left_over"] == [f"pid {orphan.pid} (sleep)"]


def test_memory_that_somebody_else_has_taken_is_not_the_services(monkeypatch):
    manager, available, held = Manager(), [8000.0, 8000.0], [1000.0]
    monkeypatch.setattr(
        started, "memory_reading", lambda: MemoryReading(available_mib=available[-1], total_mib=16000, swap_used_mib=0, swap_total_mib=0)
    )
    monkeypatch.setattr(started, "held_mib", lambda: held[-1])
    with running(unit(manager)) as run:
        available.append(6000.0)
        held.append(2900.0)
    assert run.aftermath()[0]["memory_kept_mib"] == 100.0
    held.append(900.0)
    assert run.aftermath()[0]["memory_kept_mib"] == 2000.0
