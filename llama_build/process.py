"""Runs one step of a build: output into the log, a tick a second, no child left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from llama_build import child
from llama_build.progress import clock
from llama_build.types import BuildError

TAIL_LINES = 40
_TICK_S = 1.0
_STOP_S = 5.0
_NICE = 5  # a build gives way to what else the machine serves, without starving


@dataclass(frozen=True)
class Step:
    """One program of a build. `env` is its whole environment; `log` is appended to."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    timeout_s: float


def run(step: Step, tick: Callable[[float, str], None]) -> None:
    """Run `step` to its end. `tick` gets elapsed seconds and the last line of output, about once a second.

    The program goes when the calling thread goes. Raises BuildError with the end of the log where it fails or takes too long.
    """
    started = time.monotonic()
    with step.log.open("ab", buffering=0) as log:
        log.write(f"$ {' '.join(step.argv)}\n".encode())
        process = subprocess.Popen(
            # SIGTERM, not SIGKILL: Ninja then ends its compilers, each of which leads a process group of its own
            child.command(step.argv, ending=signal.SIGTERM, nice=_NICE),
            env=dict(step.env),
            cwd=step.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            _follow(process, log, step, started, tick)
        except subprocess.TimeoutExpired:
            raise BuildError(f"{step.name} was ended: it took longer than {clock(step.timeout_s)}. {log_end(step.log)}") from None
        finally:
            _end(process)
    if process.returncode != 0:
        raise BuildError(
            f"{step.name} failed with status {process.returncode} after {clock(time.monotonic() - started)}. {log_end(step.log)}"
        )


def log_end(log: Path) -> str:
    """The last lines of `log` with its path, for a message."""
    with log.open(encoding="utf-8", errors="replace") as handle:
        lines = deque(handle, maxlen=TAIL_LINES)
    return f"Last {len(lines)} lines of {log}:\n{''.join(lines).rstrip()}"


def _follow(process: subprocess.Popen[bytes], log: IO[bytes], step: Step, started: float, tick: Callable[[float, str], None]) -> None:
    """Copy output into the log until the program has ended; a grandchild that keeps the pipe open does not hold us up."""
    assert process.stdout is not None  # noqa: S101 - for mypy: it was asked for
    last = ""
    ticked = 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(_TICK_S):
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    process.wait(max(_TICK_S, started + step.timeout_s - time.monotonic()))
                    return
                log.write(chunk)
                last = _last_line(chunk) or last
            elif process.poll() is not None:
                return
            elapsed = time.monotonic() - started
            if elapsed > step.timeout_s:
                raise subprocess.TimeoutExpired(step.argv, step.timeout_s)
            if elapsed - ticked >= _TICK_S:
                ticked = elapsed
                tick(elapsed, last)


def _last_line(chunk: bytes) -> str:
    lines = chunk.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it started; nothing to do where it has ended by itself."""
    if process.stdout:
        process.stdout.close()
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for member in family:
        if member.is_running():
            member.kill()
