"""Coherence: the model says what it must, byte for byte, while drafting, and nothing breaks."""

import pytest

from fixtures.measure import coherence, conversation


@pytest.mark.requirement("COH-1")
def test_prompt(prove):
    """Text check, HTTP 200, draft timings present, CUDA errors 0, GGML aborts 0: all five, for every owed prompt."""
    prove(coherence.answer)


@pytest.mark.requirement("COH-2")
def test_streamed(prove):
    """Streamed, each owed prompt is answered with the same bytes, in events of UTF-8 that end."""
    prove(conversation.streamed)


@pytest.mark.requirement("COH-3")
def test_wherever_it_is_asked(prove):
    """Alone, cached, again, after another question, as a further turn: the same question is answered rightly each time."""
    prove(conversation.repeated)
