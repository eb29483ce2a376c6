"""Every judge: one record that passes, and for each way to go red one record that does."""

import pytest
from support.evidence_samples import (
    CLAIMS,
    CONFIRMED,
    CONTRADICTED,
    GREEN,
    NOON,
    QUIET,
    REQUIREMENTS,
    TPS,
    evidence,
    judged,
    with_example_limits,
)

from fixtures.catalog.limit import Limit
from fixtures.catalog.load import load_host, load_requirements
from fixtures.judge.rules import RULES
from fixtures.records.conditions import Conditions, GpuReading, ProcessLoad
from fixtures.records.evidence import Attestation, EvidenceStatus
from fixtures.records.verdict import Verdict

HOST = load_host("local")
CANDIDATE = HOST.candidate("twin42-q8")

WITH_PPL = with_example_limits(CANDIDATE)
SPEED_RAW = GREEN["TPS-1"][1]


def verdict(requirement, measured, candidate=CANDIDATE, **kwargs):
    return judged(evidence(requirement, measured=measured, **kwargs), candidate, HOST)


def test_every_requirement_has_a_judge_and_a_green_sample():
    ids = {requirement.id for requirement in load_requirements()}
    assert ids == set(RULES) == set(GREEN)


@pytest.mark.parametrize("requirement", GREEN)
def test_green(requirement):
    measured, raw = GREEN[requirement]
    found = verdict(requirement, measured, WITH_PPL, raw=raw)
    assert found.verdict is Verdict.PASS, found.reason


@pytest.mark.parametrize("requirement", GREEN)
def test_blocked_and_broken_never_pass(requirement):
    measured, raw = GREEN[requirement]
    for status, expected in {EvidenceStatus.BLOCKED: Verdict.BLOCKED, EvidenceStatus.ERROR: Verdict.FAIL}.items():
        assert verdict(requirement, measured, WITH_PPL, raw=raw, status=status, reason="why").verdict is expected


@pytest.mark.parametrize("requirement", GREEN)
def test_an_empty_record_is_never_green(requirement):
    assert verdict(requirement, {}, WITH_PPL).verdict in (Verdict.INVALID, Verdict.FAIL)


FAULTS = [(name, fault) for name, requirement in REQUIREMENTS.items() for fault in requirement.example.fault]


@pytest.mark.parametrize(("requirement", "fault"), FAULTS, ids=[f"{name}-{fault.says[:40]}" for name, fault in FAULTS])
def test_red(requirement, fault):
    measured, raw = GREEN[requirement]
    changed = {**measured, **fault.measured, **dict.fromkeys(fault.nothing)}
    found = verdict(requirement, changed, WITH_PPL, raw={**raw, **fault.raw})
    assert found.verdict == fault.verdict, found.reason
    assert fault.says in found.reason


def test_every_fault_changes_its_example():
    assert [name for name, fault in FAULTS if not (fault.measured or fault.nothing or fault.raw)] == []


def test_a_claim_without_numbers_is_not_judged():
    found = verdict("KV-4", CLAIMS, raw={"claims": [CONFIRMED, {**CONTRADICTED, "true": None}]})
    assert found.verdict is Verdict.FAIL
    assert "a-128k has no numbers to judge" in found.reason


@pytest.mark.parametrize(
    ("requirement", "key"),
    [(requirement, key) for requirement in ("PPL-1", "PPL-2") for key in ("engine", "backend", "corpus_sha256", "chunks", "context")],
)
def test_a_number_over_something_else_has_no_reference(requirement, key):
    found = verdict(requirement, {**GREEN[requirement][0], key: 1 if key in ("chunks", "context") else "other"}, WITH_PPL)
    assert found.verdict is Verdict.BLOCKED
    assert f"no reference for this {key}" in found.reason


FIVE = {"31b-k3v3": 30.2595, "26b-k3v4": 25.7098, "26b-k3v3": 38.2839, "e4b-k3v3": 24.6580, "e4b-k3v4": 25.8709}
VOUCHED = Attestation(source="readiness report, PPL status", date="2026-05-14", who="owner")


def vouched(name, value, *, limit=None, **measured):
    """The judgement of an imported perplexity of the DGX; `limit` overrides keys of the recorded value."""
    dgx = load_host("dgx", bare=True)
    candidate = dgx.candidate(name)
    changed = candidate.limit("ppl").model_copy(update=limit or {})
    candidate = candidate.model_copy(update={"limits": candidate.limits | {"ppl": changed}})
    record = evidence("PPL-1", name, {"ppl": value, **measured}).model_copy(update={"attested": VOUCHED})
    return judged(record, candidate, dgx)


@pytest.mark.parametrize("backend", [None, "cuda"])
@pytest.mark.parametrize(("name", "value"), FIVE.items())
def test_the_reports_perplexities_supply_engine_and_backend_of_their_limits(name, value, backend):
    found = vouched(name, value, engine="path-aabbccddeeff", backend=backend)
    assert found.verdict is Verdict.PASS
    assert "attested by owner" in found.reason


@pytest.mark.parametrize(
    ("stated", "verdict"),
    [
        ({"backend": "cuda"}, Verdict.PASS),
        ({"engine": "e", "backend": "cuda"}, Verdict.PASS),
        ({"backend": "cpu"}, Verdict.BLOCKED),
        ({"backend": "cpu+cuda"}, Verdict.BLOCKED),
        ({"engine": "other"}, Verdict.BLOCKED),
    ],
)
def test_an_attested_reading_of_another_backend_than_the_limits(stated, verdict):
    found = vouched("31b-k3v3", 30.2595, limit=stated, engine="e", backend="cuda")
    assert found.verdict is verdict
    assert ("no reference for this" in found.reason) == (verdict is Verdict.BLOCKED)


def test_an_attested_reading_off_its_limit_fails():
    assert vouched("31b-k3v3", 31.0, engine="e", backend="cuda").verdict is Verdict.FAIL


def test_no_limit_is_blocked_not_passed():
    bare = CANDIDATE.model_copy(update={"limits": {}})
    assert verdict("TPS-1", TPS, bare, raw=SPEED_RAW).verdict is Verdict.BLOCKED
    assert verdict("KV-2", {"computed_mib": 89.25}, bare).verdict is Verdict.BLOCKED


def test_speed_under_bad_conditions_is_invalid():
    asr = ProcessLoad(name="asr", service="asr", pid=7, command="asr-server", cpu_pct=344.0)
    assert QUIET.before is not None
    loud = QUIET.before.model_copy(update={"competing": (asr,)})
    for conditions in (
        Conditions(),
        Conditions(before=loud, after=QUIET.after),
        Conditions(before=QUIET.before, samples=(loud,), after=QUIET.after),
        Conditions(before=QUIET.before, after=loud),
    ):
        assert verdict("TPS-1", TPS, raw=SPEED_RAW, conditions=conditions).verdict is Verdict.INVALID
    assert verdict("TPS-1", {**TPS, "noise_pct": 99.0}, raw=SPEED_RAW).verdict is Verdict.INVALID
    assert NOON.tzinfo is not None


def test_speed_of_a_gpu_in_the_low_power_trap_is_invalid():
    gpu = GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=96.0, sm_clock_mhz=799.0, power_w=19.5)
    assert QUIET.before is not None
    trapped = Conditions(before=QUIET.before, samples=(QUIET.before.model_copy(update={"gpus": (gpu,)}),), after=QUIET.after)
    assert (
        verdict("TPS-1", TPS, raw=SPEED_RAW, conditions=trapped).verdict is Verdict.PASS
    )  # a host without a clock limit does not judge it
    host = HOST.model_copy(update={"guard": HOST.guard.model_copy(update={"min_sm_clock_mhz": 1500.0})})
    found = judged(evidence("TPS-1", measured=TPS, raw=SPEED_RAW, conditions=trapped), CANDIDATE, host)
    assert found.verdict is Verdict.INVALID
    assert "799 MHz" in found.reason


def test_limit_bounds():
    at_least = Limit(reference=23.79, kind="at_least", tolerance=3, relative=True, unit="t/s", source="s")
    assert at_least.bound == pytest.approx(23.0763)
    assert at_least.margin(23.0763) == pytest.approx(0)
    at_most = Limit(reference=10, kind="at_most", tolerance=1, unit="x", source="s")
    assert (at_most.margin(11), at_most.margin(12)) == (0, -1)


@pytest.mark.parametrize("status", EvidenceStatus)
def test_answers_of_a_live_server_that_was_not_one_process_are_invalid(status):
    measured, raw = GREEN["COH-1"]
    raw = {**raw, "attached": {"pid": 42, "invalid": "the server was replaced"}}
    found = verdict("COH-1", measured, raw=raw, status=status, reason="why")
    assert (found.verdict, found.reason) == (Verdict.INVALID, "the server was replaced")
    assert verdict("COH-1", measured, raw={**raw, "attached": {"pid": 42, "invalid": ""}}).verdict is Verdict.PASS


@pytest.mark.parametrize(("answered", "found"), [(299, Verdict.PASS), (150, Verdict.FAIL)])
def test_the_reports_soak_can_be_vouched_for(answered, found):
    record = evidence("STA-3", "31b-k3v3", {"answered": answered}).model_copy(update={"attested": VOUCHED})
    dgx = load_host("dgx", bare=True)
    judgement = judged(record, dgx.candidate("31b-k3v3"), dgx)
    assert judgement.verdict is found
    assert f"requests answered in a row without a failure is {answered} requests, must be at least 299" in judgement.reason


def test_memory_that_stands_still_has_no_sign():
    measured, raw = GREEN["STA-4"]
    found = verdict("STA-4", {**measured, "private_slope": -0.0, "private_low": -0.0001, "private_high": 0.0}, raw=raw)
    assert "grows by 0 (-0.0001 to 0 at 99 %) KiB a request" in found.reason


def test_words_of_mainland_china_deserve_a_look_and_decide_nothing():
    measured, raw = GREEN["COH-1"]
    check = {"name": "taiwan", "passed": True, "detail": "answer is X", "warning": "軟件: Taiwan says 軟體"}
    found = verdict("COH-1", measured, raw={**raw, "checks": [check]})
    assert found.verdict is Verdict.PASS
    assert found.reason.endswith("; worth a look: 軟件: Taiwan says 軟體")
