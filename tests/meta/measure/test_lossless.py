"""Losslessness on real servers: sound, and with a proxy in front of production or of the plain arm that changes a token."""

from types import SimpleNamespace

import pytest
from support.evidence_samples import evidence, judged
from support.fault_proxy import FaultProxy, Rule
from support.launches import quiet
from support.small_server import small_server

from fixtures.catalog.load import load_host
from fixtures.engine.client import LlamaClient
from fixtures.engine.server import LaunchFailed, launch
from fixtures.measure import lossless
from fixtures.models.host_models import HostModels
from fixtures.records.verdict import Verdict

pytestmark = [pytest.mark.runtime, pytest.mark.long]

HOST = load_host("local")
CANDIDATE = HOST.candidate("smollm2-135m-q8")
RAW = "/completion"
TOKENS = 24


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """(production, plain), each behind a proxy."""
    folder = tmp_path_factory.mktemp("lossless")
    drafting, plain = small_server(folder, "production", drafting=True), small_server(folder, "plain", drafting=False)
    with launch(drafting), launch(plain), FaultProxy(drafting.port) as production, FaultProxy(plain.port) as other:
        yield production, other


@pytest.fixture
def record_of(arms, monkeypatch):
    """The record of LOSS-1 with a rule for production's proxy, and one for the plain arm's."""
    monkeypatch.setattr(lossless, "_TOKENS", TOKENS)
    monkeypatch.setattr(lossless, "_FORMS", ("speed-repetition",))

    def measured(of_production=None, of_plain=None):
        for proxy, rule in zip(arms, (of_production, of_plain), strict=True):
            proxy.rule = rule
        with LlamaClient(arms[0].url) as production, LlamaClient(arms[1].url) as plain:
            subject = SimpleNamespace(
                candidate=CANDIDATE,
                models=HostModels(HOST, quiet),
                prompt_seed=7,
                progress=quiet,
                server=SimpleNamespace(client=plain),
                server_as=lambda arm, purpose: SimpleNamespace(client=production, death=lambda: "", log_name="production.log"),
            )
            found = lossless.tokens(subject)
        return evidence("LOSS-1", CANDIDATE.id, found.measured, raw=found.raw)

    return measured


@pytest.fixture(scope="module")
def said():
    """The first answer of a sound production, once it has been asked."""
    return {}


def test_a_sound_pair_passes_and_its_control_is_seen(record_of, said):
    record = record_of()
    found = judged(record, CANDIDATE, HOST)
    assert found.verdict is Verdict.PASS, found.reason
    assert record.measured["draft_n_accepted"] > 0
    assert record.raw["control"]["partings"][0]["margin"] > 1
    said["tokens"] = record.raw["answers"][0]["tokens"]
    assert len(said["tokens"]) == TOKENS


@pytest.mark.parametrize("after", [0, 1], ids=["every answer", "from the second on"])
def test_a_changed_token_is_named_with_position_and_margin(record_of, after):
    found = judged(record_of(Rule(RAW, after=after, values={"tokens.20": 500})), CANDIDATE, HOST)
    assert found.verdict is Verdict.FAIL
    assert f"answer {after + 1} to speed-repetition: token 500 at position 20 is " in found.reason
    assert " nats behind token " in found.reason
    assert "the batch's width does not explain it" in found.reason
    assert found.measured > 1


def test_an_answer_that_ends_early_is_red(record_of, said):
    """Cut off behind a right beginning: no token of it is wrong."""
    cut = {"tokens": said["tokens"][:16], "stop_type": "eos"}
    found = judged(record_of(Rule(RAW, values=cut)), CANDIDATE, HOST)
    assert found.verdict is Verdict.FAIL
    assert "answer 1 to speed-repetition ends after 16 tokens, where the plain arm goes on" in found.reason


def test_another_text_at_full_speed_is_red(record_of):
    found = judged(record_of(Rule(RAW, values={"tokens": [500] * TOKENS})), CANDIDATE, HOST)
    assert found.verdict is Verdict.FAIL
    assert "more; a near tie is at most 1 nats" in found.reason


def test_right_tokens_and_another_text_are_red(record_of):
    found = judged(record_of(Rule(RAW, values={"content": "<unused24>"})), CANDIDATE, HOST)
    assert found.verdict is Verdict.FAIL
    assert "answer 1 to speed-repetition has the plain arm's tokens and another text: '<unused24>' for " in found.reason


def test_without_drafts_nothing_is_shown(record_of):
    nothing = {"timings.draft_n": None, "timings.draft_n_accepted": None}
    found = judged(record_of(Rule(RAW, values=nothing)), CANDIDATE, HOST)
    assert found.verdict is Verdict.INVALID
    assert "0 tokens were drafted and none accepted" in found.reason


def test_a_plain_arm_that_does_not_repeat_itself_proves_nothing(record_of):
    found = judged(record_of(of_plain=Rule(RAW, after=1, times=1, values={"tokens.3": 500})), CANDIDATE, HOST)
    assert found.verdict is not Verdict.PASS
    assert "the plain arm does not repeat itself (answer 1 to speed-repetition)" in found.reason


def test_a_production_that_refuses_is_a_fault_of_production(record_of):
    with pytest.raises(LaunchFailed, match=r"HTTP 500 instead of 200.*production still runs, log: production.log"):
        record_of(Rule(RAW, status=500))
