"""Subjects and judgements of audit rows on host local."""

from pathlib import Path

from fixtures.catalog.load import load_host
from fixtures.catalog.requirement import Arm
from fixtures.records.verdict import Verdict
from support.evidence_samples import evidence
from support.evidence_samples import judged as judged_record
from support.launches import subject_of

HOST = load_host("local", bare=True)


CANDIDATE = HOST.candidate("twin42-q8")


def subject(host=HOST, candidate=CANDIDATE):
    return subject_of(host, candidate, None, Path("unused"), Arm.NONE, may_run="nothing may be built in this test")


def rows(observation):
    return observation.raw["rows"]


def judged(requirement, observation, host=HOST, candidate=CANDIDATE):
    """The verdict on what was observed, as the gate gives it."""
    record = evidence(
        requirement, candidate.id, observation.measured, raw=observation.raw, status=observation.status, reason=observation.reason
    )
    return judged_record(record, candidate, host)


def blocked(requirement, observation, said):
    judgement = judged(requirement, observation)
    return judgement.verdict is Verdict.BLOCKED and said in judgement.reason
