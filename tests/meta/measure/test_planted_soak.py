"""Soaks of a real server, clean and with planted faults: death, hang, a stalled and a corrupted request, graphs, a leak."""

import signal
import time

import pytest
from support.fault_proxy import Rule
from support.launcher import Death, Faults
from support.leak import leaking_environment
from support.planted import planted

from fixtures.measure import soak
from fixtures.records.soak import parse_soak
from fixtures.records.verdict import Verdict

pytestmark = pytest.mark.runtime

TWIN, CHAT = "twin42-q8", "/v1/chat"
PATIENCE_S = 40.0  # far more than an answer takes on a machine that is busy with other things


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


def test_a_segmentation_fault_is_told_with_its_signal_and_request(tmp_path):
    death = Death(request=9, path=CHAT, by=signal.SIGSEGV)
    first, second = soaked(tmp_path, Faults(die=death), "24", "STA-3", "STA-4")
    assert first.verdict is Verdict.FAIL
    assert "the process died after" in first.reason
    assert "killed by signal 11 (SIGSEGV)" in first.reason
    assert "request 9: llama-server pid" in first.reason or "request 8: llama-server pid" in first.reason
    assert second.verdict is Verdict.INVALID
    assert "the soak did not last: the process died (see STA-3)" in second.reason


@pytest.mark.long
def test_a_hang_is_no_death(tmp_path):
    stopped = Death(request=6, path=CHAT, by=signal.SIGSTOP)
    (found,) = soaked(tmp_path, Faults(die=stopped), "24", "STA-3", request_timeout_s=PATIENCE_S)
    assert found.verdict is Verdict.FAIL
    assert "the server hung after" in found.reason
    assert "hang: neither /slots nor /health answers within 5 s" in found.reason


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(CHAT, after=7, times=1, replace=("第", "弟")), "(0 in the last quarter); first request"),
        pytest.param(Rule(CHAT, after=4, times=1, hold=PATIENCE_S + 5), "no answer in time (ReadTimeout)", marks=pytest.mark.long),
    ],
    ids=["corrupted", "stalled"],
)
def test_one_bad_request_among_many_is_caught_and_the_soak_goes_on(tmp_path, rule, said):
    (found,) = soaked(tmp_path, Faults(rule=rule), "12", "STA-3", request_timeout_s=PATIENCE_S)
    assert found.verdict is Verdict.FAIL
    assert "1 of 12 requests failed" in found.reason
    assert said in found.reason


def test_a_launch_with_graphs_is_no_soak(tmp_path):
    (found,) = soaked(tmp_path, Faults(env={"GGML_CUDA_DISABLE_GRAPHS": None}), "2", "STA-3")
    assert found.verdict is Verdict.FAIL
    assert "was started with graphs" in found.reason


@pytest.mark.long
def test_a_leak_is_found(tmp_path):
    """64 KiB a request, over as few requests as have a slope of their last quarter."""
    began = time.monotonic()
    lasted, memory, speed = soaked(tmp_path, Faults(env=leaking_environment(tmp_path, 64 * 1024)), "72", "STA-3", "STA-4", "STA-5")
    assert lasted.verdict is Verdict.INVALID, lasted.reason
    assert "72 of 72 requests answered rightly: fewer than 4.1 % fail at 95 %; 299 are needed to tell" in lasted.reason
    assert memory.verdict is Verdict.FAIL, memory.reason
    assert "its own memory (RssAnon + VmSwap) grows by 6" in memory.reason
    assert speed.verdict is not Verdict.FAIL, speed.reason
    print(f"{time.monotonic() - began:.0f} s")
