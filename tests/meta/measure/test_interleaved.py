"""Sides that take turns: what cancels out, what does not, and that load beside one side is no difference of the sides."""

import numpy as np
import pytest
from support.evidence_samples import REQUIREMENTS, evidence, judged
from support.planted import planted

from fixtures.catalog.host import Competing, Guard, SpeedPlan
from fixtures.catalog.load import load_host
from fixtures.measure.interleaved import ITSELF, Block, _places, compared, observed, side_of
from fixtures.measure.speed_prompts import load_speed_prompts
from fixtures.measure.speed_requests import SpeedRequest, SpeedTask
from fixtures.records.conditions import Meanwhile, ServicePeak
from fixtures.records.verdict import Verdict

HOST = load_host("local")
TWIN = HOST.candidate("twin42-q8")
TASK = SpeedTask(
    SpeedPlan(block_requests=12, warmup=1),
    load_speed_prompts("mix"),
    "chat",
    limits=Guard(competing=(Competing(name="asr", process="asr", max_cpu_pct=50.0),)),
)
QUIET, LOUD = Meanwhile(samples=2), Meanwhile(samples=2, services=(ServicePeak(service="asr", cpu_pct=344.0),), users=("pid 7 asr 344 %",))
OFFSETS = (0.0, 0.4, -0.3, 0.2, -0.5, 0.2)  # of the categories, in logarithms


def block(side, turn, tps, *, seed=0, meanwhile=QUIET, sent=64):
    """A launch at `tps`, whose prompts are as hard on each side; noise of 2 % of its own."""
    rng = np.random.default_rng((seed, turn, len(side)))
    prompts = np.random.default_rng(turn).normal(0, 0.1, 12)
    speeds = tps * np.exp(prompts + np.array(OFFSETS * 2) + rng.normal(0, 0.02, 12))
    names = [category.id for category in TASK.prompts.categories] * 2
    clock = {"ttft_ms": 1.0, "total_ms": 1e6, "parts": 64, "stalls": 0, "tokens_at_least": sent, "tokens_at_most": sent}
    clock |= dict.fromkeys(("gap_p50_ms", "gap_p95_ms", "gap_p99_ms", "gap_max_ms"), 1.0)
    return Block(
        side,
        turn,
        tuple(
            SpeedRequest(
                predicted_n=64,
                predicted_ms=63000 / speed,
                predicted_per_second=speed,
                category=name,
                meanwhile=meanwhile,
                client=clock | {"decode_ms": 63000 / speed, "server_decode_ms": 63000 / speed},
            )
            for name, speed in zip(names, speeds, strict=True)
        ),
    )


def of(*blocks):
    """Observation and judgement of these launches."""
    taken = observed(blocks, TASK)
    host = HOST.model_copy(update={"guard": TASK.limits})
    return taken.measured, judged(evidence("TPS-6", TWIN.id, taken.measured, raw=taken.raw), TWIN, host)


def abba(ours, theirs, **changes):
    return [block(ITSELF, 0, ours[0]), block("none", 0, theirs[0], **changes), block("none", 1, theirs[1]), block(ITSELF, 1, ours[1])]


def test_the_ratio_is_that_of_each_prompt_with_itself():
    measured, found = of(*abba((80, 80), (50, 50)))
    assert measured["none_ratio"] == pytest.approx(1.6, rel=0.02)
    assert measured["none_ratio_high"] - measured["none_ratio_low"] < 0.06, "far less than the prompts differ"
    assert (found.verdict, measured["none_pairs"]) == (Verdict.PASS, 24)


def test_what_drifts_cancels_out():
    """5 % slower with each launch: A 1, B 2, B 3, A 4."""
    drift = [0.95**place for place in range(4)]
    measured, _ = of(*abba((80 * drift[0], 80 * drift[3]), (50 * drift[1], 50 * drift[2])))
    assert measured["none_ratio"] == pytest.approx(1.6, rel=0.02)


def test_a_stack_that_slows_fails():
    _, found = of(*abba((45, 45), (50, 50)))
    assert found.verdict is Verdict.FAIL
    assert "slower than nothing drafting" in found.reason


def test_no_difference_is_not_decided():
    _, found = of(*abba((50, 50), (50, 50)))
    assert found.verdict is Verdict.INVALID
    assert "not decided whether drafting pays" in found.reason


def test_load_beside_one_side_alone_is_no_difference_of_the_sides():
    """A burner wherever the other side runs makes it half as fast: no pair of it is clean."""
    blocks = [*abba((50, 50), (25, 25))[::3], block("none", 0, 25, meanwhile=LOUD), block("none", 1, 25, meanwhile=LOUD)]
    measured, found = of(*blocks)
    assert (measured["none_pairs"], measured["none_ratio"]) == (0, None)
    assert found.verdict is Verdict.INVALID
    assert (
        "only 0 of 24 pairs with none were undisturbed: none, turn 1, 12 of 12 requests were noisy. Request 1: asr came up" in found.reason
    )


def test_load_that_nobody_saw_beside_one_launch_shows_between_its_two():
    _, found = of(*abba((80, 80), (50, 25)))
    assert found.verdict is Verdict.INVALID
    assert "the launches of one side are not alike" in found.reason


def test_tokens_that_were_never_sent_void_it():
    _, found = of(*abba((80, 80), (50, 50), sent=2))
    assert found.verdict is Verdict.INVALID
    assert "none, turn 1: request 1: the server counts 64 tokens" in found.reason


def test_no_prompt_comes_in_both_turns():
    there, back = (set(_places(TASK, turn)) for turn in (0, 1))
    assert not there & back
    assert len(there) == len(back) == 13


@pytest.mark.runtime
@pytest.mark.long
def test_each_side_is_launched_twice_there_and_back_again(tmp_path):
    """A twin with MTP and ngram-mod against each of its drafters and none, on a real server."""
    sides = ("none", "ngram-mod", "mtp")
    with planted(tmp_path) as gates:
        candidates = tuple(each.model_copy(update={"compare_with": sides}) for each in gates.host.candidates)
        plan = gates.host.speed.model_copy(update={"block_requests": 2, "warmup": 0, "max_tokens": 16, "clock_gap_ms": 10_000.0})
        gates.obtainer.host = gates.host = gates.host.model_copy(update={"candidates": candidates, "speed": plan})
        record = gates.evidence("TPS-6", TWIN.id, compared)
        assert [entry.arm.removeprefix("interleaved-") for entry in gates.launches if entry.ended is None] == [
            *("1-itself", "2-none", "3-ngram-mod", "4-mtp"),
            *("5-mtp", "6-ngram-mod", "7-none", "8-itself"),
        ]
        drafting = {one["side"]: [request["draft_n"] for request in one["requests"]] for one in record.raw["blocks"]}
        assert drafting["none"] == [None, None]
        assert all(drafting[side][0] for side in ("itself", "mtp"))
        subject = gates.obtainer._subject(REQUIREMENTS["TPS-6"], gates.host.candidate(TWIN.id), "")
        assert side_of(subject, "mtp").speculation.members == ("mtp",)
        assert side_of(subject, "ngram-mod").speculation.ngram_n_match == TWIN.speculation.ngram_n_match
        assert not side_of(subject, "none").speculation.active
