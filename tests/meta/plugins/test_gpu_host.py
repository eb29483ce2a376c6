"""A whole session on a GPU host whose engine has fallen back to the CPU: no READY, and the page and the terminal say why."""

import json

import pytest
from support import child_session
from support.launcher import Faults

pytestmark = [pytest.mark.runtime, pytest.mark.long]

# NVML of a GB10 that works and lists nobody, laid before the real module
STUB = """\
import importlib.machinery, importlib.util, sys, types
here = __file__.rpartition("/")[0]
spec = importlib.machinery.PathFinder.find_spec("pynvml", [path for path in sys.path if path != here])
real = importlib.util.module_from_spec(spec)
sys.modules["pynvml_real"] = real
spec.loader.exec_module(real)
globals().update({name: value for name, value in vars(real).items() if not name.startswith("__")})
def refused(*_, **__):
    raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return "NVIDIA GB10"
nvmlDeviceGetMemoryInfo = refused
def nvmlDeviceGetUtilizationRates(handle): return types.SimpleNamespace(gpu=0, memory=0)
def nvmlDeviceGetPowerUsage(handle): return 3000
def nvmlDeviceGetClockInfo(handle, clock): return 208
def nvmlDeviceGetTemperature(handle, sensor): return 36
def nvmlDeviceGetCurrentClocksEventReasons(handle): return 1
def nvmlDeviceGetComputeRunningProcesses(handle): return []
def nvmlDeviceGetGraphicsRunningProcesses(handle): return []
def nvmlDeviceGetProcessUtilization(handle, since):
    raise NVMLError(NVML_ERROR_NOT_FOUND)
"""
NO_GPU = (
    "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected",
    "warning: no usable GPU found, --gpu-layers option will be ignored",
)


def test_a_silent_fall_back_to_the_cpu_is_not_ready(tmp_path):
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "pynvml.py").write_text(STUB)
    engine = child_session.faulty_engine(tmp_path / "engine", Faults(only="other.gguf", says=NO_GPU))
    host = child_session.write_host(tmp_path, port=18640, recipe="path", engine=engine, other=child_session.own_copy(tmp_path))
    host.write_text(host.read_text().replace("context = 2048\n", "context = 2048\ngpu_layers = 99\n"))
    session = child_session.start(host, tmp_path / "reports", "-m", "kv or coherence or stability", env={"PYTHONPATH": str(stub)})
    assert session.wait() == 1, session.output
    assert "Traceback" not in session.output
    for gate in ("KV-1", "KV-5", "COH-1 zh_marker", "STA-1"):
        assert f"FAIL: other-q8 {gate} " in session.output
    assert f"NVML does not list its process: {NO_GPU[0]}" in session.output
    verdict = json.loads((session.folder / "verdict.json").read_text())
    assert "READY" not in {candidate["signoff"] for candidate in verdict["candidates"]}, "the good one has no GPU either"
