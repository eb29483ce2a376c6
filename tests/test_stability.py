"""Stability: the server that passed the gates is still the one that was launched, and sound."""

import pytest

from fixtures.measure import policies, stability


@pytest.mark.requirement("STA-1")
def test_sound_after_use(prove):
    """Same process, same alias, one more answer, nothing fatal in the log."""
    prove(stability.soundness)


@pytest.mark.requirement("STA-2")
def test_policies_are_in_force(prove):
    """The process that holds the model was started with the candidate's policies; a wrapper's environment proves nothing."""
    prove(policies.in_force)
