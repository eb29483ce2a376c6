"""Every judge: one record that passes, and for each way to go red one record that does."""

import pytest
from support.evidence_samples import (
    ACCEPT,
    CLAIMS,
    COH,
    CONFIRMED,
    CONTRADICTED,
    GREEN,
    KLD_MEASURED,
    KV,
    NOON,
    PORT,
    PPL_MEASURED,
    QUIET,
    REVIEWED,
    SOUND,
    TPS,
    TYPES,
    evidence,
)

from fixtures.catalog.limit import CorpusLimit, Limit, PplLimit
from fixtures.catalog.load import load_host, load_requirements
from fixtures.judge.gates import RULES, judge
from fixtures.records.conditions import Conditions, GpuReading, ProcessLoad
from fixtures.records.evidence import EvidenceStatus
from fixtures.records.verdict import Verdict

ANOTHER = {**REVIEWED, "rendered_sha256": "c3" * 32}
HOST = load_host("local")
CANDIDATE = HOST.candidate("twin42-q8")

PPL = PplLimit(
    reference=20.0,
    kind="equal",
    tolerance=0.1,
    relative=True,
    unit="PPL",
    source="t",
    engine="e",
    corpus_sha256="c" * 64,
    chunks=8,
    context=512,
)
KLD = CorpusLimit(
    reference=0.02, kind="at_most", tolerance=10, relative=True, unit="nats", source="t", corpus_sha256="c" * 64, chunks=8, context=512
)
WITH_PPL = CANDIDATE.model_copy(update={"limits": CANDIDATE.limits.model_copy(update={"ppl": PPL, "kld": KLD})})


def verdict(requirement, measured, candidate=CANDIDATE, **kwargs):
    return judge(evidence(requirement, measured=measured, **kwargs), candidate, HOST)


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


# the same bytes in all, K and V the wrong way round
SWAPPED = {
    **KV,
    "allocated_mib": 68.25,
    "computed_mib": 68.25,
    "k_type": "q4_0",
    "k_bpw": 4.5,
    "effective_k_bpw": 8.5,
    "effective_v_bpw": 4.5,
    "allocated_k_mib": 44.62,
    "computed_k_mib": 23.625,
    "allocated_v_mib": 23.62,
    "computed_v_mib": 44.625,
}


def broken(item, problem):
    return {"item": item, "subject": "s", "reading": "unread", "state": "broken", "problem": problem}


RED = [
    ("AUD-1", {"artefacts": 1}, {}, "1 artefacts checked, expected 2"),
    ("AUD-1", {"artefacts": 1}, {"rows": [broken("target", "t.gguf is of type Q8_0")]}, "t.gguf is of type Q8_0"),
    ("AUD-2", {**PORT, "free": False}, {}, "port 18085 is taken"),
    ("AUD-3", {"k_type": "", "v_type": ""}, {}, "names no KV types"),
    ("AUD-4", {"present": True, "port": 8080}, {}, "serves port 8080, the catalog says 18095"),
    ("AUD-4", {"present": True, "port": None}, {}, "serves port None"),
    ("AUD-5", {"clear": False}, {}, "may not run now"),
    ("AUD-6", {"scripts": 2, "compiled": 1}, {"rows": [broken("script", "x.py does not compile")]}, "x.py does not compile"),
    ("AUD-6", {"scripts": 2, "compiled": 1}, {}, "1 of 2 helper scripts compile"),
    ("KV-1", {**KV, "allocated_mib": 168.0}, {}, "allocated KV is 168"),
    ("KV-1", {**KV, "allocated_k_mib": 84.0}, {}, "allocated K is 84"),
    ("KV-1", {**KV, "allocated_v_mib": 44.58}, {}, "allocated V is 44.58"),
    ("KV-1", {**KV, "server_n_ctx": 4096}, {}, "serves 4096 tokens, asked for 8192"),
    (
        "KV-1",
        {**KV, "allocated_mib": 68.25, "allocated_k_mib": 23.62, "effective_k_bpw": 4.5},
        {"logged_k_types": "q4_0"},
        "K was asked as q8_0 (8.5 bits per weight) and takes 4.5; the log calls it q4_0; allocated K is 23.62 MiB, must be exactly 44.625",
    ),
    ("KV-1", SWAPPED, {}, "K was asked as q4_0 (4.5 bits per weight) and takes 8.5; the log calls it unknown; V was asked as q8_0"),
    ("KV-2", {"computed_mib": 89.27}, {}, "computed KV at 8192 tokens is 89.27"),
    ("KV-3", {**TYPES, "k_bpw": 3.5}, {}, "K type turbo3 of this engine is 3.5 bits per weight, must be exactly 3.125"),
    ("KV-3", {**TYPES, "v_bpw": 4.125}, {}, "V type turbo4 of this engine is 4.125 bits per weight, must be exactly 4.25"),
    ("KV-3", {**TYPES, "k_bpw": 8.5, "v_bpw": 8.5}, {}, "V type turbo4 of this engine is 8.5"),
    (
        "KV-4",
        CLAIMS,
        {"claims": [CONFIRMED, {**CONTRADICTED, "finding": "confirmed"}]},
        "a-128k is called confirmed, but 5.62 GiB beside 2.182 is contradicted",
    ),
    ("KV-4", CLAIMS, {"claims": [CONFIRMED, {**CONTRADICTED, "true": None}]}, "a-128k has no numbers to judge"),
    ("PPL-1", {**PPL_MEASURED, "ppl": 20.03}, {}, "perplexity is 20.03"),
    ("PPL-1", {**PPL_MEASURED, "ppl": 19.97}, {}, "perplexity is 19.97"),
    ("PPL-2", {**KLD_MEASURED, "kld": 0.0221}, {}, "mean KL divergence from F16 KV is 0.0221 nats, must be at most 0.022"),
    ("COH-1", {**COH, "text_ok": False}, {"checks": [{"name": "exact", "passed": False, "detail": "answer is X"}]}, "answer is X"),
    ("COH-1", {**COH, "http_status": 500}, {}, "HTTP status 500"),
    ("COH-1", {**COH, "draft_n": None}, {}, "no draft timings"),
    ("COH-1", {**COH, "cuda_errors": 1}, {}, "1 CUDA errors"),
    ("COH-1", {**COH, "ggml_aborts": 1}, {}, "1 GGML aborts"),
    ("TPS-1", {**TPS, "decode_tps_median": 4.9}, {}, "median decode speed is 4.9 t/s, must be at least 5"),
    ("TPS-2", {**ACCEPT, "accept_pct": 79.9}, {}, "pooled draft acceptance is 79.9"),
    ("TPS-2", {**ACCEPT, "accept_pct": None}, {}, "nothing was drafted"),
    ("DEP-1", {"verify_exit": 1}, {"stderr": []}, "ended with 1"),
    ("DEP-1", {"verify_exit": 0}, {"stderr": ["Unknown key"]}, "Unknown key"),
    ("DEP-2", {"differences": 1}, {"differences": ["-ctk is q4_0, tested q8_0"]}, "-ctk is q4_0"),
    ("DEP-3", {**PORT, "free": False}, {}, "port 18085 is taken"),
    (
        "DEP-4",
        ANOTHER,
        {"differences": ["plain upstream: -c 8 is new", "more"]},
        "differ from the reviewed ones: plain upstream: -c 8 is new",
    ),
    ("DEP-5", ANOTHER, {}, "differs from the reviewed one: the record does not say where"),
    ("DEP-5", {"rendered_sha256": None, "reviewed_sha256": None}, {}, "differs from the reviewed"),
    ("STA-1", {**SOUND, "alive": False}, {}, "has ended"),
    ("STA-1", {**SOUND, "same_alias": False}, {}, "another server"),
    ("STA-1", {**SOUND, "fatal_lines": 2}, {}, "2 fatal lines"),
    ("SGN-1", {"missing": 1}, {"missing": ["PPL-1 applies"]}, "PPL-1 applies"),
]


@pytest.mark.parametrize(("requirement", "measured", "raw", "said"), RED)
def test_red(requirement, measured, raw, said):
    found = verdict(requirement, measured, WITH_PPL, raw=raw)
    assert found.verdict is Verdict.FAIL
    assert said in found.reason


@pytest.mark.parametrize(
    ("requirement", "key"),
    [("PPL-1", "engine"), *((requirement, key) for requirement in ("PPL-1", "PPL-2") for key in ("corpus_sha256", "chunks", "context"))],
)
def test_a_number_over_something_else_has_no_reference(requirement, key):
    found = verdict(requirement, {**GREEN[requirement][0], key: 1 if key in ("chunks", "context") else "other"}, WITH_PPL)
    assert found.verdict is Verdict.BLOCKED
    assert "no reference" in found.reason


def test_a_divergence_counts_for_any_engine():
    assert verdict("PPL-2", {**KLD_MEASURED, "engine": "other"}, WITH_PPL).verdict is Verdict.PASS


def test_no_limit_is_blocked_not_passed():
    bare = CANDIDATE.model_copy(update={"limits": type(CANDIDATE.limits)()})
    assert verdict("TPS-1", TPS, bare).verdict is Verdict.BLOCKED
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
        assert verdict("TPS-1", TPS, conditions=conditions).verdict is Verdict.INVALID
    assert verdict("TPS-1", {**TPS, "cv_pct": 99.0}).verdict is Verdict.INVALID
    assert NOON.tzinfo is not None


def test_speed_of_a_gpu_in_the_low_power_trap_is_invalid():
    gpu = GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=96.0, sm_clock_mhz=799.0, power_w=19.5)
    assert QUIET.before is not None
    trapped = Conditions(before=QUIET.before, samples=(QUIET.before.model_copy(update={"gpus": (gpu,)}),), after=QUIET.after)
    assert verdict("TPS-1", TPS, conditions=trapped).verdict is Verdict.PASS  # a host without a clock limit does not judge it
    host = HOST.model_copy(update={"guard": HOST.guard.model_copy(update={"min_sm_clock_mhz": 1500.0})})
    found = judge(evidence("TPS-1", measured=TPS, conditions=trapped), CANDIDATE, host)
    assert found.verdict is Verdict.INVALID
    assert "799 MHz" in found.reason


def test_limit_bounds():
    at_least = Limit(reference=23.79, kind="at_least", tolerance=3, relative=True, unit="t/s", source="s")
    assert at_least.bound == pytest.approx(23.0763)
    assert at_least.margin(23.0763) == pytest.approx(0)
    at_most = Limit(reference=10, kind="at_most", tolerance=1, unit="x", source="s")
    assert (at_most.margin(11), at_most.margin(12)) == (0, -1)
