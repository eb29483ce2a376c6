"""Small-sample statistics against values worked out by hand."""

import pytest

from fixtures.measure.speed import acceptance_of, speed_of
from fixtures.measure.speed_requests import SpeedRequest, SpeedRun
from fixtures.measure.statistics import spread
from fixtures.records.evidence import EvidenceStatus


def run(*timings):
    return SpeedRun(tuple(SpeedRequest(**told) for told in timings), None)


def test_spread_of_three():
    found = spread([10.0, 12.0, 14.0])
    assert (found.median, found.mean) == (12.0, 12.0)
    assert found.cv_pct == pytest.approx(100 * 2 / 12)
    assert found.ci_high - found.mean == pytest.approx(4.302653 * 2 / 3**0.5, rel=1e-6)  # t(0.975, 2)


def test_spread_needs_two():
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        spread([1.0])


def test_pooled_acceptance_is_not_the_mean_of_ratios():
    measured = acceptance_of(run({"draft_n": 100, "draft_n_accepted": 90}, {"draft_n": 10, "draft_n_accepted": 1}, {})).measured
    assert measured["accept_pct"] == pytest.approx(100 * 91 / 110, abs=1e-3)
    assert (measured["estimator"], measured["requests_with_drafts"], measured["requests"]) == ("pooled", 2, 3)


def test_nothing_drafted_is_none_not_zero():
    assert acceptance_of(run({})).measured["accept_pct"] is None
    assert acceptance_of(run({"draft_n": 5, "draft_n_accepted": 0})).measured["accept_pct"] == 0.0


def test_speed_of_requests_that_decoded_nothing_is_an_error():
    assert speed_of(run({}, {})).status is EvidenceStatus.ERROR
