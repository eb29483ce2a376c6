"""KV facts where something is missing: one sentence that names it, whatever the model is."""

from dataclasses import replace

import pytest
from support.launches import subject_of

from fixtures.catalog.load import load_host
from fixtures.engine.slot import HostSlot
from fixtures.measure import kv
from fixtures.models import gguf_geometry
from fixtures.records.blocked import Blocked


@pytest.fixture
def subject(tmp_path):
    host = load_host("local", bare=True)
    with HostSlot(lambda _: None) as slot:
        yield subject_of(host, host.candidate("smollm2-135m-q8"), slot, tmp_path)


def with_geometry(subject, name):
    models = {**subject.host.models, "smollm2-135m": subject.host.models["smollm2-135m"].model_copy(update={"geometry": name})}
    return replace(subject, host=subject.host.model_copy(update={"models": models}))


def test_a_model_without_geometry_has_no_8k_figure(subject):
    with pytest.raises(Blocked, match=r"missing key `models\.smollm2-135m\.geometry`: name the shipped geometry"):
        kv.recorded_figure(with_geometry(subject, None))


def test_an_unknown_geometry_lists_the_known(subject):
    with pytest.raises(Blocked, match=r"`models\.smollm2-135m\.geometry`: no shipped geometry is called 'gemma5'; there are gem"):
        kv.recorded_figure(with_geometry(subject, "gemma5"))


@pytest.mark.runtime
def test_a_served_model_of_unknown_architecture_is_unavailable(subject, monkeypatch):
    """The server serves it, we cannot compute it: that is no failure of the server, and no traceback."""
    monkeypatch.delitem(gguf_geometry._RULES, "llama")
    with pytest.raises(Blocked) as error:
        kv.allocated(subject)
    for part in ("the KV cache cannot be computed", "'llama', whose KV cache is not known here", "gguf_geometry.py"):
        assert part in str(error.value)


@pytest.mark.runtime
def test_without_a_budget_nothing_is_said_of_headroom(subject):
    found = kv.allocated(subject).measured
    assert found["weights_mib"] + found["allocated_mib"] + found["compute_mib"] + found["headroom_mib"] == pytest.approx(2048, abs=0.1)
    assert found["largest_context"] == found["trained_context"] == 8192
    silent = subject.host.model_copy(update={"memory": subject.host.memory.model_copy(update={"budget_mib": None})})
    unsaid = kv.allocated(replace(subject, host=silent)).measured
    assert not {"budget_mib", "headroom_mib", "largest_context"} & set(unsaid)


@pytest.mark.runtime
def test_a_tight_budget_bounds_the_context(subject):
    tight = subject.host.model_copy(update={"memory": subject.host.memory.model_copy(update={"budget_mib": 150.0})})
    found = kv.allocated(replace(subject, host=tight)).measured
    assert found["headroom_mib"] < 0
    assert 0 < found["largest_context"] < 8192
