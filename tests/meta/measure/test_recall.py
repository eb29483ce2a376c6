"""Recall on a real server whose model can do it: green as it is, red where answers to long prompts are wrong, cut or refused."""

from types import SimpleNamespace

import pytest
from support.evidence_samples import evidence, judged
from support.fault_proxy import FaultProxy, Rule
from support.free_port import free_port
from support.launches import quiet

from fixtures.catalog.load import load_host
from fixtures.engine.client import LlamaClient
from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchPlan, launch
from fixtures.measure.recall import recalled
from fixtures.models.host_models import HostModels
from fixtures.models.registry import ensure_registry_model
from fixtures.records.verdict import Verdict
from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]

HOST = load_host("local")
CANDIDATE = HOST.candidate("gemma3-270m-q8")  # smollm2 recalls nothing, even without a cache that is quantised


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """A context of 2048, so that 200, 1000 and 1024 tokens are asked for."""
    folder, port = tmp_path_factory.mktemp("recall"), free_port()
    engine, model = build_engine(EngineRequest.named("pinned+tbq")), ensure_registry_model("gemma3-270m")
    flags = ("-c", "2048", "-np", "1", "-t", "1", "-ctk", "q8_0", "-ctv", "q8_0", "-fa", "on", "--alias", "recall")
    argv = (str(engine.server), "-m", str(model), "--port", str(port), *flags)
    command = CommandLine(argv=argv, env={"PATH": "/usr/bin:/bin", "HOME": str(folder)}, policy_env={})
    with launch(LaunchPlan(command, port, "recall", model, folder / "server.log", 120.0, 300.0, 5.0)), FaultProxy(port) as proxy:
        yield proxy


def verdict(proxy, rule):
    proxy.rule = rule
    with LlamaClient(proxy.url) as client:
        server = SimpleNamespace(client=client, props=client.props(), log_name="server.log")
        models = HostModels(HOST, quiet)
        found = recalled(SimpleNamespace(host=HOST, candidate=CANDIDATE, models=models, server=server, progress=quiet))
    return judged(evidence("COH-5", CANDIDATE.id, found.measured, raw=found.raw), CANDIDATE, HOST)


def test_a_sound_server_recalls(proxy):
    found = verdict(proxy, None)
    assert found.verdict is Verdict.PASS, found.reason


@pytest.mark.parametrize(
    ("falsified", "said"),
    [
        ({"values": {"content": "1234"}}, "model: wrong after 1000 tokens, right after 200: contains_all: answer is '1234'"),
        ({"times": 1, "values": {"content": "1234"}}, "state: wrong after 1000 tokens with the prompt cache, right without it"),
        ({"values": {"timings.prompt_n": 600, "timings.cache_n": 0}}, "truncated: the server read 600 tokens of a prompt of more than 10"),
        ({"status": 500}, "transport: HTTP 500 instead of 200 after 1000 tokens"),
    ],
    ids=["wrong", "wrong with the cache", "cut", "refused"],
)
def test_what_is_lost_after_many_tokens_is_red(proxy, falsified, said):
    found = verdict(proxy, Rule("/completion", over=2500, **falsified))
    assert found.verdict is Verdict.FAIL
    assert said in found.reason
