"""A recorded run is judged again by its own catalog: what today's says makes no difference."""

import shutil
import subprocess
import sys

import pytest
from support.places import ROOT

PARTS = ("conftest.py", "pyproject.toml", "fixtures", "llama_build", "prompts", "tests")


def run(checkout, *args):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A static run of the local host."""
    reports = tmp_path_factory.mktemp("reports")
    done = run(ROOT, "-m", "not runtime", "--host=local", f"--reports={reports}", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = reports.iterdir()
    return folder


@pytest.fixture
def checkout(tmp_path):
    """A copy of this checkout whose catalog may be edited."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    return tmp_path


def edited(checkout, file, old, new):
    path = checkout / "fixtures" / "catalog" / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


@pytest.mark.runtime
@pytest.mark.long
def test_another_catalog_of_today_changes_no_recheck(recorded, checkout, tmp_path):
    edited(checkout, "lanes.toml", "bpw = 3.125", "bpw = 3.5")
    edited(checkout, "requirements/kv.toml", 'tier = "advisory"', 'tier = "required"')
    edited(checkout, "hosts/local.toml", "reference = 39.0", "reference = 38.0")
    again = run(checkout, f"--recheck={recorded}", f"--reports={tmp_path / 'again'}", "-q")
    assert "comes out byte for byte" in again.stdout, again.stdout + again.stderr
    assert again.returncode == 0
    ours, theirs = (run_folder / "index.html" for run_folder in (recorded, tmp_path / "again" / f"{recorded.name}-recheck"))
    assert "2,234.38" in ours.read_text("utf-8"), "the savings of K3/V3 at 128K"
    assert "2,234.38" in theirs.read_text("utf-8"), "by the lanes of then"


@pytest.mark.runtime
@pytest.mark.long
def test_the_same_edit_shows_in_a_run_of_today(checkout, tmp_path):
    edited(checkout, "hosts/local.toml", "reference = 39.0", "reference = 38.0")
    done = run(checkout, "-m", "kv and not runtime", "--host=local", f"--reports={tmp_path / 'reports'}", "-q")
    assert done.returncode == 1, done.stdout
    assert "KV-2" in done.stdout
