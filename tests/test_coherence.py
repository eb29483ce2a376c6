"""Coherence: the model says what it must, byte for byte, while drafting, and nothing breaks."""

import pytest

from fixtures.measure.coherence import ask
from fixtures.measure.prompts import load_prompt

pytestmark = [pytest.mark.coherence, pytest.mark.runtime]


@pytest.mark.requirement("COH-1")
def test_prompt(gate, models, obtain, settle):
    """Text check, HTTP 200, draft timings present, CUDA errors 0, GGML aborts 0: all five, for every owed prompt."""
    api = models.model(gate.candidate).api
    prompt = lambda: load_prompt(gate.case, gate.host.coherence.texts)  # noqa: E731
    settle(obtain(lambda subject: ask(subject.server, prompt(), api), identity=lambda: {"prompts": prompt().sha256}))
