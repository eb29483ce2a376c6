"""A kernel lock that says who holds it, and since when. It goes with its holder, however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from llama_build.progress import Progress, clock
from llama_build.types import BuildError

_POLL_S = 0.5


@contextmanager
def held(path: Path, what: str, tell: Progress, timeout_s: float) -> Iterator[None]:
    """Hold the lock file `path` while in the context; wait for it, telling who has it.

    The file is never removed: that would race with a process that waits. Children do not inherit the lock, so a stray
    one cannot keep it. Raises BuildError after `timeout_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with path.open("a+", encoding="utf-8") as handle:
        while not _take(handle):
            waited = time.monotonic() - started
            if waited > timeout_s:
                raise BuildError(f"Waited {clock(waited)} for {what}: {_holder(handle)}. End that process if it hangs, then try again.")
            tell(f"wait: for {what}, {clock(waited)}: {_holder(handle)}")
            time.sleep(_POLL_S)
        _sign(handle)
        try:
            yield
        finally:
            handle.truncate(0)


@contextmanager
def free(path: Path) -> Iterator[bool]:
    """Whether nobody held the lock `path`; where True, it is held while in the context."""
    with path.open("a+", encoding="utf-8") as handle:
        yield _take(handle)


def _take(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(handle: TextIO) -> None:
    handle.truncate(0)
    program = shlex.join([Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]])
    json.dump({"pid": os.getpid(), "program": program, "since": datetime.now().astimezone().isoformat(timespec="seconds")}, handle)
    handle.flush()


def _holder(handle: TextIO) -> str:
    handle.seek(0)
    try:
        owner = json.loads(handle.read())
    except ValueError:  # it has just come or gone
        return "another process has it"
    return f"pid {owner['pid']} ({owner['program']}) has been at it since {owner['since']}"
