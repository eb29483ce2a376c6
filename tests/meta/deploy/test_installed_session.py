"""Sessions as users run them: a candidate whose installed unit is another one is NOT READY, and one that has no unit is no READY one."""

import json

import pytest
from support import child_session

pytestmark = [pytest.mark.runtime]

PORT = 18630
UNIT = f"meta{PORT}-good.service"


def host_with_units(folder):
    """A host whose candidates are installed in `folder`/units."""
    file = child_session.write_host(folder, port=PORT)
    (folder / "units").mkdir()
    text = file.read_text().replace("~/.config/systemd/user", str(folder / "units"))
    file.write_text(text.replace('AUD-4 = "nothing is installed"\nDEP-6 = "nothing is installed"\nDEP-8 = "nothing is installed"\n', ""))
    return file


def signed(session, candidate):
    """The candidate's part of the verdict."""
    verdict = json.loads((session.folder / "verdict.json").read_text())
    (found,) = [each for each in verdict["candidates"] if each["candidate"] == candidate]
    return found


def judged(session, candidate, requirement):
    """(verdict, reason) of a gate."""
    (found,) = [gate["judgement"] for gate in signed(session, candidate)["gates"] if gate["requirement"] == requirement]
    return found["verdict"], found["reason"]


def status(session, candidate):
    return signed(session, candidate)["signoff"]


def run(host, folder, name, *args):
    session = child_session.start(host, folder / name, *args, "-k", "good and (installed or unit_file or unit_is_valid)")
    return session, session.wait()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The host, and the unit as the suite renders it, installed."""
    folder = tmp_path_factory.mktemp("installed")
    host = host_with_units(folder)
    session, _ = run(host, folder, "first")
    assert judged(session, "good-q8", "AUD-4")[0] == "BLOCKED"
    assert judged(session, "good-q8", "DEP-6")[0] == "BLOCKED"
    (folder / "units" / UNIT).write_text(session.record("DEP-1", "good-q8")["raw"]["unit"])
    return folder, host


def test_the_rendered_unit_installed_passes(installed):
    folder, host = installed
    session, _ = run(host, folder, "right")
    assert judged(session, "good-q8", "DEP-6")[0] == "PASS", judged(session, "good-q8", "DEP-6")
    assert judged(session, "good-q8", "AUD-4")[0] == "PASS"


def test_a_dropin_that_starts_something_else_is_not_ready(installed):
    folder, host = installed
    dropin = folder / "units" / f"{UNIT}.d" / "81-mtp.conf"
    dropin.parent.mkdir()
    other = "/opt/third-build/llama-server -m /models/third-model.gguf -ctk q4_0 -ctv q4_0 --port 9999"
    dropin.write_text(f"[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/third-build/lib\nExecStart=\nExecStart={other}\n")
    try:
        session, code = run(host, folder, "dropin", "--signoff")
    finally:
        dropin.unlink()
        dropin.parent.rmdir()
    verdict, reason = judged(session, "good-q8", "DEP-6")
    assert code == 1
    assert verdict == "FAIL"
    for said in ("llama-server, which is not there", "third-model.gguf", "-ctk q4_0", "9999", "81-mtp.conf:4"):
        assert said in reason
    assert "/opt/third-build/llama-server" in session.record("DEP-6", "good-q8")["raw"]["differences"][0]
    assert judged(session, "good-q8", "AUD-4")[0] == "FAIL"
    assert status(session, "good-q8") == "NOT READY"


def test_a_chosen_candidate_without_a_unit_is_not_ready(tmp_path):
    host = host_with_units(tmp_path)
    text = host.read_text()
    host.write_text(text.replace(f'unit = "{UNIT}"\n', "").replace(f"port = {PORT + 11}\n", ""))
    session, code = run(host, tmp_path, "none", "--signoff")
    assert code == 75
    for requirement in ("DEP-6", "DEP-1", "AUD-4"):
        verdict, reason = judged(session, "good-q8", requirement)
        assert verdict == "BLOCKED"
        assert reason.startswith("no unit: good-q8")
    assert status(session, "good-q8") == "INCOMPLETE"
