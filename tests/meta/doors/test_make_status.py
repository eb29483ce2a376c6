"""GNU make ends with 2 whatever failed; what the suite itself ended with is said, and `./readiness` ends with it."""

import shutil
import subprocess

import pytest
from support.places import ROOT


@pytest.fixture
def checkout(tmp_path):
    """One whose set-up is done, and whose `./readiness` writes down how it was called and ends as it is told to."""
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()
    script = tmp_path / "readiness"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > called\nexit "$STATUS"\n')
    script.chmod(0o755)
    return tmp_path


def make(checkout, status, *words):
    command = ["make", "-o", ".venv/.installed", *words]
    return subprocess.run(
        command, cwd=checkout, env={"PATH": "/usr/bin:/bin", "STATUS": str(status)}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("status", "why"), [(1, "a requirement failed"), (75, "try again when that is settled"), (4, "called wrongly")])
def test_the_status_is_said_in_words(checkout, status, why):
    done = make(checkout, status, "signoff", "HOST=dgx")
    assert done.returncode == 2
    assert f"make signoff: exit status {status} (" in done.stderr
    assert why in done.stderr
    assert (checkout / "called").read_text() == "signoff\ndgx\n"


def test_success_says_nothing_more(checkout):
    done = make(checkout, 0, "doctor", "FILE=/home/ann/my dgx.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert (checkout / "called").read_text() == "doctor\n/home/ann/my dgx.toml\n"
