"""KV facts where something is missing: one sentence that names it, whatever the model is."""

from dataclasses import replace

import pytest
from support.evidence_samples import evidence, judged
from support.launches import subject_of

from fixtures.catalog.load import load_host
from fixtures.catalog.model import Model
from fixtures.catalog.speculation import Speculation
from fixtures.engine.command import server_command
from fixtures.engine.slot import HostSlot
from fixtures.measure import kv
from fixtures.models import gguf_geometry
from fixtures.models.twins import ensure_twin
from fixtures.records.blocked import Blocked
from fixtures.records.verdict import Verdict


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


def hybrid(tmp_path, slot, *, lane="f16", **model):
    """The Qwen3.6 twin, whose MTP head is inside the target, in whole runs' own words."""
    host = load_host("local", bare=True)
    entry = Model.model_validate({"title": "hybrid", "target": {"kind": "twin", "twin": "twin64", "variant": "scripted"}, **model})
    launch = host.launch.model_copy(update={"context": 4096})
    speculation = Speculation(mtp_block=3)
    candidate = host.candidate("twin42-q8").model_copy(update={"id": f"q-{lane}", "model": "q", "lane": lane, "speculation": speculation})
    host = host.model_copy(update={"models": {**host.models, "q": entry}, "candidates": (*host.candidates, candidate), "launch": launch})
    return subject_of(host, candidate, slot, tmp_path)


def verdict(subject, found):
    record = evidence("KV-1", subject.candidate.id, found.measured, raw=found.raw, status=found.status, reason=found.reason)
    return judged(record, subject.candidate, subject.host)


@pytest.mark.runtime
@pytest.mark.parametrize(("lane", "trunk"), [("f16", 256.0), ("q8", 136.0)])
def test_an_mtp_head_inside_the_target_has_a_context_of_its_own(tmp_path, lane, trunk):
    """Seen: "K was asked as f16 (16 bits per weight) and takes 17"."""
    with HostSlot(lambda _: None) as slot:
        subject = hybrid(tmp_path, slot, lane=lane, mtp_inside=True)
        found = kv.allocated(subject)
        assert "-md" not in server_command(subject.prepared, port=1).argv
    assert (found.measured["allocated_mib"], found.measured["draft_mib"], found.measured["draft_k_type"]) == (trunk, 16.0, "f16")
    judgement = verdict(subject, found)
    assert judgement.verdict is Verdict.PASS
    assert "draft context f16/f16 is 16 MiB" in judgement.reason
    for fault, says in (
        ({"draft_mib": 32.0}, "draft context f16/f16 is 32"),
        ({"draft_mib": 8.5}, "draft context f16/f16 is 8.5"),
        ({"draft_mib": 15.97}, "draft context f16/f16 is 15.97"),
        ({"allocated_k_mib": trunk / 2 + 8.0, "effective_k_bpw": 17.0}, "K was asked as"),
        ({"computed_draft_mib": None, "draft_k_type": "turbo9"}, "turbo9/f16, whose size is not known"),
    ):
        worse = verdict(subject, found.model_copy(update={"measured": found.measured | fault}))
        assert worse.verdict is not Verdict.PASS
        assert says in worse.reason


@pytest.mark.runtime
def test_the_same_file_as_its_own_drafter_is_told_apart_too(tmp_path):
    target = {"kind": "file", "path": str(ensure_twin("twin64", "scripted").target)}
    with HostSlot(lambda _: None) as slot:
        subject = hybrid(tmp_path, slot, target=target, drafter=target)
        found = kv.allocated(subject)
    assert (found.measured["allocated_mib"], found.measured["draft_mib"]) == (256.0, 16.0)
    assert verdict(subject, found).verdict is Verdict.PASS
