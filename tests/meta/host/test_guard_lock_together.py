"""Several at once: who takes the run's lock, and who only looks at it."""

import os
import subprocess
import sys
import threading

from support.places import ROOT

from fixtures.host.lock import RunLock, inspect_lock


def acquired(path):
    """Whether the lock can be had now; let go at once."""
    with RunLock(path):
        return True


def test_only_one_of_many_gets_it(path):
    program = """
import sys
from pathlib import Path
from fixtures.host.lock import LockHeld, RunLock, current_holder
sys.stdin.readline()
lock = RunLock(Path(sys.argv[1]))
try:
    lock.acquire(current_holder())
except LockHeld as held:
    print("lost to", held.state.holder.pid, flush=True)
else:
    print("won", flush=True)
    sys.stdin.readline()
"""
    argv = [sys.executable, "-c", program, str(path)]
    children = [subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        answers = {child.pid: child.stdout.readline().strip() for child in children}
    finally:
        for child in children:
            child.communicate("stop\n", timeout=20)
    winners = [pid for pid, answer in answers.items() if answer == "won"]
    assert len(winners) == 1
    assert sorted(answers.values()) == sorted(["won", *[f"lost to {winners[0]}"] * 3])


def test_inspections_do_not_disturb_who_takes_it(path):
    path.touch()
    done = threading.Event()

    def look():
        while not done.is_set():
            inspect_lock(path)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        assert all(acquired(path) for _ in range(50))
    finally:
        done.set()
        looker.join()


def test_inspection_changes_nothing(path):
    path.write_text("999999999\n", encoding="ascii")
    os.utime(path, (1, 1))
    assert inspect_lock(path).status == "stale"
    assert path.read_text(encoding="ascii") == "999999999\n"
    assert path.stat().st_mtime == 1
