"""The guard's decisions on recorded readings: the report's own audit first."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from support.places import DATA

from fixtures.catalog.host import Competing, Guard
from fixtures.catalog.load import load_host
from fixtures.host.decisions import watched_note
from fixtures.host.guard import port_block, session_block, wait_clear
from fixtures.judge.conditions import disturbance, lost_gpu, low_power_trap
from fixtures.records.conditions import GpuReading, GuardReport, LockHolder, LockState, PortState, ProcessLoad, ProcessMemory, Snapshot

DGX = json.loads((DATA / "dgx_guard.json").read_text(encoding="utf-8"))
REPORT = GuardReport.model_validate(DGX["report"])
LIMITS = Guard.model_validate(DGX["limits"])
NOON = datetime(2026, 5, 14, 12, tzinfo=UTC)


def changed(**facts):
    return REPORT.model_copy(update=facts)


def calm(**facts):
    """The DGX with its ASR idle."""
    return changed(load=(ProcessLoad(name="asr", pid=2378446, command="asr", cpu_pct=2.0, service="ASR"),), **facts)


def test_dgx_situation_gets_exactly_the_reports_judgements():
    watch = load_host("dgx").ports.watch
    blocks = {state.port: f"{block}{watched_note(state.port, watch)}" if (block := port_block(state)) else None for state in REPORT.ports}
    assert [port for port, block in blocks.items() if block is None] == DGX["judgements"]["clear_ports"]
    assert {str(port): block for port, block in blocks.items() if block} == DGX["judgements"]["blocked_ports"]
    assert REPORT.lock.is_free  # present, empty, stale
    assert session_block(REPORT, LIMITS) == DGX["judgements"]["session"]


def test_dgx_with_its_asr_idle_may_run_though_ports_stay_blocked():
    assert session_block(calm(), LIMITS) is None
    assert [state.port for state in calm().ports if port_block(state)] == [8090, 8092]


def test_load_at_the_limit_is_allowed_and_above_it_is_not():
    loads = [ProcessLoad(name="asr", pid=pid, command="", cpu_pct=25.0, service="ASR") for pid in (1, 2)]
    assert session_block(changed(load=tuple(loads)), LIMITS) is None
    third = ProcessLoad(name="asr", pid=3, command="", cpu_pct=0.1, service="ASR", unit="asr.service")
    assert session_block(changed(load=(*loads, third)), LIMITS) == (
        "ASR: 50.1 % of a core, 50 % allowed (pid 1 asr 25.0 %, pid 2 asr 25.0 %, pid 3 asr 0.1 % (asr.service))"
    )


def test_long_list_of_processes_is_cut_after_the_busiest():
    loads = tuple(ProcessLoad(name="asr", pid=pid, command="", cpu_pct=float(pid), service="ASR") for pid in range(20, 26))
    assert session_block(changed(load=loads), LIMITS).endswith("(pid 25 asr 25.0 %, pid 24 asr 24.0 %, pid 23 asr 23.0 % and 3 more)")


def test_load_of_another_service_does_not_count():
    load = ProcessLoad(name="x", pid=1, command="", cpu_pct=400.0, service="backup")
    assert session_block(changed(load=(load,)), LIMITS) is None


def test_held_lock_blocks_and_names_its_holder():
    holder = LockHolder(pid=7, name="bash", user="wayne", command="bash bench.sh", since=NOON)
    held = LockState(path="/run/x.lock", status="held", holder=holder)
    assert (
        session_block(calm(lock=held), LIMITS)
        == "lock /run/x.lock is held by pid 7 (bash, user wayne) since 2026-05-14 12:00:00 UTC: bash bench.sh"
    )
    assert session_block(calm(lock=held.model_copy(update={"ours": True})), LIMITS) is None
    unseen = LockState(path="/run/x.lock", status="held", note="by a process that this user may not see")
    assert session_block(calm(lock=unseen), LIMITS) == "lock /run/x.lock is held by a process that this user may not see"


def test_unclear_lock_blocks():
    unclear = LockState(path="/run/x.lock", status="unclear", note="is not a regular file; name a file in guard.lock")
    assert session_block(calm(lock=unclear), LIMITS) == "lock /run/x.lock is unclear: is not a regular file; name a file in guard.lock"


def test_missing_keys_block_by_name():
    block = session_block(calm(lock=None, missing_keys=("guard.lock", "guard.competing")), LIMITS)
    assert block == (
        'missing key `guard.lock`, `guard.competing`: add `lock = "<the lock file that your scripts take>"` below `[guard]` '
        "in the overlay of host dgx, and the others likewise (`make doctor` suggests values)"
    )


@pytest.mark.parametrize(("utilisation", "blocks"), [(None, False), (0.0, False), (10.0, False), (10.1, True), (96.0, True)])
def test_busy_gpu_blocks(utilisation, blocks):
    canary = ProcessMemory(pid=3161112, name="llama-server", used_mib=17000.4)
    gpu = GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=utilisation, processes=(canary,))
    block = session_block(calm(gpus=(gpu,)), LIMITS)
    expected = f"GPU 0 (NVIDIA GB10) is {utilisation or 0:.0f} % busy, 10 % allowed: pid 3161112 llama-server 17000 MiB"
    assert block == (expected if blocks else None)


def test_lost_driver_blocks_and_no_gpu_at_all_blocks_only_where_one_is_expected():
    assert session_block(calm(gpus=(), gpu_error="NVML fails: GPU is lost"), LIMITS) == "GPU cannot be judged: NVML fails: GPU is lost"
    assert session_block(calm(gpus=()), LIMITS).startswith("host dgx runs its engine on a GPU, but no NVIDIA driver is loaded")
    assert session_block(calm(gpus=(), gpu_expected=False), LIMITS) is None


def test_every_reason_is_told_at_once():
    held = LockState(path="/run/x.lock", status="held", holder=LockHolder(pid=7))
    gpu = GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=96.0)
    block = session_block(changed(lock=held, gpus=(gpu,), missing_keys=("guard.competing",)), LIMITS)
    assert [part in block for part in ("guard.competing", "held by pid 7", "ASR: 344.0 %", "96 % busy")] == [True] * 4


def test_service_blocks_by_its_share_of_the_gpu_where_the_host_limits_it():
    load = ProcessLoad(name="asr", pid=2378446, command="asr", cpu_pct=2.0, gpu_pct=35.0, service="ASR")
    assert session_block(changed(load=(load,)), LIMITS) is None
    limited = LIMITS.model_copy(update={"competing": (LIMITS.competing[0].model_copy(update={"max_gpu_pct": 10.0}),)})
    expected = "ASR: 2.0 % of a core, 50 % allowed, 35 % of a GPU, 10 % allowed (pid 2378446 asr 2.0 %)"
    assert session_block(changed(load=(load,)), limited) == expected
    assert session_block(calm(), limited) is None


def test_accepted_load_leaves_every_other_reason():
    busy = GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=96.0)
    held = LockState(path="/run/x.lock", status="held", holder=LockHolder(pid=7))
    assert session_block(changed(gpus=(busy,)), LIMITS, load_accepted=True) is None
    assert session_block(changed(lock=held), LIMITS, load_accepted=True) == "lock /run/x.lock is held by pid 7"
    assert "GPU cannot be judged" in session_block(changed(gpus=(), gpu_error="lost"), LIMITS, load_accepted=True)
    assert "missing key" in session_block(changed(missing_keys=("guard.lock",)), LIMITS, load_accepted=True)
    least = LIMITS.model_copy(update={"min_free_disk_mib": 2000.0})
    assert session_block(changed(disk_free_mib=100.0), least, load_accepted=True).startswith("only 100 MiB are free where reports go")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (PortState(port=8092, free=True), None),
        (PortState(port=8092, free=False, pid=5, name="llama-server", ours=True), None),
        (PortState(port=8092, free=False, note="held by another user"), "port 8092 is taken: held by another user"),
        (
            PortState(port=8092, free=False, pid=5, name="python", unit="canary.service", since=NOON, note="also pid 6"),
            "port 8092 is taken by python (pid 5, unit canary.service, since 2026-05-14 12:00:00 UTC, also pid 6)",
        ),
    ],
)
def test_port_block(state, expected):
    assert port_block(state) == expected


def samples(*cpu_pcts, service="ASR", **facts):
    return [
        Snapshot(
            at=NOON + timedelta(seconds=second),
            load_1min=1.0,
            mem_available_mib=1.0,
            competing=(ProcessLoad(name="asr", pid=9, command="asr", cpu_pct=cpu_pct, service=service),),
            **facts,
        )
        for second, cpu_pct in enumerate(cpu_pcts)
    ]


class TestDisturbance:
    """Competing load that comes up during a measurement."""

    def test_none(self):
        assert disturbance([], LIMITS) is None
        assert disturbance(samples(0, 10, 50, 0, 0, 0, 0), LIMITS) is None

    def test_burst_shorter_than_the_window_counts_alone(self):
        assert disturbance(samples(0, 0, 0, 0, 240, 0, 0, 0, 0), LIMITS) == (  # 48 % over 5 s
            "ASR came up during the measurement: 240.0 % of a core in one sample, 50 % allowed (pid 9 asr)"
        )
        assert disturbance(samples(0, 0, 0, 0, 260, 0, 0, 0, 0), LIMITS).startswith(
            "ASR came up during the measurement: 52.0 % of a core over 5 s, 50 % allowed (pid 9 asr)"
        )

    def test_short_measurement_is_judged_by_all_it_has(self):
        assert disturbance(samples(60, 60), LIMITS) is not None
        assert disturbance(samples(90, 5), LIMITS) is not None
        assert disturbance(samples(50, 5), LIMITS) is None

    def test_other_service_does_not_disturb(self):
        assert disturbance(samples(400, 400, 400, 400, 400, service="backup"), LIMITS) is None

    def test_lost_gpu(self):
        assert lost_gpu(samples(0, gpu_error="GPU is lost")) == "the GPU was lost during the measurement: GPU is lost"


def gpu_samples(*readings):
    return [
        Snapshot(
            at=NOON,
            load_1min=1.0,
            mem_available_mib=1.0,
            gpus=(GpuReading(index=0, name="NVIDIA GB10", utilisation_pct=busy, sm_clock_mhz=clock, power_w=watts),),
        )
        for busy, clock, watts in readings
    ]


class TestLowPowerTrap:
    """docs/facts.md#low-power-trap: P0, 96 % busy, no throttle flag, 799 MHz, 19.5 W, half the speed."""

    def test_trap_is_named(self):
        assert low_power_trap(gpu_samples((96.0, 799.0, 19.5), (96.0, 799.0, 19.5)), min_sm_clock_mhz=2000) == (
            "low-power trap: GPU 0 (NVIDIA GB10) is more than 90 % busy at an SM clock of 799 MHz, 19.5 W, "
            "at least 2000 MHz expected (throttle reasons: none)"
        )

    def test_fast_clock_is_no_trap(self):
        assert low_power_trap(gpu_samples((96.0, 2400.0, 60.0)), min_sm_clock_mhz=2000) is None

    def test_idle_gpu_is_slow_by_right(self):
        assert low_power_trap(gpu_samples((3.0, 208.0, 5.0), (90.0, 208.0, 5.0)), min_sm_clock_mhz=2000) is None

    def test_one_slow_moment_while_the_clock_rises_is_no_trap(self):
        assert low_power_trap(gpu_samples((96.0, 799.0, 19.5), (97.0, 2400.0, 60.0), (97.0, 2400.0, 60.0)), min_sm_clock_mhz=2000) is None

    def test_no_gpu_or_no_clock(self):
        assert low_power_trap([], min_sm_clock_mhz=2000) is None
        assert low_power_trap(gpu_samples((96.0, None, None), (None, 799.0, None)), min_sm_clock_mhz=2000) is None


class TestWaitClear:
    """`--wait-clear SECONDS`."""

    def test_clear_at_once_says_nothing(self):
        lines = []
        assert wait_clear(lambda: None, 60, lines.append) is None
        assert lines == []

    def test_waits_until_it_clears(self):
        reasons, lines = ["ASR busy", "ASR still busy", None], []
        assert wait_clear(lambda: reasons.pop(0), 60, lines.append, poll_s=0.01) is None
        assert lines == ["waiting for the guard to clear, 0 of 60 s: ASR busy", "waiting for the guard to clear, 0 of 60 s: ASR still busy"]

    def test_gives_the_reason_that_stands_when_time_is_up(self):
        looks = []
        assert wait_clear(lambda: looks.append(1) or "ASR busy", 0.05, lambda line: None, poll_s=0.02) == "ASR busy"
        assert len(looks) >= 2

    def test_no_time_is_one_look(self):
        looks = []
        assert wait_clear(lambda: looks.append(1) or "ASR busy", 0, lambda line: None) == "ASR busy"
        assert len(looks) == 1


def test_report_survives_json():
    assert GuardReport.model_validate_json(REPORT.model_dump_json()) == REPORT


def test_competing_name_is_what_links_load_to_limit():
    limits = Guard(competing=(Competing(name="ASR", process="a", max_cpu_pct=0), Competing(name="idle", process="b", max_cpu_pct=0)))
    assert session_block(REPORT, limits).startswith("ASR: 344.0 % of a core, 0 % allowed")
