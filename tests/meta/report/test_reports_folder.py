"""Where a run cannot write: one message, nothing green, and the evidence written before stays whole."""

import os
import subprocess
import sys

import pytest
from support.places import ROOT

from fixtures.evidence.ledger import read_ledger
from fixtures.evidence.run_folder import runs_of


def static_run(reports):
    command = [sys.executable, "-m", "pytest", "-m", "not runtime", "--host=local", f"--reports={reports}", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a tmpfs of so many KiB."""
    mount = tmp_path / "small"
    mount.mkdir()

    def make(kib):
        if os.geteuid() != 0:
            pytest.skip("mounting a small tmpfs needs root")
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(mount)], check=False).returncode:
            pytest.skip("this sandbox may not mount a tmpfs")
        return mount

    yield make
    subprocess.run(["umount", str(mount)], check=False, capture_output=True)


# the run's evidence takes about 50 KiB, its report over 1000: the first disk is full in the middle of one, the second of the other
@pytest.mark.runtime
@pytest.mark.parametrize(
    ("kib", "status", "said"),
    [(20, 2, "cannot write evidence to"), pytest.param(200, 1, "no complete report: cannot write", marks=pytest.mark.long)],
)
def test_full_disk_is_one_message_and_never_green(small_disk, kib, status, said):
    reports = small_disk(kib)
    done = static_run(reports)
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout
    assert "No space left on device" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (run,) = runs_of(reports, "local")
    content = read_ledger(run.evidence)
    assert len(content.records) > 3
    assert content.problems == ()


@pytest.mark.runtime
@pytest.mark.parametrize("reports", ["/proc/nope", "/dev/null"])
def test_a_folder_that_cannot_be_made_is_one_message(reports):
    done = static_run(reports)
    assert done.returncode == 4
    assert f"cannot write {reports}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_runs_of_a_host_are_its_own(tmp_path):
    for name in (
        "20261124T120000Z-local-7",
        "20261125T120000Z-local-8",
        "20261124T120000Z-my-local-7",
        "20261124T120000Z-local-7-recheck",
        "20261124T120000Z-local-box-7",
        "notes",
    ):
        (tmp_path / name).mkdir()
    assert [run.name for run in runs_of(tmp_path, "local")] == ["20261125T120000Z-local-8", "20261124T120000Z-local-7"]
