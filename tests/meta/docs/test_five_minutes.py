"""The README's five minutes of a DGX owner, done as they are written, on a machine of their own with a canary, an ASR and twins."""

import os
import re
import shutil

import pytest
from support import owners_home
from support.places import ROOT

pytestmark = [pytest.mark.runtime, pytest.mark.long]

# set-up is done (tests/meta/arm64 does it), and a whole sign-off takes as long as the models are large: it is summed from what was measured
INSTEAD = {"make setup": "true", "make signoff": "./readiness signoff --from-ledger"}


def commands():
    """The lines of the README's block, comments left out."""
    block = re.search(r"## The five minutes of a DGX owner\n\n```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    return [re.sub(r"\s{2,}#.*", "", line).strip() for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What each command printed and ended with, by the command as the README has it."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a machine of its own needs root and unshare (package util-linux)")
    scene = tmp_path_factory.mktemp("owner")
    owners_home.build(scene)
    lines = ["export COLUMNS=100"]
    for at, written in enumerate(commands()):
        # what make would set up is there
        done = INSTEAD.get(written, written).replace("make ", "make -o .venv/.installed ")
        lines += [f"echo '[step {at}]'", done, 'echo "[status $?]"']
    told = owners_home.walk(scene, "\n".join(lines))
    found = re.findall(r"\[step (\d+)\]\n(.*?)\[status (\d+)\]", told, re.DOTALL)
    steps = {commands()[int(at)]: (int(status), output) for at, output, status in found}
    assert [*steps] == commands(), told[-3000:]
    assert "Traceback" not in told
    return steps


def step(walked, begin):
    """Status, output, and the last screen of the one command that begins so."""
    (found,) = [steps for command, steps in walked.items() if command.startswith(begin)]
    return (*found, found[1].rpartition("= verdict =")[2])


def test_the_doctor_writes_an_overlay_and_the_audit_that_rests_on_it_is_clear(walked):
    status, said, _ = step(walked, "make doctor")
    assert status == 0, said
    assert "wrote /home/owner/.config/llama-readiness/dgx.toml" in said
    status, said, last = step(walked, "pytest -m audit")
    assert status == 0, said
    assert not re.findall(r"^(?:BLOCK|FAIL)\s+(?!Port 8092)\S.*", said, re.MULTILINE), "the canary's port alone is taken"
    assert "it is the host's canary" in " ".join(said.split())
    assert re.search(r"\$ pytest --host=/home/owner/dgx.toml -k 31b-k3v3", last)


def test_coherence_is_launched_on_the_test_port_beside_the_canary(walked):
    status, said, last = step(walked, "pytest -m coherence")
    assert status == 0, said
    assert "8 gates over 2 candidates, 4 engine launches" in said
    assert re.search(r"report: /home/owner/llama-readiness/reports/\S+/index.html", last)


def test_the_live_canary_is_asked_and_what_it_says_counts(walked):
    status, said, last = step(walked, "pytest --attach")
    assert status == 0, said
    assert "asked of the live server http://127.0.0.1:8092; nothing is launched" in said
    told = " ".join(last.split())
    assert "26b-k3v3 COH-1, COH-3, COH-6 (3 gates) count in a sign-off" in told
    assert "26b-k3v3 COH-2 does not count in a sign-off" in told
    assert "new: no verdict is another one than in" in told


def test_the_sign_off_takes_what_was_measured_and_ends_with_one_screen(walked):
    status, said, last = step(walked, "make signoff")
    assert status == 75, said
    assert "INCOMPLETE - DGX Spark (GB10)" in last
    assert "2 reused" in last
    assert len(re.findall(r"^  \$ ", last, re.MULTILINE)) == 1, "one command"
    assert "SKIPPED" not in said
    assert len(last.splitlines()) < 30
