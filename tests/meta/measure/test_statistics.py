"""Statistics of speeds: the estimator by hand, its interval by what it promises, what is summed over requests."""

from dataclasses import replace

import numpy as np
import pytest

from fixtures.catalog.host import SpeedPlan
from fixtures.measure.speed import acceptance_of, speed_of
from fixtures.measure.speed_prompts import load_speed_prompts
from fixtures.measure.speed_requests import SpeedRequest, SpeedRun, SpeedTask, enough, spread_of
from fixtures.measure.statistics import LEVEL, decided, spread, unexplained_cv_pct
from fixtures.records.conditions import Meanwhile
from fixtures.records.evidence import EvidenceStatus

TASK = SpeedTask(SpeedPlan(), load_speed_prompts("repetitive-en"), "chat")
MIX = SpeedTask(SpeedPlan(requests=6, seconds=0), load_speed_prompts("mix"), "chat")


def run(*timings):
    return SpeedRun(tuple(SpeedRequest(category="repetitive-en", **told) for told in timings), None)


def task(bound=None, **plan):
    return SpeedTask(SpeedPlan(**plan), TASK.prompts, "chat", bound=bound)


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
    plan = {"requests": 6, "seconds": 5.0}
    near = [SpeedRequest(**at(speed)) for speed in (50.0, 51.0, 49.0, 50.5, 49.5, 50.0)]
    assert not enough(near[:5], task(10.0, **plan)), "too few"
    assert enough(near, task(10.0, **plan))
    assert not enough(near, task(49.0, **plan)), "the limit is inside"
    assert not enough(near, task(10.0, requests=6, seconds=13.0)), "too short"
    assert enough(near, task(None, **plan)), "nothing to decide"


def test_lasting_noise_ends_the_requests_unless_a_named_owner_accepted_it():
    """Nothing better comes of more requests then; with an acceptance they count, and too few of them decide nothing."""
    loud = Meanwhile(samples=3, foreign_pct=99.0)
    near = [SpeedRequest(**at(speed), meanwhile=loud) for speed in (50.0, 51.0, 49.0, 50.5, 49.5, 50.0)]
    plan = task(10.0, requests=4, seconds=1.0)
    assert not enough(near[:3], plan)
    assert enough(near[:4], plan)
    accepted = replace(plan, noise_accepted=True)
    assert not enough(near[:4], accepted), "there is no interval of so few"
    assert enough(near, accepted)


def mixed(*speeds, each=2):
    """`each` requests of every category at its speed of `speeds`, in turn."""
    names = [category.id for category in MIX.prompts.categories]
    return [SpeedRequest(category=name, **at(speed)) for _ in range(each) for name, speed in zip(names, speeds, strict=True)]


def test_a_mix_is_not_noise():
    """Categories that differ by far, and requests of one that do not: no variation, and the mean of the categories' means."""
    found = spread_of(mixed(10.0, 20.0, 40.0, 80.0, 160.0, 320.0))
    assert found.cv_pct == pytest.approx(0.0, abs=1e-4)
    assert found.mean == pytest.approx((10.0 * 320.0) ** 0.5)


def test_a_mix_needs_two_of_each_category():
    speeds = (50.0, 51.0, 49.0, 50.0, 52.0, 48.0)
    assert not enough(mixed(*speeds, each=1), MIX)
    assert not enough([*mixed(*speeds), *mixed(*speeds)][:11], MIX)
    assert enough(mixed(*speeds), MIX)


def test_the_mean_of_a_mix_gives_each_category_one_voice():
    """However many requests each has."""
    requests = mixed(10.0, 10.0, 10.0, 10.0, 10.0, 1000.0)
    assert spread_of(requests).mean == pytest.approx(spread_of([*requests, *[requests[0]] * 12]).mean)


def test_a_mix_looked_at_after_each_request_is_hardly_ever_outside():
    rng = np.random.default_rng(17)
    groups = [str(place % 6) for place in range(36)]
    offset = np.array([0.0, 0.4, -0.3, 0.2, -0.5, 0.2] * 6)
    outside = 0
    for _ in range(150):
        speeds = np.exp(rng.normal(0.0, 0.03, 36) + offset)
        seen = [spread(speeds[:n], groups[:n]) for n in range(12, 37, 2)]
        outside += any(found.ci_low > 1 or found.ci_high < 1 for found in seen)
    assert outside <= 2 * (1 - LEVEL) * 150 + 1


def test_what_is_learnt_is_no_variation_and_is_told():
    """From 50 by the logarithm of the place: 1.3 times as fast after 20 requests."""
    rise = np.exp(0.0876 * np.log(np.arange(1, 21)))
    found = spread(50 * rise, learns=True)
    assert found.learning.cold == pytest.approx(50.0)
    assert found.learning.ratio == pytest.approx(1.3, abs=1e-3)
    assert found.cv_pct < 0.01 < spread(50 * rise).cv_pct


def test_a_launch_that_gets_slower_has_learnt_nothing():
    fall = spread(50 * np.exp(-0.05 * np.arange(12)), learns=True)
    assert fall.learning is None
    assert fall.cv_pct > 10


def test_luck_of_drafters_is_no_noise_and_noise_is():
    """A pass costs 15 ms, a drafted token 2 ms more; drafts are accepted at random."""
    rng = np.random.default_rng(3)
    accepted = rng.integers(5, 55, 20)
    steps, drafted = 63 - accepted, np.full(20, 60)
    ms = 15.0 * steps + 2.0 * drafted
    assert unexplained_cv_pct(steps, drafted, ms) == pytest.approx(0.0, abs=1e-6)
    assert unexplained_cv_pct(steps, drafted, ms * np.exp(rng.normal(0, 0.1, 20))) == pytest.approx(10, rel=0.5)
    assert unexplained_cv_pct([63] * 4, [0] * 4, [630.0, 660.0, 600.0, 640.0]) == pytest.approx(4.0, rel=0.1)


def test_the_number_shown_is_made_of_n_and_ms_by_one_formula():
    measured = speed_of(run(at(50.0), at(50.0)), TASK).measured
    assert (measured["decode_tps"], measured["estimator"], measured["ci_low_tps"]) == (50.0, "geometric mean", None)
    assert measured["decode_s"] == 4.0


def test_lanes_are_compared_over_what_is_left_without_the_categories():
    speeds = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
    requests = tuple(request for factor in (1.0, 1.1) for request in mixed(*(speed * factor for speed in speeds), each=1))
    compared = speed_of(SpeedRun(requests, None), MIX).raw["speeds"]
    assert max(compared) / min(compared) == pytest.approx(1.1, abs=1e-3)
    assert np.exp(np.log(compared).mean()) == pytest.approx(speed_of(SpeedRun(requests, None), MIX).measured["decode_tps"], rel=1e-3)


def test_what_was_left_out_is_no_part_of_the_number():
    requests = tuple(SpeedRequest(category="repetitive-en", **at(speed)) for speed in (50.0, 10.0, 50.0, 50.0))
    found = speed_of(SpeedRun(requests, None, excluded=(1,)), TASK)
    assert (found.measured["decode_tps"], found.measured["requests"], found.raw["speeds"]) == (50.0, 3, [50.0] * 3)
    assert found.raw["excluded"] == [2]


def test_pooled_acceptance_is_not_the_mean_of_ratios():
    measured = acceptance_of(
        run({"draft_n": 100, "draft_n_accepted": 90}, {"draft_n": 10, "draft_n_accepted": 1}, {}), TASK, ("mtp",)
    ).measured
    assert measured["accept_pct"] == pytest.approx(100 * 91 / 110, abs=1e-3)
    assert (measured["estimator"], measured["requests_with_drafts"], measured["requests"]) == ("pooled", 2, 3)


def test_tokens_made_in_one_step():
    drafted = {"predicted_n": 64, "draft_n": 50, "draft_n_accepted": 48}
    assert acceptance_of(run(drafted, drafted), TASK, ("mtp",)).measured["tokens_per_step"] == 4.0
    assert acceptance_of(run({"predicted_n": 64}), TASK, ("mtp",)).measured["tokens_per_step"] == 1.0


def test_nothing_drafted_is_none_not_zero():
    assert acceptance_of(run({}), TASK, ("mtp",)).measured["accept_pct"] is None
    assert acceptance_of(run({"draft_n": 5, "draft_n_accepted": 0}), TASK, ("mtp",)).measured["accept_pct"] == 0.0


def test_speed_of_requests_that_decoded_nothing_is_an_error():
    assert speed_of(run({}, {}), TASK).status is EvidenceStatus.ERROR
