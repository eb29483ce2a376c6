"""The sign-off itself: can it be completed at all with what the catalog and the prompts hold?"""

import pytest

from fixtures.catalog.load import tier_of
from fixtures.catalog.owed import missing_limits
from fixtures.catalog.requirement import Tier
from fixtures.measure.prompts import missing_prompts
from fixtures.records.evidence import Observation

pytestmark = pytest.mark.signoff


@pytest.mark.requirement("SGN-1")
def test_completable(gate, run_state, obtain, settle):
    """Everything that is required of the candidate has the limit or prompt it is judged by."""
    required = [requirement for requirement in run_state.requirements if tier_of(requirement, gate.host) is Tier.REQUIRED]
    missing = [*missing_limits(gate.candidate, required), *missing_prompts(gate.candidate.prompts, gate.host.coherence.texts)]
    settle(obtain(lambda subject: Observation(measured={"missing": len(missing)}, raw={"missing": missing})))
