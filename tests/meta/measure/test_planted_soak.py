"""Soaks of a real server, clean and with planted faults: death, hang, a stalled and a corrupted request, graphs, a leak."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.fault_proxy import Rule
from support.launcher import Death, Faults
from support.leak import leaking_environment
from support.planted import planted

from fixtures.engine.process import wait_until
from fixtures.measure import coherence, soak
from fixtures.measure.soak_end import frozen
from fixtures.records.soak import parse_soak
from fixtures.records.verdict import Verdict

pytestmark = [pytest.mark.runtime, pytest.mark.long]

TWIN, CHAT = "twin42-q8", "/v1/chat"
PATIENCE_S = 60.0  # far more than an answer takes on a machine that is busy with other things


def with_prompt(host):
    """The host, whose twin owes the prompt that it answers quickest."""
    changed = [one.model_copy(update={"prompts": ("repeat_line",)}) if one.id == TWIN else one for one in host.candidates]
    return host.model_copy(update={"candidates": tuple(changed)})


def soaked(folder, faults, budget, *requirements, **launch):
    """The judgements of one soak of the twin, which drafts with MTP and ngram-mod."""
    measures = {"STA-3": soak.survived, "STA-4": soak.memory, "STA-5": soak.speed}
    with planted(folder, faults, **launch) as gates:
        gates.obtainer.soak = parse_soak(budget) if budget else None
        gates.obtainer.host = gates.host = with_prompt(gates.host)
        found = [gates.judge(requirement, TWIN, measures[requirement]) for requirement in requirements]
        assert len(gates.started) == (1 if budget else 0)
    return found


def test_nothing_is_launched_where_nobody_asked(tmp_path):
    for found in soaked(tmp_path, None, None, "STA-3", "STA-4"):
        assert found.verdict is Verdict.BLOCKED
        assert "a soak runs where it is asked for alone: pytest --host=local --soak=299 -k 'twin42-q8 and soak'" in found.reason


def test_a_segmentation_fault_is_told_with_its_signal_and_request_and_the_run_goes_on(tmp_path):
    with planted(tmp_path, Faults(die=Death(request=9, path=CHAT, by=signal.SIGSEGV))) as gates:
        gates.obtainer.soak = parse_soak("24")
        gates.obtainer.host = gates.host = with_prompt(gates.host)
        first, second = gates.judge("STA-3", TWIN, soak.survived), gates.judge("STA-4", TWIN, soak.memory)
        after = gates.judge("COH-1", TWIN, coherence.answer, "repeat_line")
        assert gates.started == [(TWIN, "soak"), (TWIN, "production")]
    assert first.verdict is Verdict.FAIL
    assert "the process died after" in first.reason
    assert "killed by signal 11 (SIGSEGV)" in first.reason
    assert "request 9: llama-server pid" in first.reason or "request 8: llama-server pid" in first.reason
    assert second.verdict is Verdict.INVALID
    assert "the soak did not last: the process died (see STA-3)" in second.reason
    assert after.verdict is Verdict.PASS, after.reason


def test_a_hang_is_no_death(tmp_path):
    """A stopped server answers nothing, and one that works is not called frozen, however slow it is."""
    with planted(tmp_path) as gates:
        gates.obtainer.host = gates.host = with_prompt(gates.host)
        server = gates.server(TWIN, "soak")
        os.kill(server.pid, signal.SIGSTOP)
        stopped = frozen(server, 1.0)
        os.kill(server.pid, signal.SIGCONT)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(server.client.completion, "Go on", n_predict=200, ignore_eos=True)
            assert wait_until(lambda: any(slot.is_processing for slot in server.client.slots()) or answer.done(), 60.0)
            works = frozen(server, 60.0)
            assert answer.result().http_status == 200
        assert frozen(server, 60.0) == ""
    assert stopped.startswith(f"hang: neither /slots nor /health answers within 5 s, process {server.pid} is stopped")
    assert works == ""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(CHAT, after=3, times=1, replace=("第", "弟")), "(0 in the last quarter); first request"),
        (Rule(CHAT, after=2, times=1, hold=PATIENCE_S + 5), "no answer in time (ReadTimeout)"),
    ],
    ids=["corrupted", "stalled"],
)
def test_one_bad_request_among_many_is_caught_and_the_soak_goes_on(tmp_path, rule, said):
    (found,) = soaked(tmp_path, Faults(rule=rule), "8", "STA-3", request_timeout_s=PATIENCE_S)
    assert found.verdict is Verdict.FAIL
    assert "1 of 8 requests failed" in found.reason
    assert said in found.reason


def test_a_launch_with_graphs_is_no_soak(tmp_path):
    (found,) = soaked(tmp_path, Faults(env={"GGML_CUDA_DISABLE_GRAPHS": None}), "2", "STA-3")
    assert found.verdict is Verdict.FAIL
    assert "was started with graphs" in found.reason


def test_a_leak_is_found(tmp_path):
    """64 KiB a request, over as few requests as have a slope of their last quarter."""
    lasted, memory, speed = soaked(tmp_path, Faults(env=leaking_environment(tmp_path, 64 * 1024)), "72", "STA-3", "STA-4", "STA-5")
    assert lasted.verdict is Verdict.INVALID, lasted.reason
    assert re.match(r"72 of 72 requests answered rightly, \d\d with a prompt out of the cache: fewer than 4.1 % fail", lasted.reason)
    assert "299 are needed to tell" in lasted.reason
    assert memory.verdict is Verdict.FAIL, memory.reason
    assert "its own memory (RssAnon + VmSwap) grows by 6" in memory.reason
    assert speed.verdict is not Verdict.FAIL, speed.reason
