"""The speed ceiling: what memory bandwidth allows a 26B-A4B of true size, and a real server."""

import pytest
from support.big_gguf import moe_26b
from support.evidence_samples import evidence, judged
from support.planted import planted

from fixtures.catalog.load import load_host
from fixtures.host.read_speed import read_speed_gb_s
from fixtures.measure import speed
from fixtures.measure.ceiling import Bandwidth, Traffic, bandwidth_of, ceiling_of
from fixtures.measure.speed_requests import SpeedRequest, SpeedRun
from fixtures.models.geometry import shipped_geometry
from fixtures.models.traffic import weight_bytes
from fixtures.records.blocked import Blocked
from fixtures.records.engine import DrafterFacts
from fixtures.records.evidence import EvidenceStatus
from fixtures.records.verdict import Verdict

DGX, LOCAL = load_host("dgx", bare=True), load_host("local", bare=True)
GB10 = Bandwidth(DGX.hardware.bandwidth_gb_s, "host", 128 * 2**20)
TOKENS = 512


@pytest.fixture
def traffic(tmp_path):
    """What a 26B-A4B on K3/V4 reads; its drafter has 300 MiB."""
    weights = weight_bytes([moe_26b(tmp_path / "26b.gguf")])
    return Traffic(weights.step, 300 * 2**20, shipped_geometry("gemma4-26b-a4b"), 3.125, 4.25)


def run_at(tps, accepted=None, drafted=None, n=TOKENS):
    """Six requests at `tps`, each with so many drafted and accepted tokens."""
    request = SpeedRequest(
        prompt_n=300, predicted_n=n, predicted_ms=1000 * (n - 1) / tps, predicted_per_second=tps, draft_n=drafted, draft_n_accepted=accepted
    )
    told = None if drafted is None else (DrafterFacts(name="mtp", drafted=6 * drafted, accepted=6 * accepted),)
    return SpeedRun((request,) * 6, told)


def verdict_on(observation, host=DGX, candidate="26b-k3v4"):
    record = evidence("TPS-5", candidate, observation.measured, raw=observation.raw)
    return judged(record, host.candidate(candidate), host)


def test_a_26b_a4b_at_200_tps_without_speculation_is_impossible(traffic):
    found = verdict_on(ceiling_of(run_at(200.0), traffic, GB10))
    assert found.verdict is Verdict.INVALID
    assert "impossible: 200 t/s is above the ceiling of" in found.reason
    assert "273 GB/s (host)" in found.reason
    assert 100 < found.limit < 150
    assert found.measured == pytest.approx(200)


def test_the_reports_61_6_tps_at_71_pct_are_possible(traffic):
    observation = ceiling_of(run_at(61.6, accepted=300, drafted=422), traffic, GB10)
    assert observation.measured["tokens_per_pass"] == pytest.approx(2.42, abs=0.01)
    assert observation.measured["drafter_mib"] == pytest.approx(300 * 2, rel=0.01)
    found = verdict_on(observation)
    assert found.verdict is Verdict.PASS
    assert "61.6 t/s is" in found.reason
    assert "FAR BELOW" not in found.reason


def test_accepted_drafts_raise_the_ceiling_and_depth_lowers_it(traffic):
    def most(run):
        return ceiling_of(run, traffic, GB10).measured["ceiling_tps"]

    plain = most(run_at(50.0))
    assert most(run_at(50.0, accepted=300, drafted=422)) > 1.5 * plain
    deep = run_at(50.0).requests[0].model_copy(update={"prompt_n": 131072})
    assert most(SpeedRun((deep,) * 6, None)) < 0.9 * plain


def test_far_below_is_told_with_the_ratio(traffic):
    found = verdict_on(ceiling_of(run_at(8.0), traffic, GB10))
    assert found.verdict is Verdict.PASS
    assert "FAR BELOW it" in found.reason
    assert " % of the ceiling of" in found.reason


def test_accepted_beyond_the_answer_is_one_pass_at_least(traffic):
    measured = ceiling_of(run_at(50.0, accepted=600, drafted=600), traffic, GB10).measured
    assert measured["tokens_per_pass"] == TOKENS - 1


def test_a_model_that_a_cache_may_hold_has_no_ceiling_by_a_stated_bandwidth(traffic):
    small = Traffic(90 * 2**20, 0, traffic.geometry, 16.0, 16.0)
    with pytest.raises(Blocked, match="a token reads 90 MiB of weights, which may stay in a cache"):
        ceiling_of(run_at(50.0), small, GB10)
    assert ceiling_of(run_at(50.0), small, Bandwidth(20.0, "read test", 0)).measured["ceiling_tps"] > 80


def test_nothing_decoded_is_no_speed(traffic):
    assert ceiling_of(run_at(50.0, n=1), traffic, GB10).status is EvidenceStatus.ERROR


def test_memory_is_read_at_a_speed_that_can_be():
    assert 0 < read_speed_gb_s(64 << 20, 0.05) < 20_000  # how fast is the machine's, and whose else runs on it
    assert read_speed_gb_s(1, 0.0) > 0


@pytest.mark.runtime
@pytest.mark.long
def test_a_real_server_stays_below_its_ceiling_and_a_claimed_speed_does_not(tmp_path):
    with planted(tmp_path) as gates:
        record = gates.evidence("TPS-5", "smollm2-135m-q8", speed.ceiling)
    assert record.measured["bandwidth_from"] == "read test"
    found = verdict_on(record, LOCAL, "smollm2-135m-q8")
    assert found.verdict is Verdict.PASS, found.reason
    claimed = [{**request, "predicted_ms": request["predicted_ms"] / 100} for request in record.raw["requests"]]
    told = record.measured
    traffic = Traffic(int(told["weights_mib"] * 2**20), 0, shipped_geometry("smollm2-135m"), 8.5, 8.5)
    run = SpeedRun(tuple(SpeedRequest.model_validate(request) for request in claimed), None)
    found = verdict_on(ceiling_of(run, traffic, Bandwidth(told["bandwidth_gb_s"], "read test", 0)), LOCAL, "smollm2-135m-q8")
    assert found.verdict is Verdict.INVALID
    assert "impossible" in found.reason


def test_a_gpu_that_nobody_stated_has_no_ceiling(traffic):
    class Subject:
        host = LOCAL.model_copy(update={"launch": LOCAL.launch.model_copy(update={"gpu_layers": 99})})

    with pytest.raises(Blocked, match="missing table `hardware` of host local"):
        bandwidth_of(Subject(), traffic)
    Subject.host = DGX
    assert bandwidth_of(Subject(), traffic) == GB10
