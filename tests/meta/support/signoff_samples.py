"""A whole run of the local host, all green, for tests of sign-off, waivers and report."""

from fixtures.catalog.candidate import Role
from fixtures.catalog.limit import LIMIT_BASIS
from fixtures.catalog.load import load_host, load_requirements
from fixtures.catalog.owed import owed_by
from fixtures.judge.signoff import sign_off
from support.evidence_samples import GREEN, NOON, evidence

HOST = load_host("local")
REQUIREMENTS = load_requirements()
OWED = list(owed_by(HOST, REQUIREMENTS))
REQUIREMENT = {requirement.id: requirement for requirement in REQUIREMENTS}
# how a negative candidate fails what it must
BAD = {
    "COH-1": ({"text_ok": False}, {"checks": [{"name": "exact", "passed": False, "detail": "answer is X"}]}),
    "PPL-2": ({"kld": 0.73}, {}),
}


def run(records, host=HOST, scope=None, waivers=()):
    return sign_off(
        run="r",
        host=host,
        requirements=REQUIREMENTS,
        evidence=[record.model_copy(update={"seq": number}) for number, record in enumerate(records, 1)],
        evidence_sha256="0" * 64,
        scope=OWED if scope is None else scope,
        waivers=waivers,
        as_of=NOON,
    )


def all_green(change=None):
    """A passing record for everything owed, a failing one where it must, from the judges' green samples; `change` replaces single ones."""
    speeds = {"KV-2": lambda c: {"computed_mib": c.limit("kv_8k_mib").reference}}
    for owed in OWED:
        measured, raw = GREEN[owed.requirement]
        candidate = HOST.candidate(owed.candidate)
        if owed.requirement in speeds:
            measured = speeds[owed.requirement](candidate)
        if owed.requirement == "AUD-1":
            measured = {"artefacts": 2 if candidate.speculation.mtp_block else 1}
        if owed.requirement in ("PPL-1", "PPL-2"):
            limit = candidate.limit(REQUIREMENT[owed.requirement].limit)
            measured = {**measured, REQUIREMENT[owed.requirement].limit: limit.reference, **limit.basis(LIMIT_BASIS)}
        if candidate.role is Role.NEGATIVE:
            measured, raw = {**measured, **BAD[owed.requirement][0]}, {**raw, **BAD[owed.requirement][1]}
        record = evidence(owed.requirement, owed.candidate, measured, case=owed.case, raw=raw)
        yield (change or {}).get((owed.requirement, owed.candidate, owed.case), record)
