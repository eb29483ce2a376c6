"""The planner of quiet windows: what fits, what comes first, and that nothing is begun which would outlast the end."""

import pytest

from fixtures.evidence.window import ASSUMED_GATE_S, ASSUMED_LAUNCH_S, MARGIN, Rank, Times, Window, WindowGate
from fixtures.records.evidence import EvidenceStatus
from fixtures.records.span import parse_span

A, B = ("a", "production"), ("b", "production")


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def gate(requirement, launch=A, rank=Rank.REQUIRED, work=None, spared=False):
    return WindowGate((requirement, launch[0], ""), (*launch, work or requirement), rank, spared)


def speed(launch=A, spared=False):
    """Required speed gates of a launch, which share their requests."""
    return [gate(name, launch, Rank.SPEED, "tps", spared) for name in ("TPS-1", "TPS-2")]


def window(gates, known, length_s, clock=None, **more):
    return Window(gates, known, length_s, clock=clock or Clock(), **more)


KNOWN = Times({(*A, "tps"): 100.0, (*B, "tps"): 100.0, (*A, "COH-1"): 50.0}, {A: 10.0, B: 10.0})
ALL = [*speed(A), gate("COH-1"), *speed(B)]


def planned(found):
    return [f"{key[1]} {key[0]}" for key in found.planned]


def test_speed_comes_first_wherever_it_stands():
    """Two launches with their requests are 275 s with the margin; what is left is too little for the 50 s of another gate."""
    assert planned(window(ALL, KNOWN, 300)) == ["a TPS-1", "a TPS-2", "b TPS-1", "b TPS-2"]
    assert planned(window(ALL, KNOWN, MARGIN * 270)) == ["a TPS-1", "a TPS-2", "b TPS-1", "b TPS-2", "a COH-1"]


def test_what_is_smaller_fits_where_the_larger_does_not():
    assert planned(window(ALL, KNOWN, 250)) == ["a TPS-1", "a TPS-2", "a COH-1"]


def test_gates_that_share_their_work_pay_it_once_and_never_slip_in_without_it():
    assert planned(window(speed(A), KNOWN, MARGIN * 109)) == []
    assert planned(window([speed(A)[1]], KNOWN, MARGIN * 109)) == [], "by itself it would have to do all of it"
    assert planned(window(speed(A), KNOWN, MARGIN * 110)) == ["a TPS-1", "a TPS-2"]


def test_what_nobody_measured_takes_what_is_assumed():
    needed = MARGIN * (ASSUMED_GATE_S + ASSUMED_LAUNCH_S)
    assert planned(window([gate("PPL-1")], Times(), needed - 1)) == []
    found = window([gate("PPL-1")], Times(), needed)
    assert planned(found) == ["a PPL-1"]
    assert found.assumed(found.gates) == (1, 1)


def test_what_earlier_windows_proved_takes_no_time_of_this_one():
    assert planned(window([*speed(A, spared=True), *speed(B)], KNOWN, 150)) == ["b TPS-1", "b TPS-2"]


def test_the_end_is_kept_for_the_last_server_and_what_has_passed_is_gone():
    fits = MARGIN * 110
    assert planned(window(speed(A), KNOWN, fits)) == ["a TPS-1", "a TPS-2"]
    assert planned(window(speed(A), KNOWN, fits, reserve_s=1)) == []
    assert planned(window(speed(A), KNOWN, fits, passed_s=1)) == []


def test_a_gate_that_would_outlast_the_window_is_not_begun():
    clock = Clock()
    found = window(ALL, KNOWN, 300, clock)
    assert found.refuses(("TPS-1", "a", "")) is None
    assert found.refuses(("AUD-1", "a", "")) is None, "what launches nothing needs no window"
    found.settled(("TPS-1", "a", ""), measured=True)
    clock.now += 101
    assert found.refuses(("TPS-2", "a", "")) is None, "its work is done"
    found.settled(("TPS-2", "a", ""), measured=True)
    late = found.refuses(("COH-1", "a", ""))
    assert (late.status, late.raw["window"]["left_s"]) == (EvidenceStatus.BLOCKED, 199)
    assert late.reason.startswith("does not fit the window of 5 min: ")
    clock.now += 70
    assert found.refuses(("TPS-1", "b", "")) is not None, "planned, and the time has run away"


def test_what_no_window_of_this_length_has_room_for_is_told_so():
    clock = Clock()
    found = window(ALL, KNOWN, 300, clock)
    clock.now += 200
    assert found.refuses(("COH-1", "a", "")).reason.endswith(": give --window again in the next one, which goes on from here")
    late = window(ALL, Times(KNOWN.works | {ALL[0].work: 300.0}, KNOWN.launches), 300, clock).refuses(ALL[0].key)
    assert late.reason.endswith(" by itself, so no window of this length has room for it: give a longer one")


def test_at_the_end_everything_is_over():
    clock = Clock()
    found = window(ALL, KNOWN, 300, clock, reserve_s=10)
    clock.now += 289
    assert found.over() == ""
    clock.now += 1
    assert found.over() == "the window ended after 5 min, give --window again in the next one, which measures this anew"


def test_time_that_is_left_over_is_used():
    """What was planned and counted from an earlier run after all makes room for what was not planned."""
    clock = Clock()
    found = window(ALL, KNOWN, 300, clock)
    for name in ("TPS-1", "TPS-2"):
        found.settled((name, "a", ""), measured=False)
    assert found.refuses(("COH-1", "a", "")) is None


def test_what_is_worth_more_keeps_its_time():
    clock = Clock()
    found = window(ALL, KNOWN, MARGIN * 270, clock)
    clock.now += 1
    assert found.refuses(("COH-1", "a", "")) is not None, "the speed of b comes later and needs what is left"
    assert found.refuses(("TPS-1", "b", "")) is None


@pytest.mark.parametrize(("text", "seconds"), [("45m", 2700), ("2h", 7200), (" 90S ", 90)])
def test_a_length_is_seconds_minutes_or_hours(text, seconds):
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "45", "0m", "-5m", "1.5h", "9999999h", "soon"])
def test_no_other_length_is_taken(text):
    with pytest.raises(ValueError, match="expected a time up to a week"):
        parse_span(text)
