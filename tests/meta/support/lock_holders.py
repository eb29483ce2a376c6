"""Other processes that hold a lock, of every kind that Linux has."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

POSIX = "fcntl.lockf(file, fcntl.LOCK_EX)"
POSIX_SHARED = "fcntl.lockf(file, fcntl.LOCK_SH)"
POSIX_LATE_BYTE = "fcntl.lockf(file, fcntl.LOCK_EX, 1, 1 << 30)"
OFD = "fcntl.fcntl(file, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))"
OFD_SHARED = "fcntl.fcntl(file, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 0, 0, 0))"
FLOCK = "fcntl.flock(file, fcntl.LOCK_EX)"


@contextmanager
def holding(how, path):
    """The pid of another process that holds a lock on `path`, taken as `how` says."""
    program = f"import fcntl, struct, sys, time; file = open(sys.argv[1], 'a+b'); {how}; print('held', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout.readline() == b"held\n"
        yield child.pid
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
