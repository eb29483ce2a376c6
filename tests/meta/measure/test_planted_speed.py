"""Planted faults of speed in front of a real server: each is caught with both numbers; without it all is green."""

from dataclasses import dataclass

import pytest
from support.evidence_samples import evidence, judged
from support.fault_proxy import FaultProxy, Rule
from support.launcher import Faults
from support.planted import planted

from fixtures.catalog.load import load_host
from fixtures.engine.client import ClientError, LlamaClient
from fixtures.measure import speed
from fixtures.measure.prompts import load_speed_set
from fixtures.measure.speed_requests import SpeedRuns
from fixtures.records.verdict import Verdict

pytestmark = pytest.mark.runtime

HOST = load_host("local", bare=True)
SMOL, GEMMA, TWIN = "smollm2-135m-q8", "gemma3-270m-q8", "twin42-q8"
API = {SMOL: "chat", GEMMA: "completion"}
PATH = {"chat": "/v1/chat", "completion": "/completion"}
PLAN = HOST.speed.model_copy(update={"requests": 2, "max_requests": 2, "warmup": 1, "seconds": 0.0, "clock_gap_ms": 20.0})
PROMPTS = load_speed_set("repetitive-en")
ONE = PLAN.model_copy(update={"requests": 1, "max_requests": 1, "warmup": 0, "max_tokens": 16})
TRIES = 3  # the machine is shared: what is noise goes away


@dataclass
class Front:
    """A real server behind a falsifying proxy; each run over it counts as a launch of its own."""

    real: object
    client: LlamaClient
    alias: str

    def log_facts(self):
        return self.real.log_facts()


@pytest.fixture(scope="module", params=[SMOL, GEMMA])
def behind(request, tmp_path_factory):
    """(candidate, its judgements under a rule): one real server of it, asked through a proxy."""
    candidate = request.param
    with planted(tmp_path_factory.mktemp(candidate)) as gates:
        server = gates.server(candidate, "production")
        port = int(server.client.base_url.rpartition(":")[2])
        with FaultProxy(port) as proxy, LlamaClient(proxy.url, 60) as client:
            seen = []
            proxy.on_request = seen.append

            def under(host_plan=PLAN, **falsified):
                proxy.rule = Rule(PATH[API[candidate]], **falsified)
                runs, front = SpeedRuns(), Front(server, client, "front")

                def sent():
                    return runs.of(front, host_plan, PROMPTS, API[candidate], None)

                return Judged(candidate, host_plan, sent, seen)

            yield candidate, under


@dataclass
class Judged:
    """The judgements of the speed gates over one run of requests."""

    candidate: str
    plan: object
    sent: object
    seen: list

    def __getitem__(self, requirement):
        run = self.sent()
        taken = {
            "TPS-1": lambda: speed.speed_of(run),
            "TPS-2": lambda: speed.acceptance_of(run),
            "TPS-4": lambda: speed.answers_of(run, PROMPTS, self.plan.max_tokens),
        }[requirement]()
        record = evidence(requirement, self.candidate, taken.measured, raw=taken.raw)
        return judged(record, HOST.candidate(self.candidate), HOST.model_copy(update={"speed": self.plan}))


def said(judgement, verdict, *parts):
    assert judgement.verdict is verdict, judgement.reason
    for part in parts:
        assert part in judgement.reason


def test_without_a_fault_all_is_green(behind):
    _, under = behind
    for _ in range(TRIES):
        found = under(HOST.speed.model_copy(update={"requests": 6, "max_requests": 6, "seconds": 1.0, "max_tokens": 32}))
        reasons = [(found[name].verdict, found[name].reason) for name in ("TPS-4", "TPS-1", "TPS-2")]
        if all(verdict is Verdict.PASS for verdict, _ in reasons):
            return
    raise AssertionError(reasons)


@pytest.mark.parametrize(
    ("only", "falsified", "plan"),
    [
        (SMOL, {"slower": 1.1, "slow_after": 100}, {"max_tokens": 192}),
        (GEMMA, {"slower": 1.1}, {"max_tokens": 128}),
        (SMOL, {"slower": 5.0}, {"max_tokens": 16}),
        (GEMMA, {"scale": {"timings.predicted_ms": 1 / 1.08, "timings.predicted_per_second": 1.08}}, {"max_tokens": 128}),
    ],
    ids=["a tenth slower after 100", "a tenth slower", "5 x slower", "claims 8 % more"],
)
def test_a_speed_that_the_stream_does_not_show_is_invalid(behind, only, falsified, plan):
    candidate, under = behind
    if candidate != only:
        pytest.skip("shown on the other one")
    found = under(PLAN.model_copy(update={"warmup": 0} | plan), **falsified)
    said(found["TPS-1"], Verdict.INVALID, "2 of 2 requests: the two clocks disagree. Request 1: the server says", "the client saw")


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        ({"timings.predicted_per_second": 1000}, "request 1: the server says"),
        ({"timings.predicted_n": 2, "timings.predicted_per_second": 63 / 31}, "request 1: the server counts 64 tokens"),
    ],
    ids=["rate contradicts n/ms", "tokens never sent"],
)
def test_numbers_of_one_answer_that_contradict_each_other_are_invalid(behind, scale, says):
    _, under = behind
    said(under(PLAN.model_copy(update={"max_tokens": 32, "warmup": 0}), scale=scale)["TPS-1"], Verdict.INVALID, says)


def test_drafts_that_the_metrics_do_not_count_are_invalid(behind):
    _, under = behind
    found = under(PLAN.model_copy(update={"warmup": 0}), values={"timings.draft_n": 44, "timings.draft_n_accepted": 44})
    said(found["TPS-2"], Verdict.INVALID, "/metrics counts", "drafted tokens over the same requests, and their answers 88")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<unused24>", "answer 1: '<unused24>' in its text"),
        ("\ufffd", "times U+FFFD in its text"),
        (" zqx", "0 % of it stands in its prompt, at least 50 %"),
        ("", "answer 1: no text"),
    ],
)
def test_garbage_at_full_speed_fails(behind, text, says):
    candidate, under = behind
    key = "choices.0.delta.content" if API[candidate] == "chat" else "content"
    said(under(ONE, values={key: text})["TPS-4"], Verdict.FAIL, says)


def test_two_of_64_tokens_fail(behind):
    candidate, under = behind
    key = "max_tokens" if API[candidate] == "chat" else "n_predict"
    said(
        under(ONE.model_copy(update={"max_tokens": 64}), request={key: 2})["TPS-4"],
        Verdict.FAIL,
        "after 2 tokens, asked for 64 without an end before",
    )


@pytest.mark.parametrize(
    ("falsified", "says"),
    [
        ({"values": {"timings.predicted_ms": float("nan")}}, "NaN is no finite number"),
        ({"end_after": 5}, "the stream broke off after 5 events"),
        ({"status": 500}, "HTTP 500 instead of 200"),
    ],
    ids=["NaN", "broken off", "HTTP 500"],
)
def test_after_an_error_nothing_is_sent_again(behind, falsified, says):
    """The prompts before it are learnt: the next gate would pass on them."""
    _, under = behind
    found = under(PLAN.model_copy(update={"max_tokens": 16}), after=1, **falsified)
    counts = []
    for gate in ("TPS-4", "TPS-1", "TPS-2"):
        with pytest.raises(ClientError, match=says):
            found[gate]
        counts.append(len(found.seen))
    assert len(set(counts)) == 1


def test_a_whole_session_of_gates_behind_a_slow_proxy(tmp_path):
    """MTP and ngram-mod, through the launcher: the drafts are real and their time is not what the server says."""
    with planted(tmp_path, Faults(rule=Rule("/v1/chat", slower=3.0))) as gates:
        gates.obtainer.host = gates.host = gates.host.model_copy(update={"speed": PLAN.model_copy(update={"clock_gap_ms": 150.0})})
        said(gates.judge("TPS-4", TWIN, speed.answers), Verdict.PASS, "2 answers read")
        said(gates.judge("TPS-1", TWIN, speed.decode_speed), Verdict.INVALID, "2 of 2 requests: the two clocks disagree")
        said(gates.judge("TPS-3", TWIN, speed.drafters), Verdict.PASS)
        assert gates.started == [(TWIN, "production")]
