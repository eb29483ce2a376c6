"""Stability: the server that passed the gates is still the one that was launched, and sound."""

import pytest

from fixtures.measure import stability


@pytest.mark.requirement("STA-1")
def test_sound_after_use(prove):
    """Same process, same alias, one more answer, nothing fatal in the log."""
    prove(stability.soundness)
