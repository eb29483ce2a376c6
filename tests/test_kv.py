"""KV: the cache has the size that the model's geometry and the lane's types give. docs/facts.md#kv-cache."""

import pytest

from fixtures.measure import claims, kv, placement


@pytest.mark.requirement("KV-2")
def test_recorded_figure(prove):
    """The recorded 8K figure is what the maths gives. Needs no engine and no file."""
    prove(kv.recorded_figure)


@pytest.mark.requirement("KV-4")
def test_claims(prove):
    """What the report states of KV memory, number by number: confirmed, or contradicted with the true value and the cause."""
    prove(claims.claims)


@pytest.mark.requirement("KV-3")
def test_type_sizes(prove):
    """The engine's types weigh what the lane declares: a `turbo3` of 3.5 bits is not the K3 of 3.125."""
    prove(kv.type_sizes)


@pytest.mark.requirement("KV-1")
def test_allocated_is_computed(prove):
    """The server's own KV buffers hold exactly the computed bytes, for K, for V and together."""
    prove(kv.allocated)


@pytest.mark.requirement("KV-5")
def test_placement(prove):
    """On a GPU host: cache, layers and graph are on the GPU, and NVML knows the memory as our process's."""
    prove(placement.placement)


@pytest.mark.requirement("KV-6")
def test_no_conversion(prove):
    """On a GPU host: no pair of K and V types that is converted to F16 at each step for want of a kernel."""
    prove(placement.conversion)
