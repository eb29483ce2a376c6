"""The sign-off itself: can it be completed at all with what the catalog knows?"""

import pytest

from fixtures.catalog.owed import missing_limits
from fixtures.records.evidence import Observation

pytestmark = pytest.mark.signoff


@pytest.mark.requirement("SGN-1")
def test_completable(gate, run_state, obtain, settle):
    """Everything that applies to the candidate has the limit it is judged by."""
    missing = list(missing_limits(gate.candidate, run_state.requirements))
    settle(obtain(lambda subject: Observation(measured={"missing": len(missing)}, raw={"missing": missing})))
