"""A TBQ lane in this project's engine: it fits a model's heads, or is refused with one clear line."""

import pytest

from fixtures.catalog.load import load_lanes
from fixtures.engine.dialect import recorded_dialect
from fixtures.engine.lanes import LaneUnavailable, check_heads, resolve_lane
from fixtures.models.geometry import shipped_geometry
from llama_build import BuildError, EngineRequest


@pytest.fixture
def dialect():
    return recorded_dialect("tbq-patch")


@pytest.mark.parametrize("lane", ["k3v3", "k3v4"])
def test_lanes_fit_heads_that_a_block_divides(dialect, lane):
    types = resolve_lane(lane, load_lanes(), dialect)
    assert types.k_type == "tbq3_0"
    for geometry in ("gemma4-31b", "gemma4-26b-a4b", "gemma4-e4b", "gemma3-270m"):
        check_heads(lane, types, shipped_geometry(geometry), dialect)


def test_heads_of_half_a_block_are_refused_in_one_line(dialect):
    types = resolve_lane("k3v4", load_lanes(), dialect)
    with pytest.raises(LaneUnavailable, match=r"smollm2-135m.*tbq3_0 needs heads of a multiple of 128.*head_dim 64") as caught:
        check_heads("k3v4", types, shipped_geometry("smollm2-135m"), dialect)
    assert "\n" not in str(caught.value)


def test_a_recipe_carries_its_patch_set():
    request = EngineRequest.named("pinned+tbq")
    assert (request.recipe, request.patch_set) == ("pinned", "tbq")
    assert EngineRequest.named("pinned").patch_set is None


@pytest.mark.parametrize("recipe", ["pinned+", "path+tbq", "nightly"])
def test_a_wrong_recipe_is_one_clear_message(recipe):
    with pytest.raises(BuildError, match=r"There is no recipe '.*'\. Expected pinned, source or path"):
        EngineRequest.named(recipe)
