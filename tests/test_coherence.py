"""Coherence: the model says what it must, byte for byte, while drafting, and nothing breaks."""

import pytest

from fixtures.measure import coherence


@pytest.mark.requirement("COH-1")
def test_prompt(prove):
    """Text check, HTTP 200, draft timings present, CUDA errors 0, GGML aborts 0: all five, for every owed prompt."""
    prove(coherence.answer)
