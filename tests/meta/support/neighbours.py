"""Processes of others: no descendants of the test, so they count as strangers."""

import subprocess
import sys
from contextlib import contextmanager

import psutil


@contextmanager
def detached(*argv):
    """The pid of a process that is no descendant of ours; killed at the end."""
    shell = ["sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo $!', "sh", *argv]
    told, _ = subprocess.Popen(shell, stdout=subprocess.PIPE, text=True).communicate()
    process = psutil.Process(int(told))
    try:
        yield process.pid
    finally:
        process.kill()


def burner(tag, seconds=20):
    """The command of a process that keeps one core busy; `tag` is its last word."""
    return sys.executable, "-c", f"import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass", tag
