"""Noise: load that comes up during a speed gate voids it; `--accept-noisy` closes it as WAIVED, by whom and why, never as PASS."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from support import child_session
from support.evidence_samples import GREEN, NOON, QUIET, REQUIREMENTS, TPS, evidence, judged

from fixtures.catalog.load import load_host
from fixtures.catalog.noise import AcceptanceError, parse_acceptance
from fixtures.host.lock import RunLock
from fixtures.judge.conditions import disturbance
from fixtures.records.conditions import Conditions, GpuReading, NoiseAcceptance, ProcessLoad, ProcessMemory, Snapshot
from fixtures.records.verdict import Verdict

HOST = load_host("local")
CANDIDATE = HOST.candidate("twin42-q8")
ANN = NoiseAcceptance(who="Ann", reason="the ASR has to stay up")
LOUD = QUIET.before.model_copy(update={"competing": (ProcessLoad(name="asr", service="asr", pid=7, command="a", cpu_pct=344.0),)})


def speed(conditions, host=HOST, **measured):
    return judged(evidence("TPS-1", measured=TPS | measured, raw=GREEN["TPS-1"][1], conditions=conditions), CANDIDATE, host)


def noisy(**changes):
    return Conditions(before=LOUD, samples=(LOUD,), after=LOUD, **changes)


class TestJudge:
    """What an acceptance makes of a number."""

    def test_noise_that_nobody_accepted_is_invalid(self):
        assert speed(noisy()).verdict is Verdict.INVALID

    def test_accepted_and_met_is_waived_with_who_why_and_what(self):
        found = speed(noisy(accepted=ANN))
        assert found.verdict is Verdict.WAIVED
        assert found.reason.startswith("noisy run accepted by Ann: the ASR has to stay up - in spite of: asr came up")
        assert "344.0 % of a core" in found.reason
        assert (found.measured, found.unit) == (50.0, "t/s")

    def test_accepted_and_not_met_proves_nothing(self):
        found = speed(noisy(accepted=ANN), decode_tps=0.5, ci_low_tps=0.45, ci_high_tps=0.55)
        assert found.verdict is Verdict.INVALID
        assert "not met beside noise" in found.reason

    def test_a_quiet_measurement_needs_no_acceptance(self):
        assert speed(QUIET.model_copy(update={"accepted": ANN})).verdict is Verdict.PASS

    def test_spread_and_a_live_server_are_noise_too(self):
        quiet = QUIET.model_copy(update={"accepted": ANN})
        for measured in ({"noise_pct": 99.0}, {"attached": True}):
            assert speed(QUIET, **measured).verdict is Verdict.INVALID
            assert speed(quiet, **measured).verdict is Verdict.WAIVED

    def test_no_acceptance_mends_a_lost_gpu_or_missing_conditions(self):
        lost = LOUD.model_copy(update={"gpu_error": "GPU is lost"})
        assert speed(Conditions(before=LOUD, after=lost, accepted=ANN)).verdict is Verdict.INVALID
        assert speed(Conditions(accepted=ANN)).verdict is Verdict.INVALID

    def test_no_acceptance_mends_the_low_power_trap(self):
        gpu = GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=96.0, sm_clock_mhz=799.0)
        host = HOST.model_copy(update={"guard": HOST.guard.model_copy(update={"min_sm_clock_mhz": 1500.0})})
        trapped = Conditions(before=LOUD, samples=(LOUD.model_copy(update={"gpus": (gpu,)}),), after=LOUD, accepted=ANN)
        found = speed(trapped, host)
        assert found.verdict is Verdict.INVALID
        assert "low-power trap" in found.reason


class TestGpuShare:
    """Competing load on the GPU, by process."""

    @staticmethod
    def seen(*members, gpu_pct=None):
        load = ProcessLoad(name="asr", service="asr", pid=7, command="a", cpu_pct=1.0, gpu_pct=gpu_pct)
        gpu = GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=96.0, processes=members)
        return [Snapshot(at=NOON, load_1min=0.1, mem_available_mib=1.0, competing=(load,), gpus=(gpu,))]

    def test_the_engine_under_test_does_not_disturb_itself(self):
        ours = ProcessMemory(pid=1, name="llama-server", used_mib=1.0, sm_pct=90.0, ours=True)
        unknown = ours.model_copy(update={"ours": None})
        assert disturbance(self.seen(ours, unknown), HOST.guard) is None

    def test_another_process_on_the_gpu_does(self):
        other = ProcessMemory(pid=7, name="asr", used_mib=1.0, sm_pct=40.0, ours=False)
        said = disturbance(self.seen(other), HOST.guard)
        assert said == "other processes came up on the GPU during the measurement: 40.0 % of it over 1 s, 10 % allowed: pid 7 asr 40 %"

    def test_a_service_above_its_own_gpu_limit_does(self):
        (service,) = HOST.guard.competing
        guard = HOST.guard.model_copy(update={"competing": (service.model_copy(update={"max_gpu_pct": 5.0}),)})
        said = disturbance(self.seen(gpu_pct=6.0), guard)
        assert said == "asr came up during the measurement: 6.0 % of a GPU over 1 s, 5 % allowed"
        assert disturbance(self.seen(gpu_pct=5.0), guard) is None


@pytest.mark.parametrize(
    "text", ["", "Ann", "Ann:", ": because the ASR stays", "Ann: short", "  : long enough reason", "Ann: two\nlines here"]
)
def test_malformed_acceptance_is_one_message(text):
    with pytest.raises(AcceptanceError, match='expected "WHO: REASON"') as error:
        parse_acceptance(text)
    assert "\n" not in str(error.value)


def test_acceptance_keeps_colons_of_the_reason():
    assert parse_acceptance("Ann Lee : until 09:30 the ASR stays") == NoiseAcceptance(who="Ann Lee", reason="until 09:30 the ASR stays")


def test_the_gate_that_judges_the_conditions_is_the_one_that_sends_the_requests():
    """The first of the speed gates sends them, and only its record has the machine's samples of that time."""
    speed_gates = [requirement for requirement in REQUIREMENTS.values() if requirement.marker == "tps"]
    assert min(speed_gates, key=lambda requirement: requirement.order).id == "TPS-1"


@contextmanager
def burner(host):
    """A real CPU burner whose command line is that of the host's ASR."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass", f"asr-service-of-{host.stem}"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.runtime
@pytest.mark.long
def test_a_burner_in_the_middle_of_a_speed_gate_voids_it(tmp_path):
    """Without a burner the same gate passes: plugins/test_runs.py, the first of two runs."""
    host = child_session.write_host(tmp_path, port=18540, requests=12)
    session = child_session.start(host, tmp_path / "reports", "-m", "tps", "-k", "good")
    session.wait_for_launch(1)
    time.sleep(1.5)  # ready, and inside its requests
    with burner(host):
        assert session.wait() == 75, session.output
    record = session.record("TPS-1", "good-q8")
    assert record["status"] == "measured", session.output
    assert record["conditions"]["before"]["competing"] == []  # it was quiet when the gate began
    assert "INVALID: good-q8 TPS-1" in session.output
    assert "requests were noisy. Request" in session.output
    assert "asr came up" in session.output


@pytest.mark.runtime
@pytest.mark.long
def test_accepted_noise_is_waived_everywhere_and_judged_the_same_again(tmp_path):
    host = child_session.write_host(tmp_path, port=18545)
    accept = "--accept-noisy=Ann: the ASR has to stay up this week"
    with burner(host):
        session = child_session.start(host, tmp_path / "reports", "-m", "tps", "-k", "good", accept)
        assert session.wait() == 0, session.output
    assert session.record("TPS-1", "good-q8")["conditions"]["accepted"] == {"who": "Ann", "reason": "the ASR has to stay up this week"}
    verdict = json.loads((session.folder / "verdict.json").read_text())
    (gate,) = [g for c in verdict["candidates"] for g in c["gates"] if (c["candidate"], g["requirement"]) == ("good-q8", "TPS-1")]
    assert gate["judgement"]["verdict"] == "WAIVED"
    said = "noisy run accepted by Ann: the ASR has to stay up this week"
    for text in (gate["judgement"]["reason"], " ".join(session.output.split()), *(read(session, name) for name in WRITTEN)):
        assert said in text
    again = child_session.start("local", tmp_path / "unused", f"--recheck={session.folder}", f"--reports={tmp_path / 'again'}")
    assert again.wait() == 0, again.output
    ledger = child_session.start(
        host, tmp_path / "unused2", "-m", "tps", "-k", "good", "--from-ledger", f"--reports={tmp_path / 'reports'}"
    )
    assert ledger.wait() == 0, ledger.output
    assert "1 waived" in ledger.output


WRITTEN = ("index.html", "index.zh-TW.html", "junit.xml", "summary.md")


def read(session, name):
    return (session.folder / name).read_text("utf-8")


@pytest.mark.runtime
@pytest.mark.long
def test_acceptance_overrides_neither_a_held_lock_nor_a_taken_port(tmp_path):
    host = child_session.write_host(tmp_path, port=18550)
    args = ("-m", "kv", "-k", "good", "--accept-noisy=Ann: the ASR has to stay up this week")
    with RunLock(tmp_path / "run.lock"):
        held = child_session.start(host, tmp_path / "held", *args)
        assert held.wait() == 75, held.output
    assert f"is held by pid {os.getpid()}" in held.record("KV-1", "good-q8")["reason"]
    with socket.create_server(("127.0.0.1", 18551)):
        taken = child_session.start(host, tmp_path / "taken", *args)
        assert taken.wait() == 75, taken.output
    assert "port 18551 is taken by" in taken.record("KV-1", "good-q8")["reason"]


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--accept-noisy=Ann"], 'expected "WHO: REASON"'),
        (["--accept-noisy=Ann: the ASR stays up", "--from-ledger"], "--from-ledger measures nothing"),
        (["--accept-noisy=Ann: the ASR stays up", "--recheck=nowhere"], "--recheck measures nothing"),
    ],
)
def test_a_malformed_or_useless_acceptance_is_one_usage_error(tmp_path, args, said):
    session = child_session.start("local", tmp_path / "reports", "-m", "audit", *args)
    assert session.wait() == 4
    assert said in session.output
    assert "Traceback" not in session.output
    assert len(session.output.strip().splitlines()) <= 2
