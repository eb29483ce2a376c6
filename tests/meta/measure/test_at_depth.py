"""Speed at depth on a real server: sound, and with a proxy in front that cuts long prompts, says junk or sends late."""

import re
from types import SimpleNamespace

import pytest
from support.evidence_samples import evidence, judged
from support.fault_proxy import FaultProxy, Rule
from support.launches import quiet
from support.small_server import small_server

from fixtures.catalog.host import SpeedPlan
from fixtures.catalog.load import load_host
from fixtures.engine.client import LlamaClient
from fixtures.engine.server import LaunchFailed, launch
from fixtures.host.snapshot import Sampler
from fixtures.measure import at_depth
from fixtures.measure.ceiling import Bandwidth, Traffic
from fixtures.measure.speed_requests import SpeedRequest
from fixtures.models.geometry import read_geometry
from fixtures.models.registry import ensure_registry_model
from fixtures.records.verdict import Verdict

DEPTHS = (0, 512)
LOCAL = load_host("local", bare=True)
# the clocks have room for a machine that is shared with other tests
PLAN = LOCAL.speed.model_copy(update={"depths": DEPTHS, "max_tokens": 16, "clock_gap_ms": 1000.0})
HOST = LOCAL.model_copy(update={"speed": PLAN})
CANDIDATE = HOST.candidate("smollm2-135m-q8")
LONG = 1000  # bytes of a request: a prompt of the deeper kind


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """A proxy in front of the plain arm."""
    plain = small_server(tmp_path_factory.mktemp("depth"), "plain", drafting=False)
    with launch(plain), FaultProxy(plain.port) as front:
        yield front


@pytest.fixture(scope="module")
def traffic():
    return Traffic(80_000_000, 0, read_geometry(ensure_registry_model("smollm2-135m")), 8.5, 8.5)


@pytest.fixture
def record_of(proxy, traffic, monkeypatch):
    """The record of TPS-7 under a rule, over a memory of so many GB/s."""
    monkeypatch.setattr(at_depth, "traffic_of", lambda _: traffic)

    def measured(rule=None, gb_s=1000.0):
        proxy.rule = rule
        monkeypatch.setattr(at_depth, "bandwidth_of", lambda *_: Bandwidth(gb_s, "host", 0))
        with LlamaClient(proxy.url) as client, Sampler(()) as sampler:
            server = SimpleNamespace(client=client, alias="plain", death=lambda: "", log_name="plain.log")
            subject = SimpleNamespace(
                candidate=CANDIDATE,
                host=HOST,
                models=SimpleNamespace(model=lambda _: SimpleNamespace(api="chat")),
                prompt_seed=7,
                progress=quiet,
                noise_accepted=False,
                sampler=sampler,
                server_as=lambda arm, purpose, context: server,
            )
            found = at_depth.speeds(subject)
        return evidence("TPS-7", CANDIDATE.id, found.measured, raw=found.raw)

    return measured


def said(record, verdict, *parts):
    found = judged(record, CANDIDATE, HOST)
    assert found.verdict is verdict, found.reason
    for part in parts:
        assert part in found.reason


@pytest.mark.runtime
def test_a_sound_server_tells_its_speed_at_each_depth_and_what_it_is_made_of(record_of):
    record = record_of()
    said(record, Verdict.PASS, "of its speed is kept", "ms of weights", "by 1000 GB/s (host)", "nobody decided how much of its speed")
    assert [row["depth"] for row in record.raw["rows"]] == list(DEPTHS)
    held = [request["cache_n"] + request["prompt_n"] for request in record.raw["requests"]]
    assert min(held[4:]) >= 512 > max(held[:4])
    assert record.raw["requests"][-1]["cache_n"] >= 512, "what is asked again stands in the cache"
    assert record.raw["rows"][1]["kv_mib"] > 5 > 1 > record.raw["rows"][0]["kv_mib"]


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("rule", "verdict", "says"),
    [
        (Rule("/completion", over=LONG, request={"prompt": "Note 1:"}), Verdict.FAIL, "tokens the server had read 4: it cuts its prompts"),
        (Rule("/completion", over=LONG, values={"content": "<unused24>"}), Verdict.FAIL, "a depth of 512 tokens: '<unused24>' in its text"),
        (Rule("/completion", over=LONG, slower=10.0), Verdict.INVALID, "4 of 8 requests: the two clocks disagree. Request 5"),
    ],
    ids=["cuts long prompts", "junk at depth", "slower at depth than it says"],
)
def test_what_goes_wrong_at_depth_alone_is_seen(record_of, rule, verdict, says):
    said(record_of(rule), verdict, says)


@pytest.mark.runtime
def test_a_speed_that_the_memory_does_not_allow_is_impossible(record_of):
    said(record_of(gb_s=0.001), Verdict.INVALID, "impossible: ", "t/s at a depth of 0 tokens is above the ceiling of")


@pytest.mark.runtime
def test_a_server_that_refuses_a_long_prompt_is_named_with_what_it_says(record_of):
    with pytest.raises(LaunchFailed, match=r"speed request 0 at a depth of 512 tokens, .*: HTTP 500 instead of 200"):
        record_of(Rule("/completion", over=LONG, status=500))


@pytest.mark.parametrize("depths", [(512,), (512, 0), (0, 0)])
def test_depths_that_show_no_difference_are_refused(depths):
    with pytest.raises(ValueError, match="needs two depths or more, each deeper than the one before"):
        SpeedPlan(depths=depths)


@pytest.mark.parametrize("depth", [0, 1, 100, 5000, 40_000])
def test_notes_are_as_deep_as_asked_and_no_line_more_though_later_lines_have_more_tokens(depth):
    """At 130560 tokens of a true-scale model a line counted by itself made the prompt 5 % too long for its context."""
    client = SimpleNamespace(tokenize=lambda text: re.findall(r"\d|[A-Za-z]+|[^A-Za-z\d]", text))
    text = at_depth.notes(client, depth, 7)
    assert depth <= len(client.tokenize(text)) < depth + at_depth._LINE
    assert text.endswith(".\n")
    assert at_depth.notes(client, 2 * depth, 7).startswith(text), "what is in the cache is used again"


def test_a_request_that_decoded_nothing_costs_its_pair_alone(traffic):
    def request(depth, predicted_n=16):
        timings = {
            "prompt_n": depth + 1,
            "prompt_ms": 1.0,
            "predicted_n": predicted_n,
            "predicted_ms": 100.0,
            "predicted_per_second": 150.0,
        }
        return SpeedRequest.model_validate({**timings, "cache_n": 0, "category": str(depth)})

    requests = [*(request(0) for _ in range(4)), *(request(512) for _ in range(3)), request(512, predicted_n=0)]
    found = at_depth.observed(requests, DEPTHS, 16, traffic, Bandwidth(1000.0, "host", 0))
    assert found.measured["kept_pct"] == pytest.approx(100.0)
    nothing = at_depth.observed([*requests[:4], request(512, predicted_n=0)], DEPTHS, 16, traffic, "nobody knows")
    assert nothing.reason == "nothing was decoded at a depth of 512 tokens"
