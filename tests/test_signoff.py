"""The sign-off itself: can it be completed at all with what the catalog and the prompts hold?"""

import pytest

from fixtures.catalog.owed import missing_limits
from fixtures.measure.prompts import missing_prompts
from fixtures.records.evidence import Observation

pytestmark = pytest.mark.signoff


@pytest.mark.requirement("SGN-1")
def test_completable(gate, run_state, obtain, settle):
    """Everything that applies to the candidate has the limit or prompt it is judged by."""
    missing = [*missing_limits(gate.candidate, run_state.requirements), *missing_prompts(gate.candidate.prompts, gate.host.coherence.texts)]
    settle(obtain(lambda subject: Observation(measured={"missing": len(missing)}, raw={"missing": missing})))
