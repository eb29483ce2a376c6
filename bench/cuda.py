"""The NVIDIA GPU of this machine, as benchmarks need to know it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from llama_build import BuildError

DRIVER = Path("/proc/driver/nvidia/version")
_PRESETS = {"9.0": "cuda-h100", "12.1": "cuda-gb10"}


def cuda_preset() -> str:
    """The build preset of its engine. Raises BuildError where there is none."""
    asked = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    found = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    if not found or found[0] not in _PRESETS:
        raise BuildError(f"There is no preset for a GPU of compute capability {found[:1]}. Expected one of: {', '.join(_PRESETS)}.")
    return _PRESETS[found[0]]
