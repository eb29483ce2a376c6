"""Losslessness: speculation changes how fast a text comes, and never which text it is."""

import pytest

from fixtures.measure import lossless


@pytest.mark.requirement("LOSS-1")
def test_drafting_changes_no_token(prove):
    """Each token of production is the plain arm's first choice or a near tie; a token changed on purpose is seen."""
    prove(lossless.tokens)
