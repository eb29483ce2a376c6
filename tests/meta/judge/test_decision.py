"""Lanes held against each other: what is dominated, and what is not known enough to be."""

import pytest
from support.evidence_samples import evidence

from fixtures.catalog.load import load_requirements
from fixtures.judge.decision import Lane, Measured, Standing, dominated, standing, unknown
from fixtures.records.verdict import Verdict

HOW = {requirement.id: requirement.compared for requirement in load_requirements() if requirement.compared}
IDENTITY = {"engine": "e", "service": "s", "prompts": "p", "models": "m", "corpus": "c"}


def speed(tps, verdict=Verdict.PASS, **identity):
    speeds = [tps * factor for factor in (0.99, 1.0, 1.01, 1.0)]
    record = evidence("TPS-1", raw={"speeds": speeds}).model_copy(update={"identity": IDENTITY | identity})
    return Measured(HOW["TPS-1"], record, verdict, tps)


def distance(kld):
    steps = (0.9 + kld / 9, 1.2, 1.0 + kld / 7, 1.1)
    running = [kld * sum(steps[: n + 1]) / (n + 1) for n in range(4)] if kld else [0.0] * 4
    record = evidence("PPL-2", raw={"running": running}).model_copy(update={"identity": IDENTITY})
    return Measured(HOW["PPL-2"], record, Verdict.PASS, kld)


def lane(name, kv=100.0, coherent=(3, 3), kld=0.1, tps=50.0, **of_speed):
    return Lane(name, kv, coherent, distance(kld), speed(tps, **of_speed))


SMALL, LARGE = lane("small", kv=89.84, kld=0.2), lane("large", kv=106.02, kld=0.1)


def test_a_lane_that_saves_memory_and_costs_quality_is_not_dominated():
    stands = standing(SMALL, LARGE)
    assert stands == {"memory": Standing.BETTER, "coherence": Standing.SAME, "quality": Standing.WORSE, "speed": Standing.SAME}
    assert dominated([SMALL, LARGE]) == {}


@pytest.mark.parametrize(
    "worse",
    [
        {"kv": 120.0},
        {"coherent": (2, 3)},
        {"kld": 0.3},
        {"tps": 40.0},
    ],
)
def test_worse_by_one_and_better_by_none_is_dominated(worse):
    assert dominated([lane("good"), lane("bad", **worse)]) == {"bad": ("good",)}


def test_equal_lanes_do_not_dominate_each_other():
    assert dominated([lane("one"), lane("two")]) == {}


@pytest.mark.parametrize(
    ("gap", "named"),
    [
        (Lane("bad", 120.0, (3, 3), None, speed(50.0)), "quality"),
        (Lane("bad", 120.0, (3, 3), distance(0.1), None), "speed"),
        (Lane("bad", None, (3, 3), distance(0.1), speed(50.0)), "memory"),
        (Lane("bad", 120.0, None, distance(0.1), speed(50.0)), "coherence"),
        (lane("bad", kv=120.0, verdict=Verdict.INVALID), "speed"),
        (lane("bad", kv=120.0, verdict=Verdict.WAIVED), "speed"),
        (lane("bad", kv=120.0, prompts="others"), "speed"),
    ],
)
def test_what_is_not_known_dominates_nothing(gap, named):
    assert dominated([lane("good"), gap]) == {}
    assert unknown([lane("good"), gap]) == (named,)


def test_f16_is_no_distance_from_itself_and_closer_than_any_lane():
    f16, q8 = lane("f16", kld=0.0), lane("q8", kld=0.01)
    assert standing(f16, q8)["quality"] is Standing.BETTER
    assert standing(q8, f16)["quality"] is Standing.WORSE
