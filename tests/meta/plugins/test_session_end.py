"""What befalls a session while it ends: what it measured is judged, written and told all the same."""

import os
import subprocess
import sys

import pytest
from support.places import ROOT

INTERRUPTS = """\
import os
import signal

import pytest

from fixtures.plugins import closing

write_report = closing.write_report


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    interrupt()


def pytest_configure():
    def interrupted(*arguments):
        interrupt()
        write_report(*arguments)

    closing.write_report = interrupted


def pytest_terminal_summary():
    interrupt()
"""
# as pytest does where another session removes old temporary folders at the same time
WARNS = """\
import warnings

import pytest


def pytest_sessionfinish():
    warnings.warn("(rm_rf) error removing /tmp/pytest-of-x/garbage-1: Directory not empty", pytest.PytestWarning)
"""
RAISES = """\
def pytest_sessionfinish():
    raise RuntimeError("another plugin's end")
"""


def ended(folder, plugin, *workers):
    """A session of one static gate with that plugin, and its page."""
    (folder / "planted_end.py").write_text(plugin)
    argv = [sys.executable, "-m", "pytest", "--host=local", f"--reports={folder}", "-k", "test_unit_text and smollm2", *workers]
    env = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run([*argv, "-p", "planted_end"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    (page,) = folder.glob("*-local-*/index.html")
    assert f"report: {page}" in done.stdout
    return done


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one", "n1"])
def test_an_interrupt_does_not_count_any_more(tmp_path, workers):
    done = ended(tmp_path, INTERRUPTS, *workers)
    assert "KeyboardInterrupt" not in done.stdout + done.stderr


def test_old_temporary_folders_that_another_session_removes_are_nothing(tmp_path):
    assert "no complete report" not in ended(tmp_path, WARNS).stdout


def test_what_another_plugin_raises_does_not_cost_the_report_and_is_told(tmp_path):
    done = ended(tmp_path, RAISES)
    assert done.returncode == 1
    assert "nobody foresaw this: RuntimeError" in " ".join(done.stdout.split())
