"""What the sample's records say, and how each is judged: `report_sample` makes runs of them."""

import hashlib

from fixtures.catalog.load import load_claims, load_lanes
from fixtures.measure.claims import judged_claims
from fixtures.records.verdict import Judgement, Verdict

PORT_TAKEN = "port 8090 is taken by python (pid 2317, since 2026-11-23 21:04 UTC); stop it or choose another test port"


WAIVER = "waiver by the owner of 2026-11-23, until 2026-12-01T00:00Z: the ASR has to stay up this week; a noisy run is accepted"


ANSWERS = {
    "zh_marker": "【驗收標記】繁體中文輸出正常。",
    "embedded_facts": "本系統使用 Gemma4、llama.cpp、MTP/ngram 與 TBQ3。\n推測解碼由草稿模型提出,再由主模型驗證。",
    "repeat_line": "\n".join(["清晨的港口很安靜,只有海風和遠處的汽笛聲。"] * 6),
}


def facts_of(candidate, requirement, owed, state, answers):
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


def _kv_facts(candidate, requirement):
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


def _coherence_facts(owed, state, answers):
    answer = answers.get(owed.case, owed.case)  # a prompt without a text here is answered by its id
    broken = state == Verdict.FAIL and owed.case == "repeat_line"
    if broken:
        answer = answer.replace("汽笛聲", "汽\ufffd\ufffd聲", 1)
    checks = [{"name": "equals", "passed": not broken, "detail": "line 1 differs at character 19" if broken else "six lines, exact"}]
    measured = {"text_ok": not broken, "http_status": 200, "draft_n": 124, "draft_n_accepted": 96, "cuda_errors": 0, "ggml_aborts": 0}
    request = {"messages": [{"role": "user", "content": "請原樣輸出這一行六次。"}], "max_tokens": 256}
    return measured, {"request": request, "answer": answer, "checks": checks}


def _speed_facts(candidate, requirement, state):
    limit = candidate.limit("decode_tps")
    tps = round((limit.reference if limit else 20.0) * (0.91 if state == Verdict.FAIL else 0.962 if state == Verdict.WAIVED else 1.008), 3)
    requests = [{"predicted_per_second": round(tps * (1 + step / 100), 3), "predicted_n": 256} for step in (-1.6, -0.7, 0.0, 0.4, 0.9, 1.8)]
    if requirement.id == "TPS-2":
        accept = (candidate.limit("accept_pct").reference if candidate.limit("accept_pct") else 50.0) + 0.31
        measured = {"accept_pct": round(accept, 3), "estimator": "pooled", "draft_n": 1840, "draft_n_accepted": round(18.4 * accept)}
        return measured, {"requests": requests}
    spread = {"ci_low_tps": round(tps * 0.988, 3), "ci_high_tps": round(tps * 1.013, 3), "cv_pct": 1.21, "requests": 6, "decode_s": 12.0}
    return {"decode_tps": tps, **spread}, {"requests": requests, "speeds": [request["predicted_per_second"] for request in requests]}


def judgement_of(candidate, requirement, owed, state, measured):
    if state == Verdict.EXPECTED:
        return Judgement(verdict=Verdict.EXPECTED, reason="fails, as it must: text check failed")
    if requirement.id == "TPS-1" and (limit := candidate.limit("decode_tps")):
        tps = measured["decode_tps"]
        against = {"measured": tps, "limit": limit.bound, "margin": limit.margin(tps), "unit": "t/s"}
        reasons = {
            Verdict.FAIL: (Verdict.FAIL, f"median decode speed is {tps:g} t/s, must be at least {limit.bound:g} t/s"),
            Verdict.WAIVED: (Verdict.WAIVED, WAIVER),
            Verdict.INVALID: (Verdict.INVALID, f"{tps:g} t/s was measured beside asr at 344 % of a core (pid 2378446, limit 50 %)"),
        }
        verdict, reason = reasons.get(state, (Verdict.PASS, f"median decode speed is {tps:g} t/s, at least {limit.bound:g} t/s"))
        return Judgement(verdict=verdict, reason=reason, **against)
    if requirement.id == "COH-1" and not measured["text_ok"]:
        return Judgement(verdict=Verdict.FAIL, reason="text check failed: equals: line 1 differs at character 19")
    if requirement.id == "PPL-2" and candidate.limit("kld") is None:
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
