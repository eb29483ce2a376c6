"""Becomes another program that gives way to others and goes when its parent goes. Run by path, with what `command` puts behind it.

A launcher, because `preexec_fn` may deadlock in a process with threads, and Python 3.12 warns of it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def command(argv: Sequence[str], *, ending: int, nice: int) -> list[str]:
    """What to start so that `argv` runs with our pid as its parent and gets the signal `ending` when the calling thread goes."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(ending), str(nice), *argv]


def main() -> None:
    """Set up this process, then replace it."""
    parent, ending, nice, *argv = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(ending), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
    os.nice(int(nice))
    try:
        os.execv(argv[0], argv)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.exit(f"{argv[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
