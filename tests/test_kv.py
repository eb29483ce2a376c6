"""KV: the cache has the size that the model's geometry and the lane's types give. docs/facts.md#kv-cache."""

import pytest

from fixtures.catalog.load import load_claims
from fixtures.measure import kv
from fixtures.measure.claims import claims_about, judged_claims
from fixtures.records.digest import digest

pytestmark = pytest.mark.kv


@pytest.mark.requirement("KV-2")
def test_recorded_figure(obtain, settle):
    """The recorded 8K figure is what the maths gives. Needs no engine and no file."""
    settle(obtain(kv.recorded_figure))


@pytest.mark.requirement("KV-4")
def test_claims(gate, obtain, settle):
    """What the report states of KV memory, number by number: confirmed, or contradicted with the true value and the cause."""
    claims = claims_about(gate.candidate, gate.host, load_claims())
    identity = lambda: {"claims": digest([claim.model_dump() for claim in claims])}  # noqa: E731
    settle(obtain(lambda subject: judged_claims(claims, subject.lanes), identity=identity))


@pytest.mark.runtime
@pytest.mark.requirement("KV-3")
def test_type_sizes(obtain, settle):
    """The engine's types weigh what the lane declares: a `turbo3` of 3.5 bits is not the K3 of 3.125."""
    settle(obtain(kv.type_sizes))


@pytest.mark.runtime
@pytest.mark.requirement("KV-1")
def test_allocated_is_computed(obtain, settle):
    """The server's own KV buffers hold exactly the computed bytes, for K, for V and together."""
    settle(obtain(kv.allocated_kv))
