"""Progress lines, `stage: text`, for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Progress = Callable[[str], None]
"""Called about once a second with one line, `stage: text`."""

_LOG_INTERVAL_S = 5.0
_LAST = frozenset({"done", "failed"})  # stages after which no more lines come


def clock(seconds: float) -> str:
    """`seconds` as 02:03, or 1:02:03 from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def console() -> Progress:
    """Shows progress on stderr: one living line per stage on a terminal, else a plain line every five seconds."""
    return _overwriting() if sys.stderr.isatty() else every(_LOG_INTERVAL_S, _plain)


def every(interval_s: float, sink: Progress) -> Progress:
    """Pass on the first line of each stage, and then at most one in `interval_s`."""
    stage = ""
    last = 0.0

    def tell(line: str) -> None:
        nonlocal stage, last
        now = time.monotonic()
        if _stage(line) != stage or now - last >= interval_s:
            stage, last = _stage(line), now
            sink(line)

    return tell


def _stage(line: str) -> str:
    return line.partition(":")[0]


def _plain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _overwriting() -> Progress:
    stage = ""

    def tell(line: str) -> None:
        nonlocal stage
        lead = "\r\033[K" if _stage(line) == stage else ("\n" if stage else "")
        stage = "" if _stage(line) in _LAST else _stage(line)
        print(f"{lead}{line}", end="" if stage else "\n", file=sys.stderr, flush=True)

    return tell
