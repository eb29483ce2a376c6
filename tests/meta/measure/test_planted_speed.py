"""Planted faults of speed in front of a real server: each is caught with both numbers; without it all is green."""

import threading
from dataclasses import dataclass

import psutil
import pytest
from support.evidence_samples import evidence, judged
from support.fault_proxy import FaultProxy, Rule
from support.launcher import Faults
from support.neighbours import burner, detached
from support.planted import planted

from fixtures.catalog.host import Competing
from fixtures.catalog.load import load_host
from fixtures.engine.client import ClientError, LlamaClient
from fixtures.host.snapshot import Sampler
from fixtures.measure import speed
from fixtures.measure.speed_prompts import load_speed_prompts
from fixtures.measure.speed_requests import SpeedRuns, SpeedTask
from fixtures.records.verdict import Verdict

pytestmark = pytest.mark.runtime

HOST = load_host("local", bare=True)
SMOL, GEMMA, TWIN = "smollm2-135m-q8", "gemma3-270m-q8", "twin42-q8"
API = {SMOL: "chat", GEMMA: "completion"}
PATH = {"chat": "/v1/chat", "completion": "/completion"}
PLAN = HOST.speed.model_copy(update={"requests": 2, "max_requests": 2, "warmup": 1, "seconds": 0.0, "clock_gap_ms": 20.0})
PROMPTS = load_speed_prompts("repetitive-en")
ONE = PLAN.model_copy(update={"requests": 1, "max_requests": 1, "warmup": 0, "max_tokens": 16})
MIX = load_speed_prompts("mix")
NEIGHBOUR = "asr-of-planted"
BESIDE = HOST.guard.model_copy(update={"competing": (Competing(name="asr", cmdline=NEIGHBOUR, max_cpu_pct=0.5),)})
LOOSE = PLAN.model_copy(update={"max_tokens": 32, "max_cv_pct": 1000.0, "clock_gap_ms": 10_000.0})
IMPATIENT = LOOSE.model_copy(update={"pause_s": 3.0})  # what lasts a minute lasts throughout, and so does what lasts three seconds
TRIES = 3  # the machine is shared: what is noise goes away


def work_for_2_s():
    with detached(*burner(NEIGHBOUR, 2)) as pid:
        psutil.Process(pid).wait(60)


@dataclass
class Front:
    """A real server behind a falsifying proxy; each run over it counts as a launch of its own."""

    real: object
    client: LlamaClient
    alias: str

    def log_facts(self):
        return self.real.log_facts()

    def death(self):
        return self.real.death()


@pytest.fixture(scope="module", params=[SMOL, GEMMA])
def behind(request, tmp_path_factory):
    """(candidate, its judgements under a rule): one real server of it, asked through a proxy."""
    candidate = request.param
    with planted(tmp_path_factory.mktemp(candidate)) as gates:
        server = gates.server(candidate, "production")
        port = int(server.client.base_url.rpartition(":")[2])
        with FaultProxy(port) as proxy, LlamaClient(proxy.url, 600) as client:
            seen, hooks = [], []

            def on_request(path):
                seen.append(path)
                for hook in hooks:
                    hook(path)

            proxy.on_request = on_request

            def under(host_plan=PLAN, prompts=PROMPTS, guard=HOST.guard, path=PATH[API[candidate]], **falsified):
                proxy.rule = Rule(path, **falsified)
                runs, front = SpeedRuns(), Front(server, client, "front")
                task = SpeedTask(host_plan, prompts, API[candidate], limits=guard, learns=True)

                def sent():
                    with Sampler(guard.competing) as sampler:
                        return runs.of(front, task, sampler)

                return Judged(candidate, task, sent, seen, hooks)

            yield candidate, under


@dataclass
class Judged:
    """The judgements of the speed gates over one run of requests."""

    candidate: str
    task: SpeedTask
    sent: object
    seen: list
    hooks: list

    def taken(self, requirement):
        run = self.sent()
        return {
            "TPS-1": lambda: speed.speed_of(run, self.task),
            "TPS-2": lambda: speed.acceptance_of(run, self.task, ("ngram-mod",)),
            "TPS-4": lambda: speed.answers_of(run, self.task),
        }[requirement]()

    def __getitem__(self, requirement):
        taken = self.taken(requirement)
        record = evidence(requirement, self.candidate, taken.measured, raw=taken.raw)
        host = HOST.model_copy(update={"speed": self.task.plan, "guard": self.task.limits})
        return judged(record, HOST.candidate(self.candidate), host)


def said(judgement, verdict, *parts):
    assert judgement.verdict is verdict, judgement.reason
    for part in parts:
        assert part in judgement.reason


def test_without_a_fault_all_is_green(behind):
    _, under = behind
    for _ in range(TRIES):
        found = under(HOST.speed.model_copy(update={"requests": 6, "max_requests": 6, "seconds": 1.0, "max_tokens": 32, "max_cv_pct": 1e3}))
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


def test_positions_that_do_not_make_the_accepted_tokens_are_invalid(behind):
    _, under = behind
    found = under(PLAN.model_copy(update={"warmup": 0}), path="/metrics", after=1, replace=('position="0"} ', 'position="0"} 9'))
    said(found["TPS-2"], Verdict.INVALID, "tokens accepted at the first place of")


@pytest.mark.long
def test_a_mix_is_judged_within_its_categories(behind):
    """Two of each of six categories, each with its own numbers; all of them read."""
    _, under = behind
    found = under(PLAN.model_copy(update={"max_tokens": 32}), MIX)
    said(found["TPS-4"], Verdict.PASS, "12 answers read")
    categories = found.taken("TPS-1").raw["categories"]
    assert {one["category"]: one["requests"] for one in categories} == {one.id: 2 for one in MIX.categories}
    assert all(one["decode_tps"] > 0 for one in categories)


@pytest.mark.long
def test_a_mix_in_the_wrong_language_fails_where_another_was_asked(behind):
    candidate, under = behind
    key = "choices.0.delta.content" if API[candidate] == "chat" else "content"
    found = under(PLAN.model_copy(update={"max_tokens": 16}), MIX, values={key: "boats and bells "})
    said(found["TPS-4"], Verdict.FAIL, "of its letters are Chinese, at least 50 % where Chinese was asked", "a copy was asked")


@pytest.mark.long
def test_a_neighbour_that_works_throughout_voids_the_speed(behind):
    _, under = behind
    with detached(*burner(NEIGHBOUR, 3600)):
        said(under(IMPATIENT, guard=BESIDE)["TPS-1"], Verdict.INVALID, "2 of 2 requests were noisy. Request 1: asr came up", "allowed (pid")


def test_a_burst_costs_its_requests_alone(behind):
    """A neighbour that works for 2 s within request 3: the next waits until it has ended, and it is asked anew."""
    _, under = behind
    found = under(LOOSE.model_copy(update={"requests": 4, "max_requests": 40, "warmup": 0}), guard=BESIDE)
    asked, neighbours = [], []

    def burst(path):
        asked.append(path)
        if sum(path.startswith(PATH[API[found.candidate]]) for path in asked) == 3 and not neighbours:
            neighbours.append(threading.Thread(target=work_for_2_s))
            neighbours[0].start()

    found.hooks.append(burst)
    raw = found.taken("TPS-1").raw
    found.hooks.clear()
    neighbours[0].join()
    assert 3 in raw["excluded"], [request["meanwhile"] for request in raw["requests"]]
    assert 3 in [request["instead_of"] for request in raw["requests"]]
    assert raw["paused_s"] >= BESIDE.window_s
    assert len(raw["requests"]) - len(raw["excluded"]) >= 4
    assert "noisy" not in found["TPS-1"].reason


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
