"""Perplexity must be reproduced; how far a lane is from F16 KV says what it costs in quality. docs/facts.md#perplexity-and-divergence."""

import pytest

from fixtures.measure.divergence import divergence
from fixtures.measure.ppl import perplexity
from fixtures.measure.prompts import corpus_sha256

pytestmark = [pytest.mark.ppl, pytest.mark.runtime]


@pytest.mark.requirement("PPL-1")
def test_reproduced(gate, progress, obtain, settle):
    """llama-perplexity with the lane's KV types gives the recorded value."""
    settle(obtain(lambda subject: perplexity(subject, progress), identity=lambda: corpus(gate.host.ppl, gate.host.ppl.chunks)))


@pytest.mark.requirement("PPL-2")
def test_close_to_f16(gate, progress, obtain, settle, base_logits):
    """The lane's KV types change the model's answers by no more than the recorded KL divergence from F16 KV."""
    measure = lambda subject: divergence(subject, base_logits, progress)  # noqa: E731
    settle(obtain(measure, identity=lambda: corpus(gate.host.ppl, gate.host.ppl.kld_chunks)))


def corpus(plan, chunks):
    """The part of the identity that only these two know."""
    return {"corpus": f"{corpus_sha256(plan.corpus)}:{chunks}x{plan.context}"}
