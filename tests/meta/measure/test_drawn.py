"""Drawn prompts on a real server, sound and behind a proxy that answers as a cache would; and a re-check that draws them again."""

from types import SimpleNamespace

import pytest
from support.evidence_samples import evidence, judged
from support.fault_proxy import FaultProxy, Rule
from support.launches import quiet
from support.small_server import small_server

from fixtures.catalog.load import load_host
from fixtures.engine.client import LlamaClient
from fixtures.engine.server import launch
from fixtures.measure import drawn
from fixtures.models.host_models import HostModels
from fixtures.records.verdict import Verdict

pytestmark = pytest.mark.runtime

HOST = load_host("local")
CANDIDATE = HOST.candidate("smollm2-135m-q8")
CHAT = "/v1/chat/completions"
SAID = "choices.0.message.content"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    plan = small_server(tmp_path_factory.mktemp("drawn"), "drawn", drafting=True)
    with launch(plan), FaultProxy(plan.port) as proxy:
        yield proxy


def record_of(proxy, rule=None, seed=7):
    proxy.rule = rule
    with LlamaClient(proxy.url) as client:
        server = SimpleNamespace(client=client)
        models = HostModels(HOST, quiet)
        found = drawn.answers(SimpleNamespace(candidate=CANDIDATE, case="marker", models=models, server=server, prompt_seed=seed))
    return evidence("COH-4", CANDIDATE.id, found.measured, case="marker", raw=found.raw)


@pytest.fixture(scope="module")
def sound(proxy):
    return record_of(proxy)


def test_a_sound_server_passes_and_the_record_tells_what_was_asked(sound):
    found = judged(sound, CANDIDATE, HOST)
    assert found.verdict is Verdict.PASS, found.reason
    assert found.reason == "2 prompts drawn from seed 7 are answered rightly"
    assert sound.raw["answers"][0]["answer"] in sound.raw["answers"][0]["request"]["messages"][-1]["content"]
    assert sound.raw["answers"][0]["answer"] != sound.raw["answers"][1]["answer"]


def test_the_right_answer_of_another_run_is_red(proxy, sound):
    """A cache, or a model that was tuned for what is always asked."""
    kept = sound.raw["answers"][0]["answer"]
    found = judged(record_of(proxy, Rule(CHAT, values={SAID: kept}), seed=8), CANDIDATE, HOST)
    assert found.verdict is Verdict.FAIL
    assert f"model: exact: answer is {kept!r}" in found.reason
    assert "prompt 0 of form marker (again with --prompt-seed=8); 2 of 2 are wrong" in found.reason


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(CHAT, after=1, replace=("】", "】】")), "model: exact: "),
        (Rule(CHAT, values={SAID: "<unused24>"}), "template: exact: "),
        (Rule(CHAT, after=1, status=500), "transport: HTTP 500 instead of 200: prompt 1 of form marker"),
        (Rule(CHAT, values={"choices.0.finish_reason": "length"}), "the answer was cut off at its longest length"),
    ],
    ids=["one character more", "special token", "refused", "cut off"],
)
def test_a_fault_is_red(proxy, rule, said):
    found = judged(record_of(proxy, rule), CANDIDATE, HOST)
    assert found.verdict is Verdict.FAIL
    assert said in found.reason


def with_answer(record, **changes):
    first, *others = record.raw["answers"]
    return record.model_copy(update={"raw": record.raw | {"answers": [first | changes, *others]}})


def test_a_re_check_draws_the_prompts_again(sound):
    assert list(drawn.drawn_otherwise([sound])) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda record: record.model_copy(update={"measured": record.measured | {"prompt_seed": 8}}), "prompt 0 is not what seed 8 gives"),
        (lambda record: with_answer(record, request={"messages": []}), "prompt 0 is not what seed 7 gives"),
        (lambda record: with_answer(record, answer="Y"), "the checks of answer 0 come out otherwise"),
        (lambda record: record.model_copy(update={"measured": {}}), "it holds no prompt seed, or no answers"),
    ],
    ids=["another seed", "another prompt", "another answer", "no seed"],
)
def test_a_record_that_its_seed_does_not_give_is_told(sound, changed, said):
    (told,) = drawn.drawn_otherwise([changed(sound)])
    assert said in told
    assert "smollm2-135m-q8 COH-4 marker" in told


def test_a_form_that_has_changed_since_tells_nothing(sound):
    older = sound.model_copy(update={"raw": sound.raw | {"form_sha256": "0" * 64}, "measured": {}})
    assert list(drawn.drawn_otherwise([older])) == []
