"""Which types a lane resolves to, and the variable that keeps them."""

import pytest

from fixtures.catalog.load import load_lanes
from fixtures.engine.dialect import recorded_dialect
from fixtures.engine.lanes import LaneUnavailable, resolve_lane


@pytest.fixture
def lanes():
    return load_lanes()


def test_a_type_of_unknown_size_is_no_lane(lanes):
    dialect = recorded_dialect("thetom").model_copy(update={"kv_bpw": {"turbo4": 4.25}})
    with pytest.raises(LaneUnavailable, match=r"its turbo3 has \(size unknown\)"):
        resolve_lane("k3v4", lanes, dialect)


def test_another_type_of_the_right_size_and_name_serves_the_lane(lanes):
    dialect = recorded_dialect("buun")
    both = dialect.model_copy(update={"kv_types": (*dialect.kv_types, "tbq3_0"), "kv_bpw": {**dialect.kv_bpw, "tbq3_0": 3.125}})
    types = resolve_lane("k3v3", lanes, both)
    assert (types.k_type, types.k_bpw) == ("tbq3_0", 3.125)


def test_an_unknown_lane_names_the_lanes(lanes):
    with pytest.raises(LaneUnavailable, match=r"no lane is called k5v5; the catalog has .*k3v3"):
        resolve_lane("k5v5", lanes, recorded_dialect("upstream"))
