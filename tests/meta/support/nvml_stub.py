"""NVML of a GB10 that is not there, laid before the real module: it lists each llama-server with the memory that a file says.

The file, named by META_NVML, is JSON: test port -> MiB, or null where the driver does not know that process; "*" for all others.
"""

import importlib.machinery
import importlib.util
import json
import os
import sys
import types
from pathlib import Path

_HERE = __file__.rpartition("/")[0]
_MIB = 1 << 20

spec = importlib.machinery.PathFinder.find_spec("pynvml", [path for path in sys.path if path != _HERE])
real = importlib.util.module_from_spec(spec)
sys.modules["pynvml_real"] = real
spec.loader.exec_module(real)
globals().update({name: value for name, value in vars(real).items() if not name.startswith("__")})


def refused(*_, **__):
    raise real.NVMLError(real.NVML_ERROR_NOT_SUPPORTED)


def listed(_):
    """The llama-servers on this machine with their memory."""
    told, found = json.loads(Path(os.environ["META_NVML"]).read_text()), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if words[0].endswith("llama-server") and "--port" in words:
            used = told.get(words[words.index("--port") + 1], told["*"])
            if used is not None:
                found.append(types.SimpleNamespace(pid=int(folder.name), usedGpuMemory=int(used * _MIB)))
    return found


def not_found(*_):
    raise real.NVMLError(real.NVML_ERROR_NOT_FOUND)


nvmlInit = nvmlShutdown = lambda: None  # noqa: N816 - names of NVML
nvmlDeviceGetCount = lambda: 1  # noqa: E731, N816
nvmlDeviceGetHandleByIndex = lambda index: index  # noqa: E731, N816
nvmlDeviceGetName = lambda _: "NVIDIA GB10"  # noqa: E731, N816
nvmlDeviceGetMemoryInfo = refused  # noqa: N816
nvmlDeviceGetUtilizationRates = lambda _: types.SimpleNamespace(gpu=0, memory=0)  # noqa: E731, N816
nvmlDeviceGetPowerUsage = lambda _: 3000  # noqa: E731, N816
nvmlDeviceGetClockInfo = lambda _, __: 208  # noqa: E731, N816
nvmlDeviceGetTemperature = lambda _, __: 36  # noqa: E731, N816
nvmlDeviceGetCurrentClocksEventReasons = lambda _: 1  # noqa: E731, N816
nvmlDeviceGetComputeRunningProcesses = listed  # noqa: N816
nvmlDeviceGetGraphicsRunningProcesses = lambda _: []  # noqa: E731, N816
nvmlDeviceGetProcessUtilization = not_found  # noqa: N816
