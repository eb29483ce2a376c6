"""Evidence records for tests of ledger, judges and sign-off."""

from datetime import UTC, datetime

from fixtures.catalog.load import load_requirements
from fixtures.judge.judge import judge
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


REQUIREMENTS = {requirement.id: requirement for requirement in load_requirements()}
GREEN = {name: (requirement.example.measured, requirement.example.raw) for name, requirement in REQUIREMENTS.items()}
"""For every judge a record that passes, of candidate twin42-q8 of host local: the examples of the catalog."""
KV, TYPES, CLAIMS, COH, TPS, ACCEPT = (GREEN[name][0] for name in ("KV-1", "KV-3", "KV-4", "COH-1", "TPS-1", "TPS-2"))
PPL_MEASURED, KLD_MEASURED, SOUND, PORT = (GREEN[name][0] for name in ("PPL-1", "PPL-2", "STA-1", "AUD-2"))
CONFIRMED, CONTRADICTED = GREEN["KV-4"][1]["claims"]


def with_example_limits(candidate):
    """The candidate with the limits that the examples are held against."""
    limits = {item.limit: item.example.limit for item in REQUIREMENTS.values() if item.example.limit}
    return candidate.model_copy(update={"limits": {**candidate.limits, **limits}})


def judged(record, candidate, host):
    """The judgement of a record by the requirement that it names."""
    return judge(record, REQUIREMENTS[record.requirement], candidate, host)
