"""Runs to show: the shipped DGX profile with one candidate in each state, in numbers that look like the real ones."""

import hashlib
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from fixtures.catalog.candidate import GOAL_ROLES, Role
from fixtures.catalog.host import Host
from fixtures.catalog.load import load_families, load_lanes, load_requirements, weight_of
from fixtures.catalog.owed import gated, owed_by
from fixtures.catalog.requirement import Arm, Tier
from fixtures.records.conditions import Conditions, GpuReading, ProcessLoad, Snapshot
from fixtures.records.evidence import Evidence, EvidenceStatus
from fixtures.records.signoff import AreaStatus, CandidateSignOff, Coverage, GateVerdict, Launch, RunManifest, RunVerdict
from fixtures.records.verdict import Judgement, SignOff, Verdict, worst
from support.places import ROOT
from support.report_facts import ANSWERS, PORT_TAKEN, facts_of, judgement_of

HOSTS = ROOT / "fixtures" / "catalog" / "hosts"
RUN = "20261124T081500Z-dgx-4711"
STARTED = datetime(2026, 11, 24, 8, 15, tzinfo=UTC)
LINKS = {"evidence": "evidence.jsonl", "verdict": "verdict.json", "pytest": "pytest.html", "junit": "junit.xml", "logs": "logs/"}
FIVE_STATES = {
    "31b-k3v3": Verdict.BLOCKED,
    "26b-k3v3": Verdict.FAIL,
    "26b-k3v4": Verdict.PASS,
    "e4b-k3v3": Verdict.WAIVED,
    "e4b-k3v4": Verdict.INVALID,
    "31b-k3v4": Verdict.PASS,
}
WAIVED = {
    "candidate": "e4b-k3v3",
    "requirement": "TPS-1",
    "case": "",
    "reason": "the ASR has to stay up this week; a noisy run is accepted",
    "who": "the owner",
    "date": "2026-11-23",
    "expires": "2026-12-01T00:00Z",
}
NEEDS_SERVER = {"KV-1", "KV-3", "COH-1", "TPS-1", "TPS-2", "DEP-2", "DEP-3", "AUD-2", "STA-1"}


class Sample(NamedTuple):
    """What `build_page` is given."""

    manifest: RunManifest
    verdict: RunVerdict
    evidence: tuple[Evidence, ...]
    launches: tuple[Launch, ...]
    links: Mapping[str, str]


def host_of(name, **changes):
    """A shipped host without any overlay of this machine."""
    return Host.model_validate({**tomllib.loads((HOSTS / f"{name}.toml").read_text("utf-8")), **changes})


@cache
def five_states():
    """A full run: one blocked, one failing, one waived, one invalid and one passing candidate, and a comparison row."""
    return run_of(host_of("dgx"), FIVE_STATES)


def run_of(
    host,
    states,
    *,
    requirements=None,
    full_scope=True,
    answers=ANSWERS,
):
    """A run in which every candidate is in the state given; `Verdict.NOT_RUN` leaves it without evidence."""
    listed = tuple(requirements or load_requirements())
    by_id = {requirement.id: requirement for requirement in listed}
    evidence = []
    gates = {candidate.id: [] for candidate in gated(host)}
    for owed in owed_by(host, listed):
        candidate, requirement = host.candidate(owed.candidate), by_id[owed.requirement]
        good = Verdict.EXPECTED if candidate.role is Role.NEGATIVE else Verdict.PASS
        record, judgement = _gate(candidate, requirement, owed, states.get(owed.candidate, good), len(evidence) + 1, answers)
        if record:
            evidence.append(record)
        gates[owed.candidate].append(_verdict(host, requirement, owed, judgement, record))
    candidates = tuple(_candidate(candidate, gates[candidate.id]) for candidate in gated(host))
    return Sample(
        _manifest(host, listed, full_scope),
        _run_verdict(host, listed, candidates, evidence, full_scope),
        tuple(evidence),
        tuple(_launch(candidate, number) for number, candidate in enumerate(gated(host)) if states.get(candidate.id) != Verdict.BLOCKED),
        LINKS,
    )


def altered(verdict, candidate_id, **changes):
    """`verdict` with one candidate changed, its sign-offs as they were."""
    candidates = tuple(c.model_copy(update=changes) if c.candidate == candidate_id else c for c in verdict.candidates)
    return verdict.model_copy(update={"candidates": candidates})


def with_gate(verdict, candidate_id, requirement, **changes):
    """`verdict` with the gates of one requirement changed, its sign-offs as they were."""
    candidate = next(c for c in verdict.candidates if c.candidate == candidate_id)
    gates = tuple(gate.model_copy(update=changes) if gate.requirement == requirement else gate for gate in candidate.gates)
    return altered(verdict, candidate_id, gates=gates)


def _gate(candidate, requirement, owed, state, seq, answers):
    if state == Verdict.NOT_RUN:
        return None, Judgement(verdict=Verdict.NOT_RUN, reason="no evidence in this run")
    if state == Verdict.BLOCKED and requirement.id in NEEDS_SERVER:
        record = _record(candidate, requirement, owed, seq, status=EvidenceStatus.BLOCKED, reason=PORT_TAKEN)
        return record, Judgement(verdict=Verdict.BLOCKED, reason=PORT_TAKEN)
    measured, raw = facts_of(candidate, requirement, owed, state, answers)
    record = _record(candidate, requirement, owed, seq, measured=measured, raw=raw, noisy=state in {Verdict.INVALID, Verdict.WAIVED})
    return record, judgement_of(candidate, requirement, owed, state, measured)


def _record(
    candidate,
    requirement,
    owed,
    seq,
    *,
    measured=None,
    raw=None,
    status=EvidenceStatus.MEASURED,
    reason="",
    noisy=False,
):
    reused = requirement.marker == "ppl"
    return Evidence(
        run=RUN,
        seq=seq,
        prev_sha256=hashlib.sha256(str(seq).encode()).hexdigest(),
        candidate=candidate.id,
        arm=requirement.arm,
        requirement=requirement.id,
        case=owed.case,
        marker=requirement.marker,
        status=status,
        reason=reason,
        started=STARTED + timedelta(seconds=30 * seq, days=-4 if reused else 0),
        duration_s=12.5,
        measured=dict(measured or {}),
        unit="",
        conditions=_conditions(noisy) if requirement.runtime else Conditions(),
        identity={part: hashlib.sha256(part.encode()).hexdigest()[:16] for part in requirement.identity},
        raw=dict(raw or {}),
        reused_from=f"20261120T081500Z-dgx-3120#{seq}" if reused else None,
    )


def _conditions(noisy):
    load = (ProcessLoad(name="asr-server", pid=2378446, command="asr-server --port 9000", cpu_pct=344.0, service="asr"),) if noisy else ()
    gpu = GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=94.0, sm_clock_mhz=2411.0, power_w=61.4, temperature_c=64.0)
    snapshot = Snapshot(at=STARTED, load_1min=1.2, mem_available_mib=64_000.0, competing=load, gpus=(gpu,))
    return Conditions(before=snapshot, after=snapshot)


def _verdict(host, requirement, owed, judgement, record):
    return GateVerdict(
        requirement=requirement.id,
        case=owed.case,
        marker=requirement.marker,
        tier=weight_of(requirement, host.candidate(owed.candidate), host),
        judgement=judgement,
        seq=record.seq if record else None,
        measured_at=record.started if record else None,
        reused_from=record.reused_from if record else None,
    )


def _candidate(candidate, gates):
    bad = worst([gate.judgement.verdict for gate in gates if gate.tier == Tier.REQUIRED])
    first = next((gate for gate in gates if gate.judgement.verdict == bad and gate.tier == Tier.REQUIRED), None)
    through = bad in {Verdict.PASS, Verdict.WAIVED}
    return CandidateSignOff(
        candidate=candidate.id,
        title=candidate.title,
        model=candidate.model,
        lane=candidate.lane,
        role=candidate.role,
        signoff=SignOff.NOT_READY
        if bad == Verdict.EXPECTED
        else SignOff.READY
        if through
        else SignOff.NOT_READY
        if bad == Verdict.FAIL
        else SignOff.INCOMPLETE,
        worst=bad,
        gates=tuple(gates),
        exempt=dict(candidate.exempt),
        next_step="" if through or first is None else f"{first.requirement} {bad}: {first.judgement.reason}",
    )


def _manifest(host, requirements, full_scope):
    return RunManifest(
        run=RUN,
        started=STARTED,
        host=host.model_dump(mode="json", by_alias=True),
        requirements=tuple(requirement.model_dump(mode="json", by_alias=True) for requirement in requirements),
        families=tuple(family.model_dump(mode="json", by_alias=True) for family in load_families()),
        lanes=load_lanes().model_dump(mode="json"),
        host_choice="detected an NVIDIA GB10",
        scope=(),
        full_scope=full_scope,
        waivers=({"kind": "waiver", **WAIVED, "waives": ["FAIL"]},) if host.id == "dgx" else (),
        suite_version="0.1.0",
    )


def _run_verdict(host, requirements, candidates, evidence, full_scope):
    lanes = [candidate for candidate in candidates if candidate.role in GOAL_ROLES]
    models = {
        model: next((c.candidate for c in lanes if c.model == model and c.signoff == SignOff.READY), "") for model in host.goal.models
    }
    signoffs = {lane.signoff for lane in lanes}
    ready = all(models.values())
    master = SignOff.READY if ready else SignOff.NOT_READY if SignOff.NOT_READY in signoffs else SignOff.INCOMPLETE
    verdicts = [gate.judgement.verdict for c in candidates for gate in c.gates if gate.tier == Tier.REQUIRED]
    return RunVerdict(
        run=RUN,
        host=host.id,
        host_title=host.title,
        standin=host.standin,
        as_of=STARTED,
        rules_version=1,
        scope=(),
        full_scope=full_scope,
        master=master,
        master_reason="" if ready else "; ".join(f"{model}: no READY lane" for model, chosen in models.items() if not chosen),
        models=models,
        areas=tuple(_area(area, requirements, candidates) for area in dict.fromkeys(item.area for item in requirements)),
        candidates=tuple(candidates),
        coverage=Coverage(
            required=len(verdicts),
            **{verdict.lower() if verdict == Verdict.NOT_RUN else _COUNTED[verdict]: verdicts.count(verdict) for verdict in Verdict},
            reused=sum(gate.reused_from is not None for c in candidates for gate in c.gates if gate.tier == Tier.REQUIRED),
        ),
        evidence_records=len(evidence),
        evidence_sha256="7f" * 32,
    )


_COUNTED = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.INVALID: "invalid",
    Verdict.BLOCKED: "blocked",
    Verdict.WAIVED: "waived",
    Verdict.EXPECTED: "expected",
}


def _area(area, requirements, candidates):
    of_area = {item.id for item in requirements if item.area == area}
    gates = [gate for c in candidates for gate in c.gates if gate.requirement in of_area and gate.tier == Tier.REQUIRED]
    verdicts = [gate.judgement.verdict for gate in gates]
    bad = worst(verdicts)
    reason = next((gate.judgement.reason for gate in gates if gate.judgement.verdict == bad and bad != Verdict.PASS), "")
    passed = sum(verdict in {Verdict.PASS, Verdict.WAIVED} for verdict in verdicts)
    return AreaStatus(area=area, verdict=bad, passed=passed, total=len(verdicts), next_step=reason)


def _launch(candidate, number):
    argv = ("/opt/llama/llama-server", "-m", f"/models/{candidate.model}.gguf", "--alias", f"readiness {candidate.id}", "--port", "8087")
    at = STARTED + timedelta(seconds=5 * number)
    return Launch(
        at=at,
        candidate=candidate.id,
        arm=Arm.PRODUCTION,
        program="llama-server",
        pid=5000 + number,
        argv=argv,
        env={"GGML_CUDA_DISABLE_GRAPHS": "1", "LD_LIBRARY_PATH": "/opt/llama"},
        log=f"{candidate.id}-production.log",
        ended=at + timedelta(minutes=4),
        exit_status=0,
    )
