"""KL divergence from F16 KV on a real engine: the gate, its control, its limit, and that no logits stay behind."""

import json

import pytest
from support import child_session
from support.launches import subject_of

from fixtures.catalog.load import load_host
from fixtures.catalog.requirement import Arm
from fixtures.engine.slot import HostSlot
from fixtures.measure.base_logits import BaseLogits, logits_mib
from fixtures.measure.divergence import divergence
from fixtures.models.cache import cache_root
from fixtures.records.blocked import Blocked

CORPUS = "8eeb219a698519647de0253297c88be098ef7691486bdf4258326e0c203886bb"
FLOOR, SIDES = ("kld-floor-again", "kld-floor-ub96"), ("kld-k-alone", "kld-v-alone")
EXEMPT = child_session.exempt_from(["PPL-2"])


def test_the_logits_file_is_as_large_as_the_engine_writes_it():
    assert logits_mib(262144, 1, 512) == pytest.approx(255 * (262144 + 4) * 2 / 2**20)
    assert logits_mib(49152, 4, 512) == pytest.approx(95.6, abs=0.1)
    assert logits_mib(3, 1, 8) == pytest.approx(3 * (4 + 4) * 2 / 2**20), "an odd vocabulary is padded"


def host_with(tmp_path, port, lane, reference):
    host = child_session.write_host(tmp_path, port=port)
    head, other = host.read_text().split('id = "other-q8"')
    limit = f'kld = {{ reference = {reference}, kind = "at_most", unit = "nats", source = "meta test", chunks = 2, context = 512, '
    limit += f'taken_from = "{"q4" if lane == "q8" else "q8"}", '
    limit += f'engine = "0c1e57098bba+tbq", backend = "cpu", corpus_sha256 = "{CORPUS}" }}\n'
    other = other.replace(EXEMPT, "").replace('lane = "q8"', f'lane = "{lane}"')
    other = other.replace("[candidates.limits]\n", f"[candidates.limits]\n{limit}")
    plan = '[ppl]\ncorpus = "readiness-bilingual"\nchunks = 2\ncontext = 512\nkld_chunks = 2\n\n'
    host.write_text(head.replace("[speed]", f"{plan}[speed]") + 'id = "other-q8"' + other)
    return host


def judged(session, candidate="other-q8"):
    """(verdict, reason) of the gate."""
    verdict = json.loads((session.folder / "verdict.json").read_text())
    (gates,) = [entry["gates"] for entry in verdict["candidates"] if entry["candidate"] == candidate]
    (gate,) = [gate for gate in gates if gate["requirement"] == "PPL-2"]
    return gate["judgement"]["verdict"], gate["judgement"]["reason"]


def run(tmp_path, port, lane, reference, *args):
    session = child_session.start(host_with(tmp_path, port, lane, reference), tmp_path / "reports", "-m", "ppl", *args)
    status = session.wait()
    return session, status


@pytest.mark.runtime
@pytest.mark.long
def test_f16_is_its_own_control(tmp_path):
    session, status = run(tmp_path, 18660, "f16", 0.0001)
    assert status == 0, session.output
    assert judged(session)[0] == "PASS"
    measured = session.record("PPL-2", "other-q8")["measured"]
    assert abs(measured["kld"]) < 1e-4
    assert measured["same_top_pct"] == 100


@pytest.mark.runtime
@pytest.mark.long
def test_a_lane_beyond_its_limit_is_red_since_a_limit_is_a_decision(tmp_path):
    """Planted: q4_0 held against what q8_0 gives. Nothing of the logits stays behind, and both lanes of a model share them."""
    before = set(cache_root().iterdir())
    session, status = run(tmp_path, 18670, "q4", 0.006)
    assert status == 1, "advisory by itself: the limit makes it required"
    verdict, reason = judged(session)
    assert verdict == "FAIL"
    assert "mean KL divergence from F16 KV is 0.0" in reason
    assert "must be at most 0.006 nats" in reason
    record = session.record("PPL-2", "other-q8")
    assert record["measured"]["kld"] > 10 * record["measured"]["kld_stderr"] > 0
    assert len(record["raw"]["running"]) == record["measured"]["chunks"] == 2
    assert {entry["arm"] for entry in session.launches()} == {"kld-base", "kld", *FLOOR, *SIDES}
    assert (session.folder / "logs" / record["raw"]["base_log"]).is_file()
    assert {path for path in cache_root().iterdir() if path.suffix != ".lock"} <= before, "logits were left behind"
    assert "KL divergence" in (session.folder / "index.html").read_text()
    # both sides, numerics and the worst tokens are named
    assert "V alone 0.0" in reason
    assert record["measured"]["floor_again"] == 0 < record["measured"]["floor_kld"] < record["measured"]["kld_k"]
    worst = record["raw"]["worst"][0]
    assert worst["kld"] > 5 * record["measured"]["kld"]
    assert all(worst[key] and not worst[key].startswith("<") for key in ("expected", "f16_says", "lane_says"))


@pytest.mark.runtime
@pytest.mark.long
def test_one_base_serves_all_lanes_of_a_model(tmp_path):
    host = host_with(tmp_path, 18680, "q4", 0.5)
    text = host.read_text().replace(EXEMPT, "").replace('model = "other"\nlane', 'model = "good"\nlane')
    host.write_text(text.replace('models = ["good", "other"]', 'models = ["good"]').replace('other = "other-q8"\n', ""))
    session = child_session.start(host, tmp_path / "reports", "-m", "ppl")
    assert session.wait() == 0, session.output
    assert [entry["arm"] for entry in session.launches() if entry["ended"] is None] == ["kld-base", "kld", *FLOOR, *SIDES, "kld", *SIDES]
    assert session.record("PPL-2", "good-q8")["measured"]["kld"] < session.record("PPL-2", "other-q8")["measured"]["kld"]


@pytest.fixture
def smollm2(tmp_path):
    """The local host's small model with a slot of its own."""
    host = load_host("local")
    with HostSlot(lambda launch: None) as slot:
        yield subject_of(host, host.candidate("smollm2-135m-q8"), slot, tmp_path, Arm.PLAIN)


@pytest.mark.runtime
@pytest.mark.long
def test_the_room_that_is_asked_for_is_the_room_that_is_taken(smollm2):
    plan = smollm2.host.ppl
    with BaseLogits() as base:
        path, _ = base.of(smollm2, plan.corpus)
        taken = path.stat().st_size
    assert not path.exists(), "it goes with its last user"
    head = 20 + 4 * plan.kld_chunks * plan.context  # a mark, three numbers, the tokens
    assert taken == head + logits_mib(smollm2.models.target(smollm2.candidate).vocabulary, plan.kld_chunks, plan.context) * 2**20


@pytest.mark.runtime
def test_a_disk_without_room_is_told_before_anything_runs(smollm2, tmp_path, monkeypatch):
    monkeypatch.setattr("fixtures.measure.base_logits.disk_free_mib", lambda path: 10.0)
    with pytest.raises(Blocked, match="the logits of F16 and of the lane need 191 MiB for a while, and 10 MiB are free"):
        divergence(smollm2)
    assert not list(tmp_path.iterdir())
