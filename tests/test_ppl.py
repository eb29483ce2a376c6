"""Perplexity is a reproducibility gate: same engine, corpus, chunks and context give the same number. FACTS section 7."""

import pytest

from fixtures.measure.ppl import perplexity
from fixtures.measure.prompts import corpus_sha256

pytestmark = [pytest.mark.ppl, pytest.mark.runtime]


@pytest.mark.requirement("PPL-1")
def test_reproduced(gate, progress, obtain, settle):
    """llama-perplexity with the lane's KV types gives the recorded value."""
    plan = gate.host.ppl
    corpus = lambda: f"{corpus_sha256(plan.corpus)}:{plan.chunks}x{plan.context}"  # noqa: E731
    settle(obtain(lambda subject: perplexity(subject, progress), identity=lambda: {"corpus": corpus()}))
