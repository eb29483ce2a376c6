"""The owner's night, estimated from a rehearsal on another card."""

import pytest

from fixtures.catalog.load import load_host, load_requirements
from fixtures.catalog.owed import Owed
from fixtures.catalog.requirement import Arm
from fixtures.evidence.night import WINDOW_S, night_of
from fixtures.plugins.plan import night_text
from fixtures.records.signoff import Night

ARMS = {"AUD-1": Arm.NONE, "KV-3": Arm.MICRO, "TPS-1": Arm.PRODUCTION, "TPS-6": Arm.INTERLEAVED}


def owed(requirement, candidate, case=""):
    return Owed(requirement=requirement, candidate=candidate, case=case)


def test_what_an_engine_does_scales_with_the_memory_and_what_it_does_not_stays():
    scope = [owed("AUD-1", "a"), owed("KV-3", "a"), owed("TPS-1", "a"), owed("TPS-1", "b"), owed("TPS-6", "b")]
    took = {("KV-3", "a", ""): 3.0, ("TPS-1", "a", ""): 10.0, ("TPS-1", "b", ""): 20.0}
    night = night_of("second", 12.0, scope, ARMS, took)
    assert night.seconds == {"a": 123.0, "b": 240.0}
    assert night.unknown == 1, "an audit takes no time, a measurement that was not rehearsed is told"
    assert night_of("second", 12.0, scope, ARMS, {}) is None


def test_a_night_that_is_too_long_is_split_by_candidate():
    night = Night(rehearsal="second", ratio=12.3, seconds={"a": 5 * 3600.0, "b": 2 * 3600.0, "c": 9 * 3600.0, "d": 600.0})
    assert night.windows(WINDOW_S) == (("a", "b"), ("c",), ("d",))
    text = night_text(night)
    assert text.startswith("about 16.2 h by second, times 12.3 for the memory: a 5.0 h, b 2.0 h, c 9.0 h, d 10 min")
    assert text.endswith('more than one window of 8 h: split it by -k "a or b"; -k "c"; -k "d"')


def test_a_night_that_fits_says_no_more():
    text = night_text(Night(rehearsal="second", ratio=2.0, seconds={"a": 3600.0}, unknown=2))
    assert text == "about 1.0 h by second, times 2.0 for the memory: a 1.0 h (+ 2 gates that it has not measured)"


def test_every_candidate_of_the_dgx_has_gates_that_a_rehearsal_measures():
    """The keys are the same on both hosts, so that one's durations are the other's."""
    rehearsal, dgx = load_host("dgx-rehearsal", bare=True), load_host("dgx", bare=True)
    arms = {requirement.id: requirement.arm for requirement in load_requirements()}
    took = {("KV-1", candidate.id, ""): 6.0 for candidate in rehearsal.candidates}
    night = night_of(rehearsal.id, 3350 / 273, [owed("KV-1", candidate.id) for candidate in dgx.candidates], arms, took)
    assert list(night.seconds) == [candidate.id for candidate in dgx.candidates]
    assert night.total_s == pytest.approx(6 * 6.0 * 12.27, rel=0.01)
