"""KV: the cache has the size that the model's geometry and the lane's types give. FACTS section 2."""

import pytest

from fixtures.measure import kv
from fixtures.models.geometry import shipped_geometry
from fixtures.models.kv_size import KvShape

pytestmark = pytest.mark.kv


@pytest.mark.requirement("KV-2")
def test_recorded_figure(gate, workbench, obtain, settle):
    """The recorded 8K figure is what the maths gives. Needs no engine and no file."""
    k_bpw, v_bpw = workbench.lanes.bpw(gate.candidate.lane)
    geometry = shipped_geometry(gate.host.models[gate.candidate.model].geometry)
    settle(obtain(lambda subject: kv.recorded_figure(geometry, k_bpw, v_bpw)))


@pytest.mark.runtime
@pytest.mark.requirement("KV-1")
def test_allocated_is_computed(gate, workbench, obtain, settle):
    """The server's own KV buffers hold exactly the computed bytes, for K, for V and together."""
    launch = gate.host.launch
    shape = KvShape(n_ctx=launch.context or 0, n_ubatch=launch.ubatch, n_parallel=launch.parallel)
    settle(obtain(lambda subject: kv.allocated_kv(subject.server, workbench.lane_types(gate.candidate), shape)))
