"""A speed over other prompts than its reference's is incomparable; a clean run becomes the reference over its own, once."""

import pytest
from support.evidence_samples import GREEN, REQUIREMENTS, evidence, judged

from fixtures.catalog.load import load_host
from fixtures.catalog.reference import limit_over
from fixtures.judge.reference import NoReferenceError, StaysError, reference_of
from fixtures.records.conditions import NoiseAcceptance
from fixtures.records.verdict import Verdict

LOCAL, DGX = load_host("local", bare=True), load_host("dgx", bare=True)
OURS, THEIRS = "a" * 64, "b" * 64
SIGNED = {"who": "Ann", "reason": "first quiet night", "date": "2026-11-26"}


def on(host, **speed):
    return host.model_copy(update={"speed": host.speed.model_copy(update=speed)})


def clean(candidate, requirement="TPS-1", prompts=OURS, **measured):
    numbers, raw = GREEN[requirement]
    record = evidence(requirement, candidate, {**numbers, **measured}, raw=raw)
    return record.model_copy(update={"identity": {**record.identity, "prompts": prompts}})


def taken(candidate, record, host, requirement="TPS-1"):
    return reference_of(record, REQUIREMENTS[requirement], candidate, host, SIGNED)


def recorded(host, candidate_id, reference, name="decode_tps"):
    return host.candidate(candidate_id).model_copy(update={"recorded": {name: reference}})


MIX = on(DGX, prompt_set="mix", seconds=3.0, clock_gap_ms=150.0, max_cv_pct=60.0)
LANE = DGX.candidate("26b-k3v4")


def test_the_reports_speed_means_nothing_over_other_prompts():
    found = judged(clean("26b-k3v4", decode_tps=70.0, ci_low_tps=69.0, ci_high_tps=71.0), LANE, MIX)
    assert found.verdict is Verdict.BLOCKED
    assert "decode speed is 70, INCOMPARABLE: the reference of 61.62 t/s (report" in found.reason
    assert "`speed.report_set`" in found.reason
    assert "record-reference" in found.reason
    assert limit_over(LANE, MIX, "decode_tps", OURS) is None


def test_it_counts_over_the_reports_own():
    own = on(MIX, report_set="mix")
    assert judged(clean("26b-k3v4", decode_tps=70.0, ci_low_tps=69.0, ci_high_tps=71.0), LANE, own).verdict is Verdict.PASS
    assert judged(clean("26b-k3v4", decode_tps=50.0, ci_low_tps=49.0, ci_high_tps=51.0), LANE, own).verdict is Verdict.FAIL


def test_without_any_prompt_set_it_does_not():
    nothing = on(DGX, prompt_set=None, report_set=None)
    assert limit_over(LANE, nothing, "decode_tps", OURS) is None


def test_a_clean_run_becomes_the_reference_of_later_ones():
    first = taken(LANE, clean("26b-k3v4"), MIX)
    assert (first.reference, first.prompts_sha256, first.who) == (50.0, OURS, "Ann")
    held = recorded(MIX, "26b-k3v4", first)
    assert judged(clean("26b-k3v4"), held, MIX).verdict is Verdict.PASS
    slow = judged(clean("26b-k3v4", decode_tps=48.0, ci_low_tps=47.5, ci_high_tps=48.4), held, MIX)
    assert slow.verdict is Verdict.FAIL
    assert "recorded by Ann on 2026-11-26 from" in slow.reason
    other = judged(clean("26b-k3v4", prompts=THEIRS), held, MIX)
    assert other.verdict is Verdict.BLOCKED
    assert "INCOMPARABLE" in other.reason


def test_acceptance_becomes_one_as_well():
    first = taken(LANE, clean("26b-k3v4", "TPS-2"), MIX, "TPS-2")
    held = recorded(MIX, "26b-k3v4", first, "accept_pct")
    assert judged(clean("26b-k3v4", "TPS-2"), held, MIX).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (clean("26b-k3v4", noise_pct=99.0), "INVALID: times vary by 99 %"),
        (clean("26b-k3v4", attached=True), "INVALID: 50 t/s was measured on a live server"),
        (clean("26b-k3v4", decode_s=0.5), "INVALID: 50 t/s over 0.5 s"),
        (clean("26b-k3v4", ci_low_tps=40.0, ci_high_tps=60.0), "INVALID: not decided"),
        (clean("26b-k3v4", decode_tps=None), "its record holds no number `decode_tps`"),
        (clean("26b-k3v4", decode_tps=True), "its record holds no number `decode_tps`"),
    ],
)
def test_what_is_not_clean_is_no_reference(record, says):
    with pytest.raises(NoReferenceError) as error:
        taken(LANE, record, MIX)
    assert says in str(error.value)


def test_what_somebody_accepted_beside_noise_is_none():
    record = clean("26b-k3v4", noise_pct=99.0)
    accepted = NoiseAcceptance(who="Bob", reason="the ASR has to stay up")
    noisy = record.model_copy(update={"conditions": record.conditions.model_copy(update={"accepted": accepted})})
    with pytest.raises(NoReferenceError, match="WAIVED"):
        taken(LANE, noisy, MIX)


def test_the_first_one_stays():
    held = recorded(MIX, "26b-k3v4", taken(LANE, clean("26b-k3v4"), MIX))
    with pytest.raises(StaysError, match="50 was recorded over these prompts by Ann on 2026-11-26, and stays"):
        taken(held, clean("26b-k3v4", decode_tps=49.0, ci_low_tps=48.8, ci_high_tps=49.2), MIX)
    assert taken(held, clean("26b-k3v4", prompts=THEIRS), MIX).prompts_sha256 == THEIRS


def test_a_reference_never_loosens_a_limit_that_holds_over_any_prompts():
    host = on(LOCAL, seconds=3.0)
    lane = host.candidate("twin42-q8")
    assert lane.limit("decode_tps").over is None
    loose = taken(lane, clean("twin42-q8"), host).model_copy(update={"reference": 1.0})
    held = lane.model_copy(update={"recorded": {"decode_tps": loose}})
    assert limit_over(held, host, "decode_tps", OURS) == lane.limit("decode_tps")
    tight = lane.model_copy(update={"recorded": {"decode_tps": loose.model_copy(update={"reference": 50.0})}})
    assert limit_over(tight, host, "decode_tps", OURS).bound == pytest.approx(48.5)  # 3 % below, where the limit has no tolerance
    with pytest.raises(NoReferenceError, match="FAIL: decode speed is 4 t/s"):
        taken(lane, clean("twin42-q8", decode_tps=4.0, ci_low_tps=3.9, ci_high_tps=4.1), host)
