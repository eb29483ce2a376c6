"""`make setup` clears nothing that is not its own."""

import shutil
import subprocess

import pytest
from support.bad_input import check_words
from support.places import ROOT


@pytest.fixture
def checkout(tmp_path):
    """A fresh one, as far as set-up is concerned."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


def setup(folder):
    """Its Python would do nothing at all: only what comes before it is tested."""
    return subprocess.run(["make", "setup", "PYTHON=/bin/false"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_link_is_refused_and_what_it_leads_to_stays(checkout, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    (checkout / ".venv").symlink_to(precious)
    done = setup(checkout)
    assert done.returncode == 2
    check_words(done.stderr, r"make setup: \.venv is a symbolic link, .* remove the link")
    assert (precious / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]


def test_a_folder_that_is_no_environment_is_refused_and_stays(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "thesis.txt").write_text("years of work")
    done = setup(checkout)
    assert done.returncode == 2
    check_words(done.stderr, r"\.venv is there and is no virtual environment \(it has no pyvenv\.cfg\)")
    assert (checkout / ".venv" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("there", [False, True], ids=["none yet", "an old one"])
def test_one_of_its_own_is_made_anew(checkout, there):
    if there:
        (checkout / ".venv").mkdir()
        (checkout / ".venv" / "pyvenv.cfg").touch()
    done = setup(checkout)
    assert "Python 3.11 or newer is needed" in done.stderr, "it came as far as its Python"
