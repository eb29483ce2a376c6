"""Perplexity must be reproduced; how far a lane is from F16 KV says what it costs in quality. docs/facts.md#perplexity-and-divergence."""

import pytest

from fixtures.measure.divergence import divergence
from fixtures.measure.ppl import perplexity


@pytest.mark.requirement("PPL-1")
def test_reproduced(prove):
    """llama-perplexity with the lane's KV types gives the recorded value."""
    prove(perplexity)


@pytest.mark.requirement("PPL-2")
def test_close_to_f16(prove):
    """The lane's KV types change the model's answers by no more than the recorded KL divergence from F16 KV."""
    prove(divergence)
