"""Configure, compile and collect: from a source tree to a folder that can be moved anywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama_build.process import Step, log_end, run
from llama_build.progress import Progress, clock
from llama_build.toolchain import build_environment, cmake_program, ninja_program
from llama_build.types import TARGETS, BuildError

_CONFIGURE_TIMEOUT_S = 600
_COMPILE_TIMEOUT_S = 3 * 3600
_VERSION_TIMEOUT_S = 60
_COUNT = re.compile(r"^\[\d+/\d+\]")
# how CMake says that it was given an option that nothing reads
_UNUSED = re.compile(r"Manually-specified variables were not used by the project:\s*\n\n((?:    \S+\n)+)")


@dataclass(frozen=True)
class Workshop:
    """The folder of one build: `source` below it becomes `engine` below it. `options` are CMake's, `log` is appended to."""

    root: Path
    options: Mapping[str, str]
    asked: frozenset[str]
    log: Path
    tell: Progress

    @property
    def source(self) -> Path:
        """The source tree."""
        return self.root / "source"

    @property
    def engine(self) -> Path:
        """The finished folder."""
        return self.root / "engine"

    @property
    def begun(self) -> bool:
        """Whether the source is in place and something may be compiled already, by this build or by one that was broken off."""
        return self._begun.exists()

    def begin(self) -> None:
        """The source is in place: from here on, what is compiled is worth keeping."""
        self._begun.touch()

    def configure(self) -> None:
        """Run CMake. Raises BuildError where it fails or where an asked-for option means nothing to this source."""
        if self._away.exists() and not self._build.exists():
            self._away.rename(self._build)  # a builder was killed while it checked
        defines = [f"-D{name}={value}" for name, value in sorted(self.options.items())]
        generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja_program()}"]
        self._run(
            "configure", [cmake_program(), "-S", str(self.source), "-B", str(self._build), *generator, *defines], _CONFIGURE_TIMEOUT_S
        )
        unused = _UNUSED.search(self.log.read_text(encoding="utf-8", errors="replace"))
        if unused and (unknown := self.asked.intersection(unused[1].split())):
            names = ", ".join(sorted(unknown))
            raise BuildError(
                f"This source reads no option {names}. Expected CMake options that it knows; check the spelling. Log: {self.log}"
            )

    def compile(self) -> None:
        """Build the three programs and what they need, on all cores. Raises BuildError."""
        jobs = os.cpu_count() or 1
        # Ninja itself, not `cmake --build`: it must be our child to be ended with us
        self._run("compile", [ninja_program(), "-C", str(self._build), "-j", str(jobs), *TARGETS], _COMPILE_TIMEOUT_S)

    def collect(self) -> str:
        """Programs and libraries in a folder of their own, proven to run without the build folder; what the server calls its version."""
        made = self._build / "bin"
        for name in TARGETS:
            if not (made / name).is_file():
                raise BuildError(f"The build made no {name} in {made}. Expected a llama.cpp source tree. {log_end(self.log)}")
        shutil.rmtree(self.engine, ignore_errors=True)
        shutil.copytree(made, self.engine, symlinks=True, copy_function=os.link)
        self._build.rename(self._away)
        try:
            return self._version()
        finally:
            self._away.rename(self._build)

    def _version(self) -> str:
        self.tell("check: llama-server --version")
        server = self.engine / TARGETS[0]
        done = subprocess.run(
            [server, "--version"],
            env=build_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise BuildError(f"The built llama-server does not run: `--version` ended with status {done.returncode}: {done.stdout.strip()}")
        return done.stdout.strip()

    @property
    def _build(self) -> Path:
        return self.root / "build"

    @property
    def _away(self) -> Path:
        return self.root / "build-away"

    @property
    def _begun(self) -> Path:
        return self.root / "begun"

    def _run(self, name: str, argv: list[str], timeout_s: float) -> None:
        count, what = "", ""

        def tick(elapsed: float, line: str) -> None:
            nonlocal count, what
            if match := _COUNT.match(line):  # else a warning, or CMake talking
                count, what = f"{match[0]} ", line[match.end() :].rsplit("/", maxsplit=1)[-1].strip()
            self.tell(f"{name}: {count}{clock(elapsed)} {what}".rstrip())

        self.tell(f"{name}: 00:00")
        # the ceiling keeps llama.cpp from reading the commit of a checkout around the cache
        env = build_environment() | {"GIT_CEILING_DIRECTORIES": str(self.root), "NINJA_STATUS": "[%f/%t] "}
        run(Step(name, argv, env, self.root, self.log, timeout_s), tick)
