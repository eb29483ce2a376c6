"""Evidence records for tests of ledger, judges and sign-off."""

from datetime import UTC, datetime

from fixtures.records.conditions import Conditions, Snapshot
from fixtures.records.evidence import GENESIS_SHA256, Evidence, EvidenceStatus

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
QUIET = Conditions(
    before=Snapshot(at=NOON, load_1min=0.1, mem_available_mib=1000.0), after=Snapshot(at=NOON, load_1min=0.1, mem_available_mib=1000.0)
)


def evidence(
    requirement="KV-1",
    candidate="twin42-q8",
    measured=None,
    *,
    case="",
    raw=None,
    status=EvidenceStatus.MEASURED,
    reason="",
    conditions=QUIET,
):
    return Evidence(
        run="20261124T120000Z-local-1",
        seq=0,
        prev_sha256=GENESIS_SHA256,
        candidate=candidate,
        arm="production",
        requirement=requirement,
        case=case,
        marker="kv",
        status=status,
        reason=reason,
        started=NOON,
        duration_s=1.0,
        measured=measured or {},
        unit="",
        conditions=conditions,
        identity={},
        raw=raw or {},
    )


# for every judge, a record that passes
KV = {
    "allocated_mib": 89.25,
    "computed_mib": 89.25,
    "allocated_k_mib": 44.62,
    "computed_k_mib": 44.625,
    "allocated_v_mib": 44.62,
    "computed_v_mib": 44.625,
    "k_type": "q8_0",
    "v_type": "q8_0",
    "k_bpw": 8.5,
    "v_bpw": 8.5,
    "effective_k_bpw": 8.5,
    "effective_v_bpw": 8.5,
    "log_lines": 2,
    "n_ctx": 8192,
    "server_n_ctx": 8192,
}
TYPES = {
    "k_type": "turbo3",
    "k_bpw": 3.125,
    "declared_k_bpw": 3.125,
    "v_type": "turbo4",
    "v_bpw": 4.25,
    "declared_v_bpw": 4.25,
    "resolution_bpw": 0.00125,
}
CLAIMS = {"claims": 2, "confirmed": 1, "contradicted": 1}
CONFIRMED = {"id": "a-8k", "claimed": 359.38, "true": 359.375, "unit": "MiB", "finding": "confirmed"}
CONTRADICTED = {"id": "a-128k", "claimed": 5.62, "true": 2.182, "unit": "GiB", "finding": "contradicted"}
COH = {"text_ok": True, "http_status": 200, "draft_n": 6, "draft_n_accepted": 6, "cuda_errors": 0, "ggml_aborts": 0}
TPS = {"decode_tps_median": 50.0, "ci_low_tps": 49.0, "ci_high_tps": 51.0, "cv_pct": 3.0, "requests": 6}
ACCEPT = {"accept_pct": 95.0, "estimator": "pooled", "draft_n": 100, "draft_n_accepted": 95}
PPL_MEASURED = {"ppl": 20.01, "engine": "e", "corpus_sha256": "c" * 64, "chunks": 8, "context": 512}
KLD_MEASURED = {"kld": 0.02, "kld_stderr": 0.001, "same_top_pct": 93.4, "same_top_stderr_pct": 0.8} | {
    key: PPL_MEASURED[key] for key in ("engine", "corpus_sha256", "chunks", "context")
}
REVIEWED = {"rendered_sha256": "5a" * 32, "reviewed_sha256": "5a" * 32}
SOUND = {"alive": True, "same_alias": True, "http_status": 200, "fatal_lines": 0}
PORT = {"port": 18085, "free": True, "held_by_own_unit": False}


GREEN = {
    "AUD-1": ({"artefacts": 2}, {}),
    "AUD-2": (PORT, {}),
    "AUD-3": ({"k_type": "q8_0", "v_type": "q8_0"}, {}),
    "AUD-4": ({"present": True, "port": 18095}, {}),
    "AUD-5": ({"clear": True}, {}),
    "AUD-6": ({"scripts": 2, "compiled": 2}, {}),
    "KV-1": (KV, {}),
    "KV-2": ({"computed_mib": 89.25}, {}),
    "KV-3": (TYPES, {}),
    "KV-4": (CLAIMS, {"claims": [CONFIRMED, CONTRADICTED]}),
    "PPL-1": (PPL_MEASURED, {}),
    "PPL-2": (KLD_MEASURED, {"running": ["0.01900", "0.02100", "0.02000"]}),
    "COH-1": (COH, {}),
    "TPS-1": (TPS, {}),
    "TPS-2": (ACCEPT, {}),
    "DEP-1": ({"verify_exit": 0}, {"stderr": []}),
    "DEP-2": ({"differences": 0}, {"differences": []}),
    "DEP-3": ({**PORT, "free": False, "held_by_own_unit": True}, {}),
    "DEP-4": (REVIEWED, {"differences": []}),
    "DEP-5": (REVIEWED, {"differences": []}),
    "STA-1": (SOUND, {}),
    "SGN-1": ({"missing": 0}, {"missing": []}),
}
