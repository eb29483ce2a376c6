"""Statistics of speeds: the estimator by hand, its interval by what it promises, what is summed over requests."""

import numpy as np
import pytest

from fixtures.catalog.host import SpeedPlan
from fixtures.measure.speed import acceptance_of, speed_of
from fixtures.measure.speed_requests import SpeedRequest, SpeedRun, _enough
from fixtures.measure.statistics import LEVEL, decided, spread
from fixtures.records.evidence import EvidenceStatus


def run(*timings):
    return SpeedRun(tuple(SpeedRequest(**told) for told in timings), None)


def at(tps, tokens=101):
    """Timings of a request that decoded at `tps`."""
    return {"predicted_n": tokens, "predicted_ms": 1000 * (tokens - 1) / tps}


def test_the_mean_is_geometric_and_the_interval_is_around_it():
    found = spread([10.0, 12.1, 10.0, 12.1, 10.0, 12.1])
    assert found.mean == pytest.approx(11.0)
    assert found.ci_low * found.ci_high == pytest.approx(11.0**2)


def test_the_interval_by_hand():
    """n = 6, squares 0.01: reached = (sqrt(61) / 0.002)^(2/6), shrunk = 0.1 / 6.1."""
    step = (0.01 / 6) ** 0.5
    found = spread(list(np.exp([step, -step] * 3)))
    reached = ((61**0.5) / 0.002) ** (1 / 3)
    half = (0.01 * (reached - 1) / (6 * (1 - reached * 0.1 / 6.1))) ** 0.5
    assert np.log(found.ci_high) == pytest.approx(half)


def test_a_spread_needs_two_and_an_interval_more():
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        spread([1.0])
    assert spread([1.0, 2.0, 1.5, 1.2]).ci_low is None
    assert not decided(spread([1.0, 1.1]), 0.5)


def test_looking_after_each_request_costs_nothing():
    """Over all n up to 40 together the true mean is hardly ever outside; of intervals for one look, five would make .05 into .19."""
    rng = np.random.default_rng(17)
    outside = 0
    for _ in range(1000):
        speeds = np.exp(rng.normal(0.0, 0.03, 40))
        outside += any((found := spread(speeds[:n])).ci_low > 1 or found.ci_high < 1 for n in range(6, 41))
    assert outside <= 2 * (1 - LEVEL) * 1000


def test_measuring_goes_on_until_requests_time_and_limit_are_there():
    plan = SpeedPlan(requests=6, seconds=5.0)
    near = [SpeedRequest(**at(speed)) for speed in (50.0, 51.0, 49.0, 50.5, 49.5, 50.0)]
    assert not _enough(near[:5], plan, 10.0), "too few"
    assert _enough(near, plan, 10.0)
    assert not _enough(near, plan, 49.0), "the limit is inside"
    assert not _enough(near, SpeedPlan(requests=6, seconds=13.0), 10.0), "too short"
    assert _enough(near, plan, None), "nothing to decide"


def test_the_number_shown_is_made_of_n_and_ms_by_one_formula():
    measured = speed_of(run(at(50.0), at(50.0))).measured
    assert (measured["decode_tps"], measured["estimator"], measured["ci_low_tps"]) == (50.0, "geometric mean", None)
    assert measured["decode_s"] == 4.0


def test_pooled_acceptance_is_not_the_mean_of_ratios():
    measured = acceptance_of(run({"draft_n": 100, "draft_n_accepted": 90}, {"draft_n": 10, "draft_n_accepted": 1}, {})).measured
    assert measured["accept_pct"] == pytest.approx(100 * 91 / 110, abs=1e-3)
    assert (measured["estimator"], measured["requests_with_drafts"], measured["requests"]) == ("pooled", 2, 3)


def test_tokens_made_in_one_step():
    drafted = {"predicted_n": 64, "draft_n": 50, "draft_n_accepted": 48}
    assert acceptance_of(run(drafted, drafted)).measured["tokens_per_step"] == 4.0
    assert acceptance_of(run({"predicted_n": 64})).measured["tokens_per_step"] == 1.0


def test_nothing_drafted_is_none_not_zero():
    assert acceptance_of(run({})).measured["accept_pct"] is None
    assert acceptance_of(run({"draft_n": 5, "draft_n_accepted": 0})).measured["accept_pct"] == 0.0


def test_speed_of_requests_that_decoded_nothing_is_an_error():
    assert speed_of(run({}, {})).status is EvidenceStatus.ERROR
