"""What can be known before an engine is compiled for half an hour: room, CMake, and a toolkit that compiles, links and loads."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from llama_build.presets import Configuration
from llama_build.process import Step, run
from llama_build.progress import Progress
from llama_build.toolchain import build_environment, cmake_program, ninja_program
from llama_build.types import BuildError

_CHECK = Path(__file__).with_name("cuda_check")
_TIMEOUT_S = 300
_PROGRAM_TIMEOUT_S = 60


def preflight(config: Configuration, options: Mapping[str, str], root: Path, log: Path, tell: Progress) -> None:
    """Raise BuildError for what would stop the build, or its last check. `options` are CMake's; `root` is a folder to work in."""
    _room(root, config.room_mb)
    _answers(cmake_program(), "--version", "CMake")
    _answers(ninja_program(), "--version", "Ninja")
    if config.cuda:
        _toolkit(options, root / "check", log, tell)


def _room(folder: Path, room_mb: int) -> None:
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < room_mb:
        raise BuildError(
            f"{folder} has {free_mb} MB free, and the build takes up to {room_mb} MB. Make room there, or set XDG_CACHE_HOME to a disk"
            " that has it."
        )


def _answers(program: str, argument: str, name: str) -> None:
    try:
        subprocess.run([program, argument], env=build_environment(), capture_output=True, timeout=_PROGRAM_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{name} of this Python environment does not run: {error}. Install it again (make setup).") from None


def _toolkit(options: Mapping[str, str], root: Path, log: Path, tell: Progress) -> None:
    """Build and run a program that needs of the CUDA toolkit what ggml-cuda needs of it."""
    tell("toolkit: a program is compiled, linked and loaded")
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(_CHECK, root / "source")
    defines = [f"-D{name}={value}" for name, value in sorted(options.items())]
    cmake = [cmake_program(), "-S", str(root / "source"), "-B", str(root / "build"), "-G", "Ninja"]
    env = build_environment()
    try:
        for argv in (
            [*cmake, f"-DCMAKE_MAKE_PROGRAM={ninja_program()}", *defines],
            [ninja_program(), "-C", str(root / "build")],
            [str(root / "build" / "bin" / "check")],
        ):
            run(Step("toolkit", argv, env, root, log, _TIMEOUT_S), lambda _elapsed, _line: None)
    except BuildError as error:
        raise BuildError(
            "The CUDA toolkit here cannot give the engine what it needs: libcudart, libcublas and the driver's libcuda.so.1, to link with"
            " and on the loader's path (ldconfig, or LD_LIBRARY_PATH). Where there is no driver, build with option GGML_CUDA_NO_VMM=ON."
            f" {error}"
        ) from None
    finally:
        shutil.rmtree(root, ignore_errors=True)
