"""Streams and conversations on a real server, sound and with a fault proxy in front of it: each fault is named by whose it is."""

from types import SimpleNamespace

import pytest
from support.evidence_samples import evidence, judged
from support.fault_proxy import FaultProxy, Rule
from support.launches import quiet

from fixtures.catalog.load import load_host
from fixtures.engine.client import LlamaClient
from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchPlan, launch
from fixtures.measure.conversation import repeated, streamed
from fixtures.measure.finite import logprobs
from fixtures.measure.reasoning import placed
from fixtures.models.host_models import HostModels
from fixtures.models.registry import ensure_registry_model
from fixtures.records.verdict import Verdict
from llama_build import EngineRequest, build_engine

pytestmark = pytest.mark.runtime

PORT = 18660
HOST = load_host("local")
CANDIDATE = HOST.candidate("smollm2-135m-q8")
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """The local host's small instruct model, nothing drafting, behind a proxy."""
    folder = tmp_path_factory.mktemp("conversation")
    engine, model = build_engine(EngineRequest.named("pinned+tbq")), ensure_registry_model("smollm2-135m")
    flags = ("-c", "2048", "-np", "1", "-t", "1", "--jinja", "-ctk", "q8_0", "-ctv", "q8_0", "-fa", "on", "--alias", "conversation")
    argv = (str(engine.server), "-m", str(model), "--port", str(PORT), *flags)
    command = CommandLine(argv=argv, env={"PATH": "/usr/bin:/bin", "HOME": str(folder)}, policy_env={})
    with launch(LaunchPlan(command, PORT, "conversation", model, folder / "server.log", 120.0, 300.0, 5.0)), FaultProxy(PORT) as proxy:
        yield proxy


def verdict_of(proxy, requirement, measure, rule):
    proxy.rule = rule
    with LlamaClient(proxy.url) as client:
        server = SimpleNamespace(client=client, props=client.props(), log_name="server.log")
        models = HostModels(HOST, quiet)
        subject = SimpleNamespace(
            host=HOST, candidate=CANDIDATE, case="zh_marker", models=models, server=server, attached=None, progress=quiet
        )
        found = measure(subject)
    record = evidence(requirement, CANDIDATE.id, found.measured, case="zh_marker", raw=found.raw)
    return judged(record, CANDIDATE, HOST)


def test_a_sound_server_passes_all(proxy):
    gates = {"COH-2": streamed, "COH-3": repeated, "COH-6": placed, "STA-6": logprobs}
    for requirement, measure in gates.items():
        found = verdict_of(proxy, requirement, measure, None)
        assert found.verdict is Verdict.PASS, found.reason


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(CHAT, after=1, status=500), "transport: the stream was refused with HTTP 500, the whole answer came with 200"),
        (Rule(CHAT, after=1, replace=("標", "<unused24>")), "template: exact: "),
        (Rule(CHAT, after=1, replace=("標", "標標")), "transport: streamed and whole answer differ"),
        (Rule(CHAT, after=1, tear="標"), "is not UTF-8 (byte"),
        (Rule(CHAT, after=1, drop_event=3), "transport: streamed and whole answer differ"),
        (Rule(CHAT, after=1, end_after=3), "transport: the stream ends after 3 events without saying so"),
        (Rule(CHAT, replace=("標", "标")), "model: exact: "),
    ],
    ids=["refused", "special token", "garbage", "torn bytes", "lost event", "no end", "wrong everywhere"],
)
def test_a_fault_in_streams_is_red(proxy, rule, said):
    found = verdict_of(proxy, "COH-2", streamed, rule)
    assert found.verdict is Verdict.FAIL
    assert said in found.reason


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(CHAT, after=1, replace=("標", "票")), "state: right alone, wrong here (exact: "),
        (Rule(CHAT, after=3, replace=("標", "票")), "again after another question, as a further turn, shorter again"),
        (Rule(CHAT, after=1, status=500), "transport: HTTP 500 instead of 200: prompt cache on, again after"),
        (Rule(CHAT, replace=("標", "票")), "alone it is wrong, too"),
    ],
    ids=["second answer and cache", "after another question", "refused", "always"],
)
def test_a_fault_in_a_conversation_is_red(proxy, rule, said):
    found = verdict_of(proxy, "COH-3", repeated, rule)
    assert found.verdict is Verdict.FAIL
    assert said in found.reason


@pytest.mark.parametrize(
    ("falsified", "said"),
    [
        (
            {"values": {"choices.0.message.reasoning_content": "so"}},
            "template: 'so' stands in `reasoning_content`, though reasoning is off",
        ),
        ({"replace": ("【", "<think>【")}, "template: marks of reasoning in `content`, '<think>': whole, reasoning off; "),
        ({"replace": ("標", "票")}, "model: exact: answer is '【驗收票記】"),
        ({"after": 1, "status": 500}, "transport: HTTP 500 instead of 200: streamed, reasoning off"),
        ({"request": {"max_tokens": 2}}, "truncated: cut off at its longest length: whole, reasoning off"),
    ],
    ids=["reasoning though off", "marks", "wrong", "refused", "cut"],
)
def test_content_in_the_wrong_place_is_red(proxy, falsified, said):
    found = verdict_of(proxy, "COH-6", placed, Rule(CHAT, **falsified))
    assert found.verdict is Verdict.FAIL
    assert said in found.reason


def test_a_probability_that_is_no_number_is_red(proxy):
    found = verdict_of(proxy, "STA-6", logprobs, Rule("/completion", replace=('"logprob":', '"logprob":null,"was":')))
    assert found.verdict is Verdict.FAIL
    assert "tokens have a log probability that is no number at most 0; first: token 1 of zh_marker" in found.reason
