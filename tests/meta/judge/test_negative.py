"""A negative candidate shows that the gates see: it fails as it must, and whatever else it does is no good news."""

import pytest
from support.evidence_samples import evidence
from support.signoff_samples import HOST, OWED, REQUIREMENTS, all_green, run

from fixtures.catalog.owed import owed_by
from fixtures.judge.waive import verdict_of
from fixtures.records.evidence import EvidenceStatus
from fixtures.records.signoff import CandidateSignOff
from fixtures.records.verdict import SignOff, Verdict
from fixtures.report.honesty import Headline, headline
from fixtures.report.junit import render_junit
from fixtures.report.last_screen import render_last
from fixtures.report.markdown import render_markdown
from fixtures.report.summary import summary_of
from fixtures.report.terminal import render_matrix

BAD = "gemma3-270m-k3v3"
GATE = ("COH-1", BAD, "repeat_line")
SPECULATES = {"draft_n": 6, "draft_n_accepted": 6, "cuda_errors": 0, "ggml_aborts": 0, "fatal_lines": 0}
TIMED = {"timings": {"predicted_n": 12}, "finish": "stop"}


def record(measured, raw=None, **others):
    return evidence("COH-1", BAD, measured, case="repeat_line", raw={**TIMED, **(raw or {})}, **others)


GOOD = record({"text_ok": True, "http_status": 200, **SPECULATES})
DIED = record({}, status=EvidenceStatus.ERROR, reason="llama-server died by signal 6\nlog line")
OTHER = record({"text_ok": True, "http_status": 500, **SPECULATES})
BLIND = record({}, status=EvidenceStatus.BLOCKED, reason="lock is held by pid 1 (x)")


def of(verdict, candidate=BAD) -> CandidateSignOff:
    return next(item for item in verdict.candidates if item.candidate == candidate)


def test_a_negative_owes_what_it_must_fail_and_nothing_else():
    owed = {entry.requirement for entry in owed_by(HOST, REQUIREMENTS) if entry.candidate == BAD}
    assert owed == set(HOST.candidate(BAD).must_fail) == {"COH-1", "PPL-2"}


def test_its_failure_is_expected_and_costs_nothing():
    verdict = run(all_green())
    assert {gate.judgement.verdict for gate in of(verdict).gates} == {Verdict.EXPECTED}
    assert of(verdict).gates[0].judgement.reason.startswith("fails, as it must: text check failed: exact: answer is X")
    assert verdict.master is SignOff.READY
    assert of(verdict).signoff is SignOff.NOT_READY
    assert of(verdict).next_step == ""
    negatives = [candidate for candidate in verdict.candidates if candidate.role == "negative"]
    assert verdict.coverage.expected == sum(len(candidate.gates) for candidate in negatives) == 6
    assert verdict.coverage.required == verdict.coverage.passed


def test_its_pass_fails_the_run_and_no_lane_is_ready_by_that_gate():
    verdict = run(all_green({GATE: GOOD}))
    gate = next(gate for gate in of(verdict).gates if gate.case == "repeat_line")
    assert gate.judgement.verdict is Verdict.FAIL
    assert gate.judgement.reason.startswith(f"the gate sees nothing: {BAD} is known to be bad and passes it")
    assert verdict.master is SignOff.NOT_READY
    assert verdict.master_reason == f"COH-1 sees nothing: {BAD} must fail it"
    assert verdict.coverage.failed == 1


@pytest.mark.parametrize(
    ("found", "said"), [(DIED, 'failed otherwise than it must ("text check failed")'), (OTHER, "failed otherwise"), (BLIND, "lock is held")]
)
def test_a_failure_of_another_kind_is_a_gap(found, said):
    verdict = run(all_green({GATE: found}))
    gate = next(gate for gate in of(verdict).gates if gate.case == "repeat_line")
    assert gate.judgement.verdict in (Verdict.INVALID, Verdict.BLOCKED)
    assert said in gate.judgement.reason
    assert of(verdict).signoff is SignOff.INCOMPLETE
    assert verdict.coverage.invalid + verdict.coverage.blocked == 1


def test_what_is_advisory_for_others_counts_for_a_negative():
    verdict = run(all_green())
    assert {gate.tier for gate in of(verdict).gates} == {"required"}
    assert next(gate.tier for gate in of(verdict, "gemma3-270m-q4").gates if gate.requirement == "COH-1") == "required"


def test_a_failure_that_was_expected_may_be_reused_and_a_pass_may_not():
    requirement = next(item for item in REQUIREMENTS if item.id == "COH-1")
    bad = next(item for item in all_green() if (item.requirement, item.candidate, item.case) == GATE)
    found = [verdict_of(item, requirement, HOST.candidate(BAD), HOST, ()).verdict for item in (bad, GOOD)]
    assert found == [Verdict.EXPECTED, Verdict.FAIL]


def test_a_slip_upstream_never_heads_a_report_as_ready():
    verdict = run(all_green())
    seqs = range(1, len(OWED) + 1)
    assert headline(verdict, seqs) is Headline.READY
    called_ready = [item.model_copy(update={"signoff": SignOff.READY}) if item.candidate == BAD else item for item in verdict.candidates]
    assert headline(verdict.model_copy(update={"candidates": tuple(called_ready)}), seqs) is Headline.INCOMPLETE
    passed = [
        item.model_copy(update={"gates": tuple(_passed(gate) for gate in item.gates)}) if item.candidate == BAD else item
        for item in verdict.candidates
    ]
    assert headline(verdict.model_copy(update={"candidates": tuple(passed)}), seqs) is Headline.INCOMPLETE


def _passed(gate):
    return gate.model_copy(update={"judgement": gate.judgement.model_copy(update={"verdict": Verdict.PASS})})


def test_every_report_shows_the_expected_failure_and_calls_it_that():
    summary = summary_of(run(all_green()), (), range(1, len(OWED) + 1), ())
    terminal, markdown, junit = render_matrix(summary, 120) + render_last(summary, 120), render_markdown(summary), render_junit(summary)
    assert "6 of bad lanes failed, as they must" in terminal
    assert "(must fail)" in terminal
    assert "fails: as it must" in terminal
    assert "NOT READY (must fail)" in markdown
    assert 'message="EXPECTED: fails, as it must: text check failed' in junit
    assert "<failure" not in junit
    assert "<error" not in junit
