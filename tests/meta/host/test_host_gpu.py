"""GPU readings from recorded NVML answers, and from this machine whatever it has."""

import copy
import json
import os
from functools import partial
from types import SimpleNamespace

import pynvml
import pytest
from support.places import DATA

from fixtures.host.gpu import GpuError, gpu_readings, nvml_session, throttle_names
from fixtures.host.gpu_share import with_gpu_share
from fixtures.host.snapshot import read_gpus
from fixtures.records.conditions import ProcessLoad

RECORDED = json.loads((DATA / "nvml_recorded.json").read_text(encoding="utf-8"))
NAMES = {3161112: "llama-server", 2378446: "asr"}


class RecordedNvml:
    """Answers like the pynvml module, from a recording; {"error": N} is raised as NVML raises it."""

    def __init__(self, recording):
        self.recording = recording
        self.open = 0

    def __getattr__(self, function):
        if not function.startswith("nvml"):
            raise AttributeError(function)
        return partial(self.call, function)

    def call(self, function, *arguments, version=1):
        if version != 1:  # another answer, where the driver has one
            function = f"{function}_v2"
            if function not in arguments[0]:
                raise pynvml.NVMLError(self.recording.get("no_v2", pynvml.NVML_ERROR_FUNCTION_NOT_FOUND))
        if function == "nvmlInit":
            self.answer(self.recording.get(function))
            self.open += 1
            return None
        assert self.open, f"{function} outside a session"
        if function == "nvmlShutdown":
            self.open -= 1
            return None
        if function == "nvmlDeviceGetCount":
            return len(self.recording["devices"])
        if function == "nvmlDeviceGetHandleByIndex":
            return self.recording["devices"][arguments[0]]
        return self.answer(arguments[0][function])

    def answer(self, value):
        if isinstance(value, dict) and "error" in value:
            raise pynvml.NVMLError(value["error"])
        if isinstance(value, dict):
            return SimpleNamespace(**value)
        return [self.answer(item) for item in value] if isinstance(value, list) else value


def gb10(**answers):
    recording = copy.deepcopy(RECORDED["gb10"])
    recording["devices"][0].update(answers)
    return RecordedNvml(recording)


def read(nvml):
    (gpu,) = gpu_readings(nvml, lambda pid: NAMES.get(pid, ""))
    assert nvml.open == 0
    return gpu


def test_gb10_refuses_memory_so_used_is_the_sum_over_its_processes():
    gpu = read(gb10())
    assert (gpu.name, gpu.integrated, gpu.total_mib) == ("NVIDIA GB10", True, None)
    assert gpu.used_mib == 17408 + 2048 + 128
    assert [(member.pid, member.name, member.used_mib) for member in gpu.processes] == [
        (2101, "unknown", 128),
        (2378446, "asr", 2048),
        (3161112, "llama-server", 17408),
    ]
    assert (gpu.utilisation_pct, gpu.sm_clock_mhz, gpu.power_w, gpu.temperature_c, gpu.throttle) == (96, 799, 19.5, 52, ())


def test_gb10_that_answers_with_the_systems_memory_is_summed_all_the_same():
    gpu = read(gb10(nvmlDeviceGetMemoryInfo={"total": 128 << 30, "used": 90 << 30, "free": 38 << 30}))
    assert (gpu.used_mib, gpu.total_mib) == (17408 + 2048 + 128, 128 * 1024)


def test_gb10_without_processes_uses_nothing():
    gpu = read(gb10(nvmlDeviceGetComputeRunningProcesses=[], nvmlDeviceGetGraphicsRunningProcesses=[]))
    assert (gpu.used_mib, gpu.processes) == (0, ())


def test_sum_is_unknown_where_one_process_is():
    gpu = read(gb10(nvmlDeviceGetComputeRunningProcesses=[{"pid": 1, "usedGpuMemory": None}]))
    assert gpu.used_mib is None


def test_process_that_computes_and_draws_counts_once():
    both = [{"pid": 2378446, "usedGpuMemory": 1 << 30}]
    gpu = read(gb10(nvmlDeviceGetComputeRunningProcesses=both, nvmlDeviceGetGraphicsRunningProcesses=both))
    assert gpu.used_mib == 1024


def test_readings_that_a_device_does_not_have_are_none():
    optional = ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature", "nvmlDeviceGetClockInfo")
    absent = {function: {"error": 3} for function in optional}
    gpu = read(gb10(**absent, nvmlDeviceGetCurrentClocksEventReasons={"error": 13}))
    assert (gpu.utilisation_pct, gpu.power_w, gpu.temperature_c, gpu.sm_clock_mhz, gpu.throttle) == (None, None, None, None, ())


def test_share_of_each_process_is_its_latest_sample():
    stamps = [{"pid": 2378446, "smUtil": 70, "timeStamp": 2}, {"pid": 2378446, "smUtil": 12, "timeStamp": 1}]
    gpu = read(gb10(nvmlDeviceGetProcessUtilization=stamps))
    assert {member.pid: member.sm_pct for member in gpu.processes} == {2101: None, 2378446: 70, 3161112: None}


def test_process_of_this_run_is_told_from_others():
    gpu = read(gb10(nvmlDeviceGetComputeRunningProcesses=[{"pid": os.getpid(), "usedGpuMemory": 1 << 20}, {"pid": 1, "usedGpuMemory": 1}]))
    assert {member.pid: member.ours for member in gpu.processes if member.pid in (1, os.getpid())} == {1: False, os.getpid(): True}


def test_share_of_the_gpu_goes_to_the_competing_process():
    stamps = [{"pid": 2378446, "smUtil": 70, "timeStamp": 2}]
    gpu = read(gb10(nvmlDeviceGetProcessUtilization=stamps))
    loads = [ProcessLoad(name="asr", pid=pid, command="asr", cpu_pct=1.0, service="ASR") for pid in (2378446, 3161112, 9)]
    assert [load.gpu_pct for load in with_gpu_share(loads, (gpu, gpu))] == [140.0, None, None]
    assert [load.gpu_pct for load in with_gpu_share(loads, ())] == [None, None, None]


@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetName", "nvmlDeviceGetComputeRunningProcesses"]
)
@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN, pynvml.NVML_ERROR_RESET_REQUIRED])
def test_lost_gpu_is_never_masked(function, error):
    nvml = gb10(**{function: {"error": error}})
    with pytest.raises(GpuError, match="NVML fails") as failed:
        gpu_readings(nvml)
    assert "\n" not in str(failed.value)
    assert nvml.open == 0
    assert read_gpus(nvml) == ((), str(failed.value))


def test_idle_h100():
    gpu = read(RecordedNvml(RECORDED["h100_idle"]))
    assert (gpu.integrated, gpu.used_mib, gpu.total_mib, gpu.processes) == (False, 480, 81559, ())
    assert (gpu.utilisation_pct, gpu.sm_clock_mhz, gpu.power_w, gpu.throttle) == (0, 345, 73.428, ("gpu_idle",))


def test_busy_h100():
    """Memory in use is the device's own figure here, not the sum over its processes."""
    gpu = read(RecordedNvml(RECORDED["h100_busy"]))
    assert (gpu.used_mib, gpu.utilisation_pct, gpu.sm_clock_mhz, gpu.throttle) == (1490.8125, 99, 1245, ("sw_power_cap",))
    assert [(member.pid, member.used_mib, member.sm_pct) for member in gpu.processes] == [(409, 1002, 86)]


def test_refused_memory_is_an_error_on_a_device_with_memory_of_its_own():
    with pytest.raises(GpuError, match="Not Supported"):
        gpu_readings(gb10(nvmlDeviceGetName="NVIDIA H100 80GB HBM3"))


def test_name_that_only_contains_the_letters_is_no_gb10():
    with pytest.raises(GpuError):
        gpu_readings(gb10(nvmlDeviceGetName="NVIDIA GB100"))


@pytest.mark.parametrize("situation", ["no_library", "no_driver"])
def test_no_gpu_is_a_fact(situation):
    nvml = RecordedNvml(RECORDED[situation])
    assert gpu_readings(nvml) == ()
    with nvml_session(nvml) as has_driver:
        assert not has_driver
    assert nvml.open == 0


def test_driver_that_does_not_answer_is_an_error():
    with pytest.raises(GpuError, match=r"cannot be started: .*mismatch"):
        gpu_readings(RecordedNvml(RECORDED["version_mismatch"]))


@pytest.mark.parametrize(
    ("mask", "expected"),
    [(0, ()), (1, ("gpu_idle",)), (4 | 0x40, ("sw_power_cap", "hw_thermal_slowdown")), (0x80 | 1 << 40, ("hw_power_brake", hex(1 << 40)))],
)
def test_throttle_names(mask, expected):
    assert throttle_names(mask) == expected


def test_this_machine_answers_without_an_error():
    for gpu in gpu_readings():
        assert gpu.name
        assert gpu.used_mib is None or gpu.used_mib >= 0


@pytest.fixture
def with_memory_of_its_own():
    def recording(**answers):
        return gb10(nvmlDeviceGetName="NVIDIA H100 80GB HBM3", nvmlDeviceGetMemoryInfo={"total": 80 << 30, "used": 2000 << 20}, **answers)

    return recording


def test_what_the_driver_reserves_is_not_used(with_memory_of_its_own):
    second = {"total": 80 << 30, "used": 1520 << 20, "reserved": 480 << 20}
    gpu = read(with_memory_of_its_own(nvmlDeviceGetMemoryInfo_v2=second))
    assert (gpu.used_mib, gpu.total_mib) == (1520, 80 * 1024)


@pytest.mark.parametrize(
    "error",
    [
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    ],
)
def test_an_older_driver_gives_its_first_answer(with_memory_of_its_own, error):
    nvml = with_memory_of_its_own()
    nvml.recording["no_v2"] = error
    assert read(nvml).used_mib == 2000


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN])
def test_a_lost_gpu_is_not_asked_another_way(with_memory_of_its_own, error):
    nvml = with_memory_of_its_own(nvmlDeviceGetMemoryInfo_v2={"error": error})
    with pytest.raises(GpuError, match="NVML fails"):
        gpu_readings(nvml)
