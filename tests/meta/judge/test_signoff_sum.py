"""The sign-off adds verdicts up: worst wins, gaps are never green, one chosen lane per model."""

import pytest
from support.evidence_samples import evidence
from support.signoff_samples import HOST, OWED, REQUIREMENTS, all_green, run

from fixtures.catalog.load import tier_of
from fixtures.records.evidence import EvidenceStatus
from fixtures.records.verdict import SignOff, Verdict, worst


def blocked(requirement, candidate, case=""):
    return evidence(requirement, candidate, case=case, status=EvidenceStatus.BLOCKED, reason="lock is held by pid 1 (x)")


def failed(requirement, candidate, case=""):
    return evidence(requirement, candidate, case=case, status=EvidenceStatus.ERROR, reason="died\nlog line")


def test_everything_green_is_ready():
    verdict = run(all_green())
    assert verdict.master is SignOff.READY, verdict.master_reason
    assert verdict.full_scope
    assert verdict.coverage.passed == verdict.coverage.required > 40
    assert set(verdict.models.values()) == {"gemma3-270m-q8", "smollm2-135m-q8", "twin42-q8"}


def test_no_evidence_is_incomplete():
    verdict = run([])
    assert verdict.master is SignOff.INCOMPLETE
    assert verdict.coverage.not_run == verdict.coverage.required
    assert {c.signoff for c in verdict.candidates} == {SignOff.INCOMPLETE}


def test_one_blocked_gate_of_a_chosen_lane_is_incomplete_with_its_next_step():
    verdict = run(all_green({("KV-1", "twin42-q8", ""): blocked("KV-1", "twin42-q8")}))
    assert verdict.master is SignOff.INCOMPLETE
    (candidate,) = [c for c in verdict.candidates if c.candidate == "twin42-q8"]
    assert candidate.next_step == "KV-1 BLOCKED: lock is held by pid 1 (x)"


def test_one_failed_gate_of_a_chosen_lane_is_not_ready():
    verdict = run(all_green({("COH-1", "twin42-q8", "zh_marker"): failed("COH-1", "twin42-q8", "zh_marker")}))
    assert verdict.master is SignOff.NOT_READY
    assert "twin42" in verdict.master_reason


def test_a_failed_lane_that_was_not_chosen_does_not_sink_the_goal():
    verdict = run(all_green({("KV-1", "twin42-q4", ""): failed("KV-1", "twin42-q4")}))
    assert verdict.master is SignOff.READY
    assert next(c for c in verdict.candidates if c.candidate == "twin42-q4").signoff is SignOff.NOT_READY


def test_undecided_model_is_a_next_step():
    host = HOST.model_copy(update={"goal": HOST.goal.model_copy(update={"chosen": {}})})
    verdict = run(all_green(), host)
    assert verdict.master is SignOff.INCOMPLETE
    assert "set goal.chosen" in verdict.master_reason


def test_advisory_failure_changes_nothing():
    verdict = run(all_green({("KV-4", "twin42-q8", ""): failed("KV-4", "twin42-q8")}))
    assert tier_of(next(r for r in REQUIREMENTS if r.id == "KV-4"), HOST) == "advisory"
    assert verdict.master is SignOff.READY


def test_a_partial_scope_says_so():
    assert not run(all_green(), scope=OWED[:3]).full_scope


def test_the_later_record_counts():
    verdict = run([failed("KV-1", "twin42-q8"), *all_green()])
    assert verdict.master is SignOff.READY


def test_same_inputs_same_bytes():
    assert run(all_green()).model_dump_json() == run(all_green()).model_dump_json()


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], Verdict.NOT_RUN),
        ([Verdict.PASS, Verdict.WAIVED], Verdict.WAIVED),
        ([Verdict.PASS, Verdict.NOT_RUN, Verdict.BLOCKED], Verdict.BLOCKED),
        ([Verdict.BLOCKED, Verdict.FAIL, Verdict.INVALID], Verdict.FAIL),
    ],
)
def test_worst(verdicts, expected):
    assert worst(verdicts) is expected
