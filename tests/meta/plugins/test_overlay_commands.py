"""Commands that write into an overlay, as a person calls them: what changes is shown, and nothing else happens."""

import subprocess

import pytest
from support.places import ROOT

from fixtures.catalog.load import load_host

pytestmark = pytest.mark.runtime


def called(*arguments):
    return subprocess.run(
        [ROOT / "readiness", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False, stdin=subprocess.DEVNULL
    )


def test_a_choice_is_shown_written_and_loaded(tmp_path):
    overlay = tmp_path / "twins.toml"
    overlay.write_text('# mine\n[guard]\nlock = "/tmp/x"  # stays\n', encoding="utf-8")
    before = overlay.read_text()
    refused = called("choose", "twin30=k9", "Ann: the memory is there", "--host=twins", f"--overlay={overlay}")
    assert refused.returncode == 4
    assert '"k9" is no lane of twin30' in refused.stdout + refused.stderr
    assert overlay.read_text() == before
    done = called("choose", "twin30=k3v3", "Ann: the memory is there", "--host=twins", f"--overlay={overlay}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '+candidate = "twin30-k3v3"' in done.stdout
    assert done.stdout.index("+who = ") < done.stdout.index(f"wrote {overlay}")
    assert overlay.read_text().startswith(before)
    host = load_host("twins", overlay=overlay)
    assert (host.goal.chosen["twin30"], host.goal.decided["twin30"].who) == ("twin30-k3v3", "Ann")
    assert list(tmp_path.iterdir()) == [overlay]


def test_no_run_is_no_reference(tmp_path):
    refused = called("record-reference", str(tmp_path), "Ann: first quiet night", "--host=twins")
    assert refused.returncode == 4
    assert "--record-reference: " in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
