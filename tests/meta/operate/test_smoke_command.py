"""`./readiness smoke` and `watch` as people call them, on a host where nothing is installed: each refusal in one sentence."""

import json
import subprocess

import pytest
from support.places import ROOT

pytestmark = pytest.mark.runtime

CANDIDATE = "smollm2-135m-q8"
USAGE, BLOCKED = 4, 75


def readiness(folder, *words):
    reports = folder / "reports"
    overlay = folder / "overlay.toml"
    overlay.write_text(f'[guard]\nlock = "{folder}/run.lock"\n')
    command = [ROOT / "readiness", *words, "--host=local", f"--overlay={overlay}", f"--reports={reports}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr, [path.name for path in reports.iterdir()] if reports.exists() else []


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("smoke",), USAGE, "CANDIDATE"),
        (("smoke", CANDIDATE, "--approve", "Ann"), USAGE, 'expected "WHO: REASON"'),
        (("smoke", CANDIDATE, "--kill-main", ": no name at all"), USAGE, "--kill-main"),
        (("smoke", CANDIDATE, "--approve", "Ann: it may run", "--kill-main", "Ann: it may die"), USAGE, "give one of them"),
        (("smoke", "nobody"), BLOCKED, "no candidate nobody with a unit; it has"),
        (("watch", "--every", "often"), USAGE, "no span of time"),
        (("watch", "nobody"), BLOCKED, "no unit for nobody"),
    ],
)
def test_a_wrong_call_changes_nothing(tmp_path, words, status, said):
    found, output, left = readiness(tmp_path, *words)
    assert found == status, output
    assert said in output
    assert left == []


@pytest.mark.parametrize("approval", [(), ("--approve", "Ann: a meta test tries it"), ("--kill-main", "Ann: a meta test tries it")])
def test_what_is_missing_is_said_and_no_run_begins(tmp_path, approval):
    status, output, left = readiness(tmp_path, "smoke", CANDIDATE, *approval)
    assert status == BLOCKED, output
    assert "missing: unit " in output
    assert "llama-readiness-smollm2-135m-q8.service is not there" in output
    assert ("COH-1 zh_marker is BLOCKED, must be PASS" in output) == ("--kill-main" not in approval)
    assert (f"so run it first: pytest --host=local --overlay={tmp_path}/overlay.toml" in output) == ("--kill-main" not in approval)
    assert left == []


def test_without_a_sign_off_there_is_nothing_to_watch(tmp_path):
    status, output, left = readiness(tmp_path, "watch", CANDIDATE)
    assert status == BLOCKED
    assert f"{CANDIDATE}: CANNOT BE TOLD: no run of host local under" in output
    assert left == []


def test_only_the_commands_reach_the_operations():
    """No module of a test run imports what starts a service."""
    code = "import sys, json, pytest; pytest.main(['--collect-only', '-q', '--host=local']); print(json.dumps([m for m in sys.modules]))"
    done = subprocess.run([ROOT / ".venv/bin/python", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not [name for name in json.loads(done.stdout.splitlines()[-1]) if name.startswith("fixtures.operate")]
