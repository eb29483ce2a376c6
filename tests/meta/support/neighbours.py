"""Processes of others: no descendants of the test, so they count as strangers."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil

from fixtures.host import processes


@contextmanager
def detached(*argv):
    """The pid of a process that is no descendant of ours, as an ASR service's is; killed at the end, and then gone."""
    shell = ["sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo $!', "sh", *argv]
    told, _ = subprocess.Popen(shell, stdout=subprocess.PIPE, text=True).communicate()
    pid = int(told)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).cmdline() != list(argv) and time.monotonic() < deadline:
        time.sleep(0.01)  # the shell has forked, and not yet become the program
    try:
        yield pid
    finally:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
        while processes.read_stat(pid) and time.monotonic() < deadline + 10:
            time.sleep(0.01)


def burner(tag, seconds=20):
    """The command of a process that keeps one core busy; `tag` is its last word."""
    return sys.executable, "-c", f"import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass", tag
