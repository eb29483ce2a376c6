"""Coherence: the model says what it must, byte for byte, while drafting, and nothing breaks."""

import pytest

from fixtures.measure import coherence, conversation, drawn, reasoning, recall


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


@pytest.mark.requirement("COH-4")
def test_drawn(prove):
    """Markers, lines, facts, rare characters and JSON of this run's seed, which nobody could know before, are answered rightly."""
    prove(drawn.answers)


@pytest.mark.requirement("COH-5")
def test_recalled_from_far_back(prove):
    """A fact at the beginning is recalled after 200, 1000, 2500 and half of the context's tokens, and the whole prompt read."""
    prove(recall.recalled)


@pytest.mark.requirement("COH-6")
def test_content_where_it_belongs(prove):
    """Reasoning on and off, whole and streamed: the answer stands in content, and reasoning beside it or nowhere."""
    prove(reasoning.placed)
