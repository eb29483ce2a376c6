"""Runs to show: the shipped DGX profile with one candidate in each state, in numbers that look like the real ones."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from fixtures.catalog.candidate import Candidate, Role
from fixtures.catalog.host import Host
from fixtures.catalog.load import load_claims, load_families, load_lanes, load_requirements, tier_of
from fixtures.catalog.owed import Owed, gated, owed_by
from fixtures.catalog.requirement import Arm, Requirement, Tier
from fixtures.measure.claims import judged_claims
from fixtures.records.conditions import Conditions, GpuReading, ProcessLoad, Snapshot
from fixtures.records.evidence import Evidence, EvidenceStatus
from fixtures.records.signoff import AreaStatus, CandidateSignOff, Coverage, GateVerdict, Launch, RunManifest, RunVerdict
from fixtures.records.verdict import Judgement, SignOff, Verdict, worst
from support.places import ROOT

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
PORT_TAKEN = "port 8090 is taken by python (pid 2317, since 2026-11-23 21:04 UTC); stop it or choose another test port"
WAIVED = {
    "candidate": "e4b-k3v3",
    "requirement": "TPS-1",
    "case": "",
    "reason": "the ASR has to stay up this week; a noisy run is accepted",
    "who": "the owner",
    "date": "2026-11-23",
    "expires": "2026-12-01T00:00Z",
}
WAIVER = "waiver by the owner of 2026-11-23, until 2026-12-01T00:00Z: the ASR has to stay up this week; a noisy run is accepted"
NEEDS_SERVER = {"KV-1", "KV-3", "COH-1", "TPS-1", "TPS-2", "DEP-2", "DEP-3", "AUD-2", "STA-1"}
ANSWERS = {
    "zh_marker": "【驗收標記】繁體中文輸出正常。",
    "embedded_facts": "本系統使用 Gemma4、llama.cpp、MTP/ngram 與 TBQ3。\n推測解碼由草稿模型提出,再由主模型驗證。",
    "repeat_line": "\n".join(["清晨的港口很安靜,只有海風和遠處的汽笛聲。"] * 6),
}


class Sample(NamedTuple):
    """What `build_page` is given."""

    manifest: RunManifest
    verdict: RunVerdict
    evidence: tuple[Evidence, ...]
    launches: tuple[Launch, ...]
    links: Mapping[str, str]


def host_of(name: str, **changes: Any) -> Host:
    """A shipped host without any overlay of this machine."""
    return Host.model_validate({**tomllib.loads((HOSTS / f"{name}.toml").read_text("utf-8")), **changes})


@cache
def five_states() -> Sample:
    """A full run: one blocked, one failing, one waived, one invalid and one passing candidate, and a comparison row."""
    return run_of(host_of("dgx"), FIVE_STATES)


def run_of(
    host: Host,
    states: Mapping[str, Verdict],
    *,
    requirements: Sequence[Requirement] | None = None,
    full_scope: bool = True,
    answers: Mapping[str, str] = ANSWERS,
) -> Sample:
    """A run in which every candidate is in the state given; `Verdict.NOT_RUN` leaves it without evidence."""
    listed = tuple(requirements or load_requirements())
    by_id = {requirement.id: requirement for requirement in listed}
    evidence: list[Evidence] = []
    gates: dict[str, list[GateVerdict]] = {candidate.id: [] for candidate in gated(host)}
    for owed in owed_by(host, listed):
        candidate, requirement = host.candidate(owed.candidate), by_id[owed.requirement]
        record, judgement = _gate(candidate, requirement, owed, states.get(owed.candidate, Verdict.PASS), len(evidence) + 1, answers)
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


def _gate(
    candidate: Candidate, requirement: Requirement, owed: Owed, state: Verdict, seq: int, answers: Mapping[str, str]
) -> tuple[Evidence | None, Judgement]:
    if state == Verdict.NOT_RUN:
        return None, Judgement(verdict=Verdict.NOT_RUN, reason="no evidence in this run")
    if state == Verdict.BLOCKED and requirement.id in NEEDS_SERVER:
        record = _record(candidate, requirement, owed, seq, status=EvidenceStatus.BLOCKED, reason=PORT_TAKEN)
        return record, Judgement(verdict=Verdict.BLOCKED, reason=PORT_TAKEN)
    measured, raw = _facts(candidate, requirement, owed, state, answers)
    record = _record(candidate, requirement, owed, seq, measured=measured, raw=raw, noisy=state in {Verdict.INVALID, Verdict.WAIVED})
    return record, _judgement(candidate, requirement, owed, state, measured)


def _facts(
    candidate: Candidate, requirement: Requirement, owed: Owed, state: Verdict, answers: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`measured` and `raw` as the measuring modules write them."""
    match requirement.marker:
        case "kv":
            return _kv_facts(candidate, requirement)
        case "ppl":
            ppl = candidate.limit("ppl").reference if candidate.limit("ppl") else 30.0
            basis = {"chunks": 64, "context": 512, "corpus_sha256": "5a" * 32, "engine": "0c1e57098bba43ac29e6e3b677cdceebdd22334f+tbq"}
            basis["backend"] = "cuda"
            if requirement.id == "PPL-2":
                distance = {"kld": 0.31824, "kld_stderr": 0.0052, "same_top_pct": 80.8, "same_top_stderr_pct": 0.41}
                return {**distance, **basis}, {"running": ["0.32010", "0.31824"], "log": f"{candidate.id}-kld.log"}
            return {"ppl": ppl, "stderr": 0.1812, **basis}, {"log": f"{candidate.id}-perplexity.log"}
        case "coherence":
            return _coherence_facts(owed, state, answers)
        case "tps":
            return _speed_facts(candidate, requirement, state)
        case "audit":
            facts = [{"path": f"/models/{candidate.model}.gguf", "size_bytes": 19_000_000_000, "file_type": "Q4_K_M"}]
            return ({"artefacts": 1}, {"artefacts": facts}) if requirement.id == "AUD-1" else ({"port": 8087, "free": True}, {})
        case "deploy":
            unit = f"[Unit]\nDescription={candidate.title}\n\n[Service]\nType=exec\nExecStart=/opt/llama/llama-server --port 8088\n"
            if requirement.id == "DEP-1":
                return {"verify_exit": 0, "exposure": 1.8}, {"unit": unit}
            if requirement.id in {"DEP-4", "DEP-5"}:
                text = unit if requirement.id == "DEP-5" else "production tbq-patch\n  llama-server\n  --port 8087\n"
                found = hashlib.sha256(text.encode()).hexdigest()
                review = {"who": "the owner", "date": "2026-11-25", "reason": "read line by line"}
                return {"rendered_sha256": found, "reviewed_sha256": found}, {"rendered": text, "differences": [], "review": review}
            return {"differences": 0}, {"differences": []}
    return {"alive": True}, {}


def _kv_facts(candidate: Candidate, requirement: Requirement) -> tuple[dict[str, Any], dict[str, Any]]:
    kv = candidate.limit("kv_8k_mib").reference if candidate.limit("kv_8k_mib") else 64.0
    if requirement.id == "KV-3":
        k_bpw, v_bpw = load_lanes().bpw(candidate.lane)
        sizes = {"k_bpw": k_bpw, "declared_k_bpw": k_bpw, "v_bpw": v_bpw, "declared_v_bpw": v_bpw}
        return {"k_type": "turbo3", "v_type": "turbo4", **sizes, "resolution_bpw": 0.00125}, {}
    if requirement.id == "KV-4":
        found = judged_claims([claim for claim in load_claims() if claim.id.startswith(candidate.id.split("-")[0])], load_lanes())
        return found.measured, found.raw
    if requirement.id == "KV-1":
        return {"computed_mib": kv, "allocated_mib": kv, "n_ctx": 8192, "weights_mib": 19312.5, "compute_mib": 522.02}, {}
    return {"computed_mib": kv}, {}


def _coherence_facts(owed: Owed, state: Verdict, answers: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    answer = answers.get(owed.case, owed.case)  # a prompt without a text here is answered by its id
    broken = state == Verdict.FAIL and owed.case == "repeat_line"
    if broken:
        answer = answer.replace("汽笛聲", "汽\ufffd\ufffd聲", 1)
    checks = [{"name": "equals", "passed": not broken, "detail": "line 1 differs at character 19" if broken else "six lines, exact"}]
    measured = {"text_ok": not broken, "http_status": 200, "draft_n": 124, "draft_n_accepted": 96, "cuda_errors": 0, "ggml_aborts": 0}
    request = {"messages": [{"role": "user", "content": "請原樣輸出這一行六次。"}], "max_tokens": 256}
    return measured, {"request": request, "answer": answer, "checks": checks}


def _speed_facts(candidate: Candidate, requirement: Requirement, state: Verdict) -> tuple[dict[str, Any], dict[str, Any]]:
    limit = candidate.limit("decode_tps")
    tps = round((limit.reference if limit else 20.0) * (0.91 if state == Verdict.FAIL else 0.962 if state == Verdict.WAIVED else 1.008), 3)
    requests = [{"predicted_per_second": round(tps * (1 + step / 100), 3), "predicted_n": 256} for step in (-1.6, -0.7, 0.0, 0.4, 0.9, 1.8)]
    if requirement.id == "TPS-2":
        accept = (candidate.limit("accept_pct").reference if candidate.limit("accept_pct") else 50.0) + 0.31
        measured = {"accept_pct": round(accept, 3), "estimator": "pooled", "draft_n": 1840, "draft_n_accepted": round(18.4 * accept)}
        return measured, {"requests": requests}
    spread = {"ci_low_tps": round(tps * 0.988, 3), "ci_high_tps": round(tps * 1.013, 3), "cv_pct": 1.21, "requests": 6}
    return {"decode_tps_median": tps, **spread}, {"requests": requests}


def _judgement(candidate: Candidate, requirement: Requirement, owed: Owed, state: Verdict, measured: Mapping[str, Any]) -> Judgement:
    if requirement.id == "TPS-1" and (limit := candidate.limit("decode_tps")):
        tps = measured["decode_tps_median"]
        against: dict[str, Any] = {"measured": tps, "limit": limit.bound, "margin": limit.margin(tps), "unit": "t/s"}
        reasons = {
            Verdict.FAIL: (Verdict.FAIL, f"median decode speed is {tps:g} t/s, must be at least {limit.bound:g} t/s"),
            Verdict.WAIVED: (Verdict.WAIVED, WAIVER),
            Verdict.INVALID: (Verdict.INVALID, f"{tps:g} t/s was measured beside asr at 344 % of a core (pid 2378446, limit 50 %)"),
        }
        verdict, reason = reasons.get(state, (Verdict.PASS, f"median decode speed is {tps:g} t/s, at least {limit.bound:g} t/s"))
        return Judgement(verdict=verdict, reason=reason, **against)
    if requirement.id == "COH-1" and not measured["text_ok"]:
        return Judgement(verdict=Verdict.FAIL, reason="text check failed: equals: line 1 differs at character 19")
    if requirement.id == "PPL-2":
        return Judgement(verdict=Verdict.BLOCKED, reason="the catalog has no reference for it", measured=measured["kld"])
    limits = {
        "TPS-2": ("accept_pct", candidate.limit("accept_pct")),
        "KV-2": ("computed_mib", candidate.limit("kv_8k_mib")),
        "PPL-1": ("ppl", candidate.limit("ppl")),
    }
    key, limit = limits.get(requirement.id, ("", None))
    if limit is None:
        return Judgement(verdict=Verdict.PASS, reason="every condition holds")
    value = measured[key]
    return Judgement(
        verdict=Verdict.PASS, reason="within its limit", measured=value, limit=limit.bound, margin=limit.margin(value), unit=limit.unit
    )


def _record(
    candidate: Candidate,
    requirement: Requirement,
    owed: Owed,
    seq: int,
    *,
    measured: Mapping[str, Any] | None = None,
    raw: Mapping[str, Any] | None = None,
    status: EvidenceStatus = EvidenceStatus.MEASURED,
    reason: str = "",
    noisy: bool = False,
) -> Evidence:
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


def _conditions(noisy: bool) -> Conditions:
    load = (ProcessLoad(name="asr-server", pid=2378446, command="asr-server --port 9000", cpu_pct=344.0, service="asr"),) if noisy else ()
    gpu = GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=94.0, sm_clock_mhz=2411.0, power_w=61.4, temperature_c=64.0)
    snapshot = Snapshot(at=STARTED, load_1min=1.2, mem_available_mib=64_000.0, competing=load, gpus=(gpu,))
    return Conditions(before=snapshot, after=snapshot)


def _verdict(host: Host, requirement: Requirement, owed: Owed, judgement: Judgement, record: Evidence | None) -> GateVerdict:
    return GateVerdict(
        requirement=requirement.id,
        case=owed.case,
        marker=requirement.marker,
        tier=tier_of(requirement, host),
        judgement=judgement,
        seq=record.seq if record else None,
        measured_at=record.started if record else None,
        reused_from=record.reused_from if record else None,
    )


def _candidate(candidate: Candidate, gates: Sequence[GateVerdict]) -> CandidateSignOff:
    bad = worst([gate.judgement.verdict for gate in gates if gate.tier == Tier.REQUIRED])
    first = next((gate for gate in gates if gate.judgement.verdict == bad and gate.tier == Tier.REQUIRED), None)
    through = bad in {Verdict.PASS, Verdict.WAIVED}
    return CandidateSignOff(
        candidate=candidate.id,
        title=candidate.title,
        model=candidate.model,
        lane=candidate.lane,
        role=candidate.role,
        signoff=SignOff.READY if through else SignOff.NOT_READY if bad == Verdict.FAIL else SignOff.INCOMPLETE,
        worst=bad,
        gates=tuple(gates),
        exempt=dict(candidate.exempt),
        next_step="" if through or first is None else f"{first.requirement} {bad}: {first.judgement.reason}",
    )


def _manifest(host: Host, requirements: Sequence[Requirement], full_scope: bool) -> RunManifest:
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


def _run_verdict(
    host: Host, requirements: Sequence[Requirement], candidates: Sequence[CandidateSignOff], evidence: Sequence[Evidence], full_scope: bool
) -> RunVerdict:
    lanes = [candidate for candidate in candidates if candidate.role != Role.COMPARISON]
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
}


def _area(area: str, requirements: Sequence[Requirement], candidates: Sequence[CandidateSignOff]) -> AreaStatus:
    of_area = {item.id for item in requirements if item.area == area}
    gates = [gate for c in candidates for gate in c.gates if gate.requirement in of_area and gate.tier == Tier.REQUIRED]
    verdicts = [gate.judgement.verdict for gate in gates]
    bad = worst(verdicts)
    reason = next((gate.judgement.reason for gate in gates if gate.judgement.verdict == bad and bad != Verdict.PASS), "")
    passed = sum(verdict in {Verdict.PASS, Verdict.WAIVED} for verdict in verdicts)
    return AreaStatus(area=area, verdict=bad, passed=passed, total=len(verdicts), next_step=reason)


def _launch(candidate: Candidate, number: int) -> Launch:
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
