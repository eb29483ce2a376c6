"""Stability: the server that passed the gates is still the one that was launched, and sound."""

import pytest

from fixtures.measure import finite, policies, soak, stability


@pytest.mark.requirement("STA-1")
def test_sound_after_use(prove):
    """Same process, same alias, one more answer, nothing fatal in the log."""
    prove(stability.soundness)


@pytest.mark.requirement("STA-2")
def test_policies_are_in_force(prove):
    """The process that holds the model was started with the candidate's policies; a wrapper's environment proves nothing."""
    prove(policies.in_force)


@pytest.mark.requirement("STA-3")
def test_soak_survived(prove):
    """299 requests without graphs, two clients, mixed and cancelled: each answer right, no death, no hang, nothing fatal logged."""
    prove(soak.survived)


@pytest.mark.requirement("STA-4")
def test_soak_memory(prove):
    """The troughs of its memory do not rise from request to request, nor in the last quarter by itself."""
    prove(soak.memory)


@pytest.mark.requirement("STA-5")
def test_soak_speed(prove):
    """The troughs of the time that a token takes do not rise, nor in the last quarter by itself."""
    prove(soak.speed)


@pytest.mark.requirement("STA-6")
def test_every_token_has_a_probability(prove):
    """Without drafts, no log probability of the owed prompts' answers is NaN, infinite or missing."""
    prove(finite.logprobs)
