"""Finds compilers, CMake and Ninja, and says what they are."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cmake
import ninja

from llama_build.presets import Configuration
from llama_build.types import BuildError, Compilers

CUDA_ROOTS = (Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True))
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "CUDAHOSTCXX", "CCACHE_DIR", "CCACHE_MAXSIZE")
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Toolchain:
    """The compilers of one build, by path and by what they say of themselves."""

    c: str
    cxx: str
    cuda: str | None
    cuda_root: str | None
    names: Compilers
    cpu_features: tuple[str, ...]

    def options(self) -> dict[str, str]:
        """CMake options that select these compilers."""
        chosen = {"CMAKE_C_COMPILER": self.c, "CMAKE_CXX_COMPILER": self.cxx}
        if self.cuda and self.cuda_root:
            # llama.cpp looks for the toolkit before it enables the language, so the compiler alone is not enough
            chosen |= {"CMAKE_CUDA_COMPILER": self.cuda, "CUDAToolkit_ROOT": self.cuda_root}
        return chosen


def cmake_program() -> str:
    """The CMake of this Python environment."""
    return str(Path(cmake.CMAKE_BIN_DIR) / "cmake")


def ninja_program() -> str:
    """The Ninja of this Python environment."""
    return str(Path(ninja.BIN_DIR) / "ninja")


def build_environment() -> dict[str, str]:
    """The listed environment of a build: CFLAGS, SOURCE_DATE_EPOCH and the like would change it behind the cache's back."""
    return {"LC_ALL": "C.UTF-8"} | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def find_toolchain(config: Configuration) -> Toolchain:
    """The compilers for `config`: its own options first, then CC, CXX and CUDACXX, then the usual names and places.

    Raises BuildError where one is missing or cannot build for the preset's GPU.
    """
    c = _compiler(config.options.get("CMAKE_C_COMPILER"), "CC", ("cc", "gcc", "clang"))
    cxx = _compiler(config.options.get("CMAKE_CXX_COMPILER"), "CXX", ("c++", "g++", "clang++"))
    cuda = find_nvcc(config.options.get("CMAKE_CUDA_COMPILER"), os.environ, CUDA_ROOTS) if config.cuda else None
    if cuda and config.cuda_arch:
        _check_arch(cuda, config.cuda_arch)
    names = Compilers(
        c=_ask(c, "--version").splitlines()[0],
        cxx=_ask(cxx, "--version").splitlines()[0],
        cuda=" ".join(_ask(cuda, "--version").splitlines()[-2:]) if cuda else None,
        target=_ask(c, "-dumpmachine").strip(),
    )
    return Toolchain(
        c=c,
        cxx=cxx,
        cuda=cuda,
        cuda_root=_toolkit_root(cuda) if cuda else None,
        names=names,
        cpu_features=cpu_features(c) if config.native else (),
    )


def find_nvcc(named: str | None, environ: Mapping[str, str], roots: Sequence[Path]) -> str:
    """The CUDA compiler, also where it is not on PATH. Raises BuildError where there is none."""
    if explicit := named or environ.get("CUDACXX"):
        return _existing(explicit, "option CMAKE_CUDA_COMPILER" if named else "CUDACXX")
    if on_path := shutil.which("nvcc", path=environ.get("PATH")):
        return on_path
    homes = [Path(environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if name in environ]
    for root in (*homes, *roots):
        if found := shutil.which(str(root / "bin" / "nvcc")):
            return found
    looked = ", ".join(str(root / "bin") for root in (*homes, *roots))
    raise BuildError(
        f"No CUDA compiler: nvcc is not on PATH, nor in {looked}. Install the CUDA toolkit, or give the path of nvcc in CUDACXX."
    )


def cpu_features(compiler: str) -> tuple[str, ...]:
    """What the compiler may use on this CPU beyond its default: the macros that its native flag adds, sorted."""
    flag = "-march=native" if platform.machine() in {"x86_64", "AMD64", "i686"} else "-mcpu=native"
    dump = ("-E", "-dM", "-x", "c", os.devnull)
    added = set(_ask(compiler, flag, *dump).splitlines()) - set(_ask(compiler, *dump).splitlines())
    return tuple(sorted(line.removeprefix("#define ").removesuffix(" 1") for line in added))


def _compiler(named: str | None, variable: str, usual: Sequence[str]) -> str:
    if explicit := named or os.environ.get(variable):
        return _existing(explicit, variable)
    for name in usual:
        if found := shutil.which(name):
            return found
    raise BuildError(
        f"No compiler: none of {', '.join(usual)} is on PATH. Install one (Debian, Ubuntu: build-essential), or name it in {variable}."
    )


def _existing(program: str, where: str) -> str:
    if found := shutil.which(program):
        return found
    raise BuildError(
        f"{where} names {program}, which is no program that this user can run. Give the path of the compiler, or leave it out."
    )


def _toolkit_root(nvcc: str) -> str:
    """The toolkit behind `nvcc`, which may be a link or a wrapper script: a dry run prints its true folder."""
    here = re.search(r"^#\$ _HERE_=(.+)$", _ask(nvcc, "--dryrun", "none.cu"), re.MULTILINE)
    if not here:
        raise BuildError(f"{nvcc} does not say where its toolkit is. Expected nvcc of a CUDA toolkit; name it in CUDACXX.")
    return str(Path(here[1]).resolve().parent)


def _check_arch(nvcc: str, arch: str) -> None:
    known = _ask(nvcc, "--list-gpu-code").split()
    if arch not in known:
        raise BuildError(
            f"{nvcc} cannot build for {arch}: it knows {', '.join(known)}. Expected a CUDA toolkit that does"
            " (sm_121: 12.9 or later); install one, or name its nvcc in CUDACXX."
        )


def _ask(program: str, *args: str) -> str:
    try:
        done = subprocess.run(
            [program, *args],
            env=build_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # nvcc's dry run speaks there
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"`{program} {' '.join(args)}` does not answer: {error}. Expected a working compiler.") from None
    return done.stdout
