"""An interrupt while a session ends: what it measured is judged, written and told all the same."""

import os
import subprocess
import sys

import pytest
from support.places import ROOT

PLUGIN = """\
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


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one", "n1"])
def test_its_report_is_written_and_told(tmp_path, workers):
    (tmp_path / "interrupting.py").write_text(PLUGIN)
    argv = [sys.executable, "-m", "pytest", "--host=local", f"--reports={tmp_path}", "-k", "test_unit_text and smollm2", *workers]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([*argv, "-p", "interrupting"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert "KeyboardInterrupt" not in done.stdout + done.stderr
    (page,) = tmp_path.glob("*-local-*/index.html")
    assert f"report: {page}" in done.stdout
