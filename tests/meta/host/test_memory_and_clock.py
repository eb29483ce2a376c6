"""Memory before a launch and while it runs, and the wall clock: what is short, what is stopped, what cannot be told."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest
from support.evidence_samples import COH, GREEN, QUIET, evidence
from support.signoff_samples import all_green, run

from fixtures.catalog.host import Guard
from fixtures.catalog.load import load_host
from fixtures.catalog.requirement import Arm
from fixtures.catalog.waivers import Waiver
from fixtures.engine.command import CommandLine
from fixtures.engine.lanes import LaneTypes
from fixtures.engine.launch_memory import launch_need
from fixtures.engine.prepared import Prepared
from fixtures.engine.server import LaunchFailed, LaunchPlan, launch
from fixtures.engine.slot import HostSlot
from fixtures.host import memory_need
from fixtures.host.clock import TOLERANCE_S, ClockWatch
from fixtures.host.memory_need import MemoryNeed, free_gpu_mib, shortage, shortage_of
from fixtures.host.watchdog import MemoryFloor, Watchdog
from fixtures.models.artefacts import check_gguf
from fixtures.models.twins import ensure_twin
from fixtures.records.blocked import Blocked
from fixtures.records.conditions import GpuReading
from fixtures.records.verdict import SignOff

NEED = MemoryNeed("26b/base", (("weights", 16000.0), ("drafter", 311.0), ("KV cache", 6000.0), ("compute (estimate)", 700.0)), 2048.0)


class TestNeed:
    """weights + drafter + KV + compute + reserve fit what is available, else BLOCKED with the sum."""

    def test_says_the_sum_and_all_its_parts(self):
        assert shortage_of(NEED, 20000.0) == (
            "26b/base needs 25059 MiB (weights 16000 + drafter 311 + KV cache 6000 + compute (estimate) 700 + reserve 2048), "
            "and 20000 MiB are available (MemAvailable): nothing was launched. "
            "Stop what holds memory, lower the context, or lower `guard.reserve_mib`"
        )

    @pytest.mark.parametrize(("free", "fits"), [(25059.0, True), (25058.9, False), (0.0, False), (1e9, True)])
    def test_fits_to_the_mib(self, free, fits):
        assert (shortage_of(NEED, free) == "") is fits

    def test_of_a_discrete_gpu_its_free_memory_counts_and_of_an_integrated_one_nothing(self):
        discrete = GpuReading(index=0, name="NVIDIA H100", used_mib=1000.0, total_mib=81000.0)
        gb10 = GpuReading(index=0, name="NVIDIA GB10", used_mib=10.0, total_mib=122000.0, integrated=True)
        silent = GpuReading(index=1, name="NVIDIA X")
        assert (free_gpu_mib((discrete, silent)), free_gpu_mib((gb10,)), free_gpu_mib(())) == (80000.0, 0.0, 0.0)

    def test_launch_that_does_not_fit_starts_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr("fixtures.engine.server._FREED_S", 0.1)
        command = CommandLine(argv=("/bin/touch", str(tmp_path / "started")), env={}, policy_env={})
        plan = LaunchPlan(command, 18771, "a", tmp_path / "m.gguf", tmp_path / "x.log", 5.0, 5.0, 5.0, replace(NEED, reserve_mib=1e9))
        with pytest.raises(Blocked, match=r"26b/base needs \d+ MiB \(weights 16000 \+ drafter 311"), launch(plan):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_memory_that_the_process_before_gives_back_in_a_moment_is_waited_for(self, monkeypatch):
        answers = iter([100.0, 100.0, 1e6])
        monkeypatch.setattr(memory_need, "available_mib", lambda on_gpu: (next(answers), "MemAvailable"))
        assert [bool(shortage(NEED)) for _ in range(3)] == [True, True, False]

    def test_a_long_f16_context_of_the_31b_does_not_fit_where_it_would_take_the_machine_down(self):
        twin = ensure_twin("twin60", "geometry", progress=lambda *_: None)
        facts = check_gguf(twin.target).model_copy(update={"tensor_bytes": 18 << 30, "vocabulary": 262144})
        host = load_host("dgx", bare=True)
        types = LaneTypes(k_type="f16", v_type="f16", k_bpw=16.0, v_bpw=16.0, env={})
        base = Prepared(host, host.candidate("31b-k3v3"), Arm.BASE, twin.target, None, types, twin.target, None)
        short = launch_need(base, {"target": facts}, "31b-k3v3/base", 8192, 1)
        long = launch_need(base, {"target": facts}, "31b-k3v3/base", 131072, 1)
        assert shortage_of(short, 30000.0) == ""
        assert "KV cache 1" in shortage_of(long, 30000.0)
        assert long.reserve_mib == host.guard.reserve_mib == 2048.0
        assert dict(long.parts)["KV cache"] > 6 * dict(short.parts)["KV cache"]
        quantised = replace(base, types=types.model_copy(update={"k_bpw": 3.125, "v_bpw": 3.125}))
        assert launch_need(quantised, {"target": facts}, "x", 131072, 1).total_mib < long.total_mib

    def test_a_drafter_and_its_context_count(self):
        twin = ensure_twin("twin60", "geometry", progress=lambda *_: None)
        facts = check_gguf(twin.target)
        host = load_host("dgx", bare=True)
        types = LaneTypes(k_type="f16", v_type="f16", k_bpw=16.0, v_bpw=16.0, env={})
        alone = Prepared(host, host.candidate("31b-k3v3"), Arm.PRODUCTION, twin.target, None, types, twin.target, None)
        beside = replace(alone, drafter=twin.target)
        one = launch_need(alone, {"target": facts}, "x", 8192, 1)
        two = launch_need(beside, {"target": facts, "drafter": facts}, "x", 8192, 1)
        assert [name for name, _ in two.parts] == ["weights", "drafter", "KV cache", "compute (estimate)"]
        assert dict(two.parts)["compute (estimate)"] > dict(one.parts)["compute (estimate)"]

    @pytest.mark.parametrize("name", ["local", "twins"])
    def test_embedded_hosts_ask_for_little(self, name):
        assert load_host(name).guard.reserve_mib == 256.0
        assert Guard().reserve_mib == 2048.0


class TestWatch:
    """The watchdog stops our own engine, and nothing else."""

    def test_stops_once_when_half_of_the_reserve_is_touched(self):
        left, stopped = iter([3000.0, 1100.0, 900.0, 100.0]), []
        with Watchdog([MemoryFloor(2048.0, lambda: next(left))], lambda: stopped.append(1), interval_s=0.01) as watch:
            deadline = time.monotonic() + 5
            while not watch.touched and time.monotonic() < deadline:
                time.sleep(0.01)
        assert stopped == [1]
        assert watch.touched == (
            "stopped by the watchdog: 900 MiB were available, 1024 MiB (half of `guard.reserve_mib`) must stay free; "
            "only this run's own engine was stopped"
        )

    def test_without_a_reserve_nothing_is_watched(self):
        with Watchdog([MemoryFloor(0.0, lambda: 0.0)], lambda: pytest.fail("stopped"), interval_s=0.001) as watch:
            time.sleep(0.05)
        assert watch.touched == ""

    def test_program_in_the_slot_is_stopped_and_that_is_no_fault_of_it(self, tmp_path):
        written = []
        bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
        command = CommandLine(argv=("/bin/sleep", "30"), env={"PATH": "/bin"}, policy_env={})
        began = time.monotonic()
        try:
            with HostSlot(written.append, reserve_mib=1e9) as slot:
                with pytest.raises(Blocked, match=r"^c/ppl was stopped by the watchdog: \d+ MiB were available, 500000000 MiB"):
                    slot.run_program(("c", "ppl"), command, tmp_path / "x.log", 25.0)
                assert time.monotonic() - began < 20
                assert written[-1].exit_status == -9
                assert bystander.poll() is None
        finally:
            bystander.kill()
            bystander.wait()

    def test_when_the_time_has_run_out_what_runs_is_stopped_and_nothing_is_launched_any_more(self, tmp_path):
        ends = time.monotonic() + 1.0
        command = CommandLine(argv=("/bin/sleep", "30"), env={"PATH": "/bin"}, policy_env={})
        plan = LaunchPlan(command, 18772, "a", tmp_path / "m.gguf", tmp_path / "y.log", 20.0, 5.0, 5.0)
        written = []
        with HostSlot(written.append, 0.0, lambda: "the window ended" if time.monotonic() > ends else "") as slot:
            with pytest.raises(Blocked, match=r"^c/ppl was stopped by the watchdog: the window ended; only this run's own engine"):
                slot.run_program(("c", "ppl"), command, tmp_path / "x.log", 25.0)
            assert written[-1].exit_status == -9
            began = len(written)
            with pytest.raises(Blocked, match=r"^c/production was not launched: the window ended$"):
                slot.server(("c", "production"), lambda: plan)
            with pytest.raises(Blocked, match=r"^d/ppl was not launched: the window ended$"):
                slot.run_program(("d", "ppl"), command, tmp_path / "z.log", 25.0)
            assert len(written) == began
            assert [told.split(" was ")[0] for told in slot.broken_off] == ["c/ppl", "c/production", "d/ppl"]

    def test_program_that_ends_by_itself_is_judged_as_ever(self, tmp_path):
        command = CommandLine(argv=("/bin/false",), env={"PATH": "/bin"}, policy_env={})
        with HostSlot(lambda launch: None, reserve_mib=1.0) as slot, pytest.raises(LaunchFailed, match="exit status 1"):
            slot.run_program(("c", "ppl"), command, tmp_path / "x.log", 25.0)

    def test_server_that_is_still_loading_is_stopped_and_the_key_stays_blocked(self, tmp_path):
        command = CommandLine(argv=("/bin/sleep", "30"), env={"PATH": "/bin"}, policy_env={})
        plan = LaunchPlan(command, 18772, "a", tmp_path / "m.gguf", tmp_path / "x.log", 20.0, 5.0, 5.0)
        with HostSlot(lambda launch: None, reserve_mib=1e9) as slot:
            for _ in range(2):
                with pytest.raises(Blocked, match="c/production was stopped by the watchdog"):
                    slot.server(("c", "production"), lambda: plan)


class TestClock:
    """A wall clock that jumps makes dates mean nothing."""

    @pytest.mark.parametrize(("jump", "told"), [(0, None), (59, None), (-59, None), (3600, 3600.0), (-86400, -86400.0), (61, 61.0)])
    def test_jump_is_seen_whatever_time_passes(self, jump, told):
        wall, running = [1000.0], [50.0]
        watch = ClockWatch(lambda: wall[0], lambda: running[0])
        wall[0] += 7200 + jump
        running[0] += 7200
        assert watch.step_s() == told

    def test_slewing_by_ntp_is_no_jump(self):
        assert TOLERANCE_S > 24 * 1.8

    def test_real_clocks_keep_step(self):
        assert ClockWatch().step_s() is None

    WAIVER = Waiver(
        requirement="COH-1",
        candidate="twin42-q8",
        case="zh_marker",
        reason="the text is off by design in this test",
        who="Ann",
        date="2026-11-20",
        expires="2026-12-20T00:00:00Z",
    )

    @pytest.mark.parametrize("marked", [("COH-1", "twin42-q8", "zh_marker"), ("KV-1", "twin42-q8", "")])
    def test_waiver_is_invalid_once_a_record_of_the_run_saw_it_jump(self, marked):
        bad = evidence("COH-1", "twin42-q8", COH | {"text_ok": False}, case="zh_marker", raw=GREEN["COH-1"][1])
        key = ("COH-1", "twin42-q8", "zh_marker")
        assert run(all_green({key: bad}), waivers=(self.WAIVER,)).master is SignOff.READY
        jumped = QUIET.model_copy(update={"clock_step_s": -86400.0})
        records = [
            record.model_copy(update={"conditions": jumped}) if (record.requirement, record.candidate, record.case) == marked else record
            for record in all_green({key: bad})
        ]
        verdict = run(records, waivers=(self.WAIVER,))
        (gate,) = [gate for c in verdict.candidates for gate in c.gates if (gate.requirement, c.candidate, gate.case) == key]
        assert (verdict.master, gate.judgement.verdict) == (SignOff.INCOMPLETE, "INVALID")
        assert "the wall clock jumped by -86400 s during the run: whether the waiver holds cannot be told" in gate.judgement.reason

    def test_jump_in_an_earlier_run_is_not_this_runs(self):
        bad = evidence("COH-1", "twin42-q8", COH | {"text_ok": False}, case="zh_marker", raw=GREEN["COH-1"][1])
        key = ("COH-1", "twin42-q8", "zh_marker")
        jumped = {"reused_from": "20251124T120000Z-local-1#3", "conditions": QUIET.model_copy(update={"clock_step_s": 5000.0})}
        records = [record.model_copy(update=jumped) if record.requirement == "KV-1" else record for record in all_green({key: bad})]
        assert run(records, waivers=(self.WAIVER,)).master is SignOff.READY

    def test_without_a_waiver_a_jump_decides_nothing(self):
        jumped = {"conditions": QUIET.model_copy(update={"clock_step_s": 5000.0})}
        assert run([record.model_copy(update=jumped) for record in all_green()]).master is SignOff.READY
