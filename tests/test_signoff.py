"""The sign-off itself: can it be completed at all with what the catalog and the prompts hold?"""

import pytest

from fixtures.measure.completable import completable


@pytest.mark.requirement("SGN-1")
def test_completable(prove):
    """Everything that is required of the candidate has the limit or prompt it is judged by."""
    prove(completable)
