"""A measurement whose engine is stopped under it could not look, whatever it made of that: never green, and no fault of the engine."""

import time

import pytest
from support.planted import planted

from fixtures.measure.measurement import measurement
from fixtures.records.evidence import EvidenceStatus, Observation

CANDIDATE = "smollm2-135m-q8"
pytestmark = pytest.mark.runtime


class End:
    """The end of a window that comes as soon as somebody calls for it."""

    reason = ""

    def __call__(self):
        return self.reason

    def come(self, server):
        self.reason = "the window ended"
        deadline = time.monotonic() + 60
        while not server.death() and time.monotonic() < deadline:
            time.sleep(0.05)


def passes(_server):
    """Everything green, of a server that is no more."""
    return Observation(measured={"health_status": 200, "slots": 1, "busy_slots": 0})


def fails(_server):
    return Observation(measured={"health_status": 0, "slots": 1, "busy_slots": 1})


def asks(server):
    return Observation(measured={"slots": len(server.client.slots())})


def breaks(_server):
    raise ZeroDivisionError


@pytest.mark.parametrize("made_of_it", [passes, fails, asks, breaks])
def test_whatever_a_measurement_makes_of_a_stopped_engine_is_blocked(tmp_path, made_of_it):
    end = End()

    @measurement()
    def stopped(subject):
        server = subject.server
        end.come(server)
        return made_of_it(server)

    with planted(tmp_path, over=end) as gates:
        found = gates.evidence("STA-1", CANDIDATE, stopped)
    assert found.status is EvidenceStatus.BLOCKED
    assert found.reason.startswith(f"{CANDIDATE}/production was stopped by the watchdog: the window ended; ")
    assert (found.measured, found.raw) == ({}, {})
    assert [entry.exit_status for entry in gates.launches] == [None, -9]
