"""Speed: median decode t/s and pooled draft acceptance, over distinct prompts, under recorded conditions."""

import pytest

from fixtures.measure.prompts import load_speed_set
from fixtures.measure.speed import acceptance, decode_speed

pytestmark = [pytest.mark.tps, pytest.mark.runtime]


@pytest.fixture
def speed_set(gate):
    """The candidate's or the host's prompts; loaded when asked for, so that a missing set is BLOCKED and not a broken test."""
    return lambda: load_speed_set(gate.candidate.speed_prompts or gate.host.speed.prompt_set)


@pytest.fixture
def timings(gate, models, speed_runs, speed_set):
    """Timings of the counted requests; both gates judge the same ones, so no prompt is sent twice to one launch."""
    api = models.model(gate.candidate).api
    return lambda subject: speed_runs.of(subject.server, gate.host.speed, speed_set(), api)


@pytest.mark.requirement("TPS-1")
def test_decode_speed(timings, speed_set, obtain, settle):
    """Median decode speed reaches the reference, with a spread that allows a number."""
    settle(
        obtain(
            lambda subject: decode_speed(timings(subject), attached=subject.attached is not None),
            identity=lambda: {"prompts": speed_set().sha256},
        )
    )


@pytest.mark.requirement("TPS-2")
def test_acceptance(timings, speed_set, obtain, settle):
    """Accepted over drafted tokens, pooled over all requests, reaches the reference."""
    settle(obtain(lambda subject: acceptance(timings(subject)), identity=lambda: {"prompts": speed_set().sha256}))
